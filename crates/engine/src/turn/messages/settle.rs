//! The ends of messages that somebody has: settled, given back with their connection, or out of
//! time.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::takers::{Belonging, Closing};
use crate::answer::Answer;
use crate::command::{ConsumerId, ReplyTo};
use crate::ids::{ConnectionId, NamespaceId, Place, QueueId, Token};
use crate::message::{
    BodyRef, Ends, Entering, MessageAnswer, MessageCommand, MessageCredit, MessageEnd, MessageName,
    MessageSettlement, MessageTag, MessageVerdict, Stored, TakenBy, Unsettled,
};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::keys;
use crate::turn::Turn;

impl Turn {
    pub(super) fn handle_settling(
        &mut self,
        ns: NamespaceId,
        command: MessageCommand,
        moment: Moment,
    ) -> Result<MessageAnswer, Rejection> {
        match command {
            MessageCommand::AddCredit(credit) => {
                self.give_credit(&credit);
                Ok(MessageAnswer::Settled(Vec::new()))
            }
            MessageCommand::ShareCredit(share) => {
                for queue in self.takers.share(&share) {
                    self.state.messages.note_fresh([queue]);
                }
                Ok(MessageAnswer::Settled(Vec::new()))
            }
            MessageCommand::Settle { connection, settlements, credit } => {
                let settled = self.settle_messages(ns, connection, &settlements, moment);
                self.give_credit(&credit);
                Ok(MessageAnswer::Settled(settled))
            }
            MessageCommand::Blocked { queue, messages } => self.blocked(ns, &queue, messages),
            MessageCommand::GetOne { queue, connection, auto_ack } => {
                self.get_one(ns, &queue, (connection, auto_ack), moment)
            }
            MessageCommand::SettleLeased(settlements) => {
                Ok(MessageAnswer::Settled(self.settle_leased(ns, &settlements, moment)))
            }
            MessageCommand::ReturnLeased(messages) => {
                let mut ends = Ends::default();
                let mut give_back =
                    |(message, token): &(MessageName, Token)| -> Result<(), Rejection> {
                        let (tag, _) = self.leased_tag(ns, message, *token)?;
                        ends.untaken(tag);
                        Ok(())
                    };
                let settled = messages.iter().map(&mut give_back).collect();
                self.record_all(ends.into_records(ns));
                Ok(MessageAnswer::Settled(settled))
            }
            MessageCommand::ExtendLeased { messages, lease_ms } => {
                crate::job::check_lease(&self.state, lease_ms)?;
                let extend = |(message, token): &(MessageName, Token)| {
                    self.extend_leased(ns, message, *token, lease_ms, moment)
                };
                Ok(MessageAnswer::Settled(messages.iter().map(extend).collect()))
            }
            _ => unreachable!("handled before"),
        }
    }

    /// Whether messages wait behind others of their ordering keys.
    fn blocked(
        &self,
        ns: NamespaceId,
        queue: &str,
        messages: Vec<(u8, Place)>,
    ) -> Result<MessageAnswer, Rejection> {
        let queue = self.usable_queue(ns, queue, None)?.id;
        let tag = |(urgency, place)| MessageTag { queue, urgency, place };
        let told = messages.into_iter().map(|it| self.state.is_behind_key(ns, tag(it)));
        Ok(MessageAnswer::Blocked(told.collect()))
    }

    fn give_credit(&mut self, credit: &[(ConsumerId, MessageCredit)]) {
        for (consumer, more) in credit {
            let queues = self.takers.add_credit(*consumer, *more);
            self.state.messages.note_fresh(queues);
        }
    }

    fn settle_messages(
        &mut self,
        ns: NamespaceId,
        connection: ConnectionId,
        settlements: &[(MessageTag, MessageVerdict)],
        moment: Moment,
    ) -> Vec<Result<(), Rejection>> {
        let mut ends = Ends::default();
        let mut settled = Vec::with_capacity(settlements.len());
        for (tag, verdict) in settlements {
            if self.takers.release(connection, *tag) {
                self.end_with(ns, (connection, *tag), *verdict, &mut ends, moment);
                settled.push(Ok(()));
            } else {
                settled.push(Err(self.message_unknown(*tag)));
            }
        }
        self.record_all(ends.into_records(ns));
        settled
    }

    /// A message ends without an ack: with its letter at once, where it leaves one, or together
    /// with others.
    pub(super) fn end_message(
        &mut self,
        ns: NamespaceId,
        (tag, body): (MessageTag, BodyRef),
        end: MessageEnd,
        ends: &mut Ends,
        moment: Moment,
    ) {
        match self.state.decide_death(ns, tag, end, moment) {
            Some(death) => {
                self.record_death(death);
                self.enforce_lengths(moment);
            }
            None => ends.end(tag, body, end),
        }
    }

    /// A letter fits into an entry as its message did, but what it remembers of its deaths may
    /// make it too long. Then the message ends without a letter.
    fn record_death(&mut self, death: Entering) {
        let Entering { records, jobs_dropped, events_dropped } = death;
        let ended = records.first().cloned();
        let entered = entered(&records);
        if self.try_record(records).is_err() {
            self.record_all(Vec::from_iter(ended));
        } else {
            self.lost.jobs_dropped += jobs_dropped;
            self.lost.events_dropped += events_dropped;
        }
        self.note_lengths(&entered);
    }

    /// Notes which of the queues that something entered are too long now.
    pub(super) fn note_lengths(&mut self, entered: &[QueueId]) {
        for queue in entered.iter().filter(|queue| self.state.is_too_long(**queue)) {
            if let Some(ns) = self.state.queues.get(*queue).map(|queue| queue.namespace) {
                self.takers.too_long.insert((ns, *queue));
            }
        }
    }

    /// Drops the first messages of queues that became too long: some now, the others as the shard
    /// ticks.
    pub(super) fn enforce_lengths(&mut self, moment: Moment) {
        for _ in 0..self.state.limits.slice_items_max {
            // What is dropped may enter ten thousand queues as a letter.
            if self.takers.is_used_up() {
                return;
            }
            let Some((ns, queue)) = self.takers.too_long.pop_first() else { return };
            if !self.state.is_too_long(queue) {
                continue;
            }
            // Whether its key is busy or not: the first one goes.
            if let Some(first) = self.state.first_waiting(ns, queue) {
                self.takers.too_long.insert((ns, queue));
                self.end_alone(ns, first, MessageEnd::Overflown, moment);
            } else if self.state.messages.is_unfinished(queue) {
                self.takers.too_long.insert((ns, queue));
                return;
            }
        }
    }

    /// A message that nobody has ends, with its letter where it leaves one.
    fn end_alone(
        &mut self,
        ns: NamespaceId,
        (tag, body): (MessageTag, BodyRef),
        end: MessageEnd,
        moment: Moment,
    ) {
        if let Some(death) = self.state.decide_death(ns, tag, end, moment) {
            self.record_death(death);
        } else {
            let mut ends = Ends::default();
            ends.end(tag, body, end);
            self.record_all(ends.into_records(ns));
        }
    }

    /// The next message of a queue that may still be delivered: those whose time ran out end on
    /// the way, as many as a turn looks at.
    pub(super) fn next_message(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
        moment: Moment,
    ) -> Option<(MessageTag, Arc<Stored>, bool)> {
        loop {
            let (tag, stored, again) = self.state.take_message(ns, queue)?;
            if stored.expires_at.is_none_or(|at| at > moment.at) {
                return Some((tag, stored, again));
            }
            let body = stored.body_ref();
            self.end_alone(ns, (tag, body), MessageEnd::Expired, moment);
            if !self.state.pass(queue) {
                return None;
            }
        }
    }

    /// Ends some of the messages whose time has run out and that wait.
    pub(super) fn expire_messages(&mut self, moment: Moment) {
        let mut keys = Vec::new();
        for (at, ns, tag) in self.state.due_expiries(moment.at) {
            if self.state.messages.run_out((at, ns, tag)) {
                continue;
            }
            if let Some(body) = self.state.expired(ns, tag, moment.at) {
                self.end_alone(ns, (tag, body), MessageEnd::Expired, moment);
            }
            keys.push(Bytes::from(keys::expiry(at, ns, tag)));
            if self.takers.is_used_up() {
                break;
            }
        }
        if !keys.is_empty() {
            self.record(Record::ExpiriesPassed { keys });
        }
        self.enforce_lengths(moment);
    }

    pub(super) fn message_unknown(&self, tag: MessageTag) -> Rejection {
        let queue = self.state.queues.get(tag.queue).map(|queue| queue.name.clone());
        let (queue, place) = (queue.unwrap_or_default(), tag.place.0);
        Rejection::MessageUnknown { queue, urgency: tag.urgency, place }
    }

    /// A message is with a connection no longer. Of a queue that was deleted nothing is left to
    /// settle.
    fn end_with(
        &mut self,
        ns: NamespaceId,
        (connection, tag): (ConnectionId, MessageTag),
        verdict: MessageVerdict,
        ends: &mut Ends,
        moment: Moment,
    ) {
        let Some(unsettled) = self.state.messages.find_unsettled(tag) else { return };
        if !matches!(unsettled.by, TakenBy::Connection(by, _) if by == connection) {
            return;
        }
        let body = unsettled.body;
        match verdict {
            MessageVerdict::Ack => ends.end(tag, body, MessageEnd::Acked),
            MessageVerdict::Reject => {
                self.end_message(ns, (tag, body), MessageEnd::Rejected, ends, moment);
            }
            MessageVerdict::Requeue => {
                let settings = self.state.message_settings(tag.queue);
                if settings.is_some_and(|settings| settings.delivery_limit.is_some()) {
                    self.return_message(ns, (tag, body), ends, moment);
                } else {
                    // Nothing counts how often it came back, so no record is needed.
                    self.state.messages.give_back(tag);
                    self.state.messages.note_fresh([tag.queue]);
                }
            }
        }
    }

    /// Messages that their consumer never got go back without a record: nobody has seen them.
    pub(super) fn return_untaken(&mut self, consumer: ConsumerId, messages: &[MessageTag]) {
        for tag in messages {
            let Some(unsettled) = self.state.messages.find_unsettled(*tag) else { continue };
            // Only what this consumer's connection still has: anything else went back already, or
            // is somebody else's.
            if let TakenBy::Connection(by, Some(of)) = unsettled.by
                && of == consumer
                && self.takers.release(by, *tag)
            {
                self.state.messages.give_back(*tag);
                self.state.messages.note_fresh([tag.queue]);
            }
        }
    }

    /// A message goes back to its queue, or ends where it came back too often.
    fn return_message(
        &mut self,
        ns: NamespaceId,
        (tag, body): (MessageTag, BodyRef),
        ends: &mut Ends,
        moment: Moment,
    ) {
        if self.state.may_return(ns, tag) {
            ends.give_back(tag);
        } else {
            self.end_message(ns, (tag, body), MessageEnd::DeliveryLimit, ends, moment);
        }
    }

    fn get_one(
        &mut self,
        ns: NamespaceId,
        name: &str,
        (connection, auto_ack): (ConnectionId, bool),
        moment: Moment,
    ) -> Result<MessageAnswer, Rejection> {
        let queue = self.usable_queue(ns, name, Some(connection))?;
        let single = queue.settings.messages.as_deref().is_some_and(|it| it.single_active_consumer);
        if single {
            return Err(Rejection::ConsumerExclusive { queue: name.to_owned() });
        }
        let queue = queue.id;
        self.queue_used(queue);
        let Some((tag, stored, again)) = self.next_message(ns, queue, moment) else {
            return Ok(MessageAnswer::Got(None, 0));
        };
        let delivery = self.delivery(ns, tag, &stored, again);
        self.hand_to(connection, None, tag, &stored);
        if auto_ack {
            self.takers.release(connection, tag);
            let mut ends = Ends::default();
            ends.end(tag, stored.body_ref(), MessageEnd::Acked);
            self.record_all(ends.into_records(ns));
        }
        Ok(MessageAnswer::Got(Some(Box::new(delivery)), self.state.ready_messages(queue)))
    }

    /// Ends a connection, in slices: its consumers, then its exclusive queues, then what it has not
    /// settled goes back.
    pub(super) fn close_connection(
        &mut self,
        ns: NamespaceId,
        connection: ConnectionId,
        reply_to: ReplyTo,
        moment: Moment,
    ) {
        self.takers.closing.push_back(Closing { ns, reply_to, connection });
        self.go_on_closing(moment);
    }

    pub(super) fn go_on_closing(&mut self, moment: Moment) {
        let Some(closing) = self.takers.closing.pop_front() else { return };
        let Closing { ns, connection, .. } = closing;
        let mut ends = Ends::default();
        let mut left = 4 * self.state.limits.slice_items_max;
        while left > 0
            && let Some(what) = self.takers.next_of(connection)
        {
            left -= left.min(self.end_of_connection(ns, (connection, what), &mut ends, moment));
            if self.takers.is_used_up() {
                break;
            }
        }
        self.record_all(ends.into_records(ns));
        if self.takers.next_of(connection).is_some() {
            return self.takers.closing.push_back(closing);
        }
        self.takers.connections.remove(&connection);
        self.takers.forget_shares(connection);
        self.reply(closing.reply_to, Answer::Messages(MessageAnswer::ConnectionClosed));
    }

    /// Something of a connection ends. What that costs, in messages.
    fn end_of_connection(
        &mut self,
        ns: NamespaceId,
        (connection, what): (ConnectionId, Belonging),
        ends: &mut Ends,
        moment: Moment,
    ) -> usize {
        self.takers.drop_of(connection, what);
        match what {
            // It was handed messages until now. They go back below.
            Belonging::Consumer(consumer) => {
                if let Some(gone) = self.takers.remove(consumer)
                    && self.takers.owner(gone.queue) != Some(connection)
                {
                    self.after_consumer(ns, gone.queue);
                }
                4
            }
            Belonging::Queue(queue) => {
                self.remove_message_queue(ns, queue);
                16
            }
            Belonging::Message(tag) => {
                self.end_with(ns, (connection, tag), MessageVerdict::Requeue, ends, moment);
                1
            }
        }
    }

    pub(super) fn leased_tag(
        &self,
        ns: NamespaceId,
        message: &MessageName,
        token: Token,
    ) -> Result<(MessageTag, BodyRef), Rejection> {
        let queue = self.usable_queue(ns, &message.queue, None)?.id;
        let tag = MessageTag { queue, urgency: message.urgency, place: message.place };
        match self.state.messages.find_unsettled(tag) {
            Some(Unsettled { by: TakenBy::Lease { token: of, .. }, body }) if *of == token => {
                Ok((tag, *body))
            }
            _ => Err(self.message_unknown(tag)),
        }
    }

    fn settle_leased(
        &mut self,
        ns: NamespaceId,
        settlements: &[MessageSettlement],
        moment: Moment,
    ) -> Vec<Result<(), Rejection>> {
        let mut ends = Ends::default();
        let mut seen = BTreeSet::new();
        let mut settled = Vec::with_capacity(settlements.len());
        for MessageSettlement { message, token, verdict } in settlements {
            let found = self.leased_tag(ns, message, *token);
            settled.push(found.and_then(|(tag, body)| {
                if !seen.insert(tag) {
                    return Err(self.message_unknown(tag));
                }
                match verdict {
                    MessageVerdict::Ack => ends.end(tag, body, MessageEnd::Acked),
                    MessageVerdict::Reject => {
                        let end = MessageEnd::Rejected;
                        self.end_message(ns, (tag, body), end, &mut ends, moment);
                    }
                    MessageVerdict::Requeue => {
                        self.return_message(ns, (tag, body), &mut ends, moment);
                    }
                }
                Ok(())
            }));
        }
        self.record_all(ends.into_records(ns));
        settled
    }

    fn extend_leased(
        &mut self,
        ns: NamespaceId,
        message: &MessageName,
        token: Token,
        wanted_ms: Option<u64>,
        moment: Moment,
    ) -> Result<(), Rejection> {
        let (tag, _) = self.leased_tag(ns, message, token)?;
        self.state.messages.extend_lease(tag, wanted_ms, moment.mono);
        Ok(())
    }

    /// Messages that were taken for a time and not settled go back.
    pub(super) fn end_message_leases(&mut self, moment: Moment) {
        for _ in 0..self.state.limits.slice_items_max {
            let Some((expires, tag)) = self.state.messages.first_lease_end() else { return };
            if expires >= moment.mono {
                return;
            }
            let mut ends = Ends::default();
            let unsettled = self
                .state
                .messages
                .find_unsettled(tag)
                .expect("what was taken for a time is unsettled");
            let body = unsettled.body;
            let queue = self.state.queues.get(tag.queue).expect("it goes with its queue");
            let ns = queue.namespace;
            self.return_message(ns, (tag, body), &mut ends, moment);
            self.record_all(ends.into_records(ns));
            if self.takers.is_used_up() {
                return;
            }
        }
    }
}

/// The queues that messages enter.
pub(super) fn entered(records: &[Record]) -> Vec<QueueId> {
    let mut queues = Vec::new();
    for record in records {
        if let Record::MessagePublished { entries, .. } = record {
            queues.extend(entries.iter().map(|entry| entry.queue));
        }
    }
    queues
}
