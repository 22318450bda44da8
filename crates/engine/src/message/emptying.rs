//! What was deleted goes bit by bit: messages of queues, bindings of queues and exchanges. The
//! names are free at once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::state::{binding_of, lane_at, place_at, stored_of};
use super::walk::{SPAN, SPANS_MAX};
use super::{Destination, Ends, MessageEnd, MessageTag, Slot};
use crate::ids::{BodyId, NamespaceId, Place, QueueId};
use crate::record::Record;
use crate::state::{State, keys};

/// Messages of a lane that a start counts. Where a queue has no more than that, it is known when
/// the last one is gone, and the places of later messages need not be looked through.
const COUNTED_MAX: u64 = 1000;

/// What queues that are being emptied still have, each with its lanes.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    queues: BTreeMap<QueueId, Left>,
}

/// What is left of one queue. Volatile: a start finds it anew.
#[derive(Debug, Default)]
struct Left {
    /// Each lane that may have something, and the place before which nothing of it is left.
    lanes: BTreeMap<u8, Place>,
    /// How many messages are left, where that is known.
    messages: Option<u64>,
}

impl Leftovers {
    /// A queue that was deleted had so many messages, and those of a lane begin at that slot.
    pub(super) fn begin(&mut self, queue: QueueId, messages: u64, lanes: BTreeMap<u8, Place>) {
        self.queues.insert(queue, Left { lanes, messages: Some(messages) });
    }

    /// A start found something of a lane.
    pub(super) fn found(&mut self, queue: QueueId, (urgency, place): Slot) {
        let lanes = &mut self.queues.entry(queue).or_default().lanes;
        let first = lanes.entry(urgency).or_insert(place);
        *first = place.min(*first);
    }

    /// A start found messages of a lane from a slot on: how many, or more than it counted.
    pub(super) fn found_messages(&mut self, queue: QueueId, first: Slot, messages: Option<u64>) {
        let new = || Left { messages: Some(0), ..Left::default() };
        let left = self.queues.entry(queue).or_insert_with(new);
        left.messages = left.messages.zip(messages).map(|(others, these)| others + these);
        self.found(queue, first);
    }

    /// The message with that tag is gone, and all before it in its lane.
    fn removed(&mut self, tag: MessageTag) {
        let Some(left) = self.queues.get_mut(&tag.queue) else { return };
        left.lanes.insert(tag.urgency, Place(tag.place.0.saturating_add(1)));
        left.messages = left.messages.map(|messages| messages.saturating_sub(1));
    }

    /// Nothing is left of a queue before a slot.
    pub(super) fn looked_through(&mut self, queue: QueueId, (urgency, place): Slot) {
        let Some(left) = self.queues.get_mut(&queue) else { return };
        left.lanes = left.lanes.split_off(&urgency);
        if let Some(first) = left.lanes.get_mut(&urgency) {
            *first = place.max(*first);
        }
    }

    fn forget(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
    }

    /// The first lane from that urgency on that may have something, and from where on.
    fn next(&self, queue: QueueId, from: u8) -> Option<Slot> {
        let mut lanes = self.queues.get(&queue)?.lanes.range(from..);
        lanes.next().map(|(urgency, place)| (*urgency, *place))
    }

    /// Whether all messages of a queue are gone once so many more are.
    fn ends_with(&self, queue: QueueId, messages: u64) -> bool {
        let known = self.queues.get(&queue).and_then(|left| left.messages);
        known.is_some_and(|left| left <= messages)
    }
}

/// A part of what is left of something that was deleted.
#[derive(Debug, Default)]
pub(crate) struct EmptyingSlice {
    pub(crate) records: Vec<Record>,
    /// Before which slot nothing is left of the queue then. It is not recorded, since a start
    /// finds it.
    pub(crate) looked_through: Option<(QueueId, Slot)>,
}

/// What goes of a queue.
#[derive(Default)]
struct Found {
    keys: Vec<Bytes>,
    bodies: Vec<BodyId>,
    messages: u64,
}

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
    pub(crate) fn decide_emptying(&self) -> EmptyingSlice {
        match self.messages.emptying.first() {
            Some((ns, what)) => self.emptying_slice(*ns, *what),
            None => EmptyingSlice::default(),
        }
    }

    /// The next slice of what was deleted.
    pub(crate) fn emptying_slice(&self, ns: NamespaceId, what: Destination) -> EmptyingSlice {
        let most = 4 * self.limits.slice_items_max;
        let bindings = self.bindings_to_remove(ns, what, most);
        if !bindings.is_empty() {
            let records = self.unbinding(ns, bindings);
            return EmptyingSlice { records, looked_through: None };
        }
        let (mut found, mut next) = (Found::default(), None);
        if let Destination::Queue { id } = what {
            let at = self.leftovers_of((ns, id), most, &mut found);
            next = at.map(|slot| (id, slot));
        }
        let Found { keys, bodies, .. } = found;
        let left = (!keys.is_empty()).then_some(Record::LeftoversRemoved { keys, bodies });
        let end = next.is_none().then_some(Record::Emptied { namespace: ns, what });
        EmptyingSlice { records: left.into_iter().chain(end).collect(), looked_through: next }
    }

    /// Counts what is left in the lane of a message, from that on, when a shard starts.
    pub(super) fn count_leftovers(&self, first: &[u8]) -> Option<u64> {
        let lane = first.get(..10).unwrap_or(first);
        let mut messages = 0;
        self.scan(first, &keys::after_prefix(lane), &mut |_, _| {
            messages += 1;
            if messages > COUNTED_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (messages <= COUNTED_MAX).then_some(messages)
    }

    /// Some of the messages of a queue, and where the next slice goes on; `None` where nothing
    /// follows. As in a walk, what was removed and lingers in the tree is passed over so many
    /// places at a time.
    fn leftovers_of(
        &self,
        (ns, queue): (NamespaceId, QueueId),
        most: usize,
        found: &mut Found,
    ) -> Option<Slot> {
        let left = &self.messages.leftovers;
        let mut at = left.next(queue, 0)?;
        for _ in 0..SPANS_MAX {
            let end = self.span_of_leftovers((ns, queue), at, most, found);
            if left.ends_with(queue, found.messages) {
                return None;
            }
            at = match end {
                end if end < self.meta.next_place => (at.0, end),
                _ => left.next(queue, at.0.checked_add(1)?)?,
            };
            if found.messages >= most as u64 {
                break;
            }
        }
        Some(at)
    }

    /// Keys of the messages over some places of a lane, and the bodies that these hold. Where the
    /// next span begins.
    fn span_of_leftovers(
        &self,
        (ns, queue): (NamespaceId, QueueId),
        (urgency, place): Slot,
        most: usize,
        found: &mut Found,
    ) -> Place {
        let mut end = Place(place.0.saturating_add(SPAN));
        let tag = |place| MessageTag { queue, urgency, place };
        self.scan(
            &keys::message(ns, tag(place)),
            &keys::message(ns, tag(end)),
            &mut |key, value| {
                if found.messages >= most as u64 {
                    end = place_at(key);
                    return ControlFlow::Break(());
                }
                found.messages += 1;
                found.keys.push(Bytes::copy_from_slice(key));
                found.bodies.extend(stored_of(key, value).body_ref().apart);
                ControlFlow::Continue(())
            },
        );
        for of in [keys::returns, keys::message_lease] {
            self.scan(&of(ns, tag(place)), &of(ns, tag(end)), &mut |key, _| {
                found.keys.push(Bytes::copy_from_slice(key));
                ControlFlow::Continue(())
            });
        }
        end
    }

    pub(super) fn apply_leftovers_removed(&mut self, removed: &[Bytes], bodies: &[BodyId]) {
        for key in removed {
            self.remove(key);
            if key.first() == Some(&keys::MESSAGE) {
                // They were found from the first one of their lane on.
                let (queue, urgency) = lane_at(key);
                self.messages.leftovers.removed(MessageTag {
                    queue,
                    urgency,
                    place: place_at(key),
                });
            }
        }
        self.release_bodies(bodies);
    }

    pub(super) fn apply_emptied(&mut self, ns: NamespaceId, what: Destination) {
        self.remove(&keys::emptying(ns, what));
        self.messages.emptying.remove(&(ns, what));
        if let Destination::Queue { id } = what {
            self.messages.leftovers.forget(id);
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
