//! Bad requests: each gets its problem document, and the server goes on.

use serde_json::json;

use crate::harness::{Server, request};

/// What nobody who writes JSON knows.
const RUSTS_WORDS: &[&str] =
    &["usize", "u8", "u32", "u64", "i64", "f64", "sequence", "map", "struct", "unit", "newtype"];
const UUID: &str = "018bcfe5-6800-7a00-8abc-def012345678";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn every_bad_request_is_told_what_is_wrong() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let jobs = "/v1/queues/q/jobs";
    let ack = &*format!("/v1/jobs/{UUID}/ack");
    let long = "x".repeat(300);
    let long_queue = &*format!("/v1/queues/{long}/jobs");
    let long_kind = &*json!({"kind": long}).to_string();
    let nested = format!("{{\"kind\":\"k\",\"args\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let cases: &[(&str, &str, &str, u16, &str, &str)] = &[
        ("POST", jobs, "", 400, "body_missing", "the body"),
        ("POST", jobs, "{", 400, "body_malformed", "the body"),
        ("POST", jobs, "{\"kind\":\"k\"}}", 400, "body_malformed", "the body"),
        ("POST", jobs, "[]", 400, "value_refused", "the body"),
        ("POST", jobs, "{}", 400, "field_missing", "kind"),
        ("POST", jobs, "{\"kind\":\"\"}", 400, "value_refused", "kind"),
        ("POST", jobs, "{\"kind\":\"a\\u0000b\"}", 400, "value_refused", "kind"),
        ("POST", jobs, long_kind, 400, "value_refused", "kind"),
        ("POST", jobs, "{\"kind\":\"k\",\"kind\":\"k\"}", 400, "field_repeated", "kind"),
        ("POST", jobs, "{\"kind\":\"k\",\"que\":1}", 400, "field_unknown", "que"),
        ("POST", jobs, &nested, 400, "body_too_deep", "args"),
        ("POST", jobs, "{\"kind\":\"k\",\"delay\":\"5 parsecs\"}", 400, "value_refused", "delay"),
        ("POST", jobs, "{\"kind\":\"k\",\"delay\":\"99999999d\"}", 400, "value_refused", "delay"),
        ("POST", jobs, "{\"kind\":\"k\",\"run_at\":\"soon\"}", 400, "value_refused", "run_at"),
        (
            "POST",
            jobs,
            "{\"kind\":\"k\",\"run_at\":\"9999-12-31T23:59:59Z\"}",
            400,
            "value_refused",
            "run_at",
        ),
        ("POST", jobs, "{\"kind\":\"k\",\"id\":\"me\"}", 400, "value_refused", "id"),
        ("POST", jobs, "{\"kind\":\"k\",\"max_attempts\":0}", 400, "value_refused", "max_attempts"),
        ("POST", jobs, "{\"kind\":\"k\",\"lease\":\"1ms\"}", 400, "value_refused", "lease"),
        ("POST", jobs, "{\"jobs\":[]}", 400, "value_refused", "jobs"),
        ("POST", jobs, "{\"jobs\":[{}]}", 400, "jobs_refused", "jobs[0].kind"),
        ("POST", "/v1/queues/a*/jobs", "{\"kind\":\"k\"}", 400, "value_refused", "queue"),
        ("POST", "/v1/queues/%00/jobs", "{\"kind\":\"k\"}", 400, "value_refused", "queue"),
        ("POST", "/v1/queues/%2E%2E/jobs", "{\"kind\":\"k\"}", 400, "value_refused", "queue"),
        ("POST", "/v1/queues/%ff/jobs", "{\"kind\":\"k\"}", 400, "value_refused", "the path"),
        ("POST", long_queue, "{\"kind\":\"k\"}", 400, "value_refused", "queue"),
        ("POST", "/v1/queues//jobs", "{\"kind\":\"k\"}", 404, "route_unknown", ""),
        ("POST", "/v1/queues/a/b/jobs", "{\"kind\":\"k\"}", 404, "route_unknown", ""),
        ("POST", "/v1/queues/q/jobs?wait=1s", "{\"kind\":\"k\"}", 400, "parameter_unknown", "wait"),
        ("PATCH", jobs, "{}", 405, "method_refused", ""),
        (
            "POST",
            "/v1/namespaces/no/queues/q/jobs",
            "{\"kind\":\"k\"}",
            404,
            "namespace_unknown",
            "namespace",
        ),
        ("POST", "/v1/lease", "{}", 400, "field_missing", "queues"),
        ("POST", "/v1/lease", "{\"queues\":[\"q\"],\"max\":100000}", 400, "value_refused", "max"),
        ("POST", "/v1/lease", "{\"queues\":[\"q\"],\"wait\":\"5h\"}", 400, "value_refused", "wait"),
        (
            "POST",
            "/v1/lease",
            "{\"queues\":[\"q\"],\"lease\":\"1000d\"}",
            400,
            "value_refused",
            "lease",
        ),
        ("POST", ack, "{\"token\":\"x\"}", 400, "value_refused", "token"),
        ("POST", ack, "{\"token\":\"1.1\"}", 404, "job_unknown", "id"),
        (
            "POST",
            ack,
            "{\"token\":\"1.1\",\"location\":\"a\\nb\"}",
            400,
            "value_refused",
            "location",
        ),
        ("POST", "/v1/jobs/7/ack", "{\"token\":\"1.1\"}", 400, "value_refused", "id"),
        ("GET", "/v1/status/x", "", 400, "value_refused", "id"),
        ("GET", &format!("/v1/status/{UUID}"), "", 410, "job_gone", "id"),
        ("GET", "/v1/status/11111111-2222-4333-8444-555555555555", "", 404, "job_unknown", "id"),
        ("GET", &format!("/v1/status/{UUID}?wait=2h"), "", 400, "value_refused", "wait"),
        ("GET", "/v1/jobs?state=lost", "", 400, "value_refused", "state"),
        ("GET", "/v1/jobs?limit=0", "", 400, "value_refused", "limit"),
        ("GET", "/v1/jobs?cursor=abc", "", 400, "value_refused", "cursor"),
        (
            "PUT",
            "/v1/queues/q",
            "{\"defaults\":{\"priority\":10}}",
            400,
            "value_refused",
            "defaults.priority",
        ),
        ("PUT", "/v1/queues/q", "{\"max_len\":10}", 400, "field_unknown", "max_len"),
        ("POST", "/v1/queues/none/purge", "", 404, "queue_unknown", "queue"),
        ("POST", "/v1/queues/q/purge", "{\"older_than\":5}", 400, "value_refused", "older_than"),
        ("POST", "/v1/queues/q/pause", "x", 400, "body_malformed", "the body"),
        ("POST", "/v1/queues/q/resume", "{\"force\":true}", 400, "field_unknown", "force"),
        ("POST", &format!("/v1/jobs/{UUID}/pause"), "[]", 400, "value_refused", "the body"),
        ("PUT", "/v1/namespaces/n", "{\"shards\":3}", 400, "field_unknown", "shards"),
        ("DELETE", "/v1/namespaces/n", "7", 400, "value_refused", "the body"),
        ("DELETE", "/v1/queues/q", "{\"force\":true}", 400, "field_unknown", "force"),
        ("DELETE", &format!("/v1/jobs/{UUID}"), "{", 400, "body_malformed", "the body"),
        ("DELETE", "/v1/operations/1", "null", 400, "value_refused", "the body"),
        ("GET", "/v1/operations/7", "", 404, "operation_unknown", "id"),
        ("GET", "/v1/operations/x", "", 400, "value_refused", "id"),
        ("GET", "/", "", 404, "route_unknown", ""),
    ];
    for (method, path, body, status, code, field) in cases {
        let answer = client.ask(method, path, &[], body).await;
        assert_eq!(answer.status, *status, "{method} {path} {body}: {}", answer.json());
        let problem = answer.refused(*status, code);
        let named = problem["field"].as_str().unwrap_or_default();
        assert_eq!(named, *field, "{method} {path} {body}: {problem}");
        for word in RUSTS_WORDS {
            let told = [&problem["detail"], &problem["value"], &problem["allowed"]];
            let told = told.map(|it| it.as_str().unwrap_or_default().to_owned()).join(" ");
            let mut words = told.split(|it: char| !it.is_alphanumeric());
            assert!(!words.any(|it| it == *word), "{word} in {problem}");
        }
    }
    assert_eq!(client.get("/v1/queues").await.expect(200)["queues"], json!([]), "nothing happened");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_are_refused() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let mut bytes = request("POST", "/v1/queues/q/jobs", &[], "{\"kind\":\"k\",\"args\":\"?\"}");
    let at = bytes.iter().rposition(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    client.send(&bytes).await;
    client.answer().await.refused(400, "body_not_utf8");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_are_kept_out() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let (path, body) = ("/v1/queues/q/jobs", "{\"kind\":\"k\"}");
    for (header, status, code) in [
        (("host", "evil.example"), 403, "host_refused"),
        (("origin", "http://evil.example"), 403, "origin_refused"),
        (("origin", "null"), 403, "origin_refused"),
        (("sec-fetch-site", "cross-site"), 403, "origin_refused"),
        (("content-type", "text/plain"), 415, "media_type_refused"),
        (("content-type", ""), 415, "media_type_refused"),
        (("content-type", "application/x-www-form-urlencoded"), 415, "media_type_refused"),
    ] {
        client.ask("POST", path, &[header], body).await.refused(status, code);
    }
    let own = [("host", "127.0.0.1:7077"), ("origin", "http://127.0.0.1:7077")];
    client.ask("POST", path, &own, body).await.expect(202);
    let charset = [("content-type", "application/json; charset=utf-8")];
    client.ask("POST", path, &charset, body).await.expect(202);
    client
        .ask("GET", "/metrics", &[("host", "evil.example")], "")
        .await
        .refused(403, "host_refused");
    let asked = client.ask("OPTIONS", path, &[], "").await;
    assert_eq!(asked.header("allow"), Some("POST"));
    assert_eq!(asked.header("access-control-allow-origin"), None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_whether_announced_or_not() {
    let server = Server::start_with(|config| config.http.body_bytes_max = 10_000).await;
    let big = json!({"kind": "k", "args": "x".repeat(20_000)}).to_string();
    let mut client = server.client().await;
    let answer = client.post("/v1/queues/q/jobs", &big).await;
    answer.refused(413, "body_too_large");
    assert_eq!(answer.header("connection"), Some("close"));
    let mut client = server.client().await;
    let head = "POST /v1/queues/q/jobs HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{big}\r\n0\r\n\r\n", big.len());
    client.send(chunked.as_bytes()).await;
    client.answer().await.refused(413, "body_too_large");
    let mut client = server.client().await;
    let small = "{\"kind\":\"k\"}";
    let (first, second) = small.split_at(5);
    let chunked = format!("{head}5\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
    client.send(chunked.as_bytes()).await;
    client.answer().await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bulk_is_taken_whole() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let jobs: Vec<_> =
        (0..10_000).map(|n| json!({"kind": "k", "args": [n, "x".repeat(200)]})).collect();
    let body = json!({"jobs": jobs}).to_string();
    let accepted = client.post("/v1/queues/q/jobs", &body).await.expect(202);
    assert_eq!(accepted["ids"].as_array().unwrap().len(), 10_000);
    let lease = "{\"queues\":[\"q\"],\"max\":1000,\"worker\":\"w\"}";
    let leased = client.post("/v1/lease", lease).await.expect(200);
    assert_eq!(leased["jobs"].as_array().unwrap().len(), 1000);
    assert_eq!(leased["jobs"][7]["args"][0], 7, "in the order of the request");
    let mut more = jobs;
    more.push(json!({"kind": "k"}));
    let refused = client.post("/v1/queues/q/jobs", &json!({"jobs": more}).to_string()).await;
    assert_eq!(refused.refused(400, "value_refused")["field"], "jobs");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_disk_refuses_jobs_but_not_their_settlement() {
    let server = Server::start_with(|config| {
        config.node.disk.refuse_bytes = Some(u64::MAX);
        config.node.disk.settle_only_bytes = Some(0);
    })
    .await;
    let client = &mut server.client().await;
    let refused = client.post("/v1/queues/q/jobs", "{\"kind\":\"k\"}").await;
    assert_eq!(refused.header("retry-after"), Some("15"));
    refused.refused(503, "disk_low");
    client.put("/v1/queues/q", "{}").await.expect(200);
    let ack = client.post(&format!("/v1/jobs/{UUID}/ack"), "{\"token\":\"1.1\"}").await;
    ack.refused(404, "job_unknown");
    let lease = client.post("/v1/lease", "{\"queues\":[\"q\"]}").await.expect(200);
    assert_eq!(lease["jobs"], json!([]));
    server.stop().await;
}
