//! The journal of a shard: the totally ordered, durable sequence of entries from which everything
//! else can be rebuilt. It stores opaque bytes; it knows nothing of records, queues or jobs.

mod error;
mod group;
mod journal;
mod memory;

pub use error::{AppendError, ReadError, TruncateError};
pub use group::{Entries, Group, MAX_ENTRY_BYTES};
pub use journal::{EntryIterator, Journal};
pub use longshore_engine::Position;
pub use memory::MemoryJournal;
