//! Looking at jobs and changing them.

use std::time::{Duration, SystemTime};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use longshore_proto::v1;
use serde_json::Value;
use tokio::time::sleep;
use tonic::{Status, Streaming};

use super::error::{Again, again};
use super::held::Place;
use super::{Change, Client, ClientError, JobRecord, JobState};
use crate::options::{span_ms, unix_ms};

/// Where a job that is retried begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Resume {
    /// Where its last checkpoint is.
    #[default]
    LastCheckpoint,
    /// At the beginning.
    Beginning,
    /// There: a cursor of that job.
    At(Value),
}

/// When a job that is rescheduled may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Now.
    Now,
    /// So long after the server hears of it.
    In(Duration),
    /// At this instant.
    At(SystemTime),
}

/// Which jobs a list tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    queue: String,
    state: String,
    kind: String,
    tag: String,
    ordering_key: String,
    tenant: String,
    held: Option<bool>,
    error: String,
    text: String,
}

impl Jobs {
    /// All.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those of a queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Only those in a state, such as `dead`.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = state.into();
        self
    }

    /// Only those of a type.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Only those with a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = tag.into();
        self
    }

    /// Only those of an ordering key.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = key.into();
        self
    }

    /// Only those of a tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Only those that a worker has and has not started, as far as is known; or only others.
    #[must_use]
    pub fn held(mut self, held: bool) -> Self {
        self.held = Some(held);
        self
    }

    /// Only those whose last error is of a type.
    #[must_use]
    pub fn error(mut self, kind: impl Into<String>) -> Self {
        self.error = kind.into();
        self
    }

    /// Only those whose args contain a text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $client:ident . $method:ident, $message:expr) => {
        called!($self, $client.$method, $message).answer?
    };
}

/// The same, which tells whether it was repeated.
macro_rules! called {
    ($self:expr, $client:ident . $method:ident, $message:expr) => {{
        let client = $self.$client()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await
    }};
}

impl Client {
    /// All that is known of a job.
    pub async fn job(&self, id: &str) -> Result<JobRecord, ClientError> {
        let message = v1::GetJobRequest { namespace: self.namespace().into(), id: id.into() };
        Ok(JobRecord::from_wire(ask!(self, jobs.get_job, message)))
    }

    /// One page of jobs; an empty `cursor` begins. Returns where to go on, empty at the end. A
    /// page may be short, or empty, although there are more.
    pub async fn list(
        &self,
        jobs: &Jobs,
        cursor: &str,
    ) -> Result<(Vec<JobRecord>, String), ClientError> {
        let message = v1::ListJobsRequest {
            namespace: self.namespace().into(),
            queue: jobs.queue.clone(),
            state: jobs.state.clone(),
            kind: jobs.kind.clone(),
            cursor: cursor.into(),
            tag: jobs.tag.clone(),
            ordering_key: jobs.ordering_key.clone(),
            tenant: jobs.tenant.clone(),
            held: jobs.held,
            error: jobs.error.clone(),
            text: jobs.text.clone(),
            ..v1::ListJobsRequest::default()
        };
        let page = ask!(self, jobs.list_jobs, message);
        Ok((page.jobs.into_iter().map(JobRecord::from_wire).collect(), page.next))
    }

    /// A job as it is, and whenever its state, progress or counters change, until it has ended.
    /// Where the connection breaks it is made again. An error is the last that comes.
    pub async fn watch(
        &self,
        id: &str,
    ) -> Result<impl Stream<Item = Result<JobRecord, ClientError>> + Unpin + use<>, ClientError>
    {
        let changes = Some(self.changes(id).await?);
        let watch = Watch { client: self.clone(), id: id.to_owned(), changes, last: None };
        Ok(stream::unfold(watch, Watch::next).boxed())
    }

    async fn changes(&self, id: &str) -> Result<Changes, ClientError> {
        let message = v1::GetJobRequest { namespace: self.namespace().into(), id: id.into() };
        let (client, place) = self.held_jobs()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.watch_job(request).await }
        };
        Ok((self.inner.bounds.call(message, call).await?, place))
    }

    /// Calls a job off. A dead one is refused: see [`Client::remove`].
    pub async fn cancel(&self, id: &str) -> Result<Change, ClientError> {
        self.call_off(id, false).await
    }

    /// Calls a job off and ends its run at once, without asking: for a worker that is gone before
    /// its lease has. What it settles later is refused.
    pub async fn cancel_by_force(&self, id: &str) -> Result<Change, ClientError> {
        self.call_off(id, true).await
    }

    async fn call_off(&self, id: &str, force: bool) -> Result<Change, ClientError> {
        let v1::JobRequest { namespace, id: job } = self.request(id);
        let message = v1::CancelJobRequest { namespace, id: job, force, remove: false };
        Ok(Change::from_wire(ask!(self, jobs.cancel_job, message)))
    }

    /// Lets a scheduled, ready or retrying job start at another time; any other is refused. Where
    /// an answer was lost and the job is not in such a state when the call is repeated, it has
    /// started meanwhile, as the first call let it.
    pub async fn reschedule(&self, id: &str, start: Start) -> Result<Change, ClientError> {
        use v1::reschedule_job_request::Start as Wire;
        let start = match start {
            Start::Now => None,
            Start::In(delay) => Some(Wire::DelayMs(span_ms(delay))),
            Start::At(instant) => Some(Wire::RunAtUnixMs(unix_ms(instant))),
        };
        let v1::JobRequest { namespace, id: job } = self.request(id);
        let message = v1::RescheduleJobRequest { namespace, id: job, start };
        let called = called!(self, jobs.reschedule_job, message);
        match called.answer {
            Err(error) if called.repeated && error.code() == Some("job_state_refused") => {
                let JobRecord { state, .. } = self.job(id).await?;
                if matches!(state, JobState::Cancelled | JobState::Expired) {
                    return Err(error);
                }
                Ok(Change { state, effect: "rescheduled".to_owned() })
            }
            answer => Ok(Change::from_wire(answer?)),
        }
    }

    /// Removes a dead job, with its args and errors; any other is refused. Where an answer was lost
    /// and the job is not there when the call is repeated, the first call has removed it.
    pub async fn remove(&self, id: &str) -> Result<Change, ClientError> {
        let v1::JobRequest { namespace, id: job } = self.request(id);
        let message = v1::CancelJobRequest { namespace, id: job, force: false, remove: true };
        let called = called!(self, jobs.cancel_job, message);
        match called.answer {
            Err(error)
                if called.repeated && matches!(error.code(), Some("job_unknown" | "job_gone")) =>
            {
                let (state, effect) = (String::new(), "removed".to_owned());
                Ok(Change::from_wire(v1::JobChange { id: id.to_owned(), state, effect }))
            }
            answer => Ok(Change::from_wire(answer?)),
        }
    }

    /// Lets a dead or retrying job start again now. Where an answer was lost and the job has left
    /// that state when the call is repeated, the first call has retried it.
    pub async fn retry(&self, id: &str, from: Resume) -> Result<Change, ClientError> {
        use v1::retry_job_request::From;
        let from = match from {
            Resume::LastCheckpoint => None,
            Resume::Beginning => Some(From::Beginning(true)),
            Resume::At(cursor) => Some(From::Cursor(cursor.to_string().into())),
        };
        let message =
            v1::RetryJobRequest { namespace: self.namespace().into(), id: id.into(), from };
        let called = called!(self, jobs.retry_job, message);
        match called.answer {
            Err(error) if called.repeated && error.code() == Some("job_state_refused") => {
                let JobRecord { state, .. } = self.job(id).await?;
                if matches!(state, JobState::Cancelled | JobState::Expired) {
                    return Err(error);
                }
                Ok(Change { state, effect: "retried".to_owned() })
            }
            answer => Ok(Change::from_wire(answer?)),
        }
    }

    /// Holds a job back; one that runs is asked to interrupt itself.
    pub async fn pause(&self, id: &str) -> Result<Change, ClientError> {
        Ok(Change::from_wire(ask!(self, jobs.pause_job, self.request(id))))
    }

    /// Holds it back no longer.
    pub async fn resume(&self, id: &str) -> Result<Change, ClientError> {
        Ok(Change::from_wire(ask!(self, jobs.resume_job, self.request(id))))
    }

    /// Asks the worker of that name, or where several share it the one with that session, to take
    /// nothing more. Its iterations are interrupted; what else runs goes on to its end.
    pub async fn quiet_worker(&self, worker: &str) -> Result<(), ClientError> {
        ask!(self, workers.quiet_worker, self.worker_request(worker));
        Ok(())
    }

    /// Asks a worker, named in the same way, to take nothing more, to interrupt what it runs, and
    /// to leave.
    pub async fn terminate_worker(&self, worker: &str) -> Result<(), ClientError> {
        ask!(self, workers.terminate_worker, self.worker_request(worker));
        Ok(())
    }

    /// One bounded wait for a job's end, which answers within `patience` of that.
    pub(super) async fn await_job(
        &self,
        id: &str,
        wait: Duration,
        patience: Duration,
    ) -> Result<JobRecord, ClientError> {
        let message = v1::AwaitJobRequest {
            namespace: self.namespace().into(),
            id: id.into(),
            wait_ms: span_ms(wait).min(60_000),
        };
        let (client, _place) = self.held_jobs()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.await_job(request).await }
        };
        let bounds = &self.inner.bounds;
        // Who waits for a second does not want to wait for the deadline of other calls.
        let within = wait + patience;
        let job = bounds.call_within(within, within, message, call).await.answer?;
        Ok(JobRecord::from_wire(job))
    }

    fn request(&self, id: &str) -> v1::JobRequest {
        v1::JobRequest { namespace: self.namespace().into(), id: id.into() }
    }

    fn worker_request(&self, worker: &str) -> v1::WorkerRequest {
        v1::WorkerRequest { namespace: self.namespace().into(), worker: worker.into() }
    }
}

type Changes = (Streaming<v1::Job>, Place);

/// A job that is watched.
struct Watch {
    client: Client,
    id: String,
    /// None once there is nothing more to come.
    changes: Option<Changes>,
    /// What was told last.
    last: Option<v1::Job>,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<JobRecord, ClientError>, Self)> {
        loop {
            let status = match self.changes.as_mut()?.0.message().await {
                // A call that is made again begins with what is known already.
                Ok(Some(job)) if self.last.as_ref() == Some(&job) => continue,
                Ok(Some(job)) => {
                    self.last = Some(job.clone());
                    return Some((Ok(JobRecord::from_wire(job)), self));
                }
                Ok(None) if self.has_ended() => return None,
                Ok(None) => Status::unavailable("the call has ended"),
                Err(status) => status,
            };
            if again(&status) == Again::Never {
                self.changes = None;
                return Some((Err(ClientError::from_status(&status)), self));
            }
            sleep(Duration::from_millis(25)).await;
            match self.client.changes(&self.id).await {
                Ok(changes) => self.changes = Some(changes),
                Err(error) => {
                    self.changes = None;
                    return Some((Err(error), self));
                }
            }
        }
    }

    fn has_ended(&self) -> bool {
        let last = self.last.clone().map(JobRecord::from_wire);
        last.is_some_and(|job| job.state.has_ended())
    }
}
