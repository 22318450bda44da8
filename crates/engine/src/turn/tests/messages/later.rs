//! What comes later: delayed messages, queues that nobody uses; and exchanges that spread.

use super::*;

fn delayed(exchange: &str, key: &str, body: &str, delay_ms: u64) -> PublishMessage {
    PublishMessage {
        exchange: exchange.into(),
        routing_key: key.into(),
        persistent: true,
        body: Bytes::copy_from_slice(body.as_bytes()),
        delay_ms: Some(delay_ms),
        ..PublishMessage::default()
    }
}

#[test]
fn a_delayed_message_is_routed_when_its_time_comes_across_a_restart() {
    let mut shard = Shard::new();
    shard.exchange("x", ExchangeKind::Topic);
    shard.declare("q", durable()).unwrap();
    let large = "y".repeat(6000);
    for (body, delay_ms) in [("second", 2000), ("first", 1000), (large.as_str(), 3000)] {
        let came = shard.publish_one(delayed("x", "a.b", body, delay_ms));
        assert_eq!(came, Ok(Published::Delayed));
    }
    // Bindings count as they are by then.
    shard.bind("x", "a.*", "q");
    shard.advance(999);
    assert_eq!(shard.stand_of("q").ready, 0);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(1));
    shard.advance(1);
    assert_eq!(texts(&shard.take("q", 9)), ["first"]);
    let mut shard = shard.restart();
    shard.advance(1000);
    shard.publish("x", "a.c", "meanwhile").unwrap();
    shard.advance(1000);
    let taken = shard.take("q", 9);
    assert_eq!(texts(&taken)[..2], ["second", "meanwhile"]);
    assert_eq!(text(&taken[2]), large);
    let left = |shard: &Shard, firsts: [u8; 3]| {
        shard.turn.map().entries().keys().filter(|key| firsts.contains(&key[0])).count()
    };
    shard.settle_taken(&taken, MessageVerdict::Ack);
    shard.advance(40_000);
    let first = shard.take("q", 9);
    assert_eq!(texts(&first), ["first"], "its time ran out");
    shard.settle_taken(&first, MessageVerdict::Ack);
    assert_eq!(left(&shard, [108, 15, 170]), 0, "no body is left, nor anything to wait for");
}

#[test]
fn a_delayed_message_whose_exchange_is_gone_by_then_is_gone() {
    let mut shard = Shard::new();
    shard.exchange("x", ExchangeKind::Fanout);
    shard.publish_one(delayed("x", "", "m", 50)).unwrap();
    let delete = MessageCommand::DeleteExchange { exchange: "x".into(), if_unused: false };
    shard.carry_out(delete).unwrap();
    shard.advance(60);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), None, "nothing waits any more");
    let unknown = Rejection::ExchangeUnknown { exchange: "x".into() };
    assert_eq!(shard.publish_one(delayed("x", "", "m", 50)), Err(unknown));
    let years = delayed("", "q", "m", u64::MAX);
    assert!(matches!(shard.publish_one(years), Err(Rejection::ValueRefused { .. })));
}

#[test]
fn a_queue_that_nobody_uses_ends_and_one_that_is_used_stays() {
    let mut shard = Shard::new();
    let expires = || MessageSettings { expires_ms: Some(10_000), ..durable() };
    for queue in ["unused", "asked", "consumed", "waited"] {
        shard.declare(queue, expires()).unwrap();
        shard.publish("", queue, "m").unwrap();
    }
    shard.consume(1, HERE, "consumed", 1);
    shard.take("waited", 1);
    let wait = LeaseMessages { wait_ms: 30_000, ..a_lease("waited") };
    shard.send(Command::Messages(MessageCommand::Lease(Box::new(wait))));
    shard.advance(6_000);
    shard.stand_of("asked");
    shard.advance(5_000);
    let is_there = |shard: &mut Shard, queue| shard.publish("", queue, "m") == Ok(routed(1));
    for (queue, expected) in
        [("unused", false), ("asked", true), ("consumed", true), ("waited", true)]
    {
        assert_eq!(is_there(&mut shard, queue), expected, "{queue}");
    }
    // Publishing is no use of it.
    shard.advance(6_000);
    assert!(!is_there(&mut shard, "asked"));
    shard.carry_out(MessageCommand::CloseConnection { connection: HERE }).unwrap();
    shard.advance(9_000);
    assert!(is_there(&mut shard, "consumed"));
    // A start counts as a use.
    let mut shard = shard.restart();
    shard.advance(9_000);
    assert!(is_there(&mut shard, "consumed"));
    shard.advance(2_000);
    assert!(!is_there(&mut shard, "consumed"));
    shard.advance(1);
    let left = shard.turn.map().entries().keys().filter(|key| key[0] == 100 && key[8] == 3).count();
    assert_eq!(left, 0, "with its messages");
}

#[test]
fn an_exchange_that_spreads_sends_each_key_to_one_queue_always() {
    let mut shard = Shard::new();
    shard.exchange("spread", ExchangeKind::ConsistentHash);
    for queue in ["a", "b", "c"] {
        shard.declare(queue, durable()).unwrap();
        shard.bind("spread", "5", queue);
    }
    for round in 0..2 {
        for key in 0..60 {
            assert_eq!(
                shard.publish("spread", &format!("k{key}"), &key.to_string()),
                Ok(routed(1))
            );
        }
        for queue in ["a", "b", "c"] {
            assert!(shard.stand_of(queue).ready > round * 5, "{queue} has its share");
        }
    }
    for queue in ["a", "b", "c"] {
        let mut bodies = texts(&shard.take(queue, 200));
        bodies.sort();
        assert!(bodies.chunks(2).all(|pair| pair[0] == pair[1]), "both rounds of a key");
    }
    let bad = MessageCommand::Bind(Box::new(a_binding("spread", "heavy", "a")));
    assert!(matches!(shard.carry_out(bad), Err(Rejection::ValueRefused { .. })));
    let mut shard = shard.restart();
    assert_eq!(
        shard.publish("spread", "k1", "m"),
        Ok(routed(1)),
        "bindings are there after a start"
    );
}

#[test]
fn what_a_full_queue_refuses_may_become_a_letter() {
    let mut shard = Shard::new();
    shard.declare("graves", durable()).unwrap();
    let full = MessageSettings {
        max_length: Some(1),
        overflow: crate::message::Overflow::RejectPublishDeadLetter,
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("graves".into()),
        ..durable()
    };
    shard.declare("q", full).unwrap();
    assert_eq!(shard.publish("", "q", "one"), Ok(routed(1)));
    let refused = shard.publish("", "q", "two");
    assert!(matches!(refused, Err(Rejection::QueueFull { .. })), "{refused:?}");
    assert_eq!(shard.stand_of("q").ready, 1);
    let letters = shard.take("graves", 9);
    assert_eq!(texts(&letters), ["two"]);
    let death = &letters[0].message.deaths[0];
    assert_eq!((death.queue.as_str(), death.reason.name(), death.count), ("q", "maxlen", 1));
}
