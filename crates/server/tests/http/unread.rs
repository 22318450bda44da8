//! Answers that nobody reads: how much they hold, for how long, and who is answered nevertheless.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Client, Server, request};
use crate::jobs::{enqueue, lease, settle};

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
    assert!(took < 2 * LIMIT, "{took:?}");
    server.stop().await;
}
