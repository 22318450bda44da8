//! What workers ask for, or asked for lately: which queues and kinds. Volatile, and nothing is
//! handed out by it: it tells people what nobody consumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{LeaseJobs, QueuePattern};
use crate::ids::{MonoMs, NamespaceId};
use crate::state::SessionKey;

/// Bytes of names that are remembered at most. Who asks beyond it is not counted, rather than
/// that workers could fill the memory with wishes.
const BYTES_MAX: usize = 16 << 20;

/// What a session, and each name, costs besides its letters, about.
const WISH_BYTES: usize = 256;
const NAME_BYTES: usize = 64;

/// Different sets of kinds that are looked at for one queue. Where workers ask for more, nobody
/// can say cheaply what none of them asks for.
const SETS_PER_QUEUE_MAX: usize = 64;

/// The kinds that a worker asks for; `None` for all but reserved ones.
type Kinds = Option<Vec<String>>;

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
    kinds: Arc<Vec<String>>,
    /// Where each of them stands, in the order of their names.
    sorted: Vec<u32>,
    /// Sessions that ask for it.
    sessions: u64,
}

impl KindSet {
    fn new(kinds: Arc<Vec<String>>) -> Self {
        let mut sorted: Vec<u32> = (0..kinds.len() as u32).collect();
        sorted.sort_unstable_by(|a, b| kinds[*a as usize].cmp(&kinds[*b as usize]));
        Self { kinds, sorted, sessions: 0 }
    }

    fn holds(&self, kind: &str) -> bool {
        let name = |index: &u32| self.kinds[*index as usize].as_str();
        self.sorted.binary_search_by(|index| name(index).cmp(kind)).is_ok()
    }

    fn bytes(kinds: &[String]) -> usize {
        kinds.iter().map(|kind| kind.len() + NAME_BYTES).sum()
    }
}

/// Sets of kinds, each with a number of its own while somebody asks for it.
#[derive(Debug, Default)]
struct KindSets {
    numbers: BTreeMap<Arc<Vec<String>>, u64>,
    by_number: BTreeMap<u64, KindSet>,
    next: u64,
}

/// The number of the set that holds all kinds but reserved ones.
const ALL_KINDS: u64 = 0;

impl KindSets {
    fn number(&self, kinds: &Kinds) -> Option<u64> {
        match kinds {
            None => Some(ALL_KINDS),
            Some(kinds) => self.numbers.get(kinds).copied(),
        }
    }

    fn enter(&mut self, kinds: &Kinds) -> u64 {
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

    fn holds(&self, number: u64, kind: &str, reserved: bool) -> bool {
        self.by_number.get(&number).map_or(!reserved, |set| set.holds(kind))
    }
}

/// What is asked for in a shard.
#[derive(Debug, Default)]
pub(super) struct Demand {
    by_session: BTreeMap<SessionKey, Wish>,
    /// How many ask for a pattern.
    patterns: BTreeMap<(NamespaceId, QueuePattern), u64>,
    /// How many ask for a pattern and a set of kinds.
    wishes: BTreeMap<(NamespaceId, QueuePattern, u64), u64>,
    kinds: KindSets,
    bytes: usize,
    next_sweep: MonoMs,
}

impl Demand {
    /// A worker asks; what it asks for counts until then.
    pub(super) fn saw(&mut self, ns: NamespaceId, request: &LeaseJobs, until: MonoMs) {
        let key = (ns, request.worker.clone(), request.session.clone());
        let set = self.kinds.number(&request.kinds);
        match self.by_session.get_mut(&key) {
            Some(known) if set == Some(known.set) && known.queues == request.queues => {
                known.until = known.until.max(until);
                return;
            }
            Some(_) => self.forget(&key),
            None => {}
        }
        let mut wish = Wish { queues: request.queues.clone(), set: ALL_KINDS, until };
        let is_new = self.kinds.number(&request.kinds).is_none();
        let kinds = request.kinds.as_deref().filter(|_| is_new).unwrap_or_default();
        let bytes = wish.bytes() + KindSet::bytes(kinds);
        if self.bytes + bytes > BYTES_MAX {
            return;
        }
        self.bytes += bytes;
        wish.set = self.kinds.enter(&request.kinds);
        for pattern in &wish.queues {
            *self.patterns.entry((ns, pattern.clone())).or_default() += 1;
            *self.wishes.entry((ns, pattern.clone(), wish.set)).or_default() += 1;
        }
        self.by_session.insert(key, wish);
    }

    /// A worker that took jobs as they came does so no longer: it counts like one that asked.
    pub(super) fn left(&mut self, key: &SessionKey, until: MonoMs) {
        if let Some(wish) = self.by_session.get_mut(key) {
            wish.until = until;
        }
    }

    fn forget(&mut self, key: &SessionKey) {
        let Some(wish) = self.by_session.remove(key) else { return };
        self.bytes -= wish.bytes() + self.kinds.leave(wish.set);
        let set = wish.set;
        for pattern in wish.queues {
            leave(&mut self.patterns, &(key.0, pattern.clone()));
            leave(&mut self.wishes, &(key.0, pattern, set));
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
        let gone: Vec<SessionKey> = self
            .by_session
            .iter()
            .filter(|(_, wish)| wish.until < now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.forget(&key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_session.len()
    }

    /// How many of them ask for the queue, whatever kinds they ask for.
    pub(super) fn of(&self, ns: NamespaceId, queue: &str) -> u64 {
        let asking = |pattern| self.patterns.get(&(ns, pattern)).copied();
        patterns_for(queue).filter_map(asking).sum()
    }

    /// Those of `kinds`, each with whether it is reserved, that nobody asks for in the queue.
    /// None where that takes more than `looks` comparisons, of which those that it took are gone.
    pub(super) fn without<'a>(
        &self,
        ns: NamespaceId,
        queue: &str,
        kinds: impl Iterator<Item = (&'a str, bool)>,
        looks: &mut usize,
    ) -> Vec<String> {
        let sets: BTreeSet<u64> = self.sets_for(ns, queue).take(SETS_PER_QUEUE_MAX + 1).collect();
        if sets.len() > SETS_PER_QUEUE_MAX {
            return Vec::new();
        }
        let mut unasked = Vec::new();
        for (kind, reserved) in kinds {
            let Some(left) = looks.checked_sub(1 + sets.len()) else { return Vec::new() };
            *looks = left;
            if !sets.iter().any(|set| self.kinds.holds(*set, kind, reserved)) {
                unasked.push(kind.to_owned());
            }
        }
        unasked
    }

    /// The sets of kinds that are asked for in the queue, some of them more than once.
    fn sets_for<'a>(&'a self, ns: NamespaceId, queue: &'a str) -> impl Iterator<Item = u64> + 'a {
        patterns_for(queue).flat_map(move |pattern| {
            let range = (ns, pattern.clone(), 0)..=(ns, pattern, u64::MAX);
            self.wishes.range(range).map(|((_, _, set), _)| *set)
        })
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
