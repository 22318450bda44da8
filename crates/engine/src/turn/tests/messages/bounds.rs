//! What reviews found: times that ran out unseen, work of one turn without a bound, letters that
//! were not left.

use super::*;
use crate::message::Overflow;

/// Keys of messages that are there.
fn there(shard: &Shard) -> usize {
    shard.turn.map().entries().keys().filter(|key| key.first() == Some(&100)).count()
}

/// A queue whose letters go to five hundred others.
fn wide(settings: MessageSettings) -> Shard {
    let mut shard = Shard::new();
    shard.exchange("wide", ExchangeKind::Fanout);
    for queue in 0..500 {
        shard.declare(&format!("q{queue}"), durable()).unwrap();
        shard.bind("wide", "", &format!("q{queue}"));
    }
    let settings =
        MessageSettings { dead_letter_exchange: Some("wide".into()), durable: true, ..settings };
    shard.declare("in", settings).unwrap();
    shard
}

fn to(queue: &str, body: &str) -> PublishMessage {
    PublishMessage {
        routing_key: queue.into(),
        persistent: true,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..PublishMessage::default()
    }
}

/// Ticks until nothing goes on; no tick brings about more than a bounded number of entries.
fn flow(shard: &mut Shard) {
    let mut before = there(shard);
    for _ in 0..1000 {
        let more = shard.turn.tick(shard.clock);
        shard.flush();
        let now = there(shard);
        assert!(now.abs_diff(before) < 6000, "{before}, then {now}");
        before = now;
        if !more {
            return;
        }
    }
    panic!("it never comes to rest");
}

#[test]
fn a_message_whose_time_runs_out_while_somebody_has_it_ends_once_it_is_back() {
    let mut shard = Shard::new();
    shard.declare("dead", durable()).unwrap();
    let settings = MessageSettings {
        ttl_ms: Some(1000),
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("dead".into()),
        ..durable()
    };
    shard.declare("in", settings).unwrap();
    let index =
        |shard: &Shard| shard.turn.map().entries().keys().filter(|key| key[0] == 108).count();
    for again in ["requeued", "left", "acked"] {
        shard.publish("", "in", again).unwrap();
    }
    shard.consume(1, HERE, "in", 3);
    let tags: Vec<_> = shard.messages.drain(..).map(|(_, it)| it.tag).collect();
    shard.advance(2000);
    assert_eq!((shard.stand_of("in").unsettled, shard.stand_of("dead").ready), (3, 0));
    // Nothing is asked of a time that has passed while the message is with somebody.
    assert_eq!(shard.turn.next_wake_ms(shard.clock), None);
    let mut other = shard.restart();
    assert_eq!(shard.settle_as(HERE, &tags[..1], MessageVerdict::Requeue), [Ok(())]);
    shard.carry_out(MessageCommand::Cancel { consumer: ConsumerId(1) }).unwrap();
    shard.advance(1);
    assert_eq!(shard.stand_of("dead").ready, 1);
    shard.settle_as(HERE, &tags[2..], MessageVerdict::Ack);
    shard.carry_out(MessageCommand::CloseConnection { connection: HERE }).unwrap();
    shard.advance(1);
    assert_eq!(texts(&shard.take("dead", 9)), ["requeued", "left"]);
    assert_eq!((shard.stand_of("in").ready, index(&shard)), (0, 0));
    // A start gives back what was with somebody.
    other.advance(1);
    assert_eq!(texts(&other.take("dead", 9)), ["requeued", "left", "acked"]);
    assert_eq!((other.stand_of("in").ready, index(&other)), (0, 0));
}

#[test]
fn a_queue_with_one_active_consumer_is_not_taken_from_for_a_time() {
    let mut shard = Shard::new();
    let single = MessageSettings { single_active_consumer: true, ..durable() };
    shard.declare("one", single).unwrap();
    shard.publish("", "one", "m").unwrap();
    let lease = MessageCommand::Lease(Box::new(a_lease("one")));
    let refused = shard.carry_out(lease).map(|_| ());
    assert_eq!(refused, Err(Rejection::ConsumerExclusive { queue: "one".into() }));
    assert_eq!(shard.stand_of("one").ready, 1);
}

#[test]
fn a_transaction_lets_go_what_went_with_its_queue() {
    let mut shard = Shard::new();
    shard.declare("in", durable()).unwrap();
    shard.publish("", "in", "m").unwrap();
    shard.consume(1, HERE, "in", 1);
    let tag = shard.messages[0].1.tag;
    let (queue, connection) = ("in".to_owned(), None);
    let (if_unused, if_empty) = (false, false);
    let delete = MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
    shard.carry_out(delete).unwrap();
    let settlements = vec![(tag, MessageVerdict::Ack)];
    let transaction = MessageTransaction { settlements, ..a_transaction() };
    shard.carry_out(MessageCommand::Transact(Box::new(transaction))).unwrap();
    let left = shard.turn.takers.connections.get(&HERE).map_or(0, |it| it.unsettled.len());
    assert_eq!(left, 0);
}

#[test]
fn letters_into_many_queues_are_left_bit_by_bit() {
    // Times that run out.
    let mut shard = wide(MessageSettings { ttl_ms: Some(100), ..durable() });
    shard.carry_out(MessageCommand::Publish(vec![to("in", "m"); 60])).unwrap();
    shard.clock.wall = shard.clock.wall.plus(200);
    flow(&mut shard);
    assert_eq!((shard.stand_of("q7").ready, shard.stand_of("in").ready), (60, 0));
    // Queues that are too long.
    let mut shard = wide(MessageSettings { max_length: Some(1), ..durable() });
    let reply_to = shard.send(Command::Messages(MessageCommand::Publish(vec![to("in", "m"); 61])));
    assert!(there(&shard) < 6000, "{} in the turn that published", there(&shard));
    flow(&mut shard);
    assert!(shard.answers.contains_key(&reply_to));
    assert_eq!((shard.stand_of("q7").ready, shard.stand_of("in").ready), (60, 1));
    // Messages that were delayed.
    let mut shard = wide(durable());
    let delayed = PublishMessage { exchange: "wide".into(), delay_ms: Some(100), ..to("in", "m") };
    shard.carry_out(MessageCommand::Publish(vec![delayed; 60])).unwrap();
    shard.clock.wall = shard.clock.wall.plus(200);
    flow(&mut shard);
    assert_eq!(shard.stand_of("q7").ready, 60);
}

#[test]
fn letters_of_a_transaction_count_as_what_it_publishes() {
    let mut shard = wide(durable());
    shard.carry_out(MessageCommand::Publish(vec![to("in", "m"); 100])).unwrap();
    shard.consume(1, HERE, "in", 100);
    let tags: Vec<_> = shard.messages.drain(..).map(|(_, it)| it.tag).collect();
    let settlements = tags.iter().map(|tag| (*tag, MessageVerdict::Reject)).collect();
    let transaction = MessageTransaction { settlements, ..a_transaction() };
    let refused = shard.carry_out(MessageCommand::Transact(Box::new(transaction))).map(|_| ());
    let is_bound = |it: &Rejection| matches!(it, Rejection::ValueRefused { field, .. } if *field == "transaction");
    assert!(refused.as_ref().is_err_and(is_bound), "{refused:?}");
    assert_eq!((shard.stand_of("in").unsettled, shard.stand_of("q7").ready), (100, 0));
}

#[test]
fn a_transaction_that_a_full_queue_refuses_leaves_the_letter_of_what_it_refused() {
    let mut shard = Shard::new();
    shard.declare("graves", durable()).unwrap();
    let full = MessageSettings {
        max_length: Some(1),
        overflow: Overflow::RejectPublishDeadLetter,
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("graves".into()),
        ..durable()
    };
    shard.declare("q", full).unwrap();
    // Each of them alone would have room.
    let publishes = vec![to("q", "one"), to("q", "two")];
    let transaction = MessageTransaction { publishes, ..a_transaction() };
    let refused = shard.carry_out(MessageCommand::Transact(Box::new(transaction))).map(|_| ());
    assert!(matches!(refused, Err(Rejection::QueueFull { .. })), "{refused:?}");
    assert_eq!(shard.stand_of("q").ready, 0);
    assert_eq!(shard.stand_of("graves").ready, 0, "it was full by the transaction only");
    shard.publish("", "q", "there").unwrap();
    let publishes = vec![to("q", "three")];
    let transaction = MessageTransaction { publishes, ..a_transaction() };
    shard.carry_out(MessageCommand::Transact(Box::new(transaction))).unwrap_err();
    assert_eq!(texts(&shard.take("graves", 9)), ["three"]);
}

#[test]
fn consumers_of_a_deleted_queue_are_told_bit_by_bit() {
    let mut shard = Shard::recover(&[], Limits { slice_items_max: 4, ..Limits::default() });
    shard.declare("in", durable()).unwrap();
    for consumer in 0..100 {
        shard.consume(consumer, HERE, "in", 1);
    }
    let wait = LeaseMessages { wait_ms: 30_000, ..a_lease("in") };
    let waits = shard.send(Command::Messages(MessageCommand::Lease(Box::new(wait))));
    let (queue, connection) = ("in".to_owned(), None);
    let (if_unused, if_empty) = (false, false);
    let delete = MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
    shard.carry_out(delete).unwrap();
    let mut told = shard.closed.len();
    assert!(told <= 16, "{told} in one turn");
    // Who leaves meanwhile leaves nothing behind.
    shard.carry_out(MessageCommand::Cancel { consumer: ConsumerId(99) }).unwrap();
    while !shard.answers.contains_key(&waits) {
        let more = shard.turn.tick(shard.clock);
        shard.flush();
        assert!(more || shard.answers.contains_key(&waits), "{told} were told");
        assert!(shard.closed.len() - told <= 16);
        told = shard.closed.len();
    }
    assert_eq!(told, 99);
    shard.advance(1);
    assert!(shard.turn.state.messages.has_no_shelf());
}

#[test]
fn a_delayed_message_follows_the_alternate_of_its_exchange_or_is_counted() {
    let mut shard = Shard::new();
    shard.exchange("rest", ExchangeKind::Fanout);
    let alternate = Some("rest".to_owned());
    let x = DeclareExchange { alternate, ..an_exchange("x", ExchangeKind::Direct) };
    shard.exchange_with(x).unwrap();
    shard.declare("left", durable()).unwrap();
    let delayed =
        |body| PublishMessage { exchange: "x".into(), delay_ms: Some(100), ..to("nobody", body) };
    shard.publish_one(delayed("lost")).unwrap();
    shard.advance(100);
    let lost = |shard: &Shard| shard.turn.stats(shard.clock, None, 10).delayed_lost;
    assert_eq!(lost(&shard), 1);
    shard.bind("rest", "", "left");
    shard.publish_one(delayed("kept")).unwrap();
    shard.advance(100);
    assert_eq!((lost(&shard), texts(&shard.take("left", 9))), (1, vec!["kept".to_owned()]));
}

/// A consumer had a bound in messages alone: what it was handed ahead could be of any size.
#[test]
fn a_consumer_takes_no_more_bytes_than_it_said() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    for n in 0..8 {
        shard.publish("", "q", &format!("{n}{}", "x".repeat(999))).unwrap();
    }
    let credit = MessageCredit { messages: 9, bytes: 2600 };
    let consume = ConsumeMessages { credit, ..a_consumer(1, HERE, "q") };
    shard.carry_out(MessageCommand::Consume(Box::new(consume))).unwrap();
    assert_eq!(shard.got().len(), 3, "the third one is larger than what was left");
    let give = |shard: &mut Shard, messages, bytes| {
        let credit = vec![(ConsumerId(1), MessageCredit { messages, bytes })];
        shard.carry_out(MessageCommand::AddCredit(credit)).unwrap();
        shard.got().len()
    };
    assert_eq!(give(&mut shard, 0, 1168), 0, "that is paid first");
    assert_eq!(give(&mut shard, 0, 1), 1);
    assert_eq!(give(&mut shard, 9, 0), 0);
    assert_eq!(give(&mut shard, 0, u64::MAX), 4);
    assert_eq!(shard.stand_of("q").unsettled, 8);
}
