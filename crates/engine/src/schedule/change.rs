//! What people change of schedules: create, replace, pause, resume, move, remove.

use super::plan::Plan;
use super::{NewSchedule, Overlap, Schedule, ScheduleState, ScheduleView, Slot, Spec};
use crate::bounds::{check_duration, check_name, check_size, resolve_start};
use crate::command::Start;
use crate::ids::{JobId, NamespaceId, ScheduleId, TimeMs};
use crate::job::check_new_job;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::timer::Subject;
use crate::unique::check_template_unique;

/// Bytes of a schedule's name: an ordering key is made of it.
const NAME_BYTES_MAX: usize = 200;

/// Bytes of the args and of the metadata that a schedule carries: they are read with every slot.
const TEMPLATE_BYTES_MAX: u64 = 64 << 10;

/// Bytes of the words that only inform.
const WORDS_BYTES_MAX: u64 = 1024;

/// The shortest interval.
const PERIOD_MS_MIN: u64 = 1000;

/// What jobs of a schedule that queues one carry.
pub(super) fn ordering_key(name: &str) -> String {
    format!("schedule:{name}")
}

impl State {
    fn schedule_id(&self, ns: NamespaceId, name: &str) -> Option<ScheduleId> {
        self.value(&keys::schedule_name(ns, name))
    }

    pub(super) fn schedule(&self, ns: NamespaceId, id: ScheduleId) -> Option<ScheduleView> {
        let schedule = self.value(&keys::schedule(ns, id))?;
        let state = self.value(&keys::schedule_state(ns, id));
        let state = state.unwrap_or_else(|| panic!("schedule {id} has lost its state"));
        Some(ScheduleView { schedule, state })
    }

    /// The schedule of that name.
    pub(crate) fn schedule_named(
        &self,
        ns: NamespaceId,
        name: &str,
    ) -> Result<ScheduleView, Rejection> {
        let found = self.schedule_id(ns, name).and_then(|id| self.schedule(ns, id));
        found.ok_or_else(|| Rejection::ScheduleUnknown { name: name.to_owned() })
    }

    /// The record that makes the schedule what is wanted; none where it is that.
    pub(crate) fn decide_schedule_put(
        &self,
        ns: NamespaceId,
        name: &str,
        (settings, paused): (&NewSchedule, Option<bool>),
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        self.check_schedule(name, settings, moment)?;
        let known = self.schedule_id(ns, name).and_then(|id| self.schedule(ns, id));
        let now = moment.at;
        let Some(ScheduleView { schedule: known, state }) = known else {
            // A namespace that its first use creates is not there yet.
            let of_namespace = self.namespaces.get(ns).map_or(0, |it| it.kept().schedules) as usize;
            let all = self.namespaces.all_after(None);
            let of_shard = all.map(|slot| slot.kept().schedules as usize).sum();
            let room = self.limits.schedules_max.check(of_namespace, of_shard);
            room.map_err(|(scope, limit)| Rejection::TooManySchedules { scope, limit })?;
            let id = ScheduleId(self.meta.last_schedule.0 + 1);
            let next = Plan::of(settings, id)?.first_after(now);
            if next.is_none() {
                return Err(never(settings));
            }
            let (paused, settings) = (paused.unwrap_or(false), settings.clone());
            let next = next.filter(|_| !paused);
            let (created_at, changed_at) = (now, now);
            let name = name.to_owned();
            let schedule =
                Box::new(Schedule { id, namespace: ns, name, settings, created_at, changed_at });
            return Ok(Some(Record::SchedulePut { namespace: ns, schedule, paused, next }));
        };
        let paused = paused.unwrap_or(state.paused);
        if known.settings == *settings && paused == state.paused {
            return Ok(None);
        }
        let goes_on = known.settings.has_slots_of(settings) && paused == state.paused;
        let next = if goes_on {
            state.next
        } else {
            let after = state.last.as_ref().map_or(now, |last| last.slot.max(now));
            let next = Plan::of(settings, known.id)?.first_after(after);
            if next.is_none() {
                return Err(never(settings));
            }
            next.filter(|_| !paused)
        };
        let changed_at = if known.settings == *settings { known.changed_at } else { now };
        let schedule = Box::new(Schedule { settings: settings.clone(), changed_at, ..known });
        Ok(Some(Record::SchedulePut { namespace: ns, schedule, paused, next }))
    }

    fn check_schedule(
        &self,
        name: &str,
        settings: &NewSchedule,
        moment: Moment,
    ) -> Result<(), Rejection> {
        let limits = &self.limits;
        check_name(limits, "schedule", name)?;
        check_size("schedule", name.len(), NAME_BYTES_MAX as u64)?;
        let job = &settings.job;
        check_name(limits, "queue", &job.queue)?;
        check_new_job(self, &job.job(JobId::default(), None))?;
        check_template_unique(job.unique.as_deref())?;
        check_duration(limits, "ttl", job.ttl_ms, 1)?;
        check_size("args", job.args.len(), TEMPLATE_BYTES_MAX)?;
        if let Spec::Every { period_ms } = settings.spec {
            check_duration(limits, "every", Some(period_ms), PERIOD_MS_MIN)?;
        }
        check_duration(limits, "jitter", Some(settings.jitter_ms), 0)?;
        if let super::Missed::Within { ms } = settings.missed {
            check_duration(limits, "missed.within", Some(ms), 1)?;
        }
        for (field, words) in [("description", &settings.description), ("source", &settings.source)]
        {
            check_size(field, words.as_ref().map_or(0, String::len), WORDS_BYTES_MAX)?;
        }
        for (field, at) in [("starts_at", settings.starts_at), ("ends_at", settings.ends_at)] {
            if let Some(at) = at {
                resolve_start(limits, field, Start::At(at), moment.at)?;
            }
        }
        if settings.overlap == Overlap::QueueOne && job.ordering_key.is_some() {
            let value = "an ordering key beside overlap \"queue_one\"".to_owned();
            let allowed = "none: jobs of such a schedule have one of their own".to_owned();
            return Err(Rejection::ValueRefused { field: "ordering_key", value, allowed });
        }
        Ok(())
    }

    pub(crate) fn decide_schedule_deleted(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Record, Rejection> {
        let id = self.schedule_named(namespace, name)?.schedule.id;
        Ok(Record::ScheduleDeleted { namespace, id })
    }

    /// The record that pauses or resumes; none where it is so already.
    pub(crate) fn decide_schedule_pause(
        &self,
        namespace: NamespaceId,
        name: &str,
        paused: bool,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        let ScheduleView { schedule, state } = self.schedule_named(namespace, name)?;
        if state.paused == paused {
            return Ok(None);
        }
        let id = schedule.id;
        let next = if paused {
            None
        } else {
            let after = state.last.as_ref().map_or(moment.at, |last| last.slot.max(moment.at));
            Plan::of(&schedule.settings, id)?.first_after(after)
        };
        Ok(Some(Record::ScheduleMoved { namespace, id, paused, next }))
    }

    /// The record that moves the next slot.
    pub(crate) fn decide_schedule_moved(
        &self,
        ns: NamespaceId,
        name: &str,
        start: Start,
        moment: Moment,
    ) -> Result<Record, Rejection> {
        let view = self.schedule_named(ns, name)?;
        if view.state.paused {
            let (state, needed) = ("paused", "only one that goes on has a next slot: resume it");
            return Err(Rejection::ScheduleStateRefused { name: name.to_owned(), state, needed });
        }
        let next = self.moved_slot(&view, start, "next", moment)?;
        if let (None, Some(ends_at)) = (next, view.schedule.settings.ends_at) {
            let (field, value) = ("next", "after the end of the schedule".to_owned());
            let allowed = format!("until {ends_at}, when it ends");
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        let (id, paused) = (view.schedule.id, false);
        Ok(Record::ScheduleMoved { namespace: ns, id, paused, next })
    }

    /// The record by which a run of its job moves the next slot. A schedule that is gone, or
    /// paused, keeps no ack from being one.
    pub(crate) fn decide_moved_by_run(
        &self,
        ns: NamespaceId,
        job: &crate::job::Job,
        start: Start,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        let field = match start {
            Start::After(_) => "next_in",
            Start::At(_) => "next_at",
        };
        let Some(tick) = &job.tick else {
            let value = "given for a job without a schedule".to_owned();
            let allowed = "only for a job that a schedule enqueued".to_owned();
            return Err(Rejection::ValueRefused { field, value, allowed });
        };
        resolve_start(&self.limits, field, start, moment.at)?;
        let Some(view) = self.schedule(ns, tick.schedule).filter(|view| !view.state.paused) else {
            return Ok(None);
        };
        let next = self.moved_slot(&view, start, field, moment)?;
        let (id, paused) = (tick.schedule, false);
        Ok(Some(Record::ScheduleMoved { namespace: ns, id, paused, next }))
    }

    /// The slot at an instant that somebody names: not before now, and after every slot that was.
    /// None where the schedule has ended by then.
    fn moved_slot(
        &self,
        view: &ScheduleView,
        start: Start,
        field: &'static str,
        moment: Moment,
    ) -> Result<Option<Slot>, Rejection> {
        let at = resolve_start(&self.limits, field, start, moment.at)?.max(moment.at);
        let after_last = view.state.last.as_ref().map_or(TimeMs(0), |last| last.slot.plus(1));
        let at = at.max(after_last);
        let ends_at = view.schedule.settings.ends_at;
        Ok(ends_at.is_none_or(|ends_at| at <= ends_at).then_some(Slot { at, due: at }))
    }

    pub(crate) fn apply_schedule_put(
        &mut self,
        ns: NamespaceId,
        schedule: &Schedule,
        paused: bool,
        next: Option<Slot>,
    ) {
        let id = schedule.id;
        let known: Option<ScheduleState> = self.value(&keys::schedule_state(ns, id));
        if known.is_none() {
            self.meta_mut().last_schedule = id;
            self.namespaces.change_kept(ns).schedules += 1;
            self.put(&keys::schedule_name(ns, &schedule.name), &id);
        }
        self.put(&keys::schedule(ns, id), schedule);
        let mut state = known.unwrap_or_default();
        self.move_slot(ns, id, &mut state, next);
        state.paused = paused;
        self.put(&keys::schedule_state(ns, id), &state);
    }

    pub(crate) fn apply_schedule_deleted(&mut self, ns: NamespaceId, id: ScheduleId) {
        let view = self.schedule(ns, id).expect("the record names a schedule that exists");
        let ScheduleView { schedule, mut state } = view;
        self.move_slot(ns, id, &mut state, None);
        self.remove(&keys::schedule(ns, id));
        self.remove(&keys::schedule_state(ns, id));
        self.remove(&keys::schedule_name(ns, &schedule.name));
        let kept = self.namespaces.change_kept(ns);
        crate::state::count::take(&mut kept.schedules, 1, "schedules");
    }

    pub(crate) fn apply_schedule_moved(
        &mut self,
        ns: NamespaceId,
        id: ScheduleId,
        paused: bool,
        next: Option<Slot>,
    ) {
        let key = keys::schedule_state(ns, id);
        let mut state: ScheduleState =
            self.value(&key).expect("the record names a schedule that exists");
        self.move_slot(ns, id, &mut state, next);
        state.paused = paused;
        self.put(&key, &state);
    }

    /// Lets another slot be next; the timer goes with it.
    pub(super) fn move_slot(
        &mut self,
        ns: NamespaceId,
        id: ScheduleId,
        state: &mut ScheduleState,
        next: Option<Slot>,
    ) {
        let subject = Subject::Schedule { namespace: ns, id };
        if let Some(old) = state.next {
            self.clear_timer(old.due, subject);
        }
        if let Some(next) = next {
            self.set_timer(next.due, subject);
        }
        state.next = next;
    }
}

fn never(settings: &NewSchedule) -> Rejection {
    let (field, value) = match &settings.spec {
        Spec::Cron { text } => ("cron", format!("\"{text}\"")),
        Spec::Every { period_ms } => ("every", format!("{period_ms}ms")),
    };
    let allowed = "what names a time that comes, before ends_at where that is given".to_owned();
    Rejection::ValueRefused { field, value, allowed }
}
