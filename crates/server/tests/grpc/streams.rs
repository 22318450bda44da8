//! Streams over gRPC: events go in and come out, and groups have members of both faces.

use bytes::Bytes;
use longshore_proto::v1::{self, streams_client::StreamsClient};
use longshore_streams::batch::sample::{gzipped, keyed};
use longshore_streams::event::Event;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::access::{account, bearer};
use crate::harness::{Server, soon};

type Client = StreamsClient<Channel>;

fn code_of(status: &Status) -> &str {
    status.metadata().get("longshore-code").unwrap().to_str().unwrap()
}

async fn create(client: &mut Client, partitions: u32) -> v1::Stream {
    let stream = "orders".to_owned();
    let create = v1::CreateStreamRequest { stream, partitions, ..Default::default() };
    client.create_stream(create).await.unwrap().into_inner()
}

fn append(events: &[(&str, u32)]) -> v1::AppendEventsRequest {
    let event = |(value, partition): &(&str, u32)| v1::NewEvent {
        partition: Some(*partition),
        value: Some(value.as_bytes().to_vec().into()),
        ..Default::default()
    };
    v1::AppendEventsRequest {
        stream: "orders".into(),
        events: events.iter().map(event).collect(),
        ..Default::default()
    }
}

fn read(from: &[(u32, u64)], wait_ms: u64) -> v1::ReadEventsRequest {
    let place = |(partition, offset): &(u32, u64)| v1::EventPlace {
        partition: *partition,
        offset: *offset,
    };
    let from = from.iter().map(place).collect();
    v1::ReadEventsRequest { stream: "orders".into(), from, wait_ms, ..Default::default() }
}

fn texts(lot: &v1::PartitionEvents) -> Vec<String> {
    let text = |event: &v1::Event| String::from_utf8(event.value.clone().unwrap().to_vec());
    lot.events.iter().map(|event| text(event).unwrap()).collect()
}

fn beat(member: &str, epoch: i32, owned: &[u32]) -> v1::HeartbeatGroupRequest {
    let stream = "orders".to_owned();
    let partitions = owned.to_vec();
    v1::HeartbeatGroupRequest {
        group: "g".into(),
        member: member.into(),
        epoch,
        streams: vec![stream.clone()],
        owned: if epoch > 0 {
            vec![v1::StreamPartitions { stream, partitions }]
        } else {
            Vec::new()
        },
        client: "test".into(),
        ..Default::default()
    }
}

/// The epoch, and the partitions that the member is to read.
async fn hear(client: &mut Client, beat: v1::HeartbeatGroupRequest) -> (i32, Vec<u32>) {
    let told = client.heartbeat_group(beat).await.unwrap().into_inner();
    let partitions = told.assigned.into_iter().flat_map(|it| it.partitions).collect();
    (told.epoch, partitions)
}

fn commit(member: &str, epoch: i32, offset: u64) -> v1::CommitOffsetsRequest {
    v1::CommitOffsetsRequest {
        group: "g".into(),
        stream: "orders".into(),
        offsets: vec![v1::EventPlace { partition: 0, offset }],
        member: member.into(),
        epoch,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_producer_that_is_repeated_appends_nothing_twice() {
    let server = Server::start().await;
    let mut client = server.streams().await;
    assert_eq!(create(&mut client, 2).await.partitions.len(), 2);
    // One that is there stays.
    assert_eq!(create(&mut client, 1).await.partitions.len(), 2);
    let take = v1::TakeProducerRequest::default();
    let producer = Some(client.take_producer(take).await.unwrap().into_inner().producer);
    let first = v1::AppendEventsRequest { producer, ..append(&[("a", 0), ("b", 1), ("c", 0)]) };
    let places = client.append_events(first.clone()).await.unwrap().into_inner().places;
    let at: Vec<_> = places.iter().map(|it| (it.partition, it.offset)).collect();
    assert_eq!(at, [(0, 0), (1, 0), (0, 1)]);
    assert_eq!(client.append_events(first).await.unwrap().into_inner().places, places);
    let told = client.read_events(read(&[(0, 0), (1, 0)], 0)).await.unwrap().into_inner();
    let mut lots = told.partitions;
    lots.sort_by_key(|lot| lot.partition);
    assert_eq!(
        (texts(&lots[0]), texts(&lots[1])),
        (vec!["a".into(), "c".into()], vec!["b".into()])
    );
    let sequences = [(0, 7)].into();
    let gap = v1::AppendEventsRequest { producer, sequences, ..append(&[("d", 0)]) };
    let refused = client.append_events(gap).await.unwrap_err();
    assert_eq!(
        (code_of(&refused), refused.code()),
        ("producer_out_of_order", Code::FailedPrecondition)
    );
    // Of a producer with a number nobody but it says where its events go.
    let mut no_partition = v1::AppendEventsRequest { producer, ..append(&[("d", 0)]) };
    no_partition.events[0].partition = None;
    let refused = client.append_events(no_partition).await.unwrap_err();
    assert_eq!(code_of(&refused), "value_refused");
    let beyond = client.append_events(append(&[("d", 2)])).await.unwrap_err();
    assert_eq!(code_of(&beyond), "value_refused");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_partition_leaves_nothing_in_another() {
    let server = Server::start().await;
    let mut client = server.streams().await;
    create(&mut client, 2).await;
    let large = "x".repeat(2 << 20);
    let refused = client.append_events(append(&[("a", 0), (&large, 1)])).await.unwrap_err();
    assert_eq!(code_of(&refused), "events_too_large");
    let told = client.read_events(read(&[(0, 0), (1, 0)], 0)).await.unwrap().into_inner();
    assert_eq!(told.partitions, []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_events_gets_the_first_that_comes() {
    let server = Server::start().await;
    let mut client = server.streams().await;
    create(&mut client, 2).await;
    let mut other = server.streams().await;
    let waiting =
        tokio::spawn(async move { other.read_events(read(&[(0, 0), (1, 0)], 30_000)).await });
    client.append_events(append(&[("a", 1)])).await.unwrap();
    let told = soon(waiting).await.unwrap().unwrap().into_inner().partitions;
    assert_eq!((told[0].partition, texts(&told[0]), told[0].next), (1, vec!["a".into()], 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_go_from_one_member_to_another_once_they_are_given_back() {
    let server = Server::start().await;
    let mut client = server.streams().await;
    create(&mut client, 2).await;
    let (epoch, all) = hear(&mut client, beat("one", 0, &[])).await;
    assert_eq!(all, [0, 1]);
    let (_, none) = hear(&mut client, beat("two", 0, &[])).await;
    assert!(none.is_empty(), "the first one has them yet: {none:?}");
    // It still has both, and commits as what it was until it has heard of it.
    client.commit_offsets(commit("one", epoch, 3)).await.unwrap();
    let (epoch, kept) = hear(&mut client, beat("one", epoch, &[0, 1])).await;
    assert_eq!(kept.len(), 1);
    let (epoch, kept) = hear(&mut client, beat("one", epoch, &kept)).await;
    assert_eq!(kept.len(), 1);
    let stale = client.commit_offsets(commit("one", epoch - 1, 4)).await.unwrap_err();
    assert_eq!(code_of(&stale), "member_behind");
    let (_, other) = hear(&mut client, beat("two", epoch, &[])).await;
    assert_eq!([kept[0] + other[0], other.len() as u32], [1, 1]);
    let stranger = client.commit_offsets(commit("three", epoch, 4)).await.unwrap_err();
    assert_eq!(code_of(&stranger), "member_unknown");
    let nobody = client.commit_offsets(commit("", 0, 4)).await.unwrap_err();
    assert_eq!(code_of(&nobody), "group_has_members");
    for (method, body) in [("DELETE", ""), ("PUT", r#"{"offsets": []}"#)] {
        let refused = server.ask_http_for_status((method, "/v1/groups/g"), body).await;
        assert_eq!(refused, (409, "group_has_members".into()), "{method}");
    }
    let (_, told) = server.http("GET", "/v1/groups/g").await;
    assert_eq!(told["members"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told["members"][0]["client"], "test");
    assert_eq!(told["state"], "Stable");
    let (_, list) = server.http("GET", "/v1/groups").await;
    assert_eq!(list["groups"], json!([{"name": "g", "partitions": 1, "lag": 0, "members": 2}]));
    for member in ["one", "two"] {
        hear(&mut client, beat(member, -1, &[])).await;
    }
    client.commit_offsets(commit("", 0, 4)).await.unwrap();
    let request =
        v1::GetOffsetsRequest { group: "g".into(), stream: "orders".into(), ..Default::default() };
    let offsets = client.get_offsets(request).await.unwrap().into_inner().offsets;
    assert_eq!(offsets, [v1::EventPlace { partition: 0, offset: 4 }]);
    server.stop().await;
}

fn of_key(key: &str, value: &str, expected: Option<u64>) -> v1::NewEvent {
    v1::NewEvent {
        key: Some(key.as_bytes().to_vec().into()),
        value: Some(value.as_bytes().to_vec().into()),
        expected_events: expected,
        ..Default::default()
    }
}

fn append_of(events: Vec<v1::NewEvent>) -> v1::AppendEventsRequest {
    v1::AppendEventsRequest { stream: "orders".into(), events, ..Default::default() }
}

fn problem_of(status: &Status) -> serde_json::Value {
    let document = status.metadata().get_bin("longshore-problem-bin").unwrap();
    serde_json::from_slice(&document.to_bytes().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_appended_where_its_key_has_as_many_as_expected() {
    let server = Server::start().await;
    let mut client = server.streams().await;
    let create = v1::CreateStreamRequest {
        stream: "orders".into(),
        partitions: 2,
        count_keys: true,
        ..Default::default()
    };
    client.create_stream(create).await.unwrap();
    let first = vec![of_key("a", "1", Some(0)), of_key("a", "2", None)];
    client.append_events(append_of(first)).await.unwrap();
    let server = server.restart().await;
    let mut client = server.streams().await;
    let late = client.append_events(append_of(vec![of_key("a", "3", Some(1))])).await.unwrap_err();
    assert_eq!((code_of(&late), late.code()), ("events_unexpected", Code::FailedPrecondition));
    assert_eq!(problem_of(&late)["allowed"], "2", "{late:?}");
    client.append_events(append_of(vec![of_key("a", "3", Some(2))])).await.unwrap();
    for n in 0..20 {
        client.append_events(append_of(vec![of_key(&format!("b{n}"), "x", None)])).await.unwrap();
    }
    let read = v1::ReadKeyRequest {
        stream: "orders".into(),
        key: b"a".to_vec().into(),
        ..Default::default()
    };
    let told = client.read_key(read).await.unwrap().into_inner();
    let values: Vec<_> = told.events.iter().map(|it| it.value.clone().unwrap()).collect();
    assert_eq!(
        (values, told.key_events, told.next),
        (vec!["1".into(), "2".into(), "3".into()], Some(3), None)
    );
    let (_, page) = server.http("GET", "/v1/streams/orders/events?key=a&limit=2").await;
    assert_eq!((page["events"].as_array().unwrap().len(), &page["key_events"]), (2, &json!(3)));
    let next = page["next"].as_u64().unwrap();
    let path = format!("/v1/streams/orders/events?key=a&offset={next}");
    let (_, rest) = server.http("GET", &path).await;
    assert_eq!((&rest["events"][0]["value"], &rest["next"]), (&json!("3"), &rest["end"]));
    let (_, none) = server.http("GET", "/v1/streams/orders/events?key=z").await;
    assert_eq!((&none["events"], &none["key_events"]), (&json!([]), &json!(0)));
    let body = r#"{"key": "a", "value": "4", "expected_events": 2}"#;
    let refused = server.ask_http_for_status(("POST", "/v1/streams/orders/events"), body).await;
    assert_eq!(refused, (409, "events_unexpected".into()));
    // All of it in one partition, a key for each event, and the setting as it was.
    let keys = (0..20).map(|n| of_key(&format!("c{n}"), "x", Some(0))).collect();
    let apart = client.append_events(append_of(keys)).await.unwrap_err();
    assert_eq!(code_of(&apart), "value_refused");
    let keyless = client.append_events(append(&[("x", 0)])).await.unwrap_err();
    assert_eq!(code_of(&keyless), "value_refused");
    let many = (0..1001).map(|n| of_key(&format!("d{n}"), "x", None)).collect();
    let many = client.append_events(append_of(many)).await.unwrap_err();
    assert_eq!(code_of(&many), "value_refused", "of both partitions together");
    // A key is in one partition, and has all of its events there.
    for partition in 0..2 {
        let event = v1::NewEvent { partition: Some(partition), ..of_key("a", "4", Some(3)) };
        match client.append_events(append_of(vec![event])).await {
            Ok(_) => assert_eq!(partition, told.partition),
            Err(refused) => {
                assert_eq!(code_of(&refused), "value_refused");
                assert_ne!(partition, told.partition);
            }
        }
    }
    let body = r#"{"partitions": 3}"#;
    let refused = server.ask_http_for_status(("PUT", "/v1/streams/orders"), body).await;
    assert_eq!(refused, (400, "value_refused".into()));
    let body = r#"{"count_keys": false}"#;
    let refused = server.ask_http_for_status(("PUT", "/v1/streams/orders"), body).await;
    assert_eq!(refused, (400, "value_refused".into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_events_of_a_key_only_the_newest_is_told_to_who_wants_that() {
    let server = Server::start().await;
    let mut client = server.streams().await;
    create(&mut client, 1).await;
    for n in 0..600 {
        let key = format!("k{}", n % 3);
        client.append_events(append_of(vec![of_key(&key, &n.to_string(), None)])).await.unwrap();
    }
    let newest = v1::ReadEventsRequest { newest_per_key: true, ..read(&[(0, 0)], 0) };
    let told = client.read_events(newest).await.unwrap().into_inner().partitions;
    assert_eq!(
        (texts(&told[0]), told[0].next),
        (vec!["597".into(), "598".into(), "599".into()], 600)
    );
    let (_, page) = server.http("GET", "/v1/streams/orders/events?limit=10&newest=true").await;
    let offsets: Vec<_> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["offset"].as_u64().unwrap())
        .collect();
    assert_eq!((offsets, &page["next"]), (vec![7, 8, 9], &json!(10)));
    // One key is the text of the other in base64.
    let binary = v1::NewEvent { key: Some(vec![0x80].into()), ..of_key("", "x", None) };
    client.append_events(append_of(vec![binary, of_key("gA==", "y", None)])).await.unwrap();
    let path = "/v1/streams/orders/events?offset=600&newest=true";
    let (_, page) = server.http("GET", path).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 2, "{page}");
    server.stop().await;
}

/// A request of Kafka's at a version without tags, and its answer behind the header.
async fn kafka(server: &Server, key: i16, body: &[u8]) -> Vec<u8> {
    kafka_at(server, (key, 0), body).await
}

async fn kafka_at(server: &Server, (key, version): (i16, i16), body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.kafka()).await.unwrap();
    let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
    frame.extend([0, 0, 0, 1, 0, 1, b't']);
    frame.extend(body);
    stream.write_all(&(frame.len() as u32).to_be_bytes()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    let length = soon(stream.read_u32()).await.unwrap();
    let mut answer = vec![0; length as usize];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    answer.split_off(4)
}

async fn with_kafka() -> Server {
    Server::start_with(|config| config.kafka.listen = Some("127.0.0.1:0".into())).await
}

/// A text of a request of Kafka's.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// Appends a batch to partition 0 of the stream.
async fn produce(server: &Server, transaction: Option<&str>, batch: &[u8]) {
    const PRODUCE: (i16, i16) = (0, 3);
    let none = || vec![0xff, 0xff];
    let of = [transaction.map_or_else(none, text), vec![0xff, 0xff, 0, 0, 0x75, 0x30]].concat();
    let topic = [vec![0, 0, 0, 1], text("orders"), vec![0, 0, 0, 1, 0, 0, 0, 0]].concat();
    let length = (batch.len() as u32).to_be_bytes();
    let answer = kafka_at(server, PRODUCE, &[&of[..], &topic[..], &length, batch].concat()).await;
    let error = &answer[4 + text("orders").len() + 8..][..2];
    assert_eq!(error, [0, 0], "{answer:?}");
}

fn large(offset: u64) -> Event {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![b'x'; 256 << 10]));
    Event { offset, key: Some(key), value: Some(value), ..Event::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_large_once_it_is_opened_is_told_bit_by_bit() {
    let server = with_kafka().await;
    let mut client = server.streams().await;
    create(&mut client, 1).await;
    let events: Vec<Event> = (0..100).map(large).collect();
    produce(&server, None, &gzipped(&events)).await;
    let (mut offset, mut offsets) = (0, Vec::new());
    loop {
        let key = b"k".to_vec().into();
        let read =
            v1::ReadKeyRequest { stream: "orders".into(), key, offset, ..Default::default() };
        let told = client.read_key(read).await.unwrap().into_inner();
        assert!((1..=8).contains(&told.events.len()), "{}", told.events.len());
        offsets.extend(told.events.iter().map(|event| event.offset));
        let Some(next) = told.next else { break };
        offset = next;
    }
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    let (mut next, mut lots) = (0, 0);
    while next < 100 {
        let newest = v1::ReadEventsRequest { newest_per_key: true, ..read(&[(0, next)], 0) };
        let told = client.read_events(newest).await.unwrap().into_inner().partitions;
        assert!(told[0].next > next && told[0].next <= next + 24, "{next} {}", told[0].next);
        assert_eq!(told[0].events.len(), 1);
        (next, lots) = (told[0].next, lots + 1);
    }
    assert!(lots >= 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_key_goes_on_before_what_is_not_committed() {
    const INIT_PRODUCER_ID: i16 = 22;
    const ADD_PARTITIONS_TO_TXN: i16 = 24;
    const END_TXN: i16 = 26;
    let server = with_kafka().await;
    let mut client = server.streams().await;
    create(&mut client, 1).await;
    client.append_events(append_of(vec![of_key("k", "1", None)])).await.unwrap();
    let timeout = vec![0, 0, 0x75, 0x30];
    let began = kafka(&server, INIT_PRODUCER_ID, &[text("t"), timeout].concat()).await;
    assert_eq!(began[4..6], [0, 0]);
    let asker = [text("t"), began[6..16].to_vec()].concat();
    let topics = [vec![0, 0, 0, 1], text("orders"), vec![0, 0, 0, 1, 0, 0, 0, 0]].concat();
    let added = kafka(&server, ADD_PARTITIONS_TO_TXN, &[asker.clone(), topics].concat()).await;
    assert!(added.ends_with(&[0, 0]), "{added:?}");
    let producer = i64::from_be_bytes(began[6..14].try_into().unwrap());
    let epoch = i16::from_be_bytes(began[14..16].try_into().unwrap());
    let event = Event { offset: 0, ..large(0) };
    produce(&server, Some("t"), &keyed((producer, epoch, 0), true, &[event])).await;
    let (_, page) = server.http("GET", "/v1/streams/orders/events?key=k").await;
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (1, &json!(1)));
    assert_eq!(page["end"], json!(1));
    kafka(&server, END_TXN, &[asker, vec![1]].concat()).await;
    let going_on = async {
        loop {
            let (_, page) = server.http("GET", "/v1/streams/orders/events?key=k&offset=1").await;
            if page["events"][0]["offset"] == json!(1) {
                break;
            }
        }
    };
    soon(going_on).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_clients_add_no_partitions_where_keys_are_counted() {
    const CREATE_PARTITIONS: i16 = 37;
    const INVALID_PARTITIONS: [u8; 2] = [0, 37];
    let server = with_kafka().await;
    let mut client = server.streams().await;
    let create =
        v1::CreateStreamRequest { stream: "orders".into(), count_keys: true, ..Default::default() };
    client.create_stream(create).await.unwrap();
    let topic = [vec![0, 0, 0, 1], text("orders"), vec![0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff]];
    let more = [topic.concat(), vec![0, 0, 0x75, 0x30, 0]].concat();
    let refused = kafka(&server, CREATE_PARTITIONS, &more).await;
    assert_eq!(refused[8 + text("orders").len()..][..2], INVALID_PARTITIONS, "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_clients_and_members_over_grpc_are_in_the_same_groups() {
    const JOIN_GROUP: i16 = 11;
    const LIST_GROUPS: i16 = 16;
    const INCONSISTENT_GROUP_PROTOCOL: [u8; 2] = [0, 23];
    let server = with_kafka().await;
    let mut client = server.streams().await;
    create(&mut client, 2).await;
    hear(&mut client, beat("one", 0, &[])).await;
    let listed = kafka(&server, LIST_GROUPS, &[]).await;
    let expected = [vec![0, 0, 0, 0, 0, 1], text("g"), text("consumer")].concat();
    assert_eq!(listed, expected);
    // The classic protocol: group, time-out, member, type, and one way to assign.
    let way = [vec![0, 0, 0, 1], text("range"), vec![0, 0, 0, 0]].concat();
    let join = |group: &str| {
        let timeout = vec![0, 0, 0x75, 0x30];
        [text(group), timeout, text(""), text("consumer"), way.clone()].concat()
    };
    let refused = kafka(&server, JOIN_GROUP, &join("g")).await;
    assert_eq!(refused[..2], INCONSISTENT_GROUP_PROTOCOL);
    let joined = kafka(&server, JOIN_GROUP, &join("classic")).await;
    assert_eq!(joined[..2], [0, 0]);
    let beside = v1::HeartbeatGroupRequest { group: "classic".into(), ..beat("one", 0, &[]) };
    let refused = client.heartbeat_group(beside).await.unwrap_err();
    assert_eq!(code_of(&refused), "group_has_members");
    let (_, told) = server.http("GET", "/v1/groups/classic").await;
    assert_eq!(told["members"][0]["client"], "t", "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_read_and_append_what_is_theirs() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.streams().await;
    let stream = "orders".to_owned();
    let new = v1::CreateStreamRequest { stream: stream.clone(), ..Default::default() };
    client.create_stream(bearer(new.clone(), &admin)).await.unwrap();
    let grants = json!([
        {"role": "consume", "names": "orders"},
        {"role": "consume", "names": "g"},
    ]);
    let reader = account(&server, &admin, "reader", &grants).await;
    let grants = json!([{"role": "publish", "names": "orders*"}]);
    let writer = account(&server, &admin, "writer", &grants).await;
    let grants = json!([{"role": "consume", "names": "g"}, {"role": "publish", "names": "x"}]);
    let stranger = account(&server, &admin, "stranger", &grants).await;
    let of = v1::StreamRequest { stream: stream.clone(), ..Default::default() };
    let offsets = v1::GetOffsetsRequest { group: "g".into(), stream, ..Default::default() };
    // Who may: the writer, the reader, the stranger.
    macro_rules! check {
        ($method:ident, $message:expr, $may:expr) => {
            for (who, token, may) in [
                ("writer", &writer, $may[0]),
                ("reader", &reader, $may[1]),
                ("stranger", &stranger, $may[2]),
            ] {
                let answer = client.$method(bearer($message, token)).await;
                let code = answer.err().map(|status| status.code());
                let expected = (!may).then_some(Code::PermissionDenied);
                assert_eq!(code, expected, "{} as {who}", stringify!($method));
            }
        };
    }
    check!(create_stream, new.clone(), [false, false, false]);
    check!(append_events, append(&[("a", 0)]), [true, false, false]);
    check!(get_stream, of.clone(), [true, true, false]);
    check!(read_events, read(&[(0, 0)], 0), [false, true, false]);
    let key = v1::ReadKeyRequest {
        stream: "orders".into(),
        key: b"k".to_vec().into(),
        ..Default::default()
    };
    check!(read_key, key.clone(), [false, true, false]);
    // A number is of no stream: whoever appends to any has one.
    check!(take_producer, v1::TakeProducerRequest::default(), [true, false, true]);
    check!(heartbeat_group, beat("m", 0, &[]), [false, true, false]);
    check!(heartbeat_group, beat("m", -1, &[]), [false, true, false]);
    check!(commit_offsets, commit("", 0, 1), [false, true, false]);
    check!(get_offsets, offsets.clone(), [false, true, false]);
    server.stop().await;
}
