//! Jobs that were delivered and wait for a slot that runs them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::run::{Run, lock};

#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: Mutex<Waiting>,
    ring: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    runs: VecDeque<Arc<Run>>,
    closed: bool,
}

impl Intake {
    pub(super) fn put(&self, runs: impl IntoIterator<Item = Arc<Run>>) {
        lock(&self.waiting).runs.extend(runs);
        self.ring.notify_one();
    }

    /// The next one; none where there will be no more.
    pub(super) async fn next(&self) -> Option<Arc<Run>> {
        loop {
            {
                let mut waiting = lock(&self.waiting);
                if let Some(run) = waiting.runs.pop_front() {
                    let more = !waiting.runs.is_empty();
                    drop(waiting);
                    if more {
                        // Each slot that takes one wakes the next: a bell rung twice rings once.
                        self.ring.notify_one();
                    }
                    return Some(run);
                }
                if waiting.closed {
                    self.ring.notify_one();
                    return None;
                }
            }
            self.ring.notified().await;
        }
    }

    /// Takes back those that have waited for longer than `age`.
    pub(super) fn take_older(&self, age: Duration) -> Vec<Arc<Run>> {
        let mut waiting = lock(&self.waiting);
        let mut old = Vec::new();
        waiting.runs.retain(|run| {
            let is_old = run.delivered.elapsed() >= age;
            if is_old {
                old.push(Arc::clone(run));
            }
            !is_old
        });
        old
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        lock(&self.waiting).closed = true;
        self.ring.notify_one();
    }
}
