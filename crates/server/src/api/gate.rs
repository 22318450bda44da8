//! Gates as they are set and told.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DurationText, InstantText};

/// A gate as its owner sets it.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateBody {
    /// Whether nothing starts behind it. Left out, it stays as it is, and a new one is open.
    pub closed: Option<bool>,
    /// Why it is closed, in words.
    pub reason: Option<String>,
    /// It opens by itself so long after now. Not together with `expires_at`.
    pub expires_in: Option<DurationText>,
    /// It opens by itself then. Not together with `expires_in`.
    pub expires_at: Option<InstantText>,
    /// Queues whose jobs depend on it, beside jobs that name it. Left out, none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// Kinds whose jobs depend on it. Left out, none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
}

/// Why and for how long a gate is closed.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseGateRequest {
    /// Why, in words.
    pub reason: Option<String>,
    /// It opens by itself so long after now. Not together with `expires_at`.
    pub expires_in: Option<DurationText>,
    /// It opens by itself then. Not together with `expires_in`.
    pub expires_at: Option<InstantText>,
}

/// A gate as it is told.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GateRecord {
    /// Its name.
    pub name: String,
    /// Whether nothing starts behind it.
    pub closed: bool,
    /// Since when it is so.
    pub since: InstantText,
    /// Why it is closed.
    pub reason: Option<String>,
    /// When it opens by itself.
    pub expires_at: Option<InstantText>,
    /// Queues whose jobs depend on it, beside jobs that name it.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Kinds whose jobs depend on it.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Jobs that run and depend on it.
    pub running: u64,
}

/// All gates of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GateList {
    /// In the order of their names.
    pub gates: Vec<GateRecord>,
}
