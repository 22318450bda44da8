//! What people ask of single jobs and of queues.

use longshore_engine::{
    Answer, Command, JobDefaults, JobId, LimitRule, LimitScope, LimitSettings, QueueSettings,
    Rejection, RetryFrom, RetryPolicy, Start, TimeMs,
};

use super::lease;
use crate::random::Random;
use crate::workload::shadow::{JobKey, Shadow};
use crate::workload::{Check, LIMIT, QUEUES, gates, holds, limits, scopes, slas, tenants};

pub(crate) fn sample(random: &mut Random, shadow: &Shadow, namespace: usize) -> Command {
    let ids: Vec<JobId> =
        shadow.jobs.keys().filter(|key| key.0 == namespace).map(|key| key.1).collect();
    let queue = (*random.pick(&QUEUES)).to_owned();
    let id = if ids.is_empty() { JobId([9; 16]) } else { *random.pick(&ids) };
    match random.below(36) {
        0..2 => Command::CancelJob { id, force: random.percent(30) },
        2..5 => Command::RetryJob { id, from: RetryFrom::Kept },
        5..7 => Command::PauseJob { id },
        7 | 8 => Command::ResumeJob { id },
        9..12 => Command::AwaitJob { id, wait_ms: 0 },
        12..14 => Command::AwaitJob { id, wait_ms: random.below(30_000) },
        14 => Command::PauseQueue { queue, paused: true },
        15..18 => Command::PauseQueue { queue, paused: false },
        18 => Command::PutQueue { queue, settings: settings(random) },
        19 => Command::DeleteQueue { queue },
        20 => Command::GetQueue { queue },
        21 => Command::ListQueues { after: None, limit: 3 },
        22 => Command::ListOperations,
        23 => Command::RemoveJob { id },
        27 | 28 => limit(random),
        29..32 => gates::sample(random),
        32 | 33 => holds::sample(random),
        34 | 35 => slas::sample(random),
        26 if !shadow.jobs.len().is_multiple_of(4) => {
            limits::calls(&mut Random::new(ids.len() as u64))
        }
        26 => scopes::sample(&mut Random::new(ids.len() as u64 + 7)),
        24 | 25 => Command::RescheduleJob { id, start: start(random) },
        _ => Command::ListNamespaces { after: None, limit: 9 },
    }
}

fn limit(random: &mut Random) -> Command {
    let keyed = random.percent(70);
    let name = if keyed { LIMIT } else { "starts" }.to_owned();
    if random.percent(20) {
        return Command::DeleteLimit { name };
    }
    let max = 1 + random.below(2);
    let settings = if keyed {
        LimitSettings { scope: LimitScope::Key, rule: LimitRule::Concurrency { max } }
    } else {
        let rule = LimitRule::Window { max: 3 * max, period_ms: 2000 };
        LimitSettings { scope: LimitScope::Queue { name: None }, rule }
    };
    Command::PutLimit { name, settings }
}

/// Now, or within a time that passes before the run ends.
fn start(random: &mut Random) -> Start {
    if random.percent(30) { Start::At(TimeMs(0)) } else { Start::After(random.below(20_000)) }
}

fn settings(random: &mut Random) -> QueueSettings {
    QueueSettings {
        paused: false,
        max_length: random.maybe(30, |random| 5 + random.below(30)),
        defaults: JobDefaults {
            priority: random.maybe(30, |random| random.below(3) as u8),
            lease_ms: random.maybe(30, |random| 1000 + random.below(40_000)),
            retry: Some(RetryPolicy::Constant { delay_ms: 100 }),
            ..QueueSettings::DEFAULT.defaults
        },
        messages: None,
        tenants: random.maybe(30, tenants::weights).unwrap_or_default(),
        outcomes: None,
    }
}

pub(crate) fn cancel_tried(shadow: &mut Shadow, namespace: usize, id: JobId) {
    if let Some(told) = shadow.job((namespace, id)) {
        told.cancel_tried = true;
    }
}

pub(crate) fn remove_tried(shadow: &mut Shadow, namespace: usize, id: JobId) {
    if let Some(told) = shadow.job((namespace, id)) {
        told.remove_tried = true;
    }
}

pub(crate) fn retry_tried(shadow: &mut Shadow, namespace: usize, id: JobId) {
    move_tried(shadow, namespace, id);
    if let Some(told) = shadow.job((namespace, id)) {
        told.retry_tried = true;
    }
}

/// From now on it may start at any time.
pub(crate) fn move_tried(shadow: &mut Shadow, namespace: usize, id: JobId) {
    if let Some(told) = shadow.job((namespace, id)) {
        told.not_before = None;
        told.moves_untold = told.moves_untold.saturating_add(1);
    }
}

/// What became of such an attempt: a job that was moved is not handed over before its time.
pub(crate) fn move_told(
    shadow: &mut Shadow,
    key: JobKey,
    command: &Command,
    answer: &Answer,
) -> Check {
    if let Some(told) = shadow.job(key) {
        told.moves_untold = told.moves_untold.saturating_sub(1);
        if let (Command::RescheduleJob { .. }, Answer::Job(view)) = (command, answer)
            && told.moves_untold == 0
        {
            told.not_before = Some(view.job.available_at);
        }
    }
    job_told(shadow, key, answer)
}

/// From now on it may be handed over again.
pub(crate) fn resume_tried(shadow: &mut Shadow, namespace: usize, id: JobId) {
    if let Some(told) = shadow.job((namespace, id)) {
        told.paused = false;
    }
}

/// It is held back from now on.
pub(crate) fn pause_told(shadow: &mut Shadow, key: JobKey, answer: &Answer) -> Check {
    if let (Answer::Job(view), Some(told)) = (answer, shadow.job(key)) {
        told.paused = view.paused;
    }
    job_told(shadow, key, answer)
}

/// An answer that shows one job, or says what became of it.
pub(crate) fn job_told(shadow: &mut Shadow, key: JobKey, answer: &Answer) -> Check {
    match answer {
        Answer::Job(view) => shadow.note_view(key, view),
        Answer::RunEnded { view, lease } => {
            if let Some(granted) = shadow.granted(key.0, key.1, lease.token) {
                granted.forced = true;
            }
            shadow.note_view(key, view)
        }
        Answer::JobRemoved => lease::removed(shadow, key.0, key.1),
        Answer::Rejected(Rejection::JobUnknown { .. }) => {
            let missing = shadow.may_be_missing(key);
            let lost = shadow.job(key).is_some_and(|told| told.acked && !missing);
            if lost {
                return Err(format!("job {} is lost: somebody asked for it", key.1));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
