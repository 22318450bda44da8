//! Versions of kinds over HTTP: handed to workers that run them, told, and refused where they say
//! nothing.

use serde_json::{Value, json};

use crate::harness::{Client, Server};

async fn enqueue(client: &mut Client, version: Option<u32>) -> String {
    let body = json!({"kind": "invoice", "version": version}).to_string();
    let answer = client.post("/v1/queues/q/jobs", &body).await.expect(202);
    answer["id"].as_str().unwrap().to_owned()
}

/// The versions of the jobs that a worker gets, 0 for none.
async fn lease(client: &mut Client, mut wish: Value) -> Vec<u64> {
    wish["queues"] = json!(["q"]);
    wish["max"] = json!(9);
    let answer = client.post("/v1/lease", &wish.to_string()).await.expect(200);
    let jobs = answer["jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["version"].as_u64().unwrap_or(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_goes_to_the_workers_that_run_it() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let (old, new) = (enqueue(client, None).await, enqueue(client, Some(3)).await);
    enqueue(client, Some(1)).await;
    assert_eq!(lease(client, json!({"kinds": ["invoice"]})).await, [0]);
    let ranges = json!({"versions": [{"kind": "invoice", "from": 1, "to": 2}]});
    assert_eq!(lease(client, ranges).await, [1]);
    // What nobody runs says so; what somebody has does not.
    let job = client.get(&format!("/v1/jobs/{new}")).await.expect(200);
    let expected = json!([{"no_worker_for": "invoice", "version": 3}]);
    assert_eq!((&job["version"], &job["blocked_by"]), (&json!(3), &expected));
    let list = client.get("/v1/jobs?queue=q&state=ready").await.expect(200);
    assert_eq!(list["jobs"][0]["blocked_by"], expected);
    let job = client.get(&format!("/v1/jobs/{old}")).await.expect(200);
    assert_eq!((&job["version"], &job["blocked_by"]), (&Value::Null, &Value::Null));
    let kinds = client.get("/v1/kinds/invoice").await.expect(200);
    let told = kinds["kinds"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|it| [&it["version"], &it["waiting"], &it["running"]]).collect();
    assert_eq!(json!(told), json!([[null, 0, 1], [1, 0, 1], [3, 1, 0]]));
    assert_eq!(lease(client, json!({})).await, [3], "who names nothing runs everything");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_without_a_version_say_when_no_worker_runs_them_any_more() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    enqueue(client, Some(2)).await;
    let ranges = json!({"versions": [{"kind": "invoice", "from": 2, "to": 2}]});
    assert_eq!(lease(client, ranges).await, [2]);
    let old = enqueue(client, None).await;
    let job = client.get(&format!("/v1/jobs/{old}")).await.expect(200);
    assert_eq!(job["blocked_by"], json!([{"no_worker_for": "invoice"}]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_mean_nothing_are_refused() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let body = json!({"kind": "k", "version": 0}).to_string();
    let refused = client.post("/v1/queues/q/jobs", &body).await;
    assert_eq!(refused.refused(400, "value_refused")["field"], "version");
    let ranges = json!({"queues": ["q"], "versions": [{"kind": "k", "from": 2, "to": 1}]});
    client.post("/v1/lease", &ranges.to_string()).await.refused(400, "value_refused");
    client.put("/v1/queues/q", "{}").await.expect(200);
    let bind = json!({"queue": "q", "routing_key": "#", "job": {"kind": "k", "version": 0}});
    let refused = client.post("/v1/exchanges/amq.topic/bind", &bind.to_string()).await;
    assert_eq!(refused.refused(400, "value_refused")["field"], "job.version");
    server.stop().await;
}
