//! What a producer sends to have work done, and what it hears at once.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    DurationText, InstantText, JobIdText, JobLimitText, RawJson, RetryText, UniqueMetText,
    UniqueOutcome, UniqueText,
};

/// A job as its producer describes it. What is left out comes from the queue's defaults.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob<'a> {
    /// Its identity, where the producer chooses it: then the request can be repeated without a
    /// second effect. Left out, the server makes one.
    pub id: Option<JobIdText>,
    /// Its queue: only in `enqueue` of an `ack`. Elsewhere the path names it.
    pub queue: Option<String>,
    /// The name of its type, such as `welcome_email`.
    pub kind: String,
    /// Its arguments: any JSON value; `{}` where left out.
    #[serde(borrow, default, deserialize_with = "super::raw::present")]
    pub args: Option<RawJson<'a>>,
    /// 0 to 9, 9 first; 0 where nobody says.
    #[serde(default, deserialize_with = "super::number::priority")]
    #[schema(minimum = 0, maximum = 9)]
    pub priority: Option<u8>,
    /// When it may start. Not together with `delay`.
    pub run_at: Option<InstantText>,
    /// How long after now it may start. Not together with `run_at`.
    pub delay: Option<DurationText>,
    /// Jobs with the same key run one at a time, in the order in which they were enqueued.
    pub ordering_key: Option<String>,
    /// The first run is the last one, whatever becomes of it. What a worker gives back with
    /// `release`, `snooze` or `seen` did not run.
    pub at_most_once: Option<bool>,
    /// Not started this long after it may first start, it expires. Not together with `expires_at`.
    pub ttl: Option<DurationText>,
    /// A job not started by then expires. Not together with `ttl`.
    pub expires_at: Option<InstantText>,
    /// The longest that one run may take.
    pub timeout: Option<DurationText>,
    /// How long a lease holds without a heartbeat, where the worker does not say.
    pub lease: Option<DurationText>,
    /// The delay before another attempt.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub retry: Option<RetryText>,
    /// Attempts in all, the first included.
    #[serde(default, deserialize_with = "super::number::attempts")]
    #[schema(minimum = 1)]
    pub max_attempts: Option<u32>,
    /// No attempt starts later than this after it may first start.
    pub max_age: Option<DurationText>,
    /// How long the outcome is kept.
    pub retain: Option<DurationText>,
    /// Names to find jobs by.
    #[serde(default, deserialize_with = "super::object::optional_names")]
    pub tags: Option<Vec<String>>,
    /// The producer's own JSON object, carried through.
    #[serde(borrow, default)]
    pub metadata: Option<RawJson<'a>>,
    /// W3C Trace Context, carried through.
    pub traceparent: Option<String>,
    /// Where its first run begins, any JSON value but `null`; left out, at the beginning.
    #[serde(borrow, default)]
    pub cursor: Option<RawJson<'a>>,
    /// At most one such job at a time.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub unique: Option<UniqueText>,
    /// The limit that counts it by a key.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub limit: Option<JobLimitText>,
    /// Further limits that count it by keys, each another one; four in all.
    #[serde(default, deserialize_with = "super::object::optional_few")]
    pub limits: Option<Vec<JobLimitText>>,
    /// Gates behind which it waits while they are closed. One that does not exist is open.
    #[serde(default, deserialize_with = "super::object::optional_names")]
    pub gates: Option<Vec<String>>,
    /// Whose it is: inside a queue and priority, tenants take turns.
    pub tenant: Option<String>,
    /// The version of its kind, from 1: only workers that run it get the job.
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

impl NewJob<'_> {
    /// A job of this kind and nothing else.
    pub fn of(kind: impl Into<String>) -> Self {
        Self {
            id: None,
            queue: None,
            kind: kind.into(),
            args: None,
            priority: None,
            run_at: None,
            delay: None,
            ordering_key: None,
            at_most_once: None,
            ttl: None,
            expires_at: None,
            timeout: None,
            lease: None,
            retry: None,
            max_attempts: None,
            max_age: None,
            retain: None,
            tags: None,
            metadata: None,
            traceparent: None,
            cursor: None,
            unique: None,
            limit: None,
            limits: None,
            gates: None,
            tenant: None,
            version: None,
        }
    }
}

/// Many jobs, enqueued all or none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnqueueBulk<'a> {
    /// The jobs, in order.
    #[serde(borrow, deserialize_with = "super::object::list")]
    #[schema(min_items = 1, max_items = 10_000)]
    pub jobs: Vec<NewJob<'a>>,
}

/// One job was accepted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EnqueueAnswer {
    /// Its id.
    pub id: JobIdText,
    /// Where its state is told: also in `Location`.
    pub status: String,
    /// The same request came before and had this effect already.
    pub replayed: bool,
    /// Another job is there, whose id this is: what became of the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<UniqueOutcome>,
}

/// Many jobs were accepted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EnqueueBulkAnswer {
    /// Their ids, in the order of the request.
    pub ids: Vec<JobIdText>,
    /// How many of them had been accepted by an earlier, equal request.
    pub replayed: u64,
    /// Those instead of which another job is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<UniqueMetText>,
}
