//! Kafka's names for the settings of a stream.

use longshore_engine::StreamSettings;
use longshore_kafka::message::admin::Config;

use super::KafkaConfig;

/// Kafka's types of configs.
const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const DOUBLE: i8 = 6;
const LIST: i8 = 7;

const FOR_EVER: &str = "-1";

fn or_for_ever(value: Option<u64>) -> String {
    value.map_or_else(|| FOR_EVER.to_owned(), |value| value.to_string())
}

/// What Kafka takes for "never" where a number of milliseconds is to be given.
const NEVER_MS: u64 = i64::MAX as u64;

fn policy(settings: &StreamSettings) -> &'static str {
    match (settings.compact, settings.delete) {
        (true, true) => "compact,delete",
        (true, false) => "compact",
        (false, _) => "delete",
    }
}

fn set_policy(settings: &mut StreamSettings, value: &str) -> Result<(), String> {
    let (mut compact, mut delete) = (false, false);
    for policy in value.split(',') {
        match policy.trim() {
            "compact" => compact = true,
            "delete" => delete = true,
            _ => {
                return Err(format!(
                    "cleanup.policy is \"{value}\"; allowed: compact, delete, both"
                ));
            }
        }
    }
    (settings.compact, settings.delete) = (compact, delete);
    Ok(())
}

/// A part of the whole as a decimal number, as Kafka takes it.
fn ppm(name: &str, value: &str) -> Result<u32, String> {
    let parsed = value.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    let ratio = parsed.ok_or_else(|| format!("{name} is \"{value}\"; allowed: 0 to 1"))?;
    #[expect(clippy::cast_sign_loss, reason = "it is 0 to 1")]
    Ok((ratio * 1e6).round() as u32)
}

fn ratio(ppm: u32) -> String {
    format!("{:?}", f64::from(ppm) / 1e6)
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
    let number =
        |name, value: u64, default: u64| config(name, value.to_string(), default.to_string(), LONG);
    vec![
        config("cleanup.policy", policy(settings).to_owned(), policy(&default).to_owned(), LIST),
        fixed("compression.type", "producer", STRING),
        config(
            "max.message.bytes",
            settings.batch_bytes_max.to_string(),
            default.batch_bytes_max.to_string(),
            INT,
        ),
        number("delete.retention.ms", settings.tombstone_ms, default.tombstone_ms),
        number(
            "max.compaction.lag.ms",
            settings.compaction_lag_ms_max.unwrap_or(NEVER_MS),
            default.compaction_lag_ms_max.unwrap_or(NEVER_MS),
        ),
        fixed("message.timestamp.type", "CreateTime", STRING),
        config(
            "min.cleanable.dirty.ratio",
            ratio(settings.compaction_dirty_ppm),
            ratio(default.compaction_dirty_ppm),
            DOUBLE,
        ),
        number(
            "min.compaction.lag.ms",
            settings.compaction_lag_ms_min,
            default.compaction_lag_ms_min,
        ),
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
        number("segment.ms", settings.file_ms, default.file_ms),
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
        "cleanup.policy" => set_policy(settings, value.unwrap_or("delete"))?,
        "delete.retention.ms" => {
            settings.tombstone_ms = value.map_or(Ok(default.tombstone_ms), number)?;
        }
        "max.compaction.lag.ms" => {
            let lag_ms = value.map_or(Ok(NEVER_MS), number)?;
            settings.compaction_lag_ms_max = Some(lag_ms).filter(|lag_ms| *lag_ms < NEVER_MS);
        }
        "min.compaction.lag.ms" => {
            settings.compaction_lag_ms_min =
                value.map_or(Ok(default.compaction_lag_ms_min), number)?;
        }
        "min.cleanable.dirty.ratio" => {
            let value = value.map_or(Ok(default.compaction_dirty_ppm), |it| ppm(name, it))?;
            settings.compaction_dirty_ppm = value;
        }
        "segment.ms" => settings.file_ms = value.map_or(Ok(default.file_ms), number)?,
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
