//! The folder of a running server, or what is in it, is taken away: it ends at once, with a reason
//! of its own.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_tests::server::Server;
use serde_json::json;

/// What a process ends with whose folder is gone (`EX_OSFILE`).
const EXIT_STORE_LOST: i32 = 72;

/// A server looks at all of its files within a second; the rest is for a busy machine.
const NOTICED_MAX: Duration = Duration::from_secs(6);

/// Enqueues until the server is gone. It answered 202 to all, for ever.
fn ends_when(take_away: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let job = json!({ "kind": "k", "args": "x".repeat(40_000) });
    // Its stop leaves tables and bodies on disk.
    let mut server = Server::start_ready(&data).unwrap();
    assert_eq!(server.client().post("/v1/queues/q/jobs", &job).unwrap().status, 202);
    assert!(server.terminate().unwrap().success(), "{}", server.log_text());
    let mut server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    assert_eq!(client.post("/v1/queues/q/jobs", &job).unwrap().status, 202);
    take_away(&data);
    let since = Instant::now();
    while client.post("/v1/queues/q/jobs", &job).is_ok() {}
    let took = since.elapsed();
    assert!(took < NOTICED_MAX, "{took:?}\n{}", server.log_text());
    let code = server.wait_end().unwrap().code();
    assert_eq!(code, Some(EXIT_STORE_LOST), "{}", server.log_text());
    assert!(server.log_text().contains("the store is lost"), "{}", server.log_text());
}

#[test]
fn a_server_whose_folder_is_removed_ends() {
    // The server may be making a file in it.
    ends_when(|data| while fs::remove_dir_all(data).is_err() && data.exists() {});
}

#[test]
fn a_server_whose_folder_is_moved_ends() {
    ends_when(|data| fs::rename(data, data.with_extension("elsewhere")).unwrap());
}

#[test]
fn a_server_whose_folder_is_replaced_ends() {
    ends_when(|data| {
        fs::rename(data, data.with_extension("elsewhere")).unwrap();
        fs::create_dir(data).unwrap();
    });
}

/// Removes the files in a folder, which itself stays. Others may come and go meanwhile.
fn empty(folder: &Path) {
    assert!(fs::read_dir(folder).unwrap().next().is_some(), "{} is empty", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn a_server_whose_files_alone_are_removed_ends() {
    ends_when(|data| {
        for shard in ["shard-0", "shard-1"] {
            empty(&data.join(shard).join("journal"));
            empty(&data.join(shard).join("state"));
        }
        fs::remove_file(data.join("manifest")).unwrap();
    });
}

#[test]
fn a_server_that_loses_any_file_that_a_start_needs_ends() {
    for file in ["manifest", "shard-1/used", "shard-0/state/current"] {
        ends_when(|data| fs::remove_file(data.join(file)).unwrap());
    }
    for folder in ["shard-1/journal", "shard-0/state/tables", "shard-0/state/bodies"] {
        ends_when(|data| empty(&data.join(folder)));
    }
}

#[test]
fn a_server_that_stops_without_its_files_does_not_say_that_all_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let job = json!({ "kind": "k", "args": 1 });
    assert_eq!(server.client().post("/v1/queues/q/jobs", &job).unwrap().status, 202);
    empty(&data.join("shard-0/journal"));
    let code = server.terminate().unwrap().code();
    assert_eq!(code, Some(EXIT_STORE_LOST), "{}", server.log_text());
    assert!(!server.log_text().contains("is on disk"), "{}", server.log_text());
}
