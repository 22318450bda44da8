//! Live leases, by the limits that count them and their keys. Volatile: counted anew by a start.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::LimitKey;
use crate::ids::NamespaceId;
use crate::state::count;

/// Keys of limits that are gone which are forgotten at a time.
const GONE_PER_TICK: usize = 1024;

/// Those of one limit.
#[derive(Debug, Default)]
struct OfLimit {
    /// Over all of its keys.
    running: u64,
    keys: BTreeMap<String, u64>,
}

/// Those of all limits.
#[derive(Debug, Default)]
pub(super) struct LimitLeases {
    of: BTreeMap<NamespaceId, BTreeMap<String, OfLimit>>,
    /// Keys of limits that are gone: as many as had leases at that time.
    gone: Vec<BTreeMap<String, u64>>,
}

impl LimitLeases {
    fn limit(&self, ns: NamespaceId, name: &str) -> Option<&OfLimit> {
        self.of.get(&ns)?.get(name)
    }

    /// One more of a key.
    pub(super) fn add(&mut self, of: LimitKey) {
        let limit = self.of.entry(of.ns).or_default().entry(of.name).or_default();
        limit.running += 1;
        *limit.keys.entry(of.key).or_default() += 1;
    }

    /// One less of a key.
    pub(super) fn take(&mut self, of: &LimitKey) {
        let Some(all) = self.of.get_mut(&of.ns) else { return };
        let Some(limit) = all.get_mut(&of.name) else { return };
        let Some(leases) = limit.keys.get_mut(&of.key) else { return };
        count::take(leases, 1, "leases of a key of a limit");
        if *leases == 0 {
            limit.keys.remove(&of.key);
        }
        count::take(&mut limit.running, 1, "leases of a limit");
        if limit.running == 0 {
            self.forget(of.ns, &of.name);
        }
    }

    /// How many a key has, where it has any.
    pub(super) fn get(&self, of: &LimitKey) -> Option<&u64> {
        self.limit(of.ns, &of.name)?.keys.get(&of.key)
    }

    /// How many a limit has.
    pub(super) fn running(&self, ns: NamespaceId, name: &str) -> u64 {
        self.limit(ns, name).map_or(0, |limit| limit.running)
    }

    /// The keys of a limit that have any, after one.
    pub(super) fn keys_after(
        &self,
        ns: NamespaceId,
        name: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &String> {
        let from = after.map_or(Unbounded, Excluded);
        let keys = self.limit(ns, name).map(|limit| limit.keys.range::<str, _>((from, Unbounded)));
        keys.into_iter().flatten().map(|(key, _)| key)
    }

    /// Those of a limit count no longer.
    pub(super) fn forget(&mut self, ns: NamespaceId, name: &str) {
        let Some(all) = self.of.get_mut(&ns) else { return };
        let gone = all.remove(name).map(|limit| limit.keys);
        if all.is_empty() {
            self.of.remove(&ns);
        }
        self.gone.extend(gone.filter(|keys| !keys.is_empty()));
    }

    /// Gives back some of the memory of what is gone.
    pub(super) fn drop_some(&mut self) {
        for _ in 0..GONE_PER_TICK {
            let Some(keys) = self.gone.last_mut() else { return };
            if keys.pop_first().is_none() {
                self.gone.pop();
            }
        }
    }

    /// Whether there is more to give back.
    pub(super) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its keys were removed one by one in the turn in which the limit was.
    #[test]
    fn what_a_limit_that_goes_has_counted_is_given_back_in_slices() {
        let ns = NamespaceId(1);
        let key = |limit: &str, n: usize| LimitKey::new(ns, limit, &format!("{n:05}"));
        let mut leases = LimitLeases::default();
        for n in 0..3000 {
            leases.add(key("one", n));
        }
        leases.add(key("two", 7));
        leases.add(key("two", 7));
        assert_eq!((leases.running(ns, "one"), leases.running(ns, "two")), (3000, 2));
        assert_eq!(leases.keys_after(ns, "one", Some("02997")).count(), 2);
        leases.forget(ns, "one");
        assert_eq!((leases.running(ns, "one"), leases.get(&key("one", 1))), (0, None));
        let left = |leases: &LimitLeases| leases.gone.iter().map(BTreeMap::len).sum::<usize>();
        assert_eq!(left(&leases), 3000);
        leases.add(key("one", 1));
        leases.drop_some();
        assert_eq!(left(&leases), 3000 - GONE_PER_TICK);
        while leases.has_gone() {
            leases.drop_some();
        }
        leases.take(&key("one", 1));
        leases.take(&key("two", 7));
        assert_eq!((leases.get(&key("one", 1)), leases.get(&key("two", 7))), (None, Some(&1)));
        leases.take(&key("two", 7));
        assert!(leases.is_empty());
    }
}
