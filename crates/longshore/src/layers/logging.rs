//! One line for each job that is handed over and for each run that ends.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::{ClientError, EnqueueCall, Enqueued, JobCall, JobEnd, JobError};

/// Logs each enqueue at the level debug and each run at the level info, a failure as a warning.
/// Without it a worker logs the failures alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logging;

/// What [`Logging`] makes of a service.
#[derive(Clone, Debug)]
pub struct Logged<I>(I);

impl<I> Layer<I> for Logging {
    type Service = Logged<I>;

    fn layer(&self, inner: I) -> Logged<I> {
        Logged(inner)
    }
}

impl<I> Service<JobCall> for Logged<I>
where
    I: Service<JobCall, Response = JobEnd, Error = JobError>,
    I::Future: Send + 'static,
{
    type Response = JobEnd;
    type Error = JobError;
    type Future = BoxFuture<'static, Result<JobEnd, JobError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), JobError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        let began = Instant::now();
        let logged = Arc::clone(&call.run);
        let run = self.0.call(call);
        Box::pin(async move {
            let end = run.await;
            let took_ms = rounded_ms(began.elapsed());
            match &end {
                Ok(end) => tracing::info!(took_ms, end = end.name(), "a run has ended"),
                Err(error) => {
                    tracing::warn!(took_ms, kind = error.kind(), %error, "a run has failed");
                    logged.set_logged();
                }
            }
            end
        })
    }
}

/// In milliseconds, to the microsecond.
fn rounded_ms(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

impl<I> Service<EnqueueCall> for Logged<I>
where
    I: Service<EnqueueCall, Response = Enqueued, Error = ClientError>,
    I::Future: Send + 'static,
{
    type Response = Enqueued;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Enqueued, ClientError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), ClientError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: EnqueueCall) -> Self::Future {
        let (queue, kind, jobs) = (call.queue().to_owned(), call.kind().to_owned(), call.len());
        let enqueue = self.0.call(call);
        Box::pin(async move {
            let answer = enqueue.await;
            match &answer {
                Ok(_) => tracing::debug!(%queue, %kind, jobs, "enqueued"),
                Err(error) => tracing::warn!(%queue, %kind, jobs, %error, "not enqueued"),
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_no_long_tail() {
        assert_eq!(rounded_ms(Duration::from_nanos(7_448_272)).to_string(), "7.448");
        assert_eq!(rounded_ms(Duration::from_secs(3)).to_string(), "3000");
    }
}
