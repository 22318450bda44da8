//! A waiting job in another queue, or with another priority: it keeps its time and its order of
//! entry, and whatever blocks it goes on doing so.

use crate::ids::{JobId, NamespaceId};
use crate::state::State;

impl State {
    pub(crate) fn apply_job_moved(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        queue: Option<String>,
        priority: Option<u8>,
    ) {
        let job = self.job(ns, id).expect("the record names a waiting job");
        let moved = self.refile_elsewhere(ns, &job, |job| {
            if let Some(queue) = queue {
                job.queue = queue;
            }
            if let Some(priority) = priority {
                job.options.priority = priority;
            }
        });
        self.put_job(ns, moved);
    }
}
