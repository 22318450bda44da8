//! The verdict at rest, when everything is healed and drained: nothing acknowledged is lost,
//! nothing is there that nobody asked for, and every end has its reason.

use std::collections::BTreeMap;

use longshore_engine::{Clock, DeadReason, EndKind, JobId, JobView, Limits, Phase};

use super::invariants::jobs_of;
use super::shadow::{JobKey, Many, Outcome, Shadow, Told};
use crate::map::SimTree;
use crate::node::NAMESPACES;

/// What became of all that was tried, as in the total-queue checker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Jobs that somebody tried to enqueue.
    pub tried: u64,
    /// Of those, acknowledged.
    pub acknowledged: u64,
    /// Enqueued although nobody was told.
    pub recovered: u64,
    /// Handed over more than once.
    pub duplicated: u64,
}

pub(crate) fn judge(map: &SimTree, shadow: &Shadow, clock: Clock) -> Result<Verdict, String> {
    let mut verdict = Verdict::default();
    let mut found: BTreeMap<(usize, JobId), JobView> = BTreeMap::new();
    for (namespace, name) in NAMESPACES.iter().enumerate() {
        let jobs = jobs_of(map, name, None, clock);
        super::ops::schedule::check_at_rest(map, name, clock.wall)?;
        let jobs = jobs.into_iter().filter(|view| view.job.tick.is_none());
        found.extend(jobs.map(|view| ((namespace, view.job.id), view)));
    }
    for (key, told) in &shadow.jobs {
        verdict.tried += 1;
        verdict.acknowledged += u64::from(told.acked);
        verdict.duplicated += u64::from(told.grants.len() > 1);
        match found.remove(key) {
            Some(view) => {
                verdict.recovered += u64::from(!told.acked);
                let cancelled = told.cancel_tried || shadow.may_be(*key, Many::Cancelled);
                check_found((told, cancelled), &view)?;
            }
            None => check_missing(shadow, *key, told)?,
        }
    }
    match found.keys().next() {
        Some((_, id)) => Err(format!("job {id} is there, but nobody enqueued it")),
        None => Ok(verdict),
    }
}

fn check_missing(shadow: &Shadow, key: JobKey, told: &Told) -> Result<(), String> {
    let removed = told.outcome == Some(Outcome::Removed);
    if told.acked && !removed && !shadow.may_be_missing(key) {
        return Err(format!("job {} is lost: its enqueueing was acknowledged", key.1));
    }
    Ok(())
}

fn check_found((told, cancelled): (&Told, bool), view: &JobView) -> Result<(), String> {
    let id = view.job.id;
    if !told.acked && told.tries == told.refusals {
        return Err(format!("job {id} is there, but every attempt to enqueue it was refused"));
    }
    let tried = |kind: &EndKind| told.grants.values().any(|granted| granted.tried.contains(kind));
    let reasonable = match &view.job.phase {
        Phase::Waiting | Phase::Retrying => {
            return Err(format!("job {id} was never finished: {:?}", view.job));
        }
        Phase::Succeeded { .. } => tried(&EndKind::Acked),
        Phase::Cancelled { .. } => cancelled || tried(&EndKind::Discarded),
        Phase::Expired { .. } => told.new.expiry.is_some(),
        Phase::Dead { reason, .. } => match reason {
            DeadReason::AtMostOnce => told.new.at_most_once,
            DeadReason::MaxAge => told.new.max_age_ms.is_some(),
            DeadReason::Exhausted => {
                let budget = view.job.attempt - view.job.budget_from;
                Some(budget) == told.new.max_attempts
            }
            DeadReason::Lost => view.job.losses >= 5,
            DeadReason::TooManySnoozes => {
                view.job.snoozes == Limits::tiny().snoozes_max && tried(&EndKind::Snoozed)
            }
        },
    };
    if reasonable { Ok(()) } else { Err(format!("job {id} ended without reason: {:?}", view.job)) }
}
