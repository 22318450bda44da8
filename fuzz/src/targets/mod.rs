//! One file per target: a function from any bytes to nothing, which may neither panic nor take
//! more memory than its line in the table allows, and asserts what must hold of what it reads.

mod amqp;
mod batches;
mod bodies;
mod entries;
mod frames;
mod journal;
mod kafka;
mod manifest;
mod messages;
mod paths;
mod store;
mod values;

pub use amqp::target as amqp;
pub use batches::target as batches;
pub use bodies::target as bodies;
pub use entries::target as entries;
pub use frames::target as frames;
pub use journal::target as journal;
pub use kafka::target as kafka;
pub use manifest::target as manifest;
pub use messages::target as messages;
pub use paths::target as paths;
pub use store::target as store;
pub use values::target as values;
