//! Exchanges, bindings, queues of messages and those who take from them.

mod bodies;
mod bounds;
mod jobs;
mod later;
mod moving;
mod ordering;
mod policies;
mod slices;

use super::*;
use crate::command::ConsumerId;
use crate::ids::ConnectionId;
use crate::message::{
    BindingSpec, ConsumeMessages, DeclareExchange, DeclareQueue, Declared, ExchangeKind,
    LeaseMessages, MessageAnswer, MessageCommand, MessageCredit, MessageDelivery, MessageName,
    MessageQueueView, MessageSettings, MessageSettlement, MessageTag, MessageTransaction,
    MessageVerdict, PublishMessage, Published,
};

mod shares;
mod transactions;

const HERE: ConnectionId = ConnectionId(1);
const THERE: ConnectionId = ConnectionId(2);

fn durable() -> MessageSettings {
    MessageSettings { durable: true, ..MessageSettings::default() }
}

fn limited(limit: u32) -> MessageSettings {
    MessageSettings { delivery_limit: Some(limit), ..durable() }
}

impl Shard {
    fn carry_out(&mut self, command: MessageCommand) -> Result<MessageAnswer, Rejection> {
        match self.call(Command::Messages(command)) {
            Answer::Messages(answer) => Ok(answer),
            Answer::Rejected(rejection) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    fn declare(&mut self, queue: &str, settings: MessageSettings) -> Result<Declared, Rejection> {
        self.declare_by(queue, settings, None)
    }

    fn declare_by(
        &mut self,
        queue: &str,
        settings: MessageSettings,
        connection: Option<ConnectionId>,
    ) -> Result<Declared, Rejection> {
        let declare = DeclareQueue { queue: queue.into(), settings, connection };
        match self.carry_out(MessageCommand::DeclareQueue(Box::new(declare)))? {
            MessageAnswer::Queue(_, declared) => Ok(declared),
            other => panic!("{other:?}"),
        }
    }

    fn exchange(&mut self, name: &str, kind: ExchangeKind) {
        self.exchange_with(DeclareExchange { ..an_exchange(name, kind) }).unwrap();
    }

    fn exchange_with(&mut self, exchange: DeclareExchange) -> Result<Declared, Rejection> {
        match self.carry_out(MessageCommand::DeclareExchange(Box::new(exchange)))? {
            MessageAnswer::Exchange(_, declared) => Ok(declared),
            other => panic!("{other:?}"),
        }
    }

    fn bind(&mut self, source: &str, key: &str, queue: &str) {
        self.carry_out(MessageCommand::Bind(Box::new(a_binding(source, key, queue)))).unwrap();
    }

    fn publish(&mut self, exchange: &str, key: &str, body: &str) -> Result<Published, Rejection> {
        let message = PublishMessage {
            exchange: exchange.into(),
            routing_key: key.into(),
            persistent: true,
            body: Bytes::copy_from_slice(body.as_bytes()),
            ..PublishMessage::default()
        };
        self.publish_one(message)
    }

    fn publish_one(&mut self, message: PublishMessage) -> Result<Published, Rejection> {
        match self.carry_out(MessageCommand::Publish(vec![message]))? {
            MessageAnswer::Published(mut came) => came.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn consume(&mut self, consumer: u64, connection: ConnectionId, queue: &str, credit: u64) {
        let credit = MessageCredit::of(credit);
        let consume = ConsumeMessages { credit, ..a_consumer(consumer, connection, queue) };
        self.carry_out(MessageCommand::Consume(Box::new(consume))).unwrap();
    }

    fn stand_of(&mut self, queue: &str) -> MessageQueueView {
        let get = MessageCommand::GetQueue { queue: queue.into(), connection: None };
        match self.carry_out(get).unwrap() {
            MessageAnswer::Queue(view, _) => *view,
            other => panic!("{other:?}"),
        }
    }

    /// What was delivered since this was asked last.
    fn got(&mut self) -> Vec<(u64, String, bool)> {
        let got = std::mem::take(&mut self.messages).into_iter();
        got.map(|(consumer, it)| (consumer, text(&it), it.redelivered)).collect()
    }

    fn settle_as(
        &mut self,
        connection: ConnectionId,
        tags: &[MessageTag],
        verdict: MessageVerdict,
    ) -> Vec<Result<(), Rejection>> {
        let settlements = tags.iter().map(|tag| (*tag, verdict)).collect();
        let settle = MessageCommand::Settle { connection, settlements, credit: Vec::new() };
        match self.carry_out(settle).unwrap() {
            MessageAnswer::Settled(settled) => settled,
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, queue: &str, max: usize) -> Vec<MessageDelivery> {
        let lease = LeaseMessages { max, ..a_lease(queue) };
        match self.carry_out(MessageCommand::Lease(Box::new(lease))).unwrap() {
            MessageAnswer::Leased(messages) => messages,
            other => panic!("{other:?}"),
        }
    }

    fn settle_taken(
        &mut self,
        messages: &[MessageDelivery],
        verdict: MessageVerdict,
    ) -> Vec<Result<(), Rejection>> {
        let settlement = |it: &MessageDelivery| MessageSettlement {
            message: name_of(it),
            token: it.lease.unwrap().0,
            verdict,
        };
        let settlements = messages.iter().map(settlement).collect();
        match self.carry_out(MessageCommand::SettleLeased(settlements)).unwrap() {
            MessageAnswer::Settled(settled) => settled,
            other => panic!("{other:?}"),
        }
    }
}

fn an_exchange(name: &str, kind: ExchangeKind) -> DeclareExchange {
    DeclareExchange {
        exchange: name.into(),
        kind,
        durable: true,
        auto_delete: false,
        internal: false,
        alternate: None,
        arguments: Bytes::new(),
    }
}

fn a_binding(source: &str, key: &str, queue: &str) -> BindingSpec {
    BindingSpec {
        source: source.into(),
        destination: queue.into(),
        routing_key: key.into(),
        ..BindingSpec::default()
    }
}

fn a_consumer(consumer: u64, connection: ConnectionId, queue: &str) -> ConsumeMessages {
    ConsumeMessages {
        consumer: ConsumerId(consumer),
        connection,
        queue: queue.into(),
        auto_ack: false,
        exclusive: false,
        priority: 0,
        credit: MessageCredit::of(0),
    }
}

fn a_lease(queue: &str) -> LeaseMessages {
    LeaseMessages { queue: queue.into(), max: 10, wait_ms: 0, lease_ms: None, auto_ack: false }
}

fn a_transaction() -> MessageTransaction {
    MessageTransaction {
        connection: Some(HERE),
        publishes: Vec::new(),
        settlements: Vec::new(),
        leased: Vec::new(),
        enqueues: Vec::new(),
    }
}

fn name_of(it: &MessageDelivery) -> MessageName {
    MessageName { queue: it.queue.to_string(), urgency: it.tag.urgency, place: it.tag.place }
}

fn text(message: &MessageDelivery) -> String {
    String::from_utf8(message.message.body.to_vec()).unwrap()
}

fn texts(messages: &[MessageDelivery]) -> Vec<String> {
    messages.iter().map(text).collect()
}

fn got(consumer: u64, body: &str, again: bool) -> (u64, String, bool) {
    (consumer, body.to_owned(), again)
}

fn routed(queues: usize) -> Published {
    Published::Routed { queues }
}

#[test]
fn a_message_goes_to_each_queue_that_is_bound_and_is_stored_with_one_record() {
    let mut shard = Shard::new();
    shard.exchange("orders", ExchangeKind::Topic);
    for (queue, key) in [("a", "eu.*"), ("b", "#"), ("c", "us.*")] {
        shard.declare(queue, durable()).unwrap();
        shard.bind("orders", key, queue);
    }
    shard.bind("orders", "eu.#", "a");
    let entries = shard.journal.len();
    assert_eq!(shard.publish("orders", "eu.paid", "m"), Ok(routed(2)));
    assert_eq!(shard.journal.len(), entries + 1);
    let ready = |shard: &mut Shard, queue| shard.stand_of(queue).ready;
    assert_eq!([ready(&mut shard, "a"), ready(&mut shard, "b"), ready(&mut shard, "c")], [1, 1, 0]);
    let mut shard = shard.restart();
    assert_eq!(texts(&shard.take("b", 9)), ["m"]);
    assert_eq!(shard.publish("orders", "us.paid", "n"), Ok(routed(2)));
    assert_eq!(shard.publish("", "c", "to the queue"), Ok(routed(1)));
    assert_eq!(texts(&shard.take("c", 9)), ["n", "to the queue"]);
    assert_eq!(shard.publish("", "nobody", "m"), Ok(Published::Unroutable));
    let unknown = Rejection::ExchangeUnknown { exchange: "x".into() };
    assert_eq!(shard.publish("x", "k", "m"), Err(unknown));
}

#[test]
fn exchanges_lead_to_others_and_to_their_alternates_without_going_round_for_ever() {
    let mut shard = Shard::new();
    let alternate = Some("unrouted".to_owned());
    shard.exchange("unrouted", ExchangeKind::Fanout);
    let first = DeclareExchange { alternate, ..an_exchange("first", ExchangeKind::Direct) };
    shard.exchange_with(first).unwrap();
    let inner = DeclareExchange { internal: true, ..an_exchange("inner", ExchangeKind::Fanout) };
    shard.exchange_with(inner).unwrap();
    shard.declare("q", durable()).unwrap();
    shard.declare("lost", durable()).unwrap();
    let to = |source: &str, key: &str, destination: &str| BindingSpec {
        to_exchange: true,
        ..a_binding(source, key, destination)
    };
    for binding in [to("first", "k", "inner"), to("inner", "", "first")] {
        shard.carry_out(MessageCommand::Bind(Box::new(binding))).unwrap();
    }
    shard.bind("inner", "", "q");
    shard.bind("unrouted", "", "lost");
    assert_eq!(shard.publish("first", "k", "one"), Ok(routed(1)));
    assert_eq!(shard.publish("first", "other", "two"), Ok(routed(1)));
    assert_eq!(
        (texts(&shard.take("q", 9)), texts(&shard.take("lost", 9))),
        (vec!["one".into()], vec!["two".into()])
    );
    let internal = Rejection::ExchangeInternal { exchange: "inner".into() };
    assert_eq!(shard.publish("inner", "", "m"), Err(internal));
}

#[test]
fn headers_are_compared_all_or_any() {
    use crate::message::{HeaderValue, Matching};
    let mut shard = Shard::new();
    shard.declare("all", durable()).unwrap();
    shard.declare("any", durable()).unwrap();
    let headers =
        vec![("a".to_owned(), HeaderValue::Int { value: 1 }), ("b".to_owned(), HeaderValue::Void)];
    for (queue, matching) in [("all", Matching::All), ("any", Matching::Any)] {
        let headers = headers.clone();
        let binding = BindingSpec { matching, headers, ..a_binding("amq.headers", "", queue) };
        shard.carry_out(MessageCommand::Bind(Box::new(binding))).unwrap();
    }
    let mut publish = |headers: &[(&str, i64)]| {
        let value = |value: &i64| HeaderValue::Int { value: *value };
        let headers = headers.iter().map(|(name, it)| ((*name).to_owned(), value(it))).collect();
        let exchange = "amq.headers".to_owned();
        shard.publish_one(PublishMessage { exchange, headers, ..PublishMessage::default() })
    };
    assert_eq!(publish(&[("a", 1), ("b", 7)]), Ok(routed(2)));
    assert_eq!(publish(&[("a", 1)]), Ok(routed(1)));
    assert_eq!(publish(&[("a", 2)]), Ok(Published::Unroutable));
}

#[test]
fn consumers_get_messages_in_order_and_in_turn_as_far_as_their_credit_goes() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    for body in ["1", "2", "3", "4", "5"] {
        shard.publish("", "q", body).unwrap();
    }
    shard.consume(1, HERE, "q", 1);
    shard.consume(2, THERE, "q", 2);
    assert_eq!(shard.got(), [got(1, "1", false), got(2, "2", false), got(2, "3", false)]);
    shard
        .carry_out(MessageCommand::AddCredit(vec![
            (ConsumerId(1), MessageCredit::of(1)),
            (ConsumerId(2), MessageCredit::of(9)),
        ]))
        .unwrap();
    assert_eq!(shard.got(), [got(1, "4", false), got(2, "5", false)]);
    shard.publish("", "q", "6").unwrap();
    assert_eq!(shard.got(), [got(2, "6", false)]);
    let view = shard.stand_of("q");
    assert_eq!((view.ready, view.unsettled, view.consumers), (0, 6, 2));
}

#[test]
fn what_is_requeued_or_left_by_a_connection_stands_where_it_stood() {
    for settings in [durable(), limited(20)] {
        let mut shard = Shard::new();
        shard.declare("q", settings).unwrap();
        for body in ["1", "2", "3", "4"] {
            shard.publish("", "q", body).unwrap();
        }
        shard.consume(1, HERE, "q", 3);
        let tags: Vec<_> = shard.messages.iter().map(|(_, it)| it.tag).collect();
        shard.got();
        assert_eq!(shard.settle_as(HERE, &tags[..1], MessageVerdict::Ack), [Ok(())]);
        assert!(shard.settle_as(HERE, &tags[..1], MessageVerdict::Ack)[0].is_err(), "twice");
        assert!(shard.settle_as(THERE, &tags[1..2], MessageVerdict::Ack)[0].is_err(), "another's");
        assert_eq!(shard.settle_as(HERE, &tags[2..], MessageVerdict::Requeue), [Ok(())]);
        shard.consume(2, THERE, "q", 1);
        assert_eq!(shard.got(), [got(2, "3", true)]);
        shard.carry_out(MessageCommand::CloseConnection { connection: HERE }).unwrap();
        shard
            .carry_out(MessageCommand::AddCredit(vec![(ConsumerId(2), MessageCredit::of(9))]))
            .unwrap();
        assert_eq!(shard.got(), [got(2, "2", true), got(2, "4", false)]);
        let view = shard.stand_of("q");
        assert_eq!((view.ready, view.unsettled, view.acked_total), (0, 3, 1));
    }
}

#[test]
fn after_a_restart_what_was_not_settled_comes_again_and_says_so() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    for body in ["1", "2", "3"] {
        shard.publish("", "q", body).unwrap();
    }
    shard.consume(1, HERE, "q", 2);
    let tags: Vec<_> = shard.messages.iter().map(|(_, it)| it.tag).collect();
    shard.settle_as(HERE, &tags[1..], MessageVerdict::Ack);
    let mut shard = shard.restart();
    shard.publish("", "q", "4").unwrap();
    shard.consume(7, THERE, "q", 9);
    assert_eq!(shard.got(), [got(7, "1", true), got(7, "3", true), got(7, "4", false)]);
}

#[test]
fn a_message_that_is_acked_before_delivery_never_comes_again() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    let consumer = ConsumeMessages {
        auto_ack: true,
        credit: MessageCredit::of(1),
        ..a_consumer(1, HERE, "q")
    };
    shard.carry_out(MessageCommand::Consume(Box::new(consumer))).unwrap();
    shard.publish("", "q", "1").unwrap();
    shard.publish("", "q", "2").unwrap();
    assert_eq!(shard.got(), [got(1, "1", false)]);
    let mut shard = shard.restart();
    assert_eq!(texts(&shard.take("q", 9)), ["2"]);
}

#[test]
fn messages_that_are_taken_for_a_time_go_back_when_it_is_over() {
    let mut shard = Shard::new();
    shard.declare("q", limited(1)).unwrap();
    for body in ["1", "2", "3"] {
        shard.publish("", "q", body).unwrap();
    }
    let taken = shard.take("q", 2);
    assert_eq!(texts(&taken), ["1", "2"]);
    assert_eq!(shard.settle_taken(&taken[1..], MessageVerdict::Ack), [Ok(())]);
    let mut shard = shard.restart();
    assert_eq!(texts(&shard.take("q", 9)), ["3"], "the first is still taken");
    shard.advance(20_000);
    let (messages, lease_ms) = (vec![(name_of(&taken[0]), taken[0].lease.unwrap().0)], None);
    shard.carry_out(MessageCommand::ExtendLeased { messages, lease_ms }).unwrap();
    shard.advance(20_000);
    let again = shard.take("q", 9);
    assert_eq!(
        (texts(&again), again[0].redelivered, again[0].returns),
        (vec!["3".into()], true, 1)
    );
    shard.advance(10_001);
    assert!(shard.settle_taken(&taken[..1], MessageVerdict::Ack)[0].is_err());
    let first = shard.take("q", 9);
    assert_eq!(texts(&first), ["1"]);
    assert_eq!(shard.settle_taken(&first, MessageVerdict::Requeue), [Ok(())]);
    shard.advance(60_000);
    let view = shard.stand_of("q");
    assert_eq!((view.ready, view.dropped_total), (0, 2), "both came back once too often");
}

#[test]
fn a_request_waits_for_messages() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    let wait = |wait_ms| {
        let lease = LeaseMessages { wait_ms, ..a_lease("q") };
        Command::Messages(MessageCommand::Lease(Box::new(lease)))
    };
    let (first, second) = (shard.send(wait(5_000)), shard.send(wait(9_000)));
    shard.publish("", "q", "1").unwrap();
    let leased = |answer| match answer {
        Some(Answer::Messages(MessageAnswer::Leased(messages))) => texts(&messages),
        other => panic!("{other:?}"),
    };
    assert_eq!(leased(shard.answers.remove(&first)), ["1"]);
    shard.advance(9_000);
    assert!(leased(shard.answers.remove(&second)).is_empty());
}

#[test]
fn queues_of_one_type_are_refused_what_is_of_the_other() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    let messages = || Rejection::QueueTypeRefused { queue: "q".into(), holds: "messages" };
    let refused = |answer| match answer {
        Answer::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(shard.enqueue(job(1))), messages());
    let put = |settings| Command::PutQueue { queue: "q".into(), settings };
    assert_eq!(refused(shard.call(put(QueueSettings::DEFAULT))), messages());
    let pause = Command::PauseQueue { queue: "q".into(), paused: true };
    assert_eq!(refused(shard.call(pause)), messages());
    let purge = OperationKind::DeleteQueue { queue: "q".into() };
    assert_eq!(refused(shard.call(Command::StartOperation(purge))), messages());
    shard.call(Command::PutQueue { queue: "jobs".into(), settings: QueueSettings::DEFAULT });
    let jobs = || Rejection::QueueTypeRefused { queue: "jobs".into(), holds: "jobs" };
    assert_eq!(shard.publish("", "jobs", "m"), Err(jobs()));
    assert_eq!(shard.declare("jobs", durable()), Err(jobs()));
    let bind = MessageCommand::Bind(Box::new(a_binding("amq.topic", "k", "jobs")));
    assert_eq!(shard.carry_out(bind).unwrap_err(), jobs());
}

#[test]
fn declaring_again_compares_and_names_what_differs() {
    let mut shard = Shard::new();
    assert_eq!(shard.declare("q", durable()), Ok(Declared::Created));
    assert_eq!(shard.declare("q", durable()), Ok(Declared::Present));
    match shard.declare("q", limited(3)) {
        Err(Rejection::DeclaredOtherwise { field: "delivery_limit", .. }) => {}
        other => panic!("{other:?}"),
    }
    shard.exchange("x", ExchangeKind::Fanout);
    match shard.exchange_with(an_exchange("x", ExchangeKind::Direct)) {
        Err(Rejection::DeclaredOtherwise { field: "type", current, .. }) => {
            assert_eq!(current, "fanout");
        }
        other => panic!("{other:?}"),
    }
    let reserved = shard.exchange_with(an_exchange("amq.mine", ExchangeKind::Direct));
    assert!(matches!(reserved, Err(Rejection::NameReserved { .. })));
    assert_eq!(
        shard.exchange_with(an_exchange("amq.topic", ExchangeKind::Topic)),
        Ok(Declared::Present)
    );
}

#[test]
fn what_belongs_to_a_connection_ends_with_it_and_what_is_transient_with_the_process() {
    let mut shard = Shard::new();
    let exclusive = MessageSettings { exclusive: true, ..durable() };
    shard.declare_by("mine", exclusive.clone(), Some(HERE)).unwrap();
    let locked = Rejection::QueueExclusive { queue: "mine".into() };
    assert_eq!(shard.declare_by("mine", exclusive, Some(THERE)), Err(locked));
    shard.declare("transient", MessageSettings::default()).unwrap();
    let temporary = MessageSettings { auto_delete: true, ..durable() };
    shard.declare("temporary", temporary).unwrap();
    shard.consume(1, HERE, "mine", 1);
    shard.consume(2, HERE, "temporary", 1);
    shard.publish("", "mine", "m").unwrap();
    let mut restarted = shard.restart();
    for queue in ["mine", "transient"] {
        let unknown = restarted.publish("", queue, "m");
        assert_eq!(unknown, Ok(Published::Unroutable), "{queue}");
    }
    assert_eq!(restarted.publish("", "temporary", "m"), Ok(routed(1)));
    shard.carry_out(MessageCommand::CloseConnection { connection: HERE }).unwrap();
    for queue in ["mine", "temporary"] {
        assert_eq!(shard.publish("", queue, "m"), Ok(Published::Unroutable), "{queue}");
    }
    assert_eq!(shard.publish("", "transient", "m"), Ok(routed(1)));
}

#[test]
fn nothing_is_left_of_what_was_deleted() {
    let mut shard = Shard::recover(&[], Limits { slice_items_max: 4, ..Limits::default() });
    let keys = |shard: &Shard| {
        let first = |key: &Vec<u8>| (100..=106).contains(&key[0]);
        shard.turn.map().entries().keys().filter(|key| first(key)).count()
    };
    shard.exchange("x", ExchangeKind::Topic);
    let gone = DeclareExchange { auto_delete: true, ..an_exchange("gone", ExchangeKind::Fanout) };
    shard.exchange_with(gone).unwrap();
    shard.declare("q", limited(9)).unwrap();
    shard.bind("gone", "", "q");
    for index in 0..50 {
        shard.bind("x", &format!("k.{index}"), "q");
        shard.publish("x", &format!("k.{index}"), "m").unwrap();
    }
    shard.consume(1, HERE, "q", 10);
    shard.take("q", 5);
    let delete = MessageCommand::DeleteQueue {
        queue: "q".into(),
        connection: None,
        if_unused: false,
        if_empty: false,
    };
    shard.carry_out(delete).unwrap();
    assert_eq!(shard.closed, [(1, CloseReason::QueueDeleted)]);
    assert_eq!(shard.publish("x", "k.1", "m"), Ok(Published::Unroutable));
    let mut shard = shard.restart();
    shard.declare("q", durable()).unwrap();
    assert_eq!(shard.stand_of("q").ready, 0);
    shard.advance(1);
    assert_eq!(keys(&shard), 1, "the exchange that was declared");
    let unknown = Rejection::ExchangeUnknown { exchange: "gone".into() };
    assert_eq!(shard.publish("gone", "", "m"), Err(unknown), "it ended with its last binding");
    shard.bind("x", "again", "q");
    shard
        .carry_out(MessageCommand::DeleteExchange { exchange: "x".into(), if_unused: false })
        .unwrap();
    shard.advance(1);
    assert_eq!(keys(&shard), 0);
}

#[test]
fn a_purge_removes_what_waits_and_nothing_that_somebody_has() {
    let mut shard = Shard::recover(&[], Limits { slice_items_max: 4, ..Limits::default() });
    shard.declare("q", durable()).unwrap();
    for index in 0..50 {
        shard.publish("", "q", &index.to_string()).unwrap();
    }
    shard.consume(1, HERE, "q", 3);
    let purge = MessageCommand::PurgeQueue { queue: "q".into(), connection: None };
    let reply = shard.send(Command::Messages(purge));
    shard.publish("", "q", "later").unwrap();
    shard.advance(1);
    match shard.answers.remove(&reply) {
        Some(Answer::Messages(MessageAnswer::Purged { messages })) => assert_eq!(messages, 47),
        other => panic!("{other:?}"),
    }
    let view = shard.stand_of("q");
    assert_eq!((view.ready, view.unsettled, view.bytes), (1, 3, 3 + 5));
    assert_eq!(texts(&shard.take("q", 9)), ["later"]);
}

#[test]
fn priorities_go_first_and_one_active_consumer_gets_all() {
    let mut shard = Shard::new();
    let settings =
        MessageSettings { max_priority: Some(5), single_active_consumer: true, ..durable() };
    shard.declare("q", settings).unwrap();
    shard.consume(1, HERE, "q", 0);
    shard.consume(2, THERE, "q", 9);
    for (priority, body) in [(0, "low"), (3, "mid"), (200, "high"), (5, "also high")] {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let routing_key = "q".to_owned();
        let message = PublishMessage { routing_key, priority, body, ..PublishMessage::default() };
        shard.publish_one(message).unwrap();
    }
    assert_eq!(shard.got(), [], "the second waits for the first");
    shard
        .carry_out(MessageCommand::AddCredit(vec![(ConsumerId(1), MessageCredit::of(2))]))
        .unwrap();
    assert_eq!(shard.got(), [got(1, "high", false), got(1, "also high", false)]);
    shard.carry_out(MessageCommand::Cancel { consumer: ConsumerId(1) }).unwrap();
    assert_eq!(shard.got(), [got(2, "mid", false), got(2, "low", false)]);
}

#[test]
fn a_namespace_takes_its_exchanges_and_bindings_with_it() {
    let mut shard = Shard::new();
    shard.exchange("x", ExchangeKind::Topic);
    let binding = BindingSpec { to_exchange: true, ..a_binding("amq.topic", "k", "x") };
    shard.carry_out(MessageCommand::Bind(Box::new(binding))).unwrap();
    assert!(matches!(shard.call(Command::DeleteNamespace), Answer::NamespaceDeleted));
    shard.advance(1);
    let left =
        shard.turn.map().entries().keys().filter(|key| (100..=106).contains(&key[0])).count();
    assert_eq!(left, 0);
    shard.declare("q", durable()).unwrap();
    assert_eq!(shard.publish("amq.topic", "k", "m"), Ok(Published::Unroutable));
}

#[test]
fn memory_keeps_nothing_of_what_nobody_consumes() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    for index in 0..2000 {
        shard.publish("", "q", &index.to_string()).unwrap();
    }
    assert_eq!(shard.turn.state.messages.young_bytes(), 0);
    shard.consume(1, HERE, "q", 1);
    assert!(shard.turn.state.messages.young_bytes() > 0);
    for index in 2000..3000 {
        shard.publish("", "q", &index.to_string()).unwrap();
    }
    shard
        .carry_out(MessageCommand::AddCredit(vec![(ConsumerId(1), MessageCredit::of(5_000))]))
        .unwrap();
    shard.advance(1);
    let all: Vec<_> = shard.got().into_iter().map(|(_, body, _)| body).collect();
    assert_eq!(all, (0..3000).map(|index| index.to_string()).collect::<Vec<_>>());
    shard.send(Command::Messages(MessageCommand::CloseConnection { connection: HERE }));
    shard.advance(1);
    assert_eq!((shard.turn.state.messages.young_bytes(), shard.stand_of("q").ready), (0, 3000));
    let purge = MessageCommand::PurgeQueue { queue: "q".into(), connection: None };
    shard.send(Command::Messages(purge));
    shard.advance(1);
    assert!(shard.turn.state.messages.has_no_shelf());
}

#[test]
fn what_ends_without_an_ack_leaves_a_letter_that_tells_why() {
    let mut shard = Shard::new();
    shard.declare("letters", durable()).unwrap();
    let settings = MessageSettings {
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("letters".into()),
        ..limited(1)
    };
    shard.declare("q", settings).unwrap();
    for body in ["rejected", "too often", "expired"] {
        let ttl_ms = (body == "expired").then_some(100);
        let (routing_key, body) = ("q".to_owned(), Bytes::copy_from_slice(body.as_bytes()));
        let message = PublishMessage { routing_key, ttl_ms, body, ..PublishMessage::default() };
        shard.publish_one(message).unwrap();
    }
    let first = shard.take("q", 1);
    assert_eq!(shard.settle_taken(&first, MessageVerdict::Reject), [Ok(())]);
    for _ in 0..2 {
        let second = shard.take("q", 1);
        assert_eq!(texts(&second), ["too often"]);
        assert_eq!(shard.settle_taken(&second, MessageVerdict::Requeue), [Ok(())]);
    }
    shard.advance(99);
    assert_eq!(shard.stand_of("q").ready, 1);
    shard.advance(1);
    assert_eq!(shard.stand_of("q").ready, 0);
    let mut shard = shard.restart();
    let letters = shard.take("letters", 9);
    assert_eq!(texts(&letters), ["rejected", "too often", "expired"]);
    let deaths = letters.iter().map(|letter| &letter.message.deaths[0]);
    let told: Vec<_> = deaths.map(|it| (it.queue.as_str(), it.reason.name(), it.count)).collect();
    assert_eq!(told, [("q", "rejected", 1), ("q", "delivery_limit", 1), ("q", "expired", 1)]);
    assert_eq!(letters[2].message.ttl_ms, None);
    assert_eq!(letters[2].message.deaths[0].ttl_ms, Some(100));
}

#[test]
fn a_letter_that_goes_round_by_itself_is_dropped_and_one_that_is_rejected_is_not() {
    let mut shard = Shard::new();
    let settings = MessageSettings {
        dead_letter_exchange: Some(String::new()),
        ttl_ms: Some(10),
        ..durable()
    };
    shard.declare("q", settings).unwrap();
    shard.publish("", "q", "m").unwrap();
    for _ in 0..3 {
        let taken = shard.take("q", 1);
        assert_eq!(shard.settle_taken(&taken, MessageVerdict::Reject), [Ok(())]);
    }
    let taken = shard.take("q", 1);
    assert_eq!(taken[0].message.deaths[0].count, 3);
    shard.settle_taken(&taken, MessageVerdict::Reject);
    assert_eq!(shard.stand_of("q").ready, 1);
    shard.advance(60);
    assert_eq!(shard.stand_of("q").ready, 0, "it expired, and would for ever");
}

#[test]
fn a_queue_that_is_too_long_drops_its_head_or_refuses() {
    let mut shard = Shard::new();
    let settings = MessageSettings { max_length: Some(2), ..durable() };
    shard.declare("drops", settings.clone()).unwrap();
    let overflow = crate::message::Overflow::RejectPublish;
    shard.declare("refuses", MessageSettings { overflow, ..settings }).unwrap();
    for body in ["1", "2", "3"] {
        assert_eq!(shard.publish("", "drops", body), Ok(routed(1)));
    }
    assert_eq!(texts(&shard.take("drops", 9)), ["2", "3"]);
    assert_eq!(shard.publish("", "refuses", "1"), Ok(routed(1)));
    assert_eq!(shard.publish("", "refuses", "2"), Ok(routed(1)));
    let full = Rejection::QueueFull { queue: "refuses".into(), length: 2, max_length: 2 };
    assert_eq!(shard.publish("", "refuses", "3"), Err(full));
    shard.take("refuses", 1);
    assert_eq!(shard.publish("", "refuses", "3"), Ok(routed(1)), "what somebody has does not wait");
}

/// A start finds a message that somebody took for a time in the midst of its lane. Once it was
/// passed there and came back, it was found nowhere until the next start.
#[test]
fn what_was_taken_before_a_start_and_passed_by_comes_back() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    for body in ["1", "2", "3", "4"] {
        shard.publish("", "q", body).unwrap();
    }
    let taken = shard.take("q", 2);
    assert_eq!(shard.settle_taken(&taken[..1], MessageVerdict::Requeue), [Ok(())]);
    for cancels in [false, true] {
        let mut shard = shard.restart();
        shard.consume(1, HERE, "q", 1);
        assert_eq!(shard.got(), [got(1, "1", true)]);
        shard.advance(31_000);
        if cancels {
            shard.carry_out(MessageCommand::Cancel { consumer: ConsumerId(1) }).unwrap();
        }
        shard.consume(2, HERE, "q", 9);
        let bodies: Vec<_> = shard.got().into_iter().map(|(_, body, _)| body).collect();
        assert_eq!(bodies, ["2", "3", "4"]);
    }
}

/// It came before those that had not been taken yet, since its place had been passed over.
#[test]
fn what_comes_back_stands_where_it_stood_among_what_was_not_taken() {
    let mut shard = Shard::new();
    shard.declare("q", durable()).unwrap();
    for body in ["1", "2", "3"] {
        shard.publish("", "q", body).unwrap();
    }
    shard.consume(1, HERE, "q", 3);
    shard.publish("", "q", "4").unwrap();
    let fourth = shard.take("q", 1);
    shard.publish("", "q", "5").unwrap();
    let mut shard = shard.restart();
    shard.consume(2, HERE, "q", 1);
    assert_eq!(shard.settle_taken(&fourth, MessageVerdict::Requeue), [Ok(())]);
    shard.consume(3, HERE, "q", 9);
    let got: Vec<_> = shard.got().into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(got, ["1", "2", "3", "4", "5"]);
}
