//! How a run can end, as its job says it and as it travels.

use std::time::Duration;

use bytes::Bytes;
use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;
use serde::Serialize;

use crate::options::{span_ms, unix_ms};
use crate::run::Run;
use crate::{JobError, Start, StopReason};

/// How a run ended.
///
/// `Ok(Outcome::DONE)` where there is nothing to return, `Ok(Outcome::done(value))` where there is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome<T = ()> {
    /// The job has succeeded.
    Done {
        /// What it returns.
        result: T,
        /// The resource that it made, where it made one.
        location: Option<String>,
    },
    /// This attempt failed; another one, if it is left, follows after `delay`.
    RetryAfter {
        /// How long it waits.
        delay: Duration,
        /// Why.
        error: JobError,
    },
    /// It is to run later. No attempt is used.
    Snooze(Duration),
    /// It goes on from its cursor in another run. No attempt is used.
    Interrupted {
        /// Why: `deploy`, `pause`, `throttle` or another word.
        reason: String,
        /// How much later; at its old place in the queue where absent.
        delay: Option<Duration>,
    },
    /// It is called off: nobody needs it any more.
    Discard(JobError),
    /// This attempt failed; the same as returning the error.
    Fail(JobError),
}

impl Outcome<()> {
    /// It has succeeded; nothing to return.
    pub const DONE: Self = Self::Done { result: (), location: None };
}

impl<T> Outcome<T> {
    /// It has succeeded with this result.
    pub fn done(result: T) -> Self {
        Self::Done { result, location: None }
    }

    /// It has succeeded and made a resource, where whoever waits is sent.
    pub fn made(result: T, location: impl Into<String>) -> Self {
        Self::Done { result, location: Some(location.into()) }
    }

    /// This attempt failed, the next one comes after `delay`, or after the job's own where the
    /// server does not grant one that long.
    pub fn retry_after(delay: Duration, error: impl Into<JobError>) -> Self {
        Self::RetryAfter { delay, error: error.into() }
    }

    /// It runs later. No attempt is used. The server lets a job be snoozed 10,000 times, unless its
    /// `limits.snoozes_max` says otherwise; with the next one the job is dead.
    pub fn snooze(delay: Duration) -> Self {
        Self::Snooze(delay)
    }

    /// It is called off, for a reason.
    pub fn discard(reason: impl std::fmt::Display) -> Self {
        Self::Discard(JobError::new("discarded", reason))
    }

    /// This attempt failed.
    pub fn fail(error: impl Into<JobError>) -> Self {
        Self::Fail(error.into())
    }

    /// It goes on from its cursor in another run.
    pub fn interrupted(reason: impl Into<String>) -> Self {
        Self::Interrupted { reason: reason.into(), delay: None }
    }
}

impl<T> From<T> for Outcome<T> {
    fn from(result: T) -> Self {
        Self::done(result)
    }
}

impl<T: Serialize> Outcome<T> {
    /// The same with the result as JSON. A result of nothing travels as none.
    pub(crate) fn encode(self) -> Result<JobEnd, JobError> {
        Ok(match self {
            Self::Done { result, location } => {
                let result = serde_json::to_vec(&result).map_err(|error| {
                    JobError::new("result_not_json", format!("the result is no JSON: {error}"))
                })?;
                let result = (result != b"null").then(|| Bytes::from(result));
                JobEnd::Done { result, location, follow_ups: Vec::new(), next_slot: None }
            }
            Self::RetryAfter { delay, error } => return Err(error.retry_in(delay)),
            Self::Snooze(delay) => JobEnd::Snoozed(delay),
            Self::Interrupted { reason, delay } => JobEnd::Interrupted { reason, delay },
            Self::Discard(reason) => JobEnd::Discarded(reason),
            Self::Fail(error) => return Err(error),
        })
    }
}

/// How a run ended, as layers around it see it: the result is JSON by now. A failure is the
/// `Err` beside it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JobEnd {
    /// It has succeeded.
    Done {
        /// What it returned: JSON.
        result: Option<Bytes>,
        /// The resource that it made.
        location: Option<String>,
        /// Jobs that enter with its end.
        follow_ups: Vec<FollowUp>,
        /// When the schedule that enqueued it is to fire next, where the run says so.
        next_slot: Option<Start>,
    },
    /// It runs later.
    Snoozed(Duration),
    /// It goes on from its cursor.
    Interrupted {
        /// Why.
        reason: String,
        /// How much later.
        delay: Option<Duration>,
    },
    /// It is called off.
    Discarded(JobError),
    /// It goes back to its place without having run.
    Released,
}

impl JobEnd {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Snoozed(_) => "snoozed",
            Self::Interrupted { .. } => "interrupted",
            Self::Discarded(_) => "discarded",
            Self::Released => "released",
        }
    }
}

/// A job that enters together with the end of another.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowUp(pub(crate) v1::NewJob);

impl FollowUp {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Its queue.
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// The name of its type.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Its arguments: JSON.
    pub fn args(&self) -> &[u8] {
        &self.0.args
    }
}

/// The end of a run that was killed.
pub(crate) fn cut_short(run: &Run) -> Result<JobEnd, JobError> {
    if run.has_timed_out() {
        let timeout = run.delivery.timeout.unwrap_or_default();
        let message = format!("it ran for longer than {timeout:?}, its timeout");
        return Err(JobError::new("timeout", message));
    }
    match run.stop_reason() {
        Some(StopReason::Cancelled) => {
            Ok(JobEnd::Discarded(JobError::new("cancelled", "the job was called off")))
        }
        _ if run.delivery.at_most_once => {
            let message = "it was dropped in the middle when its worker ended; a job that runs at \
                           most once does not run again";
            Err(JobError::new("at_most_once", message))
        }
        _ => Ok(JobEnd::Released),
    }
}

/// The end as it travels.
pub(crate) fn verdict(end: Result<JobEnd, JobError>) -> Verdict {
    match end {
        Ok(JobEnd::Done { result, location, follow_ups, next_slot }) => Verdict::Ack(v1::Ack {
            result,
            location: location.unwrap_or_default(),
            enqueue: follow_ups.into_iter().map(|job| job.0).collect(),
            next_in_ms: match next_slot {
                Some(Start::Now) => Some(0),
                Some(Start::In(delay)) => Some(span_ms(delay)),
                Some(Start::At(_)) | None => None,
            },
            next_at_unix_ms: match next_slot {
                Some(Start::At(at)) => Some(unix_ms(at)),
                _ => None,
            },
        }),
        Ok(JobEnd::Snoozed(delay)) => Verdict::Snooze(v1::Snooze { delay_ms: span_ms(delay) }),
        Ok(JobEnd::Interrupted { reason, delay }) => {
            Verdict::Interrupted(v1::Interrupted { reason, delay_ms: delay.map(span_ms) })
        }
        Ok(JobEnd::Discarded(error)) => {
            Verdict::Discard(v1::Discard { error: Some(error.into_wire()) })
        }
        Ok(JobEnd::Released) => Verdict::Release(v1::Release {}),
        Err(error) => {
            let retry_in_ms = error.retry_delay().map(span_ms);
            Verdict::Fail(v1::Fail { error: Some(error.into_wire()), retry_in_ms })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_travels_as_no_result() {
        let Verdict::Ack(ack) = verdict(Outcome::DONE.encode()) else { panic!("no ack") };
        assert_eq!(ack.result, None);
        let Verdict::Ack(ack) = verdict(Outcome::made(7, "/things/7").encode()) else {
            panic!("no ack")
        };
        assert_eq!(ack.result.as_deref(), Some(b"7".as_slice()));
        assert_eq!(ack.location, "/things/7");
    }

    #[test]
    fn the_next_slot_travels_with_the_ack() {
        let done = |next_slot| JobEnd::Done {
            result: None,
            location: None,
            follow_ups: Vec::new(),
            next_slot,
        };
        let after = Some(Start::In(Duration::from_secs(5)));
        let Verdict::Ack(ack) = verdict(Ok(done(after))) else { panic!("no ack") };
        assert_eq!((ack.next_in_ms, ack.next_at_unix_ms), (Some(5_000), None));
        let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let Verdict::Ack(ack) = verdict(Ok(done(Some(Start::At(at))))) else { panic!("no ack") };
        assert_eq!((ack.next_in_ms, ack.next_at_unix_ms), (None, Some(7_000)));
    }

    #[test]
    fn a_delay_travels_with_the_failure() {
        let outcome: Outcome =
            Outcome::retry_after(Duration::from_secs(3), JobError::new("busy", "come back"));
        let Verdict::Fail(fail) = verdict(outcome.encode()) else { panic!("no failure") };
        assert_eq!(fail.retry_in_ms, Some(3_000));
        assert_eq!(fail.error.unwrap().r#type, "busy");
    }
}
