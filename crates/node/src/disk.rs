//! Tells how much room the disk has, and holds the reserve: a file that takes space until it is
//! needed. What either means, the driver decides.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use longshore_engine::driver::Space;

/// Tells how much room there is.
pub trait DiskProbe: Send + Sync {
    /// The room now.
    fn space(&self) -> io::Result<Space>;
}

/// The file system that a folder lies in.
#[derive(Clone, Debug)]
pub struct FileSystem {
    dir: PathBuf,
}

impl FileSystem {
    /// The file system of `dir`.
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

impl DiskProbe for FileSystem {
    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

/// A file that takes up space until it is needed.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// The reserve at `path`, which an earlier process may have taken.
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Self {
        let held = bytes > 0 && fs::metadata(&path).is_ok_and(|file| file.len() == bytes);
        Self { path, bytes, held }
    }

    /// Whether the space is taken.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Bytes that the reserve is to have.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the space. A file system that cannot reserve any goes without.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        if self.held || self.bytes == 0 {
            return Ok(());
        }
        let file = self.open()?;
        if file.metadata()?.len() != self.bytes {
            let taken =
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes);
            if let Err(error) = taken {
                drop(file);
                fs::remove_file(&self.path)?;
                return Err(error.into());
            }
        }
        self.held = true;
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        self.held = false;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_folder_has_a_size() {
        let root = tempfile::tempdir().unwrap();
        assert!(FileSystem::of(root.path()).space().unwrap().total_bytes > 0);
        assert!(FileSystem::of(Path::new("/nowhere/at/all")).space().is_err());
    }

    #[test]
    fn the_reserve_takes_space_and_gives_it_back() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("reserve");
        let mut reserve = Reserve::new(path.clone(), 1 << 20);
        reserve.take().unwrap();
        assert!(reserve.is_held());
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        assert!(Reserve::new(path.clone(), 1 << 20).is_held(), "the next process has it, too");
        reserve.release().unwrap();
        reserve.release().unwrap();
        assert!(!path.exists() && !reserve.is_held());
    }
}
