//! Which entries are handed out next: a merge over the heads of all lanes that were asked for.
//! What it costs follows from what it answers, not from how many queues match.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::heads::{Part, Rank, rank};
use super::lanes::{LaneId, Next, Slot};
use crate::command::QueuePattern;
use crate::ids::{JobId, KindId, NamespaceId, QueueId, TimeMs};
use crate::kind::KindRange;
use crate::state::State;

/// Jobs in the order in which they are to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    pub(crate) jobs: Vec<JobId>,
    /// Heads, entries and parts of trees that were looked at.
    pub(crate) looked: usize,
    /// It stopped since it had looked at enough: there may be more. The next offer does not meet
    /// the same lanes again.
    pub(crate) cut: bool,
}

/// Lanes that one offer passes over.
const PASSED_MAX: usize = if cfg!(test) { 64 } else { 1024 };

/// What may come next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Source {
    /// Lanes whose best head has that rank.
    Lanes(Part),
    /// An entry of a lane whose head came before, and where it stands there.
    Entry(LaneId, JobId, Slot),
}

/// A merge of lanes.
struct Merge<'a> {
    state: &'a State,
    ns: NamespaceId,
    now: TimeMs,
    open: BinaryHeap<Reverse<(Rank, Source)>>,
    looked: usize,
    /// Lanes of shut queues, and of kinds that stand apart.
    passed: usize,
}

impl State {
    /// Up to `want` jobs that are due at `now`, of the queues that are meant and hand out, the
    /// most urgent first. Of reserved kinds none, of `kinds` only those where it is given.
    pub(crate) fn offer(
        &self,
        ns: NamespaceId,
        pattern: &QueuePattern,
        kinds: Option<&[KindId]>,
        (now, want): (TimeMs, usize),
    ) -> Offer {
        if self.limiting.holds_namespace(ns) {
            return Offer::default();
        }
        let open = BinaryHeap::new();
        let mut merge = Merge { state: self, ns, now, open, looked: 0, passed: 0 };
        let mut open = Vec::new();
        let heads = self.lanes.heads();
        let found = &mut |part| open.push(Reverse((heads.best(part), Source::Lanes(part))));
        merge.looked += self.lanes.meant(ns, pattern, kinds, found);
        merge.open = open.into();
        let mut jobs = Vec::new();
        while jobs.len() < want
            && let Some((lane, job)) = merge.next()
        {
            jobs.push(job);
            // What comes next may be the job behind it in the line of its key or tenant.
            if lane.part.is_lined() {
                break;
            }
        }
        let cut = merge.passed >= PASSED_MAX;
        if cut {
            self.lanes.note_cut_short(ns);
        }
        Offer { jobs, looked: merge.looked, cut: cut && self.lanes.has_met() }
    }

    /// Puts heads of lanes forward whose time has come by `now`, up to `most` of them.
    pub(crate) fn come_due(&mut self, now: TimeMs, most: usize) {
        let mut fresh = Vec::new();
        self.lanes.advance(now, most, |queue| fresh.push(queue));
        self.note_fresh(fresh);
        for ns in self.lanes.take_cut_short() {
            self.offer_all(ns);
        }
    }

    /// Some of the queues that `pattern` means and that have something to hand out.
    pub(crate) fn due_queues(
        &self,
        ns: NamespaceId,
        pattern: &QueuePattern,
        kinds: Option<&[KindId]>,
        most: usize,
    ) -> BTreeSet<QueueId> {
        let (mut open, mut queues) = (Vec::new(), BTreeSet::new());
        self.lanes.meant(ns, pattern, kinds, &mut |part| open.push(part));
        while queues.len() < most
            && let Some(part) = open.pop()
        {
            match part {
                Part::One(id) => {
                    queues.insert(self.lanes.heads().lane(id).queue);
                }
                Part::Whole(id) => open.extend(self.lanes.heads().split(id)),
            }
        }
        queues
    }

    /// The kinds in the versions that a request names, as far as there is anything due of them:
    /// each is looked for in each of its queues.
    pub(crate) fn kinds_due(&self, ns: NamespaceId, ranges: &[KindRange]) -> Vec<KindId> {
        let ranges = merged(ranges);
        let known = ranges.iter().flat_map(|range| self.kinds.within(ns, range));
        known.filter(|kind| self.lanes.is_kind_due(*kind)).collect()
    }

    /// Reads entries of a lane that memory does not hold.
    fn read_on(&self, ns: NamespaceId, lane: LaneId) -> usize {
        let Some(last) = self.lanes.last(lane) else { return 0 };
        let (entries, more) = self.entries_after(ns, lane, last, self.lanes.wanted(lane));
        let count = entries.len();
        self.lanes.append(lane, entries, more);
        count
    }
}

/// The same versions, each named once: what it costs to look for them follows from how many are
/// known, not from how often a request names them.
fn merged(ranges: &[KindRange]) -> Vec<KindRange> {
    let mut sorted: Vec<&KindRange> = ranges.iter().collect();
    sorted.sort_unstable();
    let mut merged: Vec<KindRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if last.kind == range.kind && range.from <= last.to => {
                last.to = last.to.max(range.to);
            }
            _ => merged.push(range.clone()),
        }
    }
    merged
}

impl Merge<'_> {
    fn next(&mut self) -> Option<(LaneId, JobId)> {
        loop {
            let Reverse((_, source)) = self.open.pop()?;
            self.looked += 1;
            match source {
                Source::Entry(lane, job, slot) => {
                    self.go_on(lane, slot);
                    return Some((lane, job));
                }
                Source::Lanes(Part::Whole(id)) => {
                    let heads = self.state.lanes.heads();
                    let parts = heads.split(id);
                    self.open
                        .extend(parts.map(|part| Reverse((heads.best(part), Source::Lanes(part)))));
                }
                Source::Lanes(Part::One(id)) => {
                    let lane = self.state.lanes.heads().lane(id);
                    if self.state.lanes.passes(lane, id) {
                        self.passed += 1;
                        if self.passed >= PASSED_MAX {
                            return None;
                        }
                        continue;
                    }
                    let (slot, job) = self.state.lanes.head(lane)?;
                    self.go_on(lane, slot);
                    return Some((lane, job));
                }
            }
        }
    }

    /// What follows in a lane after a slot may come next.
    fn go_on(&mut self, lane: LaneId, slot: Slot) {
        let mut next = self.state.lanes.after(lane, slot);
        if next == Next::Unread {
            self.looked += self.state.read_on(self.ns, lane);
            next = self.state.lanes.after(lane, slot);
        }
        match next {
            Next::Entry((slot, job)) if slot.0 <= self.now => {
                let rank = rank(lane.urgency, slot, self.state.lanes.deadline_ms(lane));
                self.open.push(Reverse((rank, Source::Entry(lane, job, slot))));
            }
            _ => {}
        }
    }
}
