//! From a state on disk and the journal after it to a shard that can serve. What is wrong is
//! named; nothing is repaired here.

use std::marker::PhantomData;

use bytes::Bytes;

use super::{Driver, Fault, Faults, Policy, Tree, tree, tree_mut};
use crate::Position;
use crate::limits::Limits;
use crate::moment::Clock;
use crate::record::Entry;
use crate::stream::{StreamChange, appends_of};
use crate::turn::{Recovery, ReplayFault, SealedGroup};
use crate::wire::Wire;

/// Why a shard does not start.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StartFault {
    /// The journal ends before the state on disk.
    #[error(
        "the state is at position {persisted}, but the journal ends at {tail}: entries are lost"
    )]
    TailLost {
        /// The state's position.
        persisted: Position,
        /// The journal's last one.
        tail: Position,
    },
    /// A shard that was used has nothing.
    #[error("the journal and the state of a shard that was used are empty")]
    Emptied,
    /// An entry cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayFault),
}

/// A shard that starts: its state, to which the journal's entries are added one by one.
#[derive(Debug)]
pub struct Start<M, F> {
    recovery: Recovery,
    /// What its map is.
    tree: PhantomData<M>,
    /// The position of the state.
    persisted: Position,
    faults: F,
    /// What was appended by the last entry, where the state has that already.
    events: Vec<StreamChange>,
    /// Bytes of journal that are in no memtable that was sealed.
    journal_bytes: u64,
}

impl<M: Tree, F: Faults> Start<M, F> {
    /// Begins with the state at `persisted` and a journal that ends at `tail`. Whether the shard
    /// was ever used is what is kept beside both.
    pub fn begin(
        map: M,
        (persisted, tail): (Position, Position),
        is_used: bool,
        limits: Limits,
        faults: F,
    ) -> Result<Self, StartFault> {
        if tail < persisted {
            return Err(StartFault::TailLost { persisted, tail });
        }
        if tail == Position::START && is_used {
            return Err(StartFault::Emptied);
        }
        let recovery = Recovery::begin(map, persisted, limits)?;
        let (tree, events) = (PhantomData, Vec::new());
        Ok(Self { recovery, tree, persisted, faults, events, journal_bytes: 0 })
    }

    /// The position after which the journal is to be read, entry by entry: that of the state, or
    /// the earlier one up to which the events of streams are in their files.
    pub fn kept(&self, events: Option<Position>) -> Position {
        let events = events.filter(|_| !self.faults.has(Fault::EventsUnread));
        events.map_or(self.persisted, |events| events.min(self.persisted))
    }

    /// The map of the state so far.
    pub fn tree(&self) -> &M {
        tree(self.recovery.map())
    }

    /// Whether the state has streams.
    pub fn has_streams(&self) -> bool {
        self.recovery.has_streams()
    }

    /// What the last entry changed of streams. Whoever keeps the events asks after each entry, so
    /// that no more than one is held in memory.
    pub fn take_stream_changes(&mut self) -> Vec<StreamChange> {
        let before = std::mem::take(&mut self.events);
        if before.is_empty() { self.recovery.take_stream_changes() } else { before }
    }

    /// Adds the entry that follows; of one that is in the state, what it appended to streams.
    /// Whether something was sealed, to be flushed before the next one: what the journal holds is
    /// durable, so memory need not hold all of a long one.
    pub fn replay(&mut self, position: Position, entry: &Bytes) -> Result<bool, StartFault> {
        if position <= self.persisted && !self.faults.has(Fault::ReplayedTwice) {
            let events = appends_of(entry);
            self.events = events.map_err(|error| ReplayFault::Malformed { position, error })?;
            return Ok(false);
        }
        if self.faults.has(Fault::SkippedReplay)
            && let Ok(Entry { at, .. }) = Entry::from_bytes(entry)
        {
            let entry = Entry { at, records: Vec::new() }.to_bytes();
            self.recovery.replay(position, &entry)?;
        } else {
            self.recovery.replay(position, entry)?;
        }
        self.journal_bytes += entry.len() as u64;
        let map: &M = tree(self.recovery.map());
        let may_rotate =
            map.is_due() && map.can_rotate() && !self.faults.has(Fault::ReplayedInMemory);
        if !may_rotate || tree_mut::<M>(self.recovery.complete_map()).rotate().is_none() {
            return Ok(false);
        }
        self.journal_bytes = 0;
        Ok(true)
    }

    /// Begins a new life of the shard. Its first group is in flight and is to be made durable
    /// before anybody is served.
    pub fn serve<C>(
        self,
        clock: Clock,
        namespaces: &[&str],
        policy: Policy,
    ) -> (Driver<M, C, F>, SealedGroup) {
        let mut turn = self.recovery.start(clock, namespaces);
        let group = turn.seal().expect("a life begins with a record");
        let replayed = if self.faults.has(Fault::ReplayUncounted) { 0 } else { self.journal_bytes };
        let journal_bytes = replayed + group.bytes.len() as u64;
        (Driver::new(turn, policy, self.faults, clock, journal_bytes), group)
    }
}
