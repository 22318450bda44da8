//! What the disk costs by itself: 4 KiB written over an already written part of a file, then
//! fdatasync. Nothing that acknowledges durably can be faster. The benchmarks beside peers
//! (`benches`) measure the disk with this same file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK_BYTES: usize = 4096;
/// How much of the file is written over, round and round.
const BLOCKS: u64 = 1024;

/// A file to measure the disk with. It has no name: it is gone with this value.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    block: Vec<u8>,
    next: u64,
}

impl Disk {
    /// Writes the whole file once in `folder` and syncs it.
    pub(crate) fn prepare(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("bench-{}.tmp", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        let block = vec![0x4c; BLOCK_BYTES];
        for index in 0..BLOCKS {
            file.write_all_at(&block, index * BLOCK_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file, block, next: 0 })
    }

    /// One durable write.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.block, self.next * BLOCK_BYTES as u64)?;
        self.file.sync_data()?;
        self.next = (self.next + 1) % BLOCKS;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::prepare(folder.path()).unwrap();
        disk.write().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
