//! The process that serves a shard: the driver that ships, over the real journal on a simulated
//! disk. What the server's threads do for the driver waits here until chance has them do it.

use std::sync::Arc;

use longshore_engine::driver::{
    Action, Call, Class, DiskLevel, DiskMarks, Driver, Ending, InboxLimits, Input, Policy, Refused,
    ReserveMove, Space, Start, Tree, Waiting, bytes_of,
};
use longshore_engine::{
    Answer, Clock, Command, ConsumerId, Instruction, Limits, ReplyTo, Request, StreamChange, Turn,
};
use longshore_journal::{
    AppendError, EntryIterator, FaultyJournal, Group, Journal, OpenError, Position,
};
use longshore_store::Flusher;
use longshore_streams::{CompactError, Compaction, StreamLog};

use crate::canary::{Canary, Injected};
use crate::faults;
use crate::map::{Entries, MEMTABLE_BYTES, Sealed, SimTree};
use crate::random::Random;
use crate::store::Store;
use crate::trace::Trace;
use crate::watch::Watch;
use crate::workload::Check;
use crate::workload::changes::OPERATION_KEY_FIRST;
use crate::workload::counted::COUNT_KEY_FIRST;
use crate::workload::gates::{GATE_KEY_FIRST, SET_JOBS_KEY_FIRST};
use crate::workload::holds::HELD_BACK_JOB_KEY_FIRST;
use crate::workload::keyed::ANSWER_KEY_FIRST;
use crate::workload::limits::{BUDGET_KEY_FIRST, SPENT_KEY_FIRST};
use crate::workload::relay;
use crate::workload::slas::{MINUTE_KEY_FIRST, SLA_KEY_FIRST};
use crate::workload::tenants::TENANT_KEY_FIRST;
use crate::workload::uniques::UNIQUE_KEY_FIRST;

/// What is for clients, in order.
pub(crate) type Released = Vec<Action<ReplyTo>>;

/// Namespaces that exist from the start.
pub(crate) const NAMESPACES: [&str; 2] = ["default", "second"];

/// Every bound is tiny, so that short runs meet them all.
pub(crate) const POLICY: Policy = Policy {
    group_bytes_max: 1 << 10,
    journal_bytes_max: 3 << 9,
    age_ms_max: 60_000,
    crammed_bytes: MEMTABLE_BYTES + 128,
    quiet_ms: 10,
};
const INBOX: InboxLimits = InboxLimits { calls_max: 6, bytes_max: 64 << 10 };
const MARKS: DiskMarks = DiskMarks {
    warn_bytes: Some(6 << 10),
    refuse_bytes: Some(4 << 10),
    settle_only_bytes: Some(2 << 10),
};
/// Attempts after which the callers of a group that waits for space are told.
const PATIENCE: u32 = 2;

#[derive(Debug)]
pub(crate) struct Node {
    driver: Driver<SimTree, ReplyTo, Injected>,
    pub(crate) waiting: Waiting<ReplyTo>,
    journal: FaultyJournal,
    canary: Option<Canary>,
    pub(crate) watch: Watch,
    /// The group that is to be appended, and how often that met a full disk.
    group: Option<(Group, u32)>,
    sealed: Sealed,
    /// What is sealed up to here is to be flushed.
    flush: Option<Position>,
    /// A flush has met a full disk.
    flush_waits: bool,
    /// Entries before this one are to be given back.
    truncate: Option<Position>,
    mark: bool,
    pub(crate) streams: StreamLog,
    /// What the group changes of streams.
    changes: Vec<StreamChange>,
}

/// Why a process did not come up.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Something at rest is damaged, and it says what.
    Refused(String),
    /// It did not get as far: no space, or a write failed.
    Ended(String),
    /// What must not happen.
    Violation(String),
}

/// The process is to end: a write or sync of the journal failed.
#[derive(Debug)]
pub(crate) struct Exit;

/// The sort of keys whose values a flush keeps as the flush before it did.
fn kept_back(canary: Canary) -> Option<u8> {
    match canary {
        Canary::WindowBack => Some(BUDGET_KEY_FIRST),
        Canary::BreachBack => Some(SLA_KEY_FIRST),
        Canary::LevelBack => Some(MINUTE_KEY_FIRST),
        Canary::OperationBack => Some(OPERATION_KEY_FIRST),
        Canary::CountBack => Some(COUNT_KEY_FIRST),
        Canary::GateSetBack => Some(SET_JOBS_KEY_FIRST),
        _ => None,
    }
}

/// The sort of keys that a flush leaves out.
fn left_out(canary: Canary) -> Option<u8> {
    match canary {
        Canary::LostDeadSet => Some(faults::DEAD_KEY_FIRST),
        Canary::LostHeads => Some(faults::KEY_HEAD_FIRST),
        Canary::KeptOutcomes => Some(faults::ENDED_KEY_FIRST),
        Canary::ForgottenProducer => Some(faults::PRODUCER_KEY_FIRST),
        Canary::LostDelayed => Some(faults::DELAYED_KEY_FIRST),
        Canary::LostAnswers => Some(ANSWER_KEY_FIRST),
        Canary::LostGates => Some(GATE_KEY_FIRST),
        _ => None,
    }
}

/// The answer to a request of which the engine never hears.
fn unheard(request: &Request, answer: Answer) -> Action<ReplyTo> {
    let (reply_to, caller, give_back_in) = (request.reply_to, request.reply_to, None);
    Action::Reply { reply_to, caller, answer, give_back_in }
}

/// What a canary of what is kept does to the image that a flush leaves.
fn tamper_with(canary: Canary, entries: &mut Entries, earlier: &Entries) {
    if let Some(first) = kept_back(canary) {
        faults::keep_values(first, entries, earlier);
    }
    if let Some(first) = left_out(canary) {
        entries.retain(|key, _| key.first() != Some(&first));
    }
    match canary {
        Canary::CursorBack => faults::keep_checkpoints(entries, earlier),
        Canary::HeadwayForgotten => faults::forget_headway(entries),
        Canary::ScheduleBack => faults::keep_schedules(entries, earlier),
        Canary::TriggerBack => faults::keep_offsets(entries, earlier),
        Canary::EventAlone => faults::lose_messages_of_events(entries, earlier),
        Canary::LeakedLock => faults::keep(UNIQUE_KEY_FIRST, entries, earlier),
        Canary::ForgottenAck => faults::keep(faults::MESSAGE_KEY_FIRST, entries, earlier),
        Canary::DoubledMove => faults::double_moved(entries, earlier),
        Canary::LostMove => faults::lose_moved(entries, earlier),
        Canary::HalfFanout => faults::halve_fanouts(entries, earlier),
        Canary::LeakedSlot => faults::keep(SPENT_KEY_FIRST, entries, earlier),
        Canary::LeakedTenant => faults::keep(TENANT_KEY_FIRST, entries, earlier),
        Canary::LeakedHold => faults::keep(HELD_BACK_JOB_KEY_FIRST, entries, earlier),
        Canary::LeakedGate => faults::keep_closed_gates(entries, earlier),
        Canary::LostSlots => faults::lose_spent_scopes(entries),
        Canary::LostEnds => faults::forget_ends(entries),
        _ => {}
    }
}

impl Node {
    /// Recovers the shard and makes the beginning of its new life durable.
    pub(crate) fn start(
        store: &mut Store,
        clock: Clock,
        limits: &Limits,
        canary: Option<Canary>,
        random: &mut Random,
        trace: &mut Trace,
    ) -> Result<Self, StartError> {
        let opened = FaultyJournal::open(&store.disk, FaultyJournal::tiny_config());
        if store.has_crashed() {
            return Err(StartError::Ended("in the middle of starting".to_owned()));
        }
        let (journal, found) = opened.map_err(|error| open_error(&error))?;
        let all = journal.read_from(found.first).map_err(violation)?;
        store.ledger.check(found.first, found.tail, all).map_err(StartError::Violation)?;
        let mut image = store.image.clone();
        let (persisted, tail) = (image.position, found.tail);
        trace.note(format_args!("recover from {persisted} to {tail}, torn: {:?}", found.torn));
        if canary == Some(Canary::TokenReuse) && tail == persisted {
            faults::forget_tokens(&mut image);
        }
        let mut tree = store.tree(image);
        if canary == Some(Canary::RemovedStays) {
            tree.keep_some_removed();
        }
        let (sealed, flusher) = (tree.sealed.clone(), tree.flusher());
        let used = store.ledger.is_used();
        let faults = Injected::of(canary, random.next());
        let start = Start::begin(tree, (persisted, tail), used, limits.clone(), faults);
        let mut start = start.map_err(violation)?;
        let streams = Arc::new(store.events.clone());
        let streams = StreamLog::open(streams, (persisted, start.has_streams()));
        let streams = streams.map_err(|error| events_error(&error))?;
        let kept = start.kept(streams.synced());
        let entries = journal.read_from(kept.next()).map_err(violation)?;
        streams.cut(tail).map_err(|error| events_error(&error))?;
        let replayed_bytes =
            replay(&mut start, entries, (store, &streams), (persisted, &sealed, flusher))?;
        let (driver, group) =
            start.serve(clock, &[NAMESPACES[0], NAMESPACES[1], relay::NAMESPACE], POLICY);
        let settled = streams.settle(&driver.turn().streams());
        settled.map_err(|error| events_error(&error))?;
        let mut waiting = Waiting::new(INBOX);
        waiting.set_open(true);
        let watch = Watch::new(clock, store.image.position, replayed_bytes);
        let (flush, truncate) = (None, None);
        let mut node = Self {
            driver,
            waiting,
            journal,
            canary,
            watch,
            group: None,
            sealed,
            flush,
            flush_waits: false,
            truncate,
            mark: false,
            streams,
            changes: Vec::new(),
        };
        let group = Action::Commit { group, calls: 0 };
        node.carry_out(group, clock, &mut Vec::new());
        match node.commit(store, clock) {
            Ok(_) if node.group.is_some() => Err(StartError::Ended("no space".to_owned())),
            Ok(_) => Ok(node),
            Err(Exit) => Err(StartError::Ended("the first append failed".to_owned())),
        }
    }

    pub(crate) fn turn(&self) -> &Turn {
        self.driver.turn()
    }

    /// The map of the state, without what is written to it only when it is sealed.
    pub(crate) fn tree(&self) -> &SimTree {
        self.driver.tree()
    }

    /// The map with the whole state in it, of a shard that is at rest.
    pub(crate) fn complete_entries(&mut self) -> crate::map::Entries {
        self.driver.seal_tree();
        self.driver.tree().check_shipped();
        self.driver.tree().entries.clone()
    }

    /// Takes in a call, unless the disk or the inbox has no room for it.
    pub(crate) fn call(
        &mut self,
        reply_to: ReplyTo,
        namespace: usize,
        command: Command,
    ) -> Result<(), Refused> {
        self.call_in(NAMESPACES[namespace], reply_to, command)
    }

    /// The same in the namespace of that name.
    pub(crate) fn call_in(
        &mut self,
        namespace: &str,
        reply_to: ReplyTo,
        command: Command,
    ) -> Result<(), Refused> {
        if !self.driver.disk().admits(&command) {
            return Err(Refused::Full);
        }
        let (class, bytes) = (Class::of(&command), bytes_of(&command));
        let namespace = namespace.to_owned();
        let request = Request { namespace, reply_to, command };
        self.waiting.push(Call { request, caller: reply_to, class, bytes })
    }

    /// Has the driver take something in.
    pub(crate) fn step(&mut self, mut input: Input<ReplyTo>, clock: Clock) -> Released {
        let mut released = Vec::new();
        self.watch.told(&input, clock);
        if let Input::Call(call) = &mut input
            && let Some(answer) = self.tamper(&mut call.request, clock)
        {
            released.push(answer);
            return released;
        }
        let mut actions = Vec::new();
        if let (Some(Canary::LostPlace), Input::Call(call)) = (self.canary, &mut input)
            && let Some(command) = faults::requeue_at_end(self.tree(), &mut call.request)
        {
            let namespace = NAMESPACES[0].to_owned();
            let again = Input::GiveBack { namespace, command };
            self.driver.step(again, clock, &mut actions);
        }
        self.driver.step(input, clock, &mut actions);
        for action in actions {
            self.carry_out(action, clock, &mut released);
        }
        released
    }

    fn carry_out(&mut self, mut action: Action<ReplyTo>, clock: Clock, released: &mut Released) {
        if let (Some(Canary::UntoldRedelivery), Action::DeliverMessages { messages, .. }) =
            (self.canary, &mut action)
        {
            for it in messages {
                it.redelivered &= it.returns > 0;
            }
        }
        self.watch.wanted(&action, clock);
        match action {
            Action::Commit { mut group, .. } => {
                assert!(self.group.is_none(), "two groups in flight");
                self.changes = std::mem::take(&mut group.stream_changes);
                if self.canary == Some(Canary::HalfTransaction)
                    && let Some(StreamChange::Marked { committed, .. }) = self.changes.last_mut()
                {
                    *committed = false;
                }
                if self.canary == Some(Canary::StepUntold) {
                    faults::tell_no_success(&mut self.changes);
                }
                if self.canary == Some(Canary::EventsShownEarly) {
                    drop(self.write_events(group.last()));
                }
                let group = Group::from_encoded(group.first, group.count, group.bytes);
                self.group = Some((group.expect("the engine writes whole entries"), 0));
            }
            Action::Flush { durable } => self.flush = Some(durable),
            Action::Truncate { before } => self.truncate = Some(before),
            Action::Mark => self.mark = true,
            action => released.push(action),
        }
    }

    /// What canaries of the engine do to a request; the answer, where that never hears of it.
    fn tamper(&self, request: &mut Request, clock: Clock) -> Option<Action<ReplyTo>> {
        match (self.canary?, &mut request.command) {
            (Canary::StaleToken, _) => faults::honour_stale(self.tree(), request, clock),
            (Canary::StartUnheard, Command::StartJobs(jobs)) => {
                let heard = jobs.iter().map(|_| Ok(Instruction::Continue)).collect();
                return Some(unheard(request, Answer::Extended(heard)));
            }
            (Canary::WithdrawalUnheard, Command::WithdrawJob { .. }) => {
                return Some(unheard(request, Answer::JobWithdrawn));
            }
            (Canary::ReturnUnheard, Command::ResumeSession { held, .. }) => {
                for held in held.iter_mut() {
                    held.started = false;
                }
            }
            (Canary::EventsTwice, _) => faults::believe_bringer(self.tree(), request),
            (Canary::ReplayGap, _) => faults::skip_first_of_replay(request),
            (Canary::InterruptUnheard, _) => faults::release_interrupted(request),
            (Canary::VersionsUnheard, _) => faults::widen_versions(request),
            (Canary::ProgressUnheard, _) => faults::drop_progress(request),
            (Canary::PriorityUnheard, _) => faults::drop_priorities(request),
            (Canary::ExpectationUnheard, _) => faults::expect_nothing(request),
            (Canary::KeysUnheard, _) => faults::drop_keys(request),
            _ => {}
        }
        None
    }

    /// Looks at the disk and tells the driver what it allows.
    pub(crate) fn look_at_disk(&mut self, store: &mut Store, clock: Clock) -> DiskLevel {
        let starved = self.flush_waits || self.group.as_ref().is_some_and(|(_, met)| *met > 0);
        let space = Space { free_bytes: store.free_bytes(), total_bytes: u64::MAX };
        match MARKS.reserve(space, Store::RESERVE_BYTES, store.holds_reserve(), starved) {
            Some(ReserveMove::Take) => store.hold_reserve(true),
            Some(ReserveMove::GiveUp) => store.hold_reserve(false),
            None => {}
        }
        let level = if starved { DiskLevel::SettleOnly } else { MARKS.level(space) };
        if level != self.driver.disk() {
            self.step(Input::Disk(level), clock);
        }
        level
    }

    /// Takes up what waits, round by round, and ends the turn. A stream that does not stand any
    /// more becomes no consumer.
    pub(crate) fn take_turn(
        &mut self,
        rounds: u64,
        clock: Clock,
        stands: impl Fn(ConsumerId) -> bool,
    ) -> (Released, Check) {
        let (mut released, mut round, mut took_up) = (Vec::new(), Vec::new(), false);
        for _ in 0..rounds {
            self.waiting.take_round(&mut round, self.driver.admit());
            if !round.is_empty() {
                self.watch.taking_up(&self.driver, &round);
                took_up = true;
            }
            for call in round.drain(..) {
                if let Command::Subscribe(command) = &call.request.command
                    && !stands(command.consumer)
                {
                    continue;
                }
                released.append(&mut self.step(Input::Call(call), clock));
            }
        }
        let resting = self.watch.resting(&self.driver, clock);
        released.append(&mut self.step(Input::EndTurn, clock));
        self.watch.rested(&resting, &self.driver, took_up);
        (released, self.watch.check(&self.driver, clock))
    }

    /// Whether nothing is due and everything decided is durable.
    pub(crate) fn is_quiet(&self, clock: Clock) -> bool {
        let wake_ms = self.driver.rest(clock).wake_ms;
        self.group.is_none() && self.turn().group_bytes() == 0 && wake_ms != Some(0)
    }

    /// Makes the group in flight durable, unless the disk is full.
    pub(crate) fn commit(&mut self, store: &mut Store, clock: Clock) -> Result<Released, Exit> {
        let Some((group, met)) = &mut self.group else { return Ok(Vec::new()) };
        store.ledger.attempt(group);
        let appended = self.journal.append(group);
        if store.has_crashed() {
            return Err(Exit);
        }
        match appended {
            Ok(durable) => {
                store.ledger.acknowledge();
                self.group = None;
                self.write_events(durable)?;
                if store.has_crashed() {
                    return Err(Exit);
                }
                Ok(self.step(Input::Committed(durable), clock))
            }
            Err(AppendError::NoSpace { .. }) => {
                *met += 1;
                let tell = *met == PATIENCE;
                Ok(if tell { self.step(Input::Starved, clock) } else { Vec::new() })
            }
            Err(AppendError::Failed { .. } | AppendError::Unexpected { .. }) => Err(Exit),
        }
    }

    /// Writes what the group changed of streams, of which nothing is answered yet.
    fn write_events(&mut self, durable: Position) -> Result<(), Exit> {
        match self.streams.write(durable, std::mem::take(&mut self.changes)) {
            // The journal has it, and the next group tries again.
            Err(error) if !error.is_no_space() => Err(Exit),
            _ => Ok(()),
        }
    }

    /// Whether a group waits for space, and its callers were told.
    pub(crate) fn is_starved(&self) -> bool {
        self.group.as_ref().is_some_and(|(_, met)| *met >= PATIENCE)
    }

    pub(crate) fn is_awaited(&self, reply_to: ReplyTo) -> bool {
        self.driver.is_awaited(reply_to)
    }

    /// Says in the journal that everything in it is durable, if that is wanted.
    pub(crate) fn mark(&mut self, store: &mut Store) -> Result<(), Exit> {
        if !std::mem::take(&mut self.mark) {
            return Ok(());
        }
        let marked = self.journal.mark();
        if store.has_crashed() {
            return Err(Exit);
        }
        match marked {
            Ok(()) | Err(AppendError::NoSpace { .. }) => Ok(()),
            Err(AppendError::Failed { .. } | AppendError::Unexpected { .. }) => Err(Exit),
        }
    }

    /// A flush meets a full disk.
    pub(crate) fn fail_flush(&mut self, clock: Clock) -> Released {
        if self.flush.is_none() || self.flush_waits {
            return Vec::new();
        }
        self.flush_waits = true;
        self.step(Input::FlushWaits(true), clock)
    }

    /// Flushes what was set aside, as far as the driver says that the journal has it.
    pub(crate) fn flush(&mut self, store: &mut Store, clock: Clock) -> Result<Released, Exit> {
        let Some(durable) = self.flush.take() else { return Ok(Vec::new()) };
        let mut flushed = None;
        while let Some(mut image) = {
            let mut sealed = self.sealed.lock();
            let next = sealed.front().is_some_and(|it| it.position <= durable);
            next.then(|| sealed.pop_front()).flatten()
        } {
            if let Some(canary) = self.canary {
                tamper_with(canary, &mut image.entries, &store.image.entries);
            }
            flushed = Some(image.position);
            store.flush(image, self.driver.tree().flusher().as_ref());
        }
        let mut released = Vec::new();
        if std::mem::take(&mut self.flush_waits) {
            released = self.step(Input::FlushWaits(false), clock);
        }
        if let Some(position) = flushed {
            self.watch.persisted = position;
            released.append(&mut self.tell_flushed(store, position, clock)?);
        }
        Ok(released)
    }

    /// Makes the files of events durable too, and has the driver hear how far both are.
    fn tell_flushed(
        &mut self,
        store: &mut Store,
        persisted: Position,
        clock: Clock,
    ) -> Result<Released, Exit> {
        let events = self.streams.sync().map_err(|_| Exit)?;
        self.compact(clock);
        if store.has_crashed() {
            return Err(Exit);
        }
        Ok(self.step(Input::Flushed { persisted, events }, clock))
    }

    /// Has older events of keys go.
    fn compact(&self, clock: Clock) {
        // Room for fewer keys than there are: what finds none is left to another round.
        let with = Compaction { now_ms: clock.wall.0, memory_bytes: 150, spare_bytes: 0 };
        for _ in 0..3 {
            match self.streams.compact(with) {
                Ok(Some(_)) => {}
                Err(CompactError::Read(error)) => panic!("compaction reads: {error}"),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Gives back the journal's space, if that is wanted.
    pub(crate) fn truncate(&mut self, store: &mut Store) -> Result<(), Exit> {
        if let Some(position) = self.truncate.take() {
            let persisted = store.image.position;
            assert!(position <= persisted.next(), "given back to {position}, kept to {persisted}");
            self.watch.truncated = position;
            // What is not given back now is given back next time.
            let _ = self.journal.truncate_before(position);
        }
        if store.has_crashed() { Err(Exit) } else { Ok(()) }
    }

    /// Stops as asked: who waits is answered, everything is durable and flushed. `None` where the
    /// disk is full.
    pub(crate) fn stop(
        &mut self,
        store: &mut Store,
        clock: Clock,
    ) -> Result<Option<Released>, Exit> {
        let mut all = self.step(Input::End(Ending::Finish), clock);
        self.waiting.set_open(false);
        while !self.driver.is_finished(clock) || self.waiting.has_any(self.driver.admit()) {
            all.append(&mut self.take_turn(1, clock, |_| false).0);
            all.append(&mut self.commit(store, clock)?);
            all.append(&mut self.flush(store, clock)?);
            if self.is_starved() {
                return Ok(None);
            }
        }
        // What is sealed already may leave no room for what is not.
        for _ in 0..2 {
            self.flush = Some(self.turn().durable());
            all.append(&mut self.flush(store, clock)?);
            self.driver.seal_tree();
        }
        let persisted = store.image.position;
        all.append(&mut self.tell_flushed(store, persisted, clock)?);
        self.truncate(store)?;
        self.mark(store)?;
        Ok(Some(all))
    }
}

/// Adds the entries of the journal to a state at `persisted`. Bytes of them that are in nothing
/// that was set aside.
fn replay(
    start: &mut Start<SimTree, Injected>,
    entries: EntryIterator,
    (store, streams): (&mut Store, &StreamLog),
    (persisted, sealed, flusher): (Position, &Sealed, Option<Flusher>),
) -> Result<usize, StartError> {
    let mut replayed_bytes = 0;
    for entry in entries {
        let (position, entry) = entry.map_err(violation)?;
        replayed_bytes += if position > persisted { entry.len() } else { 0 };
        if start.replay(position, &entry).map_err(violation)? {
            let image = sealed.lock().pop_front().expect("it was sealed just now");
            store.flush(image, flusher.as_ref());
            replayed_bytes = 0;
        } else if start.tree().is_due() {
            return Err(StartError::Violation("memory is full of what is replayed".to_owned()));
        }
        let replayed = streams.replay(position, start.take_stream_changes());
        replayed.map_err(|error| events_error(&error))?;
    }
    Ok(replayed_bytes)
}

fn violation(error: impl std::fmt::Display) -> StartError {
    StartError::Violation(error.to_string())
}

fn events_error(error: &longshore_streams::OpenError) -> StartError {
    if error.is_no_space() {
        return StartError::Ended(error.to_string());
    }
    violation(error)
}

fn open_error(error: &OpenError) -> StartError {
    match error {
        OpenError::Corrupt(_) | OpenError::Foreign { .. } | OpenError::OtherLevel { .. } => {
            StartError::Refused(error.to_string())
        }
        OpenError::NoSpace { .. } | OpenError::Io { .. } => StartError::Ended(error.to_string()),
        OpenError::Locked { .. } => StartError::Violation(error.to_string()),
    }
}
