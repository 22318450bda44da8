//! A waiting job in another queue, or with another priority: it keeps its time and its order of
//! entry, and whatever blocks it goes on doing so. What is about a queue takes it for one that
//! entered when it was moved there.

use crate::ids::{JobId, NamespaceId, Place};
use crate::state::State;

impl State {
    pub(crate) fn apply_job_moved(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        (queue, place): (Option<String>, Option<Place>),
        priority: Option<u8>,
    ) {
        let job = self.job(ns, id).expect("the record names a waiting job");
        if let Some(place) = place {
            self.meta_mut().next_place = Place(place.0 + 1);
        }
        let goes = queue.is_some();
        let moved = self.refile_elsewhere(ns, &job, |job| {
            if let Some(queue) = queue {
                job.queue = queue;
                job.moved = place;
            }
            if let Some(priority) = priority {
                job.options.priority = priority;
            }
        });
        if goes {
            // The queue is used, although nothing is enqueued to it.
            let to = self.queue_of(ns, &moved);
            self.queues.set_empty(to, None);
        }
        self.put_job(ns, moved);
    }
}
