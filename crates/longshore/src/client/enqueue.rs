//! Handing jobs over: one, many, and the tower service underneath that layers go around.

use std::future::{IntoFuture, Ready, ready};
use std::marker::PhantomData;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_proto::v1;
use longshore_proto::v1::jobs_client::JobsClient;
use tower::Service;
use tower::util::{BoxCloneSyncService, ServiceExt};
use uuid::Uuid;

use super::bearer::Way;
use super::call::Bounds;
use super::{Client, ClientError, JobHandle};
use crate::options::{JobOptions, option_setters};
use crate::testing::Recorder;
use crate::{FollowUp, Job};

/// Jobs that are about to be enqueued in one queue, all or none: what layers are called with.
#[derive(Clone, Debug)]
pub struct EnqueueCall {
    pub(crate) request: v1::EnqueueRequest,
    /// How long it may take with all its attempts; None for as long as other calls.
    pub(crate) deadline: Option<Duration>,
}

impl EnqueueCall {
    /// Their queue.
    pub fn queue(&self) -> &str {
        &self.request.queue
    }

    /// Their namespace.
    pub fn namespace(&self) -> &str {
        &self.request.namespace
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.request.jobs.len()
    }

    /// Whether they are none.
    pub fn is_empty(&self) -> bool {
        self.request.jobs.is_empty()
    }

    /// The name of the first one's type.
    pub fn kind(&self) -> &str {
        self.request.jobs.first().map_or("", |job| &job.kind)
    }

    /// The ids that were chosen for them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.request.jobs.iter().map(|job| job.id.as_str())
    }

    /// Gives those that have none a trace to belong to.
    pub fn set_traceparent(&mut self, traceparent: &str) {
        for job in self.request.jobs.iter_mut().filter(|job| job.traceparent.is_empty()) {
            traceparent.clone_into(&mut job.traceparent);
        }
    }
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enqueued {
    /// In the order in which the jobs were given.
    pub ids: Vec<String>,
    /// How many of them had been accepted by an earlier, equal request.
    pub replayed: u32,
    /// Which of them, from 0, are not new but stand for one that was there, and what became of the
    /// new one: `existing`, `replaced`, `debounced`, `throttled`. See [`Unique`](crate::Unique).
    pub met: Vec<(usize, String)>,
}

/// What enqueues. Layers wrap one into another.
pub type EnqueueService = BoxCloneSyncService<EnqueueCall, Enqueued, ClientError>;

/// The innermost service: the call to the server.
#[derive(Clone, Debug)]
pub(super) struct GrpcEnqueue {
    client: JobsClient<Way>,
    bounds: Bounds,
}

impl GrpcEnqueue {
    pub(super) fn new(channel: Way, bounds: Bounds) -> Self {
        Self { client: JobsClient::new(channel).max_decoding_message_size(usize::MAX), bounds }
    }
}

impl Service<EnqueueCall> for GrpcEnqueue {
    type Response = Enqueued;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Enqueued, ClientError>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: EnqueueCall) -> Self::Future {
        let (client, bounds) = (self.client.clone(), self.bounds.clone());
        Box::pin(async move {
            // Every job has an id, so repeating the call has one effect.
            let deadline = call.deadline.unwrap_or(bounds.deadline);
            let send = |request| {
                let mut client = client.clone();
                async move { client.enqueue(request).await }
            };
            let called = bounds.call_within(bounds.attempt, deadline, call.request, send).await;
            let answer = called.answer?;
            let met = answer.unique.into_iter().map(|met| (met.index as usize, met.outcome));
            Ok(Enqueued { ids: answer.ids, replayed: answer.replayed, met: met.collect() })
        })
    }
}

/// The innermost service without a server.
#[derive(Clone, Debug)]
pub(super) struct RecordEnqueue(pub(super) Recorder);

impl Service<EnqueueCall> for RecordEnqueue {
    type Response = Enqueued;
    type Error = ClientError;
    type Future = Ready<Result<Enqueued, ClientError>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: EnqueueCall) -> Self::Future {
        let v1::EnqueueRequest { queue, jobs, .. } = call.request;
        let ids = jobs.iter().map(|job| job.id.clone()).collect();
        let jobs = jobs.into_iter().map(|job| FollowUp(v1::NewJob { queue: queue.clone(), ..job }));
        let replayed = self.0.record(jobs).map_err(ClientError::Refused);
        ready(replayed.map(|replayed| Enqueued { ids, replayed, met: Vec::new() }))
    }
}

/// One job that is being handed over: say how it is to run, then `.await` it.
#[derive(Debug)]
#[must_use = "nothing is enqueued until this is awaited"]
pub struct Enqueue<J> {
    client: Client,
    job: J,
    options: JobOptions,
    deadline: Option<Duration>,
}

impl<J: Job> Enqueue<J> {
    option_setters!(this => &mut this.options);

    /// How long this call may take with all its attempts. Default: the client's
    /// [deadline](crate::ClientBuilder::deadline).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same where none was said.
    #[cfg(feature = "axum")]
    pub(crate) fn default_deadline(&mut self, deadline: Duration) {
        self.deadline.get_or_insert(deadline);
    }

    /// The id that it will have, chosen now.
    #[cfg(feature = "axum")]
    pub(crate) fn choose_id(&mut self) -> Uuid {
        let chosen = self.options.id.or_else(|| self.job.options().id);
        *self.options.id.insert(chosen.unwrap_or_else(Uuid::now_v7))
    }
}

impl<J: Job> IntoFuture for Enqueue<J> {
    type Output = Result<JobHandle<J>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (queue, job) = prepare(&self.job, self.options)?;
            let ids = self.client.hand_over_within(self.deadline, queue, vec![job]).await?;
            let id = ids.into_iter().next().unwrap_or_default();
            Ok(JobHandle::new(self.client, id))
        })
    }
}

/// Many jobs that are being handed over, all or none: say how they are to run, then `.await` them.
#[derive(Debug)]
#[must_use = "nothing is enqueued until this is awaited"]
pub struct EnqueueAll<J> {
    client: Client,
    jobs: Vec<J>,
    options: JobOptions,
}

impl<J: Job> EnqueueAll<J> {
    option_setters!(this => &mut this.options);
}

impl<J: Job> IntoFuture for EnqueueAll<J> {
    type Output = Result<Vec<JobHandle<J>>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut jobs = Vec::with_capacity(self.jobs.len());
            let mut queue: Option<String> = None;
            for job in &self.jobs {
                // An id is one job's.
                let options = JobOptions { id: None, ..self.options.clone() };
                let (its_queue, job) = prepare(job, options)?;
                if let Some(first) = &queue
                    && *first != its_queue
                {
                    let first = first.clone();
                    return Err(ClientError::QueuesDiffer { first, second: its_queue });
                }
                queue = Some(its_queue);
                jobs.push(job);
            }
            let Some(queue) = queue else { return Ok(Vec::new()) };
            let ids = self.client.hand_over(queue, jobs).await?;
            Ok(ids.into_iter().map(|id| JobHandle::new(self.client.clone(), id)).collect())
        })
    }
}

/// The job as it travels, and its queue.
pub(super) fn prepare<J: Job>(
    job: &J,
    options: JobOptions,
) -> Result<(String, v1::NewJob), ClientError> {
    let mut options = options.over(job.options());
    if let Some((one, other)) = options.conflict() {
        return Err(ClientError::OptionsDiffer { one, other });
    }
    options.id.get_or_insert_with(Uuid::now_v7);
    let queue = options.queue.take().unwrap_or_else(|| J::QUEUE.to_owned());
    let args = serde_json::to_vec(job).map_err(|error| ClientError::Encode {
        what: J::KIND.to_owned(),
        reason: error.to_string(),
    })?;
    Ok((queue, options.into_wire::<J>(args.into())))
}

impl Client {
    /// Hands a job over. Say how it is to run, then `.await` it:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use longshore::{Client, Job};
    /// # #[derive(Job, serde::Serialize, serde::Deserialize)]
    /// # struct WelcomeEmail { user: u64 }
    /// # async fn example(client: Client) -> Result<(), longshore::ClientError> {
    /// let job = client.enqueue(WelcomeEmail { user: 7 }).delay(Duration::from_secs(60)).await?;
    /// println!("it is job {}", job.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn enqueue<J: Job>(&self, job: J) -> Enqueue<J> {
        Enqueue { client: self.clone(), job, options: JobOptions::new(), deadline: None }
    }

    /// Hands many jobs over, all or none; at most 10,000. They share a queue. For more, or where
    /// they need not stand or fall together, see [`Client::enqueue_stream`].
    pub fn enqueue_all<J: Job>(&self, jobs: impl IntoIterator<Item = J>) -> EnqueueAll<J> {
        let jobs = jobs.into_iter().collect();
        EnqueueAll { client: self.clone(), jobs, options: JobOptions::new() }
    }

    /// A handle to a job of this type that was enqueued before.
    pub fn handle<J: Job>(&self, id: impl Into<String>) -> JobHandle<J> {
        JobHandle::new(self.clone(), id.into())
    }

    pub(crate) async fn hand_over(
        &self,
        queue: String,
        jobs: Vec<v1::NewJob>,
    ) -> Result<Vec<String>, ClientError> {
        self.hand_over_within(None, queue, jobs).await
    }

    async fn hand_over_within(
        &self,
        deadline: Option<Duration>,
        queue: String,
        jobs: Vec<v1::NewJob>,
    ) -> Result<Vec<String>, ClientError> {
        let namespace = self.inner.namespace.clone();
        let request = v1::EnqueueRequest { namespace, queue, jobs };
        let call = EnqueueCall { request, deadline };
        Ok(self.inner.enqueue.clone().oneshot(call).await?.ids)
    }
}

/// Names the type of a handle without holding one of it.
pub(super) type Of<J> = PhantomData<fn() -> J>;
