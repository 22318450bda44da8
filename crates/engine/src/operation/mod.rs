//! Operations: what touches many jobs or messages, cut into slices that survive a crash, show their
//! progress and can be cancelled.

mod count;
mod jobs;
mod progress;
mod slice;
mod start;

use std::collections::BTreeMap;

pub use jobs::{JobAction, JobsChange};

use crate::ids::{NamespaceId, OperationId, Place, QueueId, TimeMs};
use crate::job::Job;
use crate::message::MessageMove;
use crate::wire::{wire_enum, wire_struct};

wire_enum! {
    /// What an operation does.
    pub enum OperationKind {
        /// Removes the waiting jobs of a queue.
        1 => PurgeQueue {
            /// The queue.
            queue: String,
            /// Only this kind.
            kind: Option<String> = 1,
            /// Only what was enqueued before this instant.
            before: Option<TimeMs> = 2,
        },
        /// Enqueues dead jobs again.
        2 => RetryDead {
            /// Only of this queue.
            queue: Option<String> = 1,
            /// Only this kind.
            kind: Option<String> = 2,
            /// Only what died before this instant.
            before: Option<TimeMs> = 3,
            /// So many of them at most, the oldest first.
            limit: Option<u64> = 4,
        },
        /// Removes dead jobs.
        3 => PurgeDead {
            /// Only of this queue.
            queue: Option<String> = 1,
            /// Only this kind.
            kind: Option<String> = 2,
            /// Only what died before this instant.
            before: Option<TimeMs> = 3,
            /// So many of them at most, the oldest first.
            limit: Option<u64> = 4,
        },
        /// Removes every job of a queue, then the queue.
        4 => DeleteQueue {
            /// The queue.
            queue: String,
        },
        /// Takes messages of a queue back to where they came from, or elsewhere.
        180 => MoveMessages {
            /// Which, and where.
            moving: Box<MessageMove>,
        },
        /// Changes all jobs that a filter means.
        223 => ChangeJobs {
            /// Which, and how.
            change: Box<JobsChange>,
        },
    }
}

wire_enum! {
    /// How far an operation is.
    pub enum OperationState {
        /// Slices follow.
        1 => Running,
        /// Everything that matched is done.
        2 => Finished,
        /// Stopped when asked; what was done stays done.
        3 => Cancelled,
    }
}

wire_struct! {
    /// An operation as it is kept.
    pub struct Operation {
        /// Its number in the shard.
        pub id: OperationId,
        /// Its namespace.
        pub namespace: NamespaceId,
        /// What it does.
        pub kind: OperationKind,
        /// Jobs that entered later are not touched.
        pub upper: Place,
        /// How far it is.
        pub state: OperationState,
        /// How many jobs could match when it started: an upper bound.
        pub candidates: u64,
        /// How many it looked at.
        pub examined: u64,
        /// How many it changed.
        pub changed: u64,
        /// Where the next slice begins: a key of the ordered map.
        pub cursor: Option<bytes::Bytes> = 1,
        /// When it started.
        pub started_at: TimeMs,
        /// When it ended.
        pub ended_at: Option<TimeMs> = 2,
        /// Messages that it was to move, or jobs that it was to change, and that stay as they are.
        pub kept: u64 = 180,
        /// Why the first of them stays.
        pub kept_why: Option<String> = 181,
        /// Queues that had no room: what follows for them stays as well, so that order is kept.
        pub full: Vec<QueueId> = 182,
        /// Where the first slice began, where it walks all jobs: a key of the ordered map.
        pub first: Option<bytes::Bytes> = 255,
    }
}

impl Operation {
    /// Whether a job was there when it started: in its queue, where it is about one.
    pub(crate) fn was_there(&self, job: &Job) -> bool {
        let entered = if self.kind.queue().is_some() { job.entered_queue() } else { job.place };
        entered < self.upper
    }
}

/// The operations of a shard, those that ended lately included.
#[derive(Debug, Default)]
pub(crate) struct Operations(BTreeMap<OperationId, Operation>);

impl Operations {
    pub(crate) fn insert(&mut self, operation: Operation) {
        self.0.insert(operation.id, operation);
    }

    /// Those of which slices follow, the first one first.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Operation> + Clone {
        self.0.values().filter(|operation| operation.state == OperationState::Running)
    }

    /// Those of a namespace, the last one first.
    pub(crate) fn of(&self, ns: NamespaceId) -> impl Iterator<Item = &Operation> {
        self.0.values().rev().filter(move |operation| operation.namespace == ns)
    }
}
