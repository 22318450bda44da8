//! What is left of a window or a bucket. A budget is kept until it is whole again. Time alone
//! changes nothing of it: what has come back is recorded.

use super::LimitRule;
use crate::ids::TimeMs;
use crate::wire::wire_struct;

wire_struct! {
    /// What is left of one key's budget.
    pub(crate) struct LimitBudget {
        /// Of a window: grants in it. Of a bucket: what it holds, in parts of a token: as many as
        /// its period has milliseconds.
        pub(crate) amount: u64,
        /// When that was so.
        pub(crate) since: TimeMs,
        /// When the window ends; when the bucket has a token again, or is full.
        pub(crate) refill_at: TimeMs,
        /// The number of the rule of its limit by which that is so.
        pub(crate) rule: u64 = 150,
    }
}

impl LimitBudget {
    /// One whose rule is yet to be named.
    fn new(amount: u64, since: TimeMs, refill_at: TimeMs) -> Self {
        Self { amount, since, refill_at, rule: 0 }
    }
}

/// A bucket's sizes in parts of a token.
struct Bucket {
    full: u64,
    token: u64,
    per_ms: u64,
}

impl Bucket {
    fn of(burst: u64, count: u64, period_ms: u64) -> Self {
        Self { full: burst.saturating_mul(period_ms), token: period_ms, per_ms: count }
    }

    fn at(&self, budget: &LimitBudget, now: TimeMs) -> u64 {
        let came = now.since(budget.since).saturating_mul(self.per_ms);
        budget.amount.saturating_add(came).min(self.full)
    }

    /// A bucket with so much in it; none where it is full.
    fn holding(&self, amount: u64, now: TimeMs) -> Option<LimitBudget> {
        if amount >= self.full {
            return None;
        }
        let wanted = if amount < self.token { self.token } else { self.full };
        let in_ms = (wanted - amount).div_ceil(self.per_ms.max(1));
        Some(LimitBudget::new(amount, now, now.plus(in_ms)))
    }
}

impl LimitRule {
    /// How many grants there are left now, of a rule with budgets.
    pub(super) fn left(&self, budget: Option<&LimitBudget>, now: TimeMs) -> u64 {
        match *self {
            Self::Concurrency { .. } => u64::MAX,
            Self::Window { max, .. } => {
                let used = budget.filter(|it| now < it.refill_at).map_or(0, |it| it.amount);
                max.saturating_sub(used)
            }
            Self::Bucket { burst, count, period_ms } => {
                let bucket = Bucket::of(burst, count, period_ms);
                budget.map_or(burst, |budget| bucket.at(budget, now) / bucket.token.max(1))
            }
        }
    }

    /// Whether nothing is left until a record says otherwise.
    pub(super) fn is_used_up(&self, budget: Option<&LimitBudget>) -> bool {
        match *self {
            Self::Concurrency { .. } => false,
            Self::Window { max, .. } => budget.is_some_and(|it| it.amount >= max),
            Self::Bucket { period_ms, .. } => budget.is_some_and(|it| it.amount < period_ms),
        }
    }

    /// What is left after one more grant.
    pub(super) fn after_grant(
        &self,
        budget: Option<&LimitBudget>,
        now: TimeMs,
    ) -> Option<LimitBudget> {
        match *self {
            Self::Concurrency { .. } => None,
            Self::Window { period_ms, .. } => {
                let since = TimeMs(now.0 - now.0 % period_ms.max(1));
                let new = LimitBudget::new(0, since, since.plus(period_ms));
                let known = budget.filter(|it| now < it.refill_at).cloned().unwrap_or(new);
                Some(LimitBudget { amount: known.amount + 1, ..known })
            }
            Self::Bucket { burst, count, period_ms } => {
                let bucket = Bucket::of(burst, count, period_ms);
                let held = budget.map_or(bucket.full, |budget| bucket.at(budget, now));
                bucket.holding(held.saturating_sub(bucket.token), now)
            }
        }
    }

    /// What is left once its refill is due.
    pub(super) fn after_refill(&self, budget: &LimitBudget, now: TimeMs) -> Option<LimitBudget> {
        match *self {
            Self::Concurrency { .. } | Self::Window { .. } => None,
            Self::Bucket { burst, count, period_ms } => {
                let bucket = Bucket::of(burst, count, period_ms);
                bucket.holding(bucket.at(budget, now), now)
            }
        }
    }

    /// What is left of a budget of the rule `before` under this one, which is of the same sort.
    pub(super) fn after_change(
        &self,
        before: &Self,
        budget: &LimitBudget,
        now: TimeMs,
    ) -> Option<LimitBudget> {
        match (self, before) {
            (
                Self::Bucket { burst, count, period_ms },
                Self::Bucket { burst: old_burst, count: old_count, period_ms: old_period_ms },
            ) => {
                let held = Bucket::of(*old_burst, *old_count, *old_period_ms).at(budget, now);
                let parts = u128::from(held) * u128::from(*period_ms);
                let parts = parts / u128::from((*old_period_ms).max(1));
                let held = u64::try_from(parts).unwrap_or(u64::MAX);
                Bucket::of(*burst, *count, *period_ms).holding(held, now)
            }
            (Self::Window { period_ms, .. }, _) => {
                // What was used before the present window of the new length began does not count.
                let since = TimeMs(now.0 - now.0 % (*period_ms).max(1));
                let refill_at = since.plus(*period_ms);
                let amount = budget.amount;
                (budget.since >= since).then(|| LimitBudget::new(amount, since, refill_at))
            }
            _ => Some(budget.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_after_the_other() {
        let rule = LimitRule::Bucket { burst: 3, count: 2, period_ms: 1_000 };
        let (mut now, mut budget) = (TimeMs(10_000), None);
        for left in [3, 2, 1] {
            assert_eq!(rule.left(budget.as_ref(), now), left);
            budget = rule.after_grant(budget.as_ref(), now);
        }
        assert!(rule.is_used_up(budget.as_ref()));
        let refill_at = budget.as_ref().unwrap().refill_at;
        assert_eq!(refill_at, TimeMs(10_500), "two a second");
        now = refill_at;
        budget = rule.after_refill(&budget.unwrap(), now);
        assert!(!rule.is_used_up(budget.as_ref()));
        assert_eq!(
            (rule.left(budget.as_ref(), now), rule.left(budget.as_ref(), TimeMs(u64::MAX))),
            (1, 3)
        );
        assert_eq!(budget.as_ref().unwrap().refill_at, TimeMs(11_500), "when it is full");
        assert_eq!(rule.after_refill(&budget.unwrap(), TimeMs(11_500)), None);
    }

    #[test]
    fn a_window_ends_when_its_time_is_over() {
        let rule = LimitRule::Window { max: 2, period_ms: 1_000 };
        let one = rule.after_grant(None, TimeMs(10_400));
        assert_eq!(one.as_ref().unwrap().refill_at, TimeMs(11_000));
        let two = rule.after_grant(one.as_ref(), TimeMs(10_999));
        assert!(rule.is_used_up(two.as_ref()) && !rule.is_used_up(one.as_ref()));
        assert_eq!(rule.left(two.as_ref(), TimeMs(11_000)), 2);
        let less = LimitRule::Window { max: 1, period_ms: 1_000 };
        let kept = less.after_change(&rule, &one.unwrap(), TimeMs(10_500));
        assert!(less.is_used_up(kept.as_ref()));
    }

    #[test]
    fn a_bucket_that_is_changed_keeps_its_tokens_as_far_as_they_fit() {
        let before = LimitRule::Bucket { burst: 10, count: 1, period_ms: 1_000 };
        let used = before.after_grant(None, TimeMs(0)).unwrap();
        let after = LimitRule::Bucket { burst: 20, count: 1, period_ms: 60_000 };
        let kept = after.after_change(&before, &used, TimeMs(0));
        assert_eq!(after.left(kept.as_ref(), TimeMs(0)), 9);
        let small = LimitRule::Bucket { burst: 4, count: 1, period_ms: 10 };
        assert_eq!(small.after_change(&before, &used, TimeMs(0)), None, "it is full");
    }
}
