//! Limits as a resource: put, described, removed. A change of the numbers holds at once; what a
//! limit counts, and in which way, stays as long as it exists.

use super::change::CHANGES_MAX;
use super::{LIMITS_MAX, LimitRule, LimitScope, LimitSettings};
use crate::answer::BlockedBy;
use crate::bounds::{check_duration, check_name};
use crate::ids::NamespaceId;
use crate::job::Job;
use crate::limits::Limits;
use crate::map::Reader;
use crate::record::{Record, Upkeep};
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

fn changed(namespace: NamespaceId, name: &str, settings: Option<LimitSettings>) -> Record {
    let fact = Upkeep::LimitChanged { namespace, name: name.to_owned(), settings };
    Record::Upkeep { fact: Box::new(fact) }
}

/// The limits that hold a waiting job back.
pub(crate) fn limits_told(reader: &dyn Reader, ns: NamespaceId, job: &Job) -> Vec<BlockedBy> {
    let prefix = keys::Key::new(keys::LIMIT).namespace(ns).done();
    let mut told = Vec::new();
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        let settings = LimitSettings::from_bytes(value);
        if let (Some((name, _)), Ok(settings)) = (keys::text_at(key, 5), settings) {
            let own = &job.options;
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
        self.check_change(namespace, name, &settings)?;
        Ok(Some(changed(namespace, name, Some(settings))))
    }

    /// While keys of a limit are yet to be looked through, it is not changed over and over, and
    /// one of its name that counts something else does not come.
    fn check_change(
        &self,
        ns: NamespaceId,
        name: &str,
        settings: &LimitSettings,
    ) -> Result<(), Rejection> {
        let change = self.limiting.changes.of(ns, name).filter(|change| change.next.is_some());
        let Some(change) = change else { return Ok(()) };
        let changing = |why| Err(Rejection::LimitChanging { name: name.to_owned(), why });
        let sort = |scope: &LimitScope| std::mem::discriminant(scope);
        let others = sort(&change.scope) != sort(&settings.scope);
        if others && self.limiting.of(ns, name).is_none() {
            return changing(
                "keys of the one of another scope that was deleted are forgotten first",
            );
        }
        if change.before.len() >= CHANGES_MAX {
            return changing("it was changed eight times, and its keys follow first");
        }
        Ok(())
    }

    pub(crate) fn decide_limit_deleted(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Record, Rejection> {
        self.known_limit(namespace, name)?;
        Ok(changed(namespace, name, None))
    }
}
