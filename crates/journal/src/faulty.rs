//! The file journal on a simulated disk: the real code, with every fault that a disk can have. It
//! is what the simulator runs.

use std::sync::Arc;

use longshore_engine::Position;

use crate::journal::EntryIterator;
use crate::sim_disk::{Crash, SimDisk};
use crate::{
    AppendError, FileConfig, FileJournal, Group, Journal, OpenError, Opened, Prepare, ReadError,
    Room, TruncateError,
};

/// A file journal on a [`SimDisk`], without threads. Faults are put into the disk.
#[derive(Debug)]
pub struct FaultyJournal {
    disk: SimDisk,
    journal: FileJournal,
}

impl FaultyJournal {
    /// A configuration with every limit tiny, so that short runs meet them all.
    pub fn tiny_config() -> FileConfig {
        FileConfig {
            segment_bytes: 16 << 10,
            first_segment_bytes: 4 << 10,
            reserve_bytes: 4 << 10,
            frame_payload_bytes_max: 1 << 10,
            prepare: Prepare::Inline,
            ..FileConfig::default()
        }
    }

    /// Opens the journal on `disk`. Segments are prepared inline, whatever `config` says.
    pub fn open(disk: &SimDisk, config: FileConfig) -> Result<(Self, Opened), OpenError> {
        let config = FileConfig { prepare: Prepare::Inline, ..config };
        let (journal, recovery) = FileJournal::open_on(Arc::new(disk.clone()), config)?;
        Ok((Self { disk: disk.clone(), journal }, recovery))
    }

    /// The disk, to put faults into.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The room that it has.
    pub fn room(&self) -> Room {
        self.journal.room()
    }

    /// Ends the process, or the power with it, and returns the disk that is found afterwards.
    pub fn crash(self, crash: Crash) -> SimDisk {
        self.disk.crash(crash)
    }
}

impl Journal for FaultyJournal {
    fn append(&mut self, group: &Group) -> Result<Position, AppendError> {
        self.journal.append(group)
    }

    fn tail(&self) -> Position {
        self.journal.tail()
    }

    fn mark(&mut self) -> Result<(), AppendError> {
        self.journal.mark()
    }

    fn read_from(&self, from: Position) -> Result<EntryIterator, ReadError> {
        self.journal.read_from(from)
    }

    fn truncate_before(&mut self, position: Position) -> Result<(), TruncateError> {
        self.journal.truncate_before(position)
    }
}
