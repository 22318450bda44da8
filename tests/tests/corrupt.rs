//! A corrupt shard stops alone: `/readyz` names it, its namespaces are unavailable and not
//! "unknown", the others serve, and `verify` says where the damage is.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_engine::LEVEL;
use longshore_server::Manifest;
use longshore_tests::http::Client;
use longshore_tests::producer::base;
use longshore_tests::server::{Server, binary, serve};
use longshore_tests::wait;
use serde_json::{Value, json};

/// A namespace of each of the two shards. Which one it is, is part of the format.
const OF_SHARD_0: &str = "default";
const OF_SHARD_1: &str = "shop";

fn enqueue(client: &mut Client, namespace: &str, text: &str) -> (u16, Value) {
    let path = format!("{}/queues/q/jobs", base(namespace));
    let answer = client.post(&path, &json!({ "kind": "k", "args": text })).unwrap();
    (answer.status, answer.body)
}

/// A stopped store with some jobs in both shards.
fn store(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    let made = client.ask("PUT", &base(OF_SHARD_1), None).unwrap();
    assert!(made.is_success(), "{made:?}");
    for index in 0..20 {
        for namespace in [OF_SHARD_0, OF_SHARD_1] {
            let (status, body) = enqueue(&mut client, namespace, &format!("job {index}"));
            assert_eq!(status, 202, "{body}");
        }
    }
    let status = server.terminate().unwrap();
    assert_eq!(status.code(), Some(0), "{}", server.log_text());
    data
}

/// Starts a server on `data` and sees that shard 1 has stopped and nothing else.
fn stops_alone(data: &Path) -> String {
    let server = Server::start(data).unwrap();
    let mut client = server.client();
    let health = wait::until("the shards are settled", || {
        let health = client.get("/readyz")?.body;
        let states = health["shards"].as_array().cloned().unwrap_or_default();
        let settled = states.iter().all(|shard| shard["state"] != "replaying");
        Ok((settled && !states.is_empty()).then_some(health))
    })
    .unwrap();
    assert_eq!(health["ok"], false, "{health}");
    assert_eq!(health["shards"][1]["state"], "stopped", "{health}");
    assert_eq!(health["shards"][0]["state"], "serving", "{health}");
    let (status, body) = enqueue(&mut client, OF_SHARD_1, "more");
    assert_eq!((status, &body["code"]), (503, &json!("shard_stopped")), "{body}");
    let (status, body) = enqueue(&mut client, OF_SHARD_0, "more");
    assert_eq!(status, 202, "{body}");
    let queues = client.get("/v1/queues").unwrap().body;
    assert_eq!(queues["queues"][0]["ready"], 21, "{queues}");
    health["shards"][1]["reason"].as_str().unwrap_or_default().to_owned()
}

fn verify(data: &Path) -> (Option<i32>, String) {
    let output = Command::new(binary().unwrap()).arg("verify").arg(data).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
}

#[test]
fn a_store_that_was_stopped_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let data = store(folder.path());
    let (code, text) = verify(&data);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_flipped_bit_in_a_journal_stops_its_shard_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = store(folder.path());
    let journal = data.join("shard-1/journal");
    let segments = files(&journal);
    let first = segments.iter().find(|path| path.extension().is_some_and(|it| it == "segment"));
    let first = first.unwrap();
    // In the header of the segment's first frame.
    flip(first, 4096 + 40);
    let (code, text) = verify(&data);
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("shard-1") || text.contains("shard 1"), "{text}");
    let reason = stops_alone(&data);
    assert!(!reason.is_empty());
}

#[test]
fn a_flipped_bit_in_a_table_stops_its_shard_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = store(folder.path());
    let tables = files(&data.join("shard-1/state/tables"));
    let table = tables.first().expect("a clean stop flushes the state");
    // In the table of contents, which every start checks.
    flip(table, fs::read(table).unwrap().len() - 50);
    let reason = stops_alone(&data);
    assert!(!reason.is_empty());
}

#[test]
fn a_lost_pointer_file_stops_its_shard_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = store(folder.path());
    fs::remove_file(data.join("shard-1/state/current")).unwrap();
    let reason = stops_alone(&data);
    assert!(!reason.is_empty());
}

#[test]
fn a_damaged_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = store(folder.path());
    flip(&data.join("manifest"), 20);
    let error = Server::start(&data).unwrap_err().to_string();
    assert!(error.contains("manifest"), "{error}");
    let (code, text) = verify(&data);
    assert_ne!(code, Some(0), "{text}");
}

/// All files below a folder, and what is in them.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

/// The level was written and never read. An older program would have opened a newer folder, and
/// opening removes the files that it does not know.
#[test]
fn a_folder_of_another_level_is_refused_by_name_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = store(folder.path());
    let path = data.join("manifest");
    let manifest = Manifest::decode(&fs::read(&path).unwrap()).unwrap();
    // A start of the right level would remove these.
    fs::write(data.join("shard-0/state/tables/999"), "later").unwrap();
    let unfinished = "shard-0/journal/00000000000000000099.segment.unfinished";
    fs::write(data.join(unfinished), "later").unwrap();
    for (level, way_out) in [(LEVEL - 1, "earlier version"), (LEVEL + 1, "later version")] {
        fs::write(&path, Manifest { format: level.into(), ..manifest }.encode()).unwrap();
        let before = everything(&data);
        let served = serve(&data).unwrap().output().unwrap();
        let served = (served.status.code(), String::from_utf8(served.stderr).unwrap());
        for (code, text) in [served, verify(&data)] {
            assert_eq!(code, Some(65), "{text}");
            assert!(text.contains(&format!("level is {level},")), "{text}");
            assert!(text.contains(&format!("knows level {LEVEL}")), "{text}");
            assert!(text.contains(way_out), "{text}");
        }
        assert!(everything(&data) == before, "level {level}: the folder has changed");
    }
}

/// `shard-0/state` of another store at the same position: `verify` said sound, and the other
/// store's jobs were served.
#[test]
fn the_state_of_another_store_is_refused_and_both_are_named() {
    let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, foreign) = (store(mine.path()), store(other.path()));
    let state = data.join("shard-1/state");
    fs::remove_dir_all(&state).unwrap();
    fs::rename(foreign.join("shard-1/state"), &state).unwrap();
    let (code, text) = verify(&data);
    assert_eq!(code, Some(1), "{text}");
    let reason = stops_alone(&data);
    for (text, store) in [(&text, &data), (&text, &foreign), (&reason, &data), (&reason, &foreign)]
    {
        let manifest = fs::read_to_string(store.join("manifest")).unwrap();
        let id = manifest.lines().find_map(|line| line.strip_prefix("id ")).unwrap().to_owned();
        assert!(text.contains(&id.replace('-', "")), "{id}: {text}");
    }
}
