//! Settling: no lease has two outcomes, what ended stays ended, a repeated settlement gets the
//! first answer.

use bytes::Bytes;
use longshore_engine::{
    Answer, Delivery, EndKind, FollowUp, JobError, Limits, Rejection, Settlement, Verdict,
};

use super::enqueue;
use crate::random::Random;
use crate::workload::Check;
use crate::workload::shadow::{Granted, Many, Outcome, Shadow};

/// Ends of runs that a job remembers.
const ENDS_REMEMBERED: usize = 4;

/// How a run ends. One that is to be the only one of its job is given back more often than others:
/// that is where it must not be believed.
pub(crate) fn sample(random: &mut Random, next_id: &mut u64, job: &Delivery) -> Verdict {
    let ways = if job.at_most_once && random.percent(50) { 15..19 } else { 0..20 };
    match ways.start + random.below(ways.end - ways.start) {
        0..11 => Verdict::Ack {
            result: random.maybe(30, |random| Bytes::from(vec![b'1'; random.below(50) as usize])),
            location: None,
            follow_ups: enqueue::follow_ups(random, next_id),
            next_tick: None,
        },
        11..15 => Verdict::Fail {
            error: JobError {
                kind: "Broken".to_owned(),
                message: "it did not work".to_owned(),
                backtrace: String::new(),
            },
            retry_in_ms: random.maybe(30, |random| random.below(3000)),
        },
        15..17 => Verdict::Snooze { delay_ms: random.below(10_000) },
        17 => Verdict::Release,
        18 => Verdict::Interrupt {
            reason: "deploy".to_owned(),
            delay_ms: random.maybe(30, |random| random.below(3000)),
        },
        _ => Verdict::Discard { error: None },
    }
}

pub(crate) fn kind_of(verdict: &Verdict) -> EndKind {
    match verdict {
        Verdict::Ack { .. } => EndKind::Acked,
        Verdict::Fail { .. } => EndKind::Failed,
        Verdict::Snooze { .. } => EndKind::Snoozed,
        Verdict::Release => EndKind::Released,
        Verdict::Discard { .. } => EndKind::Discarded,
        Verdict::Interrupt { .. } => EndKind::Interrupted,
    }
}

fn follow_ups_of(settlement: &Settlement) -> &[FollowUp] {
    match &settlement.verdict {
        Verdict::Ack { follow_ups, .. } => follow_ups,
        _ => &[],
    }
}

pub(crate) fn tried(shadow: &mut Shadow, namespace: usize, settlements: &[Settlement]) {
    for settlement in settlements {
        let follow_ups = follow_ups_of(settlement);
        for FollowUp { queue, job } in follow_ups {
            let told = enqueue::tried_one(shadow, namespace, queue, job);
            told.follows = Some(settlement.id);
        }
        let Some(told) = shadow.job((namespace, settlement.id)) else { continue };
        let once = told.new.at_most_once;
        let Some(granted) = told.grants.get_mut(&settlement.token) else { continue };
        granted.follow_ups = follow_ups.iter().map(|one| one.job.id).collect();
        let kind = kind_of(&settlement.verdict);
        granted.given_back |= gives_back(&kind) && !(once && is_spent(granted, &kind));
        if !granted.tried.contains(&kind) {
            granted.tried.push(kind);
        }
    }
}

fn gives_back(kind: &EndKind) -> bool {
    matches!(kind, EndKind::Snoozed | EndKind::Released | EndKind::Interrupted)
}

/// Whether a run that is the only one of its job may not end so that the job runs again: it has
/// begun.
fn is_spent(granted: &Granted, kind: &EndKind) -> bool {
    gives_back(kind) && (granted.has_begun() || *kind == EndKind::Interrupted)
}

pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    settlements: &[Settlement],
    answer: &Answer,
) -> Check {
    match answer {
        Answer::Settled(settled) => all_told(shadow, namespace, settlements, settled),
        Answer::Rejected(_) => Ok(()),
        other => Err(format!("settling was answered with {other:?}")),
    }
}

pub(crate) fn all_told(
    shadow: &mut Shadow,
    namespace: usize,
    settlements: &[Settlement],
    settled: &[Result<EndKind, Rejection>],
) -> Check {
    if settlements.len() != settled.len() {
        return Err(format!("{} settlements, {} answers", settlements.len(), settled.len()));
    }
    for (settlement, result) in settlements.iter().zip(settled) {
        // They are in with the ack, or not at all.
        for one in follow_ups_of(settlement) {
            let Some(told) = shadow.job((namespace, one.job.id)) else { continue };
            if *result == Ok(EndKind::Acked) {
                told.acked = true;
            } else {
                told.refusals += 1;
            }
        }
        match result {
            Ok(kind) => accepted(shadow, namespace, settlement, kind)?,
            Err(rejection) => refused(shadow, namespace, settlement, rejection)?,
        }
    }
    Ok(())
}

fn accepted(
    shadow: &mut Shadow,
    namespace: usize,
    settlement: &Settlement,
    kind: &EndKind,
) -> Check {
    let (key, id) = ((namespace, settlement.id), settlement.id);
    let cancelled = shadow.may_be(key, Many::Cancelled);
    let Some(told) = shadow.job(key) else { return Ok(()) };
    let snoozing = |granted: &&Granted| granted.tried.contains(&EndKind::Snoozed);
    let snoozes = told.grants.values().filter(snoozing).count() as u32;
    let (cancel_tried, once) = (told.cancel_tried || cancelled, told.new.at_most_once);
    let Some(granted) = told.grants.get_mut(&settlement.token) else {
        return Err(format!("job {id}: {} was settled, but never handed out", settlement.token));
    };
    if let Some(first) = &granted.told
        && first != kind
    {
        return Err(format!("lease {} of {id} was {first:?} and {kind:?}", settlement.token));
    }
    // Only its own word that it gives the job back repeats what was done for it.
    if granted.session_ended && *kind != EndKind::Released {
        let token = settlement.token;
        return Err(format!("lease {token} of {id} went with its session and ended as {kind:?}"));
    }
    if granted.forced && granted.told.is_none() {
        let token = settlement.token;
        return Err(format!("lease {token} of {id} was ended by force and settled as {kind:?}"));
    }
    if once && granted.told.is_none() && is_spent(granted, kind) {
        let token = settlement.token;
        return Err(format!("job {id} is to run at most once, had begun under {token}: {kind:?}"));
    }
    let called_off = *kind == EndKind::Discarded && cancel_tried;
    let spent = once && *kind == EndKind::Failed && granted.tried.iter().any(gives_back);
    let snoozed_out = *kind == EndKind::SnoozedOut
        && granted.tried.contains(&EndKind::Snoozed)
        && snoozes > Limits::tiny().snoozes_max;
    if !granted.tried.contains(kind) && !called_off && !spent && !snoozed_out {
        return Err(format!("lease {} of {id} ended as {kind:?}, unasked", settlement.token));
    }
    granted.told = Some(kind.clone());
    let acked = |granted: &&Granted| granted.told == Some(EndKind::Acked);
    if told.grants.values().filter(acked).count() > 1 {
        return Err(format!("job {id} was acknowledged under two leases"));
    }
    match kind {
        EndKind::Acked => shadow.note_outcome(key, Outcome::Succeeded),
        EndKind::Discarded => shadow.note_outcome(key, Outcome::Cancelled),
        EndKind::Failed
        | EndKind::SnoozedOut
        | EndKind::Snoozed
        | EndKind::Released
        | EndKind::Interrupted => Ok(()),
    }
}

fn refused(
    shadow: &mut Shadow,
    namespace: usize,
    settlement: &Settlement,
    rejection: &Rejection,
) -> Check {
    let key = (namespace, settlement.id);
    let missing = shadow.may_be_missing(key);
    let Some(told) = shadow.job(key) else { return Ok(()) };
    let removed = told.outcome == Some(Outcome::Removed);
    match rejection {
        Rejection::LeaseLost { .. } => {
            let first = told.grants.get(&settlement.token).and_then(|g| g.told.clone());
            let later = told.grants.range(settlement.token..).count();
            match first {
                Some(first) if later <= ENDS_REMEMBERED => Err(format!(
                    "lease {} of {} was {first:?}, and told again it is lost",
                    settlement.token, settlement.id
                )),
                _ => Ok(()),
            }
        }
        Rejection::JobUnknown { .. } if told.acked && !missing && !removed => {
            Err(format!("job {} is lost: its worker was told that it is unknown", settlement.id))
        }
        _ => Ok(()),
    }
}
