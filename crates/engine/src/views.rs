//! What people see of jobs, queues and namespaces.

use crate::answer::{JobState, JobView, NamespaceView, QueueView};
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::{Job, Phase};
use crate::queue::Queue;
use crate::queueing::{DUE_SECONDS_TOLD_MAX, blockers_of};
use crate::state::{NamespaceSlot, State};

impl JobState {
    /// The state of a job at an instant.
    pub fn of(job: &Job, leased: bool, now: TimeMs) -> Self {
        match job.phase {
            Phase::Waiting | Phase::Retrying if leased => Self::Running,
            Phase::Waiting if job.available_at > now => Self::Scheduled,
            Phase::Retrying if job.available_at > now => Self::Retrying,
            Phase::Waiting | Phase::Retrying => Self::Ready,
            Phase::Succeeded { .. } => Self::Succeeded,
            Phase::Dead { .. } => Self::Dead,
            Phase::Cancelled { .. } => Self::Cancelled,
            Phase::Expired { .. } => Self::Expired,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether a job in it waits to be handed out.
    pub fn waits(self) -> bool {
        matches!(self, Self::Scheduled | Self::Ready | Self::Retrying)
    }

    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Ready,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];
}

impl State {
    pub(crate) fn job_view(&self, ns: NamespaceId, id: JobId, now: TimeMs) -> Option<JobView> {
        let job = (*self.job(ns, id)?).clone();
        let lease = self.leases.get(ns, id).map(|live| live.lease().clone());
        let checkpoint = self.checkpoint(ns, id);
        let paused = self.is_paused(ns, id);
        let waits = lease.is_none() && job.phase.is_unfinished();
        let queue = waits.then(|| self.queues.named(ns, &job.queue)).flatten();
        let blocked_by =
            queue.map(|queue| blockers_of(self, ns, &job, Some((queue.id, queue.settings.paused))));
        let blocked_by = blocked_by.unwrap_or_default();
        Some(JobView { job, lease, checkpoint, paused, blocked_by, now })
    }

    /// Seconds that telling of the queue looks through, at most.
    pub(crate) fn seconds_to_settle(&self, queue: &Queue, now: TimeMs) -> usize {
        let due = self.queues.next_due(queue.id).is_some_and(|next| next <= now.second());
        let passed = now.second().saturating_sub(queue.counts.due_until);
        if due { passed.min(DUE_SECONDS_TOLD_MAX as u64) as usize } else { 0 }
    }

    pub(crate) fn queue_view(
        &self,
        queue: &Queue,
        (consumers, unconsumed_kinds): (u64, Vec<String>),
        now: TimeMs,
    ) -> QueueView {
        let counts = &queue.counts;
        let (scheduled, retrying) = self.not_yet_due(queue, now);
        let held = self.leases.waiting(queue.id);
        let of_tenants = self.oldest_of_tenants(queue.namespace, queue.id);
        let oldest = self.lanes.oldest(queue.id).into_iter().chain(of_tenants).min();
        let oldest = oldest.filter(|at| *at <= now);
        QueueView {
            name: queue.name.clone(),
            settings: queue.settings.clone(),
            ready: counts.waiting.saturating_sub(scheduled + retrying),
            scheduled,
            retrying,
            blocked: counts.blocked,
            held,
            running: counts.running.saturating_sub(held),
            dead: counts.dead,
            oldest_age_ms: oldest.map(|at| now.since(at)),
            consumers,
            unconsumed_kinds,
            enqueued_total: counts.enqueued_total,
            succeeded_total: counts.succeeded_total,
            failed_total: counts.failed_total,
            dead_total: counts.dead_total,
            cancelled_total: counts.cancelled_total,
            messages: None,
        }
    }

    pub(crate) fn namespace_view(&self, slot: &NamespaceSlot) -> NamespaceView {
        let (namespace, kept) = (slot.namespace(), slot.kept());
        NamespaceView {
            name: namespace.name.clone(),
            created_at: namespace.created_at,
            queues: self.queues.len_of(namespace.id) as u64,
            outcome_bytes: kept.outcome_bytes,
            dead_bytes: kept.dead_bytes,
            tombstones: kept.tombstones,
            tombstones_dropped_total: kept.tombstones_dropped_total,
            schedules: kept.schedules,
        }
    }
}
