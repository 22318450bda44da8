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

/// Verbs of a noun on what is not there, and what its list says where there is nothing.
#[test]
fn what_is_not_there_is_said_and_ends_with_3() {
    let server = Server::start();
    for (noun, nothing, code) in [
        ("sla", "no service levels: `longshore sla set`", "sla_unknown"),
        ("limits", "no limits: `longshore limits put`", "limit_unknown"),
        ("gates", "no gates: `longshore gates put`", "gate_unknown"),
        ("holds", "no tag is held: `longshore holds put`", "hold_unknown"),
        ("kinds", "no kinds: none was enqueued yet", ""),
    ] {
        let list = server.run(&[noun, "list"]);
        assert_eq!((list.code, list.out.as_str()), (0, ""), "{noun}: {list:?}");
        assert!(list.err.contains(nothing), "{noun}: {}", list.err);
        let json = server.run(&[noun, "list", "-o", "json"]).json();
        let all = json.as_object().unwrap().values().find_map(serde_json::Value::as_array);
        assert_eq!(all.map(Vec::len), Some(0), "{json}");
        if code.is_empty() {
            // Every name is that of a kind.
            let shown = server.run(&[noun, "show", "none"]);
            assert!(shown.err.contains("no job of the kind none was enqueued yet"), "{shown:?}");
            continue;
        }
        for verb in ["show", "delete"] {
            let said = server.run(&[noun, verb, "none"]).bad(3);
            assert!(said.contains(code), "{noun} {verb}: {said}");
        }
        server.run(&[noun, "list", "--namespace", "none"]).bad(3);
        let away = ["--server", "http://127.0.0.1:1", noun, "list"];
        assert!(server.run(&away).bad(5).contains("no answer from the server"));
        server.run(&[noun, "undo", "none"]).bad(2);
    }
}

/// Each refusal with the code of who noticed it: 2 the command line, 4 the server.
#[test]
fn what_is_wrong_is_refused_with_its_words() {
    let server = Server::start();
    let sla = |more: &[&str]| server.run(&[&["sla", "set", "x"][..], more].concat());
    let limit = |more: &[&str]| server.run(&[&["limits", "put", "x"][..], more].concat());
    let gate = |more: &[&str]| server.run(&[&["gates", "close", "x"][..], more].concat());
    for (ended, code, words) in [
        (sla(&["--queue", "q"]), 4, "started_within is missing"),
        (sla(&["--started-within", "5s"]), 2, "--queue <QUEUE>"),
        (sla(&["--queue", "q", "--started-within", "soon"]), 2, "\"soon\" is not a duration"),
        (sla(&["--queue", "q", "--started-within", "5s", "--share", "1.5"]), 4, "share is 1.5"),
        (sla(&["--queue", "q", "--done-within", "5s", "--breach", "no"]), 2, "error: breach:"),
        (sla(&["--schedule", "n", "--done-within", "5s"]), 4, "at_least_every"),
        (sla(&["--queue", "q", "--kind", "k", "--done-within", "5s"]), 2, "cannot be used with"),
        (limit(&["--scope", "key"]), 4, "one of concurrency, window and bucket"),
        (limit(&["--scope", "planet", "--concurrency", "1"]), 2, "one of namespace, queue, kind"),
        (limit(&["--scope", "key", "--window", "100"]), 2, "as in 100/1m"),
        (limit(&["--scope", "key", "--bucket", "10/1s"]), 2, "as in 10,2/1s"),
        (limit(&["--scope", "key", "--window", "0/1m"]), 4, "window.max is 0"),
        (gate(&["--until", "yesterday"]), 2, "\"yesterday\" is not an instant"),
        (gate(&["--for", "5m", "--until", "2027-01-01T00:00:00Z"]), 2, "cannot be used with"),
        (server.run(&["kinds", "set", "x", "no"]), 2, "error: settings:"),
        (server.run(&["kinds", "set", "x", "{\"nope\":1}"]), 2, "unknown field `nope`"),
    ] {
        assert!(ended.err.contains(words), "{words}: {ended:?}");
        assert_eq!(ended.code, code, "{words}: {ended:?}");
    }
}

#[test]
fn limits_of_every_way_are_put_and_shown() {
    let server = Server::start();
    let put = |name: &str, rule: &[&str]| {
        server.run(&[&["limits", "put", name, "--scope"][..], rule].concat()).good()
    };
    assert!(put("few", &["namespace", "--concurrency", "3"]).contains("3 at a time"));
    assert!(put("minute", &["key", "--window", "1/24h"]).contains("1/1d"));
    assert!(put("even", &["kind", "--of", "call", "--bucket", "10,2/1s"]).contains("10,2/1s"));
    let other = ["limits", "put", "minute", "--scope", "key", "--concurrency", "5"];
    let refused = server.run(&other).bad(4);
    assert!(refused.contains("delete it first"), "{refused}");
    let _worker = server.worker(&["--exec", "cat"]);
    let first = server.enqueue(&["call", "--limit", "minute=acme"]);
    assert_eq!(server.wait(&first)["state"], "succeeded");
    let second = server.enqueue(&["call", "--limit", "minute=acme"]);
    let other = server.enqueue(&["call", "--limit", "minute=other"]);
    assert_eq!(server.wait(&other)["state"], "succeeded", "another key is not held back");
    let shown = server.run(&["jobs", "show", &second]).good();
    assert!(shown.contains("minute") && shown.contains("acme"), "{shown}");
    let shown = server.run(&["limits", "show", "minute"]).good();
    assert!(shown.contains("acme"), "{shown}");
    server.run(&["limits", "delete", "minute"]).good();
    assert_eq!(server.wait(&second)["state"], "succeeded");
}

#[test]
fn levels_are_listed_with_what_they_need() {
    let server = Server::start();
    let set = ["sla", "set", "mail", "--queue", "mail", "--started-within", "30s", "--share"];
    let said = server.run(&[&set[..], &["0.95"]].concat()).good();
    assert!(said.contains("started within 30s, 95.00%"), "{said}");
    let breach = r#"{"queue": "alarms", "kind": "page"}"#;
    let nightly = ["sla", "set", "nightly", "--schedule", "nightly", "--at-least-every", "25h"];
    server.run(&[&nightly[..], &["--breach", breach]].concat()).good();
    let _worker = server.worker(&["--queue", "mail", "--exec", "cat"]);
    let id = server.enqueue(&["welcome", "--queue", "mail"]);
    assert_eq!(server.wait(&id)["state"], "succeeded");
    let list = server.run(&["sla", "list"]).good();
    assert!(list.contains("schedule nightly") && list.contains("at least every 25h"), "{list}");
    assert!(list.contains("100.00%"), "{list}");
    let shown = server.run(&["sla", "show", "mail"]).good();
    assert!(shown.contains("100.00% of 1") && shown.contains("workers needed"), "{shown}");
    server.run(&["sla", "delete", "nightly"]).good();
    assert!(!server.run(&["sla", "list"]).good().contains("nightly"));
}
