//! `Expect`: every exit of its table.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Answer, Client, Server};
use crate::jobs::{enqueue, lease, settle};

const PATH: &str = "/v1/queues/q/jobs";

/// Asks on a connection of its own.
fn asks(
    address: SocketAddr,
    headers: &'static [(&'static str, &'static str)],
    job: &Value,
) -> JoinHandle<Answer> {
    let body = job.to_string();
    tokio::spawn(
        async move { Client::connect(address).await.ask("POST", PATH, headers, &body).await },
    )
}

/// The next job of the queue, once it is there.
async fn next(client: &mut Client) -> Value {
    let body = json!({"queues": ["q"], "worker": "w", "session": "s", "wait": "10s"}).to_string();
    client.post("/v1/lease", &body).await.expect(200)["jobs"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_comes_in_the_answer_that_enqueues() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let job = json!({"kind": "k", "max_attempts": 1});
    // Which of the three words it is does not matter: the outcome is what it is.
    let result = asks(server.address, &[("expect", "201-created")], &job);
    let leased = next(client).await;
    settle(client, &leased, "ack", json!({"result": {"sum": 3}})).await;
    let result = result.await.unwrap();
    assert_eq!(result.expect(200)["result"], json!({"sum": 3}));
    let status = format!("/v1/status/{}", leased["id"].as_str().unwrap());
    assert_eq!(result.header("location"), Some(&*status));

    let made = asks(server.address, &[("longshore-expect", "200-ok")], &job);
    let leased = next(client).await;
    settle(client, &leased, "ack", json!({"location": "/orders/7", "result": 1})).await;
    let made = made.await.unwrap();
    assert_eq!(
        (made.header("location"), &made.expect(201)["result"]),
        (Some("/orders/7"), &json!(1))
    );

    let elsewhere = asks(server.address, &[("expect", "201-created")], &job);
    let leased = next(client).await;
    settle(client, &leased, "ack", json!({"location": "https://evil.example/"})).await;
    let elsewhere = elsewhere.await.unwrap();
    assert_eq!(elsewhere.status, 201);
    assert!(elsewhere.header("location").unwrap().starts_with("/v1/status/"));

    let headers = &[("expect", "204-no-content"), ("prefer", "wait=30, respond-async")];
    let nothing = asks(server.address, headers, &job);
    let leased = next(client).await;
    settle(client, &leased, "ack", json!({})).await;
    let nothing = nothing.await.unwrap();
    assert_eq!((nothing.status, nothing.body.len()), (204, 0));
    assert_eq!(nothing.header("preference-applied"), Some("wait=30"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_is_none_is_a_problem_document() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let job = json!({"kind": "k", "max_attempts": 1});
    let dead = asks(server.address, &[("expect", "200-ok")], &job);
    let leased = next(client).await;
    let error = json!({"type": "Broken", "message": "no"});
    settle(client, &leased, "fail", json!({"error": error})).await;
    let dead = dead.await.unwrap();
    let told = dead.refused(500, "job_dead");
    assert!(told["detail"].as_str().unwrap().ends_with(": Broken: no"), "{told}");
    let status = format!("/v1/status/{}", leased["id"].as_str().unwrap());
    assert_eq!(dead.header("location"), Some(&*status));

    let cancelled = asks(server.address, &[("expect", "200-ok")], &job);
    let leased = next(client).await;
    settle(client, &leased, "discard", json!({})).await;
    cancelled.await.unwrap().refused(409, "job_cancelled");

    let brief = json!({"kind": "k", "ttl": "100ms"});
    let expired = asks(server.address, &[("expect", "200-ok")], &brief);
    expired.await.unwrap().refused(410, "job_expired");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_started_in_time_is_withdrawn_and_what_has_goes_on() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = "11111111-2222-4333-8444-555555555555";
    let job = json!({"id": id, "kind": "k"});
    let headers = &[("expect", "200-ok"), ("prefer", "wait=1")];
    let withdrawn = asks(server.address, headers, &job).await.unwrap();
    withdrawn.refused(417, "expectation_failed");
    assert_eq!(withdrawn.header("preference-applied"), None);
    client.get(&format!("/v1/jobs/{id}")).await.refused(404, "job_unknown");
    assert_eq!(client.get("/v1/queues/q").await.expect(200)["ready"], 0);

    // The id is free: the same request may come again, and another one as well.
    let started = asks(server.address, headers, &job);
    let leased = next(client).await;
    assert_eq!(leased["id"], id);
    let started = started.await.unwrap();
    started.refused(504, "outcome_pending");
    assert_eq!(started.header("location"), Some(&*format!("/v1/status/{id}")));
    settle(client, &leased, "ack", json!({"result": 1})).await;
    assert_eq!(client.get(&format!("/v1/jobs/{id}")).await.expect(200)["result"], 1);
    // Told again, the outcome is there at once.
    assert_eq!(asks(server.address, headers, &job).await.unwrap().expect(200)["result"], 1);
    server.stop().await;
}

/// Whoever met a job of another request was told that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_were_told_of_is_not_withdrawn() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let job = json!({"id": "11111111-2222-4333-8444-555555555555", "kind": "k"});
    let id = enqueue(client, "q", job.clone()).await;
    let headers = &[("expect", "200-ok"), ("prefer", "wait=0")];
    asks(server.address, headers, &job).await.unwrap().refused(504, "outcome_pending");
    assert_eq!(client.get(&format!("/v1/status/{id}")).await.expect(200)["state"], "ready");
    let unique = json!({"kind": "u", "unique": {"by": ["kind"], "on_conflict": "existing"}});
    asks(server.address, headers, &unique).await.unwrap().refused(504, "outcome_pending");
    assert_eq!(client.get("/v1/queues/q").await.expect(200)["ready"], 2);

    // Also where the others come while it is waited: their `202` is kept.
    let id = "22222222-2222-4333-8444-555555555555";
    let job = json!({"id": id, "kind": "k"});
    let first = asks(server.address, &[("expect", "200-ok"), ("prefer", "wait=2")], &job);
    while client.get(&format!("/v1/status/{id}")).await.status != 200 {}
    assert_eq!(enqueue(client, "q", job.clone()).await, id);
    first.await.unwrap().refused(504, "outcome_pending");
    assert_eq!(client.get(&format!("/v1/status/{id}")).await.expect(200)["state"], "ready");
    server.stop().await;
}

/// Whoever waits for an outcome counts with those that wait, not with those that enqueue.
#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_to_wait_hears_so() {
    let server = Server::start_with(|config| config.http.waits_max = 0).await;
    let client = &mut server.client().await;
    let job = json!({"kind": "k"});
    let refused = asks(server.address, &[("expect", "200-ok")], &job).await.unwrap();
    refused.refused(503, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(client.get("/v1/queues/q").await.expect(200)["ready"], 0);
    let accepted = asks(server.address, &[("prefer", "wait=60")], &job).await.unwrap();
    accepted.expect(202);
    assert_eq!(accepted.header("preference-applied"), None);
    assert_eq!(client.get("/v1/queues/q").await.expect(200)["ready"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_meanwhile_is_gone() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = "11111111-2222-4333-8444-555555555555";
    let waits = asks(server.address, &[("expect", "200-ok")], &json!({"id": id, "kind": "k"}));
    while client.get(&format!("/v1/status/{id}")).await.status != 200 {}
    client.post("/v1/queues/q/purge", "{}").await.expect(202);
    waits.await.unwrap().refused(410, "job_gone");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_met_is_refused_before_anything_is_done() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let one = "{\"kind\":\"k\"}";
    let later = "{\"kind\":\"k\",\"delay\":\"2m\"}";
    for (headers, body) in [
        (&[("expect", "206-partial")][..], one),
        (&[("expect", "200-ok, 202-accepted")], one),
        (&[("expect", "200-ok"), ("longshore-expect", "202-accepted")], one),
        (&[("expect", "200-ok")], "{\"jobs\":[{\"kind\":\"k\"}]}"),
        (&[("expect", "200-ok")], later),
        (&[("expect", "200-ok"), ("prefer", "wait=5")], "{\"kind\":\"k\",\"delay\":\"5s\"}"),
    ] {
        let refused = client.ask("POST", PATH, headers, body).await;
        refused.refused(417, "expectation_failed");
    }
    client.ask("GET", "/v1/queues", &[("expect", "200-ok")], "").await.expect(417);
    client.get("/v1/queues/q").await.refused(404, "queue_unknown");

    let headers = &[("expect", "200-ok"), ("idempotency-key", "\"k\"")];
    client.ask("POST", PATH, headers, one).await.refused(400, "idempotency_unsupported");
    client.get("/v1/queues/q").await.refused(404, "queue_unknown");

    // Asynchronous, whatever is preferred: nobody waits, and nobody takes the job.
    let headers = &[("expect", "202-accepted"), ("prefer", "wait=60")];
    client.ask("POST", PATH, headers, one).await.expect(202);
    let bulk = "{\"jobs\":[{\"kind\":\"k\"}]}";
    client.ask("POST", PATH, &[("expect", "202-accepted")], bulk).await.expect(202);
    let goes_on = client.ask("POST", PATH, &[("expect", "100-continue")], one).await;
    assert_eq!(goes_on.status, 100);
    client.answer().await.expect(202);
    lease(client, "q").await;
    server.stop().await;
}
