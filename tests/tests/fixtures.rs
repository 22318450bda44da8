//! Folders that this and other levels wrote. Whoever changes a byte on disk, or what one means,
//! raises the level (`crates/engine/src/level.rs`) and leaves a folder of the new one:
//!
//!     LONGSHORE_BLESS=1 cargo test --package longshore-tests --test fixtures

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use longshore_engine::LEVEL;
use longshore_tests::fixture::{TURN, answers, contents, copy, folder, make};
use longshore_tests::server::{Server, binary, serve};
use serde_json::json;

const HOW: &str = "LONGSHORE_BLESS=1 cargo test --package longshore-tests --test fixtures";

/// The folder of this level, written anew where that is asked for.
fn of_this_level() -> PathBuf {
    let fixture = folder().join(format!("level-{LEVEL}"));
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        let scratch = tempfile::tempdir().unwrap();
        let (made, read) = (scratch.path().join("made"), scratch.path().join("read"));
        make(&scratch.path().join("data"), &made).unwrap();
        copy(&made, &read).unwrap();
        let contents = contents(&read).unwrap();
        drop(fs::remove_dir_all(&fixture));
        copy(&made, &fixture.join("store")).unwrap();
        fs::write(fixture.join("contents.txt"), contents).unwrap();
        let server = Server::start_ready(&read).unwrap();
        fs::write(fixture.join("answers.txt"), answers(&mut server.client()).unwrap()).unwrap();
    }
    assert!(fixture.is_dir(), "no folder of level {LEVEL}; to write one: {HOW}");
    fixture
}

/// All in one, since only one of several tests may write the folder.
#[test]
fn a_folder_of_this_level_is_read_as_it_was_written() {
    let fixture = of_this_level();
    let scratch = tempfile::tempdir().unwrap();
    let expected = fs::read_to_string(fixture.join("contents.txt")).unwrap();
    let states =
        ["Ready", "Scheduled", "Running", "Retrying", "Succeeded", "Dead", "Cancelled", "Expired"];
    for state in states {
        assert!(expected.contains(&format!(" {state} ")), "it has no job that is {state}");
    }

    let read = scratch.path().join("read");
    copy(&fixture.join("store"), &read).unwrap();
    assert_eq!(
        contents(&read).unwrap(),
        expected,
        "the format has changed: raise LEVEL, and write a folder of the new level: {HOW}"
    );

    let data = scratch.path().join("data");
    copy(&fixture.join("store"), &data).unwrap();
    let verified = Command::new(binary().unwrap()).arg("verify").arg(&data).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    let expected = fs::read_to_string(fixture.join("answers.txt")).unwrap();
    assert_eq!(
        answers(&mut client).unwrap(),
        expected,
        "what is not a job is read otherwise: raise LEVEL, and write a folder of the new level: {HOW}"
    );
    let stopped = client.get("/v1/queues/stopped").unwrap().body;
    assert_eq!(stopped["settings"]["paused"], true, "{stopped}");
    let operations = client.get("/v1/operations").unwrap().body;
    assert_eq!(operations["operations"][0]["changed"], 1, "{operations}");
    let wish = json!({
        "queues": ["counted"], "lease": "12h", "worker": "w", "session": "s", "turn": TURN,
    });
    let again = client.post("/v1/lease", &wish).unwrap().body;
    assert_eq!(again["jobs"][0]["kind"], "counted", "a repeated turn: {again}");
    let others = client.get("/v1/namespaces/shop/queues/mails").unwrap().body;
    assert_eq!(others["ready"], 1, "{others}");
}

#[test]
fn a_folder_of_another_level_is_refused_by_name() {
    let mut refused_levels = Vec::new();
    for fixture in fs::read_dir(folder()).unwrap() {
        let fixture = fixture.unwrap();
        let name = fixture.file_name().into_string().unwrap();
        let level: u8 = name.strip_prefix("level-").unwrap().parse().unwrap();
        if level == LEVEL {
            continue;
        }
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        copy(&fixture.path().join("store"), &data).unwrap();
        let refused = serve(&data).unwrap().output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(65), "{said}");
        assert!(said.contains(&format!("level is {level}")), "{said}");
        assert!(said.contains(&format!("knows level {LEVEL}")), "{said}");
        refused_levels.push(level);
    }
    assert_eq!(refused_levels, [LEVEL - 1], "the folder of the level before stays, and no other");
}
