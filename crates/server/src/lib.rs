//! The server: HTTP and gRPC before a node, configuration, limits and metrics.

mod access;
mod amqp;
pub mod api;
mod base64;
pub mod config;
mod copies;
mod groups;
pub mod grpc;
pub mod http;
pub mod kafka;
mod key_events;
mod listener;
mod lots;
pub mod management;

mod pace;
mod running;
mod sparse;
mod stream_compaction;
mod stream_retention;
mod tls;
mod triggers;
mod unread;
mod workers;

pub use access::{Access, AccessConfig};
pub use amqp::AmqpConnections;
pub use copies::ShipConfig;
pub use groups::ConsumerGroups;
pub use http::preview_schedule;
pub use listener::{ListenError, Listener};
pub use longshore_engine::WorkerPatience;
pub use longshore_node::{
    Cause, DiskLevel, DiskMarks, DiskProbe, EXIT_JOURNAL_FAILED, EXIT_STORE_LOST, FileSystem,
    HistogramView, InFlight, InboxLimits, Manifest, ManifestError, Node, NodeConfig, NodeStats,
    OpenError, Publishing, Readiness, SHARDS_MAX, ShardCounters, ShardDir, ShardNumbers,
    ShardState, Space, StoreDir, StoreDirError, StoreLost, Unavailable, shard_of,
};
pub use pace::Pace;
pub use tls::{ClientCertificates, Exposed, Tls, TlsConfig, TlsError, check_exposure};
