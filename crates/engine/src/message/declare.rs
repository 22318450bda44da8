//! Declaring and removing queues of messages, exchanges and bindings: what is decided.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::exchanges::{DEFAULT_EXCHANGE, GENERATED_PREFIX, RESERVED_PREFIX};
use super::ring::{WEIGHT_MAX, weight_of};
use super::state::binding_of;
use super::{
    Binding, BindingSpec, BindingView, DeclareExchange, Destination, Exchange, ExchangeKind,
    ExchangeView, JobBinding, MessageQueueView, MessageSettings,
};
use crate::bounds::{check_duration, check_name};
use crate::ids::NamespaceId;
use crate::queue::{Queue, QueueSettings};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};

/// Bytes of a routing key, and of what a face adds to a binding or to settings.
pub(super) const KEY_BYTES_MAX: usize = 255;
const ARGUMENT_BYTES_MAX: usize = 8 << 10;

/// Bindings in one answer at most, and those that are looked at for it.
const BINDINGS_PER_PAGE_MAX: usize = 1000;

fn refused(field: &'static str, value: String, allowed: String) -> Rejection {
    Rejection::ValueRefused { field, value, allowed }
}

pub(crate) fn check_routing_key(key: &str) -> Result<(), Rejection> {
    if key.len() > KEY_BYTES_MAX {
        let value = format!("{} bytes", key.len());
        return Err(refused("routing_key", value, format!("at most {KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_arguments(bytes: usize) -> Result<(), Rejection> {
    if bytes > ARGUMENT_BYTES_MAX {
        let allowed = format!("at most {ARGUMENT_BYTES_MAX} bytes");
        return Err(refused("arguments", format!("{bytes} bytes"), allowed));
    }
    Ok(())
}

impl State {
    /// Refuses a queue that holds messages; one that is not there may hold jobs.
    pub(crate) fn check_holds_jobs(&self, ns: NamespaceId, name: &str) -> Result<(), Rejection> {
        match self.queues.named(ns, name) {
            Some(queue) if queue.settings.messages.is_some() => {
                let (queue, holds) = (name.to_owned(), "messages");
                Err(Rejection::QueueTypeRefused { queue, holds })
            }
            _ => Ok(()),
        }
    }

    /// A queue that holds messages.
    pub(crate) fn message_queue(
        &self,
        ns: NamespaceId,
        name: &str,
    ) -> Result<(&Queue, &MessageSettings), Rejection> {
        let Some(queue) = self.queues.named(ns, name) else {
            return Err(Rejection::QueueUnknown { queue: name.to_owned() });
        };
        match &queue.settings.messages {
            Some(settings) => Ok((queue, settings)),
            None => Err(Rejection::QueueTypeRefused { queue: name.to_owned(), holds: "jobs" }),
        }
    }

    /// The record that creates a queue, or none where it is there as declared.
    pub(crate) fn decide_queue_declared(
        &self,
        ns: NamespaceId,
        name: &str,
        settings: &MessageSettings,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "queue", name)?;
        if self.queues.named(ns, name).is_some() {
            let (_, current) = self.message_queue(ns, name)?;
            return match current.differs(settings) {
                None => Ok(None),
                Some((field, given, current)) => {
                    let (what, name) = ("queue", name.to_owned());
                    Err(Rejection::DeclaredOtherwise { what, name, field, given, current })
                }
            };
        }
        let is_reserved = name.starts_with(RESERVED_PREFIX) && !name.starts_with(GENERATED_PREFIX);
        if is_reserved && !settings.exclusive && !settings.auto_delete {
            // Faces name queues so that belong to one connection, or that are not named.
            return Err(Rejection::NameReserved { name: name.to_owned() });
        }
        self.check_message_settings(ns, settings)?;
        let settings = Some(Box::new(settings.clone()));
        let settings = QueueSettings { messages: settings, ..QueueSettings::DEFAULT };
        self.decide_queue_created(ns, name, settings, 0).map(Some)
    }

    fn check_message_settings(
        &self,
        ns: NamespaceId,
        settings: &MessageSettings,
    ) -> Result<(), Rejection> {
        check_arguments(settings.arguments.len())?;
        check_duration(&self.limits, "expires", settings.expires_ms, 1)?;
        check_duration(&self.limits, "ttl", settings.ttl_ms, 0)?;
        if let Some(exchange) = settings.dead_letter_exchange.as_ref().filter(|it| !it.is_empty()) {
            check_name(&self.limits, "dead_letter_exchange", exchange)?;
        }
        if let Some(header) = &settings.ordering_header {
            check_name(&self.limits, "ordering_header", header)?;
        }
        if let Some(stream) = &settings.stream {
            self.stream_named(ns, stream)?;
        }
        if let Some(key) = &settings.dead_letter_routing_key {
            check_routing_key(key)?;
            if settings.dead_letter_exchange.is_none() {
                let allowed = "nothing without dead_letter_exchange".to_owned();
                return Err(refused("dead_letter_routing_key", key.clone(), allowed));
            }
        }
        Ok(())
    }

    /// A queue as it is told.
    pub(crate) fn message_queue_view(&self, queue: &Queue, consumers: u64) -> MessageQueueView {
        let counts = &queue.counts;
        let unsettled = self.messages.unsettled(queue.id);
        MessageQueueView {
            name: queue.name.clone(),
            settings: queue.settings.messages.as_deref().cloned().unwrap_or_default(),
            policy: self.messages.policies.of_queue(queue).map(|(name, _)| name.clone()),
            ready: counts.messages.saturating_sub(unsettled),
            unsettled,
            bytes: counts.message_bytes,
            consumers,
            published_total: counts.published_total,
            acked_total: counts.acked_total,
            dropped_total: counts.dropped_total,
        }
    }

    /// The exchange of that name, which is not the default one.
    pub(crate) fn exchange(&self, ns: NamespaceId, name: &str) -> Result<Arc<Exchange>, Rejection> {
        let found = self.messages.exchanges.named(ns, name);
        found.ok_or_else(|| Rejection::ExchangeUnknown { exchange: name.to_owned() })
    }

    pub(crate) fn exchange_view(&self, ns: NamespaceId, exchange: &Exchange) -> ExchangeView {
        let bindings = self.messages.exchanges.bindings_from(ns, exchange.id) as u64;
        let policy = self.messages.policies.of_exchange(exchange).map(|(name, _)| name.clone());
        ExchangeView { exchange: exchange.clone(), bindings, policy }
    }

    /// Exchanges of a namespace after a name, at most `limit`, and whether more follow.
    pub(crate) fn exchanges_page(
        &self,
        ns: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<ExchangeView>, bool) {
        let names = self.messages.exchanges.after(ns, after);
        let known = names.iter().take(limit).filter_map(|name| {
            let exchange = self.messages.exchanges.named(ns, name)?;
            Some(self.exchange_view(ns, &exchange))
        });
        (known.collect(), names.len() > limit)
    }

    /// The record that creates an exchange, or none where it is there as declared.
    pub(crate) fn decide_exchange_declared(
        &self,
        ns: NamespaceId,
        declared: &DeclareExchange,
    ) -> Result<Option<Record>, Rejection> {
        let name = declared.exchange.as_str();
        if let Some(known) = self.messages.exchanges.named(ns, name) {
            if known.id == DEFAULT_EXCHANGE {
                return Err(Rejection::NameReserved { name: name.to_owned() });
            }
            return match differs(&known, declared) {
                None => Ok(None),
                Some((field, given, current)) => {
                    let (what, name) = ("exchange", name.to_owned());
                    Err(Rejection::DeclaredOtherwise { what, name, field, given, current })
                }
            };
        }
        check_name(&self.limits, "exchange", name)?;
        if name.starts_with(RESERVED_PREFIX) {
            return Err(Rejection::NameReserved { name: name.to_owned() });
        }
        check_arguments(declared.arguments.len())?;
        if let Some(alternate) = &declared.alternate {
            check_name(&self.limits, "alternate", alternate)?;
        }
        let (of_namespace, of_shard) = self.messages.exchanges.counts(ns);
        let room = self.limits.exchanges_max.check(of_namespace, of_shard);
        room.map_err(|(scope, limit)| Rejection::TooManyExchanges { scope, limit })?;
        let exchange = Exchange {
            id: self.meta.next_exchange,
            namespace: ns,
            name: name.to_owned(),
            kind: declared.kind,
            durable: declared.durable,
            auto_delete: declared.auto_delete,
            internal: declared.internal,
            alternate: declared.alternate.clone(),
            arguments: declared.arguments.clone(),
        };
        Ok(Some(Record::ExchangeCreated { exchange: Box::new(exchange) }))
    }

    /// The record that removes an exchange, or none where it is not there.
    pub(crate) fn decide_exchange_deleted(
        &self,
        ns: NamespaceId,
        name: &str,
        if_unused: bool,
    ) -> Result<Option<Record>, Rejection> {
        if name.is_empty() || name.starts_with(RESERVED_PREFIX) {
            return Err(Rejection::NameReserved { name: name.to_owned() });
        }
        let Some(exchange) = self.messages.exchanges.named(ns, name) else { return Ok(None) };
        let bindings = self.messages.exchanges.bindings_from(ns, exchange.id) as u64;
        if if_unused && bindings > 0 {
            return Err(Rejection::ExchangeInUse { exchange: name.to_owned(), bindings });
        }
        Ok(Some(Record::ExchangeDeleted { namespace: ns, id: exchange.id }))
    }

    /// What a binding names, by numbers.
    pub(crate) fn resolve_binding(
        &self,
        ns: NamespaceId,
        spec: &BindingSpec,
    ) -> Result<Binding, Rejection> {
        check_routing_key(&spec.routing_key)?;
        let source = self.exchange(ns, &spec.source)?;
        let destination = if spec.to_exchange {
            Destination::Exchange { id: self.exchange(ns, &spec.destination)?.id }
        } else if spec.to_stream {
            Destination::Stream { id: self.stream_named(ns, &spec.destination)?.id }
        } else if let Some(job) = &spec.job {
            self.resolve_job_binding(ns, &spec.destination, job)?
        } else {
            Destination::Queue { id: self.message_queue(ns, &spec.destination)?.0.id }
        };
        if spec.to_exchange && spec.to_stream {
            let (value, allowed) = (spec.destination.clone(), "one of the two".to_owned());
            return Err(refused("to_stream", value, allowed));
        }
        if (spec.to_exchange || spec.to_stream) && spec.job.is_some() {
            let field = if spec.to_stream { "to_stream" } else { "to_exchange" };
            let (value, allowed) = (spec.destination.clone(), "a queue of jobs".to_owned());
            return Err(refused(field, value, allowed));
        }
        let default = Destination::Exchange { id: DEFAULT_EXCHANGE };
        if source.id == DEFAULT_EXCHANGE || destination == default {
            return Err(Rejection::NameReserved { name: String::new() });
        }
        if source.kind == ExchangeKind::ConsistentHash && weight_of(&spec.routing_key).is_none() {
            let allowed = format!("a weight: a whole number from 1 to {WEIGHT_MAX}");
            return Err(refused("routing_key", spec.routing_key.clone(), allowed));
        }
        let binding = Binding {
            source: source.id,
            destination,
            routing_key: spec.routing_key.clone(),
            matching: spec.matching,
            headers: spec.headers.clone(),
            arguments: spec.arguments.clone(),
        };
        check_arguments(keys::binding(ns, &binding).len() - 14)?;
        Ok(binding)
    }

    /// The records that add a binding, or none where it is there. `job` where it ends in a queue of
    /// jobs.
    pub(crate) fn decide_bound(
        &self,
        ns: NamespaceId,
        binding: Binding,
        job: Option<&JobBinding>,
    ) -> Result<Vec<Record>, Rejection> {
        if self.get(&keys::binding(ns, &binding)).is_some() {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        if let (Destination::Jobs { kind, .. }, Some(job)) = (binding.destination, job) {
            records.extend(self.decide_kind_of_binding(ns, (kind, (&job.kind, job.version)))?);
        }
        let (of_namespace, of_shard) = self.messages.exchanges.binding_counts(ns);
        let room = self.limits.bindings_max.check(of_namespace, of_shard);
        room.map_err(|(scope, limit)| Rejection::TooManyBindings { scope, limit })?;
        records.push(Record::BindingAdded { namespace: ns, binding: Box::new(binding) });
        Ok(records)
    }

    /// The records that remove a binding and, with its last one, an exchange that ends so.
    pub(crate) fn decide_unbound(&self, ns: NamespaceId, binding: Binding) -> Vec<Record> {
        if self.get(&keys::binding(ns, &binding)).is_none() {
            return Vec::new();
        }
        self.unbinding(ns, vec![binding])
    }

    /// Removes bindings, and exchanges that end with their last one.
    pub(super) fn unbinding(&self, ns: NamespaceId, bindings: Vec<Binding>) -> Vec<Record> {
        let mut sources: std::collections::BTreeMap<_, usize> = std::collections::BTreeMap::new();
        for binding in &bindings {
            *sources.entry(binding.source).or_default() += 1;
        }
        let mut records = vec![Record::BindingsRemoved { namespace: ns, bindings }];
        for (id, gone) in sources {
            let ends = self.messages.exchanges.get(ns, id).is_some_and(|it| it.auto_delete);
            if ends && self.messages.exchanges.bindings_from(ns, id) == gone {
                records.push(Record::ExchangeDeleted { namespace: ns, id });
            }
        }
        records
    }

    /// Bindings after a key, by the numbers of where they lead from, and where to go on.
    pub(crate) fn bindings_page(
        &self,
        ns: NamespaceId,
        source: Option<&str>,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<(Vec<BindingView>, Option<Bytes>), Rejection> {
        let prefix = match source {
            Some(name) => keys::bindings_from(ns, self.exchange(ns, name)?.id).done(),
            None => keys::Key::new(keys::BINDING).namespace(ns).done(),
        };
        let to = keys::after_prefix(&prefix);
        let from = after.map_or(&prefix[..], |after| (&after[..]).max(&prefix[..]));
        let (mut page, mut next, mut looked) = (Vec::new(), None, 0);
        self.scan(from, &to, &mut |key, _| {
            if page.len() >= limit.min(BINDINGS_PER_PAGE_MAX) || looked >= BINDINGS_PER_PAGE_MAX {
                next = Some(Bytes::copy_from_slice(key));
                return ControlFlow::Break(());
            }
            looked += 1;
            page.extend(self.binding_view(ns, &binding_of(key).1));
            ControlFlow::Continue(())
        });
        Ok((page, next))
    }

    /// A binding by names; none where one of its ends is gone.
    fn binding_view(&self, ns: NamespaceId, binding: &Binding) -> Option<BindingView> {
        let source = self.messages.exchanges.get(ns, binding.source)?;
        let (mut job, mut to_stream) = (None, false);
        let (destination, to_exchange) = match binding.destination {
            Destination::Queue { id } => (self.queues.get(id)?.name.clone(), false),
            Destination::Jobs { id, kind, priority, delay_ms, ordered } => {
                let known = self.kinds.get(kind)?;
                let (kind, version) = (known.name.clone(), known.version);
                job = Some(JobBinding { kind, priority, delay_ms, ordered, version });
                (self.queues.get(id)?.name.clone(), false)
            }
            Destination::Stream { id } => {
                to_stream = true;
                (self.streams.get(id)?.name.clone(), false)
            }
            Destination::Exchange { id } => {
                (self.messages.exchanges.get(ns, id)?.name.clone(), true)
            }
        };
        let binding = BindingSpec {
            source: source.name.clone(),
            destination,
            to_exchange,
            to_stream,
            routing_key: binding.routing_key.clone(),
            matching: binding.matching,
            headers: binding.headers.clone(),
            arguments: binding.arguments.clone(),
            connection: None,
            job,
        };
        Some(BindingView { binding })
    }
}

/// The first setting in which an exchange is not as declared, with both values.
fn differs(known: &Exchange, given: &DeclareExchange) -> Option<(&'static str, String, String)> {
    if known.kind != given.kind {
        return Some(("type", given.kind.name().to_owned(), known.kind.name().to_owned()));
    }
    let flags = [
        ("durable", given.durable, known.durable),
        ("auto_delete", given.auto_delete, known.auto_delete),
        ("internal", given.internal, known.internal),
    ];
    if let Some((field, given, current)) = flags.iter().find(|(_, given, known)| given != known) {
        return Some((field, given.to_string(), current.to_string()));
    }
    let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
    let differs = known.alternate != given.alternate;
    differs.then(|| ("alternate", shown(&given.alternate), shown(&known.alternate)))
}
