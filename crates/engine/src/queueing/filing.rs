//! Filing entries that wait in their lanes, and the counts of their queues.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::lanes::{Filed, LaneId, Lanes, PartId, Site, Slot};
use crate::gate::Gating;
use crate::ids::{JobId, KindId, NamespaceId, Place, QueueId, TimeMs};
use crate::job::{Job, Phase};
use crate::limit::{Limiting, Line};
use crate::queue::Queue;
use crate::sla::Slas;
use crate::state::{Kinds, Queues, State, count, keys};
use crate::wire::{Wire, wire_struct};

/// Seconds whose due counters one record may settle; later records settle the rest.
const DUE_SECONDS_PER_RECORD: usize = 64;

/// From how many entries on their jobs are read with them.
const READ_AHEAD_MIN: usize = 32;

/// Entries of a lane that a start keeps, and those that it passes before it seeks the next lane.
const LOADED_MAX: usize = 4;
const PASSED_MAX: usize = 32;

/// Seconds that were not settled yet and are looked through to describe a queue.
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

impl State {
    /// The queue and kind that a job names. Both outlive their jobs.
    pub(crate) fn queue_of(&self, ns: NamespaceId, job: &Job) -> QueueId {
        self.queues.named(ns, &job.queue).expect("a queue outlives its jobs").id
    }

    pub(crate) fn kind_of(&self, ns: NamespaceId, job: &Job) -> Option<KindId> {
        self.kinds.named(ns, &job.kind, job.options.version)
    }

    pub(crate) fn lane_of(&self, ns: NamespaceId, queue: QueueId, job: &Job) -> LaneId {
        let kind = self.kind_of(ns, job).unwrap_or(KindId(0));
        let urgency = job.urgency();
        let set = self.gating.set_of(ns, &job.options.gates);
        let set = set.expect("a set of gates is numbered before its first job");
        let limited = job.options.own_limits().next().is_some();
        let part = PartId::of(set, limited, job.turns_of().is_some());
        LaneId { queue, urgency, part, kind }
    }

    /// Whether a queue hands out nothing: it is paused, or a limit or a gate holds it back.
    pub(crate) fn is_shut(&self, id: QueueId, paused: bool) -> bool {
        let held =
            |queue: &Queue| is_held((&self.limiting, &self.gating), queue.namespace, &queue.name);
        paused || self.queues.get(id).is_some_and(held)
    }

    /// Files a waiting job in its lane.
    pub(crate) fn file_in_lane(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        let lane = self.lane_of(ns, queue, job);
        let slot = (job.available_at, job.place);
        match &job.options.limit {
            _ if !job.options.limits.is_empty() => self.enter_several(ns, lane, job, slot),
            Some(limit) => self.enter_line(&Line::of(ns, lane, limit), slot, job.id),
            None => self.stand(ns, lane, job.turns_of(), (slot, job.id)),
        }
        self.count_due(ns, queue, job, 1);
        self.queues.change(queue).counts.waiting += 1;
        self.kinds.count_waiting(lane.kind, true);
        if self.lanes.hands_out(ns, lane) {
            self.note_fresh([queue]);
        }
    }

    /// Takes a waiting job out of its lane.
    pub(crate) fn take_from_lane(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        let lane = self.lane_of(ns, queue, job);
        let slot = (job.available_at, job.place);
        match &job.options.limit {
            _ if !job.options.limits.is_empty() => self.leave_several(ns, lane, job, slot),
            Some(limit) => self.leave_line(&Line::of(ns, lane, limit), slot),
            None => self.stand_back(ns, lane, job.turns_of(), slot),
        }
        self.count_due(ns, queue, job, -1);
        let counts = &mut self.queues.change(queue).counts;
        count::take(&mut counts.waiting, 1, "waiting jobs");
        self.kinds.count_waiting(lane.kind, false);
    }

    /// Puts an entry into a lane.
    pub(crate) fn put_in_lane(&mut self, ns: NamespaceId, lane: LaneId, slot: Slot, id: JobId) {
        self.put(&keys::lane_entry(ns, lane, slot.0, slot.1), &id);
        let Self { queues, kinds, lanes, limiting, gating, slas, .. } = self;
        lanes.insert(|| site(queues, kinds, (limiting, gating, slas), (ns, lane)), lane, slot, id);
    }

    /// Takes an entry out of a lane.
    pub(crate) fn remove_from_lane(&mut self, ns: NamespaceId, lane: LaneId, slot: Slot) {
        self.remove(&keys::lane_entry(ns, lane, slot.0, slot.1));
        if self.lanes.remove(lane, slot) {
            let (entries, more) = self.entries_after(ns, lane, slot, self.lanes.wanted(lane));
            self.lanes.refill(lane, slot, entries, more);
        }
    }

    /// Up to `want` entries of a lane after a slot, and whether more follow.
    pub(super) fn entries_after(
        &self,
        ns: NamespaceId,
        lane: LaneId,
        slot: Slot,
        want: usize,
    ) -> (VecDeque<Filed>, bool) {
        let from = keys::after(&keys::lane_entry(ns, lane, slot.0, slot.1));
        let to = keys::after_prefix(&keys::lane_prefix(ns, lane).done());
        let mut entries = VecDeque::new();
        let mut more = false;
        self.scan(&from, &to, &mut |key, value| {
            if entries.len() >= want {
                more = true;
                return ControlFlow::Break(());
            }
            entries.push_back(entry_of(key, value));
            ControlFlow::Continue(())
        });
        if entries.len() >= READ_AHEAD_MIN {
            self.read_ahead(ns, entries.iter().map(|(_, id)| *id).collect());
        }
        (entries, more)
    }

    /// Finds the lanes when a shard starts: their first entries, and then on to the end of each.
    pub(crate) fn load_lanes(&mut self) {
        let mut lanes = std::mem::take(&mut self.lanes);
        let mut loading = Loading::default();
        let (mut from, end) = (vec![keys::LANE], vec![keys::LANE + 1]);
        loop {
            let mut long = false;
            self.scan(&from, &end, &mut |key, value| {
                if !loading.is_of_lane(key) {
                    loading.end(self, &mut lanes);
                    loading.begin(key);
                }
                loading.passed += 1;
                if loading.entries.len() < LOADED_MAX {
                    loading.entries.push_back(entry_of(key, value));
                }
                long = loading.passed >= PASSED_MAX;
                if long { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if !long {
                break;
            }
            from = keys::after_prefix(&loading.prefix);
        }
        loading.end(self, &mut lanes);
        self.lanes = lanes;
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

/// Whether a limit or a gate over a whole queue holds it back.
fn is_held((limiting, gating): (&Limiting, &Gating), ns: NamespaceId, queue: &str) -> bool {
    limiting.holds_queue(ns, queue) || gating.holds_queue(ns, queue)
}

/// What the lanes have to know of a lane's queue and kind.
fn site<'a>(
    queues: &'a Queues,
    kinds: &Kinds,
    (limiting, gating, slas): (&Limiting, &Gating, &Slas),
    (namespace, lane): (NamespaceId, LaneId),
) -> Site<'a> {
    let (queue, paused) = queues.site(lane.queue).expect("a queue outlives its jobs");
    let shut = paused || is_held((limiting, gating), namespace, queue);
    let reserved = kinds.reserved().contains(&lane.kind);
    let kind = kinds.name(lane.kind).unwrap_or_default();
    let deadline_ms = slas.deadline_ms(namespace, queue, kind);
    Site { namespace, queue, shut, reserved, deadline_ms }
}

/// The lane that a start is reading.
#[derive(Default)]
struct Loading {
    /// What its keys begin with; empty before the first one.
    prefix: Vec<u8>,
    entries: VecDeque<Filed>,
    passed: usize,
}

impl Loading {
    fn is_of_lane(&self, key: &[u8]) -> bool {
        !self.prefix.is_empty() && key.starts_with(&self.prefix)
    }

    fn begin(&mut self, key: &[u8]) {
        let (ns, lane) = lane_at(key);
        self.prefix = keys::lane_prefix(ns, lane).done();
        self.passed = 0;
    }

    fn end(&mut self, state: &State, lanes: &mut Lanes) {
        if self.prefix.is_empty() {
            return;
        }
        let (ns, lane) = lane_at(&self.prefix);
        let entries = std::mem::take(&mut self.entries);
        let more = self.passed > entries.len() || self.passed >= PASSED_MAX;
        let held_by = (&state.limiting, &state.gating, &state.slas);
        let site = site(&state.queues, &state.kinds, held_by, (ns, lane));
        lanes.add(site, lane, entries, more);
    }
}

/// The lane that an entry's key names.
fn lane_at(key: &[u8]) -> (NamespaceId, LaneId) {
    let lane = || {
        let queue = QueueId(keys::u32_at(key, 5)?);
        let urgency = *key.get(9)?;
        let part = PartId::at(key, 10)?;
        let kind = KindId(keys::u32_at(key, 12)?);
        Some((NamespaceId(keys::u32_at(key, 1)?), LaneId { queue, urgency, part, kind }))
    };
    lane().unwrap_or_else(|| panic!("key {key:02x?} in the state is no lane's"))
}

/// The entry that stands under a lane's key.
fn entry_of(key: &[u8], value: &Bytes) -> Filed {
    let entry = || {
        let slot = (TimeMs(keys::u64_at(key, 16)?), Place(keys::u64_at(key, 24)?));
        Some((slot, JobId::from_bytes(value).ok()?))
    };
    entry().unwrap_or_else(|| panic!("key {key:02x?} in the state is no lane's"))
}
