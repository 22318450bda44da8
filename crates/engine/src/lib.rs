//! The deterministic core of one shard: namespaces, queues and jobs.
//!
//! The engine decides and applies. It does no I/O, reads no clock, draws no randomness, starts no
//! thread and knows no protocol: time, entropy and commands come in as arguments, records and
//! effects go out as values.

mod map;
mod position;

pub use map::{Change, OrderedMap, Reader};
pub use position::Position;
