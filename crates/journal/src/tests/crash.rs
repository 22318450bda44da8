//! Crashes: whatever a crash leaves, the journal opens to the state that was last answered or the
//! one that was last attempted, and what it then serves outlives the next crash.

use longshore_engine::Position;

use crate::frame::FRAME_HEADER_BYTES;
use crate::segment::{SEGMENT_HEADER_BYTES, sequence_of};
use crate::{AppendError, Crash, FaultyJournal, Group, Journal, SimDisk, inspect_on};

const EVERY_CRASH: [Crash; 8] = [
    Crash::Kill,
    Crash::PowerCutLosingAll,
    Crash::PowerCut,
    Crash::PowerCut,
    Crash::PowerCut,
    Crash::PowerCut,
    Crash::PowerCut,
    Crash::PowerCut,
];

fn open(disk: &SimDisk) -> FaultyJournal {
    FaultyJournal::open(disk, FaultyJournal::tiny_config()).unwrap().0
}

fn group_of(first: Position, lens: &[usize], fill: u8) -> Group {
    let mut group = Group::new(first);
    for len in lens {
        group.push(&vec![fill; *len]);
    }
    group
}

fn contents(group: &Group) -> Vec<Vec<u8>> {
    group.entries().map(|(_, bytes)| bytes.to_vec()).collect()
}

fn read(journal: &FaultyJournal, from: Position) -> Vec<Vec<u8>> {
    let entries = journal.read_from(from).unwrap();
    entries.map(|entry| entry.unwrap().1.to_vec()).collect()
}

/// What a client knows of the journal.
#[derive(Clone, Debug, Default)]
struct Known {
    answered: Vec<Vec<u8>>,
    attempted: Vec<Vec<u8>>,
    /// What may be gone from the beginning.
    truncated: usize,
}

impl Known {
    /// Checks the disk that a crash left, and that opening it settles what it says.
    fn check(&self, disk: &SimDisk, why: &str) {
        let report = inspect_on(disk, None).unwrap();
        assert!(report.is_sound(), "{why}: {:?}", report.corrupt);
        let journal = open(disk);
        let settled = self.check_contents(&journal, why);
        assert_eq!(report.tail, journal.tail(), "{why}");
        let first = report.first;
        let disk = journal.crash(Crash::PowerCutLosingAll);
        let mut journal = open(&disk);
        assert_eq!(journal.tail().0 as usize, settled, "{why}: what was served is lost");
        let group = group_of(journal.tail().next(), &[9, 9], 0xee);
        journal.append(&group).unwrap();
        let disk = journal.crash(Crash::PowerCut);
        let journal = open(&disk);
        assert_eq!(journal.tail(), group.last(), "{why}");
        assert_eq!(read(&journal, first).len() as u64, group.last().0 + 1 - first.0, "{why}");
    }

    fn check_contents(&self, journal: &FaultyJournal, why: &str) -> usize {
        let tail = journal.tail().0 as usize;
        let attempted = self.answered.len() + self.attempted.len();
        assert!(tail == self.answered.len() || tail == attempted, "{why}: tail {tail}");
        let expected = self.answered.iter().chain(&self.attempted).take(tail).skip(self.truncated);
        let found = read(journal, Position(self.truncated as u64 + 1));
        assert!(found.iter().eq(expected), "{why}: other entries than were appended");
        tail
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(&'static [usize]),
    Mark,
    Truncate(u64),
    Reopen,
}

/// Groups of one frame and of many, groups larger than a segment, marks, rotations, restarts.
const SCENARIO: &[Step] = &[
    Step::Append(&[10]),
    Step::Append(&[0, 600, 3]),
    Step::Mark,
    Step::Append(&[3000, 1]),
    Step::Append(&[5]),
    Step::Append(&[2500]),
    Step::Mark,
    Step::Append(&[40_000]),
    Step::Append(&[7, 7, 7]),
    Step::Reopen,
    Step::Append(&[1500, 2500]),
    Step::Truncate(6),
    Step::Append(&[8000]),
    Step::Reopen,
    Step::Reopen,
    Step::Append(&[100]),
    Step::Truncate(100),
    Step::Mark,
    Step::Append(&[100; 9]),
];

/// Runs the scenario until the images were taken that were ordered, and returns what the client
/// knew then. `None` where it ended before.
fn run_scenario(disk: &SimDisk, images: &mut Vec<SimDisk>) -> Option<Known> {
    let mut known = Known::default();
    let mut journal = open(disk);
    let mut taken = |disk: &SimDisk| {
        images.append(&mut disk.take_images());
        !images.is_empty()
    };
    for (index, step) in SCENARIO.iter().enumerate() {
        if taken(disk) {
            return Some(known);
        }
        match step {
            Step::Append(lens) => {
                let group = group_of(journal.tail().next(), lens, index as u8 + 1);
                known.attempted = contents(&group);
                journal.append(&group).unwrap();
                if taken(disk) {
                    return Some(known);
                }
                known.answered.append(&mut known.attempted);
            }
            Step::Mark => journal.mark().unwrap(),
            Step::Truncate(before) => {
                known.truncated = (*before as usize - 1).min(known.answered.len());
                journal.truncate_before(Position(*before)).unwrap();
            }
            Step::Reopen => {
                drop(journal);
                journal = open(disk);
            }
        }
    }
    taken(disk).then_some(known)
}

#[test]
fn every_crash_between_two_changes_of_the_disk_opens_to_answered_or_attempted() {
    let mut changes = 0;
    loop {
        let disk = SimDisk::new(changes);
        disk.image_crashes_after(changes, &EVERY_CRASH);
        let mut images = Vec::new();
        let Some(known) = run_scenario(&disk, &mut images) else {
            break;
        };
        for (image, crash) in images.iter().zip(EVERY_CRASH) {
            known.check(image, &format!("{crash:?} before change {changes}"));
        }
        changes += 1;
    }
    assert!(changes > 100, "only {changes} changes");
}

/// A journal with one group that was never answered, and where that group begins.
fn unsynced_tail() -> (SimDisk, Known, String, usize) {
    let disk = SimDisk::new(5);
    let mut journal = open(&disk);
    let mut known = Known::default();
    for fill in 1..4 {
        let group = group_of(journal.tail().next(), &[30, 5], fill);
        journal.append(&group).unwrap();
        known.answered.extend(contents(&group));
    }
    let name = segment_names(&disk).remove(0);
    let used = |bytes: Vec<u8>| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let begin = used(disk.bytes(&name).unwrap()).next_multiple_of(8);
    let group = group_of(journal.tail().next(), &[700, 0, 600], 9);
    disk.fail_sync_after(0);
    assert!(matches!(journal.append(&group), Err(AppendError::Failed { .. })));
    known.attempted = contents(&group);
    (disk.crash(Crash::Kill), known, name, begin)
}

fn segment_names(disk: &SimDisk) -> Vec<String> {
    use crate::disk::Disk;
    disk.names().unwrap().into_iter().filter(|name| sequence_of(name).is_some()).collect()
}

#[test]
fn a_tail_that_is_zeroed_or_scrambled_at_any_byte_is_cut() {
    let (disk, known, name, begin) = unsynced_tail();
    let whole = disk.bytes(&name).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(begin > SEGMENT_HEADER_BYTES as usize + 3 * FRAME_HEADER_BYTES && end > begin + 1300);
    let mut noise = 7_u32;
    let step = if std::env::var_os("LONGSHORE_FULL").is_some() { 1 } else { 3 };
    for at in (begin..=end).step_by(step) {
        let check = |what: &str, change: &mut dyn FnMut(&mut Vec<u8>)| {
            let image = disk.crash(Crash::Kill);
            image.edit(&name, change);
            let why = format!("{what} at {at}");
            assert!(inspect_on(&image, None).unwrap().is_sound(), "{why}");
            known.check_contents(&open(&image), &why);
        };
        check("zeroed", &mut |bytes| bytes[at..].fill(0));
        check("scrambled", &mut |bytes| {
            for byte in &mut bytes[at..end] {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (noise >> 24) as u8;
            }
        });
        check("zeroed before", &mut |bytes| bytes[begin..at].fill(0));
    }
}

#[test]
fn a_group_whose_sync_failed_is_safe_once_it_is_served() {
    // The page cache shows what the disk never got, and a second sync of it succeeds.
    let (disk, known, name, _) = unsynced_tail();
    let journal = open(&disk);
    let tail = known.check_contents(&journal, "killed after a failed sync");
    assert_eq!(tail, known.answered.len() + known.attempted.len(), "the page cache has it");
    let disk = journal.crash(Crash::PowerCutLosingAll);
    let journal = open(&disk);
    assert_eq!(journal.tail().0 as usize, tail);
    assert!(segment_names(&disk).len() > 1 && segment_names(&disk).contains(&name));
    known.check_contents(&journal, "after the power cut");
}

#[test]
fn a_failed_write_or_sync_ends_the_journal() {
    for sync in [false, true] {
        let disk = SimDisk::new(1);
        let mut journal = open(&disk);
        journal.append(&group_of(Position(1), &[10], 1)).unwrap();
        if sync {
            disk.fail_sync_after(0);
        } else {
            disk.fail_write_after(0);
        }
        let group = group_of(Position(2), &[10], 2);
        for _ in 0..3 {
            let failed = journal.append(&group);
            assert!(matches!(failed, Err(AppendError::Failed { .. })), "{failed:?}");
            let failed = journal.mark();
            assert!(matches!(failed, Err(AppendError::Failed { .. })), "{failed:?}");
            assert_eq!(journal.tail(), Position(1));
        }
    }
}

#[test]
fn syncs_that_lie_are_caught() {
    let caught = (0..20).any(|seed| {
        let disk = SimDisk::new(seed);
        let mut journal = open(&disk);
        disk.ignore_syncs(true);
        let group = group_of(Position(1), &[100], 1);
        journal.append(&group).unwrap();
        let disk = journal.crash(Crash::PowerCut);
        FaultyJournal::open(&disk, FaultyJournal::tiny_config())
            .is_ok_and(|(journal, _)| journal.tail() == Position::START)
    });
    assert!(caught, "the tests above prove nothing");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    #[test]
    fn random_lives_lose_nothing_that_was_answered(
        seed: u64,
        steps in proptest::collection::vec((0..8_u8, 0..3000_usize, 1..4_usize), 1..40),
    ) {
        let mut disk = SimDisk::new(seed);
        let mut known = Known::default();
        let mut journal = open(&disk);
        for (index, (what, len, count)) in steps.into_iter().enumerate() {
            let crash = match what {
                0 => Some(Crash::Kill),
                1 => Some(Crash::PowerCut),
                2 => Some(Crash::PowerCutLosingAll),
                _ => None,
            };
            let group = group_of(journal.tail().next(), &vec![len; count], index as u8 + 1);
            if what == 3 {
                journal.mark().unwrap();
            } else if what == 4 {
                let before = journal.tail().0 / 2 + 1;
                known.truncated = known.truncated.max(before as usize - 1);
                journal.truncate_before(Position(before)).unwrap();
            } else if let Some(crash) = crash {
                known.attempted = contents(&group);
                if what == 0 { disk.fail_write_after(0) } else { disk.fail_sync_after(0) }
                let _ = journal.append(&group);
                disk = journal.crash(crash);
                known.check(&disk.crash(Crash::Kill), "random life");
                journal = open(&disk);
                let tail = known.check_contents(&journal, "random life");
                known.answered.append(&mut known.attempted);
                known.answered.truncate(tail);
            } else {
                journal.append(&group).unwrap();
                known.answered.extend(contents(&group));
            }
        }
        known.check_contents(&journal, "random life");
    }
}

/// A prepared segment whose predecessor had been given back, with one group that was not proved
/// durable: the next start wrote that group anew, and the one after it called the journal corrupt.
#[test]
fn a_journal_cut_down_to_one_unproved_group_opens_again_and_again() {
    let disk = SimDisk::new(7);
    let mut journal = open(&disk);
    let segments = |disk: &SimDisk| inspect_on(disk, None).unwrap().segments;
    // Goes on until a group is the only one in the segment after a sealed one.
    let last = loop {
        let sealed = segments(&disk).iter().filter(|segment| segment.sealed).count();
        journal.append(&group_of(journal.tail().next(), &[700], 1)).unwrap();
        let found = segments(&disk);
        if found.iter().filter(|segment| segment.sealed).count() > sealed {
            break journal.tail();
        }
    };
    journal.truncate_before(last).unwrap();
    assert!(!segments(&disk).iter().any(|segment| segment.sealed), "only its segment is left");
    let mut disk = journal.crash(Crash::PowerCutLosingAll);
    for _ in 0..3 {
        let journal = open(&disk);
        assert_eq!(journal.tail(), last);
        assert_eq!(read(&journal, last), [vec![1; 700]]);
        disk = journal.crash(Crash::Kill);
    }
}

/// A process was killed whose last append had failed: its group, or a seal, stood in the page
/// cache alone, the first in a prepared segment. The next start wrote the group anew, but left the
/// segment in the row. When the one before it was given back, power was cut and took those frames,
/// nothing said where the segment began, and the journal was called corrupt.
#[test]
fn a_segment_that_only_the_page_cache_shows_is_not_left_to_begin_the_journal() {
    let mut failed = 0;
    for len in [700, 40_000] {
        for synced in 0..20 {
            let disk = SimDisk::new(synced);
            let mut known = Known::default();
            let mut journal = open(&disk);
            let mut append = |journal: &mut FaultyJournal, len: usize| {
                let group = group_of(journal.tail().next(), &[len], known.answered.len() as u8);
                known.attempted = contents(&group);
                journal.append(&group)?;
                known.answered.append(&mut known.attempted);
                Ok::<_, AppendError>(())
            };
            let in_use =
                |journal: &FaultyJournal| journal.room().bytes() - journal.room().prepared_bytes();
            while in_use(&journal) > 700 {
                append(&mut journal, 700).unwrap();
            }
            disk.fail_sync_after(synced);
            // A sync of what is prepared may fail, too, and harms nobody.
            if append(&mut journal, len).is_err() {
                failed += 1;
                check_cut_down(&journal.crash(Crash::Kill), &known);
            }
        }
    }
    assert!(failed > 4, "only {failed} syncs");
}

/// Starts, gives back all that was flushed, and crashes before each change of the disk meanwhile.
fn check_cut_down(disk: &SimDisk, known: &Known) {
    for changes in 0.. {
        let disk = disk.crash(Crash::Kill);
        disk.image_crashes_after(changes, &EVERY_CRASH);
        let mut journal = open(&disk);
        let mut known = known.clone();
        let mut images = disk.take_images();
        if images.is_empty() {
            known.check_contents(&journal, "after the failed append");
            known.answered.append(&mut known.attempted);
            known.answered.truncate(journal.tail().0 as usize);
            known.truncated = known.answered.len();
            journal.truncate_before(journal.tail().next()).unwrap();
            images = disk.take_images();
        }
        for (image, crash) in images.iter().zip(EVERY_CRASH) {
            known.check(image, &format!("{crash:?} before change {changes}"));
        }
        if images.is_empty() {
            return;
        }
    }
}
