//! Who asked for which queues lately. Volatile: it tells people which queues nobody consumes.

use std::collections::BTreeMap;

use crate::command::{LeaseJobs, QueuePattern};
use crate::ids::{MonoMs, NamespaceId};
use crate::state::SessionKey;

#[derive(Debug)]
struct Consumer {
    queues: Vec<QueuePattern>,
    until: MonoMs,
}

/// The consumers of a shard.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    by_session: BTreeMap<SessionKey, Consumer>,
    patterns: BTreeMap<(NamespaceId, QueuePattern), u64>,
    next_sweep: MonoMs,
}

impl Consumers {
    /// A worker asked.
    pub(super) fn saw(&mut self, ns: NamespaceId, request: &LeaseJobs, until: MonoMs) {
        let key = (ns, request.worker.clone(), request.session.clone());
        match self.by_session.get_mut(&key) {
            Some(consumer) if consumer.queues == request.queues => {
                consumer.until = consumer.until.max(until);
                return;
            }
            Some(_) => self.forget(&key),
            None => {}
        }
        for pattern in &request.queues {
            *self.patterns.entry((ns, pattern.clone())).or_default() += 1;
        }
        self.by_session.insert(key, Consumer { queues: request.queues.clone(), until });
    }

    fn forget(&mut self, key: &SessionKey) {
        let Some(consumer) = self.by_session.remove(key) else { return };
        for pattern in consumer.queues {
            let entry = (key.0, pattern);
            if let Some(count) = self.patterns.get_mut(&entry) {
                *count -= 1;
                if *count == 0 {
                    self.patterns.remove(&entry);
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

    /// How many of them ask for the queue.
    pub(super) fn of(&self, ns: NamespaceId, queue: &str) -> u64 {
        let from = (ns, QueuePattern::Prefix(String::new()));
        let exact = self.patterns.get(&(ns, QueuePattern::Exactly(queue.to_owned())));
        let prefixes = self.patterns.range(from..).take_while(|((of, _), _)| *of == ns);
        let prefixes = prefixes.filter(|((_, pattern), _)| pattern.matches(queue));
        exact.copied().unwrap_or(0) + prefixes.map(|(_, count)| count).sum::<u64>()
    }
}
