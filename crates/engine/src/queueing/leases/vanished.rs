//! Jobs whose workers vanished before they were heard to start them: one of them may be what ends
//! its workers. Volatile: only what is decided depends on it.

use std::collections::BTreeMap;

use super::Leases;
use crate::ids::{JobId, NamespaceId};

/// How often in a row a job is given back free although its worker vanished.
const VANISHED_FREE_MAX: u8 = 3;
/// Jobs that are remembered so; beyond that all of the namespace with the most are forgotten.
const VANISHED_MAX: usize = 10_000;

/// How often in a row each job came back free from a worker that vanished: a job that ends the
/// process at once is never heard to start. Only what is decided depends on it.
#[derive(Debug, Default)]
pub(super) struct Vanished(BTreeMap<(NamespaceId, JobId), u8>);

impl Leases {
    /// The job comes back free once more from a worker that vanished.
    pub(crate) fn note_vanished(&mut self, ns: NamespaceId, id: JobId) {
        self.vanished.note(ns, id);
    }

    /// The job has started, or has ended.
    pub(crate) fn forget_vanished(&mut self, ns: NamespaceId, id: JobId) {
        self.vanished.0.remove(&(ns, id));
    }

    /// The job may be what ends its workers.
    pub(crate) fn is_suspect(&self, ns: NamespaceId, id: JobId) -> bool {
        self.vanished.is_suspect(ns, id)
    }
}

impl Vanished {
    fn note(&mut self, ns: NamespaceId, id: JobId) {
        if self.0.len() >= VANISHED_MAX && !self.0.contains_key(&(ns, id)) {
            self.forget_most();
        }
        let times = self.0.entry((ns, id)).or_default();
        *times = times.saturating_add(1);
    }

    fn forget_most(&mut self) {
        let (mut most, mut of) = (0, None);
        for of_one in self.0.keys().map(|(ns, _)| *ns).collect::<Vec<_>>().chunk_by(|a, b| a == b) {
            if of_one.len() > most {
                (most, of) = (of_one.len(), of_one.first().copied());
            }
        }
        self.0.retain(|(ns, _), _| Some(*ns) != of);
    }

    fn is_suspect(&self, ns: NamespaceId, id: JobId) -> bool {
        self.0.get(&(ns, id)).is_some_and(|times| *times >= VANISHED_FREE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All were forgotten when one namespace had many.
    #[test]
    fn a_namespace_with_many_vanished_jobs_costs_no_other_its_suspects() {
        let id = |n: usize| JobId((n as u128).to_be_bytes());
        let [victim, crowd] = [NamespaceId(1), NamespaceId(2)];
        let mut vanished = Vanished::default();
        for _ in 0..VANISHED_FREE_MAX {
            vanished.note(victim, id(0));
        }
        (0..2 * VANISHED_MAX).for_each(|n| vanished.note(crowd, id(n)));
        assert!(vanished.is_suspect(victim, id(0)));
        assert!(vanished.0.len() <= VANISHED_MAX);
    }
}
