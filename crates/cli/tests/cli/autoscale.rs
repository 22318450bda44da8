//! A worker that runs as many jobs at a time as a service level needs.

use std::fs;

use super::harness::{Server, until};

/// Says that it has begun, waits until it may end, and says that it has ended.
const GATED: &str = "echo begin >> log; while [ ! -e go ]; do sleep 0.01; done; echo end >> log";

fn lines(server: &Server, of: &str) -> usize {
    let log = fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
    log.lines().filter(|line| *line == of).count()
}

/// Enqueues so many jobs at once.
fn enqueue(server: &Server, count: usize) -> Vec<String> {
    let jobs = vec![serde_json::json!({"kind": "k"}); count];
    let body = serde_json::json!({ "jobs": jobs }).to_string();
    let (status, answer) = server.ask("POST", "/v1/queues/mail/jobs", &body);
    let ids = answer["ids"].as_array().unwrap_or_else(|| panic!("{status}: {answer}"));
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_worker_runs_more_at_a_time_under_load_and_fewer_afterwards() {
    let server = Server::start();
    let go = server.folder.path().join("go");
    let set = |within: &str| {
        let args = ["sla", "set", "mail", "--queue", "mail", "--started-within", within];
        server.run(&args).good();
    };
    let succeed = |ids: Vec<String>| {
        for id in ids {
            assert_eq!(server.wait(&id)["state"], "succeeded");
        }
    };
    // How long a run takes has to be known before anything is.
    set("1ms");
    fs::write(&go, "").unwrap();
    let work = ["--queue", "mail", "--exec", GATED, "--autoscale", "1..4"];
    let mut worker = server.worker(&[&work[..], &["--autoscale-every", "50ms"]].concat());
    succeed(enqueue(&server, 1));
    fs::remove_file(&go).unwrap();
    let many = enqueue(&server, 40);
    // Each that waits needs one of its own, of which the worker may have four.
    worker.note_with("runs 4 jobs at a time from now on");
    until(|| lines(&server, "begin") == 1 + 4);
    let queue = server.run(&["queues", "show", "mail", "-o", "json"]).json();
    assert_eq!((&queue["running"], &queue["ready"]), (&4.into(), &36.into()), "{queue}");
    fs::write(&go, "").unwrap();
    succeed(many);

    // From now on nearly nothing comes, and it has time: what was measured is that of another goal.
    set("1h");
    succeed(enqueue(&server, 1));
    worker.note_with("runs 1 jobs at a time from now on");
    fs::remove_file(&go).unwrap();
    fs::remove_file(server.folder.path().join("log")).unwrap();
    let three = enqueue(&server, 3);
    until(|| lines(&server, "begin") == 1);
    fs::write(&go, "").unwrap();
    succeed(three);
    let log = fs::read_to_string(server.folder.path().join("log")).unwrap();
    assert_eq!(log, "begin\nend\n".repeat(3), "one after the other");
}
