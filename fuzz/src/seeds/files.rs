//! Seeds that are bytes on a disk: frames, journals, manifests, stores.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result};
use longshore_engine::{LEVEL, OrderedMap, Position};
use longshore_journal::disk::Disk;
use longshore_journal::frame::{self, FrameHeader, FrameKind, GroupFrames};
use longshore_journal::{
    Crash, FileConfig, FileJournal, Group, Identity, Journal, Prepare, SimDisk,
};
use longshore_server::Manifest;
use longshore_store::{Lsm, LsmConfig};

use crate::corpus::Named;
use crate::folder;

const SALT: u64 = 0x5a17;

/// What is done to an input before it is read: nothing, or its checksums are made right.
const AS_IT_IS: u8 = 0;
const SEALED: u8 = 1;

fn group(first: u64, entries: &[&[u8]]) -> Group {
    let mut group = Group::new(Position(first));
    for entry in entries {
        group.push(entry);
    }
    group
}

fn frames_of(group: &Group, payload_bytes_max: usize) -> Vec<u8> {
    let frames = GroupFrames {
        first: group.first(),
        count: group.count() as u32,
        pieces: group.pieces(),
        salt: SALT,
        durable: Position(group.first().0 - 1),
    };
    let mut all = Vec::new();
    let result = frames.write(payload_bytes_max, &mut Vec::new(), |pieces| {
        for piece in pieces {
            all.extend_from_slice(piece);
        }
        Ok::<(), std::convert::Infallible>(())
    });
    match result {
        Ok(()) => all,
        Err(never) => match never {},
    }
}

fn notice(kind: FrameKind, durable: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(FrameHeader::notice(kind, SALT, Position(durable)), &[], &mut bytes);
    bytes
}

pub(super) fn frames() -> Vec<Named> {
    let input = |flags: u8, frames: &[u8]| [&[flags][..], &SALT.to_le_bytes(), frames].concat();
    let small = frames_of(&group(1, &[b"one", b"two"]), 1 << 20);
    let parts = frames_of(&group(3, &[&[7; 100], &[], &[8; 30]]), 48);
    let mark = notice(FrameKind::Mark, 5);
    let all = [&small[..], &parts, &mark, &notice(FrameKind::Seal, 5)].concat();
    let mut lying = small.clone();
    // A group of 2^32 - 1 entries in a few bytes, and a payload of almost 4 GiB.
    lying.splice(40..44, [0xff; 4]);
    let mut long = small.clone();
    long.splice(16..20, [0xff; 4]);
    vec![
        ("group".to_owned(), input(AS_IT_IS, &small)),
        ("group-in-parts".to_owned(), input(AS_IT_IS, &parts)),
        ("mark".to_owned(), input(AS_IT_IS, &mark)),
        ("segment".to_owned(), input(AS_IT_IS, &all)),
        ("segment-sealed".to_owned(), input(SEALED, &all)),
        ("nasty-cut".to_owned(), input(AS_IT_IS, &small[..small.len() - 3])),
        ("nasty-count".to_owned(), input(SEALED, &lying)),
        ("nasty-length".to_owned(), input(SEALED, &long)),
        ("nasty-blank".to_owned(), input(AS_IT_IS, &[0; 200])),
    ]
}

fn journal_config() -> FileConfig {
    FileConfig {
        identity: Identity { store: [3; 16], shard: 1 },
        segment_bytes: 5 << 10,
        first_segment_bytes: 5 << 10,
        reserve_bytes: 0,
        frame_payload_bytes_max: 256,
        prepare: Prepare::Inline,
    }
}

fn journal_input(flags: u8, disk: &SimDisk) -> Result<Vec<u8>> {
    let names = disk.names()?;
    let files: Vec<_> =
        names.into_iter().filter_map(|name| disk.bytes(&name).map(|bytes| (name, bytes))).collect();
    Ok([vec![flags], folder::encode(&files)].concat())
}

/// Appends groups of some entries each and leaves the journal as a killed process would.
fn grow(disk: &SimDisk, groups: u64) -> Result<SimDisk> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut journal, _) = FileJournal::open_on(shared, journal_config())?;
    for _ in 0..groups {
        let first = journal.tail().next();
        let entry = vec![first.0 as u8; 150];
        journal.append(&group(first.0, &[&entry, b"", &entry]))?;
    }
    Ok(disk.crash(Crash::Kill))
}

pub(super) fn journals() -> Result<Vec<Named>> {
    let fresh = grow(&SimDisk::new(1), 0)?;
    let one = grow(&SimDisk::new(2), 1)?;
    let several = grow(&SimDisk::new(3), 5)?;
    let restarted = grow(&grow(&SimDisk::new(4), 2)?, 2)?;
    let torn = grow(&SimDisk::new(5), 2)?;
    if let Some(last) = torn.names()?.iter().filter(|name| name.ends_with(".segment")).max() {
        torn.edit(last, |bytes| {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            bytes.get_mut(end - 40..).into_iter().flatten().for_each(|byte| *byte = 0);
        });
    }
    Ok(vec![
        ("fresh".to_owned(), journal_input(AS_IT_IS, &fresh)?),
        ("one-group".to_owned(), journal_input(AS_IT_IS, &one)?),
        ("several-segments".to_owned(), journal_input(AS_IT_IS, &several)?),
        ("several-segments-sealed".to_owned(), journal_input(SEALED, &several)?),
        ("restarted".to_owned(), journal_input(AS_IT_IS, &restarted)?),
        ("restarted-sealed".to_owned(), journal_input(SEALED, &restarted)?),
        ("torn".to_owned(), journal_input(AS_IT_IS, &torn)?),
        ("torn-sealed".to_owned(), journal_input(SEALED, &torn)?),
        ("nothing".to_owned(), vec![AS_IT_IS]),
    ])
}

pub(super) fn manifests() -> Vec<Named> {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let sound = format!("longshore store\nformat {LEVEL}\nid {id}\nshards 2\n");
    let later = format!("longshore store\nformat 99\nid {id}\nshards 2\n");
    let with = |flags: u8, text: &str| [&[flags], text.as_bytes()].concat();
    let encoded = Manifest::create(4).encode();
    vec![
        ("sound".to_owned(), with(AS_IT_IS, &encoded)),
        ("sound-sealed".to_owned(), with(SEALED, &sound)),
        ("later-format".to_owned(), with(SEALED, &later)),
        ("nasty-shards".to_owned(), with(SEALED, &sound.replace("shards 2", "shards 4294967296"))),
        ("nasty-line".to_owned(), with(SEALED, &format!("{sound}unknown 1\n"))),
        ("nasty-cut".to_owned(), with(AS_IT_IS, &encoded[..encoded.len() - 2])),
        ("nasty-not-utf8".to_owned(), vec![AS_IT_IS, 0xff, 0xfe, b'\n']),
    ]
}

/// A tree with a few small tables.
fn store(groups: u64) -> Result<Vec<folder::File>> {
    let dir = tempfile::tempdir()?;
    let config = LsmConfig { memtable_bytes: 64 << 10, ..LsmConfig::default() };
    let mut lsm = Lsm::open(dir.path(), config)?;
    for at in 1..=groups {
        for key in at..at + 4 {
            let value = (!key.is_multiple_of(3)).then(|| format!("value {at}"));
            let key = format!("key {key}");
            lsm.put(Position(at), key.as_bytes(), value.as_ref().map(String::as_bytes));
        }
        lsm.seal(Position(at));
        lsm.rotate().context("the tree rotates")?;
        lsm.flusher().flush_sealed(Position(at))?;
    }
    drop(lsm);
    let mut files = Vec::new();
    for (prefix, folder) in [("", dir.path().to_owned()), ("tables/", dir.path().join("tables"))] {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                files.push((name, fs::read(entry.path())?));
            }
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn stores() -> Result<Vec<Named>> {
    let input = |flags: u8, files: &[folder::File]| [vec![flags], folder::encode(files)].concat();
    let (fresh, one, three) = (store(0)?, store(1)?, store(3)?);
    let without =
        |name: &str| -> Vec<_> { one.iter().filter(|(file, _)| file != name).cloned().collect() };
    Ok(vec![
        ("fresh".to_owned(), input(AS_IT_IS, &fresh)),
        ("one-table".to_owned(), input(AS_IT_IS, &one)),
        ("one-table-sealed".to_owned(), input(SEALED, &one)),
        ("three-tables".to_owned(), input(AS_IT_IS, &three)),
        ("three-tables-sealed".to_owned(), input(SEALED, &three)),
        ("nasty-no-current".to_owned(), input(AS_IT_IS, &without("current"))),
        ("nothing".to_owned(), vec![AS_IT_IS]),
    ])
}
