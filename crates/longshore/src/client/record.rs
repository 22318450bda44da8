//! What the server knows of a job.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use longshore_proto::v1;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ClientError;
use crate::JobError;
use crate::options::from_unix_ms;

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// It waits for its time.
    Scheduled,
    /// It waits for a worker.
    Ready,
    /// It runs.
    Running,
    /// It failed and waits for its next attempt.
    Retrying,
    /// It has succeeded.
    Succeeded,
    /// Its attempts are used up. It is kept, and can be retried.
    Dead,
    /// It was called off.
    Cancelled,
    /// It was not started in time.
    Expired,
    /// A state that this version of the crate does not know.
    Other(String),
}

impl JobState {
    fn parse(word: String) -> Self {
        match word.as_str() {
            "scheduled" => Self::Scheduled,
            "ready" => Self::Ready,
            "running" => Self::Running,
            "retrying" => Self::Retrying,
            "succeeded" => Self::Succeeded,
            "dead" => Self::Dead,
            "cancelled" => Self::Cancelled,
            "expired" => Self::Expired,
            _ => Self::Other(word),
        }
    }

    /// The word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Other(word) => word,
        }
    }

    /// Whether nothing more happens to it by itself.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled | Self::Expired)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An item that an iteration gave up on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SkippedItem {
    /// Where it stands in the collection.
    pub cursor: Value,
    /// Why.
    pub error: JobError,
}

/// What the server knows of a job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRecord {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// Its state.
    pub state: JobState,
    /// Why it is in it, where that needs saying.
    pub reason: String,
    /// Attempts that were begun.
    pub attempt: u32,
    /// Attempts in all.
    pub max_attempts: u32,
    /// How often it was snoozed since it was enqueued, or since it was retried when dead.
    pub snoozes: u32,
    /// From 0 to 1.
    pub progress: Option<f64>,
    /// A word about it.
    pub progress_text: String,
    /// When it was enqueued.
    pub enqueued_at: SystemTime,
    /// When it may start.
    pub run_at: Option<SystemTime>,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// The last error. What else is kept of each attempt, such as backtraces, stands among the
    /// `attempts` of [`JobRecord::document`].
    pub error: Option<JobError>,
    /// Where the next run begins.
    pub cursor: Option<Value>,
    /// What its runs counted.
    pub counters: HashMap<String, i64>,
    /// The resource that it made.
    pub location: Option<String>,
    result: Option<Bytes>,
    record: Bytes,
}

impl JobRecord {
    pub(crate) fn from_wire(job: v1::Job) -> Self {
        Self {
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            state: JobState::parse(job.state),
            reason: job.reason,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            snoozes: job.snoozes,
            progress: job.progress,
            progress_text: job.progress_text,
            enqueued_at: from_unix_ms(job.enqueued_at_unix_ms),
            run_at: job.run_at_unix_ms.map(from_unix_ms),
            ended_at: job.ended_at_unix_ms.map(from_unix_ms),
            error: job.error.map(JobError::from_wire),
            cursor: serde_json::from_slice(&job.cursor).ok(),
            counters: job.counters,
            location: Some(job.location).filter(|it| !it.is_empty()),
            result: job.result,
            record: job.record,
        }
    }

    /// What it returned.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let json = self.result.as_deref().unwrap_or(b"null");
        serde_json::from_slice(json).map_err(|error| ClientError::Decode {
            what: format!("the result of job {}", self.id),
            reason: error.to_string(),
        })
    }

    /// What it returned: JSON, as its worker wrote it.
    pub fn result_json(&self) -> Option<&[u8]> {
        self.result.as_deref()
    }

    /// The whole record as the HTTP API tells it.
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.record).unwrap_or_default()
    }

    /// The items that its runs gave up on, as far as they are kept.
    pub fn skipped(&self) -> Vec<SkippedItem> {
        let document = self.document();
        let listed = document.pointer("/checkpoint/skipped").and_then(Value::as_array);
        let text =
            |error: &Value, field: &str| error[field].as_str().unwrap_or_default().to_owned();
        listed
            .into_iter()
            .flatten()
            .map(|item| {
                let error = &item["error"];
                SkippedItem {
                    cursor: item["cursor"].clone(),
                    error: JobError::new(text(error, "type"), text(error, "message")),
                }
            })
            .collect()
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The state after it.
    pub state: JobState,
    /// What was done: a word such as `cancelled`, `requested`, `removed`.
    pub effect: String,
}

impl Change {
    pub(super) fn from_wire(change: v1::JobChange) -> Self {
        Self { state: JobState::parse(change.state), effect: change.effect }
    }
}
