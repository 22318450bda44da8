//! Gives back the space of bodies to which nothing points any more. It asks the tables about every
//! body of a file, so nothing has to be counted or remembered on disk, and a crash loses nothing.
//!
//! A hole costs 125 us of system time on ext4, a hundredth of it where there is one already. So a
//! file gets holes only once they are as large as what it keeps: it occupies at most twice what is
//! needed, and bodies that are dropped in any order make a quarter of the holes.

use std::ops::Range;
use std::sync::Arc;

use lsm_tree::{InternalValue, ValueType};

use crate::body::Pointer;
use crate::body_file::{self, BodyFile};
use crate::error::{FlushError, StoreFault};
use crate::flusher::Flusher;
use crate::shared::lock;
use crate::tables::Tables;

/// Space is given back in blocks. A block that a body in use shares is left alone.
const BLOCK_BYTES: u64 = 4096;

impl Flusher {
    /// Looks through one body file that may have lost pointers. Answers whether there may be more
    /// to do. Where somebody may still read what is to go, all is left for the next time.
    pub fn sweep(&self) -> Result<bool, FlushError> {
        let _compacting = lock(&self.shared.compacting);
        let Some(file) = self.next_due() else { return Ok(false) };
        let tables = Arc::clone(&self.shared.view().tables);
        if !self.shared.all_read(&tables) {
            lock(&self.shared.bodies).due.insert(file.number);
            return Ok(false);
        }
        let unused = self.unused(&file, &tables);
        let mut bodies = lock(&self.shared.bodies);
        if !bodies.files.contains_key(&file.number) {
            // A flush took the file out of the tables and removed it meanwhile.
            return Ok(true);
        }
        let unused = unused?;
        let unused_bytes: u64 = unused.iter().map(|range| range.end - range.start).sum();
        let used_bytes = file.bodies_bytes - unused_bytes;
        let given_back = bodies.given_back.entry(file.number).or_default();
        let worth_it = unused_bytes.saturating_sub(*given_back) >= used_bytes;
        if worth_it {
            *given_back = unused_bytes;
        }
        if used_bytes == 0 {
            bodies.unused.insert(file.number);
        }
        drop(bodies);
        if worth_it {
            give_back(&tables, &file, &unused);
        }
        Ok(true)
    }

    /// Taken off the list before the tables are looked at: what they lose later puts it back.
    fn next_due(&self) -> Option<BodyFile> {
        let mut bodies = lock(&self.shared.bodies);
        while let Some(number) = bodies.due.pop_first() {
            if let Some(file) = bodies.files.get(&number) {
                return Some(*file);
            }
        }
        None
    }

    /// What no table points to, as ranges of the file.
    fn unused(&self, file: &BodyFile, tables: &Tables) -> Result<Vec<Range<u64>>, StoreFault> {
        let mut unused: Vec<Range<u64>> = Vec::new();
        for body in file.index(&self.shared.dir)? {
            let entry = tables.get(&body.key)?;
            if entry.is_some_and(|entry| points_to(&entry, file.number, body.range.start)) {
                continue;
            }
            match unused.last_mut() {
                Some(last) if last.end == body.range.start => last.end = body.range.end,
                _ => unused.push(body.range),
            }
        }
        Ok(unused)
    }
}

fn points_to(entry: &InternalValue, file: u64, offset: u64) -> bool {
    entry.key.value_type == ValueType::Indirection
        && Pointer::decode(&entry.value)
            .is_some_and(|pointer| (pointer.file, pointer.offset) == (file, offset))
}

/// Where the file system cannot make holes, the space comes back with the whole file.
#[cfg(target_os = "linux")]
fn give_back(tables: &Tables, file: &BodyFile, unused: &[Range<u64>]) {
    use rustix::fs::{FallocateFlags, fallocate};

    let path = body_file::path(tables.dir(), file.number);
    let Ok(opened) = std::fs::File::options().write(true).open(path) else { return };
    for range in unused {
        let (start, end) = (range.start.next_multiple_of(BLOCK_BYTES), range.end);
        let length = (end - end % BLOCK_BYTES).saturating_sub(start);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if length > 0 && fallocate(&opened, flags, start, length).is_err() {
            return;
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn give_back(_tables: &Tables, _file: &BodyFile, _unused: &[Range<u64>]) {}
