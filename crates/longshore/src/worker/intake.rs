//! Jobs that were delivered and wait for a slot that runs them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::run::{Run, lock};

#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: Mutex<VecDeque<Arc<Run>>>,
    /// How many they are, changed together with them: to look whether there is one needs no lock.
    left: AtomicUsize,
    closed: AtomicBool,
    ring: Notify,
}

impl Intake {
    pub(super) fn put(&self, runs: impl IntoIterator<Item = Arc<Run>>) {
        let mut waiting = lock(&self.waiting);
        waiting.extend(runs);
        self.left.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.ring.notify_one();
    }

    /// Waits until something is there to be taken. False where there will be no more.
    pub(super) async fn ready(&self) -> bool {
        while self.left.load(Ordering::Acquire) == 0 {
            if self.closed.load(Ordering::Acquire) {
                self.ring.notify_one();
                return false;
            }
            self.ring.notified().await;
        }
        true
    }

    /// Takes the next one, unless others were faster.
    pub(super) fn take(&self) -> Option<Arc<Run>> {
        let mut waiting = lock(&self.waiting);
        let run = waiting.pop_front()?;
        let left = waiting.len();
        self.left.store(left, Ordering::Release);
        drop(waiting);
        if left > 0 {
            // Each slot that takes one wakes the next: a bell rung twice rings once.
            self.ring.notify_one();
        }
        Some(run)
    }

    /// Takes back those that have waited for longer than `age`.
    pub(super) fn take_older(&self, age: Duration) -> Vec<Arc<Run>> {
        let mut waiting = lock(&self.waiting);
        let mut old = Vec::new();
        waiting.retain(|run| {
            let is_old = run.delivered.elapsed() >= age;
            if is_old {
                old.push(Arc::clone(run));
            }
            !is_old
        });
        self.left.store(waiting.len(), Ordering::Release);
        old
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ring.notify_one();
    }
}
