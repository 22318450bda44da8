//! Unique keys: who has the lock of each is found by looking at all jobs.

use bytes::Bytes;
use longshore_engine::{
    Job, JobId, NamespaceId, NewJob, OnConflict, Phase, Rejection, TimeMs, UniqueLock, UniqueMet,
    UniqueUntil,
};

use super::enqueue::{Change, Entering};
use super::settle::moved_by_hand;
use super::{RefJob, Reference, Refusable, refused};

/// A job that has a lock: whether it waits, and from when on it can start no more.
type Holder = (JobId, bool, Option<TimeMs>, u32);

impl Reference {
    /// Whether the job has the lock of its key now.
    pub(crate) fn has_unique(of: &RefJob) -> bool {
        let unfinished = of.job.phase.is_unfinished();
        of.job.options.unique.as_ref().is_some_and(|lock| match lock.until {
            UniqueUntil::Started => unfinished && !of.started,
            UniqueUntil::Ended => unfinished,
            UniqueUntil::Forgotten => true,
        })
    }

    pub(super) fn unique_holder(&self, ns: NamespaceId, lock: &UniqueLock) -> Option<&RefJob> {
        let same = |of: &&RefJob| {
            let own = of.job.options.unique.as_ref();
            of.ns == ns && own.is_some_and(|own| (own.key, own.since) == (lock.key, lock.since))
        };
        let mut holders = self.jobs.iter().filter(same).filter(|of| Self::has_unique(of));
        let holder = holders.next();
        assert!(holders.next().is_none(), "two jobs have the lock {lock:?}");
        holder
    }

    pub(super) fn check_unique(&self, new: &NewJob) -> Refusable<()> {
        let Some(unique) = &new.unique else { return Ok(()) };
        if unique.period_ms.is_some_and(|ms| ms < 1 || ms > self.limits.horizon_ms_max) {
            return Err(refused("unique.period"));
        }
        if unique.on_conflict == OnConflict::Throttle && unique.period_ms.is_none() {
            return Err(refused("unique.on_conflict"));
        }
        Ok(())
    }

    pub(super) fn lock_of(&self, new: &NewJob) -> Option<UniqueLock> {
        let unique = new.unique.as_ref()?;
        let since = unique.period_ms.map(|ms| TimeMs(self.now.0 / ms * ms));
        Some(UniqueLock { key: unique.key, until: unique.until, since })
    }

    /// The retention of a new job: at least to the end of a period in which it is to be known.
    pub(super) fn retain_ms_of(&self, new: &NewJob, retain_ms: u64) -> u64 {
        let Some(unique) = &new.unique else { return retain_ms };
        match (unique.until, unique.period_ms) {
            (UniqueUntil::Forgotten, Some(ms)) => retain_ms.max(ms - self.now.0 % ms),
            _ => retain_ms,
        }
    }

    /// What becomes of a new job whose key another has; none where nobody has it.
    pub(super) fn meet(
        &self,
        ns: NamespaceId,
        (queue, new): (&str, &NewJob),
        entering: &mut Entering<'_>,
    ) -> Refusable<Option<(JobId, UniqueMet)>> {
        let (Some(lock), Some(unique)) = (self.lock_of(new), &new.unique) else { return Ok(None) };
        let pending = entering.jobs.iter().find(|(_, other)| {
            let other = self.lock_of(other);
            other.is_some_and(|other| (other.key, other.since) == (lock.key, lock.since))
        });
        let holder: Option<Holder> = if let Some((queue, other)) = pending {
            let job = self.described(ns, queue, other);
            Some((job.id, true, end_of(&job), other.version))
        } else {
            let holder = self.unique_holder(ns, &lock);
            let leaves = |of: &&RefJob| entering.leaving == Some(of.job.id);
            let forgets = lock_until(holder) == Some(UniqueUntil::Forgotten);
            let holder = holder.filter(|of| !leaves(of) || forgets);
            holder.map(|of| {
                let waits = of.run.is_none() && of.job.phase.is_unfinished();
                (of.job.id, waits, end_of(&of.job), of.job.options.version)
            })
        };
        let Some((id, waits, end, version)) = holder else { return Ok(None) };
        let (args, time, met) = match unique.on_conflict {
            OnConflict::Reject => return Err(Rejection::UniqueTaken { holder: id }),
            OnConflict::Existing => return Ok(Some((id, UniqueMet::Existing))),
            OnConflict::Throttle => return Ok(Some((id, UniqueMet::Throttled))),
            OnConflict::Replace { args, time } => (args, time, UniqueMet::Replaced),
            OnConflict::Debounce => (false, true, UniqueMet::Debounced),
        };
        if !waits || args && version != new.version {
            return Err(Rejection::UniqueTaken { holder: id });
        }
        let at = self.described(ns, queue, new).available_at;
        if time && end.is_some_and(|end| end <= at) {
            return Err(refused("run_at"));
        }
        let after = entering.jobs.len();
        let (args, at) = (args.then(|| new.args.clone()), time.then_some(at));
        entering.changes.push(Change { after, id, args, at });
        Ok(Some((id, met)))
    }

    fn described(&self, ns: NamespaceId, queue: &str, new: &NewJob) -> Job {
        let settings = self.queue_named(ns, queue).map(|known| known.settings.clone());
        let settings = settings.unwrap_or_default();
        self.describe(new, (ns, queue), &settings, longshore_engine::Place(0))
    }

    pub(super) fn replace(
        &mut self,
        ns: NamespaceId,
        (id, args, at): (JobId, Option<Bytes>, Option<TimeMs>),
    ) {
        if let Some(args) = args {
            let before = self.job(ns, id).and_then(|of| of.job.args.clone());
            if let Some(before) = before {
                self.drop_body(&before);
            }
            let args = self.store_body(args);
            self.job_mut(ns, id).job.args = Some(args);
        }
        let Some(at) = at else { return };
        let job = &mut self.job_mut(ns, id).job;
        job.available_at = at;
        job.due_at = Some(at);
        if job.ends.last().is_some_and(|end| *end != moved_by_hand()) {
            job.ends.push(moved_by_hand());
        }
    }

    /// Whether another job has the key of a dead one.
    pub(super) fn is_taken(&self, ns: NamespaceId, job: &Job) -> Option<JobId> {
        let lock = job.options.unique.as_ref()?;
        let holder = self.unique_holder(ns, lock)?.job.id;
        (holder != job.id).then_some(holder)
    }
}

fn lock_until(of: Option<&RefJob>) -> Option<UniqueUntil> {
    of?.job.options.unique.as_ref().map(|lock| lock.until)
}

fn end_of(job: &Job) -> Option<TimeMs> {
    let waiting = matches!(job.phase, Phase::Waiting | Phase::Retrying);
    let expires_at = job.options.expires_at.filter(|_| job.attempt == 0);
    expires_at.into_iter().chain(job.deadline).min().filter(|_| waiting)
}
