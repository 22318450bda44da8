//! Who takes messages: consumers of connections, and requests that wait for some to take for a
//! time. Each queue serves the one with the highest priority that has credit and waited longest.
//! Volatile: gone with the connection or the process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::shares::Shares;
use crate::command::{ConsumerId, ReplyTo};
use crate::ids::{ConnectionId, MonoMs, NamespaceId, Place, QueueId};
use crate::keyed::{CommandKey, Render};
use crate::message::{
    LeaseMessages, MessageCredit, MessageTag, PublishMessage, Published, ShareCredit, Slot,
};
use crate::queueing::CreditLeft;
use crate::rejection::Rejection;
use crate::state::Tally;

/// The order in which takers came to stand in line.
type Ticket = u64;

/// Which taker.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::turn) enum MessageTaker {
    /// A consumer of a connection.
    Consumer(ConsumerId),
    /// A request: it gets one answer.
    Once(ReplyTo),
}

/// How far queues were looked at after policies had changed.
#[derive(Clone, Debug, Default)]
pub(in crate::turn) struct PolicyRound {
    /// Those after this one are left; all of them, where there is none.
    pub(in crate::turn) after: Option<QueueId>,
    /// Those whose policies changed.
    pub(in crate::turn) of: BTreeSet<NamespaceId>,
    /// Those whose policies changed meanwhile: another round is for them.
    pub(in crate::turn) next: BTreeSet<NamespaceId>,
}

/// A consumer of a connection.
#[derive(Debug)]
pub(in crate::turn) struct MessageConsumer {
    pub(in crate::turn) ns: NamespaceId,
    pub(in crate::turn) queue: QueueId,
    pub(in crate::turn) connection: ConnectionId,
    pub(in crate::turn) auto_ack: bool,
    pub(in crate::turn) exclusive: bool,
    pub(in crate::turn) priority: i32,
    credit: CreditLeft,
    ticket: Option<Ticket>,
}

/// A request that waits.
#[derive(Debug)]
pub(in crate::turn) struct MessageRequest {
    pub(in crate::turn) queue: QueueId,
    pub(in crate::turn) command: LeaseMessages,
    ticket: Ticket,
}

/// Who takes from a queue.
#[derive(Debug, Default)]
struct QueueTakers {
    line: BTreeMap<(Reverse<i32>, Ticket), MessageTaker>,
    /// All consumers, the one with the highest priority that came first first.
    consumers: BTreeSet<(Reverse<i32>, ConsumerId)>,
    exclusive: bool,
    /// The consumer that gets all, where the queue serves a single active one.
    active: Option<ConsumerId>,
    single: bool,
    requests: usize,
}

impl QueueTakers {
    fn is_empty(&self) -> bool {
        self.consumers.is_empty() && self.requests == 0
    }
}

/// What a connection has.
#[derive(Debug, Default)]
pub(in crate::turn) struct Connection {
    pub(in crate::turn) consumers: BTreeSet<ConsumerId>,
    /// Its exclusive queues.
    pub(in crate::turn) queues: BTreeSet<QueueId>,
    /// Messages that it has not settled.
    pub(in crate::turn) unsettled: BTreeSet<MessageTag>,
}

/// Something that a connection has.
#[derive(Clone, Copy, Debug)]
pub(in crate::turn) enum Belonging {
    Consumer(ConsumerId),
    Queue(QueueId),
    Message(MessageTag),
}

/// A connection that has ended and has something still.
#[derive(Debug)]
pub(in crate::turn) struct Closing {
    pub(in crate::turn) ns: NamespaceId,
    pub(in crate::turn) reply_to: ReplyTo,
    pub(in crate::turn) connection: ConnectionId,
}

/// Messages that are being published.
#[derive(Debug)]
pub(in crate::turn) struct Publishing {
    pub(in crate::turn) ns: NamespaceId,
    pub(in crate::turn) reply_to: ReplyTo,
    /// Those that are left.
    pub(in crate::turn) messages: std::vec::IntoIter<PublishMessage>,
    /// What became of the others.
    pub(in crate::turn) published: Vec<Result<Published, Rejection>>,
    /// The key for which it is done once: then there is one message.
    pub(in crate::turn) key: Option<(CommandKey, Render)>,
}

/// A purge that is under way.
#[derive(Debug)]
pub(in crate::turn) struct Purge {
    pub(in crate::turn) ns: NamespaceId,
    pub(in crate::turn) queue: QueueId,
    pub(in crate::turn) from: Slot,
    pub(in crate::turn) upper: Place,
    pub(in crate::turn) messages: u64,
    pub(in crate::turn) reply_to: ReplyTo,
}

/// Who takes messages of a shard, and what the turn has under way for them.
#[derive(Debug, Default)]
pub(in crate::turn) struct MessageTakers {
    next: Ticket,
    consumers: BTreeMap<ConsumerId, MessageConsumer>,
    requests: BTreeMap<ReplyTo, MessageRequest>,
    queues: BTreeMap<QueueId, QueueTakers>,
    pub(in crate::turn) connections: BTreeMap<ConnectionId, Connection>,
    /// Whose an exclusive queue is.
    owners: BTreeMap<QueueId, ConnectionId>,
    consumers_of: Tally,
    shares: Shares,
    pub(in crate::turn) closing: VecDeque<Closing>,
    pub(in crate::turn) purges: VecDeque<Purge>,
    pub(in crate::turn) publishing: VecDeque<Publishing>,
    /// When queues end that nobody uses; a use puts that off.
    pub(in crate::turn) queue_ends: BTreeMap<QueueId, MonoMs>,
    pub(in crate::turn) queue_ends_in_order: BTreeSet<(MonoMs, QueueId)>,
    /// How long each stays without use, as it was when its end was counted last.
    pub(in crate::turn) stays_ms: BTreeMap<QueueId, u64>,
    /// Queues that are longer than they may be.
    pub(in crate::turn) too_long: BTreeSet<(NamespaceId, QueueId)>,
    /// Queues that were deleted, by their numbers and names, and have takers that were not told.
    pub(in crate::turn) leaving: VecDeque<(QueueId, String)>,
    /// Policies changed: queues are to be looked at.
    pub(in crate::turn) policy_round: Option<PolicyRound>,
    /// Entries of queues that this turn has brought about so far.
    pub(in crate::turn) entered: usize,
}

/// Entries of queues that one turn brings about, before the rest follows with the next tick.
const TURN_ENTRIES_MAX: usize = 4096;

impl MessageTakers {
    /// Whether this turn has brought about as many entries as one may.
    pub(in crate::turn) fn is_used_up(&self) -> bool {
        self.entered >= TURN_ENTRIES_MAX
    }

    pub(in crate::turn) fn consumer(&self, id: ConsumerId) -> Option<&MessageConsumer> {
        self.consumers.get(&id)
    }

    pub(in crate::turn) fn request(&self, reply_to: ReplyTo) -> Option<&MessageRequest> {
        self.requests.get(&reply_to)
    }

    /// How many consumers a namespace has, and all have.
    pub(in crate::turn) fn counts(&self, ns: NamespaceId) -> (usize, usize) {
        (self.consumers_of.of(ns), self.consumers.len())
    }

    /// How many consumers a queue has.
    pub(in crate::turn) fn consumers_of(&self, queue: QueueId) -> u64 {
        self.queues.get(&queue).map_or(0, |takers| takers.consumers.len() as u64)
    }

    /// Whether the queue has a consumer that wants to be the only one.
    pub(in crate::turn) fn is_exclusive(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|takers| takers.exclusive)
    }

    /// Whose an exclusive queue is.
    pub(in crate::turn) fn owner(&self, queue: QueueId) -> Option<ConnectionId> {
        self.owners.get(&queue).copied()
    }

    /// What ends next of a connection that ends: its consumers come first, its messages last.
    pub(in crate::turn) fn next_of(&self, connection: ConnectionId) -> Option<Belonging> {
        let has = self.connections.get(&connection)?;
        let consumer = has.consumers.first().copied().map(Belonging::Consumer);
        let queue = || has.queues.first().copied().map(Belonging::Queue);
        let message = || has.unsettled.first().copied().map(Belonging::Message);
        consumer.or_else(queue).or_else(message)
    }

    /// It ends. The connection has it no longer, whatever else knows of it.
    pub(in crate::turn) fn drop_of(&mut self, connection: ConnectionId, what: Belonging) {
        let Some(has) = self.connections.get_mut(&connection) else { return };
        match what {
            Belonging::Consumer(consumer) => drop(has.consumers.remove(&consumer)),
            Belonging::Queue(queue) => drop(has.queues.remove(&queue)),
            Belonging::Message(tag) => drop(has.unsettled.remove(&tag)),
        }
    }

    /// An exclusive queue is a connection's.
    pub(in crate::turn) fn own(&mut self, queue: QueueId, connection: ConnectionId) {
        self.owners.insert(queue, connection);
        self.connections.entry(connection).or_default().queues.insert(queue);
    }

    /// A consumer comes. `single` where its queue serves one at a time.
    pub(in crate::turn) fn add(
        &mut self,
        id: ConsumerId,
        (ns, queue, connection): (NamespaceId, QueueId, ConnectionId),
        (auto_ack, exclusive, single): (bool, bool, bool),
        (priority, credit): (i32, MessageCredit),
    ) {
        let takers = self.queues.entry(queue).or_default();
        takers.exclusive |= exclusive;
        takers.single = single;
        takers.consumers.insert((Reverse(priority), id));
        takers.active = takers.active.or(Some(id));
        self.consumers_of.add(ns);
        self.connections.entry(connection).or_default().consumers.insert(id);
        let consumer = MessageConsumer {
            ns,
            queue,
            connection,
            auto_ack,
            exclusive,
            priority,
            credit: CreditLeft::new(credit.messages, credit.bytes),
            ticket: None,
        };
        self.consumers.insert(id, consumer);
        self.queue_up(id);
    }

    /// A consumer goes. Where its queue serves a single active one, the next takes over.
    pub(in crate::turn) fn remove(&mut self, id: ConsumerId) -> Option<MessageConsumer> {
        self.leave_line(id);
        self.shares.leave(id);
        let consumer = self.consumers.remove(&id)?;
        self.consumers_of.take(consumer.ns);
        if let Some(connection) = self.connections.get_mut(&consumer.connection) {
            connection.consumers.remove(&id);
        }
        let mut follows = None;
        if let Some(takers) = self.queues.get_mut(&consumer.queue) {
            takers.consumers.remove(&(Reverse(consumer.priority), id));
            takers.exclusive &= !consumer.exclusive;
            if takers.active == Some(id) {
                takers.active = takers.consumers.first().map(|(_, id)| *id);
                follows = takers.active.filter(|_| takers.single);
            }
            if takers.is_empty() {
                self.queues.remove(&consumer.queue);
            }
        }
        if let Some(next) = follows {
            self.queue_up(next);
        }
        Some(consumer)
    }

    /// A consumer of a queue.
    pub(in crate::turn) fn consumer_of(&self, queue: QueueId) -> Option<ConsumerId> {
        self.queues.get(&queue)?.consumers.first().map(|(_, id)| *id)
    }

    /// A consumer, whatever it takes.
    pub(in crate::turn) fn first(&self) -> Option<ConsumerId> {
        self.consumers.keys().next().copied()
    }

    /// Whether anybody takes from the queue.
    pub(in crate::turn) fn any(&self, queue: QueueId) -> bool {
        self.queues.contains_key(&queue)
    }

    /// Gives a consumer more credit, or those who share one. The queues that they take from.
    pub(in crate::turn) fn add_credit(
        &mut self,
        id: ConsumerId,
        more: MessageCredit,
    ) -> Vec<QueueId> {
        if let Some(members) = self.shares.add(id, more.messages) {
            for member in &members {
                self.queue_up(*member);
            }
            return self.queues_of(&members);
        }
        let Some(consumer) = self.consumers.get_mut(&id) else { return Vec::new() };
        consumer.credit.add(CreditLeft::new(more.messages, more.bytes));
        let queue = consumer.queue;
        self.queue_up(id);
        vec![queue]
    }

    fn queues_of(&self, consumers: &[ConsumerId]) -> Vec<QueueId> {
        let known = consumers.iter().filter_map(|id| self.consumers.get(id));
        known.map(|consumer| consumer.queue).collect()
    }

    /// Has consumers share a credit, and changes it. The queues that somebody may take more from.
    pub(in crate::turn) fn share(&mut self, command: &ShareCredit) -> Vec<QueueId> {
        let ShareCredit { share, connection, consumers, more, less, ends } = command;
        if *ends {
            self.shares.end(*share);
            return Vec::new();
        }
        let there = |id: &&ConsumerId| self.consumers.contains_key(id);
        let there: Vec<_> = consumers.iter().filter(there).copied().collect();
        self.shares.join(*share, *connection, &there);
        let queues = self.add_credit(*share, MessageCredit::of(*more));
        for spent in self.shares.take(*share, *less) {
            self.leave_line(spent);
        }
        queues
    }

    /// A connection has ended, with the credit that its consumers shared.
    pub(in crate::turn) fn forget_shares(&mut self, connection: ConnectionId) {
        self.shares.forget(connection);
    }

    /// A consumer was handed a message of so many bytes, and stands at the end of the line with
    /// what is left.
    pub(in crate::turn) fn pay(&mut self, id: ConsumerId, bytes: u64) {
        self.leave_line(id);
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.credit.pay(1, bytes);
        }
        for spent in self.shares.pay(id) {
            self.leave_line(spent);
        }
        self.queue_up(id);
    }

    fn queue_up(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(takers) = self.queues.get_mut(&consumer.queue) else { return };
        let waits_for_another = takers.single && takers.active != Some(id);
        let waits_for_another = waits_for_another || self.shares.is_spent(id);
        if consumer.ticket.is_some() || consumer.credit.is_used_up() || waits_for_another {
            return;
        }
        let ticket = self.next;
        self.next += 1;
        consumer.ticket = Some(ticket);
        takers.line.insert((Reverse(consumer.priority), ticket), MessageTaker::Consumer(id));
    }

    fn leave_line(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(ticket) = consumer.ticket.take() else { return };
        if let Some(takers) = self.queues.get_mut(&consumer.queue) {
            takers.line.remove(&(Reverse(consumer.priority), ticket));
        }
    }

    /// Who is next at a queue.
    pub(in crate::turn) fn next_at(&self, queue: QueueId) -> Option<MessageTaker> {
        let (_, taker) = self.queues.get(&queue)?.line.first_key_value()?;
        Some(*taker)
    }

    /// A request waits for messages of a queue.
    pub(in crate::turn) fn wait(
        &mut self,
        reply_to: ReplyTo,
        queue: QueueId,
        command: LeaseMessages,
    ) {
        let ticket = self.next;
        self.next += 1;
        let takers = self.queues.entry(queue).or_default();
        takers.requests += 1;
        takers.line.insert((Reverse(0), ticket), MessageTaker::Once(reply_to));
        self.requests.insert(reply_to, MessageRequest { queue, command, ticket });
    }

    /// A request waits no longer.
    pub(in crate::turn) fn stop_waiting(&mut self, reply_to: ReplyTo) -> Option<MessageRequest> {
        let request = self.requests.remove(&reply_to)?;
        if let Some(takers) = self.queues.get_mut(&request.queue) {
            takers.requests -= 1;
            takers.line.remove(&(Reverse(0), request.ticket));
            if takers.is_empty() {
                self.queues.remove(&request.queue);
            }
        }
        Some(request)
    }

    /// A request that waits for messages of a queue without consumers.
    pub(in crate::turn) fn waiting_at(&self, queue: QueueId) -> Option<ReplyTo> {
        let mut line = self.queues.get(&queue)?.line.values();
        line.find_map(|taker| match taker {
            MessageTaker::Once(reply_to) => Some(*reply_to),
            MessageTaker::Consumer(_) => None,
        })
    }

    /// A queue is gone. Those who consumed from it are removed by whoever tells them.
    pub(in crate::turn) fn forget_queue(&mut self, queue: QueueId) {
        self.end_queue_at(queue, None);
        self.stays_ms.remove(&queue);
        if let Some(owner) = self.owners.remove(&queue)
            && let Some(connection) = self.connections.get_mut(&owner)
        {
            connection.queues.remove(&queue);
        }
    }

    /// A queue ends then, where nobody uses it before.
    pub(in crate::turn) fn end_queue_at(&mut self, queue: QueueId, at: Option<MonoMs>) {
        if let Some(before) = self.queue_ends.remove(&queue) {
            self.queue_ends_in_order.remove(&(before, queue));
        }
        if let Some(at) = at {
            self.queue_ends.insert(queue, at);
            self.queue_ends_in_order.insert((at, queue));
        }
    }

    /// A connection has a message.
    pub(in crate::turn) fn note_unsettled(&mut self, connection: ConnectionId, tag: MessageTag) {
        self.connections.entry(connection).or_default().unsettled.insert(tag);
    }

    /// A connection has a message no longer; whether it had.
    pub(in crate::turn) fn release(&mut self, connection: ConnectionId, tag: MessageTag) -> bool {
        self.connections.get_mut(&connection).is_some_and(|it| it.unsettled.remove(&tag))
    }
}
