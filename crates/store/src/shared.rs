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

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) config: LsmConfig,
    /// Written by the flusher only; read through `view` alone.
    pub(crate) tree: Tree,
    view: Mutex<Arc<View>>,
    /// Grows with every change of `view`, so that the shard's thread sees one without the lock.
    generation: AtomicU64,
    /// Every group up to this position is completely in the memtables.
    written: AtomicU64,
    /// Held while a memtable is flushed.
    pub(crate) flushing: Mutex<()>,
    /// Held while tables are compacted.
    pub(crate) compacting: Mutex<()>,
    /// Held while the tree's tables are taken over into the view. A flush holds it from the moment
    /// on where the tree knows its tables: no view may show them beside an older position.
    pub(crate) publishing: Mutex<()>,
    /// Views that the shard's thread is done with. Freeing their memtables takes milliseconds,
    /// so the flusher does it.
    retired: Mutex<Vec<Arc<View>>>,
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
            generation: AtomicU64::new(0),
            written,
            flushing: Mutex::default(),
            compacting: Mutex::default(),
            publishing: Mutex::default(),
            retired: Mutex::default(),
            known,
            untidy: AtomicBool::new(false),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&lock(&self.view))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Replaces the view by what `change` makes of it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut View)) -> Arc<View> {
        let mut current = lock(&self.view);
        let mut view = View::clone(&current);
        change(&mut view);
        *current = Arc::new(view);
        self.generation.fetch_add(1, Ordering::Release);
        Arc::clone(&current)
    }

    /// Takes a view off the shard's thread.
    pub(crate) fn retire(&self, view: Arc<View>) {
        lock(&self.retired).push(view);
    }

    /// Frees what the shard's thread has retired.
    pub(crate) fn free_retired(&self) {
        drop(std::mem::take(&mut *lock(&self.retired)));
    }

    /// Takes over the tree's tables into the view, and what else `change` does. `publishing` is
    /// held by the caller.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        // Before the view's lock is taken: the tree's own lock may be held over a sync.
        let tables = Tables::of(&self.tree);
        lock(&self.known).extend(tables.iter().map(Table::id));
        self.update(|view| {
            view.tables = Arc::new(tables);
            change(view);
        });
    }

    pub(crate) fn set_written(&self, position: Position) {
        self.written.store(position.0, Ordering::Release);
    }

    pub(crate) fn written(&self) -> Position {
        Position(self.written.load(Ordering::Acquire))
    }
}

/// Nothing is left half-changed by a panic under these locks, so poisoning means nothing here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
