//! What is left is the newest event of each key, wherever a crash falls; nobody reads what was
//! taken back, and what says that a key is gone goes after its time.

mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::{
    PartitionEnds, PartitionId, Position, StreamChange, StreamId, StreamSettings, StreamView,
    TimeMs, TransactionMark,
};
use longshore_journal::disk::Disk;
use longshore_journal::{Crash, SimDisk};

use super::{Compaction, Round};
use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::event::{Event, batch_of, events_of};
use crate::{Hidden, Partition, Read, StreamLog, codec};

const P: PartitionId = PartitionId(7);
const TOMBSTONE_MS: u64 = 1000;

/// A key and its value.
type Pair<'a> = (&'a str, Option<&'a str>);

struct Bench {
    disk: Arc<dyn Disk>,
    log: StreamLog,
    journal: Vec<Vec<StreamChange>>,
    next: u64,
    codec: i16,
    marks: Vec<TransactionMark>,
}

fn settings() -> StreamSettings {
    StreamSettings {
        file_bytes: 300,
        compact: true,
        delete: false,
        compaction_dirty_ppm: 0,
        tombstone_ms: TOMBSTONE_MS,
        ..StreamSettings::default()
    }
}

fn view(next: u64, transactions: Vec<TransactionMark>) -> StreamView {
    StreamView {
        id: StreamId(1),
        namespace: "default".into(),
        name: "s".into(),
        partitions: vec![(P, PartitionEnds { start: 0, next })],
        settings: settings(),
        transactions,
    }
}

impl Bench {
    fn new(disk: Arc<dyn Disk>) -> Self {
        let log = StreamLog::open(Arc::clone(&disk), (Position::START, false)).unwrap();
        log.settle(&[]).unwrap();
        let (journal, marks) = (Vec::new(), Vec::new());
        let mut bench = Self { disk, log, journal, next: 0, codec: 0, marks };
        bench.write(StreamChange::Created(Box::new(view(0, Vec::new()))));
        bench
    }

    fn write(&mut self, change: StreamChange) {
        self.journal.push(vec![change.clone()]);
        self.log.write(Position(self.journal.len() as u64), vec![change]).unwrap();
    }

    /// Appends a batch, in the transaction of a producer where one is given.
    fn append(&mut self, pairs: &[Pair<'_>], transaction: Option<u64>) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let event = |(key, value): &Pair<'_>| Event {
            time: 1000 + self.next.cast_signed(),
            key: Some(bytes(key)),
            value: value.map(bytes),
            ..Event::default()
        };
        let events: Vec<Event> = pairs.iter().map(event).collect();
        let plain = batch_of(&events);
        let mut header = BatchHeader::parse(&plain).unwrap();
        header.attributes = self.codec;
        if let Some(producer) = transaction {
            header.attributes |= 1 << 4;
            header.producer_id = producer.cast_signed();
            header.producer_epoch = 0;
        }
        let closed = codec::close(self.codec, plain[HEADER_BYTES..].to_vec()).unwrap();
        let batch = header.with((None, header.newest_time, header.events), &closed).into();
        let (base_offset, events) = (self.next, pairs.len() as u32);
        let partition = P;
        self.write(StreamChange::Appended { partition, base_offset, events, transaction, batch });
        self.next += u64::from(events);
    }

    fn end(&mut self, producer: u64, first: u64, committed: bool) {
        let (partition, base_offset, epoch, at) = (P, self.next, 0, TimeMs(1));
        self.write(StreamChange::Marked { partition, base_offset, producer, epoch, committed, at });
        if !committed {
            let last = Some(self.next);
            self.marks.push(TransactionMark { partition, producer, first, last });
        }
        self.next += 1;
    }

    /// Has everything up to here in files that are written to no more.
    fn close_file(&mut self) {
        let codec = std::mem::take(&mut self.codec);
        self.append(&[("a key that nobody else uses", Some(&"x".repeat(300)))], None);
        self.codec = codec;
        self.log.sync().unwrap();
    }

    fn partition(&self) -> Arc<Partition> {
        Arc::clone(&self.log.stream("default", "s").unwrap().partitions[0])
    }

    fn compact_at(&self, now_ms: u64) -> Option<Round> {
        let with = Compaction { now_ms, memory_bytes: 1 << 20, spare_bytes: 0 };
        self.log.compact(with).unwrap()
    }

    /// A start on `disk` from the journal after the last sync.
    fn reopen(&mut self, disk: Arc<dyn Disk>) {
        let log = StreamLog::open(Arc::clone(&disk), (Position::START, true)).unwrap();
        log.cut(Position(self.journal.len() as u64)).unwrap();
        let from = log.synced().map_or(0, |synced| synced.0 as usize);
        for (index, changes) in self.journal.iter().enumerate().skip(from) {
            log.replay(Position(index as u64 + 1), changes.clone()).unwrap();
        }
        log.settle(&[view(self.next, self.marks.clone())]).unwrap();
        (self.log, self.disk) = (log, disk);
    }

    /// Offset, key and value of every event that a reader of committed ones sees.
    fn seen(&self) -> Vec<(u64, String, Option<String>)> {
        let (partition, mut offset, mut seen) = (self.partition(), 0, Vec::new());
        let mut reading = Read { offset, bytes_max: 1, within: false, committed: true };
        loop {
            reading.offset = offset;
            let chunk = partition.read_as(reading).unwrap();
            let Ok(header) = BatchHeader::parse(&chunk.batches) else {
                assert_eq!(offset, self.next, "the end is read to");
                return seen;
            };
            assert!(header.end_offset() > offset, "offsets never go back");
            offset = header.end_offset();
            if Hidden::new(chunk.aborted).hides(&header) {
                continue;
            }
            let opened = codec::open(header.attributes, &chunk.batches[HEADER_BYTES..]).unwrap();
            let whole = header.with((header.delete_horizon(), 0, header.events), &opened).into();
            let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let event = |it: Event| (it.offset, it.key.map(text).unwrap(), it.value.map(text));
            seen.extend(events_of(&header, &whole).into_iter().map(event));
        }
    }

    fn newest(&self) -> BTreeMap<String, Option<String>> {
        self.seen().into_iter().map(|(_, key, value)| (key, value)).collect()
    }

    fn offsets(&self) -> Vec<u64> {
        self.seen().into_iter().map(|(offset, ..)| offset).collect()
    }
}

fn sim() -> (SimDisk, Bench) {
    let sim = SimDisk::new(1);
    (sim.clone(), Bench::new(Arc::new(sim)))
}

#[test]
fn the_newest_event_of_each_key_stays_where_it_was() {
    for codec in 0..=4 {
        let (_, mut bench) = sim();
        bench.codec = codec;
        bench.append(&[("a", Some("1")), ("b", Some("1"))], None);
        bench.append(&[("a", Some("2"))], None);
        bench.append(&[("c", Some("1")), ("c", Some("2")), ("a", Some("3"))], None);
        bench.close_file();
        let before = bench.newest();
        let round = bench.compact_at(0).unwrap();
        assert!(round.after_bytes < round.before_bytes && round.unopened == 0);
        assert_eq!(bench.offsets(), [1, 4, 5, 6], "codec {codec}");
        assert_eq!(bench.newest(), before);
        assert_eq!(bench.compact_at(0), None, "all is clean");
        let chunk = bench.partition().read(2, 1).unwrap();
        let header = BatchHeader::parse(&chunk.batches).unwrap();
        assert_eq!(header.first_offset(), 3, "what follows the gap comes");
        bench.reopen(Arc::clone(&bench.disk));
        assert_eq!(bench.offsets(), [1, 4, 5, 6]);
        bench.append(&[("b", Some("2"))], None);
        bench.close_file();
        bench.compact_at(0).unwrap();
        assert_eq!(bench.offsets(), [4, 5, 6, 7, 8], "and files of earlier rounds, too");
    }
}

#[test]
fn batches_of_which_all_stays_are_kept_byte_for_byte() {
    let (_, mut bench) = sim();
    bench.append(&[("a", Some("1")), ("b", Some("1"))], None);
    bench.append(&[("c", Some("1"))], None);
    bench.append(&[("c", Some("2"))], None);
    bench.close_file();
    let first = bench.partition().read(0, 1).unwrap().batches;
    bench.compact_at(0).unwrap();
    assert_eq!(bench.partition().read(0, 1).unwrap().batches, first);
}

#[test]
fn what_says_that_a_key_is_gone_goes_after_its_time() {
    let (_, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", None), ("b", Some("1"))], None);
    bench.close_file();
    bench.compact_at(5000).unwrap();
    let times = |bench: &Bench| {
        let chunk = bench.partition().read(1, 1).unwrap();
        let header = BatchHeader::parse(&chunk.batches).unwrap();
        (header.delete_horizon(), events_of(&header, &chunk.batches)[0].time)
    };
    assert_eq!(bench.offsets(), [1, 2, 3], "it stays, and says until when");
    assert_eq!(times(&bench), (Some(6000), 1001));
    for (now_ms, kept) in [(5999, [1, 2, 3, 4, 5].as_slice()), (6000, &[2, 5, 6, 7])] {
        bench.append(&[("c", Some("x"))], None);
        bench.close_file();
        bench.compact_at(now_ms).unwrap();
        assert_eq!(bench.offsets(), kept, "at {now_ms}");
    }
}

#[test]
fn what_was_taken_back_goes_and_its_marker_once_nobody_is_told_of_it() {
    let (_, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("never")), ("b", Some("never"))], Some(5));
    bench.end(5, 1, false);
    bench.append(&[("b", Some("1"))], Some(5));
    bench.end(5, 4, true);
    bench.close_file();
    bench.compact_at(5000).unwrap();
    let seen = bench.seen();
    assert_eq!(seen[0], (0, "a".to_owned(), Some("1".to_owned())), "it is the newest");
    assert_eq!(bench.offsets(), [0, 4, 6]);
    let batch_at = |bench: &Bench, offset| {
        let chunk = bench.partition().read(offset, 1).unwrap();
        BatchHeader::parse(&chunk.batches).unwrap()
    };
    assert!(batch_at(&bench, 1).is_control(), "the marker is what is left");
    // The next round finds nothing else of it, and gives it its time. Past that it stays for as
    // long as somebody is told of the transaction.
    let again = |bench: &mut Bench, now_ms: u64| {
        bench.append(&[("c", Some("x"))], None);
        bench.close_file();
        bench.compact_at(now_ms).unwrap();
    };
    again(&mut bench, 9000);
    assert_eq!(batch_at(&bench, 1).delete_horizon(), Some(10_000));
    again(&mut bench, 10_000);
    assert_eq!(batch_at(&bench, 1).first_offset(), 3);
    let spent = bench.log.spent();
    assert_eq!((spent.len(), &spent[0].markers[..]), (1, &[3][..]));
    bench.write(StreamChange::Forgotten { partition: P, markers: vec![3] });
    bench.marks.clear();
    assert_eq!(bench.log.spent(), []);
    again(&mut bench, 10_001);
    assert_eq!(batch_at(&bench, 1).first_offset(), 4, "now it is gone");
    assert_eq!(batch_at(&bench, 5).first_offset(), 5, "that of the other has events before it");
    assert_eq!(bench.newest()["b"], Some("1".to_owned()));
}

#[test]
fn an_open_transaction_and_what_follows_it_are_left_alone() {
    let (_, mut bench) = sim();
    bench.append(&[("a", Some("1"))], Some(5));
    bench.append(&[("a", Some("2"))], None);
    bench.append(&[("a", Some("3"))], None);
    bench.close_file();
    assert_eq!(bench.compact_at(0), None);
    bench.end(5, 0, true);
    bench.close_file();
    bench.compact_at(0).unwrap();
    assert_eq!(bench.newest()["a"], Some("3".to_owned()));
}

#[test]
fn readers_come_to_the_end_where_nothing_is_left_before_it() {
    let (_, mut bench) = sim();
    for _ in 0..20 {
        bench.append(&[("a", Some("some text that fills it"))], None);
    }
    bench.append(&[("a", None)], None);
    bench.close_file();
    bench.compact_at(0).unwrap();
    bench.append(&[("b", Some("1"))], None);
    bench.close_file();
    bench.compact_at(TOMBSTONE_MS).unwrap();
    assert_eq!(bench.offsets(), [21, 22, 23]);
    bench.reopen(Arc::clone(&bench.disk));
    assert_eq!(bench.offsets(), [21, 22, 23]);
}

#[test]
fn keys_that_find_no_room_are_left_to_further_rounds() {
    let (_, mut bench) = sim();
    for round in ["1", "2", "3"] {
        for key in 0..200 {
            bench.append(&[(&format!("{key}"), Some(round))], None);
        }
    }
    bench.close_file();
    let before = bench.newest();
    let with = Compaction { now_ms: 0, memory_bytes: 2000, spare_bytes: 0 };
    let mut rounds = 0;
    while bench.log.compact(with).unwrap().is_some() {
        rounds += 1;
        assert_eq!(bench.newest(), before);
    }
    assert!(rounds > 3, "{rounds} rounds");
    assert_eq!(bench.offsets().len(), 201, "one for each key");
}

#[test]
fn a_round_waits_for_enough_that_is_new_and_for_events_to_be_old_enough() {
    let (_, mut bench) = sim();
    let set = |bench: &mut Bench, change: fn(&mut StreamSettings)| {
        let mut settings = settings();
        change(&mut settings);
        bench.write(StreamChange::Changed { stream: StreamId(1), settings });
    };
    for _ in 0..9 {
        bench.append(&[("a", Some("some text that fills it"))], None);
    }
    bench.close_file();
    set(&mut bench, |it| it.compaction_lag_ms_min = 500);
    assert_eq!(bench.compact_at(1400), None, "they are too young");
    set(&mut bench, |it| it.compaction_dirty_ppm = 1_000_000);
    assert_eq!(bench.compact_at(1400), None, "there is never enough");
    set(&mut bench, |it| {
        (it.compaction_dirty_ppm, it.compaction_lag_ms_max) = (1_000_000, Some(300));
    });
    assert_eq!(bench.compact_at(1300), None);
    assert!(bench.compact_at(1400).is_some(), "it has waited long enough");
    set(&mut bench, |it| it.compact = false);
    bench.append(&[("a", Some("1"))], None);
    bench.close_file();
    assert_eq!(bench.compact_at(9000), None);
}

#[test]
fn a_crash_at_any_change_of_the_disk_leaves_the_newest_of_each_key() {
    for crash in [Crash::Kill, Crash::PowerCut, Crash::PowerCutLosingAll] {
        let mut taken = 0;
        for changes in 0..120 {
            let sim = SimDisk::new(changes);
            let mut bench = Bench::new(Arc::new(sim.clone()));
            sim.image_crashes_after(changes, &[crash]);
            for round in 0..4 {
                for key in ["a", "b", "c", "a"] {
                    let value = format!("{key}{round}");
                    bench.append(&[(key, Some(&value)), ("d", Some("always"))], None);
                }
                bench.append(&[("e", Some("never"))], Some(9));
                bench.end(9, bench.next - 1, false);
                bench.close_file();
                bench.compact_at(round * 800).unwrap();
            }
            let expected = bench.newest();
            let Some(left) = sim.take_images().pop() else { continue };
            taken += 1;
            bench.reopen(Arc::new(left.clone()));
            let report = crate::check(Arc::new(left));
            assert!(report.faults.is_empty(), "{changes}: {:?}", report.faults);
            assert_eq!(bench.newest(), expected, "{crash:?} after {changes} changes");
            bench.close_file();
            while bench.compact_at(9000).is_some() {}
            assert_eq!(bench.newest(), expected, "{crash:?} after {changes} changes, later");
            assert!(bench.offsets().len() < 9, "it goes on where it was");
        }
        assert!(taken > 60, "{taken} crashes");
    }
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    let (sim, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.close_file();
    let name = crate::file_id::FileId::raw(0).name(P);
    sim.flip_bit(&name, 70, 1);
    let with = Compaction { now_ms: 0, memory_bytes: 1 << 20, spare_bytes: 0 };
    let error = bench.log.compact(with).unwrap_err();
    assert!(error.to_string().contains("is damaged at byte 70"), "{error}");
    assert_eq!(bench.log.compact(with).unwrap(), None, "it is told once");
    assert!(sim.bytes(&name).is_some());
}
