//! What the shard's thread, the flusher and the snapshots share: the tree and the current view.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use longshore_engine::Position;
use lsm_tree::{Table, Tree};

use crate::body_file::{BodyFile, KeyRange};
use crate::brief::Brief;
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
    /// What is not in the memtables yet.
    pub(crate) brief: Brief,
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
    pub(crate) bodies: Mutex<Bodies>,
    /// Tables that the view had before, as long as somebody reads them, with their version.
    past: Mutex<Vec<(u64, Weak<Tables>)>>,
    /// A full disk has interrupted a flush or compaction, and nothing was cleared up yet.
    pub(crate) untidy: AtomicBool,
}

/// The body files of the state on disk.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// Those that the tables name, by number.
    pub(crate) files: BTreeMap<u64, BodyFile>,
    /// Among which keys those of all their bodies are.
    pub(crate) keys: KeyRange,
    /// Of those, the ones that may have lost a pointer to a body of theirs.
    pub(crate) due: BTreeSet<u64>,
    /// Of those, the ones to which nothing points: the next flush takes them out of the tables.
    pub(crate) unused: BTreeSet<u64>,
    /// How many bytes of a file were given back since the start.
    pub(crate) given_back: BTreeMap<u64, u64>,
}

impl Bodies {
    /// All are due: whether a crash came before space was given back, only a look can tell.
    pub(crate) fn opened(files: Vec<BodyFile>, keys: KeyRange) -> Self {
        let due = files.iter().map(|file| file.number).collect();
        let files = files.into_iter().map(|file| (file.number, file)).collect();
        Self { files, keys, due, ..Self::default() }
    }
}

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        config: LsmConfig,
        tree: Tree,
        view: View,
        bodies: Bodies,
    ) -> Self {
        let written = AtomicU64::new(view.persisted.0);
        let known = Mutex::new(view.tables.iter().map(Table::id).collect());
        Self {
            dir,
            config,
            tree,
            view: Mutex::new(Arc::new(view)),
            brief: Brief::default(),
            written,
            flushing: Mutex::default(),
            compacting: Mutex::default(),
            publishing: Mutex::default(),
            known,
            bodies: Mutex::new(bodies),
            past: Mutex::default(),
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
        let tables = Tables::of(&self.dir, &self.tree);
        lock(&self.known).extend(tables.iter().map(Table::id));
        let current = Arc::clone(&self.view().tables);
        lock(&self.past).push((current.version(), Arc::downgrade(&current)));
        drop(current);
        let before = self.update(|view| {
            view.tables = Arc::new(tables);
            change(view);
        });
        outlast(&before);
    }

    /// Whether all who read have these tables or newer ones, perhaps after a moment.
    pub(crate) fn all_read(&self, tables: &Tables) -> bool {
        for _ in 0..READER_YIELDS_MAX {
            let mut past = lock(&self.past);
            past.retain(|(_, tables)| tables.strong_count() > 0);
            if past.iter().all(|(version, _)| *version >= tables.version()) {
                return true;
            }
            drop(past);
            std::thread::yield_now();
        }
        false
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
