//! Limits as a resource: put, described, removed. A change of the numbers holds at once; what a
//! limit counts, and in which way, stays as long as it exists.

use super::{LIMITS_MAX, LimitKey, LimitRule, LimitScope, LimitSettings};
use crate::answer::BlockedBy;
use crate::bounds::{check_duration, check_name};
use crate::ids::NamespaceId;
use crate::job::Job;
use crate::limits::Limits;
use crate::map::Reader;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::Wire;

/// More than anybody limits to, and less than overflows where it is counted in parts.
const NUMBER_MAX: u64 = 1_000_000;

fn check_number(field: &'static str, number: u64) -> Result<(), Rejection> {
    if (1..=NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    let allowed = format!("1 to {NUMBER_MAX}");
    Err(Rejection::ValueRefused { field, value: number.to_string(), allowed })
}

fn check_settings(limits: &Limits, settings: &LimitSettings) -> Result<(), Rejection> {
    match &settings.scope {
        LimitScope::Queue { name: Some(name) } | LimitScope::Kind { name: Some(name) } => {
            check_name(limits, "of", name)?;
        }
        _ => {}
    }
    match settings.rule {
        LimitRule::Concurrency { max } => check_number("concurrency", max),
        LimitRule::Window { max, period_ms } => {
            check_number("window.max", max)?;
            check_duration(limits, "window.per", Some(period_ms), 1)
        }
        LimitRule::Bucket { burst, count, period_ms } => {
            check_number("bucket.burst", burst)?;
            check_number("bucket.count", count)?;
            check_duration(limits, "bucket.per", Some(period_ms), 1)
        }
    }
}

/// The limits that hold a waiting job back.
pub(crate) fn limits_told(reader: &dyn Reader, ns: NamespaceId, job: &Job) -> Vec<BlockedBy> {
    let prefix = keys::Key::new(keys::LIMIT).namespace(ns).done();
    let mut told = Vec::new();
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        let settings = LimitSettings::from_bytes(value);
        if let (Some((name, _)), Ok(settings)) = (keys::text_at(key, 5), settings) {
            let own = job.options.limit.as_ref();
            let key = settings.key_of(&name, (&job.queue, &job.kind), own).map(str::to_owned);
            let spent = |key: &String| reader.get(&keys::limit_spent(ns, &name, key)).is_some();
            if let Some(key) = key.filter(spent) {
                told.push(BlockedBy::Limit { name, key });
            }
        }
        std::ops::ControlFlow::Continue(())
    });
    told
}

impl State {
    /// The record that puts a limit; none where it is so already.
    pub(crate) fn decide_limit_put(
        &self,
        namespace: NamespaceId,
        name: &str,
        settings: LimitSettings,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "limit", name)?;
        check_settings(&self.limits, &settings)?;
        if let Some(known) = self.limiting.of(namespace, name) {
            let sort = |rule: &LimitRule| std::mem::discriminant(rule);
            if known.scope != settings.scope || sort(&known.rule) != sort(&settings.rule) {
                let value = "another scope or another way to count".to_owned();
                let allowed = "what the limit has; or delete it first".to_owned();
                return Err(Rejection::ValueRefused { field: "scope", value, allowed });
            }
            if *known == settings {
                return Ok(None);
            }
        } else if self.limiting.settings.get(&namespace).is_some_and(|all| all.len() >= LIMITS_MAX)
        {
            return Err(Rejection::TooManyLimits { limit: LIMITS_MAX });
        }
        let name = name.to_owned();
        Ok(Some(Record::LimitPut { namespace, name, settings }))
    }

    pub(crate) fn decide_limit_deleted(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Record, Rejection> {
        self.known_limit(namespace, name)?;
        Ok(Record::LimitDeleted { namespace, name: name.to_owned() })
    }

    pub(crate) fn apply_limit_put(&mut self, ns: NamespaceId, name: &str, new: &LimitSettings) {
        self.put(&keys::limit(ns, name), new);
        let all = self.limiting.settings.entry(ns).or_default();
        let before = all.insert(name.to_owned(), new.clone());
        if before.is_none() && new.counts_leases() {
            self.count_leases_of(ns, name, new);
        }
        let now = self.now();
        for of in self.known_keys(ns, name) {
            let budget = self.value(&keys::limit_budget(ns, &of.name, &of.key));
            if let (Some(before), Some(budget)) = (&before, budget) {
                let after = new.rule.after_change(&before.rule, &budget, now);
                self.keep_budget(&of, Some(&budget), after.as_ref());
            }
            self.judge(&of);
        }
    }

    /// Counts the leases that there are when a limit comes.
    fn count_leases_of(&mut self, ns: NamespaceId, name: &str, settings: &LimitSettings) {
        for (_, live) in self.leases.of(ns) {
            let (job, own) = (&live.job, live.job.options.limit.as_ref());
            if let Some(key) = settings.key_of(name, (&job.queue, &job.kind), own) {
                self.limiting.count(LimitKey::new(ns, name, key));
            }
        }
    }

    pub(crate) fn apply_limit_deleted(&mut self, ns: NamespaceId, name: &str) {
        let Some(settings) = self.limiting.of(ns, name).cloned() else { return };
        for of in self.known_keys(ns, name) {
            let budget = self.value(&keys::limit_budget(ns, &of.name, &of.key));
            if budget.is_some() {
                self.keep_budget(&of, budget.as_ref(), None);
            }
            self.limiting.forget(&of);
            self.mark(&of, &settings.scope, false);
        }
        self.remove(&keys::limit(ns, name));
        if let Some(all) = self.limiting.settings.get_mut(&ns) {
            all.remove(name);
        }
    }

    /// The namespace is gone, and its limits with it.
    pub(crate) fn drop_limits(&mut self, ns: NamespaceId) {
        let names = self.limiting.settings.get(&ns).into_iter().flat_map(|all| all.keys());
        for name in names.cloned().collect::<Vec<_>>() {
            self.apply_limit_deleted(ns, &name);
        }
        self.limiting.settings.remove(&ns);
    }
}
