//! Ordering keys: of the unfinished jobs of a key only the first may run. The others stand aside
//! and come forward when it ends, however it ends.

use crate::answer::BlockedBy;
use crate::ids::{JobId, NamespaceId, Place};
use crate::job::Job;
use crate::map::Reader;
use crate::state::{State, keys};
use crate::wire::Wire;

/// The place of the job that a key's others wait for.
fn head(reader: &dyn Reader, ns: NamespaceId, ordering_key: &str) -> Option<Place> {
    let value = reader.get(&keys::key_head(ns, ordering_key))?;
    Some(Place::from_bytes(&value).expect("heads of keys were encoded by this engine"))
}

/// The job that a job waits behind.
pub(super) fn told(reader: &dyn Reader, ns: NamespaceId, job: &Job) -> Option<BlockedBy> {
    let ordering_key = job.options.ordering_key.clone()?;
    let head = head(reader, ns, &ordering_key).filter(|head| *head != job.place)?;
    let first = reader.get(&keys::keyed(ns, &ordering_key, head))?;
    let job = JobId::from_bytes(&first).expect("ids were encoded by this engine");
    Some(BlockedBy::OrderingKey { ordering_key, job })
}

impl State {
    /// Whether the job waits behind another one of its key.
    pub(super) fn is_behind_another(&self, ns: NamespaceId, job: &Job) -> bool {
        let Some(ordering_key) = &job.options.ordering_key else { return false };
        head(self, ns, ordering_key).is_some_and(|head| head != job.place)
    }

    /// The job is the last of its key from now on.
    pub(super) fn enter_ordering_key(&mut self, ns: NamespaceId, job: &Job) {
        let Some(ordering_key) = &job.options.ordering_key else { return };
        self.put(&keys::keyed(ns, ordering_key, job.place), &job.id);
        if head(self, ns, ordering_key).is_none() {
            self.put(&keys::key_head(ns, ordering_key), &job.place);
        }
    }

    /// The job is none of its key any more: if it was the first, the next one comes forward.
    pub(super) fn leave_ordering_key(&mut self, ns: NamespaceId, job: &Job) {
        let Some(ordering_key) = &job.options.ordering_key else { return };
        let was_head = !self.is_behind_another(ns, job);
        let own = keys::keyed(ns, ordering_key, job.place);
        let from = keys::after(&own);
        self.remove(&own);
        if !was_head {
            return;
        }
        let to = keys::keyed(ns, ordering_key, Place(u64::MAX));
        let next = self.first(&from, &to).and_then(|(_, id)| JobId::from_bytes(&id).ok());
        let head = keys::key_head(ns, ordering_key);
        match next.and_then(|id| self.job(ns, id)) {
            Some(next) => self.reblock(ns, &next, |state| {
                state.put(&head, &next.place);
            }),
            None => self.remove(&head),
        }
    }
}
