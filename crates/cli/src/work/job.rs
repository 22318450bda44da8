//! A job in the hands of a worker, and how its run may end. It knows neither the server nor what
//! the run does.

use std::future::Future;
use std::time::Duration;

use longshore_server::api::{
    DurationText, ErrorText, InstantText, JobIdText, LeasedJob, RawJson, SettlementText, TokenText,
    VerdictText,
};
use tokio::sync::watch;

use super::child::Stop;

/// A job that was leased.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) id: JobIdText,
    pub(crate) token: TokenText,
    pub(crate) queue: String,
    pub(crate) kind: String,
    /// Of its kind, where it has one.
    pub(crate) version: Option<u32>,
    /// JSON text.
    pub(crate) args: String,
    pub(crate) attempt: u32,
    pub(crate) max_attempts: u32,
    pub(crate) lease: Duration,
    pub(crate) timeout: Option<Duration>,
    /// There is no other run.
    pub(crate) at_most_once: bool,
    pub(crate) traceparent: Option<String>,
    /// Where to go on: JSON text.
    pub(crate) cursor: Option<String>,
}

impl From<LeasedJob<'_>> for Assignment {
    fn from(job: LeasedJob<'_>) -> Self {
        Self {
            id: job.id,
            token: job.token,
            queue: job.queue,
            kind: job.kind,
            version: job.version,
            args: job.args.get().to_owned(),
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            lease: duration(job.lease),
            timeout: job.timeout.map(duration),
            at_most_once: job.at_most_once,
            traceparent: job.traceparent,
            cursor: job.cursor.map(|cursor| cursor.get().to_owned()),
        }
    }
}

/// The span that a text says.
pub(crate) fn duration(text: DurationText) -> Duration {
    Duration::from_millis(text.0)
}

/// When the schedule of a job fires next, where its run says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    /// So long after the end of the run.
    In(DurationText),
    /// At this instant.
    At(InstantText),
}

impl Next {
    /// What a text says: a span or an instant.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let span = text.parse().map(Self::In);
        span.ok().or_else(|| text.parse().map(Self::At).ok())
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It succeeded, with this result, and its schedule fires then.
    Ack(Option<RawJson<'static>>, Option<Next>),
    /// It failed.
    Fail(ErrorText),
    /// It stopped where another run can go on: from this cursor, or where the last one was saved.
    Interrupt(Option<RawJson<'static>>),
    /// It was stopped: the job goes back to its place.
    Release,
    /// It could not be begun for this lack, which passes: the job goes back to its place, and the
    /// worker takes less.
    NotBegun(String),
    /// The job is called off, for this reason where there is one.
    Discard(Option<ErrorText>),
}

impl Verdict {
    /// A failure with an error of this type.
    pub(crate) fn failed(kind: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Fail(ErrorText { kind: kind.to_owned(), message, backtrace: String::new() })
    }

    /// The settlement that says so.
    pub(crate) fn settlement(self, id: JobIdText, token: TokenText) -> SettlementText<'static> {
        let next = if let Self::Ack(_, next) = &self { *next } else { None };
        let (verdict, result, error) = match self {
            Self::Ack(result, _) => (VerdictText::Ack, result, None),
            Self::Fail(error) => (VerdictText::Fail, None, Some(error)),
            // The cursor was saved before.
            Self::Interrupt(_) => (VerdictText::Interrupt, None, None),
            Self::Release | Self::NotBegun(_) => (VerdictText::Release, None, None),
            Self::Discard(error) => (VerdictText::Discard, None, error),
        };
        let (location, retry_in, delay, reason) = (None, None, None, None);
        let enqueue = Vec::new();
        let (next_in, next_at) = match next {
            Some(Next::In(span)) => (Some(span), None),
            Some(Next::At(instant)) => (None, Some(instant)),
            None => (None, None),
        };
        SettlementText {
            id,
            token,
            verdict,
            result,
            location,
            enqueue,
            error,
            retry_in,
            delay,
            reason,
            next_in,
            next_at,
        }
    }
}

/// What is said in place of the end of a run that the server refuses for this field: the work is
/// done whether it moves a schedule or not, and a job that nobody scheduled has none; a result that
/// the server does not take is a failure of the run. None where nothing else helps.
pub(crate) fn said_instead(
    refused: &SettlementText<'static>,
    field: &str,
    message: &str,
) -> Option<SettlementText<'static>> {
    // The field may be told with where it stands, as in `settle[0].next_in`.
    let field = field.rsplit('.').next().unwrap_or(field);
    let moves = refused.next_in.is_some() || refused.next_at.is_some();
    if moves && field.starts_with("next_") {
        return Some(SettlementText { next_in: None, next_at: None, ..refused.clone() });
    }
    let fails = refused.verdict == VerdictText::Ack && refused.result.is_some();
    let failed = || Verdict::failed("result_refused", message);
    fails.then(|| failed().settlement(refused.id, refused.token))
}

/// What is done with jobs.
pub(crate) trait Runner: Send + Sync + 'static {
    /// Runs a job to its end, sooner where `stop` says so.
    fn run(
        &self,
        job: Assignment,
        stop: watch::Receiver<Stop>,
    ) -> impl Future<Output = Verdict> + Send;

    /// Hears what the worker does.
    fn hear(&self, news: &News<'_>);
}

/// What a worker tells about itself.
#[derive(Debug)]
pub(crate) enum News<'a> {
    /// A run ended so, after so long.
    Ended(&'a Assignment, &'a Verdict, Duration),
    /// Runs cannot be begun for this lack: fewer are taken until they can.
    Short(&'a str),
    /// Somebody called the job off: its run is stopped.
    Cancelled(JobIdText),
    /// A run is to be interrupted, for this reason.
    Interrupted(JobIdText, &'a str),
    /// A run is stopped, or its end does not count.
    Lost(JobIdText, &'a str),
    /// Its run succeeded, and moves no schedule.
    NotMoved(JobIdText, &'a str),
    /// The server does not answer.
    Away(&'a str),
    /// It answers again.
    Back,
    /// The worker takes no more; so many jobs are in hand.
    Stopping(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result that was refused lost the run its next slot first, with a message about that.
    #[test]
    fn what_is_said_instead_goes_by_the_field_at_fault() {
        let (id, token) = (JobIdText([7; 16]), TokenText { epoch: 1, counter: 2 });
        let next = Next::read("5s");
        let result = RawJson::from_text("7".to_owned()).unwrap();
        let ack = Verdict::Ack(Some(result.clone()), next).settlement(id, token);
        let unmoved = Verdict::Ack(Some(result), None).settlement(id, token);
        let failed = Verdict::failed("result_refused", "why").settlement(id, token);
        for field in ["next_in", "settle[0].next_at"] {
            assert_eq!(said_instead(&ack, field, "why").as_ref(), Some(&unmoved), "{field}");
        }
        for field in ["result", "settle[0].result", ""] {
            assert_eq!(said_instead(&ack, field, "why").as_ref(), Some(&failed), "{field}");
        }
        assert_eq!(said_instead(&unmoved, "next_in", "why").as_ref(), Some(&failed));
        assert_eq!(said_instead(&failed, "error", "why"), None);
        let silent = Verdict::Ack(None, next).settlement(id, token);
        assert_eq!(said_instead(&silent, "id", "why"), None);
    }
}
