//! The pause of one job: it stands aside until it is resumed, and a run of it is interrupted.

use crate::answer::BlockedBy;
use crate::ids::{JobId, NamespaceId};
use crate::job::Job;
use crate::map::Reader;
use crate::state::{State, keys};

/// Whether the job is paused.
pub(super) fn told(reader: &dyn Reader, ns: NamespaceId, job: &Job) -> Option<BlockedBy> {
    reader.get(&keys::paused(ns, job.id)).map(|_| BlockedBy::JobPause)
}

impl State {
    pub(crate) fn is_paused(&self, ns: NamespaceId, id: JobId) -> bool {
        self.has_had(keys::PAUSED) && self.get(&keys::paused(ns, id)).is_some()
    }

    pub(crate) fn apply_job_paused(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the record names a job that has not ended");
        self.reblock(ns, &job, |state| {
            state.note_rare(keys::PAUSED);
            state.put_bytes(&keys::paused(ns, id), &[]);
        });
        self.pause_run(ns, id, true);
    }

    pub(crate) fn apply_job_resumed(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the record names a job that has not ended");
        self.reblock(ns, &job, |state| state.remove(&keys::paused(ns, id)));
        self.pause_run(ns, id, false);
    }

    /// The job has ended: it stands aside no longer.
    pub(super) fn leave_pause(&mut self, ns: NamespaceId, id: JobId) {
        if self.is_paused(ns, id) {
            self.remove(&keys::paused(ns, id));
        }
    }
}
