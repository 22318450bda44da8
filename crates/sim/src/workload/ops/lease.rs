//! Leasing: what may be handed over, and to whom again.

use longshore_engine::{Answer, Delivery, KindRange, LeaseJobs, QueuePattern, Subscribe};

use super::{checkpoint, settle};
use crate::random::Random;
use crate::workload::shadow::{Granted, Many, Outcome, Shadow};
use crate::workload::{Check, KINDS, QUEUES};

/// What a worker asks for; it adds who it is, its turn and what it settles.
pub(crate) fn sample(random: &mut Random) -> LeaseJobs {
    let pattern = |random: &mut Random| match random.below(5) {
        0 => QueuePattern::Prefix(String::new()),
        1 => QueuePattern::Prefix("mail".to_owned()),
        _ => QueuePattern::Exactly((*random.pick(&QUEUES)).to_owned()),
    };
    let queues = (0..=random.below(3)).map(|_| pattern(random)).collect();
    let kinds = random.maybe(15, |random| vec![KindRange::unversioned(*random.pick(&KINDS))]);
    LeaseJobs {
        queues,
        kinds,
        max: 1 + random.index(4),
        wait_ms: if random.percent(50) { random.below(20_000) } else { 0 },
        lease_ms: random.maybe(20, |random| 1000 + random.below(40_000)),
        worker: String::new(),
        session: String::new(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }
}

pub(crate) fn tried(shadow: &mut Shadow, namespace: usize, request: &LeaseJobs) {
    settle::tried(shadow, namespace, &request.settle);
    let (Some(turn), Some(seen)) = (request.ask, request.seen) else { return };
    let said = (request.worker.clone(), request.session.clone(), seen, turn);
    for granted in shadow.jobs.values_mut().flat_map(|told| told.grants.values_mut()) {
        granted.given_back |= gives_back(&said, &granted.by);
    }
    shadow.passed.push(said);
}

/// Whether a worker that says so has not seen the answer in which that grant was.
fn gives_back(
    (worker, session, seen, turn): &(String, String, u64, u64),
    by: &(String, String, Option<u64>),
) -> bool {
    (worker, session) == (&by.0, &by.1) && by.2.is_some_and(|of| *seen < of && of < *turn)
}

pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    request: &LeaseJobs,
    answer: &Answer,
) -> Check {
    let (jobs, settled) = match answer {
        Answer::Leased { jobs, settled } => (jobs, settled),
        Answer::Rejected(_) => return Ok(()),
        other => return Err(format!("leasing was answered with {other:?}")),
    };
    if jobs.len() > request.max {
        return Err(format!("{} jobs were handed over, {} wanted", jobs.len(), request.max));
    }
    settle::all_told(shadow, namespace, &request.settle, settled)?;
    jobs.iter().try_for_each(|job| handed(shadow, namespace, request, job))
}

/// What was delivered to a stream is what it asked for.
pub(crate) fn delivered(
    shadow: &mut Shadow,
    namespace: usize,
    command: &Subscribe,
    jobs: &[Delivery],
) -> Check {
    let request = LeaseJobs {
        queues: command.queues.iter().map(|(queue, _)| queue.clone()).collect(),
        kinds: command.kinds.clone(),
        max: jobs.len(),
        wait_ms: 0,
        lease_ms: command.lease_ms,
        worker: command.holder.worker.clone(),
        session: command.holder.session.clone(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: true,
    };
    jobs.iter().try_for_each(|job| handed(shadow, namespace, &request, job))
}

fn handed(shadow: &mut Shadow, namespace: usize, request: &LeaseJobs, job: &Delivery) -> Check {
    let key = (namespace, job.id);
    let is_new = shadow.note_token(job.token, key, request.ask.is_some())?;
    let (retried, now) = (shadow.may_be_retried(key), shadow.now);
    let (waits_no_longer, moved) =
        (shadow.may_be(key, Many::Retried), shadow.may_be(key, Many::Moved));
    let Some(told) = shadow.job(key) else {
        return Err(format!("job {} was handed over, but nobody enqueued it", job.id));
    };
    if let Some(outcome) = told.outcome {
        return Err(format!("job {} is {outcome:?} and was handed over again", job.id));
    }
    if job.attempt > job.max_attempts {
        return Err(format!("job {}: attempt {} of {}", job.id, job.attempt, job.max_attempts));
    }
    let same_kind = (&job.kind, job.version) == (&told.new.kind, told.new.version);
    if job.args != told.new.args || (job.queue != told.queue && !moved) || !same_kind {
        return Err(format!("job {} was handed over as another: {job:?}", job.id));
    }
    checkpoint::handed(told, job)?;
    let wanted = request.kinds.as_ref().is_none_or(|kinds| {
        kinds.iter().any(|range| range.kind == job.kind && range.holds(job.version))
    });
    if !wanted || !request.queues.iter().any(|pattern| pattern.matches(&job.queue)) {
        return Err(format!("job {} of {} was not asked for", job.id, job.queue));
    }
    // A repeated turn may get what was granted before the pause, and no dead job stays paused.
    if is_new && told.paused && !retried && request.ask.is_none() {
        return Err(format!("job {} is paused and was handed over", job.id));
    }
    let (gates, tags) = (told.new.gates.clone(), told.new.tags.clone());
    if let Some(at) = told.not_before.take_if(|_| is_new)
        && now < at
        && !waits_no_longer
    {
        return Err(format!("job {} was moved to {at} and was handed over at {now}", job.id));
    }
    if is_new && request.ask.is_none() {
        shadow.gates.check(namespace, (job, &gates), now)?;
        shadow.holds.check(namespace, job.id, &tags)?;
    }
    let Some(told) = shadow.job(key) else { return Ok(()) };
    if is_new {
        let twice = told.grants.values().any(|granted| !granted.given_back);
        if told.new.at_most_once && twice && !retried {
            return Err(format!("job {} is to run at most once and was handed over twice", job.id));
        }
        let by = (request.worker.clone(), request.session.clone(), request.ask);
        let given_back = shadow.passed.iter().any(|said| gives_back(said, &by));
        if let Some(told) = shadow.job(key) {
            told.grants.insert(job.token, Granted { given_back, by, ..Granted::default() });
        }
    }
    Ok(())
}

/// The server gives these back: their worker went away before the answer.
pub(crate) fn given_back(shadow: &mut Shadow, namespace: usize, jobs: &[Delivery]) {
    for job in jobs {
        let told = shadow.job((namespace, job.id));
        if let Some(granted) = told.and_then(|told| told.grants.get_mut(&job.token)) {
            granted.given_back = true;
        }
    }
}

/// Somebody was told that the job is not there any more.
pub(crate) fn removed(shadow: &mut Shadow, namespace: usize, id: longshore_engine::JobId) -> Check {
    shadow.note_outcome((namespace, id), Outcome::Removed)
}
