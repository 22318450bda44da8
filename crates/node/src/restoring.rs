//! A store's folder while a restore writes it, and the line that its second copies belong to. It
//! knows nothing of where the copies lie.
//!
//! A *line* is one life of a store: positions of the journal mean one thing within it. A store that
//! was restored goes on in a line of its own, since from there on it may differ from the one that
//! it came from.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::manifest::Manifest;
use crate::store_dir::{
    RESTORING, ShardDir, StoreDirError, create_dir, io_error, lock, shard_path, sync_dir,
    write_manifest,
};

/// The file with the number of the line, as text.
pub const LINE: &str = "line";
const LINE_NEW: &str = "line.new";
/// A UUID as text, and a line feed.
const LINE_BYTES_MAX: u64 = 64;

/// The line of the store in `dir`, which is begun where there is none. To be called by whoever has
/// the store open.
pub fn line_of(dir: &Path) -> Result<Uuid, StoreDirError> {
    let path = dir.join(LINE);
    match fs::metadata(&path) {
        Ok(file) if file.len() > LINE_BYTES_MAX => {}
        Ok(_) => {
            let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
            if let Ok(line) = text.trim().parse() {
                return Ok(line);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return begin_line(dir),
        Err(source) => return Err(StoreDirError::Io { action: "read", path, source }),
    }
    let source = io::Error::new(io::ErrorKind::InvalidData, "it has no number of a line");
    Err(StoreDirError::Io { action: "read", path, source })
}

fn begin_line(dir: &Path) -> Result<Uuid, StoreDirError> {
    let (line, new) = (Uuid::now_v7(), dir.join(LINE_NEW));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    };
    write().map_err(io_error("write", &new))?;
    fs::rename(&new, dir.join(LINE)).map_err(io_error("rename", &new))?;
    sync_dir(dir)?;
    Ok(line)
}

/// A folder that is being restored into. A server refuses it until [`Restoring::finish`].
#[derive(Debug)]
pub struct Restoring {
    dir: PathBuf,
    manifest: Manifest,
    /// The folder was made for it.
    made: bool,
    _lock: File,
}

impl Restoring {
    /// Begins in a folder that is empty or not there.
    pub fn begin(dir: &Path, manifest: Manifest) -> Result<Self, StoreDirError> {
        let made = !dir.exists();
        create_dir(dir)?;
        let mut entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
        // A disk of its own has this one from the beginning.
        let found = entries.find_map(|entry| match entry {
            Ok(entry) if entry.file_name() == "lost+found" => None,
            Ok(entry) => Some(Ok(entry.path())),
            Err(error) => Some(Err(error)),
        });
        if let Some(found) = found.transpose().map_err(io_error("read", dir))? {
            return Err(StoreDirError::NotEmpty { dir: dir.to_owned(), found });
        }
        let path = dir.join(RESTORING);
        File::create_new(&path)
            .and_then(|file| file.sync_all())
            .map_err(io_error("make", &path))?;
        let restoring = Self { dir: dir.to_owned(), manifest, made, _lock: lock(dir, true)? };
        sync_dir(dir)?;
        for index in 0..manifest.shards {
            let shard = restoring.shard(index);
            create_dir(&shard.journal())?;
            create_dir(&shard.state())?;
        }
        Ok(restoring)
    }

    /// Where a shard goes.
    pub fn shard(&self, index: u32) -> ShardDir {
        ShardDir { dir: shard_path(&self.dir, index) }
    }

    /// All is there and durable: from now on it is a store, in a line of its own. Answers the line.
    pub fn finish(self) -> Result<Uuid, StoreDirError> {
        for index in 0..self.manifest.shards {
            self.shard(index).set_used()?;
            sync_dir(&self.shard(index).dir)?;
        }
        let line = begin_line(&self.dir)?;
        write_manifest(&self.dir, &self.manifest)?;
        let path = self.dir.join(RESTORING);
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
        sync_dir(&self.dir)?;
        Ok(line)
    }

    /// Removes what was written. What cannot be removed is refused by every server all the same,
    /// as what says that it is unfinished goes last.
    pub fn abandon(self) -> Result<(), StoreDirError> {
        let entries = fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))?;
        for entry in entries {
            let path = entry.map_err(io_error("read", &self.dir))?.path();
            let name = path.file_name().unwrap_or_default();
            if name == RESTORING || name == "lost+found" {
                continue;
            }
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(io_error("remove", &path))?;
        }
        sync_dir(&self.dir)?;
        let path = self.dir.join(RESTORING);
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
        if self.made {
            fs::remove_dir(&self.dir).map_err(io_error("remove", &self.dir))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store_dir::StoreDir;

    #[test]
    fn a_folder_is_no_store_before_its_restore_is_done() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let restoring = Restoring::begin(&dir, Manifest::create(1)).unwrap();
        drop(restoring);
        let refused = StoreDir::open_or_create(&dir, 1).unwrap_err();
        assert!(matches!(refused, StoreDirError::RestoreUnfinished { .. }), "{refused}");
        let again = Restoring::begin(&dir, Manifest::create(1)).unwrap_err();
        assert!(matches!(again, StoreDirError::NotEmpty { .. }), "{again}");
        fs::remove_dir_all(&dir).unwrap();
        Restoring::begin(&dir, Manifest::create(1)).unwrap().abandon().unwrap();
        assert!(!dir.exists(), "nothing is left of it");
    }

    #[test]
    fn a_restored_store_is_the_same_one_in_another_line() {
        let root = tempfile::tempdir().unwrap();
        let first = StoreDir::open_or_create(&root.path().join("first"), 2).unwrap();
        let line = line_of(first.path()).unwrap();
        assert_eq!(line_of(first.path()).unwrap(), line, "it stays");
        let dir = root.path().join("second");
        let began = Restoring::begin(&dir, *first.manifest()).unwrap().finish().unwrap();
        let second = StoreDir::open_or_create(&dir, 1).unwrap();
        assert_eq!(second.manifest(), first.manifest());
        assert_eq!(line_of(&dir).unwrap(), began);
        assert_ne!(began, line);
        fs::write(dir.join(LINE), "none").unwrap();
        assert!(line_of(&dir).is_err());
    }
}
