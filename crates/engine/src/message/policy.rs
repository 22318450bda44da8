//! Policies: what holds for all queues and exchanges whose names match a pattern, beside what their
//! owners declared. Changing one changes what is there: nothing of it is written to the queues.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use super::pattern::Pattern;
use super::{DELIVERY_LIMIT_DEFAULT, Exchange, MessageSettings, Overflow};
use crate::bounds::{check_duration, check_name};
use crate::ids::{ExchangeId, NamespaceId, QueueId};
use crate::queue::Queue;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::{wire_enum, wire_struct};

/// Policies that a namespace has at most: each is compared with each name.
const POLICIES_MAX: usize = 100;

/// Policies that a shard has at most.
const POLICIES_OF_SHARD_MAX: usize = 10_000;

/// Exchanges for which it is remembered what policies come to.
const REMEMBERED_MAX: usize = 10_000;

wire_enum! {
    /// What a policy is for.
    #[derive(Copy, Default, Eq)]
    pub enum PolicyTarget {
        /// Queues and exchanges.
        #[default]
        1 => All,
        /// Queues.
        2 => Queues,
        /// Exchanges.
        3 => Exchanges,
    }
}

impl PolicyTarget {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Queues => "queues",
            Self::Exchanges => "exchanges",
        }
    }
}

wire_struct! {
    /// A policy. Of those that match a name, the one with the highest priority counts, and of these
    /// the first by name.
    #[derive(Default)]
    pub struct Policy {
        /// A regular expression that is found in the names that it is for.
        pub pattern: String,
        /// Which.
        pub target: PolicyTarget,
        /// The highest counts.
        pub priority: i64,
        /// How long a message is worth to be delivered; the shorter one counts.
        pub ttl_ms: Option<u64> = 1,
        /// How long a queue stays that nobody uses; the shorter one counts.
        pub expires_ms: Option<u64> = 2,
        /// Messages that wait, at most; the lower one counts.
        pub max_length: Option<u64> = 3,
        /// Bytes of bodies that wait, at most; the lower one counts.
        pub max_bytes: Option<u64> = 4,
        /// What happens to one message more, where the queue drops its head otherwise.
        pub overflow: Option<Overflow> = 5,
        /// Where messages go that end without an ack, where the queue does not say.
        pub dead_letter_exchange: Option<String> = 6,
        /// Their routing key then, where the queue does not say.
        pub dead_letter_routing_key: Option<String> = 7,
        /// How often a message may come back; the lower one counts, unless the queue has the
        /// default.
        pub delivery_limit: Option<u32> = 8,
        /// Where messages go that no binding takes, where the exchange does not say.
        pub alternate: Option<String> = 9,
    }
}

/// What holds for a queue.
#[derive(Debug)]
pub(crate) enum Effective<'a> {
    /// What its owner declared.
    Declared(&'a MessageSettings),
    /// That with a policy.
    With(Arc<MessageSettings>),
}

impl Deref for Effective<'_> {
    type Target = MessageSettings;

    fn deref(&self) -> &MessageSettings {
        match self {
            Self::Declared(settings) => settings,
            Self::With(settings) => settings,
        }
    }
}

/// What was found for a queue under one state of all policies.
pub(crate) type Found = (u64, Option<Arc<MessageSettings>>);

/// The policies of a shard, in memory whole.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    of: BTreeMap<NamespaceId, OfNamespace>,
    count: usize,
    /// Grows with each change: what was found under another one is found anew.
    age: u64,
    /// What was found for exchanges since the last change.
    alternates: RefCell<BTreeMap<(NamespaceId, ExchangeId), Option<String>>>,
}

/// The policies of a namespace.
#[derive(Debug, Default)]
struct OfNamespace {
    named: BTreeMap<String, (Policy, Pattern)>,
    /// Which counts before which.
    order: BTreeSet<(Reverse<i64>, String)>,
}

impl OfNamespace {
    fn remove(&mut self, name: &str) -> bool {
        let Some((policy, _)) = self.named.remove(name) else { return false };
        self.order.remove(&(Reverse(policy.priority), name.to_owned()))
    }
}

impl Policies {
    pub(crate) fn insert(&mut self, ns: NamespaceId, name: String, policy: Policy) {
        let pattern = Pattern::of(&policy.pattern).expect("records have patterns that were read");
        let all = self.of.entry(ns).or_default();
        let was_there = all.remove(&name);
        all.order.insert((Reverse(policy.priority), name.clone()));
        all.named.insert(name, (policy, pattern));
        self.count += usize::from(!was_there);
        self.changed();
    }

    fn remove(&mut self, ns: NamespaceId, name: &str) {
        if let Some(all) = self.of.get_mut(&ns) {
            self.count -= usize::from(all.remove(name));
            if all.named.is_empty() {
                self.of.remove(&ns);
            }
        }
        self.changed();
    }

    fn changed(&mut self) {
        self.age += 1;
        self.alternates.get_mut().clear();
    }

    fn remove_of(&mut self, ns: NamespaceId) -> Vec<String> {
        self.changed();
        let all = self.of.remove(&ns).unwrap_or_default();
        self.count -= all.named.len();
        all.named.into_keys().collect()
    }

    /// Those of a namespace, by name.
    pub(crate) fn all(&self, ns: NamespaceId) -> Vec<(String, Policy)> {
        let all = self.of.get(&ns).into_iter().flat_map(|all| &all.named);
        all.map(|(name, (policy, _))| (name.clone(), policy.clone())).collect()
    }

    pub(crate) fn any(&self) -> bool {
        !self.of.is_empty()
    }

    /// How many the namespace has that has most.
    pub(crate) fn most(&self) -> usize {
        self.of.values().map(|all| all.named.len()).max().unwrap_or(0)
    }

    /// The one that counts for a name.
    fn found(&self, ns: NamespaceId, name: &str, to: PolicyTarget) -> Option<(&String, &Policy)> {
        let all = self.of.get(&ns)?;
        let mut in_order = all.order.iter().filter_map(|(_, name)| all.named.get_key_value(name));
        let found = in_order.find(|(_, (policy, pattern))| {
            (policy.target == PolicyTarget::All || policy.target == to) && pattern.matches(name)
        });
        found.map(|(name, (policy, _))| (name, policy))
    }

    /// The one that counts for a queue.
    pub(crate) fn of_queue(&self, queue: &Queue) -> Option<(&String, &Policy)> {
        self.found(queue.namespace, &queue.name, PolicyTarget::Queues)
    }

    /// The one that counts for an exchange.
    pub(crate) fn of_exchange(&self, exchange: &Exchange) -> Option<(&String, &Policy)> {
        self.found(exchange.namespace, &exchange.name, PolicyTarget::Exchanges)
    }
}

impl Policy {
    /// What holds for a queue with these settings.
    fn over(&self, declared: &MessageSettings) -> MessageSettings {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        let of_letters = declared.dead_letter_exchange.is_none();
        let limit = match (declared.delivery_limit, self.delivery_limit) {
            (declared, None) => declared,
            // 0 of a policy is none; 0 that was declared is none at all to come back.
            (Some(DELIVERY_LIMIT_DEFAULT) | None, Some(limit)) => Some(limit).filter(|it| *it > 0),
            (Some(one), Some(0)) => Some(one),
            (Some(one), Some(other)) => Some(one.min(other)),
        };
        MessageSettings {
            ttl_ms: least(declared.ttl_ms, self.ttl_ms),
            expires_ms: least(declared.expires_ms, self.expires_ms),
            max_length: least(declared.max_length, self.max_length),
            max_bytes: least(declared.max_bytes, self.max_bytes),
            overflow: match declared.overflow {
                Overflow::DropHead => self.overflow.unwrap_or_default(),
                other => other,
            },
            dead_letter_exchange: if of_letters {
                self.dead_letter_exchange.clone()
            } else {
                declared.dead_letter_exchange.clone()
            },
            dead_letter_routing_key: declared
                .dead_letter_routing_key
                .clone()
                .or_else(|| self.dead_letter_routing_key.clone().filter(|_| of_letters)),
            delivery_limit: limit,
            ..declared.clone()
        }
    }
}

impl State {
    /// What holds for a queue of messages; none for one of jobs.
    pub(crate) fn message_settings(&self, id: QueueId) -> Option<Effective<'_>> {
        let queue = self.queues.get(id)?;
        let declared = queue.settings.messages.as_deref()?;
        let policies = &self.messages.policies;
        if !policies.any() {
            return Some(Effective::Declared(declared));
        }
        let found = match self.queues.found_policy(id) {
            Some((age, found)) if age == policies.age => found,
            _ => {
                let policy = policies.of_queue(queue);
                let found = policy.map(|(_, policy)| Arc::new(policy.over(declared)));
                self.queues.set_found_policy(id, (policies.age, found.clone()));
                found
            }
        };
        Some(found.map_or(Effective::Declared(declared), Effective::With))
    }

    /// The exchange for what no binding of this one takes.
    pub(super) fn alternate_of(&self, exchange: &Exchange) -> Option<String> {
        let policies = &self.messages.policies;
        if exchange.alternate.is_some() || !policies.any() {
            return exchange.alternate.clone();
        }
        let key = (exchange.namespace, exchange.id);
        let mut known = policies.alternates.borrow_mut();
        if let Some(found) = known.get(&key) {
            return found.clone();
        }
        let policy = policies.of_exchange(exchange);
        let found = policy.and_then(|(_, policy)| policy.alternate.clone());
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(key, found.clone());
        found
    }

    /// The record that creates a policy or changes it; none where it is so.
    pub(crate) fn decide_policy_put(
        &self,
        namespace: NamespaceId,
        name: &str,
        policy: &Policy,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "policy", name)?;
        Pattern::of(&policy.pattern)?;
        check_duration(&self.limits, "expires", policy.expires_ms, 1)?;
        check_duration(&self.limits, "ttl", policy.ttl_ms, 0)?;
        if let Some(exchange) = &policy.alternate {
            check_name(&self.limits, "alternate", exchange)?;
        }
        if let Some(exchange) = policy.dead_letter_exchange.as_ref().filter(|it| !it.is_empty()) {
            check_name(&self.limits, "dead_letter_exchange", exchange)?;
        }
        if let Some(key) = &policy.dead_letter_routing_key {
            super::declare::check_routing_key(key)?;
        }
        let known = self.messages.policies.of.get(&namespace);
        let current = known.and_then(|all| all.named.get(name));
        if current.is_some_and(|(current, _)| current == policy) {
            return Ok(None);
        }
        let count = known.map_or(0, |all| all.named.len());
        if current.is_none() && count >= POLICIES_MAX {
            let (value, allowed) =
                (format!("{} policies", count + 1), format!("at most {POLICIES_MAX}"));
            return Err(Rejection::ValueRefused { field: "policy", value, allowed });
        }
        let count = self.messages.policies.count;
        if current.is_none() && count >= POLICIES_OF_SHARD_MAX {
            let value = format!("{} policies of all namespaces of a shard", count + 1);
            let allowed = format!("at most {POLICIES_OF_SHARD_MAX}");
            return Err(Rejection::ValueRefused { field: "policy", value, allowed });
        }
        let (name, policy) = (name.to_owned(), Box::new(policy.clone()));
        Ok(Some(Record::PolicyPut { namespace, name, policy }))
    }

    /// The record that removes a policy; none where it is not there.
    pub(crate) fn decide_policy_deleted(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Option<Record> {
        self.messages.policies.of.get(&namespace)?.named.get(name)?;
        Some(Record::PolicyDeleted { namespace, name: name.to_owned() })
    }

    /// The policy of a name.
    pub(crate) fn policy_named(&self, ns: NamespaceId, name: &str) -> Option<Policy> {
        self.value(&keys::policy(ns, name))
    }

    /// The policies of a namespace, in the order of their names.
    pub(crate) fn policies_of(&self, ns: NamespaceId) -> Vec<(String, Policy)> {
        self.messages.policies.all(ns)
    }

    pub(super) fn apply_policy_put(&mut self, ns: NamespaceId, name: String, policy: Policy) {
        self.put(&keys::policy(ns, &name), &policy);
        self.messages.policies.insert(ns, name, policy);
    }

    pub(super) fn apply_policy_deleted(&mut self, ns: NamespaceId, name: &str) {
        self.remove(&keys::policy(ns, name));
        self.messages.policies.remove(ns, name);
    }

    /// A namespace goes, with its policies.
    pub(crate) fn drop_policies(&mut self, ns: NamespaceId) {
        for name in self.messages.policies.remove_of(ns) {
            self.remove(&keys::policy(ns, &name));
        }
    }
}
