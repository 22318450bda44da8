//! What must be true of the locks of unique keys: each is of a job that is there and keeps it, and
//! each job that keeps one has it.

use std::collections::BTreeMap;

use longshore_engine::wire::Wire;
use longshore_engine::{JobId, JobView, UniqueUntil};

use super::Check;
use crate::map::SimTree;

/// The first byte of the keys of locks, as the engine's catalogue of keys has it.
pub(crate) const UNIQUE_KEY_FIRST: u8 = 150;

/// Whether the job keeps its lock, where that can be told.
fn keeps(view: &JobView) -> Option<bool> {
    let job = &view.job;
    let unfinished = job.phase.is_unfinished();
    match job.options.unique.as_ref()?.until {
        UniqueUntil::Started if !unfinished || view.lease.is_some() => Some(false),
        // It may have been handed out since it was dead.
        UniqueUntil::Started if job.attempt > 0 || !job.ends.is_empty() => None,
        UniqueUntil::Started => (job.losses == 0 && job.last_error.is_none()).then_some(true),
        UniqueUntil::Ended => Some(unfinished),
        UniqueUntil::Forgotten => Some(true),
    }
}

pub(crate) fn check(map: &SimTree, jobs: &[JobView]) -> Check {
    let mut holders = BTreeMap::new();
    for (key, value) in map.entries.range(vec![UNIQUE_KEY_FIRST]..vec![UNIQUE_KEY_FIRST + 1]) {
        let id = JobId::from_bytes(value).map_err(|error| format!("a lock: {error}"))?;
        holders.insert(id, key.get(5..).unwrap_or_default().to_vec());
    }
    for view in jobs {
        let id = view.job.id;
        let Some(lock) = &view.job.options.unique else { continue };
        let since = lock.since.map_or(0, |since| since.0).to_be_bytes();
        let own = [&lock.key[..], &since[..]].concat();
        let held = holders.remove(&id);
        if held.as_ref().is_some_and(|held| *held != own) {
            return Err(format!("job {id} has the lock of another key"));
        }
        if keeps(view).is_some_and(|keeps| keeps != held.is_some()) {
            let has = if held.is_some() { "has" } else { "has not" };
            let state = view.state();
            return Err(format!("job {id} is {state:?} and {has} the lock of its key: {lock:?}"));
        }
    }
    match holders.keys().next() {
        Some(id) => Err(format!("job {id} has the lock of a unique key, and is not there")),
        None => Ok(()),
    }
}
