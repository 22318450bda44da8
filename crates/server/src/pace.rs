//! How fast a job gets on, from its progress as it was looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Looks closer together than this tell nothing.
const SPAN_MIN: Duration = Duration::from_millis(250);
/// The speed is that of the last steps over so long, so that it follows a job that changes it.
const RECENT: Duration = Duration::from_secs(10);
/// Of a job that seldom says how far it is, that of so many steps.
const STEPS_MIN: usize = 3;
/// A step that takes so many times as long as those before it is a pause: the speed before it says
/// nothing of the one after.
const PAUSE_TIMES: u32 = 4;

/// The speed of one job over the last while.
#[derive(Debug)]
pub struct Pace {
    over: Duration,
    /// When progress was first seen where it was then; the last one is where it is.
    steps: VecDeque<(Instant, f64)>,
}

impl Pace {
    /// One that looks back so far at most.
    pub fn over(over: Duration) -> Self {
        Self { over, steps: VecDeque::new() }
    }

    /// Progress per second, and how long the rest takes at that speed, when `progress`, from 0 to
    /// 1, is what the job says now. `None` where it does not move, or nothing is known yet; it
    /// starts over when progress falls, and after a pause.
    pub fn at(&mut self, progress: Option<f64>, now: Instant) -> Option<(f64, Duration)> {
        let progress = progress?;
        match self.steps.back() {
            Some((_, last)) if progress < *last => self.steps.clear(),
            Some((at, last)) if progress > *last && self.is_pause(now.duration_since(*at)) => {
                self.steps.clear();
            }
            _ => {}
        }
        if self.steps.back().is_none_or(|(_, last)| progress > *last) {
            self.steps.push_back((now, progress));
        }
        let is_old = |at: &Instant, after| now.duration_since(*at) >= after;
        while self.steps.get(1).is_some_and(|(at, _)| is_old(at, self.over))
            || (self.steps.len() > STEPS_MIN + 1
                && self.steps.get(1).is_some_and(|(at, _)| is_old(at, RECENT)))
        {
            self.steps.pop_front();
        }
        self.speed(progress, now)
    }

    fn speed(&self, progress: f64, now: Instant) -> Option<(f64, Duration)> {
        let (since, from) = self.steps.front().copied()?;
        let (last, _) = self.steps.back().copied()?;
        if now.duration_since(last) >= self.over {
            return None;
        }
        // Between two steps the time goes on, and the speed is that of the steps.
        let silent = now.duration_since(last);
        let overdue = silent.saturating_sub(self.step()?);
        let span = last.duration_since(since) + overdue;
        let per_second = (progress - from) / span.as_secs_f64();
        let is_known = span >= SPAN_MIN && per_second > 0.0;
        let left = ((1.0 - progress).max(0.0) / per_second).min(1e9);
        let left = Duration::from_secs_f64(if left.is_finite() { left } else { 0.0 });
        is_known.then(|| (per_second, left.saturating_sub(silent.saturating_sub(overdue))))
    }

    /// How long a step takes.
    fn step(&self) -> Option<Duration> {
        let steps = u32::try_from(self.steps.len()).ok()?.checked_sub(1).filter(|it| *it > 0)?;
        let (since, _) = self.steps.front()?;
        let (last, _) = self.steps.back()?;
        Some(last.duration_since(*since) / steps)
    }

    fn is_pause(&self, silent: Duration) -> bool {
        silent >= RECENT && self.step().is_some_and(|step| silent > step * PAUSE_TIMES)
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
        assert!(pace.at(Some(0.2), at(2)).is_some());
        assert_eq!(pace.at(Some(0.2), at(61)), None, "it has stood still");
        assert_eq!(pace.at(Some(0.0), at(62)), None, "it began again");
    }

    /// How long the rest takes, in seconds, as told after `step` at each time with its progress.
    fn left_after(looks: impl Iterator<Item = (u64, f64)>) -> f64 {
        let start = Instant::now();
        let mut pace = Pace::over(Duration::from_secs(60));
        let told =
            looks.map(|(ms, progress)| pace.at(Some(progress), start + Duration::from_millis(ms)));
        told.last().flatten().unwrap().1.as_secs_f64()
    }

    /// It told minutes where seconds were left: the speed was that of the last minute.
    #[test]
    fn the_rest_is_told_by_the_recent_speed() {
        // A minute at a thousandth per second, then ten seconds at a hundredth.
        let slow = (0..240).map(|look| (look * 250, look as f64 * 0.00025));
        let fast = (0..=40).map(|look| (60_000 + look * 250, 0.06 + look as f64 * 0.0025));
        let left = left_after(slow.chain(fast));
        assert!((75.0..95.0).contains(&left), "{left}");
    }

    #[test]
    fn a_pause_is_no_part_of_the_speed() {
        // Ten seconds at a hundredth per second, half a minute of nothing, two seconds as before.
        let before = (0..=40).map(|look| (look * 250, look as f64 * 0.0025));
        let pause = (0..120).map(|look| (10_000 + look * 250, 0.1));
        let after = (0..=8).map(|look| (40_000 + look * 250, 0.1025 + look as f64 * 0.0025));
        let left = left_after(before.chain(pause).chain(after));
        assert!((80.0..95.0).contains(&left), "{left}");
    }

    #[test]
    fn between_two_steps_the_rest_gets_shorter() {
        // A step of a tenth every five seconds, looked at four times a second: 30 s are left.
        let looks = (0..=140).map(|look| (look * 250, (look / 20) as f64 * 0.1));
        let left = left_after(looks);
        assert!((14.9..15.1).contains(&left), "{left}");
        let looks = (0..=136).map(|look| (look * 250, (look / 20) as f64 * 0.1));
        let left = left_after(looks);
        assert!((15.9..16.1).contains(&left), "{left}");
    }
}
