//! Kinds, limits and service levels from the command line.

use super::harness::{Server, until};

#[test]
fn a_kind_is_deployed_from_the_command_line() {
    let server = Server::start();
    let old = server.enqueue(&["invoice", "--kind-version", "1"]);
    let new = server.enqueue(&["invoice", "--kind-version", "2"]);
    let worker = server.worker(&["--kind", "invoice@2..3", "--exec", "cat"]);
    assert_eq!(server.wait(&new)["state"], "succeeded");
    let kinds = || server.run(&["kinds", "show", "invoice", "-o", "json"]).json();
    let told = kinds();
    let versions: Vec<_> = told["kinds"].as_array().unwrap().iter().collect();
    assert_eq!((&versions[0]["version"], &versions[0]["waiting"]), (&1.into(), &1.into()));
    assert!(versions[0]["workers"].is_null(), "nobody runs the old version: {told}");
    let shown = server.run(&["jobs", "show", &old]).good();
    assert!(shown.contains("no worker"), "{shown}");
    let _worker = server.worker(&["--kind", "invoice@1", "--exec", "cat"]);
    assert_eq!(server.wait(&old)["state"], "succeeded");
    until(|| {
        let told = kinds();
        (&told["kinds"][0]["waiting"], &told["kinds"][0]["running"]) == (&0.into(), &0.into())
    });
    let list = server.run(&["kinds", "list"]).good();
    assert!(list.contains("invoice"), "{list}");
    drop(worker);
}

#[test]
fn a_kind_has_settings_and_tells_what_is_over_it() {
    let server = Server::start();
    let settings = r#"{"defaults": {"max_attempts": 3}}"#;
    let said = server.run(&["kinds", "set", "invoice", settings]).good();
    assert!(said.contains("\"max_attempts\":3"), "{said}");
    server
        .run(&["limits", "put", "few", "--scope", "kind", "--of", "invoice", "--concurrency", "2"])
        .good();
    let sla = ["sla", "set", "soon", "--kind", "invoice", "--started-within", "30s"];
    server.run(&sla).good();
    let shown = server.run(&["kinds", "show", "invoice"]).good();
    assert!(shown.contains("few") && shown.contains("soon"), "{shown}");
    let id = server.enqueue(&["invoice"]);
    assert_eq!(server.job(&id)["max_attempts"], 3);
    server.run(&["kinds", "set", "invoice", r#"{"defaults": {"timeout": "0s"}}"#]).bad(4);
    let said = server.run(&["limits", "list"]).good();
    assert!(said.contains("WAITING") && said.contains("few"), "{said}");
    let limit = server.run(&["limits", "show", "few", "-o", "json"]).json();
    assert_eq!(limit["waiting"], 0);
    let level = server.run(&["sla", "show", "soon", "-o", "json"]).json();
    assert_eq!(level["settings"]["on"]["kind"], "invoice");
    server.run(&["limits", "delete", "few"]).good();
    server.run(&["sla", "delete", "soon"]).good();
    server.run(&["limits", "show", "few"]).bad(3);
    server.run(&["sla", "show", "soon"]).bad(3);
}
