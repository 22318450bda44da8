//! Limits that are put, changed and removed. A new rule holds at once for every key that is asked
//! about. Budgets of other keys, and jobs that wait behind them, follow in a round over all keys, a
//! slice at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::ControlFlow;

use super::budget::LimitBudget;
use super::{LimitKey, LimitRule, LimitScope, LimitSettings};
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::map::Reader;
use crate::record::{Record, Upkeep};
use crate::state::{State, keys};
use crate::wire::{Wire, wire_struct};

/// Changes of a limit that one round takes along.
pub(super) const CHANGES_MAX: usize = 8;

/// What a round looks through, one after the other: budgets, keys of which nothing is left, and
/// keys with leases.
const BUDGETS: u8 = 0;
const SPENT: u8 = 1;
const LEASES: u8 = 2;

/// Before these, where a limit is new: the leases that there are. Until they are counted nothing
/// is left of any of its keys.
const COUNTING: u8 = 3;

/// Leases that are counted at once where a limit is new. It belongs to the level on disk: a replay
/// counts as many before the first slice that was recorded.
const COUNTED_AT_ONCE: usize = if cfg!(test) { 8 } else { 1000 };

/// Where a round goes on: in which part, and after which key of it; while leases are counted, after
/// which job.
type RoundPlace = (u8, Option<String>);

wire_struct! {
    /// A rule that held before.
    pub(crate) struct OldRule {
        /// Its number.
        pub(crate) number: u64,
        /// When it ended.
        pub(crate) ended_at: TimeMs,
        /// The rule; none where nothing that was counted under it, or before it, counts any more.
        pub(crate) rule: Option<LimitRule> = 1,
    }
}

wire_struct! {
    /// How far the keys of a limit follow its present rule.
    pub(crate) struct LimitChange {
        /// The number of the present rule. A budget names the rule that it was kept under.
        pub(crate) number: u64,
        /// What the limit counts by itself, or did when it was removed.
        pub(crate) scope: LimitScope,
        /// Rules under which some keys may still be, in their order.
        pub(crate) before: Vec<OldRule>,
        /// Where the round over its keys goes on.
        pub(crate) next: Option<RoundPlace> = 1,
    }
}

/// The job that a round names.
fn job_of(text: &str) -> Option<JobId> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    Some(JobId(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes()))
}

impl LimitChange {
    /// While leases are counted, the last job of which they are.
    fn counted(&self) -> Option<JobId> {
        let (part, after) = self.next.as_ref()?;
        after.as_deref().filter(|_| *part == COUNTING).and_then(job_of)
    }

    /// What is left of a budget that was kept under some rule of the limit, under the present one.
    fn convert(&self, now: Option<&LimitRule>, budget: LimitBudget) -> Option<LimitBudget> {
        let from = self.before.partition_point(|old| old.number < budget.rule);
        let rules = self.before.get(from..).unwrap_or_default();
        let later = rules.iter().skip(1).map(|old| old.rule.as_ref()).chain([now]);
        let mut budget = budget;
        for (old, later) in rules.iter().zip(later) {
            let before = old.rule.as_ref()?;
            budget = later?.after_change(before, &budget, old.ended_at)?;
        }
        budget.rule = self.number;
        Some(budget)
    }
}

/// The changes that are known of, by the names of their limits.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    of: BTreeMap<NamespaceId, BTreeMap<String, LimitChange>>,
    /// The limits whose keys are yet to be looked through.
    under_way: BTreeSet<(NamespaceId, String)>,
    /// Limits of which leases are yet to be counted, and the last job whose lease was.
    counting: BTreeMap<(NamespaceId, String), JobId>,
    /// The one that had a slice last: they take turns.
    last: Option<(NamespaceId, String)>,
}

impl Changes {
    pub(super) fn of(&self, ns: NamespaceId, name: &str) -> Option<&LimitChange> {
        self.of.get(&ns)?.get(name)
    }

    /// The limit whose keys are looked through next.
    fn next_under_way(&self) -> Option<&(NamespaceId, String)> {
        let from = self.last.as_ref().map_or(Unbounded, Excluded);
        self.under_way.range((from, Unbounded)).next().or_else(|| self.under_way.first())
    }

    fn keep(&mut self, ns: NamespaceId, name: &str, change: Option<LimitChange>) {
        let named = (ns, name.to_owned());
        if change.as_ref().is_some_and(|change| change.next.is_some()) {
            self.under_way.insert(named);
        } else {
            self.under_way.remove(&named);
        }
        match change.as_ref().and_then(LimitChange::counted) {
            Some(counted) => self.counting.insert((ns, name.to_owned()), counted),
            None => self.counting.remove(&(ns, name.to_owned())),
        };
        let all = self.of.entry(ns).or_default();
        match change {
            Some(change) => all.insert(name.to_owned(), change),
            None => all.remove(name),
        };
        if all.is_empty() {
            self.of.remove(&ns);
        }
    }
}

impl State {
    /// Whether keys of a limit are yet to be looked through.
    pub(crate) fn limits_go_on(&self) -> bool {
        !self.limiting.changes.under_way.is_empty()
    }

    /// What is left of a key, by the rule that holds.
    pub(super) fn budget(&self, of: &LimitKey) -> Option<LimitBudget> {
        let kept = self.kept_budget(of)?;
        let Some(change) = self.limiting.changes.of(of.ns, &of.name) else { return Some(kept) };
        let rule = self.limiting.of(of.ns, &of.name).map(|settings| &settings.rule);
        change.convert(rule, kept)
    }

    pub(super) fn kept_budget(&self, of: &LimitKey) -> Option<LimitBudget> {
        self.value(&keys::limit_budget(of.ns, &of.name, &of.key))
    }

    pub(crate) fn apply_limit_changed(
        &mut self,
        ns: NamespaceId,
        name: &str,
        settings: Option<&LimitSettings>,
    ) {
        let (now, known) = (self.now(), self.limiting.of(ns, name).cloned());
        let scope = settings.or(known.as_ref()).map(|it| it.scope.clone());
        let Some(scope) = scope else { return };
        let change = self.limiting.changes.of(ns, name).cloned();
        let new = LimitChange { number: 0, scope: scope.clone(), before: Vec::new(), next: None };
        let mut change = change.unwrap_or(new);
        change.scope = scope;
        if let Some(known) = &known {
            if settings.is_none() {
                change.before.clear();
            }
            let rule = settings.is_some().then(|| known.rule.clone());
            change.before.push(OldRule { number: change.number, ended_at: now, rule });
            change.number += 1;
        }
        let mut counts = change.next.clone().filter(|(part, _)| *part == COUNTING);
        if let Some(settings) = settings {
            self.put(&keys::limit(ns, name), settings);
            let all = self.limiting.settings.entry(ns).or_default();
            all.insert(name.to_owned(), settings.clone());
            if known.is_none() && settings.counts_leases() {
                counts = self.count_leases_of(ns, name, None, COUNTED_AT_ONCE);
            }
        } else {
            self.remove(&keys::limit(ns, name));
            if let Some(all) = self.limiting.settings.get_mut(&ns) {
                all.remove(name);
            }
            self.limiting.forget_leases(ns, name);
            self.forget_round(ns);
            counts = None;
        }
        let any = self.limiting.leases_after(ns, name, None).next().is_some();
        if any || counts.is_some() || !change.before.is_empty() {
            change.next = Some(counts.unwrap_or((BUDGETS, None)));
            self.keep_change(ns, name, Some(change));
        }
    }

    fn keep_change(&mut self, ns: NamespaceId, name: &str, change: Option<LimitChange>) {
        let key = keys::limit_change(ns, name);
        match &change {
            Some(change) => {
                self.put(&key, change);
            }
            None => self.remove(&key),
        }
        self.limiting.changes.keep(ns, name, change);
    }

    /// Counts leases that there are when a limit is new, up to `most`, after a job. Answers after
    /// which job to go on.
    fn count_leases_of(
        &mut self,
        ns: NamespaceId,
        name: &str,
        after: Option<JobId>,
        most: usize,
    ) -> Option<RoundPlace> {
        let settings = self.limiting.of(ns, name).cloned()?;
        let (mut counted, mut last) = (0, None);
        for (id, live) in self.leases.after(ns, after) {
            if counted == most {
                return Some((COUNTING, last.map(|id: JobId| id.to_string())));
            }
            (counted, last) = (counted + 1, Some(id));
            let job = live.job();
            if let Some(key) = settings.key_of(name, (&job.queue, &job.kind), &job.options) {
                self.limiting.count(LimitKey::new(ns, name, key));
            }
        }
        None
    }

    /// Counts the leases up to where a round has come; all that are left once the round is past
    /// them.
    fn count_on(&mut self, ns: NamespaceId, name: &str, next: Option<&RoundPlace>) {
        let counting = self.limiting.changes.of(ns, name).and_then(LimitChange::counted);
        let Some(after) = counting else { return };
        let until = next.filter(|(part, _)| *part == COUNTING);
        let until = until.and_then(|(_, last)| last.as_deref().and_then(job_of));
        let after = Some(after);
        let upto = |last: JobId| self.leases.after(ns, after).take_while(move |it| it.0 <= last);
        let most = until.map_or(usize::MAX, |last| upto(last).count());
        self.count_leases_of(ns, name, after, most);
    }

    /// The record of a slice of a round: limits take turns.
    pub(crate) fn decide_limit_round(&self) -> Option<Record> {
        let (namespace, name) = self.limiting.changes.next_under_way()?;
        self.decide_limit_slice(*namespace, name)
    }

    /// The record of a slice of the round of one limit; none where there is nothing left to do.
    pub(crate) fn decide_limit_slice(&self, namespace: NamespaceId, name: &str) -> Option<Record> {
        let change = self.limiting.changes.of(namespace, name)?;
        let from = change.next.clone()?;
        let most = self.limits.slice_items_max;
        let (keys, next) = match change.counted() {
            Some(after) => {
                let mut leases = self.leases.after(namespace, Some(after)).map(|(id, _)| id);
                let last = leases.by_ref().take(most).last();
                let more = leases.next().and(last).map(|last| (COUNTING, Some(last.to_string())));
                (Vec::new(), more.or(Some((BUDGETS, None))))
            }
            None => self.slice_of_keys(namespace, name, from, most),
        };
        let name = name.to_owned();
        let fact = Upkeep::LimitKeysSettled { namespace, name, keys, next };
        Some(Record::Upkeep { fact: Box::new(fact) })
    }

    /// Up to `most` keys of a limit of which something is kept, and where the round goes on.
    fn slice_of_keys(
        &self,
        ns: NamespaceId,
        name: &str,
        (mut part, mut after): RoundPlace,
        most: usize,
    ) -> (Vec<String>, Option<RoundPlace>) {
        let mut found: Vec<String> = Vec::new();
        while part <= LEASES {
            let room = most - found.len();
            match part {
                BUDGETS => self.kept_of(ns, name, (keys::LIMIT_BUDGET, after), room, &mut found),
                SPENT => self.kept_of(ns, name, (keys::LIMIT_SPENT, after), room, &mut found),
                _ => {
                    let of = self.limiting.leases_after(ns, name, after.as_deref());
                    found.extend(of.take(room).map(|of| of.key));
                }
            }
            if found.len() >= most {
                return (found.clone(), Some((part, found.pop())));
            }
            (part, after) = (part + 1, None);
        }
        (found, None)
    }

    fn kept_of(
        &self,
        ns: NamespaceId,
        name: &str,
        (first, after): (u8, Option<String>),
        room: usize,
        found: &mut Vec<String>,
    ) {
        let prefix = keys::Key::new(first).namespace(ns).text(name).done();
        let key = |key: &str| keys::Key::new(first).namespace(ns).text(name).text(key).done();
        let from = after.map_or_else(|| prefix.clone(), |after| keys::after(&key(&after)));
        let most = found.len() + room;
        self.scan(&from, &keys::after_prefix(&prefix), &mut |key, _| {
            if found.len() >= most {
                return ControlFlow::Break(());
            }
            found.extend(keys::text_at(key, prefix.len()).map(|(key, _)| key));
            ControlFlow::Continue(())
        });
    }

    pub(crate) fn apply_limit_keys_settled(
        &mut self,
        ns: NamespaceId,
        name: &str,
        keys: Vec<String>,
        next: Option<RoundPlace>,
    ) {
        self.count_on(ns, name, next.as_ref());
        for key in keys {
            self.settle_key(&LimitKey { ns, name: name.to_owned(), key });
        }
        self.limiting.changes.last = Some((ns, name.to_owned()));
        let Some(mut change) = self.limiting.changes.of(ns, name).cloned() else { return };
        change.next = next;
        if change.next.is_none() {
            change.before.clear();
        }
        let goes = change.next.is_none() && self.limiting.of(ns, name).is_none();
        self.keep_change(ns, name, (!goes).then_some(change));
    }

    /// Converts what is kept of a key to the present rule.
    pub(crate) fn settle_key(&mut self, of: &LimitKey) {
        let (kept, budget) = (self.kept_budget(of), self.budget(of));
        if kept != budget {
            self.keep_budget(of, kept.as_ref(), budget);
        }
        self.judge(of);
    }

    /// The same of a key that is asked about before the round has come to it.
    pub(crate) fn settle_asked(&mut self, of: &LimitKey) {
        let change = self.limiting.changes.of(of.ns, &of.name);
        if change.is_some_and(|change| change.next.is_some()) {
            self.settle_key(of);
        }
    }

    /// Records from before there were rounds: a limit was put or removed, and all of its keys with
    /// it.
    pub(crate) fn apply_limit_whole(
        &mut self,
        ns: NamespaceId,
        name: &str,
        settings: Option<&LimitSettings>,
    ) {
        self.apply_limit_changed(ns, name, settings);
        if self.limiting.changes.of(ns, name).is_some_and(|change| change.next.is_some()) {
            let (keys, _) = self.slice_of_keys(ns, name, (BUDGETS, None), usize::MAX);
            self.apply_limit_keys_settled(ns, name, keys, None);
        }
    }

    /// The namespace is gone, and its limits with it.
    pub(crate) fn drop_limits(&mut self, ns: NamespaceId) {
        let names = self.limiting.settings.get(&ns).into_iter().flat_map(|all| all.keys());
        for name in names.cloned().collect::<Vec<_>>() {
            self.apply_limit_changed(ns, &name, None);
        }
        self.limiting.settings.remove(&ns);
    }

    /// Reads what has changed when a shard starts.
    pub(super) fn load_limit_changes(&mut self) {
        for (key, change) in self.each::<LimitChange>(keys::LIMIT_CHANGE) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let Some((ns, (name, _))) = ns.zip(keys::text_at(&key, 5)) else {
                panic!("key {key:02x?} in the state is of no limit")
            };
            self.limiting.changes.keep(ns, &name, Some(change));
        }
    }
}

/// The limits of which some keys are yet to be brought up to date: numbers of their namespaces, and
/// names. For whoever checks a state.
pub fn limits_unsettled(reader: &dyn Reader) -> Vec<(NamespaceId, String)> {
    let mut found = Vec::new();
    let (from, to) = ([keys::LIMIT_CHANGE], [keys::LIMIT_CHANGE + 1]);
    reader.scan(&from, &to, &mut |key, value| {
        let change = LimitChange::from_bytes(value).ok().filter(|change| change.next.is_some());
        let named = keys::u32_at(key, 1).map(NamespaceId).zip(keys::text_at(key, 5));
        found.extend(change.and(named).map(|(ns, (name, _))| (ns, name)));
        ControlFlow::Continue(())
    });
    found
}

impl LimitKey {
    /// The record that the key is as its limit is now.
    pub(crate) fn settled(self) -> Record {
        let Self { ns: namespace, name, key } = self;
        Record::Upkeep { fact: Box::new(Upkeep::LimitKeySettled { namespace, name, key }) }
    }
}

impl super::Limiting {
    /// Whether leases of a limit are yet to be counted.
    pub(super) fn is_counting(&self, ns: NamespaceId, name: &str) -> bool {
        let counting = &self.changes.counting;
        !counting.is_empty() && counting.contains_key(&(ns, name.to_owned()))
    }

    /// Whether the lease of a job counts already, as far as its limit has counted.
    pub(super) fn is_counted(&self, of: &LimitKey, id: JobId) -> bool {
        let counting = &self.changes.counting;
        let of = || (of.ns, of.name.clone());
        counting.is_empty() || counting.get(&of()).is_none_or(|last| id <= *last)
    }

    /// What a limit counts by itself, or did while something of it is left.
    pub(super) fn scope_of(&self, ns: NamespaceId, name: &str) -> Option<&LimitScope> {
        let scope = self.of(ns, name).map(|settings| &settings.scope);
        scope.or_else(|| self.changes.of(ns, name).map(|change| &change.scope))
    }

    /// The keys of a limit that have leases, after one.
    pub(super) fn leases_after(
        &self,
        ns: NamespaceId,
        name: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = LimitKey> {
        self.leases.keys_after(ns, name, after).map(move |key| LimitKey::new(ns, name, key))
    }
}
