//! Filing jobs that wait, and the counts of their queues: into a lane, or behind the job that
//! holds their ordering key.

use std::ops::ControlFlow;

use super::lanes::{HEAD_KEPT, LaneId, Slot};
use super::{State, count, keys};
use crate::ids::{JobId, KindId, NamespaceId, Place, QueueId, TimeMs};
use crate::job::{Job, Phase};
use crate::map::OrderedMap;
use crate::queue::Queue;
use crate::wire::{Wire, wire_struct};

/// Seconds whose due counters one record may settle; later records settle the rest.
const DUE_SECONDS_PER_RECORD: usize = 64;

/// Seconds that were not settled yet and are looked through when a queue is told of.
pub(crate) const DUE_SECONDS_TOLD_MAX: usize = 1000;

wire_struct! {
    /// How many waiting jobs of a queue become available within one second.
    pub(crate) struct DueCount {
        /// Of those that never failed.
        pub(crate) scheduled: u64,
        /// Of those that wait after a failure.
        pub(crate) retrying: u64,
    }
}

impl<M: OrderedMap> State<M> {
    /// The queue and kind that a job names. Both outlive their jobs.
    pub(crate) fn queue_of(&self, ns: NamespaceId, job: &Job) -> QueueId {
        self.queues.named(ns, &job.queue).expect("a queue outlives its jobs").id
    }

    fn lane_of(&self, ns: NamespaceId, queue: QueueId, job: &Job) -> LaneId {
        let kind = self.kinds.named(ns, &job.kind).unwrap_or(KindId(0));
        LaneId { queue, urgency: u8::MAX - job.options.priority, kind }
    }

    /// Files a waiting job in its lane.
    pub(crate) fn file_in_lane(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        let lane = self.lane_of(ns, queue, job);
        let slot = (job.available_at, job.place);
        self.put(&keys::lane_entry(ns, lane, slot.0, slot.1), &job.id);
        self.lanes.insert(lane, slot, job.id);
        self.count_due(ns, queue, job, 1);
        self.queues.change(queue).counts.waiting += 1;
        self.fresh_queues.insert(queue);
    }

    /// Takes a waiting job out of its lane.
    pub(crate) fn take_from_lane(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        let lane = self.lane_of(ns, queue, job);
        let slot = (job.available_at, job.place);
        self.remove(&keys::lane_entry(ns, lane, slot.0, slot.1));
        if let Some(after) = self.lanes.remove(lane, slot) {
            self.refill(ns, lane, after);
        }
        self.count_due(ns, queue, job, -1);
        let counts = &mut self.queues.change(queue).counts;
        count::take(&mut counts.waiting, 1, "waiting jobs");
    }

    fn refill(&mut self, ns: NamespaceId, lane: LaneId, after: Slot) {
        let from = keys::after(&keys::lane_entry(ns, lane, after.0, after.1));
        let to = keys::after_prefix(&keys::lane_prefix(ns, lane).done());
        let (entries, complete) = self.lane_entries(&from, &to);
        self.read_ahead(ns, entries.iter().map(|(_, id)| *id).collect());
        self.lanes.refill(lane, entries, complete);
    }

    /// The first entries of a range of lane keys, and whether these are all.
    pub(super) fn lane_entries(&self, from: &[u8], to: &[u8]) -> (Vec<(Slot, JobId)>, bool) {
        let mut entries = Vec::new();
        let mut complete = true;
        self.scan(from, to, &mut |key, value| {
            if entries.len() >= HEAD_KEPT {
                complete = false;
                return ControlFlow::Break(());
            }
            let at = key.len().saturating_sub(16);
            if let (Some(time), Some(place), Ok(id)) =
                (keys::u64_at(key, at), keys::u64_at(key, at + 8), JobId::from_bytes(value))
            {
                entries.push(((TimeMs(time), Place(place)), id));
            }
            ControlFlow::Continue(())
        });
        (entries, complete)
    }

    fn count_due(&mut self, ns: NamespaceId, queue: QueueId, job: &Job, by: i8) {
        self.settle_due(ns, queue);
        let second = job.available_at.second();
        let counts = &mut self.queues.change(queue).counts;
        if second <= counts.due_until {
            return;
        }
        let retrying = matches!(job.phase, Phase::Retrying);
        let total = if retrying { &mut counts.retrying } else { &mut counts.scheduled };
        count::shift(total, by.into(), "jobs whose time has not come");
        let key = keys::due(ns, queue, second);
        let mut due: DueCount = self.value(&key).unwrap_or(DueCount { scheduled: 0, retrying: 0 });
        let part = if retrying { &mut due.retrying } else { &mut due.scheduled };
        count::shift(part, by.into(), "jobs of one second");
        if due.scheduled + due.retrying == 0 {
            self.remove(&key);
        } else {
            self.put(&key, &due);
            let next = self.queues.next_due(queue);
            if next.is_none_or(|next| second < next) {
                self.queues.set_next_due(queue, Some(second));
            }
        }
    }

    /// Takes the seconds that have passed out of the due counters, a bounded number at a time.
    fn settle_due(&mut self, ns: NamespaceId, queue: QueueId) {
        let now = self.now().second();
        let Some(known) = self.queues.get(queue) else { return };
        if known.counts.due_until >= now {
            return;
        }
        let mut passed = Vec::new();
        let mut next = self.queues.next_due(queue);
        if next.is_some_and(|next| next <= now) {
            let from = keys::due(ns, queue, known.counts.due_until + 1);
            let to = keys::after_prefix(&keys::due(ns, queue, 0)[..9]);
            next = None;
            self.scan(&from, &to, &mut |key, value| {
                let second = keys::u64_at(key, 9).unwrap_or(u64::MAX);
                if second > now || passed.len() >= DUE_SECONDS_PER_RECORD {
                    next = Some(second);
                    return ControlFlow::Break(());
                }
                passed.push((second, DueCount::from_bytes(value).ok()));
                ControlFlow::Continue(())
            });
        }
        let settled = next.filter(|next| *next <= now).map_or(now, |next| next - 1);
        for (second, due) in passed {
            let counts = &mut self.queues.change(queue).counts;
            if let Some(due) = due {
                count::take(&mut counts.scheduled, due.scheduled, "scheduled jobs");
                count::take(&mut counts.retrying, due.retrying, "retrying jobs");
            }
            self.remove(&keys::due(ns, queue, second));
        }
        self.queues.change(queue).counts.due_until = settled;
        self.queues.set_next_due(queue, next);
    }

    /// How many waiting jobs of the queue are scheduled and retrying at `now`.
    pub(crate) fn not_yet_due(&self, queue: &Queue, now: TimeMs) -> (u64, u64) {
        let (mut scheduled, mut retrying) = (queue.counts.scheduled, queue.counts.retrying);
        if self.queues.next_due(queue.id).is_some_and(|next| next <= now.second()) {
            let from = keys::due(queue.namespace, queue.id, queue.counts.due_until + 1);
            let to = keys::due(queue.namespace, queue.id, now.second() + 1);
            let mut seconds = 0;
            self.scan(&from, &to, &mut |_, value| {
                if let Ok(due) = DueCount::from_bytes(value) {
                    count::take(&mut scheduled, due.scheduled, "scheduled jobs");
                    count::take(&mut retrying, due.retrying, "retrying jobs");
                }
                seconds += 1;
                if seconds < DUE_SECONDS_TOLD_MAX {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
        }
        (scheduled, retrying)
    }
}
