//! Exchanges, bindings and messages.

use serde_json::json;

use crate::harness::{Client, Server};

async fn publish(client: &mut Client, path: &str, body: serde_json::Value) -> serde_json::Value {
    client.post(&format!("{path}/publish"), &body.to_string()).await.expect(200)
}

async fn queue(client: &mut Client, name: &str) {
    let put = client.put(&format!("/v1/queues/{name}"), "{\"messages\":{}}").await.expect(200);
    assert_eq!(put["type"], "messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_routed_looked_at_taken_and_settled() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    queue(client, "mail").await;
    queue(client, "audit").await;
    let exchange = client.put("/v1/exchanges/orders", "{\"type\":\"topic\"}").await.expect(200);
    assert_eq!(exchange["settings"]["durable"], true);
    for (queue, key) in [("mail", "eu.*"), ("audit", "#")] {
        let binding = json!({"queue": queue, "routing_key": key}).to_string();
        let bound = client.post("/v1/exchanges/orders/bind", &binding).await.expect(200);
        assert_eq!(bound["changed"], true);
        let again = client.post("/v1/exchanges/orders/bind", &binding).await.expect(200);
        assert_eq!(again["changed"], false);
    }
    let bindings = client.get("/v1/bindings?exchange=orders").await.expect(200);
    assert_eq!(bindings["bindings"].as_array().unwrap().len(), 2);

    let message = json!({"routing_key": "eu.paid", "body": "order 7", "headers": {"n": 7}});
    assert_eq!(publish(client, "/v1/exchanges/orders", message).await["queues"], 2);
    let nobody = publish(client, "/v1/queues/mail", json!({"body_base64": "//4="})).await;
    assert_eq!(nobody["queues"], 1);

    let peeked = client.get("/v1/queues/mail/messages?limit=1").await.expect(200);
    assert_eq!(peeked["messages"][0]["body"], "order 7");
    let next = peeked["next"].as_str().unwrap();
    let peeked = client.get(&format!("/v1/queues/mail/messages?cursor={next}")).await.expect(200);
    assert_eq!(
        (&peeked["messages"][0]["body_base64"], &peeked["next"]),
        (&json!("//4="), &json!(null))
    );

    let taken = client.post("/v1/queues/mail/consume", "{\"max\":5}").await.expect(200);
    let messages = taken["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["headers"]), (2, &json!({"n": 7})));
    assert_eq!(
        (&messages[0]["exchange"], &messages[0]["redelivered"]),
        (&json!("orders"), &json!(false))
    );
    let of = |index: usize, verdict| {
        let message = &messages[index];
        json!({"id": message["id"], "token": message["token"], "verdict": verdict})
    };
    let body = json!({"messages": [of(0, "requeue"), of(1, "ack"), of(1, "ack")]}).to_string();
    let settled = client.post("/v1/queues/mail/settle", &body).await.expect(200);
    assert_eq!(settled["settled"][0]["error"], json!(null));
    assert_eq!(settled["settled"][2]["error"]["code"], "message_unknown");
    let record = client.get("/v1/queues/mail").await.expect(200);
    assert_eq!(
        (&record["messages"]["ready"], &record["messages"]["acked_total"]),
        (&json!(1), &json!(1))
    );

    let body = json!({"auto_ack": true}).to_string();
    let again = client.post("/v1/queues/mail/consume", &body).await.expect(200);
    assert_eq!(
        (&again["messages"][0]["redelivered"], &again["messages"][0]["returns"]),
        (&json!(true), &json!(1))
    );
    client.delete("/v1/queues/audit").await.refused(409, "queue_not_empty");
    let removed = client.delete("/v1/queues/audit/messages").await.expect(200);
    assert_eq!(removed["removed"], 1);
    assert_eq!(client.delete("/v1/queues/mail").await.status, 204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_messages_waits_and_a_lease_can_be_extended() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    queue(client, "q").await;
    let mut other = server.client().await;
    let waits = tokio::spawn(async move {
        other.post("/v1/queues/q/consume", "{\"wait\":\"20s\"}").await.expect(200)
    });
    publish(client, "/v1/queues/q", json!({"body": {"a": [1]}})).await;
    let message = waits.await.unwrap()["messages"][0].clone();
    assert_eq!(
        (&message["body"], &message["content_type"]),
        (&json!("{\"a\":[1]}"), &json!("application/json"))
    );
    let taken = json!({"id": message["id"], "token": message["token"]});
    let body = json!({"messages": [taken], "lease": "5m"}).to_string();
    let extended = client.post("/v1/queues/q/extend", &body).await.expect(200);
    assert_eq!(extended["settled"][0]["error"], json!(null));
    let forced = client.delete("/v1/queues/q?force=true").await;
    assert_eq!(forced.status, 204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_by_name() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    queue(client, "m").await;
    client.post("/v1/queues/m/jobs", "{\"kind\":\"k\"}").await.refused(409, "queue_type_refused");
    client.put("/v1/queues/m", "{}").await.refused(409, "queue_type_refused");
    let other = "{\"messages\":{\"delivery_limit\":3}}";
    client.put("/v1/queues/m", other).await.refused(409, "declared_otherwise");
    client
        .put("/v1/queues/m", "{\"messages\":{},\"paused\":true}")
        .await
        .refused(400, "value_refused");
    client.post("/v1/queues/j/jobs", "{\"kind\":\"k\"}").await.expect(202);
    client
        .post("/v1/queues/j/publish", "{\"body\":\"x\"}")
        .await
        .refused(409, "queue_type_refused");
    client.post("/v1/queues/j/consume", "{}").await.refused(409, "queue_type_refused");
    client.get("/v1/queues/j/messages").await.refused(409, "queue_type_refused");
    client.post("/v1/queues/none/publish", "{}").await.refused(404, "queue_unknown");
    client.post("/v1/exchanges/none/publish", "{}").await.refused(404, "exchange_unknown");
    client.put("/v1/exchanges/amq.x", "{\"type\":\"topic\"}").await.refused(403, "name_reserved");
    let twice = json!({"body": "x", "body_base64": "eA=="}).to_string();
    client.post("/v1/queues/m/publish", &twice).await.refused(400, "field_repeated");
    let list = json!({"headers": {"l": []}}).to_string();
    client.post("/v1/queues/m/publish", &list).await.refused(400, "value_refused");
    let bulk = json!({"messages": [{"body": "a"}, {"body": "b"}]}).to_string();
    let published = client.post("/v1/queues/m/publish", &bulk).await.expect(200);
    assert_eq!(published["published"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_later_are_spread_and_queues_end_that_nobody_uses() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let settings = json!({"messages": {
        "expires": "1h", "max_length": 1, "overflow": "reject-publish-dlx",
        "dead_letter_exchange": "", "dead_letter_routing_key": "graves",
    }});
    let put = client.put("/v1/queues/short", &settings.to_string()).await.expect(200);
    assert_eq!(
        (&put["settings"]["messages"]["expires"], &put["settings"]["messages"]["overflow"]),
        (&json!("1h"), &json!("reject-publish-dlx")),
        "{put}"
    );
    queue(client, "graves").await;
    publish(client, "/v1/queues/short", json!({"body": "one"})).await;
    let two = json!({"body": "two"}).to_string();
    client.post("/v1/queues/short/publish", &two).await.refused(429, "queue_full");
    let letters = client.post("/v1/queues/graves/consume", "{}").await.expect(200);
    assert_eq!(letters["messages"][0]["body"], "two");
    assert_eq!(letters["messages"][0]["deaths"][0]["reason"], "maxlen");

    let spread = client.put("/v1/exchanges/spread", "{\"type\":\"consistent-hash\"}").await;
    assert_eq!(spread.expect(200)["settings"]["type"], "consistent-hash");
    let binding = |weight| json!({"queue": "graves", "routing_key": weight}).to_string();
    let heavy = client.post("/v1/exchanges/spread/bind", &binding("heavy")).await;
    heavy.refused(400, "value_refused");
    client.post("/v1/exchanges/spread/bind", &binding("3")).await.expect(200);
    let later = json!({"routing_key": "k", "body": "later", "delay": "20ms"});
    let kept = publish(client, "/v1/exchanges/spread", later).await;
    assert_eq!((&kept["queues"], &kept["delayed"]), (&json!(0), &json!(true)));
    let waits = client.post("/v1/queues/graves/consume", "{\"wait\":\"20s\"}").await.expect(200);
    assert_eq!(waits["messages"][0]["body"], "later");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_become_jobs_and_ends_of_jobs_become_messages() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    queue(client, "told").await;
    client.put("/v1/exchanges/orders", "{\"type\":\"topic\"}").await.expect(200);
    client.put("/v1/exchanges/outcomes", "{\"type\":\"topic\"}").await.expect(200);
    let put = client.put("/v1/queues/bills", "{\"outcomes\":\"outcomes\"}").await.expect(200);
    assert_eq!(put["settings"]["outcomes"], "outcomes");
    let binding = json!({"queue": "told", "routing_key": "succeeded.bills.*"}).to_string();
    client.post("/v1/exchanges/outcomes/bind", &binding).await.expect(200);
    let job = json!({"kind": "bill", "priority": 7, "ordered": true});
    let binding = json!({"queue": "bills", "routing_key": "paid.*", "job": job});
    client.post("/v1/exchanges/orders/bind", &binding.to_string()).await.expect(200);
    let bindings = client.get("/v1/bindings?exchange=orders").await.expect(200);
    assert_eq!(bindings["bindings"][0]["job"], job);
    let message = json!({"routing_key": "paid.eu", "body": {"order": 7}});
    assert_eq!(publish(client, "/v1/exchanges/orders", message).await["queues"], 1);
    let lease = json!({"queues": ["bills"], "max": 5, "worker": "w"}).to_string();
    let leased = client.post("/v1/lease", &lease).await.expect(200);
    let job = &leased["jobs"][0];
    assert_eq!((&job["kind"], &job["args"]), (&json!("bill"), &json!({"order": 7})));
    let id = job["id"].as_str().unwrap();
    let shown = client.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(shown["ordering_key"], "paid.eu");
    assert_eq!(shown["metadata"], json!({"exchange": "orders", "routing_key": "paid.eu"}));
    let ack = json!({"token": job["token"], "result": {"bill": 1}}).to_string();
    client.post(&format!("/v1/jobs/{id}/ack"), &ack).await.expect(200);
    let peeked = client.get("/v1/queues/told/messages").await.expect(200);
    let told = &peeked["messages"][0];
    assert_eq!(
        (&told["routing_key"], &told["content_type"]),
        (&json!("succeeded.bills.bill"), &json!("application/json"))
    );
    let body: serde_json::Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap();
    let expected = json!({"id": id, "queue": "bills", "kind": "bill", "state": "succeeded",
        "result": {"bill": 1}});
    assert_eq!(body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_for_what_is_there() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    queue(client, "mail.a").await;
    let policy =
        json!({"pattern": "^mail[.]", "max_length": 1, "ttl": "1h", "overflow": "reject-publish"});
    let path = "/v1/policies/short";
    assert_eq!(client.put(path, &policy.to_string()).await.expect(200)["changed"], true);
    let told = client.get("/v1/policies").await.expect(200);
    let expected = json!({"pattern": "^mail[.]", "apply_to": "all", "priority": 0, "ttl": "1h",
        "max_length": 1, "overflow": "reject-publish"});
    assert_eq!(told["policies"], json!([{"name": "short", "settings": expected}]));
    publish(client, "/v1/queues/mail.a", json!({"body": "1"})).await;
    let refused = client.post("/v1/queues/mail.a/publish", "{\"body\":\"2\"}").await.expect(429);
    assert_eq!(refused["code"], "queue_full");
    assert_eq!(client.get("/v1/queues/mail.a").await.expect(200)["messages"]["policy"], "short");
    let bad = client.put(path, "{\"pattern\":\"(\"}").await.expect(400);
    assert_eq!(bad["field"], "pattern");
    assert_eq!(client.delete(path).await.expect(200)["changed"], true);
    publish(client, "/v1/queues/mail.a", json!({"body": "2"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_publishes_and_jobs_are_one_commit_or_nothing() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    for name in ["in", "out"] {
        queue(client, name).await;
    }
    publish(client, "/v1/queues/in", json!({"body": "1"})).await;
    let taken = client.post("/v1/queues/in/consume", "{}").await.expect(200);
    let taken = &taken["messages"][0];
    let settle = json!([{"queue": "in", "id": taken["id"], "token": taken["token"]}]);
    let to = |queue| json!({"queue": queue, "message": {"body": "2"}});
    let jobs = json!([{"queue": "work", "kind": "k", "args": [1]}]);
    let ask =
        |queue| json!({"settle": settle, "publish": [to(queue)], "enqueue": jobs}).to_string();
    let refused = client.post("/v1/transactions", &ask("nowhere")).await.expect(404);
    assert_eq!(refused["code"], "queue_unknown");
    let missing = client.get("/v1/queues/work").await;
    missing.expect(404);
    let done = client.post("/v1/transactions", &ask("out")).await.expect(200);
    assert_eq!(done["published"], json!([{"queues": 1}]));
    let status = done["enqueued"][0]["status"].as_str().unwrap();
    assert_eq!(client.get(status).await.expect(200)["state"], "ready");
    let refused = client.post("/v1/transactions", &ask("out")).await.expect(409);
    assert_eq!(refused["code"], "message_unknown");
    let out = client.get("/v1/queues/out").await.expect(200);
    assert_eq!(out["messages"]["ready"], 1);
    for bad in [
        "{}",
        "{\"publish\":[{\"message\":{}}]}",
        "{\"settle\":[{\"queue\":\"in\",\"id\":\"x\",\"token\":\"y\"}]}",
    ] {
        let refused = client.post("/v1/transactions", bad).await;
        assert!((400..=422).contains(&refused.status), "{bad}");
    }
}

/// Two letters of one queue and one of another, in `graves`.
async fn with_graves(client: &mut Client) {
    queue(client, "graves").await;
    for name in ["work", "other"] {
        let settings = json!({"messages": {
            "dead_letter_exchange": "", "dead_letter_routing_key": "graves"
        }});
        client.put(&format!("/v1/queues/{name}"), &settings.to_string()).await.expect(200);
    }
    for (name, body) in [("work", "m 1"), ("other", "m 2"), ("work", "m 3")] {
        let message = json!({"body": body, "headers": {"tenant": "acme", "n": 7}});
        publish(client, &format!("/v1/queues/{name}"), message).await;
        let taken = client.post(&format!("/v1/queues/{name}/consume"), "{}").await.expect(200);
        let message = &taken["messages"][0];
        let settle = json!({"id": message["id"], "token": message["token"], "verdict": "reject"});
        let settle = json!({"messages": [settle]}).to_string();
        client.post(&format!("/v1/queues/{name}/settle"), &settle).await.expect(200);
    }
}

fn bodies(page: &serde_json::Value) -> Vec<&str> {
    let messages = page["messages"].as_array().unwrap();
    messages.iter().map(|message| message["body"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_looked_for_by_what_they_are_like() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    with_graves(client).await;
    let cases: &[(&str, &[&str])] = &[
        ("", &["m 1", "m 2", "m 3"]),
        ("text=m%202", &["m 2"]),
        ("header=n%3D7", &["m 1", "m 2", "m 3"]),
        ("header=n%3D8", &[]),
        ("died_in=work", &["m 1", "m 3"]),
        ("reason=rejected&died_in=other", &["m 2"]),
        ("reason=expired", &[]),
        ("routing_key=%23", &["m 1", "m 2", "m 3"]),
        ("routing_key=work", &[]),
        ("since=2000-01-01T00:00:00Z", &["m 1", "m 2", "m 3"]),
        ("until=2000-01-01T00:00:00Z", &[]),
    ];
    for (parameters, wanted) in cases {
        let page = client.get(&format!("/v1/queues/graves/messages?{parameters}")).await;
        let page = page.expect(200);
        assert_eq!(bodies(&page), *wanted, "{parameters}");
        let examined = if parameters.is_empty() { json!(null) } else { json!(3) };
        assert_eq!(page["examined"], examined, "{parameters}");
    }
    let first = client.get("/v1/queues/graves/messages?died_in=work&limit=1").await.expect(200);
    let next = first["next"].as_str().unwrap();
    let path = format!("/v1/queues/graves/messages?died_in=work&cursor={next}");
    assert_eq!(bodies(&client.get(&path).await.expect(200)), ["m 3"]);
    let other = format!("/v1/queues/graves/messages?cursor={next}");
    client.get(&other).await.refused(400, "value_refused");
    for parameters in ["reason=acked", "header=n", "since=yesterday"] {
        let path = format!("/v1/queues/graves/messages?{parameters}");
        client.get(&path).await.refused(400, "value_refused");
    }
    server.stop().await;
}

/// An operation at its end.
async fn finished(client: &mut Client, begun: &serde_json::Value) -> serde_json::Value {
    let path = format!("/v1/operations/{}", begun["id"].as_str().unwrap());
    loop {
        let told = client.get(&path).await.expect(200);
        if told["state"] != "running" {
            return told;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_moved_back_or_elsewhere() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    with_graves(client).await;
    let path = "/v1/queues/graves/redrive";
    let only = json!({"filter": {"died_in": "work", "headers": {"n": 7}}}).to_string();
    let would = client.post(&format!("{path}?dry_run=true"), &only).await.expect(200);
    assert_eq!(
        (&would["operation"], &would["state"], &would["changed"], &would["examined"]),
        (&json!("move_messages"), &json!("dry_run"), &json!(2), &json!(3))
    );
    let begun = client.post(path, &only).await.expect(202);
    let done = finished(client, &begun).await;
    assert_eq!((&done["state"], &done["changed"]), (&json!("finished"), &json!(2)));
    let back = client.get("/v1/queues/work/messages").await.expect(200);
    assert_eq!(bodies(&back), ["m 1", "m 3"]);
    assert_eq!(back["messages"][0]["routing_key"], "work");

    let narrow = json!({"messages": {"max_length": 1}}).to_string();
    client.put("/v1/queues/narrow", &narrow).await.expect(200);
    publish(client, "/v1/queues/narrow", json!({"body": "first"})).await;
    let begun = client.post(path, "{\"to_queue\":\"narrow\"}").await.expect(202);
    let done = finished(client, &begun).await;
    assert_eq!((&done["changed"], &done["kept"]), (&json!(0), &json!(1)));
    assert!(done["kept_why"].as_str().unwrap().contains("narrow"), "{done}");
    assert_eq!(done["to_queue"], "narrow");

    for body in [
        json!({"to_queue": "a", "to_exchange": "b"}),
        json!({"routing_key": "k"}),
        json!({"limit": 0}),
        json!({"filter": {"reason": "purged"}}),
        json!({"filter": {"headers": {"n": [1]}}}),
        json!({"to_queue": "graves"}),
        json!({"to_exchange": "amq.topic", "routing_key": "k".repeat(256)}),
    ] {
        // Who only asks what would happen hears the same.
        for path in [path, &format!("{path}?dry_run=true")] {
            let refused = client.post(path, &body.to_string()).await;
            assert_eq!(refused.status, 400, "{path} {body}");
        }
    }
    let internal = json!({"type": "fanout", "internal": true}).to_string();
    client.put("/v1/exchanges/inner", &internal).await.expect(200);
    client.put("/v1/queues/jobs", "{}").await.expect(200);
    for (body, status, code) in [
        (json!({"to_queue": "nowhere"}), 404, "queue_unknown"),
        (json!({"to_queue": "jobs"}), 409, "queue_type_refused"),
        (json!({"to_exchange": "nowhere"}), 404, "exchange_unknown"),
        (json!({"to_exchange": "inner"}), 403, "exchange_internal"),
    ] {
        for path in [path, &format!("{path}?dry_run=true")] {
            client.post(path, &body.to_string()).await.refused(status, code);
        }
    }
    client.post("/v1/queues/nothing/redrive", "").await.refused(404, "queue_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_its_key_says_so() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    let ordered = json!({"messages": {"ordering_header": "customer"}}).to_string();
    client.put("/v1/queues/accounts", &ordered).await.expect(200);
    for customer in ["7", "7", "8"] {
        let message = json!({"body": "opened", "headers": {"customer": customer}});
        publish(client, "/v1/queues/accounts", message).await;
    }
    client.post("/v1/queues/accounts/consume", "{\"max\":1}").await.expect(200);
    let peeked = client.get("/v1/queues/accounts/messages").await.expect(200);
    let blocked: Vec<_> = (0..3).map(|at| peeked["messages"][at]["blocked_by"].clone()).collect();
    assert_eq!(blocked, [json!(null), json!([{"ordering_key": "7"}]), json!(null)]);
}
