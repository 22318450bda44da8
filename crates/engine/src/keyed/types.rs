//! What a key is, and what is kept with it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::answer::Answer;
use crate::command::Command;
use crate::ids::TimeMs;
use crate::wire::wire_struct;

wire_struct! {
    /// What a repeated command is known by: hashes that the face makes.
    #[derive(Eq)]
    pub struct CommandKey {
        /// Who sends it, and in which namespace: what is kept is bounded for each.
        pub owner: [u8; 16],
        /// Of what the client chose, of who it is and of where it asks.
        pub key: [u8; 32],
        /// Of what it asks: the same key with another one is refused.
        pub content: [u8; 16],
    }
}

wire_struct! {
    /// What is kept of a command.
    #[derive(Eq)]
    pub struct KeptAnswer {
        /// Its number, in the order in which they came.
        pub number: u64,
        /// When it was decided.
        pub at: TimeMs,
        /// What it is known by.
        pub key: CommandKey,
        /// The answer as its face wrote it.
        pub answer: Bytes,
    }
}

wire_struct! {
    /// What is known of an answer by its number.
    pub(crate) struct AnswerNote {
        /// When it was decided.
        pub(crate) at: TimeMs,
        /// Whose it is.
        pub(crate) owner: [u8; 16],
        /// Under which key it is kept.
        pub(crate) key: [u8; 32],
        /// Bytes that it counts for.
        pub(crate) bytes: u64,
    }
}

/// How a face writes an answer down. It is called when the command is decided, and never by a
/// replay. It has to be quick, and to give the same for the same answer.
#[derive(Clone)]
pub struct Render(Arc<dyn Fn(&Answer) -> Bytes + Send + Sync>);

impl Render {
    /// One that calls `write`.
    pub fn new(write: impl Fn(&Answer) -> Bytes + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    pub(crate) fn write(&self, answer: &Answer) -> Bytes {
        (self.0)(answer)
    }
}

impl fmt::Debug for Render {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Render")
    }
}

/// A command that is carried out once for its key. It has to be one that is answered at once: the
/// answer of another is not kept.
#[derive(Clone, Debug)]
pub struct KeyedCommand {
    /// What it is known by.
    pub key: CommandKey,
    /// What to do.
    pub command: Command,
    /// How its answer is written down.
    pub render: Render,
}
