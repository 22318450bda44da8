//! What workers ask for, or asked for lately: which queues and kinds. Volatile, and nothing is
//! handed out by it: it tells people what nobody consumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{LeaseJobs, QueuePattern};
use crate::ids::{MonoMs, NamespaceId};
use crate::kind::KindRange;
use crate::limits::Cap;
use crate::state::SessionKey;

/// Bytes of names that are remembered at most. Beyond that who asks is not counted, so that
/// workers cannot fill the memory with wishes.
const BYTES_MAX: Cap = Cap { shard: 16 << 20, namespace: 8 << 20 };

/// What a session, and each name, costs besides its letters, about.
const WISH_BYTES: usize = 256;
const NAME_BYTES: usize = 64;

/// Different sets of kinds that are looked at for one queue. Where workers ask for more, nobody
/// can say cheaply what none of them asks for.
const SETS_PER_QUEUE_MAX: usize = 64;

/// The kinds that a worker asks for; `None` for all but reserved ones.
type AskedKinds = Option<Vec<KindRange>>;

/// What one session asks for.
#[derive(Debug)]
struct Wish {
    queues: Vec<QueuePattern>,
    set: u64,
    until: MonoMs,
}

impl Wish {
    fn bytes(&self) -> usize {
        let name = |pattern: &QueuePattern| match pattern {
            QueuePattern::Exactly(name) | QueuePattern::Prefix(name) => name.len() + NAME_BYTES,
        };
        WISH_BYTES + 2 * self.queues.iter().map(name).sum::<usize>()
    }
}

/// A set of kinds that somebody asks for.
#[derive(Debug)]
struct KindSet {
    kinds: Arc<Vec<KindRange>>,
    /// Where each of them stands, in the order of their names and versions.
    sorted: Vec<u32>,
    /// Sessions that ask for it.
    sessions: u64,
}

impl KindSet {
    fn new(kinds: Arc<Vec<KindRange>>) -> Self {
        let mut sorted: Vec<u32> = (0..kinds.len() as u32).collect();
        sorted.sort_unstable_by(|a, b| kinds[*a as usize].cmp(&kinds[*b as usize]));
        sorted.dedup_by(|a, b| kinds[*a as usize] == kinds[*b as usize]);
        Self { kinds, sorted, sessions: 0 }
    }

    fn holds(&self, kind: &str, version: u32) -> bool {
        let range = |index: &u32| &self.kinds[*index as usize];
        let first = self.sorted.partition_point(|index| range(index).kind.as_str() < kind);
        let mut of = self.sorted[first..].iter().map(range).take_while(|range| range.kind == kind);
        of.any(|range| range.holds(version))
    }

    fn bytes(kinds: &[KindRange]) -> usize {
        kinds.iter().map(|range| range.kind.len() + NAME_BYTES).sum()
    }
}

/// Sets of kinds, each with a number of its own while somebody asks for it.
#[derive(Debug, Default)]
struct KindSets {
    numbers: BTreeMap<Arc<Vec<KindRange>>, u64>,
    by_number: BTreeMap<u64, KindSet>,
    next: u64,
}

/// The number of the set that holds all kinds but reserved ones.
const ALL_KINDS: u64 = 0;

impl KindSets {
    fn number(&self, kinds: &AskedKinds) -> Option<u64> {
        match kinds {
            None => Some(ALL_KINDS),
            Some(kinds) => self.numbers.get(kinds).copied(),
        }
    }

    fn enter(&mut self, kinds: &AskedKinds) -> u64 {
        let Some(kinds) = kinds else { return ALL_KINDS };
        let number = self.numbers.get(kinds).copied().unwrap_or_else(|| {
            self.next += 1;
            let kinds = Arc::new(kinds.clone());
            self.numbers.insert(Arc::clone(&kinds), self.next);
            self.by_number.insert(self.next, KindSet::new(kinds));
            self.next
        });
        if let Some(set) = self.by_number.get_mut(&number) {
            set.sessions += 1;
        }
        number
    }

    /// Answers how many bytes are free again.
    fn leave(&mut self, number: u64) -> usize {
        let Some(set) = self.by_number.get_mut(&number) else { return 0 };
        set.sessions -= 1;
        if set.sessions > 0 {
            return 0;
        }
        let kinds = Arc::clone(&set.kinds);
        self.by_number.remove(&number);
        self.numbers.remove(&*kinds);
        KindSet::bytes(&kinds)
    }

    fn holds(&self, number: u64, (kind, version): (&str, u32), reserved: bool) -> bool {
        self.by_number.get(&number).map_or(!reserved, |set| set.holds(kind, version))
    }
}

/// What is asked for in a namespace.
#[derive(Debug, Default)]
struct NamespaceDemand {
    /// By worker and session.
    by_session: BTreeMap<(String, String), Wish>,
    /// How many ask for a pattern.
    patterns: BTreeMap<QueuePattern, u64>,
    /// How many ask for a pattern and a set of kinds.
    wishes: BTreeMap<(QueuePattern, u64), u64>,
    kinds: KindSets,
    bytes: usize,
}

impl NamespaceDemand {
    /// What the wish would cost beside those that there are.
    fn cost(&self, wish: &Wish, kinds: &AskedKinds) -> usize {
        let is_new = self.kinds.number(kinds).is_none();
        let kinds = kinds.as_deref().filter(|_| is_new).unwrap_or_default();
        wish.bytes() + KindSet::bytes(kinds)
    }

    fn add(&mut self, key: (String, String), mut wish: Wish, kinds: &AskedKinds) {
        self.bytes += self.cost(&wish, kinds);
        wish.set = self.kinds.enter(kinds);
        for pattern in &wish.queues {
            *self.patterns.entry(pattern.clone()).or_default() += 1;
            *self.wishes.entry((pattern.clone(), wish.set)).or_default() += 1;
        }
        self.by_session.insert(key, wish);
    }

    fn forget(&mut self, key: &(String, String)) {
        let Some(wish) = self.by_session.remove(key) else { return };
        self.bytes -= wish.bytes() + self.kinds.leave(wish.set);
        let set = wish.set;
        for pattern in wish.queues {
            leave(&mut self.patterns, &pattern);
            leave(&mut self.wishes, &(pattern, set));
        }
    }

    fn forget_one(&mut self) {
        if let Some(key) = self.by_session.keys().next().cloned() {
            self.forget(&key);
        }
    }

    /// The sets of kinds that are asked for in the queue, some of them more than once.
    fn sets_for<'a>(&'a self, queue: &'a str) -> impl Iterator<Item = u64> + 'a {
        patterns_for(queue).flat_map(move |pattern| {
            let range = (pattern.clone(), 0)..=(pattern, u64::MAX);
            self.wishes.range(range).map(|((_, set), _)| *set)
        })
    }
}

/// What is asked for in a shard. Where there is no room for all, the namespace that has the most
/// goes without: none pushes out what the workers of another ask for.
#[derive(Debug)]
pub(super) struct Demand {
    namespaces: BTreeMap<NamespaceId, NamespaceDemand>,
    /// How many bytes each has, to find the one that has the most.
    sizes: BTreeSet<(usize, NamespaceId)>,
    /// Sessions and bytes in all.
    sessions: usize,
    bytes: usize,
    max: Cap,
    next_sweep: MonoMs,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            namespaces: BTreeMap::new(),
            sizes: BTreeSet::new(),
            sessions: 0,
            bytes: 0,
            max: BYTES_MAX,
            next_sweep: MonoMs(0),
        }
    }
}

impl Demand {
    /// A worker asks. What it asks for counts until `until`.
    pub(super) fn saw(&mut self, ns: NamespaceId, request: &LeaseJobs, until: MonoMs) {
        let key = (request.worker.clone(), request.session.clone());
        if let Some(asked) = self.namespaces.get_mut(&ns)
            && let Some(known) = asked.by_session.get_mut(&key)
        {
            let set = asked.kinds.number(&request.kinds);
            if set == Some(known.set) && known.queues == request.queues {
                known.until = known.until.max(until);
                return;
            }
            self.change(ns, |asked| asked.forget(&key));
        }
        let wish = Wish { queues: request.queues.clone(), set: ALL_KINDS, until };
        if self.make_room(ns, &wish, &request.kinds) {
            self.change(ns, |asked| asked.add(key, wish, &request.kinds));
        }
    }

    /// Whether there is room for a wish. A namespace with more may have to forget one for it.
    fn make_room(&mut self, ns: NamespaceId, wish: &Wish, kinds: &AskedKinds) -> bool {
        let none = NamespaceDemand::default();
        let asked = self.namespaces.get(&ns).unwrap_or(&none);
        let bytes = asked.cost(wish, kinds);
        let own = asked.bytes + bytes;
        if own > self.max.namespace {
            return false;
        }
        while self.bytes + bytes > self.max.shard {
            match self.sizes.last().copied() {
                Some((most, of)) if of != ns && most > own => {
                    self.change(of, NamespaceDemand::forget_one);
                }
                _ => return false,
            }
        }
        true
    }

    /// A worker that took jobs as they came does so no longer: it counts like one that asked.
    pub(super) fn left(&mut self, (ns, worker, session): &SessionKey, until: MonoMs) {
        let key = (worker.clone(), session.clone());
        let asked = self.namespaces.get_mut(ns);
        if let Some(wish) = asked.and_then(|asked| asked.by_session.get_mut(&key)) {
            wish.until = until;
        }
    }

    /// Whether it is time to look through them.
    pub(super) fn sweep_due(&self, now: MonoMs) -> bool {
        now >= self.next_sweep
    }

    /// Forgets those who have not asked for long, at most once per `every_ms`.
    pub(super) fn sweep(&mut self, now: MonoMs, every_ms: u64) {
        if !self.sweep_due(now) {
            return;
        }
        self.next_sweep = now.plus(every_ms);
        let mut gone = Vec::new();
        for (ns, asked) in &self.namespaces {
            let over = asked.by_session.iter().filter(|(_, wish)| wish.until < now);
            gone.extend(over.map(|(key, _)| (*ns, key.clone())));
        }
        for (ns, key) in gone {
            self.change(ns, |asked| asked.forget(&key));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions
    }

    /// How many of them ask for the queue, whatever kinds they ask for.
    pub(super) fn of(&self, ns: NamespaceId, queue: &str) -> u64 {
        let Some(asked) = self.namespaces.get(&ns) else { return 0 };
        patterns_for(queue).filter_map(|pattern| asked.patterns.get(&pattern)).sum()
    }

    /// How many sessions ask for each of `kinds`, in whatever queue. `None` where that takes more
    /// than `looks` comparisons, of which those that it took are gone.
    pub(super) fn consumers<'a>(
        &self,
        ns: NamespaceId,
        kinds: impl Iterator<Item = ((&'a str, u32), bool)>,
        looks: &mut usize,
    ) -> Vec<Option<u64>> {
        let none = NamespaceDemand::default();
        let asked = self.namespaces.get(&ns).unwrap_or(&none);
        let sets = &asked.kinds.by_number;
        let of_sets: u64 = sets.values().map(|set| set.sessions).sum();
        let of_all = asked.by_session.len() as u64 - of_sets;
        let count = |((kind, version), reserved): ((&str, u32), bool)| {
            *looks = looks.checked_sub(1 + sets.len())?;
            let by_name = sets.values().filter(|set| set.holds(kind, version));
            let by_name: u64 = by_name.map(|set| set.sessions).sum();
            Some(by_name + if reserved { 0 } else { of_all })
        };
        kinds.map(count).collect()
    }

    /// Names of workers that ask for a version of a kind, in whatever queue: up to `most`, as far
    /// as `looks` reach.
    pub(super) fn workers_of(
        &self,
        ns: NamespaceId,
        kind: (&str, u32),
        reserved: bool,
        (most, looks): (usize, &mut usize),
    ) -> Vec<String> {
        let Some(asked) = self.namespaces.get(&ns) else { return Vec::new() };
        let mut workers: Vec<String> = Vec::new();
        for ((worker, _), wish) in &asked.by_session {
            let Some(left) = looks.checked_sub(1).filter(|_| workers.len() < most) else { break };
            *looks = left;
            // They come in the order of their names.
            if workers.last() != Some(worker) && asked.kinds.holds(wish.set, kind, reserved) {
                workers.push(worker.clone());
            }
        }
        workers
    }

    /// Those of `kinds`, each with whether it is reserved, that nobody asks for in the queue.
    /// None where that takes more than `looks` comparisons, of which those that it took are gone.
    pub(super) fn without<'a>(
        &self,
        ns: NamespaceId,
        queue: &str,
        kinds: impl Iterator<Item = ((&'a str, u32), bool)>,
        looks: &mut usize,
    ) -> Vec<(String, u32)> {
        let none = NamespaceDemand::default();
        let asked = self.namespaces.get(&ns).unwrap_or(&none);
        let sets: BTreeSet<u64> = asked.sets_for(queue).take(SETS_PER_QUEUE_MAX + 1).collect();
        if sets.len() > SETS_PER_QUEUE_MAX {
            return Vec::new();
        }
        let mut unasked = Vec::new();
        for (kind, reserved) in kinds {
            let Some(left) = looks.checked_sub(1 + sets.len()) else { return Vec::new() };
            *looks = left;
            if !sets.iter().any(|set| asked.kinds.holds(*set, kind, reserved)) {
                unasked.push((kind.0.to_owned(), kind.1));
            }
        }
        unasked
    }

    fn change(&mut self, ns: NamespaceId, change: impl FnOnce(&mut NamespaceDemand)) {
        let asked = self.namespaces.entry(ns).or_default();
        let before = (asked.bytes, asked.by_session.len());
        change(asked);
        let after = (asked.bytes, asked.by_session.len());
        if after.1 == 0 {
            self.namespaces.remove(&ns);
        }
        self.sizes.remove(&(before.0, ns));
        if after.1 > 0 {
            self.sizes.insert((after.0, ns));
        }
        self.bytes = self.bytes + after.0 - before.0;
        self.sessions = self.sessions + after.1 - before.1;
    }
}

/// The patterns that mean a queue: one look for each, however many are asked for.
fn patterns_for(queue: &str) -> impl Iterator<Item = QueuePattern> {
    let ends = queue.char_indices().map(|(at, _)| at).chain([queue.len()]);
    let prefixes = ends.map(|end| QueuePattern::Prefix(queue[..end].to_owned()));
    prefixes.chain([QueuePattern::Exactly(queue.to_owned())])
}

fn leave<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(session: u32, queue: &str) -> LeaseJobs {
        LeaseJobs {
            queues: vec![QueuePattern::Exactly(queue.to_owned())],
            kinds: None,
            max: 1,
            wait_ms: 0,
            lease_ms: None,
            worker: "w".to_owned(),
            session: format!("s{session:05}"),
            ask: None,
            seen: None,
            settle: Vec::new(),
            prefetch: false,
        }
    }

    fn small() -> Demand {
        Demand { max: Cap { shard: 40_000, namespace: 30_000 }, ..Demand::default() }
    }

    fn check(demand: &Demand) {
        let all = || demand.namespaces.iter();
        assert_eq!(demand.sizes, all().map(|(ns, asked)| (asked.bytes, *ns)).collect());
        assert_eq!(demand.bytes, all().map(|(_, asked)| asked.bytes).sum::<usize>());
        assert_eq!(demand.len(), all().map(|(_, asked)| asked.by_session.len()).sum::<usize>());
        assert!(demand.bytes <= demand.max.shard);
        assert!(all().all(|(_, asked)| asked.bytes <= demand.max.namespace));
    }

    /// The room was one for all: whoever asked under many names used it up, and a queue whose
    /// worker asked later said `consumers: 0`.
    #[test]
    fn a_namespace_whose_workers_ask_for_much_leaves_room_for_others() {
        let [crowd, second, own] = [1, 2, 3].map(NamespaceId);
        let mut demand = small();
        for session in 0..1000 {
            for ns in [crowd, second] {
                demand.saw(ns, &asks(session, "q"), MonoMs(9));
                check(&demand);
            }
        }
        demand.saw(own, &asks(0, "mine"), MonoMs(9));
        check(&demand);
        assert_eq!(demand.of(own, "mine"), 1, "who comes last counts too");
        for session in 0..1000 {
            demand.saw(crowd, &asks(2000 + session, "q"), MonoMs(9));
        }
        check(&demand);
        assert_eq!(demand.of(own, "mine"), 1, "and goes on counting");
        let sizes = [crowd, second].map(|ns| demand.namespaces[&ns].bytes);
        assert!(sizes[0].abs_diff(sizes[1]) < 1000, "the two that want more share: {sizes:?}");
    }

    #[test]
    fn what_one_namespace_asks_for_is_nothing_to_another() {
        let mut demand = small();
        let kinds = || [(("k", 0), false)].into_iter();
        demand.saw(NamespaceId(1), &asks(1, "q"), MonoMs(9));
        assert_eq!(demand.without(NamespaceId(1), "q", kinds(), &mut 99), []);
        assert_eq!(demand.without(NamespaceId(2), "q", kinds(), &mut 99), [("k".to_owned(), 0)]);
        assert_eq!((demand.of(NamespaceId(1), "q"), demand.of(NamespaceId(2), "q")), (1, 0));
    }

    #[test]
    fn who_has_not_asked_for_long_leaves_nothing_behind() {
        let mut demand = small();
        demand.saw(NamespaceId(1), &asks(1, "q"), MonoMs(5));
        let some = LeaseJobs { kinds: Some(vec!["k".into()]), ..asks(2, "q") };
        demand.saw(NamespaceId(2), &some, MonoMs(50));
        demand.saw(NamespaceId(2), &LeaseJobs { kinds: None, ..some }, MonoMs(50));
        demand.left(&(NamespaceId(2), "w".to_owned(), "s00002".to_owned()), MonoMs(20));
        demand.sweep(MonoMs(10), 1);
        check(&demand);
        assert_eq!(demand.len(), 1);
        demand.sweep(MonoMs(21), 1);
        check(&demand);
        assert!(demand.namespaces.is_empty() && demand.bytes == 0);
    }
}
