//! A shard's thread that writes, a thread that flushes, one that compacts and one that reads
//! snapshots, all at once. Every group keeps an invariant that a torn or mixed state would break.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use longshore_engine::{OrderedMap as _, Position};

use super::{BODY_BYTES_MIN, Change, everything, tiny, write};
use crate::{Flusher, Lsm, Snapshots};

const KEYS: u64 = 200;

/// Group `position` sets key `position % KEYS` in both halves and removes an older one. Every
/// now and then the value is a body.
pub(super) fn group(position: u64) -> Vec<Change> {
    let length = if position.is_multiple_of(16) { 2 * BODY_BYTES_MIN } else { 240 };
    let value = Bytes::from(position.to_be_bytes().repeat(length / 8));
    let mut changes = Vec::new();
    for half in [1, 2] {
        let mut pair = [
            (vec![half, (position % KEYS) as u8], Some(value.clone())),
            (vec![half, ((position + KEYS / 2) % KEYS) as u8], None),
        ];
        pair.sort();
        changes.extend(pair);
    }
    changes
}

fn check_snapshot(snapshots: &Snapshots, durable: Position) {
    let snapshot = snapshots.at(durable);
    let position = snapshot.position();
    assert!(position >= durable, "asked for {durable}, got {position}");
    let read =
        || (everything(&snapshot, &[1], &[2], 1000), everything(&snapshot, &[2], &[3], 1000));
    let (first, second) = read();
    let expected = position.0.min(KEYS / 2);
    assert_eq!(first.len() as u64, expected, "at {position}");
    let values = |half: &[(Vec<u8>, Bytes)]| half.iter().map(|e| e.1.clone()).collect::<Vec<_>>();
    assert_eq!(values(&first), values(&second));
    let youngest = first.iter().map(|(_, value)| value[..8].to_vec()).max();
    assert_eq!(youngest.unwrap_or_else(|| vec![0; 8]), position.0.to_be_bytes());
    assert_eq!(read(), (first, second));
}

fn until(done: &AtomicBool, mut work: impl FnMut()) {
    while !done.load(Ordering::Acquire) {
        work();
        thread::yield_now();
    }
}

#[test]
fn snapshots_stay_whole_beside_writes_flushes_and_compactions() {
    let groups = if std::env::var_os("LONGSHORE_FULL").is_some() { 200_000 } else { 15_000 };
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    let (durable, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let at = || Position(durable.load(Ordering::Acquire));
    let (flusher, snapshots): (Flusher, Snapshots) = (lsm.flusher(), lsm.snapshots());
    thread::scope(|scope| {
        scope.spawn(|| {
            until(&done, || {
                flusher.flush_sealed(at()).unwrap();
            });
        });
        scope.spawn(|| {
            until(&done, || {
                flusher.compact().unwrap();
            });
        });
        scope.spawn(|| {
            until(&done, || {
                flusher.sweep().unwrap();
            });
        });
        scope.spawn(|| until(&done, || check_snapshot(&snapshots, at())));
        for position in 1..=groups {
            write(&mut lsm, Position(position), group(position));
            durable.store(position.saturating_sub(position % 7), Ordering::Release);
            if position.is_multiple_of(5) {
                lsm.note_durable(at());
            }
            while lsm.is_full() {
                durable.store(position, Ordering::Release);
                thread::yield_now();
            }
            if lsm.should_rotate() {
                lsm.rotate().unwrap();
            }
        }
        done.store(true, Ordering::Release);
    });
    flusher.flush_sealed(lsm.position()).unwrap();
    lsm.rotate();
    assert_eq!(flusher.flush_sealed(lsm.position()).unwrap(), Position(groups));
    drop((lsm, flusher, snapshots));
    let lsm = Lsm::open(dir.path(), tiny()).unwrap();
    check_snapshot(&lsm.snapshots(), Position(groups));
}
