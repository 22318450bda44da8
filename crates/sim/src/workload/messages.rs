//! Messages: producers and consumers on connections that come and go, and what they were promised.
//! The names of things are few, so that they meet.

pub(crate) mod account;
pub(crate) mod check;
pub(crate) mod peers;

use bytes::Bytes;
use longshore_engine::{
    BindingSpec, DeclareExchange, DeclareQueue, ExchangeKind, MessageCommand, MessageSettings,
};

/// Ordered by priority; nothing ends in it but by who takes it.
pub(crate) const WORK: &str = "m.work";
/// The same without priorities.
pub(crate) const PLAIN: &str = "m.plain";
/// One consumer gets all.
pub(crate) const SINGLE: &str = "m.single";
/// A message comes back twice.
pub(crate) const LIMITED: &str = "m.limited";
/// Three messages wait at most.
pub(crate) const SHORT: &str = "m.short";
/// A message is worth four seconds.
pub(crate) const BRIEF: &str = "m.brief";
/// It ends with the server.
pub(crate) const PASSING: &str = "m.passing";
/// Where dead letters go.
pub(crate) const GRAVES: &str = "m.graves";

/// Of each key one message at a time is with somebody, and priorities go first.
pub(crate) const ORDERED: &str = "m.ordered";
/// Where messages of the plain queue are moved.
pub(crate) const MOVED: &str = "m.moved";

pub(crate) const QUEUES: [&str; 10] =
    [WORK, PLAIN, SINGLE, LIMITED, SHORT, BRIEF, PASSING, GRAVES, ORDERED, MOVED];

const FAN: &str = "m.fan";
const TOPIC: &str = "m.topic";
const DEAD: &str = "m.dead";

/// How often a message of the limited queue may come back.
pub(crate) const DELIVERY_LIMIT: u32 = 2;
/// The highest priority of the queue that has some.
const PRIORITY_MAX: u8 = 2;

const BINDINGS: [(&str, &str, &str); 8] = [
    (FAN, "", WORK),
    (FAN, "", PLAIN),
    (FAN, "", SINGLE),
    (TOPIC, "a.*", LIMITED),
    (TOPIC, "#.z", BRIEF),
    (TOPIC, "a.#", PLAIN),
    (TOPIC, "a.#", SHORT),
    (DEAD, "", GRAVES),
];

/// What may be published to: the exchange, the routing key, and the queues that it reaches.
pub(crate) const TARGETS: [(&str, &str, &[&str]); 14] = [
    ("", WORK, &[WORK]),
    ("", ORDERED, &[ORDERED]),
    ("", ORDERED, &[ORDERED]),
    ("", ORDERED, &[ORDERED]),
    ("", PLAIN, &[PLAIN]),
    ("", SINGLE, &[SINGLE]),
    ("", LIMITED, &[LIMITED]),
    ("", SHORT, &[SHORT]),
    (FAN, "", &[WORK, PLAIN, SINGLE, PASSING]),
    (FAN, "", &[WORK, PLAIN, SINGLE, PASSING]),
    (TOPIC, "a.b", &[LIMITED, PLAIN, SHORT]),
    (TOPIC, "a.z", &[LIMITED, BRIEF, PLAIN, SHORT]),
    (TOPIC, "z", &[BRIEF]),
    (TOPIC, "c", &[]),
];

/// The queue of that name.
pub(crate) fn queue_named(name: &str) -> Result<&'static str, String> {
    let known = QUEUES.into_iter().find(|known| *known == name);
    known.ok_or_else(|| format!("a message of queue {name}, which nobody declared"))
}

/// Whether what ends in the queue without an ack leaves a letter.
pub(crate) fn leaves_letters(queue: &str) -> bool {
    [LIMITED, SHORT, BRIEF].contains(&queue)
}

/// The header that has ordering keys.
const KEY_HEADER: &str = "key";
/// How many ordering keys there are.
const ORDERING_KEYS: u64 = 3;

/// The ordering key of a message.
pub(crate) fn ordering_key(number: u64) -> u64 {
    number % ORDERING_KEYS
}

/// What a face keeps of a message that has nothing but its ordering key: flags, then the headers.
fn properties(number: u64) -> Bytes {
    let value = ordering_key(number).to_string();
    let mut table = vec![KEY_HEADER.len() as u8];
    table.extend_from_slice(KEY_HEADER.as_bytes());
    table.push(b'S');
    table.extend_from_slice(&(value.len() as u32).to_be_bytes());
    table.extend_from_slice(value.as_bytes());
    let mut properties = (1_u16 << 13).to_be_bytes().to_vec();
    properties.extend_from_slice(&(table.len() as u32).to_be_bytes());
    properties.extend_from_slice(&table);
    properties.into()
}

/// Whether messages of the queue end by themselves.
pub(crate) fn ends_by_itself(queue: &str) -> bool {
    [SHORT, BRIEF].contains(&queue)
}

/// What a message of that priority counts as there, as its place has it.
pub(crate) fn urgency(queue: &str, priority: u8) -> u8 {
    u8::MAX - if [WORK, ORDERED].contains(&queue) { priority.min(PRIORITY_MAX) } else { 0 }
}

fn settings(queue: &str) -> MessageSettings {
    MessageSettings {
        durable: queue != PASSING,
        max_priority: [WORK, ORDERED].contains(&queue).then_some(PRIORITY_MAX),
        ordering_header: (queue == ORDERED).then(|| KEY_HEADER.to_owned()),
        single_active_consumer: queue == SINGLE,
        delivery_limit: (queue == LIMITED).then_some(DELIVERY_LIMIT),
        max_length: (queue == SHORT).then_some(3),
        ttl_ms: (queue == BRIEF).then_some(4000),
        dead_letter_exchange: leaves_letters(queue).then(|| DEAD.to_owned()),
        ..MessageSettings::default()
    }
}

fn declare(queue: &str) -> MessageCommand {
    let (queue, settings) = (queue.to_owned(), settings(queue));
    MessageCommand::DeclareQueue(Box::new(DeclareQueue { queue, settings, connection: None }))
}

fn bind((source, routing_key, destination): (&str, &str, &str)) -> MessageCommand {
    MessageCommand::Bind(Box::new(BindingSpec {
        source: source.to_owned(),
        destination: destination.to_owned(),
        routing_key: routing_key.to_owned(),
        ..BindingSpec::default()
    }))
}

/// What has to be declared once.
pub(crate) fn setup() -> Vec<MessageCommand> {
    let exchange = |(name, kind): (&str, ExchangeKind)| {
        MessageCommand::DeclareExchange(Box::new(DeclareExchange {
            exchange: name.to_owned(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
            arguments: Bytes::new(),
        }))
    };
    let kinds = [ExchangeKind::Fanout, ExchangeKind::Topic, ExchangeKind::Fanout];
    let exchanges = [FAN, TOPIC, DEAD].into_iter().zip(kinds).map(exchange);
    let lasting = QUEUES.into_iter().filter(|queue| *queue != PASSING).map(declare);
    exchanges.chain(lasting).chain(BINDINGS.map(bind)).collect()
}

/// What has to be declared in each life of the server.
pub(crate) fn setup_of_life() -> Vec<MessageCommand> {
    vec![declare(PASSING), bind((FAN, "", PASSING))]
}
