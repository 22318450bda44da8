//! The folder of a running server is taken away: it ends at once, with a reason of its own.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::Path;

use longshore_tests::server::Server;
use serde_json::json;

/// What a process ends with whose folder is gone (`EX_OSFILE`).
const EXIT_STORE_LOST: i32 = 72;

/// Enqueues until the server is gone. It answered 202 to all, for ever.
fn ends_when(take_away: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    let job = json!({ "kind": "k", "args": 1 });
    assert_eq!(client.post("/v1/queues/q/jobs", &job).unwrap().status, 202);
    take_away(&data);
    while client.post("/v1/queues/q/jobs", &job).is_ok() {}
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
