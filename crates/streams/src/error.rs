//! Faults of the files of streams, one type for each operation.

use std::io;
use std::path::PathBuf;

use longshore_engine::{PartitionId, Position};
use thiserror::Error;

use crate::batch::BatchFault;

/// Why the files of streams cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refuses.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What says how far the files are complete is damaged.
    #[error("{} is damaged: {what}", path.display())]
    SyncedDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What says how far the files are complete is not there, but the state has streams.
    #[error("{} is missing, but the state has streams: events are lost", path.display())]
    SyncedLost {
        /// The file.
        path: PathBuf,
    },
    /// A file is shorter than it was.
    #[error("{} has {found} bytes, {expected} were written: events are lost", path.display())]
    FileShort {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// What it has to be at least.
        expected: u64,
    },
    /// A partition does not end where the state says.
    #[error(
        "partition {partition} of stream \"{stream}\" ends at offset {found} in its files, but at \
         {expected} in the state: events are lost"
    )]
    EventsLost {
        /// The stream.
        stream: String,
        /// The partition.
        partition: PartitionId,
        /// Where its files end.
        found: u64,
        /// Where the state says that it ends.
        expected: u64,
    },
    /// The files are complete up to a position that the journal does not have.
    #[error("the events are complete up to position {synced}, but the journal ends at {tail}")]
    TailLost {
        /// The position.
        synced: Position,
        /// The end of the journal.
        tail: Position,
    },
    /// Events of the journal could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl OpenError {
    /// Whether nothing is wrong but that the disk is full: then a later start may succeed.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Write(WriteError::Io { source, .. } | WriteError::Begin { source, .. }) => {
                is_no_space(source)
            }
            _ => false,
        }
    }
}

/// Why events of the journal are not in their files.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The system refuses.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What says how far the files are complete cannot be made, with the first stream: without it
    /// no later start would know that there are events.
    #[error("cannot make {}: {source}", path.display())]
    Begin {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not stand behind the last batch.
    #[error("a batch of partition {partition} stands at offset {found}, its files end at {end}")]
    Gap {
        /// The partition.
        partition: PartitionId,
        /// Where the batch stands.
        found: u64,
        /// Where its files end.
        end: u64,
    },
}

impl WriteError {
    /// Whether nothing is wrong but that the disk is full, and what is not written can wait.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Begin { source, .. } => is_no_space(source),
            Self::Gap { .. } => false,
        }
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why the files are not known to be durable. What was not durable before is not tried again: the
/// system may have forgotten it, and a start writes it anew.
#[derive(Debug, Error)]
#[error("cannot sync {}: {source}", path.display())]
pub struct SyncError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Why events cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is nothing at this offset.
    #[error("offset {asked} is not within {start} and {end}")]
    OutOfRange {
        /// The offset.
        asked: u64,
        /// The first that is kept.
        start: u64,
        /// The one after the last.
        end: u64,
    },
    /// The file does not hold what was written.
    #[error("{} is damaged at byte {at}: {fault}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the batch begins.
        at: u64,
        /// What is wrong.
        fault: BatchFault,
    },
    /// The system refuses.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ReadError {
    /// Whether the file is not there: it may have been trimmed or compacted meanwhile.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
