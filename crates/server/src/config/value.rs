//! Values as they are written in files, variables and flags.

use std::time::Duration;

use crate::api::DurationText;

/// How a value is shown that nobody set.
pub(super) const NONE: &str = "(none)";

const BYTES_ALLOWED: &str = "a number of bytes, or one with KiB, MiB or GiB";

/// A value of the file as text.
pub(super) fn of_toml(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(texts?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Reads a number of bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let shift = match unit.trim_ascii() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(BYTES_ALLOWED.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| BYTES_ALLOWED.to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| BYTES_ALLOWED.to_owned())
}

/// Writes a number of bytes.
pub(super) fn show_bytes(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Reads a number between `min` and `max`.
pub(super) fn count(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if plain && (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("a number from {min} to {max}")),
    }
}

/// Reads a host and a port.
pub(super) fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let parts = parts.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| "a host and a port, as in 127.0.0.1:9092".to_owned())
}

/// Writes a host and a port.
pub(super) fn show_address(address: Option<&(String, u16)>) -> String {
    address.map_or_else(|| NONE.to_owned(), |(host, port)| format!("{host}:{port}"))
}

/// Reads a duration of at least `min_ms`.
pub(super) fn duration(text: &str, min_ms: u64) -> Result<Duration, String> {
    match text.parse::<DurationText>() {
        Ok(duration) if duration.0 >= min_ms => Ok(Duration::from_millis(duration.0)),
        Ok(_) => Err(format!("at least {}", DurationText(min_ms))),
        Err(_) => Err(crate::api::DURATION_EXPECTED.to_owned()),
    }
}

/// Writes a duration.
pub(super) fn show_duration(duration: Duration) -> String {
    DurationText(duration.as_millis() as u64).to_string()
}

/// Reads origins, separated by commas.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    let origin = |text: &str| {
        let text = text.trim();
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let sound = rest.is_some_and(|rest| {
            !rest.is_empty() && !rest.contains(['/', '?', '#', '@']) && rest.is_ascii()
        });
        sound.then(|| text.to_ascii_lowercase())
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let origins: Option<Vec<String>> = parts.map(origin).collect();
    let allowed = "origins such as https://app.example, separated by commas";
    origins.ok_or_else(|| allowed.to_owned())
}
