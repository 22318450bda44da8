//! Messages that end without an ack: the letter that each leaves in its queue's dead-letter
//! exchange, and messages whose time runs out.

use std::ops::ControlFlow;

use super::into_jobs::HOPS_MAX;
use super::state::{stored_of, tag_of_expiry};
use super::{
    BodyRef, Death, Ends, HeaderValue, Message, MessageEnd, MessageSettings, MessageTag, Overflow,
    PublishMessage,
};
use crate::ids::{NamespaceId, QueueId, TimeMs};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::rope::Rope;
use crate::state::{State, keys};
use crate::wire::Wire;

/// What is remembered of where a message died, at most: the oldest goes.
const DEATHS_MAX: usize = 64;

/// Bytes of an entry for what is recorded with a letter: how its message ended.
const BESIDE_BYTES: usize = 4096;

/// What is recorded of a message that nobody waits for, such as a dead letter.
#[derive(Debug, Default)]
pub(crate) struct Entering {
    /// None where it reaches nothing.
    pub(crate) records: Vec<Record>,
    /// Jobs that it was to become and cannot.
    pub(crate) jobs_dropped: u64,
    /// Events that it was to become and that their streams do not take.
    pub(crate) events_dropped: u64,
}

impl From<Option<Record>> for Entering {
    fn from(record: Option<Record>) -> Self {
        Self { records: Vec::from_iter(record), ..Self::default() }
    }
}

impl State {
    /// The end of a message and the letter that it leaves, where its queue has an exchange for
    /// these. Both are recorded together.
    pub(crate) fn decide_death(
        &self,
        ns: NamespaceId,
        tag: MessageTag,
        end: MessageEnd,
        moment: Moment,
    ) -> Option<Entering> {
        let queue = self.queues.get(tag.queue)?;
        let settings = &*self.message_settings(tag.queue)?;
        settings.dead_letter_exchange.as_ref()?;
        let stored = self.stored(ns, tag)?;
        let mut ends = Ends::default();
        ends.end(tag, stored.body_ref(), end);
        let mut records = ends.into_records(ns);
        let dead = (&*stored.message, end);
        let letter = self.decide_letter_of(ns, (queue.name.as_str(), settings), dead, moment);
        records.extend(letter.records);
        Some(Entering { records, ..letter })
    }

    /// The letter that a message leaves which a queue refuses that is full.
    pub(crate) fn decide_refused_letter(
        &self,
        ns: NamespaceId,
        queue: QueueId,
        command: &PublishMessage,
        moment: Moment,
    ) -> Entering {
        let Some(settings) = self.message_settings(queue) else { return Entering::default() };
        let Some(queue) = self.queues.get(queue) else { return Entering::default() };
        let dead = (&command.message(moment), MessageEnd::Overflown);
        self.decide_letter_of(ns, (queue.name.as_str(), &settings), dead, moment)
    }

    /// The letter of a message: nothing where it reaches nothing.
    fn decide_letter_of(
        &self,
        ns: NamespaceId,
        (queue, settings): (&str, &MessageSettings),
        (message, end): (&Message, MessageEnd),
        moment: Moment,
    ) -> Entering {
        let Some(exchange) = settings.dead_letter_exchange.clone() else {
            return Entering::default();
        };
        let letter = letter(message, queue, end, moment.at);
        let key = settings.dead_letter_routing_key.clone();
        let message = Message {
            exchange,
            further_keys: if key.is_some() { Vec::new() } else { letter.further_keys.clone() },
            routing_key: key.unwrap_or_else(|| letter.routing_key.clone()),
            ..letter
        };
        self.decide_entry(ns, message, &[], moment)
    }

    /// How a message enters that nobody waits for, such as a dead letter, where its exchange
    /// exists and leads anywhere. It enters queues however long they are, those of jobs as well;
    /// but a message that tells of the end of a job does not go into a full queue of jobs: such
    /// messages could fill it by themselves.
    pub(super) fn decide_entry(
        &self,
        namespace: NamespaceId,
        message: Message,
        headers: &[(String, HeaderValue)],
        moment: Moment,
    ) -> Entering {
        let exchange = self.messages.exchanges.named(namespace, &message.exchange);
        let Some(exchange) = exchange else { return Entering::default() };
        // A queue of jobs under that name takes no messages.
        let routed = self.route(namespace, exchange, &message.keys(), headers);
        let Ok(mut routed) = routed else { return Entering::default() };
        let goes_round = |id: &QueueId| {
            let name = self.queues.get(*id).map(|queue| queue.name.as_str());
            let before = message.deaths.iter().position(|death| Some(&*death.queue) == name);
            // A message that goes round by itself is dropped, one that somebody rejects is not.
            before.is_some_and(|at| {
                let round = message.deaths.iter().take(at + 1);
                round.into_iter().all(|death| death.reason != MessageEnd::Rejected)
            })
        };
        routed.queues.retain(|id| !goes_round(id));
        // Nobody is there to be told that a stream does not take the event. A loop by way of a
        // stream ends after so many rounds.
        let ends = message.hops_as_event() >= HOPS_MAX && message.died_by_itself();
        let streams = routed.streams.len();
        routed.streams.retain(|id| !ends && self.check_event(*id, &message).is_ok());
        let events_dropped = (streams - routed.streams.len()) as u64;
        let is_outcome = message.hops > 0;
        let spent = message.hops >= HOPS_MAX && message.died_by_itself();
        let (record, jobs) = self.enter(namespace, routed, (message, headers), moment);
        if jobs.is_empty() || spent {
            let jobs_dropped = jobs.len() as u64;
            return Entering { jobs_dropped, events_dropped, ..record.into() };
        }
        let mut overlay = Overlay::new(self, namespace, moment);
        let mut taken = Rope::referring();
        if let Some(record) = record {
            record.put(&mut taken);
            overlay.record_message(record);
        }
        // What cannot be a job, such as args that are too large, is a message elsewhere still.
        let room = self.limits.entry_bytes_max.saturating_sub(taken.len() + BESIDE_BYTES);
        let (records, jobs_dropped) = self.decide_fitting(overlay, &jobs, (room, is_outcome));
        Entering { records, jobs_dropped, events_dropped }
    }

    /// Messages whose time has run out, and when: a bounded number.
    pub(crate) fn due_expiries(&self, now: TimeMs) -> Vec<(TimeMs, NamespaceId, MessageTag)> {
        let most = self.limits.slice_items_max;
        let mut due: Vec<_> = self.messages.overdue_back.iter().take(most).copied().collect();
        if self.messages.expiries.first(self).is_none_or(|first| first > now.0) {
            return due;
        }
        let (from, to) = self.messages.expiries.range();
        self.scan(&from, &to, &mut |key, _| {
            let (at, ns, tag) = tag_of_expiry(key);
            if at > now || due.len() >= most {
                return ControlFlow::Break(());
            }
            due.push((at, ns, tag));
            ControlFlow::Continue(())
        });
        due
    }

    /// The body of a message that waits and whose time has run out.
    pub(crate) fn expired(&self, ns: NamespaceId, tag: MessageTag, now: TimeMs) -> Option<BodyRef> {
        self.queues.get(tag.queue)?;
        let key = keys::message(ns, tag);
        let stored = stored_of(&key, &self.get(&key)?);
        let is_over = stored.expires_at.is_some_and(|at| at <= now);
        is_over.then_some(stored.body_ref())
    }

    /// Messages that are too many in a queue that drops its first ones for that.
    pub(crate) fn is_too_long(&self, queue: QueueId) -> bool {
        let Some(settings) = self.message_settings(queue) else { return false };
        if settings.overflow != Overflow::DropHead {
            return false;
        }
        settings.max_length.is_some_and(|max| self.ready_messages(queue) > max)
            || settings.max_bytes.is_some_and(|max| self.ready_bytes(queue) > max)
    }

    /// Bytes of the bodies of messages of a queue that wait.
    pub(super) fn ready_bytes(&self, queue: QueueId) -> u64 {
        let unsettled = self.messages.shelves.get(&queue).map_or(0, |shelf| shelf.unsettled_bytes);
        self.queues.get(queue).map_or(0, |it| it.counts.message_bytes.saturating_sub(unsettled))
    }
}

/// A message as the letter that it leaves. The newest death comes first; a further death in the
/// same queue for the same reason raises its count.
fn letter(message: &Message, queue: &str, reason: MessageEnd, at: TimeMs) -> Message {
    let mut letter = Message::clone(message);
    let same = letter.deaths.iter().position(|it| it.queue == queue && it.reason == reason);
    let mut death = match same {
        Some(index) => letter.deaths.remove(index),
        None => Death {
            queue: queue.to_owned(),
            reason,
            count: 0,
            at,
            exchange: letter.exchange.clone(),
            routing_keys: std::iter::once(letter.routing_key.clone())
                .chain(letter.further_keys.iter().cloned())
                .collect(),
            ttl_ms: letter.ttl_ms,
        },
    };
    death.count += 1;
    letter.deaths.insert(0, death);
    letter.deaths.truncate(DEATHS_MAX);
    letter.ttl_ms = None;
    letter
}
