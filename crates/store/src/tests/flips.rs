//! Every bit of a small store at rest, flipped one at a time: the answer is right data or a named
//! refusal. The flips run in a child process, since an abort is one of the things to be noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use longshore_engine::{Position, Reader};

use super::{BODY_BYTES_MIN, Model, Random, everything, tiny, write};
use crate::{Depth, Lsm, StoreFault, check};

const CHILD: &str = "LONGSHORE_STORE_FLIPS_IN";

/// Three tables, one of them compacted, overwritten and removed keys among them, and two body
/// files of the same size.
pub(super) fn build(dir: &Path) -> Model {
    let mut lsm = Lsm::open(dir, tiny()).unwrap();
    let mut model = Model::new();
    let mut random = Random(7);
    for group in 1..=6u64 {
        let changes: BTreeMap<Vec<u8>, Option<Bytes>> = (0..25)
            .map(|_| {
                let key = format!("key {:03}", random.below(60)).into_bytes();
                let value = vec![b'a' + group as u8; random.below(60) as usize];
                (key, (random.below(4) > 0).then(|| value.into()))
            })
            .collect();
        let mut changes: Vec<_> = changes.into_iter().collect();
        if matches!(group, 2 | 5) {
            let body = |n: u8| Bytes::from(vec![group as u8 * n; BODY_BYTES_MIN + 100]);
            changes.extend([1, 2].map(|n| (vec![1, group as u8, n], Some(body(n)))));
        }
        write(&mut model, Position(group * 10), changes.clone());
        write(&mut lsm, Position(group * 10), changes);
        lsm.rotate().unwrap();
        lsm.flusher().flush_sealed(Position(group * 10)).unwrap();
        if group == 4 {
            while lsm.flusher().compact().unwrap() {}
        }
    }
    model
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Right,
    Refused(String),
    Wrong,
    Panicked(String),
}

fn open_and_read(dir: &Path, model: &Model) -> Outcome {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let lsm = match Lsm::open(dir, tiny()) {
            Ok(lsm) => lsm,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let same = lsm.position() == Position(60)
            && model.iter().all(|(key, value)| lsm.get(key).as_ref() == Some(value))
            && everything(&lsm, b"", b"\xff", 1000) == everything(model, b"", b"\xff", 1000);
        if same { Outcome::Right } else { Outcome::Wrong }
    }));
    read.unwrap_or_else(|panic| match panic.downcast::<StoreFault>() {
        Ok(fault) => Outcome::Refused(fault.to_string()),
        Err(panic) => Outcome::Panicked(crate::open::panic_text(&*panic)),
    })
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [dir.to_owned(), dir.join("tables"), dir.join("bodies")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn restore(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in self::files(dir).keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in files {
        overwrite(path, bytes);
    }
}

/// In place: a file system may sync a file that was truncated and written anew.
fn overwrite(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

/// The part that runs in the child; without the variable it is no test.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = PathBuf::from(dir);
    let full = std::env::var_os("LONGSHORE_FULL").is_some();
    let model = build(&dir);
    let files = files(&dir);
    let mut out = std::io::stdout();
    for (path, bytes) in &files {
        let name = path.strip_prefix(&dir).unwrap().display();
        let bits = bytes.len() * 8;
        // A prime stride visits every bit position within a byte.
        let stride = if full || bits < 1000 { 1 } else { 61 };
        for bit in (0..bits).step_by(stride) {
            writeln!(out, "flip {name} bit {bit}").unwrap();
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            overwrite(path, &flipped);
            writeln!(out, "= {:?}", open_and_read(&dir, &model)).unwrap();
            restore(&dir, &files);
        }
    }
    assert_eq!(open_and_read(&dir, &model), Outcome::Right);
    writeln!(out, "done").unwrap();
}

#[test]
fn no_flipped_bit_goes_unnoticed_or_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::flips::child", "--nocapture"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().take(2).collect::<Vec<_>>();
    assert!(text.contains("\ndone"), "the process ended after {last:?}: {errors}");
    let mut flip = "";
    let (mut right, mut refused) = (0, 0);
    for line in text.lines() {
        if line.starts_with("flip ") {
            flip = line;
        } else if line == "= Right" {
            right += 1;
        } else if line.starts_with("= Refused") {
            refused += 1;
        } else if line.starts_with("= ") {
            panic!("{flip}: {line}");
        }
    }
    eprintln!("{right} flips harmless, {refused} refused");
    assert!(refused > 1000, "{right} flips harmless, {refused} refused");
}

#[test]
fn a_deep_check_notices_every_flip_in_a_table_or_body() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let report = check(dir.path(), Depth::Everything, None).unwrap();
    assert_eq!(report.position, Position(60));
    assert_eq!((report.tables, report.body_files), (3, 2));
    assert!(report.leftovers.is_empty(), "{report:?}");
    let files = files(dir.path());
    for (path, bytes) in files.iter().filter(|(path, _)| path.parent() != Some(dir.path())) {
        for bit in (0..bytes.len() * 8).step_by(163) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            overwrite(path, &flipped);
            let faults = check(dir.path(), Depth::Everything, None).unwrap_err();
            assert_eq!(faults.len(), 1, "bit {bit}: {faults:?}");
            assert_eq!(faults[0].path, *path);
        }
        overwrite(path, bytes);
    }
    assert!(check(dir.path(), Depth::Everything, None).is_ok());
}
