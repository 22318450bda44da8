//! What a limit over a namespace or a kind held back is offered to those who wait once it lets go.
//! Letting go is only noted; the turn looks, where somebody stands in line, at so many queues. A
//! look through a namespace begins where the one before ended, so that each queue has its turn,
//! however soon the limit is spent again, and namespaces take turns. It knows nobody who waits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::{LimitScope, LimitSettings};
use crate::command::QueuePattern;
use crate::ids::NamespaceId;
use crate::queue::Queue;
use crate::state::State;

/// Queues of namespaces that the looks of one turn are about.
const QUEUES_MAX: usize = if cfg!(test) { 16 } else { 256 };

/// Queues with something due of kinds that are offered in one turn.
const QUEUES_OF_KINDS_MAX: usize = 4096;

/// Where looks through the queues of a namespace are.
#[derive(Debug, Default)]
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
    /// Namespaces of which not all queues were looked at, and that nothing holds back.
    under_way: BTreeSet<NamespaceId>,
    /// The namespace that was looked at last.
    last: Option<NamespaceId>,
    /// Kinds whose limits have let go since the turn before.
    kinds: BTreeSet<(NamespaceId, String)>,
    last_kind: Option<(NamespaceId, String)>,
    /// Queues that were looked at.
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
        !self.under_way.is_empty() || !self.kinds.is_empty()
    }

    /// A limit over a kind lets go.
    pub(super) fn mark_kind(&mut self, ns: NamespaceId, kind: &str) {
        self.kinds.insert((ns, kind.to_owned()));
    }

    /// A limit holds the namespace back. Where it lets go, that goes on from where it came.
    pub(super) fn hold(&mut self, ns: NamespaceId) {
        self.under_way.remove(&ns);
    }

    fn next_namespace(&mut self) -> Option<NamespaceId> {
        let next = next_in_turn(&self.under_way, self.last.as_ref())?;
        self.last = Some(next);
        Some(next)
    }

    fn take_kind(&mut self) -> Option<(NamespaceId, String)> {
        let next = next_in_turn(&self.kinds, self.last_kind.as_ref())?;
        self.kinds.remove(&next);
        self.last_kind = Some(next.clone());
        Some(next)
    }

    /// Namespaces of which something is remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.rounds.len()
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

    /// Offers some of what limits have let go, once in a turn.
    pub(crate) fn go_on_offering(&mut self) {
        let mut left = QUEUES_MAX;
        while left > 0
            && let Some(ns) = self.limiting.offering.next_namespace()
        {
            left = left.saturating_sub(self.offer_queues(ns, left).max(1));
        }
        // Each kind once and with all that it is offered, or what is cut off would be asked for by
        // nobody any more.
        let mut left = QUEUES_OF_KINDS_MAX;
        while left > 0
            && let Some((ns, kind)) = self.limiting.offering.take_kind()
        {
            left = left.saturating_sub(self.offer_kind(ns, &kind).max(1));
        }
    }

    /// Nobody is there whom anything could be offered to. Who comes asks by himself.
    pub(crate) fn stop_offering(&mut self) {
        self.limiting.offering.kinds.clear();
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

    /// Offers the queues with something due of a kind, unless something holds it back again. How
    /// many it did.
    fn offer_kind(&mut self, ns: NamespaceId, kind: &str) -> usize {
        let mut kinds = self.kinds.all_of(ns, kind);
        kinds.retain(|kind| !self.limiting.holds_kind(*kind));
        if kinds.is_empty() || self.limiting.holds_namespace(ns) {
            return 0;
        }
        let all = QueuePattern::Prefix(String::new());
        let due = self.due_queues(ns, &all, Some(&kinds), QUEUES_OF_KINDS_MAX);
        let looked = due.len();
        #[cfg(test)]
        {
            self.limiting.offering.looked += looked;
        }
        self.note_fresh(due);
        looked
    }
}
