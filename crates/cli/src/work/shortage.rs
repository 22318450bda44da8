//! What a worker does about a machine that cannot begin its runs for the moment: it takes nothing
//! for a while, then no more than could be begun, and slowly more again.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing is taken after a run could not be begun.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long it takes until one run more is tried.
const ONE_MORE_EVERY: Duration = Duration::from_secs(10);

/// A lack that was met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    /// Nothing is taken before.
    pub(super) until: Instant,
    /// Runs at the same time that were possible.
    most: usize,
}

impl Shortage {
    /// It was met now, while so many others ran or were about to.
    pub(super) fn met(running: usize, now: Instant) -> Self {
        // With none the worker would never learn that it is over.
        Self { until: now + PAUSE, most: running.max(1) }
    }

    /// How many runs may be in hand at the same time.
    pub(super) fn most(self, now: Instant) -> usize {
        let Some(since) = now.checked_duration_since(self.until) else { return 0 };
        let more = since.as_secs() / ONE_MORE_EVERY.as_secs();
        self.most.saturating_add(usize::try_from(more).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_taken_after_a_pause_and_slowly_more() {
        let now = Instant::now();
        let shortage = Shortage::met(13, now);
        let most = |seconds| shortage.most(now + Duration::from_secs(seconds));
        assert_eq!([0, 1, 10, 11, 31].map(most), [0, 13, 13, 14, 16]);
        assert_eq!(Shortage::met(0, now).most(now + PAUSE), 1);
    }
}
