//! Arguments between JSON and AMQP's tables, and settings as arguments.

use bytes::Bytes;
use longshore_amqp::codec::{Short, Table, Value as Field};
use longshore_engine::{MessageSettings, Overflow};
use serde_json::{Map, Value, json};

use super::serve::Fault;

/// Lists and tables within each other, at most.
const DEPTH_MAX: usize = 8;

/// The table of a JSON object.
pub(super) fn table_of(value: &Value) -> Result<Table, Fault> {
    match value {
        Value::Null => Ok(Table::default()),
        Value::Object(fields) => table(fields, 0),
        // What `rabbitmqadmin` sends where nothing is given.
        Value::Array(items) if items.is_empty() => Ok(Table::default()),
        Value::String(text) if text.is_empty() => Ok(Table::default()),
        other => Err(Fault::bad(format!("arguments are an object, and not {other}"))),
    }
}

fn table(fields: &Map<String, Value>, depth: usize) -> Result<Table, Fault> {
    let mut all = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let short = Short::new(Bytes::copy_from_slice(name.as_bytes()));
        let short = short.ok_or_else(|| Fault::bad("a name has at most 255 bytes"))?;
        all.push((short, field(value, depth + 1)?));
    }
    Ok(Table::of_fields(all))
}

fn field(value: &Value, depth: usize) -> Result<Field, Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::bad("arguments are too deep"));
    }
    Ok(match value {
        Value::Null => Field::Nothing,
        Value::Bool(value) => Field::Bool(*value),
        Value::String(text) => Field::text(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Field::I64(value),
            (None, Some(value)) => Field::F64(value),
            (None, None) => return Err(Fault::bad(format!("{number} is too large"))),
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| field(item, depth + 1));
            Field::list(&items.collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(fields) => Field::Table(table(fields, depth)?),
    })
}

/// A table as JSON; what JSON has no word for is left out.
pub(super) fn json_of(table: &Table) -> Value {
    let fields = table
        .fields()
        .filter_map(|(name, value)| Some((name.as_text()?.to_owned(), json_of_field(&value, 0)?)));
    Value::Object(fields.collect())
}

fn json_of_field(value: &Field, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match value {
        Field::Nothing => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::F32(value) => f64::from(*value).into(),
        Field::F64(value) => (*value).into(),
        Field::Text(bytes) | Field::Bytes(bytes) => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
        Field::Timestamp(value) => (*value).into(),
        Field::Table(table) => json_of(table),
        other => other.as_int()?.into(),
    })
}

/// The arguments of a queue: as they were given, or as they would be.
pub(super) fn of_queue(settings: &MessageSettings) -> Value {
    if let Ok(table) = Table::checked(settings.arguments.clone())
        && !table.is_empty()
    {
        return json_of(&table);
    }
    let mut all = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        all.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("x-message-ttl", settings.ttl_ms.map(Value::from));
    add("x-expires", settings.expires_ms.map(Value::from));
    add("x-max-length", settings.max_length.map(Value::from));
    add("x-max-length-bytes", settings.max_bytes.map(Value::from));
    let overflow = Some(settings.overflow).filter(|it| *it != Overflow::DropHead);
    add("x-overflow", overflow.map(|it| it.name().into()));
    add("x-dead-letter-exchange", settings.dead_letter_exchange.clone().map(Value::from));
    add("x-dead-letter-routing-key", settings.dead_letter_routing_key.clone().map(Value::from));
    add("x-max-priority", settings.max_priority.map(Value::from));
    let limit = settings.delivery_limit.map_or_else(|| json!(-1), Value::from);
    add("x-delivery-limit", Some(limit));
    add("x-single-active-consumer", settings.single_active_consumer.then(|| true.into()));
    add("x-ordering-header", settings.ordering_header.clone().map(Value::from));
    add("x-stream", settings.stream.clone().map(Value::from));
    Value::Object(all)
}
