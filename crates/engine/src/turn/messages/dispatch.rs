//! Handing messages to those who take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::takers::MessageTaker;
use crate::answer::Answer;
use crate::command::{ConsumerId, ReplyTo};
use crate::effect::Effect;
use crate::ids::{ConnectionId, NamespaceId, QueueId, Token};
use crate::message::{
    Ends, LeaseMessages, MessageAnswer, MessageDelivery, MessageEnd, MessageTag, Stored, TakenBy,
    Unsettled,
};
use crate::moment::Moment;
use crate::queueing::Budget;
use crate::record::Record;
use crate::turn::Turn;

/// Messages that one request gets at most.
pub(super) const LEASE_MESSAGES_MAX: usize = 1000;

/// The length of a lease where nobody says one, in milliseconds.
pub(super) const LEASE_MS_DEFAULT: u64 = 30_000;

impl Turn {
    /// Hands out what there is for those who stand in line.
    pub(in crate::turn) fn dispatch_messages(&mut self, moment: Moment) {
        self.dispatch_fresh(moment);
        self.state.messages.leave_unfinished();
    }

    fn dispatch_fresh(&mut self, moment: Moment) {
        let mut budget = Budget::full();
        while let Some(queue) = self.state.messages.take_fresh() {
            if self.stopping || self.takers.next_at(queue).is_none() {
                continue;
            }
            if budget.is_used_up() {
                // The next tick goes on.
                self.state.messages.note_fresh([queue]);
                return;
            }
            self.dispatch_queue(queue, &mut budget, moment);
        }
    }

    fn dispatch_queue(&mut self, queue: QueueId, budget: &mut Budget, moment: Moment) {
        let Some(ns) = self.state.queues.get(queue).map(|queue| queue.namespace) else { return };
        let mut deliveries: BTreeMap<ConsumerId, Vec<MessageDelivery>> = BTreeMap::new();
        let mut acked = Ends::default();
        while let Some(taker) = self.takers.next_at(queue) {
            if budget.is_used_up() {
                self.state.messages.note_fresh([queue]);
                break;
            }
            match taker {
                MessageTaker::Once(reply_to) => {
                    if !self.grants || !self.serve_request(ns, reply_to, budget, moment) {
                        break;
                    }
                }
                MessageTaker::Consumer(id) => {
                    let Some((tag, stored, again)) = self.next_message(ns, queue, moment) else {
                        break;
                    };
                    budget.take(1, stored.message.body.len());
                    let Some(consumer) = self.takers.consumer(id) else { break };
                    let (connection, auto_ack) = (consumer.connection, consumer.auto_ack);
                    let delivery = self.delivery(ns, tag, &stored, again);
                    if auto_ack {
                        acked.end(tag, stored.body_ref(), MessageEnd::Acked);
                    } else {
                        self.hand_to(connection, Some(id), tag, &stored);
                    }
                    self.takers.pay(id, stored.message.credit_bytes());
                    deliveries.entry(id).or_default().push(delivery);
                }
            }
        }
        self.record_all(acked.into_records(ns));
        for (consumer, messages) in deliveries {
            self.new_effects.push(Effect::DeliverMessages { consumer, messages });
        }
    }

    /// A connection has a message until it settles it.
    pub(super) fn hand_to(
        &mut self,
        connection: ConnectionId,
        consumer: Option<ConsumerId>,
        tag: MessageTag,
        stored: &Stored,
    ) {
        let by = TakenBy::Connection(connection, consumer);
        let unsettled = Unsettled { by, body: stored.body_ref() };
        self.state.messages.hand_out(tag, unsettled);
        self.takers.note_unsettled(connection, tag);
    }

    pub(super) fn delivery(
        &self,
        ns: NamespaceId,
        tag: MessageTag,
        stored: &Stored,
        again: bool,
    ) -> MessageDelivery {
        let queue = self.state.queues.site(tag.queue).map(|(name, _)| Arc::clone(name));
        let returns = self.state.returns(ns, tag);
        MessageDelivery {
            tag,
            queue: queue.unwrap_or_else(|| "".into()),
            redelivered: again || returns > 0,
            returns,
            message: Arc::clone(&stored.message),
            lease: None,
        }
    }

    /// Answers a request that waits, where there is something for it.
    fn serve_request(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        budget: &mut Budget,
        moment: Moment,
    ) -> bool {
        let Some(request) = self.takers.request(reply_to) else { return false };
        let (queue, command) = (request.queue, request.command.clone());
        let messages = self.lease_messages(ns, queue, &command, budget, moment);
        // A request that does not wait stays only until its queue is looked through.
        let waits = command.wait_ms > 0 || self.state.messages.is_unfinished(queue);
        if messages.is_empty() && waits {
            return false;
        }
        self.takers.stop_waiting(reply_to);
        self.waiters.remove(reply_to);
        self.note_takers(queue);
        self.reply(reply_to, Answer::Messages(MessageAnswer::Leased(messages)));
        true
    }

    /// Takes messages of a queue for a time, or for good.
    pub(super) fn lease_messages(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
        command: &LeaseMessages,
        budget: &mut Budget,
        moment: Moment,
    ) -> Vec<MessageDelivery> {
        let mut taken = Vec::new();
        while taken.len() < command.max && !budget.is_used_up() {
            let Some((tag, stored, again)) = self.next_message(ns, queue, moment) else { break };
            budget.take(1, stored.message.body.len());
            taken.push((self.delivery(ns, tag, &stored, again), tag, stored.body_ref()));
        }
        if taken.is_empty() {
            return Vec::new();
        }
        if command.auto_ack {
            let mut acked = Ends::default();
            for (_, tag, body) in &taken {
                acked.end(*tag, *body, MessageEnd::Acked);
            }
            self.record_all(acked.into_records(ns));
            return taken.into_iter().map(|(delivery, ..)| delivery).collect();
        }
        let lease_ms = command.lease_ms.unwrap_or(LEASE_MS_DEFAULT);
        let first = Token { epoch: self.state.meta.epoch, counter: self.state.meta.next_token };
        let entries: Vec<_> = taken.iter().map(|(_, tag, body)| (tag.slot(), body.bytes)).collect();
        let token = first;
        self.record(Record::MessagesLeased { namespace: ns, queue, token, lease_ms, entries });
        let leased = taken.into_iter().enumerate().map(|(index, (mut delivery, ..))| {
            let counter = first.counter + index as u64;
            delivery.lease = Some((Token { counter, ..first }, lease_ms));
            delivery
        });
        leased.collect()
    }
}
