//! Stable pictures of the map for other threads than the shard's. Each holds on to the memtables
//! and tables that it needs, so writing, flushing and compaction go on beside it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::{Position, Reader};

use crate::body_file;
use crate::shared::{Shared, lock};
use crate::view::{Above, View};

/// Hands out snapshots. Cheap to clone and to share.
#[derive(Clone)]
pub struct Snapshots {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// The state at `durable`, the highest position known to be durable. Where more is known to be
    /// by now, or less was written, it is at that position: ask the snapshot. A snapshot keeps
    /// memory and files alive; do not hold it for long.
    pub fn at(&self, durable: Position) -> SnapshotReader {
        let shared = Arc::clone(&self.shared);
        let (view, position) = shared.brief.register(|oldest| {
            let written = shared.written();
            let view = shared.view();
            let position = durable.min(written).max(view.persisted).max(oldest);
            (view, position)
        });
        SnapshotReader { shared, view, position }
    }

    /// A file of the state on disk that is gone, if there is one in this part of them: they are
    /// looked at in so many parts. Who has such a file open reads it all the same.
    pub fn lost_file(&self, part: u64, parts: u64) -> Option<PathBuf> {
        let is_in_part = |number: u64| number % parts == part;
        let is_gone = |path: &Path| matches!(path.try_exists(), Ok(false));
        // Held, so that nothing that it names is removed meanwhile.
        let tables = Arc::clone(&self.shared.view().tables);
        let mut asked = tables.iter().filter(|table| is_in_part(table.id()));
        if let Some(table) = asked.find(|table| is_gone(&table.path)) {
            return Some(table.path.to_path_buf());
        }
        // Files of bodies are taken off this list and removed under its lock.
        let bodies = lock(&self.shared.bodies);
        let asked = bodies.files.keys().filter(|number| is_in_part(**number));
        let mut paths = asked.map(|number| body_file::path(&self.shared.dir, *number));
        paths.find(|path| is_gone(path))
    }
}

/// The map at one position. A storage fault unwinds with a `StoreFault`, as on the shard's thread.
pub struct SnapshotReader {
    shared: Arc<Shared>,
    view: Arc<View>,
    position: Position,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("position", &self.position).finish_non_exhaustive()
    }
}

impl SnapshotReader {
    /// The position whose state this is.
    pub fn position(&self) -> Position {
        self.position
    }
}

impl Drop for SnapshotReader {
    fn drop(&mut self) {
        self.shared.brief.unregister(self.position);
    }
}

impl Reader for SnapshotReader {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.view.get(key, self.position, Some(Above::Snapshot(&self.shared.brief)))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        let above = Above::Snapshot(&self.shared.brief);
        self.view.scan(from, to, self.position, above, visit);
    }
}
