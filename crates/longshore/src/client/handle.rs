//! A job that was handed over, and its outcome.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use tokio::time::Instant;

use super::enqueue::{Of, prepare};
use super::{Change, Client, ClientError, JobRecord, JobState, Resume, Start};
use crate::iteration::metadata_of;
use crate::{Job, JobError, JobOptions};

/// A job of a known type on the server.
pub struct JobHandle<J> {
    client: Client,
    id: String,
    of: Of<J>,
}

impl<J> Clone for JobHandle<J> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), id: self.id.clone(), of: PhantomData }
    }
}

impl<J> fmt::Debug for JobHandle<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobHandle").field(&self.id).finish()
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Ended<T> {
    /// It has succeeded.
    Succeeded {
        /// What it returned.
        result: T,
        /// The resource that it made.
        location: Option<String>,
    },
    /// Its attempts are used up. It is kept, and can be retried.
    Dead(JobError),
    /// It was called off.
    Cancelled(JobError),
    /// It was not started in time.
    Expired,
}

impl<J: Job> JobHandle<J> {
    pub(super) fn new(client: Client, id: String) -> Self {
        Self { client, id, of: PhantomData }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the job has ended, at most so long.
    pub async fn ended(&self, within: Duration) -> Result<Ended<J::Output>, ClientError> {
        let job = self.client.wait(&self.id, within).await?;
        let error =
            || job.error.clone().unwrap_or_else(|| JobError::new(job.state.as_str(), &job.reason));
        match &job.state {
            JobState::Succeeded => {
                Ok(Ended::Succeeded { result: job.result()?, location: job.location.clone() })
            }
            JobState::Dead => Ok(Ended::Dead(error())),
            JobState::Cancelled => Ok(Ended::Cancelled(error())),
            JobState::Expired => Ok(Ended::Expired),
            state => Err(ClientError::NotEnded {
                id: job.id.clone(),
                waited: within,
                state: state.to_string(),
            }),
        }
    }

    /// Waits for what the job returns, at most so long. Where it ends otherwise, that is an error.
    pub async fn result(&self, within: Duration) -> Result<J::Output, ClientError> {
        let (state, error) = match self.ended(within).await? {
            Ended::Succeeded { result, .. } => return Ok(result),
            Ended::Dead(error) => ("dead", error),
            Ended::Cancelled(error) => ("cancelled", error),
            Ended::Expired => ("expired", JobError::new("expired", "it was not started in time")),
        };
        Err(ClientError::NotSucceeded {
            id: self.id.clone(),
            state: state.to_owned(),
            error: error.into(),
        })
    }

    /// All that is known of it.
    pub async fn record(&self) -> Result<JobRecord, ClientError> {
        self.client.job(&self.id).await
    }

    /// Runs the items that an iteration gave up on again, alone, as a job of their own: `job` is
    /// what was handed over then, since an outcome keeps no arguments. Where their cursors are too
    /// large for one job they are several, which are enqueued together; none where nothing was
    /// skipped. A server keeps the first 100 items that a job skips.
    ///
    /// An item that fails again is treated as the job's settings say: skipped and listed by the
    /// new job, or tried again with it. Neither `on_start` nor `on_resume` is called, but
    /// `on_complete` is, once for each new job.
    ///
    /// Items are found by their cursors. One that is not in the collection any more is listed as
    /// skipped, as `item_missing`, and counted as `missing`. So is a batch that does not end at
    /// the same cursor any more, because items have come or gone since.
    pub async fn rerun_skipped(&self, job: J) -> Result<Vec<Self>, ClientError> {
        let skipped = self.record().await?.skipped();
        let places = skipped.into_iter().map(|item| item.cursor).collect();
        let (mut queue, mut jobs) = (String::new(), Vec::new());
        for metadata in metadata_of(places) {
            let (its_queue, job) = prepare(&job, JobOptions::new().metadata(metadata))?;
            queue = its_queue;
            jobs.push(job);
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.client.hand_over(queue, jobs).await?;
        Ok(ids.into_iter().map(|id| Self::new(self.client.clone(), id)).collect())
    }

    /// Calls it off. One that runs hears of it; if it succeeds nevertheless, it has succeeded.
    pub async fn cancel(&self) -> Result<Change, ClientError> {
        self.client.cancel(&self.id).await
    }

    /// Calls it off and ends its run at once, without asking: for a worker that is gone before its
    /// lease has. What it settles later is refused.
    pub async fn cancel_by_force(&self) -> Result<Change, ClientError> {
        self.client.cancel_by_force(&self.id).await
    }

    /// Lets it start now, if it waits for its time or its next attempt.
    pub async fn run_now(&self) -> Result<Change, ClientError> {
        self.client.reschedule(&self.id, Start::Now).await
    }

    /// Lets it start at another time, if it waits.
    pub async fn reschedule(&self, start: Start) -> Result<Change, ClientError> {
        self.client.reschedule(&self.id, start).await
    }

    /// Removes it, if it is dead.
    pub async fn remove(&self) -> Result<Change, ClientError> {
        self.client.remove(&self.id).await
    }

    /// Lets it start again now, if it is dead or waits for its next attempt.
    pub async fn retry(&self, from: Resume) -> Result<Change, ClientError> {
        self.client.retry(&self.id, from).await
    }

    /// Holds it back. One that runs is asked to interrupt itself.
    pub async fn pause(&self) -> Result<Change, ClientError> {
        self.client.pause(&self.id).await
    }

    /// Holds it back no longer.
    pub async fn resume(&self) -> Result<Change, ClientError> {
        self.client.resume(&self.id).await
    }
}

impl Client {
    /// Waits until a job has ended, at most so long, and tells all of it, ended or not.
    pub async fn wait(&self, id: &str, within: Duration) -> Result<JobRecord, ClientError> {
        self.wait_patiently(id, within, self.inner.bounds.attempt).await
    }

    /// The same, where a server that does not answer is given up `patience` later.
    pub(crate) async fn wait_patiently(
        &self,
        id: &str,
        within: Duration,
        patience: Duration,
    ) -> Result<JobRecord, ClientError> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // The server waits at most a minute per call, proxies often less.
            let job = self.await_job(id, left.min(Duration::from_secs(20)), patience).await?;
            if job.state.has_ended() || left.is_zero() {
                return Ok(job);
            }
        }
    }
}
