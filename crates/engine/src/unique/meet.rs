//! What becomes of a new job whose key another one has.

use bytes::Bytes;

use super::{NewUnique, OnConflict, UniqueHolder, UniqueLock, UniqueMet, UniqueUntil};
use crate::bounds::check_duration;
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::Job;
use crate::limits::Limits;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

/// Refuses what cannot hold together.
pub(crate) fn check_unique(limits: &Limits, unique: &NewUnique) -> Result<(), Rejection> {
    check_duration(limits, "unique.period", unique.period_ms, 1)?;
    if unique.on_conflict == OnConflict::Throttle && unique.period_ms.is_none() {
        let value = "throttle without a period".to_owned();
        let allowed = "throttle with a period".to_owned();
        return Err(Rejection::ValueRefused { field: "unique.on_conflict", value, allowed });
    }
    Ok(())
}

impl NewUnique {
    /// The lock that a job which enters at `now` gets.
    pub(crate) fn lock(&self, now: TimeMs) -> UniqueLock {
        let since = self.period_ms.map(|period_ms| TimeMs(now.0 - now.0 % period_ms.max(1)));
        UniqueLock { key: self.key, until: self.until, since }
    }

    /// How long the outcome of a job that enters at `now` is kept at least: what is to be unique
    /// within a period until it is forgotten is known to its end.
    pub(crate) fn retain_ms_min(&self, now: TimeMs) -> u64 {
        match self.period_ms {
            Some(period_ms) if self.until == UniqueUntil::Forgotten => {
                period_ms - now.0 % period_ms.max(1)
            }
            _ => 0,
        }
    }

    /// What the other job becomes, if anything, and what the answer says. `new` is the job as it
    /// would enter.
    pub(crate) fn meet(
        &self,
        namespace: NamespaceId,
        holder: UniqueHolder,
        (new, args): (&Job, &Bytes),
    ) -> Result<(Option<Record>, UniqueMet), Rejection> {
        let (args, time, met) = match self.on_conflict {
            OnConflict::Reject => return Err(Rejection::UniqueTaken { holder: holder.id }),
            OnConflict::Existing => return Ok((None, UniqueMet::Existing)),
            OnConflict::Throttle => return Ok((None, UniqueMet::Throttled)),
            OnConflict::Replace { args: change, time } => {
                (change.then(|| args.clone()), time, UniqueMet::Replaced)
            }
            OnConflict::Debounce => (None, true, UniqueMet::Debounced),
        };
        // Args of one version are none of another's.
        let is_other = args.is_some() && holder.version != new.options.version;
        if !holder.waits || is_other {
            return Err(Rejection::UniqueTaken { holder: holder.id });
        }
        let available_at = time.then_some(new.available_at);
        if let (Some(at), Some(end)) = (available_at, holder.end)
            && end <= at
        {
            let allowed = format!("before {end}, when job {} can start no more", holder.id);
            let value = at.to_string();
            return Err(Rejection::ValueRefused { field: "run_at", value, allowed });
        }
        let id = holder.id;
        Ok((Some(Record::JobReplaced { namespace, id, args, available_at }), met))
    }
}

impl State {
    pub(crate) fn apply_job_replaced(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        args: Option<Bytes>,
        available_at: Option<TimeMs>,
    ) {
        let job = self.job(ns, id).expect("the record names a job that waits");
        let queue = self.queue_of(ns, &job);
        let mut job = (*job).clone();
        let mut body = None;
        if let Some(args) = args {
            if let Some(before) = &job.args {
                self.release_body(before);
            }
            body = Some(self.store_body(args, 1));
        }
        // The job changes while it is filed nowhere, so that counts of filed jobs lose what they
        // were given.
        self.refile(ns, queue, &mut job, |job| {
            if body.is_some() {
                job.args = body;
            }
            if let Some(available_at) = available_at {
                job.available_at = available_at;
                job.due_at = Some(available_at);
                job.note_moved();
            }
        });
        self.put_job(ns, job);
    }
}
