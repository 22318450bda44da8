//! From wall times to instants, by the time zones that the program carries with it: no file of the
//! machine is read. Pure, and called by decisions only.
//!
//! Daylight saving: an expression that names times of the day (`30 2 * * *`) has each of them once
//! a day. One that the clocks skip comes right after the gap, one that comes twice counts the first
//! time. An expression that names distances (`*/5 * * * *`) goes by elapsed time: it has every
//! instant at which the wall clock shows one of its times.

use std::sync::OnceLock;

use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, civil};

use super::cron::CronTimes;
use crate::ids::TimeMs;

fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

/// The time zone of that name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    zones().get(name).ok()
}

/// Wall time at an instant with its distance from UTC, such as `2026-03-29T03:00:00+02:00`; `None`
/// where the zone is not known.
pub fn local_time(at: TimeMs, zone_name: &str) -> Option<String> {
    let zoned = timestamp(at)?.to_zoned(zone(zone_name)?);
    let (wall, offset) = (zoned.datetime(), zoned.offset());
    let seconds = offset.seconds();
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    let sign = if seconds < 0 { '-' } else { '+' };
    Some(format!("{wall}{sign}{hours:02}:{minutes:02}"))
}

fn timestamp(at: TimeMs) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

fn instant(at: Timestamp) -> Option<TimeMs> {
    u64::try_from(at.as_millisecond()).ok().map(TimeMs)
}

/// The first instant after `after` that the expression means in the zone.
pub(crate) fn next_instant(times: &CronTimes, zone: &TimeZone, after: TimeMs) -> Option<TimeMs> {
    let after = timestamp(after)?;
    let found = if times.is_fixed {
        next_of_times(times, zone, after)
    } else {
        next_of_distances(times, zone, after)
    };
    instant(found?)
}

/// Each wall time once. What it means never goes back as wall time goes on, so the first one that
/// means an instant after `after` is it, and none before the present wall time can be.
fn next_of_times(times: &CronTimes, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut wall = zone.to_datetime(after);
    loop {
        wall = times.after(wall)?;
        match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                let at = offset.to_timestamp(wall).ok()?;
                if at > after {
                    return Some(at);
                }
            }
            AmbiguousOffset::Gap { .. } => {
                let end = end_of_gap(zone, wall)?;
                if end > after {
                    return Some(end);
                }
            }
            AmbiguousOffset::Fold { before, after: second } => {
                let first = before.to_timestamp(wall).ok()?;
                if first > after {
                    return Some(first);
                }
                // Its first time is over: what else is said twice is over as well.
                wall = end_of_fold(zone, first, (before, second))?;
            }
        }
    }
}

/// When the clocks go forward over this wall time.
fn end_of_gap(zone: &TimeZone, wall: civil::DateTime) -> Option<Timestamp> {
    // By the distance before the gap, it would lie behind it.
    let AmbiguousOffset::Gap { before, .. } = zone.to_ambiguous_timestamp(wall).offset() else {
        return None;
    };
    let behind = before.to_timestamp(wall).ok()?;
    let later = behind.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
    Some(zone.preceding(later).next()?.timestamp())
}

/// The last wall time before the one at which a fold ends, for the search to go on from.
fn end_of_fold(
    zone: &TimeZone,
    first: Timestamp,
    (before, second): (jiff::tz::Offset, jiff::tz::Offset),
) -> Option<civil::DateTime> {
    let change = zone.following(first).next()?.timestamp();
    let second_ago = jiff::SignedDuration::from_secs(-1);
    let last = before.to_datetime(change).checked_add(second_ago).ok()?;
    debug_assert!(second < before, "clocks go back in a fold");
    Some(last)
}

/// Every instant at which the wall clock shows one of the times.
fn next_of_distances(times: &CronTimes, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut from = after;
    let mut wall = zone.to_datetime(from);
    // Where the clocks change before the next time comes, it is looked for anew from there.
    loop {
        let change = zone.following(from).next().map(|change| change.timestamp());
        let at = times.after(wall).and_then(|next| zone.to_offset(from).to_timestamp(next).ok());
        match (at, change) {
            (Some(at), Some(change)) if at < change => return Some(at),
            (Some(at), None) => return Some(at),
            (None, _) => return None,
            (Some(_), Some(change)) => {
                from = change;
                // The time at which they change may be one.
                let second_ago = jiff::SignedDuration::from_secs(-1);
                wall = zone.to_datetime(change).checked_add(second_ago).ok()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 17] = [
        "UTC",
        "Europe/Berlin",
        "Europe/Dublin",
        "America/New_York",
        // Half an hour, and at one minute past midnight.
        "Australia/Lord_Howe",
        "America/St_Johns",
        // A quarter of an hour, once.
        "Asia/Kathmandu",
        "Asia/Pyongyang",
        "America/Caracas",
        // A day that is not there, and one that was there before.
        "Pacific/Apia",
        "Pacific/Kwajalein",
        "Antarctica/Troll",
        "Africa/Casablanca",
        // At midnight.
        "America/Sao_Paulo",
        "Asia/Tehran",
        "Asia/Gaza",
        "America/Scoresbysund",
    ];

    /// An expression as it is told, and the naive reading of it.
    #[derive(Clone, Debug)]
    struct Naive {
        minutes: Field,
        hours: Field,
        days: Field,
        months: Field,
        weekdays: Field,
    }

    #[derive(Clone, Debug)]
    enum Field {
        Star,
        Step(u8),
        List(Vec<u8>),
        Range(u8, u8),
    }

    impl Field {
        fn text(&self) -> String {
            match self {
                Self::Star => "*".to_owned(),
                Self::Step(step) => format!("*/{step}"),
                Self::List(values) => {
                    values.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
                }
                Self::Range(from, to) => format!("{from}-{to}"),
            }
        }

        fn has(&self, value: i8, first: u8) -> bool {
            let value = u8::try_from(value).unwrap();
            match self {
                Self::Star => true,
                Self::Step(step) => (value - first).is_multiple_of(*step),
                Self::List(values) => values.contains(&value),
                Self::Range(from, to) => (*from..=*to).contains(&value),
            }
        }

        fn is_star(&self) -> bool {
            matches!(self, Self::Star)
        }
    }

    impl Naive {
        fn text(&self) -> String {
            let fields = [&self.minutes, &self.hours, &self.days, &self.months, &self.weekdays];
            fields.map(Field::text).join(" ")
        }

        fn names(&self, wall: civil::DateTime) -> bool {
            let day = self.days.has(wall.day(), 1);
            let weekday = self.weekdays.has(wall.weekday().to_sunday_zero_offset(), 0);
            // As Vixie's: where both are named, one of them is enough.
            let on_day = match (self.days.is_star(), self.weekdays.is_star()) {
                (false, false) => day || weekday,
                _ => day && weekday,
            };
            on_day
                && self.months.has(wall.month(), 1)
                && self.hours.has(wall.hour(), 0)
                && self.minutes.has(wall.minute(), 0)
        }

        fn is_fixed(&self) -> bool {
            let by_star = |field: &Field| matches!(field, Field::Star | Field::Step(_));
            !by_star(&self.minutes) && !by_star(&self.hours)
        }

        /// Minute by minute. Times of the day: at each instant, all walls that the clock shows or
        /// has passed over for the first time.
        fn instants(&self, zone: &TimeZone, from: Timestamp, minutes: i64) -> Vec<Timestamp> {
            let minute = jiff::SignedDuration::from_mins(1);
            let mut seen = zone.to_datetime(from);
            let mut found = Vec::new();
            for n in 1..=minutes {
                let at = from + jiff::SignedDuration::from_mins(n);
                let wall = zone.to_datetime(at);
                let meant = if self.is_fixed() {
                    let mut meant = false;
                    while seen < wall {
                        seen = seen.checked_add(minute).unwrap();
                        meant |= self.names(seen);
                    }
                    meant
                } else {
                    self.names(wall)
                };
                if meant {
                    found.push(at);
                }
            }
            found
        }
    }

    fn field(first: u8, last: u8) -> impl Strategy<Value = Field> {
        prop_oneof![
            2 => Just(Field::Star),
            1 => (2..=7_u8).prop_map(Field::Step),
            4 => prop::collection::vec(first..=last, 1..4).prop_map(Field::List),
            1 => (first..=last, first..=last).prop_map(|(a, b)| Field::Range(a.min(b), a.max(b))),
        ]
    }

    /// Mostly such that something happens within days.
    fn naive() -> impl Strategy<Value = Naive> {
        let rare = |first, last| prop_oneof![4 => Just(Field::Star), 1 => field(first, last)];
        (field(0, 59), prop_oneof![field(0, 23), field(0, 4)], rare(1, 28), rare(1, 12), rare(0, 6))
            .prop_map(|(minutes, hours, days, months, weekdays)| Naive {
                minutes,
                hours,
                days,
                months,
                weekdays,
            })
    }

    fn check(naive: &Naive, zone_name: &str, from: Timestamp, minutes: i64) {
        let zone = zone(zone_name).unwrap();
        let times = CronTimes::parse(&naive.text()).unwrap();
        let expected = naive.instants(&zone, from, minutes);
        let until = from + jiff::SignedDuration::from_mins(minutes);
        let (mut found, mut at) = (Vec::new(), instant(from).unwrap());
        while let Some(next) = next_instant(&times, &zone, at) {
            if timestamp(next).unwrap() > until {
                break;
            }
            found.push(timestamp(next).unwrap());
            at = next;
        }
        let text = naive.text();
        assert_eq!(found, expected, "\"{text}\" in {zone_name} from {from}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// From 1970 to 2100, mostly around the instants at which clocks change.
        #[test]
        fn slots_are_those_of_a_walk_minute_by_minute(
            naive in naive(), zone_index in 0..ZONES.len(), minute in 0_i64..68_000_000,
            before in 0_i64..3000, anywhere in prop::bool::weighted(0.2),
        ) {
            let mut from = Timestamp::from_second(minute * 60).unwrap();
            if !anywhere {
                let zone = zone(ZONES[zone_index]).unwrap();
                let change = zone.following(from).next().map(|change| change.timestamp());
                let near = change.and_then(|change| {
                    let whole = change.as_second().div_euclid(60) - before;
                    Timestamp::from_second(whole.max(0) * 60).ok()
                });
                from = near.unwrap_or(from);
            }
            check(&naive, ZONES[zone_index], from, 6000);
        }
    }

    fn local(text: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
        let (times, zone) = (CronTimes::parse(text).unwrap(), zone(zone_name).unwrap());
        let mut at = instant(after.parse().unwrap()).unwrap();
        let mut found = Vec::new();
        while found.len() < count {
            at = next_instant(&times, &zone, at).unwrap();
            found.push(local_time(at, zone_name).unwrap());
        }
        found
    }

    #[test]
    fn a_day_that_is_not_there_is_made_up_for_at_its_end() {
        let found = local("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3);
        let expected =
            ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"];
        assert_eq!(found, expected);
        let found = local("0 */6 * * *", "Pacific/Apia", "2011-12-30T05:00:00Z", 2);
        assert_eq!(found, ["2011-12-31T00:00:00+14:00", "2011-12-31T06:00:00+14:00"]);
    }

    #[test]
    fn half_an_hour_that_comes_twice_counts_once_for_times_of_the_day() {
        // Lord Howe: on 2026-04-05 at 02:00 the clocks go back to 01:30.
        let found = local("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);
        assert_eq!(found, ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]);
        let found = local("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:20:00Z", 4);
        let expected = [
            "2026-04-05T01:30:00+11:00",
            "2026-04-05T01:45:00+11:00",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T01:45:00+10:30",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn two_times_that_the_clocks_skip_are_one_slot() {
        let found = local("15,45 2 * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", 3);
        let expected =
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00", "2026-03-30T02:45:00+02:00"];
        assert_eq!(found, expected);
    }

    #[test]
    fn leap_days_come_when_they_come() {
        let found = local("0 0 29 2 *", "Asia/Kathmandu", "2096-03-01T00:00:00Z", 2);
        assert_eq!(found, ["2104-02-29T00:00:00+05:45", "2108-02-29T00:00:00+05:45"]);
    }
}
