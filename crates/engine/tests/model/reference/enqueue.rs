//! Enqueueing, all or none.

use longshore_engine::{
    Answer, Body, EnqueueJobs, Enqueued, Job, JobId, JobOptions, NamespaceId, NewJob, Phase, Place,
    QueueId, QueueSettings, Rejection, RetryPolicy, Start, TimeMs,
};

use super::{RefJob, RefQueue, Reference, Refusable, refused};

impl Reference {
    pub(super) fn enqueue(&mut self, ns: NamespaceId, command: &EnqueueJobs) -> Refusable<Answer> {
        self.check_name("queue", &command.queue)?;
        let bytes: usize = command.jobs.iter().map(|job| job.args.len()).sum();
        let count = command.jobs.len();
        if count == 0
            || count > self.limits.bulk_jobs_max
            || bytes as u64 > self.limits.bulk_bytes_max
        {
            return Err(refused("jobs"));
        }
        let known = self.queue_named(ns, &command.queue).cloned();
        if known.is_none() {
            self.check_queue_room()?;
        }
        let settings = known.as_ref().map(|queue| queue.settings.clone()).unwrap_or_default();
        let (mut jobs, mut answers, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        let mut kinds = Vec::new();
        for (index, new) in command.jobs.iter().enumerate() {
            match self.consider(ns, new, &jobs, &mut kinds) {
                Ok(true) => answers.push(Enqueued { id: new.id, replayed: true }),
                Ok(false) => {
                    answers.push(Enqueued { id: new.id, replayed: false });
                    jobs.push(new);
                }
                Err(rejection) => faults.push((index, rejection)),
            }
        }
        if count == 1 && !faults.is_empty() {
            return Err(faults.remove(0).1);
        }
        if !faults.is_empty() {
            return Err(Rejection::JobsRefused { faults });
        }
        let length = self.backlog(ns, &command.queue);
        if let Some(max_length) = settings.max_length
            && !jobs.is_empty()
            && length + jobs.len() as u64 > max_length
        {
            return Err(Rejection::QueueFull { queue: command.queue.clone(), length, max_length });
        }
        if known.is_none() {
            self.create_queue(ns, &command.queue, QueueSettings::default());
        }
        self.kinds.extend(kinds);
        for new in jobs {
            let place = self.take_place();
            let mut job = self.describe(new, &command.queue, &settings, place);
            job.args = Some(self.store_body(new.args.clone()));
            self.tombstones.retain(|t| t.ns != ns || t.id != new.id);
            self.queue_mut(ns, &command.queue).enqueued += 1;
            self.jobs.push(RefJob {
                ns,
                job,
                run: None,
                notes: Vec::new(),
                checkpoint: None,
                skipped: Vec::new(),
                size: 0,
                lot: 0,
            });
        }
        Ok(Answer::Enqueued(answers))
    }

    /// Whether the same request came before, or why it cannot be taken.
    fn consider(
        &self,
        ns: NamespaceId,
        new: &NewJob,
        earlier: &[&NewJob],
        kinds: &mut Vec<String>,
    ) -> Refusable<bool> {
        if let Some(fingerprint) = new.fingerprint {
            let within = earlier.iter().find(|e| e.id == new.id && e.fingerprint.is_some());
            let before = match within {
                Some(earlier) => Some(earlier.fingerprint),
                None => self.fingerprint_of(ns, new.id),
            };
            match before {
                Some(before) if before == Some(fingerprint) => return Ok(true),
                Some(_) => return Err(Rejection::JobIdTaken { id: new.id }),
                None => {}
            }
        }
        self.check_new(new)?;
        if self.kind(&new.kind).is_none() && !kinds.contains(&new.kind) {
            let limit = self.limits.kinds_max;
            if self.kinds.len() + kinds.len() >= limit {
                return Err(Rejection::TooManyKinds { limit });
            }
            kinds.push(new.kind.clone());
        }
        Ok(false)
    }

    #[expect(clippy::option_option, reason = "an id may be taken without a fingerprint")]
    fn fingerprint_of(&self, ns: NamespaceId, id: JobId) -> Option<Option<[u8; 16]>> {
        if let Some(job) = self.job(ns, id) {
            return Some(job.job.fingerprint);
        }
        let remembered =
            |t: &&super::RefTombstone| t.ns == ns && t.id == id && t.forget_at > self.now;
        self.tombstones.iter().find(remembered).map(|t| Some(t.fingerprint))
    }

    fn check_new(&self, new: &NewJob) -> Refusable<()> {
        let limits = &self.limits;
        self.check_name("kind", &new.kind)?;
        if let Some(key) = &new.ordering_key {
            self.check_name("ordering_key", key)?;
        }
        if new.args.len() as u64 > limits.args_bytes_max {
            return Err(refused("args"));
        }
        let spans = [("timeout", new.timeout_ms, 1), ("max_age", new.max_age_ms, 1)];
        for (field, ms, min) in spans.into_iter().chain([("retain", new.retain_ms, 0)]) {
            if ms.is_some_and(|ms| ms < min || ms > limits.horizon_ms_max) {
                return Err(refused(field));
            }
        }
        self.check_lease_ms(new.lease_ms)?;
        if new.max_attempts == Some(0) {
            return Err(refused("max_attempts"));
        }
        for start in [new.start, new.expiry].into_iter().flatten() {
            if self.instant(start).since(self.now) > limits.horizon_ms_max {
                return Err(refused("run_at"));
            }
        }
        Ok(())
    }

    fn instant(&self, start: Start) -> TimeMs {
        match start {
            Start::At(at) => at,
            Start::After(ms) => self.now.plus(ms),
        }
    }

    fn describe(&self, new: &NewJob, queue: &str, settings: &QueueSettings, place: Place) -> Job {
        let defaults = &settings.defaults;
        let now = self.now;
        let max_age_ms = new.max_age_ms.or(defaults.max_age_ms);
        let expires_at = match new.expiry {
            Some(expiry) => Some(self.instant(expiry)),
            None => defaults.ttl_ms.map(|ms| now.plus(ms)),
        };
        let retain_ms = new.retain_ms.or(defaults.retain_ms);
        let max_attempts = new.max_attempts.or(defaults.max_attempts);
        Job {
            id: new.id,
            queue: queue.to_owned(),
            kind: new.kind.clone(),
            args: None::<Body>,
            options: JobOptions {
                priority: new.priority.or(defaults.priority).unwrap_or(0),
                ordering_key: new.ordering_key.clone(),
                at_most_once: new.at_most_once,
                expires_at,
                timeout_ms: new.timeout_ms.or(defaults.timeout_ms),
                lease_ms: new.lease_ms.or(defaults.lease_ms),
                retry: new
                    .retry
                    .clone()
                    .or_else(|| defaults.retry.clone())
                    .unwrap_or(RetryPolicy::Sidekiq),
                max_attempts: max_attempts.unwrap_or(self.limits.max_attempts_default),
                max_age_ms,
                retain_ms: Some(retain_ms.unwrap_or(self.limits.retain_ms_default)),
                tags: new.tags.clone(),
                metadata: new.metadata.clone(),
                traceparent: new.traceparent.clone(),
            },
            fingerprint: new.fingerprint,
            place,
            enqueued_at: now,
            available_at: new.start.map_or(now, |start| self.instant(start).max(now)),
            deadline: max_age_ms.map(|ms| now.plus(ms)),
            phase: Phase::Waiting,
            attempt: 0,
            budget_from: 0,
            losses: 0,
            ends: Vec::new(),
            last_error: None,
        }
    }

    pub(super) fn check_queue_room(&self) -> Refusable<()> {
        let limit = self.limits.queues_max;
        if self.queues.len() >= limit {
            return Err(Rejection::TooManyQueues { limit });
        }
        Ok(())
    }

    pub(super) fn create_queue(&mut self, ns: NamespaceId, name: &str, settings: QueueSettings) {
        self.queues.push(RefQueue {
            id: QueueId(self.next_queue),
            ns,
            name: name.to_owned(),
            settings,
            enqueued: 0,
            succeeded: 0,
            failed: 0,
            died: 0,
            cancelled: 0,
        });
        self.next_queue += 1;
    }

    pub(super) fn check_name(&self, field: &'static str, name: &str) -> Refusable<()> {
        let long = name.len() > self.limits.name_bytes_max;
        if name.is_empty() || long || name.contains(char::is_control) {
            return Err(refused(field));
        }
        Ok(())
    }

    pub(super) fn check_lease_ms(&self, lease_ms: Option<u64>) -> Refusable<()> {
        match lease_ms {
            Some(ms) if !self.limits.lease_ms.contains(&ms) => Err(refused("lease")),
            _ => Ok(()),
        }
    }

    /// Jobs of the queue that have not ended.
    pub(crate) fn backlog(&self, ns: NamespaceId, queue: &str) -> u64 {
        let of = |job: &&RefJob| job.ns == ns && job.job.queue == queue;
        self.jobs.iter().filter(of).filter(|job| job.job.phase.is_unfinished()).count() as u64
    }
}
