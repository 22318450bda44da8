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
/// Goes by a wall clock that half an hour is taken from.
const WALL: &str = "wall";

/// Long enough that fewer than a thousand slots are missed in a row.
const PERIOD_MS: u64 = 60_000;

fn settings(name: &str) -> NewSchedule {
    let mut job = NewJob::new(JobId::default(), "longshore.tick", "{}");
    job.expiry = Some(Start::After(25_000));
    let job = JobTemplate::of("ticks".to_owned(), job);
    let every = |period_ms| NewSchedule::new(Spec::Every { period_ms }, job.clone());
    match name {
        EACH => NewSchedule { missed: Missed::All, ..every(PERIOD_MS) },
        FRESH => NewSchedule { missed: Missed::Skip, jitter_ms: 3000, ..every(15_000) },
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
    if choice == 9 && name == FRESH {
        BEHIND.clone_into(&mut name);
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

/// Checks the schedules of a namespace against all its jobs: none of theirs was forgotten.
pub(crate) fn check(map: &SimTree, namespace: &str, jobs: &[JobView]) -> Check {
    let Some((schedules, _)) = list_schedules(map, namespace, None, 100) else { return Ok(()) };
    for of in &schedules {
        let id = of.schedule.id;
        let is_own = |view: &&JobView| view.job.tick.as_ref().is_some_and(|it| it.schedule == id);
        let own: Vec<&JobView> = jobs.iter().filter(is_own).collect();
        let name = &of.schedule.name;
        check_one(of, &own).map_err(|why| format!("schedule {name}: {why}"))?;
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

fn check_one(of: &ScheduleView, own: &[&JobView]) -> Check {
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
        FRESH => {
            let old = slots.iter().find(|(slot, view)| late(view, **slot) > LATE_MS_MAX + 3000);
            if let Some((slot, view)) = old {
                return Err(format!("slot {slot} fired at {}", view.job.enqueued_at));
            }
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
    let told = state.last.as_ref().filter(|last| last.outcome == TickOutcome::Enqueued);
    let job = told.and_then(|last| last.job);
    match job.filter(|job| !own.iter().any(|view| view.job.id == *job)) {
        Some(job) => Err(format!("its last job {job} is not there")),
        None => Ok(()),
    }
}

/// Checks at rest that no schedule stands still.
pub(crate) fn check_at_rest(map: &SimTree, namespace: &str, now: TimeMs) -> Check {
    for name in [EACH, FRESH, ALONE, BEHIND, WALL] {
        let Some(of) = find_schedule(map, namespace, name) else { continue };
        let goes_on = of.state.next.is_some_and(|next| next.due > now);
        if !goes_on && !of.state.paused {
            return Err(format!("schedule {name} stands still at {now}: {:?}", of.state));
        }
    }
    Ok(())
}
