//! How many jobs a worker takes beyond those that it can run at once.

use std::time::Duration;

/// As many as start within this time: enough that no slot waits for the server, and few enough
/// that none waits here while another worker is idle.
const AHEAD: Duration = Duration::from_millis(20);
/// More than a server starts of one worker within a few commits. What it has on loan beyond 2,048
/// costs it more each.
const JOBS_MAX: u32 = 1_536;
/// Jobs taken ahead per run that has ended: one short run says little of those that follow.
const JOBS_PER_RUN: u64 = 2;

/// How many jobs a worker takes beyond those that it can run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefetch {
    /// As many as it starts within 20 ms, as long as runs take these days: none of jobs that take
    /// seconds, thousands of those that take microseconds. None before the first run has ended.
    /// What was taken ahead and does not start goes back to its place within a fraction of a
    /// second.
    #[default]
    Adaptive,
    /// So many.
    Fixed(u32),
}

impl Prefetch {
    /// `ended`: how many runs have been measured.
    pub(super) fn jobs(self, concurrency: u32, usual_run: Option<Duration>, ended: u64) -> u32 {
        match (self, usual_run) {
            (Self::Fixed(jobs), _) => jobs,
            (Self::Adaptive, None) => 0,
            (Self::Adaptive, Some(run)) => {
                let each = AHEAD.as_nanos() / run.as_nanos().max(1);
                let all = each.saturating_mul(u128::from(concurrency));
                let earned = u128::from(ended.saturating_mul(JOBS_PER_RUN));
                u32::try_from(all.min(earned)).unwrap_or(JOBS_MAX).min(JOBS_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_jobs_are_not_taken_ahead() {
        let jobs = |ms| Prefetch::Adaptive.jobs(8, Some(Duration::from_millis(ms)), 10_000);
        assert_eq!((jobs(1_000), jobs(10), jobs(0)), (0, 16, JOBS_MAX));
        assert_eq!(Prefetch::Fixed(3).jobs(8, None, 0), 3);
    }

    #[test]
    fn what_is_taken_ahead_is_earned() {
        let jobs = |ended| Prefetch::Adaptive.jobs(8, Some(Duration::from_micros(200)), ended);
        assert_eq!(Prefetch::Adaptive.jobs(8, None, 0), 0, "nothing is known");
        assert_eq!((jobs(1), jobs(100), jobs(1_000)), (2, 200, 800));
    }
}
