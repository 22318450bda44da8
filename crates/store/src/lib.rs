//! The state of a shard on disk: an LSM tree behind the engine's ordered map.
//!
//! The tree has no log of its own. The journal's position is the sequence number of every write,
//! so what lies on disk is always the state at exactly one position. Large values stand apart from
//! the tree's tables, in files that no compaction rewrites. This crate knows nothing of what keys
//! and values mean, and nothing of the journal's files.

mod body;
mod body_file;
mod brief;
mod check;
mod config;
mod error;
mod flush;
mod flusher;
mod identity;
mod lsm;
mod marker;
mod merge;
mod open;
mod picture;
mod shared;
mod snapshot;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod view;

pub use check::{CURRENT_FILE, Depth, Report, check};
pub use config::LsmConfig;
pub use error::{FlushError, OpenError, StoreFault};
pub use flusher::Flusher;
pub use identity::Identity;
pub use lsm::Lsm;
pub use picture::{Picture, PictureFile};
pub use snapshot::{SnapshotReader, Snapshots};
