//! Acks of messages, publishes and jobs in one commit: as over HTTP.

use bytes::Bytes;
use longshore_proto::v1;
use longshore_proto::v1::message_publish::To;
use longshore_proto::v1::redrive_request::To as RedriveTo;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::Server;

async fn http(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    server.ask_http((method, path), "unasked", &body.to_string()).await
}

fn publish(to: To, body: &str) -> v1::MessagePublish {
    let message = v1::NewMessage {
        body: Bytes::copy_from_slice(body.as_bytes()),
        headers: Bytes::from_static(b"{\"n\": 7}"),
        r#type: "told".into(),
        priority: Some(3),
        ..Default::default()
    };
    v1::MessagePublish { to: Some(to), message: Some(message) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_one_commit_or_nothing() {
    let server = Server::start().await;
    for queue in ["in", "out"] {
        let path = format!("/v1/queues/{queue}");
        http(&server, "PUT", &path, &json!({"messages": {}})).await;
    }
    http(&server, "POST", "/v1/queues/in/publish", &json!({"body": "first"})).await;
    let taken = http(&server, "POST", "/v1/queues/in/consume", &json!({})).await;
    let message = &taken["messages"][0];
    let text = |name: &str| message[name].as_str().unwrap().to_owned();
    let settle = v1::MessageSettlement {
        queue: "in".into(),
        id: text("id"),
        token: text("token"),
        ..Default::default()
    };
    let job = v1::NewJob { queue: "bills".into(), kind: "bill".into(), ..Default::default() };
    let request = v1::TransactRequest {
        settle: vec![settle.clone()],
        publish: vec![publish(To::Queue("out".into()), "second")],
        enqueue: vec![job],
        ..Default::default()
    };
    let mut messages = server.messages().await;
    let nowhere = publish(To::Queue("nowhere".into()), "third");
    let refused = v1::TransactRequest {
        publish: vec![publish(To::Queue("out".into()), "second"), nowhere],
        ..request.clone()
    };
    assert_eq!(messages.transact(refused).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(server.http("GET", "/v1/queues/out/messages").await.1["messages"], json!([]));

    let came = messages.transact(request.clone()).await.unwrap().into_inner();
    assert_eq!((came.published.len(), came.published[0].queues), (1, 1));
    assert_eq!((came.enqueued.len(), came.enqueued[0].replayed), (1, false));
    let status = server.http("GET", &format!("/v1/status/{}", came.enqueued[0].id)).await;
    assert_eq!(status.0, 200);
    let out = server.http("GET", "/v1/queues/out/messages").await.1;
    let told = &out["messages"][0];
    assert_eq!((&told["body"], &told["headers"]), (&json!("second"), &json!({"n": 7})));
    assert_eq!((&told["type"], &told["priority"]), (&json!("told"), &json!(3)));
    let left = server.http("GET", "/v1/queues/in/messages").await.1;
    assert_eq!(left["messages"], json!([]), "it is acked");

    // The message is settled by now, so nothing of it happens again.
    assert_eq!(messages.transact(request).await.unwrap_err().code(), Code::FailedPrecondition);
    let nothing = messages.transact(v1::TransactRequest::default()).await;
    assert_eq!(nothing.unwrap_err().code(), Code::InvalidArgument);
    let odd = v1::MessageSettlement { verdict: "drop".into(), ..settle };
    let odd = v1::TransactRequest { settle: vec![odd], ..Default::default() };
    assert_eq!(messages.transact(odd).await.unwrap_err().code(), Code::InvalidArgument);
    let malformed = v1::NewMessage { headers: Bytes::from_static(b"[]"), ..Default::default() };
    let to = Some(To::Exchange("amq.topic".into()));
    let malformed = v1::MessagePublish { to, message: Some(malformed) };
    let malformed = v1::TransactRequest { publish: vec![malformed], ..Default::default() };
    assert_eq!(messages.transact(malformed).await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_moved_counted_and_refused_as_over_http() {
    let server = Server::start().await;
    for queue in ["in", "out"] {
        let path = format!("/v1/queues/{queue}");
        http(&server, "PUT", &path, &json!({"messages": {}})).await;
    }
    for n in 0..4 {
        let message = json!({"body": format!("m{n}"), "headers": {"even": n % 2 == 0}});
        http(&server, "POST", "/v1/queues/in/publish", &message).await;
    }
    let mut messages = server.messages().await;
    let headers = Bytes::from_static(b"{\"even\": true}");
    let request = v1::RedriveRequest {
        queue: "in".into(),
        to: Some(RedriveTo::ToQueue("out".into())),
        filter: Some(v1::MessageFilter { headers, ..Default::default() }),
        ..Default::default()
    };
    let counted = v1::RedriveRequest { dry_run: true, ..request.clone() };
    let counted = messages.redrive(counted).await.unwrap().into_inner();
    assert_eq!((counted.id, counted.state.as_str(), counted.changed), (None, "dry_run", 2));
    let started = messages.redrive(request.clone()).await.unwrap().into_inner();
    assert_eq!(started.operation, "move_messages");
    let id = started.id.unwrap();
    let mut admin = server.admin().await;
    let done = loop {
        let request = v1::OperationRequest { id, ..Default::default() };
        let now = admin.get_operation(request).await.unwrap().into_inner();
        if now.state != "running" {
            break now;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((done.state.as_str(), done.changed), ("finished", 2));
    let bodies = |told: &Value| -> Vec<String> {
        let all = told["messages"].as_array().unwrap().iter();
        all.map(|it| it["body"].as_str().unwrap().to_owned()).collect()
    };
    let there = server.http("GET", "/v1/queues/out/messages").await.1;
    assert_eq!(bodies(&there), ["m0", "m2"]);

    let to = v1::RedriveExchange { exchange: "nowhere".into(), routing_key: None };
    let nowhere = Some(RedriveTo::ToExchange(to));
    let nowhere = v1::RedriveRequest { to: nowhere, ..request.clone() };
    assert_eq!(messages.redrive(nowhere).await.unwrap_err().code(), Code::NotFound);
    let itself = Some(RedriveTo::ToQueue("in".into()));
    for odd in [
        v1::RedriveRequest { to: itself, ..request.clone() },
        v1::RedriveRequest { limit: Some(0), ..request.clone() },
        v1::RedriveRequest { queue: String::new(), ..request.clone() },
        v1::RedriveRequest {
            filter: Some(v1::MessageFilter { reason: Some("odd".into()), ..Default::default() }),
            ..request
        },
    ] {
        assert_eq!(messages.redrive(odd).await.unwrap_err().code(), Code::InvalidArgument);
    }
    server.stop().await;
}
