//! Schedules over HTTP: set, told, fired by hand and by time, moved by a run.

use serde_json::{Value, json};

use crate::harness::Server;

fn nightly() -> Value {
    json!({
        "cron": "30 2 * * *",
        "time_zone": "Europe/Berlin",
        "missed": "within 1h",
        "overlap": "skip",
        "job": {
            "queue": "reports", "kind": "nightly", "args": {"days": 1}, "ttl": "2h",
            "limit": {"name": "api", "by": "/days"}, "gates": ["bank"],
            "unique": {"by": ["kind", "/days"], "on_conflict": "existing"},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_put_told_paused_and_removed() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let put = client.put("/v1/schedules/nightly", &nightly().to_string()).await.expect(200);
    assert_eq!(put["settings"]["job"]["args"], json!({"days": 1}));
    assert_eq!(put["settings"]["job"]["limit"], json!({"name": "api", "key": "1"}));
    assert_eq!(put["settings"]["job"]["gates"], json!(["bank"]));
    let unique = json!({"by": ["kind", "/days"], "on_conflict": "existing"});
    assert_eq!(put["settings"]["job"]["unique"], unique);
    assert_eq!((&put["settings"]["missed"], &put["paused"]), (&json!("within 1h"), &json!(false)));
    let local = put["next"]["local"].as_str().unwrap();
    assert!(local.contains("T02:30:00+0") || local.contains("T03:00:00+02"), "{local}");
    // What is told can be put again, and then nothing changes.
    let again = client.put("/v1/schedules/nightly", &put["settings"].to_string()).await;
    assert_eq!(again.expect(200), put);
    let slots = client.get("/v1/schedules/nightly/next?limit=3").await.expect(200);
    assert_eq!(slots["slots"].as_array().unwrap().len(), 3);
    assert_eq!(slots["slots"][0], put["next"]);

    let paused = client.post("/v1/schedules/nightly/pause", "").await.expect(200);
    assert_eq!((&paused["paused"], &paused["next"]), (&json!(true), &Value::Null));
    let moved = client.post("/v1/schedules/nightly/next", "{\"in\":\"5s\"}").await;
    moved.refused(409, "schedule_state_refused");
    let resumed = client.post("/v1/schedules/nightly/resume", "").await.expect(200);
    assert_eq!(resumed["next"], put["next"]);

    for name in ["b", "a"] {
        client.put(&format!("/v1/schedules/{name}"), &nightly().to_string()).await.expect(200);
    }
    let first = client.get("/v1/schedules?limit=2").await.expect(200);
    let names = |page: &Value| -> Vec<String> {
        let all = page["schedules"].as_array().unwrap().iter();
        all.map(|of| of["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    let next = format!("/v1/schedules?cursor={}", first["next"].as_str().unwrap());
    assert_eq!(names(&client.get(&next).await.expect(200)), ["nightly"]);
    client.delete("/v1/schedules/nightly").await.expect(204);
    client.get("/v1/schedules/nightly").await.refused(404, "schedule_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_hand_enqueues_a_job_that_knows_its_schedule_and_moves_it() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    client.put("/v1/schedules/nightly", &nightly().to_string()).await.expect(200);
    let run = client.post("/v1/schedules/nightly/run", "").await;
    let status = run.header("location").unwrap().to_owned();
    let run = run.expect(202);
    let id = run["job"].as_str().unwrap();
    assert!(status.ends_with(id));
    client.post("/v1/schedules/nightly/run", "").await.refused(409, "schedule_state_refused");
    let job = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&job["kind"], &job["schedule"]["name"]), (&json!("nightly"), &json!("nightly")));
    assert_eq!(job["schedule"]["by_hand"], true);

    let leased = client.post("/v1/lease", "{\"queues\":[\"reports\"]}").await.expect(200);
    let token = &leased["jobs"][0]["token"];
    let ack = format!("/v1/jobs/{id}/ack");
    let both = json!({"token": token, "next_in": "1s", "next_at": "2030-01-01T00:00:00Z"});
    client.post(&ack, &both.to_string()).await.refused(400, "value_refused");
    let body = json!({"token": token, "next_at": "2030-01-01T00:00:00Z"});
    client.post(&ack, &body.to_string()).await.expect(200);
    let told = client.get("/v1/schedules/nightly").await.expect(200);
    assert_eq!(told["next"]["at"], "2030-01-01T00:00:00.000Z");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_comes_enqueues_its_job() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let every = json!({"every": "1h", "job": {"queue": "q", "kind": "k"}});
    client.put("/v1/schedules/often", &every.to_string()).await.expect(200);
    client.post("/v1/schedules/often/next", "{\"in\":\"0s\"}").await.expect(200);
    let lease = "{\"queues\":[\"q\"],\"wait\":\"20s\"}";
    let leased = client.post("/v1/lease", lease).await.expect(200);
    let id = leased["jobs"][0]["id"].as_str().unwrap();
    let job = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(job["schedule"]["name"], "often");
    let told = client.get("/v1/schedules/often").await.expect(200);
    assert_eq!((&told["last"]["job"], &told["enqueued_total"]), (&json!(id), &json!(1)));
    let metrics = client.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("longshore_schedule_ticks_total{shard=\"0\"} 1"), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_place() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let with = |field: &str, value: Value| {
        let mut body = nightly();
        body[field] = value;
        body.to_string()
    };
    let job = |field: &str, value: Value| {
        let mut body = nightly();
        body["job"][field] = value;
        body.to_string()
    };
    for (body, field, words) in [
        (with("cron", json!("0 25 * * *")), "cron", "field 2 (hour, character 3) is \\\"25\\\""),
        (with("cron", json!("0 0 30 2 *")), "cron", "a time that comes"),
        (with("time_zone", json!("Mars/Olympus")), "time_zone", "Europe/Berlin"),
        (with("every", json!("5s")), "every", "not both"),
        (with("missed", json!("often")), "missed", "within 1h"),
        (job("id", json!("018bcfe5-6800-7a00-8000-000000000000")), "job.id", "all jobs"),
        (job("delay", json!("5s")), "job.delay", "all jobs"),
        (job("unique", json!({"by": []})), "job.unique.by", "an empty list"),
        (json!({"every": "10ms", "job": {"queue": "q", "kind": "k"}}).to_string(), "every", "1s"),
        (json!({"cron": "@daily", "job": {"kind": "k"}}).to_string(), "job.queue", "queue"),
    ] {
        let answer = client.put("/v1/schedules/s", &body).await;
        let problem = String::from_utf8(answer.body).unwrap();
        assert!(problem.contains(words), "{body}: {problem}");
        let problem: Value = serde_json::from_str(&problem).unwrap();
        assert_eq!((&problem["status"], &problem["field"]), (&json!(400), &json!(field)), "{body}");
    }
    server.stop().await;
}
