//! Ordering keys: of the unfinished jobs of a key only the first may run. The others are filed
//! behind it and come forward when it ends, however it ends.

use crate::ids::{JobId, NamespaceId, Place, QueueId};
use crate::job::Job;
use crate::map::OrderedMap;
use crate::state::{State, keys};
use crate::wire::Wire;

impl<M: OrderedMap> State<M> {
    /// Files a job that enters: in its lane, or behind the head of its key.
    pub(crate) fn file_new(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        if let Some(ordering_key) = &job.options.ordering_key {
            self.put(&keys::keyed(ns, ordering_key, job.place), &job.id);
            let head = keys::key_head(ns, ordering_key);
            if self.get(&head).is_some() {
                return self.hold_back(ns, queue, job);
            }
            self.put(&head, &job.place);
        }
        self.file_in_lane(ns, queue, job);
    }

    /// Whether the job waits behind another one of its key.
    pub(crate) fn is_blocked(&self, ns: NamespaceId, job: &Job) -> bool {
        let Some(ordering_key) = &job.options.ordering_key else { return false };
        let head: Option<Place> = self.value(&keys::key_head(ns, ordering_key));
        head.is_some_and(|head| head != job.place)
    }

    /// Takes a waiting job from where it is filed.
    pub(crate) fn unfile(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        if self.is_held(ns, job) {
            self.let_go(ns, queue, job);
        } else {
            self.take_from_lane(ns, queue, job);
        }
    }

    /// Whether a waiting job stands aside of its lane.
    pub(crate) fn is_held(&self, ns: NamespaceId, job: &Job) -> bool {
        self.is_blocked(ns, job) || self.is_paused(ns, job.id)
    }

    /// Files a job aside of its lane.
    pub(crate) fn hold_back(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        self.put(&keys::blocked(ns, queue, job.place), &job.id);
        self.queues.change(queue).counts.blocked += 1;
    }

    /// Takes a job from aside of its lane.
    pub(crate) fn let_go(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        self.remove(&keys::blocked(ns, queue, job.place));
        let counts = &mut self.queues.change(queue).counts;
        counts.blocked = counts.blocked.saturating_sub(1);
    }

    /// The job has ended: if it headed its key, the next one comes forward.
    pub(crate) fn free_key(&mut self, ns: NamespaceId, job: &Job) {
        let Some(ordering_key) = &job.options.ordering_key else { return };
        let was_head = !self.is_blocked(ns, job);
        let own = keys::keyed(ns, ordering_key, job.place);
        let from = keys::after(&own);
        self.remove(&own);
        if !was_head {
            return;
        }
        let to = keys::keyed(ns, ordering_key, Place(u64::MAX));
        let next = self.first(&from, &to).and_then(|(_, id)| JobId::from_bytes(&id).ok());
        let Some(next) = next.and_then(|id| self.job(ns, id)) else {
            self.remove(&keys::key_head(ns, ordering_key));
            return;
        };
        self.put(&keys::key_head(ns, ordering_key), &next.place);
        if !self.is_paused(ns, next.id) {
            let queue = self.queue_of(ns, &next);
            self.let_go(ns, queue, &next);
            self.file_in_lane(ns, queue, &next);
        }
    }
}
