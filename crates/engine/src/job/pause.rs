//! Pausing and resuming one job: a run of it is interrupted, and what waits stands aside, which is
//! `queueing/job_pause.rs`.

use crate::ids::{JobId, NamespaceId};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
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
}
