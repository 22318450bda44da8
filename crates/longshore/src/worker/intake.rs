//! Jobs that were delivered and wait for a slot that runs them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::run::{Run, lock};

#[derive(Debug)]
pub(super) struct Intake {
    waiting: Mutex<VecDeque<Arc<Run>>>,
    /// How many they are, changed together with them: to look whether there is one needs no lock.
    left: AtomicUsize,
    /// How many were ever taken to be run.
    taken: AtomicU64,
    /// When one was taken last, in milliseconds since `begun`.
    taken_ms: AtomicU64,
    begun: Instant,
    closed: AtomicBool,
    ring: Notify,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            left: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            taken_ms: AtomicU64::new(0),
            begun: Instant::now(),
            closed: AtomicBool::new(false),
            ring: Notify::new(),
        }
    }
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
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.taken_ms.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
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

    /// Takes back as many as that, those that came last, where the first of all has waited for
    /// `age` or longer.
    pub(super) fn take_last(&self, count: usize, age: Duration) -> Vec<Arc<Run>> {
        let mut waiting = lock(&self.waiting);
        if waiting.front().is_none_or(|run| run.delivered.elapsed() < age) {
            return Vec::new();
        }
        let keep = waiting.len().saturating_sub(count);
        let last = waiting.split_off(keep).into();
        self.left.store(waiting.len(), Ordering::Release);
        last
    }

    /// How many were ever taken to be run.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// For how long none was taken to be run.
    pub(super) fn quiet_for(&self) -> Duration {
        let last = Duration::from_millis(self.taken_ms.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last)
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ring.notify_one();
    }
}
