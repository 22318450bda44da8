//! Ordering keys: one message of a key at a time is with somebody, in order, whatever becomes of
//! those before it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::message::MessageMove;
use crate::operation::OperationKind;

const KEY: &str = "customer";

fn ordered() -> MessageSettings {
    MessageSettings { ordering_header: Some(KEY.to_owned()), ..durable() }
}

/// Properties with one header that is a text: flags, then the table.
fn with_header(value: &str) -> Bytes {
    let mut table = vec![KEY.len() as u8];
    table.extend_from_slice(KEY.as_bytes());
    table.push(b'S');
    table.extend_from_slice(&(value.len() as u32).to_be_bytes());
    table.extend_from_slice(value.as_bytes());
    let mut properties = (1_u16 << 13).to_be_bytes().to_vec();
    properties.extend_from_slice(&(table.len() as u32).to_be_bytes());
    properties.extend_from_slice(&table);
    properties.into()
}

impl Shard {
    fn publish_keyed(&mut self, key: Option<&str>, body: &str, priority: u8) {
        let message = PublishMessage {
            routing_key: "q".into(),
            persistent: true,
            priority,
            properties: key.map(with_header).unwrap_or_default(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            ..PublishMessage::default()
        };
        self.publish_one(message).unwrap();
    }
}

#[test]
fn of_a_key_one_message_at_a_time_is_with_somebody_and_in_order() {
    let mut shard = Shard::new();
    shard.declare("q", ordered()).unwrap();
    for (key, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")] {
        shard.publish_keyed(Some(key), body, 0);
    }
    shard.publish_keyed(None, "free", 0);
    let first = shard.take("q", 9);
    assert_eq!(texts(&first), ["a1", "b1", "free"]);
    assert_eq!(texts(&shard.take("q", 9)), [""; 0]);
    // What comes back comes before those behind it, to whoever takes next.
    shard.settle_taken(&first[..1], MessageVerdict::Requeue);
    shard.consume(1, HERE, "q", 9);
    let a1 = shard.messages.first().unwrap().1.tag;
    assert_eq!(shard.got(), [got(1, "a1", true)]);
    shard.settle_taken(&first[1..2], MessageVerdict::Ack);
    assert_eq!(shard.got(), [got(1, "b2", false)]);
    shard.settle_as(HERE, &[a1], MessageVerdict::Reject);
    assert_eq!(shard.got(), [got(1, "a2", false)]);
}

#[test]
fn what_is_held_for_a_time_keeps_its_key_across_a_restart() {
    let mut shard = Shard::new();
    shard.declare("q", ordered()).unwrap();
    for body in ["a1", "a2", "a3"] {
        shard.publish_keyed(Some("a"), body, 0);
    }
    let held = shard.take("q", 1);
    assert_eq!(texts(&held), ["a1"]);
    let mut shard = shard.restart();
    assert_eq!(texts(&shard.take("q", 9)), [""; 0]);
    shard.settle_taken(&held, MessageVerdict::Ack);
    assert_eq!(texts(&shard.take("q", 9)), ["a2"]);
    // Its time runs out, and it comes first again.
    shard.advance(40_000);
    assert_eq!(texts(&shard.take("q", 9)), ["a2"]);
}

#[test]
fn what_stands_aside_may_go_and_a_declaration_has_its_header() {
    let mut shard = Shard::new();
    shard.declare("q", ordered()).unwrap();
    shard.declare("other", durable()).unwrap();
    for body in ["a1", "a2", "a3", "a4"] {
        shard.publish_keyed(Some("a"), body, 0);
    }
    let held = shard.take("q", 9);
    let moving = MessageMove {
        queue: "q".into(),
        to: crate::message::MoveTo::Queue { queue: "other".into() },
        filter: crate::message::MessageFilter { text: Some("a2".into()), ..Default::default() },
        limit: None,
    };
    let kind = OperationKind::MoveMessages { moving: Box::new(moving) };
    shard.call(Command::StartOperation(kind));
    shard.advance(1);
    assert_eq!(texts(&shard.take("other", 9)), ["a2"]);
    shard.settle_taken(&held, MessageVerdict::Ack);
    assert_eq!(texts(&shard.take("q", 9)), ["a3"]);
    let otherwise = shard.declare("q", durable()).unwrap_err();
    assert!(matches!(otherwise, Rejection::DeclaredOtherwise { .. }));
}

/// It was found by taking, which sets aside what has a busy key: nothing was dropped, or another.
#[test]
fn what_is_too_long_drops_its_first_message_though_its_key_is_busy() {
    let mut shard = Shard::new();
    shard.declare("q", MessageSettings { max_length: Some(3), ..ordered() }).unwrap();
    shard.publish_keyed(Some("a"), "a1", 0);
    let held = shard.take("q", 9);
    for body in ["a2", "a3", "a4", "a5"] {
        shard.publish_keyed(Some("a"), body, 0);
    }
    assert_eq!(shard.stand_of("q").ready, 3);
    // Those that stand aside go, before one that nothing blocks.
    assert_eq!(texts(&shard.take("q", 9)), [""; 0]);
    shard.publish_keyed(Some("b"), "b1", 0);
    shard.publish_keyed(Some("b"), "b2", 0);
    assert_eq!(shard.stand_of("q").ready, 3);
    assert_eq!(texts(&shard.take("q", 9)), ["b1"]);
    shard.settle_taken(&held, MessageVerdict::Ack);
    assert_eq!(texts(&shard.restart().take("q", 9)), ["a5"]);
    assert_eq!(texts(&shard.take("q", 9)), ["a5"]);
}

/// Nobody looked at what stood behind until a message of a busy key was settled.
#[test]
fn what_stands_behind_a_full_aside_comes_once_that_has_room() {
    for purges in [false, true] {
        let mut shard = Shard::new();
        let settings = MessageSettings { ttl_ms: (!purges).then_some(1000), ..ordered() };
        shard.declare("q", settings).unwrap();
        for number in 0..30 {
            let key = ["a", "c", "d"][number % 3];
            shard.publish_keyed(Some(key), &format!("{key}{number}"), 0);
        }
        shard.consume(1, HERE, "q", 9);
        let first = [got(1, "a0", false), got(1, "c1", false), got(1, "d2", false)];
        assert_eq!(shard.got(), first);
        shard.advance(500);
        shard.publish_keyed(Some("b"), "b", 0);
        assert_eq!(shard.got(), []);
        if purges {
            let (queue, connection) = ("q".to_owned(), None);
            shard.send(Command::Messages(MessageCommand::PurgeQueue { queue, connection }));
            shard.publish_keyed(Some("b"), "b", 0);
        }
        shard.advance(600);
        assert_eq!(shard.got(), [got(1, "b", false)], "{purges}");
    }
}

/// One key with very many messages kept all others from being handed out.
#[test]
fn a_key_with_very_many_messages_stands_in_no_others_way() {
    let mut shard = Shard::new();
    shard.declare("q", ordered()).unwrap();
    for number in 0..40 {
        shard.publish_keyed(Some("a"), &format!("a{number}"), 0);
        if number % 10 == 9 {
            shard.publish_keyed(Some("b"), &format!("b{number}"), 0);
        }
    }
    let mut held = shard.take("q", 9);
    assert_eq!(texts(&held), ["a0", "b9"]);
    assert!(shard.turn.state.messages.aside() <= 3 + 3);
    // Those that were passed come in their order, and what comes meanwhile stands behind them.
    shard.publish_keyed(Some("a"), "a40", 0);
    for (number, b) in (1..=40).zip([19, 29, 39].into_iter().map(Some).chain([None; 37])) {
        shard.settle_taken(&held, MessageVerdict::Ack);
        held = shard.take("q", 9);
        let b = b.map(|b| format!("b{b}"));
        let expected: Vec<_> = [format!("a{number}")].into_iter().chain(b).collect();
        assert_eq!(texts(&held), expected);
        assert!(shard.turn.state.messages.aside() <= 3 + 3);
    }
    shard.settle_taken(&held, MessageVerdict::Ack);
    assert_eq!(texts(&shard.take("q", 9)), [""; 0]);
    assert_eq!(shard.turn.state.messages.aside(), 0);
}

/// Walks over what waits know of the rest of a queue by what is in memory: what was passed is not.
#[test]
fn what_was_passed_is_moved_purged_and_removed_with_its_queue() {
    for way in ["move", "purge", "delete"] {
        let mut shard = Shard::new();
        shard.declare("q", ordered()).unwrap();
        shard.declare("other", durable()).unwrap();
        for number in 0..12 {
            shard.publish_keyed(Some("a"), &format!("a{number}"), 0);
        }
        let held = shard.take("q", 9);
        assert_eq!(texts(&held), ["a0"]);
        assert!(shard.turn.state.messages.aside() <= 3, "the others were passed");
        let (queue, connection) = ("q".to_owned(), None);
        match way {
            "move" => {
                let to = crate::message::MoveTo::Queue { queue: "other".into() };
                let filter = crate::message::MessageFilter::default();
                let moving = MessageMove { queue, to, filter, limit: None };
                let kind = OperationKind::MoveMessages { moving: Box::new(moving) };
                shard.call(Command::StartOperation(kind));
                shard.advance(1);
                let all: Vec<_> = (1..12).map(|number| format!("a{number}")).collect();
                assert_eq!(texts(&shard.take("other", 99)), all);
            }
            "purge" => {
                let answer = shard.carry_out(MessageCommand::PurgeQueue { queue, connection });
                assert!(matches!(answer, Ok(MessageAnswer::Purged { messages: 11 })), "{answer:?}");
            }
            _ => {
                let (if_unused, if_empty) = (false, false);
                let delete = MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
                shard.carry_out(delete).unwrap();
            }
        }
        shard.settle_taken(&held, MessageVerdict::Ack);
        shard.advance(1);
        assert_eq!(shard.turn.state.messages.aside(), 0, "{way}");
        let is_of_q = |key: &&Vec<u8>| key[0] == crate::state::keys::MESSAGE;
        let left = shard.turn.map().entries().keys().filter(is_of_q).count();
        assert_eq!(left, if way == "move" { 11 } else { 0 }, "{way}");
    }
}

/// What was passed is found within the looks of a turn, however far away it is.
#[test]
fn a_turn_looks_for_what_was_passed_within_its_bounds() {
    let limits = Limits { slice_items_max: 4, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.declare("q", ordered()).unwrap();
    let bodies = |shard: &mut Shard, key: &str, numbers: std::ops::Range<usize>| {
        for number in numbers {
            shard.publish_keyed(Some(key), &format!("{key}{number}"), 0);
        }
    };
    bodies(&mut shard, "a", 0..4);
    bodies(&mut shard, "b", 0..30);
    bodies(&mut shard, "a", 4..6);
    shard.consume(1, HERE, "q", 99);
    shard.advance(0);
    let mut seen = vec![];
    for _ in 0..36 {
        let came = std::mem::take(&mut shard.messages);
        let tags: Vec<_> = came.iter().map(|(_, it)| it.tag).collect();
        seen.extend(came.iter().map(|(_, it)| text(it)));
        shard.settle_as(HERE, &tags, MessageVerdict::Ack);
        let mut turns = 0;
        while shard.turn.next_wake_ms(shard.clock) == Some(0) {
            shard.turn.tick(shard.clock);
            turns += 1;
            assert!(turns < 40, "it comes to an end");
        }
        shard.flush();
    }
    let of = |key: &str| seen.iter().filter(|it| it.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(of("a"), (0..6).map(|n| format!("a{n}")).collect::<Vec<_>>());
    assert_eq!(of("b"), (0..30).map(|n| format!("b{n}")).collect::<Vec<_>>());
}

/// What may stand aside was bounded by queue, however many of these there are.
#[test]
fn so_many_stand_aside_of_all_queues_together() {
    let mut shard = Shard::new();
    let mut held = Vec::new();
    for queue in ["q", "r", "s", "t"] {
        shard.declare(queue, ordered()).unwrap();
        for number in 0..12 {
            let key = ["a", "b", "c"][number % 3];
            let message = PublishMessage {
                routing_key: queue.into(),
                persistent: true,
                properties: with_header(key),
                body: Bytes::from(format!("{key}{number}")),
                ..PublishMessage::default()
            };
            shard.publish_one(message).unwrap();
        }
        held.extend(shard.take(queue, 9));
    }
    assert!(shard.turn.state.messages.aside() <= 12);
    // Those for which there was no room come once there is some.
    let mut count = 0;
    while !held.is_empty() {
        count += held.len();
        shard.settle_taken(&held, MessageVerdict::Ack);
        held.clear();
        for queue in ["q", "r", "s", "t"] {
            held.extend(shard.take(queue, 9));
        }
        assert!(shard.turn.state.messages.aside() <= 12);
    }
    assert_eq!((count, shard.turn.state.messages.aside()), (48, 0));
}

/// Nobody could see why a message of a queue was not handed out.
#[test]
fn it_is_told_of_a_message_that_it_waits_for_its_key() {
    let mut shard = Shard::new();
    shard.declare("q", ordered()).unwrap();
    for (key, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")] {
        shard.publish_keyed(Some(key), body, 0);
    }
    let page = |shard: &Shard| {
        let (map, filter) = (shard.turn.map(), crate::message::MessageFilter::default());
        crate::query::peek_messages(map, ("default", "q"), &filter, None, (9, 999)).unwrap()
    };
    let blocked = |shard: &mut Shard| {
        let messages = page(shard).messages;
        assert!(messages.iter().all(|it| it.ordering_key.is_some()));
        let messages = messages.iter().map(|it| (it.tag.urgency, it.tag.place)).collect();
        let queue = "q".to_owned();
        match shard.carry_out(MessageCommand::Blocked { queue, messages }).unwrap() {
            MessageAnswer::Blocked(blocked) => blocked,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(blocked(&mut shard), [false; 4], "nobody has any");
    let held = shard.take("q", 1);
    assert_eq!(blocked(&mut shard), [false, true, false, true]);
    shard.settle_taken(&held, MessageVerdict::Ack);
    assert_eq!(texts(&shard.take("q", 9)), ["a2", "b1"]);
    assert_eq!(blocked(&mut shard), [false, false, true]);
}

/// One turn read all of them with their bodies.
#[test]
fn a_turn_looks_at_a_bounded_number_of_messages_whose_key_is_busy() {
    let limits = Limits { slice_items_max: 3, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.declare("q", ordered()).unwrap();
    let large = |body: &str| format!("{body}{}", "y".repeat(1000));
    for body in ["a1", "a2", "a3", "a4", "a5", "a6", "a7"] {
        shard.publish_keyed(Some("a"), &large(body), 0);
    }
    shard.publish_keyed(Some("b"), &large("b1"), 0);
    let held = shard.take("q", 1);
    assert_eq!(texts(&held), [large("a1")]);
    // One that does not wait does so until its queue was looked through.
    let reply = shard.send(Command::Messages(MessageCommand::Lease(Box::new(a_lease("q")))));
    assert!(!shard.answers.contains_key(&reply), "six are more than a turn looks at");
    shard.turn.tick(shard.clock);
    shard.flush();
    shard.advance(0);
    let answer = shard.answers.remove(&reply);
    let Some(Answer::Messages(MessageAnswer::Leased(taken))) = answer else { panic!("{answer:?}") };
    assert_eq!(texts(&taken), [large("b1")]);
    assert_eq!(texts(&shard.take("q", 9)), [""; 0]);
    shard.consume(1, HERE, "q", 9);
    shard.settle_taken(&held, MessageVerdict::Ack);
    assert_eq!(shard.got(), [got(1, &large("a2"), false)]);
}

/// What a consumer finds whose time ran out ends a bounded number at a time, too.
#[test]
fn a_turn_ends_a_bounded_number_of_messages_on_the_way() {
    let limits = Limits { slice_items_max: 3, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.declare("q", MessageSettings { ttl_ms: Some(1000), ..durable() }).unwrap();
    for _ in 0..20 {
        shard.publish("", "q", "over").unwrap();
    }
    shard.clock.wall = shard.clock.wall.plus(2000);
    shard.clock.mono = shard.clock.mono.plus(2000);
    shard.publish("", "q", "m").unwrap();
    shard.consume(1, HERE, "q", 9);
    assert_eq!((shard.got(), shard.stand_of("q").ready > 9), (Vec::new(), true));
    shard.advance(0);
    assert_eq!(shard.got(), [got(1, "m", false)]);
}

/// A generator of numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The key and the number that a body says.
fn keyed(body: &str) -> (String, u64) {
    let (key, number) = body.split_once('-').unwrap();
    (key.to_owned(), number.parse().unwrap())
}

/// A life of a queue with ordering keys, and what its clients know.
struct Life {
    draw: Draw,
    shard: Shard,
    /// What has not ended, by key.
    waits: BTreeMap<String, BTreeSet<u64>>,
    /// What somebody has: a connection, or whoever took it for a time.
    held: Vec<(MessageDelivery, Option<u64>)>,
    published: u64,
    consumers: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut shard = Shard::new();
        shard.declare("q", ordered()).unwrap();
        let (waits, held) = (BTreeMap::new(), Vec::new());
        Self { draw: Draw(seed), shard, waits, held, published: 0, consumers: 0 }
    }

    fn step(&mut self) {
        match self.draw.below(12) {
            0..5 => {
                self.published += 1;
                let key = ["a", "b", "c"][self.draw.below(3) as usize];
                self.shard.publish_keyed(Some(key), &format!("{key}-{}", self.published), 0);
                self.waits.entry(key.to_owned()).or_default().insert(self.published);
            }
            5 => {
                let taken = self.shard.take("q", 1 + self.draw.below(3) as usize);
                self.held.extend(taken.into_iter().map(|it| (it, None)));
            }
            6 => {
                self.consumers += 1;
                let (consumer, credit) = (self.consumers, 1 + self.draw.below(4));
                self.shard.consume(consumer, ConnectionId(consumer), "q", credit);
            }
            7..11 if !self.held.is_empty() => {
                let at = self.draw.below(self.held.len() as u64) as usize;
                let requeue = self.draw.below(3) == 0;
                let verdict = if requeue { MessageVerdict::Requeue } else { MessageVerdict::Ack };
                self.settle(at, verdict);
            }
            _ if self.draw.below(4) == 0 => {
                self.shard = self.shard.restart();
                self.held.retain(|(_, by)| by.is_none());
            }
            _ if self.consumers > 0 => {
                let connection = ConnectionId(1 + self.draw.below(self.consumers));
                self.shard.send(Command::Messages(MessageCommand::CloseConnection { connection }));
                self.held.retain(|(_, by)| *by != Some(connection.0));
            }
            _ => {}
        }
        self.shard.advance(0);
        let came = std::mem::take(&mut self.shard.messages).into_iter();
        self.held.extend(came.map(|(by, got)| (got, Some(by))));
    }

    fn settle(&mut self, at: usize, verdict: MessageVerdict) {
        let (got, by) = self.held.swap_remove(at);
        let settled = match by {
            Some(by) => self.shard.settle_as(ConnectionId(by), &[got.tag], verdict),
            None => self.shard.settle_taken(std::slice::from_ref(&got), verdict),
        };
        assert_eq!(settled, [Ok(())]);
        if verdict == MessageVerdict::Ack {
            let (key, number) = keyed(&text(&got));
            self.waits.get_mut(&key).unwrap().remove(&number);
        }
    }

    /// One message of a key at most is with somebody, and it is the first of these.
    fn check(&self) {
        let mut keys = BTreeSet::new();
        for (got, _) in &self.held {
            let (key, number) = keyed(&text(got));
            assert!(keys.insert(key.clone()), "two have {key}");
            assert_eq!(self.waits[&key].first(), Some(&number), "out of order");
        }
    }

    /// Nothing is stuck: all that waits comes.
    fn drain(mut self) {
        while self.waits.values().any(|numbers| !numbers.is_empty()) {
            let taken = self.shard.take("q", 5);
            self.held.extend(taken.into_iter().map(|it| (it, None)));
            let came = std::mem::take(&mut self.shard.messages).into_iter();
            self.held.extend(came.map(|(by, got)| (got, Some(by))));
            self.check();
            assert!(!self.held.is_empty(), "{:?} are stuck", self.waits);
            while !self.held.is_empty() {
                self.settle(0, MessageVerdict::Ack);
            }
        }
    }
}

/// Random publishes, takes, settlements, consumers that come and go, and restarts: nobody gets a
/// message of a key that somebody else has, and none before an earlier one of its key has ended.
#[test]
fn no_two_holders_of_a_key_and_its_order_in_random_lives() {
    for seed in 0..300 {
        let mut life = Life::new(seed);
        for _ in 0..150 {
            life.step();
            life.check();
        }
        life.drain();
    }
}
