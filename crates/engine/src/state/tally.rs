//! Counts by namespace, where counting anew would take long. Taking one where there is none is a
//! bug.

use std::collections::BTreeMap;

use crate::ids::NamespaceId;

/// Counts by namespace.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<NamespaceId, usize>);

impl Tally {
    /// One more.
    pub(crate) fn add(&mut self, ns: NamespaceId) {
        *self.0.entry(ns).or_default() += 1;
    }

    /// So many more.
    pub(crate) fn add_many(&mut self, ns: NamespaceId, more: usize) {
        if more > 0 {
            *self.0.entry(ns).or_default() += more;
        }
    }

    /// One less.
    pub(crate) fn take(&mut self, ns: NamespaceId) {
        let count = self.0.get_mut(&ns);
        let count = count.unwrap_or_else(|| panic!("the count of namespace {ns} is 0 already"));
        *count -= 1;
        if *count == 0 {
            self.0.remove(&ns);
        }
    }

    /// So many less.
    pub(crate) fn take_many(&mut self, ns: NamespaceId, less: usize) {
        for _ in 0..less {
            self.take(ns);
        }
    }

    /// How many.
    pub(crate) fn of(&self, ns: NamespaceId) -> usize {
        self.0.get(&ns).copied().unwrap_or(0)
    }
}
