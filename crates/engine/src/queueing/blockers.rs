//! What blocks an entry: a *switch* over a part of a lane (the pause of its queue, a gate, a
//! version that nobody runs), which takes that part out of the merge and moves no entry, or a *key*
//! (its ordering key, the pause of the single job, the hold of a tag): an entry that a key blocks
//! stands aside of its lane, and what the key lets go comes forward to its old place in it.
//!
//! A key is a file of its own beside this one, which says what it blocks and whom its end lets go,
//! and has one line in each function here that lists the keys. Nothing else files an entry:
//! whoever changes what a key blocks does it inside [`State::reblock`]. A grant takes from the lane
//! and asks no blocker: what stands in a lane can be granted, and so can all of it at once. So a
//! key that lets one entry run at a time leaves one of its entries in the lanes, as an ordering key
//! does.

use crate::answer::BlockedBy;
use crate::gate::gates_told;
use crate::hold::holds_told;
use crate::ids::{NamespaceId, QueueId};
use crate::job::Job;
use crate::limit::limits_told;
use crate::map::Reader;
use crate::queueing::{job_pause, ordering_key};
use crate::state::{State, count, keys};
use crate::tenant::turn_told;

/// What keeps a waiting job from being handed out, apart from its time. `queue` is the number of
/// its queue, and whether that is paused.
pub(crate) fn blockers_of(
    reader: &dyn Reader,
    ns: NamespaceId,
    job: &Job,
    queue: Option<(QueueId, bool)>,
) -> Vec<BlockedBy> {
    let turn = queue.and_then(|(queue, _)| turn_told(reader, ns, queue, job));
    let queue = queue.filter(|(_, paused)| *paused).map(|_| BlockedBy::QueuePause);
    let keys = [ordering_key::told(reader, ns, job), job_pause::told(reader, ns, job)];
    let limits = limits_told(reader, ns, job);
    let gates = gates_told(reader, ns, job);
    let holds = holds_told(reader, ns, job);
    let keys = keys.into_iter().flatten().chain(queue);
    keys.chain(limits).chain(gates).chain(holds).chain(turn).collect()
}

impl State {
    /// Whether a key blocks the entry.
    fn is_blocked(&self, ns: NamespaceId, job: &Job) -> bool {
        self.is_behind_another(ns, job)
            || self.is_paused(ns, job.id)
            || self.is_held_back(ns, job.id)
    }

    /// Files an entry that comes into its queue.
    pub(crate) fn file_new(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        self.enter_ordering_key(ns, job);
        self.enter_tenant(ns, queue, job);
        self.enter_gate_set(ns, job);
        self.file(ns, queue, job);
    }

    /// An entry has ended, and is filed nowhere. It leaves its keys, and what stood behind it
    /// there comes forward.
    pub(crate) fn leave_keys(&mut self, ns: NamespaceId, job: &Job) {
        self.leave_unique_ended(ns, job);
        self.leave_ordering_key(ns, job);
        self.leave_pause(ns, job.id);
        self.leave_hold(ns, job.id);
        self.leave_tenant(ns, job);
        self.leave_gate_set(ns, job);
    }

    /// Files an entry that waits: in its lane, or aside where a key blocks it.
    pub(crate) fn file(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        self.enter_hold(ns, job);
        if self.is_blocked(ns, job) {
            self.put_aside(ns, queue, job);
        } else {
            self.file_in_lane(ns, queue, job);
        }
    }

    /// Takes an entry that waits from where it is filed.
    pub(crate) fn unfile(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        if self.is_blocked(ns, job) {
            self.take_from_aside(ns, queue, job);
        } else {
            self.take_from_lane(ns, queue, job);
        }
    }

    /// Moves a waiting entry to another time, which `change` sets.
    pub(crate) fn refile(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
        job: &mut Job,
        change: impl FnOnce(&mut Job),
    ) {
        // An entry that stands aside stays where it is, whatever its time.
        let blocked = self.is_blocked(ns, job);
        if !blocked {
            self.take_from_lane(ns, queue, job);
        }
        change(job);
        if !blocked {
            self.file_in_lane(ns, queue, job);
        }
    }

    /// Moves a waiting entry to another queue or urgency, which `change` sets. What blocks it goes
    /// on doing so.
    pub(crate) fn refile_elsewhere(
        &mut self,
        ns: NamespaceId,
        job: &Job,
        change: impl FnOnce(&mut Job),
    ) -> Job {
        let blocked = self.is_blocked(ns, job);
        let from = self.queue_of(ns, job);
        if blocked {
            self.take_from_aside(ns, from, job);
        } else {
            self.take_from_lane(ns, from, job);
        }
        self.leave_tenant(ns, job);
        let mut job = job.clone();
        change(&mut job);
        let to = self.queue_of(ns, &job);
        self.enter_tenant(ns, to, &job);
        if blocked {
            self.put_aside(ns, to, &job);
        } else {
            self.file_in_lane(ns, to, &job);
        }
        job
    }

    /// Changes what blocks an entry. If the entry waits, it is filed anew by what blocks it then.
    pub(crate) fn reblock(&mut self, ns: NamespaceId, job: &Job, change: impl FnOnce(&mut Self)) {
        let waits = !self.leases.contains(ns, job.id);
        let before = self.is_blocked(ns, job);
        change(self);
        let after = self.is_blocked(ns, job);
        if !waits || before == after {
            return;
        }
        let queue = self.queue_of(ns, job);
        if after {
            self.take_from_lane(ns, queue, job);
            self.put_aside(ns, queue, job);
        } else {
            self.take_from_aside(ns, queue, job);
            self.file_in_lane(ns, queue, job);
        }
    }

    fn put_aside(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        self.put(&keys::blocked(ns, queue, job.place), &job.id);
        self.queues.change(queue).counts.blocked += 1;
        if let Some(kind) = self.kind_of(ns, job) {
            self.kinds.count_waiting(kind, true);
        }
    }

    fn take_from_aside(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        self.remove(&keys::blocked(ns, queue, job.place));
        let counts = &mut self.queues.change(queue).counts;
        count::take(&mut counts.blocked, 1, "blocked jobs");
        if let Some(kind) = self.kind_of(ns, job) {
            self.kinds.count_waiting(kind, false);
        }
    }
}
