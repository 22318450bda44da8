//! The few operations that a journal needs of a disk: a folder of files that are written in place
//! and synced. The file system is one implementation, the simulated disk another. It knows nothing
//! of what the files hold.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Pieces that the system takes in one call.
const PIECES_MAX: usize = 1024;

/// A folder of files.
pub trait Disk: Debug + Send + Sync {
    /// Makes the folder where it is missing, durably.
    fn create_folder(&self) -> io::Result<()>;
    /// Names of the files in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file for reading, and for writing where `write` is set.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, in the place of one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, in the place of one of the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Who has it open can go on reading.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync(&self) -> io::Result<()>;
    /// Bytes that can still be written, about; others may take them.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Keeps others from the folder until the guard is dropped; `None` where another has it. The
    /// file that it needs is made if `create` is set.
    fn lock(&self, name: &str, create: bool) -> io::Result<Option<Box<dyn DiskLock>>>;
    /// A number that it has not given before and that nobody can guess.
    fn new_salt(&self) -> u64;
    /// How a file is called in messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// Guard of [`Disk::lock`].
pub trait DiskLock: Debug + Send {}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes of all pieces, one behind the other.
    fn write_pieces_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        self.write_at(&pieces.concat(), offset)
    }
    /// Reserves space for `bytes_total` where the file system can, so that a full disk shows early.
    fn allocate(&self, bytes_total: u64) -> io::Result<()>;
    /// Cuts the file to `bytes_total`.
    fn cut(&self, bytes_total: u64) -> io::Result<()>;
    /// Makes the contents durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Whether the file at `path` is this one. What cannot be told counts as yes.
    fn is_at(&self, path: &Path) -> bool;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Disk for Folder {
    fn create_folder(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        let mut missing = vec![self.path.as_path()];
        let mut parent = parent_of(&self.path);
        while !parent.exists() {
            missing.push(parent);
            parent = parent_of(parent);
        }
        fs::create_dir_all(&self.path)?;
        for path in missing.into_iter().rev() {
            File::open(parent_of(path))?.sync_all()?;
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(write).open(self.path(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(file.open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, name: &str, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(create).create(create).truncate(false);
        let file = options.open(self.path(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(FileLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }

    fn new_salt(&self) -> u64 {
        // The standard library keys every hasher of this kind from the system's randomness.
        RandomState::new().hash_one(&self.path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The lock ends when the file is closed.
#[derive(Debug)]
struct FileLock {
    _file: File,
}

impl DiskLock for FileLock {}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn write_pieces_at(&self, pieces: &[&[u8]], mut offset: u64) -> io::Result<()> {
        if let [whole] = pieces {
            return self.write_all_at(whole, offset);
        }
        let mut all: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut all[..];
        // What is empty is passed as well.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let some = left.get(..PIECES_MAX).unwrap_or(left);
            match rustix::io::pwritev(self, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn allocate(&self, bytes_total: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes_total) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    fn cut(&self, bytes_total: u64) -> io::Result<()> {
        self.set_len(bytes_total)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.metadata(), fs::metadata(path)) {
            (Ok(held), Ok(found)) => identity(held) == identity(found),
            (_, Err(error)) => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            (Err(_), _) => true,
        }
    }
}
