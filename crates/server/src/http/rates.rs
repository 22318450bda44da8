//! How fast queues move: the difference to what was seen when somebody asked before. Bounded;
//! forgotten with the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::QueueRecord;

/// Queues that are remembered.
const QUEUES_MAX: usize = 10_000;
/// Over how long a rate is taken at least, and about how long at most.
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    enqueued: u64,
    succeeded: u64,
}

/// What was seen of each queue: the older sample that rates are taken from, and a newer one that
/// takes its place in time.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<(String, String), (Seen, Seen)>>);

impl Rates {
    /// Fills in the rates of a queue, where it was seen before.
    pub(crate) fn of(&self, namespace: &str, record: QueueRecord) -> QueueRecord {
        self.at(namespace, record, Instant::now())
    }

    fn at(&self, namespace: &str, mut record: QueueRecord, now: Instant) -> QueueRecord {
        let (enqueued, succeeded) = (record.enqueued_total, record.succeeded_total);
        let seen = Seen { at: now, enqueued, succeeded };
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), record.name.clone());
        if queues.len() >= QUEUES_MAX && !queues.contains_key(&key) {
            forget_most(&mut queues);
        }
        let (older, newer) = queues.entry(key).or_insert((seen, seen));
        // A queue that was removed and created anew begins at zero.
        if enqueued < newer.enqueued || succeeded < newer.succeeded {
            (*older, *newer) = (seen, seen);
        }
        let span = now.saturating_duration_since(older.at);
        if span >= SPAN_MIN {
            let per_second =
                |count: u64| Some((count as f64 / span.as_secs_f64() * 100.0).round() / 100.0);
            record.enqueued_per_second = per_second(enqueued - older.enqueued);
            record.succeeded_per_second = per_second(succeeded - older.succeeded);
        }
        if now.saturating_duration_since(newer.at) >= SPAN_MAX / 2 {
            (*older, *newer) = (*newer, seen);
        }
        record
    }
}

/// Forgets the queues of the namespace that has the most, so that none costs the others theirs.
fn forget_most<T>(queues: &mut HashMap<(String, String), T>) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (namespace, _) in queues.keys() {
        *counts.entry(namespace).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(namespace, count)| (*count, *namespace));
    let most = most.map(|(namespace, _)| namespace.to_owned()).unwrap_or_default();
    queues.retain(|(namespace, _), _| *namespace != most);
}

#[cfg(test)]
mod tests {
    use longshore_engine::{QueueSettings, QueueView};

    use super::*;

    fn record(enqueued_total: u64, succeeded_total: u64) -> QueueRecord {
        crate::http::view::queue(&QueueView {
            name: "q".into(),
            settings: QueueSettings::DEFAULT,
            ready: 0,
            scheduled: 0,
            retrying: 0,
            blocked: 0,
            held: 0,
            running: 0,
            dead: 0,
            oldest_age_ms: None,
            consumers: 0,
            unconsumed_kinds: Vec::new(),
            enqueued_total,
            succeeded_total,
            failed_total: 0,
            dead_total: 0,
            cancelled_total: 0,
            messages: None,
        })
    }

    #[test]
    fn rates_are_taken_between_two_looks() {
        let rates = Rates::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(rates.at("n", record(100, 0), at(0)).enqueued_per_second, None);
        let later = rates.at("n", record(150, 30), at(10));
        assert_eq!(later.enqueued_per_second, Some(5.0));
        assert_eq!(later.succeeded_per_second, Some(3.0));
        assert_eq!(rates.at("other", record(150, 30), at(10)).enqueued_per_second, None);
        let anew = rates.at("n", record(1, 0), at(20));
        assert_eq!(anew.enqueued_per_second, None, "the queue was created anew");
    }

    #[test]
    fn a_namespace_with_many_queues_costs_no_other_its_rates() {
        let mut queues = HashMap::new();
        for (namespace, queue) in [("a", "1"), ("b", "1"), ("b", "2"), ("c", "1")] {
            queues.insert((namespace.to_owned(), queue.to_owned()), 0);
        }
        forget_most(&mut queues);
        let mut left: Vec<_> = queues.keys().map(|(namespace, _)| namespace.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["a", "c"]);
    }

    #[test]
    fn an_old_look_gives_way_to_a_newer_one() {
        let rates = Rates::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for (second, total) in [(0, 0), (30, 3000), (60, 3000), (90, 3000)] {
            rates.at("n", record(total, 0), at(second));
        }
        assert_eq!(rates.at("n", record(3000, 0), at(100)).enqueued_per_second, Some(0.0));
    }
}
