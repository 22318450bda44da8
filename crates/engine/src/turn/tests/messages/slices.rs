//! What touches many messages goes in slices, a bounded part in each turn.

use super::*;

const COUNT: usize = 3000;
const SLICE: usize = 4;

/// A shard with a long queue.
fn long() -> Shard {
    let mut shard = Shard::recover(&[], Limits { slice_items_max: SLICE, ..Limits::default() });
    shard.declare("long", durable()).unwrap();
    for _ in 0..COUNT / 100 {
        let message = PublishMessage {
            routing_key: "long".into(),
            persistent: true,
            body: Bytes::from_static(b"m"),
            ..PublishMessage::default()
        };
        shard.carry_out(MessageCommand::Publish(vec![message; 100])).unwrap();
    }
    shard
}

/// Keys of messages that are there.
fn there(shard: &Shard) -> usize {
    shard.turn.map().entries().keys().filter(|key| key.first() == Some(&100)).count()
}

/// Ticks until nothing is left; each takes a bounded part.
fn ebb(shard: &mut Shard, bound: usize) {
    let mut left = there(shard);
    while left > 0 {
        let more = shard.turn.tick(shard.clock);
        shard.flush();
        let now = there(shard);
        assert!(left - now <= bound, "{} of them in one turn", left - now);
        assert!(now == 0 || more, "{now} are left, and nothing goes on");
        left = now;
    }
}

#[test]
fn a_long_queue_that_is_deleted_or_emptied_goes_bit_by_bit() {
    let mut shard = long();
    let (if_unused, if_empty) = (false, false);
    let (queue, connection) = ("long".to_owned(), None);
    let delete = MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
    shard.carry_out(delete).unwrap();
    assert!(there(&shard) >= COUNT - 4 * SLICE);
    ebb(&mut shard, 4 * SLICE);

    let mut shard = long();
    let (queue, connection) = ("long".to_owned(), None);
    let purge = Command::Messages(MessageCommand::PurgeQueue { queue, connection });
    let reply_to = shard.send(purge);
    assert!(there(&shard) >= COUNT - 4 * SLICE);
    ebb(&mut shard, 4 * SLICE);
    let messages = COUNT as u64;
    let purged = shard.answers.remove(&reply_to);
    let purged = matches!(
        purged,
        Some(Answer::Messages(MessageAnswer::Purged { messages: of })) if of == messages
    );
    assert!(purged, "answered once all are gone");
}

#[test]
fn a_connection_with_many_messages_and_consumers_ends_bit_by_bit() {
    let mut shard = long();
    for consumer in 0..50 {
        shard.consume(consumer, HERE, "long", 40);
    }
    while shard.turn.tick(shard.clock) {}
    shard.flush();
    assert_eq!(shard.stand_of("long").unsettled, 2000);
    shard.declare_by("mine", MessageSettings { exclusive: true, ..durable() }, Some(HERE)).unwrap();
    let close = MessageCommand::CloseConnection { connection: HERE };
    let reply_to = shard.send(Command::Messages(close));
    let mut left = shard.stand_of("long").unsettled;
    assert!(left > 1900, "{left}");
    while !shard.answers.contains_key(&reply_to) {
        shard.turn.tick(shard.clock);
        shard.flush();
        let now = shard.stand_of("long").unsettled;
        assert!(left.saturating_sub(now) <= 4 * SLICE as u64, "{left}, then {now}");
        left = now;
    }
    let view = shard.stand_of("long");
    assert_eq!((view.unsettled, view.consumers, view.ready), (0, 0, COUNT as u64));
    assert_eq!(shard.publish("", "mine", "m"), Ok(Published::Unroutable), "it ended with it");
    // In its old order.
    let places: Vec<_> = shard.take("long", 100).iter().map(|it| it.tag.place).collect();
    assert!(places.is_sorted() && places.len() == 100);
}

/// A thousand messages to a thousand queues each were a million entries in one turn.
#[test]
fn a_bulk_that_enters_many_queues_goes_bit_by_bit_and_in_order() {
    let mut shard = Shard::new();
    shard.exchange("all", ExchangeKind::Fanout);
    for queue in 0..500 {
        shard.declare(&format!("q{queue}"), durable()).unwrap();
        shard.bind("all", "", &format!("q{queue}"));
    }
    let message = |body: &str| PublishMessage {
        exchange: "all".into(),
        persistent: true,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..PublishMessage::default()
    };
    let bulk = MessageCommand::Publish(vec![message("first"); 30]);
    let bulk = shard.send(Command::Messages(bulk));
    let last = MessageCommand::Publish(vec![message("last")]);
    let last = shard.send(Command::Messages(last));
    let entered = |shard: &Shard| there(shard) / 500;
    assert!(entered(&shard) < 12, "{} messages in one turn", entered(&shard));
    assert!(!shard.answers.contains_key(&bulk));
    let mut before = entered(&shard);
    while before < 31 {
        assert!(!shard.answers.contains_key(&last), "before it entered");
        assert!(shard.turn.tick(shard.clock) || entered(&shard) == 31);
        shard.flush();
        let now = entered(&shard);
        assert!(now > before && now - before < 12, "{before}, then {now}");
        before = now;
    }
    assert!(shard.answers.contains_key(&bulk) && shard.answers.contains_key(&last));
    assert_eq!(texts(&shard.take("q499", 40))[29..], ["first", "last"]);
}
