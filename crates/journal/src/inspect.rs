//! Inspecting a journal that no process has open: what is sound, what is a torn tail, what is
//! corrupt and where. It reads only.

use std::io;
use std::path::{Path, PathBuf};

use longshore_engine::Position;
use thiserror::Error;

use crate::disk::{Disk, Folder};
use crate::fault::{Corruption, TornTail};
use crate::file::LOCK_NAME;
use crate::segment::{Identity, is_unfinished, segment_name};
use crate::survey::survey;

/// Why a journal could not be inspected.
#[derive(Debug, Error)]
pub enum InspectError {
    /// A process has it open.
    #[error("journal is in use by another process: {} is locked", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file or folder could not be read.
    #[error("journal could not be read: {}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

/// What an inspection found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The segments in order of their numbers.
    pub segments: Vec<SegmentReport>,
    /// The first position that is there.
    pub first: Position,
    /// The last position that can be read.
    pub tail: Position,
    /// The last position that is proved durable. What lies above it and is whole counts too.
    pub durable: Position,
    /// The end that a crash left half-written, if there is one. The next start cuts it.
    pub torn: Option<TornTail>,
    /// Places where the journal is corrupt, in order. With one of them it will not open.
    pub corrupt: Vec<Corruption>,
    /// Files that were being prepared. The next start removes them.
    pub unfinished: Vec<PathBuf>,
}

impl Report {
    /// Whether the journal will open.
    pub fn is_sound(&self) -> bool {
        self.corrupt.is_empty()
    }
}

/// What was found in one segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// Its number.
    pub sequence: u64,
    /// Its length.
    pub len_bytes: u64,
    /// Whose it is, if that can be read.
    pub identity: Option<Identity>,
    /// Position of its first entry, also of one still to come, if that can be told.
    pub first: Option<Position>,
    /// Position of its last sound entry; the one before `first` where there is none.
    pub last: Option<Position>,
    /// Where its sound frames end.
    pub end_offset: u64,
    /// Number of its sound frames.
    pub frames: u64,
    /// Whether it ends with a seal.
    pub sealed: bool,
    /// What it is.
    pub verdict: Verdict,
}

/// What a segment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// All that it should hold is there.
    Sound,
    /// Prepared, and not used yet.
    Unused,
    /// Sound up to a torn tail.
    Torn,
    /// Something that was durable is damaged or missing.
    Corrupt,
}

/// Inspects the journal in `folder`. Where `identity` is not given, all segments must belong to the
/// same store and shard.
pub fn inspect(
    folder: impl AsRef<Path>,
    identity: Option<Identity>,
) -> Result<Report, InspectError> {
    inspect_on(&Folder::new(folder.as_ref()), identity)
}

/// Inspects the journal on a disk that is given.
pub fn inspect_on(disk: &dyn Disk, identity: Option<Identity>) -> Result<Report, InspectError> {
    let names = disk.names().map_err(|source| InspectError::Io { path: disk.path(""), source })?;
    let path = disk.path(LOCK_NAME);
    let _lock = if names.iter().any(|name| name == LOCK_NAME) {
        match disk.lock(LOCK_NAME, false) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Err(InspectError::Locked { path }),
            Err(source) => return Err(InspectError::Io { path, source }),
        }
    } else {
        None
    };
    let survey =
        survey(disk, identity).map_err(|(path, source)| InspectError::Io { path, source })?;
    let segments = survey.segments.iter().enumerate().map(|(index, segment)| {
        let path = disk.path(&segment_name(segment.sequence));
        let contents = segment.contents.as_ref().ok();
        let verdict = if survey.corrupt.iter().any(|place| place.path == path) {
            Verdict::Corrupt
        } else if survey.torn.as_ref().is_some_and(|torn| torn.path == path) {
            Verdict::Torn
        } else if index >= survey.used {
            Verdict::Unused
        } else {
            Verdict::Sound
        };
        let scan = contents.map(|(_, scan)| scan);
        SegmentReport {
            path,
            sequence: segment.sequence,
            len_bytes: segment.len_bytes,
            identity: contents.map(|(header, _)| header.identity),
            first: scan.and_then(|scan| scan.first),
            last: scan.and_then(|scan| scan.next).map(|next| Position(next.0 - 1)),
            end_offset: scan.map_or(0, |scan| scan.end),
            frames: scan.map_or(0, |scan| scan.frames),
            sealed: scan.is_some_and(|scan| scan.sealed),
            verdict,
        }
    });
    Ok(Report {
        segments: segments.collect(),
        first: survey.first,
        tail: survey.tail,
        durable: survey.durable,
        unfinished: names.iter().filter(|name| is_unfinished(name)).map(|n| disk.path(n)).collect(),
        torn: survey.torn,
        corrupt: survey.corrupt,
    })
}
