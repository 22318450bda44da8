//! Operations that change all jobs that a filter means, as the journal tells them: however often
//! the server was killed, each does one thing, with each job once, and its counts are what it did.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{
    Entry, JobAction, JobId, Operation, OperationId, OperationKind, OperationState, Record, Upkeep,
};

use super::Check;

/// How keys of operations begin, as the engine's catalogue of keys has them.
pub(crate) const OPERATION_KEY_FIRST: u8 = 19;

/// What was seen of an operation.
#[derive(Default)]
struct Seen {
    jobs: BTreeSet<JobId>,
    ended: bool,
}

/// Checks all entries that the journal called durable, in their order.
pub(crate) fn check(entries: &[Bytes]) -> Check {
    let mut all: BTreeMap<OperationId, Seen> = BTreeMap::new();
    for entry in entries {
        let entry = Entry::from_bytes(entry).map_err(|error| error.to_string())?;
        for (index, record) in entry.records.iter().enumerate() {
            let Record::OperationChanged { operation } = record else { continue };
            let OperationKind::ChangeJobs { change } = &operation.kind else { continue };
            let seen = all.entry(operation.id).or_default();
            let before = entry.records.get(..index).unwrap_or_default();
            check_slice(seen, operation, &change.action, before)?;
        }
    }
    Ok(())
}

/// What a slice did stands right before how far the operation is then.
fn check_slice(
    seen: &mut Seen,
    operation: &Operation,
    action: &JobAction,
    before: &[Record],
) -> Check {
    let id = operation.id;
    if seen.ended {
        return Err(format!("operation {id} had ended and went on"));
    }
    seen.ended = operation.state != OperationState::Running;
    let earlier = seen.jobs.len() as u64;
    let Some(made) = operation.changed.checked_sub(earlier) else {
        return Err(format!("operation {id} counts {} of {earlier} changes", operation.changed));
    };
    let from = before.len().checked_sub(made as usize);
    let Some(records) = from.and_then(|from| before.get(from..)) else {
        return Err(format!("operation {id} counts {made} changes that it did not make"));
    };
    for record in records {
        let Some(job) = job_of(action, record) else {
            return Err(format!("operation {id} is to do {action:?} and did {record:?}"));
        };
        if !seen.jobs.insert(job) {
            return Err(format!("operation {id} changed job {job} twice"));
        }
    }
    Ok(())
}

/// The job that a record is about, where it is what the action does.
fn job_of(action: &JobAction, record: &Record) -> Option<JobId> {
    match (action, record) {
        (JobAction::Retry, Record::JobRetried { id, .. })
        | (JobAction::Cancel { .. }, Record::JobCancelled { id, .. })
        | (JobAction::Cancel { force: false }, Record::CancelRequested { id, .. })
        | (JobAction::Remove, Record::JobRemoved { id, .. }) => Some(*id),
        (action, Record::Upkeep { fact }) => match (action, &**fact) {
            (
                JobAction::Move { .. },
                Upkeep::JobMoved { id, queue: Some(_), priority: None, .. },
            )
            | (
                JobAction::SetPriority { .. },
                Upkeep::JobMoved { id, queue: None, priority: Some(_), .. },
            ) => Some(*id),
            _ => None,
        },
        _ => None,
    }
}
