//! What can be wrong with the bytes of a journal, and where it is. It knows what is called corrupt,
//! not how that is found out.

use std::cmp::Ordering;
use std::path::PathBuf;

use longshore_engine::{OtherLevel, Position};
use thiserror::Error;

use crate::frame::FrameError;
use crate::segment::Identity;

/// What is wrong with a place in a journal file.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Fault {
    /// The bytes are no frame of the segment.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A sound frame that cannot follow the one before it.
    #[error("frame out of order")]
    Order,
    /// A group without its last frames.
    #[error("group without its commit frame")]
    Uncommitted,
    /// Frames are absent that must have been there.
    #[error("frames are missing")]
    Lost,
    /// A group whose bytes are not the entries that it says it has.
    #[error("group does not hold the entries that it names")]
    Entries,
    /// The segment's header is damaged.
    #[error("segment header is damaged")]
    Header,
    /// The header is not of the segment that the file's name says.
    #[error("segment header names sequence number {found}")]
    Sequence {
        /// The number in the header.
        found: u64,
    },
    /// Another version of Longshore wrote the segment.
    #[error(transparent)]
    OtherLevel(OtherLevel),
    /// The segment belongs to another store or shard.
    #[error("segment belongs to {found}")]
    Foreign {
        /// Whose segment it is.
        found: Identity,
    },
    /// The file is shorter than it was made.
    #[error("segment is cut short")]
    Cut,
    /// The file is not there.
    #[error("segment is missing")]
    Missing,
}

/// A place where a journal is corrupt: what was durable cannot be read back.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{} at offset {offset} ({}): {fault}", path.display(), self.positions())]
pub struct Corruption {
    /// The damaged or missing file.
    pub path: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// The first position that is affected.
    pub first: Position,
    /// The last position that is known to have been durable there. At least `first - 1`: then only
    /// what says so is damaged.
    pub last: Position,
    /// What is wrong.
    pub fault: Fault,
}

impl Corruption {
    /// The positions that are affected, in words.
    fn positions(&self) -> String {
        match self.last.cmp(&self.first) {
            Ordering::Less => format!("after position {}", self.last),
            Ordering::Equal => format!("position {}", self.first),
            Ordering::Greater => format!("positions {} to {}", self.first, self.last),
        }
    }
}

/// The end of a journal that a crash left half-written. It was never answered for, and is cut.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TornTail {
    /// The file that it is in.
    pub path: PathBuf,
    /// Where it begins: the end of the last whole group.
    pub offset: u64,
    /// How far the bytes reach that are not zero.
    pub bytes: u64,
    /// The position that its first entry would have had.
    pub position: Position,
    /// What is wrong with its first frame that is.
    pub fault: Fault,
}
