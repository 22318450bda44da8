//! Schedules, naively: slots are walked one by one, expressions minute by minute.

use longshore_engine::{
    Answer, JobId, Missed, NamespaceId, NewJob, NewSchedule, Overlap, Rejection, Schedule,
    ScheduleCommand, ScheduleId, ScheduleState, ScheduleView, Slot, Spec, Start, Tick, TickOutcome,
    TimeMs, slot_job_id,
};

use super::{Reference, Refusable, refused};

const MINUTE: u64 = 60_000;

/// An expression, and whether it means a minute of the day.
type Expression = (&'static str, fn(u64) -> bool);

/// Those that are known here.
pub(crate) const KNOWN: [Expression; 2] = [
    ("*/7 */2 * * *", |minute| minute % 60 % 7 == 0 && minute / 60 % 2 == 0),
    ("30 2,5 * * *", |minute| minute == 150 || minute == 330),
];

fn walk(settings: &NewSchedule, after: TimeMs) -> Option<TimeMs> {
    let at = match &settings.spec {
        Spec::Every { period_ms } => after.plus(*period_ms),
        Spec::Cron { text } => {
            let (_, means) = KNOWN.iter().find(|(known, _)| known == text)?;
            let mut minute = after.0 / MINUTE + 1;
            while !means(minute % 1440) {
                minute += 1;
            }
            TimeMs(minute * MINUTE)
        }
    };
    settings.ends_at.is_none_or(|ends_at| at <= ends_at).then_some(at)
}

fn first(settings: &NewSchedule, now: TimeMs) -> Option<Slot> {
    let at = match (&settings.spec, settings.starts_at) {
        (Spec::Every { period_ms }, Some(starts_at)) => {
            let mut at = starts_at;
            while at <= now {
                at = at.plus(*period_ms);
            }
            settings.ends_at.is_none_or(|ends_at| at <= ends_at).then_some(at)
        }
        (_, Some(starts_at)) => walk(settings, now.max(TimeMs(starts_at.0 - 1))),
        (_, None) => walk(settings, now),
    };
    at.map(plain)
}

fn plain(at: TimeMs) -> Slot {
    Slot { at, due: at }
}

/// What is decided about the slots that are due.
struct Due {
    slot: TimeMs,
    runs: bool,
    missed: u64,
    made_up: u32,
    next: Option<Slot>,
}

impl Reference {
    pub(super) fn of_schedule(
        &mut self,
        ns: NamespaceId,
        name: &str,
        command: ScheduleCommand,
    ) -> Refusable<Answer> {
        if let ScheduleCommand::Put { settings, paused } = command {
            self.put_schedule(ns, name, &settings, paused)?;
        } else {
            let index = self.schedule_index(ns, name);
            let unknown = Rejection::ScheduleUnknown { name: name.to_owned() };
            let index = index.ok_or(unknown)?;
            match command {
                ScheduleCommand::Put { .. } | ScheduleCommand::Get => {}
                ScheduleCommand::Delete => {
                    self.schedules.remove(index);
                    return Ok(Answer::ScheduleDeleted);
                }
                ScheduleCommand::Pause => {
                    let state = &mut self.schedules[index].state;
                    (state.paused, state.next) = (true, None);
                }
                ScheduleCommand::Resume => {
                    let view = &mut self.schedules[index];
                    if view.state.paused {
                        let last = view.state.last.as_ref().map_or(self.now, |last| last.slot);
                        view.state.next = first(&view.schedule.settings, last.max(self.now));
                        view.state.paused = false;
                    }
                }
                ScheduleCommand::SetNext(start) => {
                    if self.schedules[index].state.paused {
                        return Err(busy(name));
                    }
                    self.move_slot(index, start, true)?;
                }
                ScheduleCommand::Run => {
                    let id = self.run_schedule(index)?;
                    let view = self.schedules[index].clone();
                    return Ok(Answer::Schedule(Box::new(view), Some(id)));
                }
            }
        }
        let index = self.schedule_index(ns, name).expect("it is there");
        Ok(Answer::Schedule(Box::new(self.schedules[index].clone()), None))
    }

    fn schedule_index(&self, ns: NamespaceId, name: &str) -> Option<usize> {
        let is_it = |of: &ScheduleView| of.schedule.namespace == ns && of.schedule.name == name;
        self.schedules.iter().position(is_it)
    }

    fn put_schedule(
        &mut self,
        ns: NamespaceId,
        name: &str,
        settings: &NewSchedule,
        paused: Option<bool>,
    ) -> Refusable<()> {
        self.check_schedule(name, settings)?;
        let now = self.now;
        let Some(index) = self.schedule_index(ns, name) else {
            let all = self.schedules.iter().map(|of| of.schedule.namespace);
            super::room(self.limits.schedules_max, ns, all)
                .map_err(|(scope, limit)| Rejection::TooManySchedules { scope, limit })?;
            let next = first(settings, now).ok_or_else(|| refused("cron"))?;
            self.last_schedule += 1;
            let paused = paused.unwrap_or(false);
            let schedule = Schedule {
                id: ScheduleId(self.last_schedule),
                namespace: ns,
                name: name.to_owned(),
                settings: settings.clone(),
                created_at: now,
                changed_at: now,
            };
            let next = Some(next).filter(|_| !paused);
            let state = ScheduleState { next, paused, ..ScheduleState::default() };
            self.schedules.push(ScheduleView { schedule, state });
            return Ok(());
        };
        let view = &mut self.schedules[index];
        let (of, state) = (&mut view.schedule, &mut view.state);
        let paused = paused.unwrap_or(state.paused);
        let times = |of: &NewSchedule| {
            (of.spec.clone(), of.zone.clone(), of.jitter_ms, of.starts_at, of.ends_at)
        };
        if times(&of.settings) != times(settings) || paused != state.paused {
            let last = state.last.as_ref().map_or(now, |last| last.slot);
            let next = first(settings, last.max(now)).ok_or_else(|| refused("cron"))?;
            state.next = Some(next).filter(|_| !paused);
        }
        state.paused = paused;
        if of.settings != *settings {
            (of.settings, of.changed_at) = (settings.clone(), now);
        }
        Ok(())
    }

    fn check_schedule(&self, name: &str, settings: &NewSchedule) -> Refusable<()> {
        self.check_name("schedule", name)?;
        let job = &settings.job;
        let mut new = NewJob::new(JobId::default(), job.kind.clone(), job.args.clone());
        new.ordering_key.clone_from(&job.ordering_key);
        new.timeout_ms = job.timeout_ms;
        new.lease_ms = job.lease_ms;
        new.max_attempts = job.max_attempts;
        new.max_age_ms = job.max_age_ms;
        new.retain_ms = job.retain_ms;
        self.check_name("queue", &job.queue)?;
        self.check_new(&new)?;
        let too_short = |ms: Option<u64>| ms.is_some_and(|ms| ms < 1);
        if too_short(job.ttl_ms)
            || matches!(settings.spec, Spec::Every { period_ms } if period_ms < 1000)
            || settings.overlap == Overlap::QueueOne && job.ordering_key.is_some()
        {
            return Err(refused("every"));
        }
        Ok(())
    }

    fn move_slot(&mut self, index: usize, start: Start, by_hand: bool) -> Refusable<()> {
        let at = self.instant(start);
        if at.since(self.now) > self.limits.horizon_ms_max {
            return Err(refused("next"));
        }
        let view = &mut self.schedules[index];
        let after_last = view.state.last.as_ref().map_or(TimeMs(0), |last| last.slot.plus(1));
        let at = at.max(self.now).max(after_last);
        let goes_on = view.schedule.settings.ends_at.is_none_or(|ends_at| at <= ends_at);
        if by_hand && !goes_on {
            return Err(refused("next"));
        }
        view.state.next = goes_on.then(|| plain(at));
        Ok(())
    }

    /// A run of a schedule's job says when the next one is to be. Answers with what to do.
    pub(super) fn moved_by_run(
        &self,
        tick: Option<&Tick>,
        start: Option<Start>,
    ) -> Refusable<Option<(usize, Start)>> {
        let Some(start) = start else { return Ok(None) };
        let Some(tick) = tick else { return Err(refused("next_in")) };
        if self.instant(start).since(self.now) > self.limits.horizon_ms_max {
            return Err(refused("next_in"));
        }
        let index = self.schedules.iter().position(|of| of.schedule.id == tick.schedule);
        let index = index.filter(|index| !self.schedules[*index].state.paused);
        Ok(index.map(|index| (index, start)))
    }

    pub(super) fn move_by_run(&mut self, moved: Option<(usize, Start)>) {
        if let Some((index, start)) = moved {
            self.move_slot(index, start, false).expect("checked before");
        }
    }

    /// The schedule that is due first, and when.
    pub(super) fn next_due(&self) -> Option<(TimeMs, NamespaceId, ScheduleId, usize)> {
        let due = self.schedules.iter().enumerate().filter_map(|(index, of)| {
            Some((of.state.next?.due, of.schedule.namespace, of.schedule.id, index))
        });
        due.min()
    }

    pub(super) fn fire(&mut self, index: usize) {
        let view = self.schedules[index].clone();
        let slot = view.state.next.expect("it is due");
        let due = self.policy(&view, slot.at);
        if !due.runs {
            return self.ticked(index, &due, (TickOutcome::Missed, None, view.state.live), false);
        }
        let live = self.live(&view);
        if Self::is_busy(&view, &live) {
            return self.ticked(index, &due, (TickOutcome::Skipped, None, live), false);
        }
        match self.enter(index, &due, live.clone(), false) {
            Ok(_) => {}
            Err(rejection) => {
                let code = match rejection {
                    Rejection::JobsRefused { faults } => faults[0].1.code(),
                    other => other.code(),
                };
                let outcome = TickOutcome::Refused { code: code.to_owned() };
                self.ticked(index, &due, (outcome, None, live), false);
            }
        }
    }

    fn run_schedule(&mut self, index: usize) -> Refusable<JobId> {
        let view = self.schedules[index].clone();
        let live = self.live(&view);
        if Self::is_busy(&view, &live) {
            return Err(busy(&view.schedule.name));
        }
        let ScheduleState { next, made_up, .. } = view.state;
        let due = Due { slot: self.now, runs: true, missed: 0, made_up, next };
        self.enter(index, &due, live, true)
    }

    fn policy(&self, view: &ScheduleView, slot: TimeMs) -> Due {
        let settings = &view.schedule.settings;
        let mut slots = vec![slot];
        let mut next = walk(settings, slot);
        while let Some(at) = next.filter(|at| *at <= self.now) {
            slots.push(at);
            next = walk(settings, at);
        }
        let last = slots.len() - 1;
        let in_time = self.now.since(slots[last]) <= MINUTE;
        let about = |index: usize, runs: bool, made_up: u32| Due {
            slot: slots[index],
            runs,
            missed: match settings.spec {
                Spec::Every { .. } => index as u64,
                Spec::Cron { .. } => (index as u64).min(100),
            },
            made_up,
            next: slots.get(index + 1).copied().or(next).map(plain),
        };
        if last == 0 && in_time {
            return about(0, true, 0);
        }
        let from = match settings.missed {
            Missed::Skip => return about(last, in_time, 0),
            Missed::One => return about(last, true, 0),
            Missed::All => 0,
            Missed::Within { ms } => {
                let young = |slot: &TimeMs| slot.plus(ms) >= self.now;
                match slots.iter().position(young) {
                    Some(index) => index,
                    None => return about(last, in_time, 0),
                }
            }
        };
        if view.state.made_up >= 1000 {
            return about(last, true, 0);
        }
        about(from, true, view.state.made_up + 1)
    }

    fn live(&self, view: &ScheduleView) -> Vec<JobId> {
        let ns = view.schedule.namespace;
        let unfinished =
            |id: &&JobId| self.job(ns, **id).is_some_and(|job| job.job.phase.is_unfinished());
        view.state.live.iter().filter(unfinished).copied().collect()
    }

    fn is_busy(view: &ScheduleView, live: &[JobId]) -> bool {
        match view.schedule.settings.overlap {
            Overlap::Allow | Overlap::CancelPrevious => false,
            Overlap::Skip => !live.is_empty(),
            Overlap::QueueOne => live.len() > 1,
        }
    }

    fn enter(
        &mut self,
        index: usize,
        due: &Due,
        mut live: Vec<JobId>,
        by_hand: bool,
    ) -> Refusable<JobId> {
        let Schedule { id: of, namespace: ns, name, settings, .. } =
            self.schedules[index].schedule.clone();
        let template = settings.job;
        let id = (0..).map(|salt| slot_job_id(ns, of, due.slot, salt));
        let id = { id }.find(|id| self.job(ns, *id).is_none()).expect("there are more ids");
        let mut new = NewJob::new(id, template.kind, template.args);
        new.priority = template.priority;
        new.ordering_key = template.ordering_key;
        new.at_most_once = template.at_most_once;
        new.expiry = template.ttl_ms.map(Start::After);
        new.timeout_ms = template.timeout_ms;
        new.lease_ms = template.lease_ms;
        new.retry = template.retry;
        new.max_attempts = template.max_attempts;
        new.max_age_ms = template.max_age_ms;
        new.retain_ms = template.retain_ms;
        new.tags = template.tags;
        new.metadata = template.metadata;
        new.gates = template.gates;
        new.limit = template.limit;
        new.limits = template.limits;
        new.tenant = template.tenant;
        new.version = template.version;
        new.tick = Some(Tick { schedule: of, name: name.clone(), slot: due.slot, by_hand });
        if settings.overlap == Overlap::QueueOne {
            new.ordering_key = Some(format!("schedule:{name}"));
        }
        let calls = if settings.overlap == Overlap::CancelPrevious { live.clone() } else { vec![] };
        let waiting = |id: &&JobId| self.job(ns, **id).is_some_and(|job| job.run.is_none());
        let leaving: Vec<JobId> = calls.iter().filter(waiting).copied().collect();
        let leaves =
            |id: &&JobId| self.job(ns, **id).is_some_and(|job| job.job.queue == template.queue);
        let left = leaving.iter().filter(leaves).count() as u64;
        self.check_entering(ns, (&template.queue, &new), left)?;
        for id in calls {
            self.cancel(ns, id, false).expect("it has not ended");
        }
        live.retain(|id| !leaving.contains(id));
        self.let_in_one(ns, &template.queue, &new);
        if settings.overlap != Overlap::Allow {
            live.push(id);
            live.drain(..live.len().saturating_sub(16));
        }
        self.ticked(index, due, (TickOutcome::Enqueued, Some(id), live), by_hand);
        Ok(id)
    }

    fn ticked(
        &mut self,
        index: usize,
        due: &Due,
        (outcome, job, live): (TickOutcome, Option<JobId>, Vec<JobId>),
        by_hand: bool,
    ) {
        let at = self.now;
        let state = &mut self.schedules[index].state;
        let totals = &mut self.schedule_totals;
        state.missed_total += due.missed;
        totals.missed += due.missed;
        let (own, all) = match outcome {
            TickOutcome::Enqueued => (&mut state.enqueued_total, &mut totals.enqueued),
            TickOutcome::Skipped => (&mut state.skipped_total, &mut totals.skipped),
            TickOutcome::Missed => (&mut state.missed_total, &mut totals.missed),
            TickOutcome::Refused { .. } => (&mut state.refused_total, &mut totals.refused),
        };
        *own += 1;
        *all += 1;
        if !by_hand {
            totals.last_lag_ms = state.next.map_or(0, |next| at.since(next.due));
            state.next = due.next;
        }
        (state.live, state.made_up) = (live, due.made_up);
        state.last = Some(longshore_engine::LastTick { slot: due.slot, at, outcome, job, by_hand });
    }
}

fn busy(name: &str) -> Rejection {
    Rejection::ScheduleStateRefused { name: name.to_owned(), state: "", needed: "" }
}
