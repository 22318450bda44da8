//! The turn of a shard: decide, apply, append, release. Sans-I/O: the server gives it a thread,
//! the simulator its own clock and disk.

mod accounts;
mod asks;
mod audited;
mod consumers;
mod demand;
mod entry;
mod gates;
mod handle;
mod holds;
mod idle_queues;
mod keyed;
mod kinds;
mod leasing;
mod messages;
mod recovery;
mod schedules;
mod sla;
mod slices;
mod stats;
mod streams;
#[cfg(test)]
mod tests;
mod tick;
mod waiters;
mod worker_leases;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use asks::LastAsks;
use consumers::{Consumers, Taker};
use demand::Demand;
use idle_queues::IdleQueues;
use leasing::Walk;
use messages::{Losses, MessageTakers};
pub use recovery::{Recovery, ReplayFault};
use slices::Slices;
pub use stats::{QueueStats, ShardStats, StatsCursor};
use waiters::Waiters;

use crate::Position;
use crate::answer::Answer;
use crate::command::{ConsumerId, ReplyTo, Request};
use crate::effect::{CloseReason, Effect};
use crate::ids::{JobId, MonoMs, QueueId, TimeMs};
use crate::map::OrderedMap;
use crate::moment::{Clock, EngineTime, Moment};
use crate::rope::{Rope, RopeEnd};
use crate::state::{SessionKey, State};
use crate::stream::{StreamChange, StreamView};
use crate::unique::UniqueConflicts;

/// Heads of lanes that one turn puts forward when their time has come; more follow with the next.
const DUE_PER_TURN: usize = 256;

/// Entries to append to the journal together, each with its length (u32, little-endian) before
/// it.
#[derive(Debug)]
pub struct SealedGroup {
    /// The position of the first entry.
    pub first: Position,
    /// How many entries there are.
    pub count: u64,
    /// The entries.
    pub bytes: Rope,
    /// What they changed of streams, for whoever keeps the events.
    pub stream_changes: Vec<StreamChange>,
}

impl SealedGroup {
    /// The position of the last entry.
    pub fn last(&self) -> Position {
        Position(self.first.0 + self.count - 1)
    }
}

/// A shard at work.
#[derive(Debug)]
pub struct Turn {
    state: State,
    /// The last entry that was decided.
    position: Position,
    /// The last entry that is known to be durable.
    durable: Position,
    /// Entries decided since the last group was sealed.
    group: Rope,
    group_count: u64,
    /// Where the entry under decision begins in the group, once it has a record.
    entry_start: Option<RopeEnd>,
    entry: Moment,
    time: EngineTime,
    /// What waits for a position, in the order of positions.
    effects: VecDeque<(Position, Effect)>,
    /// Effects of the entry under decision.
    new_effects: Vec<Effect>,
    waiters: Waiters,
    consumers: Consumers,
    /// Who takes messages.
    takers: MessageTakers,
    lost: Losses,
    demand: Demand,
    asks: LastAsks,
    idle_queues: IdleQueues,
    slices: Slices,
    /// When it was looked last whether service levels are kept.
    slas_looked_at: MonoMs,
    /// Namespaces whose levels are to be looked at in this round.
    sla_round: Option<(crate::ids::NamespaceId, Option<String>)>,
    /// The tags of holds for which somebody waits, or did, by their epochs.
    holds_awaited: BTreeMap<u64, String>,
    /// Who waited for the end of a job and is to be told what came of it.
    untold: VecDeque<(Answer, BTreeSet<ReplyTo>)>,
    /// Where the look through all sessions goes on, while one is under way.
    session_round: Option<Bound<SessionKey>>,
    /// Queues that a turn did not come to the end of; the next tick goes on.
    deferred: BTreeSet<QueueId>,
    /// Queues that were not offered to all who wait for them; the next tick goes on.
    walks: BTreeMap<QueueId, Walk>,
    /// Namespaces that were deleted, and in which some wait or have streams still.
    leaving: BTreeSet<crate::ids::NamespaceId>,
    /// What was looked at to find jobs and who takes them, since the start.
    #[cfg(test)]
    looked: usize,
    /// Since when nothing is taken in.
    shortage_since: Option<MonoMs>,
    /// Whether the disk has room for grants.
    grants: bool,
    stopping: bool,
    /// Bytes of the entry under decision that are kept for what is recorded last.
    reserved_bytes: usize,
    /// What new jobs met that had another one's key, since the start.
    conflicts: UniqueConflicts,
    /// Jobs with a tenant that were handed out, since the start.
    tenanted_started: u64,
}

impl Turn {
    fn new(state: State, position: Position, clock: Clock) -> Self {
        let time = EngineTime::new(state.now(), clock.mono);
        Self {
            time,
            entry: Moment::new(clock, time),
            idle_queues: IdleQueues::default(),
            slices: Slices::default(),
            slas_looked_at: clock.mono,
            sla_round: None,
            holds_awaited: BTreeMap::new(),
            untold: VecDeque::new(),
            session_round: None,
            state,
            position,
            durable: position,
            group: Rope::referring(),
            group_count: 0,
            entry_start: None,
            effects: VecDeque::new(),
            new_effects: Vec::new(),
            waiters: Waiters::default(),
            consumers: Consumers::default(),
            takers: MessageTakers::default(),
            lost: Losses::default(),
            demand: Demand::default(),
            asks: LastAsks::default(),
            deferred: BTreeSet::new(),
            walks: BTreeMap::new(),
            leaving: BTreeSet::new(),
            #[cfg(test)]
            looked: 0,
            shortage_since: None,
            grants: true,
            stopping: false,
            reserved_bytes: 0,
            conflicts: UniqueConflicts::default(),
            tenanted_started: 0,
        }
    }

    /// Decides a request and applies what it records. The answer comes as an effect.
    pub fn submit(&mut self, request: Request, clock: Clock) {
        let moment = self.begin(clock);
        self.handle(request, moment);
        self.dispatch(moment);
        self.dispatch_messages(moment);
        self.finish();
    }

    /// The caller has gone: forgets what it waits for. Whether it waited; if not, its answer was
    /// decided and comes as an effect.
    pub fn disconnect(&mut self, reply_to: ReplyTo) -> bool {
        self.consumers.remove(Taker::Once(reply_to));
        if let Some(request) = self.takers.stop_waiting(reply_to) {
            self.note_takers(request.queue);
        }
        self.waiters.remove(reply_to).is_some()
    }

    /// The consumer has gone, and its credit with it. What is on its way to it is to be given back.
    pub fn unsubscribe(&mut self, consumer: ConsumerId) {
        let Some(gone) = self.consumers.remove(Taker::Stream(consumer)) else { return };
        let until = self.state.mono().plus(self.state.limits.consumer_ms);
        self.demand.left(&gone.session(), until);
    }

    /// Whether anything may be granted from now on: a grant is a record, and takes room on the disk
    /// that settlements need once there is little. Who takes jobs waits meanwhile.
    pub fn set_grants(&mut self, grants: bool) {
        if grants && !self.grants {
            // What came or became due meanwhile was offered to nobody.
            self.deferred.extend(self.state.lanes.queues_due());
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
        self.state.hear(moment.mono);
        self.state.come_due(moment.at, DUE_PER_TURN);
        self.entry = moment;
        self.takers.entered = 0;
        self.state.messages.begin_turn();
        moment
    }

    fn reply(&mut self, reply_to: ReplyTo, answer: Answer) {
        self.new_effects.push(Effect::Reply { reply_to, answer });
    }

    /// Ends the turn: its records go to the group, its effects wait for them to be durable.
    fn finish(&mut self) {
        self.tell_ended();
        self.tell_quiet();
        self.end_entry();
        let position = self.position;
        self.effects.extend(self.new_effects.drain(..).map(|effect| (position, effect)));
    }

    /// Tells those who wait for jobs that have ended, and forgets what was thought of these.
    fn tell_ended(&mut self) {
        let now = self.entry.at;
        for (ns, id) in self.state.jobs.take_ended() {
            self.state.leases.forget_vanished(ns, id);
            let waiting = self.waiters.take_awaiting(ns, id);
            if !waiting.is_empty() {
                // As it is now: it may be forgotten before the last of many is told.
                let answer = self.job_answer(ns, id, now);
                let more = !self.untold.is_empty();
                self.untold.push_back((answer, waiting));
                if !more {
                    self.tell_some();
                }
            }
        }
    }

    /// Tells some of those whose jobs have ended: thousands may have waited for one.
    fn tell_some(&mut self) {
        let mut left = 4 * self.state.limits.slice_items_max;
        while left > 0
            && let Some((answer, mut waiting)) = self.untold.pop_front()
        {
            while left > 0
                && let Some(reply_to) = waiting.pop_first()
            {
                self.reply(reply_to, answer.clone());
                left -= 1;
            }
            if !waiting.is_empty() {
                self.untold.push_front((answer, waiting));
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
        let stream_changes = self.state.streams.take_changes();
        let bytes = std::mem::replace(&mut self.group, Rope::referring());
        Some(SealedGroup { first, count, bytes, stream_changes })
    }

    /// Everything up to `durable` is on disk: releases what waited for that.
    pub fn committed(&mut self, durable: Position) -> Vec<Effect> {
        self.set_durable(durable);
        self.ready_effects()
    }

    /// Everything up to `durable` is on disk; what waited for that is asked for one by one.
    pub(crate) fn set_durable(&mut self, durable: Position) {
        assert!(durable <= self.position, "{durable} is durable, but not yet decided");
        self.durable = self.durable.max(durable);
        self.state.note_durable(self.durable);
    }

    /// The next effect that waits for `durable` at most.
    pub(crate) fn next_effect(&mut self, durable: Position) -> Option<Effect> {
        let (position, _) = self.effects.front()?;
        if *position > durable {
            return None;
        }
        self.effects.pop_front().map(|(_, effect)| effect)
    }

    /// Effects that wait for nothing any more.
    pub fn ready_effects(&mut self) -> Vec<Effect> {
        let durable = self.durable;
        let ready = self.effects.partition_point(|(position, _)| *position <= durable);
        self.effects.drain(..ready).map(|(_, effect)| effect).collect()
    }

    /// From here on nobody gets a lease or waits for anything: all who do are answered, and all
    /// streams closed, some now and the rest as the shard ticks.
    pub fn begin_stop(&mut self, clock: Clock) {
        let moment = self.begin(clock);
        self.stopping = true;
        self.answer_overdue(moment);
        self.send_some_away(moment);
        self.finish();
    }

    /// The shard takes nothing in from now on, heartbeats included.
    pub fn begin_shortage(&mut self, clock: Clock) {
        let moment = self.begin(clock);
        self.shortage_since.get_or_insert(moment.mono);
        self.finish();
    }

    /// The shard takes things in again. Every lease holds for one more of its lengths from now on,
    /// so that its worker can be heard, but no run past its timeout. Where the worker was not heard
    /// since the last shortage either, only the time of this one does not count: or shortages that
    /// come again and again would keep the jobs of a worker that has died for ever. For
    /// transactions of producers the time of a shortage does not count.
    pub fn end_shortage(&mut self, clock: Clock) {
        let moment = self.begin(clock);
        if let Some(since) = self.shortage_since.take() {
            let shortage_ms = moment.mono.0.saturating_sub(since.0);
            self.state.spare_leases(shortage_ms);
            self.state.spare_transactions(shortage_ms);
        }
        self.finish();
    }

    /// The time of the last entry; wall time may have stepped back behind it.
    pub fn engine_time(&self) -> TimeMs {
        self.state.now()
    }

    /// All streams, for whoever keeps their events.
    pub fn streams(&self) -> Vec<StreamView> {
        self.state.stream_views()
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
    pub fn map(&self) -> &dyn OrderedMap {
        self.state.map()
    }

    /// The map with the whole state at the last group's end in it, to be kept as it is. To be
    /// called between two groups only; at other times the map lacks counters and sessions.
    pub fn complete_map(&mut self) -> &mut dyn OrderedMap {
        assert!(self.group_count == 0, "the map is not the state at one position");
        self.state.complete_map()
    }
}
