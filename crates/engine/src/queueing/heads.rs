//! The first entries of lanes that could be handed out now, so that the best one among all queues
//! whose names match is found without asking each of them. Search trees over (name of the queue,
//! lane), each node with the best head below it: one tree per namespace, one per kind.
//!
//! The trees are treaps: a lane's weight is a hash of its number, so that the same lanes make the
//! same tree everywhere. They share one store of nodes; a head that changes finds its way up by
//! the parents and compares no names.

use std::cmp::Ordering;
use std::sync::Arc;

use super::lanes::{LaneId, Slot};
use crate::command::QueuePattern;

/// A node's place in the store.
pub(super) type NodeId = u32;

/// No node: the root of an empty tree.
pub(super) const NONE: NodeId = NodeId::MAX;

/// The order in which heads are handed out: by urgency, then by deadline. No two jobs of a shard
/// have the same place, so no two ranks are the same.
pub(super) type Rank = (u8, Slot);

/// The rank of an entry that is to start so long after it became available.
pub(super) fn rank(urgency: u8, (at, place): Slot, deadline_ms: u64) -> Rank {
    (urgency, (at.plus(deadline_ms), place))
}

/// Some of what a tree holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Part {
    /// A node alone.
    One(NodeId),
    /// A node and all below it.
    Whole(NodeId),
}

#[derive(Debug)]
struct Node {
    lane: LaneId,
    /// The name of the lane's queue.
    name: Arc<str>,
    /// How long the lane's entries have.
    deadline_ms: u64,
    /// Where the lane's first entry stands.
    head: Slot,
    /// Which node below, or this one, has the best head.
    best: NodeId,
    left: NodeId,
    right: NodeId,
    parent: NodeId,
}

/// The nodes of all trees.
#[derive(Debug, Default)]
pub(super) struct Heads {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
}

/// The hash of a lane's number (`SplitMix64`, Steele et al. 2014).
fn weight(lane: LaneId) -> u64 {
    let low = u64::from(lane.kind.0) << 24 | u64::from(lane.part.0) << 8 | u64::from(lane.urgency);
    let mut z = (u64::from(lane.queue.0) << 32 ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether a name comes before the names that are meant, is one of them, or comes after them.
fn side(pattern: &QueuePattern, name: &str) -> Ordering {
    match pattern {
        QueuePattern::Exactly(exact) => name.cmp(exact),
        QueuePattern::Prefix(prefix) if name.starts_with(&**prefix) => Ordering::Equal,
        QueuePattern::Prefix(prefix) => name.cmp(prefix),
    }
}

impl Heads {
    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id as usize).expect("trees name nodes that exist")
    }

    fn change(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(id as usize).expect("trees name nodes that exist")
    }

    pub(super) fn lane(&self, id: NodeId) -> LaneId {
        self.node(id).lane
    }

    /// The rank of a node's own head.
    pub(super) fn rank(&self, id: NodeId) -> Rank {
        let node = self.node(id);
        rank(node.lane.urgency, node.head, node.deadline_ms)
    }

    /// The best rank in a part.
    pub(super) fn best(&self, part: Part) -> Rank {
        match part {
            Part::One(id) => self.rank(id),
            Part::Whole(id) => self.rank(self.node(id).best),
        }
    }

    /// What a node with all below it is made of.
    pub(super) fn split(&self, id: NodeId) -> impl Iterator<Item = Part> {
        let Node { left, right, .. } = *self.node(id);
        let below = [left, right].into_iter().filter(|child| *child != NONE).map(Part::Whole);
        [Part::One(id)].into_iter().chain(below)
    }

    /// The lanes of a tree, one after the other as they are asked for.
    pub(super) fn lanes(&self, root: NodeId) -> impl Iterator<Item = LaneId> {
        let mut open = Vec::from_iter((root != NONE).then_some(root));
        std::iter::from_fn(move || {
            let Node { lane, left, right, .. } = *self.node(open.pop()?);
            open.extend([left, right].into_iter().filter(|child| *child != NONE));
            Some(lane)
        })
    }

    /// The lanes of a tree after one, in their order, each with the name of its queue.
    pub(super) fn lanes_after(
        &self,
        root: NodeId,
        after: Option<(&str, LaneId)>,
    ) -> impl Iterator<Item = (&Arc<str>, LaneId)> {
        let (mut at, mut next) = (root, NONE);
        while at != NONE {
            let node = self.node(at);
            if after.is_none_or(|after| after < (&*node.name, node.lane)) {
                (next, at) = (at, node.left);
            } else {
                at = node.right;
            }
        }
        std::iter::from_fn(move || {
            let node = (next != NONE).then(|| self.node(next))?;
            next = self.following(next);
            Some((&node.name, node.lane))
        })
    }

    /// The node that comes after one in the order of a tree.
    fn following(&self, id: NodeId) -> NodeId {
        let (mut at, mut below) = (self.node(id).right, NONE);
        while at != NONE {
            (below, at) = (at, self.node(at).left);
        }
        if below != NONE {
            return below;
        }
        let mut at = id;
        loop {
            let parent = self.node(at).parent;
            if parent == NONE || self.node(parent).left == at {
                return parent;
            }
            at = parent;
        }
    }

    /// Adds a lane to a tree.
    pub(super) fn insert(
        &mut self,
        root: &mut NodeId,
        (name, lane, deadline_ms): (&Arc<str>, LaneId, u64),
        head: Slot,
    ) -> NodeId {
        let at = self.free.pop();
        let id = at.unwrap_or(self.nodes.len() as NodeId);
        let name = Arc::clone(name);
        let (left, right) = (NONE, NONE);
        let best = id;
        let mut node = Node { lane, name, deadline_ms, head, best, left, right, parent: NONE };
        let mut next = *root;
        let mut before = false;
        while next != NONE {
            let other = self.node(next);
            let by_name = if node.lane.queue == other.lane.queue {
                Ordering::Equal
            } else {
                node.name.cmp(&other.name)
            };
            before = by_name.then(node.lane.cmp(&other.lane)) == Ordering::Less;
            node.parent = next;
            next = if before { other.left } else { other.right };
        }
        let parent = node.parent;
        match at {
            Some(at) => *self.change(at) = node,
            None => self.nodes.push(node),
        }
        match parent {
            NONE => *root = id,
            parent if before => self.change(parent).left = id,
            parent => self.change(parent).right = id,
        }
        while self.node(id).parent != NONE
            && weight(lane) > weight(self.node(self.node(id).parent).lane)
        {
            self.lift(root, id);
        }
        self.find_best_from(id);
        id
    }

    /// Takes a lane out of a tree.
    pub(super) fn remove(&mut self, root: &mut NodeId, id: NodeId) {
        loop {
            let Node { left, right, .. } = *self.node(id);
            let heavier = match (left, right) {
                (NONE, NONE) => break,
                (NONE, only) | (only, NONE) => only,
                (left, right) => {
                    let weights = [left, right].map(|child| weight(self.node(child).lane));
                    if weights[0] > weights[1] { left } else { right }
                }
            };
            self.lift(root, heavier);
        }
        let parent = self.node(id).parent;
        match parent {
            NONE => *root = NONE,
            parent if self.node(parent).left == id => self.change(parent).left = NONE,
            parent => self.change(parent).right = NONE,
        }
        self.change(id).name = Arc::default();
        self.free.push(id);
        self.find_best_from(parent);
    }

    /// A lane's head is another one now.
    pub(super) fn set(&mut self, id: NodeId, head: Slot) {
        self.change(id).head = head;
        let mut at = id;
        while at != NONE {
            let before = self.node(at).best;
            let after = self.find_best(at);
            if before != id && after != id {
                break;
            }
            at = self.node(at).parent;
        }
    }

    /// Rotates a node into the place of its parent, which comes below it.
    fn lift(&mut self, root: &mut NodeId, id: NodeId) {
        let parent = self.node(id).parent;
        let above = self.node(parent).parent;
        let inner = if self.node(parent).left == id {
            let inner = std::mem::replace(&mut self.change(id).right, parent);
            self.change(parent).left = inner;
            inner
        } else {
            let inner = std::mem::replace(&mut self.change(id).left, parent);
            self.change(parent).right = inner;
            inner
        };
        if inner != NONE {
            self.change(inner).parent = parent;
        }
        self.change(parent).parent = id;
        self.change(id).parent = above;
        match above {
            NONE => *root = id,
            above if self.node(above).left == parent => self.change(above).left = id,
            above => self.change(above).right = id,
        }
        self.find_best(parent);
    }

    fn find_best(&mut self, id: NodeId) -> NodeId {
        let Node { left, right, .. } = *self.node(id);
        let mut best = id;
        for child in [left, right] {
            if child != NONE {
                let below = self.node(child).best;
                if self.rank(below) < self.rank(best) {
                    best = below;
                }
            }
        }
        self.change(id).best = best;
        best
    }

    fn find_best_from(&mut self, mut id: NodeId) {
        while id != NONE {
            self.find_best(id);
            id = self.node(id).parent;
        }
    }

    /// Calls `found` with the parts of a tree that hold the lanes of the queues that are meant.
    /// Answers how many nodes it looked at.
    pub(super) fn parts(
        &self,
        root: NodeId,
        pattern: &QueuePattern,
        found: &mut dyn FnMut(Part),
    ) -> usize {
        if root != NONE && matches!(pattern, QueuePattern::Prefix(all) if all.is_empty()) {
            found(Part::Whole(root));
            return 1;
        }
        let mut looked = 0;
        let mut top = root;
        while top != NONE {
            looked += 1;
            let node = self.node(top);
            match side(pattern, &node.name) {
                Ordering::Less => top = node.right,
                Ordering::Greater => top = node.left,
                Ordering::Equal => break,
            }
        }
        if top == NONE {
            return looked;
        }
        found(Part::One(top));
        let mut edge = self.node(top).left;
        while edge != NONE {
            looked += 1;
            let node = self.node(edge);
            edge = if side(pattern, &node.name) == Ordering::Equal {
                found(Part::One(edge));
                if node.right != NONE {
                    found(Part::Whole(node.right));
                }
                node.left
            } else {
                node.right
            };
        }
        edge = self.node(top).right;
        while edge != NONE {
            looked += 1;
            let node = self.node(edge);
            edge = if side(pattern, &node.name) == Ordering::Equal {
                found(Part::One(edge));
                if node.left != NONE {
                    found(Part::Whole(node.left));
                }
                node.right
            } else {
                node.left
            };
        }
        looked
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ids::{KindId, Place, QueueId, TimeMs};
    use crate::queueing::PartId;

    /// A generator of numbers that are the same in every run (`SplitMix64`).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % end
        }
    }

    fn name(queue: u32) -> String {
        format!("{}.{queue:03}", ["a", "ab", "b", "mail"][queue as usize % 4])
    }

    fn lane(random: &mut Random) -> LaneId {
        let queue = QueueId(random.below(200) as u32);
        let urgency = random.below(3) as u8;
        let kind = KindId(random.below(3) as u32);
        LaneId { queue, urgency, part: PartId::NONE, kind }
    }

    fn best(heads: &Heads, root: NodeId, pattern: &QueuePattern) -> Option<Rank> {
        let mut best: Option<Rank> = None;
        heads.parts(root, pattern, &mut |part| {
            let rank = heads.best(part);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        });
        best
    }

    fn depth(heads: &Heads, id: NodeId) -> usize {
        if id == NONE {
            return 0;
        }
        let node = heads.node(id);
        for child in [node.left, node.right] {
            assert!(child == NONE || heads.node(child).parent == id);
        }
        1 + depth(heads, node.left).max(depth(heads, node.right))
    }

    #[test]
    fn the_best_head_is_the_one_that_a_scan_finds() {
        let mut random = Random(7);
        let (mut heads, mut root) = (Heads::default(), NONE);
        let mut naive: BTreeMap<LaneId, (NodeId, Slot)> = BTreeMap::new();
        for place in 0..20_000 {
            let lane = lane(&mut random);
            let slot = (TimeMs(random.below(50)), Place(place));
            match naive.remove(&lane) {
                Some((id, _)) if random.below(2) == 0 => heads.remove(&mut root, id),
                Some((id, _)) => {
                    heads.set(id, slot);
                    naive.insert(lane, (id, slot));
                }
                None => {
                    let name = Arc::from(name(lane.queue.0));
                    let id = heads.insert(&mut root, (&name, lane, 0), slot);
                    naive.insert(lane, (id, slot));
                }
            }
            let prefix = ["", "a", "ab", "b.", "mail.1", "zz", "a."][random.below(7) as usize];
            let patterns = [
                QueuePattern::Prefix(prefix.to_owned()),
                QueuePattern::Exactly(name(random.below(200) as u32)),
            ];
            for pattern in patterns {
                let meant = naive.iter().filter(|(lane, _)| pattern.matches(&name(lane.queue.0)));
                let scanned = meant.map(|(lane, (_, slot))| (lane.urgency, *slot)).min();
                assert_eq!(best(&heads, root, &pattern), scanned, "{pattern:?}");
            }
        }
        let mut sorted: Vec<_> = naive.keys().map(|lane| (name(lane.queue.0), *lane)).collect();
        sorted.sort_unstable();
        let walked = |after: Option<&(String, LaneId)>| {
            let after = after.map(|(name, lane)| (&**name, *lane));
            let lanes = heads.lanes_after(root, after);
            lanes.map(|(name, lane)| (name.to_string(), lane)).collect::<Vec<_>>()
        };
        assert_eq!(walked(None), sorted);
        assert_eq!(walked(sorted.last()), []);
        let gone = (format!("{}!", sorted[300].0), sorted[300].1);
        let after = sorted.partition_point(|lane| *lane <= gone);
        assert_eq!(walked(sorted.get(300)), sorted[301..]);
        assert_eq!(walked(Some(&gone)), sorted[after..], "after one that is not there");
        let most = naive.len();
        assert!(most > 500 && depth(&heads, root) < 40, "{most} lanes");
        for (_, (id, _)) in std::mem::take(&mut naive) {
            heads.remove(&mut root, id);
        }
        assert!(root == NONE && heads.free.len() == heads.nodes.len());
    }
}
