//! Schedules: what people ask of them, and what must be true of their slots. No client takes their
//! jobs, whose kind is reserved: they end by their time, or when they are cancelled.

use std::collections::BTreeMap;

use longshore_engine::query::{find_schedule, list_schedules};
use longshore_engine::{
    Command, JobId, JobTemplate, JobView, Missed, NewJob, NewSchedule, Overlap, ScheduleCommand,
    ScheduleView, Spec, Start, TickOutcome, TimeMs,
};

use crate::map::SimTree;
use crate::random::Random;
use crate::workload::Check;

/// A slot fires so late at most without having been missed.
const LATE_MS_MAX: u64 = 60_000;

/// Makes up for all, and nobody but its owner touches it: no slot of it is lost.
const EACH: &str = "each";
/// Passes over what was missed, but for the last minute.
const FRESH: &str = "fresh";
/// One job at a time.
const ALONE: &str = "alone";
/// One job at a time, and one that waits for it.
const BEHIND: &str = "behind";
/// One job stands for all slots that were missed.
const ONCE: &str = "once";
/// Makes up for what was missed of late.
const LATELY: &str = "lately";
/// Passes over what is more than a minute late, although no later slot is due.
const SELDOM: &str = "seldom";
/// Goes by a wall clock that half an hour is taken from.
const WALL: &str = "wall";

/// Long enough that fewer than a thousand slots are missed in a row.
const PERIOD_MS: u64 = 60_000;
const FRESH_PERIOD_MS: u64 = 15_000;
const FRESH_JITTER_MS: u64 = 3000;
const ONCE_PERIOD_MS: u64 = 20_000;
const SELDOM_PERIOD_MS: u64 = 150_000;
/// How far back slots are made up for.
const LATELY_MS: u64 = 90_000;

fn settings(name: &str) -> NewSchedule {
    let mut job = NewJob::new(JobId::default(), "longshore.tick", "{}");
    job.expiry = Some(Start::After(25_000));
    let job = JobTemplate::of("ticks".to_owned(), job);
    let every = |period_ms| NewSchedule::new(Spec::Every { period_ms }, job.clone());
    match name {
        EACH => NewSchedule { missed: Missed::All, ..every(PERIOD_MS) },
        FRESH => NewSchedule {
            missed: Missed::Skip,
            jitter_ms: FRESH_JITTER_MS,
            ..every(FRESH_PERIOD_MS)
        },
        ONCE => NewSchedule { missed: Missed::One, ..every(ONCE_PERIOD_MS) },
        LATELY => NewSchedule { missed: Missed::Within { ms: LATELY_MS }, ..every(ONCE_PERIOD_MS) },
        SELDOM => NewSchedule { missed: Missed::Skip, ..every(SELDOM_PERIOD_MS) },
        ALONE => NewSchedule { overlap: Overlap::Skip, ..every(10_000) },
        BEHIND => NewSchedule { overlap: Overlap::QueueOne, ..every(10_000) },
        _ => NewSchedule {
            zone: "Australia/Lord_Howe".to_owned(),
            missed: Missed::Within { ms: 90_000 },
            overlap: Overlap::CancelPrevious,
            ..NewSchedule::new(Spec::Cron { text: "* * * * *".to_owned() }, job)
        },
    }
}

pub(crate) fn sample(random: &mut Random) -> Command {
    let mut name = (*random.pick(&[EACH, FRESH, ALONE, WALL])).to_owned();
    let touched = matches!(&*name, ALONE | WALL);
    let choice = random.below(10);
    // So that runs from before it stay as they were.
    match (choice, &*name) {
        (9, FRESH) => BEHIND.clone_into(&mut name),
        (8, FRESH) => ONCE.clone_into(&mut name),
        (9, EACH) => LATELY.clone_into(&mut name),
        (8, EACH) => SELDOM.clone_into(&mut name),
        _ => {}
    }
    let command = match choice {
        0 if touched => ScheduleCommand::Pause,
        1 | 2 if touched => ScheduleCommand::Resume,
        3 if touched => ScheduleCommand::Run,
        4 if touched => ScheduleCommand::SetNext(Start::After(random.below(30_000))),
        5 => ScheduleCommand::Get,
        _ => ScheduleCommand::Put { settings: Box::new(settings(&name)), paused: None },
    };
    Command::OfSchedule { name, command }
}

/// Checks the schedules of a namespace against all its jobs: none of theirs was forgotten. While
/// the disk is full slots are put off.
pub(crate) fn check(
    map: &SimTree,
    namespace: &str,
    jobs: &[JobView],
    disk_was_full: bool,
) -> Check {
    let Some((schedules, _)) = list_schedules(map, namespace, None, 100) else { return Ok(()) };
    for of in &schedules {
        let id = of.schedule.id;
        let is_own = |view: &&JobView| view.job.tick.as_ref().is_some_and(|it| it.schedule == id);
        let own: Vec<&JobView> = jobs.iter().filter(is_own).collect();
        let name = &of.schedule.name;
        check_one(of, &own, disk_was_full).map_err(|why| format!("schedule {name}: {why}"))?;
    }
    let known = |view: &JobView| {
        let tick = view.job.tick.as_ref();
        tick.is_none_or(|tick| schedules.iter().any(|of| of.schedule.id == tick.schedule))
    };
    match jobs.iter().find(|view| !known(view)) {
        Some(view) => Err(format!("job {} is of no schedule", view.job.id)),
        None => Ok(()),
    }
}

/// No more of them at a time have not ended, and one of them runs.
fn check_at_once(own: &[&JobView], most: usize) -> Check {
    let unfinished = own.iter().filter(|view| view.job.phase.is_unfinished());
    let running = unfinished.clone().filter(|view| view.lease.is_some()).count();
    let unfinished = unfinished.count();
    if unfinished > most || running > 1 {
        return Err(format!("{unfinished} jobs at once, of which {running} run"));
    }
    Ok(())
}

/// Each slot of an interval that nobody moved has fired or was passed over, and is counted so:
/// those that fired less than `late` after their time, and those that were passed over `passed`
/// after it at the earliest.
fn check_slots(
    of: &ScheduleView,
    slots: &BTreeMap<TimeMs, &JobView>,
    period_ms: u64,
    (late_ms, passed_ms): (u64, u64),
) -> Check {
    let state = &of.state;
    let next = state.next.ok_or("it has no next slot")?.at;
    let mut slot = of.schedule.created_at.plus(period_ms);
    let (mut fired, mut passed) = (0, 0);
    while slot < next {
        // When it was decided about at the latest.
        let later = slots.range(slot..).next().map(|(_, view)| view.job.enqueued_at);
        let at = later.or_else(|| state.last.as_ref().map(|last| last.at)).unwrap_or_default();
        match slots.get(&slot) {
            Some(view) if view.job.enqueued_at.since(slot) >= late_ms => {
                return Err(format!("slot {slot} fired at {}", view.job.enqueued_at));
            }
            Some(_) => fired += 1,
            None if at.since(slot) < passed_ms => {
                return Err(format!("slot {slot} was passed over at {at}"));
            }
            None => passed += 1,
        }
        slot = slot.plus(period_ms);
    }
    if (slot, fired) != (next, slots.len()) {
        return Err(format!("its slots are not those of its interval: {next}, {slots:?}"));
    }
    let told = state.missed_total + state.skipped_total;
    if passed != told {
        return Err(format!("{passed} slots were passed over, and {told} are counted"));
    }
    Ok(())
}

/// What the policies of a schedule say of its slots, and of the jobs of these.
fn check_policy(
    of: &ScheduleView,
    own: &[&JobView],
    slots: &BTreeMap<TimeMs, &JobView>,
    disk_was_full: bool,
) -> Check {
    let state = &of.state;
    let late = |view: &JobView, slot: TimeMs| view.job.enqueued_at.since(slot);
    match &*of.schedule.name {
        EACH => {
            let apart = slots.keys().zip(slots.keys().skip(1));
            let gap = apart.clone().find(|(one, other)| other.since(**one) != PERIOD_MS);
            if let Some((one, other)) = gap {
                return Err(format!("nothing between slots {one} and {other}"));
            }
            let first = of.schedule.created_at.plus(PERIOD_MS);
            if slots.keys().next().is_some_and(|slot| *slot != first) {
                return Err(format!("its first slot is not {first}"));
            }
            if state.missed_total > 0 || state.next.is_none() {
                return Err(format!("{state:?}"));
            }
        }
        // Of those that are due the newest fires, and no other one.
        FRESH => {
            let bounds = (FRESH_PERIOD_MS + FRESH_JITTER_MS, FRESH_PERIOD_MS);
            check_slots(of, slots, FRESH_PERIOD_MS, bounds)?;
        }
        ONCE => {
            check_slots(of, slots, ONCE_PERIOD_MS, (ONCE_PERIOD_MS, ONCE_PERIOD_MS))?;
            let last = state.next.map(|next| next.at.0 - ONCE_PERIOD_MS);
            let stands = slots.last_key_value().is_none_or(|(slot, _)| Some(slot.0) == last);
            if !stands || slots.is_empty() && state.missed_total > 0 {
                return Err(format!("no job stands for what was missed: {state:?}"));
            }
        }
        LATELY => check_slots(of, slots, ONCE_PERIOD_MS, (LATELY_MS + 1, LATELY_MS + 1))?,
        // On a full disk one may wait for longer than a minute, and fire all the same. Elsewhere
        // that tells this policy from one that makes up for the last one that was missed.
        SELDOM => {
            let late_ms = if disk_was_full { SELDOM_PERIOD_MS } else { LATE_MS_MAX + 1 };
            check_slots(of, slots, SELDOM_PERIOD_MS, (late_ms, LATE_MS_MAX + 1))?;
        }
        ALONE => check_at_once(own, 1)?,
        BEHIND => check_at_once(own, 2)?,
        _ => {
            let whole = |slot: &TimeMs| slot.0.is_multiple_of(60_000);
            let moved = slots
                .iter()
                .find(|(slot, view)| whole(slot) && late(view, **slot) > 90_000 + LATE_MS_MAX);
            if let Some((slot, view)) = moved {
                return Err(format!("slot {slot} fired at {}", view.job.enqueued_at));
            }
        }
    }
    Ok(())
}

fn check_one(of: &ScheduleView, own: &[&JobView], disk_was_full: bool) -> Check {
    let state = &of.state;
    if own.len() as u64 != state.enqueued_total {
        return Err(format!("{} jobs of {} ticks", own.len(), state.enqueued_total));
    }
    let mut slots: BTreeMap<TimeMs, &JobView> = BTreeMap::new();
    for view in own {
        let Some(tick) = view.job.tick.as_ref().filter(|tick| !tick.by_hand) else { continue };
        if let Some(other) = slots.insert(tick.slot, view) {
            return Err(format!(
                "slot {} has jobs {} and {}",
                tick.slot, other.job.id, view.job.id
            ));
        }
        if view.job.enqueued_at < tick.slot {
            return Err(format!("slot {} fired at {}", tick.slot, view.job.enqueued_at));
        }
    }
    let lasts = |(slot, _): (&TimeMs, &&JobView)| *slot;
    if let (Some(last), Some(next)) = (slots.last_key_value().map(lasts), state.next)
        && next.at <= last
    {
        return Err(format!("slot {} comes after {last}", next.at));
    }
    if state.refused_total > 0 {
        return Err(format!("{:?} was refused", state.last));
    }
    check_policy(of, own, &slots, disk_was_full)?;
    let told = state.last.as_ref().filter(|last| last.outcome == TickOutcome::Enqueued);
    let job = told.and_then(|last| last.job);
    match job.filter(|job| !own.iter().any(|view| view.job.id == *job)) {
        Some(job) => Err(format!("its last job {job} is not there")),
        None => Ok(()),
    }
}

/// Checks at rest that no schedule stands still.
pub(crate) fn check_at_rest(map: &SimTree, namespace: &str, now: TimeMs) -> Check {
    for name in [EACH, FRESH, ALONE, BEHIND, ONCE, LATELY, SELDOM, WALL] {
        let Some(of) = find_schedule(map, namespace, name) else { continue };
        let goes_on = of.state.next.is_some_and(|next| next.due > now);
        if !goes_on && !of.state.paused {
            return Err(format!("schedule {name} stands still at {now}: {:?}", of.state));
        }
    }
    Ok(())
}
