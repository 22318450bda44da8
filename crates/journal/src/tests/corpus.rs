//! Journals that are kept in the repository: written by this and earlier versions, whole, torn and
//! damaged. What each must be taken for stands in a text beside it.
//!
//! `LONGSHORE_BLESS=1` writes them anew; a level that was released is never written anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use longshore_engine::{LEVEL, Position};

use crate::disk::Disk;
use crate::segment::{SEGMENT_HEADER_BYTES, segment_name};
use crate::{
    Crash, FaultyJournal, FileConfig, Group, Identity, Journal, OpenError, Report, SimDisk,
    inspect_on,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/level-{LEVEL}"))
}

fn config() -> FileConfig {
    let identity = Identity { store: *b"longshore-corpus", shard: 1 };
    FileConfig { identity, first_segment_bytes: 1 << 10, ..FaultyJournal::tiny_config() }
}

/// What the corpus holds: a name and how the disk gets there.
fn cases() -> Vec<(&'static str, SimDisk)> {
    let first = segment_name(1);
    let flipped = |offset: u64| {
        let disk = written(true);
        disk.flip_bit(&first, SEGMENT_HEADER_BYTES + offset, 1);
        disk
    };
    let torn = written(false);
    torn.edit(&first, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end - 20..].fill(0);
    });
    let missing = written(true);
    drop(FaultyJournal::open(&missing, config()).unwrap());
    missing.remove(&segment_name(2)).unwrap();
    vec![
        ("whole", written(true)),
        ("not-marked", written(false)),
        ("torn", torn),
        ("header-flipped", flipped(9)),
        ("payload-flipped", flipped(70)),
        ("newest-missing", missing),
    ]
}

fn written(marked: bool) -> SimDisk {
    let disk = SimDisk::new(11);
    let (mut journal, _) = FaultyJournal::open(&disk, config()).unwrap();
    for round in 1..=3_u8 {
        let mut group = Group::new(journal.tail().next());
        group.push(format!("entry of round {round}").as_bytes());
        group.push(&[round; 30]);
        journal.append(&group).unwrap();
    }
    if marked {
        journal.mark().unwrap();
    }
    journal.crash(Crash::Kill)
}

/// Files are kept without the zeros at their ends.
fn stored(disk: &SimDisk) -> Vec<(String, u64, Vec<u8>)> {
    let names = disk.names().unwrap().into_iter().filter(|name| name != "lock");
    let files = names.map(|name| {
        let mut bytes = disk.bytes(&name).unwrap();
        let len = bytes.len() as u64;
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        (name, len, bytes)
    });
    files.collect()
}

fn describe(report: &Report, disk: &SimDisk) -> String {
    let mut text = String::new();
    let Report { first, tail, durable, torn, corrupt, .. } = report;
    writeln!(text, "positions {first} to {tail}, durable {durable}").unwrap();
    for segment in &report.segments {
        let (path, frames, verdict) = (segment.path.display(), segment.frames, segment.verdict);
        writeln!(text, "{path}: {frames} frames, {verdict:?}").unwrap();
    }
    if let Some(torn) = torn {
        let (offset, bytes, position) = (torn.offset, torn.bytes, torn.position);
        writeln!(text, "torn at {offset}, {bytes} bytes, position {position}: {}", torn.fault)
            .unwrap();
    }
    for place in corrupt {
        writeln!(text, "corrupt: {place}").unwrap();
    }
    match FaultyJournal::open(disk, config()) {
        Ok((journal, _)) => {
            for entry in journal.read_from(Position::START).unwrap() {
                let (position, bytes) = entry.unwrap();
                writeln!(text, "{position}: {}", bytes.escape_ascii()).unwrap();
            }
        }
        Err(OpenError::Corrupt(place)) => writeln!(text, "refused: {place}").unwrap(),
        Err(other) => panic!("{other}"),
    }
    text
}

fn bless() {
    let _ = fs::remove_dir_all(folder());
    for (name, disk) in cases() {
        let folder = folder().join(name);
        fs::create_dir_all(&folder).unwrap();
        for (name, len, bytes) in stored(&disk) {
            fs::write(folder.join(format!("{name}.{len}")), bytes).unwrap();
        }
        let report = inspect_on(&disk, None).unwrap();
        fs::write(folder.join("expected.txt"), describe(&report, &disk)).unwrap();
    }
}

#[test]
fn journals_that_were_kept_are_taken_for_what_they_are() {
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        bless();
    }
    let mut count = 0;
    for case in fs::read_dir(folder()).unwrap() {
        let case = case.unwrap().path();
        let disk = SimDisk::new(1);
        for file in fs::read_dir(&case).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            let Some((name, len)) = name.rsplit_once('.').filter(|_| name != "expected.txt") else {
                continue;
            };
            let mut bytes = fs::read(&file).unwrap();
            bytes.resize(len.parse().unwrap(), 0);
            disk.put(name, bytes);
        }
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap();
        let report = inspect_on(&disk, Some(config().identity)).unwrap();
        assert_eq!(describe(&report, &disk), expected, "{}", case.display());
        count += 1;
    }
    assert!(count >= 6, "only {count} kept journals");
}
