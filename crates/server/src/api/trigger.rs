//! Triggers of streams, as they are told and set.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of the events of a stream by themselves: each becomes a job, once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerBody {
    /// The stream.
    pub stream: String,
    /// The queue of the jobs.
    pub queue: String,
    /// Their kind.
    pub kind: String,
    /// Whether jobs of events with the same key run one after the other; true where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    /// Their priority, 0 to 9; that of the queue where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Where a new trigger begins: `latest`, behind the events that are there, where left out, or
    /// `earliest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A trigger as it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TriggerRecord {
    /// Its name.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// The queue of the jobs.
    pub queue: String,
    /// Their kind.
    pub kind: String,
    /// Whether jobs of events with the same key run one after the other.
    pub ordered: bool,
    /// Their priority; that of the queue where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The group whose offsets say how far it has come.
    pub group: String,
}

/// All triggers of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TriggerList {
    /// In the order of their streams.
    pub triggers: Vec<TriggerRecord>,
}
