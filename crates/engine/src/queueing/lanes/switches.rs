//! Switches over lanes: of a queue, and of a kind. What a switch says holds at once; the trees of
//! heads follow it lane by lane, so many in a turn. Until then dispatch passes lanes that still
//! stand in a tree, a bounded number of them, and whoever found nothing is offered it again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::super::heads::NONE;
use super::{LaneId, Lanes};
use crate::ids::{KindId, NamespaceId, QueueId};

/// Lanes that follow in one turn.
pub(super) const LANES_PER_TURN: usize = if cfg!(test) { 8 } else { 512 };

/// Lanes that are out already and that one offer passes.
pub(in crate::queueing) const PASSED_MAX: usize = if cfg!(test) { 16 } else { 1024 };

/// Where the lanes of a kind go on: the set of gates, and the lane of its tree that was the last.
type KindAt = (u16, Option<(Arc<str>, LaneId)>);

/// Switches that were turned and whose lanes are yet to follow.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The last lane that followed.
    queues: BTreeMap<QueueId, Option<LaneId>>,
    kinds: BTreeMap<KindId, KindAt>,
    /// Lanes that may still follow in this turn.
    left: usize,
    /// Where an offer ended since it had passed so many lanes.
    cut_short: RefCell<BTreeSet<NamespaceId>>,
}

impl Default for Rounds {
    fn default() -> Self {
        let (queues, kinds) = (BTreeMap::new(), BTreeMap::new());
        Self { queues, kinds, left: LANES_PER_TURN, cut_short: RefCell::default() }
    }
}

impl Rounds {
    fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.kinds.is_empty()
    }
}

impl Lanes {
    /// Turns the switch of a queue: no entry moves, its lanes go out of the trees or into them.
    pub(crate) fn shut(&mut self, queue: QueueId, shut: bool) {
        let Some(known) = self.queues.get_mut(&queue) else { return };
        if std::mem::replace(&mut known.shut, shut) != shut {
            self.rounds.queues.insert(queue, None);
            self.follow(&mut |_| ());
        }
    }

    /// Turns the switch of a kind: no entry moves, its lanes go out of the trees of their namespace
    /// or into them.
    pub(crate) fn shut_kind(&mut self, kind: KindId, shut: bool) {
        let turned =
            if shut { self.shut_kinds.insert(kind) } else { self.shut_kinds.remove(&kind) };
        if turned {
            self.rounds.kinds.insert(kind, (0, None));
            self.follow(&mut |_| ());
        }
    }

    /// Whether lanes are yet to follow a switch.
    pub(crate) fn go_on(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// A turn begins: some lanes follow, or all of them. Calls `came` with queues of which lanes
    /// came into a tree.
    pub(super) fn follow_some(&mut self, all: bool, came: &mut dyn FnMut(QueueId)) {
        self.rounds.left = if all { usize::MAX } else { LANES_PER_TURN };
        self.follow(came);
    }

    /// Namespaces in which an offer ended before it had seen all, once all lanes have followed.
    pub(crate) fn take_cut_short(&mut self) -> BTreeSet<NamespaceId> {
        if self.go_on() {
            return BTreeSet::new();
        }
        std::mem::take(self.rounds.cut_short.get_mut())
    }

    /// An offer has passed as many lanes as it may.
    pub(in crate::queueing) fn note_cut_short(&self, ns: NamespaceId) {
        self.rounds.cut_short.borrow_mut().insert(ns);
    }

    /// Whether a lane still stands in a tree though its queue or kind is shut.
    pub(in crate::queueing) fn is_out(&self, id: LaneId) -> bool {
        self.go_on()
            && (self.shut_kinds.contains(&id.kind)
                || self.queues.get(&id.queue).is_some_and(|queue| queue.shut))
    }

    fn follow(&mut self, came: &mut dyn FnMut(QueueId)) {
        while self.rounds.left > 0 {
            let lanes = match self.rounds.queues.first_key_value() {
                Some((queue, after)) => self.next_of_queue(*queue, *after),
                None => match self.rounds.kinds.first_key_value() {
                    Some((kind, at)) => self.next_of_kind(*kind, at.clone()),
                    None => return,
                },
            };
            self.rounds.left = self.rounds.left.saturating_sub(lanes.len());
            for id in lanes {
                if self.settle(id) {
                    came(id.queue);
                }
            }
        }
    }

    /// The next lanes of a queue that follow its switch.
    fn next_of_queue(&mut self, queue: QueueId, after: Option<LaneId>) -> Vec<LaneId> {
        let most = self.rounds.left;
        let from = after.map_or(Included(LaneId { queue, ..LaneId::FIRST }), Excluded);
        let lanes = self.by_id.range((from, Unbounded)).map(|(id, _)| *id);
        let lanes: Vec<_> = lanes.take_while(|id| id.queue == queue).take(most).collect();
        match lanes.last().filter(|_| lanes.len() == most) {
            Some(last) => self.rounds.queues.insert(queue, Some(*last)),
            None => self.rounds.queues.remove(&queue),
        };
        lanes
    }

    /// The same of a kind: those of its own trees.
    fn next_of_kind(&mut self, kind: KindId, (set, after): KindAt) -> Vec<LaneId> {
        let most = self.rounds.left;
        let mut trees = self.of_kind.range((kind, set)..=(kind, u16::MAX));
        let Some(((_, at), root)) = trees.next() else {
            self.rounds.kinds.remove(&kind);
            return Vec::new();
        };
        let after = after.filter(|_| *at == set);
        let after = after.as_ref().map(|(name, lane)| (&**name, *lane));
        let lanes = self.heads.lanes_after(*root, after, most);
        let next = match lanes.last().filter(|_| lanes.len() == most) {
            Some((name, last)) => Some((*at, Some((Arc::clone(name), *last)))),
            None => at.checked_add(1).map(|next| (next, None)),
        };
        match next {
            Some(next) => self.rounds.kinds.insert(kind, next),
            None => self.rounds.kinds.remove(&kind),
        };
        lanes.into_iter().map(|(_, id)| id).collect()
    }

    /// A lane stands in those trees in which it is to stand. Whether it came into one.
    pub(super) fn settle(&mut self, id: LaneId) -> bool {
        let (Some(lane), Some(queue)) = (self.by_id.get(&id), self.queues.get(&id.queue)) else {
            return false;
        };
        let own = lane.due && !queue.shut;
        let all = own && !lane.reserved && !self.shut_kinds.contains(&id.kind);
        let stood = lane.nodes.map(|node| node != NONE);
        if stood[0] && !all {
            self.close_to_all(id);
        }
        match (stood[1], own) {
            (true, false) => self.close_to_own(id),
            (false, true) => self.open_to_own(id),
            _ => {}
        }
        if !stood[0] && all {
            self.open_to_all(id);
        }
        (!stood[0] && all) || (!stood[1] && own)
    }

    /// Puts a lane into the tree of its kind.
    fn open_to_own(&mut self, id: LaneId) {
        let (Some(lane), Some(queue)) = (self.by_id.get_mut(&id), self.queues.get(&id.queue))
        else {
            return;
        };
        let Some((head, _)) = lane.head() else { return };
        let own = self.of_kind.entry((id.kind, id.part.set())).or_insert(NONE);
        let of = (&queue.name, id, lane.deadline_ms);
        lane.nodes[1] = self.heads.insert(own, of, head);
    }

    pub(super) fn close_to_own(&mut self, id: LaneId) {
        let Some(lane) = self.by_id.get_mut(&id) else { return };
        let own = std::mem::replace(&mut lane.nodes[1], NONE);
        let of = (id.kind, id.part.set());
        if let (false, Some(root)) = (own == NONE, self.of_kind.get_mut(&of)) {
            self.heads.remove(root, own);
            if *root == NONE {
                self.of_kind.remove(&of);
            }
        }
    }

    /// Puts a lane into the tree of its namespace.
    fn open_to_all(&mut self, id: LaneId) {
        let (Some(lane), Some(queue)) = (self.by_id.get_mut(&id), self.queues.get(&id.queue))
        else {
            return;
        };
        let Some((head, _)) = lane.head() else { return };
        let of = (queue.namespace, id.part.set());
        let all = self.in_namespace.entry(of).or_insert(NONE);
        let of = (&queue.name, id, lane.deadline_ms);
        lane.nodes[0] = self.heads.insert(all, of, head);
    }

    pub(super) fn close_to_all(&mut self, id: LaneId) {
        let (Some(lane), Some(queue)) = (self.by_id.get_mut(&id), self.queues.get(&id.queue))
        else {
            return;
        };
        let all = std::mem::replace(&mut lane.nodes[0], NONE);
        let of = (queue.namespace, id.part.set());
        if let (false, Some(root)) = (all == NONE, self.in_namespace.get_mut(&of)) {
            self.heads.remove(root, all);
            if *root == NONE {
                self.in_namespace.remove(&of);
            }
        }
    }
}
