//! The switch over the lanes of a queue. It holds at once; the trees of heads follow lane by lane,
//! so many in a turn. Until all lanes have followed, the queue hands out nothing: when it shuts,
//! because it is shut; when it opens, because its best entry may stand in a lane that has not
//! followed yet. Dispatch passes lanes of the queue that still stand in a tree, a bounded number of
//! them. Whoever found nothing meanwhile is offered the queue again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::super::heads::NONE;
use super::{LaneId, Lanes};
use crate::ids::{NamespaceId, QueueId};

/// Lanes that follow in one turn.
pub(super) const LANES_PER_TURN: usize = if cfg!(test) { 8 } else { 512 };

/// Switches that were turned and whose lanes are yet to follow.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The last lane that followed.
    queues: BTreeMap<QueueId, Option<LaneId>>,
    /// Lanes that may still follow in this turn.
    left: usize,
    /// Namespaces in which an offer ended because it had passed as many lanes as it may.
    cut_short: RefCell<BTreeSet<NamespaceId>>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), left: LANES_PER_TURN, cut_short: RefCell::default() }
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

    /// Whether lanes are yet to follow a switch.
    pub(crate) fn go_on(&self) -> bool {
        !self.rounds.queues.is_empty()
    }

    /// A turn begins: some lanes follow, or all of them. Calls `came` with queues that are open
    /// now.
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
        if self.go_on() {
            self.rounds.cut_short.borrow_mut().insert(ns);
        }
    }

    /// Whether lanes of its queue are yet to follow: then nothing of a lane is handed out, though
    /// it may stand in a tree.
    pub(super) fn is_out(&self, id: LaneId) -> bool {
        self.rounds.queues.contains_key(&id.queue)
    }

    fn follow(&mut self, came: &mut dyn FnMut(QueueId)) {
        while self.rounds.left > 0 {
            let Some((queue, after)) = self.rounds.queues.first_key_value() else { return };
            let (queue, after) = (*queue, *after);
            let lanes = self.next_of_queue(queue, after);
            self.rounds.left = self.rounds.left.saturating_sub(lanes.len());
            for id in lanes {
                self.settle(id);
            }
            let is_open = self.queues.get(&queue).is_some_and(|known| !known.shut);
            if is_open && !self.rounds.queues.contains_key(&queue) {
                came(queue);
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

    /// A lane stands in those trees in which it is to stand. Whether it came into that of its kind.
    pub(super) fn settle(&mut self, id: LaneId) -> bool {
        let (Some(lane), Some(queue)) = (self.by_id.get(&id), self.queues.get(&id.queue)) else {
            return false;
        };
        let own = lane.due && !queue.shut;
        // Jobs of a reserved kind go only to who asks for the kind.
        let all = own && !lane.reserved;
        let stood = lane.nodes.map(|node| node != NONE);
        if !all {
            self.close_to_all(id);
        }
        match (stood[1], own) {
            (true, false) => self.close_to_own(id),
            (false, true) => self.open_to_own(id),
            _ => {}
        }
        if all && !stood[0] && !self.apart.enter(id) {
            self.stand_in_namespace(id);
        }
        own && !stood[1]
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

    /// Puts a lane into the tree of its namespace, where it does not stand there.
    pub(super) fn stand_in_namespace(&mut self, id: LaneId) {
        let (Some(lane), Some(queue)) = (self.by_id.get_mut(&id), self.queues.get(&id.queue))
        else {
            return;
        };
        if let (NONE, Some((head, _))) = (lane.nodes[0], lane.head()) {
            let of = (queue.namespace, id.part.set());
            let all = self.in_namespace.entry(of).or_insert(NONE);
            let of = (&queue.name, id, lane.deadline_ms);
            lane.nodes[0] = self.heads.insert(all, of, head);
        }
    }

    /// It stands in the tree of its namespace no more, nor apart from it.
    pub(super) fn close_to_all(&mut self, id: LaneId) {
        self.apart.leave(id);
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
