//! What touches many jobs at once.

use longshore_engine::{Command, JobAction, JobFilter, JobsChange, OperationId, OperationKind};

use crate::random::Random;
use crate::workload::shadow::{Many, Shadow};
use crate::workload::{KINDS, QUEUES};

pub(crate) fn sample(random: &mut Random) -> Command {
    let queue = (*random.pick(&QUEUES)).to_owned();
    let kind = random.maybe(30, |random| (*random.pick(&KINDS)).to_owned());
    let some_queue = random.maybe(60, |_| queue.clone());
    let limit = random.maybe(30, |random| 1 + random.below(5));
    if random.percent(40) {
        let change = Box::new(change(random));
        return Command::StartOperation(OperationKind::ChangeJobs { change });
    }
    match random.below(10) {
        0..4 => Command::StartOperation(OperationKind::RetryDead {
            queue: some_queue,
            kind,
            before: None,
            limit,
        }),
        4 | 5 => Command::StartOperation(OperationKind::PurgeQueue { queue, kind, before: None }),
        6 => Command::StartOperation(OperationKind::PurgeDead {
            queue: Some(queue),
            kind,
            before: None,
            limit,
        }),
        7 => Command::StartOperation(OperationKind::DeleteQueue { queue }),
        8 => Command::CancelOperation { id: OperationId(1 + random.below(8)) },
        _ => Command::GetOperation { id: OperationId(1 + random.below(8)) },
    }
}

/// A change of all jobs that a filter means.
fn change(random: &mut Random) -> JobsChange {
    let queue = |random: &mut Random| (*random.pick(&QUEUES)).to_owned();
    let action = match random.below(6) {
        0 | 1 => JobAction::Retry,
        2 => JobAction::Cancel { force: random.percent(30) },
        3 => JobAction::Move { queue: queue(random) },
        4 => JobAction::Remove,
        _ => JobAction::SetPriority { priority: random.below(10) as u8 },
    };
    let mut filter = JobFilter {
        queue: random.maybe(50, queue),
        state: random.maybe(40, |random| *random.pick(action.states())),
        kind: random.maybe(40, |random| (*random.pick(&KINDS)).to_owned()),
        ..JobFilter::default()
    };
    if matches!(action, JobAction::Remove) && filter.kind.is_none() {
        // Jobs of schedules stay: by them it is told that no slot was lost.
        filter.queue.get_or_insert_with(|| QUEUES[0].to_owned());
    }
    let limit = random.maybe(50, |random| 1 + random.below(5));
    JobsChange { filter, action, limit }.normal()
}

fn change_tried(shadow: &mut Shadow, namespace: usize, change: &JobsChange) {
    let what = match change.action {
        JobAction::Retry => Many::Retried,
        JobAction::Cancel { .. } => Many::Cancelled,
        JobAction::Remove => Many::Removed,
        JobAction::Move { .. } => Many::Moved,
        JobAction::SetPriority { .. } => return,
    };
    shadow.note_many(namespace, what, change.filter.kind.clone());
}

pub(crate) fn tried(shadow: &mut Shadow, namespace: usize, kind: &OperationKind) {
    match kind {
        OperationKind::RetryDead { .. } => shadow.note_retry_of_all(namespace),
        OperationKind::PurgeQueue { queue, .. } | OperationKind::DeleteQueue { queue } => {
            shadow.note_purge(namespace, queue.clone());
            // When it comes to its end nobody is told.
            if matches!(kind, OperationKind::DeleteQueue { .. }) {
                shadow.set.tried(namespace, queue);
            }
        }
        OperationKind::PurgeDead { queue, .. } => {
            let queues = queue.iter().map(String::as_str);
            let all = queue.is_none().then_some(QUEUES).into_iter().flatten();
            queues.chain(all).for_each(|queue| shadow.note_purge(namespace, queue.to_owned()));
        }
        // Of messages nothing is in this shadow.
        OperationKind::MoveMessages { .. } => {}
        OperationKind::ChangeJobs { change } => change_tried(shadow, namespace, change),
    }
}
