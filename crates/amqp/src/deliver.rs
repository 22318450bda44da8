//! The properties of a message as its consumer sees them: those that it was published with, and
//! what became of it since.

use bytes::Bytes;
use longshore_engine::{Death, MessageDelivery, MessageEnd};

use crate::codec::{Properties, Table, Value};

/// The flags and values of the properties.
pub(crate) fn properties_of(delivery: &MessageDelivery) -> Bytes {
    let message = &delivery.message;
    if message.deaths.is_empty() && delivery.returns == 0 {
        return message.properties.clone();
    }
    // Whoever published it some other way may have given none.
    let mut properties = Properties::from_bytes(message.properties.clone()).unwrap_or_default();
    let mut headers: Vec<_> = properties.headers.iter().flat_map(Table::fields).collect();
    let mut set = |name: &str, value| {
        headers.retain(|(field, _)| field.as_bytes() != name.as_bytes());
        headers.push((crate::codec::Short::cut(name), value));
    };
    if delivery.returns > 0 {
        set("x-delivery-count", Value::I64(delivery.returns.into()));
    }
    // One that happens again comes to the front, with the time of its first.
    let first = message.deaths.iter().rev().min_by_key(|death| death.at);
    if let (Some(last), Some(first)) = (message.deaths.first(), first) {
        let deaths: Vec<_> = message.deaths.iter().map(told).collect();
        set("x-death", Value::list(&deaths));
        for (when, death) in [("first", first), ("last", last)] {
            set(&format!("x-{when}-death-exchange"), Value::text(&death.exchange));
            set(&format!("x-{when}-death-queue"), Value::text(&death.queue));
            set(&format!("x-{when}-death-reason"), Value::text(reason(death.reason)));
        }
        properties.expiration = None;
    }
    properties.headers = Some(Table::of_fields(headers));
    properties.to_bytes()
}

/// An item of `x-death`.
fn told(death: &Death) -> Value {
    let keys: Vec<_> = death.routing_keys.iter().map(|key| Value::text(key)).collect();
    let mut fields = vec![
        ("count", Value::I64(i64::try_from(death.count).unwrap_or(i64::MAX))),
        ("reason", Value::text(reason(death.reason))),
        ("queue", Value::text(&death.queue)),
        ("time", Value::Timestamp(death.at.0 / 1000)),
        ("exchange", Value::text(&death.exchange)),
        ("routing-keys", Value::list(&keys)),
    ];
    if let Some(ttl_ms) = death.ttl_ms {
        fields.push(("original-expiration", Value::text(&ttl_ms.to_string())));
    }
    Value::Table(Table::of(fields))
}

fn reason(end: MessageEnd) -> &'static str {
    match end {
        MessageEnd::Acked => "acked",
        MessageEnd::Rejected => "rejected",
        MessageEnd::Expired => "expired",
        MessageEnd::Overflown => "maxlen",
        MessageEnd::DeliveryLimit => "delivery_limit",
        MessageEnd::Purged => "purged",
        MessageEnd::Moved => "moved",
        MessageEnd::QueueDeleted => "deleted",
    }
}
