//! Whether the folders of an open store are still those that were opened. Who has a removed file
//! open writes and syncs it without a fault, so nothing else would notice.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::store_dir::{StoreDir, StoreDirError};

/// The folders and files of a store as they were when it was opened.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    held: Vec<Held>,
}

/// A folder or file, held open so that nothing else gets its inode's number.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    identity: (u64, u64),
    shard: Option<u32>,
    _file: File,
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
    /// Remembers the folders of an open store. Of a shard whose folder is missing already, the
    /// shard itself tells.
    pub(crate) fn of(store: &StoreDir) -> Result<Self, StoreDirError> {
        let dir = store.path();
        let mut held = vec![Held::open(dir.to_owned(), None), Held::open(store.lock_path(), None)];
        for index in 0..store.manifest().shards {
            let shard = store.shard(index);
            let folders = [shard.journal(), shard.state()].into_iter().filter(|dir| dir.is_dir());
            held.extend(folders.map(|folder| Held::open(folder, Some(index))));
        }
        Ok(Self { held: held.into_iter().collect::<Result<_, _>>()? })
    }

    /// What is gone or was replaced. What cannot be told counts as there.
    pub(crate) fn lost(&self) -> impl Iterator<Item = Lost> {
        self.held.iter().filter_map(Held::lost)
    }
}

impl Held {
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
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                format!("{path} is gone while the store was open")
            }
            Err(_) => return None,
        };
        Some(Lost { shard: self.shard, why })
    }
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
        let watch = StoreWatch::of(&store).unwrap();
        assert_eq!(watch.lost().count(), 0);
        let state = store.shard(1).state();
        fs::remove_dir(&state).unwrap();
        fs::create_dir(&state).unwrap();
        let lost: Vec<_> = watch.lost().collect();
        assert_eq!((lost.len(), lost[0].shard), (1, Some(1)), "{lost:?}");
        assert!(lost[0].why.contains("replaced"), "{lost:?}");
        fs::rename(&dir, root.path().join("elsewhere")).unwrap();
        let lost: Vec<_> = watch.lost().collect();
        assert_eq!((lost.len(), lost[0].shard), (6, None), "{lost:?}");
        assert!(lost[0].why.contains("is gone"), "{lost:?}");
    }
}
