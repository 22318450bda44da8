//! Retrying on request: a dead job starts over, a retrying one does not wait any longer.

use crate::bounds::check_size;
use crate::command::RetryFrom;
use crate::ids::{JobId, NamespaceId, Place};
use crate::job::Phase;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// The records that let the job start again, and say where.
    pub(crate) fn decide_retry(
        &self,
        namespace: NamespaceId,
        id: JobId,
        from: &RetryFrom,
    ) -> Result<Vec<Record>, Rejection> {
        let retried = self.decide_retried(namespace, id)?;
        let cursor = match from {
            RetryFrom::Kept => return Ok(vec![retried]),
            RetryFrom::Beginning => None,
            RetryFrom::Cursor(cursor) => Some(cursor.clone()),
        };
        let cursor_bytes = cursor.as_ref().map_or(0, bytes::Bytes::len);
        check_size("cursor", cursor_bytes, self.limits.cursor_bytes_max)?;
        // In this order: what it takes in the dead set is not to change.
        Ok(vec![retried, Record::CursorSet { namespace, id, cursor }])
    }

    fn decide_retried(&self, namespace: NamespaceId, id: JobId) -> Result<Record, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        let needed = "only a dead or retrying job can be retried";
        if self.leases.contains(namespace, id) {
            return Err(Rejection::JobStateRefused { id, state: "running", needed });
        }
        match job.phase {
            Phase::Dead { .. } => {
                self.check_unique_free(namespace, &job)?;
                let place = Some(self.meta.next_place);
                Ok(Record::JobRetried { namespace, id, place })
            }
            Phase::Retrying => Ok(Record::JobRetried { namespace, id, place: None }),
            _ => Err(Rejection::JobStateRefused { id, state: job.phase.name(), needed }),
        }
    }

    pub(crate) fn apply_job_retried(&mut self, ns: NamespaceId, id: JobId, place: Option<Place>) {
        let job = self.job(ns, id).expect("the record names a dead or retrying job");
        let queue = self.queue_of(ns, &job);
        let mut job = (*job).clone();
        let Some(place) = place else {
            let now = self.now();
            self.refile(ns, queue, &mut job, |job| job.available_at = now.min(job.available_at));
            self.put_job(ns, job);
            return;
        };
        self.leave_dead(ns, &job);
        self.meta_mut().next_place = Place(place.0 + 1);
        job.place = place;
        job.phase = Phase::Waiting;
        job.available_at = self.now();
        job.due_at = Some(job.available_at);
        job.budget_from = job.attempt;
        (job.losses, job.snoozes) = (0, 0);
        job.deadline = job.options.max_age_ms.map(|max_age_ms| self.now().plus(max_age_ms));
        if let Some(deadline) = job.deadline {
            self.set_timer(deadline, crate::timer::Subject::job(ns, id));
        }
        self.set_passed_timers(ns, &job);
        self.enter_unique(ns, &job);
        self.file_new(ns, queue, &job);
        self.put_job(ns, job);
    }
}
