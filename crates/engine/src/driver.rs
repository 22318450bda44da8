//! The driver of a shard: everything that is decided around its turn, without a thread, a clock, a
//! disk or a network. Inputs come in, actions go out. The server carries the actions out, or the
//! simulator does: both run this very code.
//!
//! [`Driver::step`] takes one thing in. [`Waiting`] holds calls until their turn, [`Start`] makes a
//! driver of a state and a journal, [`DiskMarks`] say what a disk's room allows.

mod act;
mod class;
mod disk;
mod faults;
mod flushing;
mod give_back;
mod space;
mod start;
#[cfg(test)]
mod tests;
mod tree;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

pub use act::{Action, Ending, Input};
pub use class::{Class, bytes_of, enqueues};
pub use disk::{DiskLevel, DiskMarks, ReserveMove, Space};
pub use faults::{Fault, Faults, NoFaults};
use flushing::Flushing;
use give_back::GiveBacks;
use space::Shortage;
pub use start::{Start, StartFault};
pub use tree::Tree;
use tree::{tree, tree_mut};
pub use waiting::{Admit, Call, InboxLimits, Refused, Waiting};

use crate::Position;
use crate::answer::Delivery;
use crate::command::{Command, ConsumerId, ReplyTo, Request};
use crate::effect::Effect;
use crate::ids::MonoMs;
use crate::message::{MessageCommand, MessageDelivery};
use crate::moment::Clock;
use crate::turn::Turn;

/// Bounds that a driver keeps to, and when it does what has no bound of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// A group of this size, in bytes, is written before anything is added to it.
    pub group_bytes_max: usize,
    /// Bytes of journal that a restart may have to replay. Default: 256 MiB.
    pub journal_bytes_max: u64,
    /// How long a change stays out of the state on disk, in milliseconds. Default: 60 s.
    pub age_ms_max: u64,
    /// Settlements may fill a memtable up to this many bytes while the disk is full.
    pub crammed_bytes: usize,
    /// After so long without a group, in milliseconds, the journal is marked.
    pub quiet_ms: u64,
}

impl Policy {
    /// The defaults, where a memtable holds so many bytes.
    pub fn of(memtable_bytes: usize) -> Self {
        Self {
            group_bytes_max: 24 << 20,
            journal_bytes_max: 256 << 20,
            age_ms_max: 60_000,
            crammed_bytes: 4 * memtable_bytes,
            quiet_ms: 10,
        }
    }
}

/// How often it is looked whether jobs may be granted again, in milliseconds.
const GRANTS_LOOK_MS: u64 = 1_000;

/// How a shard rests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rest {
    /// Milliseconds until its turn is due, whether anything comes in or not.
    pub wake_ms: Option<u64>,
    /// What it takes up now.
    pub admit: Admit,
    /// Nothing is under way, and everything may be taken up.
    pub is_idle: bool,
}

/// A call that has no answer yet.
#[derive(Debug)]
struct Unanswered<C> {
    /// Unless it has gone.
    caller: Option<C>,
    /// The namespace, where a lease that comes to nobody is to be given back.
    give_back_in: Option<String>,
}

/// Who gets deliveries.
#[derive(Debug)]
struct Consumer {
    namespace: String,
    /// It takes messages of a connection, not jobs.
    of_messages: bool,
    gone: bool,
}

impl Consumer {
    fn new(namespace: &str, of_messages: bool) -> Self {
        Self { namespace: namespace.to_owned(), of_messages, gone: false }
    }
}

/// A shard at work, with all that is under way around its turn. `C` is whoever waits for an answer.
#[derive(Debug)]
pub struct Driver<M, C, F = NoFaults> {
    turn: Turn,
    /// What the turn's map is.
    tree: PhantomData<M>,
    faults: F,
    policy: Policy,
    unanswered: BTreeMap<ReplyTo, Unanswered<C>>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    /// Those of them that have gone, each with the position that its last delivery waits for at
    /// most.
    leaving: VecDeque<(Position, ConsumerId)>,
    give_backs: GiveBacks,
    /// Calls whose records are in the group that is being built.
    calls_in_group: usize,
    /// The last position of the group that is being made durable.
    in_flight: Option<Position>,
    /// When the journal is to be marked, unless a group comes first.
    mark_at: Option<MonoMs>,
    flushing: Flushing,
    shortage: Shortage,
    /// What the disk allows.
    disk: DiskLevel,
    stopping: bool,
}

impl<M: Tree, C, F: Faults> Driver<M, C, F> {
    /// A driver of a shard whose first group is in flight.
    fn new(turn: Turn, policy: Policy, faults: F, clock: Clock, journal_bytes: u64) -> Self {
        Self {
            tree: PhantomData,
            faults,
            unanswered: BTreeMap::new(),
            consumers: BTreeMap::new(),
            leaving: VecDeque::new(),
            give_backs: GiveBacks::default(),
            calls_in_group: 0,
            in_flight: Some(turn.position()),
            mark_at: None,
            flushing: Flushing::new(clock.mono, journal_bytes),
            shortage: Shortage::default(),
            disk: DiskLevel::Ample,
            stopping: false,
            policy,
            turn,
        }
    }

    /// Takes one thing in. What is to be done for it is added to `out`, in order.
    pub fn step(&mut self, input: Input<C>, clock: Clock, out: &mut Vec<Action<C>>) {
        match input {
            Input::Call(call) => self.take_up(call, clock, out),
            Input::EndTurn => self.end_turn(clock, out),
            Input::Committed(durable) => self.committed(durable, clock, out),
            Input::Flushed { persisted, events } => self.flushed(persisted, events, out),
            Input::Starved => {
                self.shortage.starved = true;
                if self.faults.has(Fault::StarvedIsDurable) {
                    self.release(self.turn.position(), out);
                }
                self.heed_space(clock, out);
            }
            Input::FlushWaits(waits) => {
                self.shortage.flush_waits = waits;
                self.heed_space(clock, out);
            }
            Input::Disk(level) => {
                self.disk = level;
                self.turn.set_grants(self.may_grant());
            }
            Input::CallerGone(reply_to) => drop(self.let_go(reply_to)),
            Input::ConsumerGone(consumer) => self.consumer_gone(consumer, out),
            Input::GiveBack { namespace, command } => {
                if !self.faults.has(Fault::StrandedReturn) {
                    self.give_backs.add(namespace, command);
                }
            }
            Input::End(ending) => {
                self.turn.begin_stop(clock);
                self.stopping |= ending == Ending::Finish;
            }
        }
    }

    fn take_up(&mut self, call: Call<C>, clock: Clock, out: &mut Vec<Action<C>>) {
        let Call { mut request, caller, .. } = call;
        if self.shortage.refusing {
            // A connection ends once, and gives back what it has.
            if let Command::Messages(MessageCommand::CloseConnection { .. }) = request.command {
                self.give_backs.add(request.namespace, request.command);
            }
            return out.push(Action::Dismiss { caller });
        }
        self.submit_give_backs(clock);
        let namespace = &request.namespace;
        let mut give_back_in = None;
        match &mut request.command {
            Command::LeaseJobs(lease) => {
                if !self.may_grant() {
                    lease.max = 0;
                }
                // With a number, the worker asks again and gets the same answer.
                let goes_back = lease.ask.is_none() || self.faults.has(Fault::TakenBack);
                give_back_in = goes_back.then(|| namespace.clone());
            }
            Command::Messages(MessageCommand::Lease(_)) => give_back_in = Some(namespace.clone()),
            Command::Subscribe(command) => {
                self.consumers.insert(command.consumer, Consumer::new(namespace, false));
            }
            Command::Messages(MessageCommand::Consume(command)) => {
                self.consumers.insert(command.consumer, Consumer::new(namespace, true));
            }
            _ => {}
        }
        let unanswered = Unanswered { caller: Some(caller), give_back_in };
        self.unanswered.insert(request.reply_to, unanswered);
        self.calls_in_group += 1;
        self.turn.submit(request, clock);
    }

    /// Does what is due, and what has to come of what was taken up.
    fn end_turn(&mut self, clock: Clock, out: &mut Vec<Action<C>>) {
        self.heed_space(clock, out);
        if !self.shortage.refusing || self.faults.has(Fault::WorksWhileRefusing) {
            self.submit_give_backs(clock);
            if self.room() > Admit::Nothing || self.faults.has(Fault::TicksWithoutRoom) {
                self.turn.tick(clock);
            }
        }
        let early = self.faults.has(Fault::AnswerBeforeCommit);
        let durable = if early { self.turn.position() } else { self.turn.durable() };
        self.release(durable, out);
        self.seal(clock, out);
        self.rotate_if_due(clock, out);
        let quiet = self.mark_at.is_some_and(|at| at <= clock.mono);
        if quiet && !self.faults.has(Fault::UnmarkedRest) {
            self.mark_at = None;
            out.push(Action::Mark);
        }
    }

    /// Has the group made durable, one at a time.
    fn seal(&mut self, clock: Clock, out: &mut Vec<Action<C>>) {
        if self.in_flight.is_some() && !self.faults.has(Fault::TwoGroups) {
            return;
        }
        let calls = std::mem::take(&mut self.calls_in_group);
        let Some(group) = self.turn.seal() else { return };
        self.in_flight = Some(group.last());
        self.mark_at = None;
        self.flushing.appended(clock.mono, group.bytes.len());
        out.push(Action::Commit { group, calls });
    }

    fn committed(&mut self, durable: Position, clock: Clock, out: &mut Vec<Action<C>>) {
        self.in_flight = None;
        self.shortage.starved = false;
        self.mark_at = Some(clock.mono.plus(self.policy.quiet_ms));
        self.turn.set_durable(durable);
        if self.flushing.take_sealed(durable) {
            out.push(Action::Flush { durable });
        }
        self.release(durable, out);
        self.let_leave(out);
        self.heed_space(clock, out);
    }

    /// Lets out what waited for `durable` at most.
    fn release(&mut self, durable: Position, out: &mut Vec<Action<C>>) {
        while let Some(effect) = self.turn.next_effect(durable) {
            match effect {
                Effect::Reply { reply_to, answer } => self.reply(reply_to, answer, out),
                Effect::Deliver { consumer, jobs } => self.deliver(consumer, jobs, out),
                Effect::DeliverMessages { consumer, messages } => {
                    self.deliver_messages(consumer, messages, out);
                }
                Effect::Close { consumer, reason } => {
                    self.consumers.remove(&consumer);
                    out.push(Action::Close { consumer, reason });
                }
            }
        }
    }

    fn deliver(&mut self, consumer: ConsumerId, jobs: Vec<Delivery>, out: &mut Vec<Action<C>>) {
        match self.consumers.get(&consumer) {
            // Where the shard stops nothing that comes back from a stream would be heard.
            Some(to) if (to.gone && !self.faults.has(Fault::DeliversToGone)) || self.stopping => {
                if !self.faults.has(Fault::StrandedDelivery) {
                    self.give_backs.add_jobs(&to.namespace, &jobs);
                }
                out.push(Action::Undelivered { consumer, jobs });
            }
            _ => out.push(Action::Deliver { consumer, jobs }),
        }
    }

    fn deliver_messages(
        &mut self,
        consumer: ConsumerId,
        messages: Vec<MessageDelivery>,
        out: &mut Vec<Action<C>>,
    ) {
        match self.consumers.get(&consumer) {
            Some(to) if to.gone && !self.faults.has(Fault::DeliversToGone) => {
                if !self.faults.has(Fault::StrandedDelivery) {
                    self.give_backs.add_messages(&to.namespace, consumer, &messages);
                }
            }
            // That a connection has them is kept nowhere but in memory: those that come to nobody
            // while the shard stops are there after its next start.
            _ => out.push(Action::DeliverMessages { consumer, messages }),
        }
    }

    fn consumer_gone(&mut self, consumer: ConsumerId, out: &mut Vec<Action<C>>) {
        self.turn.unsubscribe(consumer);
        if let Some(gone) = self.consumers.get_mut(&consumer) {
            gone.gone = true;
            if gone.of_messages {
                // It takes none any more, where that was not said before.
                self.give_backs.add_messages(&gone.namespace, consumer, &[]);
            }
        }
        self.leaving.push_back((self.turn.position(), consumer));
        self.let_leave(out);
    }

    /// Forgets consumers that have gone and to whom nothing is on its way any more.
    fn let_leave(&mut self, out: &mut Vec<Action<C>>) {
        let early = self.faults.has(Fault::LeftEarly);
        let durable = self.turn.durable();
        while self.leaving.front().is_some_and(|(at, _)| *at <= durable || early)
            && let Some((_, consumer)) = self.leaving.pop_front()
        {
            self.consumers.remove(&consumer);
            out.push(Action::Left { consumer });
        }
    }

    fn may_grant(&self) -> bool {
        self.disk < DiskLevel::SettleOnly || self.faults.has(Fault::GrantsOnFullDisk)
    }

    /// How the shard rests until something comes in.
    pub fn rest(&self, clock: Clock) -> Rest {
        let refusing = self.shortage.refusing;
        // Without space calls are refused, and nothing else is done.
        let room = if refusing { Admit::Nothing } else { self.room() };
        let until = |at: MonoMs| at.0.saturating_sub(clock.mono.0);
        let tick = if room > Admit::Nothing { self.turn.next_wake_ms(clock) } else { None };
        let returns = !refusing && !self.give_backs.is_empty();
        let returns = returns && !self.faults.has(Fault::SleepsOnReturns);
        let give_backs = returns.then_some(0);
        let mark = self.mark_at.filter(|_| !self.faults.has(Fault::SleepsPastMark)).map(until);
        let rotate = self.rotate_at().map(until);
        // Nobody says that the disk has room for grants again.
        let full = self.disk >= DiskLevel::SettleOnly && !self.faults.has(Fault::SleepsOnFullDisk);
        let grants = full.then_some(GRANTS_LOOK_MS);
        let wake_ms = [tick, give_backs, mark, rotate, grants].into_iter().flatten().min();
        let is_idle = self.in_flight.is_none() && room == Admit::All;
        Rest { wake_ms, admit: self.admit(), is_idle }
    }

    /// Whether the shard is to end, and everything is answered and durable.
    pub fn is_finished(&self, clock: Clock) -> bool {
        let durable = self.in_flight.is_none() && self.turn.group_bytes() == 0;
        // Without space nothing is given back and nothing is due: the next start looks after it.
        let rests = self.shortage.refusing
            || (self.give_backs.is_empty() && self.turn.next_wake_ms(clock) != Some(0));
        self.stopping && (durable || self.faults.has(Fault::FinishedEarly)) && rests
    }

    /// What the disk allows, as the driver was told.
    pub fn disk(&self) -> DiskLevel {
        self.disk
    }

    /// Calls without an answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether somebody waits for that answer.
    pub fn is_awaited(&self, reply_to: ReplyTo) -> bool {
        self.unanswered.get(&reply_to).is_some_and(|it| it.caller.is_some())
    }

    /// The shard's turn, to look at.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// The map of the state, without what [`Turn::complete_map`] adds.
    pub fn tree(&self) -> &M {
        tree(self.turn.map())
    }

    fn submit_give_backs(&mut self, clock: Clock) {
        for (namespace, command) in self.give_backs.take() {
            // Nobody waits for this answer.
            let reply_to = ReplyTo(0);
            self.turn.submit(Request { namespace, reply_to, command }, clock);
        }
    }
}
