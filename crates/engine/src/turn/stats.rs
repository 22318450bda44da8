//! Figures of a shard for metrics.

use super::Turn;
use crate::Position;
use crate::answer::{NamespaceView, QueueView};
use crate::ids::{NamespaceId, QueueId, TimeMs};
use crate::kind::KindView;
use crate::limit::{LIMIT_LOOKS, LimitView};
use crate::looks::Looks;
use crate::moment::Clock;
use crate::queue::GoneTotals;
use crate::schedule::ScheduleTotals;
use crate::sla::{SLA_LOOKS, SlaView};
use crate::state::{Namespace, NamespaceSlot};
use crate::tenant::TenantTotals;
use crate::unique::UniqueConflicts;

/// Limits, and service levels, of which figures are told.
const NAMED_TOLD_MAX: usize = 100;

/// A queue and its namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStats {
    /// The name of its namespace.
    pub namespace: String,
    /// Its number in the shard: the older of two has the lower one.
    pub id: QueueId,
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
    /// What queues and namespaces that are not told any more had counted.
    pub gone: GoneTotals,
    /// What schedules did.
    pub schedules: ScheduleTotals,
    /// Gates, and how many of them are closed.
    pub gates: (u64, u64),
    /// Tags that are held.
    pub holds: u64,
    /// Limits with their namespaces, some of very many; none where a part is told that follows.
    pub limits: Vec<(String, LimitView)>,
    /// Tenants by their namespaces, likewise.
    pub tenants: TenantTotals,
    /// Jobs with a tenant that were handed out, since the start.
    pub tenanted_started: u64,
    /// What requests met whose jobs had another one's key, since the start.
    pub conflicts: UniqueConflicts,
    /// Service levels likewise.
    pub slas: Vec<(String, SlaView)>,
    /// Messages that no queue took when their time came, since the start.
    pub delayed_lost: u64,
    /// Ends of jobs that were to be published and reached nobody, since the start.
    pub outcomes_lost: u64,
    /// Steps of jobs that were to be told in a stream and were not, since the start.
    pub lives_untold: u64,
    /// Jobs that messages were to become which nobody waited for, and that could not be.
    pub jobs_dropped: u64,
    /// Events that such messages were to become, and that their streams did not take.
    pub events_dropped: u64,
    /// Namespaces, in the order of their ids.
    pub namespaces: Vec<NamespaceView>,
    /// Queues, in the order of their ids: none before all namespaces were told.
    pub queues: Vec<QueueStats>,
    /// Versions of kinds of which something waits or runs, some of very many, with their
    /// namespaces; none where a part is told that follows.
    pub kinds: Vec<(String, KindView)>,
    /// What was told last, where there is more.
    pub more_after: Option<StatsCursor>,
}

/// How far the figures of a shard were told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatsCursor {
    /// Namespaces up to this one.
    Namespace(NamespaceId),
    /// All namespaces, and queues up to this one.
    Queue(Option<QueueId>),
}

impl Turn {
    /// Figures now, with at most `limit` namespaces or as many queues. What is summed up has to be
    /// complete: ask again with what `more_after` says until it says nothing.
    pub fn stats(&self, clock: Clock, after: Option<StatsCursor>, limit: usize) -> ShardStats {
        let now = self.time.now(clock);
        let mut stats = ShardStats {
            position: self.position,
            durable: self.durable,
            leases: self.state.leases.len() as u64,
            waiting_requests: (self.waiters.len() + self.consumers.stream_count()) as u64,
            sessions: self.state.sessions.len() as u64,
            consumers: self.demand.len() as u64,
            queues_total: self.state.queues.len() as u64,
            gone: self.state.meta.gone.clone(),
            schedules: self.state.meta.schedules,
            gates: self.state.gating.totals(),
            holds: self.state.holds.total(),
            limits: Vec::new(),
            tenants: self.state.meta.tenants,
            tenanted_started: self.tenanted_started,
            conflicts: self.conflicts,
            slas: Vec::new(),
            delayed_lost: self.lost.delayed_lost,
            outcomes_lost: self.lost.outcomes_lost,
            lives_untold: self.lost.lives_untold,
            jobs_dropped: self.lost.jobs_dropped,
            events_dropped: self.lost.events_dropped,
            namespaces: Vec::new(),
            queues: Vec::new(),
            kinds: Vec::new(),
            more_after: None,
        };
        let after = match after {
            Some(StatsCursor::Queue(after)) => after,
            Some(StatsCursor::Namespace(after)) => {
                self.tell_namespaces(&mut stats, Some(after), limit);
                None
            }
            None => {
                self.tell_named(&mut stats, now);
                stats.kinds = self.kinds_at_work();
                self.tell_namespaces(&mut stats, None, limit);
                None
            }
        };
        if stats.more_after.is_none() {
            let limit = limit.saturating_sub(stats.namespaces.len());
            self.tell_queues(&mut stats, after, limit, now);
        }
        stats
    }

    /// Limits and service levels, up to [`NAMED_TOLD_MAX`] of each: what they count is looked up.
    fn tell_named(&self, stats: &mut ShardStats, now: TimeMs) {
        let (limit_looks, sla_looks) = (&mut Looks::new(LIMIT_LOOKS), &mut Looks::new(SLA_LOOKS));
        let all = [self.state.limiting.total(), self.state.slas.total()];
        let all = all.map(|all| all.min(NAMED_TOLD_MAX));
        for Namespace { id, name, .. } in
            self.state.namespaces.all_after(None).map(NamespaceSlot::namespace)
        {
            let [limits, slas] = [stats.limits.len(), stats.slas.len()]
                .map(|told| NAMED_TOLD_MAX.saturating_sub(told));
            if (limits, slas) == (0, 0) {
                break;
            }
            let left = all[0].saturating_sub(stats.limits.len());
            let limits = self.state.limit_views(*id, limits, (left, limit_looks)).into_iter();
            stats.limits.extend(limits.map(|limit| (name.clone(), limit)));
            let left = all[1].saturating_sub(stats.slas.len());
            let slas = self.state.sla_views(*id, slas, now, (left, sla_looks)).into_iter();
            stats.slas.extend(slas.map(|sla| (name.clone(), sla)));
        }
    }

    fn tell_namespaces(&self, stats: &mut ShardStats, after: Option<NamespaceId>, limit: usize) {
        let mut slots = self.state.namespaces.all_after(after);
        let page: Vec<_> = slots.by_ref().take(limit).collect();
        stats.more_after = match (page.last(), slots.next()) {
            (Some(last), Some(_)) => Some(StatsCursor::Namespace(last.namespace().id)),
            _ => None,
        };
        let slots = page.into_iter().filter(|slot| !slot.namespace().deleted);
        stats.namespaces.extend(slots.map(|slot| self.state.namespace_view(slot)));
    }

    fn tell_queues(
        &self,
        stats: &mut ShardStats,
        after: Option<QueueId>,
        limit: usize,
        now: TimeMs,
    ) {
        let mut last = after;
        let queues = self.state.queues.all_after(after);
        let mut names = Vec::new();
        let mut queues = queues.inspect(|queue| {
            names.push((self.state.namespaces.name(queue.namespace), queue.id));
            last = Some(queue.id);
        });
        let views = self.queue_views(&mut queues, now, limit);
        drop(queues);
        let told = names.into_iter().zip(views);
        let told = told.map(|((namespace, id), queue)| QueueStats { namespace, id, queue });
        stats.queues.extend(told);
        if self.state.queues.all_after(last).next().is_some() {
            stats.more_after = Some(StatsCursor::Queue(last));
        }
    }
}
