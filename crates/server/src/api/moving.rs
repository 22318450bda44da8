//! Which messages of a queue are meant, and where they are moved.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{HeadersBody, InstantText};

/// Messages that are as each of its parts says; one without parts means all.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageFilterBody {
    /// One of the routing keys; between dots `*` stands for one word, `#` for any number.
    pub routing_key: Option<String>,
    /// Headers that they have, by name and value.
    #[serde(skip_serializing_if = "HeadersBody::is_empty")]
    #[schema(value_type = Object)]
    pub headers: HeadersBody,
    /// What the body contains.
    pub text: Option<String>,
    /// Published at this instant or later.
    pub since: Option<InstantText>,
    /// Published before this instant.
    pub until: Option<InstantText>,
    /// Why they ended the last time: `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: Option<String>,
    /// The queue in which they ended the last time.
    pub died_in: Option<String>,
}

/// Which messages of a queue are moved, and where: back to the queue in which each of them ended,
/// where neither a queue nor an exchange is named.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveRequest {
    /// The queue that they enter instead, as they are.
    pub to_queue: Option<String>,
    /// The exchange that routes them instead.
    pub to_exchange: Option<String>,
    /// The key by which that exchange routes them; their own where left out.
    pub routing_key: Option<String>,
    /// So many at most, at least 1: those that would be handed out first.
    #[schema(minimum = 1)]
    pub limit: Option<u64>,
    /// Only these.
    pub filter: MessageFilterBody,
}
