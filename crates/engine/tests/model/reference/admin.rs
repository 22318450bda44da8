//! What administrators and single jobs' owners ask for.

use longshore_engine::{
    Answer, CancelReason, Command, JobId, NamespaceId, Phase, QueueSettings, Rejection, RetryFrom,
    Start, TimeMs,
};

use super::enqueue::elsewhere;
use super::settle::moved_by_hand;
use super::{RefNamespace, Reference, Refusable, refused};

impl Reference {
    pub(super) fn decide_admin(&mut self, ns: NamespaceId, command: Command) -> Refusable<Answer> {
        match command {
            Command::SettleJobs(settlements) => {
                Ok(Answer::Settled(self.settle_all(ns, &settlements)))
            }
            Command::ExtendLeases(extensions) => {
                Ok(Answer::Extended(extensions.iter().map(|e| self.extend(ns, e)).collect()))
            }
            Command::CheckpointJobs(told) => {
                Ok(Answer::Extended(told.iter().map(|told| self.save(ns, told)).collect()))
            }
            Command::CancelJob { id, force } => self.cancel(ns, id, force),
            Command::RemoveJob { id } => self.remove(ns, id),
            Command::WithdrawJob { id } => {
                let Some(job) = self.job(ns, id) else { return Err(self.unknown(ns, id)) };
                if !job.may_be_withdrawn() {
                    return Ok(self.job_answer(ns, id));
                }
                self.withdraw_job(ns, id);
                Ok(Answer::JobWithdrawn)
            }
            Command::RescheduleJob { id, start } => self.reschedule(ns, id, start),
            Command::RetryJob { id, from } => self.retry(ns, id, &from),
            Command::PauseJob { id } => self.pause(ns, id, true),
            Command::ResumeJob { id } => self.pause(ns, id, false),
            Command::PutQueue { queue, settings } => self.put_queue(ns, &queue, settings),
            Command::PauseQueue { queue, paused } => {
                if paused && self.queue_named(ns, &queue).is_none() {
                    let settings = QueueSettings { paused, ..QueueSettings::DEFAULT };
                    return self.put_queue(ns, &queue, settings);
                }
                self.known_queue(ns, &queue)?;
                self.queue_mut(ns, &queue).settings.paused = paused;
                self.queue_answer(ns, &queue)
            }
            Command::DeleteQueue { queue } => {
                self.known_queue(ns, &queue)?;
                if !self.is_empty(ns, &queue) {
                    return Err(Rejection::QueueNotEmpty { queue, backlog: 0, dead: 0 });
                }
                self.queues.retain(|q| q.ns != ns || q.name != queue);
                Ok(Answer::QueueDeleted)
            }
            Command::GetQueue { queue } => self.queue_answer(ns, &queue),
            Command::ListQueues { after, limit } => {
                Ok(self.list_queues(ns, after.as_deref(), limit))
            }
            Command::PutLimit { name, settings } => self.put_limit(ns, &name, settings),
            Command::DeleteLimit { name } => self.delete_limit(ns, &name),
            Command::GetLimit { name } => self.limit_answer(ns, &name),
            Command::ListLimits => Ok(self.list_limits(ns)),
            Command::Gates(command) => self.of_gates(ns, command),
            Command::Sla(command) => self.of_sla(ns, command),
            Command::Kinds(command) => Ok(Answer::Kinds(self.of_kinds(ns, command)?)),
            Command::StartOperation(kind) => self.start_operation(ns, kind),
            Command::CancelOperation { id } => self.operation(ns, id, true),
            Command::GetOperation { id } => self.operation(ns, id, false),
            Command::ListOperations => {
                let operations = self.operations.iter().rev().map(|o| &o.operation);
                let operations = operations.filter(|o| o.namespace == ns).cloned().collect();
                Ok(Answer::Operations(operations))
            }
            Command::DeleteNamespace => self.delete_namespace(ns),
            Command::GetNamespace => {
                let namespace = self.namespaces.iter().find(|namespace| namespace.id == ns);
                Ok(Answer::Namespace(self.namespace_view(namespace.expect("resolved before"))))
            }
            other => unreachable!("{other:?} is decided elsewhere"),
        }
    }

    fn delete_namespace(&mut self, ns: NamespaceId) -> Refusable<Answer> {
        let queues = self.queues.iter().filter(|queue| queue.ns == ns).count() as u64;
        if queues > 0 {
            return Err(Rejection::NamespaceNotEmpty { name: String::new(), queues });
        }
        let schedules = self.schedules.iter().filter(|of| of.schedule.namespace == ns);
        let schedules = schedules.count() as u64;
        if schedules > 0 {
            return Err(Rejection::NamespaceHasSchedules { name: String::new(), schedules });
        }
        let streams = self.streams_of(ns);
        if streams > 0 {
            return Err(Rejection::NamespaceHasStreams { name: String::new(), streams });
        }
        self.answer_those_in(ns);
        self.namespaces.retain(|namespace| namespace.id != ns);
        self.jobs.retain(|job| job.ns != ns);
        self.tombstones.retain(|tombstone| tombstone.ns != ns);
        self.kinds.retain(|(of, ..)| *of != ns);
        self.drop_limits(ns);
        self.drop_gates(ns);
        self.drop_holds(ns);
        self.drop_slas(ns);
        self.kinds_set.retain(|(of, _), _| *of != ns);
        Ok(Answer::NamespaceDeleted)
    }

    fn known_queue(&self, ns: NamespaceId, queue: &str) -> Refusable<()> {
        let known = self.queue_named(ns, queue).map(|_| ());
        known.ok_or_else(|| Rejection::QueueUnknown { queue: queue.to_owned() })
    }

    fn put_queue(
        &mut self,
        ns: NamespaceId,
        queue: &str,
        settings: QueueSettings,
    ) -> Refusable<Answer> {
        self.check_name("queue", queue)?;
        self.check_defaults(&settings.defaults)?;
        if self.queue_named(ns, queue).is_some() {
            self.queue_mut(ns, queue).settings = settings;
        } else {
            self.check_queue_room(ns, 0)?;
            self.create_queue(ns, queue, settings);
        }
        self.queue_answer(ns, queue)
    }

    pub(super) fn cancel(&mut self, ns: NamespaceId, id: JobId, force: bool) -> Refusable<Answer> {
        let Some(job) = self.job(ns, id).cloned() else { return Err(self.unknown(ns, id)) };
        if let Some(run) = job.run.as_ref().filter(|_| force) {
            self.lose_track(ns, id);
            self.discard(ns, id, run, (CancelReason::Forced, None));
            let Answer::Job(view) = self.job_answer(ns, id) else { unreachable!("it is kept") };
            return Ok(Answer::RunEnded { view, lease: Box::new(run.lease.clone()) });
        }
        if job.run.is_some() {
            let run = self.job_mut(ns, id).run.as_mut().expect("it runs");
            run.lease.cancel_requested = true;
            return Ok(self.job_answer(ns, id));
        }
        match &job.job.phase {
            Phase::Waiting | Phase::Retrying => {
                self.jobs.retain(|other| other.ns != ns || other.job.id != id);
                self.call_off(job, CancelReason::Asked);
            }
            Phase::Cancelled { .. } => {}
            Phase::Dead { .. } | Phase::Succeeded { .. } | Phase::Expired { .. } => {
                return Err(Rejection::JobStateRefused { id, state: "", needed: "" });
            }
        }
        Ok(self.job_answer(ns, id))
    }

    fn remove(&mut self, ns: NamespaceId, id: JobId) -> Refusable<Answer> {
        match self.job(ns, id).map(|job| Self::is_dead(&job.job)) {
            None => Err(self.unknown(ns, id)),
            Some(false) => Err(Rejection::JobStateRefused { id, state: "", needed: "" }),
            Some(true) => {
                self.remove_job(ns, id);
                Ok(Answer::JobRemoved)
            }
        }
    }

    fn reschedule(&mut self, ns: NamespaceId, id: JobId, start: Start) -> Refusable<Answer> {
        let Some(job) = self.job(ns, id) else { return Err(self.unknown(ns, id)) };
        if job.run.is_some() || !job.job.phase.is_unfinished() {
            return Err(Rejection::JobStateRefused { id, state: "", needed: "" });
        }
        let at = self.instant(start);
        let at_once = at.max(self.now);
        let too_late = |end: TimeMs| end <= at_once;
        if at.since(self.now) > self.limits.horizon_ms_max
            || job.job.deadline.is_some_and(too_late)
            || (job.job.attempt == 0 && job.job.options.expires_at.is_some_and(too_late))
        {
            return Err(refused("run_at"));
        }
        let of = &mut self.job_mut(ns, id).job;
        of.available_at = at_once;
        of.due_at = Some(at_once);
        if of.ends.last().is_some_and(|end| *end != moved_by_hand()) {
            of.ends.push(moved_by_hand());
        }
        Ok(self.job_answer(ns, id))
    }

    fn pause(&mut self, ns: NamespaceId, id: JobId, paused: bool) -> Refusable<Answer> {
        let Some(job) = self.job(ns, id) else { return Err(self.unknown(ns, id)) };
        if !job.job.phase.is_unfinished() {
            return Err(Rejection::JobStateRefused { id, state: "", needed: "" });
        }
        self.job_mut(ns, id).paused = paused;
        Ok(self.job_answer(ns, id))
    }

    fn retry(&mut self, ns: NamespaceId, id: JobId, from: &RetryFrom) -> Refusable<Answer> {
        let Some(job) = self.job(ns, id) else { return Err(self.unknown(ns, id)) };
        if Self::is_dead(&job.job)
            && let Some(holder) = self.is_taken(ns, &job.job)
        {
            return Err(Rejection::UniqueTaken { holder });
        }
        let retrying = matches!(job.job.phase, Phase::Retrying) && job.run.is_none();
        if let RetryFrom::Cursor(cursor) = from
            && cursor.len() as u64 > self.limits.cursor_bytes_max
            && (retrying || Self::is_dead(&job.job))
        {
            return Err(refused("cursor"));
        }
        match &job.job.phase {
            Phase::Dead { .. } => self.retry_dead(ns, id),
            Phase::Retrying if job.run.is_none() => {
                let now = self.now;
                let job = &mut self.job_mut(ns, id).job;
                job.available_at = job.available_at.min(now);
            }
            _ => return Err(Rejection::JobStateRefused { id, state: "", needed: "" }),
        }
        let cursor = match from {
            RetryFrom::Kept => return Ok(self.job_answer(ns, id)),
            RetryFrom::Beginning => None,
            RetryFrom::Cursor(cursor) => Some(cursor.clone()),
        };
        let job = self.job_mut(ns, id);
        let of = &mut job.job;
        if of.attempt == 0 && of.ends.is_empty() && of.last_error.is_none() {
            of.ends.push(elsewhere());
        }
        let kept = job.checkpoint.get_or_insert_default();
        (kept.cursor, kept.progress, kept.progress_text) = (cursor, None, None);
        Ok(self.job_answer(ns, id))
    }

    pub(super) fn may_create_namespace(&self, name: &str) -> Refusable<()> {
        if !self.limits.namespaces_on_first_use && name != "default" {
            return Err(Rejection::NamespaceUnknown { name: name.to_owned() });
        }
        self.check_name("namespace", name)?;
        let limit = self.limits.namespaces_max;
        if self.namespaces.len() >= limit {
            return Err(Rejection::TooManyNamespaces { limit });
        }
        Ok(())
    }

    pub(super) fn create_namespace(&mut self, name: &str) -> NamespaceId {
        let id = NamespaceId(self.next_namespace);
        self.next_namespace += 1;
        let (name, created_at) = (name.to_owned(), self.now);
        self.namespaces.push(RefNamespace { id, name, created_at, dropped: 0 });
        id
    }

    pub(super) fn decide_create_namespace(&mut self, name: &str) -> Refusable<Answer> {
        if self.namespace_named(name).is_none() {
            self.check_name("namespace", name)?;
            let limit = self.limits.namespaces_max;
            if self.namespaces.len() >= limit {
                return Err(Rejection::TooManyNamespaces { limit });
            }
            self.create_namespace(name);
        }
        let namespace = self.namespace_named(name).expect("created where it was missing");
        Ok(Answer::Namespace(self.namespace_view(namespace)))
    }
}
