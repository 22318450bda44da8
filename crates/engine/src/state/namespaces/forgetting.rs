//! Which namespaces have something to forget, and since when: a turn looks at those that are due,
//! however many there are. Derived and volatile.

use std::collections::{BTreeMap, BTreeSet};

use super::{NamespaceSlot, State};
use crate::ids::{NamespaceId, TimeMs};

/// Namespaces by the instant from which on they have something to forget.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    instants: BTreeMap<NamespaceId, TimeMs>,
    order: BTreeSet<(TimeMs, NamespaceId)>,
    /// What these have to forget may have changed since they were looked at.
    changed: BTreeSet<NamespaceId>,
    /// How many were ever looked at.
    #[cfg(test)]
    looks: u64,
}

impl Forgetting {
    /// What the namespace keeps has changed.
    pub(super) fn note(&mut self, id: NamespaceId) {
        self.changed.insert(id);
    }

    fn set(&mut self, id: NamespaceId, at: Option<TimeMs>) {
        let before = match at {
            Some(at) => self.instants.insert(id, at),
            None => self.instants.remove(&id),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, id));
        }
        if let Some(at) = at {
            self.order.insert((at, id));
        }
    }
}

#[cfg(test)]
impl super::Namespaces {
    /// How many were ever looked at.
    pub(crate) fn looks(&self) -> u64 {
        self.forgetting.borrow().looks
    }
}

impl State {
    /// The instant at which outcomes or tombstones are to be forgotten next.
    pub(crate) fn next_forgetting(&self) -> Option<TimeMs> {
        self.look_at_changed();
        self.namespaces.forgetting.borrow().order.first().map(|(at, _)| *at)
    }

    /// Up to `most` of the namespaces that have something to forget at `now`. Who has waited
    /// longest comes first: whoever was just served stands behind all that were due before.
    pub(crate) fn to_forget(&self, now: TimeMs, most: usize) -> Vec<NamespaceId> {
        self.look_at_changed();
        let forgetting = self.namespaces.forgetting.borrow();
        let due = forgetting.order.range(..=(now, NamespaceId(u32::MAX)));
        due.take(most).map(|(_, id)| *id).collect()
    }

    fn look_at_changed(&self) {
        let mut forgetting = self.namespaces.forgetting.borrow_mut();
        while let Some(id) = forgetting.changed.pop_first() {
            #[cfg(test)]
            {
                forgetting.looks += 1;
            }
            let slot = self.namespaces.get(id);
            let at = slot.and_then(|slot| self.next_forgetting_in(slot));
            forgetting.set(id, at.map(|at| at.max(self.now())));
        }
    }

    fn next_forgetting_in(&self, slot: &NamespaceSlot) -> Option<TimeMs> {
        let over = slot.namespace().deleted
            || slot.kept().outcome_bytes > self.limits.outcome_bytes_max
            || slot.kept().tombstones > self.limits.tombstones_max;
        let firsts = || [slot.outcomes().first(self), slot.tombstones().first(self)];
        if over { Some(TimeMs(0)) } else { firsts().into_iter().flatten().min().map(TimeMs) }
    }
}
