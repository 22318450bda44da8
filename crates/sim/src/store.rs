//! What outlives a process: the disk with the journal, and the image of the state that the last
//! flush left.

use longshore_journal::{Crash, SimDisk};

use crate::ledger::Ledger;
use crate::map::SimMap;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    /// The folder with the events of streams.
    pub(crate) events: SimDisk,
    pub(crate) image: SimMap,
    pub(crate) ledger: Ledger,
    /// What a crash left that was met in the middle of something.
    crashed: Option<SimDisk>,
    crashed_events: Option<SimDisk>,
}

impl Store {
    pub(crate) fn new(disk_seed: u64) -> Self {
        let (image, ledger) = (SimMap::default(), Ledger::default());
        let (disk, events) = (SimDisk::new(disk_seed), SimDisk::new(disk_seed ^ 1));
        Self { disk, events, image, ledger, crashed: None, crashed_events: None }
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
        self.crashed_events = self.events.take_images().pop().or(self.crashed_events.take());
        self.crashed.is_some() || self.crashed_events.is_some()
    }

    /// Ends the process, or the power with it: as it was met, else as `crash` says.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.disk = self.crashed.take().unwrap_or_else(|| self.disk.crash(crash));
        self.events = self.crashed_events.take().unwrap_or_else(|| self.events.crash(crash));
    }
}
