//! Enqueueing: ids are never used for two jobs, a named one is sent again after a broken
//! connection.

use bytes::Bytes;
use longshore_engine::{
    Answer, EnqueueJobs, FollowUp, JobId, JobLimit, NewJob, NewUnique, OnConflict, RetryPolicy,
    Start, UniqueUntil,
};

use crate::random::Random;
use crate::workload::gates::GATES;
use crate::workload::holds::TAGS;
use crate::workload::limits;
use crate::workload::shadow::{Shadow, Told};
use crate::workload::tenants::TENANTS;
use crate::workload::{Check, KEYS, KINDS, LIMIT, QUEUES};

pub(crate) fn sample(random: &mut Random, next_id: &mut u64) -> EnqueueJobs {
    let count = if random.percent(70) { 1 } else { 1 + random.below(7) };
    let named = random.percent(70);
    let jobs = (0..count).map(|_| unique_or_not(random, next_id, named)).collect();
    EnqueueJobs { queue: (*random.pick(&QUEUES)).to_owned(), jobs }
}

/// Now and then a unique job. Those of a key have the same args, so that what is replaced can be
/// told from what is lost.
fn unique_or_not(random: &mut Random, next_id: &mut u64, named: bool) -> NewJob {
    let mut new = new_job(random, next_id, named);
    if random.percent(15) {
        let key = random.below(3) as u8;
        new.args = Bytes::from(vec![b'0' + key; if key == 2 { 5000 } else { 10 }]);
        let until = [UniqueUntil::Started, UniqueUntil::Ended, UniqueUntil::Forgotten];
        let ways = [
            OnConflict::Reject,
            OnConflict::Existing,
            OnConflict::Replace { args: true, time: false },
            OnConflict::Throttle,
        ];
        let mut on_conflict = *random.pick(&ways);
        // By a chance of its own, so that runs from before it stay as they were.
        if on_conflict == OnConflict::Existing && Random::new(*next_id ^ 0x6465).percent(50) {
            on_conflict = OnConflict::Debounce;
        }
        let periodic = on_conflict == OnConflict::Throttle || random.percent(30);
        new.unique = Some(NewUnique {
            key: [key; 16],
            period_ms: periodic.then(|| 1000 + random.below(2) * 100_000),
            until: *random.pick(&until),
            on_conflict,
            spans_queues: true,
        });
    }
    new
}

/// The gates that a job names: one or two.
fn gates(random: &mut Random) -> Vec<String> {
    (0..=random.below(2)).map(|_| (*random.pick(&GATES)).to_owned()).collect()
}

pub(crate) fn new_job(random: &mut Random, next_id: &mut u64, named: bool) -> NewJob {
    *next_id += 1;
    let mut id = [0; 16];
    // Spread, so that the order of ids is not that of entry.
    id[..8].copy_from_slice(&next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&next_id.to_be_bytes());
    let length = if random.percent(4) { 5000 } else { random.below(60) };
    let args = Bytes::from(vec![b'0' + random.below(10) as u8; length as usize]);
    let mut new = NewJob::new(JobId(id), *random.pick(&KINDS), args);
    new.fingerprint = named.then_some([7; 16]);
    new.priority = random.maybe(30, |random| random.below(3) as u8);
    new.ordering_key = random.maybe(35, |random| (*random.pick(&KEYS)).to_owned());
    new.at_most_once = random.percent(20);
    new.max_attempts = Some(1 + random.below(4) as u32);
    new.retry = Some(RetryPolicy::Constant { delay_ms: random.below(5000) });
    new.start = random.maybe(25, |random| Start::After(random.below(60_000)));
    new.expiry = random.maybe(8, |random| Start::After(random.below(120_000)));
    new.max_age_ms = random.maybe(8, |random| 1 + random.below(300_000));
    new.timeout_ms = random.maybe(12, |random| 1000 + random.below(60_000));
    new.lease_ms = random.maybe(30, |random| 1000 + random.below(60_000));
    new.limit = random.maybe(25, |random| JobLimit {
        name: LIMIT.to_owned(),
        key: (*random.pick(&KEYS)).to_owned(),
    });
    new.tenant = random.maybe(25, |random| (*random.pick(&TENANTS)).to_owned());
    new.tags =
        random.maybe(20, |random| vec![(*random.pick(&TAGS)).to_owned()]).unwrap_or_default();
    new.gates = random.maybe(20, gates).unwrap_or_default();
    new.retain_ms = random.maybe(8, |random| random.below(60_000));
    // By a chance of its own, so that runs from before it stay as they were.
    let mut own = Random::new(*next_id ^ 0x6361_6c6c);
    if own.percent(15) {
        new.limits = vec![limits::call(&mut own)];
    }
    new
}

/// Jobs that are to enter with an ack. They have a name: what is not answered is told again.
pub(crate) fn follow_ups(random: &mut Random, next_id: &mut u64) -> Vec<FollowUp> {
    let count = if random.percent(75) { 0 } else { 1 + random.below(2) };
    let mut one = |random: &mut Random| FollowUp {
        queue: (*random.pick(&QUEUES)).to_owned(),
        job: new_job(random, next_id, true),
    };
    (0..count).map(|_| one(random)).collect()
}

pub(crate) fn tried(shadow: &mut Shadow, namespace: usize, enqueue: &EnqueueJobs) {
    for new in &enqueue.jobs {
        tried_one(shadow, namespace, &enqueue.queue, new);
        let debounced = |unique: &&NewUnique| unique.on_conflict == OnConflict::Debounce;
        if let Some(unique) = new.unique.as_ref().filter(debounced) {
            may_move(shadow, namespace, unique.key);
        }
    }
}

/// Whichever job has this unique key may start at another time from now on.
fn may_move(shadow: &mut Shadow, namespace: usize, key: [u8; 16]) {
    let of = |told: &&mut Told| told.new.unique.as_ref().is_some_and(|it| it.key == key);
    let all = shadow.jobs.iter_mut().filter(|((of, _), _)| *of == namespace);
    for told in all.map(|(_, told)| told).filter(of) {
        told.not_before = None;
        // Nobody says when it did so for the last time.
        told.moves_untold = u32::MAX / 2;
    }
}

pub(crate) fn tried_one<'a>(
    shadow: &'a mut Shadow,
    namespace: usize,
    queue: &str,
    new: &NewJob,
) -> &'a mut Told {
    let told = shadow.jobs.entry((namespace, new.id)).or_insert_with(|| Told {
        new: new.clone(),
        queue: queue.to_owned(),
        follows: None,
        acked: false,
        tries: 0,
        refusals: 0,
        grants: std::collections::BTreeMap::new(),
        outcome: None,
        cancel_tried: false,
        remove_tried: false,
        retry_tried: false,
        paused: false,
        moves_untold: 0,
        withdrawals_untold: 0,
        not_before: None,
        done_at_least: 0,
        done_at_most: 0,
    });
    told.tries += 1;
    told
}

pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    enqueue: &EnqueueJobs,
    answer: &Answer,
) -> Check {
    match answer {
        Answer::Enqueued(enqueued) => {
            for (new, one) in enqueue.jobs.iter().zip(enqueued) {
                let Some(told) = shadow.job((namespace, one.id)) else {
                    return Err(format!("{} was enqueued, but nobody asked", one.id));
                };
                if one.met.is_some() {
                    let key = |new: &NewJob| new.unique.as_ref().map(|unique| unique.key);
                    if key(&told.new) != key(new) {
                        return Err(format!("{} was taken for {}: another key", one.id, new.id));
                    }
                    if let Some(told) = shadow.job((namespace, new.id)).filter(|_| new.id != one.id)
                    {
                        told.refusals += 1;
                    }
                    continue;
                }
                if told.acked && !one.replayed {
                    return Err(format!("job {} was enqueued twice", one.id));
                }
                told.acked = true;
            }
            Ok(())
        }
        Answer::Rejected(_) => {
            for new in &enqueue.jobs {
                if let Some(told) = shadow.job((namespace, new.id)) {
                    told.refusals += 1;
                }
            }
            Ok(())
        }
        other => Err(format!("enqueueing was answered with {other:?}")),
    }
}
