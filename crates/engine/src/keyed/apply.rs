//! What memory knows of answers that are kept, and how records change both.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{AnswerNote, BESIDE_BYTES, KeptAnswer};
use crate::ids::TimeMs;
use crate::record::Record;
use crate::state::{State, count, keys};
use crate::wire::Wire;

/// How many there are of somebody's, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) answers: u64,
    pub(super) bytes: u64,
}

/// What memory holds of answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct KeptAnswers {
    pub(super) all: Sum,
    pub(super) of_owners: BTreeMap<[u8; 16], Sum>,
    /// When the oldest was decided.
    pub(super) oldest: Option<TimeMs>,
}

impl KeptAnswers {
    fn add(&mut self, note: &AnswerNote) {
        for sum in [&mut self.all, self.of_owners.entry(note.owner).or_default()] {
            sum.answers += 1;
            sum.bytes += note.bytes;
        }
    }

    fn remove(&mut self, note: &AnswerNote) {
        let of_owner = self.of_owners.get_mut(&note.owner).expect("counted when it was kept");
        for sum in [&mut self.all, &mut *of_owner] {
            count::take(&mut sum.answers, 1, "kept answers");
            count::take(&mut sum.bytes, note.bytes, "bytes of kept answers");
        }
        if of_owner.answers == 0 {
            self.of_owners.remove(&note.owner);
        }
    }
}

impl State {
    pub(crate) fn apply_to_answers(&mut self, record: Record) {
        match record {
            Record::AnswerKept { kept } => self.apply_answer_kept(&kept),
            Record::AnswersForgotten { through } => self.apply_answers_forgotten(through),
            _ => unreachable!("apply sends other records elsewhere"),
        }
    }

    fn apply_answer_kept(&mut self, kept: &KeptAnswer) {
        let meta = self.meta_mut();
        assert!(kept.number == meta.last_answer + 1, "answers that are kept have no gaps");
        meta.last_answer = kept.number;
        let note = AnswerNote {
            at: kept.at,
            owner: kept.key.owner,
            key: kept.key.key,
            bytes: (kept.answer.len() + BESIDE_BYTES) as u64,
        };
        self.put(&keys::answer(&kept.key.key), kept);
        self.put(&keys::answer_note(kept.number), &note);
        self.answers.add(&note);
        self.answers.oldest.get_or_insert(kept.at);
    }

    fn apply_answers_forgotten(&mut self, through: u64) {
        for number in self.meta.answers_forgotten + 1..=through {
            let key = keys::answer_note(number);
            let note: AnswerNote = self.value(&key).expect("each that is kept has a note");
            self.remove(&key);
            self.remove(&keys::answer(&note.key));
            self.answers.remove(&note);
        }
        self.meta_mut().answers_forgotten = through;
        self.answers.oldest = self.oldest_answer();
    }

    fn oldest_answer(&self) -> Option<TimeMs> {
        let note = self.value::<AnswerNote>(&keys::answer_note(self.meta.answers_forgotten + 1));
        note.map(|note| note.at)
    }

    /// Reads what memory holds of them when a shard starts.
    pub(crate) fn load_answers(&mut self) {
        let mut found = KeptAnswers::default();
        let (from, to) = ([keys::ANSWER_NOTE], [keys::ANSWER_NOTE + 1]);
        self.scan(&from, &to, &mut |_, value| {
            found.add(&AnswerNote::from_bytes(value).expect("encoded by this engine"));
            ControlFlow::Continue(())
        });
        found.oldest = self.oldest_answer();
        self.answers = found;
    }
}
