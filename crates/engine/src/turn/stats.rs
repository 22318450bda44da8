//! Figures of a shard for metrics, bounded in number.

use super::Turn;
use crate::Position;
use crate::answer::{NamespaceView, QueueView};
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
    /// Requests that wait.
    pub waiting_requests: u64,
    /// Sessions remembered.
    pub sessions: u64,
    /// Workers that asked lately.
    pub consumers: u64,
    /// Queues in all.
    pub queues_total: u64,
    /// The queues with the longest backlogs.
    pub queues: Vec<QueueStats>,
    /// The namespaces with the most kept bytes.
    pub namespaces: Vec<NamespaceView>,
}

impl<M: OrderedMap> Turn<M> {
    /// Figures now, of at most `limit` queues and as many namespaces.
    pub fn stats(&self, clock: Clock, limit: usize) -> ShardStats {
        let now = self.time.now(clock);
        let mut queues: Vec<_> = self.state.queues.all().collect();
        queues.sort_by_key(|queue| std::cmp::Reverse(queue.counts.backlog() + queue.counts.dead));
        queues.truncate(limit);
        let mut namespaces: Vec<_> =
            self.state.namespaces.values().filter(|slot| !slot.namespace.deleted).collect();
        namespaces.sort_by_key(|slot| std::cmp::Reverse(slot.kept.outcome_bytes));
        namespaces.truncate(limit);
        let queue = |queue: &&crate::queue::Queue| {
            let slot = self.state.namespaces.get(&queue.namespace);
            QueueStats {
                namespace: slot.map(|slot| slot.namespace.name.clone()).unwrap_or_default(),
                queue: self.queue_view(queue, now),
            }
        };
        ShardStats {
            position: self.position,
            durable: self.durable,
            leases: self.state.leases.len() as u64,
            waiting_requests: self.waiters.len() as u64,
            sessions: self.state.sessions.len() as u64,
            consumers: self.consumers.len() as u64,
            queues_total: self.state.queues.len() as u64,
            queues: queues.iter().map(queue).collect(),
            namespaces: namespaces.iter().map(|slot| self.state.namespace_view(slot)).collect(),
        }
    }
}
