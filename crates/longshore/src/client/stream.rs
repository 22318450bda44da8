//! Handing over more jobs than fit into one request: batch after batch over one call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use longshore_proto::v1;
use longshore_proto::v1::enqueue_stream_response::Outcome;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, Streaming};

use super::call::reason;
use super::enqueue::prepare;
use super::error::{Again, again};
use super::{Client, ClientError, Refusal};
use crate::backoff::Backoff;
use crate::{Job, JobOptions};

const BATCH_JOBS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// Batches that are under way at a time.
const WINDOW: usize = 8;

/// One batch and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamedBatch {
    /// The ids of its jobs.
    pub ids: Vec<String>,
    /// What became of it.
    pub outcome: BatchOutcome,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub enum BatchOutcome {
    /// All of it is enqueued.
    Accepted,
    /// None of it is enqueued, nor will be.
    Refused(Refusal),
    /// It was sent, and the call ended before its fate was known: it may be enqueued, or be yet
    /// (what was under way when the disk of the server filled up is, once there is space). Jobs
    /// that are made anew for it may be doubled; see [`Client::enqueue_again`].
    Unknown(UnansweredBatch),
}

/// A batch whose fate is not known, as it was sent.
#[derive(Clone, Debug)]
pub struct UnansweredBatch(v1::EnqueueRequest);

impl Client {
    /// Hands over any number of jobs in batches of up to 500, several of which are under way at a
    /// time. Each batch is all or none; `each` hears what became of it. A batch goes once it is
    /// full or the stream of jobs ends. One that is at fault ends nothing. One that is refused for
    /// now (its queue is full, say) is sent again, with those behind it and in their order, until
    /// the client's deadline has passed: then the call ends with that refusal. Where the connection
    /// breaks, what was not answered is sent again, which has one effect. Returns how many jobs
    /// were accepted.
    ///
    /// Batches are told in the order of their jobs. Where the call ends with an error, those that
    /// were sent and not answered are told as [`BatchOutcome::Unknown`] before it returns; jobs
    /// that no batch told of were not sent. Where its future is dropped, nothing more is told, and
    /// what was under way may be enqueued.
    ///
    /// Batches go over one call, in their order, and not through the layers of the client: give
    /// the jobs a trace with `options` where they are to have one.
    pub async fn enqueue_stream<J: Job>(
        &self,
        jobs: impl Stream<Item = J> + Send,
        options: JobOptions,
        mut each: impl FnMut(StreamedBatch) + Send,
    ) -> Result<u64, ClientError> {
        let batches = std::pin::pin!(self.batches(jobs, options));
        if self.inner.channel.is_none() {
            return self.record_stream(batches, each).await;
        }
        let mut under_way = VecDeque::new();
        let end = self.stream_batches(batches, &mut under_way, &mut each).await;
        if end.is_err() {
            for batch in under_way {
                let ids = ids_of(&batch);
                let outcome = BatchOutcome::Unknown(UnansweredBatch(batch));
                each(StreamedBatch { ids, outcome });
            }
        }
        end
    }

    /// Sends a batch once more whose fate is not known, with the ids that its jobs had: however
    /// often that is done, each of them is enqueued once.
    pub async fn enqueue_again(&self, batch: &UnansweredBatch) -> Result<(), ClientError> {
        let v1::EnqueueRequest { queue, jobs, .. } = batch.0.clone();
        self.hand_over(queue, jobs).await.map(drop)
    }

    /// Sends batches until none is left. Those in `under_way` are not answered.
    async fn stream_batches(
        &self,
        mut batches: Pin<&mut (impl Stream<Item = Result<v1::EnqueueRequest, ClientError>> + Send)>,
        under_way: &mut VecDeque<v1::EnqueueRequest>,
        each: &mut (impl FnMut(StreamedBatch) + Send),
    ) -> Result<u64, ClientError> {
        let mut accepted = 0;
        let mut more = true;
        let mut backoff = Backoff::new(Duration::from_millis(25), Duration::from_secs(2));
        // Since when nothing has been answered although it was tried.
        let mut trouble: Option<Instant> = None;
        while more || !under_way.is_empty() {
            let status = match self.open_stream(under_way).await {
                Ok((sender, mut answers)) => loop {
                    while more && under_way.len() < WINDOW {
                        match batches.next().await {
                            Some(batch) => {
                                let batch = batch?;
                                // A stream that has broken says so below.
                                let _ = sender.try_send(batch.clone());
                                under_way.push_back(batch);
                            }
                            None => more = false,
                        }
                    }
                    if under_way.is_empty() {
                        break None;
                    }
                    match self.next_answer(&mut answers).await {
                        Ok(Outcome::Refused(problem)) if is_for_now(&problem) => {
                            break Some(status_of(&problem));
                        }
                        Ok(outcome) => {
                            trouble = None;
                            backoff.reset();
                            let batch = under_way.pop_front().unwrap_or_default();
                            let told = told(&batch, outcome);
                            if matches!(told.outcome, BatchOutcome::Accepted) {
                                accepted += told.ids.len() as u64;
                            }
                            each(told);
                        }
                        Err(status) => break Some(status),
                    }
                },
                Err(status) => Some(status),
            };
            let Some(status) = status else { break };
            if again(&status) == Again::Never {
                return Err(ClientError::from_status(&status));
            }
            let since = *trouble.get_or_insert_with(Instant::now);
            if since.elapsed() > self.inner.bounds.deadline {
                if status.metadata().contains_key("longshore-code") {
                    return Err(ClientError::from_status(&status));
                }
                return Err(ClientError::Unreachable {
                    url: self.url().to_owned(),
                    waited: since.elapsed(),
                    reason: reason(&status),
                });
            }
            sleep(backoff.next()).await;
        }
        Ok(accepted)
    }

    /// The same where a recorder stands for the server.
    async fn record_stream(
        &self,
        mut batches: Pin<&mut (impl Stream<Item = Result<v1::EnqueueRequest, ClientError>> + Send)>,
        mut each: impl FnMut(StreamedBatch) + Send,
    ) -> Result<u64, ClientError> {
        let mut accepted = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let ids = ids_of(&batch);
            let outcome = match self.hand_over(batch.queue, batch.jobs).await {
                Ok(_) => {
                    accepted += ids.len() as u64;
                    BatchOutcome::Accepted
                }
                Err(ClientError::Refused(refusal)) => BatchOutcome::Refused(refusal),
                Err(error) => return Err(error),
            };
            each(StreamedBatch { ids, outcome });
        }
        Ok(accepted)
    }

    /// The jobs, gathered.
    fn batches<J: Job>(
        &self,
        jobs: impl Stream<Item = J> + Send,
        options: JobOptions,
    ) -> impl Stream<Item = Result<v1::EnqueueRequest, ClientError>> + Send {
        let namespace = self.namespace().to_owned();
        let options = JobOptions { id: None, ..options };
        let gathering = Gathering { jobs: Box::pin(jobs), open: None, bytes: 0 };
        stream::unfold(gathering, move |mut gathering| {
            let (namespace, options) = (namespace.clone(), options.clone());
            async move {
                let batch = gathering.batch(&namespace, &options).await?;
                Some((batch, gathering))
            }
        })
    }

    /// Opens a call and sends again what was not answered over the one before.
    async fn open_stream(
        &self,
        under_way: &VecDeque<v1::EnqueueRequest>,
    ) -> Result<(mpsc::Sender<v1::EnqueueRequest>, Streaming<v1::EnqueueStreamResponse>), Status>
    {
        let (sender, mut batches) = mpsc::channel(WINDOW);
        for batch in under_way {
            let _ = sender.try_send(batch.clone());
        }
        let mut client = self.jobs().map_err(|error| Status::internal(error.to_string()))?;
        let requests = stream::poll_fn(move |cx| batches.poll_recv(cx));
        let opened = timeout(self.inner.bounds.attempt, client.enqueue_stream(requests)).await;
        let answers =
            opened.map_err(|_| Status::deadline_exceeded("the call was not opened"))??;
        Ok((sender, answers.into_inner()))
    }

    async fn next_answer(
        &self,
        answers: &mut Streaming<v1::EnqueueStreamResponse>,
    ) -> Result<Outcome, Status> {
        let answer = timeout(self.inner.bounds.attempt, answers.message()).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("a batch is not answered"))??;
        answer.and_then(|it| it.outcome).ok_or_else(|| Status::unavailable("the call has ended"))
    }
}

/// Jobs on their way into batches.
struct Gathering<S> {
    jobs: Pin<Box<S>>,
    /// A batch that has begun.
    open: Option<v1::EnqueueRequest>,
    bytes: usize,
}

impl<J: Job, S: Stream<Item = J> + Send> Gathering<S> {
    /// The next whole batch; jobs of one queue, none larger than a request may be.
    async fn batch(
        &mut self,
        namespace: &str,
        options: &JobOptions,
    ) -> Option<Result<v1::EnqueueRequest, ClientError>> {
        while let Some(job) = self.jobs.next().await {
            let (queue, job) = match prepare(&job, options.clone()) {
                Ok(prepared) => prepared,
                Err(error) => return Some(Err(error)),
            };
            let size = job.args.len() + job.metadata.len() + 128;
            let fits = self.open.as_ref().is_none_or(|open| {
                open.queue == queue
                    && open.jobs.len() < BATCH_JOBS
                    && self.bytes + size <= BATCH_BYTES
            });
            let whole = if fits { None } else { self.open.take() };
            if self.open.is_none() {
                self.bytes = 0;
            }
            self.bytes += size;
            let namespace = namespace.to_owned();
            let fresh = || v1::EnqueueRequest { namespace, queue, jobs: Vec::new() };
            self.open.get_or_insert_with(fresh).jobs.push(job);
            if let Some(whole) = whole {
                return Some(Ok(whole));
            }
        }
        self.open.take().map(Ok)
    }
}

/// Whether the same batch may be accepted later.
fn is_for_now(problem: &v1::Problem) -> bool {
    problem.retry_after_ms.is_some() || problem.http_status >= 500
}

/// The refusal of a batch as the end of a call.
fn status_of(problem: &v1::Problem) -> Status {
    let mut status = Status::unavailable(problem.detail.clone());
    if let Ok(code) = problem.code.parse() {
        status.metadata_mut().insert("longshore-code", code);
    }
    if let Some(ms) = problem.retry_after_ms {
        status.metadata_mut().insert("retry-after-ms", ms.into());
    }
    status
}

fn told(batch: &v1::EnqueueRequest, outcome: Outcome) -> StreamedBatch {
    match outcome {
        Outcome::Accepted(accepted) => {
            StreamedBatch { ids: accepted.ids, outcome: BatchOutcome::Accepted }
        }
        Outcome::Refused(problem) => StreamedBatch {
            ids: ids_of(batch),
            outcome: BatchOutcome::Refused(Refusal::from_problem(problem)),
        },
    }
}

fn ids_of(batch: &v1::EnqueueRequest) -> Vec<String> {
    batch.jobs.iter().map(|job| job.id.clone()).collect()
}
