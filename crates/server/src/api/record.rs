//! Jobs as they are told to whoever asks: state, outcome, the whole record.

use std::fmt;

use longshore_derive::sparse;
use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::shown::{ShownText, in_words};
use super::{
    Counters, DurationText, InstantText, JobIdText, JobLimitRecord, JobTickRecord, RawJson,
    RetryText, UniqueRecord,
};

/// The state of a job.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum StateText {
    /// Waits for its time.
    Scheduled,
    /// Could run.
    Ready,
    /// A worker has it.
    Running,
    /// Waits for its next attempt after a failure.
    Retrying,
    /// Ended well.
    Succeeded,
    /// Failed for good.
    Dead,
    /// Called off.
    Cancelled,
    /// Not started in time.
    Expired,
}

impl StateText {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Ready,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether the job neither waits nor runs.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled | Self::Expired)
    }
}

impl fmt::Display for StateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What went wrong in an attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(default)]
pub struct ErrorText {
    /// The class of error, such as an exception's name.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// What it said. What is longer than is kept is cut.
    pub message: String,
    /// Where it was. What is longer than is kept is cut.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backtrace: String,
}

// By hand: it only informs, so anything is taken. What is no text is kept as it is written, and
// what is no object is the message.
impl<'de> Deserialize<'de> for ErrorText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ErrorText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ErrorText, A::Error> {
                let mut error = ErrorText::default();
                while let Some((name, value)) = map.next_entry::<ShownText, &'de RawValue>()? {
                    match name.0.as_str() {
                        "type" => error.kind = in_words(value.get()),
                        "message" => error.message = in_words(value.get()),
                        "backtrace" => error.backtrace = in_words(value.get()),
                        _ => {}
                    }
                }
                Ok(error)
            }
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        let read = serde_json::Deserializer::from_str(raw.get()).deserialize_map(Visitor);
        Ok(read.unwrap_or_else(|_| Self { message: in_words(raw.get()), ..Self::default() }))
    }
}

/// The temporary resource of a job: how it is doing.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct StatusRecord<'a> {
    /// The job.
    pub id: JobIdText,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// Its state.
    pub state: StateText,
    /// Why it is in this state, where that needs saying: `exhausted`, `max_age`, `lost`,
    /// `at_most_once` or `too_many_snoozes` for dead jobs, `asked`, `forced` or `discarded` for
    /// cancelled ones, `snoozed` or `interrupted` for scheduled ones that their worker put off.
    pub reason: Option<String>,
    /// It is held back until somebody resumes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// How many attempts it had.
    pub attempt: u32,
    /// How many it may have.
    pub max_attempts: u32,
    /// How far the run is, from 0 to 1.
    pub progress: Option<f64>,
    /// How far the run is, in words.
    pub progress_text: Option<String>,
    /// When it was enqueued.
    pub enqueued_at: InstantText,
    /// When its next attempt may start, while it waits.
    pub run_at: Option<InstantText>,
    /// When it ended.
    pub ended_at: Option<InstantText>,
    /// The last error.
    pub error: Option<ErrorText>,
    /// Where the result is, once the job has succeeded with one.
    pub result_url: Option<String>,
    /// What it returned: only in the answer to an enqueue that waited for it.
    #[serde(borrow, default, deserialize_with = "super::raw::present")]
    pub result: Option<RawJson<'a>>,
    /// The resource that the job made.
    pub location: Option<String>,
}

/// A job's lease, while it runs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LeaseRecord {
    /// Who runs it.
    pub worker: String,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// When its worker got it.
    pub started_at: InstantText,
    /// How long the lease holds without a heartbeat.
    pub lease: DurationText,
    /// Its worker has a stream and has not started it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Somebody asked to cancel the job.
    pub cancel_requested: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcomeText {
    /// Well.
    Succeeded,
    /// The worker said that it failed.
    Failed,
    /// It took longer than the job's `timeout`.
    Timeout,
    /// Its lease ran out.
    Lost,
    /// The worker called the job off.
    Discarded,
    /// The worker ended it because somebody had cancelled the job.
    Cancelled,
}

impl AttemptOutcomeText {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One attempt that has ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AttemptRecord {
    /// Which, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcomeText,
    /// Who ran it.
    pub worker: String,
    /// When it started.
    pub started_at: InstantText,
    /// When it ended.
    pub ended_at: InstantText,
    /// What the worker said, or how it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorText>,
}

/// Where a job begins that is retried.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRequest<'a> {
    /// There; `null` for at the beginning; left out, at the cursor that was saved last.
    #[serde(borrow, deserialize_with = "super::raw::present")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<RawJson<'a>>,
}

/// When a waiting job is to start; without a time, now.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RescheduleRequest {
    /// At this instant; one that has passed means now.
    pub run_at: Option<InstantText>,
    /// After so long, instead.
    pub delay: Option<DurationText>,
}

/// How far a job has come over all its runs.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default)]
pub struct CheckpointRecord<'a> {
    /// Where the next run begins; not kept once the job has ended other than dead.
    #[serde(borrow)]
    pub cursor: Option<RawJson<'a>>,
    /// What its runs counted.
    #[serde(skip_serializing_if = "Counters::is_empty")]
    pub counters: Counters,
    /// How often a run was interrupted.
    pub interruptions: u32,
    /// Why the last one was.
    pub interrupted_for: Option<String>,
    /// How long its runs took together, however they ended, the present one included.
    pub ran: DurationText,
    /// How many items were skipped.
    pub skipped_total: u64,
    /// How many counters could not be kept: no whole numbers, no names, or too many of them.
    pub counters_dropped: Option<u64>,
    /// The items that were skipped, as far as they are kept, the oldest first. Not in lists.
    pub skipped: Option<Vec<SkippedRecord<'a>>>,
}

/// An item that a job gave up on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SkippedRecord<'a> {
    /// Where it stands in the collection.
    #[serde(borrow)]
    pub cursor: RawJson<'a>,
    /// What went wrong.
    pub error: ErrorText,
    /// When it was told.
    pub at: InstantText,
}

/// What keeps a job from being handed out. One of the fields says what it is.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct BlockedByRecord {
    /// Its ordering key, where another job comes first.
    pub ordering_key: Option<String>,
    /// The job of that key that it waits for.
    pub job: Option<JobIdText>,
    /// What is paused: `job`, until it is resumed, or `queue`.
    pub paused: Option<String>,
    /// Nothing is left of this limit,
    pub limit: Option<String>,
    /// for this key, queue or kind.
    pub key: Option<String>,
    /// This gate is closed.
    pub gate: Option<String>,
    /// Why it is closed.
    pub reason: Option<String>,
    /// When it opens by itself.
    pub expires_at: Option<InstantText>,
    /// This tag is held; `reason` says why.
    pub hold: Option<String>,
    /// The hold's epoch.
    pub epoch: Option<u64>,
    /// This tenant, the job's own, has had its turn in the queue: other tenants come first.
    pub tenant: Option<String>,
    /// No worker runs this kind in the queue,
    pub no_worker_for: Option<String>,
    /// in this version; left out for jobs without one.
    pub version: Option<u32>,
}

/// The whole record of a job.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct JobRecord<'a> {
    /// The job.
    pub id: JobIdText,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// Its state.
    pub state: StateText,
    /// Why it is dead, cancelled or, where its worker put it off, scheduled.
    pub reason: Option<String>,
    /// It is held back until somebody resumes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What keeps it from being handed out while it waits, its time apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<BlockedByRecord>,
    /// Its arguments, while they are kept: until it has ended other than dead. Not in lists.
    #[serde(borrow, default, deserialize_with = "super::raw::present")]
    pub args: Option<RawJson<'a>>,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// How many attempts it had.
    pub attempt: u32,
    /// How many it may have.
    pub max_attempts: u32,
    /// How many leases in a row ran out.
    pub losses: u32,
    /// How often it was snoozed since it was enqueued, or since it was retried when dead.
    pub snoozes: u32,
    /// When it was enqueued.
    pub enqueued_at: InstantText,
    /// When it may or might start.
    pub run_at: InstantText,
    /// When it ended.
    pub ended_at: Option<InstantText>,
    /// When it expires unless started.
    pub expires_at: Option<InstantText>,
    /// No attempt starts later.
    pub deadline: Option<InstantText>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// Whether the first run is the last one.
    pub at_most_once: bool,
    /// The longest that one run may take.
    pub timeout: Option<DurationText>,
    /// The lease where the worker names none.
    pub lease: Option<DurationText>,
    /// The delay before another attempt.
    pub retry: RetryText,
    /// No attempt starts later than this after it may first start.
    pub max_age: Option<DurationText>,
    /// How long the outcome is kept, where its queue's default does not hold.
    pub retain: Option<DurationText>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The producer's own JSON object.
    #[serde(borrow, default)]
    pub metadata: Option<RawJson<'a>>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// How long the job counts as one of those that are unique, where it is one.
    pub unique: Option<UniqueRecord>,
    /// The limit that counts it by a key.
    pub limit: Option<JobLimitRecord>,
    /// The limits that count it by keys, where they are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<JobLimitRecord>,
    /// Gates behind which it waits while they are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// Whose it is: inside a queue and priority, tenants take turns.
    pub tenant: Option<String>,
    /// The version of its kind.
    pub version: Option<u32>,
    /// How far the run is, from 0 to 1.
    pub progress: Option<f64>,
    /// How far the run is, in words.
    pub progress_text: Option<String>,
    /// How far it has come, where a run said so or was interrupted.
    #[serde(borrow, default)]
    pub checkpoint: Option<CheckpointRecord<'a>>,
    /// Its lease, while it runs.
    pub running: Option<LeaseRecord>,
    /// The last error.
    pub error: Option<ErrorText>,
    /// What it returned, once it has succeeded. Not in lists.
    #[serde(borrow, default, deserialize_with = "super::raw::present")]
    pub result: Option<RawJson<'a>>,
    /// The resource that the job made.
    pub location: Option<String>,
    /// The attempts that did not succeed, as far as they are kept. Not in lists.
    pub attempts: Option<Vec<AttemptRecord>>,
    /// The slot of a schedule that it stands for.
    pub schedule: Option<JobTickRecord>,
}

/// A page of jobs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct JobList<'a> {
    /// The jobs, in the order in which they were enqueued; dead ones in the order of their death.
    #[serde(borrow)]
    pub jobs: Vec<JobRecord<'a>>,
    /// What to hand in as `cursor` for the next page; left out at the end. A page may be short or
    /// empty and still have a next one: its cost is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many jobs were looked at.
    pub examined: u64,
}

/// A job that has changed, as server-sent events tell it.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct JobEvent<'a> {
    /// The job as it is now, without its args, result and attempts.
    #[serde(borrow)]
    pub job: JobRecord<'a>,
    /// How much its progress grows per second, over the last minute at most; left out where that
    /// is not known.
    pub progress_per_second: Option<f64>,
    /// How long the rest takes at that speed.
    pub remaining: Option<DurationText>,
}
