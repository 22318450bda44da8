//! Everything that writes and syncs files: flushes of sealed memtables and compactions. It runs
//! on threads of the caller's, never on the shard's.

use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use longshore_engine::Position;
use lsm_tree::AbstractTree;
use lsm_tree::compaction::Leveled;

use crate::error::{FlushError, StoreFault, words_of};
use crate::flush::Flush;
use crate::open::panic_text;
use crate::shared::{Shared, lock, outlast};
use crate::tables::Tables;
use crate::view::Sealed;
use crate::{body_file, check};

/// Beyond so many runs of young tables a flush first waits for a compaction: reads look into each
/// of them, and a version file has room for 255.
const YOUNG_RUNS_MAX: usize = 24;

/// Beyond about so many tables they are made larger.
const TABLES_AIM: u64 = 512;

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
        self.tidy()?;
        let flushed = self.flush_all(durable);
        self.settled(flushed)
    }

    /// Does one step of compaction. Answers whether there may be more to do.
    pub fn compact(&self) -> Result<bool, FlushError> {
        self.tidy()?;
        let compacted = self.compact_once();
        self.settled(compacted)
    }

    /// Whether a sealed memtable waits that `flush_sealed(durable)` would write.
    pub fn has_work(&self, durable: Position) -> bool {
        self.shared.view().sealed.first().is_some_and(|sealed| sealed.position <= durable)
    }

    /// The position of the state on disk, as `Lsm::persisted_position`.
    pub fn persisted_position(&self) -> Position {
        self.shared.view().persisted
    }

    fn flush_all(&self, durable: Position) -> Result<Position, FlushError> {
        let _flushing = lock(&self.shared.flushing);
        loop {
            let view = self.shared.view();
            let Some(sealed) = view.sealed.first().filter(|sealed| sealed.position <= durable)
            else {
                return Ok(view.persisted);
            };
            let (sealed, below) = (sealed.clone(), Arc::clone(&view.tables));
            drop(view);
            self.flush(&sealed, &below)?;
        }
    }

    fn flush(&self, sealed: &Sealed, below: &Tables) -> Result<(), FlushError> {
        let tree = &self.shared.tree;
        while tree.l0_run_count() >= YOUNG_RUNS_MAX && self.compact_once()? {}
        let bodies = lock(&self.shared.bodies);
        let (unused, body_keys) = (bodies.unused.clone(), bodies.keys.clone());
        drop(bodies);
        let body_bytes_min = self.shared.config.body_bytes_min;
        let mut flush = Flush::new(sealed, below, body_bytes_min, &unused, &body_keys);
        self.guarded(|| flush.write_bodies(&self.shared.dir).map_err(lsm_tree::Error::Io))?;
        let written = self.guarded(|| tree.flush_to_tables(flush.entries()))?;
        let written = written.map(|(tables, _)| tables).unwrap_or_default();
        let _publishing = lock(&self.shared.publishing);
        self.guarded(|| tree.register_tables(&written, None, None, &[], u64::MAX))?;
        self.shared.publish(|view| {
            view.sealed.remove(0);
            view.persisted = sealed.position;
        });
        let mut bodies = lock(&self.shared.bodies);
        bodies.files.extend(flush.file.map(|file| (file.number, file)));
        bodies.keys.extend_by(&flush.file_keys);
        bodies.due.extend(flush.touched);
        for number in unused {
            bodies.unused.remove(&number);
            bodies.files.remove(&number);
            bodies.given_back.remove(&number);
            // What stays of it is removed at the next start.
            let _ = fs::remove_file(body_file::path(&self.shared.dir, number));
        }
        drop(bodies);
        outlast(&sealed.memtable);
        Ok(())
    }

    fn compact_once(&self) -> Result<bool, FlushError> {
        let _compacting = lock(&self.shared.compacting);
        let tree = &self.shared.tree;
        let strategy = self.strategy();
        let before = tree.current_version().id();
        // Only the newest entry of a key is ever read from tables: a snapshot keeps its own.
        match self.guarded(|| tree.compact(Arc::new(strategy), u64::MAX)) {
            Err(FlushError::Fault(fault)) => return Err(self.located(fault).into()),
            compacted => compacted?,
        }
        if before == tree.current_version().id() {
            return Ok(false);
        }
        let _publishing = lock(&self.shared.publishing);
        self.shared.publish(|_| {});
        Ok(true)
    }

    /// Tables as small as their number allows: the level below the young tables holds as many of
    /// them as there are young ones, and the smaller it is, the less a merge rewrites.
    fn strategy(&self) -> Leveled {
        let config = &self.shared.config;
        let share = self.shared.tree.disk_space() / TABLES_AIM;
        Leveled::default()
            .with_table_target_size(share.clamp(config.table_bytes, 4 * config.table_bytes))
            .with_l0_threshold(config.young_tables)
    }

    /// Runs `action` on the tree and sorts out its errors. A panic in it is a fault as well.
    pub(crate) fn guarded<T>(
        &self,
        action: impl FnOnce() -> lsm_tree::Result<T>,
    ) -> Result<T, FlushError> {
        let path = &self.shared.dir;
        let what = match catch_unwind(AssertUnwindSafe(action)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(lsm_tree::Error::Io(error))) => {
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                    let path = path.clone();
                    return Err(FlushError::NoSpace { path, source: error });
                }
                match error.downcast::<StoreFault>() {
                    Ok(fault) => return Err(fault.into()),
                    Err(error) => error.to_string(),
                }
            }
            Ok(Err(error)) => words_of(&error),
            Err(panic) => panic_text(&*panic),
        };
        Err(StoreFault::new(path, what).into())
    }

    /// The tree does not say which table a compaction could not read.
    fn located(&self, fault: StoreFault) -> StoreFault {
        let tables = Tables::of(&self.shared.dir, &self.shared.tree);
        let mut faults = tables.iter().filter_map(|table| {
            check::check_table(&self.shared.dir, table.id(), table.checksum().into_u128()).err()
        });
        faults.next().unwrap_or(fault)
    }

    /// Notes where a full disk interrupted something, and removes what was half-written.
    fn settled<T>(&self, outcome: Result<T, FlushError>) -> Result<T, FlushError> {
        if matches!(outcome, Err(FlushError::NoSpace { .. })) {
            self.shared.untidy.store(true, Ordering::Relaxed);
            self.tidy()?;
        }
        outcome
    }

    /// After a full disk: makes sure that the version on disk is the one in memory, and removes
    /// the files that no version names. Nothing else may be written meanwhile.
    fn tidy(&self) -> Result<(), FlushError> {
        if !self.shared.untidy.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _flushing = lock(&self.shared.flushing);
        let _compacting = lock(&self.shared.compacting);
        let version = self.shared.tree.current_version().id();
        let bodies = lock(&self.shared.bodies).files.keys().copied().collect();
        check::remove_unknown(&self.shared.dir, version, &mut lock(&self.shared.known), &bodies)?;
        self.shared.untidy.store(false, Ordering::Relaxed);
        Ok(())
    }
}
