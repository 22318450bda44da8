//! Limits at dispatch: what runs is counted by looking at all jobs.

use std::collections::BTreeSet;

use longshore_engine::{
    Answer, BlockedBy, Job, LimitRule, LimitScope, LimitSettings, LimitView, NamespaceId,
    Rejection, TimeMs,
};

use super::{RefJob, Reference, Refusable, refused};

#[derive(Clone, Debug)]
pub(crate) struct RefLimit {
    pub(crate) ns: NamespaceId,
    pub(crate) name: String,
    pub(crate) settings: LimitSettings,
}

/// What is left of a window (grants in it) or a bucket (parts of tokens in it).
#[derive(Clone, Debug)]
pub(crate) struct RefBudget {
    pub(crate) ns: NamespaceId,
    name: String,
    key: String,
    amount: u64,
    since: TimeMs,
    pub(crate) refill_at: TimeMs,
}

fn key_of(limit: &RefLimit, job: &Job) -> Option<String> {
    let only = |name: &Option<String>, of: &str| {
        name.as_ref().is_none_or(|name| name == of).then(|| of.to_owned())
    };
    match &limit.settings.scope {
        LimitScope::Namespace => Some(String::new()),
        LimitScope::Queue { name } => only(name, &job.queue),
        LimitScope::Kind { name } => only(name, &job.kind),
        LimitScope::Key => {
            let own = job.options.own_limits().find(|own| own.name == limit.name)?;
            Some(own.key.clone())
        }
    }
}

impl Reference {
    fn budget_at(&self, limit: &RefLimit, key: &str) -> Option<usize> {
        let is_it = |it: &RefBudget| (it.ns, &*it.name, &*it.key) == (limit.ns, &*limit.name, key);
        self.budgets.iter().position(is_it)
    }

    fn runs_under(&self, limit: &RefLimit, key: &str) -> u64 {
        let of = |it: &&RefJob| {
            it.ns == limit.ns && it.run.is_some() && key_of(limit, &it.job).as_deref() == Some(key)
        };
        self.jobs.iter().filter(of).count() as u64
    }

    fn is_spent_limit(&self, limit: &RefLimit, key: &str) -> bool {
        let amount = self.budget_at(limit, key).map(|at| self.budgets[at].amount);
        match limit.settings.rule {
            LimitRule::Concurrency { max } => self.runs_under(limit, key) >= max,
            LimitRule::Window { max, .. } => amount.is_some_and(|used| used >= max),
            LimitRule::Bucket { period_ms, .. } => amount.is_some_and(|held| held < period_ms),
        }
    }

    fn counting(&self, of: &RefJob) -> Vec<(RefLimit, String)> {
        let all = self.dispatch_limits.iter().filter(|limit| limit.ns == of.ns);
        all.filter_map(|limit| Some((limit.clone(), key_of(limit, &of.job)?))).collect()
    }

    /// The limits that hold a job back.
    pub(super) fn held_by_limits(&self, of: &RefJob) -> Vec<BlockedBy> {
        let mut held: Vec<_> = self.counting(of);
        held.retain(|(limit, key)| self.is_spent_limit(limit, key));
        held.sort_by(|a, b| (a.0.name.len(), &a.0.name).cmp(&(b.0.name.len(), &b.0.name)));
        held.into_iter().map(|(limit, key)| BlockedBy::Limit { name: limit.name, key }).collect()
    }

    /// Whether the limit that the job names holds it back: then it is in no lane.
    pub(crate) fn is_parked(&self, of: &RefJob) -> bool {
        let mut own = self.counting(of).into_iter();
        own.any(|(limit, key)| {
            limit.settings.scope == LimitScope::Key && self.is_spent_limit(&limit, &key)
        })
    }

    /// Whether the limits let the job start now.
    pub(super) fn limits_let(&self, of: &RefJob) -> bool {
        self.counting(of).iter().all(|(limit, key)| {
            let budget = self.budget_at(limit, key).map(|at| &self.budgets[at]);
            match limit.settings.rule {
                LimitRule::Concurrency { max } => self.runs_under(limit, key) < max,
                LimitRule::Window { max, .. } => {
                    budget.is_none_or(|it| self.now >= it.refill_at || it.amount < max)
                }
                LimitRule::Bucket { period_ms, .. } => {
                    budget.is_none_or(|it| self.tokens(limit, it) >= period_ms)
                }
            }
        })
    }

    fn tokens(&self, limit: &RefLimit, budget: &RefBudget) -> u64 {
        let LimitRule::Bucket { burst, count, period_ms } = limit.settings.rule else { return 0 };
        let came = self.now.since(budget.since).saturating_mul(count);
        budget.amount.saturating_add(came).min(burst * period_ms)
    }

    /// The bucket holds so much now.
    fn hold(&mut self, limit: &RefLimit, key: &str, amount: u64) {
        let LimitRule::Bucket { burst, count, period_ms } = limit.settings.rule else { return };
        if let Some(at) = self.budget_at(limit, key) {
            self.budgets.remove(at);
        }
        if amount >= burst * period_ms {
            return;
        }
        let wanted = if amount < period_ms { period_ms } else { burst * period_ms };
        let refill_at = self.now.plus((wanted - amount).div_ceil(count));
        let (ns, name, key) = (limit.ns, limit.name.clone(), key.to_owned());
        self.budgets.push(RefBudget { ns, name, key, amount, since: self.now, refill_at });
    }

    /// The job was handed over: what limits count in a time is one more.
    pub(super) fn spend(&mut self, of: &RefJob) {
        for (limit, key) in self.counting(of) {
            let at = self.budget_at(&limit, &key);
            match limit.settings.rule {
                LimitRule::Concurrency { .. } => {}
                LimitRule::Window { period_ms, .. } => {
                    let at = at.filter(|at| self.now < self.budgets[*at].refill_at);
                    if let Some(at) = at {
                        self.budgets[at].amount += 1;
                        continue;
                    }
                    if let Some(stale) = self.budget_at(&limit, &key) {
                        self.budgets.remove(stale);
                    }
                    let since = TimeMs(self.now.0 / period_ms * period_ms);
                    let (ns, name, amount) = (limit.ns, limit.name.clone(), 1);
                    let refill_at = since.plus(period_ms);
                    self.budgets.push(RefBudget { ns, name, key, amount, since, refill_at });
                }
                LimitRule::Bucket { burst, period_ms, .. } => {
                    let held = at.map_or(burst * period_ms, |at| {
                        let budget = self.budgets[at].clone();
                        self.tokens(&limit, &budget)
                    });
                    self.hold(&limit, &key, held - period_ms);
                }
            }
        }
    }

    pub(super) fn refill(&mut self) {
        let due = |it: &&RefBudget| it.refill_at <= self.now;
        let due: Vec<RefBudget> = self.budgets.iter().filter(due).cloned().collect();
        for budget in due {
            let is_it = |it: &&RefLimit| (it.ns, &it.name) == (budget.ns, &budget.name);
            let limit = self.dispatch_limits.iter().find(is_it).expect("it is there").clone();
            let at = self.budget_at(&limit, &budget.key).expect("it was there just now");
            match limit.settings.rule {
                LimitRule::Bucket { .. } => {
                    self.hold(&limit, &budget.key, self.tokens(&limit, &budget));
                }
                _ => drop(self.budgets.remove(at)),
            }
        }
    }

    fn limit_at(&self, ns: NamespaceId, name: &str) -> Option<usize> {
        self.dispatch_limits.iter().position(|it| it.ns == ns && it.name == name)
    }

    pub(super) fn put_limit(
        &mut self,
        ns: NamespaceId,
        name: &str,
        settings: LimitSettings,
    ) -> Refusable<Answer> {
        self.check_name("limit", name)?;
        let new = RefLimit { ns, name: name.to_owned(), settings };
        let Some(at) = self.limit_at(ns, name) else {
            self.dispatch_limits.push(new);
            return self.limit_answer(ns, name);
        };
        let old = self.dispatch_limits[at].clone();
        let sort = |of: &RefLimit| std::mem::discriminant(&of.settings.rule);
        if old.settings.scope != new.settings.scope || sort(&old) != sort(&new) {
            return Err(refused("scope"));
        }
        if old.settings == new.settings {
            return self.limit_answer(ns, name);
        }
        self.dispatch_limits[at] = new.clone();
        if let (
            LimitRule::Bucket { period_ms: before, .. },
            LimitRule::Bucket { period_ms: after, .. },
        ) = (&old.settings.rule, &new.settings.rule)
        {
            let all = self.budgets.iter().filter(|it| it.ns == ns && it.name == name);
            for budget in all.cloned().collect::<Vec<_>>() {
                let held = self.tokens(&old, &budget);
                self.hold(&new, &budget.key, held * after / before);
            }
        }
        if let LimitRule::Window { period_ms, .. } = new.settings.rule {
            let since = TimeMs(self.now.0 - self.now.0 % period_ms.max(1));
            let others = |it: &RefBudget| it.ns != ns || it.name != name;
            self.budgets.retain(|it| others(it) || it.since >= since);
            for budget in self.budgets.iter_mut().filter(|it| !others(it)) {
                (budget.since, budget.refill_at) = (since, since.plus(period_ms));
            }
        }
        self.limit_answer(ns, name)
    }

    pub(super) fn delete_limit(&mut self, ns: NamespaceId, name: &str) -> Refusable<Answer> {
        self.limit_answer(ns, name)?;
        self.dispatch_limits.retain(|it| it.ns != ns || it.name != name);
        self.budgets.retain(|it| it.ns != ns || it.name != name);
        Ok(Answer::LimitDeleted)
    }

    pub(super) fn drop_limits(&mut self, ns: NamespaceId) {
        self.dispatch_limits.retain(|it| it.ns != ns);
        self.budgets.retain(|it| it.ns != ns);
    }

    fn keys_spent(&self, limit: &RefLimit) -> usize {
        let of = self.jobs.iter().filter(|it| it.ns == limit.ns && it.run.is_some());
        let mut keys: BTreeSet<String> = of.filter_map(|it| key_of(limit, &it.job)).collect();
        let budgets = self.budgets.iter().filter(|it| it.ns == limit.ns && it.name == limit.name);
        keys.extend(budgets.map(|it| it.key.clone()));
        keys.iter().filter(|key| self.is_spent_limit(limit, key)).count()
    }

    /// Keys of all limits of which nothing is left.
    pub(crate) fn all_keys_spent(&self) -> usize {
        self.dispatch_limits.iter().map(|limit| self.keys_spent(limit)).sum()
    }

    fn limit_view(&self, limit: &RefLimit) -> LimitView {
        let counts = matches!(limit.settings.rule, LimitRule::Concurrency { .. });
        let counted = |it: &&RefJob| {
            it.ns == limit.ns && it.run.is_some() && key_of(limit, &it.job).is_some()
        };
        let running = self.jobs.iter().filter(counted).count() as u64;
        LimitView {
            name: limit.name.clone(),
            settings: limit.settings.clone(),
            running: if counts { running } else { 0 },
            spent: self.keys_spent(limit) as u64,
            waiting: 0,
            keys: Vec::new(),
        }
    }

    pub(super) fn limit_answer(&self, ns: NamespaceId, name: &str) -> Refusable<Answer> {
        let unknown = || Rejection::LimitUnknown { name: name.to_owned() };
        let at = self.limit_at(ns, name).ok_or_else(unknown)?;
        Ok(Answer::Limit(Box::new(self.limit_view(&self.dispatch_limits[at]))))
    }

    pub(super) fn list_limits(&self, ns: NamespaceId) -> Answer {
        let mut all: Vec<_> = self.dispatch_limits.iter().filter(|it| it.ns == ns).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Answer::Limits(all.into_iter().map(|limit| self.limit_view(limit)).collect())
    }
}
