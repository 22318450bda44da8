//! One call to the server, repeated where that is safe and may help, within a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Request, Status};

use super::ClientError;
use super::error::{Again, again, may_take_effect};
use crate::backoff::Backoff;

/// What became of a call.
pub(super) struct Called<T> {
    pub(super) answer: Result<T, ClientError>,
    /// Whether an attempt before the last may have had its effect: its answer did not come.
    pub(super) repeated: bool,
}

/// How calls are bounded.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) url: String,
    /// How long one attempt may take.
    pub(super) attempt: Duration,
    /// How long all of them may take.
    pub(super) deadline: Duration,
}

impl Bounds {
    /// Calls until an answer comes that another attempt would not change.
    pub(super) async fn call<M, T, F, R>(&self, message: M, call: F) -> Result<T, ClientError>
    where
        M: Clone,
        F: Fn(Request<M>) -> R,
        R: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.call_within(self.attempt, self.deadline, message, call).await.answer
    }

    /// The same with other bounds.
    pub(super) async fn call_within<M, T, F, R>(
        &self,
        attempt: Duration,
        deadline: Duration,
        message: M,
        call: F,
    ) -> Called<T>
    where
        M: Clone,
        F: Fn(Request<M>) -> R,
        R: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let began = Instant::now();
        let until = began + deadline;
        let mut backoff = Backoff::new(Duration::from_millis(25), Duration::from_secs(2));
        let mut repeated = false;
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(attempt);
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            let answer = timeout(left, call(request)).await;
            let status = match answer {
                Ok(Ok(response)) => return Called { answer: Ok(response.into_inner()), repeated },
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            let is_refusal = status.metadata().get("longshore-code").is_some();
            let asked = match again(&status) {
                Again::Never => {
                    return Called { answer: Err(ClientError::from_status(&status)), repeated };
                }
                Again::Soon => Duration::ZERO,
                Again::After(wait) => wait,
            };
            let next = Instant::now() + asked.max(backoff.next());
            if next >= until {
                let error = if is_refusal {
                    ClientError::from_status(&status)
                } else {
                    let (url, waited) = (self.url.clone(), began.elapsed());
                    ClientError::Unreachable { url, waited, reason: reason(&status) }
                };
                return Called { answer: Err(error), repeated };
            }
            repeated |= !is_refusal || may_take_effect(&status);
            sleep_until(next).await;
        }
    }
}

/// What a status says, with what lies below it.
pub(crate) fn reason(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(inner) = source {
        let more = inner.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        source = inner.source();
    }
    words
}
