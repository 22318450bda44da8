//! Changing all jobs that a filter means: retry, cancel, move, remove, another priority. They are
//! walked by their ids, a bounded number in a slice, so each is met once; what is done with one is
//! what the command for a single job does.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::{Operation, OperationState};
use crate::answer::JobState;
use crate::bounds::check_name;
use crate::ids::{JobId, NamespaceId, Place, TimeMs};
use crate::job::{Job, JobFilter, Lease, Phase};
use crate::map::Reader;
use crate::moment::Moment;
use crate::queueing::LiveLease;
use crate::record::{Record, Upkeep};
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::{Wire, wire_enum, wire_struct};

/// Queues of a namespace whose jobs are summed up when an operation begins: about a millisecond.
const QUEUES_SUMMED_MAX: usize = 20_000;

wire_enum! {
    /// What is done with each job.
    pub enum JobAction {
        /// A dead one starts again, a retrying one waits no longer.
        1 => Retry,
        /// One that has not ended is called off; a running one is asked to stop.
        2 => Cancel {
            /// End a run at once, without asking its worker.
            force: bool = 1,
        },
        /// One that waits goes to another queue.
        3 => Move {
            /// Which.
            queue: String,
        },
        /// A dead one, or one that waits, is removed without an outcome.
        4 => Remove,
        /// One that waits has another priority.
        5 => SetPriority {
            /// 0 to 255, the highest first.
            priority: u8,
        },
    }
}

impl JobAction {
    /// The states in which a job can be changed so.
    pub fn states(&self) -> &'static [JobState] {
        use JobState::{Dead, Ready, Retrying, Running, Scheduled};
        match self {
            Self::Retry => &[Retrying, Dead],
            Self::Cancel { .. } => &[Scheduled, Ready, Running, Retrying],
            Self::Move { .. } | Self::SetPriority { .. } => &[Scheduled, Ready, Retrying],
            Self::Remove => &[Scheduled, Ready, Retrying, Dead],
        }
    }
}

wire_struct! {
    /// Which jobs are changed, and how.
    pub struct JobsChange {
        /// Which.
        pub filter: JobFilter,
        /// How.
        pub action: JobAction,
        /// So many of them at most.
        pub limit: Option<u64> = 1,
    }
}

/// What becomes of a job that is meant.
enum Made {
    Changed(Record),
    /// It stays as it is.
    Kept(Rejection),
}

impl Made {
    fn moved(fact: Upkeep) -> Self {
        Self::Changed(Record::Upkeep { fact: Box::new(fact) })
    }
}

/// A slice that is being put together.
struct Slice {
    records: Vec<Record>,
    kept: u64,
    kept_why: Option<String>,
    /// Jobs that take a new order of entry.
    placed: u64,
    /// Jobs that enter the queue to which they are moved.
    entered: u64,
    /// Unique keys that jobs of this slice take up again.
    taken: BTreeMap<Vec<u8>, JobId>,
}

impl JobsChange {
    /// The change as it is recorded. What nobody names a state for is done with dead jobs where it
    /// loses them: those that wait are removed only by whoever says so.
    #[must_use]
    pub fn normal(mut self) -> Self {
        if self.action == JobAction::Remove && self.filter.state.is_none() {
            self.filter.state = Some(JobState::Dead);
        }
        self
    }

    /// Whether a job is to be changed: the filter means it, and it is not changed already.
    pub(crate) fn means(
        &self,
        reader: &dyn Reader,
        (job, lease): (&Job, Option<&Lease>),
        now: TimeMs,
    ) -> bool {
        let state = JobState::of(job, lease.is_some(), now);
        let changes = match &self.action {
            JobAction::Retry | JobAction::Remove => true,
            JobAction::Cancel { force } => {
                *force || lease.is_none_or(|lease| !lease.cancel_requested)
            }
            JobAction::Move { queue } => job.queue != *queue,
            JobAction::SetPriority { priority } => job.options.priority != *priority,
        };
        changes
            && self.action.states().contains(&state)
            && self.filter.takes(reader, (job, lease.is_some()), now)
    }
}

impl State {
    /// Refuses a change that no job can be meant by, or that cannot be.
    pub(super) fn check_jobs_change(
        &self,
        ns: NamespaceId,
        change: &JobsChange,
    ) -> Result<(), Rejection> {
        change.filter.check(&self.limits)?;
        let able = change.action.states();
        if let Some(state) = change.filter.state.filter(|state| !able.contains(state)) {
            let words: Vec<&str> = able.iter().map(|state| state.name()).collect();
            let (value, allowed) = (state.name().to_owned(), words.join(", "));
            return Err(Rejection::ValueRefused { field: "state", value, allowed });
        }
        if let Some(queue) = &change.filter.queue {
            self.check_jobs_queue(ns, queue)?;
        }
        let JobAction::Move { queue: to } = &change.action else { return Ok(()) };
        check_name(&self.limits, "to_queue", to)?;
        if change.filter.queue.as_ref() == Some(to) {
            let (value, allowed) = (to.clone(), "another queue".to_owned());
            return Err(Rejection::ValueRefused { field: "to_queue", value, allowed });
        }
        self.check_jobs_queue(ns, to)
    }

    fn check_jobs_queue(&self, ns: NamespaceId, name: &str) -> Result<(), Rejection> {
        if self.queues.named(ns, name).is_none() {
            return Err(Rejection::QueueUnknown { queue: name.to_owned() });
        }
        self.check_holds_jobs(ns, name)
    }

    /// How many jobs a change could be about at most.
    pub(super) fn jobs_change_candidates(&self, ns: NamespaceId, filter: &JobFilter) -> u64 {
        let dead_only = filter.state == Some(JobState::Dead);
        let of_queue = |queue: &crate::queue::Queue| {
            let counts = &queue.counts;
            if dead_only { counts.dead } else { counts.backlog() + counts.dead }
        };
        match &filter.queue {
            Some(name) => self.queues.named(ns, name).map_or(0, of_queue),
            None if dead_only => self.jobs.dead_of(ns) as u64,
            None => self.queues.after(ns, None).take(QUEUES_SUMMED_MAX).map(of_queue).sum(),
        }
    }

    /// The next slice of a change. It looks at so many jobs, args that are searched included.
    pub(super) fn decide_jobs_slice(
        &self,
        operation: &Operation,
        change: &JobsChange,
        moment: Moment,
    ) -> Vec<Record> {
        let ns = operation.namespace;
        let filter = &change.filter;
        let mut next = operation.clone();
        let mut slice = Slice::new();
        let mut left = self.limits.slice_items_max;
        let wanted = change.limit.map_or(u64::MAX, |limit| limit - operation.changed.min(limit));
        let enough = |slice: &Slice| slice.records.len() as u64 >= wanted;
        let mut ended = true;
        if let Some((from, to)) = self.jobs_range(ns, filter) {
            let from = operation.cursor.as_deref().unwrap_or(&from).to_vec();
            self.scan(&from, &to, &mut |key, value| {
                if left == 0 || enough(&slice) {
                    ended = false;
                    return ControlFlow::Break(());
                }
                next.cursor = Some(keys::after(key).into());
                if next.first.is_none() && key.first() == Some(&keys::JOB) {
                    next.first = Some(Bytes::copy_from_slice(key));
                }
                let Some(job) = self.job_at(ns, key, value) else {
                    left -= 1;
                    return ControlFlow::Continue(());
                };
                left = left.saturating_sub(filter.looks(&job));
                // What has ended other than dead is an outcome, and none of the candidates.
                let counts = job.phase.is_unfinished() || matches!(job.phase, Phase::Dead { .. });
                let of_queue = filter.queue.as_ref().is_none_or(|queue| job.queue == *queue);
                next.examined += u64::from(counts && of_queue);
                let lease = self.leases.get(ns, job.id).map(LiveLease::lease);
                if operation.was_there(&job) && change.means(self, (&job, lease), moment.at) {
                    let made = self.change_job(ns, change, &job, &mut slice);
                    slice.add(made);
                }
                ControlFlow::Continue(())
            });
        }
        next.changed += slice.records.len() as u64;
        next.kept += slice.kept;
        next.kept_why = next.kept_why.or_else(|| slice.kept_why.take());
        if ended || enough(&slice) {
            next.state = OperationState::Finished;
            next.ended_at = Some(moment.at);
            next.cursor = None;
        }
        slice.records.push(Record::OperationChanged { operation: Box::new(next) });
        slice.records
    }

    fn jobs_range(&self, ns: NamespaceId, filter: &JobFilter) -> Option<(Vec<u8>, Vec<u8>)> {
        let index = filter.index();
        let known = filter.queue.as_ref().map(|name| self.queues.named(ns, name));
        let key = keys::Key::new(index).namespace(ns);
        let key = match known {
            Some(None) => return None,
            Some(Some(queue)) if index == keys::DEAD => key.u32(queue.id.0),
            _ => key,
        };
        let prefix = key.done();
        let to = keys::after_prefix(&prefix);
        Some((prefix, to))
    }

    /// The job that an entry of the index is about. What is only looked at is not kept at hand.
    fn job_at(&self, ns: NamespaceId, key: &[u8], value: &Bytes) -> Option<std::sync::Arc<Job>> {
        if key.first() != Some(&keys::JOB) {
            return self.job(ns, keys::id_at(key, key.len().checked_sub(16)?)?);
        }
        let job = Job::from_bytes(value);
        Some(job.unwrap_or_else(|error| panic!("key {key:02x?} in the state: {error}")).into())
    }

    /// What becomes of a job that is to be changed.
    fn change_job(
        &self,
        namespace: NamespaceId,
        change: &JobsChange,
        job: &Job,
        slice: &mut Slice,
    ) -> Made {
        let id = job.id;
        match &change.action {
            JobAction::Retry => self.retry_one(namespace, job, slice),
            JobAction::Cancel { force } => match self.decide_cancel(namespace, id, *force) {
                Ok(record) => Made::Changed(record.expect("it was not asked before")),
                Err(rejection) => Made::Kept(rejection),
            },
            JobAction::Move { queue } => match self.check_takes_one(namespace, queue, slice) {
                Ok(()) => {
                    slice.entered += 1;
                    let (queue, place) = (Some(queue.clone()), Some(self.next_place(slice)));
                    Made::moved(Upkeep::JobMoved { namespace, id, queue, priority: None, place })
                }
                Err(rejection) => Made::Kept(rejection),
            },
            JobAction::Remove => Made::Changed(Record::JobRemoved { namespace, id }),
            JobAction::SetPriority { priority } => {
                let priority = Some(*priority);
                Made::moved(Upkeep::JobMoved { namespace, id, queue: None, priority, place: None })
            }
        }
    }

    /// The order of entry of the next job of the slice that enters.
    fn next_place(&self, slice: &mut Slice) -> Place {
        slice.placed += 1;
        Place(self.meta.next_place.0 + slice.placed - 1)
    }

    fn retry_one(&self, namespace: NamespaceId, job: &Job, slice: &mut Slice) -> Made {
        let id = job.id;
        if !matches!(job.phase, Phase::Dead { .. }) {
            return Made::Changed(Record::JobRetried { namespace, id, place: None });
        }
        if let Err(rejection) = self.check_unique_free(namespace, job) {
            return Made::Kept(rejection);
        }
        if let Some(lock) = &job.options.unique {
            let holder = *slice.taken.entry(lock.place(namespace)).or_insert(id);
            if holder != id {
                return Made::Kept(Rejection::UniqueTaken { holder });
            }
        }
        let place = Some(self.next_place(slice));
        Made::Changed(Record::JobRetried { namespace, id, place })
    }

    /// Whether a queue takes one more job behind those of the slice.
    fn check_takes_one(&self, ns: NamespaceId, name: &str, slice: &Slice) -> Result<(), Rejection> {
        self.check_jobs_queue(ns, name)?;
        let Some(queue) = self.queues.named(ns, name) else { return Ok(()) };
        let length = queue.counts.backlog() + slice.entered;
        match queue.settings.max_length.filter(|max_length| length >= *max_length) {
            Some(max_length) => {
                Err(Rejection::QueueFull { queue: name.to_owned(), length, max_length })
            }
            None => Ok(()),
        }
    }
}

impl Slice {
    fn new() -> Self {
        Self {
            records: Vec::new(),
            kept: 0,
            kept_why: None,
            placed: 0,
            entered: 0,
            taken: BTreeMap::new(),
        }
    }

    fn add(&mut self, made: Made) {
        match made {
            Made::Changed(record) => self.records.push(record),
            Made::Kept(rejection) => {
                self.kept += 1;
                self.kept_why.get_or_insert_with(|| rejection.to_string());
            }
        }
    }
}
