//! What a driver must keep to, as seen from outside of it: bounds of groups, of memory and of what
//! a restart replays, and that what was flushed is given back.

use longshore_engine::driver::{Driver, Tree};
use longshore_engine::{Clock, MonoMs, Position, ReplyTo, SealedGroup};

use crate::canary::Injected;
use crate::map::SimTree;
use crate::node::POLICY;
use crate::workload::Check;

#[derive(Debug)]
pub(crate) struct Watch {
    /// When the first entry came that is in nothing that was set aside.
    unsealed_since: Option<MonoMs>,
    unsealed_bytes: usize,
    /// What was set aside when that was looked at last.
    sealed_at: Position,
    /// What the driver wants flushed.
    pub(crate) flush_ordered: Position,
    /// What was flushed, and before which position the journal was given back.
    pub(crate) persisted: Position,
    pub(crate) truncated: Position,
    /// Calls are refused for want of space.
    pub(crate) refusing: bool,
    /// The first bound that was not kept.
    broken: Option<String>,
}

impl Watch {
    pub(crate) fn new(clock: Clock, persisted: Position) -> Self {
        Self {
            unsealed_since: Some(clock.mono),
            unsealed_bytes: 0,
            sealed_at: persisted,
            flush_ordered: persisted,
            persisted,
            truncated: Position::START,
            refusing: false,
            broken: None,
        }
    }

    /// Calls are about to be taken up.
    pub(crate) fn taking_up(&mut self, driver: &Driver<SimTree, ReplyTo, Injected>) {
        let (group, map) = (driver.turn().group_bytes(), driver.tree());
        let memory = map.active_bytes();
        if self.refusing {
            // They hear that there is no space.
        } else if group >= POLICY.group_bytes_max {
            self.broken
                .get_or_insert_with(|| format!("calls are taken up into a group of {group} bytes"));
        } else if memory >= POLICY.crammed_bytes && !map.can_rotate() {
            self.broken
                .get_or_insert_with(|| format!("calls are taken up into {memory} bytes of memory"));
        }
    }

    pub(crate) fn sealed_group(&mut self, group: &SealedGroup, clock: Clock) {
        self.unsealed_since.get_or_insert(clock.mono);
        self.unsealed_bytes += group.bytes.len();
    }

    /// Checks a driver at the end of a turn.
    pub(crate) fn check(
        &mut self,
        driver: &Driver<SimTree, ReplyTo, Injected>,
        clock: Clock,
    ) -> Check {
        let (turn, map) = (driver.turn(), driver.tree());
        if map.sealed_at() > self.sealed_at {
            self.sealed_at = map.sealed_at();
            (self.unsealed_since, self.unsealed_bytes) = (None, 0);
        }
        let durable = |image: &&crate::map::Image| image.position <= turn.durable();
        if let Some(kept) = map.sealed.lock().iter().rfind(durable)
            && kept.position > self.flush_ordered
        {
            return Err(format!("the state at {} is durable, and not flushed", kept.position));
        }
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        if turn.group_bytes() > 0 || !map.can_rotate() {
            return Ok(());
        }
        let (memory, journal) = (map.active_bytes(), self.unsealed_bytes);
        if map.is_due() || journal as u64 >= POLICY.journal_bytes_max {
            return Err(format!(
                "{memory} bytes of memory, {journal} of journal are not set aside"
            ));
        }
        match self.unsealed_since.filter(|since| since.plus(POLICY.age_ms_max) <= clock.mono) {
            Some(since) => Err(format!("a change of {since} is not set aside at {}", clock.mono)),
            None => Ok(()),
        }
    }

    /// Checks a driver that has stopped.
    pub(crate) fn check_end(&self, position: Position) -> Check {
        if self.persisted != position {
            return Err(format!("stopped at {position} with the state at {}", self.persisted));
        }
        if self.truncated != position.next() {
            return Err(format!("the journal before {position} was not given back"));
        }
        Ok(())
    }
}
