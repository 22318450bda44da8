//! Who has the lock of a key, and when it is put and taken.

use super::{UniqueHolder, UniqueUntil};
use crate::ids::{JobId, NamespaceId};
use crate::job::Job;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// The job that has the lock which stands there.
    pub(crate) fn unique_holder(&self, ns: NamespaceId, place: &[u8]) -> Option<UniqueHolder> {
        let id: JobId = self.value(place)?;
        let job = self.job(ns, id).expect("a lock names a job that exists");
        let waits = job.phase.is_unfinished() && !self.leases.contains(ns, id);
        Some(UniqueHolder { id, waits, end: job.cannot_start_from(), version: job.options.version })
    }

    /// Refuses to let a dead job start again while another one has its key.
    pub(crate) fn check_unique_free(&self, ns: NamespaceId, job: &Job) -> Result<(), Rejection> {
        let Some(lock) = &job.options.unique else { return Ok(()) };
        let holder: Option<JobId> = self.value(&lock.place(ns));
        match holder.filter(|holder| *holder != job.id) {
            Some(holder) => Err(Rejection::UniqueTaken { holder }),
            None => Ok(()),
        }
    }

    /// The job has the lock of its key from now on.
    pub(crate) fn enter_unique(&mut self, ns: NamespaceId, job: &Job) {
        if let Some(lock) = &job.options.unique {
            self.put(&lock.place(ns), &job.id);
        }
    }

    /// The job was handed to a worker.
    pub(crate) fn leave_unique_started(&mut self, ns: NamespaceId, job: &Job) {
        self.leave_unique(ns, job, |until| until == UniqueUntil::Started);
    }

    /// The job has ended.
    pub(crate) fn leave_unique_ended(&mut self, ns: NamespaceId, job: &Job) {
        self.leave_unique(ns, job, |until| until != UniqueUntil::Forgotten);
    }

    /// Nothing is known of the job any more.
    pub(crate) fn leave_unique_forgotten(&mut self, ns: NamespaceId, job: &Job) {
        self.leave_unique(ns, job, |_| true);
    }

    fn leave_unique(&mut self, ns: NamespaceId, job: &Job, ends: impl Fn(UniqueUntil) -> bool) {
        let Some(lock) = job.options.unique.as_ref().filter(|lock| ends(lock.until)) else {
            return;
        };
        let place = lock.place(ns);
        // Another job may have it by now: this one may have left it when it started.
        if self.value(&place) == Some(job.id) {
            self.remove(&place);
        }
    }
}
