//! The server: shards on threads, the HTTP face before them, configuration, limits and metrics.

pub mod api;
pub mod config;
pub mod grpc;
pub mod http;
pub mod kafka;

mod admission;
mod class;
mod clock;
mod commit;
mod courier;
mod disk;
mod disk_watch;
mod flush;
mod inbox;
mod journal_files;
mod manifest;
mod metrics;
mod node;
mod node_config;
mod node_stats;
mod pace;
mod recover;
mod routing;
mod running;
mod shard;
mod shard_thread;
mod shared;
mod store_dir;
mod store_watch;
mod stream_files;
mod stream_retention;
#[cfg(test)]
mod tests;
mod unavailable;
mod workers;

pub use admission::{InFlight, Publishing};
pub use commit::EXIT_JOURNAL_FAILED;
pub use disk::{DiskLevel, DiskMarks, DiskProbe, FileSystem, Space};
pub use inbox::InboxLimits;
pub use manifest::{Manifest, ManifestError, SHARDS_MAX};
pub use metrics::{HistogramView, ShardCounters};
pub use node::{EXIT_STORE_LOST, Node, OpenError};
pub use node_config::{NodeConfig, StoreLost};
pub use node_stats::{NodeStats, Readiness, ShardNumbers};
pub use pace::Pace;
pub use routing::shard_of;
pub use shared::ShardState;
pub use store_dir::{ShardDir, StoreDir, StoreDirError};
pub use unavailable::{Cause, Unavailable};
