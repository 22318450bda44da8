//! What was deleted goes bit by bit: messages of queues, bindings of queues and exchanges. The
//! names are free at once.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::state::{binding_of, stored_of};
use super::{Destination, Ends, MessageEnd, MessageTag, Slot};
use crate::ids::{BodyId, NamespaceId, Place, QueueId};
use crate::record::Record;
use crate::state::{State, keys};

/// What a queue of messages has keys of, and what each of these begins with.
const OF_QUEUES: [u8; 3] = [keys::MESSAGE, keys::RETURNS, keys::MESSAGE_LEASE];
const QUEUE_PREFIX_BYTES: usize = 9;

/// What a purge has come to.
#[derive(Debug)]
pub(crate) struct PurgeSlice {
    /// The records, where any message goes.
    pub(crate) records: Vec<Record>,
    /// How many go.
    pub(crate) messages: u64,
    /// Where the next slice begins; none at the end.
    pub(crate) next: Option<Slot>,
}

impl State {
    /// The next slice of something that empties.
    pub(crate) fn decide_emptying(&self) -> Vec<Record> {
        match self.messages.emptying.first() {
            Some((ns, what)) => self.emptying_slice(*ns, *what),
            None => Vec::new(),
        }
    }

    /// The next slice of what was deleted.
    pub(crate) fn emptying_slice(&self, ns: NamespaceId, what: Destination) -> Vec<Record> {
        let most = 4 * self.limits.slice_items_max;
        let bindings = self.bindings_to_remove(ns, what, most);
        if !bindings.is_empty() {
            return self.unbinding(ns, bindings);
        }
        let (mut keys, mut bodies) = (Vec::new(), Vec::new());
        if let Destination::Queue { id } = what {
            for first in OF_QUEUES {
                let prefix = keys::of_queue(first, ns, id);
                self.leftovers_of(&prefix, most, (&mut keys, &mut bodies));
            }
        }
        if keys.len() < most {
            let left = (!keys.is_empty()).then_some(Record::LeftoversRemoved { keys, bodies });
            return left.into_iter().chain([Record::Emptied { namespace: ns, what }]).collect();
        }
        vec![Record::LeftoversRemoved { keys, bodies }]
    }

    /// Keys of a queue, and the bodies that messages under them hold.
    fn leftovers_of(
        &self,
        prefix: &[u8],
        most: usize,
        (keys, bodies): (&mut Vec<Bytes>, &mut Vec<BodyId>),
    ) {
        if keys.len() >= most {
            return;
        }
        let holds = prefix.first() == Some(&keys::MESSAGE);
        let from = self.messages.emptied.get(prefix).map_or(prefix, Vec::as_slice);
        self.scan(from, &keys::after_prefix(prefix), &mut |key, value| {
            keys.push(Bytes::copy_from_slice(key));
            if holds {
                bodies.extend(stored_of(key, value).body_ref().apart);
            }
            if keys.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }

    pub(super) fn apply_leftovers_removed(&mut self, removed: &[Bytes], bodies: &[BodyId]) {
        for (index, key) in removed.iter().enumerate() {
            self.remove(key);
            let prefix = key.get(..QUEUE_PREFIX_BYTES);
            let next = removed.get(index + 1).and_then(|next| next.get(..QUEUE_PREFIX_BYTES));
            if let Some(prefix) = prefix.filter(|_| next != prefix) {
                // They were found from the first one on.
                self.messages.emptied.insert(prefix.to_vec(), keys::after(key));
            }
        }
        self.release_bodies(bodies);
    }

    pub(super) fn apply_emptied(&mut self, ns: NamespaceId, what: Destination) {
        self.remove(&keys::emptying(ns, what));
        self.messages.emptying.remove(&(ns, what));
        if let Destination::Queue { id } = what {
            for first in OF_QUEUES {
                self.messages.emptied.remove(&keys::of_queue(first, ns, id));
            }
        }
    }

    /// Bindings that lead from or to something that was deleted.
    fn bindings_to_remove(
        &self,
        ns: NamespaceId,
        what: Destination,
        most: usize,
    ) -> Vec<super::Binding> {
        let mut found = Vec::new();
        let mut prefixes = vec![keys::bindings_to(ns, what).done()];
        if let Destination::Exchange { id } = what {
            prefixes.push(keys::bindings_from(ns, id).done());
        }
        for prefix in prefixes {
            self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
                if found.len() >= most {
                    return ControlFlow::Break(());
                }
                let (_, binding) = binding_of(key);
                // From itself to itself it stands in both.
                if !found.contains(&binding) {
                    found.push(binding);
                }
                ControlFlow::Continue(())
            });
        }
        found
    }

    /// The next slice of a purge: messages that entered before `upper` and are with nobody.
    pub(crate) fn decide_purge(
        &self,
        (ns, queue): (NamespaceId, QueueId),
        from: Slot,
        upper: Place,
    ) -> PurgeSlice {
        let most = 4 * self.limits.slice_items_max;
        let (mut ends, mut messages, mut looked) = (Ends::default(), 0, 0);
        let next = self.walk_messages((ns, queue), from, &mut |slot, stored| {
            if looked >= most {
                return ControlFlow::Break(());
            }
            looked += 1;
            if let Some(stored) = stored.filter(|_| slot.1 < upper) {
                ends.end(MessageTag::of(queue, slot), stored.body_ref(), MessageEnd::Purged);
                messages += 1;
            }
            ControlFlow::Continue(())
        });
        PurgeSlice { records: ends.into_records(ns), messages, next }
    }
}
