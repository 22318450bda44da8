//! Workers as they are told to whoever asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind::KindVersions;
use super::{InstantText, JobIdText};

/// What was asked of a worker.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStateText {
    /// Nothing: it works.
    Working,
    /// It takes nothing more; what runs goes on to its end.
    Quiet,
    /// It takes nothing more, interrupts what can be interrupted, and leaves.
    Terminating,
}

impl WorkerStateText {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Quiet => "quiet",
            Self::Terminating => "terminating",
        }
    }
}

/// A queue that a worker wants.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerQueue {
    /// A name, `*` for all, or `prefix*` for all whose names begin so.
    pub queue: String,
    /// Its weight in the draw; 0 where queues are served in strict order.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A job that a worker runs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerRunRecord {
    /// The job.
    pub id: JobIdText,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// When its worker said that it runs.
    pub started_at: InstantText,
    /// How far it is, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// How far it is, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub progress_text: String,
}

/// A worker that has a stream, or had one a moment ago.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerRecord {
    /// Its name.
    pub name: String,
    /// Which life of it this is.
    pub session: String,
    /// Whether its stream is open; else it may still come back.
    pub connected: bool,
    /// What was asked of it.
    pub state: WorkerStateText,
    /// The machine that it runs on, as it says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// What it is built of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub software: String,
    /// Free words about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Only these kinds; empty: all but those that begin with `longshore.`.
    pub kinds: Vec<String>,
    /// Kinds in the versions that it runs, besides `kinds`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<KindVersions>,
    /// What it serves.
    pub queues: Vec<WorkerQueue>,
    /// How many jobs it runs at once.
    pub concurrency: u32,
    /// Since when its stream is open.
    pub connected_at: InstantText,
    /// When anything was heard of it.
    pub seen_at: InstantText,
    /// What its process occupies, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What it runs.
    pub running: Vec<WorkerRunRecord>,
    /// Jobs that it has and has not started.
    pub waiting: u64,
}

/// Workers of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerList {
    /// In the order of their names.
    pub workers: Vec<WorkerRecord>,
}
