//! What can go wrong with a journal, one type per operation. Each says what was found where.

use std::io;
use std::path::PathBuf;

use longshore_engine::{OtherLevel, Position};
use thiserror::Error;

use crate::fault::{Corruption, Fault};
use crate::segment::Identity;

/// Why a journal was not opened. Nothing was changed in it, except that files were removed which
/// never held an entry.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("journal is in use by another process: {} is locked", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// What was durable is damaged or missing.
    #[error("journal is corrupt: {0}")]
    Corrupt(Corruption),
    /// It belongs to another store or shard.
    #[error("{} belongs to {found}, expected {expected}", path.display())]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// Whose it should be.
        expected: Identity,
        /// Whose it is.
        found: Identity,
    },
    /// Another version of Longshore wrote it.
    #[error("{}: {other}", path.display())]
    OtherLevel {
        /// The segment.
        path: PathBuf,
        /// The level that it has.
        other: OtherLevel,
    },
    /// There is no room for the segment that every start begins.
    #[error("no space on the device for {needed_bytes} bytes of journal in {}", path.display())]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes that the segment takes.
        needed_bytes: u64,
    },
    /// A file or folder could not be read or written.
    #[error("journal could not be opened: {operation} {}: {source}", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

/// Why a group was not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The group does not begin where the journal ends: a bug, or another owner has appended.
    #[error("group begins at position {found}, expected {expected}")]
    Unexpected {
        /// The position after the tail.
        expected: Position,
        /// Where the group begins.
        found: Position,
    },
    /// There is no room for it. Nothing was written; it may be tried again when there is space.
    #[error("no space on the device for {needed_bytes} bytes of journal")]
    NoSpace {
        /// Bytes that the group takes in the journal.
        needed_bytes: u64,
    },
    /// A write or a sync failed. What is on the disk is unknown, so the process must end, and must
    /// not try again: a second sync may succeed without the data.
    #[error("journal write failed: {operation} {}: {source}", path.display())]
    Failed {
        /// What failed.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

/// Why entries were not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The entries were given back by `truncate_before`.
    #[error("position {asked} is gone, the journal begins at {first}")]
    Truncated {
        /// The position that was asked for.
        asked: Position,
        /// The first position that is still there.
        first: Position,
    },
    /// The position lies behind the end of the journal.
    #[error("position {asked} is not written yet, the journal ends at {tail}")]
    BeyondTail {
        /// The position that was asked for.
        asked: Position,
        /// The last durable position.
        tail: Position,
    },
    /// What was durable is damaged.
    #[error("journal is corrupt at offset {offset} of {} (position {position}): {fault}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The first position that is affected.
        position: Position,
        /// What is wrong there.
        fault: Fault,
    },
    /// The file could not be read.
    #[error("journal read failed: {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

/// Why space was not given back. What is in the journal is not affected.
#[derive(Debug, Error)]
#[error("journal segment was not removed: {}: {source}", path.display())]
pub struct TruncateError {
    /// Which file or folder.
    pub path: PathBuf,
    /// How.
    pub source: io::Error,
}
