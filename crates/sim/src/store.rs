//! What outlives a process: the disk with the journal, and the image of the state that the last
//! flush left.

use longshore_journal::SimDisk;

use crate::ledger::Ledger;
use crate::map::SimMap;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    pub(crate) image: SimMap,
    pub(crate) ledger: Ledger,
}

impl Store {
    pub(crate) fn new(disk_seed: u64) -> Self {
        let (image, ledger) = (SimMap::default(), Ledger::default());
        Self { disk: SimDisk::new(disk_seed), image, ledger }
    }
}
