//! What the shard's thread, the flusher and the snapshots share: the tree and the current view.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_engine::Position;
use lsm_tree::{Table, Tree};

use crate::config::LsmConfig;
use crate::tables::Tables;
use crate::view::View;

/// How long a single read may hold on to a view, in turns of the scheduler.
const READER_YIELDS_MAX: u32 = 100;

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) config: LsmConfig,
    /// Written by the flusher only; read through `view` alone.
    pub(crate) tree: Tree,
    /// Locked for a moment only; whoever reads clones it first.
    view: Mutex<Arc<View>>,
    /// Every group up to this position is completely in the memtables.
    written: AtomicU64,
    /// Held while a memtable is flushed.
    pub(crate) flushing: Mutex<()>,
    /// Held while tables are compacted.
    pub(crate) compacting: Mutex<()>,
    /// Held while the tree's tables are taken over into the view. A flush holds it from the moment
    /// on where the tree knows its tables: no view may show them beside an older position.
    pub(crate) publishing: Mutex<()>,
    /// Tables that a published version named, and whose files therefore are not rubbish even
    /// where the current version does not name them: a snapshot may still need them.
    pub(crate) known: Mutex<BTreeSet<u64>>,
    /// A full disk has interrupted a flush or compaction, and nothing was cleared up yet.
    pub(crate) untidy: AtomicBool,
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, config: LsmConfig, tree: Tree, view: View) -> Self {
        let written = AtomicU64::new(view.persisted.0);
        let known = Mutex::new(view.tables.iter().map(Table::id).collect());
        Self {
            dir,
            config,
            tree,
            view: Mutex::new(Arc::new(view)),
            written,
            flushing: Mutex::default(),
            compacting: Mutex::default(),
            publishing: Mutex::default(),
            known,
            untidy: AtomicBool::new(false),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&lock(&self.view))
    }

    /// Replaces the view by what `change` makes of it, and answers the one before.
    pub(crate) fn update(&self, change: impl FnOnce(&mut View)) -> Arc<View> {
        let mut current = lock(&self.view);
        let mut view = View::clone(&current);
        change(&mut view);
        std::mem::replace(&mut *current, Arc::new(view))
    }

    /// Takes over the tree's tables into the view, and what else `change` does. `publishing` is
    /// held by the caller.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        // Before the view's lock is taken: the tree's own lock may be held over a sync.
        let tables = Tables::of(&self.tree);
        lock(&self.known).extend(tables.iter().map(Table::id));
        let before = self.update(|view| {
            view.tables = Arc::new(tables);
            change(view);
        });
        outlast(&before);
    }

    pub(crate) fn set_written(&self, position: Position) {
        self.written.store(position.0, Ordering::Release);
    }

    pub(crate) fn written(&self) -> Position {
        Position(self.written.load(Ordering::Acquire))
    }
}

/// Waits until nobody else holds `shared`, which nobody can get hold of any more, so that it is
/// freed on this thread: memtables take milliseconds and files are removed, for which the shard's
/// thread has no time. A snapshot may hold it for long; then its thread frees it.
pub(crate) fn outlast<T>(shared: &Arc<T>) {
    for _ in 0..READER_YIELDS_MAX {
        if Arc::strong_count(shared) == 1 {
            return;
        }
        std::thread::yield_now();
    }
}

/// Nothing is left half-changed by a panic under these locks, so poisoning means nothing here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
