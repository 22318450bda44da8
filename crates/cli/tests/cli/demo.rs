//! The demo, on folders of any size.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use super::harness::{Process, is_gone, run_in, until};

fn fill(folder: &Path, files: usize) {
    for number in 0..files {
        let path = folder.join(format!("dir-{}/file-{number}.txt", number % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("file {number} ").repeat(number + 1)).unwrap();
    }
}

fn demo(folder: &Path) -> super::harness::Ended {
    run_in(folder, &["demo", "input", "--out", "out", "--workers", "2"])
}

#[test]
fn every_file_is_archived_once_although_worker_and_server_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("input"), 40);
    let said = demo(folder.path()).good();
    assert_eq!(said.matches("SIGKILL").count(), 2, "{said}");
    assert!(said.contains("Every file is in the archive exactly once."), "{said}");
    assert!(said.contains("40 of 40"), "{said}");
    assert!(!said.contains("nothing: all was done before"), "{said}");

    let said = demo(folder.path()).good();
    assert!(said.contains("Nothing new"), "{said}");
    assert!(!said.contains("SIGKILL"), "{said}");

    // What goes missing is made good, and what is new is added.
    fs::remove_file(folder.path().join("out/archive/dir-0/file-0.txt.gz")).unwrap();
    fs::write(folder.path().join("input/new.txt"), "new").unwrap();
    let said = demo(folder.path()).good();
    assert!(said.contains("Every file is in the archive exactly once."), "{said}");
    assert!(said.contains("41 of 41"), "{said}");
}

#[test]
fn one_file_is_enough_for_both_crashes() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("input"), 1);
    let said = demo(folder.path()).good();
    assert_eq!(said.matches("SIGKILL").count(), 2, "{said}");
    assert!(said.contains("1 of 1") && said.contains("delivered again  1 job"), "{said}");
}

#[test]
fn the_report_is_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("input"), 3);
    let args = ["demo", "input", "--out", "out", "--workers", "2", "-o", "json"];
    let report = run_in(folder.path(), &args).json();
    assert_eq!((&report["sound"], &report["archived"]), (&true.into(), &3.into()), "{report}");
    assert_eq!(report["missing"], serde_json::json!([]));
    assert!(report["server_killed_after"].is_u64(), "{report}");
}

#[test]
fn interrupting_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("input"), 60);
    let args = ["demo", "input", "--out", "out", "--workers", "2"];
    let mut demo = Process::start(folder.path(), &args);
    demo.line_with("SIGKILL");
    let children = children_of(demo.pid());
    assert!(children.len() >= 2, "{children:?}");
    demo.signal(Signal::INT);
    let (code, said) = demo.wait();
    assert_eq!(code, 130, "{said}");
    for child in children {
        until(|| is_gone(&child));
    }
    let said = run_in(folder.path(), &args).good();
    assert!(said.contains("60 of 60"), "{said}");
}

fn children_of(pid: u32) -> Vec<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    fs::read_to_string(path).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// It said that the folder's name is not UTF-8.
#[test]
fn a_demo_in_folders_of_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &[u8]| std::ffi::OsStr::from_bytes(name).to_owned();
    let (input, out) = (name(b"in-\xff"), name(b"out-\xfe"));
    fill(&folder.path().join(&input), 2);
    let mut command = super::harness::longshore(folder.path());
    command.arg("demo").arg(&input).arg("--out").arg(&out).args(["--workers", "1", "-o", "json"]);
    let report = super::harness::Ended::of(&command.output().unwrap()).json();
    assert_eq!((&report["sound"], &report["archived"]), (&true.into(), &2.into()), "{report}");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [input, out]);
}
