//! One slice of an operation: a bounded number of jobs, and where the next slice begins.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::{Operation, OperationKind, OperationState};
use crate::ids::{JobId, Place, TimeMs};
use crate::job::{Job, Phase};
use crate::moment::Moment;
use crate::queueing::PartId;
use crate::record::Record;
use crate::state::{State, keys};
use crate::wire::Wire;

/// A range of an index whose entries name jobs.
type Range = (Vec<u8>, Vec<u8>);

impl State {
    /// The records of the next slice of some operation, empty where none is under way.
    pub(crate) fn decide_slice(&self, moment: Moment) -> Vec<Record> {
        let next = self.operations.running().next();
        next.map_or_else(Vec::new, |operation| self.slice_of(operation, moment))
    }

    fn slice_of(&self, operation: &Operation, moment: Moment) -> Vec<Record> {
        if let OperationKind::MoveMessages { moving } = &operation.kind {
            return self.decide_moved(operation, moving, moment);
        }
        if let OperationKind::ChangeJobs { change } = &operation.kind {
            return self.decide_jobs_slice(operation, change, moment);
        }
        let mut next = operation.clone();
        let mut records = Vec::new();
        // Unique keys that jobs of this slice take up again.
        let mut taken = BTreeSet::new();
        let mut left = self.limits.slice_items_max;
        let wanted = operation.kind.limit().map(|limit| limit.saturating_sub(operation.changed));
        let enough = |changed: usize| wanted.is_some_and(|wanted| changed as u64 >= wanted);
        let ranges = self.ranges(operation);
        let holds = |(from, to): &Range, at: &[u8]| &from[..] <= at && at < &to[..];
        let cursor = operation.cursor.as_deref();
        let first = cursor.and_then(|at| ranges.iter().position(|range| holds(range, at)));
        for (index, (from, to)) in ranges.iter().enumerate().skip(first.unwrap_or(0)) {
            let resumed = cursor.filter(|_| first == Some(index));
            self.scan(resumed.unwrap_or(from), to, &mut |key, value| {
                if left == 0 || enough(records.len()) {
                    return ControlFlow::Break(());
                }
                left -= 1;
                next.cursor = Some(keys::after(key).into());
                if is_of_a_line(key) {
                    return ControlFlow::Continue(());
                }
                next.examined += 1;
                let id = indexed_job(key, value);
                if let Some(job) = id.and_then(|id| self.job(operation.namespace, id))
                    && let Some(record) = self.affected(operation, &job, records.len() as u64)
                    && self.may_take_unique(operation, &job, &mut taken)
                {
                    records.push(record);
                }
                ControlFlow::Continue(())
            });
        }
        next.changed += records.len() as u64;
        if left > 0 || enough(records.len()) {
            next.state = OperationState::Finished;
            next.ended_at = Some(moment.at);
            next.cursor = None;
            records.extend(self.deletion(operation, records.len() as u64));
        }
        records.push(Record::OperationChanged { operation: Box::new(next) });
        records
    }

    /// What the operation reads. What is filed behind an ordering key comes first: removed later,
    /// the job before it would make it come forward to where the operation has been.
    fn ranges(&self, operation: &Operation) -> Vec<Range> {
        let indexes: &[u8] = match &operation.kind {
            OperationKind::PurgeQueue { .. } => {
                &[keys::BLOCKED, keys::LIMITED, keys::LINED, keys::TENANTED, keys::LANE]
            }
            OperationKind::RetryDead { .. } | OperationKind::PurgeDead { .. } => &[keys::DEAD],
            OperationKind::DeleteQueue { .. } => {
                const {
                    &[
                        keys::BLOCKED,
                        keys::LIMITED,
                        keys::LINED,
                        keys::TENANTED,
                        keys::LANE,
                        keys::DEAD,
                    ]
                }
            }
            OperationKind::MoveMessages { .. } | OperationKind::ChangeJobs { .. } => &[],
        };
        let ns = operation.namespace;
        let queue = operation.kind.queue();
        let known = queue.and_then(|name| self.queues.named(ns, name));
        if queue.is_some() && known.is_none() {
            return Vec::new();
        }
        let range = |index: &u8| {
            let key = keys::Key::new(*index).namespace(ns);
            let key = match known {
                Some(queue) => key.u32(queue.id.0),
                None => key,
            };
            let prefix = key.done();
            let end = keys::after_prefix(&prefix);
            (prefix, end)
        };
        indexes.iter().map(range).collect()
    }

    /// What becomes of a job that the slice came to.
    fn affected(&self, operation: &Operation, job: &Job, earlier: u64) -> Option<Record> {
        let (namespace, id) = (operation.namespace, job.id);
        let (kind, before) = operation.kind.filter();
        let since = job.phase.ended_at().unwrap_or(job.enqueued_at);
        if !operation.was_there(job)
            || kind.is_some_and(|kind| kind != job.kind)
            || before.is_some_and(|before| since >= before)
            || self.leases.contains(namespace, id)
        {
            return None;
        }
        match (&operation.kind, &job.phase) {
            (OperationKind::RetryDead { .. }, Phase::Dead { .. }) => {
                let place = Some(Place(self.meta.next_place.0 + earlier));
                Some(Record::JobRetried { namespace, id, place })
            }
            (OperationKind::RetryDead { .. }, _) => None,
            _ => Some(Record::JobRemoved { namespace, id }),
        }
    }

    /// Whether a dead job may start again as far as its unique key goes: one whose key another has
    /// stays where it is.
    fn may_take_unique(
        &self,
        operation: &Operation,
        job: &Job,
        taken: &mut BTreeSet<Vec<u8>>,
    ) -> bool {
        let retries = matches!(operation.kind, OperationKind::RetryDead { .. });
        let Some(lock) = job.options.unique.as_ref().filter(|_| retries) else { return true };
        let ns = operation.namespace;
        self.check_unique_free(ns, job).is_ok() && taken.insert(lock.place(ns))
    }

    /// The end of a queue that its operation emptied.
    fn deletion(&self, operation: &Operation, removed: u64) -> Option<Record> {
        let OperationKind::DeleteQueue { queue } = &operation.kind else { return None };
        let queue = self.queues.named(operation.namespace, queue)?;
        let left = queue.counts.backlog() + queue.counts.dead;
        (left == removed).then_some(Record::QueueDeleted { id: queue.id })
    }
}

/// Whether an entry stands there as the first of its line, where it was met before.
fn is_of_a_line(key: &[u8]) -> bool {
    key.first() == Some(&keys::LANE) && PartId::at(key, 10).is_some_and(PartId::is_lined)
}

impl OperationKind {
    pub(super) fn filter(&self) -> (Option<&str>, Option<TimeMs>) {
        match self {
            Self::PurgeQueue { kind, before, .. }
            | Self::RetryDead { kind, before, .. }
            | Self::PurgeDead { kind, before, .. } => (kind.as_deref(), *before),
            Self::DeleteQueue { .. } | Self::MoveMessages { .. } | Self::ChangeJobs { .. } => {
                (None, None)
            }
        }
    }
}

/// The job that an entry of a lane, of the dead set or behind an ordering key names.
fn indexed_job(key: &[u8], value: &Bytes) -> Option<JobId> {
    match key.first() {
        Some(&keys::DEAD) => keys::id_at(key, key.len().checked_sub(16)?),
        _ => JobId::from_bytes(value).ok(),
    }
}
