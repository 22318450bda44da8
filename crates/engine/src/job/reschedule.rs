//! Moving a waiting job to another time, or to now.

use crate::bounds::resolve_start;
use crate::command::Start;
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// The record that moves a job to another time. One at which it could not start any more is
    /// refused: the job would end without a run.
    pub(crate) fn decide_reschedule(
        &self,
        namespace: NamespaceId,
        id: JobId,
        start: Start,
        moment: Moment,
    ) -> Result<Record, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        let needed = "only a scheduled, ready or retrying job can be moved to another time";
        if self.leases.contains(namespace, id) {
            return Err(Rejection::JobStateRefused { id, state: "running", needed });
        }
        if !job.phase.is_unfinished() {
            return Err(Rejection::JobStateRefused { id, state: job.phase.name(), needed });
        }
        let available_at = resolve_start(&self.limits, "run_at", start, moment.at)?.max(moment.at);
        if let Some(end) = job.cannot_start_from().filter(|end| *end <= available_at) {
            let allowed = format!("before {end}, when it can start no more");
            let value = available_at.to_string();
            return Err(Rejection::ValueRefused { field: "run_at", value, allowed });
        }
        Ok(Record::JobRescheduled { namespace, id, available_at })
    }

    pub(crate) fn apply_job_rescheduled(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        available_at: TimeMs,
    ) {
        let job = self.job(ns, id).expect("the record names a waiting or retrying job");
        let queue = self.queue_of(ns, &job);
        let mut job = (*job).clone();
        self.refile(ns, queue, &mut job, |job| job.available_at = available_at);
        job.due_at = Some(available_at);
        job.note_moved();
        self.put_job(ns, job);
    }
}
