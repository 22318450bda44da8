//! A shard at work: its driver and state belong to whoever has it, one thread at a time, which
//! carries out what the driver wants. That is the shard's own thread, or for a small turn that of
//! the caller while the shard rests. Nothing here waits for a disk, except where a small group is
//! committed, and nothing is decided but which thread does what.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_engine::driver::{Action, Admit, Driver, Ending, Input};
use longshore_engine::{
    Answer, Command, ConsumerId, Delivery, MessageCommand, MessageDelivery, Position, SealedGroup,
};
use longshore_store::Lsm;

use crate::clock::Clocks;
use crate::commit::{Committer, group_of};
use crate::courier::{HandedJobs, HandedMessages, News, Place, Round, Subscriber};
use crate::flush::FlushThread;
use crate::inbox::{Call, Flushed, GiveBacks, Rest, Signals};
use crate::shard_thread::panic_reason;
use crate::shared::{ShardShared, ShardState};

/// How long one turn goes on taking up calls.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Groups up to this many calls and bytes are committed by the thread that decided them: two
/// wake-ups cost more than what could be decided meanwhile. Measured on two cores: a lone writer
/// waits about 10 us less; a crowd of 64 gets through half as fast if all its groups are so.
const INLINE_CALLS_MAX: usize = 4;
const INLINE_BYTES_MAX: usize = 64 << 10;
/// A disk that takes longer for a group is waited for by no caller.
const GUEST_COMMIT_MAX: Duration = Duration::from_millis(1);
/// Namespaces and queues whose figures are told in one turn.
const STATS_TOLD: usize = 250;

/// How the thread ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// As asked, with everything answered and durable.
    Stopped,
    /// At once.
    Abandoned,
    /// With a fault.
    Fault(String),
}

/// A shard that serves: its driver with the threads around it.
pub(crate) struct Shard {
    shared: Arc<ShardShared>,
    driver: Driver<Lsm, Place>,
    committer: Committer,
    flush: FlushThread,
    clocks: Clocks,
    subscribers: HashMap<ConsumerId, Subscriber>,
    round: Vec<Call>,
    actions: Vec<Action<Place>>,
    answers: Round,
    /// The last group was small and its commit short, so a caller may take the next turn.
    takes_guests: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("index", &self.shared.index).finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(
        shared: Arc<ShardShared>,
        driver: Driver<Lsm, Place>,
        committer: Committer,
        flush: FlushThread,
        clocks: Clocks,
    ) -> Self {
        Self {
            shared,
            driver,
            committer,
            flush,
            clocks,
            subscribers: HashMap::new(),
            round: Vec::new(),
            actions: Vec::new(),
            answers: Round::default(),
            takes_guests: false,
        }
    }

    /// Takes turns until the shard ends; between them it rests, and callers may take some.
    pub(crate) fn run(mut self: Box<Self>) -> (End, Box<Self>) {
        let shared = Arc::clone(&self.shared);
        loop {
            // The shard outlives a panic: its callers shall not learn of its end before its state.
            match catch_unwind(AssertUnwindSafe(|| self.step())) {
                Ok(Ok(rest)) => self = shared.inbox.rest(self, rest),
                Ok(Err(end)) => return (end, self),
                Err(panic) => return (End::Fault(panic_reason(&*panic)), self),
            }
        }
    }

    /// Takes a turn on a thread that has made a call, and lets the shard rest again.
    pub(crate) fn guest_turn(mut self: Box<Self>) {
        let shared = Arc::clone(&self.shared);
        let turn = catch_unwind(AssertUnwindSafe(|| {
            self.take_turn();
            self.rest()
        }));
        let rest = turn.unwrap_or_else(|panic| {
            shared.fail(&panic_reason(&*panic));
            Rest { until: None, admit: Admit::Nothing, takes_guests: false }
        });
        shared.inbox.put_back(self, rest);
    }

    /// Writes the state to disk, so that the next start replays nothing, and marks the journal.
    pub(crate) fn finish(self) {
        let Self { shared, mut driver, committer, flush, mut clocks, .. } = self;
        drop(flush);
        let (flusher, durable) = (driver.tree().flusher(), driver.turn().durable());
        // What is sealed already may leave no room for what is not.
        let persisted = flusher.flush_sealed(durable).and_then(|_| {
            driver.seal_tree();
            flusher.flush_sealed(durable)
        });
        if let Err(error) = persisted {
            let shard = shared.index;
            tracing::error!(shard, %error, "not flushed: the next start will replay");
        }
        let (persisted, mut last) = (driver.tree().persisted_position(), Vec::new());
        match shared.streams.sync() {
            Ok(events) => {
                let flushed = Input::Flushed { persisted, events };
                driver.step(flushed, clocks.now().1, &mut last);
            }
            Err(why) => {
                tracing::error!(shard = shared.index, why, "events are not synced: likewise");
            }
        }
        committer.end(&last);
    }

    /// Hears what there is, takes a turn, and says how to rest; or how the shard ends.
    fn step(&mut self) -> Result<Rest, End> {
        let signals = self.shared.inbox.take_signals();
        self.obey(signals)?;
        self.take_turn();
        // What is not taken up any more, since no flush has room for it, does not hold the end up.
        let has_work = self.shared.inbox.has_work(self.driver.admit());
        if self.driver.is_finished(self.clocks.now().1) && !has_work {
            return Err(End::Stopped);
        }
        Ok(self.rest())
    }

    fn obey(&mut self, signals: Signals) -> Result<(), End> {
        let ending = signals.ending();
        if ending == Some(Ending::Abandon) {
            return Err(End::Abandoned);
        }
        if let Some(why) = signals.fault {
            return Err(End::Fault(why));
        }
        if let Some(durable) = signals.committed {
            self.committed(durable);
        } else if signals.starved {
            self.tell(Input::Starved);
        }
        signals.flush_waits.into_iter().for_each(|waits| self.tell(Input::FlushWaits(waits)));
        if let Some(Flushed { persisted, events }) = signals.flushed {
            self.tell(Input::Flushed { persisted, events });
        }
        for reply_to in signals.disconnected {
            if self.driver.is_awaited(reply_to) {
                self.shared.metrics.disconnects.add(1);
                self.tell(Input::CallerGone(reply_to));
            }
        }
        for consumer in signals.unsubscribed {
            self.tell(Input::ConsumerGone(consumer));
        }
        self.give_back(signals.give_back);
        for (after, reply) in signals.stats {
            // Whoever asked may have gone.
            let clock = self.clocks.now().1;
            drop(reply.send(self.driver.turn().stats(clock, after, STATS_TOLD)));
        }
        if let Some(ending) = ending {
            if ending == Ending::Finish {
                self.shared.inbox.refuse_more();
            }
            self.tell(Input::End(ending));
        }
        Ok(())
    }

    fn give_back(&mut self, back: GiveBacks) {
        for (namespace, command) in back {
            self.tell(Input::GiveBack { namespace, command });
        }
    }

    /// Takes up calls for about a millisecond, has them decided and what is ready done.
    fn take_turn(&mut self) {
        let begun = Instant::now();
        let disk = self.shared.admission.disk();
        if disk != self.driver.disk() {
            self.tell(Input::Disk(disk));
        }
        let mut round = std::mem::take(&mut self.round);
        loop {
            let (more, back) = self.shared.inbox.take_round(&mut round, self.driver.admit());
            self.give_back(back);
            for call in round.drain(..) {
                self.take_up(call);
            }
            if !more || begun.elapsed() >= TURN_MAX {
                break;
            }
        }
        self.round = round;
        self.tell(Input::EndTurn);
    }

    fn take_up(&mut self, mut call: Call) {
        let subscriber = call.caller.subscriber.take();
        // Whoever waits may have gone while the call waited; the signal came too early then.
        if call.caller.reply.is_closed() {
            self.shared.metrics.disconnects.add(1);
            return;
        }
        self.shared.metrics.commands[call.class as usize].add(1);
        let consumer = match &call.request.command {
            Command::Subscribe(command) => Some(command.consumer),
            Command::Messages(MessageCommand::Consume(command)) => Some(command.consumer),
            _ => None,
        };
        if let (Some(consumer), Some(subscriber)) = (consumer, subscriber) {
            if subscriber.news.is_closed() {
                return;
            }
            self.subscribers.insert(consumer, *subscriber);
        }
        let clock = self.clocks.now().1;
        self.driver.step(Input::Call(call), clock, &mut self.actions);
    }

    fn committed(&mut self, durable: Position) {
        self.shared.set_durable(durable);
        self.shared.set_engine_time(self.driver.turn().engine_time());
        self.tell(Input::Committed(durable));
    }

    /// Tells the driver something and does what it wants.
    fn tell(&mut self, input: Input<Place>) {
        let clock = self.clocks.now().1;
        self.driver.step(input, clock, &mut self.actions);
        if self.actions.is_empty() {
            return;
        }
        let (mut actions, mut durable) = (std::mem::take(&mut self.actions), None);
        for action in actions.drain(..) {
            durable = self.carry_out(action).or(durable);
        }
        self.actions = actions;
        self.answers.end();
        self.shared.metrics.pending_calls.set(self.driver.unanswered() as u64);
        if let Some(durable) = durable {
            self.committed(durable);
        }
    }

    /// Does something, and answers how far the journal is where it was appended to.
    fn carry_out(&mut self, action: Action<Place>) -> Option<Position> {
        match action {
            Action::Reply { caller, answer, give_back_in, .. } => {
                self.count_rejections(&answer);
                let (caller, in_flight) = caller.into_parts();
                // First, so that whoever has the answer finds the memory free.
                drop(in_flight);
                self.answers.tell(&self.shared, caller, answer, give_back_in);
            }
            Action::Deliver { consumer, jobs } => self.deliver(consumer, jobs),
            Action::DeliverMessages { consumer, messages } => {
                self.deliver_messages(consumer, messages);
            }
            Action::Close { consumer, reason } => {
                self.inform_last(consumer, News::Closed(consumer, reason));
            }
            Action::Left { consumer } => self.inform_last(consumer, News::Left),
            Action::Commit { group, calls } => return self.commit(group, calls),
            Action::Flush { durable } => self.flush.flush(durable),
            Action::Truncate { before } => self.committer.truncate_before(before),
            Action::Mark => self.committer.mark(),
            Action::Shortage { begins } => self.note_shortage(begins),
            // Its caller learns why from the shard's state.
            Action::Dismiss { caller } => drop(caller),
            Action::Unheard { .. } | Action::Undelivered { .. } => {}
        }
        None
    }

    /// Commits a small group here, and has others committed.
    fn commit(&mut self, mut group: SealedGroup, calls: usize) -> Option<Position> {
        // What is ready goes before the disk is waited for: other shards may have left answers in
        // the same parcels and expect that whoever began them tells of them.
        self.answers.end();
        self.shared.streams.begin(std::mem::take(&mut group.stream_changes));
        let group = group_of(group);
        self.takes_guests = false;
        if calls > INLINE_CALLS_MAX || group.len_bytes() > INLINE_BYTES_MAX {
            self.committer.hand_over(group);
            return None;
        }
        let begun = Instant::now();
        let durable = self.committer.commit_here(group);
        self.takes_guests = durable.is_some() && begun.elapsed() <= GUEST_COMMIT_MAX;
        durable
    }

    fn deliver(&mut self, consumer: ConsumerId, jobs: Vec<Delivery>) {
        let Some(subscriber) = self.subscribers.get(&consumer) else {
            let (shard, jobs) = (self.shared.index, jobs.len());
            return tracing::error!(shard, jobs, "a delivery has no consumer: a bug");
        };
        let jobs = HandedJobs::new(&self.shared, subscriber, jobs);
        self.answers.inform(subscriber, News::Jobs(jobs));
    }

    fn deliver_messages(&mut self, consumer: ConsumerId, messages: Vec<MessageDelivery>) {
        let Some(subscriber) = self.subscribers.get(&consumer) else {
            let (shard, messages) = (self.shared.index, messages.len());
            return tracing::error!(shard, messages, "a delivery has no consumer: a bug");
        };
        let messages = HandedMessages::new(&self.shared, subscriber, consumer, messages);
        self.answers.inform(subscriber, News::Messages(messages));
    }

    fn inform_last(&mut self, consumer: ConsumerId, news: News) {
        if let Some(subscriber) = self.subscribers.remove(&consumer) {
            self.answers.inform(&subscriber, news);
        }
    }

    fn note_shortage(&self, begins: bool) {
        let (shard, waiting) = (self.shared.index, self.driver.unanswered());
        if !begins {
            tracing::info!(shard, "the disk has space, the shard serves again");
            return self.shared.set_state(ShardState::Serving);
        }
        tracing::error!(shard, waiting, "the disk is full: nothing is taken in");
        let why = "the disk is full and its reserve is used up".into();
        self.shared.set_state(ShardState::WaitingForSpace { why });
    }

    fn count_rejections(&self, answer: &Answer) {
        let metrics = &self.shared.metrics;
        match answer {
            Answer::Rejected(rejection) => metrics.rejected(rejection.code()),
            Answer::Leased { settled, .. } | Answer::Settled(settled) => {
                settled
                    .iter()
                    .filter_map(|result| result.as_ref().err())
                    .for_each(|rejection| metrics.rejected(rejection.code()));
            }
            Answer::Extended(extended) => {
                extended
                    .iter()
                    .filter_map(|result| result.as_ref().err())
                    .for_each(|rejection| metrics.rejected(rejection.code()));
            }
            _ => {}
        }
    }

    /// How the shard rests: until something is due.
    fn rest(&mut self) -> Rest {
        let (now, clock) = self.clocks.now();
        let rest = self.driver.rest(clock);
        let until = rest.wake_ms.map(|ms| now + Duration::from_millis(ms));
        Rest { until, admit: rest.admit, takes_guests: self.takes_guests && rest.is_idle }
    }
}
