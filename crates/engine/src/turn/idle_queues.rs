//! Queues that nobody uses: without jobs and settings of their own, and nothing enqueued for as
//! long as the limit says. They are looked at a slice per tick. Since when a queue is empty is
//! volatile: after a start the time begins anew.

use super::Turn;
use crate::ids::{MonoMs, QueueId};
use crate::message::Destination;
use crate::moment::Moment;
use crate::queue::{Queue, QueueSettings};
use crate::record::Record;
use crate::state::Empty;

/// How often all queues are looked at, in milliseconds: this part of the limit, within bounds.
const ROUNDS: u64 = 8;
const ROUND_MS: (u64, u64) = (1_000, 60_000);

/// How far the round is.
#[derive(Debug, Default)]
pub(super) struct IdleQueues {
    /// The last queue that the present round looked at.
    last: Option<QueueId>,
    /// When to look again.
    next_look: MonoMs,
}

fn is_empty(queue: &Queue) -> bool {
    let counts = &queue.counts;
    counts.backlog() + counts.dead == 0 && queue.settings == QueueSettings::DEFAULT
}

impl Turn {
    /// When queues are to be looked at next, where that is wanted and there are any.
    pub(super) fn next_look_at_queues(&self) -> Option<MonoMs> {
        let wanted = self.state.limits.queue_idle_ms.is_some() && !self.stopping;
        (wanted && self.state.queues.len() > 0).then_some(self.idle_queues.next_look)
    }

    /// Removes what is empty and was not used for long, of a slice of the queues.
    pub(super) fn forget_idle_queues(&mut self, moment: Moment) {
        let Some(idle_ms) = self.state.limits.queue_idle_ms else { return };
        if self.next_look_at_queues().is_none_or(|at| at > moment.mono) {
            return;
        }
        let most = self.state.limits.slice_items_max;
        let queues = self.state.queues.numbered_after(self.idle_queues.last).take(most);
        let looked: Vec<_> = queues
            .map(|(queue, empty)| {
                let enqueued = queue.counts.enqueued_total;
                let before = empty.filter(|empty| empty.enqueued == enqueued);
                let since = before.map_or(moment.mono, |empty| empty.since);
                (queue.id, is_empty(queue).then_some(Empty { since, enqueued }))
            })
            .collect();
        let whole = looked.len() < most;
        self.idle_queues.last = looked.last().filter(|_| !whole).map(|(id, _)| *id);
        if whole {
            let every_ms = (idle_ms / ROUNDS).clamp(ROUND_MS.0, ROUND_MS.1);
            self.idle_queues.next_look = moment.mono.plus(every_ms);
        }
        for (id, empty) in looked {
            let idle = empty.is_some_and(|empty| empty.since.plus(idle_ms) <= moment.mono);
            let bound = |queue: &Queue| {
                self.state.is_bound(queue.namespace, Destination::Queue { id: queue.id })
            };
            if idle && !self.state.queues.get(id).is_some_and(bound) {
                self.record(Record::QueueDeleted { id });
            } else {
                self.state.queues.set_empty(id, empty);
            }
        }
    }
}
