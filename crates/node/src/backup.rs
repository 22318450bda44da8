//! What a second copy is made of: the files of a shard's state and streams, and its journal as it
//! grows. Whoever copies pins the journal; nothing here waits for a shard's thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_engine::driver::DiskLevel;
use longshore_engine::{Position, TimeMs};
use longshore_journal::{Follow, Room};
use longshore_store::Picture;
use longshore_streams::StreamPicture;
use thiserror::Error;

use crate::node::Node;
use crate::shared::ShardShared;

/// From where on the journal is needed by those who copy it.
#[derive(Debug, Default)]
pub(crate) struct JournalPins(Mutex<Pinned>);

#[derive(Debug, Default)]
struct Pinned {
    next: u64,
    from: BTreeMap<u64, Position>,
}

impl JournalPins {
    /// The lowest position that somebody needs.
    pub(crate) fn floor(&self) -> Option<Position> {
        self.lock().from.values().min().copied()
    }

    /// No code between lock and unlock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Pinned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a shard's journal from being given back, until it is dropped.
#[derive(Debug)]
pub struct JournalPin {
    shard: Arc<ShardShared>,
    number: u64,
}

impl JournalPin {
    /// Needs it from `position` on only. What is given back by that goes with the next flush.
    pub fn move_to(&self, position: Position) {
        self.shard.pins.lock().from.insert(self.number, position);
    }
}

impl Drop for JournalPin {
    fn drop(&mut self) {
        self.shard.pins.lock().from.remove(&self.number);
    }
}

/// Why a shard cannot be copied now.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It does not serve, or has no journal in files.
    #[error("shard {shard} cannot be copied: it does not serve")]
    NotServing {
        /// Which one.
        shard: u32,
    },
    /// Its state cannot be read.
    #[error(transparent)]
    State(#[from] longshore_store::StoreFault),
    /// The files of its streams cannot be read.
    #[error(transparent)]
    Streams(#[from] longshore_streams::OpenError),
}

/// One shard, for whoever copies it.
#[derive(Clone, Debug)]
pub struct Source {
    shard: Arc<ShardShared>,
}

impl Node {
    /// What second copies are made of, shard by shard.
    pub fn sources(&self) -> Vec<Source> {
        self.shards_shared().iter().map(|shard| Source { shard: Arc::clone(shard) }).collect()
    }
}

impl Source {
    /// The number of the shard.
    pub fn index(&self) -> u32 {
        self.shard.index
    }

    /// Up to where its journal is known to be durable.
    pub fn durable(&self) -> Position {
        self.shard.durable()
    }

    /// Time as the shard has it; never less than that of what is durable.
    pub fn now(&self) -> TimeMs {
        self.shard.now()
    }

    /// Whether the disk is so low that nothing may be kept for a copy.
    pub fn is_short(&self) -> bool {
        matches!(self.shard.admission.disk(), DiskLevel::Refuse | DiskLevel::SettleOnly)
            || self.shard.is_short()
    }

    /// Keeps the journal from `from` on, as far as it is there.
    pub fn pin(&self, from: Position) -> JournalPin {
        let mut pinned = self.shard.pins.lock();
        pinned.next += 1;
        let number = pinned.next;
        pinned.from.insert(number, from);
        drop(pinned);
        JournalPin { shard: Arc::clone(&self.shard), number }
    }

    /// Reads the journal from `from` on.
    pub fn follow(&self, from: Position) -> Result<Follow, SourceError> {
        Ok(self.room()?.follow(from))
    }

    /// The first position that its journal has.
    pub fn first(&self) -> Result<Position, SourceError> {
        Ok(self.room()?.first().unwrap_or(Position(1)))
    }

    /// After which position a start would read the journal, if it came now. To be asked while the
    /// journal is pinned, and the journal is there from the next position on.
    pub fn kept(&self) -> Result<Position, SourceError> {
        self.room()?;
        let snapshots = self.shard.snapshots.get().ok_or_else(|| self.not_serving())?;
        let events = self.shard.streams.log().and_then(|log| log.synced_position());
        let state = snapshots.persisted();
        Ok(events.map_or(state, |events| events.min(state)))
    }

    /// The files of its state. May wait for a flush and a compaction.
    pub fn state(&self) -> Result<Picture, SourceError> {
        let snapshots = self.shard.snapshots.get().ok_or_else(|| self.not_serving())?;
        Ok(snapshots.picture()?)
    }

    /// The files of its streams, where it has some. May wait for a sync and a compaction.
    pub fn streams(&self) -> Result<Option<StreamPicture>, SourceError> {
        match self.shard.streams.log() {
            Some(log) => Ok(log.picture()?),
            None => Ok(None),
        }
    }

    fn room(&self) -> Result<&Room, SourceError> {
        let room = self.shard.room.get().filter(|_| self.shard.is_running());
        room.ok_or_else(|| self.not_serving())
    }

    fn not_serving(&self) -> SourceError {
        SourceError::NotServing { shard: self.shard.index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_hold_counts_until_it_is_dropped() {
        let pins = JournalPins::default();
        assert_eq!(pins.floor(), None);
        pins.lock().from.insert(1, Position(9));
        pins.lock().from.insert(2, Position(4));
        assert_eq!(pins.floor(), Some(Position(4)));
        pins.lock().from.remove(&2);
        assert_eq!(pins.floor(), Some(Position(9)));
    }
}
