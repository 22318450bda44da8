//! Goes between one thread of a face and the shards: hands over many calls with one wake-up and
//! brings many answers with one. It knows nothing of what either says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_engine::{Answer, CloseReason, Command, ConsumerId, Delivery, MessageDelivery};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::admission::InFlight;
use crate::gauge::{Gauge, Held};
use crate::shared::ShardShared;

/// Takes the calls of one thread to the shards and brings their answers back.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    parcels: Mutex<Vec<Parcel>>,
    bell: Notify,
}

/// What is on its way.
#[derive(Debug)]
enum Parcel {
    Answer { from: Arc<ShardShared>, caller: Caller, answer: Answer, give_back_in: Option<String> },
    News { to: mpsc::UnboundedSender<News>, news: News },
}

impl Parcel {
    fn arrive(self) {
        match self {
            Self::Answer { from, caller, answer, give_back_in } => {
                caller.tell(&from, answer, give_back_in);
            }
            // Where nobody takes it, it is dropped here.
            Self::News { to, news } => drop(to.send(news)),
        }
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Reply {
    /// To one who waits for it alone.
    Once(oneshot::Sender<Handover>),
    /// Into the line of all that a connection hears.
    Line(Line),
}

impl Reply {
    /// Whether nobody waits for it any more. What a connection has asked for is done even where the
    /// connection has ended meanwhile.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Once(reply) => reply.is_closed(),
            Self::Line(_) => false,
        }
    }
}

/// A place in the line of what a connection hears. Dropped without an answer, it says so.
#[derive(Debug)]
pub(crate) struct Line {
    to: mpsc::UnboundedSender<News>,
    number: u64,
    is_answered: bool,
}

impl Line {
    /// A place that is told by this number.
    pub(crate) fn new(to: mpsc::UnboundedSender<News>, number: u64) -> Self {
        Self { to, number, is_answered: false }
    }

    fn tell(mut self, answer: Answer) {
        self.is_answered = true;
        // The connection may have ended.
        let _ = self.to.send(News::Answer { number: self.number, answer: Box::new(answer) });
    }

    /// It is not to say that there is no answer: whoever asked knows already.
    pub(crate) fn withdraw(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_answered {
            let _ = self.to.send(News::Unanswered { number: self.number });
        }
    }
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) reply: Reply,
    /// Who brings it; where nobody does, the caller's thread is woken for this answer alone.
    pub(crate) courier: Option<Arc<Courier>>,
    pub(crate) in_flight: InFlight,
    /// Who gets what is delivered, where the call subscribes.
    pub(crate) subscriber: Option<Box<Subscriber>>,
}

impl Place {
    /// The caller, and what it holds until its answer is there.
    pub(crate) fn into_parts(self) -> (Caller, InFlight) {
        (Caller { reply: self.reply, courier: self.courier }, self.in_flight)
    }
}

/// Who gets an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    reply: Reply,
    courier: Option<Arc<Courier>>,
}

impl Caller {
    /// Gives the answer to the caller, who may go before having it.
    fn tell(self, shard: &Arc<ShardShared>, answer: Answer, give_back_in: Option<String>) {
        let reply = match self.reply {
            Reply::Once(reply) => reply,
            Reply::Line(line) => return line.tell(answer),
        };
        let owner = give_back_in.map(|namespace| (Arc::clone(shard), namespace));
        // Where it was not sent it is dropped here, and else wherever its caller is.
        drop(reply.send(Handover { answer: Some(answer), owner }));
    }
}

/// An answer between the shard and whoever asked. Until it is taken, nobody else knows of the
/// leases in it: wherever it is dropped, they are given back.
#[derive(Debug)]
pub(crate) struct Handover {
    /// There until it is taken.
    answer: Option<Answer>,
    /// The shard and the namespace that leases go back to.
    owner: Option<(Arc<ShardShared>, String)>,
}

impl Handover {
    /// The answer is its caller's from here on.
    pub(crate) fn take(mut self) -> Answer {
        self.answer.take().expect("it is taken once: this consumes it")
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        let Some((shard, namespace)) = self.owner.take() else { return };
        if let Some(command) = answer.gives_back() {
            shard.inbox.signal(|signals| signals.give_back.push((namespace, command)));
        }
    }
}

/// Who gets what a shard delivers. The credit that was given bounds what lies there.
#[derive(Debug)]
pub struct Subscriber {
    pub(crate) news: mpsc::UnboundedSender<News>,
    pub(crate) courier: Option<Arc<Courier>>,
    pub(crate) namespace: String,
    /// Where jobs on their way count.
    pub gauges: Vec<Arc<Gauge>>,
}

/// What a subscriber gets.
#[derive(Debug)]
pub enum News {
    /// Jobs to run.
    Jobs(HandedJobs),
    /// Messages for one of the consumers of a connection.
    Messages(HandedMessages),
    /// Nothing more for this consumer, for this reason.
    Closed(ConsumerId, CloseReason),
    /// The answer to what a connection has asked.
    Answer {
        /// What it was asked with.
        number: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// Nobody answers what a connection has asked.
    Unanswered {
        /// What it was asked with.
        number: u64,
    },
    /// Nothing more, as it wished itself.
    Left,
}

/// Jobs between the shard and their worker's connection. Those that are not taken, wherever they
/// are dropped, are given back.
#[derive(Debug)]
pub struct HandedJobs {
    jobs: VecDeque<Delivery>,
    /// Bytes of those that were not taken yet.
    held: Vec<Held>,
    shard: Arc<ShardShared>,
    namespace: String,
}

impl HandedJobs {
    pub(crate) fn new(shard: &Arc<ShardShared>, to: &Subscriber, jobs: Vec<Delivery>) -> Self {
        let (shard, namespace) = (Arc::clone(shard), to.namespace.clone());
        let bytes = jobs.iter().map(bytes_of).sum::<usize>() as u64;
        let count = |gauge| {
            let mut held = Held::new(gauge);
            held.add_in_any_case(bytes);
            held
        };
        let held = to.gauges.iter().map(count).collect();
        Self { jobs: jobs.into(), held, shard, namespace }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether all were taken.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Those that were not taken yet.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.jobs.iter()
    }

    /// Takes the next one: the worker's connection has it from here on.
    pub fn take(&mut self) -> Option<Delivery> {
        let job = self.jobs.pop_front()?;
        self.held.iter_mut().for_each(|held| held.give(bytes_of(&job) as u64));
        Some(job)
    }
}

/// Bytes of a job in a message, about.
pub fn bytes_of(job: &Delivery) -> usize {
    job.args.len() + job.cursor.as_deref().map_or(0, <[u8]>::len) + 256
}

impl Drop for HandedJobs {
    fn drop(&mut self) {
        if !self.jobs.is_empty() {
            give_back(&self.shard, std::mem::take(&mut self.namespace), self.jobs.iter());
        }
    }
}

fn give_back<'a>(shard: &ShardShared, namespace: String, jobs: impl Iterator<Item = &'a Delivery>) {
    let command = Command::SettleJobs(jobs.map(Delivery::released).collect());
    shard.inbox.signal(|signals| signals.give_back.push((namespace, command)));
}

/// Messages between the shard and the connection of their consumer. Where they are dropped, their
/// consumer has gone: they go back to their old places.
#[derive(Debug)]
pub struct HandedMessages {
    consumer: ConsumerId,
    messages: Vec<MessageDelivery>,
    shard: Arc<ShardShared>,
    namespace: String,
}

impl HandedMessages {
    pub(crate) fn new(
        shard: &Arc<ShardShared>,
        to: &Subscriber,
        consumer: ConsumerId,
        messages: Vec<MessageDelivery>,
    ) -> Self {
        let (shard, namespace) = (Arc::clone(shard), to.namespace.clone());
        Self { consumer, messages, shard, namespace }
    }

    /// The consumer and its messages: they are its connection's from here on, until it settles them
    /// or ends.
    pub fn take(mut self) -> (ConsumerId, Vec<MessageDelivery>) {
        (self.consumer, std::mem::take(&mut self.messages))
    }
}

impl Drop for HandedMessages {
    fn drop(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let command = MessageDelivery::untaken(self.consumer, &self.messages);
        let namespace = std::mem::take(&mut self.namespace);
        self.shard.inbox.signal(|signals| signals.give_back.push((namespace, command)));
    }
}

/// Couriers that have answers and were not told yet.
#[derive(Debug, Default)]
pub(crate) struct Round(Vec<Arc<Courier>>);

impl Round {
    /// Has the answer brought to the caller, at the latest when the round ends.
    pub(crate) fn tell(
        &mut self,
        shard: &Arc<ShardShared>,
        mut caller: Caller,
        answer: Answer,
        give_back_in: Option<String>,
    ) {
        let courier = caller.courier.take();
        let from = Arc::clone(shard);
        self.bring(courier, Parcel::Answer { from, caller, answer, give_back_in });
    }

    /// Has news brought to a subscriber, at the latest when the round ends.
    pub(crate) fn inform(&mut self, to: &Subscriber, news: News) {
        self.bring(to.courier.clone(), Parcel::News { to: to.news.clone(), news });
    }

    fn bring(&mut self, courier: Option<Arc<Courier>>, parcel: Parcel) {
        let Some(courier) = courier else { return parcel.arrive() };
        let mut parcels = courier.parcels();
        parcels.push(parcel);
        let first = parcels.len() == 1;
        drop(parcels);
        // Whoever brought the first one rings.
        if first {
            self.0.push(courier);
        }
    }

    /// Wakes the threads that have answers.
    pub(crate) fn end(&mut self) {
        self.0.drain(..).for_each(|courier| courier.ring());
    }
}

impl Courier {
    /// Calls were left with a shard, or answers here.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Goes to and fro. Runs on the thread whose calls and answers these are.
    pub(crate) async fn run(&self, shards: &[Arc<ShardShared>]) {
        let mut parcels = Vec::new();
        loop {
            self.bell.notified().await;
            for shard in shards {
                if let Some(shard) = shard.inbox.hand_over() {
                    shard.guest_turn();
                }
            }
            std::mem::swap(&mut parcels, &mut *self.parcels());
            parcels.drain(..).for_each(Parcel::arrive);
        }
    }

    /// No code between lock and unlock panics half-way through a change.
    fn parcels(&self) -> MutexGuard<'_, Vec<Parcel>> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
