//! Changing all jobs that a filter means, a slice at a time.

use longshore_engine::{
    Body, Job, JobAction, JobFilter, JobId, JobState, JobsChange, NamespaceId, Operation,
    OperationState, Phase, Rejection, TimeMs,
};

use super::operations::Spot;
use super::{RefJob, RefOperation, Reference, Refusable, refused};

fn state_of(job: &RefJob, now: TimeMs) -> JobState {
    let waits = job.job.available_at > now;
    match job.job.phase {
        Phase::Waiting | Phase::Retrying if job.run.is_some() => JobState::Running,
        Phase::Waiting if waits => JobState::Scheduled,
        Phase::Retrying if waits => JobState::Retrying,
        Phase::Waiting | Phase::Retrying => JobState::Ready,
        Phase::Succeeded { .. } => JobState::Succeeded,
        Phase::Dead { .. } => JobState::Dead,
        Phase::Cancelled { .. } => JobState::Cancelled,
        Phase::Expired { .. } => JobState::Expired,
    }
}

fn waits(state: JobState) -> bool {
    matches!(state, JobState::Scheduled | JobState::Ready | JobState::Retrying)
}

/// Whether an action is for jobs in a state.
fn is_for(action: &JobAction, state: JobState) -> bool {
    match action {
        JobAction::Retry => matches!(state, JobState::Retrying | JobState::Dead),
        JobAction::Cancel { .. } => waits(state) || state == JobState::Running,
        JobAction::Remove => waits(state) || state == JobState::Dead,
        JobAction::Move { .. } | JobAction::SetPriority { .. } => waits(state),
    }
}

/// What it costs to look at a job whose args are searched.
fn looks(filter: &JobFilter, job: &Job) -> usize {
    let read = filter.text.as_ref().and(job.args.as_ref()).map_or(0, Body::length);
    1 + (read / 4096) as usize
}

impl Reference {
    fn takes(&self, filter: &JobFilter, job: &Job) -> bool {
        let own = &job.options;
        let since = job.phase.ended_at().unwrap_or(job.enqueued_at);
        let args = job.args.as_ref().map(|args| self.body(args));
        let has = |text: &String| {
            let args = args.as_ref().map(|args| String::from_utf8_lossy(args).into_owned());
            args.is_some_and(|args| args.contains(text.as_str()))
        };
        let is = |wanted: &Option<String>, own: Option<&String>| {
            wanted.is_none() || wanted.as_ref() == own
        };
        is(&filter.queue, Some(&job.queue))
            && is(&filter.kind, Some(&job.kind))
            && is(&filter.ordering_key, own.ordering_key.as_ref())
            && is(&filter.tenant, own.tenant.as_ref())
            && is(&filter.error, job.last_error.as_ref().map(|error| &error.kind))
            && filter.tag.as_ref().is_none_or(|tag| own.tags.contains(tag))
            && filter.before.is_none_or(|before| since < before)
            && filter.since.is_none_or(|from| since >= from)
            && filter.text.as_ref().is_none_or(has)
    }

    pub(super) fn check_change(&self, ns: NamespaceId, change: &JobsChange) -> Refusable<()> {
        let JobsChange { filter, action, .. } = change;
        if filter.state.is_some_and(|state| !is_for(action, state)) {
            return Err(refused("state"));
        }
        let known = |name: &String| match self.queue_named(ns, name) {
            Some(_) => Ok(()),
            None => Err(Rejection::QueueUnknown { queue: name.clone() }),
        };
        filter.queue.as_ref().map_or(Ok(()), known)?;
        let JobAction::Move { queue: to } = action else { return Ok(()) };
        if filter.queue.as_ref() == Some(to) {
            return Err(refused("to_queue"));
        }
        known(to)
    }

    /// How many jobs could be meant at most.
    pub(super) fn change_candidates(&self, ns: NamespaceId, filter: &JobFilter) -> u64 {
        let dead_only = filter.state == Some(JobState::Dead);
        let counts = |job: &&RefJob| {
            let dead = Self::is_dead(&job.job);
            job.ns == ns
                && filter.queue.as_ref().is_none_or(|queue| job.job.queue == *queue)
                && (dead || (!dead_only && job.job.phase.is_unfinished()))
        };
        self.jobs.iter().filter(counts).count() as u64
    }

    /// All that the change looks at, in order.
    fn change_spots(&self, ns: NamespaceId, filter: &JobFilter) -> Vec<(Spot, JobId)> {
        let spot = |job: &RefJob| {
            let id = job.job.id;
            let in_order_of = |queue: u32, at: u64| (0, queue, 0, 0, at, 0, id.0);
            match filter.state {
                Some(JobState::Dead) => match job.job.phase {
                    Phase::Dead { ended_at, .. } => {
                        let queue = self.queue_named(ns, &job.job.queue)?.id.0;
                        let meant = filter.queue.as_ref().is_none_or(|name| job.job.queue == *name);
                        meant.then(|| in_order_of(queue, ended_at.0))
                    }
                    _ => None,
                },
                Some(JobState::Running) => job.run.as_ref().map(|_| in_order_of(0, 0)),
                _ => Some(in_order_of(0, 0)),
            }
        };
        let of_namespace = self.jobs.iter().filter(|job| job.ns == ns);
        let mut spots: Vec<_> =
            of_namespace.filter_map(|job| Some((spot(job)?, job.job.id))).collect();
        spots.sort_unstable();
        if filter.queue.as_ref().is_some_and(|name| self.queue_named(ns, name).is_none()) {
            spots.clear();
        }
        spots
    }

    pub(super) fn advance_change(&mut self, index: usize, change: &JobsChange) {
        let RefOperation { mut operation, mut reached } = self.operations[index].clone();
        let ns = operation.namespace;
        let spots = self.change_spots(ns, &change.filter).into_iter();
        let spots: Vec<_> = spots.filter(|(spot, _)| reached.is_none_or(|at| *spot > at)).collect();
        let wanted = change.limit.map_or(u64::MAX, |limit| limit - operation.changed.min(limit));
        let (mut changed, mut kept): (Vec<JobId>, Vec<Rejection>) = (Vec::new(), Vec::new());
        let (mut visited, mut left) = (0, self.limits.slice_items_max);
        for (spot, id) in &spots {
            if left == 0 || changed.len() as u64 >= wanted {
                break;
            }
            visited += 1;
            reached = Some(*spot);
            let job = self.job(ns, *id).expect("it was found there");
            left = left.saturating_sub(looks(&change.filter, &job.job));
            let of_queue = change.filter.queue.as_ref().is_none_or(|name| job.job.queue == *name);
            let counts = job.job.phase.is_unfinished() || Self::is_dead(&job.job);
            operation.examined += u64::from(of_queue && counts);
            if !self.is_changed(&operation, change, job) {
                continue;
            }
            match self.stays(ns, change, job, &changed) {
                Some(why) => kept.push(why),
                None => changed.push(*id),
            }
        }
        operation.changed += changed.len() as u64;
        operation.kept += kept.len() as u64;
        let why = kept.first().map(ToString::to_string);
        operation.kept_why = operation.kept_why.or(why);
        if visited == spots.len() || changed.len() as u64 >= wanted {
            operation.state = OperationState::Finished;
            operation.ended_at = Some(self.now);
        }
        for id in changed {
            self.change_one(ns, id, &change.action);
        }
        self.operations[index] = RefOperation { operation, reached };
    }

    fn is_changed(&self, operation: &Operation, change: &JobsChange, job: &RefJob) -> bool {
        let state = state_of(job, self.now);
        let differs = match &change.action {
            JobAction::Cancel { force: false } => {
                job.run.as_ref().is_none_or(|run| !run.lease.cancel_requested)
            }
            JobAction::Move { queue } => job.job.queue != *queue,
            JobAction::SetPriority { priority } => job.job.options.priority != *priority,
            JobAction::Retry | JobAction::Cancel { .. } | JobAction::Remove => true,
        };
        job.entered(change.filter.queue.is_some()) < operation.upper
            && differs
            && is_for(&change.action, state)
            && change.filter.state.is_none_or(|wanted| wanted == state)
            && self.takes(&change.filter, &job.job)
    }

    /// Why a job that is meant stays as it is.
    fn stays(
        &self,
        ns: NamespaceId,
        change: &JobsChange,
        job: &RefJob,
        before: &[JobId],
    ) -> Option<Rejection> {
        match &change.action {
            JobAction::Retry if Self::is_dead(&job.job) => {
                let key =
                    |job: &Job| job.options.unique.as_ref().map(|lock| (lock.key, lock.since));
                let own = key(&job.job)?;
                let dead = |id: &&JobId| {
                    let earlier = &self.job(ns, **id).expect("it was found there").job;
                    Self::is_dead(earlier) && key(earlier) == Some(own)
                };
                let earlier = before.iter().find(dead).copied();
                let holder = self.is_taken(ns, &job.job).or(earlier)?;
                Some(Rejection::UniqueTaken { holder })
            }
            JobAction::Move { queue } => {
                let Some(known) = self.queue_named(ns, queue) else {
                    return Some(Rejection::QueueUnknown { queue: queue.clone() });
                };
                let length = self.backlog(ns, queue) + before.len() as u64;
                let max_length = known.settings.max_length.filter(|max| length >= *max)?;
                Some(Rejection::QueueFull { queue: queue.clone(), length, max_length })
            }
            _ => None,
        }
    }

    fn change_one(&mut self, ns: NamespaceId, id: JobId, action: &JobAction) {
        match action {
            JobAction::Retry if Self::is_dead(&self.job(ns, id).expect("it is there").job) => {
                self.retry_dead(ns, id);
            }
            JobAction::Retry => self.job_mut(ns, id).job.available_at = self.now,
            JobAction::Cancel { force } => {
                self.cancel(ns, id, *force).expect("it has not ended");
            }
            JobAction::Remove => self.remove_job(ns, id),
            JobAction::Move { queue } => {
                let place = self.take_place();
                self.put_elsewhere(ns, id, |job| {
                    job.queue.clone_from(queue);
                    job.moved = Some(place);
                });
            }
            JobAction::SetPriority { priority } => {
                self.put_elsewhere(ns, id, |job| job.options.priority = *priority);
            }
        }
    }

    /// A job that waits leaves the line where it stands, with what is known of that, and stands
    /// elsewhere.
    fn put_elsewhere(&mut self, ns: NamespaceId, id: JobId, change: impl FnOnce(&mut Job)) {
        let job = &mut self.job_mut(ns, id).job;
        let queue = std::mem::take(&mut job.queue);
        self.forget_tenants();
        self.forget_kept_of(id);
        let job = &mut self.job_mut(ns, id).job;
        job.queue = queue;
        change(job);
    }
}
