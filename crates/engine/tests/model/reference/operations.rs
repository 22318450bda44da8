//! What touches many jobs, a slice at a time.

use longshore_engine::{
    Answer, Job, JobId, NamespaceId, Operation, OperationId, OperationKind, OperationState, Phase,
    Place, Rejection, TimeMs,
};

use super::{RefJob, RefOperation, Reference, Refusable, refused, room};

/// Where a job is looked at: first what waits behind an ordering key, then what waits, then the
/// dead; then by queue, urgency, kind, instant, place and id, as far as that place goes.
pub(crate) type Spot = (u8, u32, u8, u32, u64, u64, [u8; 16]);

fn filter(kind: &OperationKind) -> (Option<&str>, Option<&str>, Option<TimeMs>) {
    match kind {
        OperationKind::PurgeQueue { queue, kind, before, .. } => {
            (Some(queue), kind.as_deref(), *before)
        }
        OperationKind::RetryDead { queue, kind, before, .. }
        | OperationKind::PurgeDead { queue, kind, before, .. } => {
            (queue.as_deref(), kind.as_deref(), *before)
        }
        OperationKind::DeleteQueue { queue } => (Some(queue), None, None),
        OperationKind::MoveMessages { moving } => (Some(&moving.queue), None, None),
        // Those are looked at otherwise.
        OperationKind::ChangeJobs { .. } => (None, None, None),
    }
}

impl Reference {
    pub(super) fn start_operation(
        &mut self,
        ns: NamespaceId,
        kind: OperationKind,
    ) -> Refusable<Answer> {
        if kind.limit() == Some(0) {
            return Err(refused("limit"));
        }
        let most = kind.limit().unwrap_or(u64::MAX);
        let running = |o: &&RefOperation| o.operation.state == OperationState::Running;
        let all = self.operations.iter().filter(running).map(|o| o.operation.namespace);
        if let Err((scope, limit)) = room(self.limits.operations_max, ns, all) {
            return Err(Rejection::TooManyOperations { scope, limit });
        }
        if let OperationKind::ChangeJobs { change } = &kind {
            self.check_change(ns, change)?;
        }
        if let (Some(name), ..) = filter(&kind)
            && self.queue_named(ns, name).is_none()
        {
            return Err(Rejection::QueueUnknown { queue: name.to_owned() });
        }
        let operation = Operation {
            id: OperationId(self.next_operation),
            namespace: ns,
            kind,
            upper: Place(self.next_place),
            state: OperationState::Running,
            candidates: 0,
            examined: 0,
            changed: 0,
            cursor: None,
            started_at: self.now,
            ended_at: None,
            kept: 0,
            kept_why: None,
            full: Vec::new(),
            first: None,
        };
        let candidates = match &operation.kind {
            OperationKind::ChangeJobs { change } => self.change_candidates(ns, &change.filter),
            _ => self.spots(&operation).len() as u64,
        };
        let candidates = candidates.min(most);
        let operation = Operation { candidates, ..operation };
        self.next_operation += 1;
        while self.forget_an_operation(ns) {}
        self.operations.push(RefOperation { operation: operation.clone(), reached: None });
        Ok(Answer::Operation(Box::new(operation)))
    }

    /// Forgets the oldest finished one of whoever has too many, if anybody has.
    fn forget_an_operation(&mut self, ns: NamespaceId) -> bool {
        let kept = self.limits.operations_kept;
        let ended = |o: &RefOperation| o.operation.state != OperationState::Running;
        let all: Vec<_> = self.operations.iter().filter(|o| ended(o)).collect();
        let count = |of| all.iter().filter(|o| o.operation.namespace == of).count();
        let of = if count(ns) >= kept.namespace {
            ns
        } else if all.len() >= kept.shard {
            let each = all.iter().map(|o| o.operation.namespace);
            each.max_by_key(|of| (count(*of), *of == ns, *of)).expect("there are some")
        } else {
            return false;
        };
        let oldest = self.operations.iter().position(|o| ended(o) && o.operation.namespace == of);
        self.operations.remove(oldest.expect("it has some"));
        true
    }

    pub(super) fn operation(
        &mut self,
        ns: NamespaceId,
        id: OperationId,
        cancel: bool,
    ) -> Refusable<Answer> {
        let now = self.now;
        let found = self.operations.iter_mut().map(|o| &mut o.operation);
        let operation = found.into_iter().find(|o| o.namespace == ns && o.id == id);
        let operation = operation.ok_or(Rejection::OperationUnknown { id })?;
        if cancel && operation.state == OperationState::Running {
            operation.state = OperationState::Cancelled;
            operation.ended_at = Some(now);
        }
        Ok(Answer::Operation(Box::new(operation.clone())))
    }

    /// All that the operation would look at now, in order.
    fn spots(&self, operation: &Operation) -> Vec<(Spot, JobId)> {
        let ns = operation.namespace;
        let (queue, ..) = filter(&operation.kind);
        let mut spots: Vec<_> = self
            .jobs
            .iter()
            .filter(|job| job.ns == ns && queue.is_none_or(|queue| job.job.queue == queue))
            .filter_map(|job| Some((self.spot(&operation.kind, job)?, job.job.id)))
            .collect();
        spots.sort_unstable();
        spots
    }

    fn spot(&self, kind: &OperationKind, job: &RefJob) -> Option<Spot> {
        let queue = self.queue_named(job.ns, &job.job.queue)?.id.0;
        let (waiting, dead) = match kind {
            OperationKind::PurgeQueue { .. } => (true, false),
            OperationKind::RetryDead { .. } | OperationKind::PurgeDead { .. } => (false, true),
            OperationKind::DeleteQueue { .. } => (true, true),
            // The model has no messages.
            OperationKind::MoveMessages { .. } | OperationKind::ChangeJobs { .. } => (false, false),
        };
        let Job { place, available_at, options, id, .. } = &job.job;
        match &job.job.phase {
            Phase::Dead { ended_at, .. } if dead => Some((2, queue, 0, 0, ended_at.0, 0, id.0)),
            Phase::Waiting | Phase::Retrying if waiting && job.run.is_none() => {
                if self.is_held(job) {
                    return Some((0, queue, 0, 0, 0, place.0, [0; 16]));
                }
                let (urgency, kind) = (
                    u8::MAX - options.priority,
                    self.kind(job.ns, &job.job.kind, options.version)?,
                );
                Some((1, queue, urgency, kind.0, available_at.0, place.0, [0; 16]))
            }
            _ => None,
        }
    }

    pub(super) fn advance_operation(&mut self) {
        let running = |o: &RefOperation| o.operation.state == OperationState::Running;
        let Some(index) = self.operations.iter().position(running) else { return };
        let RefOperation { mut operation, mut reached } = self.operations[index].clone();
        if let OperationKind::ChangeJobs { change } = &operation.kind {
            return self.advance_change(index, change);
        }
        let ns = operation.namespace;
        let queue = filter(&operation.kind).0.map(str::to_owned);
        let known = queue.as_ref().and_then(|name| self.queue_named(ns, name)).map(|q| q.id.0);
        if queue.is_some() && reached.is_some_and(|spot| Some(spot.1) != known) {
            reached = None;
        }
        let slice = self.limits.slice_items_max;
        let spots = self.spots(&operation).into_iter();
        let mut wanted = operation.kind.limit().map_or(u64::MAX, |limit| limit - operation.changed);
        let mut affected = Vec::new();
        let spots = spots.filter(|(spot, _)| reached.is_none_or(|at| *spot > at)).take(slice);
        let spots: Vec<_> = spots
            .take_while(|(_, id)| {
                let enough = wanted == 0;
                if !enough && self.affects(&operation, *id, &affected) {
                    wanted -= 1;
                    affected.push(*id);
                }
                !enough
            })
            .collect();
        operation.examined += spots.len() as u64;
        operation.changed += affected.len() as u64;
        reached = spots.last().map(|(spot, _)| *spot).or(reached);
        for id in affected {
            match operation.kind {
                OperationKind::RetryDead { .. } => self.retry_dead(ns, id),
                _ => self.remove_job(ns, id),
            }
        }
        if spots.len() < slice || wanted == 0 {
            operation.state = OperationState::Finished;
            operation.ended_at = Some(self.now);
            if let OperationKind::DeleteQueue { queue } = &operation.kind
                && self.is_empty(ns, queue)
            {
                self.queues.retain(|q| q.ns != ns || q.name != *queue);
            }
        }
        self.operations[index] = RefOperation { operation, reached };
    }

    fn affects(&self, operation: &Operation, id: JobId, before: &[JobId]) -> bool {
        let ns = operation.namespace;
        let of = self.job(ns, id).expect("it was found there");
        let job = &of.job;
        let key = |job: &Job| job.options.unique.as_ref().map(|lock| (lock.key, lock.since));
        let earlier = before.iter().filter_map(|id| key(&self.job(ns, *id)?.job));
        let taken =
            self.is_taken(ns, job).is_some() || earlier.into_iter().any(|of| Some(of) == key(job));
        if taken && matches!(operation.kind, OperationKind::RetryDead { .. }) {
            return false;
        }
        let (queue, kind, before) = filter(&operation.kind);
        let since = job.phase.ended_at().unwrap_or(job.enqueued_at);
        of.entered(queue.is_some()) < operation.upper
            && kind.is_none_or(|kind| job.kind == kind)
            && before.is_none_or(|before| since < before)
    }

    /// Whether the queue has neither unfinished nor dead jobs.
    pub(super) fn is_empty(&self, ns: NamespaceId, queue: &str) -> bool {
        !self.jobs.iter().any(|job| {
            let held = job.job.phase.is_unfinished() || Self::is_dead(&job.job);
            job.ns == ns && job.job.queue == queue && held
        })
    }

    pub(super) fn retry_dead(&mut self, ns: NamespaceId, id: JobId) {
        self.forget_tenants();
        let (now, place) = (self.now, self.take_place());
        let job = self.job_mut(ns, id);
        (job.size, job.started) = (0, false);
        let job = &mut job.job;
        job.place = place;
        job.phase = Phase::Waiting;
        job.available_at = now;
        job.due_at = Some(now);
        job.budget_from = job.attempt;
        (job.losses, job.snoozes) = (0, 0);
        job.deadline = job.options.max_age_ms.map(|ms| now.plus(ms));
    }
}
