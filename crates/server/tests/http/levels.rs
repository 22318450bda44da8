//! Service levels and tenants over HTTP: set, told, measured, and what depends on them.

use std::time::{Duration, Instant};

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

/// The value of a metric's sample.
async fn metric(client: &mut Client, sample: &str) -> String {
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    values.next().unwrap_or_else(|| panic!("{sample} in {text}")).to_owned()
}

/// Asks for a level until it is as it has to become.
async fn until(client: &mut Client, level: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let told = client.get(&format!("/v1/sla/{level}")).await.expect(200);
        if is_so(&told) {
            return told;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{told}");
    }
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

/// Of all jobs that missed: with a share of 0.75, a quarter may.
#[tokio::test(flavor = "multi_thread")]
async fn the_burn_rate_is_what_missed_in_parts_of_what_may() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for (name, within) in [("soon", "1ms"), ("some_day", "1h")] {
        let body = json!({"on": {"queue": "mail"}, "started_within": within, "share": 0.75});
        let put = client.put(&format!("/v1/sla/{name}"), &body.to_string()).await.expect(200);
        assert_eq!(put["windows"][0].get("burn_rate"), None, "nothing is known yet: {put}");
    }
    for _ in 0..4 {
        enqueue(client, "mail", json!({"kind": "k"})).await;
    }
    // What waits for too long counts before anything has started.
    let waiting = until(client, "soon", |told| told["late"] == 4).await;
    assert_eq!(waiting["windows"][2]["measured"], 0);
    assert_eq!(waiting["windows"][2]["burn_rate"], 4.0, "all missed, a quarter may");
    assert_eq!(lease(client, 9).await.len(), 4);
    for over in ["5m", "1h", "1d"] {
        for (name, attained, rate) in [("soon", 0.0, 4.0), ("some_day", 1.0, 0.0)] {
            let told = client.get(&format!("/v1/sla/{name}")).await.expect(200);
            let mut windows = told["windows"].as_array().unwrap().iter();
            let window = windows.find(|it| it["over"] == over).unwrap_or_else(|| panic!("{told}"));
            assert_eq!((&window["measured"], &window["burn_rate"]), (&json!(4), &json!(rate)));
            assert_eq!(window["attained"], attained);
            let labels = format!("{{namespace=\"default\",sla=\"{name}\",over=\"{over}\"}}");
            let burns = metric(client, &format!("longshore_sla_burn_rate{labels}")).await;
            let attains = metric(client, &format!("longshore_sla_attained{labels}")).await;
            assert_eq!((burns, attains), (rate.to_string(), attained.to_string()), "{labels}");
        }
    }
}

/// Ten jobs wait that each need a worker at once, since a run takes longer than they may wait.
#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_reads_how_many_workers_a_known_load_needs() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let body = json!({"on": {"queue": "mail"}, "started_within": "1ms"});
    client.put("/v1/sla/mail", &body.to_string()).await.expect(200);
    let sample = |name: &str| format!("longshore_sla_{name}{{namespace=\"default\",sla=\"mail\"}}");
    enqueue(client, "mail", json!({"kind": "k"})).await;
    let jobs = lease(client, 1).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3) {
        client.get("/v1/sla/mail").await.expect(200);
    }
    let ack = json!({"token": jobs[0]["token"]}).to_string();
    client
        .post(&format!("/v1/jobs/{}/ack", jobs[0]["id"].as_str().unwrap()), &ack)
        .await
        .expect(200);
    for _ in 0..10 {
        enqueue(client, "mail", json!({"kind": "k"})).await;
    }
    let told = until(client, "mail", |told| told["late"] == 10).await;
    let needed: f64 = metric(client, &sample("workers_needed")).await.parse().unwrap();
    // Little's law for what comes, of which there is hardly any, and one for each that waits.
    let mean_run = told["mean_run"].as_str().unwrap();
    let run_ms: f64 =
        mean_run.strip_suffix("ms").unwrap_or_else(|| panic!("{told}")).parse().unwrap();
    let busy = told["arrivals_per_second"].as_f64().unwrap() * run_ms / 1000.0;
    assert!(run_ms >= 2.0 && (needed - (10.0 + busy)).abs() <= 1.5, "{needed}, {told}");
    assert_eq!(metric(client, &sample("late")).await, "10");
    assert_eq!(metric(client, &sample("at_risk")).await, "10");
    let oldest: f64 = metric(client, &sample("oldest_seconds")).await.parse().unwrap();
    assert!(oldest > 0.001, "{oldest}");
    let arrivals = metric(client, &sample("arrivals_per_second")).await;
    let arrivals: f64 = arrivals.parse().unwrap();
    assert!((0.5..=11.0).contains(&arrivals), "eleven came since it was set: {arrivals}");
    until(client, "mail", |told| told["breaches_total"] == 1).await;
    for name in ["breached", "breaches_total"] {
        assert_eq!(metric(client, &sample(name)).await, "1");
    }

    // What cannot start needs no workers, and limits let no more run.
    client.put("/v1/limits/few", "{\"scope\":\"queue\",\"concurrency\":3}").await.expect(200);
    assert_eq!(metric(client, &sample("workers_needed")).await, "3");
    client.delete("/v1/limits/few").await.expect(204);
    client.put("/v1/queues/mail", "{\"paused\":true}").await.expect(200);
    let needed: f64 = metric(client, &sample("workers_needed")).await.parse().unwrap();
    assert!(needed < 10.0, "what waits in a paused queue needs none: {needed}");
}

/// Two thirds of what is leased comes from the queue with two thirds of the weight, while both have
/// enough. Of 600 draws the standard deviation is 12, and equal weights come to 300.
#[tokio::test(flavor = "multi_thread")]
async fn queues_share_leases_by_their_weights() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for queue in ["critical", "default"] {
        let jobs = vec![json!({"kind": queue}); 500];
        let bulk = json!({"jobs": jobs}).to_string();
        client.post(&format!("/v1/queues/{queue}/jobs"), &bulk).await.expect(202);
    }
    let ask = json!({"weights": {"critical": 6, "default": 3}, "max": 1, "worker": "w"});
    let mut critical = 0;
    for _ in 0..600 {
        let answer = client.post("/v1/lease", &ask.to_string()).await.expect(200);
        let jobs = answer["jobs"].as_array().unwrap();
        critical += u32::from(kinds(jobs) == ["critical"]);
    }
    assert!((350..=450).contains(&critical), "{critical} of 600");
    // Where one has nothing left, the other one gets every turn.
    client.put("/v1/queues/critical", "{\"paused\":true}").await.expect(200);
    for _ in 0..9 {
        let answer = client.post("/v1/lease", &ask.to_string()).await.expect(200);
        assert_eq!(kinds(answer["jobs"].as_array().unwrap()), ["default"]);
    }
    let both = json!({"weights": {"critical": 6}, "queues": ["default"]}).to_string();
    client.post("/v1/lease", &both).await.refused(400, "value_refused");
    let none = json!({"weights": {"critical": 0}}).to_string();
    client.post("/v1/lease", &none).await.refused(400, "value_refused");
}

/// A job is counted under what stands behind the text in the first tag that begins with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_limit_is_taken_from_tags() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    client.put("/v1/limits/api", "{\"scope\":\"key\",\"concurrency\":1}").await.expect(200);
    let limit = json!({"name": "api", "tag": "account="});
    let job = |kind: &str, tags: &[&str]| json!({"kind": kind, "tags": tags, "limit": limit});
    for (kind, tags) in [
        ("acme", &["x", "account=acme", "account=other"][..]),
        ("acme_again", &["account=acme"]),
        ("other", &["account=other"]),
        ("none", &["account"]),
        ("none_again", &[]),
        ("empty", &["account="]),
    ] {
        enqueue(client, "q", job(kind, tags)).await;
    }
    let jobs = lease(client, 9).await;
    assert_eq!(kinds(&jobs), ["acme", "other", "none"]);
    assert_eq!(client.get("/v1/limits/api").await.expect(200)["running"], 3);
    for (kind, key) in [("acme_again", "acme"), ("none_again", "-"), ("empty", "-")] {
        let listed = client.get(&format!("/v1/jobs?kind={kind}")).await.expect(200);
        let id = listed["jobs"][0]["id"].as_str().unwrap();
        let record = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
        let by = &record["blocked_by"][0];
        assert_eq!((&by["limit"], &by["key"]), (&json!("api"), &json!(key)), "{record}");
    }
    let ack = json!({"token": jobs[0]["token"]}).to_string();
    client
        .post(&format!("/v1/jobs/{}/ack", jobs[0]["id"].as_str().unwrap()), &ack)
        .await
        .expect(200);
    assert_eq!(kinds(&lease(client, 9).await), ["acme_again"], "its slot came back");
    let two = json!({"name": "api", "tag": "account=", "key": "x"});
    let wrong = json!({"kind": "k", "limit": two}).to_string();
    assert_eq!(client.post("/v1/queues/q/jobs", &wrong).await.status, 400);
}
