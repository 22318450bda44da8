//! Answers that nobody reads: how much they hold, for how long, and who is answered nevertheless.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Client, Server, request};
use crate::jobs::{enqueue, lease, settle};

/// What a request for one job of queue `q` says.
const ONE: &str = "{\"queues\":[\"q\"],\"max\":1,\"worker\":\"w\"}";

const BUDGET: u64 = 20 << 20;
const BODY: usize = 7 << 20;

/// A server with a small budget, and the path of a job that is larger than what sockets hold.
async fn server(budget: u64, write_timeout: Duration) -> (Server, String) {
    let server = Server::start_with(|config| {
        config.http.answer_bytes_max = budget;
        config.http.write_timeout = write_timeout;
    })
    .await;
    let job = json!({"kind": "k", "args": "x".repeat(BODY), "max_attempts": 1});
    let id = enqueue(&mut server.client().await, "q", job).await;
    (server, format!("/v1/jobs/{id}"))
}

async fn unread_bytes(client: &mut Client) -> u64 {
    let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
    let name = "longshore_http_answer_bytes ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

async fn until(client: &mut Client, is_so: impl Fn(u64) -> bool) {
    let waited =
        timeout(Duration::from_secs(60), async { while !is_so(unread_bytes(client).await) {} });
    waited.await.expect("the bytes of answers");
}

/// 120 of them held 2 GB.
#[tokio::test(flavor = "multi_thread")]
async fn many_unread_answers_hold_no_more_than_the_budget() {
    let (server, path) = server(BUDGET, Duration::from_secs(600)).await;
    let client = &mut server.client().await;
    let mut readers = Vec::new();
    for _ in 0..30 {
        let mut reader = server.client().await;
        reader.send(&request("GET", &path, &[], "")).await;
        readers.push(reader);
    }
    until(client, |bytes| bytes > BUDGET - BODY as u64 - (1 << 20)).await;
    assert!(unread_bytes(client).await <= BUDGET);
    let refused = server.client().await.get(&path).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "memory_low");
    // What is small is not counted.
    client.get("/v1/queues/q").await.expect(200);
    // Two were answered and wait for their readers, the others were refused.
    let (mut whole, mut refused) = (0, 0);
    for mut reader in readers {
        let answer = reader.answer().await;
        if answer.status == 200 {
            whole += 1;
        } else {
            answer.refused(503, "memory_low");
            refused += 1;
        }
    }
    assert_eq!((whole, refused), (2, 28));
    until(client, |bytes| bytes == 0).await;
    client.get(&path).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_is_answered_while_nobody_reads() {
    // One answer passes in any case, and is more than may be there.
    let (server, path) = server(8 << 10, Duration::from_secs(600)).await;
    let client = &mut server.client().await;
    enqueue(client, "work", json!({"kind": "k"})).await;
    let job = lease(client, "work").await;
    let mut reader = server.client().await;
    reader.send(&request("GET", &path, &[], "")).await;
    until(client, |bytes| bytes > BODY as u64).await;
    client.get(&path).await.refused(503, "memory_low");
    let wants = json!({"queues": ["q"], "worker": "w"}).to_string();
    client.post("/v1/lease", &wants).await.refused(503, "memory_low");
    let lost = json!({"id": job["id"], "token": "9.9", "verdict": "ack"});
    let many = json!({"settle": vec![lost; 100]});
    let answer = client.post("/v1/settle", &many.to_string()).await;
    answer.expect(200);
    assert!(answer.body.len() > 4 << 10, "it is counted");
    settle(client, &job, "heartbeat", json!({})).await;
    settle(client, &job, "ack", json!({})).await;
    server.stop().await;
}

/// It was seen to take twice the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_ended_in_time() {
    const LIMIT: Duration = Duration::from_secs(6);
    let (server, path) = server(BUDGET, LIMIT).await;
    let client = &mut server.client().await;
    let mut reader = server.client().await;
    reader.send(&request("GET", &path, &[], "")).await;
    until(client, |bytes| bytes > 0).await;
    let start = Instant::now();
    until(client, |bytes| bytes == 0).await;
    let took = start.elapsed();
    assert!(took < LIMIT + Duration::from_secs(5), "{took:?}");
    server.stop().await;
}

/// They were granted jobs in one instant, and passed the budget together.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_waited_hold_no_more_than_the_budget_and_strand_no_job() {
    const WAITING: usize = 12;
    let (server, _) = server(BUDGET, Duration::from_secs(600)).await;
    let client = &mut server.client().await;
    let job = json!({"kind": "k", "args": "x".repeat(BODY), "max_attempts": 1}).to_string();
    client.put("/v1/queues/q", "{\"paused\":true}").await.expect(200);
    for _ in 1..WAITING {
        client.post("/v1/queues/q/jobs", &job).await.expect(202);
    }
    let mut workers = Vec::new();
    for _ in 0..WAITING {
        let mut worker = server.client().await;
        let wait = ONE.replace("\"max\":1", "\"max\":1,\"wait\":\"60s\"");
        worker.send(&request("POST", "/v1/lease", &[], &wait)).await;
        workers.push(worker);
    }
    let all_wait = format!("longshore_http_requests_in_flight{{class=\"lease\"}} {WAITING}\n");
    while !text(client, "/metrics").await.contains(&all_wait) {}
    client.put("/v1/queues/q", "{\"paused\":false}").await.expect(200);
    let none_waits = "longshore_http_requests_in_flight{class=\"lease\"} 0\n";
    while !text(client, "/metrics").await.contains(none_waits) {}
    let held = unread_bytes(client).await;
    assert!(held > BODY as u64 && held <= BUDGET, "{held}");
    let (mut whole, mut refused) = (0, 0);
    for mut worker in workers {
        let answer = worker.answer().await;
        if answer.status == 200 {
            assert_eq!(answer.json()["jobs"][0]["attempt"], 1);
            whole += 1;
        } else {
            assert_eq!(answer.header("retry-after"), Some("1"));
            answer.refused(503, "memory_low");
            refused += 1;
        }
    }
    assert_eq!((whole, refused), (2, WAITING - 2));
    // What could not be handed over is there for others, and cost no attempt.
    for _ in 0..refused {
        let job = lease(client, "q").await;
        assert_eq!(job["attempt"], 1);
        settle(client, &job, "ack", json!({})).await;
    }
    assert_eq!(client.post("/v1/lease", ONE).await.expect(200)["jobs"], json!([]));
    server.stop().await;
}

async fn text(client: &mut Client, path: &str) -> String {
    String::from_utf8(client.get(path).await.body).unwrap()
}

/// The same answer comes when it is asked for again, so nothing is given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_with_a_turn_gets_its_jobs_when_there_is_room_again() {
    let (server, path) = server(BODY as u64 * 3 / 2, Duration::from_secs(600)).await;
    let client = &mut server.client().await;
    lease(client, "q").await;
    let job = json!({"kind": "k", "args": "x".repeat(BODY), "max_attempts": 1}).to_string();
    let wants = json!({"queues": ["q"], "max": 1, "worker": "w", "session": "s", "turn": 1,
        "wait": "60s"})
    .to_string();
    let mut worker = server.client().await;
    worker.send(&request("POST", "/v1/lease", &[], &wants)).await;
    let one_waits = "longshore_http_requests_in_flight{class=\"lease\"} 1\n";
    while !text(client, "/metrics").await.contains(one_waits) {}
    let mut reader = server.client().await;
    reader.send(&request("GET", &path, &[], "")).await;
    until(client, |bytes| bytes > 0).await;
    client.post("/v1/queues/q/jobs", &job).await.expect(202);
    worker.answer().await.refused(503, "memory_low");
    reader.answer().await.expect(200);
    until(client, |bytes| bytes == 0).await;
    let answer = worker.post("/v1/lease", &wants).await.expect(200);
    assert_eq!(answer["jobs"][0]["attempt"], 1);
    server.stop().await;
}

/// Readers of jobs held all of it, and no worker got any.
#[tokio::test(flavor = "multi_thread")]
async fn who_only_asks_leaves_room_for_leases() {
    let (server, path) = server(4 * BODY as u64, Duration::from_secs(600)).await;
    let client = &mut server.client().await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut reader = server.client().await;
        reader.send(&request("GET", &path, &[], "")).await;
        readers.push(reader);
    }
    until(client, |bytes| bytes > 2 * BODY as u64).await;
    client.get(&path).await.refused(503, "memory_low");
    enqueue(client, "work", json!({"kind": "k", "args": "x".repeat(BODY / 4)})).await;
    let job = lease(client, "work").await;
    settle(client, &job, "ack", json!({})).await;
    drop(readers);
    server.stop().await;
}

/// A byte a second bought it as much time as it wanted.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_a_little_at_a_time_is_ended_in_time() {
    const LIMIT: Duration = Duration::from_secs(3);
    let (server, path) = server(BUDGET, LIMIT).await;
    let client = &mut server.client().await;
    let mut reader = server.client().await;
    reader.send(&request("GET", &path, &[], "")).await;
    until(client, |bytes| bytes > 0).await;
    let start = Instant::now();
    let mut few = [0; 1000];
    let mut read = 0;
    while unread_bytes(client).await > 0 {
        // Half of what it has to take, at most.
        if read < start.elapsed().as_millis() as usize * 8 {
            read += reader.stream.try_read(&mut few).unwrap_or(0);
        }
    }
    let took = start.elapsed();
    assert!(took >= LIMIT && read < BODY / 2, "{took:?}, {read} bytes");
    let timed_out = "longshore_http_connections_timed_out_total 1\n";
    assert!(text(client, "/metrics").await.contains(timed_out));
    server.stop().await;
}
