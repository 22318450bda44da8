//! A job that waits without a server: when it may run, and what becomes of it after a run, as a
//! server would decide. It knows no clock but the one that it is told.

use std::time::{Duration, SystemTime};

use longshore_proto::v1;
use longshore_proto::v1::retry_policy::{Exponential, Policy};
use longshore_proto::v1::settlement::Verdict;

use crate::delivery::Delivery;
use crate::options::unix_ms;
use crate::{FollowUp, JobState};

/// How often a job may run at one instant: one that always comes back at once would never end.
const RUNS_AT_ONCE_MAX: u32 = 1_000;

/// A job that was enqueued and has not ended. Instants count from the beginning of the clock.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) job: FollowUp,
    /// What its next run is given.
    pub(super) delivery: Delivery,
    /// When it may run.
    pub(super) due: Duration,
    /// When it expires, unless it has begun by then.
    expires: Option<Duration>,
    /// After which no run of it starts.
    deadline: Option<Duration>,
    has_failed: bool,
    /// Its last run, and how many there were at that instant.
    ran: (Duration, u32),
}

impl Waiting {
    /// A job that enters at `now`. Instants that it names are of the real time, `real`: only how
    /// far they are from it matters.
    pub(super) fn entering(job: FollowUp, now: Duration, real: SystemTime) -> Self {
        let new = &job.0;
        let ms = Duration::from_millis;
        let from_now = |at: u64| now + ms(at.saturating_sub(unix_ms(real)));
        let due = match (new.run_at_unix_ms, new.delay_ms) {
            (Some(at), _) => from_now(at),
            (None, delay) => now + delay.map_or(Duration::ZERO, ms),
        };
        let expires = match (new.expires_at_unix_ms, new.ttl_ms) {
            (Some(at), _) => Some(from_now(at)),
            (None, ttl) => ttl.map(|ttl| due + ms(ttl)),
        };
        let deadline = new.max_age_ms.map(|age| due + ms(age));
        let delivery = Delivery::first_of(new);
        Self { job, delivery, due, expires, deadline, has_failed: false, ran: (now, 0) }
    }

    /// Its state while it waits.
    pub(super) fn state(&self, now: Duration) -> JobState {
        if self.has_failed {
            JobState::Retrying
        } else if self.due > now {
            JobState::Scheduled
        } else {
            JobState::Ready
        }
    }

    /// When it ends without a run, and how.
    pub(super) fn end(&self) -> Option<(Duration, JobState)> {
        let expired = self.expires.map(|at| (at, JobState::Expired));
        let dead = self.deadline.map(|at| (at, JobState::Dead));
        expired.into_iter().chain(dead).min_by_key(|(at, _)| *at)
    }

    /// What becomes of it after a run that ended at `now`: it waits again, or has ended.
    ///
    /// # Panics
    ///
    /// Where it runs again and again without any time between.
    pub(super) fn after(
        mut self,
        verdict: &Verdict,
        checkpoints: &[v1::Checkpoint],
        now: Duration,
    ) -> Result<Self, JobState> {
        let delivery = &mut self.delivery;
        for checkpoint in checkpoints {
            if !checkpoint.cursor.is_empty() {
                delivery.cursor.clone_from(&checkpoint.cursor);
            }
            for (name, by) in &checkpoint.counters {
                *delivery.counters.entry(name.clone()).or_default() += by;
            }
        }
        let ms = Duration::from_millis;
        match verdict {
            Verdict::Ack(_) => return Err(JobState::Succeeded),
            Verdict::Discard(_) => return Err(JobState::Cancelled),
            _ if delivery.at_most_once => return Err(JobState::Dead),
            Verdict::Fail(_) if delivery.attempt >= delivery.max_attempts => {
                return Err(JobState::Dead);
            }
            Verdict::Fail(fail) => {
                let policy = self.job.0.retry.as_ref().and_then(|retry| retry.policy.as_ref());
                let delay = || ms(delay_ms(policy, delivery.attempt));
                self.due = now + fail.retry_in_ms.map_or_else(delay, ms);
                if self.deadline.is_some_and(|deadline| deadline <= self.due) {
                    return Err(JobState::Dead);
                }
                delivery.attempt += 1;
                (self.has_failed, self.expires) = (true, None);
            }
            Verdict::Snooze(snooze) => {
                self.due = now + ms(snooze.delay_ms);
                self.has_failed = false;
            }
            Verdict::Interrupted(interrupted) => {
                delivery.interruptions += 1;
                self.expires = None;
                if let Some(delay) = interrupted.delay_ms {
                    self.due = now + ms(delay);
                    self.has_failed = false;
                }
            }
            Verdict::Release(_) => {}
        }
        self.count(now);
        Ok(self)
    }

    fn count(&mut self, now: Duration) {
        let (at, runs) = self.ran;
        self.ran = (now, if at == now { runs + 1 } else { 1 });
        let kind = self.job.kind();
        assert!(runs < RUNS_AT_ONCE_MAX, "a {kind} runs at the same instant again and again");
    }
}

/// The delay after that attempt has failed, by the job's policy and without jitter.
fn delay_ms(policy: Option<&Policy>, attempt: u32) -> u64 {
    let before = attempt.saturating_sub(1);
    match policy {
        Some(Policy::Constant(constant)) => constant.delay_ms,
        Some(Policy::Exponential(growing)) => grown_ms(growing, before),
        Some(Policy::Sidekiq(_)) | None => {
            u64::from(before).saturating_pow(4).saturating_add(15).saturating_mul(1_000)
        }
    }
}

fn grown_ms(growing: &Exponential, times: u32) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    if growing.base_ms == 0 {
        return 0;
    }
    let factor = growing.factor.unwrap_or(2.0).max(1.0);
    let exponent = times.try_into().unwrap_or(i32::MAX);
    let seconds = Duration::from_millis(growing.base_ms).as_secs_f64() * factor.powi(exponent);
    let grown = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let grown_ms = u64::try_from((grown.as_micros() + 500) / 1_000).unwrap_or(u64::MAX);
    grown_ms.min(growing.cap_ms.unwrap_or(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_those_of_the_policy() {
        use v1::retry_policy::{Constant, Sidekiq};
        let growing = |base_ms, factor, cap_ms| {
            Policy::Exponential(Exponential { base_ms, factor, cap_ms, jitter: Some(0.5) })
        };
        for (policy, delays) in [
            (Some(Policy::Sidekiq(Sidekiq {})), [15_000, 16_000, 31_000, 96_000]),
            (None, [15_000, 16_000, 31_000, 96_000]),
            (Some(Policy::Constant(Constant { delay_ms: 7 })), [7, 7, 7, 7]),
            (Some(growing(5_000, None, Some(15_000))), [5_000, 10_000, 15_000, 15_000]),
            (Some(growing(100, Some(3.0), None)), [100, 300, 900, 2_700]),
            (Some(growing(0, None, None)), [0, 0, 0, 0]),
        ] {
            let made = [1, 2, 3, 4].map(|attempt| delay_ms(policy.as_ref(), attempt));
            assert_eq!(made, delays, "{policy:?}");
        }
        assert_eq!(delay_ms(Some(&growing(1_000, None, None)), 10_000), 86_400_000);
        assert_eq!(delay_ms(Some(&growing(0, None, None)), 10_000), 0);
    }
}
