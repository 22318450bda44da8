//! Connections: pipelining, slow and absent peers, bounds, the orderly stop.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Client, Server, request};

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let mut bytes = Vec::new();
    for n in 0..50 {
        let body = json!({"kind": "k", "args": n}).to_string();
        bytes.extend(request("POST", "/v1/queues/q/jobs", &[], &body));
        bytes.extend(request("GET", &format!("/v1/nothing/{n}"), &[], ""));
    }
    client.send(&bytes).await;
    for n in 0..50 {
        client.answer().await.expect(202);
        let problem = client.answer().await.refused(404, "route_unknown");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("/v1/nothing/{n}\"")));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let mut bytes = request("GET", "/livez", &[], "");
    let whole = bytes.len();
    bytes.extend(request("GET", "/livez", &[], ""));
    client.send(&bytes[..whole + 10]).await;
    client.answer().await.expect(200);
    client.send(&bytes[whole + 10..]).await;
    client.answer().await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_never_finish_are_let_go() {
    let server = Server::start_with(|config| {
        config.http.header_timeout = Duration::from_secs(1);
        config.http.body_timeout = Duration::from_secs(1);
        config.http.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let mut silent = server.client().await;
    let mut half_a_head = server.client().await;
    half_a_head.send(b"POST /v1/lease HTTP/1.1\r\nhost: local").await;
    let mut idle = server.client().await;
    idle.get("/livez").await.expect(200);
    let mut half_a_body = server.client().await;
    let whole = request("POST", "/v1/queues/q/jobs", &[], "{\"kind\":\"k\"}");
    half_a_body.send(&whole[..whole.len() - 4]).await;
    half_a_body.answer().await.refused(408, "body_timeout");
    assert!(half_a_body.is_closed().await);
    assert!(half_a_head.is_closed().await);
    assert!(silent.is_closed().await);
    assert!(idle.is_closed().await);
    let queues = server.client().await.get("/v1/queues").await.expect(200);
    assert_eq!(queues["queues"], json!([]), "half a request has no effect");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_outlives_the_idle_bound() {
    let server = Server::start_with(|config| {
        config.http.header_timeout = Duration::from_secs(1);
        config.http.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let client = &mut server.client().await;
    let body = "{\"queues\":[\"q\"],\"wait\":\"4s\",\"worker\":\"w\"}";
    assert_eq!(client.post("/v1/lease", body).await.expect(200)["jobs"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() {
    let server = Server::start().await;
    let head = |more: String| format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
    for (bytes, status, code) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400, "head_malformed"),
        ("GET /livez\r\n\r\n".to_owned(), 400, "head_malformed"),
        ("GET /livez HTTP/7.1\r\n\r\n".to_owned(), 400, "head_malformed"),
        (head("bad header\r\n".to_owned()), 400, "head_malformed"),
        (head("content-length: 3x\r\n".to_owned()), 400, "head_malformed"),
        (head(format!("x: {}\r\n", "y".repeat(100_000))), 431, "head_too_large"),
        (head("x: y\r\n".repeat(200)), 431, "head_too_large"),
    ] {
        let mut client = server.client().await;
        client.send(bytes.as_bytes()).await;
        let answer = client.answer().await;
        answer.refused(status, code);
        assert_eq!(answer.header("connection"), Some("close"), "{bytes:.40}");
        assert!(client.is_closed().await, "{bytes:.40}");
    }
    let mut client = server.client().await;
    client.send(&[request("GET", "/livez", &[], ""), b"GARBAGE\r\n\r\n".to_vec()].concat()).await;
    client.answer().await.expect(200);
    client.answer().await.refused(400, "head_malformed");
    let metrics = server.client().await.get("/metrics").await.body;
    let metrics = String::from_utf8(metrics).unwrap();
    let counted = "longshore_http_answers_total{status=\"4xx\"} 8\n";
    assert!(metrics.contains(counted), "each of them counts: {metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let server = Server::start_with(|config| {
        config.http.connections_max = 2;
        config.http.connections_reserved = 0;
    })
    .await;
    let mut first = server.client().await;
    first.get("/livez").await.expect(200);
    let mut second = server.client().await;
    second.get("/livez").await.expect(200);
    let mut third = server.client().await;
    third.answer().await.refused(503, "too_many_connections");
    assert!(third.is_closed().await);
    drop(second);
    until(&mut first, "longshore_http_connections 1").await;
    server.client().await.get("/livez").await.expect(200);
    server.stop().await;
}

/// Some saw a reset: the socket was closed over what they had sent.
#[tokio::test(flavor = "multi_thread")]
async fn every_connection_beyond_the_limit_hears_why() {
    let server = Server::start_with(|config| {
        config.http.connections_max = 1;
        config.http.connections_reserved = 0;
    })
    .await;
    let mut first = server.client().await;
    first.get("/livez").await.expect(200);
    let body = format!("{{\"kind\":\"k\",\"args\":\"{}\"}}", "x".repeat(100_000));
    let publish = request("POST", "/v1/queues/q/jobs", &[], &body);
    // More than hear of it at the same time.
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let (address, publish) = (server.address, publish.clone());
        crowd.spawn(async move {
            let mut client = Client::connect(address).await;
            client.send(&publish).await;
            client.answer().await.refused(503, "too_many_connections");
            assert!(client.is_closed().await);
        });
    }
    while let Some(told) = crowd.join_next().await {
        told.unwrap();
    }
    // One that is still sending when it is told: more than lies between the two.
    let body = format!("{{\"kind\":\"k\",\"args\":\"{}\"}}", "x".repeat(20 << 20));
    let mut sends = Client::connect(server.address).await;
    sends.send_whole(&request("POST", "/v1/queues/q/jobs", &[], &body)).await;
    sends.answer().await.refused(503, "too_many_connections");
    first.get("/livez").await.expect(200);
    server.stop().await;
}

/// It heard HTTP/1.1, which no client of HTTP/2 understands.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_beyond_the_limit_hears_why_in_its_own_words() {
    let server = Server::start_with(|config| {
        config.http.connections_max = 1;
        config.http.connections_reserved = 0;
    })
    .await;
    let mut first = server.client().await;
    first.get("/livez").await.expect(200);
    let mut second = server.client().await;
    second.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let heard = second.read_until("as many as may").await;
    assert!(heard.starts_with("\0\0\0\x04\0\0\0\0\0\0\0"), "{heard:?}");
    assert!(heard.contains("\x0btoo_many_connections: "), "{heard:?}");
    assert!(second.is_closed().await);
    server.stop().await;
}

const WAIT: &str = "{\"queues\":[\"q\"],\"wait\":\"30s\",\"worker\":\"w\"}";

/// Waits until the metrics say so.
async fn until(client: &mut Client, metric: &str) {
    let line = format!("\n{metric}\n");
    let told = async {
        while !String::from_utf8(client.get("/metrics").await.body).unwrap().contains(&line) {}
    };
    timeout(Duration::from_secs(30), told).await.expect(metric);
}

/// A connection on which a request waits for jobs, as `count` do then.
async fn waiting(server: &Server, seen_by: &mut Client, count: usize) -> Client {
    let mut client = server.client().await;
    client.send(&request("POST", "/v1/lease", &[], WAIT)).await;
    let metric = "longshore_http_requests_in_flight{class=\"lease\"}";
    until(seen_by, &format!("{metric} {count}")).await;
    client
}

/// Without a session all were taken for one, so the second request ended the first one's wait.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_name_no_session_wait_side_by_side() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let workers = [waiting(&server, &mut client, 1).await, waiting(&server, &mut client, 2).await];
    let jobs = "{\"jobs\":[{\"kind\":\"k\"},{\"kind\":\"k\"}]}";
    client.post("/v1/queues/q/jobs", jobs).await.expect(202);
    for mut worker in workers {
        assert_eq!(worker.answer().await.expect(200)["jobs"].as_array().unwrap().len(), 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_of_connections_is_kept_for_what_must_get_through() {
    let server = Server::start_with(|config| {
        config.http.connections_max = 3;
        config.http.connections_reserved = 4;
        config.http.idle_spared = Duration::from_secs(60);
    })
    .await;
    let (publish, job) = ("/v1/queues/q/jobs", "{\"kind\":\"k\"}");
    let (lease, settle) = ("{\"queues\":[\"q\"]}", "{\"settle\":[]}");
    let mut first = server.client().await;
    let one = waiting(&server, &mut first, 1).await;
    let two = waiting(&server, &mut first, 2).await;
    let mut publisher = server.client().await;
    let refused = publisher.post(publish, job).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "too_many_connections");
    assert!(publisher.is_closed().await);
    first.post(publish, job).await.expect(202);

    until(&mut first, "longshore_http_connections 3").await;
    let mut worker = server.client().await;
    worker.post("/v1/lease", lease).await.expect(200);
    let mut second = server.client().await;
    second.get("/livez").await.expect(200);
    let mut late = server.client().await;
    late.post("/v1/lease", lease).await.refused(503, "too_many_connections");
    assert!(late.is_closed().await);
    until(&mut first, "longshore_http_connections 5").await;
    let mut settles = server.client().await;
    settles.post("/v1/settle", settle).await.expect(200);
    let mut administers = server.client().await;
    administers.put("/v1/queues/q", "{\"paused\":true}").await.expect(200);
    server.client().await.answer().await.refused(503, "too_many_connections");

    drop((one, two, first, worker));
    until(&mut settles, "longshore_http_connections 3").await;
    settles.post(publish, job).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_owes_a_request_for_longest_makes_room() {
    let server = Server::start_with(|config| {
        config.http.connections_max = 4;
        config.http.connections_reserved = 0;
        config.http.header_timeout = Duration::from_secs(600);
    })
    .await;
    let mut half_a_head = server.client().await;
    half_a_head.send(b"POST /v1/lease HTTP/1.1\r\nhost: local").await;
    let mut idle = server.client().await;
    idle.get("/livez").await.expect(200);
    let mut busy = server.client().await;
    let mut waiting = waiting(&server, &mut busy, 1).await;
    until(&mut busy, "longshore_http_connections 3").await;
    let mut next = server.client().await;
    next.get("/livez").await.expect(200);
    until(&mut busy, "longshore_http_connections 3").await;
    assert!(half_a_head.is_closed().await && idle.is_closed().await);
    next.post("/v1/queues/q/jobs", "{\"kind\":\"k\"}").await.expect(202);
    until(&mut busy, "longshore_http_connections_let_go_total 2").await;
    assert_eq!(waiting.answer().await.expect(200)["jobs"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_class_leave_room_for_the_others() {
    let server = Server::start_with(|config| {
        config.http.waits_max = 1;
        config.http.publishes_max = 0;
    })
    .await;
    let address = server.address;
    let waiting = tokio::spawn(async move {
        let body = "{\"queues\":[\"q\"],\"wait\":\"30s\",\"worker\":\"w\"}";
        Client::connect(address).await.post("/v1/lease", body).await
    });
    let client = &mut server.client().await;
    loop {
        let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
        if metrics.contains("longshore_http_requests_in_flight{class=\"lease\"} 1\n") {
            break;
        }
    }
    let refused = client.post("/v1/lease", "{\"queues\":[\"q\"]}").await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "too_many_requests");
    client.post("/v1/queues/q/jobs", "{\"kind\":\"k\"}").await.refused(503, "too_many_requests");
    client.put("/v1/queues/q", "{}").await.expect(200);
    server.stop().await;
    assert_eq!(waiting.await.unwrap().expect(200)["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_waits_and_closes_what_is_idle() {
    let mut server = Server::start().await;
    let mut idle = server.client().await;
    idle.get("/livez").await.expect(200);
    let mut waiting = server.client().await;
    let body = "{\"queues\":[\"q\"],\"wait\":\"60s\",\"worker\":\"w\"}";
    waiting.send(&request("POST", "/v1/lease", &[], body)).await;
    loop {
        let metrics = String::from_utf8(idle.get("/metrics").await.body).unwrap();
        if metrics.contains("longshore_http_requests_in_flight{class=\"lease\"} 1\n") {
            break;
        }
    }
    server.begin_stop();
    assert_eq!(waiting.answer().await.expect(200)["jobs"], json!([]));
    assert!(waiting.is_closed().await);
    assert!(idle.is_closed().await);
    server.stop().await;
}
