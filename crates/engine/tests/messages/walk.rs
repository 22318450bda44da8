//! Random clients, and what they check.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_engine::{
    Answer, BindingSpec, ConnectionId, ConsumeMessages, ConsumerId, DeclareExchange, DeclareQueue,
    Effect, ExchangeKind, LeaseMessages, MessageAnswer, MessageCommand, MessageCredit,
    MessageDelivery, MessageName, MessageSettings, MessageSettlement, MessageTag,
    MessageTransaction, MessageVerdict, PublishMessage, Published, ReplyTo, Token,
};

use crate::account::{Has, Known, RefQueue, number};
use crate::random::Random;
use crate::shard::Shard;
use crate::transactions::Transactions;

/// Something to be caught.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Effects leave before they are durable.
    AnswersBeforeCommit,
    /// An ack is answered and not carried out.
    LosesAcks,
    /// A start does not replay the end of the journal.
    SkipsReplay,
    /// What a transaction publishes and what it settles are decided one after the other.
    SplitsTransactions,
}

const QUEUES: [&str; 3] = ["a", "b", "limited"];
/// Where dead letters of the limited queue go.
const GRAVES: &str = "graves";
const LIMIT: u32 = 2;
const KEYS: [&str; 4] = ["x.1", "x.2", "y.1", "z"];
/// What is bound to the exchange from the beginning.
const BINDINGS: [(&str, &str); 4] = [("x.*", "a"), ("#.1", "b"), ("x.#", "b"), ("x.2", "limited")];

/// What a request was about.
#[derive(Debug)]
enum Asked {
    /// Its number and queues, and whether it comes later.
    Publish(u64, BTreeSet<&'static str>, bool),
    Settle(Vec<(&'static str, u64, MessageVerdict)>),
    Lease(&'static str),
    Get(&'static str, ConnectionId, bool),
    Transact(usize, Vec<(u64, BTreeSet<&'static str>)>, Vec<(&'static str, u64)>),
    Nothing,
}

pub(crate) struct Walk {
    random: Random,
    shard: Shard,
    fault: Option<Fault>,
    queues: BTreeMap<&'static str, RefQueue>,
    asked: BTreeMap<ReplyTo, Asked>,
    /// Consumers: their connection, queue, and whether they ack before delivery.
    consumers: BTreeMap<ConsumerId, (ConnectionId, &'static str, bool)>,
    /// Consumers that ever acked before delivery, with their queues: what is on its way to one that
    /// has gone is gone.
    autos: BTreeMap<ConsumerId, &'static str>,
    connections: Vec<ConnectionId>,
    /// What arrived and was not settled.
    got: Vec<(&'static str, MessageDelivery, Has)>,
    transactions: Transactions,
    next: u64,
}

fn queue_named(name: &str) -> &'static str {
    QUEUES.into_iter().find(|known| *known == name).unwrap()
}

fn routes(key: &str) -> BTreeSet<&'static str> {
    let matches = |pattern: &str| match pattern {
        "x.*" => key.starts_with("x.") && key.split('.').count() == 2,
        "x.#" => key == "x" || key.starts_with("x."),
        "#.1" => key == "1" || key.ends_with(".1"),
        other => key == other,
    };
    BINDINGS.iter().filter(|(pattern, _)| matches(pattern)).map(|(_, queue)| *queue).collect()
}

impl Walk {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut walk = Self {
            random: Random::new(seed),
            shard: Shard::new(),
            fault,
            queues: BTreeMap::new(),
            asked: BTreeMap::new(),
            consumers: BTreeMap::new(),
            autos: BTreeMap::new(),
            connections: vec![ConnectionId(1), ConnectionId(2)],
            got: Vec::new(),
            transactions: Transactions::default(),
            next: 10,
        };
        for queue in QUEUES {
            let limit = (queue == "limited").then_some(LIMIT);
            let settings = MessageSettings {
                durable: true,
                delivery_limit: limit,
                dead_letter_exchange: limit.map(|_| String::new()),
                dead_letter_routing_key: limit.map(|_| GRAVES.to_owned()),
                max_priority: (queue == "b").then_some(3),
                ..MessageSettings::default()
            };
            let declare = DeclareQueue { queue: queue.into(), settings, connection: None };
            walk.ask(MessageCommand::DeclareQueue(Box::new(declare)), Asked::Nothing);
            walk.queues.insert(queue, RefQueue { limit, ..RefQueue::default() });
        }
        let settings = MessageSettings { durable: true, ..MessageSettings::default() };
        let graves = DeclareQueue { queue: GRAVES.into(), settings, connection: None };
        walk.ask(MessageCommand::DeclareQueue(Box::new(graves)), Asked::Nothing);
        let exchange = DeclareExchange {
            exchange: "x".into(),
            kind: ExchangeKind::Topic,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
            arguments: Bytes::new(),
        };
        walk.ask(MessageCommand::DeclareExchange(Box::new(exchange)), Asked::Nothing);
        for (pattern, queue) in BINDINGS {
            let binding = BindingSpec {
                source: "x".into(),
                destination: queue.into(),
                routing_key: pattern.into(),
                ..BindingSpec::default()
            };
            walk.ask(MessageCommand::Bind(Box::new(binding)), Asked::Nothing);
        }
        let all = walk.shard.decided();
        walk.shard.commit(all);
        walk
    }

    fn ask(&mut self, command: MessageCommand, asked: Asked) {
        let reply_to = self.shard.submit(command);
        self.asked.insert(reply_to, asked);
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn run(mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            self.step();
            self.commit_some()?;
        }
        self.drain()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.publish(),
            30..35 => self.transact(),
            35..45 => self.consume(),
            45..65 => self.settle(),
            65..72 => self.add_credit(),
            72..79 => self.lease(),
            79..83 => self.get(),
            83..86 => self.close(),
            86..87 => self.purge(),
            87..92 => {
                let ms = self.random.below(40_000);
                self.shard.advance(ms);
                self.shard.tick();
            }
            92..95 => self.shard.flush(),
            _ => self.crash(),
        }
    }

    fn publish(&mut self) {
        let count = 1 + self.random.below(3);
        for _ in 0..count {
            let delay_ms = self.random.percent(10).then(|| 1 + self.random.below(20_000));
            let (message, number, queues) = self.message(delay_ms);
            let asked = Asked::Publish(number, queues, delay_ms.is_some());
            self.ask(MessageCommand::Publish(vec![message]), asked);
        }
    }

    /// A message with its number, and the queues that it enters.
    fn message(&mut self, delay_ms: Option<u64>) -> (PublishMessage, u64, BTreeSet<&'static str>) {
        let (number, key) = (self.fresh(), *self.random.pick(&KEYS));
        let to_queue = self.random.percent(30);
        let queues =
            if to_queue { BTreeSet::from([*self.random.pick(&QUEUES)]) } else { routes(key) };
        let priority = self.random.below(5) as u8;
        let routing_key = if to_queue { queues.first().copied().unwrap() } else { key };
        let message = PublishMessage {
            exchange: if to_queue { String::new() } else { "x".into() },
            routing_key: routing_key.into(),
            priority,
            persistent: true,
            delay_ms,
            body: self.body(number),
            ..PublishMessage::default()
        };
        for queue in &queues {
            let counted = if *queue == "b" { priority.min(3) } else { 0 };
            let delayed = delay_ms.is_some();
            let known = Known { priority: counted, delayed, ..Known::default() };
            self.queues.get_mut(queue).unwrap().messages.insert(number, known);
        }
        (message, number, queues)
    }

    /// Some are so large that they stand apart from the messages that have them.
    fn body(&mut self, number: u64) -> Bytes {
        let length = *self.random.pick(&[0, 0, 300, 1500, 5000]);
        format!("{number:.<length$}").into()
    }

    fn consume(&mut self) {
        if self.consumers.len() > 5 {
            return;
        }
        let (consumer, connection) =
            (ConsumerId(self.fresh()), *self.random.pick(&self.connections));
        let (queue, auto_ack) = (*self.random.pick(&QUEUES), self.random.percent(15));
        let consume = ConsumeMessages {
            consumer,
            connection,
            queue: queue.into(),
            auto_ack,
            exclusive: false,
            priority: self.random.below(2) as i32,
            credit: MessageCredit {
                messages: self.random.below(4),
                bytes: self.random.below(2000),
            },
        };
        self.consumers.insert(consumer, (connection, queue, auto_ack));
        if auto_ack {
            self.autos.insert(consumer, queue);
        }
        self.ask(MessageCommand::Consume(Box::new(consume)), Asked::Nothing);
    }

    fn add_credit(&mut self) {
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        if !consumers.is_empty() {
            let credit = vec![(
                *self.random.pick(&consumers),
                MessageCredit {
                    messages: 1 + self.random.below(5),
                    bytes: self.random.below(2000),
                },
            )];
            self.ask(MessageCommand::AddCredit(credit), Asked::Nothing);
        }
    }

    /// Settles some of what arrived.
    fn settle(&mut self) {
        let count = 1 + self.random.below(4) as usize;
        let mut of_connection: BTreeMap<ConnectionId, Vec<(MessageTag, MessageVerdict)>> =
            BTreeMap::new();
        let (mut leased, mut asked) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for _ in 0..count.min(self.got.len()) {
            let at = self.random.below(self.got.len() as u64) as usize;
            let (queue, message, has) = self.got.swap_remove(at);
            let verdict = match self.random.below(10) {
                0..6 => MessageVerdict::Ack,
                6..8 => MessageVerdict::Requeue,
                _ => MessageVerdict::Reject,
            };
            let known = self.queues.get_mut(queue).unwrap();
            let known = known.messages.get_mut(&number(&message)).unwrap();
            // From here on it may be elsewhere, whatever is heard of this.
            known.has = None;
            known.ending |= verdict != MessageVerdict::Requeue;
            known.returns += u32::from(verdict == MessageVerdict::Requeue);
            let told = (queue, number(&message), verdict);
            match has {
                Has::Connection(connection) => {
                    of_connection.entry(connection).or_default().push((message.tag, verdict));
                    asked.entry(Some(connection)).or_default().push(told);
                }
                Has::Lease(token) => {
                    leased.push(settlement(queue, message.tag, token, verdict));
                    asked.entry(None).or_default().push(told);
                }
            }
        }
        let loses = self.fault == Some(Fault::LosesAcks);
        for (connection, settlements) in of_connection {
            let settlements = if loses { Vec::new() } else { settlements };
            let command = MessageCommand::Settle { connection, settlements, credit: Vec::new() };
            let asked = Asked::Settle(asked.remove(&Some(connection)).unwrap_or_default());
            self.ask(command, asked);
        }
        if !leased.is_empty() {
            let asked = Asked::Settle(asked.remove(&None).unwrap_or_default());
            self.ask(MessageCommand::SettleLeased(leased), asked);
        }
    }

    /// Publishes some and acks some of what a connection has, at once.
    fn transact(&mut self) {
        let connection = *self.random.pick(&self.connections);
        let (mut publishes, mut published, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..=self.random.below(2) {
            let (message, number, queues) = self.message(None);
            publishes.push(message);
            entries.extend(queues.iter().map(|queue| (*queue, number)));
            published.push((number, queues));
        }
        let (mut settlements, mut acked) = (Vec::new(), Vec::new());
        for _ in 0..=self.random.below(2) {
            let of = |(_, _, has): &(_, _, Has)| *has == Has::Connection(connection);
            let Some(at) = self.got.iter().position(of) else { break };
            let (queue, message, _) = self.got.swap_remove(at);
            let known = self.queues.get_mut(queue).unwrap();
            let known = known.messages.get_mut(&number(&message)).unwrap();
            (known.has, known.ending) = (None, true);
            settlements.push((message.tag, MessageVerdict::Ack));
            acked.push((queue, number(&message)));
        }
        let index = self.transactions.begin(entries, acked.clone());
        if self.fault == Some(Fault::SplitsTransactions) {
            self.ask(MessageCommand::Publish(publishes), Asked::Nothing);
            let credit = Vec::new();
            let settle = MessageCommand::Settle { connection, settlements, credit };
            return self.ask(settle, Asked::Nothing);
        }
        let (connection, leased, enqueues) = (Some(connection), Vec::new(), Vec::new());
        let transaction =
            MessageTransaction { connection, publishes, settlements, leased, enqueues };
        let asked = Asked::Transact(index, published, acked);
        self.ask(MessageCommand::Transact(Box::new(transaction)), asked);
    }

    fn lease(&mut self) {
        let queue = *self.random.pick(&QUEUES);
        let lease = LeaseMessages {
            queue: queue.into(),
            max: 1 + self.random.below(3) as usize,
            wait_ms: 0,
            lease_ms: Some(20_000),
            auto_ack: false,
        };
        self.ask(MessageCommand::Lease(Box::new(lease)), Asked::Lease(queue));
    }

    fn get(&mut self) {
        let (queue, connection) =
            (*self.random.pick(&QUEUES), *self.random.pick(&self.connections));
        let auto_ack = self.random.percent(30);
        let get = MessageCommand::GetOne { queue: queue.into(), connection, auto_ack };
        self.ask(get, Asked::Get(queue, connection, auto_ack));
    }

    fn purge(&mut self) {
        let queue = *self.random.pick(&QUEUES);
        // What it removes is not known; what was not with anybody may go.
        for known in self.queues.get_mut(queue).unwrap().messages.values_mut() {
            known.ending = true;
        }
        let purge = MessageCommand::PurgeQueue { queue: queue.into(), connection: None };
        self.ask(purge, Asked::Nothing);
    }

    /// A connection ends; another one comes.
    fn close(&mut self) {
        let at = self.random.below(self.connections.len() as u64) as usize;
        let connection = ConnectionId(self.fresh());
        let gone = std::mem::replace(&mut self.connections[at], connection);
        self.consumers.retain(|_, (of, ..)| *of != gone);
        self.let_go(|has| has == Has::Connection(gone));
        let close = MessageCommand::CloseConnection { connection: gone };
        self.ask(close, Asked::Nothing);
    }

    /// What somebody had is with nobody.
    fn let_go(&mut self, gone: impl Fn(Has) -> bool) {
        for queue in self.queues.values_mut() {
            for known in queue.messages.values_mut() {
                if known.has.is_some_and(&gone) {
                    known.has = None;
                    known.returns += 1;
                }
            }
        }
        self.got.retain(|(.., has)| !gone(*has));
    }

    fn crash(&mut self) {
        let skips = if self.fault == Some(Fault::SkipsReplay) { 3 } else { 0 };
        self.shard.crash(skips);
        self.asked.clear();
        self.consumers.clear();
        self.connections = vec![ConnectionId(self.fresh()), ConnectionId(self.fresh())];
        self.let_go(|has| matches!(has, Has::Connection(_)));
        for queue in self.queues.values_mut() {
            queue.crash();
        }
    }

    /// Some of what was decided becomes durable, and what waited for that arrives.
    fn commit_some(&mut self) -> Result<(), String> {
        let (durable, decided) = (self.shard.durable(), self.shard.decided());
        let early = self.fault == Some(Fault::AnswersBeforeCommit);
        let more = self.random.below(decided - durable + 1);
        let effects = self.shard.commit(durable + more);
        self.hear(effects)?;
        if early && self.random.percent(20) {
            // What the answers say is believed, and the disk has none of it.
            let before = self.shard.durable();
            let effects = self.shard.commit(decided);
            self.hear(effects)?;
            if self.random.percent(50) {
                self.shard.crash((decided - before) as usize);
                self.asked.clear();
                self.consumers.clear();
                self.let_go(|has| matches!(has, Has::Connection(_)));
                self.queues.values_mut().for_each(RefQueue::crash);
            }
        }
        Ok(())
    }

    fn hear(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Reply { reply_to, answer } => self.hear_answer(reply_to, answer)?,
                Effect::DeliverMessages { consumer, messages } => {
                    // What is on its way when its connection ends is heard by nobody.
                    let to = self.consumers.get(&consumer).copied();
                    let Some((connection, queue, auto_ack)) = to else {
                        if let Some(queue) = self.autos.get(&consumer) {
                            let queue = self.queues.get_mut(queue).unwrap();
                            for message in &messages {
                                queue.gone(message);
                            }
                        }
                        continue;
                    };
                    for message in messages {
                        self.arrives(queue, message, Has::Connection(connection), auto_ack)?;
                    }
                }
                Effect::Deliver { .. } | Effect::Close { .. } => {}
            }
        }
        Ok(())
    }

    fn arrives(
        &mut self,
        queue: &'static str,
        message: MessageDelivery,
        has: Has,
        auto_ack: bool,
    ) -> Result<(), String> {
        self.transactions.arrives((queue, number(&message)))?;
        self.free_what_ran_out(queue, &message);
        let known = self.queues.get_mut(queue).unwrap();
        known.arrives(&message, has)?;
        let known = known.messages.get_mut(&number(&message)).unwrap();
        if auto_ack {
            (known.ending, known.ended, known.has) = (true, true, None);
        } else {
            self.got.push((queue, message, has));
        }
        Ok(())
    }

    /// A lease that may have run out holds no longer once its message comes again.
    fn free_what_ran_out(&mut self, queue: &'static str, message: &MessageDelivery) {
        let number = number(message);
        let known = self.queues.get_mut(queue).unwrap().messages.get_mut(&number);
        if let Some(known) = known
            && matches!(known.has, Some(Has::Lease(_)))
            && message.redelivered
            && message.returns > 0
        {
            known.has = None;
            known.returns += 1;
            self.got
                .retain(|(of, other, _)| *of != queue || crate::account::number(other) != number);
        }
    }

    fn hear_answer(&mut self, reply_to: ReplyTo, answer: Answer) -> Result<(), String> {
        let Some(asked) = self.asked.remove(&reply_to) else { return Ok(()) };
        let answer = match answer {
            Answer::Messages(answer) => answer,
            Answer::Rejected(rejection) => return Err(format!("{asked:?}: {rejection}")),
            other => return Err(format!("{other:?}")),
        };
        match (asked, answer) {
            (Asked::Publish(number, queues, delayed), MessageAnswer::Published(came)) => {
                let expected = match queues.len() {
                    _ if delayed => Published::Delayed,
                    0 => Published::Unroutable,
                    queues => Published::Routed { queues },
                };
                if came != [Ok(expected)] {
                    return Err(format!("{number} to {queues:?} came to {came:?}"));
                }
                self.confirm(number, queues);
            }
            (Asked::Transact(index, published, acked), MessageAnswer::Transacted(came, _)) => {
                self.transactions.happened(index)?;
                let routed = |queues: usize| match queues {
                    0 => Published::Unroutable,
                    queues => Published::Routed { queues },
                };
                let expected: Vec<_> = published.iter().map(|(_, it)| routed(it.len())).collect();
                if came != expected {
                    return Err(format!("{published:?} came to {came:?}"));
                }
                for (number, queues) in published {
                    self.confirm(number, queues);
                }
                for (queue, number) in acked {
                    let queue = self.queues.get_mut(queue).unwrap();
                    queue.messages.get_mut(&number).unwrap().ended = true;
                }
            }
            (Asked::Settle(told), MessageAnswer::Settled(settled)) => {
                let lost = self.fault == Some(Fault::LosesAcks);
                let settled = settled.into_iter().map(|it| it.is_ok());
                let settled = settled.chain(std::iter::repeat(lost));
                for ((queue, number, verdict), done) in told.into_iter().zip(settled) {
                    let queue = self.queues.get_mut(queue).unwrap();
                    let known = queue.messages.get_mut(&number).unwrap();
                    // One whose lease ran out before may still come.
                    known.ended |= done && verdict != MessageVerdict::Requeue;
                    if !done {
                        known.returns += 1;
                    }
                }
            }
            (Asked::Lease(queue), MessageAnswer::Leased(messages)) => {
                for message in messages {
                    let (token, _) = message.lease.unwrap();
                    self.arrives(queue, message, Has::Lease(token), false)?;
                }
            }
            (Asked::Get(queue, connection, auto_ack), MessageAnswer::Got(Some(message), _)) => {
                if self.connections.contains(&connection) {
                    self.arrives(queue, *message, Has::Connection(connection), auto_ack)?;
                } else if auto_ack {
                    self.queues.get_mut(queue).unwrap().gone(&message);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn confirm(&mut self, number: u64, queues: BTreeSet<&'static str>) {
        for queue in queues {
            let queue = self.queues.get_mut(queue).unwrap();
            queue.messages.get_mut(&number).unwrap().confirmed = true;
        }
    }

    /// At the end all that is owed is there, and comes.
    fn drain(mut self) -> Result<(), String> {
        let all = self.shard.decided();
        let effects = self.shard.commit(all);
        self.hear(effects)?;
        self.crash();
        // All leases run out.
        for _ in 0..2000 {
            self.shard.advance(10);
            if !self.shard.tick() {
                self.shard.advance(30_000);
                if !self.shard.tick() {
                    break;
                }
            }
        }
        self.let_go(|_| true);
        let connection = *self.connections.first().unwrap();
        if self.random.percent(30) {
            self.delete("b");
        }
        let queues: Vec<_> = self.queues.keys().copied().collect();
        for queue in queues {
            let consumer = ConsumerId(self.fresh());
            self.consumers.insert(consumer, (connection, queue, false));
            let consume = ConsumeMessages {
                consumer,
                connection,
                queue: queue.into(),
                auto_ack: false,
                exclusive: false,
                priority: 0,
                credit: MessageCredit::of(10_000),
            };
            self.ask(MessageCommand::Consume(Box::new(consume)), Asked::Nothing);
        }
        while self.shard.tick() {}
        let all = self.shard.decided();
        let effects = self.shard.commit(all);
        self.hear(effects)?;
        for (name, queue) in &self.queues {
            let there: BTreeSet<_> = self
                .got
                .iter()
                .filter(|(of, ..)| of == name)
                .map(|(_, message, _)| number(message))
                .collect();
            if let Some(lost) = queue.owed().into_iter().find(|number| !there.contains(number)) {
                return Err(format!("{lost} of {name} was confirmed and is lost"));
            }
        }
        self.empty(connection)
    }

    fn delete(&mut self, queue: &'static str) {
        self.queues.remove(queue);
        let (if_unused, if_empty) = (false, false);
        let (queue, connection) = (queue.to_owned(), None);
        let delete = MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
        self.ask(delete, Asked::Nothing);
    }

    /// Once nothing is left of any message, no body is either.
    fn empty(mut self, connection: ConnectionId) -> Result<(), String> {
        let settlements =
            self.got.iter().map(|(_, got, _)| (got.tag, MessageVerdict::Ack)).collect();
        let settle = MessageCommand::Settle { connection, settlements, credit: Vec::new() };
        self.ask(settle, Asked::Nothing);
        let purge = MessageCommand::PurgeQueue { queue: GRAVES.to_owned(), connection: None };
        self.ask(purge, Asked::Nothing);
        while self.shard.tick() {}
        match self.shard.message_keys() {
            0 => Ok(()),
            left => Err(format!("{left} messages and bodies are left of nothing")),
        }
    }
}

fn settlement(
    queue: &str,
    tag: MessageTag,
    token: Token,
    verdict: MessageVerdict,
) -> MessageSettlement {
    let queue = queue_named(queue).to_owned();
    let message = MessageName { queue, urgency: tag.urgency, place: tag.place };
    MessageSettlement { message, token, verdict }
}
