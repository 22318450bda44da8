//! Opening a tree: the checks come first, because the tree removes what it takes for orphans and
//! makes an empty tree where its pointer file is missing.

use std::any::Any;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use longshore_engine::Position;
use lsm_tree::config::{BlockSizePolicy, PartitioningPolicy, PinningPolicy};
use lsm_tree::{
    AnyTree, Cache, Config, DescriptorTable, Memtable, SequenceNumberCounter, Table, Tree,
};

use crate::check::{Depth, Report, check, is_temporary};
use crate::config::LsmConfig;
use crate::error::{OpenError, StoreFault, words_of};
use crate::identity::Identity;
use crate::shared::{Bodies, Shared};
use crate::tables::Tables;
use crate::view::View;
use crate::{body_file, marker};

pub(crate) fn open(dir: &Path, config: LsmConfig) -> Result<Shared, OpenError> {
    let report = check(dir, Depth::Structure, Some(config.identity)).map_err(first)?;
    let io = |source| OpenError::Io { path: dir.to_owned(), source };
    if report.version.is_some() {
        // The tree removes what the current version does not name. Which one is current, only the
        // page cache may know: a process that was killed may have renamed it and not synced.
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(io)?;
    }
    let tree = match catch_unwind(AssertUnwindSafe(|| open_tree(dir, &config))) {
        Ok(tree) => tree?,
        Err(panic) => return Err(StoreFault::new(dir, panic_text(&*panic)).into()),
    };
    let tables = Tables::of(dir, &tree);
    let persisted = position_of(dir, &tables, Some(config.identity))?;
    if persisted != report.position {
        let what = format!("it opened at position {persisted} instead of {}", report.position);
        return Err(StoreFault::new(dir, what).into());
    }
    let bodies = Bodies::opened(report.bodies.clone(), report.body_keys.clone());
    remove_leftovers(&report).map_err(io)?;
    let view = View {
        active: Arc::new(Memtable::new(0)),
        sealed: Vec::new(),
        tables: Arc::new(tables),
        persisted,
    };
    Ok(Shared::new(dir.to_owned(), config, tree, view, bodies))
}

fn open_tree(dir: &Path, config: &LsmConfig) -> Result<Tree, OpenError> {
    let counter = SequenceNumberCounter::default;
    let opened = Config::new(dir, counter(), counter())
        .use_cache(Arc::new(Cache::with_capacity_bytes(config.cache_bytes)))
        .use_descriptor_table(Some(Arc::new(DescriptorTable::new(config.open_files_max))))
        .data_block_size_policy(BlockSizePolicy::all(4096))
        // Young tables overlap, so every read asks the filter of each: those stay in memory. Below,
        // whole index and filter blocks would be up to a MiB, too large for the cache.
        .index_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .filter_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .index_block_pinning_policy(PinningPolicy::new([true, false]))
        .filter_block_pinning_policy(PinningPolicy::new([true, false]))
        .open();
    match opened {
        Ok(AnyTree::Standard(tree)) => Ok(tree),
        Ok(AnyTree::Blob(_)) => Err(StoreFault::new(dir, "the tree keeps its values apart").into()),
        Err(lsm_tree::Error::Io(source)) => Err(OpenError::Io { path: dir.to_owned(), source }),
        Err(error) => Err(StoreFault::new(dir, words_of(&error)).into()),
    }
}

/// The position that the tables say they have, checked against what is in them and, where it is
/// given, whose they have to be.
pub(crate) fn position_of(
    dir: &Path,
    tables: &Tables,
    expected: Option<Identity>,
) -> Result<Position, StoreFault> {
    let highest = tables.iter().map(Table::get_highest_seqno).max();
    let Some(marker) = tables.get(&marker::KEY)? else {
        return match highest {
            None => Ok(Position::START),
            Some(highest) => Err(StoreFault::new(
                dir,
                format!("its tables reach to position {highest} but have no position marker"),
            )),
        };
    };
    let (found, position) =
        marker::decode(&marker.value).map_err(|what| StoreFault::new(dir, what))?;
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(StoreFault::new(dir, format!("it belongs to {found}, not to {expected}")));
    }
    if highest != Some(position.0) {
        let highest = highest.map_or_else(|| "none".to_owned(), |highest| highest.to_string());
        let what = format!("its marker says position {position}, its tables say {highest}");
        return Err(StoreFault::new(dir, what));
    }
    Ok(position)
}

/// The tree removes its other leftovers itself.
fn remove_leftovers(report: &Report) -> io::Result<()> {
    for path in &report.leftovers {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().and_then(Path::file_name);
        if is_temporary(&name) || folder == Some(OsStr::new(body_file::FOLDER)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn first(faults: Vec<StoreFault>) -> StoreFault {
    faults.into_iter().next().expect("a failed check names what it found")
}

/// What a panic of the tree means. Its text names lines of the tree and not what is wrong on disk;
/// the panic's hook has shown it already.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<StoreFault>() {
        Some(fault) => fault.what.clone(),
        None => "it holds something that should never be there".to_owned(),
    }
}
