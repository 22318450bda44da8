//! Streams of events: appended, read page by page and live, and how far groups have read.

use serde_json::{Value, json};

use crate::harness::{Client, Server, request};

async fn append(client: &mut Client, stream: &str, body: Value) -> Value {
    let path = format!("/v1/streams/{stream}/events");
    client.post(&path, &body.to_string()).await.expect(200)
}

async fn put(client: &mut Client, stream: &str, body: &str) -> Value {
    client.put(&format!("/v1/streams/{stream}"), body).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_appended_and_read_in_order() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    client.get("/v1/streams/orders").await.refused(404, "stream_unknown");
    let stream = put(client, "orders", "").await;
    assert_eq!(stream["partitions"], json!([{"partition": 0, "start": 0, "end": 0, "bytes": 0}]));
    assert_eq!(stream["settings"]["retention"], "7d");

    let event = json!({"value": {"order": 1}, "key": "a", "headers": {"trace": "7", "no": null}});
    assert_eq!(append(client, "orders", event).await, json!({"partition": 0, "offset": 0}));
    let bulk = json!({"events": [{"value": "plain"}, {"value_base64": "//4="}, {"key": "a"}]});
    let appended = append(client, "orders", bulk).await;
    let offsets: Vec<_> = appended["appended"].as_array().unwrap().iter().collect();
    assert_eq!(offsets.iter().map(|it| &it["offset"]).collect::<Vec<_>>(), [1, 2, 3]);

    let page = client.get("/v1/streams/orders/events?limit=2").await.expect(200);
    assert_eq!((&page["next"], &page["start"], &page["end"]), (&json!(2), &json!(0), &json!(4)));
    let first = &page["events"][0];
    assert_eq!((&first["value"], &first["key"]), (&json!("{\"order\":1}"), &json!("a")));
    assert_eq!(first["headers"], json!({"trace": "7", "no": null}));
    assert_eq!(page["events"][1]["value"], "plain");
    let rest = client.get("/v1/streams/orders/events?offset=2").await.expect(200);
    assert_eq!((&rest["events"][0]["value_base64"], &rest["next"]), (&json!("//4="), &json!(4)));
    assert_eq!(rest["events"][1]["value"], json!(null));
    let end = client.get("/v1/streams/orders/events?from=latest").await.expect(200);
    assert_eq!((&end["events"], &end["next"]), (&json!([]), &json!(4)));
    let path = "/v1/streams/orders/events?from=2020-01-01T00:00:00Z";
    assert_eq!(client.get(path).await.expect(200)["events"][0]["offset"], 0);
    let beyond = client.get("/v1/streams/orders/events?offset=5").await;
    assert_eq!(beyond.refused(409, "offset_out_of_range")["allowed"], "0 to 4");

    let listed = client.get("/v1/streams").await.expect(200);
    assert_eq!((&listed["streams"][0]["events"], &listed["next"]), (&json!(4), &json!(null)));
    assert_eq!(client.delete("/v1/streams/orders").await.status, 204);
    client.get("/v1/streams/orders/events").await.refused(404, "stream_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_append_is_named_and_nothing_is_appended() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    put(client, "s", "{\"partitions\":2,\"batch_bytes_max\":200}").await;
    let path = "/v1/streams/s/events";
    client.post("/v1/streams/t/events", "{}").await.refused(404, "stream_unknown");
    client.post(path, "{\"events\":[]}").await.refused(400, "value_refused");
    client.post(path, "{\"partition\":2}").await.refused(400, "value_refused");
    client.post(path, "{\"value\":1,\"value_base64\":\"\"}").await.refused(400, "field_repeated");
    client.post(path, "{\"key_base64\":\"!\"}").await.refused(400, "value_refused");
    let large = json!({"partition": 0, "value": "x".repeat(300)});
    client.post(path, &large.to_string()).await.refused(413, "events_too_large");
    // Of a bulk, each partition by itself.
    let bulk = json!({"events": [large, {"partition": 1, "value": "y"}]});
    let appended = append(client, "s", bulk).await;
    assert_eq!(appended["appended"][0]["error"]["code"], "events_too_large");
    assert_eq!(appended["appended"][1], json!({"partition": 1, "offset": 0}));
    client.get(path).await.refused(400, "value_refused");
    client
        .get(&format!("{path}?partition=0&offset=0&from=latest"))
        .await
        .refused(400, "field_repeated");
    client.put("/v1/streams/s", "{\"partitions\":1}").await.refused(400, "value_refused");
    let grown = put(client, "s", "{\"partitions\":3,\"retention\":\"0s\"}").await;
    assert_eq!(
        (grown["partitions"].as_array().unwrap().len(), &grown["settings"]["retention"]),
        (3, &json!("0s"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_stand_in_one_partition() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    put(client, "s", "{\"partitions\":7}").await;
    let mut partitions = Vec::new();
    for _ in 0..3 {
        let answer = append(client, "s", json!({"key": "abc", "value": 1})).await;
        partitions.push(answer["partition"].as_u64().unwrap());
    }
    // As Kafka's Java client chooses it: murmur2("abc") is 479470107.
    assert_eq!(partitions, [479_470_107 % 7; 3]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_next_event() {
    let server = Server::start().await;
    let (client, reader) = (&mut server.client().await, &mut server.client().await);
    put(client, "s", "").await;
    reader.send(&request("GET", "/v1/streams/s/events?wait=60s", &[], "")).await;
    append(client, "s", json!({"value": "at last"})).await;
    let page = reader.answer().await.expect(200);
    assert_eq!((&page["events"][0]["value"], &page["next"]), (&json!("at last"), &json!(1)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_followed_and_goes_on_behind_the_last_event() {
    let server = Server::start().await;
    let (client, follower) = (&mut server.client().await, &mut server.client().await);
    put(client, "s", "{\"partitions\":2}").await;
    append(client, "s", json!({"partition": 0, "value": "one"})).await;
    follower.send(&request("GET", "/v1/streams/s/live", &[], "")).await;
    let head = follower.read_until("\r\n\r\n").await;
    assert!(head.contains(" 200 ") && head.contains("text/event-stream"), "{head}");
    let event = follower.read_until("\n\n").await;
    assert!(event.contains("id: 0:1,1:0\nevent: event\n") && event.contains("\"one\""), "{event}");
    let two = json!({"events": [{"partition": 1, "value": "two"}, {"partition": 1, "value": "3"}]});
    append(client, "s", two).await;
    let event = follower.read_until("\n\n").await;
    assert!(event.contains("id: 0:1,1:1\n") && event.contains("\"two\""), "{event}");
    // Whoever comes back misses nothing and gets nothing twice.
    let back = &mut server.client().await;
    let id = [("last-event-id", "0:1,1:1")];
    back.send(&request("GET", "/v1/streams/s/live", &id, "")).await;
    back.read_until("\r\n\r\n").await;
    let event = back.read_until("\n\n").await;
    assert!(event.contains("id: 0:1,1:2\n") && event.contains("\"value\":\"3\""), "{event}");
    let odd = [("last-event-id", "nonsense")];
    let refused = &mut server.client().await;
    refused.send(&request("GET", "/v1/streams/s/live", &odd, "")).await;
    refused.answer().await.refused(400, "value_refused");
    server.stop().await;
    back.read_until("\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_tell_how_far_they_have_read_and_how_far_they_have_to_go() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    put(client, "s", "{\"partitions\":2}").await;
    put(client, "t", "").await;
    for value in 0..5 {
        append(client, "s", json!({"partition": 1, "value": value})).await;
    }
    client.get("/v1/groups/g").await.refused(404, "group_unknown");
    let body = json!({"offsets": [{"stream": "s", "partition": 1, "offset": 2, "metadata": "m"},
        {"stream": "t", "partition": 0, "offset": 0}]});
    let group = client.put("/v1/groups/g", &body.to_string()).await.expect(200);
    assert_eq!(group["lag"], 3);
    let read = &group["offsets"][0];
    assert_eq!((&read["offset"], &read["end"], &read["lag"]), (&json!(2), &json!(5), &json!(3)));
    let other = json!({"offsets": [{"stream": "t", "partition": 0, "offset": 0}]});
    client.put("/v1/groups/a%2Fb*", &other.to_string()).await.expect(200);
    let bad = json!({"offsets": [{"stream": "s", "partition": 2, "offset": 0}]});
    client.put("/v1/groups/g", &bad.to_string()).await.refused(400, "value_refused");

    let page = client.get("/v1/groups?limit=1").await.expect(200);
    let first = page["groups"][0]["name"].as_str().unwrap().to_owned();
    let path = format!("/v1/groups?limit=1&cursor={}", page["next"].as_str().unwrap());
    let page = client.get(&path).await.expect(200);
    let mut names = [first, page["groups"][0]["name"].as_str().unwrap().to_owned()];
    names.sort();
    assert_eq!((names, &page["next"]), (["a/b*".to_owned(), "g".to_owned()], &json!(null)));
    assert_eq!(client.delete("/v1/groups/g").await.status, 204);
    client.get("/v1/groups/g").await.refused(404, "group_unknown");
    client.delete("/v1/groups/g").await.refused(404, "group_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_sees_its_own_streams_and_groups() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    assert_eq!(client.put("/v1/namespaces/shop", "").await.status, 200);
    client.put("/v1/namespaces/shop/streams/s", "").await.expect(200);
    client.get("/v1/streams/s").await.refused(404, "stream_unknown");
    client.delete("/v1/namespaces/shop").await.refused(409, "namespace_has_streams");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_keeps_the_newest_of_each_key_stays_so_and_takes_no_message_without_one() {
    let server = Server::start().await;
    let client = &mut server.client().await;
    put(client, "state", "{\"compact\":true}").await;
    let changed = put(client, "state", "{\"partitions\":2}").await;
    assert_eq!(
        (&changed["settings"]["compact"], &changed["settings"]["retention"]),
        (&json!(true), &json!("0s"))
    );
    client.put("/v1/streams/state", "{\"file_age\":\"0s\"}").await.refused(400, "value_refused");
    let lags = "{\"compaction_lag_min\":\"2h\",\"compaction_lag_max\":\"1h\"}";
    client.put("/v1/streams/state", lags).await.refused(400, "value_refused");

    client.put("/v1/exchanges/news", "{\"type\":\"fanout\"}").await.expect(200);
    client.post("/v1/exchanges/news/bind", "{\"to_stream\":\"state\"}").await.expect(200);
    let path = "/v1/exchanges/news/publish";
    let refused = client.post(path, "{\"body\":\"all of them\"}").await;
    assert_eq!(refused.refused(400, "value_refused")["field"], "routing_key");
    client.post(path, "{\"body\":\"one\",\"routing_key\":\"k\"}").await.expect(200);

    let plain = put(client, "state", "{\"compact\":false}").await;
    assert_eq!(plain["settings"]["retention"], "7d");
    client.post(path, "{\"body\":\"all of them\"}").await.expect(200);
    let mut keys = Vec::new();
    for partition in 0..2 {
        let events = format!("/v1/streams/state/events?partition={partition}");
        let page = client.get(&events).await.expect(200);
        keys.extend(page["events"].as_array().unwrap().iter().map(|event| event["key"].clone()));
    }
    keys.sort_by_key(Value::is_null);
    assert_eq!(keys, [json!("k"), json!(null)], "without a routing key there is no key");
    server.stop().await;
}
