//! The process that serves a shard: it drives the engine's turn over the journal and flushes the
//! state, in the order in which the server's threads do. What it decides next is not its own.

use std::sync::Arc;

use longshore_engine::{
    Answer, Clock, Command, Effect, Instruction, Limits, Position, Recovery, Request, StreamChange,
    Turn, appends_of,
};
use longshore_journal::{AppendError, FaultyJournal, Group, Journal, OpenError};
use longshore_streams::StreamLog;

use crate::canary::Canary;
use crate::faults;
use crate::map::SimMap;
use crate::random::Random;
use crate::store::Store;
use crate::trace::Trace;

/// What was released, in order.
pub(crate) type Released = Vec<Effect>;

/// Namespaces that exist from the start.
pub(crate) const NAMESPACES: [&str; 2] = ["default", "second"];

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) turn: Turn<SimMap>,
    journal: FaultyJournal,
    canary: Option<Canary>,
    pub(crate) streams: StreamLog,
    in_flight: Option<Group>,
    /// What it changes of streams.
    changes: Vec<StreamChange>,
    /// A state that is not written to any more and waits to be flushed.
    sealed: Option<SimMap>,
    /// Entries before this one are in the flushed state.
    truncate_before: Option<Position>,
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
        let config = FaultyJournal::tiny_config();
        let opened = FaultyJournal::open(&store.disk, config);
        if store.has_crashed() {
            return Err(StartError::Ended("in the middle of starting".to_owned()));
        }
        let (journal, found) = opened.map_err(|error| open_error(&error))?;
        let violation = StartError::Violation;
        let all = journal.read_from(found.first).map_err(|error| violation(error.to_string()))?;
        store.ledger.check(found.first, found.tail, all).map_err(violation)?;
        let mut map = store.image.clone();
        let (persisted, tail) = (map.position, found.tail);
        trace.note(format_args!("recover from {persisted} to {tail}, torn: {:?}", found.torn));
        if tail < persisted {
            return Err(violation(format!("the state is at {persisted}, the journal at {tail}")));
        }
        if canary == Some(Canary::TokenReuse) && tail == persisted {
            faults::forget_tokens(&mut map);
        }
        let skipped = (canary == Some(Canary::SkippedReplay) && random.percent(50))
            .then(|| Position(persisted.0 + 1 + random.below(tail.0 - persisted.0)));
        let mut recovery = Recovery::begin(map, persisted, limits.clone())
            .map_err(|error| violation(error.to_string()))?;
        let streams = open_streams(store, &recovery, (persisted, tail))?;
        let from = streams.synced().map_or(persisted, |synced| synced.min(persisted));
        let entries = journal.read_from(from.next());
        for entry in entries.map_err(|error| violation(error.to_string()))? {
            let (position, mut entry) = entry.map_err(|error| violation(error.to_string()))?;
            if skipped == Some(position) {
                entry = faults::emptied(&entry);
            }
            let changes = if position <= persisted {
                appends_of(&entry).map_err(|error| violation(error.to_string()))?
            } else {
                let replayed = recovery.replay(position, &entry);
                replayed.map_err(|error| violation(error.to_string()))?;
                recovery.take_stream_changes()
            };
            let written = streams.replay(position, changes);
            written.map_err(|error| violation(error.to_string()))?;
        }
        let turn = recovery.start(clock, &NAMESPACES);
        let settled = streams.settle(&turn.streams());
        settled.map_err(|error| violation(error.to_string()))?;
        let mut node = Self {
            turn,
            journal,
            canary,
            streams,
            in_flight: None,
            changes: Vec::new(),
            sealed: None,
            truncate_before: None,
        };
        node.seal();
        match node.commit(store) {
            Ok(Some(_)) => Ok(node),
            Ok(None) => Err(StartError::Ended("no space".to_owned())),
            Err(Exit) => Err(StartError::Ended("the first append failed".to_owned())),
        }
    }

    pub(crate) fn submit(&mut self, mut request: Request, clock: Clock) -> Released {
        if self.canary == Some(Canary::StaleToken) {
            faults::honour_stale(self.turn.map(), &mut request, clock);
        }
        if self.canary == Some(Canary::StartUnheard)
            && let Command::StartJobs(jobs) = &request.command
        {
            let heard = jobs.iter().map(|_| Ok(Instruction::Continue)).collect();
            let (reply_to, answer) = (request.reply_to, Answer::Extended(heard));
            return vec![Effect::Reply { reply_to, answer }];
        }
        if self.canary == Some(Canary::ReturnUnheard)
            && let Command::ResumeSession { held, .. } = &mut request.command
        {
            for held in held {
                held.started = false;
            }
        }
        if self.canary == Some(Canary::InterruptUnheard) {
            faults::release_interrupted(&mut request);
        }
        if self.canary == Some(Canary::ProgressUnheard) {
            faults::drop_progress(&mut request);
        }
        self.turn.submit(request, clock);
        self.early()
    }

    pub(crate) fn tick(&mut self, clock: Clock) -> (bool, Released) {
        let more = self.turn.tick(clock);
        (more, self.early())
    }

    /// What waits for nothing. A canary has nothing wait.
    fn early(&mut self) -> Released {
        match self.canary {
            Some(Canary::AnswerBeforeCommit) => self.turn.committed(self.turn.position()),
            _ => self.turn.ready_effects(),
        }
    }

    /// Seals the group that is being built, unless one is in flight.
    pub(crate) fn seal(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        if let Some(group) = self.turn.seal() {
            self.changes = group.stream_changes;
            let group = Group::from_encoded(group.first, group.count, group.bytes);
            self.in_flight = Some(group.expect("the engine writes whole entries"));
        }
    }

    /// Whether everything decided is durable, and what was decided stands in the map.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_none() && self.turn.group_bytes() == 0
    }

    /// Makes the group in flight durable; `None` where the disk is full.
    pub(crate) fn commit(&mut self, store: &mut Store) -> Result<Option<Released>, Exit> {
        let Some(group) = &self.in_flight else { return Ok(Some(Vec::new())) };
        store.ledger.attempt(group);
        let appended = self.journal.append(group);
        if store.has_crashed() {
            return Err(Exit);
        }
        match appended {
            Ok(durable) => {
                store.ledger.acknowledge();
                self.in_flight = None;
                let changes = std::mem::take(&mut self.changes);
                self.streams.write(durable, changes).map_err(|_| Exit)?;
                if store.has_crashed() {
                    return Err(Exit);
                }
                Ok(Some(self.turn.committed(durable)))
            }
            Err(AppendError::NoSpace { .. }) => Ok(None),
            Err(AppendError::Failed { .. } | AppendError::Unexpected { .. }) => Err(Exit),
        }
    }

    /// Says in the journal that everything in it is durable.
    pub(crate) fn mark(&mut self, store: &mut Store) -> Result<(), Exit> {
        let marked = self.journal.mark();
        if store.has_crashed() {
            return Err(Exit);
        }
        match marked {
            Ok(()) | Err(AppendError::NoSpace { .. }) => Ok(()),
            Err(AppendError::Failed { .. } | AppendError::Unexpected { .. }) => Err(Exit),
        }
    }

    /// Sets the state aside, if it is between two groups.
    pub(crate) fn rotate(&mut self) {
        if self.sealed.is_none() && self.turn.group_bytes() == 0 {
            self.sealed = Some(self.turn.complete_map().clone());
        }
    }

    /// Flushes the state that was set aside, if the journal has as much.
    pub(crate) fn flush(&mut self, store: &mut Store) -> Option<Position> {
        let ahead = self.canary == Some(Canary::FlushBeyondDurable);
        let durable = self.turn.durable();
        let mut image = self.sealed.take_if(|sealed| ahead || sealed.position <= durable)?;
        if self.canary == Some(Canary::LostDeadSet) {
            faults::lose_dead(&mut image.entries);
        }
        if self.canary == Some(Canary::CursorBack) {
            faults::keep_checkpoints(&mut image.entries, &store.image.entries);
        }
        if self.canary == Some(Canary::HeadwayForgotten) {
            faults::forget_headway(&mut image.entries);
        }
        let position = image.position;
        self.truncate_before = Some(position.next());
        store.image = image;
        Some(position)
    }

    /// Gives back the journal's space before what was flushed.
    pub(crate) fn truncate(&mut self, store: &mut Store) -> Result<(), Exit> {
        if let Some(position) = self.truncate_before.take() {
            let synced = match self.canary {
                Some(Canary::EventsLetGo) => None,
                _ => self.streams.sync().map_err(|_| Exit)?,
            };
            if store.has_crashed() {
                return Err(Exit);
            }
            let floor = synced.map_or(position, |synced| synced.next().min(position));
            // What is not given back now is given back next time.
            let _ = self.journal.truncate_before(floor);
        }
        if store.has_crashed() { Err(Exit) } else { Ok(()) }
    }

    /// Stops as asked: who waits is answered, everything is durable and flushed.
    pub(crate) fn stop(
        &mut self,
        store: &mut Store,
        clock: Clock,
    ) -> Result<Option<Released>, Exit> {
        self.turn.begin_stop(clock);
        while self.turn.tick(clock) {}
        let mut all = Vec::new();
        while !self.is_quiet() {
            self.seal();
            let Some(released) = self.commit(store)? else { return Ok(None) };
            all.extend(released);
        }
        all.extend(self.turn.ready_effects());
        self.sealed = None;
        self.rotate();
        self.flush(store);
        self.mark(store)?;
        self.truncate(store)?;
        Ok(Some(all))
    }
}

/// The files of the events, cut to what the last sync says.
fn open_streams(
    store: &Store,
    recovery: &Recovery<SimMap>,
    (persisted, tail): (Position, Position),
) -> Result<StreamLog, StartError> {
    let state = (persisted, recovery.has_streams());
    let opened = StreamLog::open(Arc::new(store.events.clone()), state);
    let opened = opened.and_then(|streams| streams.cut(tail).map(|()| streams));
    opened.map_err(|error| StartError::Violation(error.to_string()))
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
