//! The folder of a store: its manifest, its lock against a second process and where each shard
//! lies. It knows nothing of journals and trees.
//!
//! ```text
//! DIR/manifest            see manifest.rs
//! DIR/lock                locked (flock) by the process that has the store open
//! DIR/line                which line of second copies it is written to, see restoring.rs
//! DIR/restoring           there while a restore writes the folder
//! DIR/reserve             space kept for settlements and flushes on a full disk
//! DIR/shard-N/journal/    segments of the journal
//! DIR/shard-N/state/      the tree
//! DIR/shard-N/used        exists once anything was durable in the shard's journal
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use longshore_engine::OtherLevel;
use thiserror::Error;

use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, SHARDS_MAX};

const MANIFEST: &str = "manifest";
const MANIFEST_NEW: &str = "manifest.new";
const LOCK: &str = "lock";
const USED: &str = "used";
/// There while a restore writes the folder, which is no store before that is done.
pub(crate) const RESTORING: &str = "restoring";

/// An open store folder. Nobody else can open it while this value lives.
#[derive(Debug)]
pub struct StoreDir {
    dir: PathBuf,
    manifest: Manifest,
    _lock: File,
}

/// Where one shard lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShardDir {
    pub(crate) dir: PathBuf,
}

/// Why a store folder was not opened.
#[derive(Debug, Error)]
pub enum StoreDirError {
    /// Another process has it open.
    #[error("store {} is in use by another process", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// There is no store, and none was to be created.
    #[error("there is no store in {}", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// The manifest is gone, but shards are there.
    #[error("store {} has no manifest, but {} is not empty", dir.display(), found.display())]
    ManifestLost {
        /// The folder.
        dir: PathBuf,
        /// What is there.
        found: PathBuf,
    },
    /// A restore is to go into a folder that is in use.
    #[error("{} is not empty: {} is there; a restore goes into an empty folder", dir.display(), found.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// What is there.
        found: PathBuf,
    },
    /// A restore into it was cut off.
    #[error("store {} is not whole: a restore into it did not end; empty it and restore again", dir.display())]
    RestoreUnfinished {
        /// The folder.
        dir: PathBuf,
    },
    /// Another version of Longshore wrote it. Nothing in it was touched.
    #[error("store {}: {other}", dir.display())]
    OtherLevel {
        /// The folder.
        dir: PathBuf,
        /// The level that it has.
        other: OtherLevel,
    },
    /// The manifest cannot be used.
    #[error("manifest {}: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The number of shards for a new store is out of bounds.
    #[error("a store may have 1 to {SHARDS_MAX} shards, not {shards}")]
    ShardsRefused {
        /// How many were asked for.
        shards: u32,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl StoreDir {
    /// Opens the store in `dir`, or creates one with `shards` shards where there is none.
    pub fn open_or_create(dir: &Path, shards: u32) -> Result<Self, StoreDirError> {
        create_dir(dir)?;
        let lock = lock(dir, true)?;
        if dir.join(RESTORING).exists() {
            return Err(StoreDirError::RestoreUnfinished { dir: dir.to_owned() });
        }
        if let Some(manifest) = read_manifest(dir)? {
            return Ok(Self { dir: dir.to_owned(), manifest, _lock: lock });
        }
        if shards == 0 || shards > SHARDS_MAX {
            return Err(StoreDirError::ShardsRefused { shards });
        }
        if let Some(found) = leftovers(dir)? {
            return Err(StoreDirError::ManifestLost { dir: dir.to_owned(), found });
        }
        let manifest = Manifest::create(shards);
        let store = Self { dir: dir.to_owned(), manifest, _lock: lock };
        store.create_shard_dirs()?;
        // The manifest comes last: it says that everything else is there.
        write_manifest(dir, &manifest)?;
        Ok(store)
    }

    /// Opens the store in `dir` and changes nothing in it.
    pub fn open_existing(dir: &Path) -> Result<Self, StoreDirError> {
        let missing = || StoreDirError::Missing { dir: dir.to_owned() };
        if !dir.is_dir() {
            return Err(missing());
        }
        let manifest = read_manifest(dir)?.ok_or_else(missing)?;
        let lock = lock(dir, false)?;
        Ok(Self { dir: dir.to_owned(), manifest, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The file that is locked.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK)
    }

    /// The file that says what store it is.
    pub(crate) fn manifest_path(&self) -> PathBuf {
        self.dir.join(MANIFEST)
    }

    /// What was fixed when the store was created.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a shard lies.
    pub fn shard(&self, index: u32) -> ShardDir {
        assert!(index < self.manifest.shards, "shard {index} of {}", self.manifest.shards);
        ShardDir { dir: shard_path(&self.dir, index) }
    }

    fn create_shard_dirs(&self) -> Result<(), StoreDirError> {
        for index in 0..self.manifest.shards {
            let shard = self.shard(index);
            create_dir(&shard.journal())?;
            create_dir(&shard.state())?;
            sync_dir(&shard.dir)?;
        }
        sync_dir(&self.dir)
    }
}

impl ShardDir {
    /// The folder of its journal.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// The folder of its state tree.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The folder of the events of its streams, made with the first stream.
    pub fn streams(&self) -> PathBuf {
        self.dir.join("streams")
    }

    /// Whether anything was ever durable in its journal: then an empty shard is a lost one.
    pub fn is_used(&self) -> bool {
        self.used_path().exists()
    }

    /// The file that says so.
    pub(crate) fn used_path(&self) -> PathBuf {
        self.dir.join(USED)
    }

    /// Notes that something is durable in its journal.
    pub(crate) fn set_used(&self) -> Result<(), StoreDirError> {
        if self.is_used() {
            return Ok(());
        }
        let path = self.used_path();
        File::create(&path).and_then(|file| file.sync_all()).map_err(io_error("create", &path))?;
        sync_dir(&self.dir)
    }
}

pub(crate) fn shard_path(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("shard-{index}"))
}

pub(crate) fn create_dir(dir: &Path) -> Result<(), StoreDirError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    // Hashes of passwords and what jobs carry are in there: it is nobody's but its owner's.
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(io_error("create", dir))?;
    sync_dir(parent)
}

pub(crate) fn lock(dir: &Path, create: bool) -> Result<File, StoreDirError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true);
    if create {
        options.write(true).create(true).truncate(false);
    }
    let file = options.open(&path).map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreDirError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreDirError::Io { action: "lock", path, source }),
    }
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>, StoreDirError> {
    let path = dir.join(MANIFEST);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreDirError::Io { action: "open", path, source }),
    };
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
    Manifest::decode(&bytes).map(Some).map_err(|source| match source {
        ManifestError::OtherLevel(other) => {
            StoreDirError::OtherLevel { dir: dir.to_owned(), other }
        }
        source @ ManifestError::Damaged { .. } => StoreDirError::Manifest { path, source },
    })
}

pub(crate) fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), StoreDirError> {
    let new = dir.join(MANIFEST_NEW);
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(manifest.encode().as_bytes())?;
        file.sync_all()
    };
    write().map_err(io_error("write", &new))?;
    fs::rename(&new, dir.join(MANIFEST)).map_err(io_error("rename", &new))?;
    sync_dir(dir)
}

/// Something in the folders of shards, which a store that was being created does not have.
fn leftovers(dir: &Path) -> Result<Option<PathBuf>, StoreDirError> {
    for index in 0..SHARDS_MAX {
        let shard = ShardDir { dir: shard_path(dir, index) };
        for folder in [shard.journal(), shard.state()] {
            let mut entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => {
                    return Err(StoreDirError::Io { action: "read", path: folder, source });
                }
            };
            if entries.next().is_some() {
                return Ok(Some(folder));
            }
        }
    }
    Ok(None)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreDirError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(io_error("sync", dir))
}

pub(crate) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StoreDirError {
    move |source| StoreDirError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_its_identity_and_its_number_of_shards() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep/store");
        let first = *StoreDir::open_or_create(&dir, 3).unwrap().manifest();
        let second = *StoreDir::open_or_create(&dir, 5).unwrap().manifest();
        assert_eq!((first, first.shards), (second, 3));
        assert_eq!(*StoreDir::open_existing(&dir).unwrap().manifest(), first);
        assert!(dir.join("shard-2/journal").is_dir() && dir.join("shard-2/state").is_dir());
    }

    #[test]
    fn a_store_in_use_is_not_opened_again() {
        let root = tempfile::tempdir().unwrap();
        let store = StoreDir::open_or_create(root.path(), 1).unwrap();
        let again = StoreDir::open_or_create(root.path(), 1).unwrap_err();
        assert!(matches!(again, StoreDirError::InUse { .. }), "{again}");
        assert!(StoreDir::open_existing(root.path()).is_err());
        drop(store);
        StoreDir::open_existing(root.path()).unwrap();
    }

    #[test]
    fn a_lost_manifest_does_not_become_an_empty_store() {
        let root = tempfile::tempdir().unwrap();
        let store = StoreDir::open_or_create(root.path(), 2).unwrap();
        let segment = store.shard(1).journal().join("segment");
        drop(store);
        fs::remove_file(root.path().join(MANIFEST)).unwrap();
        StoreDir::open_or_create(root.path(), 2).unwrap();
        fs::write(segment, b"x").unwrap();
        fs::remove_file(root.path().join(MANIFEST)).unwrap();
        let lost = StoreDir::open_or_create(root.path(), 2).unwrap_err();
        assert!(matches!(lost, StoreDirError::ManifestLost { .. }), "{lost}");
    }

    #[test]
    fn a_damaged_manifest_and_a_missing_store_are_named() {
        let root = tempfile::tempdir().unwrap();
        let missing = StoreDir::open_existing(&root.path().join("none")).unwrap_err();
        assert!(matches!(missing, StoreDirError::Missing { .. }), "{missing}");
        assert!(StoreDir::open_or_create(root.path(), 0).is_err());
        drop(StoreDir::open_or_create(root.path(), 2).unwrap());
        fs::write(root.path().join(MANIFEST), b"longshore store\n").unwrap();
        let damaged = StoreDir::open_or_create(root.path(), 2).unwrap_err();
        assert!(damaged.to_string().contains("checksum"), "{damaged}");
    }

    #[test]
    fn a_used_shard_stays_used() {
        let root = tempfile::tempdir().unwrap();
        let store = StoreDir::open_or_create(root.path(), 1).unwrap();
        assert!(!store.shard(0).is_used());
        store.shard(0).set_used().unwrap();
        store.shard(0).set_used().unwrap();
        assert!(store.shard(0).is_used());
    }
}
