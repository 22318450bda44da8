//! Triggers of streams, as they are told and set.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of the events of a stream by themselves: each becomes a job or a message, once.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerBody {
    /// The stream.
    pub stream: String,
    /// The queue of the jobs or messages.
    pub queue: String,
    /// The kind of the jobs; left out where the queue has messages.
    pub kind: Option<String>,
    /// Whether jobs of events with the same key run one after the other; true where left out.
    /// Messages enter in the order of the events; their queue says who waits for whom.
    pub ordered: Option<bool>,
    /// The priority of the jobs, 0 to 9; that of the queue where left out. Of messages up to 255;
    /// what the event says where left out.
    pub priority: Option<u8>,
    /// Where a new trigger begins: `latest`, behind the events that are there, where left out, or
    /// `earliest`.
    pub from: Option<String>,
}

/// A trigger as it is.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TriggerRecord {
    /// Its name.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// The queue of the jobs or messages.
    pub queue: String,
    /// The kind of the jobs; left out where the queue has messages.
    pub kind: Option<String>,
    /// Whether jobs of events with the same key run one after the other.
    pub ordered: bool,
    /// Their priority; that of the queue, or what the event says, where left out.
    pub priority: Option<u8>,
    /// The group whose offsets say how far it has come.
    pub group: String,
    /// It is a replay, and ends with these offsets, one for each partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until: Vec<u64>,
}

/// Which events of a stream are to become jobs or messages once more.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// The queue of the jobs or messages.
    pub queue: String,
    /// The kind of the jobs; left out where the queue has messages.
    pub kind: Option<String>,
    /// Whether jobs of events with the same key run one after the other; true where left out.
    pub ordered: Option<bool>,
    /// Their priority, as with a trigger.
    pub priority: Option<u8>,
    /// Where it begins: `earliest`, where left out, or an instant.
    pub from: Option<String>,
    /// Only this partition.
    pub partition: Option<u32>,
    /// Where it begins in that partition, instead of `from`.
    pub offset: Option<u64>,
}

/// A replay that has begun.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ReplayRecord {
    /// The name of the trigger that it is while it lasts; left out where there is no event for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// How many offsets there are from its beginning to its end: with compaction or transactions
    /// some of them hold no event.
    pub events: u64,
}

/// All triggers of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TriggerList {
    /// In the order of their streams.
    pub triggers: Vec<TriggerRecord>,
}
