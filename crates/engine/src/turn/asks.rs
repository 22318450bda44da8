//! The number of each session's last ask. No record has an ask that was granted nothing. Such an
//! ask may arrive late, when its worker has gone on; then it must be granted nothing either.
//! Volatile.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{MonoMs, NamespaceId};
use crate::limits::Cap;
use crate::state::SessionKey;

/// The last ask of a session.
#[derive(Debug)]
struct LastAsk {
    number: u64,
    at: MonoMs,
}

/// The sessions of a namespace, by worker and session.
#[derive(Debug, Default)]
struct Askers {
    /// Those who asked lately.
    young: BTreeMap<(String, String), LastAsk>,
    /// Those who asked earlier and have not asked since.
    old: BTreeMap<(String, String), LastAsk>,
}

impl Askers {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Forgets one of those who have not asked for longest.
    fn forget_one(&mut self) {
        if self.old.is_empty() {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.pop_first();
    }
}

/// Those who asked lately. Who asks without being granted anything is in no other count, so they
/// are bounded here: twice as many as there may be sessions. Beyond that the namespace with the
/// most forgets one, so that no namespace pushes out what is known of another.
#[derive(Debug, Default)]
pub(super) struct LastAsks {
    namespaces: BTreeMap<NamespaceId, Askers>,
    /// How many each has, to find the one that has the most.
    sizes: BTreeSet<(usize, NamespaceId)>,
    /// How many there are.
    total: usize,
}

impl LastAsks {
    /// A session asks, under a number that is not lower than its last one.
    pub(super) fn note(&mut self, key: &SessionKey, number: u64, at: MonoMs, max: Cap) {
        let (ns, worker, session) = key;
        if self.last(key).is_none() {
            self.make_room(*ns, max);
        }
        self.change(*ns, |askers| {
            let own = (worker.clone(), session.clone());
            askers.old.remove(&own);
            askers.young.insert(own, LastAsk { number, at });
        });
    }

    /// Makes room for one more of a namespace: the one with the most forgets one, this one before
    /// others.
    fn make_room(&mut self, ns: NamespaceId, max: Cap) {
        let own = self.namespaces.get(&ns).map_or(0, Askers::len);
        let (most, of) = self.sizes.last().copied().unwrap_or((0, ns));
        if own >= 2 * max.namespace || (self.total >= 2 * max.shard && own == most) {
            self.change(ns, Askers::forget_one);
        } else if self.total >= 2 * max.shard {
            self.change(of, Askers::forget_one);
        }
    }

    pub(super) fn last(&self, key: &SessionKey) -> Option<u64> {
        let (ns, worker, session) = key;
        let own = (worker.clone(), session.clone());
        let askers = self.namespaces.get(ns)?;
        askers.young.get(&own).or_else(|| askers.old.get(&own)).map(|last| last.number)
    }

    /// Forgets those who have not asked for so long.
    pub(super) fn sweep(&mut self, now: MonoMs, idle_ms: u64) {
        let all: Vec<_> = self.namespaces.keys().copied().collect();
        for ns in all {
            self.change(ns, |askers| {
                for generation in [&mut askers.young, &mut askers.old] {
                    generation.retain(|_, last| last.at.plus(idle_ms) > now);
                }
            });
        }
    }

    fn change(&mut self, ns: NamespaceId, change: impl FnOnce(&mut Askers)) {
        let askers = self.namespaces.entry(ns).or_default();
        let before = askers.len();
        change(askers);
        let after = askers.len();
        if after == 0 {
            self.namespaces.remove(&ns);
        }
        if before != after {
            self.sizes.remove(&(before, ns));
            if after > 0 {
                self.sizes.insert((after, ns));
            }
            self.total = self.total + after - before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Cap = Cap { shard: 10, namespace: 8 };

    fn key(ns: u32, session: u32) -> SessionKey {
        (NamespaceId(ns), "w".to_owned(), format!("s{session:04}"))
    }

    fn check(asked: &LastAsks) {
        let sizes = asked.namespaces.iter().map(|(ns, askers)| (askers.len(), *ns));
        assert_eq!(asked.sizes, sizes.collect());
        assert_eq!(asked.total, asked.sizes.iter().map(|(size, _)| size).sum::<usize>());
        assert!(asked.total <= 2 * MAX.shard);
    }

    /// The bound was one for all: whoever asked often enough under new names made the server forget
    /// what the workers of others had asked, and a late ask was granted jobs again.
    #[test]
    fn a_namespace_that_asks_under_many_names_pushes_out_no_other() {
        let mut asked = LastAsks::default();
        for session in 0..3 {
            asked.note(&key(1, session), 7, MonoMs(0), MAX);
        }
        for session in 0..1000 {
            for ns in [2, 3] {
                asked.note(&key(ns, session), 1, MonoMs(1), MAX);
                check(&asked);
            }
        }
        for session in 0..3 {
            assert_eq!(asked.last(&key(1, session)), Some(7), "{session}");
        }
        for ns in [2, 3] {
            assert_eq!(asked.last(&key(ns, 0)), None);
            assert_eq!(asked.last(&key(ns, 999)), Some(1), "what was asked last is known");
        }
    }

    #[test]
    fn one_that_goes_on_asking_is_not_forgotten() {
        let mut asked = LastAsks::default();
        for round in 0..100 {
            for session in 0..4 {
                asked.note(&key(1, session), u64::from(round), MonoMs(0), MAX);
            }
            asked.note(&key(1, 100 + round), 1, MonoMs(0), MAX);
            check(&asked);
        }
        for session in 0..4 {
            assert_eq!(asked.last(&key(1, session)), Some(99));
        }
    }

    #[test]
    fn those_who_have_gone_are_forgotten_in_time() {
        let mut asked = LastAsks::default();
        asked.note(&key(1, 1), 1, MonoMs(0), MAX);
        asked.note(&key(2, 1), 1, MonoMs(50), MAX);
        asked.sweep(MonoMs(120), 100);
        assert_eq!((asked.last(&key(1, 1)), asked.last(&key(2, 1))), (None, Some(1)));
        check(&asked);
        asked.sweep(MonoMs(150), 100);
        assert!(asked.namespaces.is_empty());
        check(&asked);
    }
}
