//! Publishing: which queues a message enters, found by following exchanges and their bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::declare::check_routing_key;
use super::exchanges::DEFAULT_EXCHANGE;
use super::into_jobs::args_of;
use super::{
    Destination, Exchange, ExchangeKind, HeaderValue, Message, MessageSettings, NewEntry, Overflow,
    Publication, PublishMessage, Published,
};
use crate::bounds::check_size;
use crate::command::FollowUp;
use crate::ids::{NamespaceId, QueueId, StreamId};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

/// Routing keys that one message has at most, beside its first.
const FURTHER_KEYS_MAX: usize = 255;

/// Bytes of a message's properties.
pub(crate) const PROPERTY_BYTES_MAX: u64 = 128 << 10;

/// Queues that one message enters at most.
const QUEUES_MAX: usize = 10_000;

/// What a message reaches.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    /// Queues of messages that it enters.
    pub(super) queues: BTreeSet<QueueId>,
    /// Bindings by which it becomes a job.
    pub(super) jobs: BTreeSet<Destination>,
    /// Streams in which it becomes an event.
    pub(super) streams: BTreeSet<StreamId>,
}

impl Routed {
    /// One queue, without an exchange.
    pub(crate) fn to_queue(queue: QueueId) -> Self {
        Self { queues: BTreeSet::from([queue]), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.len() + self.jobs.len() + self.streams.len()
    }
}

impl PublishMessage {
    /// The message that it becomes.
    pub(super) fn message(&self, moment: Moment) -> Message {
        Message {
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            further_keys: self.further_keys.clone(),
            priority: self.priority,
            persistent: self.persistent,
            ttl_ms: self.ttl_ms,
            published_at: moment.at,
            properties: self.properties.clone(),
            body: self.body.clone(),
            deaths: Vec::new(),
            hops: 0,
        }
    }
}

impl Message {
    /// All its routing keys.
    pub(super) fn keys(&self) -> Vec<&str> {
        std::iter::once(&self.routing_key).chain(&self.further_keys).map(String::as_str).collect()
    }
}

impl State {
    /// What publishing a message comes to.
    pub(crate) fn decide_publish(
        &self,
        ns: NamespaceId,
        command: &PublishMessage,
        moment: Moment,
    ) -> Result<Publication, Rejection> {
        let exchange = self.exchange(ns, &command.exchange)?;
        if exchange.internal {
            return Err(Rejection::ExchangeInternal { exchange: exchange.name.clone() });
        }
        check_routing_key(&command.routing_key)?;
        let further = &command.further_keys;
        if further.len() > FURTHER_KEYS_MAX {
            let (value, allowed) = (further.len().to_string(), FURTHER_KEYS_MAX.to_string());
            return Err(Rejection::ValueRefused { field: "further_keys", value, allowed });
        }
        further.iter().try_for_each(|key| check_routing_key(key))?;
        check_size("body", command.body.len(), self.limits.message_bytes_max)?;
        check_size("properties", command.properties.len(), PROPERTY_BYTES_MAX)?;
        let message = command.message(moment);
        if let Some(record) = self.decide_delayed(ns, command, &message, moment)? {
            let (record, jobs) = (Some(record), Vec::new());
            return Ok(Publication { record, jobs, came: Published::Delayed });
        }
        let routed = self.route(ns, exchange, &message.keys(), &command.headers)?;
        let bytes = routed.jobs.len().saturating_mul(message.body.len());
        check_size("body", bytes, self.limits.bulk_bytes_max)?;
        self.check_events(&routed.streams, &message)?;
        for queue in &routed.queues {
            self.check_room_for_messages(*queue, (0, 0))?;
        }
        let came = match routed.len() {
            0 => Published::Unroutable,
            queues => Published::Routed { queues },
        };
        let (record, jobs) = self.enter(ns, routed, (message, &command.headers), moment);
        Ok(Publication { record, jobs, came })
    }

    /// The record of a message that enters queues, and the jobs that it becomes.
    pub(crate) fn enter(
        &self,
        namespace: NamespaceId,
        routed: Routed,
        (message, headers): (Message, &[(String, HeaderValue)]),
        moment: Moment,
    ) -> (Option<Record>, Vec<FollowUp>) {
        // Built once: there may be ten thousand of them.
        let args = if routed.jobs.is_empty() { Bytes::new() } else { args_of(&message.body) };
        let jobs = routed.jobs.into_iter().enumerate().filter_map(|(index, to)| {
            self.job_of(namespace, to, (&message, headers, &args), (moment, index as u64))
        });
        let jobs = jobs.collect();
        let place = self.meta.next_place;
        let events = routed.streams.iter();
        let events = events.filter_map(|id| self.event_place(*id, &message, place)).collect();
        if routed.queues.is_empty() && routed.streams.is_empty() {
            return (None, jobs);
        }
        let entry = |queue| self.new_entry(queue, &message, moment);
        let entries = routed.queues.into_iter().map(entry).collect();
        let message = Box::new(message);
        (Some(Record::MessagePublished { namespace, place, message, entries, events }), jobs)
    }

    /// Refuses one message more than a queue takes that refuses new ones. `earlier`: messages and
    /// bytes that the same command has it take before.
    pub(crate) fn check_room_for_messages(
        &self,
        queue: QueueId,
        earlier: (u64, u64),
    ) -> Result<(), Rejection> {
        let Some(known) = self.queues.get(queue) else { return Ok(()) };
        let Some(settings) = self.message_settings(queue) else { return Ok(()) };
        let settings = &*settings;
        if settings.overflow == Overflow::DropHead {
            return Ok(());
        }
        let (length, full) = self.fullness(queue, settings, earlier);
        match full {
            Some(max_length) => {
                let queue = known.name.clone();
                Err(Rejection::QueueFull { queue, length, max_length })
            }
            None => Ok(()),
        }
    }

    /// How many messages of a queue wait, and at most how many may where no more do.
    pub(super) fn fullness(
        &self,
        queue: QueueId,
        settings: &MessageSettings,
        earlier: (u64, u64),
    ) -> (u64, Option<u64>) {
        let length = self.ready_messages(queue) + earlier.0;
        let full = settings.max_length.filter(|max| length >= *max);
        let bytes = self.ready_bytes(queue) + earlier.1;
        let of_bytes = || settings.max_bytes.filter(|max| bytes >= *max).map(|_| length);
        (length, full.or_else(of_bytes))
    }

    /// The queues that refuse a message and have it become a dead letter: each leaves one. `full`
    /// refused it, be it for what the same command has it take before.
    pub(crate) fn refusing_with_letter(
        &self,
        ns: NamespaceId,
        command: &PublishMessage,
        full: &str,
        moment: Moment,
    ) -> Vec<QueueId> {
        let Ok(exchange) = self.exchange(ns, &command.exchange) else { return Vec::new() };
        let keys = command.message(moment);
        let queues = self.route(ns, exchange, &keys.keys(), &command.headers);
        let leaves = |queue: &QueueId| {
            let Some(known) = self.queues.get(*queue) else { return false };
            self.message_settings(*queue).is_some_and(|settings| {
                settings.overflow == Overflow::RejectPublishDeadLetter
                    && (known.name == full || self.fullness(*queue, &settings, (0, 0)).1.is_some())
            })
        };
        queues.unwrap_or_default().queues.into_iter().filter(leaves).collect()
    }

    pub(super) fn new_entry(&self, queue: QueueId, message: &Message, moment: Moment) -> NewEntry {
        let settings = self.message_settings(queue);
        let settings = settings.as_deref();
        let most = settings.and_then(|settings| settings.max_priority).unwrap_or(0);
        let urgency = u8::MAX - message.priority.min(most);
        let of_queue = settings.and_then(|settings| settings.ttl_ms);
        let ttl_ms = [of_queue, message.ttl_ms].into_iter().flatten().min();
        NewEntry { queue, urgency, expires_at: ttl_ms.map(|ttl_ms| moment.at.plus(ttl_ms)) }
    }

    /// Bindings that an exchange compares with each message.
    pub(crate) fn bindings_compared(&self, ns: NamespaceId, exchange: &str) -> usize {
        let exchange = self.messages.exchanges.named(ns, exchange);
        let compares = exchange.filter(|it| it.kind == ExchangeKind::Headers);
        compares.map_or(0, |it| self.messages.exchanges.bindings_from(ns, it.id))
    }

    /// The streams in which what enters queues becomes an event, too.
    fn add_streams_of(
        &self,
        ns: NamespaceId,
        queues: &BTreeSet<QueueId>,
        streams: &mut BTreeSet<StreamId>,
    ) {
        if self.streams.is_empty() {
            return;
        }
        for queue in queues.iter().filter_map(|id| self.queues.get(*id)) {
            let settings = queue.settings.messages.as_deref();
            let name = settings.and_then(|settings| settings.stream.as_deref());
            streams.extend(name.and_then(|name| self.streams.named(ns, name)).map(|it| it.id));
        }
    }

    /// What a message reaches from an exchange with any of its keys.
    pub(super) fn route(
        &self,
        ns: NamespaceId,
        from: Arc<Exchange>,
        keys: &[&str],
        headers: &[(String, HeaderValue)],
    ) -> Result<Routed, Rejection> {
        let (mut queues, mut jobs, mut streams) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut seen = BTreeSet::from([from.id]);
        let mut open = vec![from];
        while let Some(exchange) = open.pop() {
            let mut next = Vec::new();
            let mut found = false;
            if exchange.id == DEFAULT_EXCHANGE {
                for key in keys {
                    match self.message_queue(ns, key) {
                        Ok((queue, _)) => drop(queues.insert(queue.id)),
                        Err(Rejection::QueueUnknown { .. }) => {}
                        Err(other) => return Err(other),
                    }
                }
                continue;
            }
            let mut reach = |to: Destination| match to {
                Destination::Queue { id } if self.queues.get(id).is_some() => {
                    found = true;
                    queues.insert(id);
                }
                Destination::Exchange { id } => {
                    if let Some(exchange) = self.messages.exchanges.get(ns, id) {
                        found = true;
                        next.push(exchange);
                    }
                }
                Destination::Jobs { id, .. } if self.queues.get(id).is_some() => {
                    found = true;
                    jobs.insert(to);
                }
                Destination::Stream { id } if self.streams.get(id).is_some() => {
                    found = true;
                    streams.insert(id);
                }
                Destination::Queue { .. }
                | Destination::Jobs { .. }
                | Destination::Stream { .. } => {}
            };
            if let Some(router) = self.messages.exchanges.router(ns, exchange.id) {
                for key in keys {
                    router.route(key, headers, &mut reach);
                }
            }
            if !found && let Some(alternate) = self.alternate_of(&exchange) {
                next.extend(self.messages.exchanges.named(ns, &alternate));
            }
            open.extend(next.into_iter().filter(|exchange| seen.insert(exchange.id)));
        }
        self.add_streams_of(ns, &queues, &mut streams);
        let routed = Routed { queues, jobs, streams };
        if routed.len() > QUEUES_MAX {
            let (value, allowed) = (routed.len().to_string(), format!("at most {QUEUES_MAX}"));
            return Err(Rejection::ValueRefused { field: "queues", value, allowed });
        }
        Ok(routed)
    }
}
