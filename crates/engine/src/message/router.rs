//! Where one exchange sends what: its bindings, arranged so that a message costs what it matches.

use std::collections::BTreeMap;

use super::ring::{Ring, weight_of};
use super::topics::Topics;
use super::{Binding, Destination, ExchangeKind, HeaderValue, Matching};
use crate::state::count;

/// Destinations, each with how many bindings lead there.
#[derive(Debug, Default)]
pub(crate) struct Fans(BTreeMap<Destination, u32>);

impl Fans {
    pub(crate) fn add(&mut self, to: Destination) {
        *self.0.entry(to).or_default() += 1;
    }

    pub(crate) fn take(&mut self, to: Destination) {
        if let Some(count) = self.0.get_mut(&to) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&to);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Destination> {
        self.0.keys().copied()
    }
}

/// A binding by headers.
#[derive(Debug, PartialEq)]
struct ByHeaders {
    to: Destination,
    matching: Matching,
    headers: Vec<(String, HeaderValue)>,
}

impl ByHeaders {
    fn of(binding: &Binding) -> Self {
        let Binding { destination: to, matching, .. } = *binding;
        Self { to, matching, headers: binding.headers.clone() }
    }

    fn matches(&self, headers: &[(String, HeaderValue)]) -> bool {
        let has = |(name, wanted): &(String, HeaderValue)| {
            let is_it = |(other, value): &(String, HeaderValue)| {
                name == other && (*wanted == HeaderValue::Void || value == wanted)
            };
            headers.iter().any(is_it)
        };
        match self.matching {
            Matching::All => self.headers.iter().all(has),
            Matching::Any => self.headers.iter().any(has),
        }
    }
}

#[derive(Debug)]
enum Table {
    Direct(BTreeMap<Box<str>, Fans>),
    Fanout(Fans),
    Topic(Topics),
    Headers(Vec<ByHeaders>),
    Hash(Ring),
}

/// The bindings that lead from one exchange.
#[derive(Debug)]
pub(crate) struct Router {
    table: Table,
    count: usize,
    /// What they count as where bindings are limited.
    weight: usize,
}

/// What a binding takes of the room for bindings.
fn weight(table: &Table, binding: &Binding) -> usize {
    match table {
        Table::Hash(_) => weight_of(&binding.routing_key).unwrap_or(1) as usize,
        _ => 1,
    }
}

impl Router {
    pub(crate) fn new(kind: ExchangeKind) -> Self {
        let table = match kind {
            ExchangeKind::Direct => Table::Direct(BTreeMap::new()),
            ExchangeKind::Fanout => Table::Fanout(Fans::default()),
            ExchangeKind::Topic => Table::Topic(Topics::default()),
            ExchangeKind::Headers => Table::Headers(Vec::new()),
            ExchangeKind::ConsistentHash => Table::Hash(Ring::default()),
        };
        Self { table, count: 0, weight: 0 }
    }

    /// How many bindings there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// What they take of the room for bindings.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn add(&mut self, binding: &Binding) {
        self.count += 1;
        self.weight += weight(&self.table, binding);
        let (key, to) = (binding.routing_key.as_str(), binding.destination);
        match &mut self.table {
            Table::Direct(keys) => match keys.get_mut(key) {
                Some(fans) => fans.add(to),
                None => keys.entry(key.into()).or_default().add(to),
            },
            Table::Fanout(fans) => fans.add(to),
            Table::Topic(topics) => topics.add(key, to),
            Table::Headers(all) => all.push(ByHeaders::of(binding)),
            Table::Hash(ring) => ring.add(key, to),
        }
    }

    pub(crate) fn remove(&mut self, binding: &Binding) {
        count::take(&mut self.count, 1, "bindings of an exchange");
        let less = weight(&self.table, binding);
        count::take(&mut self.weight, less, "weights of bindings of an exchange");
        let (key, to) = (binding.routing_key.as_str(), binding.destination);
        match &mut self.table {
            Table::Direct(keys) => {
                if let Some(fans) = keys.get_mut(key) {
                    fans.take(to);
                    if fans.is_empty() {
                        keys.remove(key);
                    }
                }
            }
            Table::Fanout(fans) => fans.take(to),
            Table::Hash(ring) => ring.remove(key, to),
            Table::Topic(topics) => topics.remove(key, to),
            Table::Headers(all) => {
                let gone = ByHeaders::of(binding);
                if let Some(at) = all.iter().position(|one| *one == gone) {
                    all.remove(at);
                }
            }
        }
    }

    /// Visits where a message goes; a destination may come more than once.
    pub(crate) fn route(
        &self,
        key: &str,
        headers: &[(String, HeaderValue)],
        found: &mut dyn FnMut(Destination),
    ) {
        match &self.table {
            Table::Direct(keys) => {
                if let Some(fans) = keys.get(key) {
                    fans.iter().for_each(found);
                }
            }
            Table::Fanout(fans) => fans.iter().for_each(found),
            Table::Topic(topics) => topics.route(key, found),
            Table::Hash(ring) => ring.route(key).into_iter().for_each(found),
            Table::Headers(all) => {
                let matching = all.iter().filter(|one| one.matches(headers));
                matching.map(|one| one.to).for_each(found);
            }
        }
    }
}
