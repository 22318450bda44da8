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
