//! A shard at work: its engine and state belong to whoever has it, one thread at a time, which
//! drives the turn. That is the shard's own thread, or for a small turn that of the caller while
//! the shard rests. Nothing here waits for a disk, except where a small group is committed.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_engine::{
    Answer, Command, ConsumerId, Delivery, Effect, Position, ReplyTo, Request, Settlement, Turn,
};
use longshore_store::Lsm;
use tokio::sync::oneshot;

use crate::admission::InFlight;
use crate::clock::Clocks;
use crate::commit::{Commit, Committer};
use crate::courier::{Caller, HandedJobs, News, Round, Subscriber, release};
use crate::disk::DiskLevel;
use crate::flush::FlushThread;
use crate::inbox::{Admit, Call, Ending, Rest, Signals};
use crate::recover::group_of;
use crate::shard_thread::panic_reason;
use crate::shared::{ShardShared, ShardState};

/// How long one turn goes on taking up calls.
const TURN_MAX: Duration = Duration::from_millis(1);
/// A group of this size is written before anything is added to it.
const GROUP_BYTES_MAX: usize = 24 << 20;
/// Groups up to this many calls and bytes are committed by the thread that decided them: two
/// wake-ups cost more than what could be decided meanwhile. Measured on two cores: a lone writer
/// waits about 10 us less; a crowd of 64 gets through half as fast if all its groups are so.
const INLINE_CALLS_MAX: usize = 4;
const INLINE_BYTES_MAX: usize = 64 << 10;
/// A disk that takes longer for a group is waited for by no caller.
const GUEST_COMMIT_MAX: Duration = Duration::from_millis(1);
/// After so long without a group the journal is marked.
const QUIET: Duration = Duration::from_millis(10);
/// How often it is looked whether jobs may be granted again.
const GRANTS_LOOK: Duration = Duration::from_secs(1);
/// Settlements may fill memory up to this multiple of a memtable while the disk is full.
const FULL_MEMTABLES_MAX: usize = 4;

/// When the state is flushed, apart from a full memtable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FlushPolicy {
    /// Bytes of journal that a restart may have to replay. Default: 256 MiB.
    pub journal_bytes_max: u64,
    /// How long a change stays out of the state on disk. Default: 60 s.
    pub age_max: Duration,
    /// Estimated bytes of a memtable, as the tree has it.
    pub memtable_bytes: usize,
}

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

/// A call that has no answer yet.
struct Pending {
    caller: Caller,
    in_flight: InFlight,
}

/// Namespaces and queues whose figures are told in one turn.
const STATS_TOLD: usize = 250;

/// What comes after a turn.
enum Next {
    Turn,
    Rest(Rest),
    End(End),
}

/// A shard that serves: its turn with all that is under way around it.
#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own")]
pub(crate) struct Shard {
    shared: Arc<ShardShared>,
    turn: Turn<Lsm>,
    committer: Committer,
    flush: FlushThread,
    policy: FlushPolicy,
    clocks: Clocks,
    pending: HashMap<ReplyTo, Pending>,
    subscribers: HashMap<ConsumerId, Subscriber>,
    /// Those of them that have gone, each with the position that its last delivery waits for at
    /// most: what they cannot take is given back.
    leaving: VecDeque<(Position, ConsumerId)>,
    round: Vec<Call>,
    answers: Round,
    /// Leases whose caller went away between grant and answer.
    give_back: Vec<(String, Vec<Settlement>)>,
    /// Calls whose records are in the group being built.
    calls_in_group: usize,
    /// A group is being made durable.
    in_flight: bool,
    /// The last group was small and its commit short, so a caller may take the next turn.
    takes_guests: bool,
    /// When the last group became durable, until the journal is marked.
    mark_after: Option<Instant>,
    /// When the first change was made that is not in a sealed memtable.
    unsealed_since: Option<Instant>,
    unsealed_journal_bytes: u64,
    /// The highest position of a sealed memtable that was not given to the flush thread.
    sealed: Option<Position>,
    stopping: bool,
    /// The group in flight waits for space on the disk, for longer than its callers should.
    starved: bool,
    /// Calls are refused until the disk has space.
    refusing: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("index", &self.shared.index).finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(
        shared: Arc<ShardShared>,
        turn: Turn<Lsm>,
        committer: Committer,
        flush: FlushThread,
        policy: FlushPolicy,
        clocks: Clocks,
        journal_bytes: u64,
    ) -> Self {
        Self {
            shared,
            turn,
            committer,
            flush,
            policy,
            clocks,
            pending: HashMap::new(),
            subscribers: HashMap::new(),
            leaving: VecDeque::new(),
            round: Vec::new(),
            answers: Round::default(),
            give_back: Vec::new(),
            calls_in_group: 0,
            in_flight: false,
            takes_guests: false,
            mark_after: Some(Instant::now()),
            unsealed_since: Some(Instant::now()),
            unsealed_journal_bytes: journal_bytes,
            sealed: None,
            stopping: false,
            starved: false,
            refusing: false,
        }
    }

    /// Takes turns until the shard ends; between them it rests, and callers may take some.
    pub(crate) fn run(mut self: Box<Self>) -> (End, Box<Self>) {
        let shared = Arc::clone(&self.shared);
        loop {
            // The shard outlives a panic: its callers shall not learn of its end before its state.
            match catch_unwind(AssertUnwindSafe(|| self.step())) {
                Ok(Next::Turn) => {}
                Ok(Next::Rest(rest)) => self = shared.inbox.rest(self, rest),
                Ok(Next::End(end)) => return (end, self),
                Err(panic) => return (End::Fault(panic_reason(&*panic)), self),
            }
        }
    }

    /// Takes a turn on a thread that has made a call, and lets the shard rest again.
    pub(crate) fn guest_turn(mut self: Box<Self>) {
        let shared = Arc::clone(&self.shared);
        let turn = catch_unwind(AssertUnwindSafe(|| {
            let more = self.take_turn();
            let rest = self.rest();
            // What is left is for the shard's thread.
            if more { Rest { until: Some(Instant::now()), ..rest } } else { rest }
        }));
        let rest = turn.unwrap_or_else(|panic| {
            shared.fail(&panic_reason(&*panic));
            Rest { until: None, admit: Admit::Nothing, takes_guests: false }
        });
        shared.inbox.put_back(self, rest);
    }

    /// Gives up the threads and leaves what is to be flushed.
    pub(crate) fn into_parts(self) -> (Turn<Lsm>, Committer) {
        (self.turn, self.committer)
    }

    fn step(&mut self) -> Next {
        let signals = self.shared.inbox.take_signals();
        if let Some(end) = self.obey(signals) {
            return Next::End(end);
        }
        self.heed_space();
        let more = self.take_turn();
        let gives_back = !self.give_back.is_empty();
        if self.stopping
            && !(more || gives_back || self.in_flight || self.shared.inbox.is_signalled())
            && self.turn.group_bytes() == 0
        {
            return Next::End(End::Stopped);
        }
        if more || gives_back || self.mark_if_quiet() {
            return Next::Turn;
        }
        Next::Rest(self.rest())
    }

    /// Decides what is there, has it committed, answers. Whether more can be done at once.
    fn take_turn(&mut self) -> bool {
        let more = self.decide();
        let effects = self.turn.ready_effects();
        self.perform(effects);
        self.commit();
        self.rotate_if_due();
        more
    }

    fn obey(&mut self, signals: Signals) -> Option<End> {
        let ending = signals.ending();
        if ending == Some(Ending::Abandon) {
            return Some(End::Abandoned);
        }
        if let Some(why) = signals.fault {
            return Some(End::Fault(why));
        }
        if let Some(durable) = signals.committed {
            self.in_flight = false;
            self.starved = false;
            self.committed(durable);
        } else if signals.starved {
            self.starved = true;
        }
        for reply_to in signals.disconnected {
            if self.pending.contains_key(&reply_to) {
                self.shared.metrics.disconnects.add(1);
                self.let_go(reply_to, false);
            }
        }
        for consumer in signals.unsubscribed {
            self.turn.unsubscribe(consumer);
            self.leaving.push_back((self.turn.position(), consumer));
        }
        self.let_leave();
        self.give_back.extend(signals.give_back);
        for (after, reply) in signals.stats {
            // Whoever asked may have gone.
            let clock = self.clocks.now().1;
            drop(reply.send(self.turn.stats(clock, after, STATS_TOLD)));
        }
        if ending >= Some(Ending::Begin) {
            let clock = self.clocks.now().1;
            self.turn.begin_stop(clock);
        }
        if ending == Some(Ending::Finish) {
            self.stopping = true;
            self.shared.inbox.refuse_more();
        }
        None
    }

    /// Takes up calls for about a millisecond. Whether more can be done at once.
    fn decide(&mut self) -> bool {
        if self.refusing {
            self.refuse_calls();
            return false;
        }
        let (begun, _) = self.clocks.now();
        self.submit_give_backs();
        self.turn.set_grants(self.shared.admission.disk() < DiskLevel::SettleOnly);
        let mut round = std::mem::take(&mut self.round);
        let more_calls = loop {
            let more = self.shared.inbox.take_round(&mut round, self.admit());
            for call in round.drain(..) {
                self.take_up(call);
            }
            if !more || begun.elapsed() >= TURN_MAX {
                break more;
            }
        };
        self.round = round;
        if self.admit() == Admit::Nothing {
            return false;
        }
        let clock = self.clocks.now().1;
        let more_ticks = self.turn.tick(clock);
        more_calls || more_ticks
    }

    fn take_up(&mut self, call: Call) {
        // The caller may have gone while the call waited; its signal came too early then.
        if call.caller.reply.is_closed() {
            self.shared.metrics.disconnects.add(1);
            return;
        }
        self.shared.metrics.commands[call.class as usize].add(1);
        if let (Command::Subscribe(command), Some(subscriber)) =
            (&call.request.command, call.subscriber)
        {
            // As above: the signal that it has gone came too early.
            if subscriber.news.is_closed() {
                return;
            }
            self.subscribers.insert(command.consumer, subscriber);
        }
        let mut request = call.request;
        let mut caller = call.caller;
        if let Command::LeaseJobs(lease) = &mut request.command {
            if self.shared.admission.disk() >= DiskLevel::SettleOnly {
                lease.max = 0;
            }
            // With a turn, the worker asks again and gets the same answer.
            caller.give_back_in = lease.turn.is_none().then(|| request.namespace.clone());
        }
        let pending = Pending { caller, in_flight: call.in_flight };
        self.pending.insert(request.reply_to, pending);
        self.calls_in_group += 1;
        let clock = self.clocks.now().1;
        self.turn.submit(request, clock);
    }

    fn submit_give_backs(&mut self) {
        for (namespace, settlements) in std::mem::take(&mut self.give_back) {
            let reply_to = self.shared.next_reply();
            let command = Command::SettleJobs(settlements);
            let clock = self.clocks.now().1;
            self.turn.submit(Request { namespace, reply_to, command }, clock);
        }
    }

    /// What may be taken up now.
    fn admit(&self) -> Admit {
        if self.turn.group_bytes() >= GROUP_BYTES_MAX {
            return Admit::Nothing;
        }
        if !self.turn.map().is_full() {
            Admit::All
        } else if self.map_is_crammed() {
            Admit::Nothing
        } else {
            Admit::NoJobs
        }
    }

    /// Whether memory holds as much of the state as it may before a flush ends.
    fn map_is_crammed(&self) -> bool {
        let map = self.turn.map();
        map.is_full() && map.active_bytes() >= FULL_MEMTABLES_MAX * self.policy.memtable_bytes
    }

    /// Whether nothing can be taken up until the disk has space: what was decided cannot be made
    /// durable, or memory is full of what cannot be flushed.
    fn lacks_space(&self) -> bool {
        self.starved || (self.shared.flush_waits() && self.map_is_crammed())
    }

    /// Begins or ends to refuse calls for want of space. Who waits already is let go: whether that
    /// takes effect is not known before there is space.
    fn heed_space(&mut self) {
        let lacks = self.lacks_space();
        if lacks == self.refusing {
            return;
        }
        self.refusing = lacks;
        let shard = self.shared.index;
        if !lacks {
            tracing::info!(shard, "the disk has space, the shard serves again");
            // Heartbeats were refused meanwhile: no lease shall end before its worker can be heard.
            let clock = self.clocks.now().1;
            self.turn.end_shortage(clock);
            return self.shared.set_state(ShardState::Serving);
        }
        let clock = self.clocks.now().1;
        self.turn.begin_shortage(clock);
        let waiting = self.pending.len();
        tracing::error!(shard, waiting, "the disk is full: nothing is taken in");
        let why = "the disk is full and its reserve is used up".into();
        self.shared.set_state(ShardState::WaitingForSpace { why });
        let waiting: Vec<ReplyTo> = self.pending.keys().copied().collect();
        for reply_to in waiting {
            self.let_go(reply_to, true);
        }
    }

    /// The caller waits no more, or shall not if it is `dismissed`.
    fn let_go(&mut self, reply_to: ReplyTo, dismissed: bool) {
        let Some(pending) = self.pending.get_mut(&reply_to) else { return };
        let granted = !self.turn.disconnect(reply_to) && pending.caller.give_back_in.is_some();
        // What was granted and waits for its commit is given back when its answer is not taken.
        if !granted {
            self.pending.remove(&reply_to);
        } else if dismissed {
            let (nobody, _) = oneshot::channel();
            pending.caller.reply = nobody;
        }
    }

    /// Their callers learn why from the shard's state.
    fn refuse_calls(&mut self) {
        while self.shared.inbox.take_round(&mut self.round, Admit::All) {}
        self.round.clear();
    }

    /// Seals the group if nothing is in flight and has it made durable.
    fn commit(&mut self) {
        if self.in_flight {
            return;
        }
        let Some(mut sealed) = self.turn.seal() else {
            self.calls_in_group = 0;
            return;
        };
        let calls = std::mem::take(&mut self.calls_in_group);
        self.shared.streams.begin(std::mem::take(&mut sealed.stream_changes));
        let group = group_of(sealed);
        self.unsealed_journal_bytes += group.len_bytes() as u64;
        self.unsealed_since.get_or_insert_with(Instant::now);
        self.mark_after = None;
        self.takes_guests = false;
        if calls <= INLINE_CALLS_MAX && group.len_bytes() <= INLINE_BYTES_MAX {
            let begun = Instant::now();
            match self.committer.commit_here(group) {
                Commit::Durable(durable) => {
                    self.takes_guests = begun.elapsed() <= GUEST_COMMIT_MAX;
                    self.committed(durable);
                }
                Commit::HandedOver => self.in_flight = true,
            }
        } else {
            self.committer.hand_over(group);
            self.in_flight = true;
        }
    }

    fn committed(&mut self, durable: Position) {
        self.shared.set_durable(durable);
        self.shared.set_engine_time(self.turn.engine_time());
        self.mark_after = Some(Instant::now());
        if self.sealed.is_some_and(|sealed| sealed <= durable) {
            self.sealed = None;
            self.flush.flush(durable);
        }
        let effects = self.turn.committed(durable);
        self.perform(effects);
        self.let_leave();
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { reply_to, answer } => self.reply(reply_to, answer),
                Effect::Deliver { consumer, jobs } => self.deliver(consumer, jobs),
                Effect::Close { consumer, reason } => {
                    if let Some(subscriber) = self.subscribers.remove(&consumer) {
                        self.answers.inform(&subscriber, News::Closed(reason));
                    }
                }
            }
        }
        self.answers.end();
        self.shared.metrics.pending_calls.set(self.pending.len() as u64);
    }

    fn reply(&mut self, reply_to: ReplyTo, answer: Answer) {
        let Some(pending) = self.pending.remove(&reply_to) else { return };
        self.count_rejections(&answer);
        let Pending { caller, in_flight } = pending;
        // First, so that whoever has the answer finds the memory free.
        drop(in_flight);
        self.answers.tell(&self.shared, caller, answer);
    }

    fn deliver(&mut self, consumer: ConsumerId, jobs: Vec<Delivery>) {
        let Some(subscriber) = self.subscribers.get(&consumer) else {
            let (shard, jobs) = (self.shared.index, jobs.len());
            return tracing::error!(shard, jobs, "a delivery has no consumer: a bug");
        };
        if self.stopping {
            // Its stream has ended, and nothing that comes back from there would be heard.
            let settlements = jobs.iter().map(release).collect();
            return self.give_back.push((subscriber.namespace.clone(), settlements));
        }
        let jobs = HandedJobs::new(&self.shared, subscriber, jobs);
        self.answers.inform(subscriber, News::Jobs(jobs));
    }

    /// Forgets consumers that have gone and to whom nothing is on its way any more.
    fn let_leave(&mut self) {
        let durable = self.turn.durable();
        while self.leaving.front().is_some_and(|(at, _)| *at <= durable)
            && let Some((_, consumer)) = self.leaving.pop_front()
        {
            if let Some(subscriber) = self.subscribers.remove(&consumer) {
                self.answers.inform(&subscriber, News::Left);
            }
        }
        self.answers.end();
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

    /// Seals the memtable where it is large, old or costs much to replay.
    fn rotate_if_due(&mut self) {
        // Only between groups is the memtable the state at one position.
        if self.turn.group_bytes() > 0 {
            return;
        }
        let due = self.turn.map().should_rotate()
            || self.unsealed_journal_bytes >= self.policy.journal_bytes_max
            || self.rotate_at().is_some_and(|at| at <= Instant::now());
        if due && let Some(position) = self.rotate() {
            if position <= self.turn.durable() {
                self.flush.flush(self.turn.durable());
            } else {
                self.sealed = Some(position);
            }
        }
    }

    /// Seals the memtable if there is room for another one.
    fn rotate(&mut self) -> Option<Position> {
        if !self.turn.map().can_rotate() {
            return None;
        }
        self.unsealed_since = None;
        self.unsealed_journal_bytes = 0;
        self.turn.complete_map().rotate()
    }

    fn rotate_at(&self) -> Option<Instant> {
        Some(self.unsealed_since? + self.policy.age_max)
    }

    /// Has the journal marked where it was quiet for long enough.
    fn mark_if_quiet(&mut self) -> bool {
        let due = self.mark_after.is_some_and(|committed| committed.elapsed() >= QUIET);
        if due {
            self.mark_after = None;
            self.committer.mark();
        }
        due
    }

    /// How the shard rests: until something is due.
    fn rest(&mut self) -> Rest {
        let (now, clock) = self.clocks.now();
        // Without space calls are refused, and nothing else is done.
        let lacks_space = self.lacks_space();
        let admit = if lacks_space { Admit::Nothing } else { self.admit() };
        let wake_ms = self.turn.next_wake_ms(clock).filter(|_| admit > Admit::Nothing);
        let tick_at = wake_ms.map(|ms| now + Duration::from_millis(ms));
        let mark_at = self.mark_after.map(|committed| committed + QUIET);
        let may_rotate = self.turn.group_bytes() == 0 && self.turn.map().can_rotate();
        let rotate_at = self.rotate_at().filter(|_| may_rotate);
        // Nobody says that the disk has room for grants again.
        let grants = self.shared.admission.disk() < DiskLevel::SettleOnly;
        let grants_at = (!grants).then(|| now + GRANTS_LOOK);
        let until = [tick_at, mark_at, rotate_at, grants_at].into_iter().flatten().min();
        let takes_guests = self.takes_guests && !self.in_flight && admit == Admit::All;
        let admit = if lacks_space { Admit::All } else { admit };
        Rest { until, admit, takes_guests }
    }
}
