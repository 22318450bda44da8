//! The first minute: `dev`, then `run`.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;

use super::harness::{Process, run_in, until};

#[test]
fn the_first_job_takes_two_commands_and_less_than_ten_seconds() {
    let start = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Process::start(folder.path(), &["dev", "--listen", "127.0.0.1:0"]);
    let line = dev.line_with("listening on http://");
    let url = line.trim().trim_start_matches("listening on ").to_owned();
    let ended = run_in(folder.path(), &["run", "echo hi; echo so >&2", "--server", &url]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "hi\n", "so\n"));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());

    let ended = run_in(folder.path(), &["run", "echo out; echo no >&2; exit 7", "--server", &url]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (7, "out\n", "no\n"));
    let ended = run_in(folder.path(), &["run", "kill -9 $$", "--server", &url]);
    assert_eq!(ended.code, 137, "{ended:?}");
    // It runs where it was asked for.
    fs::create_dir(folder.path().join("deep")).unwrap();
    let ended = run_in(&folder.path().join("deep"), &["run", "pwd", "--server", &url]);
    assert!(ended.out.trim().ends_with("/deep"), "{ended:?}");

    dev.signal(Signal::TERM);
    let (code, rest) = dev.wait();
    assert_eq!(code, 0, "{rest}");
    assert!(folder.path().join(".longshore/manifest").exists());
}

#[test]
fn a_second_dev_says_that_one_runs_already() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Process::start(folder.path(), &["dev", "--listen", "127.0.0.1:0"]);
    let line = dev.line_with("listening on http://");
    let address = line.trim().trim_start_matches("listening on http://").to_owned();
    // Its worker has asked for work, so it is ready.
    run_in(folder.path(), &["run", "true", "--server", &address]).good();
    let said = run_in(folder.path(), &["dev", "--listen", &address]).bad(1);
    assert!(said.contains("runs there already"), "{said}");
    let said = run_in(folder.path(), &["dev", "--listen", "127.0.0.1:0"]).bad(4);
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn interrupting_run_cancels_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Process::start(folder.path(), &["dev", "--listen", "127.0.0.1:0"]);
    let line = dev.line_with("listening on http://");
    let url = line.trim().trim_start_matches("listening on ").to_owned();
    let run = Process::start(folder.path(), &["run", "echo > began; sleep 600", "--server", &url]);
    until(|| folder.path().join("began").exists());
    run.signal(Signal::INT);
    let (code, said) = run.wait();
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("is cancelled"), "{said}");
}
