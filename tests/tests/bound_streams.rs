//! Queues and streams that are bound to each other, queues that are filled from a stream again, and
//! the lives of jobs as a stream, whatever the server dies of in between. Real processes, over HTTP
//! and on the command line; Kafka clients where Python has them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use longshore_tests::http::Client;
use longshore_tests::kafka::{Broker, clients, suite};
use longshore_tests::server::{Server, binary};
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::{Value, json};

const MESSAGES: u64 = 300;

fn put(client: &mut Client, path: &str, body: &Value) -> Result<Value> {
    let answer = client.ask("PUT", path, Some(body))?;
    ensure!(answer.is_success(), "{answer:?}");
    Ok(answer.body)
}

fn publish(client: &mut Client, queue: &str, n: u64) -> Result<()> {
    let message = json!({ "body": { "n": n }, "headers": { "customer": n % 5 }, "app_id": "shop" });
    let answer = client.post(&format!("/v1/queues/{queue}/publish"), &message)?;
    ensure!(answer.is_success(), "{answer:?}");
    Ok(())
}

fn ready(client: &mut Client, queue: &str) -> Result<u64> {
    let record = client.get(&format!("/v1/queues/{queue}"))?;
    record.body["messages"]["ready"].as_u64().with_context(|| format!("{record:?}"))
}

fn wait_for(client: &mut Client, queue: &str, count: u64) -> Result<()> {
    wait::until(&format!("{queue} has {count} messages"), || {
        let ready = ready(client, queue)?;
        ensure!(ready <= count, "there are {ready} messages");
        Ok((ready == count).then_some(()))
    })
}

/// Takes so many messages of a queue.
fn take(client: &mut Client, queue: &str, count: u64) -> Result<Vec<Value>> {
    let mut taken = Vec::new();
    while (taken.len() as u64) < count {
        let body = json!({ "max": 100, "wait": "20s", "auto_ack": true });
        let answer = client.post(&format!("/v1/queues/{queue}/consume"), &body)?;
        let messages = answer.body["messages"].as_array().context("messages")?;
        ensure!(!messages.is_empty(), "{} of {count} messages came", taken.len());
        taken.extend(messages.iter().cloned());
    }
    Ok(taken)
}

/// Each message is there once, in the order of its customer, with what its headers said.
fn check(messages: &[Value]) -> Result<()> {
    let mut newest = [None; 5];
    for message in messages {
        let body: Value = serde_json::from_str(message["body"].as_str().context("a body")?)?;
        let number = body["n"].as_u64().with_context(|| format!("{message}"))?;
        let told = &message["headers"]["customer"];
        ensure!(*told == json!((number % 5).to_string()), "{message}");
        ensure!(message["app_id"] == "shop", "{message}");
        let before = newest[(number % 5) as usize].replace(number);
        ensure!(before.is_none_or(|before| before < number), "{number} comes after {before:?}");
    }
    Ok(())
}

#[test]
fn what_goes_from_a_queue_to_a_stream_and_from_there_to_a_queue_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    let stream = json!({ "partitions": 3, "ordering_header": "customer" });
    let told = put(&mut client, "/v1/streams/history", &stream).unwrap();
    assert_eq!(told["settings"]["ordering_header"], "customer");
    let own = json!({ "messages": { "stream": "history" } });
    put(&mut client, "/v1/queues/own", &own).unwrap();
    put(&mut client, "/v1/queues/copies", &json!({ "messages": {} })).unwrap();
    let trigger = json!({ "stream": "history", "queue": "copies" });
    let told = put(&mut client, "/v1/triggers/copy", &trigger).unwrap();
    assert_eq!((&told["kind"], &told["group"]), (&Value::Null, &json!("trigger.copy")));
    for begin in [0, 100, 200] {
        for number in begin..begin + 100 {
            publish(&mut client, "own", number).unwrap();
        }
        // Some of them are copied by now, others not.
        server.kill().unwrap();
        server = Server::start_ready(&data).unwrap();
        client = server.client();
    }
    wait_for(&mut client, "copies", MESSAGES).unwrap();
    assert_eq!(ready(&mut client, "own").unwrap(), MESSAGES);
    let copies = take(&mut client, "copies", MESSAGES).unwrap();
    check(&copies).unwrap();
    // Again, while it is being killed.
    let answer = client.post("/v1/streams/history/replay", &json!({ "queue": "copies" })).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body, json!({ "trigger": "replay.copies", "events": MESSAGES }));
    server.kill().unwrap();
    server = Server::start_ready(&data).unwrap();
    client = server.client();
    wait_for(&mut client, "copies", MESSAGES).unwrap();
    check(&take(&mut client, "copies", MESSAGES).unwrap()).unwrap();
    wait::until("the replay has ended", || {
        Ok((client.get("/v1/triggers/replay.copies")?.status == 404).then_some(()))
    })
    .unwrap();
    // And one partition from an offset, on the command line, which waits.
    let ends = client.get("/v1/streams/history").unwrap();
    let end = ends.body["partitions"][0]["end"].as_u64().unwrap();
    assert!(end > 2, "{ends:?}");
    let replay = Command::new(binary().unwrap())
        .args(["replay", "history", "--to", "copies", "--partition", "0", "--offset"])
        .arg((end - 2).to_string())
        .args(["--server", &format!("http://{}", server.address)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&replay.stderr);
    assert!(replay.status.success() && said.contains("2 offsets went to copies"), "{said}");
    assert_eq!(ready(&mut client, "copies").unwrap(), 2);
    let last = take(&mut client, "copies", 2).unwrap();
    assert_eq!(last[1]["headers"]["x-stream-offset"], end - 1, "{last:?}");
    let unknown = client.post("/v1/streams/history/replay", &json!({ "queue": "none" })).unwrap();
    assert_eq!(unknown.code(), "queue_unknown");
}

#[test]
fn events_wait_for_room_in_a_queue_that_is_shorter_than_what_comes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_ready(&folder.path().join("data")).unwrap();
    let mut client = server.client();
    put(&mut client, "/v1/streams/s", &json!({})).unwrap();
    let short = json!({ "messages": { "max_length": 10, "overflow": "reject-publish" } });
    put(&mut client, "/v1/queues/short", &short).unwrap();
    let events: Vec<Value> = (0..100).map(|n| json!({ "value": n })).collect();
    client.post("/v1/streams/s/events", &json!({ "events": events })).unwrap();
    let trigger = json!({ "stream": "s", "queue": "short", "from": "earliest" });
    put(&mut client, "/v1/triggers/t", &trigger).unwrap();
    let taken = take(&mut client, "short", 100).unwrap();
    let text = |it: &Value| it["body"].to_string().trim_matches('"').to_owned();
    let numbers: Vec<_> = taken.iter().map(text).collect();
    assert_eq!(numbers, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn the_lives_of_jobs_are_events_that_a_kafka_client_reads() {
    let python = match clients(env!("CARGO_TARGET_TMPDIR")) {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).unwrap();
    let mut client = broker.server.client();
    let none = client.get("/v1/streams/_jobs").unwrap();
    assert_eq!(none.code(), "stream_unknown", "it is off unless somebody turns it on");
    put(&mut client, "/v1/streams/_jobs", &json!({ "partitions": 2 })).unwrap();
    let jobs: Vec<Value> = (0..10).map(|n| json!({ "kind": "Send", "args": { "n": n } })).collect();
    client.post("/v1/queues/mail/jobs", &json!({ "jobs": jobs })).unwrap();
    broker.restart().unwrap();
    let mut client = broker.server.client();
    let lease = client.post("/v1/lease", &json!({ "queues": ["mail"], "max": 2 })).unwrap();
    for (job, verb) in lease.body["jobs"].as_array().unwrap().iter().zip(["ack", "fail"]) {
        let mut body = json!({ "token": job["token"] });
        if verb == "fail" {
            body["error"] = json!({ "type": "Broken", "message": "it is" });
        }
        let path = format!("/v1/jobs/{}/{verb}", job["id"].as_str().unwrap());
        assert!(client.post(&path, &body).unwrap().is_success());
    }
    let output = Command::new(&python)
        .arg(suite().join("jobs.py"))
        .args([&broker.kafka, "14"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}{}", broker.server.log_text());
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |step: &str| {
        let name = format!("longshore.job.{step}");
        told.iter().filter(|event| event["type"] == name).count()
    };
    let counts = ["enqueued", "started", "succeeded", "failed"].map(count);
    assert_eq!(counts, [10, 2, 1, 1], "{said}");
    let failed = told.iter().find(|event| event["type"] == "longshore.job.failed").unwrap();
    assert_eq!(failed["source"], "/v1/namespaces/default/jobs");
    assert_eq!(failed["data"]["error"], "Broken", "{failed}");
    let ids: std::collections::BTreeSet<_> = told.iter().map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), 14, "each has an id of its own");
}
