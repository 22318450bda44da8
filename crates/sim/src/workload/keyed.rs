//! Commands with keys: whoever sends one again, with other jobs even, is told of those of the
//! first, and no others are there, whatever happens to the server between the two.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_engine::{
    Answer, Command, CommandKey, EnqueueJobs, JobId, KeyedCommand, NewJob, Render, TimeMs,
};

use super::shadow::Shadow;
use super::{Check, QUEUES, ops};
use crate::map::SimTree;
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const JOB_KEY_FIRST: u8 = 5;
pub(crate) const ANSWER_KEY_FIRST: u8 = 212;
/// So few that they come again soon.
const KEYS: u64 = 6;
/// A key comes again within half of the time for which it is kept.
const SPAN_MS: u64 = 12 * 60 * 60 * 1000;

/// Draws a command. Each attempt has a job of its own.
pub(crate) fn sample(random: &mut Random, now: TimeMs) -> Command {
    let number = now.0 / SPAN_MS * KEYS + random.below(KEYS);
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    let mut id = [0xee; 16];
    id[8..].copy_from_slice(&random.next().to_be_bytes());
    let mut job = NewJob::new(JobId(id), "once", "{}");
    job.fingerprint = Some([8; 16]);
    let command =
        Command::EnqueueJobs(EnqueueJobs { queue: QUEUES[0].to_owned(), jobs: vec![job] });
    let render = Render::new(|answer| match answer {
        Answer::Enqueued(jobs) => {
            jobs.first().map_or_else(Bytes::new, |one| Bytes::copy_from_slice(&one.id.0))
        }
        _ => Bytes::new(),
    });
    let key = CommandKey { owner: [1; 16], key, content: [2; 16] };
    Command::Keyed(Box::new(KeyedCommand { key, command, render }))
}

/// What is known of one key.
#[derive(Debug, Default)]
struct Known {
    /// The jobs of all attempts.
    tried: BTreeSet<JobId>,
    /// That of which somebody was told.
    told: Option<JobId>,
}

/// What is known of keys, by namespace.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys(BTreeMap<(usize, [u8; 32]), Known>);

fn jobs_of(keyed: &KeyedCommand) -> Option<&EnqueueJobs> {
    match &keyed.command {
        Command::EnqueueJobs(enqueue) => Some(enqueue),
        _ => None,
    }
}

/// A client sends it.
pub(crate) fn tried(shadow: &mut Shadow, namespace: usize, keyed: &KeyedCommand) {
    let Some(enqueue) = jobs_of(keyed) else { return };
    ops::enqueue::tried(shadow, namespace, enqueue);
    let known = shadow.keys.0.entry((namespace, keyed.key.key)).or_default();
    known.tried.extend(enqueue.jobs.iter().map(|job| job.id));
}

/// The server said this.
pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    keyed: &KeyedCommand,
    answer: &Answer,
) -> Check {
    let Some(enqueue) = jobs_of(keyed) else { return Ok(()) };
    let id = match answer {
        Answer::Enqueued(jobs) => {
            ops::enqueue::told(shadow, namespace, enqueue, answer)?;
            jobs.first().map(|one| one.id)
        }
        Answer::Kept(kept) => {
            let id = kept[..].try_into().map(JobId).ok();
            if let Some(job) = id.and_then(|id| shadow.job((namespace, id))) {
                job.acked = true;
            }
            id
        }
        _ => return ops::enqueue::told(shadow, namespace, enqueue, answer),
    };
    let known = shadow.keys.0.entry((namespace, keyed.key.key)).or_default();
    let Some(id) = id.filter(|id| known.tried.contains(id)) else {
        return Err(format!("a key was answered with {answer:?}, which nobody asked for"));
    };
    match known.told.replace(id) {
        Some(before) if before != id => {
            Err(format!("a key was carried out twice: job {before}, then {id}"))
        }
        _ => Ok(()),
    }
}

impl KnownKeys {
    /// Of all attempts with a key one at most is there.
    pub(crate) fn check(&self, map: &SimTree) -> Check {
        if self.0.is_empty() {
            return Ok(());
        }
        let all = map.entries.range(vec![JOB_KEY_FIRST]..vec![JOB_KEY_FIRST + 1]);
        let ids = all.filter_map(|(key, _)| key.get(5..)?.try_into().map(JobId).ok());
        let ids: BTreeSet<JobId> = ids.collect();
        for known in self.0.values() {
            let there: Vec<_> = known.tried.intersection(&ids).collect();
            if there.len() > 1 {
                return Err(format!("one key has several jobs: {there:?}"));
            }
        }
        Ok(())
    }
}
