//! A full disk, a second process, and what is on a real file system afterwards.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_engine::Position;
use tempfile::TempDir;

use crate::{
    AppendError, FaultyJournal, FileConfig, FileJournal, Group, InspectError, Journal, OpenError,
    SimDisk, inspect,
};

fn group_of(first: Position, len: usize) -> Group {
    let mut group = Group::new(first);
    group.push(&vec![7; len]);
    group
}

#[test]
fn a_full_disk_is_met_before_anything_is_written_and_goes_by() {
    let disk = SimDisk::new(1);
    let (mut journal, _) = FaultyJournal::open(&disk, FaultyJournal::tiny_config()).unwrap();
    disk.set_capacity_bytes(Some(disk.used_bytes()));
    let mut short_at = None;
    let refused = loop {
        let group = group_of(journal.tail().next(), 1000);
        if journal.room().is_short() && short_at.is_none() {
            short_at = Some(journal.tail());
            // What is left serves settlements.
            assert!(journal.room().bytes() >= 4 << 10, "{}", journal.room().bytes());
        }
        match journal.append(&group) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::NoSpace { needed_bytes } if needed_bytes > 1000));
    let tail = journal.tail();
    assert!(short_at.is_some_and(|short_at| short_at < tail), "{short_at:?} {tail}");
    assert!(journal.append(&group_of(tail.next(), 1000)).is_err());
    let room = journal.room().bytes();
    assert!(journal.append(&group_of(tail.next(), 1)).is_ok() || room < 72);

    disk.set_capacity_bytes(None);
    journal.mark().unwrap();
    assert!(!journal.room().is_short());
    journal.append(&group_of(journal.tail().next(), 1000)).unwrap();
    let tail = journal.tail();
    drop(journal);
    let (journal, _) = FaultyJournal::open(&disk, FaultyJournal::tiny_config()).unwrap();
    assert_eq!(journal.tail(), tail);
    assert_eq!(journal.read_from(Position(1)).unwrap().count() as u64, tail.0);
}

/// A whole segment did not fit, so nothing was appended any more, whatever else was free.
#[test]
fn a_shorter_segment_is_taken_where_a_whole_one_does_not_fit() {
    let disk = SimDisk::new(1);
    let config = FileConfig {
        segment_bytes: 1 << 20,
        first_segment_bytes: 64 << 10,
        ..FaultyJournal::tiny_config()
    };
    let (mut journal, _) = FaultyJournal::open(&disk, config).unwrap();
    let grow = |journal: &mut FaultyJournal| {
        journal.append(&group_of(journal.tail().next(), 3000)).map(drop)
    };
    while journal.room().prepared_bytes() < 1 << 20 {
        grow(&mut journal).unwrap();
    }
    let free_bytes = 800 << 10;
    disk.set_capacity_bytes(Some(disk.used_bytes() + free_bytes));
    let prepared = journal.room().prepared_bytes();
    let mut appended = 0;
    while grow(&mut journal).is_ok() {
        appended += 3000;
    }
    assert!(appended > prepared + free_bytes * 7 / 10, "{appended} of {prepared} + {free_bytes}");
    // What does not fit in the shortest is made room for, if there is any.
    disk.set_capacity_bytes(Some(disk.used_bytes() + free_bytes));
    journal.append(&group_of(journal.tail().next(), 200 << 10)).unwrap();
}

#[test]
fn it_starts_on_a_full_disk_from_the_space_of_what_it_had_prepared() {
    let disk = SimDisk::new(1);
    let (mut journal, _) = FaultyJournal::open(&disk, FaultyJournal::tiny_config()).unwrap();
    journal.append(&group_of(Position(1), 100)).unwrap();
    drop(journal);
    disk.set_capacity_bytes(Some(disk.used_bytes()));
    let (mut journal, _) = FaultyJournal::open(&disk, FaultyJournal::tiny_config()).unwrap();
    assert!(journal.room().is_short());
    journal.append(&group_of(Position(2), 100)).unwrap();
    drop(journal);
    disk.set_capacity_bytes(Some(0));
    let refused = FaultyJournal::open(&disk, FaultyJournal::tiny_config()).map(drop);
    assert!(matches!(refused, Err(OpenError::NoSpace { .. })), "{refused:?}");
    disk.set_capacity_bytes(None);
    let (journal, recovery) = FaultyJournal::open(&disk, FaultyJournal::tiny_config()).unwrap();
    assert_eq!((journal.tail(), recovery.torn), (Position(2), None));
}

#[test]
fn a_second_process_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = FileJournal::open(&path, FileConfig::default()).unwrap();
    let refused = FileJournal::open(&path, FileConfig::default()).map(drop);
    assert!(matches!(refused, Err(OpenError::Locked { .. })), "{refused:?}");
    assert!(matches!(inspect(&path, None), Err(InspectError::Locked { .. })));
    drop(journal);
    FileJournal::open(&path, FileConfig::default()).unwrap();
}

/// Names and bytes of all files.
fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn inspecting_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (mut journal, recovery) = FileJournal::open(folder.path(), FileConfig::default()).unwrap();
    assert_eq!((recovery.first, recovery.tail), (Position(1), Position::START));
    for _ in 0..3 {
        journal.append(&group_of(journal.tail().next(), 100)).unwrap();
    }
    drop(journal);
    let before = snapshot(folder.path());
    let report = inspect(folder.path(), None).unwrap();
    assert!(report.is_sound());
    assert_eq!((report.tail, report.durable), (Position(3), Position(2)));
    assert!(before == snapshot(folder.path()));
    assert!(inspect(folder.path().join("nowhere"), None).is_err());
}

#[test]
fn truncation_gives_files_back() {
    let folder = TempDir::new().unwrap();
    let config = FileConfig { prepare: crate::Prepare::Background, ..FaultyJournal::tiny_config() };
    let (mut journal, _) = FileJournal::open(folder.path(), config).unwrap();
    for _ in 0..100 {
        journal.append(&group_of(journal.tail().next(), 1000)).unwrap();
    }
    assert!(journal.bytes_on_disk() > 100_000);
    journal.truncate_before(journal.tail().next()).unwrap();
    assert!(journal.first() > Position(50));
    assert!(journal.bytes_on_disk() < 50_000, "{}", journal.bytes_on_disk());
    drop(journal);
    let (journal, _) = FileJournal::open(folder.path(), config).unwrap();
    assert_eq!(journal.tail(), Position(100));
}

/// It is written to without a fault, and the next start finds a gap.
#[test]
fn a_segment_that_was_removed_is_told_and_one_that_was_given_back_is_not() {
    let folder = TempDir::new().unwrap();
    let config = FileConfig {
        segment_bytes: 8 << 10,
        first_segment_bytes: 8 << 10,
        ..FileConfig::default()
    };
    let (mut journal, _) = FileJournal::open(folder.path(), config).unwrap();
    let room = journal.room();
    for _ in 0..10 {
        journal.append(&group_of(journal.tail().next(), 3000)).unwrap();
        assert_eq!(room.lost_file(), None);
    }
    let first = journal.first();
    journal.truncate_before(journal.tail()).unwrap();
    assert!(journal.first() > first);
    assert_eq!(room.lost_file(), None);
    let mut segments: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|it| it == "segment"));
    assert!(segments.len() > 1, "one is written, one is prepared: {segments:?}");
    for path in segments {
        let elsewhere = path.with_extension("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        // One that is just being prepared is known in a moment.
        let until = Instant::now() + Duration::from_secs(10);
        while room.lost_file().is_none() && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(room.lost_file().as_ref(), Some(&path));
        fs::write(&path, b"another").unwrap();
        assert_eq!(room.lost_file().as_ref(), Some(&path));
        fs::rename(&elsewhere, &path).unwrap();
        assert_eq!(room.lost_file(), None);
    }
}
