//! In which order jobs of a queue are handed out, and for how long leases stand: nobody who could
//! have been handed out is passed by somebody who comes behind him, and no lease is lost before its
//! time has passed on a clock that never steps.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::query::attempts_of;
use longshore_engine::{
    Cause, Command, JobAction, JobId, JobView, MonoMs, OperationKind, Phase, Place, TimeMs, Token,
};

use super::Check;
use super::shadow::{JobKey, Told};
use super::slas::SLA_KEY_FIRST;
use crate::map::SimTree;
use crate::node::NAMESPACES;

/// A job that waited when it was looked at last.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Waited {
    queue: String,
    kind: String,
    version: u32,
    priority: u8,
    available_at: TimeMs,
    place: Place,
    /// The last run of it that has ended, and what else a run leaves.
    ended: Option<Token>,
    left: (u32, u32, u64),
}

impl Waited {
    /// A job that waits, and that nothing but its turn holds back; `None` for another one.
    fn of(view: &JobView) -> Option<Self> {
        let waits = matches!(view.job.phase, Phase::Waiting | Phase::Retrying);
        (waits && view.lease.is_none()).then(|| Self::free(view)).flatten()
    }

    /// A job that nothing but its turn held back, whether it waits or was handed out.
    fn free(view: &JobView) -> Option<Self> {
        let (job, options) = (&view.job, &view.job.options);
        let is_free = view.blocked_by.is_empty()
            && !view.paused
            && options.ordering_key.is_none()
            && options.limit.is_none()
            && options.limits.is_empty()
            && options.gates.is_empty()
            && options.tags.is_empty()
            && options.tenant.is_none()
            && options.expires_at.is_none()
            && job.deadline.is_none()
            && job.tick.is_none();
        is_free.then(|| Self {
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            version: options.version,
            priority: options.priority,
            available_at: job.available_at,
            place: job.place,
            ended: job.ends.last().map(|end| end.token),
            left: (job.attempt, job.losses, job.notes_bytes),
        })
    }

    /// Whether whoever is handed the other one could have been handed this one.
    fn is_like(&self, other: &Self) -> bool {
        (&self.queue, &self.kind, self.version) == (&other.queue, &other.kind, other.version)
    }
}

/// What was seen when a namespace was looked at last.
#[derive(Debug, Default)]
struct Seen {
    waiting: BTreeMap<JobId, Waited>,
    /// Leases, each with the instant before which it does not run out.
    leases: BTreeMap<Token, (JobId, MonoMs)>,
}

/// What was seen of the jobs of a run.
#[derive(Debug, Default)]
pub(crate) struct Order {
    seen: [Seen; NAMESPACES.len()],
    /// When that was, by the time of the shard's last entry and on the clock that never steps.
    at: TimeMs,
    mono: MonoMs,
    /// What that clock says, which may be another one than the shard was told.
    now: MonoMs,
    /// Sessions of workers that may have given up leases.
    sessions: BTreeSet<(String, String)>,
    /// Leases that may hold for a shorter time than when they were granted.
    shortened: BTreeSet<Token>,
    /// Deadlines of levels may decide, too.
    has_levels: bool,
    /// Priorities may be others than those that were asked for.
    reprioritised: bool,
}

impl Order {
    /// A life of the shard begins: leases stand for one more of their lengths.
    pub(crate) fn begins(&mut self, mono: MonoMs) {
        self.seen = [Seen::default(), Seen::default()];
        (self.mono, self.now) = (mono, mono);
    }

    /// Time passes.
    pub(crate) fn hear(&mut self, mono: MonoMs) {
        self.now = mono;
    }

    /// A client sends this.
    pub(crate) fn tried(&mut self, command: &Command) {
        match command {
            Command::EndSession { holder, .. } | Command::ResumeSession { holder, .. } => {
                self.sessions.insert((holder.worker.clone(), holder.session.clone()));
            }
            Command::ExtendLeases(extensions) => {
                let shorter = extensions.iter().filter(|it| it.lease_ms.is_some());
                self.shortened.extend(shorter.map(|it| it.token));
            }
            Command::CheckpointJobs(all) => {
                let shorter = all.iter().filter(|it| it.lease_ms.is_some());
                self.shortened.extend(shorter.map(|it| it.token));
            }
            Command::StartOperation(OperationKind::ChangeJobs { change }) => {
                self.reprioritised |= matches!(change.action, JobAction::SetPriority { .. });
            }
            _ => {}
        }
    }

    /// Looks at the jobs of all namespaces, and compares them with those of the look before.
    pub(crate) fn look(
        &mut self,
        map: &SimTree,
        all: [&[JobView]; NAMESPACES.len()],
        told: &BTreeMap<JobKey, Told>,
        now: TimeMs,
    ) -> Check {
        let mono = self.now;
        self.has_levels |=
            map.entries.range(vec![SLA_KEY_FIRST]..vec![SLA_KEY_FIRST + 1]).next().is_some();
        for (namespace, jobs) in all.into_iter().enumerate() {
            let before = std::mem::take(&mut self.seen[namespace]);
            self.check_order(&before, (namespace, jobs), told)?;
            self.check_leases(&before, (map, NAMESPACES[namespace]), jobs, mono)?;
            let leased = jobs.iter().filter_map(|view| Some((view.job.id, view.lease.as_ref()?)));
            let leased = leased.filter(|(_, lease)| {
                !self.sessions.contains(&(lease.worker.to_string(), lease.session.to_string()))
            });
            // It was granted after the look before, so that it stands until then at least.
            let until = |lease_ms| self.mono.plus(lease_ms);
            let leases = leased.map(|(id, lease)| {
                let known = before.leases.get(&lease.token).copied();
                (lease.token, known.unwrap_or_else(|| (id, until(lease.lease_ms))))
            });
            let waiting = jobs.iter().filter_map(|view| Some((view.job.id, Waited::of(view)?)));
            self.seen[namespace] = Seen { waiting: waiting.collect(), leases: leases.collect() };
        }
        (self.at, self.mono) = (now, mono);
        Ok(())
    }

    /// Of those who were handed out since the look before nobody passed somebody who waited then,
    /// and waits still.
    fn check_order(
        &self,
        before: &Seen,
        (namespace, jobs): (usize, &[JobView]),
        told: &BTreeMap<JobKey, Told>,
    ) -> Check {
        let granted = jobs.iter().filter(|view| view.lease.is_some());
        // One that was moved meanwhile, or ran before, was not handed out from where it waited.
        let granted: Vec<_> = granted
            .filter_map(|view| {
                let waited = before.waiting.get(&view.job.id)?;
                let now = Waited::free(view)?;
                let stood = Waited { left: waited.left, ..now } == *waited;
                stood.then_some((view.job.id, waited))
            })
            .collect();
        if granted.is_empty() {
            return Ok(());
        }
        let asked = |id: JobId| {
            let told = told.get(&(namespace, id)).filter(|_| !self.reprioritised);
            told.and_then(|told| told.new.priority)
        };
        for view in jobs {
            let id = view.job.id;
            let Some(waits) = before.waiting.get(&id) else { continue };
            if Waited::of(view).as_ref() != Some(waits) || waits.available_at > self.at {
                continue;
            }
            for (other, passed) in granted.iter().filter(|(_, it)| it.is_like(waits)) {
                let own = asked(id).unwrap_or(waits.priority);
                let others = asked(*other).unwrap_or(passed.priority);
                let behind =
                    (waits.available_at, waits.place) < (passed.available_at, passed.place);
                if own > others || (own == others && behind && !self.has_levels) {
                    return Err(format!("job {other} was handed out, and {id} before it waits"));
                }
            }
        }
        Ok(())
    }

    /// A run that was lost had not been heard of for as long as its lease holds.
    fn check_leases(
        &self,
        before: &Seen,
        (map, name): (&SimTree, &str),
        jobs: &[JobView],
        mono: MonoMs,
    ) -> Check {
        let stands = |id: JobId, token: Token| {
            let view = jobs.iter().find(|view| view.job.id == id);
            view.and_then(|view| view.lease.as_ref()).is_some_and(|lease| lease.token == token)
        };
        for (token, (id, until)) in &before.leases {
            if mono >= *until || self.shortened.contains(token) || stands(*id, *token) {
                continue;
            }
            let notes = attempts_of(map, name, *id);
            let note = notes.iter().find(|note| note.token == *token);
            let Some(note) = note.filter(|note| note.cause == Cause::Lost) else { continue };
            if !self.sessions.iter().any(|(worker, _)| *worker == note.worker) {
                return Err(format!("lease {token} of {id} was lost at {mono}, before {until}"));
            }
        }
        Ok(())
    }
}
