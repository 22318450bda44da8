//! Gates and holds over HTTP: turned, told, waited for, and shown with what they hold back.

use serde_json::{Value, json};

use crate::harness::{Client, Server};

async fn enqueue(client: &mut Client, body: &str) -> String {
    let answer = client.post("/v1/queues/q/jobs", body).await.expect(202);
    answer["id"].as_str().unwrap().to_owned()
}

async fn lease(client: &mut Client) -> Vec<Value> {
    let body = json!({"queues": ["q"], "max": 9}).to_string();
    let answer = client.post("/v1/lease", &body).await.expect(200);
    answer["jobs"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_put_closed_opened_and_removed() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    client.get("/v1/gates/bank").await.refused(404, "gate_unknown");
    let put = client.put("/v1/gates/bank", "{\"kinds\":[\"Refund\",\"Charge\",\"Charge\"]}").await;
    let put = put.expect(200);
    assert_eq!((&put["closed"], &put["kinds"]), (&json!(false), &json!(["Charge", "Refund"])));
    let close = "{\"reason\":\"it is down\",\"expires_in\":\"30m\"}";
    let closed = client.post("/v1/gates/bank/close", close).await.expect(200);
    assert_eq!((&closed["closed"], &closed["reason"]), (&json!(true), &json!("it is down")));
    assert_eq!(closed["kinds"], put["kinds"], "what depends on it stays");
    let id = enqueue(client, "{\"kind\":\"k\",\"gates\":[\"bank\"]}").await;
    enqueue(client, "{\"kind\":\"Charge\"}").await;
    assert!(lease(client).await.is_empty());
    let job = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    let by = &job["blocked_by"][0];
    assert_eq!((&by["gate"], &by["reason"]), (&json!("bank"), &json!("it is down")));
    assert_eq!((&by["expires_at"], &job["gates"]), (&closed["expires_at"], &json!(["bank"])));
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("longshore_gates_")).collect();
    assert!(lines.iter().any(|line| line.ends_with(" 1")), "{lines:?}");
    let opened = client.post("/v1/gates/bank/open", "").await.expect(200);
    assert_eq!((&opened["closed"], &opened["reason"]), (&json!(false), &Value::Null));
    assert_eq!(lease(client).await.len(), 2);
    assert_eq!(client.get("/v1/gates").await.expect(200)["gates"][0]["running"], 2);
    for (body, field) in [
        (json!({"reason": "why"}), "closed"),
        (json!({"closed": true, "expires_in": "0s"}), "expires_at"),
        (json!({"queues": [""]}), "queues[0]"),
        (json!({"closed": true, "expires_in": "1s", "expires_at": "2030-01-01T00:00:00Z"}), ""),
    ] {
        let refused = client.put("/v1/gates/new", &body.to_string()).await;
        let problem = refused.refused(400, "value_refused");
        assert!(field.is_empty() || problem["field"] == field, "{problem}");
    }
    client.delete("/v1/gates/bank").await.expect(204);
    assert_eq!(client.get("/v1/gates").await.expect(200), json!({"gates": []}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_answered_when_nothing_runs_with_its_tag() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    client.get("/v1/holds/shard=42").await.refused(404, "hold_unknown");
    enqueue(client, "{\"kind\":\"k\",\"tags\":[\"shard=42\"]}").await;
    let job = lease(client).await.remove(0);
    let put = client.put("/v1/holds/shard=42", "{\"reason\":\"it moves\"}").await.expect(200);
    assert_eq!(
        (&put["epoch"], &put["quiet"], &put["running"]),
        (&json!(1), &json!(false), &json!(1))
    );
    assert_eq!(put["runs"][0]["token"], job["token"]);
    let later = enqueue(client, "{\"kind\":\"k\",\"tags\":[\"shard=42\"]}").await;
    let shown = client.get(&format!("/v1/jobs/{later}")).await.expect(200);
    let by = json!({"hold": "shard=42", "epoch": 1, "reason": "it moves"});
    assert_eq!(shown["blocked_by"], json!([by]));
    let (id, token) = (job["id"].as_str().unwrap(), &job["token"]);
    let beat = json!({"token": token}).to_string();
    let told = client.post(&format!("/v1/jobs/{id}/heartbeat"), &beat).await.expect(200);
    assert_eq!((&told["instruction"], &told["reason"]), (&json!("interrupt"), &json!("hold")));
    let other = &mut server.client().await;
    let waited = async { other.get("/v1/holds/shard=42?wait=60s").await.expect(200) };
    let interrupt = json!({"token": token, "reason": "hold"}).to_string();
    let settled = async {
        client.post(&format!("/v1/jobs/{id}/interrupt"), &interrupt).await.expect(200);
    };
    let (quiet, ()) = tokio::join!(waited, settled);
    assert_eq!((&quiet["quiet"], &quiet["unaccounted_total"]), (&json!(true), &json!(0)));
    assert!(lease(client).await.is_empty());
    assert_eq!(client.get("/v1/holds").await.expect(200)["holds"][0]["tag"], "shard=42");
    client.delete("/v1/holds/shard=42").await.expect(204);
    let mut jobs = Vec::new();
    while jobs.len() < 2 {
        let body = json!({"queues": ["q"], "max": 9, "wait": "10s"}).to_string();
        let answer = client.post("/v1/lease", &body).await.expect(200);
        jobs.extend(answer["jobs"].as_array().unwrap().clone());
    }
    server.stop().await;
}
