//! Kinds that a gate or a limit holds back, or did. Their lanes stand in the trees of their kinds
//! alone. So a gate that closes and opens, or a limit that is spent and lets go, takes whole trees
//! out of the merge and puts them back, and no lane moves. A lane may still stand in the tree of
//! its namespace from before. An offer that meets it there notes it, and it is put apart after that
//! offer.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{LaneId, Lanes};
use crate::command::QueuePattern;
use crate::ids::{KindId, NamespaceId};
use crate::queueing::heads::{NONE, NodeId, Part};

/// Kinds of a namespace that stand apart though nothing holds them back: each is one more tree in a
/// merge of all kinds.
const FREE_MAX: usize = 64;

/// Lanes that come back into the trees of their namespaces at a time.
const BACK_MAX: usize = 64;

/// A kind that stands apart.
#[derive(Debug)]
struct ApartKind {
    namespace: NamespaceId,
    /// A gate or a limit holds it back.
    held: bool,
    /// Where it stands in [`Apart::free`] while nothing does.
    turn: u64,
    /// Those of its lanes that would stand in the tree of their namespace otherwise.
    lanes: BTreeSet<LaneId>,
}

/// All kinds that stand apart.
#[derive(Debug, Default)]
pub(super) struct Apart {
    kinds: BTreeMap<KindId, ApartKind>,
    /// Those that nothing holds back, in the order in which they were let go.
    free: BTreeMap<NamespaceId, BTreeSet<(u64, KindId)>>,
    next: u64,
    /// Namespaces in which more than [`FREE_MAX`] of those stand apart.
    over: BTreeSet<NamespaceId>,
    /// Lanes that an offer met in the trees of their namespaces: an offer itself changes nothing.
    met: RefCell<Vec<LaneId>>,
}

impl Apart {
    /// Notes the lane as one that stands apart, if its kind does. Whether it does.
    pub(super) fn enter(&mut self, id: LaneId) -> bool {
        let kind = self.kinds.get_mut(&id.kind);
        kind.map(|kind| kind.lanes.insert(id)).is_some()
    }

    /// The lane stands in no tree any more.
    pub(super) fn leave(&mut self, id: LaneId) {
        let Some(kind) = self.kinds.get_mut(&id.kind) else { return };
        kind.lanes.remove(&id);
        if kind.lanes.is_empty() && !kind.held {
            self.forget(id.kind);
        }
    }

    fn forget(&mut self, kind: KindId) {
        if let Some(gone) = self.kinds.remove(&kind) {
            self.unlist(gone.namespace, (gone.turn, kind));
        }
    }

    fn list(&mut self, ns: NamespaceId, listed: (u64, KindId)) {
        let free = self.free.entry(ns).or_default();
        free.insert(listed);
        if free.len() > FREE_MAX {
            self.over.insert(ns);
        }
    }

    fn unlist(&mut self, ns: NamespaceId, listed: (u64, KindId)) {
        if let Some(free) = self.free.get_mut(&ns) {
            free.remove(&listed);
            if free.len() <= FREE_MAX {
                self.over.remove(&ns);
            }
            if free.is_empty() {
                self.free.remove(&ns);
            }
        }
    }
}

impl Lanes {
    /// A gate or a limit holds a kind back, or none does any more.
    pub(crate) fn hold_kind(&mut self, namespace: NamespaceId, kind: KindId, held: bool) {
        let Some(known) = self.apart.kinds.get_mut(&kind) else {
            if held {
                let new = ApartKind { namespace, held, turn: 0, lanes: BTreeSet::new() };
                self.apart.kinds.insert(kind, new);
            }
            return;
        };
        if std::mem::replace(&mut known.held, held) == held {
            return;
        }
        let turn = known.turn;
        if held {
            self.apart.unlist(namespace, (turn, kind));
        } else if known.lanes.is_empty() {
            self.apart.forget(kind);
        } else {
            self.apart.next += 1;
            known.turn = self.apart.next;
            let listed = (known.turn, kind);
            self.apart.list(namespace, listed);
        }
    }

    /// Whether a gate or a limit holds the kind back.
    pub(crate) fn is_held_kind(&self, kind: KindId) -> bool {
        self.apart.kinds.get(&kind).is_some_and(|kind| kind.held)
    }

    /// Whether a lane is to be passed over where it is met at a node: its queue is shut, or it
    /// stands apart and the node is not that of its kind.
    pub(in crate::queueing) fn passes(&self, id: LaneId, node: NodeId) -> bool {
        if self.is_out(id) {
            return true;
        }
        let Some(kind) = self.apart.kinds.get(&id.kind) else { return false };
        if self.by_id.get(&id).is_some_and(|lane| lane.nodes[1] == node) {
            return kind.held;
        }
        if kind.held {
            self.apart.met.borrow_mut().push(id);
        }
        true
    }

    /// Whether an offer met lanes that [`Lanes::put_met_apart`] takes out of its way.
    pub(in crate::queueing) fn has_met(&self) -> bool {
        !self.apart.met.borrow().is_empty()
    }

    /// Takes lanes that offers met, and whose kinds are held back, out of the trees of their
    /// namespaces.
    pub(crate) fn put_met_apart(&mut self) {
        for id in std::mem::take(self.apart.met.get_mut()) {
            let stands = self.by_id.get(&id).is_some_and(|lane| lane.nodes[0] != NONE);
            if stands && self.is_held_kind(id.kind) {
                self.close_to_all(id);
                self.apart.enter(id);
            }
        }
    }

    /// Where too many kinds stand apart that nothing holds back, some of their lanes come back
    /// into the trees of their namespaces.
    pub(super) fn bring_back(&mut self) {
        for _ in 0..BACK_MAX {
            let over = self.apart.over.first().and_then(|ns| self.apart.free.get(ns));
            let first = over.and_then(BTreeSet::first).map(|(_, kind)| *kind);
            let kind = first.and_then(|kind| self.apart.kinds.get(&kind));
            let Some(id) = kind.and_then(|kind| kind.lanes.first().copied()) else { return };
            self.stand_in_namespace(id);
            self.apart.leave(id);
        }
    }

    /// Calls `found` with the trees of kinds that stand apart in a namespace and hand out, beside
    /// those of the namespace itself.
    pub(super) fn meant_apart(
        &self,
        ns: NamespaceId,
        pattern: &QueuePattern,
        found: &mut dyn FnMut(Part),
    ) -> usize {
        let free = self.apart.free.get(&ns);
        let mut looked = 0;
        for (_, kind) in free.into_iter().flatten() {
            for ((_, set), root) in self.of_kind.range((*kind, 0)..=(*kind, u16::MAX)) {
                looked += 1;
                let first = self.by_id.get(&self.heads.lane(*root));
                if !self.shut_sets.contains(&(ns, *set)) && first.is_some_and(|it| !it.reserved) {
                    looked += self.heads.parts(*root, pattern, found);
                }
            }
        }
        looked
    }

    /// How many lanes stand apart.
    #[cfg(test)]
    pub(crate) fn apart_count(&self) -> usize {
        self.apart.kinds.values().map(|kind| kind.lanes.len()).sum()
    }
}
