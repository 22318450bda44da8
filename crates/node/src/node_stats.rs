//! How the node is, and its numbers, at one moment.

use crate::manifest::Manifest;
use crate::metrics::ShardCounters;
use crate::shared::{ShardShared, ShardState};
use longshore_engine::driver::Class;
use longshore_engine::driver::DiskLevel;

/// How the node is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Readiness {
    /// The shards in order.
    pub shards: Vec<ShardState>,
    /// The server is about to stop.
    pub draining: bool,
}

impl Readiness {
    /// Whether every shard has come through its start, be it to serve or to stop.
    pub fn is_started(&self) -> bool {
        !self.shards.iter().any(|state| {
            !matches!(state, ShardState::Serving | ShardState::Stopped { .. } | ShardState::Closed)
        })
    }

    /// Whether every shard serves and goes on doing so.
    pub fn is_ready(&self) -> bool {
        !self.draining && self.shards.iter().all(|state| *state == ShardState::Serving)
    }
}

/// Numbers of the node at one moment.
#[derive(Clone, Debug)]
pub struct NodeStats {
    /// What was fixed when the store was created.
    pub manifest: Manifest,
    /// The shards in order.
    pub shards: Vec<ShardNumbers>,
    /// Bytes of bodies in flight.
    pub in_flight_bytes: u64,
    /// Free bytes on the disk, when last looked at.
    pub disk_free_bytes: u64,
    /// What that means.
    pub disk: DiskLevel,
}

/// Numbers of one shard at one moment.
#[derive(Clone, Debug)]
pub struct ShardNumbers {
    /// How it is.
    pub state: ShardState,
    /// What happened in it.
    pub counters: ShardCounters,
    /// Calls that wait for their turn, by class.
    pub waiting_calls: [(&'static str, usize); 3],
    /// The highest durable position.
    pub durable: u64,
}

impl ShardNumbers {
    pub(crate) fn of(shard: &ShardShared) -> Self {
        let depth = shard.inbox.depth();
        Self {
            state: shard.state(),
            counters: shard.metrics.view(),
            waiting_calls: std::array::from_fn(|class| (Class::ALL[class].name(), depth[class])),
            durable: shard.durable().0,
        }
    }
}
