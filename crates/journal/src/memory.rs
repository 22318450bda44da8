//! The journal in memory, for tests and for what needs no durability. It keeps the contract of the
//! trait and forgets everything with the process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use longshore_engine::Position;

use crate::group::take_entry;
use crate::journal::EntryIterator;
use crate::{AppendError, Group, Journal, ReadError, TruncateError};

/// A journal in memory. A clone is another handle to the same entries, so that a test can drop one
/// and go on with the other as after a restart.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Entries that were given back.
    truncated: u64,
    entries: VecDeque<Bytes>,
}

impl State {
    fn tail(&self) -> Position {
        Position(self.truncated + self.entries.len() as u64)
    }
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code between lock and unlock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, group: &Group) -> Result<Position, AppendError> {
        let mut state = self.state();
        let expected = state.tail().next();
        if group.first() != expected {
            return Err(AppendError::Unexpected { expected, found: group.first() });
        }
        let mut bytes = Bytes::copy_from_slice(group.as_bytes());
        while let Some(entry) = take_entry(&mut bytes) {
            state.entries.push_back(entry);
        }
        Ok(state.tail())
    }

    fn tail(&self) -> Position {
        self.state().tail()
    }

    fn mark(&mut self) -> Result<(), AppendError> {
        Ok(())
    }

    fn read_from(&self, from: Position) -> Result<EntryIterator, ReadError> {
        let state = self.state();
        let from = from.max(Position(1));
        let (first, tail) = (Position(state.truncated + 1), state.tail());
        if from < first {
            return Err(ReadError::Truncated { asked: from, first });
        }
        if from > tail.next() {
            return Err(ReadError::BeyondTail { asked: from, tail });
        }
        let skipped = (from.0 - first.0) as usize;
        let entries: Vec<Bytes> = state.entries.iter().skip(skipped).cloned().collect();
        Ok(Box::new((from.0..).map(Position).zip(entries).map(Ok)))
    }

    fn truncate_before(&mut self, position: Position) -> Result<(), TruncateError> {
        let mut state = self.state();
        let position = position.min(state.tail().next());
        let count = position.0.saturating_sub(state.truncated + 1);
        state.entries.drain(..count as usize);
        state.truncated += count;
        Ok(())
    }
}
