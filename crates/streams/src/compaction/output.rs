//! The file that a round writes: it counts only once it is whole, synced and renamed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use longshore_journal::disk::DiskFile;

use super::CompactError;
use super::filter::Left;
use super::plan::Source;
use crate::batch::{BatchHeader, seal};
use crate::error::is_no_space;
use crate::file_id::{Compacted, FileId, UNFINISHED_NAME};
use crate::log::StreamLog;
use crate::partition::{EventFile, Partition};
use crate::walk::Walk;

/// How much is written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// How much is synced at a time: the journal's syncs wait behind these.
const SYNC_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Output<'a> {
    log: &'a StreamLog,
    partition: &'a Partition,
    id: FileId,
    file: Arc<dyn DiskFile>,
    written: u64,
    buffer: Vec<u8>,
    walk: Walk,
    changed: bool,
    /// Up to where it is known to be durable.
    synced: u64,
    placed: bool,
}

/// Nobody else wants what was written of it, and the disk may be full.
impl Drop for Output<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // What is left of it is removed by the next start, or written over.
            drop(self.log.disk.remove(UNFINISHED_NAME));
        }
    }
}

fn refused(log: &StreamLog, source: io::Error) -> CompactError {
    CompactError::Io { path: log.disk.path(UNFINISHED_NAME), source }
}

impl<'a> Output<'a> {
    pub(super) fn begin(
        log: &'a StreamLog,
        partition: &'a Partition,
        id: FileId,
    ) -> Result<Self, CompactError> {
        let file = log.disk.create(UNFINISHED_NAME);
        let file = file.map_err(|source| refused(log, source))?;
        let (written, buffer, walk) = (0, Vec::new(), Walk::new(id));
        let (changed, synced, placed) = (false, 0, false);
        Ok(Self { log, partition, id, file, written, buffer, walk, changed, synced, placed })
    }

    /// Whether something is left out or written otherwise.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Takes what is left of a batch.
    pub(super) fn take(&mut self, batch: &[u8], left: Left) -> Result<(), CompactError> {
        self.changed |= left != Left::Whole;
        let log = self.log;
        let fault = |error| refused(log, io::Error::other(error));
        let mut bytes = match left {
            Left::Nothing => return Ok(()),
            Left::Whole => batch.to_vec(),
            Left::Part(part) => part,
        };
        seal(&mut bytes);
        let header = BatchHeader::parse(&bytes).map_err(fault)?;
        self.walk.step(&header).map_err(fault)?;
        self.buffer.extend(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), CompactError> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(|source| refused(self.log, source))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), CompactError> {
        self.file.sync_data().map_err(|source| self.failed(source))?;
        self.synced = self.written;
        Ok(())
    }

    /// It does not stand anywhere yet. Where there is no space, it is thrown away and written anew
    /// by a later round.
    fn failed(&self, source: io::Error) -> CompactError {
        if is_no_space(&source) { refused(self.log, source) } else { self.unsure(source) }
    }

    /// Nobody knows what the disk holds now: no round begins any more, and the next start looks.
    fn unsure(&self, source: io::Error) -> CompactError {
        self.log.compaction_ended.store(true, Ordering::Relaxed);
        CompactError::Unsure { path: self.log.disk.path(""), source }
    }

    /// Makes it durable and has it stand in the place of its sources, which go; `false` where one
    /// of them is not there any more.
    pub(super) fn put_in_place(mut self, sources: &[Source]) -> Result<bool, CompactError> {
        self.write()?;
        self.sync()?;
        let len_bytes = self.written;
        let compacted = self.id.compacted.map(|it| Compacted { len_bytes, ..it });
        self.id.compacted = compacted;
        let (disk, name) = (&self.log.disk, self.id.name(self.partition.id));
        disk.rename(UNFINISHED_NAME, &name).map_err(|source| self.failed(source))?;
        self.placed = true;
        // From here on a crash may leave it beside its sources, and a start knows by its name that
        // it stands for them. They may go only once it is certain to be found.
        disk.sync().map_err(|source| self.unsure(source))?;
        let stands = {
            let mut files = self.partition.files_mut();
            let row = &files.files;
            let first = sources.first().map(|source| source.id);
            let at = row.iter().position(|file| Some(file.id) == first).unwrap_or(row.len());
            let same = |(index, source): (usize, &Source)| {
                row.get(at + index).is_some_and(|file| file.id == source.id)
            };
            let stands = sources.iter().enumerate().all(same);
            if stands {
                let mut after = files.files.split_off(at);
                after.drain(..sources.len());
                let (id, walk) = (self.id, self.walk.clone().named(self.id));
                files.files.push_back(EventFile { id, len_bytes, walk });
                files.files.append(&mut after);
            }
            stands
        };
        let unneeded: Vec<String> = if stands {
            sources.iter().map(|source| source.id.name(self.partition.id)).collect()
        } else {
            vec![name]
        };
        for name in unneeded {
            // What is left is found by the next start. Forgotten after that, nobody opens it again
            // and has it keep its space.
            drop(self.log.disk.remove(&name));
            self.log.open.forget(&name);
        }
        Ok(stands)
    }
}
