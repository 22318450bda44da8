//! What limits have counted: leases in memory, budgets in the tree. A key is *spent* while nothing
//! is left of it. That stands in the tree, and only records that count something change it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use super::budget::LimitBudget;
use super::change::Changes;
use super::leases::LimitLeases;
use super::offering::Offering;
use super::{LimitKey, LimitRefill, LimitRule, LimitScope, LimitSettings};
use crate::ids::{KindId, NamespaceId, TimeMs};
use crate::job::Job;
use crate::moment::Moment;
use crate::record::Record;
use crate::state::{Frontier, State, keys};

/// What memory holds of limits.
#[derive(Debug)]
pub(crate) struct Limiting {
    pub(super) settings: BTreeMap<NamespaceId, BTreeMap<String, LimitSettings>>,
    /// Live leases, of limits that count those.
    pub(super) leases: LimitLeases,
    /// How many limits hold back each of these.
    namespaces: BTreeMap<NamespaceId, u32>,
    queues: BTreeMap<(NamespaceId, String), u32>,
    kinds: BTreeMap<KindId, u32>,
    refills: Frontier,
    /// Limits that were changed.
    pub(super) changes: Changes,
    /// Queues that are offered once a limit over their namespace or a kind lets go.
    pub(super) offering: Offering,
    /// Lines that moved at the ends of turns, since it was asked last.
    pub(super) lines_moved: usize,
}

impl Default for Limiting {
    fn default() -> Self {
        Self {
            settings: BTreeMap::new(),
            leases: LimitLeases::default(),
            namespaces: BTreeMap::new(),
            queues: BTreeMap::new(),
            kinds: BTreeMap::new(),
            refills: Frontier::new(vec![keys::LIMIT_REFILL]),
            changes: Changes::default(),
            offering: Offering::default(),
            lines_moved: 0,
        }
    }
}

/// Grants under decision, by the limits that count them.
pub(crate) type Taken = BTreeMap<LimitKey, u64>;

/// Whether limits let a job start.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Room {
    /// They do, and it is taken.
    Taken,
    /// They do not, beside what was taken already.
    None,
    /// They do not: nothing is left of this key.
    Behind(LimitKey),
    /// Nothing is left of this key since its limit has changed. The tree does not say so yet.
    Unknown(LimitKey),
}

fn turn<K: Ord>(counts: &mut BTreeMap<K, u32>, of: K, spent: bool) {
    match counts.entry(of) {
        Entry::Vacant(count) if spent => {
            count.insert(1);
        }
        Entry::Vacant(_) => {}
        Entry::Occupied(mut count) if spent => *count.get_mut() += 1,
        Entry::Occupied(count) if *count.get() == 1 => {
            count.remove();
        }
        Entry::Occupied(mut count) => *count.get_mut() -= 1,
    }
}

impl Limiting {
    /// Limits of all namespaces.
    pub(crate) fn total(&self) -> usize {
        self.settings.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn holds_namespace(&self, ns: NamespaceId) -> bool {
        self.namespaces.contains_key(&ns)
    }

    pub(crate) fn holds_queue(&self, ns: NamespaceId, queue: &str) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(&(ns, queue.to_owned()))
    }

    pub(crate) fn holds_kind(&self, kind: KindId) -> bool {
        self.kinds.contains_key(&kind)
    }

    /// A version of a kind is gone with its namespace.
    pub(crate) fn forget_kind(&mut self, kind: KindId) {
        self.kinds.remove(&kind);
    }

    /// One more lease of a key.
    pub(super) fn count(&mut self, of: LimitKey) {
        self.leases.add(of);
    }

    fn give_back(&mut self, of: &LimitKey) {
        self.leases.take(of);
    }

    /// The leases of a limit count no longer.
    pub(super) fn forget_leases(&mut self, ns: NamespaceId, name: &str) {
        self.leases.forget(ns, name);
    }

    /// Whether memory of limits that are gone is to be given back.
    pub(crate) fn has_gone(&self) -> bool {
        self.leases.has_gone()
    }

    /// Gives back some of it.
    pub(crate) fn drop_some(&mut self) {
        self.leases.drop_some();
    }

    /// The limits of a namespace, in the order of their names.
    pub(crate) fn all(&self, ns: NamespaceId) -> impl Iterator<Item = (&String, &LimitSettings)> {
        self.settings.get(&ns).into_iter().flatten()
    }

    pub(super) fn of(&self, ns: NamespaceId, name: &str) -> Option<&LimitSettings> {
        self.settings.get(&ns)?.get(name)
    }

    /// Whether queues that a limit let go are yet to be offered.
    pub(crate) fn is_offering(&self) -> bool {
        self.offering.goes_on()
    }

    #[cfg(test)]
    pub(crate) fn offering(&self) -> &Offering {
        &self.offering
    }

    /// Whether no limit counts a lease.
    #[cfg(test)]
    pub(crate) fn counts_nothing(&self) -> bool {
        self.leases.is_empty()
    }

    /// The limits that count a job, and under which key each does.
    fn counting(&self, ns: NamespaceId, job: &Job) -> Vec<(LimitKey, LimitRule)> {
        let Some(all) = self.settings.get(&ns) else { return Vec::new() };
        let own = &job.options;
        let counting = all.iter().filter_map(|(name, settings)| {
            let key = settings.key_of(name, (&job.queue, &job.kind), own)?;
            Some((LimitKey::new(ns, name, key), settings.rule.clone()))
        });
        counting.collect()
    }
}

impl State {
    /// Whether the limits let one more job start beside those that were taken already; then it is
    /// taken.
    pub(crate) fn take_limits(
        &self,
        ns: NamespaceId,
        job: &Job,
        taken: &mut Taken,
        moment: Moment,
    ) -> Room {
        let counting = self.limiting.counting(ns, job);
        for (of, rule) in &counting {
            let left = match rule {
                LimitRule::Concurrency { .. } if self.limiting.is_counting(ns, &of.name) => 0,
                LimitRule::Concurrency { max } => {
                    max.saturating_sub(self.limiting.leases.get(of).copied().unwrap_or(0))
                }
                rule => rule.left(self.budget(of).as_ref(), moment.at),
            };
            if left == 0 {
                let known = self.get(&of.spent()).is_some();
                return if known { Room::Behind(of.clone()) } else { Room::Unknown(of.clone()) };
            }
            if taken.get(of).copied().unwrap_or(0) >= left {
                return Room::None;
            }
        }
        for (of, _) in counting {
            *taken.entry(of).or_default() += 1;
        }
        Room::Taken
    }

    /// A lease is there, as far as limits count those.
    pub(crate) fn count_lease(&mut self, ns: NamespaceId, job: &Job) {
        for (of, rule) in self.limiting.counting(ns, job) {
            if matches!(rule, LimitRule::Concurrency { .. })
                && self.limiting.is_counted(&of, job.id)
            {
                self.limiting.count(of);
            }
        }
    }

    /// A job was granted, and its lease counted: the limits that count it may be spent by that.
    pub(crate) fn spend_limits(&mut self, ns: NamespaceId, job: &Job) {
        let now = self.now();
        for (of, rule) in self.limiting.counting(ns, job) {
            if !matches!(rule, LimitRule::Concurrency { .. }) {
                let (kept, budget) = (self.kept_budget(&of), self.budget(&of));
                let after = rule.after_grant(budget.as_ref(), now);
                self.keep_budget(&of, kept.as_ref(), after);
            }
            self.judge(&of);
        }
    }

    /// A lease has ended: its slots are free.
    pub(crate) fn give_back_slots(&mut self, ns: NamespaceId, job: &Job) {
        for (of, rule) in self.limiting.counting(ns, job) {
            if !matches!(rule, LimitRule::Concurrency { .. }) {
                continue;
            }
            if self.limiting.is_counted(&of, job.id) {
                self.limiting.give_back(&of);
            }
            self.judge(&of);
        }
    }

    pub(super) fn keep_budget(
        &mut self,
        of: &LimitKey,
        before: Option<&LimitBudget>,
        after: Option<LimitBudget>,
    ) {
        let rule = self.limiting.changes.of(of.ns, &of.name).map_or(0, |change| change.number);
        let after = after.map(|budget| LimitBudget { rule, ..budget });
        let refill =
            |budget: &LimitBudget| keys::limit_refill(budget.refill_at, of.ns, &of.name, &of.key);
        let (old, new) = (before.map(refill), after.as_ref().map(refill));
        if old != new {
            if let Some(old) = old {
                self.limiting.refills.forget_first();
                self.remove(&old);
            }
            if let Some(new) = new {
                self.limiting.refills.put(&new);
                self.put_bytes(&new, &[]);
            }
        }
        let key = keys::limit_budget(of.ns, &of.name, &of.key);
        match after {
            Some(after) => {
                self.put(&key, &after);
            }
            None => self.remove(&key),
        }
    }

    /// Finds out whether the key is spent, and holds back or lets go what depends on it.
    pub(super) fn judge(&mut self, of: &LimitKey) {
        let Some(scope) = self.limiting.scope_of(of.ns, &of.name).cloned() else { return };
        let settings = self.limiting.of(of.ns, &of.name);
        let spent = match settings.map(|settings| &settings.rule) {
            Some(LimitRule::Concurrency { max }) => {
                self.limiting.is_counting(of.ns, &of.name)
                    || self.limiting.leases.get(of).is_some_and(|count| count >= max)
            }
            Some(rule) => rule.is_used_up(self.budget(of).as_ref()),
            None => false,
        };
        self.mark(of, &scope, spent);
    }

    fn mark(&mut self, of: &LimitKey, scope: &LimitScope, spent: bool) {
        let key = of.spent();
        if self.get(&key).is_some() == spent {
            return;
        }
        if spent {
            self.put_bytes(&key, &[]);
        } else {
            self.remove(&key);
        }
        if *scope == LimitScope::Key {
            self.turn_lines(of, !spent);
            return self.turn_several(of, !spent);
        }
        self.turn_switch(of, scope, spent);
        if !spent {
            self.offer_again(of, scope);
        }
    }

    /// A version of a kind gets a number: what limits hold back of its other versions now, they
    /// hold back of it. It is not one of them yet.
    pub(crate) fn limit_new_kind(&mut self, (ns, name): (NamespaceId, &str), id: KindId) {
        let other = self.kinds.all_of(ns, name).first().copied();
        if let Some(spent) = other.and_then(|other| self.limiting.kinds.get(&other).copied()) {
            self.limiting.kinds.insert(id, spent);
            self.switch_kind((ns, name), id);
        }
    }

    /// What a limit held back over whole lanes is to be offered to those who wait.
    fn offer_again(&mut self, of: &LimitKey, scope: &LimitScope) {
        let ns = of.ns;
        match scope {
            LimitScope::Key => {}
            LimitScope::Queue { .. } => {
                let queue = self.queues.named(ns, &of.key).map(|queue| queue.id);
                self.note_fresh(queue);
            }
            LimitScope::Kind { .. } => self.mark_kind(ns, &of.key),
            LimitScope::Namespace => self.mark_namespace(ns),
        }
    }

    /// Turns what is over whole lanes.
    pub(super) fn turn_switch(&mut self, of: &LimitKey, scope: &LimitScope, spent: bool) {
        match scope {
            LimitScope::Key => {}
            LimitScope::Namespace => {
                turn(&mut self.limiting.namespaces, of.ns, spent);
                if spent {
                    self.limiting.offering.hold(of.ns);
                }
            }
            LimitScope::Kind { .. } => {
                if spent {
                    self.limiting.offering.hold_kind(of.ns, &of.key);
                }
                for kind in self.kinds.all_of(of.ns, &of.key) {
                    turn(&mut self.limiting.kinds, kind, spent);
                    self.switch_kind((of.ns, &of.key), kind);
                }
            }
            LimitScope::Queue { .. } => {
                turn(&mut self.limiting.queues, (of.ns, of.key.clone()), spent);
                if let Some(queue) = self.queues.named(of.ns, &of.key) {
                    let (id, paused) = (queue.id, queue.settings.paused);
                    let shut = self.is_shut(id, paused);
                    self.lanes.shut(id, shut);
                }
            }
        }
    }

    /// The record of budgets that come back at `now`, a slice of them.
    pub(crate) fn decide_refills(&self, moment: Moment) -> Option<Record> {
        let (from, to) = self.limiting.refills.range();
        let mut refills = Vec::new();
        self.scan(&from, &to, &mut |key, _| {
            let refill = keys::limit_refill_of(key);
            let Some((at, namespace, name, key)) = refill else {
                panic!("key {key:02x?} in the state is no refill's")
            };
            if at > moment.at || refills.len() >= self.limits.slice_items_max {
                return ControlFlow::Break(());
            }
            refills.push(LimitRefill { at, namespace, name, key });
            ControlFlow::Continue(())
        });
        (!refills.is_empty()).then_some(Record::LimitsRefilled { refills })
    }

    pub(crate) fn apply_limits_refilled(&mut self, refills: Vec<LimitRefill>) {
        let now = self.now();
        for LimitRefill { at, namespace, name, key } in refills {
            self.limiting.refills.eaten(&keys::limit_refill(at, namespace, &name, &key));
            let of = LimitKey { ns: namespace, name, key };
            let kept = self.kept_budget(&of).expect("a refill is of a budget");
            let rule = self.limiting.of(of.ns, &of.name).map(|settings| &settings.rule);
            // By a newer rule it may come back at another time.
            let after = self.budget(&of).zip(rule).and_then(|(budget, rule)| {
                if budget.refill_at <= now { rule.after_refill(&budget, now) } else { Some(budget) }
            });
            self.keep_budget(&of, Some(&kept), after);
            self.judge(&of);
        }
    }

    /// Reads the limits when a shard starts, before its lanes and leases.
    pub(crate) fn load_limits(&mut self) {
        let mut found = Vec::new();
        self.scan(&[keys::LIMIT], &[keys::LIMIT + 1], &mut |key, value| {
            let settings = crate::wire::Wire::from_bytes(value);
            let ns = keys::u32_at(key, 1).map(NamespaceId);
            if let (Some(ns), Some(name), Ok(settings)) = (ns, keys::text_at(key, 5), settings) {
                found.push((ns, name.0, settings));
            }
            ControlFlow::Continue(())
        });
        for (ns, name, settings) in found {
            self.limiting.settings.entry(ns).or_default().insert(name, settings);
        }
        self.load_limit_changes();
        let mut spent = Vec::new();
        let (from, to) = (vec![keys::LIMIT_SPENT], vec![keys::LIMIT_SPENT + 1]);
        self.scan(&from, &to, &mut |key, _| {
            let ns = keys::u32_at(key, 1).map(NamespaceId);
            if let (Some(ns), Some((name, key))) = (ns, keys::texts_at(key, 5)) {
                let scope = self.limiting.scope_of(ns, &name).cloned();
                if let Some(scope) = scope.filter(|scope| *scope != LimitScope::Key) {
                    spent.push((LimitKey { ns, name, key }, scope));
                }
            }
            ControlFlow::Continue(())
        });
        for (of, scope) in spent {
            self.turn_switch(&of, &scope, true);
        }
    }

    /// When the first budget comes back.
    pub(crate) fn next_refill(&self) -> Option<TimeMs> {
        self.limiting.refills.first(self).map(TimeMs)
    }
}
