//! Jobs whose outcome is expected at once: whoever enqueued one withdraws it unless it has started.
//! Where somebody was told that a job is withdrawn, nothing of it ran, and nothing will.

use longshore_engine::{Answer, Command, EnqueueJobs, JobId};

use super::shadow::{JobKey, Outcome, Shadow};
use super::{Check, QUEUES, ops};
use crate::random::Random;

/// Its jobs are numbered from here on, so that they are nobody else's.
const IDS_FROM: u64 = 1 << 40;
/// Jobs that are waited for at the same time.
const OPEN_MAX: usize = 4;

/// Whoever expects outcomes. No job is enqueued again, since that would be told to others.
#[derive(Debug)]
pub(crate) struct Expecting {
    chance: Random,
    last_id: u64,
    /// Jobs that it has not given up yet.
    open: Vec<JobId>,
}

impl Expecting {
    pub(crate) fn of(seed: u64) -> Self {
        let chance = Random::new(seed.rotate_left(32) ^ 0x6578_7065_6374_0000);
        Self { chance, last_id: IDS_FROM, open: Vec::new() }
    }

    /// What it sends, now and then.
    pub(crate) fn next(&mut self) -> Option<Command> {
        let Self { chance, last_id, open } = self;
        if !chance.percent(60) {
            return None;
        }
        if open.is_empty() || open.len() < OPEN_MAX && chance.percent(40) {
            let job = ops::enqueue::new_job(chance, last_id, true);
            open.push(job.id);
            let queue = (*chance.pick(&QUEUES)).to_owned();
            return Some(Command::EnqueueJobs(EnqueueJobs { queue, jobs: vec![job] }));
        }
        let index = chance.index(open.len());
        let id = open.get(index).copied()?;
        if chance.percent(30) {
            return Some(Command::AwaitJob { id, wait_ms: chance.below(20_000) });
        }
        // Where nobody heard what came of it, it may be asked once more.
        if chance.percent(70) {
            open.swap_remove(index);
        }
        Some(Command::WithdrawJob { id })
    }
}

/// A client sends this: from now on the job may be gone.
pub(crate) fn tried(shadow: &mut Shadow, key: JobKey) {
    if let Some(told) = shadow.job(key) {
        told.withdrawals_untold += 1;
    }
}

/// The server said what came of it.
pub(crate) fn told(shadow: &mut Shadow, key: JobKey, answer: &Answer) -> Check {
    let Some(told) = shadow.job(key) else {
        return Err(format!("job {} was withdrawn, but nobody enqueued it", key.1));
    };
    told.withdrawals_untold = told.withdrawals_untold.saturating_sub(1);
    if !matches!(answer, Answer::JobWithdrawn) {
        return ops::admin::job_told(shadow, key, answer);
    }
    if let Some((token, _)) = told.grants.iter().find(|(_, granted)| !granted.given_back) {
        return Err(format!("job {} was handed over as {token} and is withdrawn", key.1));
    }
    shadow.note_outcome(key, Outcome::Withdrawn)
}
