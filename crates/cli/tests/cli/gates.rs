//! Gates and holds from the command line, over a crash of the server.

use super::harness::Server;

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
