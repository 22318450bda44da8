//! Numbers of what was handed over and run, to be shown wherever the application shows its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::run::lock;
use crate::{ClientError, EnqueueCall, Enqueued, JobCall, JobEnd, JobError};

/// Counts enqueues and runs by type. Clones share what they count: keep one to read it.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    kinds: Arc<Mutex<BTreeMap<String, Numbers>>>,
}

/// The numbers of one type of job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Numbers {
    /// Jobs that were handed over.
    pub enqueued: u64,
    /// Jobs that were not, because their enqueue failed.
    pub not_enqueued: u64,
    /// Runs that began.
    pub started: u64,
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that failed, panics among them.
    pub failed: u64,
    /// Runs that ended otherwise: snoozed, interrupted, discarded, released.
    pub other: u64,
    /// How long runs took, together.
    pub took: Duration,
}

impl Metrics {
    /// One that has counted nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers by type.
    pub fn numbers(&self) -> BTreeMap<String, Numbers> {
        lock(&self.kinds).clone()
    }

    /// The numbers as Prometheus text.
    pub fn prometheus(&self) -> String {
        let numbers = self.numbers();
        let mut text = String::new();
        let mut family = |name: &str, help: &str, samples: &[Sample]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            for (kind, of_kind) in &numbers {
                let kind = kind.replace('\\', "\\\\").replace('"', "\\\"");
                for (labels, value) in samples {
                    let value = value(of_kind);
                    let _ = writeln!(text, "{name}{{kind=\"{kind}\"{labels}}} {value}");
                }
            }
        };
        family(
            "longshore_client_jobs_total",
            "Jobs that were handed over.",
            &[
                (",outcome=\"enqueued\"", |it| it.enqueued as f64),
                (",outcome=\"failed\"", |it| it.not_enqueued as f64),
            ],
        );
        family(
            "longshore_worker_runs_total",
            "Runs that have ended.",
            &[
                (",outcome=\"succeeded\"", |it| it.succeeded as f64),
                (",outcome=\"failed\"", |it| it.failed as f64),
                (",outcome=\"other\"", |it| it.other as f64),
            ],
        );
        family(
            "longshore_worker_run_seconds_total",
            "How long runs took.",
            &[("", |it| it.took.as_secs_f64())],
        );
        text
    }

    fn change(&self, kind: &str, change: impl FnOnce(&mut Numbers)) {
        let mut kinds = lock(&self.kinds);
        match kinds.get_mut(kind) {
            Some(numbers) => change(numbers),
            None => change(kinds.entry(kind.to_owned()).or_default()),
        }
    }
}

/// Labels, and the number that stands there.
type Sample = (&'static str, fn(&Numbers) -> f64);

/// What [`Metrics`] makes of a service.
#[derive(Clone, Debug)]
pub struct Counted<I> {
    inner: I,
    metrics: Metrics,
}

impl<I> Layer<I> for Metrics {
    type Service = Counted<I>;

    fn layer(&self, inner: I) -> Counted<I> {
        Counted { inner, metrics: self.clone() }
    }
}

impl<I> Service<JobCall> for Counted<I>
where
    I: Service<JobCall, Response = JobEnd, Error = JobError>,
    I::Future: Send + 'static,
{
    type Response = JobEnd;
    type Error = JobError;
    type Future = BoxFuture<'static, Result<JobEnd, JobError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), JobError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        let (metrics, began) = (self.metrics.clone(), Instant::now());
        let kind = call.delivery().kind.clone();
        metrics.change(&kind, |it| it.started += 1);
        let run = self.inner.call(call);
        Box::pin(async move {
            let end = run.await;
            metrics.change(&kind, |it| {
                it.took += began.elapsed();
                match &end {
                    Ok(JobEnd::Done { .. }) => it.succeeded += 1,
                    Ok(_) => it.other += 1,
                    Err(_) => it.failed += 1,
                }
            });
            end
        })
    }
}

impl<I> Service<EnqueueCall> for Counted<I>
where
    I: Service<EnqueueCall, Response = Enqueued, Error = ClientError>,
    I::Future: Send + 'static,
{
    type Response = Enqueued;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Enqueued, ClientError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), ClientError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: EnqueueCall) -> Self::Future {
        let metrics = self.metrics.clone();
        let (kind, jobs) = (call.kind().to_owned(), call.len() as u64);
        let enqueue = self.inner.call(call);
        Box::pin(async move {
            let answer = enqueue.await;
            metrics.change(&kind, |it| match &answer {
                Ok(_) => it.enqueued += jobs,
                Err(_) => it.not_enqueued += jobs,
            });
            answer
        })
    }
}
