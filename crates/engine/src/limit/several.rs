//! Lines of jobs that name several keys of limits, or a key and a tenant. Jobs that name the same
//! in one lane are a line, whose first alone goes on. It stands under one of its keys: the first of
//! them of which nothing is left, or else the first. Of all lines under a key and lane one stands
//! in the lane, as long as something is left of the key: the one that comes first. If dispatch
//! finds that nothing is left of another of its keys, the line moves under that one, and the next
//! one is tried. So a key that is spent and comes back moves one line in each lane, and a slot is
//! taken of all keys or of none.
//!
//! Lines of tenants stand where the turns of their tenants have them, under a key as in a lane.

use std::ops::ControlFlow;

use super::{JobLimit, LimitKey};
use crate::ids::{JobId, NamespaceId};
use crate::job::Job;
use crate::queueing::{LaneId, Slot};
use crate::record::{Record, Upkeep};
use crate::state::{State, keys};
use crate::wire::wire_struct;

/// Lines of a tenant that move at the end of its turn: those that stand foremost. Those beyond keep
/// their places, and are the foremost at the end of its next turn.
const LINES_MOVED_MAX: usize = 64;

/// Lines of a tenant among which the foremost are found.
const LINES_SEEN_MAX: usize = 512;

/// How many lines that are looked at cost as much as one that moves.
const SEEN_PER_MOVE: usize = 16;

wire_struct! {
    /// Where a line stands.
    pub(crate) struct LineAt {
        /// The first job of the line.
        pub(crate) id: JobId,
        /// The slot of that job by itself.
        pub(crate) first: Slot,
        /// The slot at which it stands under its key, and in the lane.
        pub(crate) stands: Slot,
        /// Which of its keys it stands under.
        pub(crate) under: u32,
    }
}

/// A line: a lane, and what its jobs name.
struct Several<'a> {
    ns: NamespaceId,
    lane: LaneId,
    tenant: Option<&'a str>,
    limits: &'a [JobLimit],
}

impl<'a> Several<'a> {
    fn of(ns: NamespaceId, lane: LaneId, job: &'a Job) -> Self {
        Self { ns, lane, tenant: job.turns_of(), limits: &job.options.limits }
    }

    fn key(&self) -> Vec<u8> {
        keys::line(self.ns, self.lane, self.tenant.unwrap_or_default(), self.limits)
    }

    fn entries(&self) -> Vec<u8> {
        keys::lined_prefix(self.ns, self.lane, self.tenant.unwrap_or_default(), self.limits)
    }

    fn entry(&self, slot: Slot) -> Vec<u8> {
        keys::with_slot(self.entries(), slot)
    }

    fn under(&self, at: &LineAt) -> LimitKey {
        let limit =
            self.limits.get(at.under as usize).expect("a line stands under one of its keys");
        LimitKey::new(self.ns, &limit.name, &limit.key)
    }
}

/// The record that moves the line of a job under a key of which nothing is left.
pub(crate) fn line_moved(job: &Job, of: &LimitKey) -> Option<Record> {
    let under = job.options.limits.iter().position(|it| it.name == of.name)? as u32;
    let (namespace, id) = (of.ns, job.id);
    Some(Record::Upkeep { fact: Box::new(Upkeep::LineMoved { namespace, id, under }) })
}

impl State {
    /// A job comes into its line.
    pub(crate) fn enter_several(&mut self, ns: NamespaceId, lane: LaneId, job: &Job, slot: Slot) {
        let line = Several::of(ns, lane, job);
        for limit in line.limits {
            self.settle_asked(&LimitKey::new(ns, &limit.name, &limit.key));
        }
        self.put(&line.entry(slot), &job.id);
        let known: Option<LineAt> = self.value(&line.key());
        match known {
            Some(at) if at.first < slot => {}
            Some(at) => {
                self.part_line(&line, &at);
                let at = self.line_at(&line, (slot, job.id), at.under);
                self.join_line(&line, &at);
            }
            None => {
                let under = self.first_spent(&line).unwrap_or(0);
                let at = self.line_at(&line, (slot, job.id), under);
                self.join_line(&line, &at);
            }
        }
    }

    /// A job leaves its line.
    pub(crate) fn leave_several(&mut self, ns: NamespaceId, lane: LaneId, job: &Job, slot: Slot) {
        let line = Several::of(ns, lane, job);
        let own = line.entry(slot);
        self.remove(&own);
        let known: Option<LineAt> = self.value(&line.key());
        let Some(at) = known.filter(|at| at.first == slot) else { return };
        self.part_line(&line, &at);
        match self.first(&keys::after(&own), &keys::after_prefix(&line.entries())) {
            Some((key, id)) => {
                let id = keys::id_at(&id, 0).expect("ids were encoded by this engine");
                let under = self.first_spent(&line).unwrap_or(0);
                let at = self.line_at(&line, (keys::slot_at_end(&key), id), under);
                self.join_line(&line, &at);
            }
            None => self.remove(&line.key()),
        }
    }

    /// The first of a line's keys of which nothing is left.
    fn first_spent(&self, line: &Several<'_>) -> Option<u32> {
        let spent =
            |limit: &JobLimit| self.is_spent_key(&LimitKey::new(line.ns, &limit.name, &limit.key));
        line.limits.iter().position(spent).map(|at| at as u32)
    }

    /// Where a line stands from now on, by the turns of its tenant.
    fn line_at(&self, line: &Several<'_>, (first, id): (Slot, JobId), under: u32) -> LineAt {
        let of = (line.lane.queue, line.lane.urgency);
        let stands =
            line.tenant.map_or(first, |it| self.tenant_turn(line.ns, of, it).stands(first));
        LineAt { id, first, stands, under }
    }

    fn join_line(&mut self, line: &Several<'_>, at: &LineAt) {
        let (ns, lane, stands) = (line.ns, line.lane, at.stands);
        let of = line.under(at);
        self.put(&line.key(), at);
        let before = self.first_under(&of, lane);
        self.put(&keys::line_under(&of, lane, stands), &at.id);
        if self.is_spent_key(&of) || before.is_some_and(|(slot, _)| slot < stands) {
            return;
        }
        if let Some(before) = before {
            self.take_line(ns, lane, before);
        }
        if line.tenant.is_some() {
            self.put_bytes(&keys::tenant_first(ns, lane.queue, at.first), &[]);
        }
        self.put_in_lane(ns, lane, stands, at.id);
    }

    /// A line stands in its lane from now on, and where it has a tenant, its first job tells the
    /// age of what waits in the queue.
    fn put_line(&mut self, ns: NamespaceId, lane: LaneId, (stands, id): (Slot, JobId)) {
        if let Some(first) = self.tenanted_slot(ns, lane, id) {
            self.put_bytes(&keys::tenant_first(ns, lane.queue, first), &[]);
        }
        self.put_in_lane(ns, lane, stands, id);
    }

    /// The opposite of [`State::put_line`].
    fn take_line(&mut self, ns: NamespaceId, lane: LaneId, (stands, id): (Slot, JobId)) {
        if let Some(first) = self.tenanted_slot(ns, lane, id) {
            self.remove(&keys::tenant_first(ns, lane.queue, first));
        }
        self.remove_from_lane(ns, lane, stands);
    }

    /// The own slot of the first job of a line, where that has a tenant.
    fn tenanted_slot(&self, ns: NamespaceId, lane: LaneId, id: JobId) -> Option<Slot> {
        if !lane.part.is_tenanted() {
            return None;
        }
        let job = self.job(ns, id).expect("a line has a first job");
        Some((job.available_at, job.place))
    }

    /// The opposite of [`State::join_line`], but for what is kept of the line itself.
    fn part_line(&mut self, line: &Several<'_>, at: &LineAt) {
        let (ns, lane, of) = (line.ns, line.lane, line.under(at));
        let first = self.first_under(&of, lane);
        self.remove(&keys::line_under(&of, lane, at.stands));
        if self.is_spent_key(&of) || first.is_none_or(|(slot, _)| slot != at.stands) {
            return;
        }
        if line.tenant.is_some() {
            self.remove(&keys::tenant_first(ns, lane.queue, at.first));
        }
        self.remove_from_lane(ns, lane, at.stands);
        if let Some(next) = self.first_under(&of, lane) {
            self.put_line(ns, lane, next);
            self.note_fresh([lane.queue]);
        }
    }

    /// The line that comes first under a key, of one lane: where it stands, and its first job.
    fn first_under(&self, of: &LimitKey, lane: LaneId) -> Option<(Slot, JobId)> {
        let prefix = keys::lines_under(of, lane);
        let (key, id) = self.first(&prefix, &keys::after_prefix(&prefix))?;
        let id = keys::id_at(&id, 0).expect("ids were encoded by this engine");
        Some((keys::slot_at_end(&key), id))
    }

    /// A key has something left again, or not any more: of each lane, the line that comes first
    /// under it goes into the lane or out of it.
    pub(super) fn turn_several(&mut self, of: &LimitKey, open: bool) {
        for lane in self.lanes_under(of) {
            let Some(first) = self.first_under(of, lane) else { continue };
            if open {
                self.put_line(of.ns, lane, first);
                self.note_fresh([lane.queue]);
            } else {
                self.take_line(of.ns, lane, first);
            }
        }
    }

    /// The lanes in which lines stand under a key.
    pub(super) fn lanes_under(&self, of: &LimitKey) -> Vec<LaneId> {
        let prefix = keys::under(of);
        let (mut from, end) = (prefix.clone(), keys::after_prefix(&prefix));
        let mut lanes = Vec::new();
        while let Some((key, _)) = self.first(&from, &end) {
            let lane = keys::lane_at(&key, prefix.len());
            let lane = lane.unwrap_or_else(|| panic!("key {key:02x?} in the state is no line's"));
            lanes.push(lane);
            from = keys::after_prefix(&keys::lines_under(of, lane));
        }
        lanes
    }

    pub(crate) fn apply_line_moved(&mut self, ns: NamespaceId, id: JobId, under: u32) {
        let job = self.job(ns, id).expect("who waits in a line is there");
        let lane = self.lane_of(ns, self.queue_of(ns, &job), &job);
        let line = Several::of(ns, lane, &job);
        let known: Option<LineAt> = self.value(&line.key());
        if let Some(at) = known.filter(|at| at.id == id && at.under != under) {
            self.part_line(&line, &at);
            self.join_line(&line, &LineAt { under, ..at });
        }
    }

    /// A tenant had its turn: its lines go behind what waits.
    pub(crate) fn move_lines_of(
        &mut self,
        ns: NamespaceId,
        (lane, tenant): (LaneId, &str),
        moves: impl Fn(&Self, LaneId) -> bool,
    ) {
        let prefix = keys::lines_of(ns, (lane.queue, lane.urgency), tenant);
        let mut firsts: Vec<LineAt> = Vec::new();
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |_, value| {
            let at: LineAt = crate::wire::Wire::from_bytes(value).expect("encoded by this engine");
            firsts.push(at);
            let enough = firsts.len() >= LINES_SEEN_MAX;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        firsts.sort_by_key(|at| at.stands);
        let (seen, mut moved) = (firsts.len(), 0);
        for at in firsts {
            if moved >= LINES_MOVED_MAX {
                break;
            }
            let job = self.job(ns, at.id).expect("a line has a first job");
            let lane = self.lane_of(ns, lane.queue, &job);
            if moves(self, lane) {
                let line = Several::of(ns, lane, &job);
                self.part_line(&line, &at);
                let at = self.line_at(&line, (at.first, at.id), at.under);
                self.join_line(&line, &at);
                moved += 1;
            }
        }
        self.limiting.lines_moved += moved + seen / SEEN_PER_MOVE;
    }

    /// How many lines moved since this was asked last; lines that were only looked at count for
    /// less.
    pub(crate) fn take_lines_moved(&mut self) -> usize {
        std::mem::take(&mut self.limiting.lines_moved)
    }
}
