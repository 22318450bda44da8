//! Damage at rest: whatever bit flips and whatever file goes missing, what is read is right or the
//! place is named. Nothing at or below the highest mark is ever silently gone.

use longshore_engine::{LEVEL, Position};

use crate::disk::Disk;
use crate::segment::{HEADER_USED_BYTES, SEGMENT_HEADER_BYTES, sequence_of};
use crate::{
    Corruption, Crash, Fault, FaultyJournal, FileConfig, Group, Identity, Journal, OpenError,
    ReadError, SimDisk, Verdict, inspect_on,
};

fn config() -> FileConfig {
    FileConfig {
        first_segment_bytes: 1 << 10,
        segment_bytes: 6 << 10,
        reserve_bytes: 0,
        frame_payload_bytes_max: 256,
        ..FaultyJournal::tiny_config()
    }
}

/// A journal of several segments: one that was rotated away, one copied to at a start, one in use.
fn sample(marked: bool) -> (SimDisk, Vec<Vec<u8>>) {
    let disk = SimDisk::new(3);
    let mut entries = Vec::new();
    for lens in [&[20, 600, 20, 600, 7][..], &[9, 9], &[300, 30]] {
        let (mut journal, _) = FaultyJournal::open(&disk, config()).unwrap();
        for len in lens {
            let entry = vec![entries.len() as u8 + 1; *len];
            let mut group = Group::new(journal.tail().next());
            group.push(&entry);
            journal.append(&group).unwrap();
            entries.push(entry);
        }
        if marked && lens.len() < 5 {
            journal.mark().unwrap();
        }
    }
    (disk.crash(Crash::Kill), entries)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().unwrap().into_iter().filter(|name| sequence_of(name).is_some()).collect()
}

/// Opens a damaged copy: either all of the first `least` entries or more come back right, or the
/// refusal names a place. Returns the place.
fn check(disk: &SimDisk, entries: &[Vec<u8>], least: usize, why: &str) -> Option<Corruption> {
    let report = inspect_on(disk, None).unwrap();
    if let Some(place) = report.corrupt.first() {
        assert!(place.last.next() >= place.first, "{why}: {place:?}");
    }
    match FaultyJournal::open(disk, config()) {
        Ok((journal, recovery)) => {
            assert!(report.is_sound(), "{why}: opened although {:?}", report.corrupt);
            let read = journal.read_from(Position::START).unwrap();
            let read: Vec<Vec<u8>> = read.map(|entry| entry.unwrap().1.to_vec()).collect();
            assert!(read.len() >= least, "{why}: {} entries, {recovery:?}", read.len());
            assert_eq!(read, entries[..read.len()], "{why}: wrong data");
            None
        }
        Err(OpenError::Corrupt(place)) => {
            assert_eq!(Some(&place), report.corrupt.first(), "{why}");
            Some(place)
        }
        // The checksum was right, so these cannot come of a flipped bit.
        Err(other) => panic!("{why}: {other}"),
    }
}

/// Flips bits in the parts of all files that hold something, and a few in the blank rest: a third
/// of them, or all where `LONGSHORE_FULL=1`.
fn flip_all(marked: bool) -> usize {
    let (disk, entries) = sample(marked);
    let least = if marked { entries.len() } else { entries.len() - 1 };
    let full = std::env::var_os("LONGSHORE_FULL").is_some();
    let mut refused = 0;
    for name in disk.names().unwrap() {
        let bytes = disk.bytes(&name).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 70);
        for offset in 0..bytes.len() {
            let header = HEADER_USED_BYTES + 8..SEGMENT_HEADER_BYTES as usize;
            let blank = header.contains(&offset) || offset > used;
            if blank && offset % 509 != 0 {
                continue;
            }
            // Payload is covered by one checksum, so one bit of each of its bytes will do.
            let plain = offset > 0 && bytes.get(offset - 1) == bytes.get(offset);
            for bit in 0..if plain { 1 } else { 8 } {
                if !full && (offset + usize::from(bit)) % 3 != 0 {
                    continue;
                }
                let image = disk.crash(Crash::Kill);
                image.flip_bit(&name, offset as u64, bit);
                let why = format!("{name} offset {offset} bit {bit}");
                refused += usize::from(check(&image, &entries, least, &why).is_some());
            }
        }
    }
    refused
}

#[test]
fn no_flipped_bit_below_the_mark_is_silent() {
    assert!(flip_all(true) > 500);
}

#[test]
fn without_a_mark_at_most_the_last_group_is_taken_for_torn() {
    assert!(flip_all(false) > 500);
}

#[test]
fn a_missing_segment_is_named_wherever_it_was() {
    let (disk, entries) = sample(true);
    let names = segments(&disk);
    assert!(names.len() >= 4, "{names:?}");
    let prepared = names.len() - 1;
    for (index, name) in names.iter().enumerate() {
        let image = disk.crash(Crash::Kill);
        image.remove(name).unwrap();
        let report = inspect_on(&image, None).unwrap();
        if index == 0 {
            // It may have been truncated away: its reader is told what is gone.
            assert_eq!(report.tail, Position(entries.len() as u64));
            assert!(report.is_sound() && report.first > Position(1));
        } else if index == prepared {
            assert!(check(&image, &entries, entries.len(), name).is_none());
        } else {
            let place = check(&image, &entries, entries.len(), name).unwrap();
            assert_eq!((place.fault, place.path.to_str().unwrap()), (Fault::Missing, &name[..]));
            assert!(place.first <= place.last.next());
        }
    }
    for name in &names {
        disk.remove(name).unwrap();
    }
    let place = check(&disk, &entries, entries.len(), "all missing").unwrap();
    assert_eq!(place.fault, Fault::Missing);
}

#[test]
fn a_segment_cut_anywhere_is_named_or_loses_nothing() {
    let (disk, entries) = sample(true);
    for name in segments(&disk) {
        let len = disk.bytes(&name).unwrap().len();
        for cut in (0..len).step_by(41) {
            let image = disk.crash(Crash::Kill);
            image.edit(&name, |bytes| bytes.truncate(cut));
            check(&image, &entries, entries.len(), &format!("{name} cut at {cut}"));
        }
    }
}

#[test]
fn damage_is_reported_with_its_place_and_positions() {
    let (disk, _) = sample(true);
    let name = segments(&disk).remove(1);
    let offset = SEGMENT_HEADER_BYTES + 70;
    disk.flip_bit(&name, offset, 0);
    let report = inspect_on(&disk, None).unwrap();
    let place = report.corrupt.first().unwrap();
    assert_eq!(place.path.to_str(), Some(&name[..]));
    assert_eq!(place.offset, SEGMENT_HEADER_BYTES);
    assert!(place.first <= place.last, "{place:?}");
    let verdicts: Vec<Verdict> = report.segments.iter().map(|segment| segment.verdict).collect();
    assert_eq!(verdicts[1], Verdict::Corrupt);
    assert_eq!((verdicts[0], *verdicts.last().unwrap()), (Verdict::Sound, Verdict::Unused));
    assert_eq!(place.to_string().matches(&name[..]).count(), 1);
}

#[test]
fn damage_while_it_is_open_is_noticed_when_read() {
    let disk = SimDisk::new(3);
    let (mut journal, _) = FaultyJournal::open(&disk, config()).unwrap();
    for fill in 1..=3 {
        let mut group = Group::new(journal.tail().next());
        group.push(&[fill; 50]);
        journal.append(&group).unwrap();
    }
    let name = segments(&disk).remove(0);
    let frame = 64 + 56;
    disk.flip_bit(&name, SEGMENT_HEADER_BYTES + frame + 80, 2);
    let mut entries = journal.read_from(Position(1)).unwrap();
    assert_eq!(entries.next().unwrap().unwrap().0, Position(1));
    let Some(Err(ReadError::Corrupt { offset, position, .. })) = entries.next() else {
        panic!("read damaged bytes");
    };
    assert_eq!((offset, position), (SEGMENT_HEADER_BYTES + frame, Position(2)));
    assert!(entries.next().is_none());
}

#[test]
fn a_journal_of_another_store_or_level_is_refused() {
    let (disk, _) = sample(true);
    let mut config = config();
    config.identity = Identity { store: [1; 16], shard: 2 };
    let refused = FaultyJournal::open(&disk, config).map(drop);
    let Err(OpenError::Foreign { expected, found, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((expected, found), (config.identity, Identity::default()));

    let name = segments(&disk).remove(0);
    disk.edit(&name, |bytes| {
        bytes[8] = LEVEL + 1;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..96]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let refused = FaultyJournal::open(&disk, self::config()).map(drop);
    let Err(OpenError::OtherLevel { other, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(other.found, u32::from(LEVEL) + 1);
}

/// A group whose frame says other entries than it holds, with right checksums: no disk and no crash
/// makes one, so whoever did is not to be believed, proved durable or not.
#[test]
fn a_group_that_contradicts_itself_is_corrupt() {
    let (count_at, payload_at) = (40, 64);
    for (what, at, value) in [
        ("an entry too few", count_at, 1),
        ("an entry too many", count_at, 3),
        ("an entry that ends elsewhere", payload_at, 19),
        ("an entry beyond the group", payload_at + 24, 31),
    ] {
        for marked in [false, true] {
            let disk = SimDisk::new(3);
            let (mut journal, _) = FaultyJournal::open(&disk, config()).unwrap();
            let mut group = Group::new(Position(1));
            group.push(&[1; 20]);
            group.push(&[2; 30]);
            journal.append(&group).unwrap();
            if marked {
                journal.mark().unwrap();
            }
            let disk = journal.crash(Crash::Kill);
            disk.edit(&segments(&disk)[0], |bytes| {
                let frame = &mut bytes[SEGMENT_HEADER_BYTES as usize..][..64 + 64];
                frame[at] = value;
                let crc = crc32c::crc32c(&frame[64..]);
                frame[20..24].copy_from_slice(&crc.to_le_bytes());
                let crc = crc32c::crc32c(&frame[8..64]);
                frame[4..8].copy_from_slice(&crc.to_le_bytes());
            });
            let place = check(&disk, &[], 0, what).expect(what);
            assert_eq!((place.fault, place.first), (Fault::Entries, Position(1)), "{what}");
            assert_eq!(place.offset, SEGMENT_HEADER_BYTES, "{what}");
        }
    }
}
