//! Large values: no compaction rewrites them, they live as long as somebody may read them, and
//! then their space comes back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use longshore_engine::{Position, Reader};

use super::{Change, tiny, write};
use crate::{Depth, FlushError, Lsm, check};

const BODY_BYTES: u64 = 64 << 10;

fn body(n: u8) -> Bytes {
    vec![n; BODY_BYTES as usize].into()
}

/// Writes the changes as a group of its own and flushes it.
fn flush(lsm: &mut Lsm, changes: Vec<Change>) {
    let position = lsm.position().next();
    write(lsm, position, changes);
    lsm.rotate().unwrap();
    lsm.flusher().flush_sealed(lsm.position()).unwrap();
}

fn put(lsm: &mut Lsm, numbers: impl Iterator<Item = u8>) {
    flush(lsm, numbers.map(|n| (vec![1, n], Some(body(n)))).collect());
}

fn remove(lsm: &mut Lsm, numbers: impl Iterator<Item = u8>) {
    flush(lsm, numbers.map(|n| (vec![1, n], None)).collect());
}

fn sweep(lsm: &Lsm) {
    while lsm.flusher().sweep().unwrap() {}
}

/// What the body files occupy.
fn occupied(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("bodies")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

fn body_files(dir: &Path) -> usize {
    fs::read_dir(dir.join("bodies")).unwrap().count()
}

fn check_bodies(lsm: &Lsm, dir: &Path, numbers: impl Iterator<Item = u8>) {
    let mut there: Vec<_> = numbers.map(|n| (vec![1, n], body(n))).collect();
    there.sort();
    assert_eq!(super::everything(lsm, &[1], &[2], 1000), there);
    assert!(there.iter().all(|(key, body)| lsm.get(key).as_ref() == Some(body)));
    check(dir, Depth::Everything, None).unwrap();
}

#[test]
fn no_compaction_rewrites_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    for n in 0..40 {
        put(&mut lsm, n..=n);
        let before = fs::metadata(dir.path().join("bodies/1")).unwrap();
        while lsm.flusher().compact().unwrap() {}
        let after = fs::metadata(dir.path().join("bodies/1")).unwrap();
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    }
    let tables = fs::read_dir(dir.path().join("tables")).unwrap();
    let bytes: u64 = tables.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < BODY_BYTES, "{bytes} bytes of tables");
    check_bodies(&lsm, dir.path(), 0..40);
    drop(lsm);
    check_bodies(&Lsm::open(dir.path(), tiny()).unwrap(), dir.path(), 0..40);
}

#[test]
fn the_space_of_dropped_bodies_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    put(&mut lsm, 0..16);
    put(&mut lsm, 16..32);
    assert!(occupied(dir.path()) >= 32 * BODY_BYTES);
    remove(&mut lsm, (0..32).filter(|n| n % 2 == 0));
    sweep(&lsm);
    let left = occupied(dir.path());
    assert!(left < 18 * BODY_BYTES, "{left} bytes are left for 16 bodies");
    check_bodies(&lsm, dir.path(), (0..32).filter(|n| n % 2 == 1));
    remove(&mut lsm, 0..16);
    sweep(&lsm);
    assert_eq!(body_files(dir.path()), 2);
    // With the next flush the tables say that the file is no longer needed.
    flush(&mut lsm, vec![(b"other".to_vec(), Some(Bytes::new()))]);
    assert_eq!(body_files(dir.path()), 1);
    assert!(occupied(dir.path()) < 10 * BODY_BYTES);
    check_bodies(&lsm, dir.path(), (16..32).filter(|n| n % 2 == 1));
    drop(lsm);
    let lsm = Lsm::open(dir.path(), tiny()).unwrap();
    check_bodies(&lsm, dir.path(), (16..32).filter(|n| n % 2 == 1));
}

#[test]
fn a_small_value_in_its_place_frees_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    put(&mut lsm, 0..2);
    for n in 0..2 {
        flush(&mut lsm, vec![(vec![1, n], Some(Bytes::from_static(b"small")))]);
        sweep(&lsm);
    }
    flush(&mut lsm, vec![(b"other".to_vec(), Some(Bytes::new()))]);
    assert_eq!(body_files(dir.path()), 0);
}

#[test]
fn a_body_put_anew_frees_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    for _ in 0..5 {
        put(&mut lsm, 0..4);
        sweep(&lsm);
        while lsm.flusher().compact().unwrap() {}
    }
    put(&mut lsm, 4..5);
    assert_eq!(body_files(dir.path()), 2);
    check_bodies(&lsm, dir.path(), 0..5);
}

#[test]
fn a_snapshot_keeps_the_bodies_that_it_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    put(&mut lsm, 0..8);
    let snapshot = lsm.snapshots().at(lsm.position());
    remove(&mut lsm, 0..8);
    sweep(&lsm);
    flush(&mut lsm, vec![(b"other".to_vec(), Some(Bytes::new()))]);
    assert!((0..8).all(|n| snapshot.get(&[1, n]) == Some(body(n))));
    assert_eq!(lsm.get(&[1, 0]), None);
    drop(snapshot);
    sweep(&lsm);
    flush(&mut lsm, vec![(b"other".to_vec(), None)]);
    assert_eq!(body_files(dir.path()), 0);
    check_bodies(&lsm, dir.path(), 0..0);
}

#[test]
fn space_that_a_crash_left_is_found_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    put(&mut lsm, 0..8);
    remove(&mut lsm, 1..8);
    drop(lsm);
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    assert!(occupied(dir.path()) >= 8 * BODY_BYTES);
    sweep(&lsm);
    assert!(occupied(dir.path()) < 2 * BODY_BYTES);
    remove(&mut lsm, 0..1);
    sweep(&lsm);
    drop(lsm);
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    assert_eq!(body_files(dir.path()), 1, "it is still named");
    sweep(&lsm);
    put(&mut lsm, 8..9);
    assert_eq!(body_files(dir.path()), 1, "the new one");
    drop(lsm);
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    sweep(&lsm);
    remove(&mut lsm, 8..9);
    sweep(&lsm);
    flush(&mut lsm, vec![(b"other".to_vec(), Some(Bytes::new()))]);
    assert_eq!(body_files(dir.path()), 0);
}

#[test]
fn what_never_reached_a_table_has_no_body_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    write(&mut lsm, Position(1), vec![(vec![1, 1], Some(body(1)))]);
    remove(&mut lsm, 1..2);
    assert!(!dir.path().join("bodies").exists());
    check_bodies(&lsm, dir.path(), 0..0);
}

#[test]
fn a_full_disk_leaves_no_half_of_a_body_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    put(&mut lsm, 0..1);
    // Whatever is written to this device meets a full disk.
    symlink("/dev/full", dir.path().join("bodies/2")).unwrap();
    write(&mut lsm, Position(2), vec![(vec![1, 1], Some(body(1)))]);
    lsm.rotate().unwrap();
    let error = lsm.flusher().flush_sealed(Position(2)).unwrap_err();
    assert!(matches!(error, FlushError::NoSpace { .. }), "{error}");
    assert_eq!(lsm.persisted_position(), Position(1));
    assert_eq!(body_files(dir.path()), 1, "nothing half-written stays");
    assert_eq!(lsm.flusher().flush_sealed(Position(2)).unwrap(), Position(2));
    check_bodies(&lsm, dir.path(), 0..2);
}

#[test]
fn another_threshold_reads_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    put(&mut lsm, 0..2);
    drop(lsm);
    let config = crate::LsmConfig { body_bytes_min: usize::MAX, ..tiny() };
    let mut lsm = Lsm::open(dir.path(), config).unwrap();
    put(&mut lsm, 2..4);
    check_bodies(&lsm, dir.path(), 0..4);
    assert_eq!(body_files(dir.path()), 1);
    drop(lsm);
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    remove(&mut lsm, 0..3);
    sweep(&lsm);
    check_bodies(&lsm, dir.path(), 3..4);
}
