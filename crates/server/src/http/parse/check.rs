//! Bounds of single values, told in the API's own form. The engine checks them again.

use longshore_engine::TimeMs;
use longshore_node::wall_now;

use super::Bounds;
use crate::api::{DurationText, InstantText};
use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::text::check_name;

impl Bounds {
    /// A duration of at least `min_ms` that does not reach beyond the horizon, in milliseconds.
    pub(crate) fn duration(
        &self,
        field: &str,
        given: Option<DurationText>,
        min_ms: u64,
    ) -> Result<Option<u64>, Refusal> {
        within(field, given, min_ms, self.horizon_ms_max)
    }

    /// A lease, in milliseconds.
    pub(super) fn lease(
        &self,
        field: &str,
        given: Option<DurationText>,
    ) -> Result<Option<u64>, Refusal> {
        within(field, given, *self.lease_ms.start(), *self.lease_ms.end())
    }

    /// An instant that does not lie beyond the horizon.
    pub(super) fn instant(
        &self,
        field: &str,
        given: Option<InstantText>,
    ) -> Result<Option<TimeMs>, Refusal> {
        let Some(at) = given else { return Ok(None) };
        let last = wall_now().plus(self.horizon_ms_max);
        if at.0 > last.0 {
            return Err(Refusal::value(field, at, format!("at most {}", InstantText(last.0))));
        }
        Ok(Some(TimeMs(at.0)))
    }

    /// Names to find a job by, each checked.
    pub(super) fn tags(&self, tags: &[String]) -> Result<(), Refusal> {
        for (index, tag) in tags.iter().enumerate() {
            check_name(&format!("tags[{index}]"), tag)?;
        }
        let bytes = tags.iter().map(String::len).sum::<usize>() as u64;
        check_bytes("tags", bytes, self.metadata_bytes_max)
    }
}

/// Checks each of some names.
pub(super) fn check_names(field: &str, names: &[String]) -> Result<(), Refusal> {
    let mut named = names.iter().enumerate();
    named.try_for_each(|(index, name)| check_name(&format!("{field}[{index}]"), name))
}

fn within(
    field: &str,
    given: Option<DurationText>,
    min_ms: u64,
    max_ms: u64,
) -> Result<Option<u64>, Refusal> {
    match given {
        Some(given) if !(min_ms..=max_ms).contains(&given.0) => {
            let allowed = format!("{} to {}", DurationText(min_ms), DurationText(max_ms));
            Err(Refusal::value(field, given, allowed))
        }
        _ => Ok(given.map(|given| given.0)),
    }
}

/// Checks a size that the configuration or the engine bounds.
pub(super) fn check_bytes(field: &str, bytes: u64, bytes_max: u64) -> Result<(), Refusal> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let (value, allowed) = (format!("{bytes} bytes"), format!("at most {bytes_max} bytes"));
    let detail = format!("{field} has {value}; allowed: {allowed}");
    Err(Refusal::new(Code::BodyTooLarge, detail).about(field, value, allowed))
}

/// Checks how many elements a list has.
pub(super) fn check_count(
    field: &str,
    count: usize,
    max: usize,
    what: &str,
) -> Result<(), Refusal> {
    if count <= max {
        return Ok(());
    }
    Err(Refusal::value(field, format!("{count} {what}"), format!("at most {max} {what}")))
}
