//! What a limit over a namespace or a kind held back is offered to those who wait once it lets go.
//! Letting go is only noted; the turn looks, where somebody stands in line, at so many queues. A
//! look through a namespace or a kind begins where the one before ended, so that each queue has its
//! turn, however soon the limit is spent again, and namespaces and kinds take turns. It knows
//! nobody who waits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::{LimitScope, LimitSettings};
use crate::circle::Circle;
use crate::ids::{KindId, NamespaceId};
use crate::queue::Queue;
use crate::queueing::KindPlace;
use crate::state::State;

/// Queues of namespaces, and lanes of kinds, that the looks of one turn are about.
const QUEUES_MAX: usize = if cfg!(test) { 16 } else { 256 };

/// Where looks through the queues of a namespace are.
#[derive(Debug, Default)]
struct Round {
    /// The last one that was looked at; none where the next look begins with the first queue.
    after: Option<String>,
    /// How many are to be looked at yet, so that each was once since the limit let go.
    left: usize,
}

/// A kind in all its versions.
type KindName = (NamespaceId, String);

/// What memory holds of such looks. All of it is volatile.
#[derive(Debug, Default)]
pub(crate) struct Offering {
    /// Of namespaces with a limit over them that has let go.
    rounds: BTreeMap<NamespaceId, Round>,
    /// Namespaces of which not all queues were looked at, and that nothing holds back.
    under_way: BTreeSet<NamespaceId>,
    /// The namespace that was looked at last.
    last: Option<NamespaceId>,
    /// Of kinds with a limit over them that has let go, until all their lanes were looked at.
    kinds: BTreeMap<KindName, Circle<KindPlace>>,
    /// Those of them that nothing holds back.
    kinds_under_way: BTreeSet<KindName>,
    /// The kind that was looked at last.
    last_kind: Option<KindName>,
    /// Queues and lanes that were looked at.
    #[cfg(test)]
    pub(crate) looked: usize,
}

/// The one that comes after the last one, in a circle.
fn next_in_turn<T: Clone + Ord>(of: &BTreeSet<T>, last: Option<&T>) -> Option<T> {
    let from = last.map_or(Unbounded, Excluded);
    of.range((from, Unbounded)).next().or_else(|| of.first()).cloned()
}

impl Offering {
    pub(crate) fn goes_on(&self) -> bool {
        !self.under_way.is_empty() || !self.kinds_under_way.is_empty()
    }

    /// A limit holds the namespace back. Where it lets go, that goes on from where it came.
    pub(super) fn hold(&mut self, ns: NamespaceId) {
        self.under_way.remove(&ns);
    }

    /// A limit holds the kind back, likewise.
    pub(super) fn hold_kind(&mut self, ns: NamespaceId, kind: &str) {
        if !self.kinds_under_way.is_empty() {
            self.kinds_under_way.remove(&(ns, kind.to_owned()));
        }
    }

    fn next_namespace(&mut self) -> Option<NamespaceId> {
        let next = next_in_turn(&self.under_way, self.last.as_ref())?;
        self.last = Some(next);
        Some(next)
    }

    fn next_kind(&mut self) -> Option<KindName> {
        let next = next_in_turn(&self.kinds_under_way, self.last_kind.as_ref())?;
        self.last_kind = Some(next.clone());
        Some(next)
    }

    /// All lanes of a kind were looked at, or there are none.
    fn end_kind(&mut self, kind: &KindName) {
        self.kinds.remove(kind);
        self.kinds_under_way.remove(kind);
    }

    /// Namespaces and kinds of which something is remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.rounds.len() + self.kinds.len()
    }
}

impl State {
    /// A limit over a namespace lets go: its queues are to be offered, unless another one holds it.
    pub(super) fn mark_namespace(&mut self, ns: NamespaceId) {
        if self.limiting.holds_namespace(ns) {
            return;
        }
        let queues = self.queues.len_of(ns);
        let offering = &mut self.limiting.offering;
        offering.rounds.entry(ns).or_default().left = queues;
        offering.under_way.insert(ns);
    }

    /// A limit over a kind lets go: its lanes are to be offered, unless another one holds it.
    pub(super) fn mark_kind(&mut self, ns: NamespaceId, kind: &str) {
        let kinds = self.kinds.all_of(ns, kind);
        if kinds.iter().any(|kind| self.limiting.holds_kind(*kind)) {
            return;
        }
        let kind = (ns, kind.to_owned());
        let offering = &mut self.limiting.offering;
        offering.kinds.entry(kind.clone()).or_default().begin();
        offering.kinds_under_way.insert(kind);
    }

    /// Offers some of what limits have let go, once in a turn.
    pub(crate) fn go_on_offering(&mut self) {
        let mut left = QUEUES_MAX;
        while left > 0
            && let Some(ns) = self.limiting.offering.next_namespace()
        {
            left = left.saturating_sub(self.offer_queues(ns, left).max(1));
        }
        let mut left = QUEUES_MAX;
        while left > 0
            && let Some(kind) = self.limiting.offering.next_kind()
        {
            left = left.saturating_sub(self.offer_kind(&kind, left).max(1));
        }
    }

    /// Nobody is there whom anything could be offered to. Who comes asks by himself.
    pub(crate) fn stop_offering(&mut self) {
        for kind in std::mem::take(&mut self.limiting.offering.kinds_under_way) {
            self.limiting.offering.kinds.remove(&kind);
        }
        for ns in std::mem::take(&mut self.limiting.offering.under_way) {
            self.forget_round(ns);
        }
    }

    /// Where looks through a namespace are needs no remembering without a limit over it.
    pub(super) fn forget_round(&mut self, ns: NamespaceId) {
        let is_over = |(_, of): (_, &LimitSettings)| of.scope == LimitScope::Namespace;
        let is_over = self.limiting.all(ns).any(is_over);
        let offering = &mut self.limiting.offering;
        if !is_over && !offering.under_way.contains(&ns) {
            offering.rounds.remove(&ns);
        }
    }

    /// Looks at up to `most` queues of a namespace that nothing holds back. At how many it did.
    fn offer_queues(&mut self, ns: NamespaceId, most: usize) -> usize {
        let Round { after, left } = self.limiting.offering.rounds.remove(&ns).unwrap_or_default();
        let most = left.min(most);
        let (mut looked, mut due, mut last) = (0, Vec::new(), None::<&Queue>);
        // At the end of the names it goes on with the first.
        for after in [after.as_deref(), None] {
            for queue in self.queues.after(ns, after).take(most - looked) {
                looked += 1;
                last = Some(queue);
                due.extend(Some(queue.id).filter(|id| self.lanes.any_due(*id)));
            }
        }
        let after = last.map(|queue| queue.name.clone()).or(after);
        let left = if looked < most { 0 } else { left - looked };
        let offering = &mut self.limiting.offering;
        offering.rounds.insert(ns, Round { after, left });
        if left == 0 {
            offering.under_way.remove(&ns);
        }
        #[cfg(test)]
        {
            offering.looked += looked;
        }
        self.note_fresh(due);
        self.forget_round(ns);
        looked
    }

    /// Offers the queues of up to `most` lanes of a kind, unless something holds it back again. How
    /// many it did.
    fn offer_kind(&mut self, kind: &KindName, most: usize) -> usize {
        let ns = kind.0;
        let kinds: BTreeSet<KindId> = self.kinds.all_of(ns, &kind.1).into_iter().collect();
        // Once the namespace lets go, all of its queues are offered.
        let held = self.limiting.holds_namespace(ns);
        let round = self.limiting.offering.kinds.remove(kind).filter(|_| !held);
        let Some(mut round) = round else {
            self.limiting.offering.end_kind(kind);
            return 0;
        };
        let find =
            |after: Option<&KindPlace>, most| self.lanes.due_of_after((ns, &kinds), after, most);
        let (places, over) = round.go_on(most, find);
        let looked = places.len();
        if over {
            self.limiting.offering.end_kind(kind);
        } else {
            self.limiting.offering.kinds.insert(kind.clone(), round);
        }
        #[cfg(test)]
        {
            self.limiting.offering.looked += looked;
        }
        self.note_fresh(places.into_iter().map(|(.., lane)| lane.queue));
        looked
    }
}
