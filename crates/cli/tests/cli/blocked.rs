//! What keeps a job from starting, as `jobs show` and the list of jobs tell it.

use super::harness::Server;

#[test]
fn a_job_that_waits_says_for_what() {
    let server = Server::start();
    let says = |id: &str, words: &str| {
        let shown = server.run(&["jobs", "show", id]).good();
        let line = shown.lines().find(|line| line.contains("blocked by")).unwrap_or_default();
        assert!(line.contains(words), "{words}: {shown}");
    };
    let first = server.enqueue(&["sync", "--ordering-key", "acme"]);
    let behind = server.enqueue(&["sync", "--ordering-key", "acme"]);
    says(&behind, &format!("job {first}, which is first of ordering key acme"));

    server.run(&["queues", "pause", "mail"]).good();
    let letter = server.enqueue(&["letter", "--queue", "mail"]);
    says(&letter, "the pause of its queue");
    server.run(&["jobs", "pause", &letter]).good();
    says(&letter, "its own pause, until it is resumed; the pause of its queue");

    server.run(&["holds", "put", "shard=42"]).good();
    let held = server.enqueue(&["rebuild", "--tag", "shard=42"]);
    says(&held, "the hold of tag shard=42");

    let invoice = server.enqueue(&["invoice", "--kind-version", "3"]);
    says(&invoice, "no worker runs version 3 of invoice");

    server.run(&["limits", "put", "once", "--scope", "kind", "--bucket", "1,1/1d"]).good();
    let call = server.enqueue(&["call"]);
    let _worker = server.worker(&["--kind", "call", "--exec", "cat"]);
    assert_eq!(server.wait(&call)["state"], "succeeded");
    let next = server.enqueue(&["call"]);
    says(&next, "limit once, of which nothing is left for call");

    let list = server.run(&["jobs", "list"]).good();
    let state = |id: &str| list.lines().find(|line| line.contains(id)).unwrap_or_default();
    assert!(state(&behind).contains("ready, behind its key"), "{list}");
    assert!(state(&next).contains("ready, limited"), "{list}");
}
