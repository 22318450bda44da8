//! Queues, operations, namespaces and health as they are told and set.

use std::collections::BTreeMap;

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    DurationText, InstantText, JobFilterBody, MessageQueueRecord, MessageSettingsBody, RetryText,
};

/// What holds for a queue from now on. What is left out is reset.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettingsBody {
    /// Hands out nothing while set.
    pub paused: bool,
    /// Jobs that may wait or run; beyond it enqueueing is refused.
    pub max_length: Option<u64>,
    /// Options for jobs that do not say otherwise.
    #[serde(deserialize_with = "super::object::required")]
    pub defaults: JobDefaultsBody,
    /// What holds for a queue of messages: it is of that type where this stands here, and the
    /// others are left out.
    #[serde(deserialize_with = "super::object::optional")]
    pub messages: Option<MessageSettingsBody>,
    /// How many jobs of a tenant start in one of its turns, by its name; 1 where nothing is said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, u32>,
    /// The exchange to which the end of each job is published, with the routing key
    /// `state.queue.kind`.
    pub outcomes: Option<String>,
}

/// Options for jobs that do not say otherwise.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobDefaultsBody {
    /// 0 to 9, 9 first.
    #[serde(deserialize_with = "super::number::priority")]
    #[schema(minimum = 0, maximum = 9)]
    pub priority: Option<u8>,
    /// How long a lease holds without a heartbeat.
    pub lease: Option<DurationText>,
    /// The longest that one run may take.
    pub timeout: Option<DurationText>,
    /// The delay before another attempt.
    #[serde(deserialize_with = "super::object::optional")]
    pub retry: Option<RetryText>,
    /// Attempts in all, the first included.
    #[serde(deserialize_with = "super::number::attempts")]
    #[schema(minimum = 1)]
    pub max_attempts: Option<u32>,
    /// No attempt starts later than this after the job may first start.
    pub max_age: Option<DurationText>,
    /// Not started this long after it may first start, a job expires.
    pub ttl: Option<DurationText>,
    /// How long outcomes are kept.
    pub retain: Option<DurationText>,
}

/// A queue at one moment.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct QueueRecord {
    /// Its name.
    pub name: String,
    /// What it holds: `jobs` or `messages`.
    #[serde(default, rename = "type")]
    pub holds: String,
    /// What its owner set.
    pub settings: QueueSettingsBody,
    /// What there is to tell of a queue of messages; the counts of jobs are 0 then.
    pub messages: Option<MessageQueueRecord>,
    /// Jobs that could run now.
    pub ready: u64,
    /// Jobs that wait for their time.
    pub scheduled: u64,
    /// Jobs that wait for their next attempt.
    pub retrying: u64,
    /// Jobs that wait behind another one of their ordering key, are paused, or have a tag that is
    /// held.
    pub blocked: u64,
    /// Jobs that a worker with a stream has and has not started.
    #[serde(default)]
    pub held: u64,
    /// Jobs that a worker has otherwise: those that run.
    pub running: u64,
    /// Jobs that failed for good.
    pub dead: u64,
    /// How long the oldest ready job has been ready.
    pub oldest_age: Option<DurationText>,
    /// Workers that asked for this queue lately, whatever kinds they asked for.
    pub consumers: u64,
    /// Kinds of waiting jobs that no worker asked for lately, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconsumed_kinds: Vec<String>,
    /// Jobs enqueued since the queue was created.
    pub enqueued_total: u64,
    /// Jobs that succeeded since then.
    pub succeeded_total: u64,
    /// Attempts that failed since then.
    pub failed_total: u64,
    /// Jobs that died since then.
    pub dead_total: u64,
    /// Jobs cancelled, discarded or expired since then.
    pub cancelled_total: u64,
    /// Jobs enqueued per second, over about the last minute.
    pub enqueued_per_second: Option<f64>,
    /// Jobs succeeded per second, over about the last minute.
    pub succeeded_per_second: Option<f64>,
}

/// A page of queues, in the order of their names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct QueueList {
    /// The queues.
    pub queues: Vec<QueueRecord>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which dead jobs are to be tried again.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryDeadRequest {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only jobs that died longer ago than this. Not together with `before`.
    pub older_than: Option<DurationText>,
    /// Only jobs that died before this instant.
    pub before: Option<InstantText>,
    /// So many of them at most, at least 1: those that died first. Of all queues the one after the
    /// other.
    #[schema(minimum = 1)]
    pub limit: Option<u64>,
}

/// What a purge is to touch.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeRequest {
    /// The dead jobs of the queue instead of the waiting ones.
    pub dead: bool,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only jobs that were enqueued (dead ones: died) longer ago than this. Not together with
    /// `before`.
    pub older_than: Option<DurationText>,
    /// Only jobs that were enqueued (dead ones: died) before this instant.
    pub before: Option<InstantText>,
    /// So many dead ones at most, at least 1: those that died first. Only together with `dead`.
    #[schema(minimum = 1)]
    pub limit: Option<u64>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStateText {
    /// Only counted, not started: `?dry_run=true`.
    DryRun,
    /// Under way.
    Running,
    /// Everything that matched is done.
    Finished,
    /// Stopped when asked; what was done stays done.
    Cancelled,
}

/// What touches many jobs.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct OperationRecord {
    /// Its id; left out for a dry run.
    pub id: Option<String>,
    /// `purge_queue`, `retry_dead`, `purge_dead`, `delete_queue` or `move_messages`; or of one that
    /// a filter says which jobs it is about, `retry_jobs`, `cancel_jobs`, `move_jobs`,
    /// `remove_jobs` or `set_priority`.
    pub operation: String,
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only what was enqueued, or died, before this instant.
    pub before: Option<InstantText>,
    /// Which jobs, where a filter says so; its ages stand here as instants.
    pub filter: Option<JobFilterBody>,
    /// So many of them at most.
    pub limit: Option<u64>,
    /// How far it is.
    pub state: OperationStateText,
    /// How many jobs could match when it started: an upper bound.
    pub candidates: u64,
    /// How many it looked at.
    pub examined: u64,
    /// How many it changed; of a dry run, how many match.
    pub changed: u64,
    /// The queue that messages or jobs are moved to.
    pub to_queue: Option<String>,
    /// The exchange that messages are moved to.
    pub to_exchange: Option<String>,
    /// The priority that jobs get.
    pub priority: Option<u8>,
    /// Runs are ended without asking their workers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Messages that were to be moved, or jobs that were to be changed, and stay as they are.
    pub kept: Option<u64>,
    /// Why the first of them stays.
    pub kept_why: Option<String>,
    /// From 0 to 1.
    pub progress: f64,
    /// When it started.
    pub started_at: Option<InstantText>,
    /// When it ended.
    pub ended_at: Option<InstantText>,
}

/// The operations of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct OperationList {
    /// The newest first.
    pub operations: Vec<OperationRecord>,
}

/// A namespace at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct NamespaceRecord {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: InstantText,
    /// How many queues it has.
    pub queues: u64,
    /// Bytes of outcomes kept.
    pub outcome_bytes: u64,
    /// Bytes of dead jobs kept.
    pub dead_bytes: u64,
    /// Ids of forgotten jobs that are still remembered.
    pub tombstones: u64,
    /// Ids that were forgotten before their time because there were too many.
    pub tombstones_dropped_total: u64,
    /// How many schedules it has.
    #[serde(default)]
    pub schedules: u64,
}

/// A shard that did not answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct UnreachableShard {
    /// Which.
    pub shard: u64,
    /// Why.
    pub reason: String,
}

/// A page of the namespaces of the node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct NamespaceList {
    /// In the order of their names.
    pub namespaces: Vec<NamespaceRecord>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Shards whose namespaces could not be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<UnreachableShard>,
}

/// What a shard does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// Reads its journal.
    Replaying,
    /// Waits until the disk has space for what a start writes.
    WaitingForSpace,
    /// Answers.
    Serving,
    /// Has stopped, alone.
    Stopped,
}

/// The health of a shard.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ShardHealth {
    /// Which.
    pub shard: u64,
    /// What it does.
    pub state: ShardState,
    /// How much of the replay is done, from 0 to 1.
    pub progress: Option<f64>,
    /// Why it has stopped.
    pub reason: Option<String>,
}

/// The health of the node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HealthAnswer {
    /// Whether what was asked for holds.
    pub ok: bool,
    /// In words.
    pub status: String,
    /// Each shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardHealth>,
}
