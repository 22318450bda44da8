//! Queues of which somebody was told that they have settings of their own: they stay as they are
//! until somebody tries to change that, however long nobody uses them.

use std::collections::BTreeMap;

use longshore_engine::{Answer, QueueSettings};

/// The number of a namespace, and the name of a queue of its.
type QueueKey = (usize, String);

#[derive(Debug, Default)]
pub(crate) struct SetQueues {
    known: BTreeMap<QueueKey, QueueSettings>,
    /// Attempts to change a queue, or to remove it, of which nobody heard yet.
    untold: BTreeMap<QueueKey, u32>,
}

impl SetQueues {
    /// From now on the queue may have other settings, or be gone.
    pub(crate) fn tried(&mut self, namespace: usize, queue: &str) {
        let key = (namespace, queue.to_owned());
        self.known.remove(&key);
        *self.untold.entry(key).or_default() += 1;
    }

    /// What became of one of these attempts.
    pub(crate) fn told(&mut self, namespace: usize, queue: &str, answer: &Answer) {
        let key = (namespace, queue.to_owned());
        let untold = self.untold.entry(key.clone()).or_default();
        *untold = untold.saturating_sub(1);
        if let Answer::Queue(view) = answer
            && *untold == 0
            && view.settings != QueueSettings::DEFAULT
        {
            self.known.insert(key, view.settings.clone());
        }
    }

    /// Queues that have to be there, and their settings.
    pub(crate) fn known(&self) -> impl Iterator<Item = (usize, &str, &QueueSettings)> {
        self.known.iter().map(|((namespace, queue), settings)| (*namespace, &**queue, settings))
    }
}
