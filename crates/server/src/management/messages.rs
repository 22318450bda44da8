//! Publishing a message, and looking at or taking some.

use bytes::Bytes;
use longshore_amqp::codec::{Properties, Short, Table};
use longshore_engine::ask::{PublishMessages, ReturnMessages, SettleMessages};
use longshore_engine::{
    LeaseMessages, MessageDelivery, MessageSettlement, MessageVerdict, PublishMessage, Published,
};
use serde_json::{Map, Value, json};

use super::arguments::{json_of, table_of};
use super::serve::{Api, Fault, namespace_of};
use crate::base64::{decode_padded, encode_padded};
use crate::http::look::only;
use crate::http::refusal::Refusal;

/// Messages in one answer at most.
const GET_MAX: usize = 1000;

/// What takes messages only to show them gives them back by then.
const LOOK_MS: u64 = 30_000;

impl Api {
    pub(super) async fn publish(
        &self,
        vhost: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, Fault> {
        let text = |of: &str| body.get(of).and_then(Value::as_str);
        let payload = text("payload").ok_or_else(|| Fault::bad("key_missing: payload"))?;
        let bytes = match text("payload_encoding").unwrap_or("string") {
            "string" => Bytes::copy_from_slice(payload.as_bytes()),
            "base64" => match decode_padded(payload) {
                Some(bytes) => bytes.into(),
                None => return Err(Fault::bad("payload is not valid base64")),
            },
            other => return Err(Fault::bad(format!("unsupported_encoding: {other}"))),
        };
        let empty = Map::new();
        let given = body.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let properties = properties_of(given)?;
        let headers = properties.headers.as_ref().map(Table::fields).into_iter().flatten();
        let expiration =
            properties.expiration.as_ref().map(|it| it.as_text().and_then(|it| it.parse().ok()));
        let ttl_ms = match expiration {
            None => None,
            Some(Some(ttl_ms)) => Some(ttl_ms),
            Some(None) => return Err(Fault::bad("expiration is no number of milliseconds")),
        };
        let message = PublishMessage {
            exchange: if name == "amq.default" { String::new() } else { name.to_owned() },
            routing_key: text("routing_key").unwrap_or_default().to_owned(),
            headers: headers.filter_map(longshore_amqp::header_of).collect(),
            priority: properties.priority.unwrap_or(0),
            persistent: properties.delivery_mode == Some(2),
            ttl_ms,
            properties: properties.to_bytes(),
            body: bytes,
            ..PublishMessage::default()
        };
        let ns = namespace_of(vhost);
        let came = self.ask(ns, PublishMessages(vec![message])).await?;
        let came = only(came)?.map_err(Refusal::from)?;
        Ok(json!({"routed": came != Published::Unroutable}))
    }

    pub(super) async fn get(&self, vhost: &str, name: &str, body: &Value) -> Result<Value, Fault> {
        let ns = namespace_of(vhost);
        let text = |of: &str| body.get(of).and_then(Value::as_str);
        let count = body.get("count").map_or(Some(1), |it| match it {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
        let count = count
            .filter(|count| *count > 0)
            .ok_or_else(|| Fault::bad("count is a number from 1 on"))?;
        let mode = text("ackmode").unwrap_or("ack_requeue_true");
        let verdict = match mode {
            "ack_requeue_false" | "ack_requeue_true" => None,
            "reject_requeue_true" => Some(MessageVerdict::Requeue),
            "reject_requeue_false" => Some(MessageVerdict::Reject),
            other => return Err(Fault::bad(format!("ackmode {other} is not known"))),
        };
        let lease = LeaseMessages {
            queue: name.to_owned(),
            max: usize::try_from(count).unwrap_or(GET_MAX).min(GET_MAX),
            wait_ms: 0,
            lease_ms: Some(LOOK_MS),
            auto_ack: mode == "ack_requeue_false",
        };
        let messages = self.ask(ns, lease).await?;
        let leased = messages.iter().filter_map(|it| Some((it.name(), it.lease?.0)));
        let settlement = |(message, token), verdict| MessageSettlement { message, token, verdict };
        if messages.iter().any(|it| it.lease.is_some()) {
            match verdict {
                None => self.ask(ns, ReturnMessages(leased.collect())).await?,
                Some(verdict) => {
                    let settlements = leased.map(|it| settlement(it, verdict)).collect();
                    self.ask(ns, SettleMessages(settlements)).await?
                }
            };
        }
        let left = self.queue_view(ns, name).await?.ready;
        let auto = text("encoding").unwrap_or("auto") == "auto";
        let told = messages.iter().map(|message| told(message, left, auto));
        Ok(Value::Array(told.collect()))
    }
}

fn told(delivery: &MessageDelivery, left: u64, auto: bool) -> Value {
    let message = &delivery.message;
    let properties = Properties::from_bytes(message.properties.clone()).unwrap_or_default();
    let (payload, encoding) = match std::str::from_utf8(&message.body) {
        Ok(text) if auto => (text.to_owned(), "string"),
        _ => (encode_padded(&message.body), "base64"),
    };
    json!({
        "payload_bytes": message.body.len(),
        "redelivered": delivery.redelivered,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "message_count": left,
        "properties": json_of_properties(&properties),
        "payload": payload,
        "payload_encoding": encoding,
    })
}

fn properties_of(given: &Map<String, Value>) -> Result<Properties, Fault> {
    let short = |name: &str| match given.get(name) {
        None => Ok(None),
        Some(value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let short = Short::new(Bytes::copy_from_slice(text.as_bytes()));
            short.map(Some).ok_or_else(|| Fault::bad(format!("{name} has at most 255 bytes")))
        }
    };
    let small = |name: &str| match given.get(name).map(|it| it.as_u64().map(u8::try_from)) {
        None => Ok(None),
        Some(Some(Ok(number))) => Ok(Some(number)),
        Some(_) => Err(Fault::bad(format!("{name} is a number from 0 to 255"))),
    };
    Ok(Properties {
        content_type: short("content_type")?,
        content_encoding: short("content_encoding")?,
        headers: given.get("headers").map(table_of).transpose()?.filter(|it| !it.is_empty()),
        delivery_mode: small("delivery_mode")?,
        priority: small("priority")?,
        correlation_id: short("correlation_id")?,
        reply_to: short("reply_to")?,
        expiration: short("expiration")?,
        message_id: short("message_id")?,
        timestamp: given.get("timestamp").and_then(Value::as_u64),
        kind: short("type")?,
        user_id: short("user_id")?,
        app_id: short("app_id")?,
        cluster_id: short("cluster_id")?,
    })
}

fn json_of_properties(of: &Properties) -> Value {
    let mut all = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        all.extend(value.map(|value| (name.to_owned(), value)));
    };
    let text = |short: &Option<Short>| Some(Value::from(short.as_ref()?.as_text()?));
    add("content_type", text(&of.content_type));
    add("content_encoding", text(&of.content_encoding));
    add("headers", of.headers.as_ref().map(json_of));
    add("delivery_mode", of.delivery_mode.map(Value::from));
    add("priority", of.priority.map(Value::from));
    add("correlation_id", text(&of.correlation_id));
    add("reply_to", text(&of.reply_to));
    add("expiration", text(&of.expiration));
    add("message_id", text(&of.message_id));
    add("timestamp", of.timestamp.map(Value::from));
    add("type", text(&of.kind));
    add("user_id", text(&of.user_id));
    add("app_id", text(&of.app_id));
    Value::Object(all)
}
