//! Withdrawing: a job that no worker ever had goes as if it had not been enqueued, and its id is
//! free again. One that has started, or of which others were told, stays as it is.

use crate::ids::{JobId, NamespaceId};
use crate::job::Job;
use crate::record::{Record, Upkeep};
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// The record that withdraws a job; none where a worker has or had it, it has ended, or
    /// others were told of it.
    pub(crate) fn decide_withdrawal(
        &self,
        namespace: NamespaceId,
        id: JobId,
    ) -> Result<Option<Record>, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        Ok(self.may_be_withdrawn(namespace, &job).then(|| {
            let fact = Box::new(Upkeep::JobWithdrawn { namespace, id });
            Record::Upkeep { fact }
        }))
    }

    /// The record that keeps a job from being withdrawn, where it could be: somebody else than who
    /// enqueued it is answered that it is there.
    pub(crate) fn decide_told(&self, namespace: NamespaceId, id: JobId) -> Option<Record> {
        let job = self.job(namespace, id)?;
        self.may_be_withdrawn(namespace, &job).then(|| {
            let fact = Box::new(Upkeep::JobTold { namespace, id });
            Record::Upkeep { fact }
        })
    }

    fn may_be_withdrawn(&self, ns: NamespaceId, job: &Job) -> bool {
        let started = self.leases.contains(ns, job.id) || job.has_run() || job.losses > 0;
        !started && !job.told && job.phase.is_unfinished()
    }

    pub(crate) fn apply_job_told(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the record names a waiting job");
        self.put_job(ns, Job { told: true, ..(*job).clone() });
    }

    pub(crate) fn apply_job_withdrawn(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the record names a waiting job");
        let queue = self.queue_of(ns, &job);
        self.unfile(ns, queue, &job);
        self.queues.change(queue).counts.cancelled_total += 1;
        self.leave_keys(ns, &job);
        let mut job = (*job).clone();
        // Nothing remembers the id.
        job.fingerprint = None;
        self.forget_job(ns, &job, self.now());
        self.jobs.note_ended(ns, id);
    }
}
