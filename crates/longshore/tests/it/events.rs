//! Streams from the SDK, against the real server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::future::select_all;
use longshore::Client;
use longshore::streams::{Begin, ConsumerError, Event, NewEvent, StreamSettings};
use longshore::testing::EmbeddedServer;
use longshore_tests::wait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};

use crate::app::PATIENCE;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Placed {
    order: u64,
}

fn placed(order: u64) -> NewEvent {
    let customer = format!("customer-{}", order % 3);
    NewEvent::json(&Placed { order }).unwrap().key(customer).header("source", "shop")
}

/// What a handler has seen, and how many events that is.
#[derive(Default)]
struct Seen {
    orders: Mutex<BTreeMap<String, Vec<u64>>>,
    count: watch::Sender<usize>,
}

impl Seen {
    fn note(&self, event: &Event) -> Result<(), serde_json::Error> {
        let order = event.json::<Placed>()?.order;
        let key = event.key_text().unwrap_or_default().to_owned();
        assert_eq!(event.header("source"), Some("shop"));
        self.orders.lock().unwrap().entry(key).or_default().push(order);
        self.count.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Waits until it has seen so many events.
    async fn enough(&self, count: usize) {
        self.count.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }
}

async fn read(client: &Client, group: &str, enough: usize) -> Vec<u64> {
    let seen = Arc::new(Seen::default());
    let handle = |seen: Arc<Seen>, event: Event| async move { seen.note(&event) };
    let consumer = client.consumer(group, "orders");
    consumer.run_until(Arc::clone(&seen), handle, seen.enough(enough)).await.unwrap();
    let orders = seen.orders.lock().unwrap();
    for of_key in orders.values() {
        assert!(of_key.is_sorted(), "in order: {of_key:?}");
    }
    let mut all: Vec<u64> = orders.values().flatten().copied().collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn events_go_from_a_producer_to_each_group_once_and_in_order() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new().partitions(3)).await.unwrap();
    client.create_stream("orders", StreamSettings::new()).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    let first = producer.append(placed(0)).await.unwrap();
    assert_eq!(first.offset, 0);
    let places = producer.append_all((1..100).map(placed)).await.unwrap();
    assert_eq!(places.len(), 99);
    assert_eq!(places.iter().filter(|it| it.partition == first.partition).count(), 33);
    let keyless = NewEvent::json(&Placed { order: 100 }).unwrap().header("source", "shop");
    let own = producer.append_all([keyless.partition(2), placed(101)]).await.unwrap();
    assert_eq!(own[0].partition, 2);
    assert_eq!(read(&client, "a", 102).await, (0..102).collect::<Vec<_>>());
    producer.append(placed(102)).await.unwrap();
    assert_eq!(read(&client, "a", 1).await, [102], "it goes on behind what it has done");
    assert_eq!(read(&client, "b", 103).await.len(), 103, "another group has all of them");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_fails_ends_its_consumer_and_gets_the_event_again() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new()).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    producer.append_all((0..3).map(placed)).await.unwrap();
    let fails = |(): (), event: Event| async move {
        if event.offset == 1 { Err("not now".to_owned()) } else { Ok(()) }
    };
    let fails = |_: Arc<()>, event: Event| fails((), event);
    let ended = client.consumer("g", "orders").run(Arc::new(()), fails).await;
    let Err(ConsumerError::Handler { partition: 0, offset: 1, error }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(error, "not now");
    assert_eq!(read(&client, "g", 2).await, [1, 2]);
    let latest = client.consumer("new", "orders").begin(Begin::Latest);
    let seen = Arc::new(Seen::default());
    let (shared, stop) = (Arc::clone(&seen), Arc::clone(&seen));
    let running = tokio::spawn(async move {
        let handle = |seen: Arc<Seen>, event: Event| async move { seen.note(&event) };
        latest.run_until(shared, handle, stop.enough(1)).await
    });
    committed(&server, "new", 3).await;
    producer.append(placed(3)).await.unwrap();
    running.await.unwrap().unwrap();
    let orders: Vec<u64> = seen.orders.lock().unwrap().values().flatten().copied().collect();
    assert_eq!(orders, [3], "what was there before is passed over");
    let unknown = client.producer("none").await.unwrap_err();
    assert!(unknown.to_string().contains("stream"), "{unknown}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn two_producers_append_beside_each_other() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new().partitions(2)).await.unwrap();
    let (one, two) =
        (client.producer("orders").await.unwrap(), client.producer("orders").await.unwrap());
    for order in 0..20 {
        let producer = if order % 2 == 0 { &one } else { &two };
        producer.append(placed(order)).await.unwrap();
    }
    // What is dropped under way may have its effect: the producer goes on under another number, or
    // the next event of the partition would be taken for it.
    let mut dropped = Box::pin(one.append(placed(20)));
    tokio::select! {
        biased;
        appended = &mut dropped => panic!("it is answered at once: {appended:?}"),
        () = tokio::task::yield_now() => drop(dropped),
    }
    one.append(placed(23)).await.unwrap();
    let (events, _) = client.events_of("orders", "customer-2").await.unwrap();
    let of_key = events.iter().map(|event| event.json::<Placed>().unwrap().order);
    let of_key: Vec<u64> = of_key.filter(|order| *order >= 20).collect();
    assert!(of_key == [23] || of_key == [20, 23] || of_key == [23, 20], "{of_key:?}");
    let mut all = Vec::new();
    for customer in ["customer-0", "customer-1", "customer-2"] {
        let (events, _) = client.events_of("orders", customer).await.unwrap();
        all.extend(events.iter().map(|event| event.json::<Placed>().unwrap().order));
    }
    all.retain(|order| *order < 20);
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    let tombstone = one.append(NewEvent::tombstone("customer-1").header("source", "shop")).await;
    assert!(tombstone.is_ok());
    server.stop().await.unwrap();
}

/// Consumers of one group that run beside each other, each until it is stopped.
struct Member {
    stop: Arc<Notify>,
    running: tokio::task::JoinHandle<Result<(), ConsumerError<serde_json::Error>>>,
    seen: Arc<Seen>,
}

impl Member {
    fn start(client: &Client) -> Self {
        Self::slow(client, Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }

    /// One that is done with an event when it is permitted.
    fn slow(client: &Client, permits: Arc<Semaphore>) -> Self {
        let (stop, seen) = (Arc::new(Notify::new()), Arc::new(Seen::default()));
        let (stopping, shared) = (Arc::clone(&stop), Arc::clone(&seen));
        let consumer = client.consumer("g", "orders");
        let running = tokio::spawn(async move {
            let handle = |seen: Arc<Seen>, event: Event| {
                let permits = Arc::clone(&permits);
                async move {
                    permits.acquire().await.unwrap().forget();
                    seen.note(&event)
                }
            };
            consumer.run_until(shared, handle, stopping.notified()).await
        });
        Self { stop, running, seen }
    }

    async fn stop(self) {
        self.stop.notify_one();
        self.running.await.unwrap().unwrap();
    }

    fn orders(&self) -> Vec<u64> {
        self.seen.orders.lock().unwrap().values().flatten().copied().collect()
    }
}

/// How many partitions each member of the group has.
fn parts(group: &Value) -> Vec<usize> {
    let of = |member: &Value| member["partitions"][0]["partitions"].as_array().map_or(0, Vec::len);
    group["members"].as_array().map_or_else(Vec::new, |all| all.iter().map(of).collect())
}

/// Waits until a group is as it is to be.
async fn group_is(
    server: &EmbeddedServer,
    name: &str,
    is: impl Fn(&Value) -> bool + Send + 'static,
) {
    let address = server.url().trim_start_matches("http://").to_owned();
    let path = format!("/v1/groups/{name}");
    let look = move || {
        let mut last = Value::Null;
        let ask = || {
            last = longshore_tests::http::Client::new(&address).get(&path)?.body;
            Ok(is(&last).then_some(()))
        };
        wait::until("the group", ask).map_err(|error| format!("{error}: {last}"))
    };
    tokio::task::spawn_blocking(look).await.unwrap().unwrap();
}

/// Waits until the group has so many members that share all partitions.
async fn shared_by(server: &EmbeddedServer, count: usize) {
    let is_shared = move |group: &Value| {
        let parts = parts(group);
        let settled = group["state"] == "Stable" && parts.iter().all(|it| *it > 0);
        parts.len() == count && parts.iter().sum::<usize>() == 4 && settled
    };
    group_is(server, "g", is_shared).await;
}

/// Waits until a group has committed so many events.
async fn committed(server: &EmbeddedServer, name: &str, count: u64) {
    let has_committed = move |group: &Value| {
        let offsets = group["offsets"].as_array().cloned().unwrap_or_default();
        offsets.iter().filter_map(|it| it["offset"].as_u64()).sum::<u64>() == count
    };
    group_is(server, name, has_committed).await;
}

/// Waits until what members have seen, in order, is as it is to be.
async fn seen_by(members: &[&Member], is: impl Fn(&[u64]) -> bool) {
    let mut counts: Vec<_> = members.iter().map(|it| it.seen.count.subscribe()).collect();
    loop {
        let mut seen: Vec<u64> = members.iter().flat_map(|member| member.orders()).collect();
        seen.sort_unstable();
        if is(&seen) {
            return;
        }
        let more = select_all(counts.iter_mut().map(|count| Box::pin(count.changed())));
        assert!(tokio::time::timeout(PATIENCE, more).await.is_ok(), "{seen:?}");
    }
}

/// Waits until the members have seen so many orders, each once.
async fn all_seen(members: &[&Member], count: u64) {
    let are_all = |seen: &[u64]| {
        assert!(seen.len() <= count as usize, "{seen:?}");
        seen.iter().copied().eq(0..count)
    };
    seen_by(members, are_all).await;
}

#[tokio::test]
async fn members_of_a_group_share_its_partitions_and_take_over_from_each_other() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new().partitions(4)).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    let spread =
        |from: u64| (from..from + 40).map(|order| placed(order).partition(order as u32 % 4));
    let one = Member::start(&client);
    shared_by(&server, 1).await;
    producer.append_all(spread(0)).await.unwrap();
    all_seen(&[&one], 40).await;
    let two = Member::start(&client);
    shared_by(&server, 2).await;
    producer.append_all(spread(40)).await.unwrap();
    all_seen(&[&one, &two], 80).await;
    assert_eq!(two.orders().len(), 20, "half of what came since");
    let before = two.orders();
    one.stop().await;
    shared_by(&server, 1).await;
    producer.append_all(spread(80)).await.unwrap();
    seen_by(&[&two], |seen| seen.len() >= before.len() + 40).await;
    let mut since: Vec<u64> = two.orders().into_iter().filter(|it| *it >= 80).collect();
    since.sort_unstable();
    assert_eq!(since, (80..120).collect::<Vec<_>>(), "it has all partitions now");
    two.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_member_gives_partitions_back_between_two_events() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new().partitions(4)).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    let spread = (0..40).map(|order| placed(order).partition(order as u32 % 4));
    producer.append_all(spread).await.unwrap();
    let permits = Arc::new(Semaphore::new(1));
    let slow = Member::slow(&client, Arc::clone(&permits));
    seen_by(&[&slow], |seen| !seen.is_empty()).await;
    // All of what is there is one answer, and it is at the second event of that.
    let other = Member::start(&client);
    let is_told = |group: &Value| {
        let mut parts = parts(group);
        parts.sort_unstable();
        parts == [0, 2]
    };
    group_is(&server, "g", is_told).await;
    // Long before it is through with the partitions that it keeps.
    let members = [&other];
    for _ in 0..12 {
        permits.add_permits(1);
        let handed_over = seen_by(&members, |seen| !seen.is_empty());
        if tokio::time::timeout(PATIENCE / 20, handed_over).await.is_ok() {
            break;
        }
    }
    assert!(!other.orders().is_empty(), "after {:?}", slow.orders());
    permits.add_permits(100);
    all_seen(&[&slow, &other], 40).await;
    slow.stop().await;
    other.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_member_that_is_to_stop_does_not_wait_for_a_server_that_is_away() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new()).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    producer.append_all((0..2).map(placed)).await.unwrap();
    let permits = Arc::new(Semaphore::new(1));
    let member = Member::slow(&client, Arc::clone(&permits));
    all_seen(&[&member], 1).await;
    server.stop().await.unwrap();
    permits.add_permits(1);
    all_seen(&[&member], 2).await;
    tokio::time::timeout(PATIENCE, member.stop()).await.unwrap();
}

#[tokio::test]
async fn a_member_goes_on_when_the_server_is_back() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    client.create_stream("orders", StreamSettings::new().partitions(4)).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    let member = Member::start(&client);
    producer.append_all((0..20).map(placed)).await.unwrap();
    all_seen(&[&member], 20).await;
    committed(&server, "g", 20).await;
    let server = server.restart().await.unwrap();
    // Another server has no groups: the member joins again, and goes on behind what it committed.
    // What it read before that comes twice.
    producer.append_all((20..40).map(placed)).await.unwrap();
    let all: BTreeSet<u64> = (0..40).collect();
    seen_by(&[&member], |seen| seen.iter().copied().collect::<BTreeSet<_>>() == all).await;
    assert!((0..20).all(|order| member.orders().iter().filter(|it| **it == order).count() == 1));
    member.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn who_decides_on_what_is_no_longer_so_is_told_the_actual_number() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    let settings = StreamSettings::new().partitions(3).count_keys();
    client.create_stream("orders", settings).await.unwrap();
    let producer = client.producer("orders").await.unwrap();
    let event = |text: &'static str, expected| NewEvent::new(text).key("k").expecting(expected);
    producer.append_all([event("a", 0), event("b", 1)]).await.unwrap();
    for _ in 0..2 {
        let late = producer.append(event("c", 1)).await.unwrap_err();
        assert_eq!(late.actual_events(), Some(2), "{late}");
    }
    producer.append(event("c", 2)).await.unwrap();
    let (events, count) = client.events_of("orders", "k").await.unwrap();
    let values: Vec<_> = events.iter().filter_map(|event| event.value.clone()).collect();
    assert_eq!((values, count), (vec!["a".into(), "b".into(), "c".into()], Some(3)));
    let (none, count) = client.events_of("orders", "other").await.unwrap();
    assert_eq!((none.len(), count), (0, Some(0)));
    server.stop().await.unwrap();
}
