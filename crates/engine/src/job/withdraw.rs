//! Withdrawing: a job that no worker ever had goes as if it had not been enqueued, and its id is
//! free again. One that has started stays as it is.

use crate::ids::{JobId, NamespaceId};
use crate::record::{Record, Upkeep};
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// The record that withdraws a job; none where a worker has or had it, or it has ended.
    pub(crate) fn decide_withdrawal(
        &self,
        namespace: NamespaceId,
        id: JobId,
    ) -> Result<Option<Record>, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        let started = self.leases.contains(namespace, id) || job.has_run() || job.losses > 0;
        let withdrawn = !started && job.phase.is_unfinished();
        let fact = || Box::new(Upkeep::JobWithdrawn { namespace, id });
        Ok(withdrawn.then(|| Record::Upkeep { fact: fact() }))
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
