//! Where waiting entries are filed, so that a worker finds its next one without passing others: a
//! lane per (queue, urgency, part, kind), ordered by (available at, place). Memory holds the first
//! entry of each lane. Of lanes that are used it holds more, within one budget for all of them. The
//! rest stays in the tree. First entries whose time has come stand in [`Heads`], the others are
//! ordered by their time.

mod apart;
mod switches;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use self::apart::Apart;
use self::switches::Rounds;
use super::heads::{Heads, NONE, NodeId, Part};
use crate::command::QueuePattern;
use crate::ids::{JobId, KindId, NamespaceId, Place, QueueId, TimeMs};
use crate::state::count;

/// How much memory the lanes take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Entries of one lane at most.
    pub(crate) of_lane: usize,
    /// Entries of all lanes beside the first of each, as a rule: 32 bytes each.
    pub(crate) extra: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { of_lane: 512, extra: 64 << 10 }
    }
}

/// Entries that are read on of a lane at first and at most; four times as many every time.
const READ_ON_MIN: u16 = 4;
const READ_ON_MAX: u16 = 256;

/// Lanes of a queue that are looked at to describe it.
const LANES_TOLD_MAX: usize = 1024;

/// Lanes that are gone and may still count as warm, beside as many as there are lanes.
const WARM_GONE_MAX: usize = 64;

/// Lanes that are looked at for room at a time.
const LOOKS_FOR_ROOM: usize = 64;

/// Which switches apply to an entry, apart from those over all parts (the pause of its queue,
/// gates over its queue and kind). It is twice the number of the set of gates that the entry
/// names, plus 1 where it names a key of a limit; the highest bit is set where it has a tenant. Of
/// the entries of a key or of a tenant, only the first stands in the lane.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PartId(pub(crate) u16);

impl PartId {
    /// No switch but those of queues and kinds.
    pub(crate) const NONE: Self = Self(0);

    /// Where entries have a tenant.
    const TENANTED: u16 = 1 << 15;

    /// Entries that name a set of gates, and keys of limits or none, and tenants or none.
    pub(crate) fn of(set: u16, limited: bool, tenanted: bool) -> Self {
        let tenanted = if tenanted { Self::TENANTED } else { 0 };
        Self(tenanted | set << 1 | u16::from(limited))
    }

    /// The one that begins in a key at `at`.
    pub(crate) fn at(key: &[u8], at: usize) -> Option<Self> {
        Some(Self(u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?)))
    }

    /// The set of gates that its entries name.
    fn set(self) -> u16 {
        (self.0 & !Self::TENANTED) >> 1
    }

    /// Whether its entries name keys of limits.
    pub(crate) fn is_limited(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether its entries have tenants.
    pub(crate) fn is_tenanted(self) -> bool {
        self.0 & Self::TENANTED != 0
    }

    /// Whether its entries stand in lines, of keys of limits or of tenants. Which entry comes
    /// after one of them is known only once that one is granted.
    pub(crate) fn is_lined(self) -> bool {
        self.is_limited() || self.is_tenanted()
    }
}

/// A lane: entries of one queue, urgency, part and kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct LaneId {
    pub(crate) queue: QueueId,
    /// 255 - priority, so that the most urgent sorts first.
    pub(crate) urgency: u8,
    pub(crate) part: PartId,
    pub(crate) kind: KindId,
}

impl LaneId {
    const FIRST: Self = Self { queue: QueueId(0), urgency: 0, part: PartId::NONE, kind: KindId(0) };
}

/// The order within a lane.
pub(crate) type Slot = (TimeMs, Place);

/// An entry of a lane.
pub(crate) type Filed = (Slot, JobId);

/// What the lanes have to know of the queue and kind of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) namespace: NamespaceId,
    pub(crate) queue: &'a Arc<str>,
    /// The queue's switch is off: it hands out nothing.
    pub(crate) shut: bool,
    /// The kind is reserved: only who asks for it by name gets its entries.
    pub(crate) reserved: bool,
    /// How long its jobs have: lanes are merged by deadline.
    pub(crate) deadline_ms: u64,
}

/// Where a look through lanes of kinds has come to.
pub(crate) type KindPlace = (KindId, u16, Arc<str>, LaneId);

/// How a lane goes on after an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Entry(Filed),
    /// What comes next is not in memory.
    Unread,
    End,
}

/// Whether more than a lane's head is in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    /// Only the head, as far as is known.
    Cold,
    /// Perhaps more: the lane stands in [`Lanes::warm`].
    Warm,
    /// As `Warm`, and somebody took from it since room was looked for last.
    Eaten,
}

#[derive(Debug)]
struct Lane {
    /// The first entries, the head at least. Behind a cell, since reading on changes nothing but
    /// what memory holds.
    entries: RefCell<VecDeque<Filed>>,
    /// More follow in the tree.
    more: Cell<bool>,
    read_on: Cell<u16>,
    use_of: Use,
    reserved: bool,
    deadline_ms: u64,
    /// The head's time has come.
    due: bool,
    /// Where it stands in the trees of its namespace and of its kind.
    nodes: [NodeId; 2],
}

impl Lane {
    /// Where more than its head is in memory from now on, it can be cut back.
    fn note_warm(&mut self, id: LaneId, warm: &mut VecDeque<LaneId>) {
        if self.use_of == Use::Cold && self.entries.get_mut().len() > 1 {
            self.use_of = Use::Warm;
            warm.push_back(id);
        }
    }

    fn head(&self) -> Option<Filed> {
        self.entries.borrow().front().copied()
    }
}

/// A queue that has lanes.
#[derive(Debug)]
struct QueueLanes {
    namespace: NamespaceId,
    name: Arc<str>,
    shut: bool,
    lanes: usize,
    /// Of these, the ones whose head's time has come.
    due: usize,
}

/// The lanes of a shard that are not empty.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    by_id: BTreeMap<LaneId, Lane>,
    queues: BTreeMap<QueueId, QueueLanes>,
    heads: Heads,
    /// The roots of the trees of namespaces, without reserved kinds and those that stand apart, and
    /// of kinds: one of each for every set of gates that entries name. Lanes of queues that were
    /// shut leave them some at a time, as [`Rounds`] come to them.
    in_namespace: BTreeMap<(NamespaceId, u16), NodeId>,
    of_kind: BTreeMap<(KindId, u16), NodeId>,
    /// Sets of gates of which one is closed: their trees are passed over as wholes.
    shut_sets: BTreeSet<(NamespaceId, u16)>,
    /// Switches of queues that lanes are yet to follow.
    rounds: Rounds,
    /// Kinds that gates or limits hold back, or did.
    apart: Apart,
    /// Heads whose time has not come.
    future: BTreeSet<(TimeMs, LaneId)>,
    /// Heads up to this instant are due.
    now: TimeMs,
    /// Lanes of which more than the head is in memory; the first is the next to be cut back.
    warm: VecDeque<LaneId>,
    /// Lanes that an offer read on. They are moved to `warm` later, since an offer changes nothing
    /// itself.
    read_on: RefCell<Vec<LaneId>>,
    room: Room,
    /// Entries in memory beside heads.
    extra: Cell<usize>,
}

impl Lanes {
    /// Files an entry.
    pub(crate) fn insert<'a>(
        &mut self,
        site: impl FnOnce() -> Site<'a>,
        id: LaneId,
        slot: Slot,
        job: JobId,
    ) {
        let Some(lane) = self.by_id.get_mut(&id) else {
            return self.add(site(), id, [(slot, job)].into(), false);
        };
        let entries = lane.entries.get_mut();
        let before = entries.front().map(|(slot, _)| *slot);
        let at = entries.partition_point(|(other, _)| *other < slot);
        if at == entries.len() && lane.more.get() {
            return;
        }
        entries.insert(at, (slot, job));
        self.extra.set(self.extra.get() + 1);
        if entries.len() > self.room.of_lane || self.extra.get() > self.room.extra {
            entries.pop_back();
            lane.more.set(true);
            self.extra.set(self.extra.get() - 1);
        }
        let after = entries.front().map(|(slot, _)| *slot);
        lane.note_warm(id, &mut self.warm);
        self.move_head(id, before, after);
    }

    /// A lane that was empty, with its first entries; `more` where others follow in the tree. Where
    /// there is no room for them, only the head is kept.
    pub(crate) fn add(
        &mut self,
        site: Site<'_>,
        id: LaneId,
        mut entries: VecDeque<Filed>,
        mut more: bool,
    ) {
        let Some((head, _)) = entries.front().copied() else { return };
        if entries.len() > 1 && self.extra.get() + entries.len() - 1 > self.room.extra {
            entries.truncate(1);
            more = true;
        }
        entries.shrink_to_fit();
        self.extra.set(self.extra.get() + entries.len() - 1);
        let queue = self.queues.entry(id.queue).or_insert_with(|| QueueLanes {
            namespace: site.namespace,
            name: Arc::clone(site.queue),
            shut: site.shut,
            lanes: 0,
            due: 0,
        });
        queue.lanes += 1;
        let mut lane = Lane {
            entries: RefCell::new(entries),
            more: Cell::new(more),
            read_on: Cell::new(READ_ON_MIN),
            use_of: Use::Cold,
            reserved: site.reserved,
            deadline_ms: site.deadline_ms,
            due: false,
            nodes: [NONE; 2],
        };
        lane.note_warm(id, &mut self.warm);
        self.by_id.insert(id, lane);
        self.move_head(id, None, Some(head));
    }

    /// Takes an entry out. Where it was the last that memory holds of a lane that goes on in the
    /// tree, true: [`Lanes::refill`] has to follow with what comes after it.
    #[must_use]
    pub(crate) fn remove(&mut self, id: LaneId, slot: Slot) -> bool {
        let Some(lane) = self.by_id.get_mut(&id) else { return false };
        let entries = lane.entries.get_mut();
        let Ok(at) = entries.binary_search_by_key(&slot, |(slot, _)| *slot) else { return false };
        let before = entries.front().map(|(slot, _)| *slot);
        entries.remove(at);
        let after = entries.front().map(|(slot, _)| *slot);
        if after.is_some() {
            self.extra.set(self.extra.get() - 1);
            if lane.use_of == Use::Warm {
                lane.use_of = Use::Eaten;
            }
            lane.note_warm(id, &mut self.warm);
            self.make_room();
        } else if lane.more.get() {
            return true;
        }
        self.move_head(id, before, after);
        false
    }

    /// How many entries a lane is to be given next: the more, the longer it has been read.
    pub(super) fn wanted(&self, id: LaneId) -> usize {
        self.by_id.get(&id).map_or(0, |lane| usize::from(lane.read_on.get()))
    }

    /// Gives a lane whose first entry was `before` the next entries of the tree; `more` where
    /// others follow.
    pub(crate) fn refill(
        &mut self,
        id: LaneId,
        before: Slot,
        entries: VecDeque<Filed>,
        more: bool,
    ) {
        let Some(lane) = self.by_id.get_mut(&id) else { return };
        let after = entries.front().map(|(slot, _)| *slot);
        self.extra.set(self.extra.get() + entries.len().saturating_sub(1));
        lane.read_on.set((lane.read_on.get() * 4).min(READ_ON_MAX));
        *lane.entries.get_mut() = entries;
        lane.more.set(more && after.is_some());
        lane.note_warm(id, &mut self.warm);
        self.make_room();
        self.move_head(id, Some(before), after);
    }

    /// Gives a lane what follows in the tree after its last entry.
    pub(super) fn append(&self, id: LaneId, entries: impl IntoIterator<Item = Filed>, more: bool) {
        let Some(lane) = self.by_id.get(&id) else { return };
        let mut known = lane.entries.borrow_mut();
        let before = known.len();
        known.extend(entries);
        self.extra.set(self.extra.get() + known.len() - before);
        lane.more.set(more);
        lane.read_on.set((lane.read_on.get() * 4).min(READ_ON_MAX));
        if lane.use_of == Use::Cold && known.len() > 1 {
            self.read_on.borrow_mut().push(id);
        }
    }

    /// The first entry of a lane.
    pub(crate) fn head(&self, id: LaneId) -> Option<Filed> {
        self.by_id.get(&id)?.head()
    }

    /// What follows in a lane after a slot.
    pub(super) fn after(&self, id: LaneId, slot: Slot) -> Next {
        let Some(lane) = self.by_id.get(&id) else { return Next::End };
        let entries = lane.entries.borrow();
        let at = entries.partition_point(|(other, _)| *other <= slot);
        match entries.get(at) {
            Some(entry) => Next::Entry(*entry),
            None if lane.more.get() => Next::Unread,
            None => Next::End,
        }
    }

    /// The last slot of a lane that memory holds.
    pub(super) fn last(&self, id: LaneId) -> Option<Slot> {
        self.by_id.get(&id)?.entries.borrow().back().map(|(slot, _)| *slot)
    }

    /// Where memory holds too much, cuts lanes back to their heads; those that were used come
    /// last.
    fn make_room(&mut self) {
        for id in std::mem::take(self.read_on.get_mut()) {
            if let Some(lane) = self.by_id.get_mut(&id) {
                lane.note_warm(id, &mut self.warm);
            }
        }
        for _ in 0..LOOKS_FOR_ROOM {
            if self.extra.get() <= self.room.extra {
                return;
            }
            let Some(id) = self.warm.pop_front() else { return };
            let Some(lane) = self.by_id.get_mut(&id) else { continue };
            if lane.use_of == Use::Eaten {
                lane.use_of = Use::Warm;
                self.warm.push_back(id);
                continue;
            }
            lane.use_of = Use::Cold;
            let entries = lane.entries.get_mut();
            if entries.len() > 1 {
                self.extra.set(self.extra.get() - (entries.len() - 1));
                entries.truncate(1);
                entries.shrink_to_fit();
                lane.more.set(true);
                lane.read_on.set(READ_ON_MIN);
            }
        }
    }

    /// The head of a lane is another one; the lane ends where there is none.
    fn move_head(&mut self, id: LaneId, before: Option<Slot>, after: Option<Slot>) {
        if before == after {
            return;
        }
        let Some(lane) = self.by_id.get_mut(&id) else { return };
        // Where what comes next was filed before, its queue is noted when it is put forward.
        let was_filed = before.is_some() && before < after && !lane.due;
        let due = after.is_some_and(|(at, _)| at <= self.now) && !was_filed;
        if let (true, true, Some(head)) = (lane.due, due, after) {
            for node in lane.nodes.into_iter().filter(|node| *node != NONE) {
                self.heads.set(node, head);
            }
            return;
        }
        if lane.due {
            self.withdraw(id);
        } else if let Some((at, _)) = before {
            self.future.remove(&(at, id));
        }
        match after {
            Some(_) if due => self.put_forward(id),
            Some((at, _)) => {
                self.future.insert((at, id));
            }
            None => self.forget(id),
        }
    }

    fn forget(&mut self, id: LaneId) {
        self.by_id.remove(&id);
        if self.warm.len() > 2 * self.by_id.len() + WARM_GONE_MAX {
            self.sweep_warm();
        }
        if let Some(queue) = self.queues.get_mut(&id.queue) {
            count::take(&mut queue.lanes, 1, "lanes of a queue");
            if queue.lanes == 0 {
                self.queues.remove(&id.queue);
            }
        }
    }

    /// Takes lanes that are gone, or that stand there twice, out of [`Lanes::warm`].
    fn sweep_warm(&mut self) {
        let mut seen = BTreeSet::new();
        let by_id = &self.by_id;
        let is_warm = |id: &LaneId| by_id.get(id).is_some_and(|lane| lane.use_of != Use::Cold);
        self.warm.retain(|id| is_warm(id) && seen.insert(*id));
    }

    /// The queues that hand out and have something due.
    pub(crate) fn queues_due(&self) -> impl Iterator<Item = QueueId> {
        let due = self.queues.iter().filter(|(_, queue)| queue.due > 0 && !queue.shut);
        due.map(|(id, _)| *id)
    }

    /// The next `most` queues after one, of all namespaces.
    pub(crate) fn queues_after(&self, after: Option<&QueueId>, most: usize) -> Vec<QueueId> {
        let from = after.map_or(Unbounded, Excluded);
        self.queues.range((from, Unbounded)).map(|(id, _)| *id).take(most).collect()
    }

    /// Whether a queue is of a namespace, hands out and has something due.
    pub(crate) fn is_due_in(&self, id: QueueId, ns: NamespaceId) -> bool {
        self.queues.get(&id).is_some_and(|of| of.namespace == ns && of.due > 0 && !of.shut)
    }

    /// The time of a lane's head has come.
    fn put_forward(&mut self, id: LaneId) {
        let lane = self.by_id.get_mut(&id).expect("the lane has a head");
        lane.due = true;
        let queue = self.queues.get_mut(&id.queue).expect("a queue has lanes");
        queue.due += 1;
        self.settle(id);
    }

    /// The opposite of [`Lanes::put_forward`].
    fn withdraw(&mut self, id: LaneId) {
        let lane = self.by_id.get_mut(&id).expect("the lane had a head");
        lane.due = false;
        let queue = self.queues.get_mut(&id.queue).expect("a queue has lanes");
        count::take(&mut queue.due, 1, "lanes that are due");
        self.settle(id);
    }

    /// Turns the switch of a set of gates: nothing moves.
    pub(crate) fn shut_set(&mut self, ns: NamespaceId, set: u16, shut: bool) {
        if shut {
            self.shut_sets.insert((ns, set));
        } else {
            self.shut_sets.remove(&(ns, set));
        }
    }

    /// Whether no gate over its entries, and no gate and no limit over its kind, keeps a lane from
    /// handing out.
    pub(crate) fn hands_out(&self, ns: NamespaceId, id: LaneId) -> bool {
        !self.is_held_kind(id.kind) && !self.shut_sets.contains(&(ns, id.part.set()))
    }

    /// Puts heads forward whose time has come by `now`, up to `most`, the earliest first. Calls
    /// `came` with their queues.
    pub(crate) fn advance(&mut self, now: TimeMs, most: usize, mut came: impl FnMut(QueueId)) {
        if now < self.now {
            self.step_back(now);
        }
        self.now = now;
        self.make_room();
        self.follow_some(most == usize::MAX, &mut came);
        self.bring_back();
        for _ in 0..most {
            let Some((at, id)) = self.future.first().copied() else { return };
            if at > now {
                return;
            }
            self.future.pop_first();
            self.put_forward(id);
            if self.queues.get(&id.queue).is_some_and(|of| self.hands_out(of.namespace, id)) {
                came(id.queue);
            }
        }
    }

    /// Wall time stepped back before anything was recorded: heads that were due are not any more.
    fn step_back(&mut self, now: TimeMs) {
        let lanes = self.by_id.iter().filter(|(_, lane)| lane.due);
        let heads = lanes.filter_map(|(id, lane)| Some((lane.head()?.0.0, *id)));
        let early: Vec<_> = heads.filter(|(at, _)| *at > now).collect();
        for (at, id) in early {
            self.withdraw(id);
            self.future.insert((at, id));
        }
    }

    /// Deadlines of lanes have changed: says how long jobs of a queue and kind have.
    pub(crate) fn set_deadlines(
        &mut self,
        lanes: &[LaneId],
        deadline_ms: impl Fn(NamespaceId, &str, KindId) -> u64,
    ) {
        for id in lanes {
            let (Some(lane), Some(queue)) = (self.by_id.get(id), self.queues.get(&id.queue)) else {
                continue;
            };
            let ms = deadline_ms(queue.namespace, &queue.name, id.kind);
            if ms == lane.deadline_ms {
                continue;
            }
            self.close_to_all(*id);
            self.close_to_own(*id);
            if let Some(lane) = self.by_id.get_mut(id) {
                lane.deadline_ms = ms;
            }
            self.settle(*id);
        }
    }

    /// How long the jobs of a lane have.
    pub(crate) fn deadline_ms(&self, id: LaneId) -> u64 {
        self.by_id.get(&id).map_or(0, |lane| lane.deadline_ms)
    }

    /// The lanes of a queue, up to so many.
    pub(crate) fn ids_of(&self, queue: QueueId, most: usize) -> Vec<LaneId> {
        self.lanes_of(queue).take(most).map(|(id, _)| *id).collect()
    }

    /// The next `most` lanes after one.
    pub(crate) fn ids_after(&self, after: Option<LaneId>, most: usize) -> Vec<LaneId> {
        let from = after.map_or(Unbounded, Excluded);
        self.by_id.range((from, Unbounded)).take(most).map(|(id, _)| *id).collect()
    }

    /// Lanes of a kind whose first job could be handed out, as far as queues and gates let it.
    pub(crate) fn due_of(&self, kind: KindId, most: usize) -> Vec<LaneId> {
        let roots = self.of_kind.range((kind, 0)..=(kind, u16::MAX)).map(|(_, root)| *root);
        roots.flat_map(|root| self.heads.lanes(root)).take(most).collect()
    }

    /// Up to `most` lanes after one, of the trees of some kinds of a namespace that hand out.
    pub(crate) fn due_of_after(
        &self,
        (ns, kinds): (NamespaceId, &BTreeSet<KindId>),
        after: Option<&KindPlace>,
        most: usize,
    ) -> Vec<KindPlace> {
        let from = after.map_or((KindId(0), 0), |(kind, set, ..)| (*kind, *set));
        let open = |set: u16| !self.shut_sets.contains(&(ns, set));
        let of = kinds.range(from.0..).filter(|kind| !self.is_held_kind(**kind));
        let trees = of.flat_map(|kind| {
            let first = if *kind == from.0 { from.1 } else { 0 };
            self.of_kind.range((*kind, first)..=(*kind, u16::MAX))
        });
        let trees = trees.filter(|((_, set), _)| open(*set));
        let places = trees.flat_map(|((kind, set), root)| {
            let after = after.filter(|(of, part, ..)| (of, part) == (kind, set));
            let after = after.map(|(.., name, lane)| (&**name, *lane));
            let lanes = self.heads.lanes_after(*root, after);
            lanes.map(|(name, lane)| (*kind, *set, Arc::clone(name), lane))
        });
        places.take(most).collect()
    }

    /// Whether an entry of the queue could be handed out.
    pub(crate) fn any_due(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.due > 0 && !queue.shut)
    }

    /// When the next head will be due; an instant that has passed where some are yet to be put
    /// forward.
    pub(crate) fn next_due(&self) -> Option<TimeMs> {
        self.future.first().map(|(at, _)| *at)
    }

    fn lanes_of(&self, queue: QueueId) -> impl Iterator<Item = (&LaneId, &Lane)> {
        let lanes = self.by_id.range(LaneId { queue, ..LaneId::FIRST }..);
        lanes.take_while(move |(id, _)| id.queue == queue)
    }

    /// When the longest waiting entry without a tenant became available; entries with one do not
    /// stand in the order of their times. Of very many lanes only some are asked.
    pub(crate) fn oldest(&self, queue: QueueId) -> Option<TimeMs> {
        let asked = self.lanes_of(queue).take(LANES_TOLD_MAX);
        let ordered = asked.filter(|(id, _)| !id.part.is_tenanted());
        let heads = ordered.filter_map(|(_, lane)| lane.head());
        heads.map(|((at, _), _)| at).min()
    }

    /// How many lanes are looked at to describe a queue.
    pub(crate) fn told_of(&self, queue: QueueId) -> usize {
        self.queues.get(&queue).map_or(0, |queue| queue.lanes.min(LANES_TOLD_MAX))
    }

    /// The kinds that wait in the queue. Of very many lanes only some are asked.
    pub(crate) fn kinds(&self, queue: QueueId) -> BTreeSet<KindId> {
        self.lanes_of(queue).take(LANES_TOLD_MAX).map(|(id, _)| id.kind).collect()
    }

    /// Calls `found` with the trees, and those parts of them, in which the lanes of the queues
    /// that are meant stand: of some kinds, or of all that are not reserved. Answers how many
    /// nodes it looked at.
    pub(super) fn meant(
        &self,
        ns: NamespaceId,
        pattern: &QueuePattern,
        kinds: Option<&[KindId]>,
        found: &mut dyn FnMut(Part),
    ) -> usize {
        let open = |set: u16| !self.shut_sets.contains(&(ns, set));
        let mut parts = |root: &NodeId| self.heads.parts(*root, pattern, found);
        match kinds {
            None => {
                let roots = self.in_namespace.range((ns, 0)..=(ns, u16::MAX));
                let roots = roots.filter(|((_, set), _)| open(*set));
                let looked: usize = roots.map(|(_, root)| parts(root)).sum();
                looked + self.meant_apart(ns, pattern, found)
            }
            Some(kinds) => {
                let kinds = kinds.iter().filter(|kind| !self.is_held_kind(**kind));
                let roots =
                    kinds.flat_map(|kind| self.of_kind.range((*kind, 0)..=(*kind, u16::MAX)));
                roots.filter(|((_, set), _)| open(*set)).map(|(_, root)| parts(root)).sum()
            }
        }
    }

    /// Whether an entry of the kind could be handed out, in any queue.
    pub(super) fn is_kind_due(&self, kind: KindId) -> bool {
        let mut trees = self.of_kind.range((kind, 0)..=(kind, u16::MAX));
        !self.is_held_kind(kind) && trees.next().is_some()
    }

    pub(super) fn heads(&self) -> &Heads {
        &self.heads
    }

    #[cfg(test)]
    pub(crate) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Lanes in the trees of namespaces, and of kinds.
    #[cfg(test)]
    pub(crate) fn in_trees(&self) -> [usize; 2] {
        [0, 1].map(|tree| self.by_id.values().filter(|lane| lane.nodes[tree] != NONE).count())
    }

    /// How many places the list of lanes has that may be cut back.
    #[cfg(test)]
    pub(crate) fn warm_count(&self) -> usize {
        self.warm.len()
    }

    /// Lanes, and the entries of them that memory holds.
    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> (usize, usize) {
        let entries = self.by_id.values().map(|lane| lane.entries.borrow().len()).sum::<usize>();
        assert_eq!(entries, self.by_id.len() + self.extra.get());
        (self.by_id.len(), entries)
    }
}
