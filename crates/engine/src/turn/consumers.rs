//! Who takes jobs: requests that wait for one answer, and streams that take jobs as they come. Each
//! has a credit, and stands in line while it has any. Volatile: gone with the connection or the
//! process. What is handed out to whom is decided elsewhere.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{ConsumerId, Credit, LeaseJobs, QueuePattern, ReplyTo};
use crate::ids::NamespaceId;
use crate::job::EndKind;
use crate::moment::Moment;
use crate::queueing::CreditLeft;
use crate::rejection::Rejection;
use crate::state::{SessionKey, Tally};

/// The order in which consumers came to stand in line.
pub(super) type Ticket = u64;

/// Which consumer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Taker {
    /// A request: it gets one answer.
    Once(ReplyTo),
    /// A stream: it gets deliveries until its credit is used, and goes on once it has more.
    Stream(ConsumerId),
}

/// One that takes jobs.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) ns: NamespaceId,
    /// What it asks for. Its `max` is not the credit of a stream.
    pub(super) request: Arc<LeaseJobs>,
    /// The weight of each of its queues; none where they are served in order.
    weights: Vec<u32>,
    /// What became of the settlements that came with a request.
    pub(super) settled: Vec<Result<EndKind, Rejection>>,
    credit: CreditLeft,
    /// There while it stands in line.
    ticket: Option<Ticket>,
}

impl Consumer {
    /// A request, with what became of its settlements.
    pub(super) fn once(
        ns: NamespaceId,
        request: Box<LeaseJobs>,
        settled: Vec<Result<EndKind, Rejection>>,
    ) -> Self {
        let (credit, weights) = (CreditLeft::new(request.max as u64, u64::MAX), Vec::new());
        Self { ns, request: Arc::from(request), weights, settled, credit, ticket: None }
    }

    /// A stream, before it gives any credit.
    pub(super) fn stream(ns: NamespaceId, request: LeaseJobs, weights: Vec<u32>) -> Self {
        let weights = if weights.iter().all(|it| *it == 0) { Vec::new() } else { weights };
        let (request, settled) = (Arc::new(request), Vec::new());
        Self { ns, request, weights, settled, credit: CreditLeft::new(0, 0), ticket: None }
    }

    /// How many jobs it takes now, and about how many bytes of args.
    pub(super) fn room(&self) -> (usize, usize) {
        let (jobs, bytes) = self.credit.left();
        let in_memory = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        (in_memory(jobs), in_memory(bytes))
    }

    pub(super) fn has_credit(&self) -> bool {
        !self.credit.is_used_up()
    }

    /// Whose it is.
    pub(super) fn session(&self) -> SessionKey {
        (self.ns, self.request.worker.clone(), self.request.session.clone())
    }

    /// What it asks for, with the queues in the order in which they are served this time: a queue
    /// is drawn with the chance that its weight has among those that are left.
    pub(super) fn asks(&self, moment: Moment) -> Arc<LeaseJobs> {
        if self.weights.is_empty() {
            return Arc::clone(&self.request);
        }
        let mut left: Vec<_> =
            self.request.queues.iter().zip(self.weights.iter().copied()).collect();
        let mut total: u64 = left.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut queues = Vec::with_capacity(left.len());
        // No other use within the moment draws from here.
        let first = self.ticket.unwrap_or(0).wrapping_mul(self.weights.len() as u64);
        let mut index = first.wrapping_add(1 << 40);
        while total > 0 {
            let mut at = moment.random(index) % total;
            index = index.wrapping_add(1);
            let drawn = left.iter().position(|(_, weight)| {
                let is_it = at < u64::from(*weight);
                at = at.saturating_sub(u64::from(*weight));
                is_it
            });
            let Some(drawn) = drawn else { break };
            let (queue, weight) = left.remove(drawn);
            total -= u64::from(weight);
            queues.push(queue.clone());
        }
        Arc::new(LeaseJobs { queues, ..LeaseJobs::clone(&self.request) })
    }
}

/// The consumers of a shard.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    next: Ticket,
    all: BTreeMap<Taker, Consumer>,
    /// Those that have credit, the one that has waited longest first.
    line: BTreeMap<Ticket, Taker>,
    /// Of those in line, who asks for a queue by its name, and who asks for queues by a prefix.
    exact: BTreeMap<(NamespaceId, String), BTreeSet<Ticket>>,
    prefix: BTreeMap<(NamespaceId, String), BTreeSet<Ticket>>,
    /// The lengths of these prefixes, each with how many have it. A queue's name is looked up by
    /// its beginnings of these lengths.
    lengths: BTreeMap<(NamespaceId, usize), usize>,
    /// The request and the stream of each session.
    requests: BTreeMap<SessionKey, ReplyTo>,
    streams: BTreeMap<SessionKey, ConsumerId>,
    /// How many streams each namespace has.
    streams_of: Tally,
    stream_count: usize,
    /// How many sets of tickets were looked into.
    #[cfg(test)]
    pub(super) looks: std::cell::Cell<usize>,
}

impl Consumers {
    /// Whether anybody stands in line.
    pub(super) fn any_in_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// How many streams there are, and how many of them in this namespace.
    pub(super) fn streams(&self, ns: NamespaceId) -> (usize, usize) {
        (self.stream_count, self.streams_of.of(ns))
    }

    /// How many streams there are.
    pub(super) fn stream_count(&self) -> usize {
        self.stream_count
    }

    pub(super) fn add(&mut self, taker: Taker, consumer: Consumer) {
        let session = consumer.session();
        match taker {
            Taker::Once(reply_to) if !session.2.is_empty() => {
                self.requests.insert(session, reply_to);
            }
            Taker::Once(_) => {}
            Taker::Stream(id) => {
                self.streams.insert(session, id);
                self.streams_of.add(consumer.ns);
                self.stream_count += 1;
            }
        }
        self.all.insert(taker, consumer);
        self.queue_up(taker);
    }

    pub(super) fn remove(&mut self, taker: Taker) -> Option<Consumer> {
        self.leave_line(taker);
        let consumer = self.all.remove(&taker)?;
        let session = consumer.session();
        match taker {
            Taker::Once(reply_to) => {
                if self.requests.get(&session) == Some(&reply_to) {
                    self.requests.remove(&session);
                }
            }
            Taker::Stream(id) => {
                if self.streams.get(&session) == Some(&id) {
                    self.streams.remove(&session);
                }
                self.streams_of.take(consumer.ns);
                self.stream_count -= 1;
            }
        }
        Some(consumer)
    }

    pub(super) fn get(&self, taker: Taker) -> Option<&Consumer> {
        self.all.get(&taker)
    }

    /// The request of that session that waits.
    pub(super) fn request_of(&self, session: &SessionKey) -> Option<ReplyTo> {
        self.requests.get(session).copied()
    }

    /// The stream of that session.
    pub(super) fn stream_of(&self, session: &SessionKey) -> Option<ConsumerId> {
        self.streams.get(session).copied()
    }

    /// A stream of a namespace, or of any.
    pub(super) fn first_stream(&self, ns: Option<NamespaceId>) -> Option<ConsumerId> {
        let from = (ns.unwrap_or_default(), String::new(), String::new());
        let (session, id) = self.streams.range(from..).next()?;
        ns.is_none_or(|ns| session.0 == ns).then_some(*id)
    }

    /// Gives a stream more credit. Answers whether it came to stand in line by that.
    pub(super) fn add_credit(&mut self, id: ConsumerId, credit: Credit) -> bool {
        let Some(consumer) = self.all.get_mut(&Taker::Stream(id)) else { return false };
        consumer.credit.add(CreditLeft::new(credit.jobs as u64, credit.bytes));
        self.queue_up(Taker::Stream(id))
    }

    /// A stream was handed so much, which its credit pays. Whatever is left of it stands at the end
    /// of the line.
    pub(super) fn pay(&mut self, id: ConsumerId, jobs: usize, bytes: usize) {
        let taker = Taker::Stream(id);
        self.leave_line(taker);
        let Some(consumer) = self.all.get_mut(&taker) else { return };
        consumer.credit.pay(jobs as u64, bytes as u64);
        self.queue_up(taker);
    }

    /// Whether it stands in line now and did not before.
    fn queue_up(&mut self, taker: Taker) -> bool {
        let Some(consumer) = self.all.get_mut(&taker) else { return false };
        if consumer.ticket.is_some() || !consumer.has_credit() {
            return false;
        }
        let ticket = self.next;
        self.next += 1;
        consumer.ticket = Some(ticket);
        self.line.insert(ticket, taker);
        for pattern in &consumer.request.queues {
            match pattern {
                QueuePattern::Exactly(name) => {
                    self.exact.entry((consumer.ns, name.clone())).or_default().insert(ticket);
                }
                QueuePattern::Prefix(prefix) => {
                    let of = (consumer.ns, prefix.clone());
                    if !self.prefix.contains_key(&of) {
                        *self.lengths.entry((consumer.ns, prefix.len())).or_default() += 1;
                    }
                    self.prefix.entry(of).or_default().insert(ticket);
                }
            }
        }
        true
    }

    fn leave_line(&mut self, taker: Taker) {
        let Some(consumer) = self.all.get_mut(&taker) else { return };
        let Some(ticket) = consumer.ticket.take() else { return };
        self.line.remove(&ticket);
        for pattern in &consumer.request.queues {
            match pattern {
                QueuePattern::Exactly(name) => {
                    drop_from(&mut self.exact, &(consumer.ns, name.clone()), ticket);
                }
                QueuePattern::Prefix(prefix) => {
                    if drop_from(&mut self.prefix, &(consumer.ns, prefix.clone()), ticket)
                        && let Entry::Occupied(mut of) =
                            self.lengths.entry((consumer.ns, prefix.len()))
                    {
                        *of.get_mut() -= 1;
                        if *of.get() == 0 {
                            of.remove();
                        }
                    }
                }
            }
        }
    }

    /// Who stands in line with that ticket.
    pub(super) fn taker_of(&self, ticket: Ticket) -> Option<Taker> {
        self.line.get(&ticket).copied()
    }

    /// Who waits longest for a queue, or longest of those who came after `after`.
    pub(super) fn next_for(
        &self,
        ns: NamespaceId,
        queue: &str,
        after: Option<Ticket>,
    ) -> Option<Ticket> {
        let from = after.map_or(0, |ticket| ticket + 1);
        let first = |of: Option<&BTreeSet<Ticket>>| {
            #[cfg(test)]
            self.looks.set(self.looks.get() + 1);
            of?.range(from..).next().copied()
        };
        let exact = first(self.exact.get(&(ns, queue.to_owned())));
        let lengths = self.lengths.range((ns, 0)..=(ns, queue.len()));
        let beginnings = lengths.filter_map(|((_, length), _)| queue.get(..*length));
        let prefixes =
            beginnings.filter_map(|prefix| first(self.prefix.get(&(ns, prefix.to_owned()))));
        exact.into_iter().chain(prefixes).min()
    }
}

/// Takes a ticket out of a set, and removes the set once it is empty. Whether it did.
fn drop_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<Ticket>>, key: &K, ticket: Ticket) -> bool {
    let Some(set) = sets.get_mut(key) else { return false };
    set.remove(&ticket);
    let gone = set.is_empty();
    if gone {
        sets.remove(key);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MonoMs, TimeMs};
    use crate::moment::{Clock, EngineTime};

    const NS: NamespaceId = NamespaceId(1);

    fn request(queues: &[&str], session: &str) -> LeaseJobs {
        LeaseJobs {
            queues: queues.iter().map(|it| QueuePattern::Exactly((*it).to_owned())).collect(),
            kinds: None,
            max: 5,
            wait_ms: 0,
            lease_ms: None,
            worker: "w".into(),
            session: session.into(),
            ask: None,
            seen: None,
            settle: Vec::new(),
            prefetch: true,
        }
    }

    fn stream(consumers: &mut Consumers, number: u64) -> ConsumerId {
        let id = ConsumerId(number);
        let consumer = Consumer::stream(NS, request(&["q"], &number.to_string()), vec![0]);
        consumers.add(Taker::Stream(id), consumer);
        id
    }

    fn next(consumers: &Consumers) -> Option<Taker> {
        consumers.taker_of(consumers.next_for(NS, "q", None)?)
    }

    #[test]
    fn who_has_credit_stands_in_line_and_goes_to_its_end_when_it_is_served() {
        let mut consumers = Consumers::default();
        let (one, two) = (stream(&mut consumers, 1), stream(&mut consumers, 2));
        assert_eq!(next(&consumers), None);
        let credit = Credit { jobs: 3, bytes: 10 };
        assert!(consumers.add_credit(one, credit) && consumers.add_credit(two, credit));
        assert!(!consumers.add_credit(one, Credit { jobs: 1, bytes: 0 }), "it stands there");
        assert_eq!(next(&consumers), Some(Taker::Stream(one)));
        consumers.pay(one, 1, 5);
        assert_eq!(next(&consumers), Some(Taker::Stream(two)));
        consumers.pay(two, 3, 5);
        assert_eq!(next(&consumers), Some(Taker::Stream(one)));
        consumers.pay(one, 1, 1000);
        assert_eq!(next(&consumers), None, "its bytes are used up");
        assert!(!consumers.add_credit(one, Credit { jobs: 0, bytes: 995 }));
        assert!(consumers.add_credit(one, Credit { jobs: 0, bytes: 1 }));
        let room = consumers.get(Taker::Stream(one)).map(Consumer::room);
        assert_eq!(room, Some((2, 1)));
        consumers.remove(Taker::Stream(one));
        assert!(!consumers.any_in_line() && consumers.exact.is_empty());
        assert_eq!(consumers.streams(NS), (1, 1));
    }

    #[test]
    fn a_queue_is_drawn_as_often_as_its_weight_says() {
        let weights = vec![1, 3];
        let mut consumer = Consumer::stream(NS, request(&["a", "b"], "s"), weights);
        let time = EngineTime::new(TimeMs(0), MonoMs(0));
        let mut first = 0;
        for random in 0..1000 {
            consumer.ticket = Some(random);
            let clock = Clock { wall: TimeMs(0), mono: MonoMs(0), random: random / 10 };
            let queues = consumer.asks(Moment::new(clock, time)).queues.clone();
            assert_eq!(queues.len(), 2, "each is served, sooner or later");
            first += usize::from(queues[0] == QueuePattern::Exactly("a".into()));
        }
        assert!((200..300).contains(&first), "{first} of 1000");
    }
}
