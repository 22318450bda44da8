//! Messages within a run: what connections send reaches the server, what it lets out reaches them,
//! and at the end all that is left is taken and compared with what was promised.

use longshore_engine::query::peek_messages;
use longshore_engine::{
    Answer, Clock, Command, ConsumerId, LeaseMessages, MessageAnswer, MessageCommand,
    MessageDelivery, MessageFilter, MessageTag, MessageVerdict, ReplyTo,
};

use crate::node::{NAMESPACES, Node};
use crate::simulation::Simulation;
use crate::workload::Check;
use crate::workload::messages::account::{Holder, Known, Of};
use crate::workload::messages::peers::{LEASE_MS, Peers, consumes, settlement};
use crate::workload::messages::{PASSING, QUEUES, SINGLE, check};

/// Rounds of taking what is left, each at a later time, after which something hangs.
const ROUNDS_MAX: u32 = 100;

/// Rounds in which what was published with a delay comes.
const QUIET_ROUNDS: u32 = 2;

const HOUR_MS: u64 = 3_600_000;

impl Simulation {
    /// Those who publish and consume do something, and some of what they sent arrives.
    pub(crate) fn step_peers(&mut self) -> Check {
        let mono = self.clock.mono();
        let Some(peers) = self.peers.as_mut().filter(|_| self.node.is_some()) else {
            return Ok(());
        };
        for _ in 0..peers.random.below(3) {
            let said = peers.act(mono)?;
            if !said.is_empty() {
                self.trace.note(format_args!("{said}"));
            }
        }
        let (hears, calls) = (peers.random.percent(50), peers.random.below(4));
        if hears {
            self.tell_peers_news()?;
        }
        self.feed_peers(calls);
        Ok(())
    }

    /// The shard hears of connections and callers that have gone.
    fn tell_peers_news(&mut self) -> Check {
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let news = std::mem::take(&mut peers.news);
        news.into_iter().try_for_each(|input| self.tell(input))
    }

    /// Some of what was sent arrives, in order. What finds no room waits.
    fn feed_peers(&mut self, most: u64) {
        let (Some(peers), Some(node)) = (&mut self.peers, &mut self.node) else { return };
        for _ in 0..most {
            let Some((reply_to, command)) = peers.first_call() else { return };
            if node.call(reply_to, 0, command).is_err() {
                return;
            }
            peers.call_taken();
            self.trace.note(format_args!("call {} of a connection arrives", reply_to.0));
        }
    }

    /// What is heard now was decided by now. A start that did not come to its end has a clock of
    /// its own, which may be behind.
    pub(crate) fn note_mono(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.account.now = peers.account.now.max(self.clock.mono());
        }
    }

    pub(crate) fn release_to_peers(
        &mut self,
        reply_to: ReplyTo,
        answer: Answer,
        heard: bool,
    ) -> Check {
        self.trace.note(format_args!("answer {}, heard {heard}: {}", reply_to.0, brief(&answer)));
        let Some(peers) = &mut self.peers else { return Ok(()) };
        peers.answered(reply_to, answer, heard)
    }

    pub(crate) fn dismiss_peers(&mut self, reply_to: ReplyTo) {
        self.trace.note(format_args!("dismiss {}", reply_to.0));
        if let Some(peers) = &mut self.peers {
            peers.dismissed(reply_to);
        }
    }

    pub(crate) fn release_messages(
        &mut self,
        consumer: ConsumerId,
        messages: Vec<MessageDelivery>,
    ) -> Check {
        let told = messages.iter().map(told).collect::<Vec<_>>().join(", ");
        self.trace.note(format_args!("deliver to {}: {told}", consumer.0));
        match self.peers.as_mut().filter(|_| consumes(consumer)) {
            Some(peers) => peers.delivered(consumer, messages),
            None => Err(format!("messages for {}, which takes jobs", consumer.0)),
        }
    }

    /// Nothing is on its way to a consumer any more.
    pub(crate) fn consumer_left(&mut self, consumer: ConsumerId) {
        if let Some(peers) = &mut self.peers {
            peers.account.consumer_is_forgotten(consumer);
        }
    }

    pub(crate) fn check_messages(&self, node: &Node, clock: Clock) -> Check {
        match &self.peers {
            Some(peers) => check::check(node.turn(), &peers.account, clock, false),
            None => Ok(()),
        }
    }

    /// What was taken for a time and came to nobody by the turn before.
    pub(crate) fn messages_unreached(&mut self) -> Vec<(String, MessageTag)> {
        self.peers.as_mut().map(|it| std::mem::take(&mut it.unreached)).unwrap_or_default()
    }

    /// Nobody has it, now that the shard has heard of it.
    pub(crate) fn check_messages_unreached(&self, all: &[(String, MessageTag)]) -> Check {
        let (Some(node), Some(peers)) = (&self.node, &self.peers) else { return Ok(()) };
        for (queue, tag) in all {
            let page = peek_messages(
                node.tree(),
                (NAMESPACES[0], queue),
                &MessageFilter::default(),
                None,
                check::ALL,
            );
            let found =
                page.ok().and_then(|page| page.messages.into_iter().find(|it| it.tag == *tag));
            let Some(found) = found.filter(|found| found.leased && !peers.is_leasing()) else {
                continue;
            };
            let known = peers.account.known(Of::message(queue, &found.message)?);
            if !known.is_some_and(Known::is_held) {
                return Err(format!("{tag:?} of {queue} was taken by nobody, and is away"));
            }
        }
        Ok(())
    }

    /// All connections end.
    pub(crate) fn end_peers(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.end_all();
        }
    }

    /// What connections sent arrives, now that nobody sends more. Whether all has.
    pub(crate) fn hear_out_peers(&mut self) -> Result<bool, String> {
        self.tell_peers_news()?;
        self.feed_peers(u64::MAX);
        Ok(self.peers.as_ref().is_none_or(Peers::is_heard))
    }

    /// Takes what is left until nothing is.
    pub(crate) fn drain_messages(&mut self) -> Check {
        if self.peers.is_none() {
            return Ok(());
        }
        // Nobody takes from the second for a time. What it holds was compared at every step.
        for queue in [PASSING, SINGLE] {
            let (if_unused, if_empty) = (false, false);
            let connection = None;
            let queue_name = queue.to_owned();
            let delete =
                MessageCommand::DeleteQueue { queue: queue_name, connection, if_unused, if_empty };
            if let Some(peers) = &mut self.peers {
                peers.account.queue_goes(queue);
            }
            self.ask(0, Command::Messages(delete))?;
            if let Some(peers) = &mut self.peers {
                peers.account.queue_deleted(queue);
            }
        }
        // Some come later.
        let mut quiet = 0;
        for round in 0..ROUNDS_MAX {
            for queue in QUEUES {
                while self.take_some(queue)? {}
            }
            quiet = if self.left().is_empty() { quiet + 1 } else { 0 };
            if quiet > QUIET_ROUNDS {
                return self.check_all_came();
            }
            // The clock may have been put back by more than a few rounds make up for.
            self.clock.pass(if round < ROUNDS_MAX / 2 { LEASE_MS / 2 } else { HOUR_MS });
            self.settle_down()?;
        }
        let left = self.left();
        Err(format!("messages are left after {ROUNDS_MAX} rounds: {left:?}"))
    }

    /// Takes and acks some of a queue. Whether there were any.
    fn take_some(&mut self, queue: &str) -> Result<bool, String> {
        let lease = LeaseMessages {
            queue: queue.to_owned(),
            max: 8,
            wait_ms: 0,
            lease_ms: Some(LEASE_MS),
            auto_ack: false,
        };
        let lease = Command::Messages(MessageCommand::Lease(Box::new(lease)));
        let Answer::Messages(MessageAnswer::Leased(messages)) = self.ask(0, lease)? else {
            return Ok(false);
        };
        let mut settlements = Vec::new();
        let Some(peers) = &mut self.peers else { return Ok(false) };
        let until = self.clock.mono().plus(LEASE_MS);
        for got in &messages {
            let holder = got.lease.map(|(token, _)| Holder::Lease(token, until));
            peers.account.handed(got, holder)?;
            peers.account.arrived(got, false)?;
            peers.account.settling(got, MessageVerdict::Ack)?;
            settlements.push(settlement(got, MessageVerdict::Ack));
        }
        if settlements.is_empty() {
            return Ok(false);
        }
        let ack = Command::Messages(MessageCommand::SettleLeased(settlements));
        let answer = self.ask(0, ack)?;
        let Answer::Messages(MessageAnswer::Settled(settled)) = &answer else {
            return Err(format!("acks were answered with {answer:?}"));
        };
        if settled.iter().any(Result::is_err) {
            return Err(format!("messages taken for a time were not settled: {settled:?}"));
        }
        if let Some(peers) = &mut self.peers {
            messages.iter().try_for_each(|got| peers.account.settled(got, MessageVerdict::Ack))?;
        }
        Ok(true)
    }

    /// What was published with a delay was routed as well.
    fn check_all_came(&mut self) -> Check {
        let clock = self.now();
        match (&self.node, &self.peers) {
            (Some(node), Some(peers)) => check::check(node.turn(), &peers.account, clock, true),
            _ => Ok(()),
        }
    }

    /// How many messages each queue holds that is not empty: those that wait, and those that
    /// somebody has.
    fn left(&mut self) -> Vec<(String, u64, u64)> {
        let clock = self.now();
        let Some(node) = &self.node else { return Vec::new() };
        let queues = node.turn().stats(clock, None, usize::MAX).queues;
        let own = queues.iter().filter(|stats| stats.namespace == NAMESPACES[0]);
        let held = own.filter_map(|stats| {
            let view = stats.queue.messages.as_ref()?;
            Some((stats.queue.name.clone(), view.ready, view.unsettled))
        });
        held.filter(|(_, ready, unsettled)| ready + unsettled > 0).collect()
    }
}

fn told(got: &MessageDelivery) -> String {
    let again = if got.redelivered { " again" } else { "" };
    let number: String = got
        .message
        .body
        .iter()
        .take_while(|it| it.is_ascii_digit())
        .map(|it| *it as char)
        .collect();
    format!("{number} at {}/{}{again}", got.tag.urgency, got.tag.place.0)
}

/// An answer in few words.
fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Messages(MessageAnswer::Leased(messages)) => {
            format!("leased {}", messages.iter().map(told).collect::<Vec<_>>().join(", "))
        }
        Answer::Messages(MessageAnswer::Got(got, _)) => {
            format!("got {}", got.as_deref().map(told).unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}
