//! Checks that several commands share: names, durations, instants, texts.

use crate::command::Start;
use crate::ids::TimeMs;
use crate::limits::Limits;
use crate::rejection::Rejection;

fn refused(field: &'static str, value: impl Into<String>, allowed: String) -> Rejection {
    Rejection::ValueRefused { field, value: value.into(), allowed }
}

/// A name: 1 to `name_bytes_max` bytes without control characters.
pub(crate) fn check_name(
    limits: &Limits,
    field: &'static str,
    name: &str,
) -> Result<(), Rejection> {
    let max = limits.name_bytes_max;
    if name.is_empty() || name.len() > max || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(80).flat_map(char::escape_default).collect();
        let allowed = format!("1 to {max} bytes without control characters");
        return Err(refused(field, format!("\"{shown}\" ({} bytes)", name.len()), allowed));
    }
    Ok(())
}

/// A word that only informs as a name: what is too long is cut, control characters are replaced.
/// `None` where nothing is left.
pub(crate) fn cut_name(limits: &Limits, text: &str) -> Option<String> {
    let start = cut(text, limits.name_bytes_max);
    let name: String = start.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    // A control character has up to two bytes, a space one: it is not longer than before.
    (!name.trim().is_empty()).then_some(name)
}

/// A duration within the horizon.
pub(crate) fn check_duration(
    limits: &Limits,
    field: &'static str,
    ms: Option<u64>,
    min_ms: u64,
) -> Result<(), Rejection> {
    match ms {
        Some(ms) if ms < min_ms || ms > limits.horizon_ms_max => {
            let max = limits.horizon_ms_max;
            Err(refused(field, format!("{ms}ms"), format!("{min_ms}ms to {max}ms")))
        }
        _ => Ok(()),
    }
}

/// The instant that is meant, where it lies within the horizon.
pub(crate) fn resolve_start(
    limits: &Limits,
    field: &'static str,
    start: Start,
    now: TimeMs,
) -> Result<TimeMs, Rejection> {
    let at = match start {
        Start::At(at) => at,
        Start::After(ms) => now.plus(ms),
    };
    if at.since(now) > limits.horizon_ms_max {
        let max = limits.horizon_ms_max;
        return Err(refused(field, format!("{at}"), format!("at most {max}ms ahead")));
    }
    Ok(at)
}

/// Bytes of something of bounded size.
pub(crate) fn check_size(field: &'static str, bytes: usize, max: u64) -> Result<(), Rejection> {
    if bytes as u64 > max {
        return Err(refused(field, format!("{bytes} bytes"), format!("at most {max} bytes")));
    }
    Ok(())
}

/// The beginning of a text, at most `max` bytes of it.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
