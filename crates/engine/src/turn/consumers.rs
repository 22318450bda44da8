//! Who asked for which queues and kinds lately. Volatile: it tells people what nobody consumes.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{LeaseJobs, QueuePattern};
use crate::ids::{MonoMs, NamespaceId};
use crate::state::SessionKey;

/// Bytes of names that are remembered at most. Who asks beyond it is not counted, rather than
/// that workers could fill the memory with wishes.
const BYTES_MAX: usize = 16 << 20;

/// What a session costs besides its names, about.
const CONSUMER_BYTES: usize = 256;

/// The kinds that a worker asks for; `None` for all but reserved ones.
type Kinds = Option<Vec<String>>;

#[derive(Debug)]
struct Consumer {
    queues: Vec<QueuePattern>,
    kinds: Kinds,
    until: MonoMs,
}

impl Consumer {
    fn bytes(&self) -> usize {
        let name = |pattern: &QueuePattern| match pattern {
            QueuePattern::Exactly(name) | QueuePattern::Prefix(name) => name.len() + 64,
        };
        let queues: usize = self.queues.iter().map(name).sum();
        let kinds: usize = self.kinds.iter().flatten().map(|kind| kind.len() + 64).sum();
        // The kinds stand once per pattern in the worst case; in all but that one they are shared.
        CONSUMER_BYTES + queues + kinds
    }
}

/// Sets of kinds, each with a number of its own while somebody asks for it.
#[derive(Debug, Default)]
struct KindSets {
    numbers: BTreeMap<Kinds, u64>,
    by_number: BTreeMap<u64, (BTreeSet<String>, Kinds, u64)>,
    next: u64,
}

/// The number of the set that holds all kinds but reserved ones.
const ALL_KINDS: u64 = 0;

impl KindSets {
    fn enter(&mut self, kinds: &Kinds) -> u64 {
        let Some(named) = kinds else { return ALL_KINDS };
        let number = *self.numbers.entry(kinds.clone()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        let new = || (named.iter().cloned().collect(), kinds.clone(), 0);
        self.by_number.entry(number).or_insert_with(new).2 += 1;
        number
    }

    fn leave(&mut self, kinds: &Kinds) -> u64 {
        let Some(&number) = self.numbers.get(kinds) else { return ALL_KINDS };
        if let Some(set) = self.by_number.get_mut(&number) {
            set.2 -= 1;
            if set.2 == 0 {
                self.by_number.remove(&number);
                self.numbers.remove(kinds);
            }
        }
        number
    }

    fn holds(&self, number: u64, kind: &str, reserved: bool) -> bool {
        match self.by_number.get(&number) {
            Some((kinds, _, _)) => kinds.contains(kind),
            None => !reserved,
        }
    }
}

/// The consumers of a shard.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    by_session: BTreeMap<SessionKey, Consumer>,
    /// How many ask for a pattern and a set of kinds.
    wishes: BTreeMap<(NamespaceId, QueuePattern, u64), u64>,
    kinds: KindSets,
    bytes: usize,
    next_sweep: MonoMs,
}

impl Consumers {
    /// A worker asked.
    pub(super) fn saw(&mut self, ns: NamespaceId, request: &LeaseJobs, until: MonoMs) {
        let key = (ns, request.worker.clone(), request.session.clone());
        match self.by_session.get_mut(&key) {
            Some(known) if known.queues == request.queues && known.kinds == request.kinds => {
                known.until = known.until.max(until);
                return;
            }
            Some(_) => self.forget(&key),
            None => {}
        }
        let (queues, kinds) = (request.queues.clone(), request.kinds.clone());
        let consumer = Consumer { queues, kinds, until };
        if self.bytes + consumer.bytes() > BYTES_MAX {
            return;
        }
        self.bytes += consumer.bytes();
        for pattern in &consumer.queues {
            let set = self.kinds.enter(&consumer.kinds);
            *self.wishes.entry((ns, pattern.clone(), set)).or_default() += 1;
        }
        self.by_session.insert(key, consumer);
    }

    fn forget(&mut self, key: &SessionKey) {
        let Some(consumer) = self.by_session.remove(key) else { return };
        self.bytes -= consumer.bytes();
        for pattern in &consumer.queues {
            let set = self.kinds.leave(&consumer.kinds);
            let entry = (key.0, pattern.clone(), set);
            if let Some(count) = self.wishes.get_mut(&entry) {
                *count -= 1;
                if *count == 0 {
                    self.wishes.remove(&entry);
                }
            }
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
            .filter(|(_, consumer)| consumer.until < now)
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
        self.wishes_for(ns, queue).map(|(_, count)| count).sum()
    }

    /// Those of `kinds`, each with whether it is reserved, that nobody asks for in the queue.
    pub(super) fn without<'a>(
        &self,
        ns: NamespaceId,
        queue: &str,
        kinds: impl Iterator<Item = (&'a str, bool)>,
    ) -> Vec<String> {
        let sets: BTreeSet<u64> = self.wishes_for(ns, queue).map(|(set, _)| set).collect();
        let asked = |kind, reserved| sets.iter().any(|set| self.kinds.holds(*set, kind, reserved));
        let unasked = kinds.filter(|(kind, reserved)| !asked(kind, *reserved));
        unasked.map(|(kind, _)| kind.to_owned()).collect()
    }

    /// The wishes that mean the queue: one look per prefix of its name, however many there are.
    fn wishes_for<'a>(
        &'a self,
        ns: NamespaceId,
        queue: &'a str,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        let ends = queue.char_indices().map(|(at, _)| at).chain([queue.len()]);
        let prefixes = ends.map(|end| QueuePattern::Prefix(queue[..end].to_owned()));
        let patterns = prefixes.chain([QueuePattern::Exactly(queue.to_owned())]);
        patterns.flat_map(move |pattern| {
            let range = (ns, pattern.clone(), 0)..=(ns, pattern, u64::MAX);
            self.wishes.range(range).map(|((_, _, set), count)| (*set, *count))
        })
    }
}
