//! Commands about messages, exchanges and their queues: what each decides, and its answer.

mod dispatch;
mod later;
mod publishing;
mod settle;
mod shares;
mod takers;
mod transact;

use dispatch::LEASE_MESSAGES_MAX;
pub(super) use takers::MessageTakers;
use takers::Purge;

use super::Turn;
use super::waiters::Target;
use crate::answer::Answer;
use crate::command::{ConsumerId, ReplyTo};
use crate::effect::CloseReason;
use crate::ids::{ConnectionId, NamespaceId, Place, QueueId};
use crate::message::{
    ConsumeMessages, DeclareExchange, DeclareQueue, Declared, Destination, EmptyingSlice,
    LeaseMessages, MessageAnswer, MessageCommand, MessageQueueView,
};
use crate::moment::Moment;
use crate::queue::Queue;
use crate::queueing::Budget;
use crate::record::Record;
use crate::rejection::Rejection;

/// What came to nobody since the start.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Messages that no queue took when their time came.
    pub(super) delayed_lost: u64,
    /// Ends of jobs that were to be told and reached no queue.
    pub(super) outcomes_lost: u64,
    /// Jobs that letters, delayed messages and ends of jobs were to become and did not.
    pub(super) jobs_dropped: u64,
    /// Events that letters and delayed messages were to become and did not.
    pub(super) events_dropped: u64,
    /// Steps of jobs that were to be told and were more than an entry took.
    pub(super) lives_untold: u64,
}

/// How long a request that does not wait may take while its queue is looked through, in
/// milliseconds.
const LOOK_MS: u64 = 1000;

/// Exchanges in one answer at most.
const EXCHANGES_PER_PAGE_MAX: usize = 1000;

impl Turn {
    /// Carries out a command about messages.
    pub(super) fn handle_messages(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        reply_to: ReplyTo,
        command: MessageCommand,
        moment: Moment,
    ) {
        let answer = match command {
            MessageCommand::DeclareQueue(command) => self.declare_queue(ns, created, &command),
            MessageCommand::DeclareExchange(command) => {
                self.declare_exchange(ns, created, &command)
            }
            MessageCommand::PurgeQueue { queue, connection } => {
                match self.start_purge(ns, reply_to, &queue, connection) {
                    Ok(()) => return,
                    Err(rejection) => Err(rejection),
                }
            }
            MessageCommand::Publish(messages) => {
                return self.start_publishing((ns, reply_to), messages, moment);
            }
            MessageCommand::CloseConnection { connection } => {
                return self.close_connection(ns, connection, reply_to, moment);
            }
            MessageCommand::Lease(command) => {
                match self.handle_message_lease(ns, reply_to, *command, moment) {
                    Ok(None) => return,
                    Ok(Some(answer)) => Ok(answer),
                    Err(rejection) => Err(rejection),
                }
            }
            command => self.handle_message_step(ns, command, moment),
        };
        let answer = answer.map(Answer::Messages);
        self.reply(reply_to, answer.unwrap_or_else(Answer::Rejected));
    }

    fn handle_message_step(
        &mut self,
        ns: NamespaceId,
        command: MessageCommand,
        moment: Moment,
    ) -> Result<MessageAnswer, Rejection> {
        match command {
            MessageCommand::GetQueue { queue, connection } => {
                let known = self.usable_queue(ns, &queue, connection)?;
                let (id, view) = (known.id, self.message_view(known));
                self.queue_used(id);
                Ok(MessageAnswer::Queue(Box::new(view), Declared::Present))
            }
            MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty } => {
                self.delete_message_queue(ns, &queue, connection, (if_unused, if_empty))
            }
            MessageCommand::GetExchange { exchange } => {
                let exchange = self.state.exchange(ns, &exchange)?;
                let view = self.state.exchange_view(ns, &exchange);
                Ok(MessageAnswer::Exchange(Box::new(view), Declared::Present))
            }
            MessageCommand::ListExchanges { after, limit } => {
                Ok(self.list_exchanges(ns, after.as_deref(), limit))
            }
            MessageCommand::DeleteExchange { exchange, if_unused } => {
                let record = self.state.decide_exchange_deleted(ns, &exchange, if_unused)?;
                let Some(record) = record else { return Ok(MessageAnswer::Changed(false)) };
                self.record(record);
                Ok(MessageAnswer::Changed(true))
            }
            MessageCommand::Bind(spec) => {
                let binding = self.state.resolve_binding(ns, &spec)?;
                self.check_owner_of(binding.destination, spec.connection)?;
                let records = self.state.decide_bound(ns, binding, spec.job.as_ref())?;
                let changed = !records.is_empty();
                self.try_record(records)?;
                Ok(MessageAnswer::Changed(changed))
            }
            MessageCommand::Unbind(spec) => {
                let binding = self.state.resolve_binding(ns, &spec)?;
                self.check_owner_of(binding.destination, spec.connection)?;
                let records = self.state.decide_unbound(ns, binding);
                let changed = !records.is_empty();
                self.try_record(records)?;
                Ok(MessageAnswer::Changed(changed))
            }
            MessageCommand::ListBindings { source, after, limit } => {
                let (source, after) = (source.as_deref(), after.as_ref());
                let (page, next) = self.state.bindings_page(ns, source, after, limit)?;
                Ok(MessageAnswer::Bindings(page, next))
            }
            MessageCommand::PutPolicy { name, policy } => {
                let record = self.state.decide_policy_put(ns, &name, &policy)?;
                Ok(self.change_policies(ns, record))
            }
            MessageCommand::DeletePolicy { name } => {
                let record = self.state.decide_policy_deleted(ns, &name);
                Ok(self.change_policies(ns, record))
            }
            MessageCommand::ListPolicies => Ok(MessageAnswer::Policies(self.state.policies_of(ns))),
            MessageCommand::Transact(transaction) => self.transact(ns, &transaction, moment),
            MessageCommand::Consume(command) => self.consume(ns, *command),
            MessageCommand::Cancel { consumer } => {
                Ok(MessageAnswer::Cancelled(self.cancel_consumer(ns, consumer)))
            }
            MessageCommand::Untaken { consumer, messages } => {
                self.return_untaken(consumer, &messages);
                Ok(MessageAnswer::Cancelled(self.cancel_consumer(ns, consumer)))
            }
            command => self.handle_settling(ns, command, moment),
        }
    }

    fn declare_queue(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: &DeclareQueue,
    ) -> Result<MessageAnswer, Rejection> {
        let DeclareQueue { queue: name, settings, connection } = command;
        if let Some(known) = self.state.queues.named(ns, name) {
            self.check_owner(known, *connection)?;
        }
        if settings.exclusive && connection.is_none() {
            let (value, allowed) = ("true".to_owned(), "false without a connection".to_owned());
            return Err(Rejection::ValueRefused { field: "exclusive", value, allowed });
        }
        let record = self.state.decide_queue_declared(ns, name, settings)?;
        let declared = if record.is_some() { Declared::Created } else { Declared::Present };
        self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())?;
        let queue = self.state.queues.named(ns, name).expect("declared just now at the latest");
        let (id, view) = (queue.id, self.message_view(queue));
        if settings.exclusive
            && let Some(connection) = connection
        {
            self.takers.own(id, *connection);
        }
        self.queue_used(id);
        Ok(MessageAnswer::Queue(Box::new(view), declared))
    }

    fn declare_exchange(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: &DeclareExchange,
    ) -> Result<MessageAnswer, Rejection> {
        let record = self.state.decide_exchange_declared(ns, command)?;
        let declared = if record.is_some() { Declared::Created } else { Declared::Present };
        self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())?;
        let exchange = self.state.exchange(ns, &command.exchange)?;
        let view = self.state.exchange_view(ns, &exchange);
        Ok(MessageAnswer::Exchange(Box::new(view), declared))
    }

    fn list_exchanges(&self, ns: NamespaceId, after: Option<&str>, limit: usize) -> MessageAnswer {
        let limit = limit.min(EXCHANGES_PER_PAGE_MAX);
        let (page, more) = self.state.exchanges_page(ns, after, limit);
        MessageAnswer::Exchanges(page, more)
    }

    /// A queue as it is told.
    pub(super) fn message_view(&self, queue: &Queue) -> MessageQueueView {
        self.state.message_queue_view(queue, self.takers.consumers_of(queue.id))
    }

    fn check_owner(&self, queue: &Queue, by: Option<ConnectionId>) -> Result<(), Rejection> {
        let settings = queue.settings.messages.as_deref();
        let exclusive = settings.is_some_and(|settings| settings.exclusive);
        if exclusive && by.is_none_or(|by| self.takers.owner(queue.id) != Some(by)) {
            return Err(Rejection::QueueExclusive { queue: queue.name.clone() });
        }
        Ok(())
    }

    fn check_owner_of(
        &self,
        to: Destination,
        connection: Option<ConnectionId>,
    ) -> Result<(), Rejection> {
        match to {
            Destination::Queue { id } => match self.state.queues.get(id) {
                Some(queue) => self.check_owner(queue, connection),
                None => Ok(()),
            },
            Destination::Exchange { .. }
            | Destination::Jobs { .. }
            | Destination::Stream { .. } => Ok(()),
        }
    }

    /// A queue of messages that this connection may use.
    fn usable_queue(
        &self,
        ns: NamespaceId,
        name: &str,
        connection: Option<ConnectionId>,
    ) -> Result<&Queue, Rejection> {
        let (queue, _) = self.state.message_queue(ns, name)?;
        self.check_owner(queue, connection)?;
        Ok(queue)
    }

    /// Removes a queue of messages, with what is in it.
    pub(super) fn delete_message_queue(
        &mut self,
        ns: NamespaceId,
        name: &str,
        connection: Option<ConnectionId>,
        (if_unused, if_empty): (bool, bool),
    ) -> Result<MessageAnswer, Rejection> {
        let queue = self.usable_queue(ns, name, connection)?;
        let id = queue.id;
        // Those that are with consumers do not count.
        let backlog = self.state.ready_messages(id);
        let consumers = self.takers.consumers_of(id);
        if if_unused && consumers > 0 {
            return Err(Rejection::QueueInUse { queue: name.to_owned(), consumers });
        }
        if if_empty && backlog > 0 {
            let (queue, dead) = (name.to_owned(), 0);
            return Err(Rejection::QueueNotEmpty { queue, backlog, dead });
        }
        self.remove_message_queue(ns, id);
        Ok(MessageAnswer::QueueDeleted { messages: backlog })
    }

    /// A queue ends: so do its consumers and those who wait for it. A first slice of what is left
    /// of it goes at once.
    pub(super) fn remove_message_queue(&mut self, ns: NamespaceId, id: QueueId) {
        let Some(name) = self.state.queues.get(id).map(|queue| queue.name.clone()) else { return };
        self.record(Record::QueueDeleted { id });
        if self.takers.any(id) {
            self.takers.leaving.push_back((id, name));
            self.go_on_telling_takers();
        }
        self.takers.forget_queue(id);
        let slice = self.state.emptying_slice(ns, Destination::Queue { id });
        self.empty(slice);
    }

    /// A part of what was deleted goes.
    fn empty(&mut self, slice: EmptyingSlice) {
        self.record_all(slice.records);
        if let Some((queue, slot)) = slice.looked_through {
            self.state.messages.note_looked_through(queue, slot);
        }
    }

    /// Tells some of those who took from queues that were deleted.
    fn go_on_telling_takers(&mut self) {
        let mut left = 4 * self.state.limits.slice_items_max;
        while left > 0
            && let Some((queue, name)) = self.takers.leaving.pop_front()
        {
            while left > 0
                && let Some(consumer) = self.takers.consumer_of(queue)
            {
                left -= 1;
                self.takers.remove(consumer);
                self.close(consumer, CloseReason::QueueDeleted);
            }
            while left > 0
                && let Some(reply_to) = self.takers.waiting_at(queue)
            {
                left -= 1;
                self.takers.stop_waiting(reply_to);
                self.waiters.remove(reply_to);
                let unknown = Rejection::QueueUnknown { queue: name.clone() };
                self.reply(reply_to, Answer::Rejected(unknown));
            }
            if self.takers.any(queue) {
                self.takers.leaving.push_front((queue, name));
            }
        }
    }

    /// Queues and exchanges that do not outlive a restart, or belonged to a connection.
    pub(super) fn end_what_is_not_durable(&mut self) {
        let ends = |queue: &&Queue| {
            let settings = queue.settings.messages.as_deref();
            settings.is_some_and(|settings| !settings.durable || settings.exclusive)
        };
        let queues = self.state.queues.all_after(None).filter(ends);
        let queues: Vec<_> = queues.map(|queue| (queue.namespace, queue.id)).collect();
        for (ns, id) in queues {
            self.remove_message_queue(ns, id);
        }
        for (namespace, id) in self.state.messages.exchanges_to_end() {
            self.record(Record::ExchangeDeleted { namespace, id });
        }
    }

    fn start_purge(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        name: &str,
        connection: Option<ConnectionId>,
    ) -> Result<(), Rejection> {
        let queue = self.usable_queue(ns, name, connection)?.id;
        let from = (0, Place(0));
        let upper = self.state.meta.next_place;
        self.go_on_purging(Purge { ns, queue, from, upper, messages: 0, reply_to });
        Ok(())
    }

    fn go_on_purging(&mut self, mut purge: Purge) {
        let of = (purge.ns, purge.queue);
        if self.state.queues.get(purge.queue).is_some() {
            let slice = self.state.decide_purge(of, purge.from, purge.upper);
            purge.messages += slice.messages;
            self.record_all(slice.records);
            if let Some(next) = slice.next {
                purge.from = next;
                return self.takers.purges.push_back(purge);
            }
        }
        let answer = MessageAnswer::Purged { messages: purge.messages };
        self.reply(purge.reply_to, Answer::Messages(answer));
    }

    fn consume(
        &mut self,
        ns: NamespaceId,
        command: ConsumeMessages,
    ) -> Result<MessageAnswer, Rejection> {
        let ConsumeMessages { consumer, connection, auto_ack, exclusive, priority, credit, .. } =
            command;
        let queue = self.usable_queue(ns, &command.queue, Some(connection))?;
        let single = queue.settings.messages.as_deref().is_some_and(|it| it.single_active_consumer);
        let queue = queue.id;
        let others = self.takers.consumers_of(queue) > 0;
        if self.takers.is_exclusive(queue) || (exclusive && others) {
            return Err(Rejection::ConsumerExclusive { queue: command.queue });
        }
        if self.takers.consumer(consumer).is_some() {
            return Err(Rejection::ConsumerTaken { consumer: consumer.0 });
        }
        let (of_namespace, of_shard) = self.takers.counts(ns);
        let room = self.state.limits.message_consumers_max.check(of_namespace, of_shard);
        room.map_err(|(scope, limit)| Rejection::TooManyConsumers { scope, limit })?;
        if self.stopping {
            return Err(Rejection::Stopping);
        }
        let ends = (auto_ack, exclusive, single);
        self.takers.add(consumer, (ns, queue, connection), ends, (priority, credit));
        self.note_takers(queue);
        self.state.messages.note_fresh([queue]);
        Ok(MessageAnswer::Consuming)
    }

    /// Memory keeps messages of a queue while anybody takes from it.
    pub(super) fn note_takers(&mut self, queue: QueueId) {
        // Of a queue that was deleted nothing is kept.
        if self.state.queues.get(queue).is_none() {
            return;
        }
        self.queue_used(queue);
        let any = self.takers.any(queue);
        self.state.set_consumed(queue, any);
    }

    fn cancel_consumer(&mut self, ns: NamespaceId, consumer: ConsumerId) -> bool {
        let Some(gone) = self.takers.remove(consumer) else { return false };
        self.after_consumer(ns, gone.queue);
        true
    }

    /// A consumer has gone. If it was the last one of an auto-delete queue, the queue ends.
    fn after_consumer(&mut self, ns: NamespaceId, queue: QueueId) {
        self.note_takers(queue);
        let settings =
            self.state.queues.get(queue).and_then(|queue| queue.settings.messages.as_deref());
        let ends = settings.is_some_and(|settings| settings.auto_delete);
        if ends && self.takers.consumers_of(queue) == 0 {
            self.remove_message_queue(ns, queue);
        } else {
            self.state.messages.note_fresh([queue]);
        }
    }

    fn handle_message_lease(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        command: LeaseMessages,
        moment: Moment,
    ) -> Result<Option<MessageAnswer>, Rejection> {
        let queue = self.usable_queue(ns, &command.queue, None)?;
        let settings = queue.settings.messages.as_deref();
        let single = settings.is_some_and(|settings| settings.single_active_consumer);
        let queue = queue.id;
        self.queue_used(queue);
        if single {
            // A single active consumer gets all: who takes messages for a time is no consumer.
            return Err(Rejection::ConsumerExclusive { queue: command.queue });
        }
        let refused = |field, value: String, allowed: String| {
            Err(Rejection::ValueRefused { field, value, allowed })
        };
        if command.max == 0 || command.max > LEASE_MESSAGES_MAX {
            return refused("max", command.max.to_string(), format!("1 to {LEASE_MESSAGES_MAX}"));
        }
        let limits = &self.state.limits;
        if command.wait_ms > limits.wait_ms_max {
            let max = limits.wait_ms_max;
            return refused("wait", format!("{}ms", command.wait_ms), format!("0ms to {max}ms"));
        }
        crate::job::check_lease(&self.state, command.lease_ms)?;
        if self.takers.is_exclusive(queue) {
            return Err(Rejection::ConsumerExclusive { queue: command.queue });
        }
        let mut budget = Budget::full();
        let messages = if self.may_grant() && self.takers.next_at(queue).is_none() {
            self.state.set_consumed(queue, command.max > 1);
            let taken = self.lease_messages(ns, queue, &command, &mut budget, moment);
            self.note_takers(queue);
            taken
        } else {
            Vec::new()
        };
        // Messages may stand behind more than one turn looks at.
        let look_ms = if self.state.messages.is_unfinished(queue) { LOOK_MS } else { 0 };
        let wait_ms = command.wait_ms.max(look_ms);
        if messages.is_empty() && wait_ms > 0 && !self.stopping {
            self.check_waiting(ns)?;
            let deadline = moment.mono.plus(wait_ms);
            self.waiters.add(reply_to, ns, deadline, Target::Messages);
            self.takers.wait(reply_to, queue, command);
            self.note_takers(queue);
            self.state.messages.note_fresh([queue]);
            return Ok(None);
        }
        Ok(Some(MessageAnswer::Leased(messages)))
    }

    /// A request for messages has waited long enough.
    pub(super) fn answer_waiting_for_messages(&mut self, reply_to: ReplyTo) {
        let Some(request) = self.takers.stop_waiting(reply_to) else { return };
        self.note_takers(request.queue);
        self.reply(reply_to, Answer::Messages(MessageAnswer::Leased(Vec::new())));
    }

    /// Does a bounded part of what time and earlier turns brought about.
    pub(super) fn tick_messages(&mut self, moment: Moment) {
        self.enforce_lengths(moment);
        self.go_on_telling_takers();
        self.go_on_with_policies();
        self.end_message_leases(moment);
        self.expire_messages(moment);
        self.go_on_publishing(moment);
        if self.may_grant() {
            self.publish_delayed(moment);
        }
        if !self.stopping {
            self.expire_queues(moment);
        }
        if let Some(purge) = self.takers.purges.pop_front() {
            self.go_on_purging(purge);
        }
        self.go_on_closing(moment);
        if !self.stopping {
            let slice = self.state.decide_emptying();
            self.empty(slice);
        }
    }

    /// Whether a tick has something to do about messages now.
    pub(super) fn messages_go_on(&self) -> bool {
        let offered = !self.state.messages.has_fresh() || self.stopping;
        !offered
            || !self.takers.purges.is_empty()
            || self.is_publishing()
            || !self.takers.too_long.is_empty()
            || !self.takers.leaving.is_empty()
            || self.takers.policy_round.is_some()
            || self.state.messages.has_overdue()
            || !self.takers.closing.is_empty()
            || (!self.stopping && self.state.messages.is_emptying())
    }
}
