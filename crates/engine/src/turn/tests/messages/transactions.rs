//! Publishes and settlements in one commit.

use super::*;
use crate::message::Overflow;

fn to(queue: &str, body: &str) -> PublishMessage {
    PublishMessage {
        routing_key: queue.into(),
        persistent: true,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..PublishMessage::default()
    }
}

impl Shard {
    fn transact(
        &mut self,
        publishes: Vec<PublishMessage>,
        settlements: Vec<(MessageTag, MessageVerdict)>,
    ) -> Result<Vec<Published>, Rejection> {
        let transaction = MessageTransaction { publishes, settlements, ..a_transaction() };
        match self.carry_out(MessageCommand::Transact(Box::new(transaction)))? {
            MessageAnswer::Transacted(published, _) => Ok(published),
            other => panic!("{other:?}"),
        }
    }

    /// Messages that a consumer of this connection has got and not settled.
    fn held(&mut self, queue: &str, bodies: &[&str]) -> Vec<MessageTag> {
        for body in bodies {
            self.publish("", queue, body).unwrap();
        }
        self.consume(1, HERE, queue, bodies.len() as u64);
        self.messages.drain(..).map(|(_, it)| it.tag).collect()
    }
}

#[test]
fn what_is_published_and_settled_together_is_one_entry() {
    let mut shard = Shard::new();
    for queue in ["in", "out", "other"] {
        shard.declare(queue, durable()).unwrap();
    }
    let tags = shard.held("in", &["1", "2", "3"]);
    let entries = shard.journal.len();
    let settlements = vec![(tags[0], MessageVerdict::Ack), (tags[2], MessageVerdict::Requeue)];
    let publishes = vec![to("out", "a"), to("nobody", "b"), to("other", "c"), to("out", "d")];
    let routed = Published::Routed { queues: 1 };
    assert_eq!(
        shard.transact(publishes, settlements),
        Ok(vec![routed.clone(), Published::Unroutable, routed.clone(), routed])
    );
    assert_eq!(shard.journal.len(), entries + 1);
    let view = shard.stand_of("in");
    assert_eq!((view.ready, view.unsettled, view.acked_total), (1, 1, 1));
    let mut shard = shard.restart();
    assert_eq!(texts(&shard.take("out", 9)), ["a", "d"]);
    assert_eq!(texts(&shard.take("other", 9)), ["c"]);
    assert_eq!(texts(&shard.take("in", 9)), ["2", "3"]);
}

#[test]
fn a_transaction_that_cannot_be_leaves_everything_as_it_was() {
    let mut shard = Shard::new();
    let settings =
        MessageSettings { max_length: Some(2), overflow: Overflow::RejectPublish, ..durable() };
    shard.declare("in", durable()).unwrap();
    shard.declare("full", settings).unwrap();
    let tags = shard.held("in", &["1", "2"]);
    let ack = |tag: MessageTag| (tag, MessageVerdict::Ack);
    let unknown = PublishMessage { exchange: "nowhere".into(), ..to("in", "x") };
    let many = vec![to("full", "1"), to("full", "2"), to("full", "3")];
    let entries = shard.journal.len();
    for (publishes, settlements) in [
        (vec![to("in", "x"), unknown], vec![ack(tags[0])]),
        // Each of them alone would have room.
        (many, vec![ack(tags[0])]),
        (vec![to("in", "x")], vec![ack(tags[0]), ack(tags[0])]),
    ] {
        shard.transact(publishes, settlements).unwrap_err();
    }
    assert_eq!(shard.journal.len(), entries);
    let view = shard.stand_of("in");
    assert_eq!((view.ready, view.unsettled), (0, 2));
    shard.transact(vec![to("full", "1"), to("full", "2")], vec![ack(tags[0])]).unwrap();
    // What went with its queue is settled already.
    let delete = MessageCommand::DeleteQueue {
        queue: "in".into(),
        connection: None,
        if_unused: false,
        if_empty: false,
    };
    shard.carry_out(delete).unwrap();
    shard.transact(Vec::new(), vec![ack(tags[1])]).unwrap();
}

#[test]
fn a_message_rejected_in_a_transaction_leaves_its_letter_behind_what_is_published() {
    let mut shard = Shard::new();
    shard.declare("dead", durable()).unwrap();
    let settings = MessageSettings {
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("dead".into()),
        delivery_limit: Some(1),
        ..durable()
    };
    shard.declare("in", settings).unwrap();
    let tags = shard.held("in", &["1", "2", "3"]);
    let settlements = vec![
        (tags[0], MessageVerdict::Reject),
        (tags[1], MessageVerdict::Reject),
        (tags[2], MessageVerdict::Requeue),
    ];
    shard.transact(vec![to("dead", "new")], settlements).unwrap();
    let mut shard = shard.restart();
    assert_eq!(texts(&shard.take("dead", 9)), ["new", "1", "2"]);
    let again = shard.take("in", 9);
    assert_eq!((texts(&again), again[0].returns), (vec!["3".into()], 1));
}

#[test]
fn a_transaction_into_too_many_queues_is_refused() {
    let mut shard = Shard::new();
    shard.exchange("all", ExchangeKind::Fanout);
    for queue in 0..500 {
        let queue = format!("q{queue}");
        shard.declare(&queue, durable()).unwrap();
        shard.bind("all", "", &queue);
    }
    let publishes = |count| {
        let message = || PublishMessage { exchange: "all".into(), ..to("", "m") };
        (0..count).map(|_| message()).collect()
    };
    assert_eq!(shard.transact(publishes(2), Vec::new()).map(|it| it.len()), Ok(2));
    let entries = shard.journal.len();
    let refused = shard.transact(publishes(100), Vec::new());
    let is_bound = |it: &Rejection| matches!(it, Rejection::ValueRefused { field, .. } if *field == "transaction");
    assert!(refused.as_ref().is_err_and(is_bound), "{refused:?}");
    assert_eq!(shard.journal.len(), entries);
    assert_eq!(shard.stand_of("q7").ready, 2);
}
