//! Problem details (RFC 9457): the one form of every refusal.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was refused.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default)]
pub struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, in words that never change.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The permanent code, as in `docs/errors.md`.
    pub code: String,
    /// What happened this time.
    pub detail: String,
    /// The field at fault.
    pub field: Option<String>,
    /// What was given, cut where it is long.
    pub value: Option<String>,
    /// What may be given.
    pub allowed: Option<String>,
    /// The jobs of a bulk that are at fault, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<JobFault>,
}

/// What is wrong with one job of a bulk.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default)]
pub struct JobFault {
    /// Its index in the request, from 0.
    pub index: usize,
    /// The permanent code.
    pub code: String,
    /// What is wrong.
    pub detail: String,
    /// The field at fault.
    pub field: Option<String>,
    /// What was given, cut where it is long.
    pub value: Option<String>,
    /// What may be given.
    pub allowed: Option<String>,
}
