//! Commands about service levels, how levels are described, and when they are breached.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::measure::Measured;
use super::{
    LATE_TOLD_MAX, SLAS_MAX, Sla, SlaAnswer, SlaGoal, SlaSettings, SlaTarget, SlaView,
    workers_needed,
};
use crate::bounds::{check_duration, check_name, check_size};
use crate::command::{FollowUp, NewJob};
use crate::ids::{JobId, NamespaceId, ScheduleId, TimeMs};
use crate::looks::Looks;
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::queueing::LaneId;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::schedule::{JobTemplate, slot_job_id};
use crate::state::{State, keys};

/// Hundredths of a per cent in a whole.
const WHOLE: u64 = 10_000;

/// Lanes of a level that are looked at for late jobs.
const LANES_MAX: usize = 256;

/// Bytes of the arguments of what a breach enqueues: an entry of the journal has room for that of
/// each level of a namespace.
const BREACH_ARGS_MAX: u64 = 128 << 10;

/// Late jobs that are counted to find out whether a level is missed.
const LATE_LOOKED_AT_MAX: u64 = 10_000;

/// What one answer about levels looks at.
pub(crate) const SLA_LOOKS: usize = 8000;

/// What it costs at most to look at a lane before its first job.
const LOOKS_PER_LANE: usize = 9;

/// What a tick looks at that looks whether levels are kept: one of them always has enough.
pub(crate) const SLA_TICK_LOOKS: usize = LATE_LOOKED_AT_MAX as usize + LOOKS_PER_LANE * LANES_MAX;

/// How much runs of what levels are about, in one pass over what runs.
#[derive(Default)]
struct Running<'a> {
    kinds: BTreeMap<&'a str, u64>,
    schedules: BTreeMap<&'a str, u64>,
}

/// The job of a breach of a level.
fn breach_job(template: &JobTemplate, name: &str, id: JobId) -> NewJob {
    let mut job = template.job(id, None);
    job.tags.push(format!("sla={name}"));
    job
}

impl State {
    fn check_sla(&self, level: &str, settings: &SlaSettings) -> Result<(), Rejection> {
        let limits = &self.limits;
        let refused = |field, value: String, allowed: &str| {
            Err(Rejection::ValueRefused { field, value, allowed: allowed.to_owned() })
        };
        let (SlaTarget::Queue { name } | SlaTarget::Kind { name } | SlaTarget::Schedule { name }) =
            &settings.target;
        check_name(limits, "on", name)?;
        let of_schedule = matches!(settings.target, SlaTarget::Schedule { .. });
        match settings.goal {
            SlaGoal::AtLeastEvery { .. } if !of_schedule => {
                let allowed = "a schedule, of which alone this can be promised";
                return refused("at_least_every", name.clone(), allowed);
            }
            SlaGoal::StartedWithin { .. } | SlaGoal::DoneWithin { .. } if of_schedule => {
                let allowed = "at_least_every, where it is about a schedule";
                return refused("on", name.clone(), allowed);
            }
            _ => {}
        }
        check_duration(limits, "within", Some(settings.goal.within_ms()), 1)?;
        if !(1..WHOLE).contains(&u64::from(settings.share)) {
            return refused("share", settings.share.to_string(), "more than 0 and less than 1");
        }
        if let Some(breach) = &settings.breach {
            check_name(limits, "queue", &breach.queue)?;
            check_size("breach", breach.args.len(), BREACH_ARGS_MAX)?;
            // As it will be enqueued: what is refused then would never come.
            crate::job::check_new_job(self, &breach_job(breach, level, JobId([0; 16])))?;
            crate::unique::check_template_unique(breach.unique.as_deref())?;
        }
        Ok(())
    }

    /// The record that puts a level; none where it is so already.
    pub(crate) fn decide_sla_put(
        &self,
        namespace: NamespaceId,
        name: &str,
        settings: SlaSettings,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "sla", name)?;
        self.check_sla(name, &settings)?;
        let known = self.slas.of(namespace, name).map(|it| &it.sla);
        if known.is_some_and(|known| known.settings == settings) {
            return Ok(None);
        }
        if known.is_none() && self.slas.count(namespace) >= SLAS_MAX {
            return Err(Rejection::TooManySlas { limit: SLAS_MAX });
        }
        let same = known.filter(|known| {
            let same = (&known.settings.target, &known.settings.goal);
            same == (&settings.target, &settings.goal)
        });
        let sla = if let Some(same) = same {
            Sla { settings, ..same.clone() }
        } else {
            let (breached_at, breaches, last_at) = (None, 0, None);
            Sla { settings, since: moment.at, breached_at, breaches, last_at }
        };
        let (name, sla) = (name.to_owned(), Box::new(sla));
        Ok(Some(Record::SlaPut { namespace, name, sla }))
    }

    pub(crate) fn decide_sla_deleted(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Record, Rejection> {
        self.known_sla(namespace, name)?;
        Ok(Record::SlaDeleted { namespace, name: name.to_owned() })
    }

    fn known_sla(&self, ns: NamespaceId, name: &str) -> Result<&Measured, Rejection> {
        let unknown = || Rejection::SlaUnknown { name: name.to_owned() };
        self.slas.of(ns, name).ok_or_else(unknown)
    }

    pub(crate) fn sla_view(
        &self,
        ns: NamespaceId,
        name: &str,
        now: TimeMs,
    ) -> Result<SlaView, Rejection> {
        let it = self.known_sla(ns, name)?;
        let running = self.running(ns, [&it.sla.settings.target]);
        Ok(self.view_of(ns, (name, it), &running, (now, &mut Looks::new(SLA_LOOKS))))
    }

    fn view_of(
        &self,
        ns: NamespaceId,
        (name, it): (&str, &Measured),
        running: &Running<'_>,
        (now, looks): (TimeMs, &mut Looks),
    ) -> SlaView {
        let (settings, within_ms) = (&it.sla.settings, it.sla.settings.goal.within_ms());
        let lanes = self.lanes_of_sla(ns, &settings.target);
        // Each has a share of its own, and what workers are needed for has one, too.
        let mut waits = |ms: u64, parts: usize| {
            let since = TimeMs(now.0.saturating_sub(ms));
            looks.share(parts, |own| self.waiting_since(ns, &lanes, since, (LATE_TOLD_MAX, own)))
        };
        let (late, oldest) = waits(within_ms.saturating_add(1), 4);
        let (at_risk, at) = waits(within_ms / 2, 3);
        let at_risk = at_risk.max(late);
        let oldest = oldest.or(at).or_else(|| waits(0, 2).1);
        let windows = SlaView::WINDOWS.map(|minutes| it.sum(minutes, now));
        let of_schedule = matches!(settings.goal, SlaGoal::AtLeastEvery { .. });
        let oldest = if of_schedule { it.sla.last_at.or(Some(it.sla.since)) } else { oldest };
        let mut view = SlaView {
            name: name.to_owned(),
            sla: it.sla.clone(),
            windows,
            late,
            at_risk,
            oldest_ms: oldest.map(|at| now.since(at)),
            running: self.running_of(ns, &settings.target, running),
            arrivals_per_second: 0.0,
            run_ms: None,
            workers_needed: None,
        };
        if of_schedule {
            let gap_ms = view.oldest_ms.unwrap_or_default();
            view.late = u64::from(gap_ms > within_ms);
            view.at_risk = u64::from(gap_ms > within_ms / 2);
        } else {
            self.tell_need(&mut view, it, (ns, &lanes, now), looks);
        }
        view
    }

    /// What comes, how long that takes, and how many workers it needs.
    fn tell_need(
        &self,
        view: &mut SlaView,
        it: &Measured,
        (ns, lanes, now): (NamespaceId, &[LaneId], TimeMs),
        looks: &mut Looks,
    ) {
        let [lately, _, day] = &view.windows;
        let per_second = lately.arrived as f64 * 1000.0;
        let per_second = per_second / it.covers_ms(SlaView::WINDOWS[0], now) as f64;
        view.arrivals_per_second = per_second;
        let ran = view.windows.iter().find(|window| window.runs > 0);
        let Some(ran) = ran else { return };
        let run_ms = ran.run_ms as f64 / ran.runs as f64;
        // A job whose runs fail or are interrupted comes more than once; over a day, as in a short
        // time many runs end of jobs that started before it.
        let runs_of_a_job = (day.runs as f64 / day.started.max(1) as f64).max(1.0);
        let settings = &it.sla.settings;
        let within_s = settings.goal.within_ms() as f64 / 1000.0;
        let run_s = run_ms / 1000.0;
        let wait_s = match settings.goal {
            SlaGoal::DoneWithin { .. } => (within_s - run_s).max(0.0),
            _ => within_s,
        };
        let missed = 1.0 - f64::from(settings.share) / WHOLE as f64;
        let backlog = self.startable(ns, (&settings.target, lanes), now, looks);
        let arrivals = per_second * runs_of_a_job;
        let needed = workers_needed(arrivals, run_s, wait_s, missed, backlog);
        view.run_ms = Some(run_ms);
        // More of them than limits let run would look on.
        let most = self.let_run_by_limits(ns, &settings.target, run_ms);
        view.workers_needed = Some(needed.min(most));
    }

    /// The levels of the namespace, up to so many. With those that follow they are as many as `of`,
    /// which share the looks.
    pub(crate) fn sla_views(
        &self,
        ns: NamespaceId,
        most: usize,
        now: TimeMs,
        (of, looks): (usize, &mut Looks),
    ) -> Vec<SlaView> {
        let all = || self.slas.all(ns).take(most);
        let running = self.running(ns, all().map(|(_, it)| &it.sla.settings.target));
        let count = all().count().max(of);
        let told = all().enumerate().map(|(at, (name, it))| {
            let view = |own: &mut Looks| self.view_of(ns, (name, it), &running, (now, own));
            looks.share(count - at, view)
        });
        told.collect()
    }

    pub(crate) fn slas_told(&self, ns: NamespaceId, now: TimeMs) -> SlaAnswer {
        SlaAnswer::Slas(self.sla_views(ns, SLAS_MAX, now, (0, &mut Looks::new(SLA_LOOKS))))
    }

    fn lanes_of_sla(&self, ns: NamespaceId, target: &SlaTarget) -> Vec<LaneId> {
        match target {
            SlaTarget::Queue { name } => {
                let queue = self.queues.named(ns, name).map(|queue| queue.id);
                queue.map(|queue| self.lanes.ids_of(queue, LANES_MAX)).unwrap_or_default()
            }
            SlaTarget::Kind { name } => {
                let kinds = self.kinds.all_of(ns, name).into_iter();
                let due = kinds.flat_map(|kind| self.lanes.due_of(kind, LANES_MAX));
                due.take(LANES_MAX).collect()
            }
            SlaTarget::Schedule { .. } => Vec::new(),
        }
    }

    /// How many jobs stand in these lanes that could have started since `since`, up to
    /// `most`, and the time of the first. Of tenants the first of each line is counted.
    fn waiting_since(
        &self,
        ns: NamespaceId,
        lanes: &[LaneId],
        since: TimeMs,
        (most, looks): (usize, &mut Looks),
    ) -> (u64, Option<TimeMs>) {
        let (mut count, mut oldest) = (0, None);
        for lane in lanes {
            // What was taken from the tree before the head is passed over.
            let Some(((at, place), _)) = self.lanes.head(*lane) else { continue };
            if !looks.step() {
                break;
            }
            if at > since {
                continue;
            }
            if !looks.seek() {
                break;
            }
            let from = keys::lane_entry(ns, *lane, at, place);
            let to = keys::lane_entry(ns, *lane, since.plus(1), crate::ids::Place(0));
            self.scan(&from, &to, &mut |key, _| {
                let at = keys::u64_at(key, 16).map(TimeMs);
                oldest = oldest.into_iter().chain(at).min();
                count += 1;
                if count < most && looks.step() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            if count >= most {
                break;
            }
        }
        (count as u64, oldest)
    }

    fn running<'a>(
        &self,
        ns: NamespaceId,
        of: impl IntoIterator<Item = &'a SlaTarget>,
    ) -> Running<'a> {
        let mut running = Running::default();
        for target in of {
            match target {
                SlaTarget::Queue { .. } => None,
                SlaTarget::Kind { name } => running.kinds.insert(name, 0),
                SlaTarget::Schedule { name } => running.schedules.insert(name, 0),
            };
        }
        if running.kinds.is_empty() && running.schedules.is_empty() {
            return running;
        }
        for (_, live) in self.leases.of(ns) {
            if let Some(count) = running.kinds.get_mut(live.job().kind.as_str()) {
                *count += 1;
            }
            let tick = live.job().tick.as_ref();
            if let Some(count) = tick.and_then(|it| running.schedules.get_mut(it.name.as_str())) {
                *count += 1;
            }
        }
        running
    }

    fn running_of(&self, ns: NamespaceId, target: &SlaTarget, running: &Running<'_>) -> u64 {
        let counted = match target {
            SlaTarget::Queue { name } => {
                return self.queues.named(ns, name).map_or(0, |queue| queue.counts.running);
            }
            SlaTarget::Kind { name } => running.kinds.get(name.as_str()),
            SlaTarget::Schedule { name } => running.schedules.get(name.as_str()),
        };
        counted.copied().unwrap_or_default()
    }

    /// Whether a level is missed now: over five minutes, with what is late already.
    fn is_missed(
        &self,
        ns: NamespaceId,
        it: &Measured,
        (now, looks): (TimeMs, &mut Looks),
    ) -> bool {
        let settings = &it.sla.settings;
        let within_ms = settings.goal.within_ms();
        if matches!(settings.goal, SlaGoal::AtLeastEvery { .. }) {
            return now.since(it.sla.last_at.unwrap_or(it.sla.since)) > within_ms;
        }
        let lanes = self.lanes_of_sla(ns, &settings.target);
        let before = TimeMs(now.0.saturating_sub(within_ms.saturating_add(1)));
        let lately = it.sum(SlaView::WINDOWS[0], now);
        let share = u64::from(settings.share);
        // So many late ones miss the level whatever was kept.
        let enough = lately.measured.saturating_mul(WHOLE - share) / share.max(1) + 1;
        let most = LATE_TOLD_MAX.max(enough.min(LATE_LOOKED_AT_MAX) as usize);
        let (late, _) = self.waiting_since(ns, &lanes, before, (most, looks));
        let (measured, missed) = (lately.measured + late, lately.missed + late);
        missed * WHOLE > measured * (WHOLE - share)
    }

    /// Looks at the level that comes after one: answers its name, and the records of that it is
    /// breached from now on, with the job that this brings about, or kept again.
    pub(crate) fn decide_breach(
        &self,
        (ns, after): (NamespaceId, Option<&str>),
        moment: Moment,
        looks: &mut Looks,
    ) -> Option<(NamespaceId, String, Vec<Record>)> {
        let (namespace, name, it) = self.slas.next_after(ns, after)?;
        let missed = self.is_missed(namespace, it, (moment.at, looks));
        let name = name.to_owned();
        if missed == it.sla.breached_at.is_some() {
            return Some((namespace, name, Vec::new()));
        }
        let mut sla = it.sla.clone();
        sla.breached_at = missed.then_some(moment.at);
        sla.breaches += u64::from(missed);
        let mut records = Vec::new();
        if missed {
            records = self.decide_breach_job(namespace, &name, &sla, moment);
        }
        let put = Record::SlaPut { namespace, name: name.clone(), sla: Box::new(sla) };
        records.push(put);
        Some((namespace, name, records))
    }

    /// The job of a breach. One that is refused, as its queue is full, does not come.
    fn decide_breach_job(
        &self,
        ns: NamespaceId,
        name: &str,
        sla: &Sla,
        moment: Moment,
    ) -> Vec<Record> {
        let Some(template) = &sla.settings.breach else { return Vec::new() };
        // Numbers that no schedule has.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let of = ScheduleId(hash | 1 << 63);
        let mut ids = (0..).map(|salt| slot_job_id(ns, of, moment.at, salt));
        let id = ids.find(|id| self.job(ns, *id).is_none()).expect("there are more ids");
        let job = breach_job(template, name, id);
        let follow_ups = [FollowUp { queue: template.queue.clone(), job }];
        let overlay = Overlay::new(self, ns, moment);
        self.decide_follow_ups(overlay, &follow_ups)
            .map_or_else(|_| Vec::new(), |(records, _)| records)
    }
}
