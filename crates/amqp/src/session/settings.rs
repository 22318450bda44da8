//! The arguments of a queue, as the engine sets it. Those that are not known are kept and mean
//! nothing, as clients expect.

use longshore_engine::{DELIVERY_LIMIT_DEFAULT, MessageSettings, Overflow};

use crate::codec::methods::QueueDeclare;
use crate::codec::{Table, Value};
use crate::failure::{Code, Failure};

/// What a declared queue is to be. `named` is what `RabbitMQ` calls it.
pub fn queue_settings(told: &QueueDeclare, named: &str) -> Result<MessageSettings, Failure> {
    let table = &told.arguments;
    let number = |name, min| number_argument(table, name, min, named);
    let text = |name| text_argument(table, name, named);
    let kind = text("x-queue-type")?;
    let limit_default = match kind.as_deref() {
        Some("classic") => None,
        None | Some("quorum") => Some(DELIVERY_LIMIT_DEFAULT),
        Some("stream") => {
            let text = format!("{named}: streams are not spoken over AMQP here");
            return Err(Failure::new(Code::NotImplemented, text));
        }
        Some(other) => {
            let why = format!("unsupported queue type '{other}'");
            return Err(invalid("x-queue-type", named, &why));
        }
    };
    let delivery_limit = match table.get("x-delivery-limit").map(|value| value.as_int()) {
        None => limit_default,
        Some(Some(-1)) => None,
        Some(Some(limit)) => {
            if let Ok(limit) = u32::try_from(limit) {
                Some(limit)
            } else {
                let why = format!("{{value_negative,{limit}}}");
                return Err(invalid("x-delivery-limit", named, &why));
            }
        }
        Some(None) => return Err(invalid("x-delivery-limit", named, "unacceptable_type")),
    };
    let overflow = match text("x-overflow")?.as_deref() {
        None => Overflow::default(),
        Some(word) => {
            [Overflow::DropHead, Overflow::RejectPublish, Overflow::RejectPublishDeadLetter]
                .into_iter()
                .find(|overflow| overflow.name() == word)
                .ok_or_else(|| invalid("x-overflow", named, "invalid_overflow"))?
        }
    };
    let max_priority = match number("x-max-priority", 0)? {
        None => None,
        Some(max) => Some(u8::try_from(max).map_err(|_| {
            let why = format!("{{max_value_exceeded,{max}}}");
            invalid("x-max-priority", named, &why)
        })?),
    };
    let dead_letter_exchange = text("x-dead-letter-exchange")?;
    let dead_letter_routing_key = text("x-dead-letter-routing-key")?;
    if dead_letter_routing_key.is_some() && dead_letter_exchange.is_none() {
        let why = "routing_key_but_no_dlx_defined";
        return Err(invalid("x-dead-letter-routing-key", named, why));
    }
    Ok(MessageSettings {
        // What only one connection can use does not outlive it.
        durable: told.durable && !told.exclusive,
        exclusive: told.exclusive,
        auto_delete: told.auto_delete,
        ttl_ms: number("x-message-ttl", 0)?,
        expires_ms: number("x-expires", 1)?,
        max_length: number("x-max-length", 0)?,
        max_bytes: number("x-max-length-bytes", 0)?,
        overflow,
        dead_letter_exchange,
        dead_letter_routing_key,
        max_priority,
        delivery_limit,
        single_active_consumer: bool_argument(table, "x-single-active-consumer", named)?,
        arguments: table.as_bytes().clone(),
        ordering_header: text("x-ordering-header")?,
        stream: text("x-stream")?,
    })
}

/// What `RabbitMQ` says of an argument that it does not take.
fn invalid(name: &str, of: &str, why: &str) -> Failure {
    Failure::new(Code::PreconditionFailed, format!("invalid arg '{name}' for {of}: {why}"))
}

/// How `RabbitMQ` calls the type of a value.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal(..) => "decimal",
        Value::Text(_) => "longstr",
        Value::Bytes(_) => "binary",
        Value::Timestamp(_) => "timestamp",
        Value::List(_) => "array",
        Value::Table(_) => "table",
        Value::Nothing => "void",
    }
}

fn unacceptable(name: &str, of: &str, value: &Value) -> Failure {
    invalid(name, of, &format!("{{unacceptable_type,{}}}", type_of(value)))
}

/// An argument that is a number, and not below that.
pub(super) fn number_argument(
    table: &Table,
    name: &str,
    min: i64,
    of: &str,
) -> Result<Option<u64>, Failure> {
    let Some(value) = table.get(name) else { return Ok(None) };
    let Some(number) = value.as_int() else { return Err(unacceptable(name, of, &value)) };
    match u64::try_from(number) {
        Ok(number) if number >= min.unsigned_abs() => Ok(Some(number)),
        Ok(_) => Err(invalid(name, of, &format!("{{value_zero,{number}}}"))),
        Err(_) => Err(invalid(name, of, &format!("{{value_negative,{number}}}"))),
    }
}

/// An argument that is a text.
pub(super) fn text_argument(
    table: &Table,
    name: &str,
    of: &str,
) -> Result<Option<String>, Failure> {
    let Some(value) = table.get(name) else { return Ok(None) };
    match value.as_text() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(unacceptable(name, of, &value)),
    }
}

fn bool_argument(table: &Table, name: &str, of: &str) -> Result<bool, Failure> {
    match table.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(value),
        Some(value) => Err(unacceptable(name, of, &value)),
    }
}
