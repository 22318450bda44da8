//! Service levels and tenants over HTTP: set, told, measured, and what depends on them.

use serde_json::{Value, json};

use crate::harness::{Client, Server};

async fn enqueue(client: &mut Client, queue: &str, body: Value) -> String {
    let path = format!("/v1/queues/{queue}/jobs");
    let answer = client.post(&path, &body.to_string()).await.expect(202);
    answer["id"].as_str().unwrap().to_owned()
}

async fn lease(client: &mut Client, max: u32) -> Vec<Value> {
    let body = json!({"queues": ["*"], "max": max, "worker": "w"}).to_string();
    let answer = client.post("/v1/lease", &body).await.expect(200);
    answer["jobs"].as_array().unwrap().clone()
}

fn kinds(jobs: &[Value]) -> Vec<&str> {
    jobs.iter().map(|job| job["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_take_turns_and_are_listed() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for n in 0..4 {
        let big = json!({"kind": format!("big{n}"), "tenant": "big"});
        enqueue(client, "q", big).await;
    }
    let id = enqueue(client, "q", json!({"kind": "small", "tenant": "small"})).await;
    let jobs = lease(client, 3).await;
    assert_eq!(kinds(&jobs), ["big0", "small", "big1"], "one turn each, whatever kinds");
    let job = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(job["tenant"], "small");
    let listed = client.get("/v1/jobs?tenant=small").await.expect(200);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);

    let put = client.put("/v1/queues/q", "{\"tenants\":{\"big\":3}}").await.expect(200);
    assert_eq!(put["settings"]["tenants"], json!({"big": 3}));
    client.put("/v1/queues/q", "{\"tenants\":{\"big\":0}}").await.refused(400, "value_refused");
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "longshore_tenants{shard=\"0\"} 2",
        "longshore_tenant_jobs{shard=\"0\"} 5",
        "longshore_tenant_jobs_started_total{shard=\"0\"} 3",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }
    let wrong = client.post("/v1/queues/q/jobs", "{\"kind\":\"k\",\"tenant\":\"\"}").await;
    wrong.refused(400, "value_refused");
}

/// A policy that refuses and one that stands in for it could not be told apart.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_of_unique_jobs_are_counted_by_policy_and_outcome() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let job = |kind: &str, policy: &str| {
        let period = if policy == "throttle" { json!("24h") } else { Value::Null };
        let unique = json!({"by": ["kind"], "on_conflict": policy, "period": period});
        json!({"kind": kind, "unique": unique})
    };
    for policy in ["existing", "replace", "debounce", "throttle"] {
        for _ in 0..3 {
            enqueue(client, "q", job(policy, policy)).await;
        }
    }
    enqueue(client, "q", job("reject", "reject")).await;
    let again = job("reject", "reject").to_string();
    client.post("/v1/queues/q/jobs", &again).await.refused(409, "unique_taken");
    let bulk = json!({"jobs": [job("reject", "reject"), job("new", "reject")]}).to_string();
    assert!(client.post("/v1/queues/q/jobs", &bulk).await.status >= 400);
    // It counts until it ends: what runs cannot be replaced.
    let until_ended = |policy: &str| {
        let unique = json!({"by": ["kind"], "on_conflict": policy, "until": "ended"});
        json!({"kind": "runs", "unique": unique})
    };
    enqueue(client, "runs", until_ended("replace")).await;
    let body = json!({"queues": ["runs"], "max": 1, "worker": "w"}).to_string();
    client.post("/v1/lease", &body).await.expect(200);
    for policy in ["replace", "debounce"] {
        let again = until_ended(policy).to_string();
        client.post("/v1/queues/runs/jobs", &again).await.refused(409, "unique_taken");
    }
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for (policy, outcome, count) in [
        ("existing", "existing", 2),
        ("replace", "replaced", 2),
        ("debounce", "debounced", 2),
        ("throttle", "throttled", 2),
        ("reject", "refused", 2),
        ("replace", "refused", 1),
        ("debounce", "refused", 1),
    ] {
        let line = format!(
            "longshore_unique_conflicts_total{{policy=\"{policy}\",outcome=\"{outcome}\"}} {count}"
        );
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_level_is_set_measured_and_removed() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    client.get("/v1/sla/mail").await.refused(404, "sla_unknown");
    let body = json!({
        "on": {"queue": "mail"}, "started_within": "30s", "share": 0.95,
        "breach": {"queue": "alarms", "kind": "page"},
    });
    let put = client.put("/v1/sla/mail", &body.to_string()).await.expect(200);
    assert_eq!(put["settings"]["on"], json!({"queue": "mail"}));
    assert_eq!(
        (&put["settings"]["started_within"], &put["settings"]["share"]),
        (&json!("30s"), &json!(0.95))
    );
    assert_eq!(put["settings"]["breach"]["kind"], "page");

    enqueue(client, "other", json!({"kind": "first"})).await;
    enqueue(client, "mail", json!({"kind": "urgent"})).await;
    let jobs = lease(client, 2).await;
    assert_eq!(kinds(&jobs), ["urgent", "first"], "the earliest deadline is first");
    let told = client.get("/v1/sla/mail").await.expect(200);
    let five = &told["windows"][0];
    assert_eq!(
        (&five["over"], &five["measured"], &five["missed"]),
        (&json!("5m"), &json!(1), &json!(0))
    );
    assert_eq!((&five["attained"], &told["running"]), (&json!(1.0), &json!(1)));
    assert_eq!(client.get("/v1/sla").await.expect(200)["slas"].as_array().unwrap().len(), 1);

    client.put("/v1/limits/mails", "{\"scope\":\"queue\",\"concurrency\":1}").await.expect(200);
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "longshore_sla_breached{namespace=\"default\",sla=\"mail\"} 0",
        "longshore_sla_breaches_total{namespace=\"default\",sla=\"mail\"} 0",
        "longshore_sla_attained{namespace=\"default\",sla=\"mail\",over=\"5m\"} 1",
        "longshore_limit_running{namespace=\"default\",limit=\"mails\"} 2",
        "longshore_limit_concurrency{namespace=\"default\",limit=\"mails\"} 1",
        "longshore_limit_spent_keys{namespace=\"default\",limit=\"mails\"} 2",
        "longshore_limit_waiting{namespace=\"default\",limit=\"mails\"} 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is missing");
    }
    client.delete("/v1/sla/mail").await.expect(204);
    client.delete("/v1/sla/mail").await.refused(404, "sla_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_level_that_cannot_be_is_refused() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for (body, status) in [
        (json!({"on": {"queue": "q"}}), 400),
        (json!({"on": {"queue": "q"}, "started_within": "1s", "done_within": "1s"}), 400),
        (json!({"on": {"queue": "q"}, "started_within": "1s", "share": 1}), 400),
        (json!({"on": {"queue": "q"}, "at_least_every": "1s"}), 400),
        (json!({"on": {"schedule": "s"}, "started_within": "1s"}), 400),
        (json!({"on": {"queue": "q"}, "started_within": "1s", "breach": {"kind": "k"}}), 400),
    ] {
        let answer = client.put("/v1/sla/x", &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}");
    }
}
