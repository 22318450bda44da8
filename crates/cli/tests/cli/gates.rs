//! Gates and holds from the command line, over a crash of the server.

use rustix::process::Signal;

use super::harness::{Process, Server, until};

#[test]
fn a_gate_that_is_closed_stays_closed_over_a_crash_and_opens() {
    let mut server = Server::start();
    let said = server.run(&["gates", "close", "bank", "--reason", "it is down"]).good();
    assert!(said.contains("closed") && said.contains("it is down"), "{said}");
    let id = server.enqueue(&["charge", "--gate", "bank"]);
    server.crash_and_restart();
    let shown = server.run(&["jobs", "show", &id]).good();
    assert!(shown.contains("gate bank, which is closed (it is down)"), "{shown}");
    let list = server.run(&["gates", "list", "-o", "json"]).json();
    assert_eq!(list["gates"][0]["closed"], true);
    server.run(&["gates", "put", "bank", "--kind", "charge", "--kind", "refund"]).good();
    let said = server.run(&["gates", "open", "bank"]).good();
    assert!(said.contains("open") && said.contains("charge, refund"), "{said}");
    assert!(!server.run(&["jobs", "show", &id]).good().contains("gate bank"));
    server.run(&["gates", "close", "bank", "--for", "0s"]).bad(4);
    server.run(&["gates", "delete", "bank"]).good();
    server.run(&["gates", "show", "bank"]).bad(3);
}

#[test]
fn a_hold_tells_when_nothing_runs_with_its_tag() {
    let mut server = Server::start();
    let id = server.enqueue(&["rebuild", "--tag", "shard=42"]);
    let said = server.run(&["holds", "put", "shard=42", "--reason", "it moves", "--wait"]).good();
    assert!(said.contains("it moves") && said.contains("yes"), "{said}");
    server.crash_and_restart();
    let shown = server.run(&["jobs", "show", &id]).good();
    assert!(shown.contains("the hold of tag shard=42 (it moves)"), "{shown}");
    let list = server.run(&["holds", "list"]).good();
    assert!(list.contains("shard=42"), "{list}");
    server.run(&["holds", "delete", "shard=42"]).good();
    server.run(&["holds", "show", "shard=42"]).bad(3);
}

#[test]
fn a_gate_opens_by_itself() {
    let server = Server::start();
    let closed = server.run(&["gates", "close", "bank", "--for", "30d", "-o", "json"]).json();
    let until = closed["expires_at"].as_str().unwrap().to_owned();
    let closed = server.run(&["gates", "close", "bank", "--until", &until, "-o", "json"]).json();
    assert_eq!(closed["expires_at"], until);
    let id = server.enqueue(&["charge", "--gate", "bank"]);
    let _worker = server.worker(&["--exec", "cat"]);
    assert_eq!(server.job(&id)["state"], "ready");
    server.run(&["gates", "close", "bank", "--for", "10ms"]).good();
    assert_eq!(server.wait(&id)["state"], "succeeded");
    assert_eq!(server.run(&["gates", "show", "bank", "-o", "json"]).json()["closed"], false);
}

/// `--wait` comes back once its worker has given back what ran; who died is told with 1.
#[test]
fn a_hold_waits_for_what_runs_and_tells_what_is_unaccounted() {
    let server = Server::start();
    let command = "echo > started; while [ ! -e go ]; do sleep 0.01; done";
    let worker = server.worker(&["--exec", command, "--lease", "1s"]);
    let id = server.enqueue(&["rebuild", "--tag", "shard=42"]);
    until(|| server.folder.path().join("started").exists());
    let url = server.url();
    let put = ["holds", "put", "shard=42", "--wait", "--server", &url];
    let holding = Process::start(server.folder.path(), &put);
    until(|| {
        let shown = server.run(&["holds", "show", "shard=42"]);
        shown.code == 0 && shown.out.contains(&id)
    });
    std::fs::write(server.folder.path().join("go"), "").unwrap();
    let (code, said) = holding.wait();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("quiet        yes"), "{said}");
    server.run(&["holds", "delete", "shard=42"]).good();

    for name in ["started", "go"] {
        std::fs::remove_file(server.folder.path().join(name)).unwrap();
    }
    server.enqueue(&["rebuild", "--tag", "shard=42"]);
    until(|| server.folder.path().join("started").exists());
    // It dies with its process group left behind: its lease runs out.
    worker.signal(Signal::KILL);
    let ended = server.run(&["holds", "put", "shard=42", "--wait"]);
    std::fs::write(server.folder.path().join("go"), "").unwrap();
    assert!(ended.out.contains("unaccounted  1"), "{ended:?}");
    assert!(ended.bad(1).contains("1 run unaccounted"));
}
