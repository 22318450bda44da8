//! The turn of a shard: decide, apply, append, release. Sans-I/O: the server gives it a thread,
//! the simulator its own clock and disk.

mod asked;
mod consumers;
mod demand;
mod entry;
mod handle;
mod holding;
mod idle_queues;
mod leasing;
mod recovery;
mod stats;
#[cfg(test)]
mod tests;
mod tick;
mod waiters;

use std::collections::{BTreeSet, VecDeque};

use asked::AskedTurns;
use consumers::{Consumers, Taker};
use demand::Demand;
use idle_queues::IdleQueues;
pub use recovery::{Recovery, ReplayFault};
pub use stats::{QueueStats, ShardStats};
use waiters::Waiters;

use crate::Position;
use crate::answer::Answer;
use crate::command::{ConsumerId, ReplyTo, Request};
use crate::effect::{CloseReason, Effect};
use crate::ids::{JobId, QueueId, TimeMs};
use crate::map::OrderedMap;
use crate::moment::{Clock, EngineTime, Moment};
use crate::state::State;

/// Entries to append to the journal together, each with its length (u32, little-endian) before
/// it.
#[derive(Debug)]
pub struct SealedGroup {
    /// The position of the first entry.
    pub first: Position,
    /// How many entries there are.
    pub count: u64,
    /// The entries.
    pub bytes: Vec<u8>,
}

impl SealedGroup {
    /// The position of the last entry.
    pub fn last(&self) -> Position {
        Position(self.first.0 + self.count - 1)
    }
}

/// A shard at work.
#[derive(Debug)]
pub struct Turn<M> {
    state: State<M>,
    /// The last entry that was decided.
    position: Position,
    /// The last entry that is known to be durable.
    durable: Position,
    /// Entries decided since the last group was sealed.
    group: Vec<u8>,
    group_count: u64,
    /// Where the entry under decision begins in the group, once it has a record.
    entry_start: Option<usize>,
    entry: Moment,
    time: EngineTime,
    /// What waits for a position, in the order of positions.
    effects: VecDeque<(Position, Effect)>,
    /// Effects of the entry under decision.
    new_effects: Vec<Effect>,
    waiters: Waiters,
    consumers: Consumers,
    demand: Demand,
    asked: AskedTurns,
    /// Lanes that became due up to here were offered to waiting workers.
    swept: TimeMs,
    idle_queues: IdleQueues,
    /// Queues that a turn did not come to the end of; the next tick goes on.
    deferred: BTreeSet<QueueId>,
    /// Whether the disk has room for grants.
    grants: bool,
    stopping: bool,
}

impl<M: OrderedMap> Turn<M> {
    fn new(state: State<M>, position: Position, clock: Clock) -> Self {
        let time = EngineTime::new(state.now(), clock.mono);
        Self {
            time,
            entry: Moment::new(clock, time),
            swept: state.now(),
            idle_queues: IdleQueues::default(),
            state,
            position,
            durable: position,
            group: Vec::new(),
            group_count: 0,
            entry_start: None,
            effects: VecDeque::new(),
            new_effects: Vec::new(),
            waiters: Waiters::default(),
            consumers: Consumers::default(),
            demand: Demand::default(),
            asked: AskedTurns::default(),
            deferred: BTreeSet::new(),
            grants: true,
            stopping: false,
        }
    }

    /// Decides a request and applies what it records. The answer comes as an effect.
    pub fn submit(&mut self, request: Request, clock: Clock) {
        let moment = self.begin(clock);
        self.handle(request, moment);
        self.dispatch(moment);
        self.finish();
    }

    /// The caller has gone: forgets what it waits for. Whether it waited; if not, its answer was
    /// decided and comes as an effect.
    pub fn disconnect(&mut self, reply_to: ReplyTo) -> bool {
        self.consumers.remove(Taker::Once(reply_to));
        self.waiters.remove(reply_to).is_some()
    }

    /// The consumer has gone, and its credit with it. What is on its way to it is to be given back.
    pub fn unsubscribe(&mut self, consumer: ConsumerId) {
        let Some(gone) = self.consumers.remove(Taker::Stream(consumer)) else { return };
        let until = self.state.mono.plus(self.state.limits.consumer_ms);
        self.demand.left(&gone.session(), until);
    }

    /// Whether anything may be granted from now on: a grant is a record, and takes room on the disk
    /// that settlements need once there is little. Who takes jobs waits meanwhile.
    pub fn set_grants(&mut self, grants: bool) {
        if grants && !self.grants {
            // What became due meanwhile was offered to nobody.
            self.swept = TimeMs(0);
        }
        self.grants = grants;
    }

    fn may_grant(&self) -> bool {
        self.grants && !self.stopping
    }

    fn close(&mut self, consumer: ConsumerId, reason: CloseReason) {
        self.unsubscribe(consumer);
        self.new_effects.push(Effect::Close { consumer, reason });
    }

    fn begin(&mut self, clock: Clock) -> Moment {
        let moment = Moment::new(clock, self.time);
        self.state.mono = self.state.mono.max(moment.mono);
        // Where wall time stepped back, what becomes due is to be offered when its time comes.
        self.swept = self.swept.min(moment.at);
        self.entry = moment;
        moment
    }

    fn reply(&mut self, reply_to: ReplyTo, answer: Answer) {
        self.new_effects.push(Effect::Reply { reply_to, answer });
    }

    /// Ends the turn: its records go to the group, its effects wait for them to be durable.
    fn finish(&mut self) {
        self.tell_ended();
        self.end_entry();
        let position = self.position;
        self.effects.extend(self.new_effects.drain(..).map(|effect| (position, effect)));
    }

    /// Tells those who wait for jobs that have ended, and forgets what was thought of these.
    fn tell_ended(&mut self) {
        let now = self.entry.at;
        for (ns, id) in std::mem::take(&mut self.state.ended_jobs) {
            self.state.vanished.forget(ns, id);
            for reply_to in self.waiters.take_awaiting(ns, id) {
                let answer = self.job_answer(ns, id, now);
                self.reply(reply_to, answer);
            }
        }
    }

    fn job_answer(&self, ns: crate::ids::NamespaceId, id: JobId, now: TimeMs) -> Answer {
        match self.state.job_view(ns, id, now) {
            Some(view) => Answer::Job(Box::new(view)),
            None => Answer::Rejected(self.state.job_unknown(ns, id)),
        }
    }

    /// Bytes of the group that is being built.
    pub fn group_bytes(&self) -> usize {
        self.group.len()
    }

    /// Ends the group that is being built. `None` where nothing was recorded since the last one.
    pub fn seal(&mut self) -> Option<SealedGroup> {
        if self.group_count == 0 {
            return None;
        }
        self.state.seal_group();
        let count = std::mem::take(&mut self.group_count);
        let first = Position(self.position.0 + 1 - count);
        Some(SealedGroup { first, count, bytes: std::mem::take(&mut self.group) })
    }

    /// Everything up to `durable` is on disk: releases what waited for that.
    pub fn committed(&mut self, durable: Position) -> Vec<Effect> {
        assert!(durable <= self.position, "{durable} is durable, but not yet decided");
        self.durable = self.durable.max(durable);
        self.ready_effects()
    }

    /// Effects that wait for nothing any more.
    pub fn ready_effects(&mut self) -> Vec<Effect> {
        let durable = self.durable;
        let ready = self.effects.partition_point(|(position, _)| *position <= durable);
        self.effects.drain(..ready).map(|(_, effect)| effect).collect()
    }

    /// Answers all who wait; from here on nobody gets a lease.
    pub fn begin_stop(&mut self, clock: Clock) {
        let moment = self.begin(clock);
        self.stopping = true;
        self.answer_waiting(moment);
        for consumer in self.consumers.streams_in(None) {
            self.close(consumer, CloseReason::Stopping);
        }
        self.finish();
    }

    /// The shard took nothing in for a while, heartbeats included: every lease holds for one more
    /// of its lengths from now on, but no run past its timeout.
    pub fn extend_all_leases(&mut self, clock: Clock) {
        let _ = self.begin(clock);
        let ids: Vec<_> = self.state.leases.keys().copied().collect();
        for (ns, id) in ids {
            self.state.extend_lease(ns, id, None);
        }
        self.finish();
    }

    /// The time of the last entry; wall time may have stepped back behind it.
    pub fn engine_time(&self) -> TimeMs {
        self.state.now()
    }

    /// The last entry that was decided.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The last entry that is known to be durable.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The map of the state, without what [`Turn::complete_map`] adds.
    pub fn map(&self) -> &M {
        self.state.map()
    }

    /// The map with the whole state at the last group's end in it, to be kept as it is. To be
    /// called between two groups only; at other times the map lacks counters and sessions.
    pub fn complete_map(&mut self) -> &mut M {
        assert!(self.group_count == 0, "the map is not the state at one position");
        self.state.complete_map()
    }
}
