//! The node: the shards of one store on threads, the folder of the store, the disk under it. It
//! knows nothing of a protocol: faces call it with commands and read on snapshots.

mod admission;
mod backup;
mod clock;
mod commit;
mod courier;
mod disk;
mod disk_watch;
mod flush;
mod gauge;
mod inbox;
mod journal_files;
mod manifest;
mod metrics;
mod node;
mod node_config;
mod node_stats;
mod recover;
mod restoring;
mod routing;
mod shard;
mod shard_thread;
mod shared;
mod store_dir;
mod store_watch;
mod stream_files;
#[cfg(test)]
mod tests;
mod unavailable;

pub use admission::{InFlight, Publishing};
pub use backup::{JournalPin, Source, SourceError};
pub use clock::wall_now;
pub use commit::EXIT_JOURNAL_FAILED;
pub use courier::{HandedJobs, HandedMessages, News, Subscriber, bytes_of};
pub use disk::{DiskProbe, FileSystem};
pub use gauge::{Gauge, GaugeFull, Held};
pub use longshore_engine::driver::{DiskLevel, DiskMarks, InboxLimits, Space};
pub use manifest::{Manifest, ManifestError, SHARDS_MAX};
pub use metrics::{HistogramView, ShardCounters};
pub use node::{EXIT_STORE_LOST, Node, OpenError, Subscription, Wire};
pub use node_config::{NodeConfig, StoreLost};
pub use node_stats::{NodeStats, Readiness, ShardNumbers};
pub use restoring::{LINE, Restoring, line_of};
pub use routing::shard_of;
pub use shared::ShardState;
pub use store_dir::{ShardDir, StoreDir, StoreDirError};
pub use unavailable::{Cause, Unavailable};
