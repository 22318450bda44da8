//! Durations as text: a whole number and one unit, as in `250ms`, `30s`, `5m`, `2h`, `1d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What may be given as a duration.
pub const DURATION_EXPECTED: &str =
    "a duration: a whole number and one of the units ms, s, m, h, d, as in \"250ms\" or \"30s\"";

/// Units from the longest to the shortest, with their milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A span of time: `250ms`, `30s`, `5m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct DurationText(
    /// Milliseconds.
    pub u64,
);

impl DurationText {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }
}

/// The text is no duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{text}\" is not {DURATION_EXPECTED}")]
pub struct DurationMalformed {
    /// What was given.
    pub text: String,
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*unit_ms)
}

impl FromStr for DurationText {
    type Err = DurationMalformed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| DurationMalformed { text: text.to_owned() })
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let exact = UNITS.iter().find(|(_, unit_ms)| self.0.is_multiple_of(*unit_ms));
        let (name, unit_ms) = exact.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", self.0 / unit_ms)
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DURATION_EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let known = parse(text).map(DurationText);
                known.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl utoipa::PartialSchema for DurationText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        super::id::string_schema(
            "A duration: a whole number and one of the units ms, s, m, h, d.",
            "^[0-9]+(ms|s|m|h|d)$",
            "30s",
        )
    }
}

impl utoipa::ToSchema for DurationText {
    fn name() -> Cow<'static, str> {
        "Duration".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let cases = [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-5s", None),
            ("+5s", None),
            ("1.5s", None),
            ("30 s", None),
            ("30S", None),
            ("1h30m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("5\u{b5}s", None),
            ("\u{665}s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<DurationText>().ok().map(|it| it.0), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_with_the_longest_unit_that_is_exact() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (60_000, "1m"),
            (172_800_000, "2d"),
        ];
        for (ms, expected) in cases {
            assert_eq!(DurationText(ms).to_string(), expected);
            assert_eq!(expected.parse::<DurationText>(), Ok(DurationText(ms)));
        }
    }
}
