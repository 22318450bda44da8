//! Commands that are carried out once: who sends one again with the same key is given the answer
//! of the first. The key, and the answer as a face wrote it down, are in the entry of what they
//! protect, so that no crash separates them. Nothing here knows what a key is made of, or what an
//! answer looks like.

mod apply;
mod decide;
mod types;

pub(crate) use apply::KeptAnswers;
pub(crate) use types::AnswerNote;
pub use types::{CommandKey, KeptAnswer, KeyedCommand, Render};

/// For how long an answer is kept at least: 24 hours.
pub const ANSWER_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of an answer that is kept.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Answers that are kept for one owner.
pub const ANSWERS_OF_OWNER_MAX: u64 = 10_000;
/// Bytes that are kept for one owner.
pub(crate) const ANSWER_BYTES_OF_OWNER_MAX: u64 = 16 << 20;
/// Answers that a shard keeps.
pub(crate) const ANSWERS_MAX: u64 = 100_000;
/// Bytes that a shard keeps.
pub(crate) const ANSWER_BYTES_OF_ALL_MAX: u64 = 128 << 20;
/// Beside the bytes of an answer, what its record takes at most.
pub(crate) const BESIDE_BYTES: usize = 256;
