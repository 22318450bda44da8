//! Requests, answers and deliveries on their way. Each may arrive late or never; who waited for it
//! learns that the connection broke, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::{Answer, Command, ConsumerId, Delivery, ReplyTo, Subscribe};

use crate::random::Random;

/// A request: who sent it, in which namespace, and what it asks.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: usize,
    pub(crate) namespace: usize,
    pub(crate) command: Command,
}

/// A stream that takes jobs, as the server has it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) client: usize,
    pub(crate) namespace: usize,
    pub(crate) command: Subscribe,
    /// Credit that the shard was told of and did not use.
    pub(crate) credit: usize,
}

/// What arrives at a client.
#[derive(Debug)]
pub(crate) enum Arrival {
    Answer(ReplyTo, Answer),
    Jobs(ConsumerId, Vec<Delivery>),
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    next: u64,
    /// Sent and not yet taken up.
    up: Vec<ReplyTo>,
    /// Answered and not yet arrived.
    down: Vec<(ReplyTo, Answer)>,
    /// Delivered and not yet arrived, in order.
    jobs_down: Vec<(ConsumerId, Vec<Delivery>)>,
    /// Every stream that was ever subscribed in this life of the server.
    streams: BTreeMap<ConsumerId, Stream>,
    /// Those of them whose connection stands.
    standing: BTreeSet<ConsumerId>,
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

    /// Who listens for that answer.
    pub(crate) fn listener(&self, reply_to: ReplyTo) -> Option<usize> {
        self.listening.get(&reply_to).copied()
    }

    /// Every answer that is listened for.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = ReplyTo> {
        self.listening.keys().copied()
    }

    /// A stream has left the shard.
    pub(crate) fn left(&mut self, id: ConsumerId) {
        self.streams.remove(&id);
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

    /// The shard takes up what a stream says of its credit.
    pub(crate) fn credited(&mut self, client: Option<usize>, namespace: usize, command: &Command) {
        match (command, client) {
            (Command::Subscribe(command), Some(client)) => {
                let (command, credit) = (Subscribe::clone(command), command.credit.jobs);
                let (id, stream) =
                    (command.consumer, Stream { client, namespace, command, credit });
                self.streams.insert(id, stream);
            }
            (Command::AddCredit { consumer, credit, .. }, _) => {
                if let Some(stream) = self.streams.get_mut(consumer) {
                    stream.credit += credit.jobs;
                }
            }
            _ => {}
        }
    }

    /// A client's stream stands.
    pub(crate) fn stand(&mut self, id: ConsumerId) {
        self.standing.insert(id);
    }

    pub(crate) fn stands(&self, id: ConsumerId) -> bool {
        self.standing.contains(&id)
    }

    /// It stands no longer. Answers what was on its way to it.
    pub(crate) fn hang_up(&mut self, id: ConsumerId) -> Vec<Delivery> {
        self.standing.remove(&id);
        let (gone, rest) =
            std::mem::take(&mut self.jobs_down).into_iter().partition(|(of, _)| *of == id);
        self.jobs_down = rest;
        let gone: Vec<(ConsumerId, Vec<Delivery>)> = gone;
        gone.into_iter().flat_map(|(_, jobs)| jobs).collect()
    }

    /// Every stream that stands.
    pub(crate) fn standing(&self) -> Vec<ConsumerId> {
        self.standing.iter().copied().collect()
    }

    pub(crate) fn stream(&mut self, id: ConsumerId) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    /// The shard released a delivery; gives it back where nobody is there for it.
    pub(crate) fn delivered(
        &mut self,
        id: ConsumerId,
        jobs: Vec<Delivery>,
    ) -> Result<(), Vec<Delivery>> {
        if !self.standing.contains(&id) {
            return Err(jobs);
        }
        self.jobs_down.push((id, jobs));
        Ok(())
    }

    /// Something that arrives now, with whom it is for.
    pub(crate) fn deliver(&mut self, random: &mut Random) -> Option<(usize, Arrival)> {
        if !self.jobs_down.is_empty() && random.percent(50) {
            let (id, jobs) = self.jobs_down.remove(0);
            let client = self.streams.get(&id)?.client;
            return Some((client, Arrival::Jobs(id, jobs)));
        }
        let (client, reply_to, answer) = self.deliver_answer(random)?;
        Some((client, Arrival::Answer(reply_to, answer)))
    }

    /// An answer that arrives now, with who waits for it.
    pub(crate) fn deliver_answer(
        &mut self,
        random: &mut Random,
    ) -> Option<(usize, ReplyTo, Answer)> {
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
        self.jobs_down.clear();
        self.streams.clear();
        self.standing.clear();
        self.open.clear();
        std::mem::take(&mut self.listening).into_values().collect()
    }
}
