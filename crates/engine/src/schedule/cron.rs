//! Cron expressions: what they say of wall time. They know nothing of time zones; `croner` finds
//! the next wall time, and what it would do about daylight saving is not used.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil;
use jiff::tz::TimeZone;

/// Bytes of an expression.
const TEXT_BYTES_MAX: usize = 255;

/// Wall times after this year are never looked for.
const YEAR_MAX: i16 = 2500;

/// What the fields are called.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];

/// What each field may hold.
const RANGES: [&str; 6] = [
    "0 to 59",
    "0 to 59",
    "0 to 23",
    "1 to 31, L or 15W",
    "1 to 12 or JAN to DEC",
    "0 to 7 or SUN to SAT, 5L or 1#2",
];

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What is wrong with an expression, and what would be right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CronFault {
    /// The expression, and where in it.
    pub(crate) value: String,
    /// What may stand there.
    pub(crate) allowed: String,
}

/// An expression that was read.
#[derive(Clone, Debug)]
pub(crate) struct CronTimes {
    cron: Cron,
    /// Hour and minute are named, none of them by `*`: then it names times of the day rather than
    /// distances between them.
    pub(crate) is_fixed: bool,
}

impl CronTimes {
    /// Reads an expression.
    pub(crate) fn parse(text: &str) -> Result<Self, CronFault> {
        let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
        let whole = |allowed: &str| CronFault {
            value: format!("\"{shown}\""),
            allowed: allowed.to_owned(),
        };
        if text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
            return Err(whole("at most 255 characters of ASCII"));
        }
        let trimmed = text.trim();
        let expanded = if trimmed.starts_with('@') {
            let known = NICKNAMES.iter().find(|(name, _)| trimmed.eq_ignore_ascii_case(name));
            let allowed = "five or six fields, or one of @yearly, @annually, @monthly, @weekly, \
                           @daily, @midnight, @hourly";
            known.map(|(_, fields)| *fields).ok_or_else(|| whole(allowed))?
        } else {
            text
        };
        let fields = fields_of(expanded);
        let first = match fields.len() {
            5 => 1,
            6 => 0,
            count => {
                let fault = whole(
                    "five fields (minute, hour, day of month, month, day of week), \
                                   or six with the second first",
                );
                return Err(CronFault {
                    value: format!("{} ({count} fields)", fault.value),
                    ..fault
                });
            }
        };
        for (index, (at, field)) in fields.iter().enumerate() {
            if let Err(why) = check_field(first + index, field) {
                let name = FIELDS.get(first + index).copied().unwrap_or_default();
                let range = RANGES.get(first + index).copied().unwrap_or_default();
                return Err(CronFault {
                    value: format!(
                        "\"{shown}\", whose field {} ({name}, character {}) is \"{field}\": {why}",
                        index + 1,
                        at + 1
                    ),
                    allowed: format!("{range}, `*`, lists, ranges and steps of these"),
                });
            }
        }
        let texts: Vec<&str> = fields.iter().map(|(_, field)| *field).collect();
        // Without an end to the years, what never comes would be looked for up to the year 5000.
        let bounded = format!("{} 1970-{YEAR_MAX}", texts.join(" "));
        let bounded = if first == 1 { format!("0 {bounded}") } else { bounded };
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
        let cron = parser.parse(&bounded).map_err(|error| whole(&error.to_string()))?;
        let starred =
            |index: usize| texts.get(index - first).is_some_and(|field| field.starts_with('*'));
        Ok(Self { cron, is_fixed: !starred(1) && !starred(2) })
    }

    /// The first wall time that it names after this one.
    pub(crate) fn after(&self, time: civil::DateTime) -> Option<civil::DateTime> {
        let whole = time.with().subsec_nanosecond(0).build().ok()?;
        let from = whole.to_zoned(TimeZone::UTC).ok()?;
        let found = self.cron.find_next_occurrence(&from, false).ok()?;
        (found.year() <= YEAR_MAX).then(|| found.datetime())
    }
}

/// The fields with where each begins.
fn fields_of(text: &str) -> Vec<(usize, &str)> {
    let start = text.as_ptr() as usize;
    text.split_ascii_whitespace().map(|field| (field.as_ptr() as usize - start, field)).collect()
}

/// Whether the field is sound by itself.
fn check_field(index: usize, field: &str) -> Result<(), String> {
    let upper = field.to_ascii_uppercase();
    let mut rest = upper.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let word: String = rest
            .get(at..)
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect();
        let known = match index {
            3 => matches!(word.as_str(), "L" | "W" | "LW"),
            4 => MONTHS.contains(&word.as_str()),
            5 => WEEKDAYS.contains(&word.trim_end_matches('L')) || word == "L",
            _ => false,
        };
        if !known {
            return Err(format!("`{word}` is no word of this field"));
        }
        rest = rest.get(at + word.len()..).unwrap_or_default();
    }
    let alone = |other: usize| if other == index { field } else { "*" };
    let text: Vec<&str> = (0..6).map(alone).collect();
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
    parser.parse(&text.join(" ")).map(|_| ()).map_err(|_| "it is no value of this field".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, time: &str) -> String {
        let times = CronTimes::parse(text).unwrap();
        times.after(time.parse().unwrap()).map_or_else(String::new, |found| found.to_string())
    }

    #[test]
    fn expressions_name_wall_times() {
        for (text, time, expected) in [
            ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
            ("30 4 * * *", "2026-01-01T04:30:00", "2026-01-02T04:30:00"),
            ("15 30 4 * * *", "2026-01-01T04:30:14.5", "2026-01-01T04:30:15"),
            ("@daily", "2024-02-28T12:00:00", "2024-02-29T00:00:00"),
            ("@Hourly", "2024-02-28T12:00:00", "2024-02-28T13:00:00"),
            ("0 0 L * *", "2023-02-01T00:00:00", "2023-02-28T00:00:00"),
            ("0 9 * * MON#2", "2026-11-01T00:00:00", "2026-11-09T09:00:00"),
            ("0 9 * * 5L", "2026-11-01T00:00:00", "2026-11-27T09:00:00"),
            ("0 9 * JAN-MAR mon-fri", "2026-11-01T00:00:00", "2027-01-01T09:00:00"),
            ("0 0 29 2 *", "2097-01-01T00:00:00", "2104-02-29T00:00:00"),
            ("0 0 13 * 5", "2026-11-01T00:00:00", "2026-11-06T00:00:00"),
            ("0 0 30 2 *", "2026-11-01T00:00:00", ""),
        ] {
            assert_eq!(after(text, time), expected, "{text} after {time}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let fault = |text| CronTimes::parse(text).unwrap_err().value;
        assert!(fault("61 * * * *").contains("field 1 (minute, character 1) is \"61\""));
        let hour = "field 2 (hour, character 4) is \"25\": it is no value of this field";
        assert!(fault("0  25 * * *").contains(hour));
        assert!(fault("0 0 0 * foo *").contains("field 5 (month, character 9) is \"foo\""));
        assert!(fault("MON * * * *").contains("`MON` is no word of this field"));
        assert!(fault("* * * *").contains("(4 fields)"));
        assert!(fault("").contains("(0 fields)"));
        assert!(CronTimes::parse("@reboot").unwrap_err().allowed.contains("@daily"));
        assert!(fault("1-0/0 * * * *").contains("field 1"));
    }

    #[test]
    fn times_of_the_day_are_told_from_distances() {
        for (text, fixed) in [
            ("30 2 * * *", true),
            ("0 2,14 * * *", true),
            ("*/5 2 * * *", false),
            ("0 * * * *", false),
            ("* 30 2 * * *", true),
            ("@daily", true),
        ] {
            assert_eq!(CronTimes::parse(text).unwrap().is_fixed, fixed, "{text}");
        }
    }
}
