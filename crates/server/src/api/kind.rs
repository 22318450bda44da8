//! Kinds and their versions: what workers run, what waits and runs of each.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::JobDefaultsBody;

/// Versions of a kind that a worker runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KindVersions {
    /// The name of the kind.
    pub kind: String,
    /// The first version; 0 stands for jobs without one.
    pub from: u32,
    /// The last version, which is part of it.
    pub to: u32,
}

/// One version of a kind.
#[sparse]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct KindRecord {
    /// The name of the kind.
    pub kind: String,
    /// The version; left out for jobs without one.
    pub version: Option<u32>,
    /// Jobs that wait, whatever for.
    pub waiting: u64,
    /// Jobs that a worker has.
    pub running: u64,
    /// Sessions of workers that run it, in whatever queue, or did a moment ago; left out where so
    /// many different sets of kinds are asked for that nobody can say cheaply.
    pub consumers: Option<u64>,
    /// Names of such workers, up to 100. Not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<String>,
}

/// Versions of kinds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct KindList {
    /// In the order of names and versions.
    pub kinds: Vec<KindRecord>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is set of a kind, in all of its versions.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KindSettingsBody {
    /// Options for jobs that do not say otherwise. They come before those of the queue.
    #[serde(deserialize_with = "super::object::required")]
    pub defaults: JobDefaultsBody,
}

/// A kind as a whole.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct KindWholeRecord {
    /// The name of the kind.
    pub kind: String,
    /// What is set of it.
    pub settings: KindSettingsBody,
    /// Gates on which it depends, by their names: `PUT /v1/gates/{name}` with `kinds`.
    pub gates: Vec<String>,
    /// Limits that count its jobs by themselves: `PUT /v1/limits/{name}` with `per` or `of`.
    pub limits: Vec<String>,
    /// Service levels that are about it: `PUT /v1/sla/{name}` with `on`.
    pub sla: Vec<String>,
    /// Its versions, in their order; none of a kind without jobs.
    pub kinds: Vec<KindRecord>,
}
