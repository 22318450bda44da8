//! What was granted and comes to nobody goes back: else its session's heartbeats would keep it.

use super::act::Action;
use super::{Driver, Fault, Faults, Tree};
use crate::answer::{Answer, Delivery};
use crate::command::{ReplyTo, Settlement, Verdict};

/// Leases on their way back, by namespace.
#[derive(Debug, Default)]
pub(super) struct GiveBacks(Vec<(String, Vec<Settlement>)>);

impl GiveBacks {
    pub(super) fn add(&mut self, namespace: String, settlements: Vec<Settlement>) {
        self.0.push((namespace, settlements));
    }

    pub(super) fn add_jobs(&mut self, namespace: &str, jobs: &[Delivery]) {
        self.add(namespace.to_owned(), jobs.iter().map(Delivery::released).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<(String, Vec<Settlement>)> {
        std::mem::take(&mut self.0)
    }
}

impl Delivery {
    /// What gives it back, where nobody got it.
    pub fn released(&self) -> Settlement {
        Settlement { id: self.id, token: self.token, verdict: Verdict::Release }
    }
}

impl<M: Tree, C, F: Faults> Driver<M, C, F> {
    /// The caller waits no more, or shall not any longer. Who it was, where it waited.
    pub(super) fn let_go(&mut self, reply_to: ReplyTo) -> Option<C> {
        let caller = self.unanswered.get_mut(&reply_to)?.caller.take();
        // If its answer was decided already, that comes, and its leases go back.
        if self.turn.disconnect(reply_to) {
            self.unanswered.remove(&reply_to);
        }
        caller
    }

    pub(super) fn reply(&mut self, reply_to: ReplyTo, answer: Answer, out: &mut Vec<Action<C>>) {
        let Some(unanswered) = self.unanswered.remove(&reply_to) else { return };
        let give_back_in = unanswered.give_back_in;
        if let Some(caller) = unanswered.caller {
            return out.push(Action::Reply { reply_to, caller, answer, give_back_in });
        }
        if let (Some(namespace), Answer::Leased { jobs, .. }) = (give_back_in, &answer)
            && !jobs.is_empty()
            && !self.faults.has(Fault::StrandedAnswer)
        {
            self.give_backs.add_jobs(&namespace, jobs);
        }
        out.push(Action::Unheard { reply_to, answer });
    }
}
