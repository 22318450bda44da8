//! Moving messages: back to where they came from, to another queue, to an exchange; what stays, and
//! a crash at every position.

use super::*;
use crate::message::{MessageEnd, MessageFilter, MessageMove, MoveTo, Overflow};
use crate::operation::{Operation, OperationKind, OperationState};

fn few() -> Limits {
    Limits { slice_items_max: 3, ..Limits::default() }
}

/// A queue that leaves its dead letters in `graves`.
fn with_letters() -> MessageSettings {
    let dead_letter_exchange = Some(String::new());
    let dead_letter_routing_key = Some("graves".to_owned());
    MessageSettings { dead_letter_exchange, dead_letter_routing_key, ..durable() }
}

fn back(filter: MessageFilter, limit: Option<u64>) -> MessageMove {
    MessageMove { queue: "graves".into(), to: MoveTo::Origin, filter, limit }
}

impl Shard {
    fn begin_move(&mut self, moving: MessageMove) -> Result<Operation, Rejection> {
        let kind = OperationKind::MoveMessages { moving: Box::new(moving) };
        match self.call(Command::StartOperation(kind)) {
            Answer::Operation(operation) => Ok(*operation),
            Answer::Rejected(rejection) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    /// A message in `graves`.
    fn publish_letter(&mut self, body: &str) {
        self.declare("graves", durable()).unwrap();
        self.publish("", "graves", body).unwrap();
    }

    fn moved(&mut self, moving: MessageMove) -> Operation {
        let begun = self.begin_move(moving).unwrap();
        self.advance(1);
        self.operation(&begun)
    }

    fn operation(&mut self, begun: &Operation) -> Operation {
        match self.call(Command::GetOperation { id: begun.id }) {
            Answer::Operation(operation) => *operation,
            other => panic!("{other:?}"),
        }
    }

    /// What stands in a queue, in its order.
    fn standing(&mut self, queue: &str) -> Vec<String> {
        let taken = self.take(queue, 100);
        let found = texts(&taken);
        self.settle_taken(&taken, MessageVerdict::Requeue);
        found
    }

    /// Two queues under a topic exchange, from which so many messages have become letters.
    fn with_graves(&mut self, letters: usize) {
        self.exchange("x", ExchangeKind::Topic);
        for queue in ["work", "other"] {
            self.declare(queue, with_letters()).unwrap();
        }
        self.declare("graves", durable()).unwrap();
        self.bind("x", "work.*", "work");
        self.bind("x", "other.*", "other");
        for number in 0..letters {
            let queue = if number % 3 == 2 { "other" } else { "work" };
            self.publish("x", &format!("{queue}.{number}"), &format!("m{number}")).unwrap();
            let taken = self.take(queue, 1);
            self.settle_taken(&taken, MessageVerdict::Reject);
        }
        assert_eq!(self.stand_of("graves").ready, letters as u64);
    }
}

#[test]
fn letters_go_back_to_where_they_ended_as_they_were_published_there() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(7);
    let done = shard.moved(back(MessageFilter::default(), None));
    assert_eq!((done.state, done.changed, done.kept), (OperationState::Finished, 7, 0));
    assert_eq!(shard.standing("graves"), [""; 0]);
    assert_eq!(shard.standing("other"), ["m2", "m5"]);
    let taken = shard.take("work", 9);
    assert_eq!(texts(&taken), ["m0", "m1", "m3", "m4", "m6"]);
    let first = &taken[0].message;
    assert_eq!((first.exchange.as_str(), first.routing_key.as_str()), ("x", "work.0"));
    assert_eq!((first.deaths[0].reason, first.deaths[0].count), (MessageEnd::Rejected, 1));
    // It may end there again, which counts on.
    shard.settle_taken(&taken[..1], MessageVerdict::Reject);
    let again = shard.take("graves", 1);
    assert_eq!((text(&again[0]), again[0].message.deaths[0].count), ("m0".to_owned(), 2));
}

#[test]
fn a_crash_at_any_position_loses_doubles_and_miscounts_nothing() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(11);
    let before = shard.journal.len();
    let limit = Some(8);
    let begun = shard.begin_move(back(MessageFilter::default(), limit)).unwrap();
    shard.advance(1);
    let after = shard.journal.len();
    assert!(after > before + 3, "it takes several slices");
    for kept in before + 1..=after {
        let mut again = Shard::recover(&shard.journal[..kept], few());
        again.next_reply = 1_000_000;
        again.advance(1);
        let done = again.operation(&begun);
        assert_eq!((done.state, done.changed), (OperationState::Finished, 8), "{kept}");
        assert_eq!(again.standing("work"), ["m0", "m1", "m3", "m4", "m6", "m7"], "{kept}");
        assert_eq!(again.standing("other"), ["m2", "m5"], "{kept}");
        assert_eq!(again.standing("graves"), ["m8", "m9", "m10"], "{kept}");
    }
}

#[test]
fn what_has_no_room_stays_in_order_and_pushes_nothing_out() {
    for overflow in [Overflow::RejectPublish, Overflow::DropHead] {
        let mut shard = Shard::recover(&[], few());
        shard.with_graves(6);
        let narrow = MessageSettings { max_length: Some(3), overflow, ..durable() };
        shard.declare("narrow", narrow).unwrap();
        shard.publish("", "narrow", "first").unwrap();
        let to = MoveTo::Queue { queue: "narrow".into() };
        let moving = MessageMove { to, ..back(MessageFilter::default(), None) };
        let done = shard.moved(moving);
        assert_eq!((done.changed, done.kept, done.examined), (2, 4, 6), "{overflow:?}");
        assert!(done.kept_why.unwrap().contains("narrow"), "{overflow:?}");
        assert_eq!(shard.standing("narrow"), ["first", "m0", "m1"], "{overflow:?}");
        assert_eq!(shard.standing("graves"), ["m2", "m3", "m4", "m5"], "{overflow:?}");
    }
}

#[test]
fn room_that_comes_meanwhile_lets_nothing_pass_what_stays() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(6);
    let narrow = MessageSettings { max_length: Some(1), ..durable() };
    shard.declare("narrow", narrow).unwrap();
    let to = MoveTo::Queue { queue: "narrow".into() };
    let begun = shard.begin_move(MessageMove { to, ..back(MessageFilter::default(), None) });
    shard.turn.tick(shard.clock);
    assert_eq!(shard.standing("narrow"), ["m0"]);
    let taken = shard.take("narrow", 1);
    shard.settle_taken(&taken, MessageVerdict::Ack);
    shard.advance(1);
    let done = shard.operation(&begun.unwrap());
    assert_eq!((done.changed, done.kept), (1, 5));
    assert_eq!(shard.standing("narrow"), [""; 0]);
}

#[test]
fn what_somebody_has_or_what_came_later_is_not_touched() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(5);
    let held = shard.take("graves", 1);
    let begun = shard.begin_move(back(MessageFilter::default(), None)).unwrap();
    shard.publish("", "graves", "later").unwrap();
    shard.advance(1);
    let done = shard.operation(&begun);
    assert_eq!((done.changed, done.kept), (4, 0));
    shard.settle_taken(&held, MessageVerdict::Requeue);
    assert_eq!(shard.standing("graves"), ["m0", "later"]);
}

#[test]
fn a_filter_says_which_and_what_came_from_nowhere_stays() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(6);
    shard.publish("", "graves", "of nobody").unwrap();
    let large = format!("{}needle{}", "y".repeat(9000), "z".repeat(9000));
    shard.publish("x", "work.large", &large).unwrap();
    let taken = shard.take("work", 1);
    shard.settle_taken(&taken, MessageVerdict::Reject);
    let text = MessageFilter { text: Some("needle".into()), ..MessageFilter::default() };
    assert_eq!(shard.moved(back(text, None)).changed, 1);
    assert_eq!(shard.standing("work"), [large.as_str()]);
    let of = |pattern: &str| MessageFilter {
        routing_key: Some(pattern.into()),
        ..MessageFilter::default()
    };
    // They stand there under the key of dead letters.
    assert_eq!(shard.moved(back(of("work.*"), None)).changed, 0);
    let other = MessageFilter { died_in: Some("other".into()), ..MessageFilter::default() };
    assert_eq!(shard.moved(back(other, None)).changed, 2);
    let expired = MessageFilter { reason: Some(MessageEnd::Expired), ..of("graves") };
    assert_eq!(shard.moved(back(expired, None)).changed, 0);
    let all = shard.moved(back(of("#"), None));
    assert_eq!((all.changed, all.kept), (4, 1));
    assert_eq!(all.kept_why.as_deref(), Some("it did not come from another queue"));
    assert_eq!(shard.standing("graves"), ["of nobody"]);
}

#[test]
fn an_exchange_routes_what_is_moved_to_it_and_what_nothing_takes_stays() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(3);
    shard.exchange("y", ExchangeKind::Fanout);
    let to = |routing_key: Option<&str>| MoveTo::Exchange {
        exchange: "y".into(),
        routing_key: routing_key.map(str::to_owned),
    };
    let moving = |to| MessageMove { to, ..back(MessageFilter::default(), None) };
    let done = shard.moved(moving(to(None)));
    assert_eq!((done.changed, done.kept), (0, 3));
    for queue in ["one", "two"] {
        shard.declare(queue, durable()).unwrap();
        shard.bind("y", "", queue);
    }
    assert_eq!(shard.moved(moving(to(Some("again")))).changed, 3);
    assert_eq!(shard.standing("one"), ["m0", "m1", "m2"]);
    let taken = shard.take("two", 9);
    assert_eq!(texts(&taken), ["m0", "m1", "m2"]);
    assert_eq!(taken[0].message.routing_key, "again");
}

#[test]
fn a_move_that_cannot_be_is_refused() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(1);
    shard.enqueue(job(1));
    let to = |to| MessageMove { to, ..back(MessageFilter::default(), None) };
    let queue = |name: &str| MoveTo::Queue { queue: name.into() };
    let mut refused = |moving| shard.begin_move(moving).unwrap_err();
    let unknown = |queue: &str| Rejection::QueueUnknown { queue: queue.into() };
    assert_eq!(refused(to(queue("nowhere"))), unknown("nowhere"));
    let of_nothing =
        MessageMove { queue: "nothing".into(), ..back(MessageFilter::default(), None) };
    assert_eq!(refused(of_nothing), unknown("nothing"));
    assert!(matches!(refused(to(queue("q"))), Rejection::QueueTypeRefused { .. }));
    assert!(matches!(refused(to(queue("graves"))), Rejection::ValueRefused { .. }));
    assert!(matches!(
        refused(back(MessageFilter::default(), Some(0))),
        Rejection::ValueRefused { .. }
    ));
    let long = MessageFilter { text: Some("y".repeat(2000)), ..MessageFilter::default() };
    assert!(matches!(refused(back(long, None)), Rejection::ValueRefused { field: "text", .. }));
    let exchange = MoveTo::Exchange { exchange: "no".into(), routing_key: None };
    assert!(matches!(refused(to(exchange)), Rejection::ExchangeUnknown { .. }));
}

#[test]
fn what_is_moved_may_become_jobs() {
    let mut shard = Shard::recover(&[], few());
    shard.with_graves(4);
    shard.enqueue(job(1));
    shard.exchange("y", ExchangeKind::Fanout);
    let job = crate::message::JobBinding { kind: "k".into(), ..Default::default() };
    let binding = BindingSpec { job: Some(job), ..a_binding("y", "", "q") };
    shard.carry_out(MessageCommand::Bind(Box::new(binding))).unwrap();
    let to = MoveTo::Exchange { exchange: "y".into(), routing_key: None };
    let done = shard.moved(MessageMove { to, ..back(MessageFilter::default(), None) });
    assert_eq!((done.changed, done.kept), (4, 0));
    assert_eq!(shard.lease(9).len(), 5);
    assert_eq!(shard.stand_of("graves").ready, 0);
}

/// A move asked whether a queue was full without the message that was to enter it.
#[test]
fn a_bound_of_bytes_counts_what_enters_so_nothing_is_pushed_out() {
    let mut shard = Shard::recover(&[], Limits::default());
    for body in ["large", "m1", "m2", "m3"] {
        shard.publish_letter(&format!(
            "{body}{}",
            "y".repeat(if body == "large" { 400 } else { 98 })
        ));
    }
    let narrow = MessageSettings { max_bytes: Some(350), ..durable() };
    shard.declare("narrow", narrow).unwrap();
    shard.publish("", "narrow", &"h".repeat(100)).unwrap();
    let to = MoveTo::Queue { queue: "narrow".into() };
    let done = shard.moved(MessageMove { to, ..back(MessageFilter::default(), None) });
    // The first one will never fit, and holds nothing up.
    assert_eq!((done.changed, done.kept, done.examined), (2, 2, 4));
    assert!(done.kept_why.unwrap().contains("narrow"));
    let heads = |found: Vec<String>| found.iter().map(|it| it[..2].to_owned()).collect::<Vec<_>>();
    assert_eq!(heads(shard.standing("narrow")), ["hh", "m1", "m2"]);
    assert_eq!(heads(shard.standing("graves")), ["la", "m3"]);
}

#[test]
fn more_args_of_jobs_than_a_publish_may_make_stay() {
    let mut shard = Shard::recover(&[], Limits { bulk_bytes_max: 1000, ..few() });
    shard.publish_letter(&"y".repeat(600));
    shard.publish_letter("small");
    shard.enqueue(job(1));
    shard.exchange("y", ExchangeKind::Fanout);
    for kind in ["k", "l"] {
        let job = crate::message::JobBinding { kind: kind.into(), ..Default::default() };
        let binding = BindingSpec { job: Some(job), ..a_binding("y", "", "q") };
        shard.carry_out(MessageCommand::Bind(Box::new(binding))).unwrap();
    }
    assert!(shard.publish("y", "", &"y".repeat(600)).is_err());
    let to = MoveTo::Exchange { exchange: "y".into(), routing_key: None };
    let done = shard.moved(MessageMove { to, ..back(MessageFilter::default(), None) });
    assert_eq!((done.changed, done.kept), (1, 1));
    assert_eq!(shard.lease(9).len(), 3);
    assert_eq!(shard.stand_of("graves").ready, 1);
}
