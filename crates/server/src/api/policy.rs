//! Policies as they are told and set.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DurationText, OverflowText};

/// What a policy is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum PolicyTargetText {
    /// Queues of messages and exchanges.
    #[default]
    All,
    /// Queues of messages.
    Queues,
    /// Exchanges.
    Exchanges,
}

/// What holds for all names that a pattern matches, beside what was declared.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyBody {
    /// A regular expression that is found in the names that it is for.
    pub pattern: String,
    /// Which.
    #[serde(default)]
    pub apply_to: PolicyTargetText,
    /// Of those that match, the highest counts.
    #[serde(default)]
    pub priority: i64,
    /// How long a message is worth to be delivered, of those that enter from now on; the shorter
    /// one counts.
    pub ttl: Option<DurationText>,
    /// How long a queue stays that nobody uses; the shorter one counts.
    pub expires: Option<DurationText>,
    /// Messages that wait, at most; the lower one counts.
    pub max_length: Option<u64>,
    /// Bytes of bodies that wait, at most; the lower one counts.
    pub max_bytes: Option<u64>,
    /// What happens to one message more, where the queue drops its first otherwise.
    pub overflow: Option<OverflowText>,
    /// Where messages go that end without an ack, where the queue does not say.
    pub dead_letter_exchange: Option<String>,
    /// Their routing key then.
    pub dead_letter_routing_key: Option<String>,
    /// How often a message may come back; the lower one counts, unless the queue has the default.
    pub delivery_limit: Option<u32>,
    /// Where messages go that no binding takes, where the exchange does not say.
    pub alternate: Option<String>,
}

/// A policy.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PolicyRecord {
    /// Its name.
    pub name: String,
    /// What it says.
    pub settings: PolicyBody,
}

/// The policies of a namespace, in the order of their names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PolicyList {
    /// The policies.
    pub policies: Vec<PolicyRecord>,
}
