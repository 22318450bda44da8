//! The events of a shard's streams in files, one row of files for each partition. What the journal
//! has made durable is written here, without a sync, and read from here by everybody; a sync in the
//! background lets the journal go. Only compaction opens batches, which keeps the newest event of
//! each key; all else reads headers. It knows no protocol.
//!
//! Where to begin: [`StreamLog::write`] takes what a group changed, [`StreamLog::sync`] makes it
//! durable, [`Partition`] is what faces read.

pub mod batch;
mod check;
pub mod codec;
mod compaction;
mod error;
pub mod event;
mod file_id;
mod log;
mod open_files;
mod partition;
mod picture;
mod records;
mod recover;
mod retention;
mod synced;
#[cfg(test)]
mod tests;
mod time;
mod transactions;
mod walk;

pub use check::{Report, check};
pub use compaction::{CompactError, Compaction, Round, Spent};
pub use error::{OpenError, ReadError, SyncError, WriteError};
pub use log::{LATE_BYTES_MAX, StreamEntry, StreamLog};
pub use partition::{Chunk, Partition, Read, Waiting};
pub use picture::{StreamPicture, StreamPictureFile};
pub use records::{KeysSeen, all_have_keys};
pub use retention::Overdue;
pub use time::OffsetAndTime;
pub use transactions::{AbortedTransaction, Hidden};
