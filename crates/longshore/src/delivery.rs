//! A job as it was delivered: everything that its run may know beforehand.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use longshore_proto::v1;
use uuid::Uuid;

use crate::options::from_unix_ms;

/// A job as it was delivered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// The version of its kind; 0 where it has none.
    pub version: u32,
    /// Its arguments: JSON.
    pub args: Bytes,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Attempts in all.
    pub max_attempts: u32,
    /// The longest that this run may take.
    pub timeout: Option<Duration>,
    /// When it was enqueued.
    pub enqueued_at: SystemTime,
    /// The producer's own object: JSON; empty where there is none.
    pub metadata: Bytes,
    /// W3C Trace Context; empty where there is none.
    pub traceparent: String,
    /// Where this run begins: JSON; empty for at the beginning.
    pub cursor: Bytes,
    /// What earlier runs counted.
    pub counters: HashMap<String, i64>,
    /// How often a run of it was interrupted.
    pub interruptions: u32,
    /// Names to find it by.
    pub tags: Vec<String>,
    /// 0 to 9.
    pub priority: u32,
    /// Its ordering key; empty where it has none.
    pub ordering_key: String,
    /// Whether this run is the job's last one, whatever becomes of it.
    pub at_most_once: bool,
    /// Proof of the lease. It changes with each delivery: a downstream system can fence with it.
    pub token: String,
}

impl Delivery {
    pub(crate) fn from_wire(job: v1::Delivery) -> Self {
        Self {
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            version: job.version,
            args: job.args,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            timeout: job.timeout_ms.map(Duration::from_millis),
            enqueued_at: from_unix_ms(job.enqueued_at_unix_ms),
            metadata: job.metadata,
            traceparent: job.traceparent,
            cursor: job.cursor,
            counters: job.counters,
            interruptions: job.interruptions,
            tags: job.tags,
            priority: job.priority,
            ordering_key: job.ordering_key,
            at_most_once: job.at_most_once,
            token: job.token,
        }
    }

    /// What a new job is delivered as the first time: for runs without a server.
    pub(crate) fn first_of(job: &v1::NewJob) -> Self {
        Self {
            id: if job.id.is_empty() { Uuid::now_v7().to_string() } else { job.id.clone() },
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            version: job.version,
            args: job.args.clone(),
            attempt: 1,
            max_attempts: job.max_attempts.unwrap_or(26),
            timeout: job.timeout_ms.map(Duration::from_millis),
            enqueued_at: SystemTime::now(),
            metadata: job.metadata.clone(),
            traceparent: job.traceparent.clone(),
            cursor: job.cursor.clone(),
            counters: HashMap::new(),
            interruptions: 0,
            tags: job.tags.clone(),
            priority: job.priority.unwrap_or_default(),
            ordering_key: job.ordering_key.clone(),
            at_most_once: job.at_most_once,
            token: "inline".to_owned(),
        }
    }
}
