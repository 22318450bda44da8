//! The tables of one version of the tree, newest first, read without any lock: the tree's own
//! lock is held while a new version is synced, which the shard's thread must not wait for.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use lsm_tree::table::filter::standard_bloom::Builder;
use lsm_tree::{AbstractTree, InternalValue, SeqNo, Slice, Table, Tree};

use crate::error::{StoreFault, words_of};
use crate::merge::{Entry, Source};

/// Tables that do not overlap, in key order.
type Run = Vec<Table>;

/// Immutable. Holding it keeps the files of its tables, and the bodies that they point to, from
/// being removed.
#[derive(Debug)]
pub(crate) struct Tables {
    /// The folder of the state.
    dir: PathBuf,
    /// Number of the tree's version. Only grows.
    version: u64,
    /// Where two runs have the same key, the earlier one has the newer entry.
    runs: Vec<Run>,
}

impl Tables {
    pub(crate) fn of(dir: &Path, tree: &Tree) -> Self {
        let version = tree.current_version();
        let runs = version
            .iter_levels()
            .flat_map(|level| level.iter())
            .map(|run| run.iter().cloned().collect())
            .collect();
        Self::of_runs(dir, version.id(), runs)
    }

    /// Tables by run, newest run first.
    pub(crate) fn of_runs(dir: &Path, version: u64, runs: Vec<Vec<Table>>) -> Self {
        Self { dir: dir.to_owned(), version, runs }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.runs.iter().flatten()
    }

    /// The newest entry under `key`, which may be a tombstone.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<InternalValue>, StoreFault> {
        let hash = Builder::get_hash(key);
        for run in &self.runs {
            let index = run.partition_point(|table| &**table.metadata.key_range.max() < key);
            let Some(table) = run.get(index) else { continue };
            if &**table.metadata.key_range.min() > key {
                continue;
            }
            match table.get(key, SeqNo::MAX, hash) {
                Ok(None) => {}
                Ok(entry) => return Ok(entry),
                Err(error) => return Err(read_fault(&table.path, &error)),
            }
        }
        Ok(None)
    }

    /// One source per run with all its entries, newest first.
    pub(crate) fn all<'a>(&'a self) -> impl Iterator<Item = Source<'a>> + 'a {
        self.runs.iter().map(|run| {
            let entries = |table: &'a Table| {
                table
                    .iter()
                    .map(|entry| entry.map(Entry::from).map_err(|e| read_fault(&table.path, &e)))
            };
            Box::new(run.iter().flat_map(entries)) as Source<'a>
        })
    }

    /// One source per run that may hold keys from `from` (inclusive) to `to` (exclusive), newest
    /// first. A table is opened when the iteration reaches it.
    pub(crate) fn ranges<'a>(
        &'a self,
        from: &'a Slice,
        to: &'a Slice,
    ) -> impl Iterator<Item = Source<'a>> + 'a {
        self.runs.iter().filter_map(move |run| {
            let first = run.partition_point(|table| table.metadata.key_range.max() < from);
            let last = run.partition_point(|table| table.metadata.key_range.min() < to);
            let tables = run.get(first..last).filter(|tables| !tables.is_empty())?;
            let range = |table: &'a Table| {
                table
                    .range((Bound::Included(from.clone()), Bound::Excluded(to.clone())))
                    .map(|entry| entry.map(Entry::from).map_err(|e| read_fault(&table.path, &e)))
            };
            Some(match tables {
                [table] => Box::new(range(table)) as Source<'a>,
                _ => Box::new(tables.iter().flat_map(range)),
            })
        })
    }
}

fn read_fault(path: &Path, error: &lsm_tree::Error) -> StoreFault {
    StoreFault::new(path, format!("it could not be read: {}", words_of(error)))
}
