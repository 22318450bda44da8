//! Events of a stream become jobs, each one once, whatever the server dies of in between; and a
//! stream is compacted across a restart. Real processes, over HTTP.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use longshore_tests::http::Client;
use longshore_tests::server::Server;
use serde_json::{Value, json};

const DEATHS: usize = 4;
const EVENTS_EACH: usize = 120;

fn put(client: &mut Client, path: &str, body: &Value) -> Result<Value> {
    let answer = client.ask("PUT", path, Some(body))?;
    ensure!(answer.is_success(), "{answer:?}");
    Ok(answer.body)
}

fn append(client: &mut Client, stream: &str, events: &[Value]) -> Result<()> {
    let answer =
        client.post(&format!("/v1/streams/{stream}/events"), &json!({ "events": events }))?;
    ensure!(answer.is_success(), "{answer:?}");
    Ok(())
}

/// Takes so many jobs and acks them, and answers what of the event each was.
fn take(client: &mut Client, count: usize) -> Result<Vec<Value>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let body = json!({ "queues": ["mail"], "max": 100, "lease": "10m", "wait": "20s" });
        let answer = client.post("/v1/lease", &body)?;
        ensure!(answer.is_success(), "{answer:?}");
        let jobs = answer.body["jobs"].as_array().context("jobs")?.clone();
        ensure!(!jobs.is_empty(), "{} of {count} jobs came", taken.len());
        for job in jobs {
            let id = job["id"].as_str().context("an id")?;
            let ack =
                client.post(&format!("/v1/jobs/{id}/ack"), &json!({ "token": job["token"] }))?;
            ensure!(ack.is_success(), "{ack:?}");
            taken.push(job);
        }
    }
    Ok(taken)
}

/// All events of a stream with one partition.
fn all_events(client: &mut Client, stream: &str) -> Result<Vec<Value>> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let page = client.get(&format!("/v1/streams/{stream}/events?offset={offset}"))?;
        let events = page.body["events"].as_array().context("events")?;
        if events.is_empty() {
            return Ok(all);
        }
        all.extend(events.iter().cloned());
        offset = page.body["next"].as_u64().context("where to go on")?;
    }
}

#[test]
fn each_event_becomes_one_job_whenever_the_server_dies() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    put(&mut client, "/v1/queues/mail", &json!({})).unwrap();
    put(&mut client, "/v1/streams/orders", &json!({ "partitions": 2 })).unwrap();
    append(&mut client, "orders", &[json!({ "key": "old", "value": "0" })]).unwrap();
    let trigger = json!({ "stream": "orders", "queue": "mail", "kind": "Send" });
    let told = put(&mut client, "/v1/triggers/receipts", &trigger).unwrap();
    assert_eq!(told["group"], "trigger.receipts");
    for death in 0..DEATHS {
        for number in 0..EVENTS_EACH {
            let value = json!({ "n": death * EVENTS_EACH + number });
            let event = json!({ "key": format!("k{}", number % 7), "value": value });
            append(&mut client, "orders", &[event]).unwrap();
        }
        // Jobs of some of them are there by now, of others not.
        server.kill().unwrap();
        server = Server::start_ready(&data).unwrap();
        client = server.client();
    }
    let count = DEATHS * EVENTS_EACH;
    let jobs = take(&mut client, count).unwrap();
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for job in &jobs {
        let number = job["args"]["n"].as_u64().unwrap();
        *times.entry(number).or_default() += 1;
        let key = job["metadata"]["key"].as_str().unwrap().to_owned();
        let before = last.insert(key, number);
        assert!(before.is_none_or(|before| before < number), "{number} comes after {before:?}");
    }
    assert_eq!(times.len(), count);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let groups = client.get("/v1/groups/trigger.receipts").unwrap();
    let partitions = groups.body["offsets"].as_array().unwrap();
    let read: u64 = partitions.iter().map(|it| it["offset"].as_u64().unwrap()).sum();
    assert_eq!(read, count as u64 + 1, "it began behind the event that was there: {groups:?}");
    // Whoever sets it back has events become jobs again.
    let last = partitions.iter().find(|it| it["offset"] != 0).unwrap();
    let back = json!({ "stream": "orders", "partition": last["partition"],
        "offset": last["offset"].as_u64().unwrap() - 1 });
    put(&mut client, "/v1/groups/trigger.receipts", &json!({ "offsets": [back] })).unwrap();
    take(&mut client, 1).unwrap();
    let gone = client.ask("DELETE", "/v1/triggers/receipts", None).unwrap();
    assert!(gone.is_success(), "{gone:?}");
    let unknown = client.get("/v1/triggers/receipts").unwrap();
    assert_eq!(unknown.code(), "trigger_unknown");
}

/// Whichever stream came first by its name had all of the room.
#[test]
fn triggers_that_fill_the_same_queue_have_their_turns_while_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_ready(&folder.path().join("data")).unwrap();
    let mut client = server.client();
    put(&mut client, "/v1/queues/mail", &json!({ "max_length": 1 })).unwrap();
    for stream in ["a", "b", "c"] {
        put(&mut client, &format!("/v1/streams/{stream}"), &json!({})).unwrap();
        let event = |n: u64| json!({ "key": format!("{stream}{n}"), "value": { "n": n } });
        append(&mut client, stream, &(0..20).map(event).collect::<Vec<_>>()).unwrap();
        let trigger =
            json!({ "stream": stream, "queue": "mail", "kind": "Send", "from": "earliest" });
        put(&mut client, &format!("/v1/triggers/of-{stream}"), &trigger).unwrap();
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..9 {
        for job in take(&mut client, 1).unwrap() {
            *times.entry(job["metadata"]["stream"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(times.len() == 3 && times.values().all(|times| *times >= 2), "{times:?}");
}

#[test]
fn a_stream_keeps_the_newest_event_of_each_key_after_its_files_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let more = ["--set", "kafka.compaction_look=1s"];
    let mut server = Server::start_with(&data, &more).unwrap();
    server.wait_ready().unwrap();
    let mut client = server.client();
    let settings = json!({ "compact": true, "file_bytes": 1000, "compaction_dirty_percent": 0 });
    put(&mut client, "/v1/streams/state", &settings).unwrap();
    let keyless = client.post("/v1/streams/state/events", &json!({ "value": "1" })).unwrap();
    assert_eq!(keyless.code(), "value_refused");
    for number in 0..100 {
        let event = json!({ "key": format!("k{}", number % 5), "value": format!("{number}") });
        append(&mut client, "state", &[event]).unwrap();
    }
    // A stop writes down how far the files are complete.
    server.terminate().unwrap();
    server = Server::start_with(&data, &more).unwrap();
    server.wait_ready().unwrap();
    client = server.client();
    let mut left = Vec::new();
    longshore_tests::wait::until("the older events have gone", || {
        left = all_events(&mut client, "state")?;
        Ok((left.len() < 40).then_some(()))
    })
    .unwrap();
    let newest: BTreeMap<&str, &str> = left
        .iter()
        .map(|event| (event["key"].as_str().unwrap(), event["value"].as_str().unwrap()))
        .collect();
    let expected = [("k0", "95"), ("k1", "96"), ("k2", "97"), ("k3", "98"), ("k4", "99")];
    assert_eq!(newest, BTreeMap::from(expected));
    assert_eq!(left.last().unwrap()["offset"], 99, "offsets stay");
}

#[test]
fn a_message_is_an_event_as_well_where_its_exchange_is_bound_to_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    put(&mut client, "/v1/queues/inbox", &json!({ "messages": {} })).unwrap();
    put(&mut client, "/v1/streams/history", &json!({})).unwrap();
    for to in [json!({ "to_stream": "history" }), json!({ "queue": "inbox" })] {
        let mut binding = to;
        binding["routing_key"] = json!("order.#");
        let bound = client.post("/v1/exchanges/amq.topic/bind", &binding).unwrap();
        assert_eq!(bound.body["changed"], true, "{bound:?}");
    }
    let listed = client.get("/v1/bindings").unwrap();
    assert!(listed.body.to_string().contains("\"to_stream\":\"history\""), "{listed:?}");
    let publish = |client: &mut Client, numbers: std::ops::Range<u64>| {
        let message = |n| json!({ "routing_key": format!("order.{}", n % 3), "body": { "n": n } });
        let messages: Vec<Value> = numbers.map(message).collect();
        let body = json!({ "messages": messages });
        client.post("/v1/exchanges/amq.topic/publish", &body).unwrap()
    };
    // Several of one request stand one after the other.
    let published = publish(&mut client, 0..20);
    assert_eq!(published.body["published"][7]["queues"], 2, "{published:?}");
    server.kill().unwrap();
    server = Server::start_ready(&data).unwrap();
    client = server.client();
    publish(&mut client, 20..30);
    let events = all_events(&mut client, "history").unwrap();
    assert_eq!(events.len(), 30);
    for (number, event) in (0_u64..).zip(&events) {
        assert_eq!(event["offset"], number);
        assert_eq!(event["key"], format!("order.{}", number % 3));
        assert_eq!(event["value"], json!({ "n": number }).to_string());
        assert_eq!(event["headers"]["exchange"], "amq.topic");
    }
    let inbox = client.get("/v1/queues/inbox").unwrap();
    assert_eq!(inbox.body["messages"]["ready"], 30, "{inbox:?}");
    // What went with its stream takes nothing any more.
    assert!(client.ask("DELETE", "/v1/streams/history", None).unwrap().is_success());
    assert_eq!(publish(&mut client, 30..31).body["published"][0]["queues"], 1);
    let unknown = client
        .post("/v1/exchanges/amq.topic/bind", &json!({ "to_stream": "history", "routing_key": "" }))
        .unwrap();
    assert_eq!(unknown.code(), "stream_unknown");
}
