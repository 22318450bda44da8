//! What a limit over a namespace held back is offered to those who wait once it lets go: so many of
//! the namespace's queues at a time. A look begins where the one before ended, so that each queue
//! has its turn, however soon the limit is spent again. It knows nobody who waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NamespaceId;
use crate::state::State;

/// Queues that one look is about.
const QUEUES_MAX: usize = if cfg!(test) { 16 } else { 256 };

/// Where looks through the queues of a namespace are.
#[derive(Clone, Debug, Default)]
struct Round {
    /// The last one that was looked at; none where the next look begins with the first queue.
    after: Option<String>,
    /// How many are to be looked at yet, so that each was once since the limit let go.
    left: usize,
}

/// What memory holds of such looks. All of it is volatile.
#[derive(Debug, Default)]
pub(crate) struct Offering {
    /// Of namespaces with a limit over them that has let go.
    rounds: BTreeMap<NamespaceId, Round>,
    /// Namespaces of which not all queues were looked at.
    under_way: BTreeSet<NamespaceId>,
    /// Queues that were looked at.
    #[cfg(test)]
    pub(crate) looked: usize,
}

impl Offering {
    pub(crate) fn goes_on(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Nobody is there whom it could be offered to. Who comes asks by himself.
    pub(crate) fn stop(&mut self) {
        self.under_way.clear();
    }

    /// A namespace is removed, or has no limit over it any more.
    pub(super) fn forget(&mut self, ns: NamespaceId) {
        self.under_way.remove(&ns);
        self.rounds.remove(&ns);
    }
}

impl State {
    /// A limit over a namespace lets go: its queues are offered.
    pub(super) fn offer_namespace(&mut self, ns: NamespaceId) {
        let queues = self.queues.len_of(ns);
        let offering = &mut self.limiting.offering;
        offering.rounds.entry(ns).or_default().left = queues;
        offering.under_way.insert(ns);
        self.offer_queues(ns);
    }

    /// Goes on with one of the namespaces whose limits have let go.
    pub(crate) fn go_on_offering(&mut self) {
        if let Some(ns) = self.limiting.offering.under_way.first().copied() {
            self.offer_queues(ns);
        }
    }

    fn offer_queues(&mut self, ns: NamespaceId) {
        let mut round = self.limiting.offering.rounds.get(&ns).cloned().unwrap_or_default();
        let spent = self.limiting.holds_namespace(ns);
        let most = if spent { 0 } else { round.left.min(QUEUES_MAX) };
        let (mut looked, mut due) = (0, Vec::new());
        // At the end of the names it goes on with the first.
        for from_first in [false, true] {
            let after = round.after.clone().filter(|_| !from_first);
            let queues = self.queues.after(ns, after.as_deref()).take(most - looked);
            for queue in queues {
                looked += 1;
                round.after = Some(queue.name.clone());
                due.extend(Some(queue.id).filter(|id| self.lanes.any_due(*id)));
            }
        }
        round.left = if looked < most { 0 } else { round.left - looked };
        let offering = &mut self.limiting.offering;
        // Where it is spent again, the next one that it lets go is offered from here on.
        if spent || round.left == 0 {
            offering.under_way.remove(&ns);
        }
        offering.rounds.insert(ns, round);
        #[cfg(test)]
        {
            offering.looked += looked;
        }
        self.note_fresh(due);
    }
}
