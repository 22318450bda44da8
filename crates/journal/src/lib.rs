//! The journal of a shard: the totally ordered, durable sequence of entries from which everything
//! else can be rebuilt. It stores opaque bytes; it knows nothing of records, queues or jobs.

#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod disk;
mod error;
mod fault;
#[cfg(any(test, feature = "test-util"))]
mod faulty;
mod file;
mod follow;
pub mod frame;
mod group;
mod inspect;
mod journal;
mod needed;
mod newest;
mod open;
mod prepare;
mod read;
mod scan;
mod segment;
#[cfg(any(test, feature = "test-util"))]
mod sim_disk;
mod survey;
mod walk;

#[cfg(test)]
mod tests;

pub use error::{AppendError, OpenError, ReadError, TruncateError};
pub use fault::{Corruption, Fault, TornTail};
#[cfg(any(test, feature = "test-util"))]
pub use faulty::FaultyJournal;
pub use file::{FileConfig, FileJournal};
pub use follow::{Follow, Followed};
pub use group::{Group, MAX_ENTRY_BYTES};
pub use inspect::{InspectError, Report, SegmentReport, Verdict, inspect, inspect_on};
pub use journal::{EntryIterator, Journal};
pub use longshore_engine::Position;
pub use open::Opened;
pub use prepare::{Prepare, Room};
pub use segment::Identity;
#[cfg(any(test, feature = "test-util"))]
pub use sim_disk::{Crash, SimDisk};
