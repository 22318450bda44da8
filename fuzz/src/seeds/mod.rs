//! Where the first inputs of the corpus come from: real frames, journals, stores, entries with
//! every kind of record, bodies for every route, and nasty ones. Written with
//! `longshore-fuzz --write-seeds`.

mod accounts;
mod all;
mod amqp;
mod bodies;
mod files;
mod kafka;
mod keyed;
mod messages;
mod operations;
mod records;

pub use all::all;
pub use records::records;
