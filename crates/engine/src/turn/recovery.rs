//! Recovery: the state at a position plus the journal after it.

use bytes::Bytes;

use super::Turn;
use crate::Position;
use crate::ids::Epoch;
use crate::level::OtherLevel;
use crate::limits::Limits;
use crate::map::OrderedMap;
use crate::moment::Clock;
use crate::record::{Entry, Record};
use crate::state::State;
use crate::stream::StreamChange;
use crate::wire::{Malformed, Wire};

/// Entries that make a group during replay.
const ENTRIES_PER_GROUP: u64 = 64;

/// An entry that cannot be replayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayFault {
    /// Its position does not follow the last one.
    #[error("position {found} follows position {after} in the journal")]
    Gap {
        /// The last position replayed.
        after: Position,
        /// The position of the entry.
        found: Position,
    },
    /// The state is of another level.
    #[error("the state at position {position}: {error}")]
    StateLevel {
        /// Its position.
        position: Position,
        /// Which level.
        error: OtherLevel,
    },
    /// The entry is of another level, or raises it to one that is not known.
    #[error("the entry at position {position}: {error}")]
    EntryLevel {
        /// Its position.
        position: Position,
        /// Which level.
        error: OtherLevel,
    },
    /// It does not decode.
    #[error("the entry at position {position} does not decode: {error}")]
    Malformed {
        /// Its position.
        position: Position,
        /// What is wrong.
        error: Malformed,
    },
}

/// A shard that is being recovered.
#[derive(Debug)]
pub struct Recovery {
    state: State,
    position: Position,
    sealed: Position,
}

impl Recovery {
    /// Begins with the state that the map holds, which is that at `persisted`, if it is of the
    /// level that this program knows.
    pub fn begin(
        map: impl OrderedMap,
        persisted: Position,
        limits: Limits,
    ) -> Result<Self, ReplayFault> {
        let state = State::load(Box::new(map), persisted, limits)
            .map_err(|error| ReplayFault::StateLevel { position: persisted, error })?;
        Ok(Self { state, position: persisted, sealed: persisted })
    }

    /// Applies the entry that follows.
    pub fn replay(&mut self, position: Position, entry: &Bytes) -> Result<(), ReplayFault> {
        if position != self.position.next() {
            return Err(ReplayFault::Gap { after: self.position, found: position });
        }
        let at_level = |error| ReplayFault::EntryLevel { position, error };
        if let Some(level) = entry.first() {
            OtherLevel::check((*level).into()).map_err(at_level)?;
        }
        let entry =
            Entry::from_bytes(entry).map_err(|error| ReplayFault::Malformed { position, error })?;
        for record in &entry.records {
            if let Record::LevelRaised { level } = record {
                OtherLevel::check(*level).map_err(at_level)?;
            }
        }
        self.state.begin_entry(position, entry.at);
        for record in entry.records {
            self.state.apply(record);
        }
        self.state.end_entry();
        self.position = position;
        self.state.jobs.take_ended();
        self.state.take_fresh();
        self.state.messages.forget_fresh();
        if position.0 - self.sealed.0 >= ENTRIES_PER_GROUP {
            self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) {
        if self.position > self.sealed {
            self.state.seal_group();
            self.state.note_durable(self.position);
            self.sealed = self.position;
        }
    }

    /// What the entries replayed since the last call changed of streams. Whoever keeps the events
    /// asks after each entry, so that no more than one is held in memory.
    pub fn take_stream_changes(&mut self) -> Vec<StreamChange> {
        self.state.streams.take_changes()
    }

    /// Whether the state has streams.
    pub fn has_streams(&self) -> bool {
        !self.state.streams.is_empty()
    }

    /// The last position applied.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The map of the state, without what [`Recovery::complete_map`] adds.
    pub fn map(&self) -> &dyn OrderedMap {
        self.state.map()
    }

    /// The map with the whole state at the last position in it, to be kept as it is.
    pub fn complete_map(&mut self) -> &mut dyn OrderedMap {
        self.seal();
        self.state.complete_map()
    }

    /// Begins a new life of the shard, as its first entry. `namespaces` are created where they do
    /// not exist. Leases stand for one more of their lengths from now on.
    pub fn start(mut self, clock: Clock, namespaces: &[&str]) -> Turn {
        self.seal();
        let Self { mut state, position, .. } = self;
        state.hear(clock.mono);
        state.streams.take_changes();
        state.renew_leases();
        state.renew_message_leases();
        state.renew_transactions();
        state.sessions.touch_all(clock.mono);
        let mut turn = Turn::new(state, position, clock);
        let at = turn.begin(clock).at;
        turn.state.come_due(at, usize::MAX);
        let epoch = Epoch(turn.state.meta.epoch.0 + 1);
        turn.record(Record::EpochStarted { epoch });
        turn.state.messages.set_floor(turn.state.meta.next_place);
        turn.end_what_is_not_durable();
        turn.begin_to_expire_queues();
        for name in namespaces {
            if turn.state.namespaces.named(name).is_none() {
                let id = turn.state.meta.next_namespace;
                turn.record(Record::NamespaceCreated { id, name: (*name).to_owned() });
            }
        }
        turn.finish();
        turn
    }
}
