//! What touches many jobs at once.

use longshore_engine::{Command, OperationId, OperationKind};

use crate::random::Random;
use crate::workload::shadow::Shadow;
use crate::workload::{KINDS, QUEUES};

pub(crate) fn sample(random: &mut Random) -> Command {
    let queue = (*random.pick(&QUEUES)).to_owned();
    let kind = random.maybe(30, |random| (*random.pick(&KINDS)).to_owned());
    let some_queue = random.maybe(60, |_| queue.clone());
    let limit = random.maybe(30, |random| 1 + random.below(5));
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
    }
}
