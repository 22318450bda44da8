//! The knobs of one shard's tree. They change speed and memory, never what is on disk means.

use crate::identity::Identity;

/// How much memory one shard's tree may use, and how it writes its tables.
#[derive(Clone, Debug)]
pub struct LsmConfig {
    /// Whose state it is; checked against the files.
    pub identity: Identity,
    /// Estimated bytes in memory at which the active memtable is due for rotation.
    pub memtable_bytes: usize,
    /// Keys that are kept out of the memtables at most, since they are not expected to live for
    /// long, and bytes of them and their values. All are written when a memtable is sealed: the
    /// default takes about two milliseconds.
    pub brief_keys_max: usize,
    /// See `brief_keys_max`.
    pub brief_bytes_max: usize,
    /// How many sealed memtables may wait for their flush. Beyond it the shard has to wait.
    pub sealed_max: usize,
    /// Bytes of table blocks kept in memory.
    pub cache_bytes: u64,
    /// How many table files are kept open.
    pub open_files_max: usize,
    /// Bytes at which a compaction starts a new table. Up to four times as much where the state
    /// is large, so that there are not too many of them.
    pub table_bytes: u64,
    /// How many young tables are merged at once into those below.
    pub young_tables: u8,
    /// Values of at least so many bytes are kept apart from the tables, where no compaction
    /// rewrites them. The state can be read with any other setting as well.
    pub body_bytes_min: usize,
}

impl Default for LsmConfig {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            memtable_bytes: 24 << 20,
            brief_keys_max: 2048,
            brief_bytes_max: 1 << 20,
            sealed_max: 2,
            cache_bytes: 8 << 20,
            open_files_max: 64,
            table_bytes: 4 << 20,
            young_tables: 8,
            body_bytes_min: 32 << 10,
        }
    }
}
