//! A disk in memory that fails as disks do: unsynced sectors are lost, kept or torn by a power cut,
//! a failed sync loses them for good while the page cache still shows them, space runs out, bits
//! flip. It assumes what `docs/format.md` assumes of a disk, and no more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, DiskLock};

const SECTOR_BYTES: usize = 512;

/// What ends a simulated process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Crash {
    /// The process alone: what it wrote is still in the page cache.
    Kill,
    /// The power, and nothing that was not synced had reached the disk.
    PowerCutLosingAll,
    /// The power, and every unsynced sector was lost, written, or half written, by the disk's seed.
    PowerCut,
}

/// A simulated disk with one folder. A clone is another handle to the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: u64,
    locked: bool,
    names: Names,
    names_durable: Names,
    /// Changes of names since the last sync of the folder, in order.
    changes: Vec<Change>,
    capacity_bytes: Option<u64>,
    writes_until_failure: Option<u64>,
    syncs_until_failure: Option<u64>,
    syncs_ignored: bool,
    sync_count: u64,
    /// Crashes to be taken before a change, and after how many others.
    crashes: Option<(u64, Vec<Crash>)>,
    /// What they left.
    images: Vec<SimDisk>,
}

/// The files of a folder. They hold no handle to their disk, which would keep it for ever.
type Names = BTreeMap<String, File>;

type File = Arc<Mutex<Contents>>;

#[derive(Clone, Debug)]
enum Change {
    Set(String, File),
    Rename(String, String),
    Remove(String),
}

/// A file as it is opened.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    contents: File,
}

/// A file as the process sees it, and how the disk differs.
#[derive(Clone, Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    allocated_bytes: u64,
    durable_len: usize,
    /// Unsynced sectors with what the disk has instead; empty where it has nothing.
    dirty: BTreeMap<usize, Vec<u8>>,
    /// The same of sectors whose sync failed: they are never written again.
    lost: BTreeMap<usize, Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn used_bytes(&self) -> u64 {
        let size = |file: &File| {
            let contents = lock(file);
            contents.allocated_bytes.max(contents.bytes.len() as u64)
        };
        self.names.values().map(size).sum()
    }

    fn check_space(&self, more_bytes: u64) -> io::Result<()> {
        let fits = self.capacity_bytes.is_none_or(|c| self.used_bytes() + more_bytes <= c);
        if more_bytes == 0 || fits { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn apply(names: &mut Names, change: Change) {
        match change {
            Change::Set(name, file) => drop(names.insert(name, file)),
            Change::Remove(name) => drop(names.remove(&name)),
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.names, change.clone());
        self.changes.push(change);
    }
}

fn countdown(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl SimDisk {
    /// An empty disk. The seed decides what a power cut leaves.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            locked: false,
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            changes: Vec::new(),
            capacity_bytes: None,
            writes_until_failure: None,
            syncs_until_failure: None,
            syncs_ignored: false,
            sync_count: 0,
            crashes: None,
            images: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Limits the space for all files together; `None` lifts the limit.
    pub fn set_capacity_bytes(&self, bytes: Option<u64>) {
        lock(&self.state).capacity_bytes = bytes;
    }

    /// Bytes that all files take.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.state).used_bytes()
    }

    /// Makes a write fail half-way with an I/O error, after `count` more that succeed.
    pub fn fail_write_after(&self, count: u64) {
        lock(&self.state).writes_until_failure = Some(count);
    }

    /// Makes a sync of a file fail with an I/O error, after `count` more that succeed. What it
    /// should have written never reaches the disk, although it can be read until the power is cut.
    pub fn fail_sync_after(&self, count: u64) {
        lock(&self.state).syncs_until_failure = Some(count);
    }

    /// Takes back the failures and crashes that were ordered and did not happen yet.
    pub fn fail_nothing(&self) {
        let mut state = lock(&self.state);
        state.crashes = None;
        state.writes_until_failure = None;
        state.syncs_until_failure = None;
    }

    /// Makes syncs lie: they succeed and do nothing. The canary of every durability test.
    pub fn ignore_syncs(&self, ignored: bool) {
        lock(&self.state).syncs_ignored = ignored;
    }

    /// Takes an image of each of `crashes` before a change of the disk, after `count` more that are
    /// carried out. Writes, syncs, creations, renames and removals are changes.
    pub fn image_crashes_after(&self, count: u64, crashes: &[Crash]) {
        lock(&self.state).crashes = Some((count, crashes.to_vec()));
    }

    /// The images that were ordered, once they were taken.
    pub fn take_images(&self) -> Vec<Self> {
        std::mem::take(&mut lock(&self.state).images)
    }

    /// Comes before every change.
    fn before_change(&self) {
        let mut state = lock(&self.state);
        let crashes = match state.crashes.take() {
            Some((0, crashes)) => crashes,
            Some((count, crashes)) => {
                state.crashes = Some((count - 1, crashes));
                return;
            }
            None => return,
        };
        drop(state);
        let images: Vec<Self> = crashes.into_iter().map(|crash| self.crash(crash)).collect();
        lock(&self.state).images = images;
    }

    /// How many syncs of files succeeded.
    pub fn sync_count(&self) -> u64 {
        lock(&self.state).sync_count
    }

    /// Flips a bit on the disk and in the page cache. Does nothing where the file has no such byte.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        self.edit(name, |bytes| {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
            }
        });
    }

    /// Changes a file's bytes behind the back of its owner, synced.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = lock(&self.state).names.get(name).cloned();
        if let Some(file) = file {
            let mut contents = lock(&file);
            change(&mut contents.bytes);
            contents.durable_len = contents.bytes.len();
        }
    }

    /// A file's bytes as the process sees them.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let file = lock(&self.state).names.get(name).cloned()?;
        let bytes = lock(&file).bytes.clone();
        Some(bytes)
    }

    /// Makes a file, synced.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let durable_len = bytes.len();
        let contents = Contents { bytes, durable_len, ..Contents::default() };
        let file = Arc::new(Mutex::new(contents));
        let mut state = lock(&self.state);
        state.names.insert(name.to_owned(), Arc::clone(&file));
        state.names_durable.insert(name.to_owned(), file);
    }

    /// The disk that the next process finds. This one stays as it is and goes its own way, so one
    /// moment can crash in many ways.
    #[must_use]
    pub fn crash(&self, crash: Crash) -> Self {
        let mut state = lock(&self.state);
        let next = Self::new(state.random(u64::MAX));
        let mut kept = state.names_durable.clone();
        let changes = match crash {
            Crash::Kill => state.changes.len() as u64,
            Crash::PowerCutLosingAll => 0,
            Crash::PowerCut => {
                let count = state.changes.len() as u64;
                state.random(count + 1)
            }
        };
        // The file system keeps changes of names in order.
        for change in state.changes.iter().take(changes as usize) {
            State::apply(&mut kept, change.clone());
        }
        let copy =
            |file: &File, state: &mut State| Arc::new(Mutex::new(lock(file).after(crash, state)));
        let names: Names =
            kept.into_iter().map(|(name, file)| (name, copy(&file, &mut state))).collect();
        let mut next_state = lock(&next.state);
        next_state.capacity_bytes = state.capacity_bytes;
        next_state.syncs_ignored = state.syncs_ignored;
        // A killed process leaves changes of names to be synced; that they already are is harmless,
        // since the next process syncs the folder before it relies on any.
        next_state.names_durable.clone_from(&names);
        next_state.names = names;
        drop(next_state);
        next
    }
}

impl Contents {
    fn after(&self, crash: Crash, state: &mut State) -> Self {
        if crash == Crash::Kill {
            return self.clone();
        }
        let mut bytes = self.bytes.clone();
        for (sector, old) in &self.dirty {
            let fate = if crash == Crash::PowerCut { state.random(4) } else { 0 };
            let start = sector * SECTOR_BYTES;
            let end = bytes.len().min(start + SECTOR_BYTES);
            let torn_at = state.random(SECTOR_BYTES as u64) as usize;
            for (index, byte) in bytes[start.min(end)..end].iter_mut().enumerate() {
                let old = old.get(index).copied().unwrap_or(0);
                // Bytes that are the same before and after are never harmed; 1 writes all.
                match fate {
                    0 => *byte = old,
                    2 if index >= torn_at => *byte = old,
                    3 if *byte != old => *byte = state.random(256) as u8,
                    _ => {}
                }
            }
        }
        for (sector, old) in &self.lost {
            let start = sector * SECTOR_BYTES;
            let end = bytes.len().min(start + SECTOR_BYTES);
            for (index, byte) in bytes[start.min(end)..end].iter_mut().enumerate() {
                *byte = old.get(index).copied().unwrap_or(0);
            }
        }
        if crash == Crash::PowerCutLosingAll || state.random(2) == 0 {
            bytes.resize(self.durable_len, 0);
        }
        let durable_len = bytes.len();
        let allocated_bytes = self.allocated_bytes;
        Self { bytes, allocated_bytes, durable_len, ..Self::default() }
    }

    fn write(&mut self, new: &[u8], offset: usize) {
        if new.is_empty() {
            return;
        }
        let end = offset + new.len();
        for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let start = (sector * SECTOR_BYTES).min(self.durable_len);
            // What a cut took off is gone; what stands before it is not harmed by that.
            let stop = (start + SECTOR_BYTES).min(self.durable_len).min(self.bytes.len());
            let old = match self.lost.remove(&sector) {
                Some(old) => old,
                None if self.dirty.contains_key(&sector) => continue,
                None => self.bytes.get(start..stop).unwrap_or_default().to_vec(),
            };
            self.dirty.insert(sector, old);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(new);
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let contents = lock(&self.contents);
        let bytes = contents.bytes.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.before_change();
        let (failed, len) = {
            let mut state = lock(&self.disk.state);
            let size = {
                let contents = lock(&self.contents);
                contents.allocated_bytes.max(contents.bytes.len() as u64)
            };
            state.check_space((offset + bytes.len() as u64).saturating_sub(size))?;
            let failed = countdown(&mut state.writes_until_failure);
            (failed, if failed { state.random(bytes.len() as u64) as usize } else { bytes.len() })
        };
        lock(&self.contents).write(&bytes[..len], offset as usize);
        if failed { Err(io::Error::other("simulated write failure")) } else { Ok(()) }
    }

    fn allocate(&self, bytes_total: u64) -> io::Result<()> {
        let state = lock(&self.disk.state);
        let size = lock(&self.contents).bytes.len() as u64;
        state.check_space(bytes_total.saturating_sub(size))?;
        lock(&self.contents).allocated_bytes = bytes_total;
        Ok(())
    }

    fn cut(&self, bytes_total: u64) -> io::Result<()> {
        self.disk.before_change();
        let mut contents = lock(&self.contents);
        contents.bytes.resize(bytes_total as usize, 0);
        contents.allocated_bytes = contents.allocated_bytes.min(bytes_total);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.before_change();
        let mut state = lock(&self.disk.state);
        let mut contents = lock(&self.contents);
        if countdown(&mut state.syncs_until_failure) {
            let dirty = std::mem::take(&mut contents.dirty);
            contents.lost.extend(dirty);
            return Err(io::Error::other("simulated sync failure"));
        }
        state.sync_count += 1;
        if !state.syncs_ignored {
            contents.dirty.clear();
            contents.durable_len = contents.bytes.len();
        }
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.contents).bytes.len() as u64)
    }

    fn is_at(&self, _path: &Path) -> bool {
        true
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.disk.state).locked = false;
    }
}

impl Disk for SimDisk {
    fn free_bytes(&self) -> io::Result<u64> {
        let state = lock(&self.state);
        let left = |capacity: u64| capacity.saturating_sub(state.used_bytes());
        Ok(state.capacity_bytes.map_or(u64::MAX, left))
    }

    fn create_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.state).names.keys().cloned().collect())
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let state = lock(&self.state);
        let contents = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), contents: Arc::clone(contents) }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.before_change();
        let file = SimFile { disk: self.clone(), contents: File::default() };
        lock(&self.state).change(Change::Set(name.to_owned(), Arc::clone(&file.contents)));
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.before_change();
        lock(&self.state).change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.before_change();
        lock(&self.state).change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.before_change();
        let mut state = lock(&self.state);
        if !state.syncs_ignored {
            state.changes.clear();
            state.names_durable = state.names.clone();
        }
        Ok(())
    }

    fn lock(&self, _name: &str, _create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { disk: self.clone() })))
    }

    fn new_salt(&self) -> u64 {
        lock(&self.state).random(u64::MAX)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files held their disk and the disk its files, so that thousands of runs took gigabytes.
    #[test]
    fn a_disk_goes_with_its_last_handle() {
        let disk = SimDisk::new(1);
        let file = disk.create("a").unwrap();
        file.write_at(b"bytes", 0).unwrap();
        let crashed = disk.crash(Crash::Kill);
        let states = [Arc::downgrade(&disk.state), Arc::downgrade(&crashed.state)];
        drop((disk, crashed, file));
        assert!(states.iter().all(|state| state.upgrade().is_none()));
    }
}
