//! How much room the disk has and what that means: three marks, and a reserve that is given back
//! where the disk is full all the same. It knows nothing of what is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The room on a disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

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

/// Free bytes below which something changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskMarks {
    /// A warning is logged and shown. Default: 15 % of the disk, at most 8 GiB.
    pub warn_bytes: Option<u64>,
    /// Publishing is refused. Default: 8 % of the disk, at most 2 GiB.
    pub refuse_bytes: Option<u64>,
    /// Only settlements, administration and reads go on. Default: 4 % of the disk, at most 512 MiB.
    pub settle_only_bytes: Option<u64>,
}

impl DiskMarks {
    /// The defaults, which depend on the size of the disk.
    pub const DEFAULT: Self =
        Self { warn_bytes: None, refuse_bytes: None, settle_only_bytes: None };

    /// What `space` means.
    pub fn level(&self, space: Space) -> DiskLevel {
        let share = |percent: u64, bytes_max: u64| {
            (space.total_bytes / 100).saturating_mul(percent).min(bytes_max)
        };
        let below = |mark: Option<u64>, percent, bytes_max| {
            space.free_bytes < mark.unwrap_or_else(|| share(percent, bytes_max))
        };
        if below(self.settle_only_bytes, 4, 512 << 20) {
            DiskLevel::SettleOnly
        } else if below(self.refuse_bytes, 8, 2 << 30) {
            DiskLevel::Refuse
        } else if below(self.warn_bytes, 15, 8 << 30) {
            DiskLevel::Warn
        } else {
            DiskLevel::Ample
        }
    }
}

impl Default for DiskMarks {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How far the disk has filled.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum DiskLevel {
    /// There is room.
    #[default]
    Ample = 0,
    /// Somebody should look.
    Warn = 1,
    /// Publishing is refused.
    Refuse = 2,
    /// Nothing new is started: settlements, administration and reads go on.
    SettleOnly = 3,
}

impl DiskLevel {
    pub(crate) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Ample,
            1 => Self::Warn,
            2 => Self::Refuse,
            _ => Self::SettleOnly,
        }
    }

    /// A word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
            Self::SettleOnly => "settle_only",
        }
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
    fn marks_follow_the_size_of_the_disk_unless_set() {
        const GIB: u64 = 1 << 30;
        let level = |marks: DiskMarks, free_bytes, total_bytes| {
            marks.level(Space { free_bytes, total_bytes })
        };
        let small = |free| level(DiskMarks::DEFAULT, free, 1000 << 20);
        assert_eq!(small(200 << 20), DiskLevel::Ample);
        assert_eq!(small(100 << 20), DiskLevel::Warn);
        assert_eq!(small(60 << 20), DiskLevel::Refuse);
        assert_eq!(small(10 << 20), DiskLevel::SettleOnly);
        let large = |free| level(DiskMarks::DEFAULT, free, 10_000 * GIB);
        assert_eq!(large(9 * GIB), DiskLevel::Ample);
        assert_eq!(large(7 * GIB), DiskLevel::Warn);
        assert_eq!(large(GIB), DiskLevel::Refuse);
        assert_eq!(large(0), DiskLevel::SettleOnly);
        let marks =
            DiskMarks { warn_bytes: Some(30), refuse_bytes: Some(20), settle_only_bytes: Some(10) };
        let set = |free| level(marks, free, GIB);
        assert_eq!(
            [set(30), set(29), set(19), set(9)],
            [DiskLevel::Ample, DiskLevel::Warn, DiskLevel::Refuse, DiskLevel::SettleOnly]
        );
    }

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
