//! How a node is set up. Where the values come from is not its concern.

use std::path::PathBuf;
use std::time::Duration;

use longshore_engine::Limits;
use longshore_journal::FileConfig;
use longshore_store::LsmConfig;

use longshore_engine::driver::DiskMarks;
use longshore_engine::driver::InboxLimits;

/// What is done when the folder of the store is gone or replaced while the store is open. Either
/// way nothing more is acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreLost {
    /// The shards stop and say why: for a node that is a part of another program.
    StopShards,
    /// The process ends with [`EXIT_STORE_LOST`](crate::EXIT_STORE_LOST).
    EndProcess,
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The folder of the store.
    pub dir: PathBuf,
    /// Number of shards of a new store; an existing one keeps its own. Default: 2.
    pub shards: u32,
    /// Namespaces that are created where they do not exist. Default: `default`.
    pub namespaces: Vec<String>,
    /// Bounds of the engine.
    pub limits: Limits,
    /// Lengths of each shard's journal; whose it is, is filled in.
    pub journal: FileConfig,
    /// Memory and tables of each shard's state.
    pub lsm: LsmConfig,
    /// What may wait for each shard.
    pub inbox: InboxLimits,
    /// Marks of the disk's room.
    pub disk: DiskMarks,
    /// Space kept for settlements and flushes on a full disk; 0 for none. Default: 64 MiB.
    pub reserve_bytes: u64,
    /// What is done when the folder vanishes. Default: the shards stop.
    pub store_lost: StoreLost,
    /// Bytes of bodies that may be in flight; beyond it publishing is refused. Default: 256 MiB.
    pub in_flight_bytes_max: u64,
    /// Bytes of journal after which the state is flushed. Default: 256 MiB.
    pub flush_journal_bytes_max: u64,
    /// Age of a change after which the state is flushed. Default: 60 s.
    pub flush_age_max: Duration,
    /// Reads that may be under way at the same time. Default: 16.
    pub reads_max: usize,
}

impl NodeConfig {
    /// The defaults for the store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            shards: 2,
            namespaces: vec!["default".into()],
            limits: Limits::default(),
            journal: FileConfig::default(),
            lsm: LsmConfig::default(),
            inbox: InboxLimits::default(),
            disk: DiskMarks::DEFAULT,
            reserve_bytes: 64 << 20,
            store_lost: StoreLost::StopShards,
            in_flight_bytes_max: 256 << 20,
            flush_journal_bytes_max: 256 << 20,
            flush_age_max: Duration::from_secs(60),
            reads_max: 16,
        }
    }
}
