//! Operations as they are told.

use longshore_engine::{
    JobAction, JobFilter, MoveTo, Operation, OperationKind, OperationState, TimeMs,
};

use super::view::{instant, state};
use crate::api::{JobFilterBody, OperationRecord, OperationStateText};

/// An operation.
pub(crate) fn operation(operation: &Operation) -> OperationRecord {
    let state = match operation.state {
        OperationState::Running => OperationStateText::Running,
        OperationState::Finished => OperationStateText::Finished,
        OperationState::Cancelled => OperationStateText::Cancelled,
    };
    OperationRecord {
        id: Some(operation.id.to_string()),
        state,
        candidates: operation.candidates,
        examined: operation.examined,
        changed: operation.changed,
        kept: Some(operation.kept).filter(|kept| *kept > 0),
        kept_why: operation.kept_why.clone(),
        progress: operation.progress(),
        started_at: Some(instant(operation.started_at)),
        ended_at: operation.ended_at.map(instant),
        ..of_kind(&operation.kind)
    }
}

/// An operation that is only counted.
pub(crate) fn dry_run(
    kind: &OperationKind,
    candidates: u64,
    examined: u64,
    matched: u64,
) -> OperationRecord {
    OperationRecord { candidates, examined, changed: matched, ..of_kind(kind) }
}

/// What an operation is to do.
fn of_kind(kind: &OperationKind) -> OperationRecord {
    let (name, queue, only, before) = words(kind);
    let (to_queue, to_exchange) = moved_to(kind);
    let change = match kind {
        OperationKind::ChangeJobs { change } => Some(&**change),
        _ => None,
    };
    let action = change.map(|change| &change.action);
    let priority = match action {
        Some(JobAction::SetPriority { priority }) => Some(*priority),
        _ => None,
    };
    OperationRecord {
        id: None,
        operation: name.to_owned(),
        queue,
        kind: only,
        before: before.map(instant),
        filter: change.map(|change| filter(&change.filter)),
        limit: kind.limit(),
        state: OperationStateText::DryRun,
        candidates: 0,
        examined: 0,
        changed: 0,
        to_queue,
        to_exchange,
        priority,
        force: matches!(action, Some(JobAction::Cancel { force: true })),
        kept: None,
        kept_why: None,
        progress: 0.0,
        started_at: None,
        ended_at: None,
    }
}

type Words = (&'static str, Option<String>, Option<String>, Option<TimeMs>);

fn words(kind: &OperationKind) -> Words {
    match kind {
        OperationKind::PurgeQueue { queue, kind, before, .. } => {
            ("purge_queue", Some(queue.clone()), kind.clone(), *before)
        }
        OperationKind::RetryDead { queue, kind, before, .. } => {
            ("retry_dead", queue.clone(), kind.clone(), *before)
        }
        OperationKind::PurgeDead { queue, kind, before, .. } => {
            ("purge_dead", queue.clone(), kind.clone(), *before)
        }
        OperationKind::DeleteQueue { queue } => ("delete_queue", Some(queue.clone()), None, None),
        OperationKind::MoveMessages { moving } => {
            ("move_messages", Some(moving.queue.clone()), None, None)
        }
        OperationKind::ChangeJobs { change } => {
            let name = match &change.action {
                JobAction::Retry => "retry_jobs",
                JobAction::Cancel { .. } => "cancel_jobs",
                JobAction::Move { .. } => "move_jobs",
                JobAction::Remove => "remove_jobs",
                JobAction::SetPriority { .. } => "set_priority",
            };
            let of = &change.filter;
            (name, of.queue.clone(), of.kind.clone(), of.before)
        }
    }
}

fn filter(of: &JobFilter) -> JobFilterBody {
    JobFilterBody {
        queue: of.queue.clone(),
        state: of.state.map(state),
        kind: of.kind.clone(),
        tag: of.tag.clone(),
        ordering_key: of.ordering_key.clone(),
        tenant: of.tenant.clone(),
        error: of.error.clone(),
        text: of.text.clone(),
        older_than: None,
        newer_than: None,
        before: of.before.map(instant),
        since: of.since.map(instant),
    }
}

/// The queue and the exchange that an operation moves messages or jobs to.
fn moved_to(kind: &OperationKind) -> (Option<String>, Option<String>) {
    let moving = match kind {
        OperationKind::MoveMessages { moving } => moving,
        OperationKind::ChangeJobs { change } => {
            return match &change.action {
                JobAction::Move { queue } => (Some(queue.clone()), None),
                _ => (None, None),
            };
        }
        _ => return (None, None),
    };
    match &moving.to {
        MoveTo::Origin => (None, None),
        MoveTo::Queue { queue } => (Some(queue.clone()), None),
        MoveTo::Exchange { exchange, .. } => (None, Some(exchange.clone())),
    }
}
