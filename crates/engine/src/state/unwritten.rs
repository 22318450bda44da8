//! What changes so often that memory has it and the map gets it late: when the map is kept as it
//! is. Where too much would be left to be written then, some of it is written before, one by one.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

/// So many of a sort are left to be written when the map is kept: about a millisecond of it.
const UNWRITTEN_MAX: usize = 1024;

/// Keys of what memory has newer than the map.
#[derive(Debug)]
pub(crate) struct Unwritten<K> {
    keys: BTreeSet<K>,
    /// Which was taken last, for there being too many.
    last: Option<K>,
}

impl<K> Default for Unwritten<K> {
    fn default() -> Self {
        Self { keys: BTreeSet::new(), last: None }
    }
}

impl<K: Ord + Clone> Unwritten<K> {
    pub(crate) fn add(&mut self, key: K) {
        self.keys.insert(key);
    }

    /// As [`Unwritten::add`], for keys that are not copied for nothing.
    pub(crate) fn note(&mut self, key: &K) {
        if !self.keys.contains(key) {
            self.keys.insert(key.clone());
        }
    }

    pub(crate) fn forget(&mut self, key: &K) {
        self.keys.remove(key);
    }

    /// All of them, to be written.
    pub(crate) fn take(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.keys)
    }

    /// A key to be written now, where there are too many. Keys take turns, so that one that
    /// changes all the time is not written all the time.
    pub(crate) fn take_excess(&mut self) -> Option<K> {
        if self.keys.len() <= UNWRITTEN_MAX {
            return None;
        }
        let after = self.last.as_ref().map_or(Unbounded, Excluded);
        let next = self.keys.range((after, Unbounded)).next().or_else(|| self.keys.first());
        let next = next.cloned()?;
        self.keys.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_written_in_turn() {
        let mut unwritten = Unwritten::default();
        (0..UNWRITTEN_MAX as u32).for_each(|key| unwritten.add(key));
        assert_eq!(unwritten.take_excess(), None);
        unwritten.add(9_000);
        assert_eq!(unwritten.take_excess(), Some(0));
        unwritten.add(0);
        assert_eq!(unwritten.take_excess(), Some(1), "it changes all the time");
        assert_eq!(unwritten.take().len(), UNWRITTEN_MAX);
    }
}
