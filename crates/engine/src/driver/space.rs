//! What may be taken up, and what callers are told while the disk and its reserve are full.

use super::act::Action;
use super::{Admit, Driver, Fault, Faults, Tree};
use crate::command::ReplyTo;
use crate::moment::Clock;

#[derive(Debug, Default)]
pub(super) struct Shortage {
    /// The group in flight waits for space, for longer than its callers should.
    pub(super) starved: bool,
    /// A flush waits for space.
    pub(super) flush_waits: bool,
    /// Calls are refused until there is space.
    pub(super) refusing: bool,
}

impl<M: Tree, C, F: Faults> Driver<M, C, F> {
    /// What is to be taken up now: everything where there is no space, to be refused.
    pub fn admit(&self) -> Admit {
        if self.shortage.refusing { Admit::All } else { self.room() }
    }

    /// What there is room for.
    pub(super) fn room(&self) -> Admit {
        let is_huge = self.turn.group_bytes() >= self.policy.group_bytes_max;
        if is_huge && !self.faults.has(Fault::HugeGroup) {
            return Admit::Nothing;
        }
        let map = self.tree();
        if !map.is_due() || map.can_rotate() {
            // What was taken in is published first.
            if self.turn.is_publishing() { Admit::NoJobs } else { Admit::All }
        } else if self.is_crammed() {
            Admit::Nothing
        } else if self.faults.has(Fault::PublishesWhileFull) {
            Admit::All
        } else {
            Admit::NoJobs
        }
    }

    /// Whether memory holds as much of the state as it may before a flush ends.
    fn is_crammed(&self) -> bool {
        let map = self.tree();
        map.is_due()
            && !map.can_rotate()
            && map.active_bytes() >= self.policy.crammed_bytes
            && !self.faults.has(Fault::TakesInWhileCrammed)
    }

    /// Begins or ends to refuse calls for want of space: what was decided cannot be made durable,
    /// or memory is full of what cannot be flushed. Callers that wait already are let go. Whether
    /// their calls take effect is not known before there is space.
    pub(super) fn heed_space(&mut self, clock: Clock, out: &mut Vec<Action<C>>) {
        let starved = self.shortage.starved && !self.faults.has(Fault::HangsWhileStarved);
        let waits = self.shortage.flush_waits && !self.faults.has(Fault::HangsWhileCrammed);
        let lacks = starved || (waits && self.is_crammed());
        if lacks == self.shortage.refusing {
            return;
        }
        self.shortage.refusing = lacks;
        out.push(Action::Shortage { begins: lacks });
        if !lacks {
            // Heartbeats were refused meanwhile: no lease shall end before its worker can be heard.
            return self.turn.end_shortage(clock);
        }
        self.turn.begin_shortage(clock);
        if self.faults.has(Fault::StrandedCallers) {
            return;
        }
        let waiting: Vec<ReplyTo> = self.unanswered.keys().copied().collect();
        for reply_to in waiting {
            out.extend(self.let_go(reply_to).map(|caller| Action::Dismiss { caller }));
        }
    }
}
