//! Instants as RFC 3339 text. Written by hand, since every leased job carries one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What may be given as an instant.
pub const INSTANT_EXPECTED: &str =
    "an instant of RFC 3339 since 1970, as in \"2026-05-04T03:02:01Z\"";

/// The last millisecond of the year 9999: what RFC 3339 can say at most.
const LAST_MS: u64 = 253_402_300_799_999;

/// An instant of RFC 3339, kept in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct InstantText(
    /// Milliseconds since 1970 in UTC.
    pub u64,
);

/// The text is no instant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{text}\" is not {INSTANT_EXPECTED}")]
pub struct InstantMalformed {
    /// What was given.
    pub text: String,
}

/// Reads `2026-05-04T03:02:01.5+02:00`. What is finer than a millisecond is rounded up, and a leap
/// second ends with the next one: nothing begins early.
fn parse(text: &str) -> Option<InstantText> {
    let number = |text: Option<&str>| -> Option<i64> {
        let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let part = |from: usize, to: usize| number(text.get(from..to));
    let at = |index: usize| text.as_bytes().get(index).copied().unwrap_or_default();
    let separators = [4, 7, 10, 13, 16].map(at);
    if !matches!(separators, [b'-', b'-', b'T' | b't' | b' ', b':', b':']) || text.len() > 64 {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let (milli, zone) = match rest.strip_prefix('.') {
        Some(rest) => fraction(rest)?,
        None => (0, rest),
    };
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = (number(zone.get(1..3))?, number(zone.get(4..6))?);
            let sign = match zone.as_bytes() {
                [b'+', _, _, b':', _, _] => 1,
                [b'-', _, _, b':', _, _] => -1,
                _ => return None,
            };
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };
    let days = i64::from(jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days());
    let minutes = (days * 24 + hour) * 60 + minute - offset_minutes;
    u64::try_from((minutes * 60 + second) * 1000 + milli).ok().map(InstantText)
}

/// Milliseconds, rounded up, and what follows the digits.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
    let digit = |byte: u8| i64::from(byte - b'0');
    let first = digits.bytes().chain(*b"000").take(3);
    let milli = first.fold(0, |milli, byte| milli * 10 + digit(byte));
    let is_finer = digits.bytes().skip(3).any(|byte| byte != b'0');
    Some((milli + i64::from(is_finer), rest))
}

impl FromStr for InstantText {
    type Err = InstantMalformed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InstantMalformed { text: text.to_owned() })
    }
}

/// Appends the instant: 24 bytes, as in `2026-05-04T03:02:01.000Z`.
pub fn write_instant(out: &mut Vec<u8>, ms: u64) {
    let ms = ms.min(LAST_MS);
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, milli) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
    let two = |number: u64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.extend_from_slice(&two(year / 100));
    out.extend_from_slice(&two(year));
    for (separator, number) in
        [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)]
    {
        out.push(separator);
        out.extend_from_slice(&two(number));
    }
    out.extend_from_slice(&[b'.', b'0' + (milli / 100) as u8]);
    out.extend_from_slice(&two(milli));
    out.push(b'Z');
}

/// Year, month and day of a day since 1970, in the Gregorian calendar (Hinnant's
/// `civil_from_days`, where the year begins in March).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl fmt::Display for InstantText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        write_instant(&mut text, self.0);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for InstantText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InstantText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = InstantText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(INSTANT_EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl utoipa::PartialSchema for InstantText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("An instant of RFC 3339, to the millisecond."))
            .examples(["2026-05-04T03:02:01.000Z"])
            .into()
    }
}

impl utoipa::ToSchema for InstantText {
    fn name() -> Cow<'static, str> {
        "Instant".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        let step = 86_400_000 * 13 + 12_345_678;
        let mut ms = 0;
        while ms <= LAST_MS {
            let expected = jiff::Timestamp::from_millisecond(ms.cast_signed()).unwrap();
            assert_eq!(InstantText(ms).to_string(), format!("{expected:.3}"));
            ms += step;
        }
        assert_eq!(InstantText(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn instants_are_read() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-05-04T03:02:01.5Z", Some(1_777_863_721_500)),
            ("2026-05-04T05:02:01.5+02:00", Some(1_777_863_721_500)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-05-04T03:02:01", None),
            ("2026-05-04", None),
            ("12026-05-04T03:02:01Z", None),
            ("2026-05-04T03:02:01Z[UTC]", None),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
            ("2016-12-31T23:59:61Z", None),
            ("2026-05-04T03:02:01.000000001Z", Some(1_777_863_721_001)),
            ("2026-05-04T03:02:01.9990000000Z", Some(1_777_863_721_999)),
            ("2026-05-04T03:02:01.9991Z", Some(1_777_863_722_000)),
            ("2026-05-04T03:02:01,5Z", None),
            ("2026-05-04T03:02:01.Z", None),
            ("2026-05-04T03:02Z", None),
            ("2026-05-04T03:02.01Z", None),
            ("2026-05-04x03:02:01Z", None),
            ("2026-05-04T24:00:00Z", None),
            ("2026-05-04T03:02:01+24:00", None),
            ("2026-05-04T03:02:01+02", None),
            ("2026-05-04T03:02:01+02:00:00", None),
            ("2026-05-04T05:02:01.5-00:00", Some(1_777_870_921_500)),
            ("9999-12-31T23:59:59.999Z", Some(LAST_MS)),
            ("2026-13-04T03:02:01Z", None),
            ("+026-05-04T03:02:01Z", None),
            ("2026-05-04T03:02:0\u{fc}Z", None),
            ("tomorrow", None),
            ("1777863721", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<InstantText>().ok().map(|it| it.0);
            assert_eq!(read, expected, "{text}");
        }
    }
}
