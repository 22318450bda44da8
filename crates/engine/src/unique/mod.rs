//! Unique jobs: of the jobs with one key, at most one at a time. The lock of a key is an entry of
//! the tree that names the job which has it, put and taken by what happens to that job: it has no
//! time of its own, so it cannot outlive its job. Nothing of it is in memory.

mod hold;
mod meet;
mod tally;

pub(crate) use meet::check_unique;
pub use tally::UniqueConflicts;

use crate::bounds::check_size;
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::rejection::Rejection;
use crate::state::keys;
use crate::wire::{wire_enum, wire_struct};

wire_enum! {
    /// How long a job keeps the lock of its key.
    #[derive(Copy, Eq)]
    pub enum UniqueUntil {
        /// Until it is handed to a worker for the first time, or ends before that.
        1 => Started,
        /// Until it has ended, whichever way.
        2 => Ended,
        /// Until nothing is known of it any more: for as long as its outcome is kept, too.
        3 => Forgotten,
    }
}

wire_struct! {
    /// The lock that a job has, or had.
    pub struct UniqueLock {
        /// What is to be unique: a hash that its producer's face made. The engine reads no args.
        pub key: [u8; 16],
        /// Until when the job keeps it.
        pub until: UniqueUntil,
        /// The beginning of the period in which the key counts; in another one it is another key.
        pub since: Option<TimeMs> = 1,
    }
}

impl UniqueLock {
    /// Where it stands in the tree.
    pub(crate) fn place(&self, ns: NamespaceId) -> Vec<u8> {
        keys::unique(ns, self.key, self.since)
    }
}

/// How a new job is to be unique.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewUnique {
    /// The hash of what is to be unique, its period included.
    pub key: [u8; 16],
    /// The length of the periods, counted from 1970, in which the key counts; `None` for always.
    pub period_ms: Option<u64>,
    /// How long the job keeps the lock.
    pub until: UniqueUntil,
    /// What happens where another job has it.
    pub on_conflict: OnConflict,
    /// Whether jobs of other queues may have the same key. The engine does not look at it: whoever
    /// asks for it has to be somebody who may enqueue to all of them.
    pub spans_queues: bool,
}

wire_enum! {
    /// What becomes of a job whose key another one has.
    #[derive(Copy, Eq)]
    pub enum OnConflict {
        /// It is refused.
        1 => Reject,
        /// It is not enqueued; the answer names the job that is there.
        2 => Existing,
        /// It is not enqueued; the job that waits gets its args, or its time, or both. Where that
        /// job does not wait, the new one is refused.
        3 => Replace {
            /// The args.
            args: bool,
            /// The time at which it may start.
            time: bool,
        },
        /// It is not enqueued; the job that waits gets its time. Where that job does not wait, the
        /// new one is refused.
        4 => Debounce,
        /// It is dropped, and the answer says so.
        5 => Throttle,
    }
}

wire_struct! {
    /// How jobs of a template are to be unique.
    pub struct TemplateUnique {
        /// As in [`NewUnique`], like all that follows.
        pub key: [u8; 16],
        /// How long a job keeps the lock.
        pub until: UniqueUntil,
        /// What happens where another job has it.
        pub on_conflict: OnConflict,
        /// As its owner said it: the engine does not read it.
        pub text: String,
        /// The length of the periods in which the key counts.
        pub period_ms: Option<u64> = 1,
        /// Whether jobs of other queues may have the same key.
        pub spans_queues: bool = 2,
    }
}

impl TemplateUnique {
    /// As a job says it.
    pub(crate) fn of_job(&self) -> NewUnique {
        let Self { key, until, on_conflict, period_ms, spans_queues, .. } = *self;
        NewUnique { key, period_ms, until, on_conflict, spans_queues }
    }
}

/// Bytes of how uniqueness was said.
const TEXT_BYTES_MAX: u64 = 4096;

/// Refuses what is too long to be kept with a template.
pub(crate) fn check_template_unique(unique: Option<&TemplateUnique>) -> Result<(), Rejection> {
    check_size("unique", unique.map_or(0, |unique| unique.text.len()), TEXT_BYTES_MAX)
}

/// What became of a job whose key another one had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UniqueMet {
    /// The other one stands for it.
    Existing,
    /// The other one got its args, or its time, or both.
    Replaced,
    /// The other one got its time.
    Debounced,
    /// It was dropped.
    Throttled,
}

/// What a decision has to know of the job that has a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UniqueHolder {
    pub(crate) id: JobId,
    /// It waits, so its args and its time may change.
    pub(crate) waits: bool,
    /// At this instant it can start no more.
    pub(crate) end: Option<TimeMs>,
    /// The version of its kind.
    pub(crate) version: u32,
}
