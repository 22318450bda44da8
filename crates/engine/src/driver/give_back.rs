//! A grant that reaches nobody goes back. Otherwise the heartbeats of its session would keep it.

use super::act::Action;
use super::{Driver, Fault, Faults, Tree};
use crate::answer::{Answer, Delivery};
use crate::command::{Command, ConsumerId, ReplyTo, Settlement, Verdict};
use crate::message::{MessageAnswer, MessageCommand, MessageDelivery, MessageName, MessageTag};

/// What is on its way back, by namespace: what does it.
#[derive(Debug, Default)]
pub(super) struct GiveBacks(Vec<(String, Command)>);

impl GiveBacks {
    pub(super) fn add(&mut self, namespace: String, command: Command) {
        self.0.push((namespace, command));
    }

    pub(super) fn add_jobs(&mut self, namespace: &str, jobs: &[Delivery]) {
        let settlements = jobs.iter().map(Delivery::released).collect();
        self.add(namespace.to_owned(), Command::SettleJobs(settlements));
    }

    pub(super) fn add_messages(
        &mut self,
        namespace: &str,
        consumer: ConsumerId,
        messages: &[MessageDelivery],
    ) {
        self.add(namespace.to_owned(), MessageDelivery::untaken(consumer, messages));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<(String, Command)> {
        std::mem::take(&mut self.0)
    }
}

impl Delivery {
    /// What gives it back, where nobody got it.
    pub fn released(&self) -> Settlement {
        Settlement { id: self.id, token: self.token, verdict: Verdict::Release }
    }
}

impl Answer {
    /// What gives back the leases in it, where it comes to nobody and has any.
    pub fn gives_back(&self) -> Option<Command> {
        match self {
            Self::Leased { jobs, .. } if !jobs.is_empty() => {
                Some(Command::SettleJobs(jobs.iter().map(Delivery::released).collect()))
            }
            Self::Messages(MessageAnswer::Leased(messages)) => {
                let leased = messages.iter().filter_map(|it| Some((it.name(), it.lease?.0)));
                let leased: Vec<_> = leased.collect();
                // What was acked before it was delivered is gone.
                (!leased.is_empty())
                    .then(|| Command::Messages(MessageCommand::ReturnLeased(leased)))
            }
            _ => None,
        }
    }
}

impl MessageDelivery {
    /// How a client without a connection names it.
    pub fn name(&self) -> MessageName {
        let MessageTag { urgency, place, .. } = self.tag;
        MessageName { queue: self.queue.to_string(), urgency, place }
    }

    /// What gives them back, where their consumer has gone.
    pub fn untaken(consumer: ConsumerId, messages: &[Self]) -> Command {
        let messages = messages.iter().map(|delivery| delivery.tag).collect();
        Command::Messages(MessageCommand::Untaken { consumer, messages })
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
        if let (Some(namespace), Some(command)) = (give_back_in, answer.gives_back())
            && !self.faults.has(Fault::StrandedAnswer)
        {
            self.give_backs.add(namespace, command);
        }
        out.push(Action::Unheard { reply_to, answer });
    }
}
