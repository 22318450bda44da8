//! What goes wrong with second copies, one type for each thing that is done.

use std::path::PathBuf;

use longshore_engine::Position;
use thiserror::Error;

/// Why something could not be sent to a place or read from it.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The text names no place.
    #[error("\"{url}\" names no place for copies: {why}")]
    Refused {
        /// The text.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The object is not there.
    #[error("{name} is missing")]
    Missing {
        /// Which one.
        name: String,
    },
    /// It is longer than any that this program writes.
    #[error("{name} has {bytes} bytes, {bytes_max} are possible")]
    TooLong {
        /// Which one.
        name: String,
        /// Its length.
        bytes: u64,
        /// The most that it may have.
        bytes_max: u64,
    },
    /// The place did not answer in time.
    #[error("{name}: no answer within {seconds} s")]
    Silent {
        /// What was asked for.
        name: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The place refuses, or cannot be reached.
    #[error("{name}: {source}")]
    Failed {
        /// What was asked for.
        name: String,
        /// What it said.
        source: object_store::Error,
    },
}

/// Why a copy was not made.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A shard cannot be copied.
    #[error(transparent)]
    Source(#[from] longshore_node::SourceError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] longshore_journal::ReadError),
    /// A file of the store cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// How.
        source: std::io::Error,
    },
    /// A file has gone while it was to be copied, as files do; a newer picture has others.
    #[error("{} has gone meanwhile", path.display())]
    Gone {
        /// Which one.
        path: PathBuf,
    },
    /// What lies at the place is damaged.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// Which object.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Something else lies there: another server sends the same store's line to the same place.
    #[error(
        "{name} holds other entries than this server has: another server has sent copies of this \
         store to the same place. Nothing is overwritten; restore from there, or send to another \
         place"
    )]
    OtherWriter {
        /// Which object.
        name: String,
    },
    /// The journal has grown while the place did not take it.
    #[error("shard {shard} would have to keep more than {bytes_max} bytes of journal")]
    LetGo {
        /// Which shard.
        shard: u32,
        /// How much it may keep.
        bytes_max: u64,
    },
    /// An entry of the journal has no instant.
    #[error("the entry at {position} of shard {shard} cannot be read")]
    Entry {
        /// Which shard.
        shard: u32,
        /// Where.
        position: Position,
    },
    /// The server ends.
    #[error("the server ends")]
    Ended,
}

/// Why nothing was restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is no whole copy.
    #[error("there is no copy of a store in {place}")]
    Nothing {
        /// Where.
        place: String,
    },
    /// Copies of several stores lie there.
    #[error("copies of {} stores lie there, name one: {}", stores.len(), stores.join(", "))]
    Several {
        /// Their ids.
        stores: Vec<String>,
    },
    /// No copy is as old as that.
    #[error("the oldest copy is of {oldest_ms} ms since 1970, later than was asked for")]
    TooOld {
        /// When it was made, in milliseconds since 1970.
        oldest_ms: u64,
    },
    /// Entries of the journal are missing.
    #[error("shard {shard}: entries after position {have} are missing up to {wanted}: {why}")]
    Gap {
        /// Which shard.
        shard: u32,
        /// The last position before the gap.
        have: Position,
        /// What is needed at least.
        wanted: Position,
        /// What was met there.
        why: String,
    },
    /// Something at the place is damaged.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// Which object.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The folder cannot be written to.
    #[error(transparent)]
    Folder(#[from] longshore_node::StoreDirError),
    /// A file of it cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// How.
        source: std::io::Error,
    },
    /// The journal cannot be made.
    #[error(transparent)]
    Journal(#[from] longshore_journal::OpenError),
    /// The journal cannot be written.
    #[error(transparent)]
    Append(#[from] longshore_journal::AppendError),
    /// What was restored is not whole, although every object was.
    #[error("shard {shard} is not whole: {what}")]
    Unsound {
        /// Which shard.
        shard: u32,
        /// What is wrong.
        what: String,
    },
}
