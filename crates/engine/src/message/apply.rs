//! What records of exchanges and messages change.

use std::sync::Arc;

use bytes::Bytes;

use super::shelf::{BodyRef, MessageLease, Shelf, Stored};
use super::{Binding, Destination, Exchange, Message, MessageEnd, MessageTag, NewEntry, Slot};
use crate::ids::{BodyId, ExchangeId, NamespaceId, Place, QueueId, Token};
use crate::job::Body;
use crate::record::Record;
use crate::state::{State, count, keys};

/// Smaller bodies stand in each message that has them: a key of their own would cost more.
const APART_BYTES_MIN: usize = 256;

impl State {
    /// Applies a record of exchanges or messages.
    pub(crate) fn apply_to_messages(&mut self, record: Record) {
        match record {
            Record::ExchangeCreated { exchange } => self.apply_exchange_created(*exchange),
            Record::ExchangeDeleted { namespace, id } => {
                self.apply_exchange_deleted(namespace, id);
            }
            Record::BindingAdded { namespace, binding } => {
                self.put_bytes(&keys::binding(namespace, &binding), &[]);
                self.put_bytes(&keys::binding_to(namespace, &binding), &[]);
                self.messages.exchanges.bind(namespace, &binding);
            }
            Record::BindingsRemoved { namespace, bindings } => {
                self.apply_bindings_removed(namespace, &bindings);
            }
            Record::MessagePublished { namespace, place, message, entries, events } => {
                self.apply_events_published(&message, &events);
                self.apply_message_published(namespace, place, *message, &entries);
            }
            Record::MessagesEnded { namespace, queue, entries, bytes, end, bodies } => {
                self.apply_messages_ended(namespace, queue, &entries, (bytes, end));
                self.release_bodies(&bodies);
            }
            Record::MessagesReturned { namespace, queue, entries } => {
                self.apply_messages_returned(namespace, queue, &entries);
            }
            Record::MessageDelayed { namespace, place, at, message, headers } => {
                self.apply_message_delayed((namespace, place, at), *message, headers);
            }
            Record::DelayPassed { at, place, body } => self.apply_delay_passed(at, place, body),
            Record::MessagesUntaken { namespace, queue, entries } => {
                for slot in entries {
                    self.stand_again(namespace, MessageTag::of(queue, slot));
                }
                self.messages.fresh.insert(queue);
            }
            Record::MessagesLeased { namespace, queue, token, lease_ms, entries } => {
                self.apply_messages_leased(namespace, queue, (token, lease_ms), &entries);
            }
            Record::LeftoversRemoved { keys, bodies } => {
                self.apply_leftovers_removed(&keys, &bodies);
            }
            Record::ExpiriesPassed { keys } => {
                for key in keys {
                    self.remove(&key);
                    self.messages.expiries.eaten(&key);
                }
            }
            Record::PolicyPut { namespace, name, policy } => {
                self.apply_policy_put(namespace, name, *policy);
            }
            Record::PolicyDeleted { namespace, name } => {
                self.apply_policy_deleted(namespace, &name);
            }
            Record::Emptied { namespace, what } => self.apply_emptied(namespace, what),
            _ => unreachable!("apply sends the other records elsewhere"),
        }
    }

    fn apply_exchange_created(&mut self, exchange: Exchange) {
        self.meta_mut().next_exchange = ExchangeId(exchange.id.0 + 1);
        self.put(&keys::exchange(exchange.id), &exchange);
        self.messages.exchanges.insert(exchange);
    }

    /// The namespace is gone, and its exchanges with it.
    pub(crate) fn drop_exchanges(&mut self, ns: NamespaceId) {
        for exchange in self.messages.exchanges.numbers_of(ns) {
            self.apply_exchange_deleted(ns, exchange);
        }
    }

    fn apply_exchange_deleted(&mut self, ns: NamespaceId, id: ExchangeId) {
        self.messages.exchanges.remove(ns, id);
        self.remove(&keys::exchange(id));
        self.begin_emptying(ns, Destination::Exchange { id });
    }

    /// Whether any binding leads there.
    pub(crate) fn is_bound(&self, ns: NamespaceId, to: Destination) -> bool {
        let prefix = keys::bindings_to(ns, to).done();
        self.first(&prefix, &keys::after_prefix(&prefix)).is_some()
    }

    /// What was deleted goes bit by bit.
    pub(crate) fn begin_emptying(&mut self, ns: NamespaceId, what: Destination) {
        self.put_bytes(&keys::emptying(ns, what), &[]);
        self.messages.emptying.insert((ns, what));
    }

    fn apply_bindings_removed(&mut self, ns: NamespaceId, bindings: &[Binding]) {
        for binding in bindings {
            self.remove(&keys::binding(ns, binding));
            self.remove(&keys::binding_to(ns, binding));
            self.messages.exchanges.unbind(ns, binding);
        }
    }

    fn apply_message_published(
        &mut self,
        ns: NamespaceId,
        place: Place,
        message: Message,
        entries: &[NewEntry],
    ) {
        self.meta_mut().next_place = Place(place.0 + 1);
        let message = Arc::new(message);
        let bytes = message.body.len() as u64;
        let apart = self.keep_apart(&message.body, entries.len());
        // As it stands under its keys: without a body that stands apart.
        let kept = match apart {
            Some(_) => Arc::new(Message { body: Bytes::new(), ..Message::clone(&message) }),
            None => Arc::clone(&message),
        };
        // Memory has it once for all queues in which it does not differ.
        let mut last: Option<Arc<Stored>> = None;
        for entry in entries {
            let same = last.take().filter(|last| last.expires_at == entry.expires_at);
            let (message, expires_at) = (Arc::clone(&message), entry.expires_at);
            let stored = same.unwrap_or_else(|| Arc::new(Stored { expires_at, message, apart }));
            let tag = MessageTag { queue: entry.queue, urgency: entry.urgency, place };
            let under_key = Stored { expires_at, message: Arc::clone(&kept), apart };
            self.put(&keys::message(ns, tag), &under_key);
            if let Some(at) = entry.expires_at {
                let key = keys::expiry(at, ns, tag);
                self.put_bytes(&key, &[]);
                self.messages.expiries.put(&key);
            }
            let counts = &mut self.queues.change(entry.queue).counts;
            counts.messages += 1;
            counts.message_bytes += bytes;
            counts.published_total += 1;
            let room = self.young_room();
            let young = self.messages.shelf(entry.queue).push(tag.slot(), &stored, room);
            self.messages.young_bytes += young;
            self.messages.fresh.insert(entry.queue);
            last = Some(stored);
        }
    }

    /// Keeps a body apart from the messages that have it, where that is worth it.
    pub(super) fn keep_apart(&mut self, body: &Bytes, holders: usize) -> Option<(BodyId, u64)> {
        if holders == 0 || body.len() < APART_BYTES_MIN {
            return None;
        }
        match self.store_body(body.clone(), holders as u32) {
            Body::Stored { id, length } => Some((id, length)),
            Body::Inline { .. } => None,
        }
    }

    pub(super) fn release_bodies(&mut self, bodies: &[BodyId]) {
        for id in bodies {
            self.release_body(&Body::Stored { id: *id, length: 0 });
        }
    }

    fn apply_messages_ended(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
        entries: &[Slot],
        (bytes, end): (u64, MessageEnd),
    ) {
        let is_full = |shelf: &Shelf| shelf.keys.is_full();
        let was_full = self.messages.shelves.get(&queue).is_some_and(is_full);
        for slot in entries {
            let tag = MessageTag::of(queue, *slot);
            self.remove(&keys::message(ns, tag));
            let Some(shelf) = self.messages.shelves.get(&queue) else { continue };
            let has_returns = shelf.has_returns;
            let (unsettled, young) = self.messages.with_shelf(queue, |shelf| shelf.remove(*slot));
            count::take(&mut self.messages.young_bytes, young, "bytes of new messages");
            if let Some(unsettled) = unsettled {
                self.messages.forget_end(tag, &unsettled);
                if unsettled.is_leased() {
                    self.remove(&keys::message_lease(ns, tag));
                }
            }
            if has_returns {
                self.remove(&keys::returns(ns, tag));
            }
        }
        let counts = &mut self.queues.change(queue).counts;
        let number = entries.len() as u64;
        count::take(&mut counts.messages, number, "messages");
        count::take(&mut counts.message_bytes, bytes, "bytes of messages");
        match end {
            MessageEnd::Acked => counts.acked_total += number,
            _ => counts.dropped_total += number,
        }
        // What stood behind a full aside is looked at again.
        let goes_on = |shelf: &Shelf| shelf.keys.has_next() || (was_full && !shelf.keys.is_full());
        if self.messages.shelves.get(&queue).is_some_and(goes_on) {
            self.messages.fresh.insert(queue);
        }
        self.messages.tidy(queue);
    }

    fn apply_messages_returned(&mut self, ns: NamespaceId, queue: QueueId, entries: &[Slot]) {
        for slot in entries {
            let tag = MessageTag::of(queue, *slot);
            let key = keys::returns(ns, tag);
            let returns: u32 = self.value(&key).unwrap_or(0);
            self.put(&key, &(returns + 1));
            self.messages.shelf(queue).has_returns = true;
            self.stand_again(ns, tag);
        }
        self.messages.fresh.insert(queue);
    }

    /// A message is with nobody and stands where it stood.
    fn stand_again(&mut self, ns: NamespaceId, tag: MessageTag) {
        if self.messages.give_back(tag).is_some_and(|unsettled| unsettled.is_leased()) {
            self.remove(&keys::message_lease(ns, tag));
        }
    }

    fn apply_messages_leased(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
        (first, lease_ms): (Token, u64),
        entries: &[(Slot, u64)],
    ) {
        for (index, (slot, bytes)) in entries.iter().enumerate() {
            let tag = MessageTag::of(queue, *slot);
            let token = Token { counter: first.counter + index as u64, ..first };
            self.put(&keys::message_lease(ns, tag), &MessageLease { token, lease_ms });
            let stored = self.value::<Stored>(&keys::message(ns, tag));
            if let Some(stored) = &stored {
                self.may_be_taken(queue, *slot, (stored, true));
            }
            let body = stored.map_or(BodyRef { bytes: *bytes, apart: None }, |it| it.body_ref());
            self.lease_message(tag, token, lease_ms, body);
            self.meta_mut().next_token = token.counter + 1;
        }
    }
}
