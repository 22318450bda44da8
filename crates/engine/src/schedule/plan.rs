//! The slots of one schedule: which comes after which, and when each is due.

use std::cell::Cell;

use jiff::tz::TimeZone;

use super::calendar::{next_instant, zone};
use super::cron::CronTimes;
use super::{NewSchedule, ScheduleView, Slot, Spec};
use crate::ids::{JobId, NamespaceId, ScheduleId, TimeMs};
use crate::rejection::Rejection;

/// Why a schedule has no slots that could be told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanFault {
    /// The time zones of this program have none of that name.
    #[error("time zone \"{zone}\" is not known")]
    ZoneUnknown {
        /// Its name.
        zone: String,
    },
    /// The expression cannot be read.
    #[error("cron is {value}; allowed: {allowed}")]
    CronRefused {
        /// The expression, and where in it.
        value: String,
        /// What may stand there.
        allowed: String,
    },
}

impl PlanFault {
    /// The code of the tick that it makes impossible.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::ZoneUnknown { .. } => "time_zone_unknown",
            Self::CronRefused { .. } => "cron_refused",
        }
    }
}

impl From<PlanFault> for Rejection {
    fn from(fault: PlanFault) -> Self {
        match fault {
            PlanFault::ZoneUnknown { zone } => {
                let shown: String = zone.chars().take(80).flat_map(char::escape_default).collect();
                let allowed = "the name of a time zone, such as UTC or Europe/Berlin".to_owned();
                Self::ValueRefused { field: "time_zone", value: format!("\"{shown}\""), allowed }
            }
            PlanFault::CronRefused { value, allowed } => {
                Self::ValueRefused { field: "cron", value, allowed }
            }
        }
    }
}

#[derive(Debug)]
enum Times {
    Cron(Box<CronTimes>, TimeZone),
    Every(u64),
}

/// A schedule that was read.
#[derive(Debug)]
pub(crate) struct Plan {
    times: Times,
    id: ScheduleId,
    jitter_ms: u64,
    starts_at: Option<TimeMs>,
    ends_at: Option<TimeMs>,
    /// How many slots were looked for.
    looks: Cell<usize>,
}

impl Plan {
    pub(crate) fn of(settings: &NewSchedule, id: ScheduleId) -> Result<Self, PlanFault> {
        let times = match &settings.spec {
            Spec::Cron { text } => {
                let times = CronTimes::parse(text).map_err(|fault| PlanFault::CronRefused {
                    value: fault.value,
                    allowed: fault.allowed,
                })?;
                let named = || settings.zone.clone();
                let zone =
                    zone(&settings.zone).ok_or_else(|| PlanFault::ZoneUnknown { zone: named() })?;
                Times::Cron(Box::new(times), zone)
            }
            Spec::Every { period_ms } => Times::Every((*period_ms).max(1)),
        };
        let NewSchedule { jitter_ms, starts_at, ends_at, .. } = *settings;
        Ok(Self { times, id, jitter_ms, starts_at, ends_at, looks: Cell::new(0) })
    }

    /// How many slots were looked for so far: what that cost.
    pub(crate) fn looks(&self) -> usize {
        self.looks.get()
    }

    /// The first slot after an instant, where there was none before.
    pub(crate) fn first_after(&self, now: TimeMs) -> Option<Slot> {
        let at = match (&self.times, self.starts_at) {
            (Times::Cron(..), Some(starts_at)) => {
                self.following(now.max(TimeMs(starts_at.0.saturating_sub(1))))?
            }
            (Times::Cron(..), None) => self.following(now)?,
            (Times::Every(_), Some(starts_at)) if starts_at > now => starts_at,
            (Times::Every(period_ms), Some(starts_at)) => {
                starts_at.plus((now.since(starts_at) / period_ms + 1) * period_ms)
            }
            (Times::Every(period_ms), None) => now.plus(*period_ms),
        };
        self.slot(at)
    }

    /// The slot after the one at `at`.
    pub(crate) fn after(&self, at: TimeMs) -> Option<Slot> {
        self.slot(self.following(at)?)
    }

    /// The first slot from `since` on, of those that follow the one at `first`, which is before it.
    pub(crate) fn first_from(&self, first: TimeMs, since: TimeMs) -> Option<Slot> {
        self.slot(match &self.times {
            Times::Every(period_ms) => {
                first.plus(since.since(first).div_ceil(*period_ms) * period_ms)
            }
            Times::Cron(..) => self.following(TimeMs(since.0.saturating_sub(1)))?,
        })
    }

    fn following(&self, at: TimeMs) -> Option<TimeMs> {
        self.looks.set(self.looks.get() + 1);
        match &self.times {
            Times::Cron(times, zone) => next_instant(times, zone, at),
            Times::Every(period_ms) => Some(at.plus(*period_ms)),
        }
    }

    /// The slot at that instant, if it is not past the end.
    pub(crate) fn slot(&self, at: TimeMs) -> Option<Slot> {
        if self.ends_at.is_some_and(|ends_at| at > ends_at) {
            return None;
        }
        let mut off_ms = 0;
        if self.jitter_ms > 0 {
            let gap = self.following(at).map_or(u64::MAX, |next| next.since(at));
            let most = self.jitter_ms.min(gap.saturating_sub(1));
            off_ms = mix(mix(self.id.0) ^ at.0) % (most + 1);
        }
        Some(Slot { at, due: at.plus(off_ms) })
    }

    /// The last slot that is due by `now`, from one on that is.
    pub(crate) fn last_due(&self, first: Slot, now: TimeMs) -> Slot {
        let mut until = now;
        // A slot is due before the next one comes, so at most one is there and not due.
        for _ in 0..2 {
            let at = self.last_at(first.at, until);
            match self.slot(at) {
                _ if at <= first.at => break,
                Some(slot) if slot.due <= now => return slot,
                _ => until = TimeMs(at.0 - 1),
            }
        }
        first
    }

    /// The instant of the last slot up to `until`, from the one at `first` on.
    fn last_at(&self, first: TimeMs, until: TimeMs) -> TimeMs {
        let until = self.ends_at.map_or(until, |ends_at| until.min(ends_at));
        if let Times::Every(period_ms) = &self.times {
            return first.plus(until.since(first) / period_ms * period_ms);
        }
        let next_of = |at: TimeMs| self.following(at).filter(|next| *next <= until);
        let Some(mut found) = next_of(first) else { return first };
        // Farther and farther back, until there is one; then by halves: expressions are only read
        // forwards.
        let (mut near, mut back_ms) = (until, 1000);
        let mut far = first;
        while until.since(first) > back_ms {
            let from = TimeMs(until.0 - back_ms);
            if next_of(from).is_some() {
                far = from;
                break;
            }
            (near, back_ms) = (from, back_ms * 2);
        }
        while near.since(far) > 1 {
            let middle = TimeMs(far.0.midpoint(near.0));
            match next_of(middle) {
                // The next one after what comes last is past the end.
                Some(next) => (far, found) = (middle.max(TimeMs(next.0 - 1)), next),
                None => near = middle,
            }
        }
        found.max(next_of(far).unwrap_or(found))
    }

    /// How many slots there are from the one at `from` on and before `to`: those of a cron
    /// expression are counted up to `most`.
    pub(crate) fn count(&self, from: TimeMs, to: TimeMs, most: u64) -> u64 {
        if from >= to {
            return 0;
        }
        if let Times::Every(period_ms) = &self.times {
            return to.since(from).div_ceil(*period_ms);
        }
        let (mut at, mut count) = (Some(from), 0);
        while let Some(slot) = at.filter(|slot| *slot < to && count < most) {
            count += 1;
            at = self.following(slot);
        }
        count
    }
}

/// The next slots of a schedule: those that come, or where it is paused those that would.
pub fn next_slots(view: &ScheduleView, now: TimeMs, most: usize) -> Result<Vec<Slot>, PlanFault> {
    let plan = Plan::of(&view.schedule.settings, view.schedule.id)?;
    let mut next = match view.state.next {
        None if view.state.paused => plan.first_after(now),
        next => next,
    };
    let mut slots = Vec::new();
    while let Some(slot) = next.filter(|_| slots.len() < most) {
        slots.push(slot);
        next = plan.after(slot.at);
    }
    Ok(slots)
}

/// One to one, and no bit of the outcome follows from few of the input (`SplitMix64`).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The id of the job of a slot: the same for the same slot. It has the form of a version 7 UUID
/// that was made at the slot.
pub fn slot_job_id(ns: NamespaceId, schedule: ScheduleId, slot: TimeMs, salt: u64) -> JobId {
    let seed = mix(mix(schedule.0 ^ (u64::from(ns.0) << 40)) ^ slot.0).wrapping_add(salt);
    let (high, low) = (mix(seed), mix(seed ^ u64::MAX));
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(slot.0.to_be_bytes().into_iter().skip(2)) {
        *to = from;
    }
    let rest = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
    for (to, from) in id.iter_mut().skip(6).zip(rest) {
        *to = from;
    }
    id[6] = 0x70 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    JobId(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::JobTemplate;

    fn plan(spec: Spec, jitter_ms: u64) -> Plan {
        let job = JobTemplate::of("q".into(), crate::NewJob::new(JobId::default(), "k", "{}"));
        let settings = NewSchedule { jitter_ms, ..NewSchedule::new(spec, job) };
        Plan::of(&settings, ScheduleId(7)).unwrap()
    }

    fn cron(text: &str) -> Spec {
        Spec::Cron { text: text.into() }
    }

    #[test]
    fn a_job_has_the_id_of_its_slot() {
        let slot = TimeMs(1_700_000_000_000);
        let id = slot_job_id(NamespaceId(1), ScheduleId(2), slot, 0);
        assert_eq!(id.made_at(), Some(slot));
        assert_eq!(id, slot_job_id(NamespaceId(1), ScheduleId(2), slot, 0));
        for other in [
            slot_job_id(NamespaceId(2), ScheduleId(2), slot, 0),
            slot_job_id(NamespaceId(1), ScheduleId(3), slot, 0),
            slot_job_id(NamespaceId(1), ScheduleId(2), slot.plus(1), 0),
            slot_job_id(NamespaceId(1), ScheduleId(2), slot, 1),
        ] {
            assert_ne!(other, id);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn the_last_slot_is_that_which_a_walk_ends_at(
            index in 0_usize..5, from in 0_u64..4_000_000, span in 1_u64..700_000,
            jitter_ms in prop_oneof![Just(0), 1_u64..90_000],
        ) {
            let specs = [
                cron("*/5 * * * *"),
                cron("30 4 * * *"),
                cron("*/7 1 * * * *"),
                cron("0 0 1,20 * *"),
                Spec::Every { period_ms: 90_001 },
            ];
            let plan = plan(specs[index].clone(), jitter_ms);
            let first = plan.first_after(TimeMs(from * 1000)).unwrap();
            let now = first.due.plus(span * 1000 + from % 1000);
            let (mut last, mut steps) = (first, 0);
            while let Some(next) = plan.after(last.at).filter(|next| next.due <= now) {
                prop_assert!(next.at > last.at && next.due >= last.due);
                last = next;
                steps += 1;
                if steps > 3000 {
                    return Ok(());
                }
            }
            prop_assert_eq!(plan.last_due(first, now), last);
            prop_assert_eq!(plan.count(first.at, last.at, u64::MAX), steps);
        }
    }

    #[test]
    fn the_last_of_many_is_found_in_few_looks() {
        let plan = plan(cron("* * * * * *"), 0);
        let (first, now) = (plan.first_after(TimeMs(0)).unwrap(), TimeMs(10 * 365 * 86_400_000));
        assert_eq!(plan.last_due(first, now).at, now);
        let plan = self::plan(cron("0 0 29 2 *"), 0);
        let first = plan.first_after(TimeMs(0)).unwrap();
        let last = plan.last_due(first, TimeMs(4_000_000_000_000));
        assert_eq!(super::super::local_time(last.at, "UTC").unwrap(), "2096-02-29T00:00:00+00:00");
        assert!(plan.looks() < 120, "{} looks", plan.looks());
    }

    #[test]
    fn jitter_stays_before_the_next_slot_and_differs() {
        let plan = plan(Spec::Every { period_ms: 10_000 }, 60_000);
        let slots: Vec<Slot> = (0..50).filter_map(|n| plan.slot(TimeMs(n * 10_000))).collect();
        assert!(slots.iter().all(|slot| slot.due.since(slot.at) < 10_000));
        let offs: std::collections::BTreeSet<u64> =
            slots.iter().map(|slot| slot.due.since(slot.at)).collect();
        assert!(offs.len() > 40);
    }
}
