//! Which messages of a queue are meant, and where they are moved.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{HeadersBody, InstantText};

/// Messages that are as each of its parts says; one without parts means all.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageFilterBody {
    /// One of the routing keys; between dots `*` stands for one word, `#` for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Headers that they have, by name and value.
    #[serde(skip_serializing_if = "HeadersBody::is_empty")]
    #[schema(value_type = Object)]
    pub headers: HeadersBody,
    /// What the body contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Published at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<InstantText>,
    /// Published before this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<InstantText>,
    /// Why they ended the last time: `rejected`, `expired`, `maxlen` or `delivery_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The queue in which they ended the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub died_in: Option<String>,
}

/// Which messages of a queue are moved, and where: back to the queue in which each of them ended,
/// where neither a queue nor an exchange is named.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveRequest {
    /// The queue that they enter instead, as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_queue: Option<String>,
    /// The exchange that routes them instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_exchange: Option<String>,
    /// The key by which that exchange routes them; their own where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// So many at most, at least 1: those that would be handed out first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub limit: Option<u64>,
    /// Only these.
    pub filter: MessageFilterBody,
}
