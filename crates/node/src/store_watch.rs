//! Whether the folders and files of an open store are still those that were opened. Who has a
//! removed file open writes and syncs it without a fault, so nothing else would notice.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::shared::ShardShared;
use crate::store_dir::{StoreDir, StoreDirError};

/// The folders and files of a store as they were when it was opened.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    held: Vec<Watched>,
    expected: Vec<Expected>,
    /// They tell of the files of their journals and states.
    shards: Vec<Arc<ShardShared>>,
    looks: AtomicU64,
}

/// A look sees one of so many parts of the files of the states: there may be thousands.
pub(crate) const STATE_PARTS: u64 = 10;

/// A folder or file, held open so that nothing else gets its inode's number.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    identity: (u64, u64),
    shard: Option<u32>,
    _file: File,
}

/// A file that comes into being while the store is open, or is replaced by the store itself.
#[derive(Debug)]
struct Expected {
    path: PathBuf,
    shard: u32,
    /// From then on it has to be there. A shard that is open has it, seen or not.
    seen: AtomicBool,
}

/// What is not there any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lost {
    /// Whose it is, if it is not the store's own.
    pub(crate) shard: Option<u32>,
    /// What happened, in words.
    pub(crate) why: String,
}

impl StoreWatch {
    /// Remembers the folders and files of an open store. Of a shard whose folder is missing
    /// already, the shard itself tells.
    pub(crate) fn of(
        store: &StoreDir,
        shards: Vec<Arc<ShardShared>>,
    ) -> Result<Self, StoreDirError> {
        let of_store = [store.path().to_owned(), store.lock_path(), store.manifest_path()];
        let mut held: Vec<_> = of_store.into_iter().map(|path| Watched::open(path, None)).collect();
        let mut expected = Vec::new();
        for index in 0..store.manifest().shards {
            let shard = store.shard(index);
            let folders = [shard.journal(), shard.state()].into_iter().filter(|dir| dir.is_dir());
            held.extend(folders.map(|folder| Watched::open(folder, Some(index))));
            let files = [shard.used_path(), shard.state().join(longshore_store::CURRENT_FILE)];
            expected.extend(files.map(|path| Expected::new(path, index)));
        }
        let held = held.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { held, expected, shards, looks: AtomicU64::new(0) })
    }

    /// What is gone or was replaced. What cannot be told counts as there.
    pub(crate) fn lost(&self) -> impl Iterator<Item = Lost> {
        let held = self.held.iter().filter_map(Watched::lost);
        let is_open = |shard: u32| {
            self.shards.iter().any(|it| it.index == shard && it.snapshots.get().is_some())
        };
        let expected = self.expected.iter().filter_map(move |it| it.lost(is_open(it.shard)));
        let part = self.looks.fetch_add(1, Ordering::Relaxed) % STATE_PARTS;
        let of_shards = self.shards.iter().filter_map(move |shard| lost_of_shard(shard, part));
        held.chain(expected).chain(of_shards)
    }
}

fn lost_of_shard(shard: &ShardShared, part: u64) -> Option<Lost> {
    let of_journal = || shard.room.get()?.lost_file();
    let of_state = || shard.snapshots.get()?.lost_file(part, STATE_PARTS);
    let path = of_journal().or_else(of_state)?;
    let why = format!("{} is gone or was replaced while the store was open", path.display());
    Some(Lost { shard: Some(shard.index), why })
}

impl Expected {
    fn new(path: PathBuf, shard: u32) -> Self {
        Self { path, shard, seen: AtomicBool::new(false) }
    }

    fn lost(&self, is_open: bool) -> Option<Lost> {
        match fs::metadata(&self.path) {
            Ok(_) => self.seen.store(true, Ordering::Relaxed),
            Err(error) if is_absence(&error) && (is_open || self.seen.load(Ordering::Relaxed)) => {
                let why = format!("{} is gone while the store was open", self.path.display());
                return Some(Lost { shard: Some(self.shard), why });
            }
            Err(_) => {}
        }
        None
    }
}

impl Watched {
    fn open(path: PathBuf, shard: Option<u32>) -> Result<Self, StoreDirError> {
        let open = || -> io::Result<_> {
            let file = File::open(&path)?;
            let identity = identity_of(&file.metadata()?);
            Ok((file, identity))
        };
        match open() {
            Ok((file, identity)) => Ok(Self { path, identity, shard, _file: file }),
            Err(source) => Err(StoreDirError::Io { action: "open", path, source }),
        }
    }

    fn lost(&self) -> Option<Lost> {
        let path = self.path.display();
        let why = match fs::metadata(&self.path) {
            Ok(found) if identity_of(&found) == self.identity => return None,
            Ok(_) => format!("{path} was replaced while the store was open"),
            Err(error) if is_absence(&error) => {
                format!("{path} is gone while the store was open")
            }
            Err(_) => return None,
        };
        Some(Lost { shard: self.shard, why })
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_or_replaced_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let store = StoreDir::open_or_create(&dir, 2).unwrap();
        let watch = StoreWatch::of(&store, Vec::new()).unwrap();
        assert_eq!(watch.lost().count(), 0);
        let state = store.shard(1).state();
        fs::remove_dir(&state).unwrap();
        fs::create_dir(&state).unwrap();
        let lost: Vec<_> = watch.lost().collect();
        assert_eq!((lost.len(), lost[0].shard), (1, Some(1)), "{lost:?}");
        assert!(lost[0].why.contains("replaced"), "{lost:?}");
        fs::rename(&dir, root.path().join("elsewhere")).unwrap();
        let lost: Vec<_> = watch.lost().collect();
        assert_eq!((lost.len(), lost[0].shard), (7, None), "{lost:?}");
        assert!(lost[0].why.contains("is gone"), "{lost:?}");
    }

    #[test]
    fn a_file_that_comes_later_may_be_replaced_but_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = StoreDir::open_or_create(&root.path().join("data"), 1).unwrap();
        let watch = StoreWatch::of(&store, Vec::new()).unwrap();
        assert_eq!(watch.lost().count(), 0, "nothing was in use so far");
        let current = store.shard(0).state().join(longshore_store::CURRENT_FILE);
        for version in ["1", "2"] {
            fs::write(current.with_extension("new"), version).unwrap();
            fs::rename(current.with_extension("new"), &current).unwrap();
            store.shard(0).set_used().unwrap();
            assert_eq!(watch.lost().count(), 0);
        }
        fs::remove_file(&current).unwrap();
        fs::remove_file(store.shard(0).used_path()).unwrap();
        fs::remove_file(store.manifest_path()).unwrap();
        assert_eq!(
            watch.lost().map(|lost| lost.shard).collect::<Vec<_>>(),
            [None, Some(0), Some(0)]
        );
    }
}
