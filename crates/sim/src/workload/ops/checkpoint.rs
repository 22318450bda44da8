//! Checkpoints: a cursor is the number of items that were done, which a counter counts as well. So
//! it never goes back, the two are always equal, and a stale token or a repetition changes neither.

use longshore_engine::{
    Answer, CheckpointJob, Delivery, EndKind, JobError, JobId, JobState, JobView,
};

use super::session;
use crate::random::Random;
use crate::workload::Check;
use crate::workload::shadow::{Shadow, Told};

/// The counter of items.
const ITEMS: &str = "items";

/// How far a worker has come with a run: items done in all, and checkpoints told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headway {
    done: u64,
    seq: u64,
}

fn number(cursor: &[u8]) -> Option<u64> {
    std::str::from_utf8(cursor).ok()?.parse().ok()
}

impl Headway {
    /// Where the run begins.
    pub(crate) fn of(job: &Delivery) -> Self {
        Self { done: job.cursor.as_deref().and_then(number).unwrap_or(0), seq: 0 }
    }
}

/// Some items more.
pub(crate) fn sample(random: &mut Random, job: &Delivery, headway: &mut Headway) -> CheckpointJob {
    let items = 1 + random.below(3);
    headway.done += items;
    headway.seq += 1;
    let error = JobError {
        kind: "Odd".to_owned(),
        message: "it is no number".to_owned(),
        backtrace: String::new(),
    };
    CheckpointJob {
        id: job.id,
        token: job.token,
        seq: Some(headway.seq),
        lease_ms: random.maybe(20, |random| 1000 + random.below(40_000)),
        cursor: Some(headway.done.to_string().into()),
        progress: random.maybe(30, |random| random.below(10_000) as u16),
        progress_text: None,
        counters: vec![(ITEMS.to_owned(), items.cast_signed())],
        skipped: random.maybe(10, |_| ("0".into(), error)).into_iter().collect(),
        counters_dropped: 0,
        skipped_dropped: 0,
    }
}

pub(crate) fn tried(shadow: &mut Shadow, namespace: usize, all: &[CheckpointJob]) {
    for one in all {
        let cursor = one.cursor.as_deref().and_then(number).unwrap_or(0);
        if let Some(told) = shadow.job((namespace, one.id)) {
            told.done_at_most = told.done_at_most.max(cursor);
        }
    }
}

pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    all: &[CheckpointJob],
    answer: &Answer,
) -> Check {
    let Answer::Extended(results) = answer else { return Ok(()) };
    for (one, result) in all.iter().zip(results).filter(|(_, result)| result.is_ok()) {
        let CheckpointJob { id, token, .. } = one;
        session::started(shadow, namespace, (*id, *token), result)?;
        let Some(told) = shadow.job((namespace, *id)) else { continue };
        let ended = told.grants.get(token).and_then(|granted| granted.told.clone());
        if let Some(end) = ended {
            return Err(format!("lease {token} of {id} was {end:?} and saved a checkpoint"));
        }
        if let Some(later) = told.grants.keys().next_back().filter(|later| *later > token) {
            return Err(format!("lease {token} of {id} saved a checkpoint after {later}"));
        }
        if let Some(granted) = told.grants.get_mut(token) {
            granted.moved = true;
            granted.reported = true;
        }
        let cursor = one.cursor.as_deref().and_then(number).unwrap_or(0);
        told.done_at_least = told.done_at_least.max(cursor);
    }
    Ok(())
}

/// A run begins where the last durable checkpoint was, or later.
pub(crate) fn handed(told: &Told, job: &Delivery) -> Check {
    check(told, Headway::of(job).done, &job.counters, job.id)
}

/// What is kept is what was told, or more.
pub(crate) fn kept(told: &Told, view: &JobView) -> Check {
    let id = view.job.id;
    let kept = view.checkpoint.clone().unwrap_or_default();
    let has_outcome = !view.job.phase.is_unfinished() && view.state() != JobState::Dead;
    let done = match kept.cursor.as_deref().and_then(number) {
        // An outcome is kept without its cursor.
        None if has_outcome => items(&kept.counters),
        cursor => cursor.unwrap_or(0),
    };
    check(told, done, &kept.counters, id)?;
    let interrupted = EndKind::Interrupted;
    let grants = told.grants.values();
    let at_least = grants.clone().filter(|it| it.told.as_ref() == Some(&interrupted)).count();
    let at_most = grants.filter(|it| it.tried.contains(&interrupted)).count();
    if !(at_least..=at_most).contains(&(kept.interruptions as usize)) {
        let found = kept.interruptions;
        return Err(format!("job {id}: {found} interruptions, {at_least} to {at_most} were told"));
    }
    Ok(())
}

fn items(counters: &[(String, i64)]) -> u64 {
    let items = counters.iter().find(|(name, _)| name == ITEMS);
    items.map_or(0, |(_, count)| count.unsigned_abs())
}

fn check(told: &Told, done: u64, counters: &[(String, i64)], id: JobId) -> Check {
    let (at_least, at_most) = (told.done_at_least, told.done_at_most);
    if !(at_least..=at_most).contains(&done) {
        return Err(format!("job {id} is at item {done}, but {at_least} to {at_most} were saved"));
    }
    if items(counters) != done {
        return Err(format!("job {id} is at item {done}, but counted {counters:?}"));
    }
    Ok(())
}
