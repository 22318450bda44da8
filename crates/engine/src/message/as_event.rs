//! Messages as events, and events as messages: which headers stand for what, so that a queue which
//! is filled again from a stream gets what was published. Some of it is lost: times to live,
//! further routing keys, why and where it became a dead letter, and values of headers that are no
//! text, number or truth value; numbers and truth values become texts.

use bytes::Bytes;

use super::into_jobs::HOPS_MAX;
use super::properties::{Reader, headers_of, text_of};
use super::{Death, HeaderValue, Message, MessageEnd};

/// The header of an event that names the exchange of its message.
const EXCHANGE: &str = "exchange";
/// The header of an event that has the routing key, where that is not the key of the event.
const ROUTING_KEY: &str = "routing-key";
/// The header of an event that says how urgent its message is.
const PRIORITY: &str = "priority";
/// The header of an event, and the property of a message, that says when it was made.
const TIMESTAMP: &str = "timestamp";
/// The property that is checked when a message is published. No event sets it, since nobody checks
/// that: there it is a header.
const USER_ID: &str = "user-id";
/// The header of a message that names the stream of its event.
const STREAM: &str = "x-stream";
/// The header of a message that names the partition of its event.
const PARTITION: &str = "x-stream-partition";
/// The header of a message that says where in its partition its event stands.
const OFFSET: &str = "x-stream-offset";
/// The header of a message whose event has no value.
const TOMBSTONE: &str = "x-stream-tombstone";
/// Headers of a message that say where its event stands. Such headers of an earlier event are
/// dropped.
const OF_STREAM: [&str; 4] = [STREAM, PARTITION, OFFSET, TOMBSTONE];

/// The header of an event that counts the automatic steps that led to it: ends of jobs that were
/// told, and deaths of messages that became events.
const HOPS: &str = "x-longshore-hops";

/// How many automatic steps one step in the life of a job counts for. A job has several, so a loop
/// over them would grow fast.
const HOPS_OF_LIFE: u8 = HOPS_MAX / 2;

/// Bytes of a short string of AMQP.
const SHORT_MAX: usize = 255;

/// How a property stands in the content header of AMQP 0-9-1 (section 4.2.6.1).
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shape {
    Short,
    Table,
    Octet,
    Instant,
}

/// Properties in the order of their flags, each with the name of its header of an event; those
/// without a name do not go along.
const PROPERTIES: [(u16, Shape, Option<&str>); 14] = [
    (1 << 15, Shape::Short, Some("content-type")),
    (1 << 14, Shape::Short, Some("content-encoding")),
    (1 << 13, Shape::Table, None),
    (1 << 12, Shape::Octet, None),
    (1 << 11, Shape::Octet, None),
    (1 << 10, Shape::Short, Some("correlation-id")),
    (1 << 9, Shape::Short, Some("reply-to")),
    (1 << 8, Shape::Short, None),
    (1 << 7, Shape::Short, Some("message-id")),
    (1 << 6, Shape::Instant, Some(TIMESTAMP)),
    (1 << 5, Shape::Short, Some("type")),
    (1 << 4, Shape::Short, Some(USER_ID)),
    (1 << 3, Shape::Short, Some("app-id")),
    (1 << 2, Shape::Short, None),
];

/// The flag of the headers.
const HEADERS: u16 = 1 << 13;
/// The flag of the delivery mode.
const DELIVERY_MODE: u16 = 1 << 12;
/// The flag of the priority.
const PRIORITY_FLAG: u16 = 1 << 11;
/// That a message outlives a restart, as its delivery mode says.
const PERSISTENT: u8 = 2;

/// Headers of an event, by name.
pub type EventHeaders = Vec<(String, Option<Bytes>)>;

/// The properties that have a header of an event, as far as they can be read.
fn properties_of(properties: &Bytes) -> Vec<(&'static str, Bytes)> {
    let mut found = Vec::new();
    let mut reader = Reader { rest: properties.clone() };
    let Some(flags) = reader.array().map(u16::from_be_bytes) else { return found };
    for (_, shape, name) in PROPERTIES.into_iter().filter(|(flag, ..)| flags & flag != 0) {
        let value = match shape {
            Shape::Short => reader.short(),
            Shape::Table => reader.long(),
            Shape::Octet => reader.array::<1>().map(|_| Bytes::new()),
            Shape::Instant => {
                let seconds = reader.array().map(u64::from_be_bytes);
                seconds.map(|seconds| seconds.to_string().into())
            }
        };
        let Some(value) = value else { break };
        found.extend(name.map(|name| (name, value)));
    }
    found
}

impl Message {
    /// What a header of it says, as a text.
    pub(crate) fn header_text(&self, wanted: &str) -> Option<String> {
        let mut headers = headers_of(&self.properties).into_iter();
        text_of(&headers.find(|(name, _)| name == wanted)?.1)
    }

    /// The headers of the event that the message is. `key` where the event's key is not the
    /// routing key.
    pub(crate) fn event_headers(&self, key: Option<&Bytes>) -> EventHeaders {
        let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        let mut told = vec![(EXCHANGE.to_owned(), text(&self.exchange))];
        // An empty key does not say that the routing key was empty.
        let is_key = key.is_none_or(|key| **key == *self.routing_key.as_bytes());
        if !is_key || self.routing_key.is_empty() {
            told.push((ROUTING_KEY.to_owned(), text(&self.routing_key)));
        }
        told.extend(hops_told(self.hops_as_event()));
        if self.priority > 0 {
            told.push((PRIORITY.to_owned(), Some(self.priority.to_string().into())));
        }
        let properties = properties_of(&self.properties).into_iter();
        told.extend(properties.map(|(name, value)| (name.to_owned(), Some(value))));
        for (name, value) in headers_of(&self.properties) {
            match value {
                HeaderValue::Void => told.push((name, None)),
                HeaderValue::Text { bytes } => told.push((name, Some(bytes))),
                other => told.extend(text_of(&other).map(|text| (name, Some(text.into())))),
            }
        }
        told
    }
}

impl Message {
    /// Whether it is a letter that nobody brought about by rejecting a message.
    pub(super) fn died_by_itself(&self) -> bool {
        let rejected = |death: &Death| death.reason == MessageEnd::Rejected;
        !self.deaths.is_empty() && !self.deaths.iter().any(rejected)
    }

    /// How many automatic steps led to the event. The event does not say where its message died,
    /// so the death counts as a step.
    pub(super) fn hops_as_event(&self) -> u8 {
        self.hops.saturating_add(u8::from(self.died_by_itself()))
    }
}

/// The header that says how many steps an event follows from, where it follows from any.
fn hops_told(hops: u8) -> Option<(String, Option<Bytes>)> {
    (hops > 0).then(|| (HOPS.to_owned(), Some(hops.to_string().into())))
}

/// What an event that tells of a job has as headers, by how many steps the job follows from.
pub(crate) fn hops_of_life(hops: u8) -> EventHeaders {
    Vec::from_iter(hops_told(hops.saturating_add(HOPS_OF_LIFE).min(HOPS_MAX)))
}

/// How many automatic steps led to an event, as its headers say. So a loop by way of a stream ends
/// where it would end without one.
pub(crate) fn hops_of(headers: &[(String, Option<Bytes>)]) -> u8 {
    let Some((_, value)) = headers.iter().find(|(name, _)| name == HOPS) else { return 0 };
    let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).map_or(0, |hops: u8| hops.min(HOPS_MAX))
}

/// Where an event stands, and when it is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventOrigin<'a> {
    pub(crate) stream: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// Milliseconds since 1970; none where that is negative.
    pub(crate) time: i64,
}

/// What a message takes of the headers of an event.
#[derive(Debug, Default)]
pub(crate) struct OfEvent {
    pub(crate) exchange: Option<String>,
    pub(crate) routing_key: Option<String>,
    pub(crate) priority: Option<u8>,
    pub(crate) properties: Bytes,
}

/// What a message takes of an event. `tombstone` where that says that its key is gone.
pub(crate) fn of_event(
    headers: &[(String, Option<Bytes>)],
    origin: EventOrigin<'_>,
    tombstone: bool,
) -> OfEvent {
    let mut of = OfEvent::default();
    let mut known: [Option<Bytes>; PROPERTIES.len()] = Default::default();
    let mut table = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| !OF_STREAM.contains(&name.as_str())) {
        let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
        let text = text.filter(|text| text.len() <= SHORT_MAX);
        match (name.as_str(), text) {
            (EXCHANGE, Some(text)) if of.exchange.is_none() => of.exchange = Some(text.to_owned()),
            (ROUTING_KEY, Some(text)) if of.routing_key.is_none() => {
                of.routing_key = Some(text.to_owned());
            }
            (PRIORITY, Some(text)) if of.priority.is_none() && text.parse::<u8>().is_ok() => {
                of.priority = text.parse().ok();
            }
            (HOPS, _) => {}
            (name, Some(text)) if place_of(name, text, &mut known) => {}
            (name, _) => put_header(name, value.as_ref(), &mut table),
        }
    }
    let seconds = u64::try_from(origin.time).ok().map(|time| time / 1000);
    if let (Some(seconds), Some(slot)) = (seconds, known.get_mut(INSTANT_AT)) {
        slot.get_or_insert_with(|| seconds.to_string().into());
    }
    put_header(STREAM, Some(&Bytes::copy_from_slice(origin.stream.as_bytes())), &mut table);
    for (name, number) in [(PARTITION, u64::from(origin.partition)), (OFFSET, origin.offset)] {
        put_name(name, &mut table);
        table.push(b'l');
        table.extend_from_slice(&number.to_be_bytes());
    }
    if tombstone {
        put_name(TOMBSTONE, &mut table);
        table.extend_from_slice(b"t\x01");
    }
    of.properties = content_header(&known, of.priority, &table);
    of
}

/// Where the instant stands among the properties.
const INSTANT_AT: usize = 9;

/// Whether a header of an event is a property of its message, which it is from here on.
fn place_of(name: &str, text: &str, known: &mut [Option<Bytes>]) -> bool {
    let is_it = |told: Option<&str>| told == Some(name) && name != USER_ID;
    let at = PROPERTIES.iter().position(|(_, _, told)| is_it(*told));
    let Some((at, slot)) = at.and_then(|at| known.get_mut(at).map(|slot| (at, slot))) else {
        return false;
    };
    let fits = at != INSTANT_AT || text.parse::<u64>().is_ok();
    if slot.is_some() || !fits {
        return false;
    }
    *slot = Some(Bytes::copy_from_slice(text.as_bytes()));
    true
}

fn put_name(name: &str, table: &mut Vec<u8>) {
    table.push(name.len() as u8);
    table.extend_from_slice(name.as_bytes());
}

/// A header of a message; one whose name is too long is dropped.
fn put_header(name: &str, value: Option<&Bytes>, table: &mut Vec<u8>) {
    if name.len() > SHORT_MAX {
        return;
    }
    put_name(name, table);
    match value {
        None => table.push(b'V'),
        Some(value) => {
            table.push(b'S');
            table.extend_from_slice(&(value.len() as u32).to_be_bytes());
            table.extend_from_slice(value);
        }
    }
}

fn content_header(known: &[Option<Bytes>], priority: Option<u8>, table: &[u8]) -> Bytes {
    let (mut flags, mut values) = (0_u16, Vec::new());
    for ((flag, shape, _), value) in PROPERTIES.iter().zip(known) {
        match (*flag, value) {
            (HEADERS, _) => {
                values.extend_from_slice(&(table.len() as u32).to_be_bytes());
                values.extend_from_slice(table);
            }
            (DELIVERY_MODE, _) => values.push(PERSISTENT),
            (PRIORITY_FLAG, _) if priority.is_some() => values.extend(priority),
            (_, Some(value)) if *shape == Shape::Instant => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                values.extend_from_slice(&text.parse::<u64>().unwrap_or(0).to_be_bytes());
            }
            (_, Some(value)) => {
                values.push(value.len() as u8);
                values.extend_from_slice(value);
            }
            _ => continue,
        }
        flags |= flag;
    }
    let mut header = flags.to_be_bytes().to_vec();
    header.append(&mut values);
    header.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> EventOrigin<'static> {
        EventOrigin { stream: "s", partition: 2, offset: 17, time: 9_000 }
    }

    fn header(name: &str, value: &str) -> (String, Option<Bytes>) {
        (name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())))
    }

    #[test]
    fn a_message_is_again_what_it_was_after_it_was_an_event() {
        let told = vec![
            header("exchange", "orders"),
            header("routing-key", "order.paid"),
            header("priority", "4"),
            header("content-type", "application/json"),
            header("correlation-id", "c"),
            header("message-id", "m"),
            header("timestamp", "7"),
            header("type", "t"),
            header("app-id", "a"),
            ("none".to_owned(), None),
            header("customer", "9"),
        ];
        let of = of_event(&told, origin(), false);
        assert_eq!(of.exchange.as_deref(), Some("orders"));
        let message = Message {
            exchange: of.exchange.unwrap_or_default(),
            routing_key: of.routing_key.unwrap_or_default(),
            further_keys: Vec::new(),
            priority: of.priority.unwrap_or(0),
            persistent: true,
            ttl_ms: None,
            published_at: crate::ids::TimeMs(0),
            properties: of.properties,
            body: Bytes::new(),
            deaths: Vec::new(),
            hops: 0,
        };
        assert_eq!(message.header_text("customer").as_deref(), Some("9"));
        let key = Bytes::from_static(b"another");
        let mut again = message.event_headers(Some(&key));
        let place = again.split_off(told.len());
        assert_eq!(again, told);
        let place: Vec<_> = place.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(place, ["x-stream", "x-stream-partition", "x-stream-offset"]);
        let twice = of_event(&message.event_headers(Some(&key)), origin(), false);
        assert_eq!(twice.properties, message.properties, "where it stood does not add up");
        // The routing key goes along where the key of the event does not say it.
        let keyed = |message: &Message, key: Option<&'static str>| {
            let key = key.map(|key| Bytes::from_static(key.as_bytes()));
            let headers = message.event_headers(key.as_ref());
            headers.iter().any(|(name, _)| name == ROUTING_KEY)
        };
        assert!(!keyed(&message, None) && !keyed(&message, Some("order.paid")));
        let message = Message { routing_key: String::new(), ..message };
        assert!(keyed(&message, None) && keyed(&message, Some("k")));
    }

    #[test]
    fn an_event_says_nothing_of_who_published_and_keeps_headers_of_other_names() {
        let told = vec![header("user-id", "root"), header("x-streaming", "yes")];
        let of = of_event(&told, origin(), false);
        assert!(properties_of(&of.properties).iter().all(|(name, _)| *name != "user-id"));
        let found = headers_of(&of.properties);
        let names: Vec<_> = found.iter().take(2).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["user-id", "x-streaming"]);
    }

    #[test]
    fn what_is_no_property_is_a_header() {
        let long = "x".repeat(300);
        let told = vec![
            header("timestamp", "yesterday"),
            header("type", &long),
            header("priority", "urgent"),
            header(&long, "passed over"),
        ];
        let of = of_event(&told, origin(), true);
        let found = headers_of(&of.properties);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        let place = ["x-stream", "x-stream-partition", "x-stream-offset", "x-stream-tombstone"];
        assert_eq!(names, [&["timestamp", "type", "priority"][..], &place].concat());
        assert_eq!(properties_of(&of.properties), [("timestamp", Bytes::from_static(b"9"))]);
    }

    #[test]
    fn what_is_cut_has_the_properties_before() {
        let of = of_event(&[header("content-type", "t/x"), header("type", "y")], origin(), false);
        for length in 0..of.properties.len() {
            let found = properties_of(&of.properties.slice(..length));
            assert!(found.len() <= 2, "{length} bytes: {found:?}");
        }
    }
}
