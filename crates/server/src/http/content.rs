//! Messages between JSON and the engine: their properties stand there as AMQP has them, so that
//! every face reads what any other wrote.

use bytes::Bytes;
use longshore_amqp::codec::{Properties, Short, Table, Value};
use longshore_engine::{
    BindingView, Death, Epoch, ExchangeKind, ExchangeView, HeaderValue, JobBinding, Matching,
    Message, MessageDelivery, MessageName, MessageQueueView, MessageSettings, MessageTag,
    MessageVerdict, Overflow, PeekedMessage, Place, PublishMessage, Published, Token,
};

use super::json::{repeated, slice_of};
use super::refusal::Refusal;
use super::text::quoted;
use crate::api::{
    BindingRecord, BlockedByRecord, DeathRecord, DurationText, ExchangeBody, ExchangeRecord,
    ExchangeTypeText, HeadersBody, InstantText, JobBindingBody, MatchText, MessageQueueRecord,
    MessageRecord, MessageSettingsBody, MessageVerdictText, OverflowText, PublishAnswer,
    PublishBody, TokenText,
};
use crate::base64::{decode_padded, encode_padded};

/// Delivered so, a message is to outlive a restart.
const PERSISTENT: u8 = 2;

/// The settings of a queue, as they are told.
pub(crate) fn settings_body(settings: &MessageSettings) -> MessageSettingsBody {
    MessageSettingsBody {
        durable: settings.durable,
        auto_delete: settings.auto_delete,
        max_priority: settings.max_priority,
        delivery_limit: settings.delivery_limit.unwrap_or(0),
        single_active_consumer: settings.single_active_consumer,
        ttl: settings.ttl_ms.map(DurationText),
        expires: settings.expires_ms.map(DurationText),
        max_length: settings.max_length,
        max_bytes: settings.max_bytes,
        overflow: overflow_text(settings.overflow),
        dead_letter_exchange: settings.dead_letter_exchange.clone(),
        dead_letter_routing_key: settings.dead_letter_routing_key.clone(),
        ordering_header: settings.ordering_header.clone(),
        stream: settings.stream.clone(),
    }
}

/// What a full queue does, as it is told.
pub(crate) const fn overflow_text(overflow: Overflow) -> OverflowText {
    match overflow {
        Overflow::DropHead => OverflowText::DropHead,
        Overflow::RejectPublish => OverflowText::RejectPublish,
        Overflow::RejectPublishDeadLetter => OverflowText::RejectPublishDlx,
    }
}

/// What a full queue does, as it is set.
pub(crate) const fn overflow_of(text: OverflowText) -> Overflow {
    match text {
        OverflowText::DropHead => Overflow::DropHead,
        OverflowText::RejectPublish => Overflow::RejectPublish,
        OverflowText::RejectPublishDlx => Overflow::RejectPublishDeadLetter,
    }
}

/// What becomes of a message.
pub(crate) const fn verdict_of(text: MessageVerdictText) -> MessageVerdict {
    match text {
        MessageVerdictText::Ack => MessageVerdict::Ack,
        MessageVerdictText::Requeue => MessageVerdict::Requeue,
        MessageVerdictText::Reject => MessageVerdict::Reject,
    }
}

/// What came of a message that was published.
pub(crate) fn published(came: &Published) -> PublishAnswer {
    match came {
        Published::Routed { queues } => {
            PublishAnswer { queues: *queues as u64, ..PublishAnswer::default() }
        }
        Published::Delayed => PublishAnswer { delayed: true, ..PublishAnswer::default() },
        Published::Unroutable => PublishAnswer::default(),
    }
}

/// The settings of a queue, as they are set.
pub(crate) fn settings_of(body: &MessageSettingsBody) -> MessageSettings {
    MessageSettings {
        durable: body.durable,
        auto_delete: body.auto_delete,
        max_priority: body.max_priority,
        delivery_limit: Some(body.delivery_limit).filter(|limit| *limit > 0),
        single_active_consumer: body.single_active_consumer,
        ttl_ms: body.ttl.map(|ttl| ttl.0),
        expires_ms: body.expires.map(|expires| expires.0),
        max_length: body.max_length,
        max_bytes: body.max_bytes,
        overflow: overflow_of(body.overflow),
        dead_letter_exchange: body.dead_letter_exchange.clone(),
        dead_letter_routing_key: body.dead_letter_routing_key.clone(),
        ordering_header: body.ordering_header.clone(),
        stream: body.stream.clone(),
        ..MessageSettings::default()
    }
}

/// A queue of messages.
pub(crate) fn queue_record(view: &MessageQueueView) -> MessageQueueRecord {
    MessageQueueRecord {
        exclusive: view.settings.exclusive,
        policy: view.policy.clone(),
        ready: view.ready,
        unsettled: view.unsettled,
        bytes: view.bytes,
        consumers: view.consumers,
        published_total: view.published_total,
        acked_total: view.acked_total,
        dropped_total: view.dropped_total,
    }
}

/// An exchange.
pub(crate) fn exchange_record(view: &ExchangeView) -> ExchangeRecord {
    let exchange = &view.exchange;
    let kind = match exchange.kind {
        ExchangeKind::Direct => ExchangeTypeText::Direct,
        ExchangeKind::Fanout => ExchangeTypeText::Fanout,
        ExchangeKind::Topic => ExchangeTypeText::Topic,
        ExchangeKind::Headers => ExchangeTypeText::Headers,
        ExchangeKind::ConsistentHash => ExchangeTypeText::ConsistentHash,
    };
    let settings = ExchangeBody {
        kind,
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        alternate: exchange.alternate.clone(),
    };
    let (name, policy) = (exchange.name.clone(), view.policy.clone());
    ExchangeRecord { name, settings, bindings: view.bindings, policy }
}

/// How an exchange routes.
pub(crate) fn exchange_kind(text: ExchangeTypeText) -> ExchangeKind {
    match text {
        ExchangeTypeText::Direct => ExchangeKind::Direct,
        ExchangeTypeText::Fanout => ExchangeKind::Fanout,
        ExchangeTypeText::Topic => ExchangeKind::Topic,
        ExchangeTypeText::Headers => ExchangeKind::Headers,
        ExchangeTypeText::ConsistentHash => ExchangeKind::ConsistentHash,
    }
}

/// A binding.
pub(crate) fn binding_record(view: &BindingView) -> BindingRecord {
    let binding = &view.binding;
    let to = Some(binding.destination.clone());
    let headers = binding.headers.iter();
    BindingRecord {
        exchange: binding.source.clone(),
        queue: to.clone().filter(|_| !binding.to_exchange && !binding.to_stream),
        to_exchange: to.clone().filter(|_| binding.to_exchange),
        to_stream: to.filter(|_| binding.to_stream),
        routing_key: binding.routing_key.clone(),
        matching: match binding.matching {
            Matching::All => MatchText::All,
            Matching::Any => MatchText::Any,
        },
        headers: headers.map(|(name, value)| (name.clone(), header_json(value))).collect(),
        job: binding.job.as_ref().map(|job| JobBindingBody {
            kind: job.kind.clone(),
            priority: job.priority,
            delay: job.delay_ms.map(DurationText),
            ordered: job.ordered,
            version: super::view::version_told(job.version),
        }),
    }
}

/// What each message becomes at the end of a binding.
pub(crate) fn job_binding(body: JobBindingBody) -> Result<JobBinding, Refusal> {
    if body.version == Some(0) {
        return Err(Refusal::value("job.version", 0, "1 or more, or no such field"));
    }
    let JobBindingBody { kind, priority, delay, ordered, version } = body;
    let (delay_ms, version) = (delay.map(|delay| delay.0), version.unwrap_or(0));
    Ok(JobBinding { kind, priority, delay_ms, ordered, version })
}

fn header_json(value: &HeaderValue) -> serde_json::Value {
    match value {
        HeaderValue::Void => serde_json::Value::Null,
        HeaderValue::Bool { value } => (*value).into(),
        HeaderValue::Int { value } => (*value).into(),
        HeaderValue::Float { bits } => f64::from_bits(*bits).into(),
        HeaderValue::Text { bytes } | HeaderValue::Other { bytes } => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
    }
}

/// Headers as routing compares them.
pub(crate) fn headers_of(headers: &HeadersBody) -> Result<Vec<(String, HeaderValue)>, Refusal> {
    let value = |(name, value): (&String, &serde_json::Value)| {
        let value = match table_value(name, value)? {
            Value::Nothing => HeaderValue::Void,
            Value::Bool(value) => HeaderValue::Bool { value },
            Value::I64(value) => HeaderValue::Int { value },
            Value::F64(value) => HeaderValue::Float { bits: value.to_bits() },
            Value::Text(bytes) => HeaderValue::Text { bytes },
            other => unreachable!("no JSON becomes {other:?}"),
        };
        Ok((name.clone(), value))
    };
    headers.iter().map(value).collect()
}

fn table_value(name: &str, value: &serde_json::Value) -> Result<Value, Refusal> {
    let refused = |shown: String| {
        let allowed = "a text, a number, true, false or null";
        Err(Refusal::value(&format!("headers.{name}"), shown, allowed))
    };
    if name.len() > 255 {
        return Err(Refusal::value("headers", quoted(name), "names of at most 255 bytes"));
    }
    Ok(match value {
        serde_json::Value::Null => Value::Nothing,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Value::I64(value),
            (None, Some(value)) => Value::F64(value),
            (None, None) => return refused(number.to_string()),
        },
        serde_json::Value::Array(_) => return refused("a list".to_owned()),
        serde_json::Value::Object(_) => return refused("an object".to_owned()),
    })
}

fn short(field: &str, text: Option<&String>) -> Result<Option<Short>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let short = Short::new(Bytes::copy_from_slice(text.as_bytes()));
    let refused = || Refusal::value(field, format!("{} bytes", text.len()), "at most 255 bytes");
    short.map(Some).ok_or_else(refused)
}

/// A message to publish, which borrows from the body of a request.
pub(crate) fn message_of(
    request: &Bytes,
    body: &PublishBody<'_>,
    (exchange, routing_key): (&str, &str),
) -> Result<PublishMessage, Refusal> {
    message_with(body, body_of(request, body)?, (exchange, routing_key))
}

/// A message to publish that says what is beside its body, and whether that is JSON.
pub(crate) fn message_with(
    body: &PublishBody<'_>,
    (bytes, is_json): (Bytes, bool),
    (exchange, routing_key): (&str, &str),
) -> Result<PublishMessage, Refusal> {
    let json = "application/json".to_owned();
    let content_type = body.content_type.as_ref().or_else(|| is_json.then_some(&json));
    let persistent = body.persistent.unwrap_or(true);
    let mut headers = Vec::new();
    for (name, value) in &body.headers {
        headers.push((name.as_str(), table_value(name, value)?));
    }
    let table = (!headers.is_empty()).then(|| Table::of(headers));
    let properties = Properties {
        content_type: short("content_type", content_type)?,
        headers: table,
        delivery_mode: Some(if persistent { PERSISTENT } else { 1 }),
        priority: body.priority,
        correlation_id: short("correlation_id", body.correlation_id.as_ref())?,
        reply_to: short("reply_to", body.reply_to.as_ref())?,
        message_id: short("message_id", body.message_id.as_ref())?,
        kind: short("type", body.kind.as_ref())?,
        app_id: short("app_id", body.app_id.as_ref())?,
        ..Properties::default()
    };
    Ok(PublishMessage {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        headers: headers_of(&body.headers)?,
        priority: body.priority.unwrap_or(0),
        persistent,
        ttl_ms: body.ttl.map(|ttl| ttl.0),
        delay_ms: body.delay.map(|delay| delay.0),
        properties: properties.to_bytes(),
        body: bytes,
        ..PublishMessage::default()
    })
}

fn body_of(request: &Bytes, body: &PublishBody<'_>) -> Result<(Bytes, bool), Refusal> {
    match (&body.body, &body.body_base64) {
        (Some(_), Some(_)) => Err(repeated("body_base64", "what the message says")),
        (None, None) => Ok((Bytes::new(), false)),
        (None, Some(text)) => match decode_padded(text) {
            Some(bytes) => Ok((bytes.into(), false)),
            None => Err(Refusal::value("body_base64", quoted(text), "base64 with its padding")),
        },
        (Some(raw), None) => {
            let text = raw.get().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            match text {
                None => Ok((slice_of(request, raw.get()), true)),
                Some(text) if !text.contains('\\') => Ok((slice_of(request, text), false)),
                Some(_) => match serde_json::from_str::<String>(raw.get()) {
                    Ok(text) => Ok((text.into(), false)),
                    // Escapes that are no character.
                    Err(_) => Ok((slice_of(request, raw.get()), true)),
                },
            }
        }
    }
}

/// A message that was handed out.
pub(crate) fn delivered(delivery: &MessageDelivery) -> MessageRecord {
    let lease = delivery.lease;
    MessageRecord {
        token: lease.map(|(token, _)| format!("{}.{}", token.epoch, token.counter)),
        lease: lease.map(|(_, lease_ms)| DurationText(lease_ms)),
        redelivered: delivery.redelivered,
        returns: delivery.returns,
        ..record(delivery.tag, &delivery.message)
    }
}

/// A message that was looked at, and whether it waits behind another one of its ordering key.
pub(crate) fn peeked(peeked: &PeekedMessage, blocked: bool) -> MessageRecord {
    let key = peeked.ordering_key.clone().filter(|_| blocked);
    let by = |key| BlockedByRecord { ordering_key: Some(key), ..BlockedByRecord::default() };
    MessageRecord {
        blocked_by: key.map(by).into_iter().collect(),
        redelivered: peeked.returns > 0 || peeked.leased,
        returns: peeked.returns,
        ..record(peeked.tag, &peeked.message)
    }
}

fn record(tag: MessageTag, message: &Message) -> MessageRecord {
    let properties = Properties::from_bytes(message.properties.clone()).unwrap_or_default();
    let text = |short: &Option<Short>| Some(short.as_ref()?.as_text()?.to_owned());
    let fields = properties.headers.as_ref().map(Table::fields).into_iter().flatten();
    let headers =
        fields.filter_map(|(name, value)| Some((name.as_text()?.to_owned(), json_of(&value)?)));
    let (body, body_base64) = match std::str::from_utf8(&message.body) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(encode_padded(&message.body))),
    };
    MessageRecord {
        id: format!("{}-{}", tag.urgency, tag.place),
        token: None,
        lease: None,
        redelivered: false,
        returns: 0,
        blocked_by: Vec::new(),
        exchange: message.exchange.clone(),
        routing_key: message.routing_key.clone(),
        published_at: InstantText(message.published_at.0),
        priority: message.priority,
        persistent: message.persistent,
        headers: headers.collect(),
        content_type: text(&properties.content_type),
        message_id: text(&properties.message_id),
        correlation_id: text(&properties.correlation_id),
        reply_to: text(&properties.reply_to),
        kind: text(&properties.kind),
        app_id: text(&properties.app_id),
        deaths: message.deaths.iter().map(death_record).collect(),
        body,
        body_base64,
    }
}

fn death_record(death: &Death) -> DeathRecord {
    DeathRecord {
        queue: death.queue.clone(),
        reason: death.reason.name().to_owned(),
        count: death.count,
        at: InstantText(death.at.0),
        exchange: death.exchange.clone(),
        routing_keys: death.routing_keys.clone(),
    }
}

/// A header as JSON has it; none of a list or a table, which only AMQP's clients see.
fn json_of(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Nothing => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::F32(value) => f64::from(*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Timestamp(value) => (*value).into(),
        Value::Text(bytes) | Value::Bytes(bytes) => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
        Value::List(_) | Value::Table(_) | Value::Decimal(..) => return None,
        number => number.as_int()?.into(),
    })
}

/// The message that an id names, and the token that it was taken with.
pub(crate) fn message_name(
    queue: &str,
    id: &str,
    token: &str,
) -> Result<(MessageName, Token), Refusal> {
    let parts = || {
        let (urgency, place) = id.split_once('-')?;
        Some((urgency.parse().ok()?, Place(place.parse().ok()?)))
    };
    let found = parts();
    let (urgency, place) = found
        .ok_or_else(|| Refusal::value("id", quoted(id), "the id of a message that was taken"))?;
    let TokenText { epoch, counter } = token.parse().map_err(|_| {
        Refusal::value("token", quoted(token), "the token that the message was taken with")
    })?;
    let name = MessageName { queue: queue.to_owned(), urgency, place };
    Ok((name, Token { epoch: Epoch(epoch), counter }))
}

#[cfg(test)]
mod tests {
    use longshore_engine::QueueId;

    use super::*;

    #[test]
    fn a_message_is_told_as_it_was_published() {
        let text = r#"{"body":{"a":1},"headers":{"n":7,"t":"x","z":null,"f":1.5},
            "content_type":"text/x","message_id":"m","type":"k","priority":3}"#;
        let body: PublishBody<'_> = serde_json::from_str(text).unwrap();
        let published = message_of(&Bytes::new(), &body, ("x", "k")).unwrap();
        let message = Message {
            exchange: published.exchange,
            routing_key: published.routing_key,
            further_keys: Vec::new(),
            priority: published.priority,
            persistent: published.persistent,
            ttl_ms: None,
            published_at: longshore_engine::TimeMs(5),
            properties: published.properties,
            body: published.body,
            deaths: Vec::new(),
            hops: 0,
        };
        let tag = MessageTag { queue: QueueId(1), urgency: 252, place: Place(9) };
        let told = record(tag, &message);
        assert_eq!((told.id.as_str(), told.body.as_deref()), ("252-9", Some("{\"a\":1}")));
        assert_eq!(told.headers, body.headers);
        let texts = (told.content_type.as_deref(), told.message_id.as_deref());
        assert_eq!(texts, (Some("text/x"), Some("m")));
        assert_eq!((told.kind.as_deref(), told.priority, told.persistent), (Some("k"), 3, true));
    }

    #[test]
    fn what_a_large_message_says_is_a_part_of_its_request() {
        let large = "x".repeat(10_000);
        let whole = |json: &str, said: &str, copied: bool| {
            let request = Bytes::from(format!(r#"{{"body": {json} }}"#));
            let body: PublishBody<'_> = serde_json::from_slice(&request).unwrap();
            let message = message_of(&request, &body, ("x", "k")).unwrap();
            assert_eq!(message.body, said);
            let part = crate::http::json::position_in(&request, &message.body);
            assert_eq!(part.is_none(), copied, "{said:.9}");
        };
        whole(&format!("\"{large}\""), &large, false);
        whole(&format!("[\"{large}\"]"), &format!("[\"{large}\"]"), false);
        whole(&format!("\"{large}\\n\\ud83d\\ude00\""), &format!("{large}\n\u{1f600}"), true);
        whole("\"small\"", "small", true);
        whole("\"\"", "", true);
    }
}
