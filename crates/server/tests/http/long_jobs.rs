//! Long jobs over HTTP: checkpoints, interruptions, and what the next run and people see.

use serde_json::json;

use crate::harness::{Server, request};
use crate::jobs::{enqueue, lease, settle};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_saves_how_far_it_is_and_the_next_one_goes_on() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "backfill"})).await;
    let first = lease(client, "q").await;
    assert_eq!((first.get("cursor"), first.get("interruptions")), (None, None));
    let told = json!({"seq": 1, "cursor": {"id": 7}, "progress": 0.25, "counters": {"rows": 7},
        "skipped": [{"cursor": 3, "error": {"type": "BadRow", "message": "no name"}}]});
    for _ in 0..2 {
        let answer = settle(client, &first, "checkpoint", told.clone()).await;
        assert_eq!(answer, json!({"id": id, "instruction": "continue"}));
    }
    let status = client.get(&format!("/v1/status/{id}")).await.expect(200);
    assert_eq!((&status["state"], &status["progress"]), (&json!("running"), &json!(0.25)));
    let ended = settle(client, &first, "interrupt", json!({"reason": "deploy"})).await;
    assert_eq!(ended, json!({"id": id, "settled": "interrupt"}));
    let path = format!("/v1/jobs/{id}/checkpoint");
    let stale = json!({"token": first["token"], "cursor": 9}).to_string();
    client.post(&path, &stale).await.refused(409, "lease_lost");

    let second = lease(client, "q").await;
    assert_eq!((&second["cursor"], &second["attempt"]), (&json!({"id": 7}), &json!(1)));
    assert_eq!((&second["interruptions"], &second["counters"]), (&json!(1), &json!({"rows": 7})));
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    let checkpoint = &record["checkpoint"];
    assert_eq!(
        (&checkpoint["cursor"], &checkpoint["skipped_total"]),
        (&json!({"id": 7}), &json!(1))
    );
    assert_eq!(checkpoint["interrupted_for"], "deploy");
    assert_eq!(checkpoint["skipped"][0]["cursor"], 3);
    assert_eq!(checkpoint["skipped"][0]["error"]["type"], "BadRow");

    settle(client, &second, "ack", json!({})).await;
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    let checkpoint = &record["checkpoint"];
    assert_eq!((checkpoint.get("cursor"), &checkpoint["counters"]["rows"]), (None, &json!(7)));
    let list = client.get("/v1/jobs?queue=q").await.expect(200);
    let listed = &list["jobs"][0]["checkpoint"];
    assert_eq!((&listed["interruptions"], listed.get("skipped")), (&json!(1), None));
    server.stop().await;
}

/// A job that a throttle had put off said `scheduled`, and not why.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_run_was_interrupted_for_a_while_says_why_it_waits() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "k"})).await;
    let run = lease(client, "q").await;
    settle(client, &run, "interrupt", json!({"reason": "throttle", "delay": "1h"})).await;
    let path = format!("/v1/jobs/{id}");
    let record = client.get(&path).await.expect(200);
    let told = (&record["state"], &record["reason"], &record["checkpoint"]["interrupted_for"]);
    assert_eq!(told, (&json!("scheduled"), &json!("interrupted"), &json!("throttle")));
    let list = client.get("/v1/jobs?state=scheduled").await.expect(200);
    assert_eq!(list["jobs"][0]["reason"], "interrupted");
    assert_eq!(client.get(&format!("/v1/status/{id}")).await.expect(200)["reason"], "interrupted");
    // Its time has come: nothing of it holds the job back.
    let ready = client.post(&format!("{path}/reschedule"), "").await.expect(200);
    assert_eq!((&ready["state"], ready.get("reason")), (&json!("ready"), None));
    let delayed = enqueue(client, "q", json!({"kind": "k", "delay": "1h"})).await;
    let record = client.get(&format!("/v1/jobs/{delayed}")).await.expect(200);
    assert_eq!((&record["state"], record.get("reason")), (&json!("scheduled"), None));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_and_what_it_enqueues_happen_together() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "steps", json!({"kind": "one"})).await;
    let job = lease(client, "steps").await;
    let path = format!("/v1/jobs/{id}/ack");
    let ack = |enqueue: serde_json::Value| json!({"token": job["token"], "enqueue": enqueue});
    let bad = ack(json!([{"queue": "steps", "kind": "two"}, {"queue": "steps", "kind": ""}]));
    let refused = client.post(&path, &bad.to_string()).await.refused(400, "jobs_refused");
    assert_eq!(refused["faults"][0]["index"], 1);
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(record["state"], "running", "refused whole, it keeps its lease");
    let good = ack(json!([{"queue": "steps", "kind": "two", "args": [2]}]));
    for _ in 0..2 {
        let acked = client.post(&path, &good.to_string()).await.expect(200);
        assert_eq!(acked, json!({"id": id, "settled": "ack"}));
    }
    let next = lease(client, "steps").await;
    assert_eq!((&next["kind"], &next["args"]), (&json!("two"), &json!([2])));
    assert_eq!(client.get("/v1/queues/steps").await.expect(200)["ready"], 0, "only once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_resumed_and_started_where_one_says() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id =
        enqueue(client, "q", json!({"kind": "k", "cursor": {"id": 5}, "max_attempts": 1})).await;
    let path = |verb: &str| format!("/v1/jobs/{id}/{verb}");
    let paused = client.post(&path("pause"), "").await.expect(200);
    assert_eq!((&paused["paused"], &paused["state"]), (&json!(true), &json!("ready")));
    assert_eq!(paused["blocked_by"], json!([{"paused": "job"}]));
    assert!(lease(client, "q").await.is_null());
    assert_eq!(client.get("/v1/queues/q").await.expect(200)["blocked"], 1);
    let resumed = client.post(&path("resume"), "").await.expect(200);
    assert_eq!((resumed.get("paused"), resumed.get("blocked_by")), (None, None));
    let job = lease(client, "q").await;
    assert_eq!((&job["cursor"], job.get("interruptions")), (&json!({"id": 5}), None));
    client.post(&path("pause"), "").await.expect(200);
    let told = settle(client, &job, "checkpoint", json!({"seq": 1, "cursor": 9})).await;
    assert_eq!(told, json!({"id": id, "instruction": "interrupt", "reason": "pause"}));
    settle(client, &job, "fail", json!({})).await;
    client.post(&path("resume"), "").await.refused(409, "job_state_refused");
    client.post(&path("retry"), "{\"cursor\":null}").await.expect(200);
    let job = lease(client, "q").await;
    assert_eq!((job.get("cursor"), &job["attempt"]), (None, &json!(2)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_too_large_is_refused_by_its_field() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "backfill"})).await;
    let job = lease(client, "q").await;
    let path = format!("/v1/jobs/{id}/checkpoint");
    let large = json!({"token": job["token"], "cursor": "x".repeat(70_000)}).to_string();
    let refused = client.post(&path, &large).await.refused(413, "body_too_large");
    assert_eq!(refused["field"], "cursor");
    let names: serde_json::Map<_, _> = (0..33).map(|n| (format!("c{n}"), json!(1))).collect();
    let many = json!({"token": job["token"], "counters": names}).to_string();
    client.post(&path, &many).await.expect(200);
    let settles = json!({"settle": [{"id": id, "token": job["token"], "verdict": "interrupt",
        "delay": "1h"}]});
    let settled = client.post("/v1/settle", &settles.to_string()).await.expect(200);
    assert_eq!(settled["settled"][0]["settled"], "interrupt");
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(record["state"], "scheduled");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_watched_live_until_it_has_ended() {
    let server = Server::start().await;
    let (client, watcher) = (&mut server.client().await, &mut server.client().await);
    let id = enqueue(client, "q", json!({"kind": "backfill"})).await;
    let unknown = "/v1/jobs/019a0000-0000-7000-8000-000000000000/events";
    assert!(watcher.get(unknown).await.status >= 404);
    watcher.send(&request("GET", &format!("/v1/jobs/{id}/events"), &[], "")).await;
    let head = watcher.read_until("\r\n\r\n").await;
    assert!(head.contains(" 200 ") && head.contains("text/event-stream"), "{head}");
    let first = watcher.read_until("\n\n").await;
    assert!(first.contains("event: job\ndata: {") && first.contains("\"ready\""), "{first}");

    let job = lease(client, "q").await;
    let saved = json!({"token": job["token"], "cursor": 7, "progress": 0.25,
        "counters": {"rows": 5}});
    client.post(&format!("/v1/jobs/{id}/checkpoint"), &saved.to_string()).await.expect(200);
    let event = watcher.read_until("\"rows\":5").await;
    assert!(event.contains("\"progress\":0.25"), "{event}");
    settle(client, &job, "ack", json!({})).await;
    watcher.read_until("\"state\":\"succeeded\"").await;
    // The last chunk ends the answer; the connection serves on.
    watcher.read_until("\r\n0\r\n\r\n").await;
    assert_eq!(watcher.get("/livez").await.expect(200)["ok"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_who_watches() {
    let server = Server::start().await;
    let (client, watcher) = (&mut server.client().await, &mut server.client().await);
    let id = enqueue(client, "q", json!({"kind": "backfill"})).await;
    watcher.send(&request("GET", &format!("/v1/jobs/{id}/events"), &[], "")).await;
    watcher.read_until("\n\n").await;
    server.stop().await;
    watcher.read_until("\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_settlement_at_fault_leaves_the_others_as_they_are() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let mut runs = Vec::new();
    for _ in 0..6 {
        enqueue(client, "q", json!({"kind": "k"})).await;
        runs.push(lease(client, "q").await);
    }
    let faults = [
        json!({"verdict": "ack"}),
        json!({"verdict": "ack", "location": "/\u{e9}"}),
        json!({"verdict": "ack", "result": "x".repeat(1_100_000)}),
        json!({"verdict": "ack", "unknown": 5}),
        json!({"verdict": "nack"}),
        json!({"verdict": "release"}),
    ];
    let codes = ["", "value_refused", "body_too_large", "field_unknown", "value_refused", ""];
    let settle: Vec<_> = runs
        .iter()
        .zip(faults)
        .map(|(run, mut one)| {
            (one["id"], one["token"]) = (run["id"].clone(), run["token"].clone());
            one
        })
        .collect();
    let body = json!({"settle": settle}).to_string();
    let answer = client.post("/v1/settle", &body).await.expect(200);
    for (index, code) in codes.into_iter().enumerate() {
        let one = &answer["settled"][index];
        assert_eq!(one["id"], runs[index]["id"], "{one}");
        assert_eq!(one["error"]["code"].as_str().unwrap_or_default(), code, "{one}");
        assert_eq!(one["settled"].is_string(), code.is_empty(), "{one}");
    }
    assert_eq!(answer["settled"][3]["error"]["field"], "settle[3].unknown");
    // The same with the next request for jobs.
    let settle = json!([
        {"id": runs[1]["id"], "token": runs[1]["token"], "verdict": "ack", "location": "/\u{e9}"},
        {"id": runs[2]["id"], "token": runs[2]["token"], "verdict": "ack"},
    ]);
    let body = json!({"queues": ["q"], "max": 1, "settle": settle}).to_string();
    let answer = client.post("/v1/lease", &body).await.expect(200);
    assert_eq!(answer["settled"][0]["error"]["code"], "value_refused", "{answer}");
    assert_eq!(answer["settled"][1]["settled"], "ack", "{answer}");
    // Also where one of them is not of the shape of a settlement.
    let settle = json!([
        {"id": runs[3]["id"], "token": runs[3]["token"], "verdict": "nack"},
        {"id": runs[4]["id"], "token": runs[4]["token"], "verdict": "ack", "result": [1]},
    ]);
    let body = json!({"queues": ["q"], "max": 1, "settle": settle}).to_string();
    let answer = client.post("/v1/lease", &body).await.expect(200);
    assert_eq!(answer["settled"][0]["error"]["code"], "value_refused", "{answer}");
    assert_eq!(answer["settled"][1]["settled"], "ack", "{answer}");
    // And where its job cannot be read.
    let ack = json!({"id": runs[5]["id"], "token": runs[5]["token"], "verdict": "ack"});
    let settle = json!([{"id": "bad"}, {"id": 5}, 7, ack]);
    let body = json!({"settle": settle}).to_string();
    let answer = client.post("/v1/settle", &body).await.expect(200);
    let settled = answer["settled"].as_array().unwrap();
    for one in &settled[..3] {
        assert_eq!((&one["id"], &one["error"]["status"]), (&json!(null), &json!(400)), "{one}");
    }
    assert_eq!(settled[3]["error"]["code"], "lease_lost", "it was released: {answer}");
    let wrong = json!({"queues": ["q"], "maxi": 1, "settle": settle}).to_string();
    client.post("/v1/lease", &wrong).await.refused(400, "field_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_informs_costs_no_run() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    enqueue(client, "q", json!({"kind": "k", "max_attempts": 2})).await;
    let run = lease(client, "q").await;
    let beats = [json!({"progress": 1.01}), json!({"progress": "half", "progress_text": 7})];
    enqueue(client, "q", json!({"kind": "k"})).await;
    let other = lease(client, "q").await;
    let nothing = json!({"settled": "interrupt", "id": other["id"]});
    let told = json!({"reason": "x".repeat(300)});
    assert_eq!(settle(client, &other, "interrupt", told).await, nothing);
    for told in beats {
        for what in ["heartbeat", "checkpoint"] {
            let answer = settle(client, &run, what, told.clone()).await;
            assert_eq!(answer["instruction"], "continue", "{told}");
        }
    }
    let (id, token) = (run["id"].as_str().unwrap(), run["token"].as_str().unwrap());
    let long = "x".repeat(256 << 10);
    let mut names: serde_json::Map<_, _> = (0..33).map(|n| (format!("c{n}"), json!(1))).collect();
    names.extend([(String::new(), json!(1)), (long.clone(), json!(1)), ("n".into(), json!("b"))]);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let skipped = [&*format!("{{\"cursor\":{deep}}}"), "{\"cursor\":2,\"error\":5}"].join(",");
    let counters = serde_json::Value::from(names);
    let odd = format!("\"cursor\":9,\"counters\":{counters},\"skipped\":[{skipped}]");
    let odd = format!("{{\"token\":\"{token}\",\"progress\":NaN,{odd}}}");
    client.post(&format!("/v1/jobs/{id}/checkpoint"), &odd).await.expect(200);
    let kept = client.get(&format!("/v1/jobs/{id}")).await.expect(200)["checkpoint"].clone();
    assert_eq!((&kept["cursor"], &kept["counters_dropped"]), (&json!(9), &json!(4)), "{kept}");
    assert_eq!((&kept["skipped_total"], &kept["skipped"][0]["cursor"]), (&json!(2), &json!(2)));
    let beat = json!({"token": token, "progress_text": long}).to_string();
    client.post(&format!("/v1/jobs/{id}/heartbeat"), &beat).await.expect(200);
    // What Python writes for the name of a file that is not UTF-8.
    let error = format!("{{\"message\":\"r\\udce9sum\\udce9.txt\",\"backtrace\":\"{long}\"}}");
    let failed = format!("{{\"token\":\"{token}\",\"error\":{error}}}");
    client.post(&format!("/v1/jobs/{id}/fail"), &failed).await.expect(200);
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    let message = &record["attempts"][0]["error"]["message"];
    assert_eq!(message, "r\u{fffd}sum\u{fffd}.txt", "{record:.2000}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_says_what_blocks_it() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let new = || json!({"kind": "k", "ordering_key": "customer-7"});
    let first = enqueue(client, "q", new()).await;
    let second = enqueue(client, "q", new()).await;
    client.post("/v1/queues/q/pause", "").await.expect(200);
    let behind = json!({"ordering_key": "customer-7", "job": first});
    let shown = client.get(&format!("/v1/jobs/{second}")).await.expect(200);
    assert_eq!(shown["blocked_by"], json!([behind, {"paused": "queue"}]));
    let listed = client.get("/v1/jobs").await.expect(200);
    assert_eq!(listed["jobs"][0]["blocked_by"], json!([{"paused": "queue"}]));
    assert_eq!(listed["jobs"][1]["blocked_by"], shown["blocked_by"]);
    client.post("/v1/queues/q/resume", "").await.expect(200);
    let job = lease(client, "q").await;
    assert_eq!(job["id"], first);
    let listed = client.get("/v1/jobs").await.expect(200);
    assert_eq!(
        (listed["jobs"][0].get("blocked_by"), &listed["jobs"][1]["blocked_by"]),
        (None, &json!([behind]))
    );
    server.stop().await;
}
