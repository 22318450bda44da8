//! How fast a job gets on, from its progress as it was looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Looks closer together than this tell nothing.
const SPAN_MIN: Duration = Duration::from_millis(250);

/// The speed of one job over the last while.
#[derive(Debug)]
pub struct Pace {
    over: Duration,
    seen: VecDeque<(Instant, f64)>,
}

impl Pace {
    /// One that looks back so far.
    pub fn over(over: Duration) -> Self {
        Self { over, seen: VecDeque::new() }
    }

    /// Progress per second, and how long the rest takes at that speed, when `progress`, from 0 to
    /// 1, is what the job says now. `None` where it does not move, or nothing is known yet; it
    /// starts over when progress falls.
    pub fn at(&mut self, progress: Option<f64>, now: Instant) -> Option<(f64, Duration)> {
        let progress = progress?;
        if self.seen.back().is_some_and(|(_, last)| progress < *last) {
            self.seen.clear();
        }
        self.seen.push_back((now, progress));
        while self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.over) {
            self.seen.pop_front();
        }
        let (since, from) = self.seen.front().copied()?;
        let span = now.duration_since(since);
        let per_second = (progress - from) / span.as_secs_f64();
        let is_known = span >= SPAN_MIN && per_second > 0.0;
        let left = ((1.0 - progress).max(0.0) / per_second).min(1e9);
        is_known.then(|| (per_second, Duration::from_secs_f64(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_while_and_starts_over_when_progress_falls() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::over(Duration::from_secs(30));
        assert_eq!(pace.at(None, at(0)), None);
        assert_eq!(pace.at(Some(0.0), at(0)), None);
        let (per_second, left) = pace.at(Some(0.1), at(1)).unwrap();
        assert!((per_second - 0.1).abs() < 1e-9 && left == Duration::from_secs(9), "{left:?}");
        assert!(pace.at(Some(0.2), at(31)).is_some());
        assert_eq!(pace.at(Some(0.2), at(61)), None, "it has stood still");
        assert_eq!(pace.at(Some(0.0), at(62)), None, "it began again");
    }
}
