//! Holds of tags as they are asked for and told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{InstantText, JobIdText, TokenText};

/// Why a tag is to be held.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A run of a job with a tag that is held.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HeldRunRecord {
    /// The job.
    pub job: JobIdText,
    /// Its lease.
    pub token: TokenText,
    /// Who has it.
    pub worker: String,
}

/// A run that ended without its worker while a tag of its job was held.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct UnaccountedRunRecord {
    /// The job.
    pub job: JobIdText,
    /// The lease that it had.
    pub token: TokenText,
    /// Who had it.
    pub worker: String,
    /// When it was granted.
    pub started_at: InstantText,
    /// When the server gave it up.
    pub ended_at: InstantText,
}

/// A hold as it is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HoldRecord {
    /// The tag.
    pub tag: String,
    /// Higher than that of every hold before it, of whatever tag: to fence data with.
    pub epoch: u64,
    /// Since when it stands.
    pub since: InstantText,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether every lease with the tag was given back, but for the unaccounted ones.
    pub quiet: bool,
    /// Leases of jobs with the tag that were not given back yet.
    pub running: u64,
    /// How many runs with the tag ended without their workers since it is held.
    pub unaccounted_total: u64,
    /// Those that run, 1000 at most. Not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<HeldRunRecord>,
    /// Those that are unaccounted, 1000 at most. Not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unaccounted: Vec<UnaccountedRunRecord>,
}

/// All holds of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HoldList {
    /// In the order of their tags.
    pub holds: Vec<HoldRecord>,
}
