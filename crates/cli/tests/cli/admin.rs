//! Jobs, queues, namespaces and operations from the command line.

use super::harness::Server;

#[test]
fn jobs_are_listed_shown_cancelled_and_retried() {
    let server = Server::start();
    let first = server.enqueue(&["greet", "--tag", "vip", "--delay", "1h"]);
    let second = server.enqueue(&["bill", "{\"n\":1}"]);
    let list = server.run(&["jobs", "list"]).good();
    assert!(list.contains(&first) && list.contains(&second), "{list}");
    let list = server.run(&["jobs", "list", "--state", "scheduled"]).good();
    assert!(list.contains(&first) && !list.contains(&second), "{list}");
    let list = server.run(&["jobs", "list", "--kind", "bill", "-o", "json"]).json();
    assert_eq!(list["jobs"][0]["id"], second.as_str());
    let shown = server.run(&["jobs", "show", &first]).good();
    assert!(shown.contains("scheduled") && shown.contains("vip"), "{shown}");
    let said = server.run(&["jobs", "cancel", &first, &second]).good();
    assert_eq!(said.matches("is cancelled").count(), 2, "{said}");
    server.run(&["jobs", "remove", &first]).bad(4);
    let ended = server.run(&["jobs", "wait", &first]);
    assert_eq!(ended.code, 1, "{ended:?}");
}

#[test]
fn all_jobs_that_match_are_counted_and_changed() {
    let server = Server::start();
    let vip = server.enqueue(&["greet", "--tag", "vip"]);
    let other = server.enqueue(&["greet", "{\"to\":\"ann\"}"]);
    let of_vip = ["jobs", "cancel", "--all-matching", "--tag", "vip"];
    let said = server.run(&[&of_vip[..], &["--dry-run"]].concat()).good();
    assert_eq!(said.trim(), "1 job");
    // Nobody is there to be asked.
    server.run(&of_vip).bad(2);
    let ready = ["jobs", "priority", "7", "--all-matching", "--state", "ready", "--yes"];
    let said = server.run(&ready).good();
    assert_eq!(said.trim(), "finished: 2 jobs");
    assert!(server.run(&["jobs", "show", &vip]).good().contains("priority"), "it is told");
    server.run(&[&of_vip[..], &["--yes"]].concat()).good();
    assert!(server.run(&["jobs", "show", &vip]).good().contains("cancelled"));
    let list = server.run(&["jobs", "list", "--text", "ann"]).good();
    assert!(list.contains(&other) && !list.contains(&vip), "{list}");
    let nowhere = ["jobs", "move", "--to", "nowhere", "--all-matching", "--yes"];
    server.run(&nowhere).bad(3);
    for odd in [
        &["jobs", "move", "--to", "slow"][..],
        &["jobs", "retry", "--tag", "vip"],
        &["jobs", "retry", &vip, "--all-matching"],
        &["jobs", "priority", "10", "--all-matching"],
    ] {
        server.run(odd).bad(2);
    }
}

#[test]
fn a_paused_job_is_shown_as_paused_and_counted_once() {
    let server = Server::start();
    let id = server.enqueue(&["greet", "--tag", "vip"]);
    server.run(&["jobs", "pause", &id]).good();
    for args in [&["jobs", "show", &id][..], &["jobs", "list", "--tag", "vip"]] {
        let said = server.run(args).good();
        assert!(said.contains("ready, paused"), "{said}");
    }
    let list = server.run(&["queues", "list"]).good();
    let row: Vec<_> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["default", "jobs", "0", "0", "0", "1"], "{list}");
    server.run(&["jobs", "resume", &id]).good();
    assert!(!server.run(&["jobs", "show", &id]).good().contains("paused"));
}

#[test]
fn jobs_are_moved_in_time_and_cancelled_by_force() {
    let server = Server::start();
    let id = server.enqueue(&["greet", "--delay", "1h"]);
    let said = server.run(&["jobs", "run-now", &id]).good();
    assert!(said.contains("is ready"), "{said}");
    let said = server.run(&["jobs", "reschedule", &id, "--in", "2h"]).good();
    assert!(said.contains("is scheduled"), "{said}");
    server.run(&["jobs", "reschedule", &id]).bad(2);
    let said = server.run(&["jobs", "cancel", "--force", &id]).good();
    assert!(said.contains("is cancelled"), "{said}");
    server.run(&["jobs", "run-now", &id]).bad(4);
}

/// The worker is gone long before its lease, and a restart of the server renews that.
#[test]
fn runs_are_cancelled_by_force_also_after_a_restart() {
    let mut server = Server::start();
    let ids = [(); 2].map(|()| server.enqueue(&["greet"]));
    let tokens = [(); 2].map(|()| server.lease());
    for ((id, token), restarts) in ids.iter().zip(&tokens).zip([false, true]) {
        if restarts {
            server.crash_and_restart();
        }
        let runs = |held: &str| {
            let list = server.run(&["jobs", "list", "--state", "running", held]).good();
            list.contains(id)
        };
        assert_eq!((runs("--held=false"), runs("--held")), (true, false), "it has started");
        let said = server.run(&["jobs", "cancel", id]).good();
        assert!(said.contains("is running"), "it is only asked: {said}");
        let said = server.run(&["jobs", "cancel", "--force", id]).good();
        assert!(said.contains("is cancelled"), "{said}");
        let ack = format!(r#"{{"token":"{token}"}}"#);
        let (status, refused) = server.ask("POST", &format!("/v1/jobs/{id}/ack"), &ack);
        assert_eq!((status, &refused["code"]), (409, &"lease_lost".into()), "{refused}");
    }
    server.crash_and_restart();
    for id in &ids {
        let job = server.job(id);
        assert_eq!((&job["state"], &job["reason"]), (&"cancelled".into(), &"forced".into()));
    }
}

/// The line of a fact about a job.
fn fact<'s>(shown: &'s str, name: &str) -> &'s str {
    let lines = shown.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("  "));
    lines.map(str::trim).next().unwrap_or("none")
}

/// None of it was shown.
#[test]
fn what_earlier_runs_did_is_shown() {
    let server = Server::start();
    let id = server.enqueue(&["import"]);
    let settle = |verdict: &str, body: &str| {
        let token = server.lease();
        let told = |path: &str, body: &str| {
            let body = format!(r#"{{"token":"{token}",{body}}}"#);
            let (status, answer) = server.ask("POST", &format!("/v1/jobs/{id}/{path}"), &body);
            assert_eq!(status, 200, "{answer}");
        };
        told("checkpoint", r#""cursor":{"id":7},"counters":{"rows":3,"gaps":1}"#);
        told(verdict, body);
    };
    settle("interrupt", r#""reason":"deploy""#);
    settle("snooze", r#""delay":"0s""#);
    settle("interrupt", r#""reason":"throttle""#);
    settle("snooze", r#""delay":"1h""#);
    let shown = server.run(&["jobs", "show", &id]).good();
    for (name, value) in [
        ("cursor", r#"{"id":7}"#),
        ("counters", "rows 12, gaps 4"),
        ("interruptions", "2, the last for throttle"),
        ("snoozes", "2"),
        ("attempt", "0 of 26"),
    ] {
        assert_eq!(fact(&shown, name), value, "{shown}");
    }
    let (_, record) = server.ask("GET", &format!("/v1/jobs/{id}"), "");
    assert_eq!((&record["snoozes"], &record["attempt"]), (&2.into(), &0.into()), "{record}");
    let (_, list) = server.ask("GET", "/v1/jobs?state=scheduled", "");
    assert_eq!(list["jobs"][0]["snoozes"], 2, "{list}");
    let other = server.run(&["jobs", "show", &server.enqueue(&["greet"])]).good();
    for name in ["cursor", "counters", "interruptions", "snoozes"] {
        assert_eq!(fact(&other, name), "none", "{other}");
    }
}

#[test]
fn an_empty_list_of_unconsumed_queues_says_so() {
    let server = Server::start();
    let said = server.run(&["queues", "list", "--unconsumed"]);
    assert_eq!((said.code, said.err.trim()), (0, "every queue with jobs is consumed"));
    server.enqueue(&["greet"]);
    let list = server.run(&["queues", "list", "--unconsumed"]).good();
    assert!(list.contains("IN/S") && list.contains("nobody works on it"), "{list}");
}

#[test]
fn waiting_has_an_end() {
    let server = Server::start();
    let id = server.enqueue(&["greet"]);
    let said = server.run(&["jobs", "wait", &id, "--timeout", "50ms"]).bad(5);
    assert!(said.contains("is still ready"), "{said}");
}

#[test]
fn dead_jobs_are_counted_retried_and_purged() {
    let server = Server::start();
    let worker = server.worker(&["--exec", "exit 1", "--concurrency", "1"]);
    let ids: Vec<_> = (0..4).map(|_| server.enqueue(&["fails", "--max-attempts", "1"])).collect();
    for id in &ids {
        assert_eq!(server.wait(id)["state"], "dead");
    }
    drop(worker);
    let count = server.run(&["queues", "retry-dead", "default", "--dry-run"]).good();
    assert_eq!(count.trim(), "4 jobs");
    let said = server.run(&["queues", "purge", "default", "--dead"]).bad(2);
    assert!(said.contains("remove 4 jobs?") && said.contains("--yes"), "{said}");
    let said = server.run(&["jobs", "retry", &ids[0]]).good();
    assert!(said.contains("1 job"), "{said}");
    assert_eq!(server.job(&ids[0])["state"], "ready");
    let shown = server.run(&["jobs", "show", &ids[0]]).good();
    assert!(shown.contains("1 of 2"), "one more than it had: {shown}");
    let retry = ["queues", "retry-dead", "default"];
    let said = server.run(&[&retry[..], &["--dry-run", "--limit", "2"]].concat()).good();
    assert_eq!(said.trim(), "2 jobs");
    for (first, states) in [
        (["--limit", "1"], ["ready", "dead", "dead"]),
        (["--first", "1"], ["ready", "ready", "dead"]),
    ] {
        let said = server.run(&[&retry[..], &first, &["--yes"]].concat()).good();
        assert_eq!(said.trim(), "finished: 1 job");
        let told = [1, 2, 3].map(|n: usize| server.job(&ids[n])["state"].clone());
        assert_eq!(told, states, "those that died first");
    }
    let said = server.run(&[&retry[..], &["--yes"]].concat()).good();
    assert_eq!(said.trim(), "finished: 1 job");
    let said = server.run(&["queues", "purge", "default", "--yes"]).good();
    assert_eq!(said.trim(), "finished: 4 jobs");
    let list = server.run(&["operations", "list"]).good();
    assert!(list.contains("retry_dead") && list.contains("finished"), "{list}");
}

#[test]
fn messages_are_looked_for_and_moved() {
    let server = Server::start();
    for queue in ["graves", "work", "big"] {
        server.run(&["queues", "set", queue, "{\"messages\": {}}"]).good();
    }
    for (body, tenant) in [("one", "tenant=acme"), ("two", "tenant=acme"), ("three", "tenant=b")] {
        server.run(&["publish", "--queue", "graves", "--header", tenant, body]).good();
    }
    let said = server.run(&["peek", "graves", "--match", "w", "--key", "graves"]).good();
    assert!(said.contains("two") && !said.contains("three"), "{said}");
    let said = server.run(&["peek", "graves", "--match", "four"]);
    assert_eq!((said.code, said.err.trim()), (0, "none of 3 messages is so"));
    // Two pages, and one document.
    let big = "x".repeat(250_000);
    for _ in 0..6 {
        server.run_with(&["publish", "--queue", "big"], &big).good();
    }
    let shown = server.run(&["peek", "big", "-o", "json"]).json();
    assert_eq!(shown["messages"].as_array().unwrap().len(), 6);
    let redrive = |more: &[&str]| {
        let words = ["queues", "redrive", "graves", "--header", "tenant=acme", "--to", "work"];
        server.run(&[&words[..], more].concat())
    };
    assert_eq!(redrive(&["--dry-run"]).good().trim(), "2 messages");
    let said = redrive(&[]).bad(2);
    assert!(said.contains("move 2 messages to work?"), "{said}");
    assert_eq!(redrive(&["--yes"]).good().trim(), "finished: 2 messages");
    // What is left did not come from another queue.
    let said = server.run(&["queues", "redrive", "graves", "--yes"]);
    assert_eq!(said.out.trim(), "finished: 0 messages");
    assert!(said.err.contains("1 message stayed: it did not come"), "{}", said.err);
    let list = server.run(&["operations", "list"]).good();
    assert!(list.contains("move_messages"), "{list}");
}

#[test]
fn queues_are_listed_paused_resumed_set_and_deleted() {
    let server = Server::start();
    server.enqueue(&["greet", "--queue", "mail"]);
    let list = server.run(&["queues", "list"]).good();
    assert!(list.contains("mail") && list.contains("nobody works on it"), "{list}");
    server.run(&["queues", "set", "mail", r#"{"max_length":1}"#]).good();
    let said = server.run(&["enqueue", "greet", "--queue", "mail"]).bad(5);
    assert!(said.contains("queue_full"), "{said}");
    let said = server.run(&["queues", "pause", "mail"]).good();
    assert!(said.contains("mail is paused"), "{said}");
    let shown = server.run(&["queues", "show", "mail", "-o", "json"]).json();
    assert_eq!((&shown["settings"]["paused"], &shown["ready"]), (&true.into(), &1.into()));
    assert_eq!(shown["settings"]["max_length"], 1);
    server.run(&["queues", "resume", "mail"]).good();
    let shown = server.run(&["queues", "show", "mail"]).good();
    assert!(shown.contains("ready") && !shown.contains("paused   "), "{shown}");
    server.run(&["queues", "delete", "mail"]).bad(4);
    server.run(&["queues", "delete", "mail", "--force", "--yes"]).good();
    server.run(&["queues", "show", "mail"]).bad(3);
}

#[test]
fn namespaces_are_created_used_and_deleted() {
    let server = Server::start();
    server.run(&["enqueue", "greet", "-n", "shop"]).bad(3);
    server.run(&["namespaces", "create", "shop"]).good();
    server.run(&["enqueue", "greet", "-n", "shop"]).good();
    let list = server.run(&["namespaces", "list"]).good();
    assert!(list.contains("shop") && list.contains("default"), "{list}");
    assert!(!server.run(&["jobs", "list"]).good().contains("greet"));
    server.run(&["namespaces", "delete", "shop"]).bad(4);
    server.run(&["queues", "delete", "default", "--force", "--yes", "-n", "shop"]).good();
    server.run(&["namespaces", "delete", "shop"]).good();
}

#[test]
fn many_jobs_come_from_a_file() {
    let server = Server::start();
    let lines = "{\"kind\":\"a\"}\n\n{\"kind\":\"b\",\"args\":[1]}\n";
    let said = server.run_with(&["enqueue", "--file", "-", "--queue", "bulk"], lines).good();
    assert_eq!(said.trim(), "2 jobs enqueued");
    let said = server.run_with(&["enqueue", "--file", "-"], "{\"kind\":\"a\"}\n{\"knd\":1}").bad(2);
    assert!(said.contains("line 2"), "{said}");
    let shown = server.run(&["queues", "show", "bulk", "-o", "json"]).json();
    assert_eq!(shown["ready"], 2);
}

#[test]
fn an_id_of_ones_own_makes_enqueueing_repeatable() {
    let server = Server::start();
    let id = "018bcfe5-6800-4a00-8000-00000000abcd";
    for _ in 0..2 {
        assert_eq!(server.enqueue(&["greet", "7", "--id", id]), id);
    }
    let shown = server.run(&["queues", "show", "default", "-o", "json"]).json();
    assert_eq!(shown["ready"], 1);
}

#[test]
fn enqueue_can_wait_for_the_outcome() {
    let server = Server::start();
    let _worker = server.worker(&["--exec", "cat"]);
    let job = server.run(&["enqueue", "greet", "[1]", "--wait", "30s", "-o", "json"]).json();
    assert_eq!(job["result"], serde_json::json!([1]));
}

#[test]
fn a_small_bench_runs_against_a_server_and_leaves_nothing() {
    let server = Server::start();
    let args =
        ["bench", "--seconds", "1", "--connections", "2", "--requests", "20", "--bulk", "10"];
    let args = args.iter().chain(&["--only", "latency,enqueue,bulk", "-o", "json"]).copied();
    let results = server.run(&args.collect::<Vec<_>>()).json();
    assert_eq!(results["rows"].as_array().unwrap().len(), 5);
    assert!(results["latency_ratio"].as_f64().unwrap() > 0.0);
    assert!(!server.run(&["queues", "list"]).good().contains("bench-"));
}
