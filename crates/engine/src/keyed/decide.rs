//! Whether a command with a key was carried out already, whether there is room for what it will
//! be answered, and what is forgotten.

use bytes::Bytes;

use super::apply::Sum;
use super::{
    ANSWER_BYTES_OF_ALL_MAX, ANSWER_BYTES_OF_OWNER_MAX, ANSWER_MS, ANSWERS_MAX,
    ANSWERS_OF_OWNER_MAX, AnswerNote, CommandKey, KeptAnswer,
};
use crate::ids::TimeMs;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};

/// Answers that are forgotten in one turn.
const SLICE_MAX: u64 = 128;

impl State {
    /// The answer of the command that came first with this key.
    ///
    /// # Errors
    ///
    /// It asked for something else, or there is no room to keep another answer.
    pub(crate) fn answer_kept(&self, key: &CommandKey) -> Result<Option<Bytes>, Rejection> {
        if let Some(kept) = self.value::<KeptAnswer>(&keys::answer(&key.key)) {
            if kept.key.content != key.content {
                return Err(Rejection::KeyUsedOtherwise);
            }
            return Ok(Some(kept.answer));
        }
        let of_owner = self.answers.of_owners.get(&key.owner).copied().unwrap_or_default();
        let full = |sum: Sum, most: u64, bytes: u64| sum.answers >= most || sum.bytes >= bytes;
        if full(of_owner, ANSWERS_OF_OWNER_MAX, ANSWER_BYTES_OF_OWNER_MAX)
            || full(self.answers.all, ANSWERS_MAX, ANSWER_BYTES_OF_ALL_MAX)
        {
            return Err(Rejection::TooManyKeys { limit: ANSWERS_OF_OWNER_MAX });
        }
        Ok(None)
    }

    /// The record that keeps an answer.
    pub(crate) fn decide_kept(&self, key: CommandKey, answer: Bytes, moment: Moment) -> Record {
        let (number, at) = (self.meta.last_answer + 1, moment.at);
        Record::AnswerKept { kept: Box::new(KeptAnswer { number, at, key, answer }) }
    }

    /// When the oldest answer is to go.
    pub(crate) fn next_answer_to_forget(&self) -> Option<TimeMs> {
        self.answers.oldest.map(|at| at.plus(ANSWER_MS))
    }

    /// The record that forgets some of the oldest answers.
    pub(crate) fn decide_answers_forgotten(&self, now: TimeMs) -> Option<Record> {
        if self.next_answer_to_forget()? > now {
            return None;
        }
        let first = self.meta.answers_forgotten + 1;
        let mut through = first;
        while through < first + SLICE_MAX - 1 {
            let next = self.value::<AnswerNote>(&keys::answer_note(through + 1));
            if next.is_none_or(|note| note.at.plus(ANSWER_MS) > now) {
                break;
            }
            through += 1;
        }
        Some(Record::AnswersForgotten { through })
    }
}
