//! What a driver must keep to, as seen from outside of it: bounds of groups, of memory and of what
//! a restart replays, and that what was flushed is given back.

use std::collections::BTreeSet;

use longshore_engine::driver::{
    Action, Admit, Call, Class, DiskLevel, Driver, Ending, Input, Tree,
};
use longshore_engine::{Clock, Command, ConsumerId, MessageCommand, MonoMs, Position, ReplyTo};

use crate::canary::Injected;
use crate::map::SimTree;
use crate::node::POLICY;
use crate::workload::Check;

/// How often it is looked whether a full disk has room again.
const LOOK_MS: u64 = 1_000;

/// A driver before it ended a turn.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub(crate) struct Resting {
    /// Nothing is due, as it says.
    sleeps: bool,
    /// There is room for what is due.
    has_room: bool,
    position: Position,
    sealed_at: Position,
    marks: u64,
    refusing: bool,
    /// What came filled the memtable, or the journal.
    is_full: bool,
    /// Memory is full, and calls wait for space.
    hangs: bool,
}

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
    /// A flush waits for space.
    flush_waits: bool,
    /// The shard is to end.
    stopping: bool,
    /// Consumers that have gone and have not left.
    gone: BTreeSet<ConsumerId>,
    /// When the journal is to be marked.
    mark_at: Option<MonoMs>,
    marks: u64,
    /// The first bound that was not kept.
    broken: Option<String>,
}

impl Watch {
    /// A driver that begins at `persisted`, and replayed so many bytes that are in nothing that
    /// was set aside.
    pub(crate) fn new(clock: Clock, persisted: Position, replayed_bytes: usize) -> Self {
        Self {
            unsealed_since: Some(clock.mono),
            unsealed_bytes: replayed_bytes,
            sealed_at: persisted,
            flush_ordered: persisted,
            persisted,
            truncated: Position::START,
            refusing: false,
            flush_waits: false,
            stopping: false,
            gone: BTreeSet::new(),
            mark_at: None,
            marks: 0,
            broken: None,
        }
    }

    /// The driver is told something.
    pub(crate) fn told(&mut self, input: &Input<ReplyTo>, clock: Clock) {
        match input {
            Input::Call(call) => {
                if let Command::Messages(MessageCommand::Consume(command)) = &call.request.command {
                    self.gone.remove(&command.consumer);
                }
            }
            Input::Committed(_) => self.mark_at = Some(clock.mono.plus(POLICY.quiet_ms)),
            Input::FlushWaits(waits) => self.flush_waits = *waits,
            Input::ConsumerGone(consumer) => drop(self.gone.insert(*consumer)),
            Input::End(ending) => self.stopping |= *ending == Ending::Finish,
            _ => {}
        }
    }

    /// The driver wants something done.
    pub(crate) fn wanted(&mut self, action: &Action<ReplyTo>, clock: Clock) {
        match action {
            Action::Commit { group, .. } => {
                self.unsealed_since.get_or_insert(clock.mono);
                self.unsealed_bytes += group.bytes.len();
                self.mark_at = None;
            }
            Action::Flush { durable } => self.flush_ordered = *durable,
            Action::Mark => {
                self.mark_at = None;
                self.marks += 1;
            }
            Action::Shortage { begins } => self.refusing = *begins,
            Action::Left { consumer } => drop(self.gone.remove(consumer)),
            Action::Deliver { consumer, .. } if self.stopping => {
                self.breaks(format!("{} gets jobs of a shard that ends", consumer.0));
            }
            Action::Deliver { consumer, .. } | Action::DeliverMessages { consumer, .. }
                if self.gone.contains(consumer) =>
            {
                self.breaks(format!("{} has gone, and gets something", consumer.0));
            }
            _ => {}
        }
    }

    fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Calls are about to be taken up.
    pub(crate) fn taking_up(
        &mut self,
        driver: &Driver<SimTree, ReplyTo, Injected>,
        calls: &[Call<ReplyTo>],
    ) {
        let (group, map) = (driver.turn().group_bytes(), driver.tree());
        let memory = map.active_bytes();
        if self.refusing {
            // They hear that there is no space.
        } else if group >= POLICY.group_bytes_max {
            self.breaks(format!("calls are taken up into a group of {group} bytes"));
        } else if memory >= POLICY.crammed_bytes && !map.can_rotate() {
            self.breaks(format!("calls are taken up into {memory} bytes of memory"));
        } else if map.is_due()
            && !map.can_rotate()
            && calls.iter().any(|call| call.class == Class::Publish)
        {
            self.breaks(format!("jobs are taken up into {memory} bytes of memory"));
        }
    }

    /// A driver that took up nothing is about to end its turn.
    pub(crate) fn resting(
        &self,
        driver: &Driver<SimTree, ReplyTo, Injected>,
        clock: Clock,
    ) -> Resting {
        let (turn, map, rest) = (driver.turn(), driver.tree(), driver.rest(clock));
        let is_crammed = map.active_bytes() >= POLICY.crammed_bytes && !map.can_rotate();
        let has_room = self.refusing || rest.admit > Admit::Nothing;
        let is_full = map.is_due() || self.unsealed_bytes as u64 >= POLICY.journal_bytes_max;
        Resting {
            sleeps: rest.wake_ms != Some(0) && turn.group_bytes() == 0,
            has_room,
            position: turn.position(),
            sealed_at: map.sealed_at(),
            marks: self.marks,
            refusing: self.refusing,
            is_full,
            hangs: is_crammed && self.flush_waits && !self.refusing,
        }
    }

    /// Nothing was done that nobody would have woken it for, and nobody hangs.
    pub(crate) fn rested(
        &mut self,
        was: &Resting,
        driver: &Driver<SimTree, ReplyTo, Injected>,
        took_up: bool,
    ) {
        let (turn, map) = (driver.turn(), driver.tree());
        if was.hangs && !self.refusing {
            self.breaks("memory is full, a flush waits for space, and nobody says so".to_owned());
        }
        let same_space = was.refusing == self.refusing;
        if took_up || !was.sleeps || !same_space {
            return;
        }
        if turn.position() > was.position {
            let room = was.has_room;
            self.breaks(format!("a shard that rests records something; it has room: {room}"));
        } else if map.sealed_at() > was.sealed_at && !was.is_full {
            self.breaks("a shard that rests sets its state aside".to_owned());
        } else if self.marks > was.marks {
            self.breaks("a shard that rests marks its journal".to_owned());
        }
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
        if self.mark_at.is_some_and(|at| at <= clock.mono) {
            return Err(format!("the journal is quiet at {}, and not marked", clock.mono));
        }
        let wake_ms = driver.rest(clock).wake_ms;
        if driver.disk() >= DiskLevel::SettleOnly && wake_ms.is_none_or(|ms| ms > LOOK_MS) {
            return Err("nobody looks whether the disk has room again".to_owned());
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
