//! Queues by name and by number. They live in memory whole; the limits bound them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::Unwritten;
use crate::ids::{MonoMs, NamespaceId, QueueId};
use crate::message::Found;
use crate::queue::Queue;

#[derive(Debug)]
struct QueueSlot {
    queue: Queue,
    name: Arc<str>,
    /// The first second that has a due counter, where there is one.
    next_due: Option<u64>,
    /// Whether it was empty when it was last looked at; volatile.
    empty: Option<Empty>,
    /// What policies come to for it; volatile.
    policy: RefCell<Option<Found>>,
}

/// What a look at an empty queue found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Empty {
    /// It is so at least since then.
    pub(crate) since: MonoMs,
    /// How many jobs had been enqueued in it.
    pub(crate) enqueued: u64,
}

/// The queues of a shard.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// Boxed: a tree of large values that is filled in their order is half empty.
    slots: BTreeMap<QueueId, Box<QueueSlot>>,
    names: BTreeMap<NamespaceId, BTreeMap<Arc<str>, QueueId>>,
    changed: Unwritten<QueueId>,
}

impl Queues {
    pub(crate) fn insert(&mut self, queue: Queue, next_due: Option<u64>) {
        let id = queue.id;
        let name: Arc<str> = queue.name.as_str().into();
        self.names.entry(queue.namespace).or_default().insert(Arc::clone(&name), id);
        self.slots.insert(
            id,
            Box::new(QueueSlot { queue, name, next_due, empty: None, policy: RefCell::default() }),
        );
    }

    pub(crate) fn delete(&mut self, id: QueueId) {
        if let Some(slot) = self.slots.remove(&id)
            && let Some(names) = self.names.get_mut(&slot.queue.namespace)
        {
            names.remove(&slot.name);
            if names.is_empty() {
                self.names.remove(&slot.queue.namespace);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many a namespace has.
    pub(crate) fn len_of(&self, ns: NamespaceId) -> usize {
        self.names.get(&ns).map_or(0, BTreeMap::len)
    }

    pub(crate) fn get(&self, id: QueueId) -> Option<&Queue> {
        self.slots.get(&id).map(|slot| &slot.queue)
    }

    /// What policies were found to come to for a queue.
    pub(crate) fn found_policy(&self, id: QueueId) -> Option<Found> {
        self.slots.get(&id)?.policy.borrow().clone()
    }

    pub(crate) fn set_found_policy(&self, id: QueueId, found: Found) {
        if let Some(slot) = self.slots.get(&id) {
            *slot.policy.borrow_mut() = Some(found);
        }
    }

    /// The name of a queue, and whether it is paused.
    pub(crate) fn site(&self, id: QueueId) -> Option<(&Arc<str>, bool)> {
        self.slots.get(&id).map(|slot| (&slot.name, slot.queue.settings.paused))
    }

    pub(crate) fn named(&self, ns: NamespaceId, name: &str) -> Option<&Queue> {
        self.get(*self.names.get(&ns)?.get(name)?)
    }

    /// The queue, to be written before the map is kept.
    pub(crate) fn change(&mut self, id: QueueId) -> &mut Queue {
        self.changed.add(id);
        let slot = self.slots.get_mut(&id);
        &mut slot.expect("records name queues that exist").queue
    }

    pub(crate) fn next_due(&self, id: QueueId) -> Option<u64> {
        self.slots.get(&id)?.next_due
    }

    pub(crate) fn set_next_due(&mut self, id: QueueId, second: Option<u64>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.next_due = second;
        }
    }

    /// Those whose counts are not in the map as they are here.
    pub(crate) fn changed(&mut self) -> &mut Unwritten<QueueId> {
        &mut self.changed
    }

    /// The queues of a namespace after a name, in the order of their names.
    pub(crate) fn after<'a>(
        &'a self,
        ns: NamespaceId,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Queue> {
        let from = (after.map_or(Unbounded, Excluded), Unbounded);
        let names = self.names.get(&ns).map(|names| names.range::<str, _>(from));
        names.into_iter().flatten().filter_map(|(_, id)| self.get(*id))
    }

    /// The queues of the shard after one, in the order of their numbers.
    pub(crate) fn numbered_after(
        &self,
        after: Option<QueueId>,
    ) -> impl Iterator<Item = (&Queue, Option<Empty>)> {
        let slots = self.slots.range((after.map_or(Unbounded, Excluded), Unbounded));
        slots.map(|(_, slot)| (&slot.queue, slot.empty))
    }

    pub(crate) fn set_empty(&mut self, id: QueueId, empty: Option<Empty>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.empty = empty;
        }
    }

    /// All queues after the one of this id, in the order of their ids.
    pub(crate) fn all_after(&self, after: Option<QueueId>) -> impl Iterator<Item = &Queue> {
        let from = (after.map_or(Unbounded, Excluded), Unbounded);
        self.slots.range(from).map(|(_, slot)| &slot.queue)
    }
}
