//! Walking through a file of events batch by batch: where some of them begin is remembered, so
//! that an offset or a time is found by looking at a few. It reads headers only.

use std::io;

use longshore_journal::disk::DiskFile;

use crate::batch::{BatchFault, BatchHeader, HEADER_BYTES};
use crate::file_id::FileId;

/// A batch is remembered for about so many bytes: 10 GiB of events take 4 MB of memory so.
pub(crate) const INDEX_EVERY_BYTES: usize = 64 << 10;

/// How much is read at a time.
const READ_BYTES: usize = 256 << 10;

/// The beginning of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Its first offset.
    pub(crate) offset: u64,
    /// Its place in the file.
    pub(crate) at: u64,
    /// The newest time of an event from here to the next mark, or to where the walk is.
    pub(crate) newest_time: i64,
}

/// Whether a batch of a file stands at the offset at which it was put there, where that is said.
pub(crate) fn stands(header: &BatchHeader, file: FileId) -> bool {
    file.compacted.is_none() || header.is_sealed()
}

/// Whether a batch of a file may stand where the one before it ends at `next`: at once after it,
/// but where others were left out in between.
pub(crate) fn follows(header: &BatchHeader, next: u64, file: FileId) -> bool {
    let first = header.first_offset();
    let within = |end| first >= next && header.end_offset() <= end && stands(header, file);
    file.compacted.map_or(first == next, |file| within(file.end))
}

/// How far a file was looked at, and what is remembered of it.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    file: FileId,
    at: u64,
    /// The offset of the batch at `at`.
    next: u64,
    marks: Vec<Mark>,
    /// The newest time of an event of its first batch, where that was looked at.
    begun: Option<i64>,
}

/// What ends a walk.
#[derive(Debug)]
pub(crate) enum Stumble {
    Io(io::Error),
    Damaged { at: u64, fault: BatchFault },
}

impl Walk {
    /// At the beginning of a file.
    pub(crate) fn new(id: FileId) -> Self {
        Self { file: id, at: 0, next: id.base, marks: Vec::new(), begun: None }
    }

    /// The same of a file that has its name now.
    pub(crate) fn named(self, file: FileId) -> Self {
        Self { file, ..self }
    }

    /// The place up to which it was looked at.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The newest time of an event of its first batch; `None` where nobody has looked at that yet.
    pub(crate) fn begun(&self) -> Option<i64> {
        self.begun
    }

    /// Looks at the first batch, and walks no further. What is wrong with it, whoever reads it is
    /// told.
    pub(crate) fn look(&mut self, file: &dyn DiskFile) {
        let mut head = [0; HEADER_BYTES];
        let read = file.read_at(&mut head, 0).unwrap_or_default();
        let header = BatchHeader::parse(head.get(..read).unwrap_or_default());
        self.begun = header.ok().map(|header| header.newest_time);
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The newest time of an event, as far as was looked at.
    pub(crate) fn newest_time(&self) -> Option<i64> {
        self.marks.iter().map(|mark| mark.newest_time).max()
    }

    /// The last mark at or before an offset.
    pub(crate) fn mark_before(&self, offset: u64) -> Mark {
        let after = self.marks.partition_point(|mark| mark.offset <= offset);
        let mark = after.checked_sub(1).and_then(|index| self.marks.get(index));
        mark.copied().unwrap_or(Mark { offset: self.file.base, at: 0, newest_time: i64::MIN })
    }

    /// Whether the mark before an offset is close to it.
    pub(crate) fn reaches(&self, offset: u64, len_bytes: u64) -> bool {
        self.at >= len_bytes || offset < self.next
    }

    /// Takes the batch that follows.
    pub(crate) fn step(&mut self, header: &BatchHeader) -> Result<(), BatchFault> {
        if !follows(header, self.next, self.file) {
            return Err(BatchFault::Order);
        }
        if self.marks.is_empty() {
            self.begun = Some(header.newest_time);
        }
        match self.marks.last_mut() {
            Some(mark) if self.at - mark.at < INDEX_EVERY_BYTES as u64 => {
                mark.newest_time = mark.newest_time.max(header.newest_time);
            }
            _ => self.marks.push(Mark {
                offset: header.first_offset(),
                at: self.at,
                newest_time: header.newest_time,
            }),
        }
        self.at += header.len_bytes as u64;
        self.next = header.end_offset();
        Ok(())
    }

    /// Looks at the batches up to `to`, where one ends.
    pub(crate) fn go(&mut self, file: &dyn DiskFile, to: u64) -> Result<(), Stumble> {
        let mut buffer = Vec::new();
        let mut begin = self.at;
        while self.at < to {
            let damaged = |fault| Stumble::Damaged { at: self.at, fault };
            let skip = (self.at - begin) as usize;
            if buffer.len() < skip + HEADER_BYTES {
                begin = self.at;
                buffer.resize(READ_BYTES.min((to - begin) as usize), 0);
                let read = file.read_at(&mut buffer, begin).map_err(Stumble::Io)?;
                buffer.truncate(read);
                if read < HEADER_BYTES {
                    return Err(damaged(BatchFault::Short));
                }
                continue;
            }
            let header = BatchHeader::parse(buffer.get(skip..).unwrap_or_default());
            let header = header.map_err(damaged)?;
            if self.at + header.len_bytes as u64 > to {
                return Err(damaged(BatchFault::Short));
            }
            let at = self.at;
            self.step(&header).map_err(|fault| Stumble::Damaged { at, fault })?;
        }
        Ok(())
    }
}
