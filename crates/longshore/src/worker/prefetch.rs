//! How many jobs a worker takes beyond those that it can run at once.

use std::time::Duration;

/// As many as start within this time: enough that no slot waits for the server, and few enough
/// that none waits here while another worker is idle.
const AHEAD: Duration = Duration::from_millis(20);
const JOBS_MAX: u32 = 4_096;
/// While nobody knows how long a run takes.
const JOBS_FIRST: u32 = 16;

/// How many jobs a worker takes beyond those that it can run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefetch {
    /// As many as it starts within 20 ms, as long as runs take these days: none of jobs that take
    /// seconds, thousands of those that take microseconds.
    #[default]
    Adaptive,
    /// So many.
    Fixed(u32),
}

impl Prefetch {
    pub(super) fn jobs(self, concurrency: u32, usual_run: Option<Duration>) -> u32 {
        match (self, usual_run) {
            (Self::Fixed(jobs), _) => jobs,
            (Self::Adaptive, None) => JOBS_FIRST,
            (Self::Adaptive, Some(run)) => {
                let each = AHEAD.as_nanos() / run.as_nanos().max(1);
                let all = each.saturating_mul(u128::from(concurrency));
                u32::try_from(all).unwrap_or(JOBS_MAX).min(JOBS_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_jobs_are_not_taken_ahead() {
        let jobs = |ms| Prefetch::Adaptive.jobs(8, Some(Duration::from_millis(ms)));
        assert_eq!((jobs(1_000), jobs(10), jobs(0)), (0, 16, JOBS_MAX));
        assert_eq!(Prefetch::Fixed(3).jobs(8, None), 3);
    }
}
