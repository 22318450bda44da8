//! What was written is read, over restarts and crashes; what is damaged or missing is named.

use std::sync::Arc;

use longshore_engine::{
    PartitionEnds, PartitionId, Position, StreamChange, StreamId, StreamSettings, StreamView,
    TimeMs, TransactionMark,
};
use longshore_journal::disk::{Disk, Folder};
use longshore_journal::{Crash, SimDisk};

use crate::batch::sample::{batch, batch_of};
use crate::batch::{BatchFault, BatchHeader};
use crate::{Hidden, OpenError, Partition, Read, ReadError, StreamLog, WriteError};

const P: PartitionId = PartitionId(7);

fn settings() -> StreamSettings {
    StreamSettings { file_bytes: 400, ..StreamSettings::default() }
}

fn view(start: u64, next: u64) -> StreamView {
    StreamView {
        id: StreamId(1),
        namespace: "default".into(),
        name: "s".into(),
        partitions: vec![(P, PartitionEnds { start, next })],
        settings: settings(),
        transactions: Vec::new(),
    }
}

/// A log with the journal that it is written from.
struct Bench {
    disk: Arc<dyn Disk>,
    log: StreamLog,
    journal: Vec<Vec<StreamChange>>,
    start: u64,
    next: u64,
}

impl Bench {
    fn new(disk: Arc<dyn Disk>) -> Self {
        let log = StreamLog::open(Arc::clone(&disk), (Position::START, false)).unwrap();
        let mut bench = Self { disk, log, journal: Vec::new(), start: 0, next: 0 };
        bench.log.settle(&[]).unwrap();
        bench.write(StreamChange::Created(Box::new(view(0, 0))));
        bench
    }

    fn write(&mut self, change: StreamChange) {
        self.journal.push(vec![change.clone()]);
        self.log.write(Position(self.journal.len() as u64), vec![change]).unwrap();
    }

    fn append(&mut self, events: u32, time: i64, filler: usize) {
        let batch = batch(events.cast_signed(), time, filler).into();
        let base_offset = self.next;
        self.write(StreamChange::Appended {
            partition: P,
            base_offset,
            events,
            transaction: None,
            batch,
        });
        self.next += u64::from(events);
    }

    fn trim(&mut self, start: u64) {
        self.start = start;
        self.write(StreamChange::Trimmed { partition: P, start });
    }

    fn partition(&self) -> Arc<Partition> {
        Arc::clone(&self.log.stream("default", "s").unwrap().partitions[0])
    }

    /// A start on `disk` from the journal after the last sync.
    fn reopen(&mut self, disk: Arc<dyn Disk>) -> Result<(), OpenError> {
        let log = StreamLog::open(Arc::clone(&disk), (Position::START, true))?;
        let tail = Position(self.journal.len() as u64);
        log.cut(tail)?;
        let from = log.synced().map_or(0, |synced| synced.0 as usize);
        for (index, changes) in self.journal.iter().enumerate().skip(from) {
            log.replay(Position(index as u64 + 1), changes.clone())?;
        }
        log.settle(&[view(self.start, self.next)])?;
        (self.log, self.disk) = (log, disk);
        Ok(())
    }

    /// Reads everything batch by batch, and answers the offsets at which they begin.
    fn read_all(&self) -> Vec<u64> {
        let (partition, mut offset) = (self.partition(), self.start);
        let mut found = Vec::new();
        loop {
            let chunk = partition.read(offset, 1).unwrap();
            assert_eq!((chunk.start, chunk.end), (self.start, self.next));
            let Ok(header) = BatchHeader::parse(&chunk.batches) else { return found };
            assert_eq!(header.check(&chunk.batches).unwrap().len(), chunk.batches.len());
            found.push(header.first_offset());
            offset = header.end_offset();
        }
    }
}

fn folder() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Folder::new(dir.path().join("streams")));
    (dir, disk)
}

#[test]
fn batches_are_read_whole_from_wherever_one_likes() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    for _ in 0..20 {
        bench.append(3, 1000, 10);
    }
    assert_eq!(bench.read_all(), (0..20).map(|n| 3 * n).collect::<Vec<_>>());
    let partition = bench.partition();
    let chunk = partition.read(4, 1 << 20).unwrap();
    let header = BatchHeader::parse(&chunk.batches).unwrap();
    assert_eq!(header.first_offset(), 3, "the batch begins below what was asked for");
    assert!(chunk.batches.len() > header.len_bytes, "several at once, to the end of the file");
    assert!(partition.read(60, 1).unwrap().batches.is_empty(), "nothing yet");
    assert!(matches!(partition.read(61, 1), Err(ReadError::OutOfRange { end: 60, .. })));
}

#[test]
fn a_batch_larger_than_what_is_read_at_once_comes_whole() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    for _ in 0..3 {
        bench.append(2, 5, 200_000);
    }
    assert_eq!(bench.read_all(), [0, 2, 4]);
    let big = StreamSettings { file_bytes: 1 << 30, ..settings() };
    bench.write(StreamChange::Changed { stream: StreamId(1), settings: big });
    for _ in 0..4 {
        bench.append(2, 5, 200_000);
    }
    bench.reopen(Arc::clone(&bench.disk)).unwrap();
    assert_eq!(bench.partition().read(9, 1).unwrap().batches.len(), batch(2, 5, 200_000).len());
}

#[test]
fn a_start_finds_all_whether_it_was_synced_or_not() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    for round in 0..6 {
        bench.append(2, round, 30);
        if round == 3 {
            assert_eq!(bench.log.sync().unwrap(), Some(Position(bench.journal.len() as u64)));
        }
    }
    let all = bench.read_all();
    bench.reopen(Arc::clone(&bench.disk)).unwrap();
    assert_eq!(bench.read_all(), all);
    bench.append(2, 9, 30);
    assert_eq!(bench.read_all().len(), all.len() + 1);
}

#[test]
fn a_power_cut_at_any_change_of_the_disk_loses_nothing_that_the_journal_let_go() {
    for changes in 0..60 {
        let sim = SimDisk::new(changes);
        let mut bench = Bench::new(Arc::new(sim.clone()));
        sim.image_crashes_after(changes, &[Crash::PowerCut]);
        for round in 0..12 {
            bench.append(2, round, 30);
            if round % 3 == 2 {
                bench.log.sync().unwrap();
            }
            if round == 7 {
                bench.trim(5);
            }
        }
        let Some(left) = sim.take_images().pop() else { continue };
        // The journal has everything; whatever the last sync let go of is in the files.
        bench.reopen(Arc::new(left)).unwrap_or_else(|error| panic!("{changes}: {error}"));
        let expected: Vec<u64> = (2..12).map(|n| 2 * n).collect();
        assert_eq!(bench.read_all(), expected, "{changes}");
    }
}

#[test]
fn what_a_full_disk_has_no_room_for_waits_and_comes_later() {
    let sim = SimDisk::new(3);
    let mut bench = Bench::new(Arc::new(sim.clone()));
    bench.append(2, 1, 30);
    let synced = bench.log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    let first = batch(2, 2, 30);
    for (index, base_offset) in [2, 4].into_iter().enumerate() {
        let batch = first.clone().into();
        let change = StreamChange::Appended {
            partition: P,
            base_offset,
            events: 2,
            transaction: None,
            batch,
        };
        bench.journal.push(vec![change.clone()]);
        let position = Position(bench.journal.len() as u64);
        let refused = bench.log.write(position, vec![change]).unwrap_err();
        assert!(refused.is_no_space(), "{index}: {refused}");
    }
    assert_eq!(bench.partition().ends(), (0, 2), "nobody sees what is not there");
    assert_eq!(bench.log.sync().unwrap(), synced, "the journal keeps it");
    sim.set_capacity_bytes(None);
    bench.next = 6;
    bench.append(2, 3, 30);
    assert_eq!(bench.read_all(), [0, 2, 4, 6]);
    assert!(bench.log.sync().unwrap() > synced);
    bench.reopen(Arc::new(sim)).unwrap();
    assert_eq!(bench.read_all(), [0, 2, 4, 6]);
}

#[test]
fn damage_is_named_and_never_served() {
    let (dir, disk) = folder();
    let mut bench = Bench::new(disk);
    bench.append(2, 5, 30);
    bench.append(2, 5, 30);
    let partition = bench.partition();
    let name = format!("{:016x}-{:016x}.events", P.0, 0);
    let path = dir.path().join("streams").join(&name);
    let sound = std::fs::read(&path).unwrap();
    let second = sound.len() / 2;
    for at in second..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        let read = partition.read(2, 1);
        if at.is_multiple_of(16) {
            drop(bench.log.sync());
            let report = crate::check(Arc::clone(&bench.disk));
            assert_eq!(report.faults.is_empty(), read.is_ok(), "byte {at}: {report:?}");
        }
        // Of the leader's epoch nobody is told wrongly: it is written on the way out.
        let epoch = (second + 12..second + 16).contains(&at);
        assert!(matches!(read, Err(ReadError::Damaged { .. })) || epoch, "byte {at}: {read:?}");
        if let Err(error) = read {
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

#[test]
fn events_that_are_lost_are_missed_at_the_start() {
    let (dir, disk) = folder();
    let mut bench = Bench::new(Arc::clone(&disk));
    for _ in 0..8 {
        bench.append(2, 5, 30);
    }
    bench.log.sync().unwrap();
    let streams = dir.path().join("streams");
    let mut names: Vec<_> =
        std::fs::read_dir(&streams).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let events: Vec<_> = names.iter().filter(|it| it.extension().is_some()).collect();
    let synced = streams.join("synced");
    for path in [events[0], *events.last().unwrap(), &synced] {
        let sound = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        let error = bench.reopen(Arc::clone(&disk)).unwrap_err().to_string();
        assert!(error.contains("are lost"), "{error}");
        std::fs::write(path, &sound).unwrap();
    }
    let last = *events.last().unwrap();
    let sound = std::fs::read(last).unwrap();
    std::fs::write(last, &sound[..sound.len() - 1]).unwrap();
    let error = bench.reopen(Arc::clone(&disk)).unwrap_err();
    assert!(matches!(error, OpenError::FileShort { .. }), "{error}");
    std::fs::write(last, &sound).unwrap();
    bench.next += 1;
    let error = bench.reopen(Arc::clone(&disk)).unwrap_err();
    assert!(matches!(error, OpenError::EventsLost { found: 16, expected: 17, .. }), "{error}");
    bench.next -= 1;
    let report = crate::check(Arc::clone(&disk));
    assert_eq!((report.partitions, report.faults), (1, Vec::new()));
    assert!(report.bytes > 0 && report.synced.is_some());
    bench.reopen(disk).unwrap();
}

#[test]
fn what_is_kept_no_longer_goes_with_the_next_sync() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(Arc::clone(&disk));
    for round in 0..12 {
        bench.append(2, 1000 * round, 30);
    }
    let files = |disk: &dyn Disk| {
        disk.names().unwrap().iter().filter(|name| name.ends_with(".events")).count()
    };
    let before = files(&*disk);
    assert!(before >= 4, "{before}");
    let by_bytes = StreamSettings { retention_bytes: Some(500), retention_ms: None, ..settings() };
    bench.write(StreamChange::Changed { stream: StreamId(1), settings: by_bytes });
    let [overdue] = &bench.log.overdue(0)[..] else { panic!() };
    let left = bench.partition().len_bytes();
    bench.trim(overdue.start);
    assert!(bench.partition().len_bytes() >= 500 && bench.partition().len_bytes() < left);
    assert_eq!(files(&*disk), before);
    bench.log.sync().unwrap();
    assert!(files(&*disk) < before);
    let first = bench.read_all()[0];
    assert_eq!(first, bench.start);
    let by_time = StreamSettings { retention_ms: Some(1000), retention_bytes: None, ..settings() };
    bench.write(StreamChange::Changed { stream: StreamId(1), settings: by_time });
    assert_eq!(bench.log.overdue(first * 500), [], "it is young yet");
    bench.reopen(Arc::clone(&disk)).unwrap();
    let by_time = StreamSettings { retention_ms: Some(1000), retention_bytes: None, ..settings() };
    bench.write(StreamChange::Changed { stream: StreamId(1), settings: by_time });
    assert_eq!(bench.log.overdue(1_000_000)[0].start, 24, "the last file, too");
    bench.trim(24);
    bench.log.sync().unwrap();
    assert_eq!(files(&*disk), 0);
    bench.reopen(Arc::clone(&disk)).unwrap();
    bench.append(1, 5, 0);
    assert_eq!(bench.read_all(), [24]);
}

/// A power cut brings back a file that was trimmed, and a kill follows before the next sync.
#[test]
fn a_trimmed_file_that_comes_back_is_not_written_on() {
    let disk = SimDisk::new(3);
    let mut bench = Bench::new(Arc::new(disk.clone()));
    bench.append(1, 1000, 10);
    bench.log.sync().unwrap();
    bench.trim(1);
    bench.log.sync().unwrap();
    let disk = disk.crash(Crash::PowerCutLosingAll);
    assert!(disk.names().unwrap().len() > 1, "the file is back");
    bench.reopen(Arc::new(disk.clone())).unwrap();
    bench.append(1, 1000, 10);
    bench.append(1, 1000, 10);
    assert_eq!(bench.read_all(), [1, 2]);
    bench.reopen(Arc::new(disk.crash(Crash::Kill))).unwrap();
    assert_eq!(bench.read_all(), [1, 2]);
}

/// One file of events without a time kept all behind it for ever.
#[test]
fn a_file_of_events_without_a_time_goes_with_the_first_old_one_behind_it() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    for time in [-1; 6].into_iter().chain([1000; 6]).chain([-1; 6]) {
        bench.append(1, time, 30);
    }
    let by_time = StreamSettings { retention_ms: Some(1000), retention_bytes: None, ..settings() };
    bench.write(StreamChange::Changed { stream: StreamId(1), settings: by_time });
    assert_eq!(bench.log.overdue(1500), [], "what has a time is young yet");
    let [overdue] = &bench.log.overdue(1_000_000)[..] else { panic!() };
    assert!((12..18).contains(&overdue.start), "{overdue:?}");
}

#[test]
fn events_are_found_by_their_time() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    for time in [100, 300, 200, 400] {
        bench.append(5, time, 30);
    }
    for reopened in [false, true] {
        if reopened {
            bench.reopen(Arc::clone(&bench.disk)).unwrap();
        }
        let partition = bench.partition();
        let find = |time| partition.find_time(time).unwrap();
        assert_eq!(find(0), Some((0, 100)));
        assert_eq!(find(103), Some((3, 103)));
        assert_eq!(find(200), Some((5, 300)));
        assert_eq!(find(404), Some((19, 404)));
        assert_eq!(find(405), None);
        assert_eq!(partition.newest().unwrap(), Some((19, 404)));
    }
}

#[test]
fn a_batch_that_does_not_follow_is_not_written() {
    let (_dir, disk) = folder();
    let bench = Bench::new(disk);
    let batch = batch(1, 5, 0).into();
    let change = StreamChange::Appended {
        partition: P,
        base_offset: 1,
        events: 1,
        transaction: None,
        batch,
    };
    let refused = bench.log.write(Position(2), vec![change]);
    assert!(matches!(refused, Err(WriteError::Gap { found: 1, end: 0, .. })));
    let cut = StreamChange::Appended {
        partition: P,
        base_offset: 0,
        events: 1,
        transaction: None,
        batch: vec![0; 5].into(),
    };
    // What was refused is kept, and would be refused again.
    let (_dir, disk) = folder();
    let bench = Bench::new(disk);
    let refused = bench.log.write(Position(2), vec![cut]).unwrap_err().to_string();
    assert!(refused.contains(&BatchFault::Short.to_string()), "{refused}");
}

#[test]
fn a_batch_that_does_not_fit_is_not_read_where_it_is_not_wanted() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    bench.append(1, 5, 0);
    bench.append(1, 5, 300_000);
    bench.append(1, 5, 0);
    let partition = bench.partition();
    let within = |offset, bytes_max| Read { offset, bytes_max, within: true, committed: false };
    let read = |offset, bytes| partition.read_as(within(offset, bytes)).unwrap().batches.len();
    assert!(partition.read(1, 10).unwrap().batches.len() > 300_000, "the first one in any case");
    assert_eq!((read(1, 10), read(0, 10)), (0, 0));
    let small = read(0, 1000);
    assert!((1..1000).contains(&small));
    assert_eq!(read(2, small), small);
    assert!(read(1, 400_000) > 300_000);
}

#[test]
fn events_without_a_time_do_not_grow_old() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(disk);
    for _ in 0..8 {
        bench.append(1, -1, 100);
    }
    assert!(bench.partition().files().files.len() > 2);
    assert_eq!(bench.log.overdue(u64::MAX), []);
    bench.append(1, 5, 400);
    bench.append(1, 5, 400);
    assert_eq!(bench.log.overdue(u64::MAX), [], "what follows them stays as well");
}

#[test]
fn a_file_begins_once_the_first_events_of_the_one_before_are_old() {
    for reopened in [false, true] {
        let (_dir, disk) = folder();
        let mut bench = Bench::new(Arc::clone(&disk));
        let file_bytes = 1 << 20;
        let by_time = StreamSettings { file_bytes, file_ms: 5, ..StreamSettings::default() };
        let set = |bench: &mut Bench| {
            let settings = by_time.clone();
            bench.write(StreamChange::Changed { stream: StreamId(1), settings });
        };
        set(&mut bench);
        for time in 0..30 {
            // The last sync of the life before leaves what the next one looks into first.
            if reopened && time % 4 == 3 {
                bench.log.sync().unwrap();
                bench.reopen(Arc::clone(&disk)).unwrap();
                set(&mut bench);
            }
            bench.append(1, 1000 + time, 0);
        }
        let bases: Vec<u64> =
            bench.partition().files().files.iter().map(|file| file.id.base).collect();
        assert_eq!(bases, [0, 6, 12, 18, 24], "{reopened}");
    }
}

#[test]
fn what_is_trimmed_while_it_is_read_is_out_of_range_and_no_fault() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(Arc::clone(&disk));
    for _ in 0..8 {
        bench.append(1, 5, 100);
    }
    let partition = bench.partition();
    // As a reader that has found the file before it went.
    let first = crate::file_id::FileId::raw(0).name(P);
    bench.trim(8);
    bench.log.sync().unwrap();
    assert!(!disk.names().unwrap().contains(&first));
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let error = ReadError::Io { path: first.into(), source: missing() };
    let told = partition.or_trimmed(0, error);
    assert!(matches!(told, ReadError::OutOfRange { asked: 0, start: 8, .. }), "{told:?}");
    let error = ReadError::Io { path: "x".into(), source: missing() };
    assert!(matches!(partition.or_trimmed(8, error), ReadError::Io { .. }), "it should be there");
    let id = crate::file_id::FileId::raw(0);
    partition.walk_on(id, crate::walk::Walk::new(id), 10).unwrap();
    // As a reader that has the batches, and looks now at which of them were aborted.
    let told = partition.aborted_between(0, 4);
    assert!(matches!(told, Err(ReadError::OutOfRange { asked: 0, start: 8, .. })), "{told:?}");
    assert_eq!(partition.aborted_between(8, 8).unwrap(), []);
}

/// What a reader of committed events sees: offsets of batches.
fn committed(partition: &Partition) -> Vec<u64> {
    let (mut offset, mut found) = (partition.ends().0, Vec::new());
    loop {
        let read = Read { offset, bytes_max: 200, within: false, committed: true };
        let chunk = partition.read_as(read).unwrap();
        let mut hidden = Hidden::new(chunk.aborted);
        let mut rest = &chunk.batches[..];
        if rest.is_empty() {
            return found;
        }
        while let Ok(header) = BatchHeader::parse(rest) {
            if !hidden.hides(&header) {
                found.push(header.first_offset());
            }
            rest = &rest[header.len_bytes..];
            offset = header.end_offset();
        }
    }
}

#[test]
fn readers_of_committed_events_see_transactions_whole_or_not_at_all() {
    let (_dir, disk) = folder();
    let mut bench = Bench::new(Arc::clone(&disk));
    let append = |bench: &mut Bench, transaction: Option<u64>| {
        let producer = transaction.map_or(-1, u64::cast_signed);
        let batch = batch_of((producer, 0, 0), transaction.is_some(), (1, 1000, 30)).into();
        let base_offset = bench.next;
        bench.write(StreamChange::Appended {
            partition: P,
            base_offset,
            events: 1,
            transaction,
            batch,
        });
        bench.next += 1;
    };
    let end = |bench: &mut Bench, producer, committed| {
        let (partition, base_offset, epoch, at) = (P, bench.next, 0, TimeMs(7));
        bench.write(StreamChange::Marked {
            partition,
            base_offset,
            producer,
            epoch,
            committed,
            at,
        });
        bench.next += 1;
    };
    append(&mut bench, None);
    append(&mut bench, Some(5));
    append(&mut bench, Some(6));
    append(&mut bench, None);
    let partition = bench.partition();
    assert_eq!((partition.stable_end(), partition.ends().1), (1, 4));
    assert_eq!(committed(&partition), [0]);
    end(&mut bench, 6, false);
    assert_eq!(committed(&partition), [0], "the first one is still open");
    append(&mut bench, Some(6));
    end(&mut bench, 5, true);
    assert_eq!(committed(&partition), [0, 1, 3], "up to what the aborted one's producer does next");
    end(&mut bench, 6, true);
    assert_eq!(committed(&partition), [0, 1, 3, 5]);
    append(&mut bench, Some(5));
    assert_eq!(bench.read_all().len(), 9, "all of it, markers too, where that is asked for");
    // A start learns from the state what is open and what was aborted.
    bench.log.sync().unwrap();
    let log = StreamLog::open(Arc::clone(&disk), (Position::START, true)).unwrap();
    log.cut(Position(bench.journal.len() as u64)).unwrap();
    let mark = |producer, first, last| TransactionMark { partition: P, producer, first, last };
    let transactions = vec![mark(5, 8, None), mark(6, 2, Some(4))];
    log.settle(&[StreamView { transactions, ..view(0, 9) }]).unwrap();
    let partition = Arc::clone(&log.stream("default", "s").unwrap().partitions[0]);
    assert_eq!(partition.stable_end(), 8);
    assert_eq!(committed(&partition), [0, 1, 3, 5]);
}

/// Dead letters and lives of jobs become events while publishing is closed: they filled the memory.
#[test]
fn what_waits_for_space_is_bounded_and_a_trim_gives_some() {
    let sim = SimDisk::new(4);
    let mut bench = Bench::new(Arc::new(sim.clone()));
    for _ in 0..2 {
        bench.append(2, 1, 400);
    }
    bench.log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes() + 4096));
    let large = batch(2, 2, 1 << 20);
    let most = crate::LATE_BYTES_MAX / large.len() + 1;
    let mut waiting = 0;
    while bench.log.has_room().unwrap() {
        let change = StreamChange::Appended {
            partition: P,
            base_offset: bench.next,
            events: 2,
            transaction: None,
            batch: large.clone().into(),
        };
        bench.journal.push(vec![change.clone()]);
        bench.next += 2;
        let position = Position(bench.journal.len() as u64);
        assert!(bench.log.write(position, vec![change]).unwrap_err().is_no_space());
        waiting += 1;
        assert!(waiting <= most, "{waiting} batches wait in memory");
    }
    assert!(waiting >= most - 1, "{waiting} batches wait in memory");
    assert_eq!(bench.partition().ends(), (0, 4));
    // Who keeps less is heard, whatever waits before that.
    bench.start = 2;
    let trimmed = vec![StreamChange::Trimmed { partition: P, start: 2 }];
    bench.journal.push(trimmed.clone());
    let position = Position(bench.journal.len() as u64);
    assert!(bench.log.write(position, trimmed).unwrap_err().is_no_space());
    let before = sim.used_bytes();
    bench.log.sync().unwrap();
    assert!(sim.used_bytes() < before, "the first file has gone");
    sim.set_capacity_bytes(None);
    assert!(bench.log.has_room().unwrap());
    let expected: Vec<u64> = (1..=1 + waiting as u64).map(|n| 2 * n).collect();
    assert_eq!(bench.read_all(), expected);
    bench.log.sync().unwrap();
    bench.reopen(Arc::new(sim)).unwrap();
    assert_eq!(bench.read_all(), expected);
}

/// It stayed behind what waited, and so did the space that it would have given.
#[test]
fn a_stream_that_is_deleted_on_a_full_disk_goes_with_what_waits_for_it() {
    const OTHER: PartitionId = PartitionId(8);
    let sim = SimDisk::new(5);
    let mut bench = Bench::new(Arc::new(sim.clone()));
    let mut other = StreamView { id: StreamId(2), name: "o".into(), ..view(0, 0) };
    other.partitions = vec![(OTHER, PartitionEnds { start: 0, next: 0 })];
    bench.write(StreamChange::Created(Box::new(other)));
    let appended = |partition, base_offset, filler| StreamChange::Appended {
        partition,
        base_offset,
        events: 2,
        transaction: None,
        batch: batch(2, 1, filler).into(),
    };
    bench.append(2, 1, 30);
    for base_offset in [0, 2] {
        bench.write(appended(OTHER, base_offset, 20_000));
    }
    bench.log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes() + 4096));
    let full = |bench: &mut Bench, changes: Vec<StreamChange>| {
        bench.journal.push(changes.clone());
        let position = Position(bench.journal.len() as u64);
        assert!(bench.log.write(position, changes).unwrap_err().is_no_space());
    };
    full(&mut bench, vec![appended(OTHER, 4, 33 << 20)]);
    full(&mut bench, vec![appended(P, 2, 10_000), appended(OTHER, 6, 33 << 20)]);
    let deleted = StreamChange::Deleted { stream: StreamId(2) };
    full(&mut bench, vec![appended(OTHER, 8, 33 << 20), deleted]);
    bench.next = 4;
    assert!(bench.log.stream("default", "o").is_none());
    assert!(bench.log.has_room().unwrap(), "what waited for it counts no longer");
    let before = sim.used_bytes();
    bench.log.sync().unwrap();
    assert!(sim.used_bytes() < before - 40_000, "its files have gone");
    // A start meanwhile finds it deleted, and all else in the journal.
    let left = sim.crash(Crash::Kill);
    left.set_capacity_bytes(None);
    let mut started = Bench {
        disk: Arc::clone(&bench.disk),
        log: StreamLog::open(Arc::new(left.clone()), (Position::START, true)).unwrap(),
        journal: bench.journal.clone(),
        start: 0,
        next: 4,
    };
    started.reopen(Arc::new(left)).unwrap();
    assert_eq!(started.read_all(), [0, 2]);
    bench.log.write(Position(bench.journal.len() as u64), Vec::new()).unwrap();
    assert!(!bench.log.waits_for_space());
    assert_eq!(bench.read_all(), [0, 2]);
    bench.log.sync().unwrap();
    bench.reopen(Arc::new(sim)).unwrap();
    assert_eq!(bench.read_all(), [0, 2]);
}

/// They waited, and kept others from being written: more than the memory for what waits may be
/// theirs.
#[test]
fn what_came_of_a_stream_while_events_waited_goes_with_it() {
    const ADDED: PartitionId = PartitionId(8);
    const OTHERS: PartitionId = PartitionId(9);
    let sim = SimDisk::new(5);
    let mut bench = Bench::new(Arc::new(sim.clone()));
    let appended = |partition, base_offset, filler| StreamChange::Appended {
        partition,
        base_offset,
        events: 2,
        transaction: None,
        batch: batch(2, 1, filler).into(),
    };
    let ends = PartitionEnds { start: 0, next: 0 };
    let other = StreamView { id: StreamId(2), name: "o".into(), ..view(0, 0) };
    let other = StreamView { partitions: vec![(OTHERS, ends)], ..other };
    let added = StreamView { partitions: vec![(P, ends), (ADDED, ends)], ..view(0, 0) };
    bench.append(2, 1, 30);
    bench.log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes() + 4096));
    let full = |bench: &mut Bench, changes: Vec<StreamChange>| {
        let position = Position(bench.journal.len() as u64 + 1);
        bench.journal.push(changes.clone());
        assert!(bench.log.write(position, changes).unwrap_err().is_no_space());
    };
    full(&mut bench, vec![appended(P, 2, 10_000)]);
    full(&mut bench, vec![StreamChange::Created(Box::new(added)), appended(ADDED, 0, 20 << 20)]);
    full(&mut bench, vec![StreamChange::Created(Box::new(other.clone()))]);
    full(&mut bench, vec![appended(OTHERS, 0, 20 << 20)]);
    assert!(!bench.log.has_room().unwrap());
    full(&mut bench, vec![StreamChange::Deleted { stream: StreamId(2) }]);
    assert!(bench.log.has_room().unwrap(), "what waited for the new stream counts no longer");
    let again = StreamView { id: StreamId(3), partitions: vec![(PartitionId(10), ends)], ..other };
    full(&mut bench, vec![StreamChange::Created(Box::new(again))]);
    // Nothing is left that needs space.
    let deleted = vec![StreamChange::Deleted { stream: StreamId(1) }];
    bench.journal.push(deleted.clone());
    bench.log.write(Position(bench.journal.len() as u64), deleted).unwrap();
    assert!(!bench.log.waits_for_space());
    let there = bench.log.all();
    let there: Vec<_> = there.iter().map(|it| (it.id.0, it.name.as_str())).collect();
    assert_eq!(there, [(3, "o")]);
}
