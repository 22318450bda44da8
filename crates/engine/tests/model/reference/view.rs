//! What people see.

use std::collections::BTreeSet;

use longshore_engine::{
    Answer, BlockedBy, JobId, JobView, NamespaceId, NamespaceView, Phase, QueuePattern, QueueView,
    Rejection,
};

use super::kind::asks_for;
use super::{RefConsumer, RefJob, RefNamespace, RefQueue, Reference, Refusable, Run};

impl Reference {
    pub(crate) fn job_view(&self, ns: NamespaceId, id: JobId) -> Option<JobView> {
        let job = self.job(ns, id)?;
        let lease = job.run.as_ref().map(|run| run.lease.clone());
        let checkpoint = job.checkpoint.clone();
        let paused = job.paused;
        let blocked_by = self.blocked_by(job);
        Some(JobView { job: job.job.clone(), lease, checkpoint, paused, blocked_by, now: self.now })
    }

    /// What keeps a job that waits from being handed out, its time apart.
    fn blocked_by(&self, of: &RefJob) -> Vec<BlockedBy> {
        if of.run.is_some() || !of.job.phase.is_unfinished() {
            return Vec::new();
        }
        let first = of.job.options.ordering_key.as_ref().and_then(|key| {
            let same = |other: &&RefJob| {
                other.ns == of.ns
                    && other.job.options.ordering_key.as_ref() == Some(key)
                    && other.job.phase.is_unfinished()
                    && other.job.place < of.job.place
            };
            let job = self.jobs.iter().filter(same).min_by_key(|other| other.job.place)?.job.id;
            Some(BlockedBy::OrderingKey { ordering_key: key.clone(), job })
        });
        let queue = self.queue_named(of.ns, &of.job.queue);
        let queue_paused = queue.is_some_and(|queue| queue.settings.paused);
        let pauses = [
            of.paused.then_some(BlockedBy::JobPause),
            queue_paused.then_some(BlockedBy::QueuePause),
        ];
        let limits = self.held_by_limits(of);
        let gates = self.held_by_gates(of);
        let pauses = pauses.into_iter().flatten();
        let holds = self.held_by_holds(of);
        let keys = first.into_iter().chain(pauses).chain(limits).chain(gates).chain(holds);
        keys.chain(self.had_turn(of)).collect()
    }

    pub(super) fn job_answer(&self, ns: NamespaceId, id: JobId) -> Answer {
        match self.job_view(ns, id) {
            Some(view) => Answer::Job(Box::new(view)),
            None => Answer::Rejected(self.unknown(ns, id)),
        }
    }

    pub(super) fn queue_answer(&self, ns: NamespaceId, name: &str) -> Refusable<Answer> {
        let unknown = || Rejection::QueueUnknown { queue: name.to_owned() };
        let queue = self.queue_named(ns, name).ok_or_else(unknown)?;
        Ok(Answer::Queue(Box::new(self.queue_view(queue))))
    }

    pub(super) fn list_queues(&self, ns: NamespaceId, after: Option<&str>, limit: usize) -> Answer {
        let of = self.queues.iter().filter(|queue| queue.ns == ns);
        let mut queues: Vec<_> =
            of.filter(|queue| after.is_none_or(|after| queue.name.as_str() > after)).collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        let page = queues.iter().take(limit).map(|queue| self.queue_view(queue)).collect();
        Answer::Queues(page, queues.len() > limit)
    }

    pub(crate) fn queue_view(&self, queue: &RefQueue) -> QueueView {
        let jobs: Vec<&RefJob> = self
            .jobs
            .iter()
            .filter(|job| job.ns == queue.ns && job.job.queue == queue.name)
            .collect();
        let count = |of: &dyn Fn(&RefJob) -> bool| jobs.iter().filter(|j| of(j)).count() as u64;
        let filed: Vec<&&RefJob> = jobs.iter().filter(|job| self.is_filed(job)).collect();
        // What is due within the present second counts as ready: the counters are per second.
        let ahead = |job: &RefJob| job.job.available_at.second() > self.now.second();
        let scheduled = filed.iter().filter(|j| ahead(j) && j.job.phase == Phase::Waiting).count();
        let retrying = filed.iter().filter(|j| ahead(j) && j.job.phase == Phase::Retrying).count();
        let in_lanes: Vec<_> = filed.iter().copied().filter(|job| !self.is_parked(job)).collect();
        let oldest = in_lanes.iter().map(|job| job.job.available_at).min();
        QueueView {
            name: queue.name.clone(),
            settings: queue.settings.clone(),
            ready: (filed.len() - scheduled - retrying) as u64,
            scheduled: scheduled as u64,
            retrying: retrying as u64,
            blocked: count(&|job| self.is_held(job)),
            held: count(&|job| job.run.as_ref().is_some_and(Run::waits)),
            running: count(&|job| job.run.as_ref().is_some_and(|run| !run.waits())),
            dead: count(&|job| Self::is_dead(&job.job)),
            oldest_age_ms: oldest.filter(|at| *at <= self.now).map(|at| self.now.since(at)),
            consumers: self.consumers_of(queue).len() as u64,
            unconsumed_kinds: self.unconsumed_kinds(queue, &in_lanes),
            enqueued_total: queue.enqueued,
            succeeded_total: queue.succeeded,
            failed_total: queue.failed,
            dead_total: queue.died,
            cancelled_total: queue.cancelled,
            messages: None,
        }
    }

    /// One for each pattern of a worker that asked lately and means the queue.
    fn consumers_of(&self, queue: &RefQueue) -> Vec<&RefConsumer> {
        let of = self.consumers.iter().filter(|consumer| consumer.key.0 == queue.ns);
        let patterns = of.flat_map(|consumer| consumer.queues.iter().map(move |it| (consumer, it)));
        let matching = patterns.filter(|(_, pattern)| match pattern {
            QueuePattern::Exactly(name) => queue.name == *name,
            QueuePattern::Prefix(prefix) => queue.name.starts_with(prefix.as_str()),
        });
        matching.map(|(consumer, _)| consumer).collect()
    }

    fn unconsumed_kinds(&self, queue: &RefQueue, filed: &[&&RefJob]) -> Vec<String> {
        let consumers = self.consumers_of(queue);
        let version = |job: &RefJob| job.job.options.version;
        let kinds: BTreeSet<_> = filed.iter().map(|job| (&job.job.kind, version(job))).collect();
        let asked = |kind: &str, version: u32| {
            consumers.iter().any(|consumer| asks_for(consumer, kind, version))
        };
        let unasked = kinds.into_iter().filter(|(kind, version)| !asked(kind, *version));
        let unasked: BTreeSet<_> = unasked.map(|(kind, _)| kind).collect();
        unasked.into_iter().cloned().collect()
    }

    pub(crate) fn namespace_view(&self, namespace: &RefNamespace) -> NamespaceView {
        let ns = namespace.id;
        let dead = self.jobs.iter().filter(|job| job.ns == ns && Self::is_dead(&job.job));
        NamespaceView {
            name: namespace.name.clone(),
            created_at: namespace.created_at,
            queues: self.queues.iter().filter(|queue| queue.ns == ns).count() as u64,
            outcome_bytes: self.outcome_bytes(ns),
            dead_bytes: dead.map(|job| job.size).sum(),
            tombstones: self.tombstones.iter().filter(|t| t.ns == ns).count() as u64,
            tombstones_dropped_total: namespace.dropped,
            schedules: self.schedules.iter().filter(|of| of.schedule.namespace == ns).count()
                as u64,
        }
    }

    pub(super) fn list_namespaces(&self, after: Option<&str>, limit: usize) -> Answer {
        let later = |it: &&RefNamespace| after.is_none_or(|after| it.name.as_str() > after);
        let mut later: Vec<_> = self.namespaces.iter().filter(later).collect();
        later.sort_by(|a, b| a.name.cmp(&b.name));
        let page = later.iter().take(limit).map(|it| self.namespace_view(it)).collect();
        Answer::Namespaces(page, later.len() > limit)
    }
}
