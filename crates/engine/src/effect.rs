//! What the server shall do, once a condition holds.

use crate::answer::Answer;
use crate::command::ReplyTo;

/// Something to do after the position that it waits for is durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Give the caller its answer.
    Reply {
        /// Who asked.
        reply_to: ReplyTo,
        /// What to say.
        answer: Answer,
    },
}
