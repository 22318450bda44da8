//! What a slot brings about once it is due: its job, by the schedule's policies, and the next slot.
//! All of it is one step: it becomes durable together or not at all.

use super::change::ordering_key;
use super::plan::{Plan, slot_job_id};
use super::{LastTick, Missed, Overlap, ScheduleState, ScheduleView, Slot, Tick, TickOutcome};
use crate::command::FollowUp;
use crate::ids::{JobId, NamespaceId, ScheduleId, TimeMs};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::timer::Subject;

/// How late a slot may fire without having been missed.
const LATE_MS_MAX: u64 = 60_000;

/// Missed slots that are made up for in a row.
const MADE_UP_MAX: u32 = 1000;

/// Missed slots that are counted at once; there may have been more.
const COUNTED_MAX: u64 = 100;

/// Jobs that had not ended which a schedule remembers, the newest ones.
const LIVE_MAX: usize = 16;

/// How much later a slot is looked at again while the disk has no room for its job.
const POSTPONED_MS: u64 = 5_000;

/// What enqueueing a job weighs, in slots that are looked for.
const JOB_COST: usize = 4;

/// What was decided about one slot.
#[derive(Debug)]
pub(crate) struct TickDecision {
    pub(crate) records: Vec<Record>,
    /// What deciding it weighed, in slots that were looked for.
    pub(crate) cost: usize,
}

/// What the policy about missed slots says.
#[derive(Debug)]
struct Due {
    /// The slot that the tick is about.
    slot: TimeMs,
    /// Whether it is to enqueue its job.
    runs: bool,
    /// Slots that are passed over besides.
    missed: u64,
    /// Missed slots in a row that were made up for, this one included.
    made_up: u32,
    /// The slot after it.
    next: Option<Slot>,
}

impl State {
    /// What the timer of a schedule brings about. `room` tells whether jobs may enter.
    pub(crate) fn decide_tick(
        &self,
        ns: NamespaceId,
        id: ScheduleId,
        (timer_at, room): (TimeMs, bool),
        moment: Moment,
    ) -> TickDecision {
        let view = self.schedule(ns, id);
        let due = view.as_ref().and_then(|view| view.state.next);
        let (Some(view), Some(slot)) = (view, due.filter(|slot| slot.due == timer_at)) else {
            let subject = Subject::Schedule { namespace: ns, id };
            let passed = Record::TimersPassed { timers: vec![(timer_at, subject)] };
            return TickDecision { records: vec![passed], cost: 1 };
        };
        if !room {
            let next = Some(Slot { due: moment.at.plus(POSTPONED_MS), ..slot });
            let moved = Record::ScheduleMoved { namespace: ns, id, paused: false, next };
            return TickDecision { records: vec![moved], cost: 1 };
        }
        let plan = match Plan::of(&view.schedule.settings, id) {
            Ok(plan) => plan,
            Err(fault) => {
                let outcome = TickOutcome::Refused { code: fault.code().to_owned() };
                let due = Due { slot: slot.at, runs: false, missed: 0, made_up: 0, next: None };
                let live = view.state.live.clone();
                let record = ticked(&view, &due, (outcome, None, live), false);
                return TickDecision { records: vec![record], cost: 1 };
            }
        };
        let due = policy(&plan, &view, slot, moment.at);
        let mut records = Vec::new();
        if due.runs {
            records = self.decide_run(&view, &due, false, moment);
        } else {
            let live = view.state.live.clone();
            records.push(ticked(&view, &due, (TickOutcome::Missed, None, live), false));
        }
        TickDecision { records, cost: plan.looks() + JOB_COST }
    }

    /// What somebody's wish for a job now brings about.
    pub(crate) fn decide_run_now(
        &self,
        ns: NamespaceId,
        name: &str,
        moment: Moment,
    ) -> Result<(Vec<Record>, JobId), Rejection> {
        let view = self.schedule_named(ns, name)?;
        let ScheduleState { next, made_up, .. } = view.state;
        let due = Due { slot: moment.at, runs: true, missed: 0, made_up, next };
        let (calls, live) = self.overlapping(&view);
        let Some(calls) = calls else {
            let state = "busy";
            let needed = "jobs of it have not ended, and its overlap allows no further one";
            return Err(Rejection::ScheduleStateRefused { name: name.to_owned(), state, needed });
        };
        self.decide_enqueued(&view, &due, (calls, live), true, moment)
    }

    /// Enqueues the job of a slot, unless earlier ones keep it from that.
    fn decide_run(
        &self,
        view: &ScheduleView,
        due: &Due,
        by_hand: bool,
        moment: Moment,
    ) -> Vec<Record> {
        let (calls, live) = self.overlapping(view);
        let Some(calls) = calls else {
            return vec![ticked(view, due, (TickOutcome::Skipped, None, live), by_hand)];
        };
        let kept = live.clone();
        match self.decide_enqueued(view, due, (calls, live), by_hand, moment) {
            Ok((records, _)) => records,
            Err(rejection) => {
                // There is but one job that could be at fault.
                let rejection = match rejection {
                    Rejection::JobsRefused { mut faults } if faults.len() == 1 => {
                        faults.remove(0).1
                    }
                    other => other,
                };
                let outcome = TickOutcome::Refused { code: rejection.code().to_owned() };
                vec![ticked(view, due, (outcome, None, kept), by_hand)]
            }
        }
    }

    /// The jobs that are to be called off for another one, where one may come; and those that have
    /// not ended.
    fn overlapping(&self, view: &ScheduleView) -> (Option<Vec<JobId>>, Vec<JobId>) {
        let ns = view.schedule.namespace;
        let unfinished =
            |id: &JobId| self.job(ns, *id).is_some_and(|job| job.phase.is_unfinished());
        let mut live = view.state.live.clone();
        live.retain(unfinished);
        let calls = match view.schedule.settings.overlap {
            Overlap::Allow => Some(Vec::new()),
            Overlap::Skip => live.is_empty().then(Vec::new),
            Overlap::QueueOne => (live.len() < 2).then(Vec::new),
            Overlap::CancelPrevious => Some(live.clone()),
        };
        (calls, live)
    }

    fn decide_enqueued(
        &self,
        view: &ScheduleView,
        due: &Due,
        (calls, mut live): (Vec<JobId>, Vec<JobId>),
        by_hand: bool,
        moment: Moment,
    ) -> Result<(Vec<Record>, JobId), Rejection> {
        let (schedule, ns) = (&view.schedule, view.schedule.namespace);
        let settings = &schedule.settings;
        let ids = (0..).map(|salt| slot_job_id(ns, schedule.id, due.slot, salt));
        // A client may have chosen that id, and somebody may ask twice within a millisecond.
        let id = { ids }.find(|id| self.job(ns, *id).is_none()).expect("there are more ids");
        let (name, slot) = (schedule.name.clone(), due.slot);
        let tick = Tick { schedule: schedule.id, name, slot, by_hand };
        let mut job = settings.job.job(id, Some(tick));
        if settings.overlap == Overlap::QueueOne {
            job.ordering_key = Some(ordering_key(&schedule.name));
        }
        let mut records = Vec::new();
        let follow_ups = [FollowUp { queue: settings.job.queue.clone(), job }];
        let calls: Vec<_> = calls.into_iter().filter_map(|id| self.job(ns, id)).collect();
        let mut overlay = Overlay::new(self, ns, moment);
        for call in &calls {
            let Ok(Some(record)) = self.decide_cancel(ns, call.id, false) else { continue };
            if matches!(record, Record::JobCancelled { .. }) {
                live.retain(|id| *id != call.id);
                overlay.leave(call);
            }
            records.push(record);
        }
        let (of_job, enqueued) = self.decide_follow_ups(overlay, &follow_ups)?;
        records.extend(of_job);
        // Another job has its unique key, and stands for it.
        if let Some(other) = enqueued.first().filter(|job| job.met.is_some()) {
            records.push(ticked(view, due, (TickOutcome::Skipped, None, live), by_hand));
            return Ok((records, other.id));
        }
        if settings.overlap != Overlap::Allow {
            live.push(id);
            live.drain(..live.len().saturating_sub(LIVE_MAX));
        }
        records.push(ticked(view, due, (TickOutcome::Enqueued, Some(id), live), by_hand));
        Ok((records, id))
    }

    pub(crate) fn apply_schedule_ticked(&mut self, record: Record) {
        let Record::ScheduleTicked {
            namespace: ns,
            id,
            slot,
            outcome,
            job,
            missed,
            by_hand,
            next,
            live,
            made_up,
        } = record
        else {
            return;
        };
        let key = keys::schedule_state(ns, id);
        let mut state: ScheduleState =
            self.value(&key).expect("the record names a schedule that exists");
        let at = self.now();
        let due = state.next.filter(|_| !by_hand).map(|slot| slot.due);
        if let Some(due) = due {
            // It is the first of all timers: what is due is taken in order.
            let timer = keys::timer(due, Subject::Schedule { namespace: ns, id });
            self.timers.eaten(&timer);
            self.remove(&timer);
            state.next = None;
            self.move_slot(ns, id, &mut state, next);
        }
        let totals = &mut self.meta_mut().schedules;
        totals.missed += missed;
        state.missed_total += missed;
        let (of_all, own) = match outcome {
            TickOutcome::Enqueued => (&mut totals.enqueued, &mut state.enqueued_total),
            TickOutcome::Skipped => (&mut totals.skipped, &mut state.skipped_total),
            TickOutcome::Missed => (&mut totals.missed, &mut state.missed_total),
            TickOutcome::Refused { .. } => (&mut totals.refused, &mut state.refused_total),
        };
        (*of_all, *own) = (*of_all + 1, *own + 1);
        if let Some(due) = due {
            totals.last_lag_ms = at.since(due);
        }
        (state.live, state.made_up) = (live, made_up);
        state.last = Some(LastTick { slot, at, outcome, job, by_hand });
        self.put(&key, &state);
    }
}

fn ticked(
    view: &ScheduleView,
    due: &Due,
    (outcome, job, live): (TickOutcome, Option<JobId>, Vec<JobId>),
    by_hand: bool,
) -> Record {
    let (namespace, id) = (view.schedule.namespace, view.schedule.id);
    let Due { slot, missed, made_up, next, .. } = *due;
    Record::ScheduleTicked {
        namespace,
        id,
        slot,
        outcome,
        job,
        missed,
        by_hand,
        next,
        live,
        made_up,
    }
}

/// Which of the slots that are due the tick is about, and whether it enqueues its job.
fn policy(plan: &Plan, view: &ScheduleView, first: Slot, now: TimeMs) -> Due {
    let last = plan.last_due(first, now);
    let in_time = now.since(last.due) <= LATE_MS_MAX;
    // Of those before the last one, all were missed.
    let about_last = |runs: bool| Due {
        slot: last.at,
        runs,
        missed: plan.count(first.at, last.at, COUNTED_MAX),
        made_up: 0,
        next: plan.after(last.at),
    };
    if first == last && in_time {
        return about_last(true);
    }
    let oldest = match view.schedule.settings.missed {
        Missed::Skip => return about_last(in_time),
        Missed::One => return about_last(true),
        Missed::All => first,
        Missed::Within { ms } => {
            let since = TimeMs(now.0.saturating_sub(ms));
            if first.at >= since {
                first
            } else {
                match plan.first_from(first.at, since) {
                    Some(slot) if slot.at <= last.at => slot,
                    // None is young enough.
                    _ => return about_last(in_time),
                }
            }
        }
    };
    if view.state.made_up >= MADE_UP_MAX {
        return about_last(true);
    }
    Due {
        slot: oldest.at,
        runs: true,
        missed: plan.count(first.at, oldest.at, COUNTED_MAX),
        made_up: view.state.made_up + 1,
        next: plan.after(oldest.at),
    }
}
