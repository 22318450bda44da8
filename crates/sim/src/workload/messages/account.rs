//! What is known of messages from their clients' side alone: who published, got and settled what,
//! and what everybody was told. It never looks into the engine.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::{
    ConnectionId, ConsumerId, Message, MessageDelivery, MessageVerdict, MonoMs, Place, Published,
    Rejection, Token,
};

use super::{
    DELIVERY_LIMIT, GRAVES, LIMITED, MOVED, ORDERED, PASSING, PLAIN, SINGLE, ends_by_itself,
    leaves_letters, ordering_key, queue_named, urgency,
};
use crate::workload::Check;

/// Who has a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holder {
    Connection(ConnectionId),
    /// Until then at least.
    Lease(Token, MonoMs),
}

/// A message in a queue. A dead letter is told from others by the queue that it died in, and one
/// that was moved by the queue that it left.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Of {
    pub(crate) queue: &'static str,
    pub(crate) died_in: Option<&'static str>,
    pub(crate) number: u64,
    /// How often it has died or was moved, and with it entered another queue, or the same again.
    pub(crate) stage: u64,
}

impl Of {
    /// As it was published.
    pub(crate) fn published(queue: &'static str, number: u64) -> Self {
        Self { queue, died_in: None, number, stage: 0 }
    }

    /// What it was published as.
    pub(crate) fn origin(self) -> Self {
        Self::published(self.died_in.unwrap_or(self.queue), self.number)
    }

    pub(crate) fn letter(self) -> Self {
        Self { queue: GRAVES, died_in: Some(self.queue), stage: self.stage + 1, ..self }
    }

    /// The one that a message in a queue is.
    pub(crate) fn message(queue: &str, message: &Message) -> Result<Self, String> {
        let queue = queue_named(queue)?;
        let digits = message.body.iter().take_while(|byte| byte.is_ascii_digit());
        let number = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        let died_in = match message.deaths.first() {
            Some(death) if queue == GRAVES => Some(queue_named(&death.queue)?),
            _ => (queue == MOVED).then_some(PLAIN),
        };
        let origin = died_in.unwrap_or(queue);
        let deaths = message.deaths.iter().filter(|death| death.queue == origin);
        let died: u64 = deaths.map(|death| death.count).sum();
        // It went back where it was moved out of the graves.
        let stage = match queue {
            MOVED => 1,
            GRAVES => (2 * died).saturating_sub(1),
            _ => 2 * died,
        };
        Ok(Self { queue, died_in, number, stage })
    }
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "message {} of {}", self.number, self.queue)?;
        self.died_in.map_or(Ok(()), |queue| write!(f, ", which died in {queue}"))
    }
}

/// What is known of it.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what clients saw and tried, each by itself")]
pub(crate) struct Known {
    /// Its publisher, or whoever made a letter of it, was told that it is there.
    pub(crate) confirmed: bool,
    /// A restart may end it.
    transient: bool,
    /// Something was tried that ends it, or it may end by itself and leaves nothing.
    pub(crate) may_be_gone: bool,
    /// It has a time of its own.
    expires: bool,
    /// It is routed later than it was published.
    pub(crate) delayed: bool,
    /// Somebody was told that it is not there, or not any more.
    pub(crate) ended: bool,
    /// It was acked, and somebody was told so.
    pub(crate) acked: bool,
    /// It arrived at somebody.
    arrived: bool,
    holder: Option<Holder>,
    /// How often it had come back when it was delivered last.
    returns: u32,
    slot: Option<(u8, Place)>,
    /// It waits at its place.
    waits: bool,
    /// Somebody may have it for a time, and nobody was told.
    in_doubt: bool,
    /// Who had it for a time has settled it, or it is rejected, and nobody was told yet.
    is_settling: bool,
}

/// A queue, urgency, ordering key, and who gets them.
type Line = (&'static str, u8, Option<u64>, Option<ConsumerId>);

/// The same with their publisher.
type PublishersLine = (&'static str, u8, ConnectionId, Option<u64>, Option<ConsumerId>);

/// What is known of all.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) messages: BTreeMap<Of, Known>,
    /// Where the last one stood that was delivered for the first time, by queue, urgency, ordering
    /// key and who got it.
    last_places: BTreeMap<Line, Place>,
    /// The last one of each publisher that was, likewise.
    last_numbers: BTreeMap<PublishersLine, u64>,
    publishers: BTreeMap<u64, (ConnectionId, u8)>,
    /// What consumers may still get.
    credit: BTreeMap<ConsumerId, u64>,
    /// The consumer that gets all of the queue that serves one.
    active: Option<ConsumerId>,
    /// Consumers that take no more, as soon as the shard hears of it.
    left: BTreeSet<ConsumerId>,
    /// Consumers that have gone, and their queues: what was on its way to them is on its way back,
    /// and nobody is told.
    leaving: BTreeMap<ConsumerId, &'static str>,
    /// Queues that somebody empties.
    purges: Vec<&'static str>,
    /// Queues of which messages were moved, or may be at any time.
    moved: BTreeSet<&'static str>,
    /// The time of the turn whose effects are heard.
    pub(crate) now: MonoMs,
}

impl Account {
    pub(crate) fn known(&self, of: Of) -> Option<&Known> {
        self.messages.get(&of)
    }

    /// A message is sent to queues: from now on it may be there.
    pub(crate) fn published(
        &mut self,
        number: u64,
        by: (ConnectionId, u8),
        queues: &[&'static str],
        (transient, expires, delayed): (bool, bool, bool),
    ) {
        if !delayed {
            self.publishers.insert(number, by);
        }
        for queue in queues {
            // What ends by its own time leaves a letter only where its queue has it so. Of the
            // passing queue messages are acked before anybody hears of it.
            let may_be_gone = (expires && !leaves_letters(queue))
                || self.purges.contains(queue)
                || *queue == PASSING;
            let known = Known { transient, may_be_gone, expires, delayed, ..Known::default() };
            self.messages.insert(Of::published(queue, number), known);
        }
    }

    /// Its publisher was told what came of it.
    pub(crate) fn confirmed(
        &mut self,
        number: u64,
        queues: &[&'static str],
        came: &Result<Published, Rejection>,
    ) -> Check {
        let reached = match came {
            Ok(Published::Routed { queues }) => *queues,
            Ok(Published::Delayed) => queues.len(),
            Ok(Published::Unroutable) | Err(_) => 0,
        };
        let lasting = queues.iter().filter(|queue| **queue != PASSING).count();
        if came.is_ok() && reached != queues.len() && reached != lasting {
            return Err(format!("message {number} was to reach {queues:?} and reached {reached}"));
        }
        for (index, queue) in queues.iter().enumerate() {
            let known = self.messages.get_mut(&Of::published(queue, number));
            let Some(known) = known else { continue };
            // The passing queue is the last of those that it is among.
            if index < reached {
                known.confirmed = true;
            } else {
                known.ended = true;
            }
        }
        Ok(())
    }

    /// A consumer may get more.
    pub(crate) fn credited(&mut self, consumer: ConsumerId, more: u64) {
        *self.credit.entry(consumer).or_default() += more;
    }

    /// The consumer has gone, or takes no more.
    pub(crate) fn consumer_left(&mut self, consumer: ConsumerId) {
        self.left.insert(consumer);
        if self.active == Some(consumer) {
            self.active = None;
        }
    }

    /// The connection of a consumer has ended.
    pub(crate) fn consumer_leaves(&mut self, consumer: ConsumerId, queue: &'static str) {
        self.consumer_left(consumer);
        self.leaving.insert(consumer, queue);
        for (_, known) in self.messages.iter_mut().filter(|(of, _)| of.queue == queue) {
            known.waits = false;
        }
    }

    /// Nothing is on its way to it any more.
    pub(crate) fn consumer_is_forgotten(&mut self, consumer: ConsumerId) {
        self.leaving.remove(&consumer);
    }

    /// The shard hands a message to a consumer of a connection.
    pub(crate) fn delivered(
        &mut self,
        consumer: ConsumerId,
        got: &MessageDelivery,
        holder: Option<Holder>,
    ) -> Check {
        let credit = self.credit.entry(consumer).or_default();
        *credit = credit
            .checked_sub(1)
            .ok_or_else(|| format!("consumer {} gets more than its credit", consumer.0))?;
        if *got.queue == *SINGLE && !self.left.contains(&consumer) {
            let active = *self.active.get_or_insert(consumer);
            if active != consumer {
                let (one, other) = (active.0, consumer.0);
                return Err(format!("consumers {one} and {other} are active at one queue"));
            }
        }
        self.handed_to(Some(consumer), got, holder)
    }

    /// The shard hands a message to somebody, or nobody any more.
    pub(crate) fn handed(&mut self, got: &MessageDelivery, holder: Option<Holder>) -> Check {
        self.handed_to(None, got, holder)
    }

    fn handed_to(
        &mut self,
        consumer: Option<ConsumerId>,
        got: &MessageDelivery,
        holder: Option<Holder>,
    ) -> Check {
        let of = Of::message(&got.queue, &got.message)?;
        let slot = (got.tag.urgency, got.tag.place);
        self.check_order(of, consumer, got)?;
        self.check_key(of)?;
        if of.stage > 0 && self.messages.contains_key(&of.origin()) {
            self.messages.entry(of).or_default();
        }
        let Some(known) = self.messages.get_mut(&of) else {
            return Err(format!("{of} was never published"));
        };
        if known.ended {
            return Err(format!("{of} comes although it is gone: {known:?}"));
        }
        if known.arrived && !got.redelivered {
            return Err(format!("{of} comes again and does not say so"));
        }
        match known.holder {
            Some(Holder::Lease(_, until)) if self.now > until => {}
            None => {}
            Some(other) => return Err(format!("{of} is with {other:?} and with {holder:?}")),
        }
        if known.slot.is_some_and(|known| known != slot) {
            return Err(format!("{of} stood at {:?} and stands at {slot:?}", known.slot));
        }
        (known.slot, known.holder, known.returns) = (Some(slot), holder, got.returns);
        (known.waits, known.is_settling) = (false, false);
        // Where nobody heard of it, it stands for its time after a restart.
        known.in_doubt = got.lease.is_some() && holder.is_none();
        Ok(())
    }

    /// Messages that stand in one line with it: those of its queue, or of its ordering key there.
    fn of_line(&self, of: Of) -> impl Iterator<Item = (&Of, &Known)> {
        let of_queue = self.messages.range(Of::published(of.queue, 0)..);
        let of_queue = of_queue.take_while(move |(it, _)| it.queue == of.queue);
        let key = (of.queue == ORDERED).then(|| ordering_key(of.number));
        of_queue.filter(move |(it, _)| key.is_none_or(|key| ordering_key(it.number) == key))
    }

    /// Of an ordering key one message at a time is with somebody.
    fn check_key(&self, of: Of) -> Check {
        let live = |known: &Known| match known.holder {
            Some(Holder::Lease(_, until)) => self.now <= until,
            Some(Holder::Connection(_)) => true,
            None => false,
        };
        let others = self.of_line(of).filter(|(it, _)| of.queue == ORDERED && **it != of);
        match { others }.find(|(_, known)| live(known)) {
            Some((other, known)) => {
                Err(format!("{of} comes while {other} of its key is with {:?}", known.holder))
            }
            None => Ok(()),
        }
    }

    /// Messages of a queue are moved from now on.
    pub(crate) fn moving(&mut self, queue: &'static str) {
        self.moved.insert(queue);
        for (_, known) in self.messages.iter_mut().filter(|(of, _)| of.queue == queue) {
            known.waits = false;
        }
    }

    /// Whether messages of a queue may be elsewhere.
    pub(crate) fn is_moved(&self, queue: &str) -> bool {
        self.moved.contains(queue)
    }

    /// What comes for the first time comes in the order of its publisher, and nothing comes before
    /// what waits at an earlier place. What one turn hands to several consumers has no order among
    /// them.
    fn check_order(&mut self, of: Of, to: Option<ConsumerId>, got: &MessageDelivery) -> Check {
        let (urgency, place) = (got.tag.urgency, got.tag.place);
        let is_before = |slot: (u8, Place)| slot < (urgency, place);
        let earlier = |known: &Known| known.waits && known.slot.is_some_and(is_before);
        let passed = self.of_line(of).find(|(it, known)| **it != of && earlier(known));
        if let Some((other, at)) = passed.map(|(other, known)| (*other, known.slot)) {
            return Err(format!("{of} at {place} comes before {other}, which waits at {at:?}"));
        }
        if got.redelivered {
            return Ok(());
        }
        // Of a key one at a time is with somebody, whoever it is.
        let key = (of.queue == ORDERED).then(|| ordering_key(of.number));
        let to = to.filter(|_| key.is_none());
        let line = (of.queue, urgency, key, to);
        let last = self.last_places.insert(line, place).unwrap_or_default();
        if last >= place {
            return Err(format!("{of} at {place} comes after one at {last}"));
        }
        if of.stage == 0
            && let Some((by, priority)) = self.publishers.get(&of.number)
        {
            let urgency = self::urgency(of.queue, *priority);
            let line = (of.queue, urgency, *by, key, to);
            let last = self.last_numbers.insert(line, of.number);
            if last.is_some_and(|last| last > of.number) || urgency != got.tag.urgency {
                return Err(format!("{of} comes after {last:?} of its publisher"));
            }
        }
        Ok(())
    }

    /// It arrives at its consumer. One that is acked before it is delivered is gone by that.
    pub(crate) fn arrived(&mut self, got: &MessageDelivery, auto_ack: bool) -> Check {
        let of = Of::message(&got.queue, &got.message)?;
        if let Some(known) = self.messages.get_mut(&of) {
            known.arrived = true;
            (known.ended, known.acked) = (known.ended | auto_ack, known.acked | auto_ack);
        }
        Ok(())
    }

    /// It is acked with its delivery, wherever that comes to.
    pub(crate) fn auto_acked(&mut self, got: &MessageDelivery) -> Check {
        let of = Of::message(&got.queue, &got.message)?;
        if let Some(known) = self.messages.get_mut(&of) {
            (known.may_be_gone, known.holder) = (true, None);
        }
        Ok(())
    }

    /// Whoever has it settles it: from now on it may be gone, or elsewhere.
    pub(crate) fn settling(&mut self, got: &MessageDelivery, verdict: MessageVerdict) -> Check {
        let of = Of::message(&got.queue, &got.message)?;
        if let Some(known) = self.messages.get_mut(&of) {
            let by_lease = matches!(known.holder.take(), Some(Holder::Lease(..)));
            known.is_settling = by_lease || verdict == MessageVerdict::Reject;
            known.may_be_gone |= match verdict {
                MessageVerdict::Ack => true,
                MessageVerdict::Reject => !leaves_letters(of.queue),
                MessageVerdict::Requeue => false,
            };
        }
        Ok(())
    }

    /// Whoever settled it was told that it is done.
    pub(crate) fn settled(&mut self, got: &MessageDelivery, verdict: MessageVerdict) -> Check {
        let of = Of::message(&got.queue, &got.message)?;
        let Some(known) = self.messages.get_mut(&of) else { return Ok(()) };
        known.is_settling = false;
        match verdict {
            MessageVerdict::Ack => {
                if known.ended {
                    return Err(format!("{of} was gone, and is acked"));
                }
                (known.ended, known.acked) = (true, true);
            }
            MessageVerdict::Reject => {
                known.ended = true;
                if leaves_letters(of.queue) {
                    self.messages.entry(of.letter()).or_default().confirmed = true;
                }
            }
            MessageVerdict::Requeue => {
                let comes_back = of.queue != LIMITED || known.returns < DELIVERY_LIMIT;
                let steady = !self.leaving.values().any(|queue| *queue == of.queue);
                let steady = steady && !self.moved.contains(of.queue);
                let lasting = known.is_lasting(of) && known.holder.is_none();
                known.waits = comes_back && lasting && steady;
            }
        }
        Ok(())
    }

    /// A connection has ended: what it had is with nobody, or will be.
    pub(crate) fn connection_left(&mut self, connection: ConnectionId) {
        for known in self.messages.values_mut() {
            if known.holder == Some(Holder::Connection(connection)) {
                known.holder = None;
            }
        }
    }

    /// Somebody empties a queue.
    pub(crate) fn purging(&mut self, queue: &'static str) {
        self.purges.push(queue);
        // Letters of it may be back there, or come back meanwhile.
        let back = self.moved.contains(GRAVES);
        let is_there = |of: &Of| of.queue == queue || (back && of.origin().queue == queue);
        for (_, known) in self.messages.iter_mut().filter(|(of, _)| is_there(of)) {
            (known.may_be_gone, known.waits) = (true, false);
        }
    }

    /// A queue is being deleted: what it holds may be gone from now on.
    pub(crate) fn queue_goes(&mut self, queue: &str) {
        for (_, known) in self.messages.iter_mut().filter(|(of, _)| of.queue == queue) {
            known.may_be_gone = true;
        }
    }

    /// The queue is there no longer.
    pub(crate) fn queue_deleted(&mut self, queue: &str) {
        for (_, known) in self.messages.iter_mut().filter(|(of, _)| of.queue == queue) {
            known.ended = true;
        }
    }

    /// It was told that the queue is empty.
    pub(crate) fn purged(&mut self, queue: &str) {
        if let Some(at) = self.purges.iter().position(|of| *of == queue) {
            self.purges.swap_remove(at);
        }
    }

    /// Somebody asked for messages of a queue for a time, and hears no answer: any may be away.
    pub(crate) fn lease_in_doubt(&mut self, queue: &str) {
        for (_, known) in self.messages.iter_mut().filter(|(of, _)| of.queue == queue) {
            known.in_doubt = true;
        }
    }

    /// Another life of the server begins: what it was told to keep waits, but for what somebody has
    /// for a time.
    pub(crate) fn restarted(&mut self, now: MonoMs, lease_ms: u64) {
        let last = std::mem::replace(&mut self.now, now);
        self.last_places.clear();
        self.credit.clear();
        self.purges.clear();
        self.leaving.clear();
        self.active = None;
        for (of, known) in &mut self.messages {
            known.may_be_gone |= known.transient;
            // It stands for its time anew, or is a letter by now.
            known.in_doubt |= std::mem::take(&mut known.is_settling);
            // What comes later enters the queue that is declared anew.
            known.ended |= of.queue == PASSING && !known.delayed;
            match &mut known.holder {
                Some(Holder::Lease(_, until)) if last <= *until => *until = now.plus(lease_ms),
                holder => {
                    // One whose time had come may be over, and nobody was told.
                    known.in_doubt |= matches!(holder, Some(Holder::Lease(..)));
                    *holder = None;
                }
            }
            // One that had come back often enough may have died when its connection ended.
            let comes_back = of.queue != LIMITED || known.returns < DELIVERY_LIMIT;
            let lasts = known.is_lasting(*of) && known.holder.is_none();
            let steady = !self.moved.contains(of.queue);
            known.waits = known.confirmed && comes_back && lasts && steady;
        }
    }
}

impl Known {
    /// Whether somebody has it, as far as is known.
    pub(crate) fn is_held(&self) -> bool {
        self.holder.is_some()
    }

    /// Nothing ends it but who takes it.
    fn is_lasting(&self, of: Of) -> bool {
        let may_end = self.may_be_gone || self.ended || self.expires || self.in_doubt;
        !may_end && !ends_by_itself(of.queue)
    }
}
