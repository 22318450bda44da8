//! Figures of a shard for metrics.

use super::Turn;
use super::handle::LOOKS_MAX;
use crate::Position;
use crate::answer::{NamespaceView, QueueView};
use crate::ids::QueueId;
use crate::map::OrderedMap;
use crate::moment::Clock;

/// A queue and its namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStats {
    /// The name of its namespace.
    pub namespace: String,
    /// The queue.
    pub queue: QueueView,
}

/// Figures of a shard at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardStats {
    /// The last entry decided.
    pub position: Position,
    /// The last entry known to be durable.
    pub durable: Position,
    /// Jobs that run.
    pub leases: u64,
    /// Requests that wait, and streams that take jobs as they come.
    pub waiting_requests: u64,
    /// Sessions remembered.
    pub sessions: u64,
    /// Workers that asked lately.
    pub consumers: u64,
    /// Queues in all.
    pub queues_total: u64,
    /// Queues, in the order of their ids.
    pub queues: Vec<QueueStats>,
    /// The last one of them, where there are more.
    pub more_after: Option<QueueId>,
    /// Every namespace, with the first of the queues.
    pub namespaces: Vec<NamespaceView>,
}

impl<M: OrderedMap> Turn<M> {
    /// Figures now, of all namespaces and of at most `limit` queues. What is summed up has to be
    /// complete: ask again with `after` until there are no more.
    pub fn stats(&self, clock: Clock, after: Option<QueueId>, limit: usize) -> ShardStats {
        let now = self.time.now(clock);
        let namespaces = self.state.namespaces.values().filter(|slot| !slot.namespace.deleted);
        let namespaces = namespaces.take(if after.is_none() { usize::MAX } else { 0 });
        let mut page = self.state.queues.all_after(after);
        let shown: Vec<_> = page.by_ref().take(limit).collect();
        let more = page.next().is_some();
        let mut looks = LOOKS_MAX;
        let queue = |queue: &crate::queue::Queue| {
            let slot = self.state.namespaces.get(&queue.namespace);
            QueueStats {
                namespace: slot.map(|slot| slot.namespace.name.clone()).unwrap_or_default(),
                queue: self.queue_view(queue, now, &mut looks),
            }
        };
        ShardStats {
            position: self.position,
            durable: self.durable,
            leases: self.state.leases.len() as u64,
            waiting_requests: (self.waiters.len() + self.consumers.stream_count()) as u64,
            sessions: self.state.sessions.len() as u64,
            consumers: self.demand.len() as u64,
            queues_total: self.state.queues.len() as u64,
            more_after: shown.last().filter(|_| more).map(|queue| queue.id),
            queues: shown.into_iter().map(queue).collect(),
            namespaces: namespaces.map(|slot| self.state.namespace_view(slot)).collect(),
        }
    }
}
