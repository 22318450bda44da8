//! When the state is set aside and flushed, and when the journal before it is given back.

use super::act::Action;
use super::{Driver, Fault, Faults, Tree, tree_mut};
use crate::Position;
use crate::ids::MonoMs;
use crate::moment::Clock;

/// What is not in the state on disk yet.
#[derive(Debug)]
pub(super) struct Flushing {
    /// When the first change was made that is not in a sealed memtable.
    unsealed_since: Option<MonoMs>,
    /// Bytes of journal of such changes.
    unsealed_bytes: u64,
    /// The highest position of a sealed memtable that nobody was told to flush.
    sealed: Option<Position>,
}

impl Flushing {
    pub(super) fn new(now: MonoMs, journal_bytes: u64) -> Self {
        Self { unsealed_since: Some(now), unsealed_bytes: journal_bytes, sealed: None }
    }

    pub(super) fn appended(&mut self, now: MonoMs, bytes: usize) {
        self.unsealed_bytes += bytes as u64;
        self.unsealed_since.get_or_insert(now);
    }

    /// Whether something is sealed that the journal has now.
    pub(super) fn take_sealed(&mut self, durable: Position) -> bool {
        self.sealed.take_if(|sealed| *sealed <= durable).is_some()
    }
}

impl<M: Tree, C, F: Faults> Driver<M, C, F> {
    /// Seals the memtable where it is large, old or costs much to replay.
    pub(super) fn rotate_if_due(&mut self, clock: Clock, out: &mut Vec<Action<C>>) {
        // Only between groups is the memtable the state at one position.
        let between = self.turn.group_bytes() == 0 || self.faults.has(Fault::RotatedInGroup);
        let possible = self.tree().can_rotate() || self.faults.has(Fault::RotatedInVain);
        if !between || !possible {
            return;
        }
        let large = self.tree().is_due() && !self.faults.has(Fault::OverfullMemtable);
        let long = self.flushing.unsealed_bytes >= self.policy.journal_bytes_max
            && !self.faults.has(Fault::LongReplay);
        let old = self.is_old_at().is_some_and(|at| at <= clock.mono);
        if large || long || old {
            self.rotate(out);
        }
    }

    fn rotate(&mut self, out: &mut Vec<Action<C>>) {
        (self.flushing.unsealed_since, self.flushing.unsealed_bytes) = (None, 0);
        let Some(position) = tree_mut::<M>(self.turn.complete_map()).rotate() else { return };
        let durable = self.turn.durable();
        if position <= durable {
            if !self.faults.has(Fault::UnflushedAtRest) {
                out.push(Action::Flush { durable });
            }
        } else if self.faults.has(Fault::FlushBeyondDurable) {
            out.push(Action::Flush { durable: position });
        } else if !self.faults.has(Fault::Unflushed) {
            self.flushing.sealed = Some(position);
        }
    }

    fn is_old_at(&self) -> Option<MonoMs> {
        let since = self.flushing.unsealed_since.filter(|_| !self.faults.has(Fault::OldChange))?;
        Some(since.plus(self.policy.age_ms_max))
    }

    /// When the memtable is to be sealed for its age, where that is possible.
    pub(super) fn rotate_at(&self) -> Option<MonoMs> {
        let possible = self.turn.group_bytes() == 0 && self.tree().can_rotate();
        self.is_old_at().filter(|_| possible && !self.faults.has(Fault::SleepsPastAge))
    }

    /// The state on disk is that at `persisted`, and the files of streams have all events up to
    /// `events`. A restart does not need the journal up to the earlier of both.
    pub(super) fn flushed(
        &mut self,
        persisted: Position,
        events: Option<Position>,
        out: &mut Vec<Action<C>>,
    ) {
        let beyond = self.faults.has(Fault::TruncateBeyondFlushed);
        let state = if beyond { self.turn.durable() } else { persisted };
        let events = events.filter(|_| !self.faults.has(Fault::EventsLetGo));
        let state =
            if self.faults.has(Fault::StateLetGo) { events.unwrap_or(state) } else { state };
        let needed = events.map_or(state, |events| events.min(state));
        if !self.faults.has(Fault::KeptJournal) {
            out.push(Action::Truncate { before: needed.next() });
        }
        // The last one: there is quiet from here on.
        if self.stopping && !self.faults.has(Fault::Unmarked) {
            out.push(Action::Mark);
        }
    }

    /// Sets the whole state aside where there is room for it, so that the next start replays
    /// nothing. For a driver that is finished.
    pub fn seal_tree(&mut self) {
        tree_mut::<M>(self.turn.complete_map()).rotate();
    }
}
