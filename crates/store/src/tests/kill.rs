//! A process that writes, flushes and compacts is killed in the middle, again and again: what it
//! leaves opens to the state at exactly the position that it says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use longshore_engine::Position;

use super::threads::group;
use super::{Model, Random, everything, tiny, write};
use crate::{Depth, Lsm, check};

const CHILD: &str = "LONGSHORE_STORE_KILLED_IN";

/// The part that runs in the child; without the variable it is no test.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut lsm = Lsm::open(&PathBuf::from(dir), tiny()).unwrap();
    let (flusher, compacter) = (lsm.flusher(), lsm.flusher());
    thread::spawn(move || {
        loop {
            compacter.compact().unwrap();
            compacter.sweep().unwrap();
            thread::yield_now();
        }
    });
    let mut out = std::io::stdout();
    loop {
        for _ in 0..100 {
            let position = lsm.position().next();
            write(&mut lsm, position, group(position.0));
        }
        lsm.rotate().unwrap();
        let persisted = flusher.flush_sealed(lsm.position()).unwrap();
        writeln!(out, "persisted {persisted}").unwrap();
    }
}

/// Runs the child and kills it once it has persisted `count` times. Answers the last position
/// that it had reported by then.
fn run_and_kill(dir: &Path, count: u64) -> Position {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::kill::child", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let reports = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("persisted ")?.parse().ok());
    let reported = reports.take(count as usize).last();
    child.kill().unwrap();
    child.wait().unwrap();
    Position(reported.expect("the child persists until it is killed"))
}

#[test]
fn a_killed_process_leaves_the_state_at_one_position() {
    let rounds = if std::env::var_os("LONGSHORE_FULL").is_some() { 300 } else { 8 };
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let mut model = Model::new();
    let mut at = 0;
    for _ in 0..rounds {
        let reported = run_and_kill(dir.path(), 1 + random.below(25));
        let report = check(dir.path(), Depth::Everything, None).unwrap();
        let lsm = Lsm::open(dir.path(), tiny()).unwrap();
        assert_eq!(lsm.position(), report.position);
        assert!(report.position >= reported, "{report:?}, but {reported} was reported");
        while at < report.position.0 {
            at += 1;
            write(&mut model, Position(at), group(at));
        }
        assert_eq!(everything(&lsm, b"", b"\xff", 1000), everything(&model, b"", b"\xff", 1000));
    }
}
