//! What strangers bring about is told once in a while, however often they do it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// When something was told, and how often it happened since and at all.
#[derive(Debug, Default)]
pub(crate) struct Sparse(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    told: Option<Instant>,
    untold: u64,
    total: u64,
}

impl Sparse {
    /// Notes that it happened. How often it did since it was told, where it is to be told again.
    pub(crate) fn happens(&self) -> Option<u64> {
        self.happens_at(Instant::now())
    }

    fn happens_at(&self, now: Instant) -> Option<u64> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.total += 1;
        noted.untold += 1;
        if noted.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY) {
            return None;
        }
        noted.told = Some(now);
        Some(std::mem::take(&mut noted.untold))
    }

    /// How often it happened so far.
    pub(crate) fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_at_first_and_then_once_in_a_while() {
        let (sparse, now) = (Sparse::default(), Instant::now());
        let at = |seconds| sparse.happens_at(now + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(9), at(10), at(11)], [Some(1), None, None, Some(3), None]);
        assert_eq!((at(30), sparse.total()), (Some(2), 6));
    }
}
