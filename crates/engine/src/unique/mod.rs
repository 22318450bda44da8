//! Unique jobs: of the jobs with one key, at most one at a time. The lock of a key is an entry of
//! the tree that names the job which has it, put and taken by what happens to that job: it has no
//! time of its own, so it cannot outlive its job. Nothing of it is in memory.

mod hold;
mod meet;

pub(crate) use meet::check_unique;

use crate::ids::{JobId, NamespaceId, TimeMs};
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

/// What becomes of a job whose key another one has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnConflict {
    /// It is refused.
    Reject,
    /// It is not enqueued; the answer names the job that is there.
    Existing,
    /// It is not enqueued; the job that waits gets its args, or its time, or both. Where that job
    /// does not wait, the new one is refused.
    Replace {
        /// The args.
        args: bool,
        /// The time at which it may start.
        time: bool,
    },
    /// It is not enqueued; the job that waits gets its time. Where that job does not wait, the new
    /// one is refused.
    Debounce,
    /// It is dropped, and the answer says so.
    Throttle,
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
