//! `Idempotency-Key`: a write that comes again is answered as the first was and does nothing.

use serde_json::json;

use crate::harness::{Answer, Client, Server};

async fn ask(client: &mut Client, method: &str, path: &str, key: &str, body: &str) -> Answer {
    client.ask(method, path, &[("idempotency-key", key)], body).await
}

async fn ready(client: &mut Client) -> u64 {
    client.get("/v1/queues/q").await.expect(200)["ready"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_enqueued_once_for_its_key_and_other_bodies_are_refused() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let (path, body) = ("/v1/queues/q/jobs", r#"{"kind":"k","args":{"n":1}}"#);
    let first = ask(client, "POST", path, "\"a\"", body).await;
    let id = first.expect(202)["id"].clone();
    assert_eq!(first.header("idempotent-replayed"), None);
    for key in ["\"a\"", "a"] {
        let again = ask(client, "POST", path, key, body).await;
        assert_eq!(again.expect(202)["id"], id);
        for name in ["location", "content-type"] {
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    let other = ask(client, "POST", path, "a", r#"{"kind":"k","args":{"n":2}}"#).await;
    other.refused(422, "idempotency_key_used");
    assert_eq!(ready(client).await, 1);
    // The same key elsewhere is another one.
    ask(client, "POST", "/v1/queues/r/jobs", "a", body).await.expect(202);
    client.put("/v1/namespaces/eu", "").await.expect(200);
    ask(client, "POST", "/v1/namespaces/eu/queues/q/jobs", "a", body).await.expect(202);
    let bulk = json!({"jobs": [{"kind": "k"}, {"kind": "k"}]}).to_string();
    let first = ask(client, "POST", path, "bulk", &bulk).await.expect(202);
    assert_eq!(ask(client, "POST", path, "bulk", &bulk).await.expect(202), first);
    assert_eq!(ready(client).await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_every_sort_are_told_again_as_they_were() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let job = client.post("/v1/queues/q/jobs", r#"{"kind":"k"}"#).await.expect(202);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    client.put("/v1/queues/m", r#"{"messages":{}}"#).await.expect(200);
    client.put("/v1/streams/s", "{}").await.expect(200);
    let schedule = r#"{"cron":"0 0 * * *","time_zone":"UTC","job":{"queue":"q","kind":"k"}}"#;
    let cases: &[(&str, &str, &str)] = &[
        ("PUT", "/v1/queues/q", r#"{"max_length":3000}"#),
        ("POST", "/v1/queues/q/pause", ""),
        ("POST", "/v1/queues/q/resume", ""),
        ("POST", &format!("{path}/pause"), ""),
        ("POST", &format!("{path}/resume"), ""),
        ("DELETE", &path, ""),
        ("PUT", "/v1/limits/l", r#"{"scope":"key","concurrency":3}"#),
        ("DELETE", "/v1/limits/l", ""),
        ("PUT", "/v1/kinds/k", r#"{"defaults":{"timeout":"5s"}}"#),
        ("PUT", "/v1/holds/shard=42", ""),
        ("DELETE", "/v1/holds/shard=42", ""),
        ("PUT", "/v1/gates/g", "{}"),
        ("DELETE", "/v1/gates/g", ""),
        ("PUT", "/v1/schedules/s", schedule),
        ("POST", "/v1/schedules/s/run", ""),
        ("DELETE", "/v1/schedules/s", ""),
        ("PUT", "/v1/exchanges/e", r#"{"type":"fanout"}"#),
        ("POST", "/v1/exchanges/e/bind", r#"{"queue":"m"}"#),
        ("POST", "/v1/exchanges/e/publish", r#"{"body":1}"#),
        ("POST", "/v1/queues/m/publish", r#"{"body":1}"#),
        ("POST", "/v1/transactions", r#"{"publish":[{"queue":"m","message":{"body":2}}]}"#),
        ("POST", "/v1/streams/s/events", r#"{"value":"x"}"#),
        ("POST", "/v1/queues/q/purge", "{}"),
        ("PUT", "/v1/namespaces/eu", ""),
        ("DELETE", "/v1/namespaces/eu", ""),
        ("DELETE", "/v1/streams/s", ""),
        ("DELETE", "/v1/queues/m?force=true", ""),
    ];
    for (number, (method, path, body)) in cases.iter().enumerate() {
        let key = format!("key-{number}");
        let first = ask(client, method, path, &key, body).await;
        let shown = String::from_utf8_lossy(&first.body).into_owned();
        assert!(first.status < 300, "{method} {path}: {} {shown}", first.status);
        let again = ask(client, method, path, &key, body).await;
        assert_eq!(again.status, first.status, "{method} {path}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{method} {path}");
        assert_eq!(String::from_utf8_lossy(&again.body), shown, "{method} {path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_cannot_be_kept_it_is_refused_and_what_failed_may_come_again() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let path = "/v1/queues/q/jobs";
    for (method, path, body) in [
        ("POST", "/v1/lease", r#"{"queues":["q"]}"#),
        ("PUT", "/v1/streams/s", "{}"),
        ("PUT", "/v1/queues/m", r#"{"messages":{}}"#),
        ("PUT", "/v1/holds/t?wait=1s", ""),
        ("POST", "/v1/backups", "{}"),
        ("POST", "/v1/streams/s/replay", r#"{"queue":"q","kind":"k"}"#),
        ("POST", "/v1/streams/s/replay", r#"{"queue":"q","from":"2026-01-01T00:00:00Z"}"#),
    ] {
        ask(client, method, path, "a", body).await.refused(400, "idempotency_unsupported");
    }
    for odd in ["a b", "\"", &"x".repeat(256)] {
        ask(client, "POST", path, odd, r#"{"kind":"k"}"#).await.refused(400, "value_refused");
    }
    let jobs = vec![json!({"kind": "k"}); 2000];
    let bulk = json!({"jobs": jobs}).to_string();
    ask(client, "POST", path, "a", &bulk).await.refused(413, "body_too_large");
    client.post(path, &bulk).await.expect(202);
    // What is refused is not kept.
    let limited = r#"{"kind":"k","priority":-1}"#;
    ask(client, "POST", path, "b", limited).await.refused(400, "value_refused");
    ask(client, "DELETE", "/v1/limits/l", "b", "").await.refused(404, "limit_unknown");
    client.put("/v1/limits/l", r#"{"scope":"key","concurrency":3}"#).await.expect(200);
    ask(client, "DELETE", "/v1/limits/l", "b", "").await.expect(204);
    ask(client, "POST", path, "b", r#"{"kind":"k"}"#).await.expect(202);
    // While one is under way, another with its key is told so.
    let other = &mut server.client().await;
    let more = [("idempotency-key", "c"), ("prefer", "wait=20")];
    other
        .send(&crate::harness::request("POST", "/v1/queues/w/jobs", &more, r#"{"kind":"w"}"#))
        .await;
    let leased = r#"{"queues":["w"],"wait":"20s"}"#;
    let leased = client.post("/v1/lease", leased).await.expect(200);
    let again = ask(client, "POST", "/v1/queues/w/jobs", "c", r#"{"kind":"w"}"#).await;
    again.refused(409, "idempotency_in_progress");
    assert!(again.header("retry-after").is_some());
    let (id, token) = (&leased["jobs"][0]["id"], &leased["jobs"][0]["token"]);
    let ack = format!("/v1/jobs/{}/ack", id.as_str().unwrap());
    client.post(&ack, &json!({"token": token}).to_string()).await.expect(200);
    other.answer().await.expect(200);
    let again = ask(client, "POST", "/v1/queues/w/jobs", "c", r#"{"kind":"w"}"#).await;
    assert_eq!(&again.expect(202)["id"], id);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_took_may_come_again_with_its_key() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let (path, body) = ("/v1/queues/later/publish", r#"{"body":1}"#);
    ask(client, "POST", path, "a", body).await.refused(404, "queue_unknown");
    client.put("/v1/queues/later", r#"{"messages":{}}"#).await.expect(200);
    let first = ask(client, "POST", path, "a", body).await;
    assert!(first.status < 300, "{}", first.status);
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(
        ask(client, "POST", path, "a", body).await.header("idempotent-replayed"),
        Some("true")
    );
    server.stop().await;
}
