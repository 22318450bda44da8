//! How long to wait before trying again: longer each time, never in step with others.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(5);

/// A growing delay.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next delay: half of it fixed, half at random, at least what the server asked for.
    pub(crate) fn delay(&mut self, retry_after_s: Option<u64>) -> Duration {
        let delay = self.next.mul_f64(0.5 + 0.5 * random_share());
        self.next = (self.next * 2).min(LAST);
        // A server that starts again is soon ready: it is not the client's only hint.
        let asked = Duration::from_secs(retry_after_s.unwrap_or_default()).min(LAST);
        delay.max(asked.mul_f64(0.75 + 0.5 * random_share()))
    }
}

/// From 0 to 1, enough to keep clients out of step.
fn random_share() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_bound() {
        let mut backoff = Backoff::new();
        let delays: Vec<_> = (0..12).map(|_| backoff.delay(None)).collect();
        assert!(delays[0] <= FIRST && delays[0] >= FIRST / 2, "{delays:?}");
        assert!(delays[11] <= LAST && delays[11] >= LAST / 2, "{delays:?}");
        assert!(Backoff::new().delay(Some(2)) >= Duration::from_millis(1500));
        assert!(Backoff::new().delay(Some(1000)) <= LAST * 2);
    }
}
