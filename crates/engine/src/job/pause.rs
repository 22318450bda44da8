//! Pausing one job: it is held back until it is resumed, and a run of it is interrupted.

use crate::ids::{JobId, NamespaceId, QueueId};
use crate::job::Job;
use crate::map::OrderedMap;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};

impl<M: OrderedMap> State<M> {
    pub(crate) fn is_paused(&self, ns: NamespaceId, id: JobId) -> bool {
        self.has_paused && self.get(&keys::paused(ns, id)).is_some()
    }

    /// The record that pauses or resumes a job; none where it is so already.
    pub(crate) fn decide_pause(
        &self,
        namespace: NamespaceId,
        id: JobId,
        pause: bool,
    ) -> Result<Option<Record>, Rejection> {
        let Some(job) = self.job(namespace, id) else {
            return Err(self.job_unknown(namespace, id));
        };
        if !job.phase.is_unfinished() {
            let needed = "only a job that has not ended can be paused or resumed";
            return Err(Rejection::JobStateRefused { id, state: job.phase.name(), needed });
        }
        if self.is_paused(namespace, id) == pause {
            return Ok(None);
        }
        Ok(Some(if pause {
            Record::JobPaused { namespace, id }
        } else {
            Record::JobResumed { namespace, id }
        }))
    }

    pub(crate) fn apply_job_paused(&mut self, ns: NamespaceId, id: JobId) {
        self.has_paused = true;
        self.put_bytes(&keys::paused(ns, id), &[]);
        if let Some(live) = self.leases.get_mut(&(ns, id)) {
            live.paused = true;
            return self.note_told(ns, id);
        }
        let job = self.job(ns, id).expect("the record names a job that has not ended");
        if !self.is_blocked(ns, &job) {
            let queue = self.queue_of(ns, &job);
            self.take_from_lane(ns, queue, &job);
            self.hold_back(ns, queue, &job);
        }
    }

    pub(crate) fn apply_job_resumed(&mut self, ns: NamespaceId, id: JobId) {
        self.remove(&keys::paused(ns, id));
        if let Some(live) = self.leases.get_mut(&(ns, id)) {
            live.paused = false;
            return self.note_told(ns, id);
        }
        let job = self.job(ns, id).expect("the record names a job that has not ended");
        if !self.is_blocked(ns, &job) {
            let queue = self.queue_of(ns, &job);
            self.let_go(ns, queue, &job);
            self.file_in_lane(ns, queue, &job);
        }
    }

    /// Files a job that ran: in its lane, or aside where it is paused.
    pub(crate) fn file_again(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        if self.is_paused(ns, job.id) {
            self.hold_back(ns, queue, job);
        } else {
            self.file_in_lane(ns, queue, job);
        }
    }

    /// The job has ended: it is held back no longer.
    pub(crate) fn forget_pause(&mut self, ns: NamespaceId, id: JobId) {
        if self.is_paused(ns, id) {
            self.remove(&keys::paused(ns, id));
        }
    }
}
