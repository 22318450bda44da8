//! How the nodes of the enumeration are set up: every length as small as it may be, so that a few
//! dozen requests fill segments, flush the state, compact it and cut the journal.

use std::path::Path;
use std::time::Duration;

use longshore_journal::FileConfig;
use longshore_server::{DiskMarks, NodeConfig};
use longshore_store::LsmConfig;

/// A node of one shard in `data`.
pub fn config(data: &Path) -> NodeConfig {
    NodeConfig {
        shards: 1,
        journal: FileConfig {
            segment_bytes: 32 << 10,
            first_segment_bytes: 8 << 10,
            reserve_bytes: 16 << 10,
            frame_payload_bytes_max: 4 << 10,
            ..FileConfig::default()
        },
        lsm: LsmConfig {
            memtable_bytes: 12 << 10,
            table_bytes: 8 << 10,
            young_tables: 2,
            body_bytes_min: 800,
            ..LsmConfig::default()
        },
        disk: DiskMarks { warn_bytes: Some(0), refuse_bytes: Some(0), settle_only_bytes: Some(0) },
        reserve_bytes: 8 << 10,
        flush_age_max: Duration::from_millis(300),
        ..NodeConfig::new(data)
    }
}
