//! Walking a segment frame by frame: the window of bytes that is in memory, and the order in which
//! frames may follow each other. Recovery and reading share it, so they agree on what counts.

use std::io;
use std::sync::Arc;

use longshore_engine::Position;

use crate::disk::DiskFile;
use crate::fault::Fault;
use crate::frame::{
    FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameError, FrameHeader, FrameKind, frame_bytes,
};
use crate::group::EntryCounter;

/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The part of a file that is in memory.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    offset: u64,
    buffer: Vec<u8>,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, offset: 0, buffer: Vec::new() }
    }

    /// The bytes from `offset` on, at least `wanted` of them unless the file ends.
    pub(crate) fn bytes_at(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let skipped = offset.checked_sub(self.offset).filter(|s| *s <= self.buffer.len() as u64);
        let have = skipped.map_or(0, |skipped| self.buffer.len() - skipped as usize);
        if have < wanted {
            match skipped {
                Some(skipped) => drop(self.buffer.drain(..skipped as usize)),
                None => self.buffer.clear(),
            }
            self.offset = offset;
            self.buffer.resize(wanted.max(CHUNK_BYTES), 0);
            let rest = self.buffer.get_mut(have..).unwrap_or_default();
            let read = self.file.read_at(rest, offset + have as u64)?;
            self.buffer.truncate(have + read);
        }
        Ok(self.buffer.get((offset - self.offset) as usize..).unwrap_or_default())
    }

    /// The frame at `offset`.
    pub(crate) fn frame_at(
        &mut self,
        offset: u64,
        salt: u64,
    ) -> io::Result<Result<(FrameHeader, &[u8]), FrameError>> {
        let header = match FrameHeader::decode(self.bytes_at(offset, FRAME_HEADER_BYTES)?, salt) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        debug_assert!(header.frame_bytes() <= frame_bytes(FRAME_PAYLOAD_BYTES_MAX));
        let bytes = self.bytes_at(offset, header.frame_bytes())?;
        let payload = bytes.get(FRAME_HEADER_BYTES..).ok_or(FrameError::Short);
        Ok(payload.and_then(|bytes| header.check(bytes)).map(|payload| (header, payload)))
    }
}

/// What a sound frame adds to those before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// A part of a group, which is not whole yet.
    Part,
    /// The last part of a group of `count` entries from `first` on.
    Group { first: Position, count: u32 },
    /// A mark.
    Mark,
    /// A seal: no frame follows.
    Seal,
}

/// The order of frames: groups at consecutive positions, each with all its frames and as many
/// entries as it says.
#[derive(Debug)]
pub(crate) struct Order {
    /// Position of the next group; `None` before the first frame of a segment that does not say
    /// where it begins.
    next: Option<Position>,
    open: Option<OpenGroup>,
}

#[derive(Debug)]
struct OpenGroup {
    count: u32,
    index_next: u32,
    bytes_total: u64,
    bytes_left: u64,
    entries: EntryCounter,
}

impl Order {
    pub(crate) fn new(next: Option<Position>) -> Self {
        Self { next, open: None }
    }

    /// Position of the next group to begin or to end.
    pub(crate) fn next(&self) -> Option<Position> {
        self.next
    }

    /// Whether a group has begun that is not whole.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes the next frame.
    pub(crate) fn accept(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<Step, Fault> {
        let next = *self.next.get_or_insert(frame.first);
        if frame.first != next {
            return Err(Fault::Order);
        }
        match frame.kind {
            FrameKind::Mark if self.open.is_none() => return Ok(Step::Mark),
            FrameKind::Seal if self.open.is_none() => return Ok(Step::Seal),
            FrameKind::Mark | FrameKind::Seal => return Err(Fault::Order),
            FrameKind::Data => {}
        }
        let mut group = self.open.take().unwrap_or_else(|| OpenGroup {
            count: frame.count,
            index_next: 0,
            bytes_total: frame.group_bytes,
            bytes_left: frame.group_bytes,
            entries: EntryCounter::default(),
        });
        let left = group.bytes_left.checked_sub(u64::from(frame.payload_bytes));
        let fits = frame.index == group.index_next
            && frame.count == group.count
            && frame.group_bytes == group.bytes_total
            && frame.commit == (left == Some(0));
        let (Some(left), true) = (left, fits) else {
            return Err(Fault::Order);
        };
        let possible = group.entries.add(payload);
        if !possible || frame.commit && group.entries.count() != Some(u64::from(frame.count)) {
            return Err(Fault::Entries);
        }
        if frame.commit {
            self.next = Some(next.advanced_by(u64::from(frame.count)));
            return Ok(Step::Group { first: next, count: frame.count });
        }
        group.index_next += 1;
        group.bytes_left = left;
        self.open = Some(group);
        Ok(Step::Part)
    }
}
