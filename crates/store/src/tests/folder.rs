//! What stands in the folder: what a crash may leave is cleared up, what it cannot leave is
//! refused before anything is touched, and a full disk is waited out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use longshore_engine::{Position, Reader};

use super::{everything, flips::build, tiny, write};
use crate::{Depth, FlushError, Identity, Lsm, LsmConfig, check};

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = [dir.to_owned(), dir.join("tables"), dir.join("bodies")]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
}

fn only_table(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("tables")).unwrap().next().unwrap().unwrap().path()
}

/// Does `damage`, and expects that it is refused with `words`, nothing touched.
fn check_refused(damage: impl FnOnce(&Path), words: &str) {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    damage(dir.path());
    let before = names(dir.path());
    let error = Lsm::open(dir.path(), tiny()).unwrap_err().to_string();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
    assert!(check(dir.path(), Depth::Structure, None).is_err());
    assert_eq!(names(dir.path()), before);
}

#[test]
fn missing_and_foreign_files_are_refused() {
    check_refused(|dir| fs::remove_file(dir.join("current")).unwrap(), "current: it is missing");
    check_refused(|dir| fs::write(dir.join("current"), b"").unwrap(), "0 bytes instead of 25");
    check_refused(
        |dir| {
            let version = check(dir, Depth::Structure, None).unwrap().version.unwrap();
            fs::remove_file(dir.join(format!("v{version}"))).unwrap();
        },
        "it is named by current",
    );
    check_refused(|dir| fs::remove_file(only_table(dir)).unwrap(), "it is missing, the current");
    check_refused(|dir| fs::remove_dir_all(dir.join("tables")).unwrap(), "it is missing");
    check_refused(|dir| fs::write(only_table(dir), b"short").unwrap(), "too few for a trailer");
    check_refused(|dir| fs::write(dir.join("tables/x"), b"").unwrap(), "it is not a table");
    check_refused(|dir| fs::create_dir(dir.join("tables/99")).unwrap(), "it is not a table");
    check_refused(|dir| fs::write(dir.join("vault"), b"").unwrap(), "not a version file");
    check_refused(|dir| fs::write(dir.join("v900"), b"").unwrap(), "there is version 900");
}

#[test]
fn tables_that_swapped_places_are_refused() {
    check_refused(
        |dir| {
            let mut tables =
                fs::read_dir(dir.join("tables")).unwrap().map(|entry| entry.unwrap().path());
            let (a, b) = (tables.next().unwrap(), tables.next().unwrap());
            fs::rename(&a, dir.join("aside")).unwrap();
            fs::rename(&b, &a).unwrap();
            fs::rename(dir.join("aside"), &b).unwrap();
        },
        "it says that it is table",
    );
}

#[test]
fn missing_and_damaged_body_files_are_refused() {
    check_refused(|dir| fs::remove_file(dir.join("bodies/20")).unwrap(), "20: it is missing");
    check_refused(|dir| fs::remove_dir_all(dir.join("bodies")).unwrap(), "20: it is missing");
    check_refused(|dir| fs::write(dir.join("bodies/20"), b"short").unwrap(), "5 bytes instead of");
    check_refused(
        |dir| {
            let length = fs::metadata(dir.join("bodies/20")).unwrap().len();
            fs::write(dir.join("bodies/20"), vec![0; length as usize]).unwrap();
        },
        "the checksum of its index does not match",
    );
    check_refused(
        |dir| {
            fs::rename(dir.join("bodies/20"), dir.join("aside")).unwrap();
            fs::rename(dir.join("bodies/50"), dir.join("bodies/20")).unwrap();
            fs::rename(dir.join("aside"), dir.join("bodies/50")).unwrap();
        },
        "the checksum of its index does not match",
    );
    check_refused(|dir| fs::write(dir.join("bodies/x"), b"").unwrap(), "it is not a body file");
    check_refused(
        |dir| {
            fs::remove_file(dir.join("current")).unwrap();
            fs::remove_dir_all(dir.join("tables")).unwrap();
        },
        "0 tables, 2 body files",
    );
}

#[test]
fn leftovers_of_a_crash_are_cleared_up() {
    let dir = tempfile::tempdir().unwrap();
    let model = build(dir.path());
    let version = check(dir.path(), Depth::Structure, None).unwrap().version.unwrap();
    let before = names(dir.path());
    fs::write(dir.path().join(format!("v{}", version + 1)), b"half").unwrap();
    fs::write(dir.path().join("v0"), b"old").unwrap();
    fs::write(dir.path().join("tables/77"), b"half").unwrap();
    fs::write(dir.path().join("bodies/77"), b"half").unwrap();
    fs::write(dir.path().join(".tmpAb3dE9"), b"half").unwrap();
    fs::write(dir.path().join("note.txt"), b"mine").unwrap();
    let report = check(dir.path(), Depth::Everything, None).unwrap();
    assert_eq!(report.leftovers.len(), 5, "{report:?}");
    let lsm = Lsm::open(dir.path(), tiny()).unwrap();
    assert_eq!(everything(&lsm, b"", b"\xff", 1000), everything(&model, b"", b"\xff", 1000));
    fs::remove_file(dir.path().join("note.txt")).unwrap();
    assert_eq!(names(dir.path()), before);
}

#[test]
fn a_crash_while_creating_leaves_an_empty_state() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    assert_eq!(check(&dir, Depth::Everything, None).unwrap().version, None);
    fs::create_dir_all(dir.join("tables")).unwrap();
    fs::write(dir.join("v0"), b"half").unwrap();
    let lsm = Lsm::open(&dir, tiny()).unwrap();
    assert_eq!(lsm.position(), Position::START);
    drop(lsm);
    assert_eq!(check(&dir, Depth::Everything, None).unwrap().version, Some(0));
    assert_eq!(Lsm::open(&dir, tiny()).unwrap().position(), Position::START);
}

#[test]
fn the_position_moves_without_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    assert_eq!(lsm.rotate(), None);
    write(&mut lsm, Position(5), vec![]);
    assert_eq!(lsm.rotate(), Some(Position(5)));
    assert_eq!(lsm.rotate(), None);
    // Not durable yet, so not persisted.
    assert_eq!(lsm.flusher().flush_sealed(Position(4)).unwrap(), Position::START);
    assert_eq!(lsm.flusher().flush_sealed(Position(5)).unwrap(), Position(5));
    assert_eq!(lsm.rotate(), None);
    for position in 6..40 {
        write(&mut lsm, Position(position), vec![]);
        assert_eq!(lsm.rotate(), Some(Position(position)));
        lsm.flusher().flush_sealed(Position(position)).unwrap();
        while lsm.flusher().compact().unwrap() {}
    }
    assert_eq!(everything(&lsm, b"", b"\xff", 10), []);
    assert_eq!(lsm.get(&[0]), None);
    assert_eq!(lsm.get(&[]), None);
    drop(lsm);
    assert_eq!(Lsm::open(dir.path(), tiny()).unwrap().position(), Position(39));
    assert!(names(dir.path()).len() < 10);
}

#[test]
fn memory_is_bounded_by_refusing_to_seal_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    let mut position: u64 = 0;
    let mut fill = |lsm: &mut Lsm| {
        while !lsm.should_rotate() && !lsm.is_full() {
            position += 1;
            let value = Bytes::from(vec![1; 1000]);
            let changes = vec![(format!("key {position}").into_bytes(), Some(value))];
            write(lsm, Position(position), changes);
        }
    };
    for _ in 0..2 {
        fill(&mut lsm);
        assert!(lsm.should_rotate());
        lsm.rotate().unwrap();
    }
    fill(&mut lsm);
    assert!(lsm.is_full());
    assert_eq!(lsm.rotate(), None);
    lsm.flusher().flush_sealed(lsm.position()).unwrap();
    assert!(lsm.should_rotate());
}

#[test]
fn a_full_disk_is_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = build(dir.path());
    let mut lsm = Lsm::open(dir.path(), tiny()).unwrap();
    let before = names(dir.path());
    let version = check(dir.path(), Depth::Structure, None).unwrap().version.unwrap();
    let next = dir.path().join(format!("v{}", version + 1));
    // Whatever is written to this device meets a full disk.
    symlink("/dev/full", &next).unwrap();
    write(&mut lsm, Position(70), vec![(b"new".to_vec(), Some(Bytes::from_static(b"value")))]);
    model.insert(b"new".to_vec(), Bytes::from_static(b"value"));
    lsm.rotate().unwrap();
    for _ in 0..2 {
        let error = lsm.flusher().flush_sealed(Position(70)).unwrap_err();
        assert!(matches!(error, FlushError::NoSpace { .. }), "{error}");
        assert_eq!(lsm.persisted_position(), Position(60));
        assert_eq!(lsm.get(b"new"), Some(Bytes::from_static(b"value")));
    }
    fs::remove_file(&next).unwrap();
    assert_eq!(names(dir.path()), before, "nothing half-written stays");
    assert_eq!(lsm.flusher().flush_sealed(Position(70)).unwrap(), Position(70));
    drop(lsm);
    let lsm = Lsm::open(dir.path(), tiny()).unwrap();
    assert_eq!(lsm.position(), Position(70));
    assert_eq!(everything(&lsm, b"", b"\xff", 1000), everything(&model, b"", b"\xff", 1000));
}

/// The state of another store at the same position was opened, and its jobs were served.
#[test]
fn a_state_of_another_store_or_shard_is_refused_and_both_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mine = Identity { store: [0x11; 16], shard: 0 };
    let open = |identity| Lsm::open(dir.path(), LsmConfig { identity, ..tiny() });
    let mut map = open(mine).unwrap();
    write(&mut map, Position(1), vec![(b"k".to_vec(), Some(Bytes::from_static(b"v")))]);
    map.rotate().unwrap();
    map.flusher().flush_sealed(Position(1)).unwrap();
    drop(map);
    let before = names(dir.path());
    for other in [Identity { store: [0x22; 16], ..mine }, Identity { shard: 1, ..mine }] {
        let refused = open(other).unwrap_err().to_string();
        assert!(refused.contains(&mine.to_string()), "{refused}");
        assert!(refused.contains(&other.to_string()), "{refused}");
        let faults = check(dir.path(), Depth::Everything, Some(other)).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    assert_eq!(names(dir.path()), before);
    assert_eq!(open(mine).unwrap().get(b"k").as_deref(), Some(&b"v"[..]));
}
