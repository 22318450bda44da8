//! Kafka's names for the settings of a stream.

use longshore_engine::StreamSettings;
use longshore_kafka::message::admin::Config;

use super::KafkaConfig;

/// Kafka's types of configs.
const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const LIST: i8 = 7;

const FOR_EVER: &str = "-1";

fn or_for_ever(value: Option<u64>) -> String {
    value.map_or_else(|| FOR_EVER.to_owned(), |value| value.to_string())
}

/// The configs of a stream.
pub(super) fn of_stream(settings: &StreamSettings) -> Vec<Config> {
    let default = StreamSettings::default();
    let config = |name, value: String, default: String, kind| Config {
        name,
        is_default: value == default,
        value,
        read_only: false,
        kind,
    };
    let fixed = |name, value: &str, kind| config(name, value.to_owned(), value.to_owned(), kind);
    vec![
        fixed("cleanup.policy", "delete", LIST),
        fixed("compression.type", "producer", STRING),
        config(
            "max.message.bytes",
            settings.batch_bytes_max.to_string(),
            default.batch_bytes_max.to_string(),
            INT,
        ),
        fixed("message.timestamp.type", "CreateTime", STRING),
        fixed("min.insync.replicas", "1", INT),
        config(
            "retention.bytes",
            or_for_ever(settings.retention_bytes),
            or_for_ever(default.retention_bytes),
            LONG,
        ),
        config(
            "retention.ms",
            or_for_ever(settings.retention_ms),
            or_for_ever(default.retention_ms),
            LONG,
        ),
        config(
            "segment.bytes",
            settings.file_bytes.to_string(),
            default.file_bytes.to_string(),
            INT,
        ),
    ]
}

/// The configs of the broker that tools look for.
pub(super) fn of_broker(config: &KafkaConfig) -> Vec<Config> {
    let fixed = |name, value: String, kind| Config {
        name,
        value,
        is_default: false,
        read_only: true,
        kind,
    };
    vec![
        fixed("auto.create.topics.enable", config.auto_create.to_string(), BOOLEAN),
        fixed("delete.topic.enable", "true".to_owned(), BOOLEAN),
        fixed("num.partitions", config.partitions_default.to_string(), INT),
        fixed("message.max.bytes", StreamSettings::default().batch_bytes_max.to_string(), INT),
    ]
}

/// Sets a config by its name; without a value it is as if nobody had set it. Says what is wrong.
pub(super) fn set(
    settings: &mut StreamSettings,
    name: &str,
    value: Option<&str>,
) -> Result<(), String> {
    let default = StreamSettings::default();
    let number = |value: &str| {
        let parsed = value.parse::<u64>();
        parsed.map_err(|_| format!("{name} is \"{value}\"; allowed: a number"))
    };
    let or_none = |value: &str| {
        if value == FOR_EVER { Ok(None) } else { number(value).map(Some) }
    };
    let only = |allowed: &str| match value {
        Some(value) if value != allowed => {
            Err(format!("{name} is \"{value}\"; allowed here so far: {allowed}"))
        }
        _ => Ok(()),
    };
    match name {
        "cleanup.policy" => only("delete")?,
        "compression.type" => only("producer")?,
        "message.timestamp.type" => only("CreateTime")?,
        "min.insync.replicas" => only("1")?,
        "retention.ms" => {
            settings.retention_ms = value.map_or(Ok(default.retention_ms), or_none)?;
        }
        "retention.bytes" => {
            settings.retention_bytes = value.map_or(Ok(default.retention_bytes), or_none)?;
        }
        "max.message.bytes" => {
            let value = value.map_or_else(|| Ok(default.batch_bytes_max.into()), number)?;
            settings.batch_bytes_max = u32::try_from(value).unwrap_or(u32::MAX);
        }
        "segment.bytes" => {
            settings.file_bytes = value.map_or(Ok(default.file_bytes), number)?;
        }
        _ => return Err(format!("{name} is not known here")),
    }
    Ok(())
}
