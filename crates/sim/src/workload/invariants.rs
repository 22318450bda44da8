//! What must be true of the state between any two groups: it holds only what clients tried, runs
//! one job per ordering key and the first of it, lets no cursor go back, counts no run as an
//! attempt that was interrupted or came farther before it was lost, has what enters with an ack if
//! and only if it has that ack, and its counts and indexes equal its jobs.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::query::{attempts_of, list_jobs};
use longshore_engine::{Cause, Clock, EndKind, JobFilter, JobId, JobState, JobView, Place, Turn};

use super::Check;
use super::ops::{self, checkpoint};
use super::shadow::{Outcome, Shadow, Told};
use super::{gates, holds, limits, relay, slas, tenants, uniques};
use crate::map::SimTree;
use crate::node::NAMESPACES;

/// More than any run has.
const ALL: (usize, usize) = (100_000, 100_000);

/// The jobs of a namespace, all or those in one state.
pub(crate) fn jobs_of(
    map: &SimTree,
    name: &str,
    state: Option<JobState>,
    clock: Clock,
) -> Vec<JobView> {
    let filter = JobFilter { state, ..JobFilter::default() };
    let page = list_jobs(map, name, &filter, None, ALL, clock.wall);
    page.map(|page| page.jobs).unwrap_or_default()
}

/// Checks a state to which nothing was added since its last group.
pub(crate) fn check((turn, map): (&Turn, &SimTree), shadow: &mut Shadow, clock: Clock) -> Check {
    let (mut counted, mut lists) = (BTreeMap::new(), Vec::new());
    let held_back = holds::held_back(map);
    for (namespace, name) in NAMESPACES.iter().enumerate() {
        let jobs = jobs_of(map, name, None, clock);
        let by_id = jobs.iter().map(|view| (view.job.id, view)).collect();
        if !shadow.forgets {
            ops::schedule::check(map, name, &jobs, shadow.disk_was_full)?;
        }
        for view in jobs.iter().filter(|view| view.job.tick.is_none()) {
            check_told(shadow, namespace, view)?;
            check_follow_ups(shadow, namespace, view, &by_id)?;
            check_attempts(shadow, (namespace, name), map, view)?;
        }
        for state in [JobState::Dead, JobState::Running] {
            let ids = |jobs: &[JobView]| -> BTreeSet<JobId> {
                jobs.iter().filter(|view| view.state() == state).map(|view| view.job.id).collect()
            };
            let (found, listed) = (ids(&jobs), ids(&jobs_of(map, name, Some(state), clock)));
            if found != listed {
                let name = state.name();
                return Err(format!("{name} jobs are {found:?}, but the list has {listed:?}"));
            }
        }
        let heads = heads(&jobs)?;
        for view in &jobs {
            count(&mut counted, name, view, (&heads, &held_back));
        }
        lists.push(jobs);
    }
    if let [first, second] = &lists[..] {
        let Shadow { order, jobs, .. } = &mut *shadow;
        order.look(map, [&first[..], &second[..]], jobs, turn.engine_time())?;
    }
    let all: Vec<_> = lists.into_iter().flatten().collect();
    uniques::check(map, &all)?;
    holds::check(map, &all)?;
    shadow.accounts.check(map)?;
    shadow.keys.check(map)?;
    let numbered = by_number(map, all);
    limits::check(map, &numbered)?;
    shadow.limits.check(map, &numbered, turn.engine_time())?;
    shadow.scopes.check(&numbered)?;
    tenants::check(map, &numbered)?;
    slas::check(map)?;
    gates::check(map, &numbered)?;
    shadow.gates.check_open(map)?;
    shadow.gates.check_standing(map, turn.engine_time().max(clock.wall))?;
    check_settings(turn, shadow, clock)?;
    check_counts(turn, clock, &counted)
}

/// The jobs of each namespace, by its number in the keys of its jobs.
fn by_number(map: &SimTree, all: Vec<JobView>) -> Vec<(u32, Vec<JobView>)> {
    const JOB_KEY_FIRST: u8 = 5;
    let mut numbers = BTreeMap::new();
    for (key, _) in map.entries.range(vec![JOB_KEY_FIRST]..vec![JOB_KEY_FIRST + 1]) {
        if let Some((ns, id)) = key.get(1..).and_then(|rest| rest.split_first_chunk::<4>()) {
            numbers.insert(id.to_vec(), u32::from_be_bytes(*ns));
        }
    }
    let mut jobs: BTreeMap<u32, Vec<JobView>> = BTreeMap::new();
    for view in all {
        let number = numbers.get(&view.job.id.0[..]).copied().unwrap_or_default();
        jobs.entry(number).or_default().push(view);
    }
    jobs.into_iter().collect()
}

/// A queue with settings of its own stays, however long nobody uses it.
fn check_settings(turn: &Turn, shadow: &Shadow, clock: Clock) -> Check {
    let queues = turn.stats(clock, None, usize::MAX).queues;
    for (namespace, name, settings) in shadow.set.known() {
        let is_it = |namespace_name: &str, queue: &str| {
            Some(&namespace_name) == NAMESPACES.get(namespace) && queue == name
        };
        let found = queues.iter().find(|it| is_it(&it.namespace, &it.queue.name));
        if found.is_none_or(|found| found.queue.settings != *settings) {
            let found = found.map(|found| &found.queue.settings);
            return Err(format!("queue {name} was set to {settings:?} and is {found:?}"));
        }
    }
    Ok(())
}

fn check_told(shadow: &Shadow, namespace: usize, view: &JobView) -> Check {
    let (id, state) = (view.job.id, view.state());
    let Some(told) = shadow.jobs.get(&(namespace, id)) else {
        return Err(format!("job {id} is {state:?}, but nobody enqueued it"));
    };
    let agrees = match told.outcome {
        None => true,
        Some(Outcome::Succeeded) => state == JobState::Succeeded,
        Some(Outcome::Cancelled) => state == JobState::Cancelled,
        Some(Outcome::Expired) => state == JobState::Expired,
        Some(Outcome::Removed | Outcome::Withdrawn) => false,
    };
    if !agrees {
        return Err(format!("job {id} was {:?} and is {state:?}", told.outcome));
    }
    checkpoint::kept(told, view)
}

/// An attempt that counts is a run that failed, took too long, or was lost before it came farther.
fn check_attempts(
    shadow: &Shadow,
    (namespace, name): (usize, &str),
    map: &SimTree,
    view: &JobView,
) -> Check {
    let job = &view.job;
    let Some(told) = shadow.jobs.get(&(namespace, job.id)) else { return Ok(()) };
    // These die of a loss, whatever they had done.
    if told.new.at_most_once || told.new.max_age_ms.is_some() {
        return Ok(());
    }
    // The run that ended the job has no note, and what is noted under its number did not count.
    let is_open = job.phase.is_unfinished() || view.state() == JobState::Dead;
    let counted = if is_open { job.attempt } else { job.attempt.saturating_sub(1) };
    let notes = attempts_of(map, name, job.id);
    for attempt in 1..=counted {
        let Some(note) = notes.iter().find(|note| note.attempt == attempt) else {
            return Err(format!("attempt {attempt} of job {} counts, and nobody says why", job.id));
        };
        let Some(granted) = told.grants.get(&note.token) else { continue };
        let failed = |end: &EndKind| matches!(end, EndKind::Failed | EndKind::SnoozedOut);
        let ended_otherwise = granted.told.as_ref().is_some_and(|end| !failed(end));
        if ended_otherwise || note.cause == Cause::Lost && granted.moved {
            let (id, cause) = (job.id, &note.cause);
            return Err(format!("attempt {attempt} of job {id} counts as {cause:?}: {granted:?}"));
        }
    }
    Ok(())
}

/// What enters with an ack is there if and only if that ack is.
fn check_follow_ups(
    shadow: &Shadow,
    namespace: usize,
    view: &JobView,
    by_id: &BTreeMap<JobId, &JobView>,
) -> Check {
    let id = view.job.id;
    let Some(told) = shadow.jobs.get(&(namespace, id)) else { return Ok(()) };
    let before = told.follows.and_then(|before| by_id.get(&before));
    if let Some(before) = before.filter(|before| before.state() != JobState::Succeeded) {
        let (before, state) = (before.job.id, before.state());
        return Err(format!("job {id} is there, but {before}, which it follows, is {state:?}"));
    }
    if view.state() != JobState::Succeeded {
        return Ok(());
    }
    let granted = view.job.ends.last().and_then(|end| told.grants.get(&end.token));
    for next in granted.into_iter().flat_map(|granted| &granted.follow_ups) {
        let removed = |told: &Told| told.outcome == Some(Outcome::Removed);
        let key = (namespace, *next);
        let gone = shadow.may_be_missing(key) || shadow.jobs.get(&key).is_some_and(removed);
        if !by_id.contains_key(next) && !gone {
            return Err(format!("job {next} is missing, but {id}, which it follows, succeeded"));
        }
    }
    Ok(())
}

/// The first unfinished job of each ordering key: the only one that may run.
fn heads(jobs: &[JobView]) -> Result<BTreeMap<String, Place>, String> {
    let mut heads: BTreeMap<String, Place> = BTreeMap::new();
    let keyed = |view: &&JobView| view.job.phase.is_unfinished();
    for view in jobs.iter().filter(keyed) {
        if let Some(key) = &view.job.options.ordering_key {
            let place = view.job.place;
            let head = heads.entry(key.clone()).or_insert(place);
            *head = place.min(*head);
        }
    }
    for view in jobs.iter().filter(|view| view.lease.is_some()) {
        let head = view.job.options.ordering_key.as_ref().and_then(|key| heads.get(key));
        if head.is_some_and(|head| *head != view.job.place) {
            return Err(format!("job {} runs before the first of its key", view.job.id));
        }
    }
    Ok(heads)
}

/// Jobs that wait, are held back, run, are dead, by namespace and queue.
type Counted = BTreeMap<(String, String), [u64; 4]>;

fn count(
    counted: &mut Counted,
    name: &str,
    view: &JobView,
    (heads, held_back): (&BTreeMap<String, Place>, &BTreeSet<JobId>),
) {
    let job = &view.job;
    let head = job.options.ordering_key.as_ref().and_then(|key| heads.get(key));
    let index = match view.state() {
        JobState::Running => 2,
        JobState::Dead => 3,
        _ if !job.phase.is_unfinished() => return,
        _ => {
            let behind = head.is_some_and(|head| *head != job.place);
            usize::from(view.paused || behind || held_back.contains(&job.id))
        }
    };
    let counts = counted.entry((name.to_owned(), job.queue.clone())).or_default();
    counts[index] += 1;
}

fn check_counts(turn: &Turn, clock: Clock, counted: &Counted) -> Check {
    let mut known = BTreeSet::new();
    for stats in turn.stats(clock, None, usize::MAX).queues {
        let queue = stats.queue;
        let waiting = queue.ready + queue.scheduled + queue.retrying;
        let found = [waiting, queue.blocked, queue.held + queue.running, queue.dead];
        if stats.namespace == relay::NAMESPACE {
            continue;
        }
        let key = (stats.namespace, queue.name);
        let expected = counted.get(&key).copied().unwrap_or_default();
        if found != expected {
            let name = &key.1;
            return Err(format!("queue {name} counts {found:?}, but its jobs are {expected:?}"));
        }
        known.insert(key);
    }
    match counted.keys().find(|key| !known.contains(key)) {
        Some((_, queue)) => Err(format!("jobs name queue {queue}, which does not exist")),
        None => Ok(()),
    }
}
