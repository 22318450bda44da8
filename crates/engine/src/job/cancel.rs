//! Cancelling: a waiting job ends, a running one is asked to or, by force, ended. A dead one is
//! removed only by whoever says so: its death may be news to whoever would cancel it.

use crate::ids::{JobId, NamespaceId};
use crate::job::{CancelReason, EndKind, FinalRun, Job, JobError, Phase};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// The record that calls a job off; none where that was asked before.
    pub(crate) fn decide_cancel(
        &self,
        namespace: NamespaceId,
        id: JobId,
        force: bool,
    ) -> Result<Option<Record>, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        if let Some(live) = self.leases.get(namespace, id) {
            if force {
                // The token is stale from here on: a worker that is there after all is refused.
                let (token, reason) = (Some(live.lease().token), CancelReason::Forced);
                return Ok(Some(Record::JobCancelled {
                    namespace,
                    id,
                    token,
                    reason,
                    error: None,
                }));
            }
            let asked = live.lease().cancel_requested;
            return Ok((!asked).then_some(Record::CancelRequested { namespace, id }));
        }
        match &job.phase {
            Phase::Waiting | Phase::Retrying => {
                let reason = CancelReason::Asked;
                Ok(Some(Record::JobCancelled { namespace, id, token: None, reason, error: None }))
            }
            Phase::Cancelled { .. } => Ok(None),
            Phase::Dead { .. } | Phase::Succeeded { .. } | Phase::Expired { .. } => {
                let state = job.phase.name();
                let needed = "only a job that has not ended can be cancelled; a dead one is kept \
                              until it is retried or removed";
                Err(Rejection::JobStateRefused { id, state, needed })
            }
        }
    }

    /// The record that removes a dead job. One that somebody retried meanwhile stays.
    pub(crate) fn decide_removal(
        &self,
        namespace: NamespaceId,
        id: JobId,
    ) -> Result<Record, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        if matches!(job.phase, Phase::Dead { .. }) {
            return Ok(Record::JobRemoved { namespace, id });
        }
        let running = self.leases.contains(namespace, id);
        let state = if running { "running" } else { job.phase.name() };
        let needed = "only a dead job can be removed";
        Err(Rejection::JobStateRefused { id, state, needed })
    }

    pub(crate) fn apply_cancel_requested(&mut self, ns: NamespaceId, id: JobId) {
        self.change_lease(ns, id, |lease| lease.cancel_requested = true);
        self.note_told(ns, id);
    }

    pub(crate) fn apply_job_cancelled(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        ran: bool,
        reason: CancelReason,
        error: Option<JobError>,
    ) {
        if ran {
            let (mut job, lease) = self.end_run(ns, id);
            job.attempt = lease.attempt;
            if reason == CancelReason::Forced {
                self.lose_track(ns, &job, &lease);
            }
            // An end that is not its worker's is none that a settlement repeats.
            if reason != CancelReason::Forced {
                job.remember_end(lease.token, EndKind::Discarded);
            }
            let (started_at, worker) = (lease.started_at, lease.worker);
            job.final_run = Some(FinalRun { started_at, worker, error });
            self.call_off(ns, job, reason);
            return;
        }
        let job = self.job(ns, id).expect("the record names a waiting job");
        let queue = self.queue_of(ns, &job);
        self.unfile(ns, queue, &job);
        self.call_off(ns, (*job).clone(), reason);
    }

    /// Ends a job that is neither filed nor leased any more as cancelled.
    pub(crate) fn call_off(&mut self, ns: NamespaceId, mut job: Job, reason: CancelReason) {
        let queue = self.queue_of(ns, &job);
        self.queues.change(queue).counts.cancelled_total += 1;
        self.leave_keys(ns, &job);
        job.phase = Phase::Cancelled { ended_at: self.now(), reason };
        self.keep_outcome(ns, job);
    }
}
