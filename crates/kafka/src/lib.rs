//! Kafka's protocol as a server speaks it, without I/O: what frames say, and groups of consumers
//! that share partitions. It knows nothing of streams on disk and decides nothing about them.
//!
//! Where to begin: [`api`] says what is spoken, [`Request::parse`] reads a frame, [`Reply`] is one
//! being written, `message/` has a file for each family of messages, [`group`] the coordinator of
//! groups in which a member assigns, [`consumer_group`] that of those for which it assigns itself.

pub mod api;
pub mod codes;
pub mod consumer_group;
mod dues;
pub mod fetch_session;
pub mod group;
pub mod input;
pub mod message;
pub mod output;
mod request;
#[cfg(test)]
mod tests;

pub use input::Malformed;
pub use output::Reply;
pub use request::{Body, Header, ParseError, Request, is_unanswered};
