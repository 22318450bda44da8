//! The state of the shard on real files, as the tree that ships keeps it there, and what a crash
//! leaves of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore_engine::Position;
use longshore_journal::Crash;
use longshore_store::{Flusher, Lsm, LsmConfig};
use tempfile::TempDir;

use crate::map::SEALED_MAX;

/// What keeps the state of the shard, beyond the process as well.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Keeper {
    /// A map in memory, of which a flush leaves an image.
    #[default]
    Images,
    /// That map, and beside it the tree that ships, on real files: it must never say anything else.
    Lsm,
}

/// A folder with a tree, and a copy of what the last flush left in it.
#[derive(Debug)]
pub(crate) struct Folder {
    root: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("longshore-sim-").tempdir();
        Self { root: or_panic(root) }
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    fn durable(&self) -> PathBuf {
        self.root.path().join("durable")
    }

    /// The tree, which has to be at that position.
    pub(crate) fn open(&self, position: Position) -> Lsm {
        let lsm = or_panic(Lsm::open(&self.state(), tiny()));
        let found = lsm.position();
        assert!(found == position, "the folder is at {found} and not at {position}");
        lsm
    }

    /// Flushes what was set aside at a position, and does what is done after it in the background.
    pub(crate) fn flush(&self, flusher: &Flusher, position: Position) {
        let flushed = or_panic(flusher.flush_sealed(position));
        assert!(flushed == position, "flushed to {flushed} and not to {position}");
        // No links: giving back space makes holes in files that stay.
        or_panic(copy(&self.state(), &self.durable()));
        while or_panic(flusher.compact()) {}
        while or_panic(flusher.sweep()) {}
    }

    /// Nobody has the tree open. A process that ends leaves the files as they are. The power takes
    /// with it what was done since the last flush. The copy of what that left goes through the page
    /// cache, so a sync that is missing is not noticed here, but by the enumeration of crashes
    /// (`tests/src/enumeration/`).
    pub(crate) fn crash(&self, crash: Crash) {
        if crash == Crash::Kill {
            return;
        }
        if self.durable().exists() {
            or_panic(copy(&self.durable(), &self.state()));
        } else if self.state().exists() {
            or_panic(fs::remove_dir_all(self.state()));
        }
    }
}

/// Every bound is tiny, so that short runs have tables of several levels, large values and blocks
/// that are not in memory. When something is set aside is decided above.
fn tiny() -> LsmConfig {
    LsmConfig {
        brief_keys_max: 4,
        brief_bytes_max: 256,
        sealed_max: SEALED_MAX,
        cache_bytes: 8 << 10,
        open_files_max: 4,
        table_bytes: 2 << 10,
        young_tables: 2,
        body_bytes_min: 100,
        ..LsmConfig::default()
    }
}

/// Replaces a folder by a copy of another one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// No fault is put in below the tree, so there is none.
fn or_panic<T, E: std::fmt::Display>(done: Result<T, E>) -> T {
    done.unwrap_or_else(|error| panic!("the folder of the state: {error}"))
}
