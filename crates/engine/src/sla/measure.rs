//! What is measured of levels, as records of jobs are applied. Of a level memory has a count per
//! minute of the last day, as the tree has.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use super::settling::DeadlineRound;
use super::{DEADLINE_MS_OF_NONE, MINUTES_KEPT, Sla, SlaCount, SlaGoal, SlaSettings, SlaTarget};
use crate::ids::{NamespaceId, TimeMs};
use crate::job::Job;
use crate::state::{State, keys};

pub(super) const MINUTE_MS: u64 = 60_000;

/// What happened to a job.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SlaEvent {
    /// It came into its queue.
    Arrived,
    /// It was handed out for the first time.
    Started,
    /// A run of so many milliseconds has ended.
    Ran(u64),
    /// It has succeeded.
    Succeeded,
    /// It died, or expired.
    Failed,
}

/// A level with what was measured of it.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) sla: Sla,
    /// By minute, the oldest first.
    pub(super) minutes: VecDeque<(u64, SlaCount)>,
}

impl Measured {
    fn new(sla: Sla) -> Self {
        Self { sla, minutes: VecDeque::new() }
    }

    fn target(&self) -> SlaTarget {
        self.sla.settings.target.clone()
    }

    /// Whether what was measured, and the deadlines, are those of another state of the level, too.
    fn measures_as(&self, other: &Sla) -> bool {
        let of = |sla: &Sla| (sla.since, sla.settings.target.clone(), sla.settings.goal.clone());
        of(&self.sla) == of(other)
    }

    /// The sum of the last so many minutes, with the present one.
    pub(super) fn sum(&self, minutes: u64, now: TimeMs) -> SlaCount {
        let present = now.0 / MINUTE_MS;
        let mut sum = SlaCount::default();
        for (minute, count) in self.minutes.iter().rev() {
            if minute + minutes < present {
                break;
            }
            sum.add(count);
        }
        sum
    }

    /// How many milliseconds [`Measured::sum`] covers.
    pub(super) fn covers_ms(&self, minutes: u64, now: TimeMs) -> u64 {
        let whole = now.0 % MINUTE_MS + minutes * MINUTE_MS;
        whole.min(now.since(self.sla.since)).max(1000)
    }

    fn count(&mut self, minute: u64) -> &mut SlaCount {
        if self.minutes.back().is_none_or(|(last, _)| *last < minute) {
            self.minutes.push_back((minute, SlaCount::default()));
        }
        &mut self.minutes.back_mut().expect("one was added where there was none").1
    }
}

impl SlaSettings {
    fn is_about(&self, job: &Job) -> bool {
        match &self.target {
            SlaTarget::Queue { name } => *name == job.queue,
            SlaTarget::Kind { name } => *name == job.kind,
            SlaTarget::Schedule { name } => job.tick.as_ref().is_some_and(|it| it.name == *name),
        }
    }
}

/// What memory holds of levels.
#[derive(Debug, Default)]
pub(crate) struct Slas {
    levels: BTreeMap<NamespaceId, BTreeMap<String, Measured>>,
    /// Of levels that are gone, or measure something else: minutes before these are to be removed.
    pub(super) left: BTreeMap<(NamespaceId, String), u64>,
    /// Volatile: lanes are yet to be merged by the deadlines that hold.
    pub(super) round: Option<DeadlineRound>,
}

impl Slas {
    pub(super) fn of(&self, ns: NamespaceId, name: &str) -> Option<&Measured> {
        self.levels.get(&ns)?.get(name)
    }

    pub(super) fn all(&self, ns: NamespaceId) -> impl Iterator<Item = (&String, &Measured)> {
        self.levels.get(&ns).into_iter().flatten()
    }

    /// The first level after one, in the order of namespaces and names.
    pub(super) fn next_after(
        &self,
        ns: NamespaceId,
        after: Option<&str>,
    ) -> Option<(NamespaceId, &str, &Measured)> {
        let from = after.map_or(Unbounded, Excluded);
        let here = self.levels.get(&ns).into_iter();
        let here = here.flat_map(|all| all.range::<str, _>((from, Unbounded))).map(|it| (ns, it));
        let others = self.levels.range((Excluded(ns), Unbounded));
        let others = others.flat_map(|(ns, all)| all.iter().map(|it| (*ns, it)));
        let mut all = here.chain(others).map(|(ns, (name, it))| (ns, name.as_str(), it));
        all.next()
    }

    /// What is set of each level of a namespace.
    pub(crate) fn settings_of(
        &self,
        ns: NamespaceId,
    ) -> impl Iterator<Item = (&String, &SlaSettings)> {
        self.all(ns).map(|(name, it)| (name, &it.sla.settings))
    }

    pub(crate) fn count(&self, ns: NamespaceId) -> usize {
        self.levels.get(&ns).map_or(0, BTreeMap::len)
    }

    /// Levels of all namespaces.
    pub(crate) fn total(&self) -> usize {
        self.levels.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// How long jobs of a queue and kind have to start or to be done.
    pub(crate) fn deadline_ms(&self, ns: NamespaceId, queue: &str, kind: &str) -> u64 {
        let about = |settings: &SlaSettings| match &settings.target {
            SlaTarget::Queue { name } => name == queue,
            SlaTarget::Kind { name } => name == kind,
            SlaTarget::Schedule { .. } => false,
        };
        let set = self.all(ns).map(|(_, it)| &it.sla.settings).filter(|it| about(it));
        let least = set.map(|settings| settings.goal.within_ms()).min();
        least.map_or(DEADLINE_MS_OF_NONE, |ms| ms.min(DEADLINE_MS_OF_NONE))
    }
}

/// What an event adds to what is counted, with the instant of a success where that counts.
fn counted(sla: &Sla, job: &Job, event: SlaEvent, now: TimeMs) -> (SlaCount, Option<TimeMs>) {
    let mut count = SlaCount::default();
    let mut measure = |took_ms: u64, missed: bool| {
        (count.measured, count.worst_ms) = (1, took_ms);
        count.missed = u64::from(missed || took_ms > sla.settings.goal.within_ms());
    };
    let mut last = None;
    match (event, &sla.settings.goal) {
        (SlaEvent::Started, SlaGoal::StartedWithin { .. }) => {
            measure(now.since(job.available_at), false);
        }
        (SlaEvent::Succeeded, SlaGoal::DoneWithin { .. }) => measure(now.since(job.due()), false),
        (SlaEvent::Succeeded, SlaGoal::AtLeastEvery { .. }) => {
            measure(now.since(sla.last_at.unwrap_or(sla.since)), false);
            last = Some(now);
        }
        (SlaEvent::Failed, SlaGoal::DoneWithin { .. }) => measure(now.since(job.due()), true),
        (SlaEvent::Failed, SlaGoal::StartedWithin { .. }) if !job.has_run() => {
            measure(now.since(job.available_at), true);
        }
        _ => {}
    }
    match event {
        // What is scheduled for later comes when it starts.
        SlaEvent::Arrived => count.arrived = u64::from(job.due_at.is_none()),
        SlaEvent::Started => {
            (count.started, count.arrived) = (1, u64::from(job.due_at.is_some()));
        }
        SlaEvent::Ran(ms) => (count.runs, count.run_ms) = (1, ms),
        SlaEvent::Succeeded | SlaEvent::Failed => {}
    }
    (count, last)
}

impl State {
    /// Something happened to a job that a level may be about.
    pub(crate) fn note_sla(&mut self, ns: NamespaceId, job: &Job, event: SlaEvent) {
        let now = self.now();
        let Some(all) = self.slas.levels.get_mut(&ns) else { return };
        let mut changes = Vec::new();
        for (name, it) in all.iter_mut().filter(|(_, it)| it.sla.settings.is_about(job)) {
            let (count, last) = counted(&it.sla, job, event, now);
            let minute = now.0 / MINUTE_MS;
            let of_minute = it.count(minute);
            of_minute.add(&count);
            changes.push((keys::sla_minute(ns, name, minute), Some(*of_minute)));
            while it.minutes.front().is_some_and(|(first, _)| first + MINUTES_KEPT < minute)
                && let Some((first, _)) = it.minutes.pop_front()
            {
                changes.push((keys::sla_minute(ns, name, first), None));
            }
            if last.is_some() {
                it.sla.last_at = last;
                changes.push((keys::sla(ns, name), None));
            }
        }
        for (key, count) in changes {
            match count {
                Some(count) => {
                    self.put(&key, &count);
                }
                None if key.first() == Some(&keys::SLA_MINUTE) => self.remove(&key),
                None => {
                    let name = keys::text_at(&key, 5).expect("a key made above").0;
                    let sla = self.slas.of(ns, &name).map(|it| it.sla.clone());
                    self.put(&key, &sla.expect("it was changed above"));
                }
            }
        }
    }

    /// A level is as the record says. What was measured stays while it measures the same.
    pub(crate) fn apply_sla_put(&mut self, ns: NamespaceId, name: &str, sla: Sla) {
        self.put(&keys::sla(ns, name), &sla);
        let all = self.slas.levels.entry(ns).or_default();
        match all.get_mut(name) {
            // A breach or its end changes no deadline, and they come often.
            Some(known) if known.measures_as(&sla) => known.sla = sla,
            _ => {
                let target = sla.settings.target.clone();
                let before = all.insert(name.to_owned(), Measured::new(sla));
                let others = before.as_ref().map(Measured::target);
                self.drop_minutes(ns, name, before);
                self.change_deadlines(others.iter().chain([&target]));
            }
        }
    }

    pub(crate) fn apply_sla_deleted(&mut self, ns: NamespaceId, name: &str) {
        self.remove(&keys::sla(ns, name));
        let Some(all) = self.slas.levels.get_mut(&ns) else { return };
        let before = all.remove(name);
        if all.is_empty() {
            self.slas.levels.remove(&ns);
        }
        let target = before.as_ref().map(Measured::target);
        self.drop_minutes(ns, name, before);
        self.change_deadlines(target.iter());
    }

    /// A namespace is removed, and its levels with it.
    pub(crate) fn drop_slas(&mut self, ns: NamespaceId) {
        for (name, before) in self.slas.levels.remove(&ns).unwrap_or_default() {
            self.remove(&keys::sla(ns, &name));
            self.drop_minutes(ns, &name, Some(before));
        }
    }

    /// Reads the levels when a shard starts, before its lanes.
    pub(crate) fn load_slas(&mut self) {
        self.load_minutes_left();
        for (key, sla) in self.each::<Sla>(keys::SLA) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let (ns, name) = ns.zip(keys::text_at(&key, 5)).expect("keys of levels have names");
            self.slas.levels.entry(ns).or_default().insert(name.0, Measured::new(sla));
        }
        for (key, count) in self.each::<SlaCount>(keys::SLA_MINUTE) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let (ns, (name, at)) = ns.zip(keys::text_at(&key, 5)).expect("minutes have names");
            let minute = keys::u64_at(&key, at).expect("the keys of minutes end with them");
            if self.slas.left.get(&(ns, name.clone())).is_some_and(|before| minute < *before) {
                continue;
            }
            let known = self.slas.levels.get_mut(&ns).and_then(|all| all.get_mut(&name));
            known.expect("a minute is of a level").minutes.push_back((minute, count));
        }
    }
}
