//! What workers say and hear: lease, settle, heartbeat.

use std::collections::BTreeMap;
use std::fmt;

use longshore_derive::sparse;
use serde::de;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::kind::KindVersions;
use super::record::ErrorText;
use super::skipped::{SkipText, Skips};
use super::{
    Counters, CountersTold, DurationText, InstantText, JobIdText, NewJob, Problem, RawJson,
    TokenText,
};

/// One turn of a worker's loop: settles what is done, then leases.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseRequest<'a> {
    /// Queues in strict order: a later one is served only where the earlier ones have nothing
    /// ready. `*` means all, `prefix*` all whose names begin so.
    #[serde(deserialize_with = "super::object::names")]
    #[schema(max_items = 256)]
    pub queues: Vec<String>,
    /// In place of `queues`: queues with weights of 1 to 1000. Which one is served first is drawn
    /// anew for each request, each with the chance that its weight has; the others follow where it
    /// has nothing ready, drawn in the same way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u32>,
    /// Only these kinds, of each only jobs without a version; left out, all but those that begin
    /// with `longshore.`.
    #[serde(deserialize_with = "super::object::optional_names")]
    #[schema(max_items = 1000)]
    pub kinds: Option<Vec<String>>,
    /// Kinds in the versions that the worker runs, besides `kinds`, which then mean jobs without a
    /// version. Where both are left out, every version is meant.
    #[serde(deserialize_with = "super::object::list")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1000)]
    pub versions: Vec<KindVersions>,
    /// How many jobs at most; 1 where left out, 0 only settles.
    #[schema(maximum = 1000)]
    pub max: Option<usize>,
    /// How long to wait for the first; not at all where left out.
    pub wait: Option<DurationText>,
    /// How long each lease holds without a heartbeat; left out, what the job or queue says.
    pub lease: Option<DurationText>,
    /// Who asks: a name for people, such as host and process.
    pub worker: Option<String>,
    /// Which life of that worker: something that no other life had.
    pub session: Option<String>,
    /// Grows per request of a worker's session. The same turn gets the same answer.
    pub turn: Option<u64>,
    /// The last turn whose answer arrived: jobs of later turns come back without an attempt.
    pub seen: Option<u64>,
    /// Runs that the worker finished.
    #[serde(borrow, deserialize_with = "super::object::list")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1000)]
    pub settle: Vec<SettlementText<'a>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictText {
    /// It succeeded.
    Ack,
    /// It failed: another attempt follows, if one is left.
    Fail,
    /// It is to run later; no attempt is used.
    Snooze,
    /// It goes back to its place; no attempt is used.
    Release,
    /// It is called off.
    Discard,
    /// It is to go on from its cursor; no attempt is used.
    Interrupt,
}

impl VerdictText {
    const ALL: [Self; 6] =
        [Self::Ack, Self::Fail, Self::Snooze, Self::Release, Self::Discard, Self::Interrupt];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Fail => "fail",
            Self::Snooze => "snooze",
            Self::Release => "release",
            Self::Discard => "discard",
            Self::Interrupt => "interrupt",
        }
    }
}

// By hand: serde's derive takes an object such as `{"ack": null}` for the word as well.
impl<'de> Deserialize<'de> for VerdictText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = VerdictText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ack, fail, snooze, release, discard or interrupt, as a string")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<VerdictText, E> {
                const WORDS: &[&str] =
                    &["ack", "fail", "snooze", "release", "discard", "interrupt"];
                let known = VerdictText::ALL.into_iter().find(|verdict| verdict.as_str() == word);
                known.ok_or_else(|| E::unknown_variant(word, WORDS))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The end of one run.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettlementText<'a> {
    /// The job.
    pub id: JobIdText,
    /// The lease that ends.
    pub token: TokenText,
    /// How.
    pub verdict: VerdictText,
    /// With `ack`: what the job returned, any JSON value.
    #[serde(borrow, default, deserialize_with = "super::raw::present")]
    pub result: Option<RawJson<'a>>,
    /// With `ack`: the resource that the job made.
    pub location: Option<String>,
    /// With `ack`: jobs that enter together with this end, all or none, each with its `queue`.
    #[serde(borrow, default, deserialize_with = "super::object::list")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 10_000)]
    pub enqueue: Vec<NewJob<'a>>,
    /// With `fail` and `discard`: what went wrong.
    pub error: Option<ErrorText>,
    /// With `fail`: the delay before another attempt, instead of the job's own.
    pub retry_in: Option<DurationText>,
    /// With `snooze` and `interrupt`: how much later.
    pub delay: Option<DurationText>,
    /// With `interrupt`: why, in a word such as `deploy`.
    #[serde(default, deserialize_with = "super::shown::text_if_any")]
    pub reason: Option<String>,
    /// With `ack`: when the schedule that enqueued the job is to fire next: so long after now. What
    /// follows goes on from there. Not together with `next_at`.
    pub next_in: Option<DurationText>,
    /// The same, at an instant.
    pub next_at: Option<InstantText>,
}

/// Many runs, each settled on its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest<'a> {
    /// The runs.
    #[serde(borrow, deserialize_with = "super::object::list")]
    #[schema(max_items = 1000)]
    pub settle: Vec<SettlementText<'a>>,
}

/// A run succeeded.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckRequest<'a> {
    /// The lease that ends.
    pub token: TokenText,
    /// What the job returned, any JSON value.
    #[serde(borrow, default, deserialize_with = "super::raw::present")]
    pub result: Option<RawJson<'a>>,
    /// The resource that the job made.
    pub location: Option<String>,
    /// Jobs that enter together with this end, all or none, each with its `queue`.
    #[serde(borrow, default, deserialize_with = "super::object::list")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 10_000)]
    pub enqueue: Vec<NewJob<'a>>,
    /// When the schedule that enqueued the job is to fire next: so long after now. What follows
    /// goes on from there. Not together with `next_at`.
    pub next_in: Option<DurationText>,
    /// The same, at an instant.
    pub next_at: Option<InstantText>,
}

/// A run failed.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    /// The lease that ends.
    pub token: TokenText,
    /// What went wrong.
    pub error: Option<ErrorText>,
    /// The delay before another attempt, instead of the job's own.
    pub retry_in: Option<DurationText>,
}

/// A run is to happen later.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnoozeRequest {
    /// The lease that ends.
    pub token: TokenText,
    /// How much later.
    pub delay: DurationText,
}

/// A run goes back to its place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The lease that ends.
    pub token: TokenText,
}

/// A job is called off by its worker.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscardRequest {
    /// The lease that ends.
    pub token: TokenText,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorText>,
}

/// A run is interrupted: another one goes on from its cursor.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InterruptRequest {
    /// The lease that ends.
    pub token: TokenText,
    /// Why, in a word: `deploy`, `max_runtime`, `quiet`, `terminate`, `pause`, `throttle` or
    /// another; `interrupt` where left out.
    #[serde(default, deserialize_with = "super::shown::text_if_any")]
    pub reason: Option<String>,
    /// How much later it may go on; left out, it goes back to its place.
    pub delay: Option<DurationText>,
}

/// How far a run has come. Durable before it is answered; extends the lease as a heartbeat does.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRequest<'a> {
    /// The lease, which is extended.
    pub token: TokenText,
    /// Grows per checkpoint of a run. One that is repeated or late then changes nothing; without
    /// it, the last one to arrive holds and counters of a repeated one count twice.
    pub seq: Option<u64>,
    /// How long the lease is to hold from now; left out, what it was granted with.
    pub lease: Option<DurationText>,
    /// Where another run is to begin, any JSON value but `null`; left out, where it was.
    #[serde(borrow, default)]
    pub cursor: Option<RawJson<'a>>,
    /// How far the job is, from 0 to 1.
    #[serde(default, deserialize_with = "super::shown::number_if_any")]
    #[schema(minimum = 0, maximum = 1)]
    pub progress: Option<f64>,
    /// How far the job is, in words.
    #[serde(default, deserialize_with = "super::shown::text_if_any")]
    pub progress_text: Option<String>,
    /// What is added to each counter.
    #[serde(default, skip_serializing_if = "CountersTold::is_empty")]
    #[schema(value_type = Counters)]
    pub counters: CountersTold,
    /// Items that the run gave up on.
    #[serde(borrow, default, skip_serializing_if = "Skips::is_empty")]
    #[schema(value_type = Vec<SkipText<'a>>, max_items = 1000)]
    pub skipped: Skips<'a>,
}

/// A worker is still at it.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The lease to extend.
    pub token: TokenText,
    /// How long it is to hold from now; left out, what it was granted with.
    pub lease: Option<DurationText>,
    /// How far the run is, from 0 to 1.
    #[serde(default, deserialize_with = "super::shown::number_if_any")]
    #[schema(minimum = 0, maximum = 1)]
    pub progress: Option<f64>,
    /// How far the run is, in words.
    #[serde(default, deserialize_with = "super::shown::text_if_any")]
    pub progress_text: Option<String>,
}

/// What the worker shall do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstructionText {
    /// Go on; the lease is extended.
    Continue,
    /// Stop: the job was cancelled.
    Cancel,
    /// Stop where another run can go on, and settle with `interrupt`.
    Interrupt,
    /// Go on, but wait first for as long as `slow_down` says.
    SlowDown,
}

/// The answer to a heartbeat or a checkpoint.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// The job.
    pub id: JobIdText,
    /// What to do.
    pub instruction: InstructionText,
    /// With `interrupt`: why.
    pub reason: Option<String>,
    /// With `slow_down`: how long to wait.
    pub slow_down: Option<DurationText>,
    /// The same in milliseconds.
    pub slow_down_ms: Option<u64>,
}

/// The answer to a turn.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LeaseAnswer<'a> {
    /// The jobs, in the order in which they are to start.
    #[serde(borrow)]
    pub jobs: Vec<LeasedJob<'a>>,
    /// What became of each settlement, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<SettledText>,
}

/// A job handed to a worker.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LeasedJob<'a> {
    /// The job.
    pub id: JobIdText,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// The version of its kind.
    pub version: Option<u32>,
    /// Its arguments, as the producer wrote them.
    #[serde(borrow)]
    pub args: RawJson<'a>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Attempts in all.
    pub max_attempts: u32,
    /// What settles this run.
    pub token: TokenText,
    /// How long the lease holds without a heartbeat.
    pub lease: DurationText,
    /// The same in milliseconds.
    pub lease_ms: u64,
    /// The longest that the run may take.
    pub timeout: Option<DurationText>,
    /// The same in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether this run is the only one. Once it has begun, the worker must not give it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
    /// When it was enqueued.
    pub enqueued_at: InstantText,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The producer's own JSON object.
    #[serde(borrow, default)]
    pub metadata: Option<RawJson<'a>>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// Where to go on: the last cursor that was saved.
    #[serde(borrow, default)]
    pub cursor: Option<RawJson<'a>>,
    /// How often its runs were interrupted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interruptions: u32,
    /// What its runs counted.
    #[serde(default, skip_serializing_if = "Counters::is_empty")]
    pub counters: Counters,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What became of one settlement: `settled`, or the `error`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SettledText {
    /// The job; `null` where the settlement names none that can be read.
    pub id: Option<JobIdText>,
    /// How the run ended: the first answer, where the settlement repeats one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<VerdictText>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<Problem>>,
}

/// The answer to many settlements.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SettleAnswer {
    /// What became of each, in order.
    pub settled: Vec<SettledText>,
}
