//! The verdict over what clients of Kafka's protocol saw: the anomalies that Jepsen's workload for
//! Kafka looks for (`jepsen.tests.kafka`), by its names. It knows nothing of how the clients
//! worked; a history is lines of JSON, one operation each.

mod judge;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use serde::Deserialize;

pub use judge::{Anomaly, judge};

/// How an operation ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It was acknowledged.
    Ok,
    /// It surely did not happen: a transaction that was aborted.
    Fail,
    /// Nobody knows.
    Info,
}

/// What an operation did, in its order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(tag = "did", rename_all = "lowercase")]
pub enum Step {
    /// An event was sent to a partition.
    Send {
        /// The partition.
        partition: u32,
        /// Where it is, as far as that was told.
        offset: Option<i64>,
        /// What it says; no two say the same.
        value: u64,
    },
    /// Events came, in this order.
    Poll {
        /// The partition.
        partition: u32,
        /// Their offsets and what they say.
        events: Vec<(i64, u64)>,
    },
}

/// One operation of one client: a transaction, or a single send or poll.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Operation {
    /// The client: it does one thing after the other.
    pub process: String,
    /// Polls of one position follow each other. A client that is assigned other partitions, or
    /// starts anew, has another one.
    pub position: u64,
    /// How it ended.
    pub fate: Fate,
    /// What it did.
    pub steps: Vec<Step>,
}

/// Reads a history.
///
/// # Errors
///
/// A line is no operation. The last line of a client that was killed may be cut: it is left out.
pub fn read(text: &str) -> Result<Vec<Operation>> {
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    whole
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no operation: {line}")))
        .collect()
}
