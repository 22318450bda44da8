//! What a worker does about a machine that cannot begin its runs for the moment: it takes no more
//! than could be begun, and then one more, two more, four more, a second apart, until a run cannot
//! be begun again. So a lack that passes costs seconds, and one that stays costs a try per second.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing is taken where not one run could be begun.
const PAUSE: Duration = Duration::from_secs(1);
/// The time between two steps up.
const STEP: Duration = Duration::from_secs(1);
/// After so many steps the worker has no bound any more.
const STEPS_MAX: u32 = 20;
/// How often a lack that stays is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A lack that was met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    /// Nothing is taken before; steps count from here.
    until: Instant,
    /// Runs at the same time that were possible.
    most: usize,
    /// When it was told.
    told: Instant,
}

impl Shortage {
    /// It was met now, while so many others ran or were about to.
    pub(super) fn met(before: Option<Self>, running: usize, now: Instant) -> Self {
        let told = before.map(|it| it.told).filter(|told| now < *told + TOLD_EVERY);
        // An end of one that runs makes room. With none, the worker would ask again at once, and
        // with a bound of none it would never learn that the lack is over.
        let until = if running == 0 { now + PAUSE } else { now };
        Self { until, most: running.max(1), told: told.unwrap_or(now) }
    }

    /// Whether it is news to who watches the worker.
    pub(super) fn is_news(self, now: Instant) -> bool {
        self.told == now
    }

    /// How many runs may be in hand at the same time.
    pub(super) fn most(self, now: Instant) -> usize {
        match self.steps(now) {
            None => 0,
            Some(steps) => self.most.saturating_add((1 << steps) - 1),
        }
    }

    /// When more may be taken than now, if ever.
    pub(super) fn next_step(self, now: Instant) -> Option<Instant> {
        match self.steps(now) {
            None => Some(self.until),
            Some(STEPS_MAX) => None,
            Some(steps) => Some(self.until + STEP * (steps + 1)),
        }
    }

    fn steps(self, now: Instant) -> Option<u32> {
        let since = now.checked_duration_since(self.until)?;
        let steps = u32::try_from(since.as_millis() / STEP.as_millis()).unwrap_or(STEPS_MAX);
        Some(steps.min(STEPS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_that_passes_costs_seconds() {
        let now = Instant::now();
        let shortage = Shortage::met(None, 13, now);
        let most = |ms| shortage.most(now + Duration::from_millis(ms));
        assert_eq!([0, 999, 1_000, 2_000, 3_000].map(most), [13, 13, 14, 16, 20]);
        assert!(most(8_000) > 250);
        assert!(most(1_000_000_000) > 1_000_000);
    }

    #[test]
    fn nothing_is_taken_for_a_while_where_nothing_can_be_begun() {
        let now = Instant::now();
        let shortage = Shortage::met(None, 0, now);
        let most = |seconds| shortage.most(now + Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 3].map(most), [0, 1, 2, 4]);
        // From one at a time to a hundred.
        assert!(most(9) > 100);
    }

    #[test]
    fn the_worker_wakes_when_more_may_be_taken() {
        let start = Instant::now();
        for running in [0, 5] {
            let shortage = Shortage::met(None, running, start);
            let (mut now, mut steps) = (start, 0);
            while let Some(next) = shortage.next_step(now) {
                assert!(shortage.most(next) > shortage.most(now));
                assert!(shortage.most(next - Duration::from_millis(1)) == shortage.most(now));
                (now, steps) = (next, steps + 1);
            }
            assert!(steps >= STEPS_MAX, "{steps}");
        }
    }

    #[test]
    fn a_lack_that_stays_is_told_now_and_then() {
        let now = Instant::now();
        let first = Shortage::met(None, 3, now);
        assert!(first.is_news(now));
        let soon = now + Duration::from_secs(1);
        let second = Shortage::met(Some(first), 2, soon);
        assert!(!second.is_news(soon));
        let later = now + TOLD_EVERY;
        assert!(Shortage::met(Some(second), 2, later).is_news(later));
    }
}
