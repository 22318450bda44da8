//! The exchanges of a shard and their bindings, in memory whole; the limits bound them. Each
//! namespace has those that always exist without a record of them.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use bytes::Bytes;

use super::router::Router;
use super::{Binding, Exchange, ExchangeKind};
use crate::ids::{ExchangeId, NamespaceId};
use crate::state::{Tally, count};

/// Those that always exist, with their numbers.
const ALWAYS: [(&str, ExchangeId, ExchangeKind); 5] = [
    ("amq.direct", ExchangeId(1), ExchangeKind::Direct),
    ("amq.fanout", ExchangeId(2), ExchangeKind::Fanout),
    ("amq.headers", ExchangeId(3), ExchangeKind::Headers),
    ("amq.match", ExchangeId(4), ExchangeKind::Headers),
    ("amq.topic", ExchangeId(5), ExchangeKind::Topic),
];

/// The default exchange's number: it has no bindings, and routes to the queue of that name.
pub(crate) const DEFAULT_EXCHANGE: ExchangeId = ExchangeId(0);

/// The number of the first exchange that somebody declares.
pub(crate) const FIRST_EXCHANGE: ExchangeId = ExchangeId(16);

/// What names that nobody may declare begin with.
pub(crate) const RESERVED_PREFIX: &str = "amq.";

/// Queues whose names their owners left to the server begin so.
pub(crate) const GENERATED_PREFIX: &str = "amq.gen-";

fn always(namespace: NamespaceId, name: &str, id: ExchangeId, kind: ExchangeKind) -> Exchange {
    Exchange {
        id,
        namespace,
        name: name.to_owned(),
        kind,
        durable: true,
        auto_delete: false,
        internal: false,
        alternate: None,
        arguments: Bytes::new(),
    }
}

/// The exchanges of a shard.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    by_id: BTreeMap<ExchangeId, Arc<Exchange>>,
    names: BTreeMap<NamespaceId, BTreeMap<String, ExchangeId>>,
    /// Of those that have bindings, or had some.
    routers: BTreeMap<(NamespaceId, ExchangeId), Router>,
    /// How many bindings each namespace has.
    bindings_of: Tally,
    bindings: usize,
}

impl Exchanges {
    pub(crate) fn insert(&mut self, exchange: Exchange) {
        let Exchange { id, namespace, .. } = exchange;
        self.names.entry(namespace).or_default().insert(exchange.name.clone(), id);
        self.by_id.insert(id, Arc::new(exchange));
    }

    /// Forgets an exchange and how it routes.
    pub(crate) fn remove(&mut self, ns: NamespaceId, id: ExchangeId) {
        if let Some(exchange) = self.by_id.remove(&id)
            && let Some(names) = self.names.get_mut(&ns)
        {
            names.remove(&exchange.name);
            if names.is_empty() {
                self.names.remove(&ns);
            }
        }
        if let Some(router) = self.routers.remove(&(ns, id)) {
            count::take(&mut self.bindings, router.weight(), "bindings");
            self.bindings_of.take_many(ns, router.weight());
        }
    }

    /// How many exchanges were declared in a namespace, and in all.
    pub(crate) fn counts(&self, ns: NamespaceId) -> (usize, usize) {
        (self.names.get(&ns).map_or(0, BTreeMap::len), self.by_id.len())
    }

    /// How many bindings a namespace has, and all have; one with a weight counts as so many.
    pub(crate) fn binding_counts(&self, ns: NamespaceId) -> (usize, usize) {
        (self.bindings_of.of(ns), self.bindings)
    }

    /// The exchange of that name: the default one, too.
    pub(crate) fn named(&self, ns: NamespaceId, name: &str) -> Option<Arc<Exchange>> {
        if let Some(id) = self.names.get(&ns).and_then(|names| names.get(name)) {
            return self.by_id.get(id).map(Arc::clone);
        }
        if name.is_empty() {
            return Some(Arc::new(always(ns, "", DEFAULT_EXCHANGE, ExchangeKind::Direct)));
        }
        let known = ALWAYS.iter().find(|(known, ..)| *known == name);
        known.map(|(name, id, kind)| Arc::new(always(ns, name, *id, *kind)))
    }

    /// The exchange of that number.
    pub(crate) fn get(&self, ns: NamespaceId, id: ExchangeId) -> Option<Arc<Exchange>> {
        if let Some(exchange) = self.by_id.get(&id) {
            return Some(Arc::clone(exchange));
        }
        let known = ALWAYS.iter().find(|(_, known, _)| *known == id);
        known.map(|(name, id, kind)| Arc::new(always(ns, name, *id, *kind)))
    }

    /// The exchanges of a namespace after a name, in the order of their names.
    pub(crate) fn after(&self, ns: NamespaceId, after: Option<&str>) -> Vec<String> {
        let from = (after.map_or(Unbounded, Excluded), Unbounded);
        let declared = self.names.get(&ns).map(|names| names.range::<str, _>(from));
        let mut names: Vec<_> =
            declared.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let later = |name: &&str| after.is_none_or(|after| *name > after);
        names.extend(ALWAYS.iter().map(|(name, ..)| *name).filter(later).map(str::to_owned));
        names.sort_unstable();
        names
    }

    /// All that were declared.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &Exchange> {
        self.by_id.values().map(AsRef::as_ref)
    }

    /// The numbers of those of a namespace that may have bindings.
    pub(crate) fn numbers_of(&self, ns: NamespaceId) -> Vec<ExchangeId> {
        let declared = self.names.get(&ns).into_iter().flat_map(BTreeMap::values).copied();
        let always = ALWAYS.iter().map(|(_, id, _)| *id);
        always.filter(|id| self.routers.contains_key(&(ns, *id))).chain(declared).collect()
    }

    pub(crate) fn router(&self, ns: NamespaceId, id: ExchangeId) -> Option<&Router> {
        self.routers.get(&(ns, id))
    }

    /// How many bindings lead from an exchange.
    pub(crate) fn bindings_from(&self, ns: NamespaceId, id: ExchangeId) -> usize {
        self.router(ns, id).map_or(0, Router::len)
    }

    pub(crate) fn bind(&mut self, ns: NamespaceId, binding: &Binding) {
        let Some(kind) = self.get(ns, binding.source).map(|exchange| exchange.kind) else { return };
        let router = self.routers.entry((ns, binding.source));
        let router = router.or_insert_with(|| Router::new(kind));
        let before = router.weight();
        router.add(binding);
        let more = router.weight() - before;
        self.bindings += more;
        self.bindings_of.add_many(ns, more);
    }

    /// Nothing where the exchange went before.
    pub(crate) fn unbind(&mut self, ns: NamespaceId, binding: &Binding) {
        let Some(router) = self.routers.get_mut(&(ns, binding.source)) else { return };
        let before = router.weight();
        router.remove(binding);
        let less = before - router.weight();
        count::take(&mut self.bindings, less, "bindings");
        self.bindings_of.take_many(ns, less);
    }
}
