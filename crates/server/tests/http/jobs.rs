//! The life of a job as producers and workers see it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Server};

pub(crate) async fn enqueue(client: &mut Client, queue: &str, body: Value) -> String {
    let answer = client.post(&format!("/v1/queues/{queue}/jobs"), &body.to_string()).await;
    let accepted = answer.expect(202);
    let id = accepted["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(&*format!("/v1/status/{id}")));
    id
}

/// Leases one job.
pub(crate) async fn lease(client: &mut Client, queue: &str) -> Value {
    let body = json!({"queues": [queue], "worker": "w", "session": "s"}).to_string();
    client.post("/v1/lease", &body).await.expect(200)["jobs"][0].clone()
}

pub(crate) async fn settle(client: &mut Client, job: &Value, verb: &str, mut body: Value) -> Value {
    body["token"] = job["token"].clone();
    let path = format!("/v1/jobs/{}/{verb}", job["id"].as_str().unwrap());
    client.post(&path, &body.to_string()).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_enqueued_run_and_its_result_fetched() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let job = json!({"kind": "mail", "args": {"to": [1, 2.50]}, "priority": 3, "tags": ["t"]});
    let id = enqueue(client, "mails", job).await;

    let status = client.get(&format!("/v1/status/{id}")).await;
    assert_eq!(status.header("retry-after"), Some("1"));
    assert_eq!(status.expect(200)["state"], "ready");

    let leased = lease(client, "mails").await;
    assert_eq!((&leased["id"], &leased["kind"]), (&json!(id), &json!("mail")));
    assert_eq!(leased["args"], json!({"to": [1, 2.5]}));
    assert_eq!((&leased["attempt"], &leased["priority"]), (&json!(1), &json!(3)));
    assert_eq!(leased["lease"], "30s");

    let beat =
        settle(client, &leased, "heartbeat", json!({"progress": 0.5, "progress_text": "half"}));
    assert_eq!(beat.await["instruction"], "continue");
    let status = client.get(&format!("/v1/status/{id}")).await.expect(200);
    assert_eq!((&status["state"], &status["progress"]), (&json!("running"), &json!(0.5)));

    let acked = settle(client, &leased, "ack", json!({"result": {"sent": true}})).await;
    assert_eq!(acked, json!({"id": id, "settled": "ack"}));
    assert_eq!(settle(client, &leased, "ack", json!({})).await["settled"], "ack", "a repetition");

    let done = client.get(&format!("/v1/status/{id}?wait=5s")).await;
    let result_url = format!("/v1/jobs/{id}/result");
    assert_eq!((done.status, done.header("location")), (303, Some(&*result_url)));
    assert_eq!(client.get(&result_url).await.body, b"{\"sent\":true}");

    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(record["state"], "succeeded");
    assert_eq!(record["result"], json!({"sent": true}));
    assert_eq!(record.get("args"), None, "outcomes are kept without args");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_id_makes_a_request_repeatable() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = "11111111-2222-4333-8444-555555555555";
    let body = json!({"id": id, "kind": "k", "args": [1], "delay": "1h"}).to_string();
    assert_eq!(client.post("/v1/queues/q/jobs", &body).await.expect(202)["replayed"], false);
    assert_eq!(client.post("/v1/queues/q/jobs", &body).await.expect(202)["replayed"], true);
    let other = body.replace("[1]", "[2]");
    client.post("/v1/queues/q/jobs", &other).await.refused(409, "job_id_taken");
    client.post("/v1/queues/p/jobs", &body).await.refused(409, "job_id_taken");
    let bulk = format!("{{\"jobs\":[{{\"kind\":\"k\"}},{other}]}}");
    let refused = client.post("/v1/queues/q/jobs", &bulk).await.refused(400, "jobs_refused");
    assert_eq!(refused["faults"][0]["index"], 1);
    assert_eq!(refused["faults"][0]["code"], "job_id_taken");
    let queue = client.get("/v1/queues/q").await.expect(200);
    assert_eq!(queue["scheduled"], 1, "nothing of the bulk was enqueued: {queue}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_may_wait_for_the_outcome() {
    let server = Server::start().await;
    let address = server.address;
    let producer = tokio::spawn(async move {
        let prefer = [("prefer", "respond-async, wait=20")];
        let mut client = Client::connect(address).await;
        client.ask("POST", "/v1/queues/q/jobs", &prefer, "{\"kind\":\"k\"}").await
    });
    let client = &mut server.client().await;
    let body = json!({"queues": ["*"], "wait": "20s", "worker": "w"}).to_string();
    let leased = client.post("/v1/lease", &body).await.expect(200)["jobs"][0].clone();
    settle(client, &leased, "ack", json!({"result": [7], "location": "/made/7"})).await;
    let answer = producer.await.unwrap();
    assert_eq!(answer.header("preference-applied"), Some("wait=20"));
    let outcome = answer.expect(200);
    assert_eq!((&outcome["state"], &outcome["result"]), (&json!("succeeded"), &json!([7])));
    let id = leased["id"].as_str().unwrap();
    let status = client.get(&format!("/v1/status/{id}")).await;
    assert_eq!((status.status, status.header("location")), (303, Some("/made/7")));

    let short = [("prefer", "wait=\"1\"")];
    let late = client.ask("POST", "/v1/queues/idle/jobs", &short, "{\"kind\":\"k\"}").await;
    assert_eq!((late.status, late.header("preference-applied")), (202, Some("wait=1")));
    let only_async = [("prefer", "respond-async")];
    let now = client.ask("POST", "/v1/queues/idle/jobs", &only_async, "{\"kind\":\"k\"}").await;
    assert_eq!((now.status, now.header("preference-applied")), (202, Some("respond-async")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_only_where_the_server_allows() {
    let server = Server::start_with(|config| {
        config.http.location_origins = vec!["https://app.example".into()];
    })
    .await;
    let client = &mut server.client().await;
    for (location, followed) in
        [("https://app.example/7", true), ("https://evil.example/7", false), ("//evil", false)]
    {
        let id = enqueue(client, "q", json!({"kind": "k"})).await;
        let leased = lease(client, "q").await;
        settle(client, &leased, "ack", json!({"location": location})).await;
        let status = client.get(&format!("/v1/status/{id}")).await;
        let own = format!("/v1/jobs/{id}/result");
        let expected = if followed { location } else { &own };
        assert_eq!((status.status, status.header("location")), (303, Some(expected)));
        client.get(&own).await.refused(404, "result_unknown");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_settles_and_leases_and_can_be_repeated() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let bulk = json!({"jobs": [{"kind": "a"}, {"kind": "b"}, {"kind": "c"}]}).to_string();
    let accepted = client.post("/v1/queues/q/jobs", &bulk).await.expect(202);
    assert_eq!(accepted["ids"].as_array().unwrap().len(), 3);
    let turn = |turn: u64, settle: Value| {
        json!({"queues": ["q"], "max": 2, "worker": "w", "session": "s", "turn": turn,
               "settle": settle})
        .to_string()
    };
    let first = client.post("/v1/lease", &turn(1, json!([]))).await.expect(200);
    assert_eq!(first["jobs"].as_array().unwrap().len(), 2);
    let again = client.post("/v1/lease", &turn(1, json!([]))).await.expect(200);
    assert_eq!(again["jobs"], first["jobs"], "the same turn gets the same answer");
    let run = |index: usize, verdict: &str| {
        let job = &first["jobs"][index];
        json!({"id": job["id"], "token": job["token"], "verdict": verdict})
    };
    let settles = json!([run(0, "ack"), run(1, "discard"), {"id": run(0, "ack")["id"],
        "token": "999.1", "verdict": "release"}]);
    let second = client.post("/v1/lease", &turn(2, settles)).await.expect(200);
    assert_eq!(second["jobs"][0]["kind"], "c");
    assert_eq!(second["settled"][0]["settled"], "ack");
    assert_eq!(second["settled"][1]["settled"], "discard");
    assert!(second["settled"][2]["error"]["code"].is_string(), "{second}");
    let third = json!({"settle": [{"id": second["jobs"][0]["id"],
        "token": second["jobs"][0]["token"], "verdict": "snooze", "delay": "1h"}]});
    let settled = client.post("/v1/settle", &third.to_string()).await.expect(200);
    assert_eq!(settled["settled"][0]["settled"], "snooze");
    server.stop().await;
}

/// It was granted the job, which the worker did not hear of any more: the job, which may run at
/// most once, was dead without having run.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_arrives_after_a_later_one_is_refused() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let turn = |turn: u64, seen: u64| {
        json!({"queues": ["q"], "worker": "w", "session": "s", "turn": turn, "seen": seen})
            .to_string()
    };
    assert_eq!(client.post("/v1/lease", &turn(6, 0)).await.expect(200)["jobs"], json!([]));
    let id = enqueue(client, "q", json!({"kind": "k", "at_most_once": true})).await;
    client.post("/v1/lease", &turn(5, 0)).await.refused(409, "turn_passed");
    let path = format!("/v1/jobs/{id}");
    assert_eq!(client.get(&path).await.expect(200)["state"], "ready");
    let leased = client.post("/v1/lease", &turn(7, 6)).await.expect(200);
    assert_eq!(leased["jobs"][0]["id"], json!(id));
    client.post("/v1/lease", &turn(6, 0)).await.refused(409, "turn_passed");
    settle(client, &leased["jobs"][0], "ack", json!({})).await;
    assert_eq!(client.get(&path).await.expect(200)["state"], "succeeded");
    server.stop().await;
}

/// It was a 404: what a short retention had forgotten was taken for unknown.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_past_its_retention_is_gone() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "k", "retain": "1s"})).await;
    let leased = lease(client, "q").await;
    settle(client, &leased, "ack", json!({})).await;
    let path = format!("/v1/status/{id}");
    let past = async {
        loop {
            let answer = client.get(&path).await;
            if answer.status != 303 {
                break answer;
            }
        }
    };
    let past = tokio::time::timeout(Duration::from_secs(30), past).await.expect("it is past");
    past.refused(410, "job_gone");
    client.get(&format!("/v1/jobs/{id}")).await.refused(410, "job_gone");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_that_ended_a_job_is_in_its_history() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "k"})).await;
    let leased = lease(client, "q").await;
    settle(client, &leased, "ack", json!({})).await;
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    let attempt = &record["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(attempt["ended_at"], record["ended_at"]);

    let id = enqueue(client, "q", json!({"kind": "k"})).await;
    let leased = lease(client, "q").await;
    let error = json!({"type": "Useless", "message": "the account is closed"});
    settle(client, &leased, "discard", json!({"error": error})).await;
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    let attempt = &record["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["error"]), (&json!("discarded"), &error));
    assert_eq!(client.get(&format!("/v1/status/{id}")).await.expect(200)["error"], error);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_kept_and_dead_jobs_come_back() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "k", "args": 7, "max_attempts": 1})).await;
    let leased = lease(client, "q").await;
    let error = json!({"type": "Boom", "message": "it broke", "backtrace": "line 1"});
    assert_eq!(settle(client, &leased, "fail", json!({"error": error})).await["settled"], "fail");
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&record["state"], &record["reason"]), (&json!("dead"), &json!("exhausted")));
    assert_eq!(record["args"], 7, "dead jobs keep their args");
    assert_eq!(record["attempts"][0]["error"], error);
    assert_eq!(record["attempts"][0]["outcome"], "failed");
    assert_eq!(client.get(&format!("/v1/status/{id}")).await.expect(200)["error"]["type"], "Boom");
    client.get(&format!("/v1/jobs/{id}/result")).await.refused(409, "job_state_refused");

    let dead = client.get("/v1/jobs?state=dead&queue=q").await.expect(200);
    assert_eq!(dead["jobs"][0]["id"], json!(id));
    let retried = client.post(&format!("/v1/jobs/{id}/retry"), "").await.expect(200);
    assert_eq!(retried["state"], "ready");
    let leased = lease(client, "q").await;
    settle(client, &leased, "fail", json!({})).await;
    // It removed the job: a cancel that came a moment too late took its args and errors with it.
    client.delete(&format!("/v1/jobs/{id}")).await.refused(409, "job_state_refused");
    let both = format!("/v1/jobs/{id}?remove=true&force=true");
    client.delete(&both).await.refused(400, "value_refused");
    assert_eq!(client.delete(&format!("/v1/jobs/{id}?remove=true")).await.status, 204);
    client.get(&format!("/v1/jobs/{id}")).await.refused(410, "job_gone");
    // It answered 404, since only a day of age or an id of the client's told that it had been.
    client.get(&format!("/v1/status/{id}")).await.refused(410, "job_gone");
    client.post(&format!("/v1/jobs/{id}/retry"), "").await.refused(410, "job_gone");
    // Whoever asks hears the same, and of a job that is alive in another namespace nothing false.
    client.put("/v1/namespaces/other", "").await.expect(200);
    let alive = enqueue(client, "q", json!({"kind": "k"})).await;
    let path = format!("/v1/namespaces/other/jobs/{alive}");
    let mut details = Vec::new();
    for answer in [
        client.get(&path).await,
        client.delete(&path).await,
        client.post(&format!("{path}/ack"), "{\"token\":\"1.1\"}").await,
        client.post(&format!("{path}/heartbeat"), "{\"token\":\"1.1\"}").await,
    ] {
        details.push(answer.refused(410, "job_gone")["detail"].clone());
    }
    let expected = format!(
        "job {alive} is not in this namespace: it is past its retention, was removed, or belongs \
         to another one"
    );
    assert_eq!(details, vec![json!(expected); 4]);
    server.stop().await;
}

/// Its progress was no number and counted as nothing: the job was ready again.
#[tokio::test(flavor = "multi_thread")]
async fn an_at_most_once_run_whose_progress_was_heard_is_not_given_back() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for (what, told) in [
        ("heartbeat", json!({"progress": "half"})),
        ("heartbeat", json!({"progress_text": 7})),
        ("checkpoint", json!({"progress": [1]})),
        ("checkpoint", json!({"counters": {"rows": "many"}})),
        ("checkpoint", json!({"skipped": 5})),
    ] {
        let id = enqueue(client, "q", json!({"kind": "k", "at_most_once": true})).await;
        let leased = lease(client, "q").await;
        settle(client, &leased, what, told.clone()).await;
        let status = client.get(&format!("/v1/status/{id}")).await.expect(200);
        if told["progress"] == "half" {
            assert_eq!(status["progress_text"], "half");
        }
        let released = settle(client, &leased, "release", json!({})).await;
        assert_eq!(released, json!({"id": id, "settled": "fail"}), "{what} {told}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_job_tells_that_it_is_held_back() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "k"})).await;
    client.post(&format!("/v1/jobs/{id}/pause"), "").await.expect(200);
    let status = client.get(&format!("/v1/status/{id}")).await.expect(200);
    assert_eq!((&status["state"], &status["paused"]), (&json!("ready"), &json!(true)));
    client.post(&format!("/v1/jobs/{id}/resume"), "").await.expect(200);
    let status = client.get(&format!("/v1/status/{id}")).await.expect(200);
    assert_eq!(status.get("paused"), None);
    let refused = client.post("/v1/queues/q/jobs", "{\"kind\":\"k\",\"ttl\":\"0s\"}").await;
    assert_eq!(refused.refused(400, "value_refused")["allowed"], "1ms to 3660d");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_worker_hears_of_a_cancel() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let id = enqueue(client, "q", json!({"kind": "k"})).await;
    let leased = lease(client, "q").await;
    let asked = client.delete(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(asked["running"]["cancel_requested"], true);
    let beat = settle(client, &leased, "heartbeat", json!({})).await;
    assert_eq!(beat["instruction"], "cancel");
    settle(client, &leased, "fail", json!({})).await;
    let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&record["state"], &record["reason"]), (&json!("cancelled"), &json!("asked")));
    let path = format!("/v1/jobs/{id}/ack");
    let stale = json!({"token": "1.999999"}).to_string();
    client.post(&path, &stale).await.refused(409, "lease_lost");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_by_cursor() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let jobs: Vec<Value> = (0..25).map(|n| json!({"kind": "k", "args": n})).collect();
    client.post("/v1/queues/q/jobs", &json!({"jobs": jobs}).to_string()).await.expect(202);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/jobs?queue=q&limit=10{cursor}")).await.expect(200);
        seen.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut unique: Vec<String> = seen.iter().map(Value::to_string).collect();
    unique.sort();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (25, 25));
    let foreign = client.get(&format!("/v1/jobs?queue=p&limit=10{cursor}")).await;
    assert_eq!(foreign.refused(400, "value_refused")["field"], "cursor");
    server.stop().await;
}

/// One settlement that is out of bounds refused all of its request, so that a worker that sent it
/// again lost every lease in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_is_out_of_bounds_harms_only_itself() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for _ in 0..3 {
        enqueue(client, "q", json!({"kind": "k"})).await;
    }
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(lease(client, "q").await);
    }
    let one = |n: usize, more: serde_json::Value| {
        let mut one = json!({"id": jobs[n]["id"], "token": jobs[n]["token"]});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one
    };
    let settle = json!({"settle": [one(0, json!({"verdict": "fail", "retry_in": "4000d"})),
        one(1, json!({"verdict": "interrupt", "delay": "4000d"})), one(2, json!({"verdict": "ack"}))]});
    let told = client.post("/v1/settle", &settle.to_string()).await.expect(200);
    assert_eq!(told["settled"][0]["error"]["field"], "retry_in", "{told}");
    assert_eq!(told["settled"][1]["error"]["field"], "delay", "{told}");
    assert_eq!(told["settled"][2]["settled"], "ack", "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_job_stands_for_the_next_one_or_refuses_it() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let of = |args: Value, unique: Value| json!({"kind": "k", "args": args, "unique": unique});
    let by = json!(["kind", "/order"]);
    let first = enqueue(client, "q", of(json!({"order": 7, "x": 1}), json!({"by": by}))).await;
    let second = of(json!({"order": 7, "x": 2}), json!({"by": by})).to_string();
    let refused = client.post("/v1/queues/q/jobs", &second).await.refused(409, "unique_taken");
    assert_eq!((&refused["field"], &refused["value"]), (&json!("unique"), &json!(first)));
    let other = of(json!({"order": 8}), json!({"by": by, "period": "1h"}));
    enqueue(client, "q", other.clone()).await;

    let replace = json!({"by": by, "on_conflict": "replace", "replace": ["args"]});
    let existing = json!({"by": by, "on_conflict": "existing", "until": "started"});
    let args = json!({"order": 7, "x": 3});
    let bulk =
        json!({"jobs": [of(args.clone(), replace), of(args.clone(), existing), {"kind": "l"}]});
    let answer = client.post("/v1/queues/q/jobs", &bulk.to_string()).await.expect(202);
    assert_eq!((&answer["ids"][0], &answer["ids"][1]), (&json!(first), &json!(first)));
    let met = json!([{"index": 0, "outcome": "replaced"}, {"index": 1, "outcome": "existing"}]);
    assert_eq!(answer["unique"], met);
    let record = client.get(&format!("/v1/jobs/{first}")).await.expect(200);
    assert_eq!((&record["args"], &record["unique"]["until"]), (&args, &json!("ended")));

    for (unique, field) in [
        (json!({"by": ["sort"]}), "unique.by"),
        (json!({"by": []}), "unique.by"),
        (json!({"replace": ["args"]}), "unique.replace"),
        (json!({"on_conflict": "replace", "replace": ["priority"]}), "unique.replace"),
        (json!({"on_conflict": "throttle"}), "unique.on_conflict"),
        (json!({"on_conflict": "wait"}), "unique.on_conflict"),
        (json!({"period": "0s"}), "unique.period"),
        (json!({"key": ""}), "unique.key"),
    ] {
        let body = of(json!({}), unique).to_string();
        let refused = client.post("/v1/queues/q/jobs", &body).await.refused(400, "value_refused");
        assert_eq!(refused["field"], field, "{body}: {refused}");
    }
    server.stop().await;
}
