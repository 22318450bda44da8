//! Everything that writes and syncs files: flushes of sealed memtables and compactions. It runs
//! on threads of the caller's, never on the shard's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use longshore_engine::Position;
use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, InternalValue, Memtable};

use crate::error::{FlushError, StoreFault};
use crate::shared::{Shared, lock};
use crate::tables::Tables;
use crate::view::Sealed;

/// Clone it to flush on one thread and compact on another: a compaction may take seconds, and
/// flushes should not wait for it.
#[derive(Clone)]
pub struct Flusher {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Flusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flusher").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Flusher {
    /// Writes every sealed memtable whose position is at or below `durable` to disk, oldest
    /// first, and answers the position of the state on disk: the journal may be truncated up to
    /// and including it. `durable` must be durable in the journal: what is persisted here cannot
    /// be taken back.
    pub fn flush_sealed(&self, durable: Position) -> Result<Position, FlushError> {
        let _flushing = lock(&self.shared.flushing);
        loop {
            let view = self.shared.view();
            match view.sealed.first() {
                Some(sealed) if sealed.position <= durable => self.flush(sealed, &view.tables)?,
                _ => return Ok(view.persisted),
            }
        }
    }

    /// Does one step of compaction. Answers whether there may be more to do.
    pub fn compact(&self) -> Result<bool, FlushError> {
        let _compacting = lock(&self.shared.compacting);
        let before = self.shared.tree.current_version().id();
        let strategy =
            Arc::new(Leveled::default().with_table_target_size(self.shared.config.table_bytes));
        self.guarded(|| self.shared.tree.compact(strategy, u64::MAX))?;
        let after = self.shared.tree.current_version().id();
        if before == after {
            return Ok(false);
        }
        let _publishing = lock(&self.shared.publishing);
        let tables = Arc::new(Tables::of(&self.shared.tree));
        self.shared.update(|view| view.tables = tables);
        Ok(true)
    }

    fn flush(&self, sealed: &Sealed, below: &Tables) -> Result<(), FlushError> {
        let written = self.guarded(|| {
            self.shared.tree.flush_to_tables(newest_entries(&sealed.memtable, below))
        })?;
        let written = written.map(|(tables, _)| tables).unwrap_or_default();
        let _publishing = lock(&self.shared.publishing);
        self.guarded(|| self.shared.tree.register_tables(&written, None, None, &[], u64::MAX))?;
        let tables = Arc::new(Tables::of(&self.shared.tree));
        self.shared.update(|view| {
            view.tables = tables;
            view.sealed.remove(0);
            view.persisted = sealed.position;
        });
        Ok(())
    }

    /// Runs `action` on the tree and sorts out its errors. A panic in it is a fault as well.
    fn guarded<T>(&self, action: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T, FlushError> {
        let path = self.shared.dir.clone();
        match catch_unwind(AssertUnwindSafe(action)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(lsm_tree::Error::Io(source)))
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Err(FlushError::NoSpace { path, source })
            }
            Ok(Err(error)) => Err(StoreFault::new(path, format!("{error:?}")).into()),
            Err(panic) => Err(StoreFault::new(path, crate::open::panic_text(&*panic)).into()),
        }
    }
}

/// The newest entry of each key in a memtable. A tombstone is kept only where the tables `below`
/// have something for it to hide: what was added and removed in memory leaves no trace on disk.
fn newest_entries<'a>(
    memtable: &'a Memtable,
    below: &'a Tables,
) -> impl Iterator<Item = lsm_tree::Result<InternalValue>> + 'a {
    let mut last = None;
    memtable
        .iter()
        .filter(move |entry| {
            let newest = last.as_ref() != Some(&entry.key.user_key);
            if newest {
                last = Some(entry.key.user_key.clone());
            }
            newest
        })
        .filter_map(|entry| {
            if !entry.is_tombstone() {
                return Some(Ok(entry));
            }
            match below.get(&entry.key.user_key) {
                Ok(Some(hidden)) if !hidden.is_tombstone() => Some(Ok(entry)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        })
}
