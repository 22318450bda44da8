//! Queues: settings, counts, and what changes them.

mod settings;

pub use settings::{JobDefaults, QueueSettings};

use crate::ids::{NamespaceId, QueueId};
use crate::wire::wire_struct;

wire_struct! {
    /// How many jobs of a queue are in which state, and what passed through it. Maintained by
    /// `apply`, so they are exact at every position.
    #[derive(Default)]
    pub struct QueueCounts {
        /// Wait in a lane, whether due or not.
        pub waiting: u64,
        /// Wait aside of their lanes, since a key blocks them: another job of their ordering key,
        /// their own pause, or the hold of a tag of theirs.
        pub blocked: u64,
        /// Of the waiting ones, those whose second had not come at `due_until` and never failed.
        pub scheduled: u64,
        /// Of the waiting ones, those whose second had not come at `due_until` after a failure.
        pub retrying: u64,
        /// Have a live lease.
        pub running: u64,
        /// Are dead.
        pub dead: u64,
        /// Seconds up to this one are out of the due counters.
        pub due_until: u64,
        /// Ever enqueued.
        pub enqueued_total: u64,
        /// Ever succeeded.
        pub succeeded_total: u64,
        /// Attempts that ever failed, timed out or were lost.
        pub failed_total: u64,
        /// Ever gone to the dead set.
        pub dead_total: u64,
        /// Ever cancelled, discarded or expired.
        pub cancelled_total: u64,
        /// Messages, those that are with consumers among them.
        pub messages: u64 = 60,
        /// Bytes of their bodies.
        pub message_bytes: u64 = 61,
        /// Messages that ever entered.
        pub published_total: u64 = 62,
        /// Messages that were ever acked.
        pub acked_total: u64 = 63,
        /// Messages that ever ended otherwise.
        pub dropped_total: u64 = 64,
    }
}

impl QueueCounts {
    pub(crate) const EMPTY: Self = Self {
        waiting: 0,
        blocked: 0,
        scheduled: 0,
        retrying: 0,
        running: 0,
        dead: 0,
        due_until: 0,
        enqueued_total: 0,
        succeeded_total: 0,
        failed_total: 0,
        dead_total: 0,
        cancelled_total: 0,
        messages: 0,
        message_bytes: 0,
        published_total: 0,
        acked_total: 0,
        dropped_total: 0,
    };

    /// Jobs that have not ended.
    pub fn backlog(&self) -> u64 {
        self.waiting + self.blocked + self.running
    }
}

wire_struct! {
    /// What queues and namespaces that were removed had counted, so that sums stay complete.
    #[derive(Default)]
    pub struct GoneTotals {
        /// Ever enqueued.
        pub enqueued_total: u64,
        /// Ever succeeded.
        pub succeeded_total: u64,
        /// Attempts that ever failed, timed out or were lost.
        pub failed_total: u64,
        /// Ever gone to the dead set.
        pub dead_total: u64,
        /// Ever cancelled, discarded or expired.
        pub cancelled_total: u64,
        /// Tombstones dropped before their time.
        pub tombstones_dropped_total: u64,
    }
}

impl GoneTotals {
    pub(crate) const NONE: Self = Self {
        enqueued_total: 0,
        succeeded_total: 0,
        failed_total: 0,
        dead_total: 0,
        cancelled_total: 0,
        tombstones_dropped_total: 0,
    };

    /// A queue goes.
    pub(crate) fn add_queue(&mut self, counts: &QueueCounts) {
        self.enqueued_total += counts.enqueued_total;
        self.succeeded_total += counts.succeeded_total;
        self.failed_total += counts.failed_total;
        self.dead_total += counts.dead_total;
        self.cancelled_total += counts.cancelled_total;
    }
}

wire_struct! {
    /// A queue as it is kept. Its counts stand under a key of their own: snapshots read the rest.
    pub struct Queue {
        /// Its number in the shard.
        pub id: QueueId,
        /// The namespace that it belongs to.
        pub namespace: NamespaceId,
        /// Its name.
        pub name: String,
        /// What its owner set.
        pub settings: QueueSettings,
        /// What is in it.
        pub counts: QueueCounts = _,
    }
}
