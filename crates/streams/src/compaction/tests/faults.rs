//! What a disk that fails, files that are missing, and batches that cannot be opened lead to:
//! never to less than there was, and never in silence.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_journal::disk::{DiskFile, DiskLock};

use super::*;
use crate::CompactError;
use crate::batch::place;
use crate::file_id::{FileId, UNFINISHED_NAME};

fn one_key_at_a_time(now_ms: u64) -> Compaction {
    Compaction { now_ms, memory_bytes: 1, spare_bytes: 0 }
}

/// A disk whose folder cannot be synced.
#[derive(Debug)]
struct FolderFails {
    disk: SimDisk,
    fails: AtomicBool,
}

impl Disk for FolderFails {
    fn create_folder(&self) -> io::Result<()> {
        self.disk.create_folder()
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name, write)
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("it fails"));
        }
        self.disk.sync()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
    fn lock(&self, name: &str, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(name, create)
    }
    fn new_salt(&self) -> u64 {
        self.disk.new_salt()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

/// The name of the one file that came of compaction.
fn compacted_name(bench: &Bench) -> String {
    let names = bench.disk.names().unwrap();
    let of = |name: &&String| FileId::of_name(name).is_some_and(|it| it.1.compacted.is_some());
    let mut found = names.iter().filter(of);
    let name = found.next().unwrap().clone();
    assert_eq!(found.next(), None);
    name
}

#[test]
fn whichever_sync_of_a_round_fails_nothing_is_lost() {
    let mut failed = 0;
    for syncs in 0..4 {
        let sim = SimDisk::new(1);
        let disk = Arc::new(FolderFails { disk: sim.clone(), fails: false.into() });
        let mut bench = Bench::new(Arc::clone(&disk) as Arc<dyn Disk>);
        bench.append(&[("a", Some("1")), ("b", Some("1"))], None);
        bench.append(&[("a", Some("2"))], None);
        bench.close_file();
        match syncs {
            0 => disk.fails.store(true, Ordering::Relaxed),
            syncs => sim.fail_sync_after(syncs - 1),
        }
        let with = Compaction { now_ms: 0, memory_bytes: 1 << 20, spare_bytes: 0 };
        let done = bench.log.compact(with);
        sim.fail_nothing();
        disk.fails.store(false, Ordering::Relaxed);
        if let Err(error) = &done {
            assert!(matches!(error, CompactError::Unsure { .. }), "{error}");
            failed += 1;
        }
        bench.append(&[("c", Some("1")), ("b", Some("2"))], None);
        bench.close_file();
        let again = bench.log.compact(Compaction { now_ms: 1 << 40, ..with });
        assert_eq!(matches!(again, Err(CompactError::Stopped)), done.is_err());
        let expected = bench.newest();
        bench.reopen(Arc::clone(&bench.disk));
        assert_eq!(bench.newest(), expected, "after {syncs} syncs");
        while bench.compact_at(1 << 41).is_some() {}
        assert_eq!(bench.newest(), expected, "after {syncs} syncs, later");
        bench.reopen(Arc::clone(&bench.disk));
        assert_eq!(bench.newest(), expected, "after {syncs} syncs, once more");
    }
    assert_eq!(failed, 2, "of the file, and of the folder");
}

#[test]
fn a_round_that_cannot_write_leaves_no_file_and_lets_others_go_first() {
    let (sim, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.close_file();
    sim.fail_write_after(0);
    let with = Compaction { now_ms: 0, memory_bytes: 1 << 20, spare_bytes: 0 };
    assert!(matches!(bench.log.compact(with), Err(CompactError::Io { .. })));
    sim.fail_nothing();
    assert_eq!(sim.bytes(UNFINISHED_NAME), None);
    assert_eq!(bench.compact_at(59_999), None, "not at once again");
    assert!(bench.compact_at(60_000).is_some());
    let full = Compaction { spare_bytes: u64::MAX, ..with };
    bench.append(&[("a", Some("3"))], None);
    bench.close_file();
    sim.set_capacity_bytes(Some(1 << 20));
    let spare = Compaction { now_ms: 90_000, ..full };
    assert!(bench.log.compact(spare).unwrap_err().is_no_space(), "it is not for this");
}

#[test]
fn readers_do_not_pass_over_a_file_that_is_missing() {
    let (_, mut bench) = sim();
    for _ in 0..3 {
        bench.close_file();
    }
    bench.disk.remove(&FileId::raw(1).name(P)).unwrap();
    bench.reopen(Arc::clone(&bench.disk));
    assert!(bench.partition().read(0, 1).is_ok());
    let error = bench.partition().read(1, 1).unwrap_err();
    assert!(error.to_string().contains("not whole"), "{error}");
    assert_eq!(crate::check(Arc::clone(&bench.disk)).faults.len(), 1);
}

#[test]
fn a_file_that_goes_while_it_is_looked_for_work_does_not_end_compaction() {
    let (sim, mut bench) = sim();
    let settings = StreamSettings { compaction_lag_ms_max: Some(1), ..settings() };
    bench.write(StreamChange::Changed { stream: StreamId(1), settings });
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.close_file();
    // As somebody sees it who learned of the file before it was trimmed.
    let name = FileId::raw(0).name(P);
    let bytes = sim.bytes(&name).unwrap();
    bench.disk.remove(&name).unwrap();
    bench.log.open.forget(&name);
    assert_eq!(bench.compact_at(9000), None);
    sim.create(&name).unwrap().write_at(&bytes, 0).unwrap();
    assert!(bench.compact_at(9000).is_some());
}

#[test]
fn a_compacted_file_that_lost_its_end_is_refused() {
    let (sim, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.append(&[("b", Some("2"))], None);
    bench.close_file();
    bench.compact_at(0).unwrap();
    let name = compacted_name(&bench);
    // At the end of a batch: what is left is well formed.
    let len = BatchHeader::parse(&sim.bytes(&name).unwrap()).unwrap().len_bytes;
    sim.edit(&name, |bytes| bytes.truncate(len));
    assert_eq!(crate::check(Arc::clone(&bench.disk)).faults.len(), 1);
    let log = StreamLog::open(Arc::clone(&bench.disk), (Position::START, true)).unwrap();
    let error = log.cut(Position(bench.journal.len() as u64)).unwrap_err();
    assert!(error.to_string().contains("events are lost"), "{error}");
}

#[test]
fn sources_stay_where_what_stands_for_them_is_not_whole() {
    let (sim, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.append(&[("b", Some("2"))], None);
    bench.close_file();
    let source = FileId::raw(0).name(P);
    let bytes = sim.bytes(&source).unwrap();
    bench.compact_at(0).unwrap();
    // As a crash leaves them that comes before the sources go.
    sim.create(&source).unwrap().write_at(&bytes, 0).unwrap();
    let whole = compacted_name(&bench);
    let compacted = sim.bytes(&whole).unwrap();
    sim.edit(&whole, |bytes| bytes.truncate(bytes.len() - 1));
    let log = StreamLog::open(Arc::clone(&bench.disk), (Position::START, true)).unwrap();
    let error = log.cut(Position(bench.journal.len() as u64)).unwrap_err();
    assert!(error.to_string().contains("events are lost"), "{error}");
    assert_eq!(sim.bytes(&source), Some(bytes), "nothing else has them");
    sim.create(&whole).unwrap().write_at(&compacted, 0).unwrap();
    bench.reopen(Arc::clone(&bench.disk));
    assert_eq!(sim.bytes(&source), None, "now it is certain that they are not needed");
}

#[test]
fn a_compacted_file_that_is_missing_is_noticed_by_its_neighbour() {
    let (_, mut bench) = sim();
    for value in ["1", "2", "3"] {
        bench.append(&[("a", Some(value))], None);
        bench.close_file();
        bench.compact_at(0);
    }
    bench.reopen(Arc::clone(&bench.disk));
    let second = {
        let partition = bench.partition();
        let files = partition.files();
        assert!(files.files[0].id.compacted.is_some());
        files.files[1].id.name(P)
    };
    bench.disk.remove(&second).unwrap();
    assert_eq!(crate::check(Arc::clone(&bench.disk)).faults.len(), 1);
}

#[test]
fn an_event_is_not_served_under_another_offset_than_its_own() {
    let (sim, mut bench) = sim();
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.close_file();
    bench.compact_at(0).unwrap();
    assert_eq!(bench.offsets(), [2, 3]);
    let name = compacted_name(&bench);
    // From 2 to 0, which is within the gap.
    sim.flip_bit(&name, 7, 1);
    bench.reopen(Arc::clone(&bench.disk));
    assert!(bench.partition().read(0, 1).is_err());
    assert_eq!(crate::check(Arc::clone(&bench.disk)).faults.len(), 1);
}

#[test]
fn the_time_of_what_says_that_a_key_is_gone_begins_once_its_older_events_go() {
    let (_, mut bench) = sim();
    bench.append(&[("k", Some("old"))], None);
    bench.append(&[("a", Some("1")), ("b", Some("1")), ("k", None)], None);
    bench.close_file();
    bench.log.compact(one_key_at_a_time(0)).unwrap().unwrap();
    bench.log.compact(one_key_at_a_time(0)).unwrap().unwrap();
    let later = 10 * TOMBSTONE_MS;
    while bench.log.compact(one_key_at_a_time(later)).unwrap().is_some() {}
    assert_eq!(bench.offsets(), [1, 2, 3, 4], "who has read the old one hears of it");
    bench.close_file();
    while bench.compact_at(later + TOMBSTONE_MS).is_some() {}
    assert_eq!(bench.offsets(), [1, 2, 4, 5], "and goes after its time");
}

#[test]
fn what_says_that_a_key_is_gone_stays_behind_a_batch_that_cannot_be_opened() {
    let (_, mut bench) = sim();
    let plain = batch_of(&[Event { time: 1, ..Event::default() }]);
    let header = BatchHeader { attributes: 1, ..BatchHeader::parse(&plain).unwrap() };
    let mut batch = header.with((None, 1, 1), b"no gzip at all");
    place(&mut batch, 0);
    let (partition, transaction, batch) = (P, None, batch.into());
    let appended =
        StreamChange::Appended { partition, base_offset: 0, events: 1, transaction, batch };
    bench.write(appended);
    bench.next += 1;
    bench.append(&[("k", None)], None);
    for now_ms in [0, 10 * TOMBSTONE_MS] {
        bench.close_file();
        let round = bench.compact_at(now_ms).unwrap();
        assert_eq!(round.unopened, 1);
    }
    let left = bench.partition().read(1, 1).unwrap();
    assert_eq!(BatchHeader::parse(&left.batches).unwrap().first_offset(), 1);
}

#[test]
fn the_time_of_what_says_that_a_key_is_gone_does_not_begin_behind_what_is_kept_unopened() {
    let (sim, mut bench) = sim();
    let plain = batch_of(&[Event { time: 1, ..Event::default() }]);
    let header = BatchHeader { attributes: 1, ..BatchHeader::parse(&plain).unwrap() };
    let mut batch = header.with((None, 1, 1), b"no gzip at all");
    place(&mut batch, 0);
    let (partition, transaction, batch) = (P, None, batch.into());
    let appended =
        StreamChange::Appended { partition, base_offset: 0, events: 1, transaction, batch };
    bench.write(appended);
    bench.next += 1;
    bench.append(&[("k", None)], None);
    bench.append(&[("a", Some("1"))], None);
    bench.append(&[("a", Some("2"))], None);
    bench.close_file();
    assert_eq!(bench.compact_at(0).unwrap().unopened, 1);
    let left = sim.bytes(&compacted_name(&bench)).unwrap();
    let first = BatchHeader::parse(&left).unwrap();
    let second = BatchHeader::parse(&left[first.len_bytes..]).unwrap();
    assert_eq!((second.first_offset(), second.delete_horizon()), (1, None));
}
