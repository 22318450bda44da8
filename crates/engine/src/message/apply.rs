//! What records of exchanges and messages change.

use std::sync::Arc;

use super::shelf::{MessageLease, Stored};
use super::{Binding, Destination, Exchange, Message, MessageEnd, MessageTag, NewEntry, Slot};
use crate::ids::{ExchangeId, NamespaceId, Place, QueueId, Token};
use crate::map::OrderedMap;
use crate::record::Record;
use crate::state::{State, count, keys};

impl<M: OrderedMap> State<M> {
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
            Record::MessagePublished { namespace, place, message, entries } => {
                self.apply_message_published(namespace, place, *message, &entries);
            }
            Record::MessagesEnded { namespace, queue, entries, bytes, end } => {
                self.apply_messages_ended(namespace, queue, &entries, (bytes, end));
            }
            Record::MessagesReturned { namespace, queue, entries } => {
                self.apply_messages_returned(namespace, queue, &entries);
            }
            Record::MessagesLeased { namespace, queue, token, lease_ms, entries } => {
                self.apply_messages_leased(namespace, queue, (token, lease_ms), &entries);
            }
            Record::LeftoversRemoved { keys } => {
                for key in keys {
                    self.remove(&key);
                }
            }
            Record::Emptied { namespace, what } => {
                self.remove(&keys::emptying(namespace, what));
                self.messages.emptying.remove(&(namespace, what));
            }
            _ => unreachable!("apply sends the other records elsewhere"),
        }
    }

    fn apply_exchange_created(&mut self, exchange: Exchange) {
        self.meta_mut().next_exchange = ExchangeId(exchange.id.0 + 1);
        self.put(&keys::exchange(exchange.id), &exchange);
        self.messages.exchanges.insert(exchange);
    }

    pub(crate) fn apply_exchange_deleted(&mut self, ns: NamespaceId, id: ExchangeId) {
        self.messages.exchanges.remove(ns, id);
        self.remove(&keys::exchange(id));
        self.begin_emptying(ns, Destination::Exchange { id });
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
        // Many queues keep it as it is: it is encoded once for all that do not differ.
        let mut last: Option<Arc<Stored>> = None;
        for entry in entries {
            let same = last.take().filter(|last| last.expires_at == entry.expires_at);
            let (message, expires_at) = (Arc::clone(&message), entry.expires_at);
            let stored = same.unwrap_or_else(|| Arc::new(Stored { expires_at, message }));
            let tag = MessageTag { queue: entry.queue, urgency: entry.urgency, place };
            self.put(&keys::message(ns, tag), &*stored);
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

    fn apply_messages_ended(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
        entries: &[Slot],
        (bytes, end): (u64, MessageEnd),
    ) {
        for slot in entries {
            let tag = MessageTag::of(queue, *slot);
            self.remove(&keys::message(ns, tag));
            let Some(shelf) = self.messages.shelves.get_mut(&queue) else { continue };
            let has_returns = shelf.has_returns;
            let (held, young) = shelf.remove(*slot);
            self.messages.young_bytes -= young;
            if let Some(held) = held {
                self.messages.forget_end(tag, &held);
                if held.is_leased() {
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
        self.messages.tidy(queue);
    }

    fn apply_messages_returned(&mut self, ns: NamespaceId, queue: QueueId, entries: &[Slot]) {
        for slot in entries {
            let tag = MessageTag::of(queue, *slot);
            let key = keys::returns(ns, tag);
            let returns: u32 = self.value(&key).unwrap_or(0);
            self.put(&key, &(returns + 1));
            let shelf = self.messages.shelf(queue);
            shelf.has_returns = true;
            if let Some(held) = shelf.give_back(*slot) {
                self.messages.forget_end(tag, &held);
                if held.is_leased() {
                    self.remove(&keys::message_lease(ns, tag));
                }
            }
        }
        self.messages.fresh.insert(queue);
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
            self.hold_leased(tag, token, lease_ms, *bytes);
            self.meta_mut().next_token = token.counter + 1;
        }
    }
}
