//! Connections that publish and consume, and one that takes messages for a time: what each sends
//! next, and what becomes of it when it ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use longshore_engine::driver::Input;
use longshore_engine::{
    Answer, Command, ConnectionId, ConsumeMessages, ConsumerId, LeaseMessages, MessageAnswer,
    MessageCommand, MessageCredit, MessageDelivery, MessageFilter, MessageMove, MessageName,
    MessageSettlement, MessageTag, MessageVerdict, MonoMs, MoveTo, OperationKind, PublishMessage,
    ReplyTo,
};

use super::account::{Account, Holder};
use super::{GRAVES, MOVED, PASSING, PLAIN, QUEUES, TARGETS, properties, setup, setup_of_life};
use crate::node::NAMESPACES;
use crate::random::Random;
use crate::workload::Check;

/// Numbers of answers and consumers above those of clients that have jobs.
const FIRST_NUMBER: u64 = 1 << 40;

/// Calls of one connection that wait for an answer.
const CALLS_MAX: usize = 4;

/// For how long messages are taken.
pub(crate) const LEASE_MS: u64 = 20_000;

/// What a call was about, for whoever hears the answer.
#[derive(Debug)]
enum Asked {
    Setup { of_life: bool },
    Publish(Vec<(u64, &'static [&'static str])>),
    Settle(Vec<(MessageDelivery, MessageVerdict)>),
    GetOne { auto_ack: bool },
    Lease { sent: MonoMs, auto_ack: bool },
    Purge(&'static str),
    Move,
    Other,
}

/// A call on its way.
#[derive(Debug)]
struct Call {
    /// The connection; none for who takes messages for a time, or declares.
    connection: Option<ConnectionId>,
    asked: Asked,
    command: Command,
}

/// What is on its way to a connection: messages, with the consumer that they are for.
type Down = (Option<ConsumerId>, Vec<MessageDelivery>, bool);

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    /// Its consumers, and whether they ack before delivery.
    consumers: BTreeMap<ConsumerId, (&'static str, bool)>,
    down: VecDeque<Down>,
    got: Vec<MessageDelivery>,
}

/// All that take part.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) random: Random,
    pub(crate) account: Account,
    next: u64,
    connections: Vec<Connection>,
    /// Sent and not yet with the server, in order.
    up: VecDeque<ReplyTo>,
    calls: BTreeMap<ReplyTo, Call>,
    /// How much of what has to be declared was.
    lasting: usize,
    of_life: usize,
    declares: Option<ReplyTo>,
    /// Consumers for which a delivery is an ack.
    autos: BTreeSet<ConsumerId>,
    leased: Vec<MessageDelivery>,
    leasing: Option<ReplyTo>,
    /// What the shard is to be told.
    pub(crate) news: Vec<Input<ReplyTo>>,
    /// What was taken for a time and came to nobody, since the shard's last turn.
    pub(crate) unreached: Vec<(String, MessageTag)>,
    /// No new ones come.
    pub(crate) over: bool,
}

fn is_of_peers(number: u64) -> bool {
    number >= FIRST_NUMBER
}

/// Whether an answer is for one of them.
pub(crate) fn asked(reply_to: ReplyTo) -> bool {
    is_of_peers(reply_to.0)
}

/// Whether a consumer is one of theirs.
pub(crate) fn consumes(consumer: ConsumerId) -> bool {
    is_of_peers(consumer.0)
}

impl Peers {
    /// Those of a run; half of all runs have some.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut random = Random::new(!seed);
        if random.percent(50) {
            return None;
        }
        let mut peers = Self {
            account: Account::default(),
            next: FIRST_NUMBER,
            connections: Vec::new(),
            up: VecDeque::new(),
            calls: BTreeMap::new(),
            lasting: 0,
            of_life: 0,
            declares: None,
            autos: BTreeSet::new(),
            leased: Vec::new(),
            leasing: None,
            news: Vec::new(),
            unreached: Vec::new(),
            over: false,
            random,
        };
        for _ in 0..2 + peers.random.below(2) {
            peers.connect();
        }
        Some(peers)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn connect(&mut self) {
        let id = ConnectionId(self.number());
        let (consumers, down, got) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        self.connections.push(Connection { id, consumers, down, got });
    }

    fn send(
        &mut self,
        connection: Option<ConnectionId>,
        asked: Asked,
        command: MessageCommand,
    ) -> ReplyTo {
        self.send_any(connection, asked, Command::Messages(command))
    }

    fn send_any(
        &mut self,
        connection: Option<ConnectionId>,
        asked: Asked,
        command: Command,
    ) -> ReplyTo {
        let reply_to = ReplyTo(self.number());
        self.calls.insert(reply_to, Call { connection, asked, command });
        self.up.push_back(reply_to);
        reply_to
    }

    /// Whether messages may be away for a time, of which nobody heard yet.
    pub(crate) fn is_leasing(&self) -> bool {
        let lease = |call: &Call| matches!(call.asked, Asked::Lease { .. });
        self.calls.values().any(lease)
    }

    /// The next call that arrives at the server.
    pub(crate) fn first_call(&self) -> Option<(ReplyTo, Command)> {
        let reply_to = *self.up.front()?;
        let call = self.calls.get(&reply_to)?;
        Some((reply_to, call.command.clone()))
    }

    /// The server has taken it in.
    pub(crate) fn call_taken(&mut self) {
        self.up.pop_front();
    }

    /// Whether the server has heard all.
    pub(crate) fn is_heard(&self) -> bool {
        self.up.is_empty() && self.news.is_empty()
    }

    /// Somebody does something. What happened, in words.
    pub(crate) fn act(&mut self, now: MonoMs) -> Result<String, String> {
        if self.over {
            return Ok(String::new());
        }
        if let Some(said) = self.declare() {
            return Ok(said);
        }
        match self.random.below(100) {
            0..8 => self.lease(now),
            8..14 => return self.settle_leased(),
            14 if self.random.percent(40) => self.purge(),
            14 => self.begin_move(),
            15..18 => return Ok(self.break_one()),
            18..42 => return self.arrive(),
            _ => return self.act_on_connection(),
        }
        Ok(String::new())
    }

    /// Declares what has to be there; nothing else happens meanwhile.
    fn declare(&mut self) -> Option<String> {
        if self.declares.is_some() {
            return Some(String::new());
        }
        let lasting = setup();
        let (command, of_life) = match lasting.get(self.lasting) {
            Some(command) => (command.clone(), false),
            None => (setup_of_life().get(self.of_life)?.clone(), true),
        };
        let reply_to = self.send(None, Asked::Setup { of_life }, command);
        self.declares = Some(reply_to);
        Some(format!("declare {}", reply_to.0))
    }

    fn act_on_connection(&mut self) -> Result<String, String> {
        let at = self.random.index(self.connections.len());
        let id = self.connections[at].id;
        if self.calls.values().filter(|call| call.connection == Some(id)).count() >= CALLS_MAX {
            return Ok(String::new());
        }
        let consumers = self.connections[at].consumers.len();
        Ok(match self.random.below(100) {
            0..40 => self.publish(id),
            40..50 if consumers < 3 => self.consume(at),
            50..60 if consumers > 0 => self.add_credit(at),
            60..64 if consumers > 0 => self.cancel(at),
            64..70 => self.get_one(id),
            70..100 => return self.settle(at),
            _ => String::new(),
        })
    }

    fn publish(&mut self, id: ConnectionId) -> String {
        let (mut messages, mut all) = (Vec::new(), Vec::new());
        let mut said = format!("connection {} publishes", id.0);
        for _ in 0..=self.random.below(2) {
            let number = self.number();
            let (exchange, key, queues) = *self.random.pick(&TARGETS);
            let priority = self.random.below(4) as u8;
            let transient = self.random.percent(15);
            let ttl_ms = self.random.maybe(4, |random| random.below(5000));
            let length = if self.random.percent(40) { 300 + self.random.index(500) } else { 20 };
            let delay_ms = self.random.maybe(8, |random| 1 + random.below(8000));
            let kind = (transient, ttl_ms.is_some(), delay_ms.is_some());
            self.account.published(number, (id, priority), queues, kind);
            messages.push(PublishMessage {
                exchange: exchange.to_owned(),
                routing_key: key.to_owned(),
                priority,
                persistent: !transient,
                ttl_ms,
                delay_ms,
                properties: properties(number),
                body: Bytes::from(format!("{number:-<length$}")),
                ..PublishMessage::default()
            });
            let _ = write!(said, " {number} to {queues:?}");
            all.push((number, queues));
        }
        self.send(Some(id), Asked::Publish(all), MessageCommand::Publish(messages));
        said
    }

    fn consume(&mut self, at: usize) -> String {
        let (consumer, id) = (ConsumerId(self.number()), self.connections[at].id);
        let queue = *self.random.pick(&QUEUES);
        let (auto_ack, credit) = (self.acks_before(queue), self.random.below(4));
        self.connections[at].consumers.insert(consumer, (queue, auto_ack));
        if auto_ack {
            self.autos.insert(consumer);
        }
        self.account.credited(consumer, credit);
        let command = ConsumeMessages {
            consumer,
            connection: id,
            queue: queue.to_owned(),
            auto_ack,
            exclusive: false,
            priority: self.random.below(2) as i32,
            credit: MessageCredit::of(credit),
        };
        self.send(Some(id), Asked::Other, MessageCommand::Consume(Box::new(command)));
        format!("connection {} consumes {queue} as {}", id.0, consumer.0)
    }

    fn add_credit(&mut self, at: usize) -> String {
        let (id, credit) = (self.connections[at].id, self.more_credit(at));
        self.send(Some(id), Asked::Other, MessageCommand::AddCredit(credit.into_iter().collect()));
        String::new()
    }

    fn more_credit(&mut self, at: usize) -> Option<(ConsumerId, MessageCredit)> {
        let all: Vec<_> = self.connections[at].consumers.keys().copied().collect();
        if all.is_empty() {
            return None;
        }
        let (consumer, more) = (*self.random.pick(&all), 1 + self.random.below(3));
        self.account.credited(consumer, more);
        Some((consumer, MessageCredit::of(more)))
    }

    /// A consumer takes no more; what it has stays with its connection.
    fn cancel(&mut self, at: usize) -> String {
        let all: Vec<_> = self.connections[at].consumers.keys().copied().collect();
        let (consumer, id) = (*self.random.pick(&all), self.connections[at].id);
        self.account.consumer_left(consumer);
        self.send(Some(id), Asked::Other, MessageCommand::Cancel { consumer });
        format!("consumer {} takes no more", consumer.0)
    }

    fn get_one(&mut self, connection: ConnectionId) -> String {
        let queue = *self.random.pick(&QUEUES);
        let auto_ack = self.acks_before(queue);
        let queue = queue.to_owned();
        let command = MessageCommand::GetOne { queue, connection, auto_ack };
        self.send(Some(connection), Asked::GetOne { auto_ack }, command);
        String::new()
    }

    /// Whether messages are acked before they are delivered. What is so is gone once that is
    /// decided, which nobody hears of before it is durable: of one queue only.
    fn acks_before(&mut self, queue: &str) -> bool {
        queue == PASSING && self.random.percent(40)
    }

    fn verdict(&mut self) -> MessageVerdict {
        match self.random.below(10) {
            0..6 => MessageVerdict::Ack,
            6..8 => MessageVerdict::Requeue,
            _ => MessageVerdict::Reject,
        }
    }

    fn settle(&mut self, at: usize) -> Result<String, String> {
        let id = self.connections[at].id;
        let mut told = Vec::new();
        for _ in 0..=self.random.below(3) {
            let verdict = self.verdict();
            let got = &mut self.connections[at].got;
            if got.is_empty() {
                break;
            }
            let got = got.swap_remove(self.random.index(got.len()));
            self.account.settling(&got, verdict)?;
            told.push((got, verdict));
        }
        if told.is_empty() {
            return Ok(String::new());
        }
        let said = told.iter().map(|(got, verdict)| format!("{:?} {verdict:?}", got.tag));
        let said = format!("connection {} settles {}", id.0, said.collect::<Vec<_>>().join(", "));
        let settlements = told.iter().map(|(got, verdict)| (got.tag, *verdict)).collect();
        let credit = self.more_credit(at).into_iter().collect();
        let command = MessageCommand::Settle { connection: id, settlements, credit };
        self.send(Some(id), Asked::Settle(told), command);
        Ok(said)
    }

    fn lease(&mut self, now: MonoMs) {
        if self.leasing.is_some() {
            return;
        }
        let queue = *self.random.pick(&QUEUES);
        let auto_ack = self.acks_before(queue);
        let command = LeaseMessages {
            queue: queue.to_owned(),
            max: 1 + self.random.index(3),
            wait_ms: if self.random.percent(30) { self.random.below(5000) } else { 0 },
            lease_ms: Some(LEASE_MS),
            auto_ack,
        };
        let asked = Asked::Lease { sent: now, auto_ack };
        let reply_to = self.send(None, asked, MessageCommand::Lease(Box::new(command)));
        self.leasing = Some(reply_to);
    }

    fn settle_leased(&mut self) -> Result<String, String> {
        if self.leased.is_empty() {
            return Ok(String::new());
        }
        let got = self.leased.swap_remove(self.random.index(self.leased.len()));
        let verdict = self.verdict();
        self.account.settling(&got, verdict)?;
        let command = MessageCommand::SettleLeased(vec![settlement(&got, verdict)]);
        let said = format!("{:?} is settled: {verdict:?}", got.tag);
        self.send(None, Asked::Settle(vec![(got, verdict)]), command);
        Ok(said)
    }

    fn purge(&mut self) {
        let queue = *self.random.pick(&QUEUES);
        // Nobody knows what these are to have.
        if [GRAVES, MOVED].contains(&queue) {
            return;
        }
        self.account.purging(queue);
        let command = MessageCommand::PurgeQueue { queue: queue.to_owned(), connection: None };
        self.send(None, Asked::Purge(queue), command);
    }

    /// Messages of the plain queue go elsewhere, or letters back to where they died.
    fn begin_move(&mut self) {
        let (queue, to) = if self.random.percent(50) {
            (PLAIN, MoveTo::Queue { queue: MOVED.to_owned() })
        } else {
            (GRAVES, MoveTo::Origin)
        };
        self.account.moving(queue);
        let limit = self.random.maybe(40, |random| 1 + random.below(4));
        let queue = queue.to_owned();
        let moving = MessageMove { queue, to, filter: MessageFilter::default(), limit };
        let kind = OperationKind::MoveMessages { moving: Box::new(moving) };
        self.send_any(None, Asked::Move, Command::StartOperation(kind));
    }

    /// A connection ends, or who takes messages for a time hangs up.
    fn break_one(&mut self) -> String {
        if let Some(reply_to) = self.leasing.filter(|_| self.random.percent(30)) {
            self.leasing = None;
            self.news.push(Input::CallerGone(reply_to));
            return format!("nobody waits for {}", reply_to.0);
        }
        let at = self.random.index(self.connections.len());
        let said = self.end(at);
        self.connect();
        said
    }

    /// A connection ends. What it has sent is carried out; its end is told last.
    fn end(&mut self, at: usize) -> String {
        let Connection { id, consumers, down, .. } = self.connections.remove(at);
        for (consumer, (queue, _)) in &consumers {
            self.account.consumer_leaves(*consumer, queue);
            self.news.push(Input::ConsumerGone(*consumer));
        }
        self.account.connection_left(id);
        // What did not reach the session is known to be there; the rest went with it.
        for (consumer, messages, _) in down {
            if let Some(consumer) = consumer.filter(|_| self.random.percent(60)) {
                self.give_back(consumer, &messages);
            }
        }
        let close = MessageCommand::CloseConnection { connection: id };
        self.send(Some(id), Asked::Other, close);
        format!("connection {} ends", id.0)
    }

    fn give_back(&mut self, consumer: ConsumerId, messages: &[MessageDelivery]) {
        let namespace = NAMESPACES[0].to_owned();
        let command = MessageDelivery::untaken(consumer, messages);
        self.news.push(Input::GiveBack { namespace, command });
    }

    /// All connections end for good.
    pub(crate) fn end_all(&mut self) {
        self.over = true;
        while !self.connections.is_empty() {
            self.end(0);
        }
    }

    /// Something arrives at a connection.
    fn arrive(&mut self) -> Result<String, String> {
        let at = self.random.index(self.connections.len());
        let connection = &mut self.connections[at];
        let Some((_, messages, auto_ack)) = connection.down.pop_front() else {
            return Ok(String::new());
        };
        for got in messages {
            self.account.arrived(&got, auto_ack)?;
            if !auto_ack {
                connection.got.push(got);
            }
        }
        Ok(String::new())
    }

    /// The shard lets messages out for a consumer.
    pub(crate) fn delivered(
        &mut self,
        consumer: ConsumerId,
        messages: Vec<MessageDelivery>,
    ) -> Check {
        let is_its = |connection: &&mut Connection| connection.consumers.contains_key(&consumer);
        let Some(connection) = self.connections.iter_mut().find(is_its) else {
            // Its connection has gone.
            for got in &messages {
                self.account.delivered(consumer, got, None)?;
                if self.autos.contains(&consumer) {
                    self.account.auto_acked(got)?;
                }
            }
            self.give_back(consumer, &messages);
            return Ok(());
        };
        let (queue, auto_ack) = connection.consumers[&consumer];
        for got in &messages {
            if *got.queue != *queue {
                return Err(format!("a consumer of {queue} gets a message of {}", got.queue));
            }
            let holder = Holder::Connection(connection.id);
            self.account.delivered(consumer, got, Some(holder))?;
            if auto_ack {
                self.account.auto_acked(got)?;
            }
        }
        connection.down.push_back((Some(consumer), messages, auto_ack));
        Ok(())
    }

    /// The shard lets an answer out; `heard` where its caller is there.
    pub(crate) fn answered(&mut self, reply_to: ReplyTo, answer: Answer, heard: bool) -> Check {
        let Some(call) = self.calls.remove(&reply_to) else { return Ok(()) };
        let answer = match answer {
            Answer::Messages(answer) => answer,
            Answer::Operation(_) => return Ok(()),
            Answer::Rejected(_) => return self.refused(reply_to, call),
            other => return Err(format!("{:?} was answered with {other:?}", call.command)),
        };
        match (call.asked, answer) {
            (Asked::Setup { of_life }, _) => {
                *(if of_life { &mut self.of_life } else { &mut self.lasting }) += 1;
                self.declares = None;
            }
            (Asked::Publish(all), MessageAnswer::Published(came)) => {
                for ((number, queues), came) in all.iter().zip(&came) {
                    self.account.confirmed(*number, queues, came)?;
                }
            }
            (Asked::Settle(told), MessageAnswer::Settled(settled)) => {
                for ((got, verdict), settled) in told.iter().zip(settled) {
                    if settled.is_ok() {
                        self.account.settled(got, *verdict)?;
                    }
                }
            }
            (Asked::GetOne { auto_ack }, MessageAnswer::Got(got, _)) => {
                return self.got_one(call.connection, got, auto_ack);
            }
            (Asked::Lease { sent, auto_ack }, MessageAnswer::Leased(messages)) => {
                return self.got_leased((reply_to, sent), messages, auto_ack, heard);
            }
            (Asked::Purge(queue), _) => self.account.purged(queue),
            (Asked::Other, _) => {}
            (asked, answer) => return Err(format!("{asked:?} was answered with {answer:?}")),
        }
        Ok(())
    }

    /// Nothing came of a call.
    fn refused(&mut self, reply_to: ReplyTo, call: Call) -> Check {
        if self.declares == Some(reply_to) {
            self.declares = None;
        }
        if self.leasing == Some(reply_to) {
            self.leasing = None;
        }
        if let Command::Messages(MessageCommand::Consume(consume)) = &call.command {
            self.account.consumer_left(consume.consumer);
            for connection in &mut self.connections {
                connection.consumers.remove(&consume.consumer);
            }
        }
        if let Asked::Purge(queue) = call.asked {
            self.account.purged(queue);
        }
        let Asked::Publish(all) = call.asked else { return Ok(()) };
        let refused = Err(longshore_engine::Rejection::Stopping);
        all.iter()
            .try_for_each(|(number, queues)| self.account.confirmed(*number, queues, &refused))
    }

    fn got_one(
        &mut self,
        connection: Option<ConnectionId>,
        got: Option<Box<MessageDelivery>>,
        auto_ack: bool,
    ) -> Check {
        let Some(got) = got else { return Ok(()) };
        let to = self.connections.iter_mut().find(|it| Some(it.id) == connection);
        let holder = to.as_ref().map(|to| Holder::Connection(to.id));
        self.account.handed(&got, holder)?;
        if auto_ack {
            self.account.auto_acked(&got)?;
        }
        if let Some(to) = to {
            to.down.push_back((None, vec![*got], auto_ack));
        }
        Ok(())
    }

    fn got_leased(
        &mut self,
        (reply_to, sent): (ReplyTo, MonoMs),
        messages: Vec<MessageDelivery>,
        auto_ack: bool,
        heard: bool,
    ) -> Check {
        let gives_back = Answer::Messages(MessageAnswer::Leased(messages.clone())).gives_back();
        let driver_heard = heard;
        let heard = heard && self.leasing == Some(reply_to);
        // The driver gives back by itself what it had no caller for.
        if let (Some(command), true, false) = (gives_back, driver_heard, heard) {
            let namespace = NAMESPACES[0].to_owned();
            self.news.push(Input::GiveBack { namespace, command });
        }
        if self.leasing == Some(reply_to) {
            self.leasing = None;
        }
        for got in messages {
            let token = got.lease.map(|(token, _)| token);
            let until = sent.plus(LEASE_MS);
            let holder = token.filter(|_| heard).map(|token| Holder::Lease(token, until));
            self.account.handed(&got, holder)?;
            if auto_ack {
                self.account.auto_acked(&got)?;
            }
            if !heard && !auto_ack && !driver_heard {
                self.unreached.push((got.queue.to_string(), got.tag));
            }
            if heard {
                self.account.arrived(&got, auto_ack)?;
                if !auto_ack {
                    self.leased.push(got);
                }
            }
        }
        Ok(())
    }

    /// No answer comes to this call, whatever became of it.
    pub(crate) fn dismissed(&mut self, reply_to: ReplyTo) {
        self.calls.remove(&reply_to);
        for waits in [&mut self.declares, &mut self.leasing] {
            *waits = waits.filter(|it| *it != reply_to);
        }
    }

    /// The server has gone, and all connections with it.
    pub(crate) fn crashed(&mut self) {
        self.up.clear();
        for call in std::mem::take(&mut self.calls).into_values() {
            if let Command::Messages(MessageCommand::Lease(lease)) = &call.command {
                self.account.lease_in_doubt(&lease.queue);
            }
        }
        self.news.clear();
        self.unreached.clear();
        (self.declares, self.leasing) = (None, None);
        self.of_life = 0;
        let all = if self.over { 0 } else { self.connections.len() };
        self.connections.clear();
        for _ in 0..all {
            self.connect();
        }
    }

    /// Another life of the server begins.
    pub(crate) fn started(&mut self, now: MonoMs) {
        self.account.restarted(now, LEASE_MS);
    }
}

/// How one settles what one has for a time.
pub(crate) fn settlement(got: &MessageDelivery, verdict: MessageVerdict) -> MessageSettlement {
    let queue = got.queue.to_string();
    let message = MessageName { queue, urgency: got.tag.urgency, place: got.tag.place };
    let token = got.lease.map(|(token, _)| token).unwrap_or_default();
    MessageSettlement { message, token, verdict }
}
