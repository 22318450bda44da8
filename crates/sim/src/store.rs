//! What outlives a process: the disk with the journal, and the image of the state that the last
//! flush left.

use longshore_journal::{Crash, SimDisk};
use longshore_store::Flusher;

use crate::folder::{Folder, Keeper};
use crate::ledger::Ledger;
use crate::map::{Image, SimTree};

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    /// The folder with the events of streams.
    pub(crate) events: SimDisk,
    pub(crate) image: Image,
    /// Where the tree that ships has the state of that image.
    folder: Option<Folder>,
    pub(crate) ledger: Ledger,
    /// What a crash left that was met in the middle of something.
    crashed: Option<SimDisk>,
    crashed_events: Option<SimDisk>,
    /// Bytes that the disk has room for, where it has a bound.
    capacity_bytes: Option<u64>,
    /// No flush finds room.
    pub(crate) refuses_tables: bool,
    /// The reserve is taken.
    reserve: bool,
}

impl Store {
    pub(crate) const RESERVE_BYTES: u64 = 2 << 10;

    pub(crate) fn new(disk_seed: u64, keeper: Keeper) -> Self {
        let (image, ledger) = (Image::default(), Ledger::default());
        Self {
            disk: SimDisk::new(disk_seed),
            events: SimDisk::new(disk_seed ^ 1),
            image,
            folder: (keeper == Keeper::Lsm).then(Folder::new),
            ledger,
            crashed: None,
            crashed_events: None,
            capacity_bytes: None,
            refuses_tables: false,
            reserve: false,
        }
    }

    /// The state that the last flush left, or what `image` makes of it.
    pub(crate) fn tree(&self, image: Image) -> SimTree {
        let lsm = self.folder.as_ref().map(|folder| folder.open(image.position));
        SimTree::of(image, lsm)
    }

    /// Flushes a state that was set aside.
    pub(crate) fn flush(&mut self, image: Image, flusher: Option<&Flusher>) {
        if let (Some(folder), Some(flusher)) = (&self.folder, flusher) {
            folder.flush(flusher, image.position);
        }
        self.image = image;
    }

    /// Orders a crash before one of the next changes of the disk: of the journal's folder, or of
    /// that of the events.
    pub(crate) fn crash_after(&self, changes: u64, crash: Crash, in_events: bool) {
        let disk = if in_events { &self.events } else { &self.disk };
        disk.image_crashes_after(changes, &[crash]);
    }

    /// Whether that crash was met. What was done since the one that did it has not heard, so it is
    /// asked after whatever changes the disk.
    pub(crate) fn has_crashed(&mut self) -> bool {
        self.crashed = self.disk.take_images().pop().or_else(|| self.crashed.take());
        self.crashed_events =
            self.events.take_images().pop().or_else(|| self.crashed_events.take());
        self.crashed.is_some() || self.crashed_events.is_some()
    }

    /// Ends the process, or the power with it: as it was met, else as `crash` says.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.disk = self.crashed.take().unwrap_or_else(|| self.disk.crash(crash));
        self.events = self.crashed_events.take().unwrap_or_else(|| self.events.crash(crash));
        if let Some(folder) = &self.folder {
            folder.crash(crash);
        }
        self.limit();
    }

    /// The disk has room for so many bytes, the reserve among them.
    pub(crate) fn set_capacity_bytes(&mut self, bytes: Option<u64>) {
        self.capacity_bytes = bytes;
        self.limit();
    }

    /// Bytes that can be written to it.
    pub(crate) fn free_bytes(&self) -> u64 {
        let taken = self.disk.used_bytes() + if self.reserve { Self::RESERVE_BYTES } else { 0 };
        self.capacity_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(taken))
    }

    pub(crate) fn holds_reserve(&self) -> bool {
        self.reserve
    }

    pub(crate) fn hold_reserve(&mut self, held: bool) {
        self.reserve = held;
        self.limit();
    }

    fn limit(&self) {
        let reserved = if self.reserve { Self::RESERVE_BYTES } else { 0 };
        let bytes = self.capacity_bytes.map(|bytes| bytes.saturating_sub(reserved));
        self.disk.set_capacity_bytes(bytes);
    }
}
