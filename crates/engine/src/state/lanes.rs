//! Where waiting jobs are filed so that a worker finds its next one without passing others: a
//! lane per (queue, priority, kind), ordered by (available at, place). Memory holds only the
//! beginning of each lane; the rest stays in the tree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::ids::{JobId, KindId, Place, QueueId, TimeMs};

/// Entries that memory holds of a lane at most, and those it keeps when it holds too many.
const HEAD_MAX: usize = 512;
pub(crate) const HEAD_KEPT: usize = 256;

/// A lane: jobs of one queue, priority and kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct LaneId {
    pub(crate) queue: QueueId,
    /// 255 - priority, so that the most urgent sorts first.
    pub(crate) urgency: u8,
    pub(crate) kind: KindId,
}

/// The order within a lane.
pub(crate) type Slot = (TimeMs, Place);

/// The order of heads within a queue.
type Head = (u8, TimeMs, Place, KindId);

#[derive(Debug, Default)]
struct Lane {
    /// The first entries.
    head: BTreeMap<Slot, JobId>,
    /// `head` holds every entry up to this one; `None` where it holds them all.
    upto: Option<Slot>,
}

/// The lanes of a shard that are not empty.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    by_id: BTreeMap<LaneId, Lane>,
    heads: BTreeMap<QueueId, BTreeSet<Head>>,
    by_time: BTreeSet<(TimeMs, LaneId)>,
}

/// A job that could be handed out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Candidate {
    pub(crate) urgency: u8,
    pub(crate) slot: Slot,
    pub(crate) kind: KindId,
    pub(crate) id: JobId,
}

/// Jobs of a queue in the order in which they are to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    pub(crate) jobs: Vec<Candidate>,
    /// More follow that are due, which memory does not hold.
    pub(crate) cut_off: bool,
}

impl Lanes {
    /// Files an entry.
    pub(crate) fn insert(&mut self, id: LaneId, slot: Slot, job: JobId) {
        let lane = self.by_id.entry(id).or_default();
        let before = lane.head.keys().next().copied();
        if lane.upto.is_some_and(|upto| slot > upto) {
            return;
        }
        lane.head.insert(slot, job);
        if lane.head.len() > HEAD_MAX {
            let cut = lane.head.keys().nth(HEAD_KEPT).copied();
            if let Some(cut) = cut {
                lane.head.split_off(&cut);
                lane.upto = lane.head.keys().next_back().copied();
            }
        }
        let after = lane.head.keys().next().copied();
        self.move_head(id, before, after);
    }

    /// Takes an entry out. Where it was the last that memory holds of a lane that goes on in the
    /// tree, answers after which slot [`Lanes::refill`] is to read.
    pub(crate) fn remove(&mut self, id: LaneId, slot: Slot) -> Option<Slot> {
        let lane = self.by_id.get_mut(&id)?;
        let before = lane.head.keys().next().copied();
        lane.head.remove(&slot);
        let after = lane.head.keys().next().copied();
        let rest = if after.is_none() { lane.upto } else { None };
        if after.is_none() && rest.is_none() {
            self.by_id.remove(&id);
        }
        self.move_head(id, before, after);
        rest
    }

    /// Gives an empty head the next entries of the tree; `complete` where no more follow.
    pub(crate) fn refill(&mut self, id: LaneId, entries: Vec<(Slot, JobId)>, complete: bool) {
        if entries.is_empty() {
            self.by_id.remove(&id);
            return;
        }
        let lane = self.by_id.entry(id).or_default();
        lane.head = entries.into_iter().collect();
        let last = lane.head.keys().next_back().copied();
        lane.upto = if complete { None } else { last };
        let first = lane.head.keys().next().copied();
        self.move_head(id, None, first);
    }

    fn move_head(&mut self, id: LaneId, before: Option<Slot>, after: Option<Slot>) {
        if before == after {
            return;
        }
        let heads = self.heads.entry(id.queue).or_default();
        if let Some((at, place)) = before {
            heads.remove(&(id.urgency, at, place, id.kind));
            self.by_time.remove(&(at, id));
        }
        if let Some((at, place)) = after {
            heads.insert((id.urgency, at, place, id.kind));
            self.by_time.insert((at, id));
        }
        if heads.is_empty() {
            self.heads.remove(&id.queue);
        }
    }

    /// Whether anything waits in the queue.
    pub(crate) fn has_any(&self, queue: QueueId) -> bool {
        self.heads.contains_key(&queue)
    }

    /// Whether a job of the queue is due at `now`.
    pub(crate) fn any_due(&self, queue: QueueId, now: TimeMs) -> bool {
        self.heads.get(&queue).is_some_and(|heads| heads.iter().any(|head| head.1 <= now))
    }

    /// When the next head that is not due at `now` will be.
    pub(crate) fn next_due_after(&self, now: TimeMs) -> Option<TimeMs> {
        let from = (now.plus(1), LaneId { queue: QueueId(0), urgency: 0, kind: KindId(0) });
        self.by_time.range(from..).next().map(|(at, _)| *at)
    }

    /// The queues whose heads became due after `since` and up to `now`.
    pub(crate) fn due_between(&self, since: TimeMs, now: TimeMs) -> BTreeSet<QueueId> {
        let zero = LaneId { queue: QueueId(0), urgency: 0, kind: KindId(0) };
        if now <= since {
            return BTreeSet::new();
        }
        let range = self.by_time.range((since.plus(1), zero)..(now.plus(1), zero));
        range.map(|(_, lane)| lane.queue).collect()
    }

    /// When the longest waiting job of the queue became available.
    pub(crate) fn oldest(&self, queue: QueueId) -> Option<TimeMs> {
        self.heads.get(&queue)?.iter().map(|head| head.1).min()
    }

    /// The kinds that wait in the queue, of its first `lanes_max` lanes.
    pub(crate) fn kinds(&self, queue: QueueId, lanes_max: usize) -> BTreeSet<KindId> {
        let heads = self.heads.get(&queue).into_iter().flatten();
        heads.take(lanes_max).map(|head| head.3).collect()
    }

    /// Up to `want` jobs of the queue that are due at `now`, the most urgent first. May be fewer
    /// than there are (memory holds only the beginnings of lanes), but not none. Of reserved
    /// kinds (`skip`) none, of `kinds` only those where it is given.
    pub(crate) fn pick(
        &self,
        queue: QueueId,
        kinds: Option<&[KindId]>,
        skip: &BTreeSet<KindId>,
        now: TimeMs,
        want: usize,
    ) -> Offer {
        let Some(heads) = self.heads.get(&queue) else { return Offer::default() };
        let mut merge = Merge { lanes: self, queue, now, open: BinaryHeap::new() };
        let (mut picked, mut cut_off) = (Vec::new(), false);
        let mut urgency = heads.first().map(|head| head.0);
        while let Some(level) = urgency {
            let start = (level, TimeMs(0), Place(0), KindId(0));
            if let Some(kinds) = kinds {
                for kind in kinds {
                    merge.open_lane(level, *kind);
                }
            } else {
                let due = heads.range(start..).take_while(|h| h.0 == level && h.1 <= now);
                for head in due.filter(|head| !skip.contains(&head.3)).take(want) {
                    merge.open_lane(level, head.3);
                }
            }
            cut_off = !merge.drain(want, &mut picked);
            if cut_off || picked.len() >= want || level == u8::MAX {
                break;
            }
            let next = (level + 1, TimeMs(0), Place(0), KindId(0));
            urgency = heads.range(next..).next().map(|head| head.0);
        }
        Offer { jobs: picked, cut_off }
    }
}

/// A merge of lanes of one priority.
struct Merge<'a> {
    lanes: &'a Lanes,
    queue: QueueId,
    now: TimeMs,
    open: BinaryHeap<Reverse<Candidate>>,
}

impl Merge<'_> {
    fn open_lane(&mut self, urgency: u8, kind: KindId) {
        self.open_after(urgency, kind, None);
    }

    fn open_after(&mut self, urgency: u8, kind: KindId, slot: Option<Slot>) -> bool {
        let id = LaneId { queue: self.queue, urgency, kind };
        let Some(lane) = self.lanes.by_id.get(&id) else { return true };
        let next = match slot {
            None => lane.head.iter().next(),
            Some(slot) => {
                use std::ops::Bound::{Excluded, Unbounded};
                lane.head.range((Excluded(slot), Unbounded)).next()
            }
        };
        match next {
            Some((slot, id)) if slot.0 <= self.now => {
                self.open.push(Reverse(Candidate { urgency, slot: *slot, kind, id: *id }));
                true
            }
            Some(_) => true,
            None => lane.upto.is_none(),
        }
    }

    /// Takes from the open lanes in order. Answers false where a lane goes on in the tree: what
    /// follows there might come before what the others have.
    fn drain(&mut self, want: usize, picked: &mut Vec<Candidate>) -> bool {
        while picked.len() < want
            && let Some(Reverse(next)) = self.open.pop()
        {
            picked.push(next);
            if !self.open_after(next.urgency, next.kind, Some(next.slot)) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueId = QueueId(1);

    fn lane(urgency: u8, kind: u32) -> LaneId {
        LaneId { queue: QUEUE, urgency, kind: KindId(kind) }
    }

    fn job(n: u8) -> JobId {
        JobId([n; 16])
    }

    fn ids(offer: &Offer) -> Vec<u8> {
        offer.jobs.iter().map(|candidate| candidate.id.0[0]).collect()
    }

    fn filed() -> Lanes {
        let mut lanes = Lanes::default();
        lanes.insert(lane(5, 1), (TimeMs(10), Place(1)), job(1));
        lanes.insert(lane(5, 2), (TimeMs(10), Place(2)), job(2));
        lanes.insert(lane(5, 1), (TimeMs(10), Place(3)), job(3));
        lanes.insert(lane(0, 1), (TimeMs(99), Place(4)), job(4));
        lanes.insert(lane(9, 3), (TimeMs(1), Place(0)), job(5));
        lanes
    }

    #[test]
    fn merges_by_priority_then_time_then_place() {
        let lanes = filed();
        let none = BTreeSet::new();
        assert_eq!(ids(&lanes.pick(QUEUE, None, &none, TimeMs(10), 9)), [1, 2, 3, 5]);
        assert_eq!(ids(&lanes.pick(QUEUE, None, &none, TimeMs(99), 2)), [4, 1]);
        assert_eq!(ids(&lanes.pick(QUEUE, Some(&[KindId(2)]), &none, TimeMs(10), 9)), [2]);
        let reserved = BTreeSet::from([KindId(1)]);
        assert_eq!(ids(&lanes.pick(QUEUE, None, &reserved, TimeMs(99), 9)), [2, 5]);
    }

    #[test]
    fn a_long_lane_keeps_only_its_beginning_in_memory() {
        let mut lanes = Lanes::default();
        for n in 0..=HEAD_MAX as u64 {
            lanes.insert(lane(0, 1), (TimeMs(1), Place(n)), job(1));
        }
        lanes.insert(lane(0, 1), (TimeMs(2), Place(9999)), job(1));
        for n in 0..HEAD_KEPT as u64 - 1 {
            assert_eq!(lanes.remove(lane(0, 1), (TimeMs(1), Place(n))), None);
        }
        let last = (TimeMs(1), Place(HEAD_KEPT as u64 - 1));
        assert_eq!(lanes.remove(lane(0, 1), last), Some(last));
        lanes.refill(lane(0, 1), vec![((TimeMs(1), Place(700)), job(2))], true);
        assert_eq!(lanes.oldest(QUEUE), Some(TimeMs(1)));
        assert_eq!(lanes.remove(lane(0, 1), (TimeMs(1), Place(700))), None);
        assert!(!lanes.has_any(QUEUE));
    }

    #[test]
    fn tells_when_the_next_head_is_due() {
        let lanes = filed();
        assert_eq!(lanes.next_due_after(TimeMs(10)), Some(TimeMs(99)));
        assert_eq!(lanes.due_between(TimeMs(10), TimeMs(98)), BTreeSet::new());
        assert_eq!(lanes.due_between(TimeMs(10), TimeMs(99)), BTreeSet::from([QUEUE]));
    }
}
