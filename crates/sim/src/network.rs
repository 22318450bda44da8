//! Requests and answers on their way. Either may arrive late or never; who waited for it learns
//! that the connection broke, and nothing else.

use std::collections::BTreeMap;

use longshore_engine::{Answer, Command, ReplyTo};

use crate::random::Random;

/// A request: who sent it, in which namespace, and what it asks.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: usize,
    pub(crate) namespace: usize,
    pub(crate) command: Command,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    next: u64,
    /// Sent and not yet taken up.
    up: Vec<ReplyTo>,
    /// Answered and not yet arrived.
    down: Vec<(ReplyTo, Answer)>,
    /// Every request without an answer that was released.
    open: BTreeMap<ReplyTo, Call>,
    /// Requests whose sender still listens.
    listening: BTreeMap<ReplyTo, usize>,
}

impl Network {
    pub(crate) fn send(&mut self, call: Call) -> ReplyTo {
        self.next += 1;
        let reply_to = ReplyTo(self.next);
        self.listening.insert(reply_to, call.client);
        self.open.insert(reply_to, call);
        self.up.push(reply_to);
        reply_to
    }

    /// A request that arrives now; which one is chance.
    pub(crate) fn arrive(&mut self, random: &mut Random) -> Option<(ReplyTo, Call)> {
        if self.up.is_empty() {
            return None;
        }
        let reply_to = self.up.swap_remove(random.index(self.up.len()));
        Some((reply_to, self.open.get(&reply_to)?.clone()))
    }

    /// The shard released an answer; gives back what it answers and whether anybody listens.
    pub(crate) fn answered(&mut self, reply_to: ReplyTo, answer: Answer) -> Option<(Call, bool)> {
        let call = self.open.remove(&reply_to)?;
        let listened = self.listening.contains_key(&reply_to);
        if listened {
            self.down.push((reply_to, answer));
        }
        Some((call, listened))
    }

    /// An answer that arrives now, with who waits for it.
    pub(crate) fn deliver(&mut self, random: &mut Random) -> Option<(usize, ReplyTo, Answer)> {
        if self.down.is_empty() {
            return None;
        }
        let (reply_to, answer) = self.down.swap_remove(random.index(self.down.len()));
        let client = self.listening.remove(&reply_to)?;
        Some((client, reply_to, answer))
    }

    /// One connection breaks. The request may be on its way still, or go with it.
    pub(crate) fn cut(&mut self, reply_to: ReplyTo, request_too: bool) {
        self.listening.remove(&reply_to);
        self.down.retain(|(of, _)| *of != reply_to);
        if request_too && self.up.contains(&reply_to) {
            self.up.retain(|of| *of != reply_to);
            self.open.remove(&reply_to);
        }
    }

    /// All connections break: the process has gone. Gives back who listened.
    pub(crate) fn cut_all(&mut self) -> Vec<usize> {
        self.up.clear();
        self.down.clear();
        self.open.clear();
        std::mem::take(&mut self.listening).into_values().collect()
    }
}
