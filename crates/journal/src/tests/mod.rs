//! Tests of the journals as a whole: conformance here, faults of the disk in the files below.

mod corpus;
mod crash;
mod flips;
mod space;

use std::path::PathBuf;

use tempfile::TempDir;

use crate::conformance::{self, Subject};
use crate::{FaultyJournal, FileConfig, FileJournal, Prepare, SimDisk};

impl Subject for SimDisk {
    type Journal = FaultyJournal;

    fn open(&mut self) -> FaultyJournal {
        FaultyJournal::open(self, FaultyJournal::tiny_config()).unwrap().0
    }
}

struct FileSubject {
    folder: TempDir,
    config: FileConfig,
}

impl FileSubject {
    fn new(config: FileConfig) -> Self {
        Self { folder: TempDir::new().unwrap(), config }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shard/journal")
    }
}

impl Subject for FileSubject {
    type Journal = FileJournal;

    fn open(&mut self) -> FileJournal {
        FileJournal::open(self.path(), self.config).unwrap().0
    }
}

#[test]
fn the_journal_on_a_simulated_disk_conforms() {
    conformance::run(|| SimDisk::new(1));
}

#[test]
fn the_journal_in_files_conforms() {
    let small = FileConfig { prepare: Prepare::Background, ..FaultyJournal::tiny_config() };
    conformance::run(|| FileSubject::new(small));
    conformance::run(|| FileSubject::new(FileConfig::default()));
}
