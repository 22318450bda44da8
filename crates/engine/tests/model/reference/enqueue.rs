//! Enqueueing, all or none, by themselves or with the end of another job.

use std::collections::BTreeSet;

use longshore_engine::{
    Answer, Body, Checkpoint, End, EndKind, EnqueueJobs, Enqueued, FollowUp, Job, JobId,
    JobOptions, KindId, NamespaceId, NewJob, Phase, Place, QueueId, QueueSettings, Rejection,
    RetryPolicy, Start, TimeMs, Token,
};

use super::{RefJob, RefQueue, Reference, Refusable, refused, room};

/// Jobs that may enter together, and what comes into being with them.
#[derive(Debug, Default)]
pub(super) struct Entering<'a> {
    pub(super) jobs: Vec<(&'a str, &'a NewJob)>,
    pub(super) changes: Vec<Change>,
    /// The job that ends with it.
    pub(super) leaving: Option<JobId>,
    /// Jobs that were there before, and that the answers name.
    told: Vec<JobId>,
    answers: Vec<Enqueued>,
    queues: Vec<&'a str>,
    kinds: Vec<(String, u32)>,
}

/// What a job that waits gets of one that does not enter, after so many have entered.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) after: usize,
    pub(super) id: JobId,
    pub(super) args: Option<bytes::Bytes>,
    pub(super) at: Option<TimeMs>,
}

impl Reference {
    pub(super) fn enqueue(&mut self, ns: NamespaceId, command: &EnqueueJobs) -> Refusable<Answer> {
        self.check_name("queue", &command.queue)?;
        let bytes: usize = command.jobs.iter().map(bytes_of).sum();
        let count = command.jobs.len();
        if count == 0
            || count > self.limits.bulk_jobs_max
            || bytes as u64 > self.limits.bulk_bytes_max
        {
            return Err(refused("jobs"));
        }
        if self.queue_named(ns, &command.queue).is_none() {
            self.check_queue_room(ns, 0)?;
        }
        let all = command.jobs.iter().map(|new| (command.queue.as_str(), new));
        let entering = match self.check_all(ns, all.collect(), None) {
            Err(Rejection::JobsRefused { mut faults }) if count == 1 => {
                return Err(faults.remove(0).1);
            }
            result => result?,
        };
        self.check_lengths(ns, &entering, None)?;
        let answers = entering.answers.clone();
        self.let_in(ns, entering);
        Ok(Answer::Enqueued(answers))
    }

    /// What enters when a job of the queue `leaving` ends.
    pub(super) fn follow_ups<'a>(
        &self,
        ns: NamespaceId,
        follow_ups: &'a [FollowUp],
        (leaving, queue): (JobId, &str),
    ) -> Refusable<Entering<'a>> {
        let bytes: usize = follow_ups.iter().map(|one| bytes_of(&one.job)).sum();
        let too_many = follow_ups.len() > self.limits.bulk_jobs_max;
        if too_many || bytes as u64 > self.limits.bulk_bytes_max {
            return Err(refused("enqueue"));
        }
        let all = follow_ups.iter().map(|one| (one.queue.as_str(), &one.job)).collect();
        let entering = self.check_all(ns, all, Some(leaving))?;
        self.check_lengths(ns, &entering, Some(queue))?;
        Ok(entering)
    }

    fn check_all<'a>(
        &self,
        ns: NamespaceId,
        all: Vec<(&'a str, &'a NewJob)>,
        leaving: Option<JobId>,
    ) -> Refusable<Entering<'a>> {
        let mut entering = Entering { leaving, ..Entering::default() };
        let mut faults = Vec::new();
        for (index, (queue, new)) in all.into_iter().enumerate() {
            match self.consider(ns, queue, new, &mut entering) {
                Ok(answer) => entering.answers.push(answer),
                Err(rejection) => faults.push((index, rejection)),
            }
        }
        if faults.is_empty() { Ok(entering) } else { Err(Rejection::JobsRefused { faults }) }
    }

    /// Whether one job may enter where so many leave its queue.
    pub(super) fn check_entering(
        &self,
        ns: NamespaceId,
        (queue, new): (&str, &NewJob),
        left: u64,
    ) -> Refusable<()> {
        self.check_all(ns, vec![(queue, new)], None)?;
        let Some(known) = self.queue_named(ns, queue) else { return Ok(()) };
        let length = self.backlog(ns, queue).saturating_sub(left);
        match known.settings.max_length {
            Some(max_length) if length + 1 > max_length => {
                Err(Rejection::QueueFull { queue: queue.to_owned(), length, max_length })
            }
            _ => Ok(()),
        }
    }

    /// Lets a job in that may enter.
    pub(super) fn let_in_one(&mut self, ns: NamespaceId, queue: &str, new: &NewJob) {
        let entering = self.check_all(ns, vec![(queue, new)], None).expect("checked before");
        self.let_in(ns, entering);
    }

    fn check_lengths(
        &self,
        ns: NamespaceId,
        entering: &Entering<'_>,
        leaving: Option<&str>,
    ) -> Refusable<()> {
        for queue in self.queues.iter().filter(|queue| queue.ns == ns) {
            let entered = entering.jobs.iter().filter(|(name, _)| *name == queue.name).count();
            let left = u64::from(leaving == Some(&queue.name));
            let length = self.backlog(ns, &queue.name).saturating_sub(left);
            if let Some(max_length) = queue.settings.max_length
                && entered > 0
                && length + entered as u64 > max_length
            {
                return Err(Rejection::QueueFull { queue: queue.name.clone(), length, max_length });
            }
        }
        Ok(())
    }

    pub(super) fn let_in(&mut self, ns: NamespaceId, entering: Entering<'_>) {
        for queue in entering.queues {
            self.create_queue(ns, queue, QueueSettings::default());
        }
        for kind in entering.kinds {
            self.kinds.push((ns, kind, KindId(self.next_kind)));
            self.next_kind += 1;
        }
        let mut changes = entering.changes.into_iter().peekable();
        for (index, (queue, new)) in entering.jobs.into_iter().enumerate() {
            while let Some(change) = changes.next_if(|change| change.after <= index) {
                self.replace(ns, (change.id, change.args, change.at));
            }
            self.forget_tenants();
            let place = self.take_place();
            let settings = self.queue_mut(ns, queue).settings.clone();
            let mut job = self.describe(new, (ns, queue), &settings, place);
            job.args = Some(self.store_body(new.args.clone()));
            self.tombstones.retain(|t| t.ns != ns || t.id != new.id);
            self.queue_mut(ns, queue).enqueued += 1;
            self.jobs.push(RefJob {
                ns,
                job,
                run: None,
                notes: Vec::new(),
                checkpoint: new.cursor.clone().map(at_cursor),
                skipped: Vec::new(),
                paused: false,
                snoozed_out: false,
                size: 0,
                lot: 0,
                started: false,
                held_back: None,
                waited: false,
            });
        }
        for change in changes {
            self.replace(ns, (change.id, change.args, change.at));
        }
        for id in entering.told {
            if self.job(ns, id).is_some_and(RefJob::may_be_withdrawn) {
                self.job_mut(ns, id).job.told = true;
            }
        }
    }

    /// Whether the same request came before, or why it cannot be taken.
    fn consider<'a>(
        &self,
        ns: NamespaceId,
        queue: &'a str,
        new: &'a NewJob,
        entering: &mut Entering<'a>,
    ) -> Refusable<Enqueued> {
        self.check_name("queue", queue)?;
        if self.queue_named(ns, queue).is_none() && !entering.queues.contains(&queue) {
            self.check_queue_room(ns, entering.queues.len())?;
            entering.queues.push(queue);
        }
        if let Some(fingerprint) = new.fingerprint {
            let earlier = entering.jobs.iter().map(|(_, earlier)| earlier);
            let within = earlier.into_iter().find(|e| e.id == new.id && e.fingerprint.is_some());
            let before = match within {
                Some(earlier) => Some(earlier.fingerprint),
                None => self.fingerprint_of(ns, new.id),
            };
            match before {
                Some(before) if before == Some(fingerprint) => {
                    entering.told.extend(self.job(ns, new.id).map(|of| of.job.id));
                    return Ok(Enqueued { id: new.id, replayed: true, met: None });
                }
                Some(_) => return Err(Rejection::JobIdTaken { id: new.id }),
                None => {}
            }
        }
        self.check_new(new)?;
        if let Some((id, met)) = self.meet(ns, (queue, new), entering)? {
            entering.told.extend(self.job(ns, id).map(|of| of.job.id));
            return Ok(Enqueued { id, replayed: false, met: Some(met) });
        }
        let kind = (new.kind.clone(), new.version);
        if self.kind(ns, &kind.0, kind.1).is_none() && !entering.kinds.contains(&kind) {
            let all = self.kinds.iter().map(|(of, ..)| *of);
            let all = all.chain(entering.kinds.iter().map(|_| ns));
            if let Err((scope, limit)) = room(self.limits.kinds_max, ns, all) {
                return Err(Rejection::TooManyKinds { scope, limit });
            }
            entering.kinds.push(kind);
        }
        entering.jobs.push((queue, new));
        Ok(Enqueued { id: new.id, replayed: false, met: None })
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

    pub(super) fn check_new(&self, new: &NewJob) -> Refusable<()> {
        let limits = &self.limits;
        self.check_name("kind", &new.kind)?;
        if let Some(key) = &new.ordering_key {
            self.check_name("ordering_key", key)?;
        }
        let cursor_bytes = new.cursor.as_ref().map_or(0, bytes::Bytes::len) as u64;
        if new.args.len() as u64 > limits.args_bytes_max || cursor_bytes > limits.cursor_bytes_max {
            return Err(refused("args"));
        }
        let spans = [("timeout", new.timeout_ms, 1), ("max_age", new.max_age_ms, 1)];
        for (field, ms, min) in spans.into_iter().chain([("retain", new.retain_ms, 0)]) {
            if ms.is_some_and(|ms| ms < min || ms > limits.horizon_ms_max) {
                return Err(refused(field));
            }
        }
        self.check_lease_ms(new.lease_ms)?;
        self.check_gates(&new.gates)?;
        self.check_unique(new)?;
        if new.max_attempts == Some(0) {
            return Err(refused("max_attempts"));
        }
        for start in [new.start, new.expiry].into_iter().flatten() {
            if self.instant(start).since(self.now) > limits.horizon_ms_max {
                return Err(refused("run_at"));
            }
        }
        let start = new.start.map_or(self.now, |start| self.instant(start));
        match new.expiry {
            Some(Start::At(at)) if start > self.now && at <= start => Err(refused("expires_at")),
            _ => Ok(()),
        }
    }

    pub(super) fn instant(&self, start: Start) -> TimeMs {
        match start {
            Start::At(at) => at,
            Start::After(ms) => self.now.plus(ms),
        }
    }

    pub(super) fn describe(
        &self,
        new: &NewJob,
        (ns, queue): (NamespaceId, &str),
        settings: &QueueSettings,
        place: Place,
    ) -> Job {
        let defaults = &self.defaults_of(ns, &new.kind, &settings.defaults);
        let now = self.now;
        let max_age_ms = new.max_age_ms.or(defaults.max_age_ms);
        let available_at = new.start.map_or(now, |start| self.instant(start).max(now));
        let expires_at = match new.expiry {
            Some(Start::At(at)) => Some(at),
            Some(Start::After(ms)) => Some(available_at.plus(ms)),
            None => defaults.ttl_ms.map(|ms| available_at.plus(ms)),
        };
        let retain_ms = new.retain_ms.or(defaults.retain_ms);
        let retain_ms = retain_ms.unwrap_or(self.limits.retain_ms_default);
        let max_attempts = new.max_attempts.or(defaults.max_attempts);
        let named: Vec<_> = new.limit.iter().chain(&new.limits).cloned().collect();
        let only = named.len() == 1 && new.tenant.is_none();
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
                retain_ms: Some(self.retain_ms_of(new, retain_ms)),
                tags: new.tags.clone(),
                metadata: new.metadata.clone(),
                traceparent: new.traceparent.clone(),
                unique: self.lock_of(new),
                limit: if only { new.limit.clone() } else { None },
                tenant: new.tenant.clone(),
                hops: 0,
                version: new.version,
                limits: if only { Vec::new() } else { named },
                gates: {
                    let gates: BTreeSet<_> = new.gates.iter().cloned().collect();
                    gates.into_iter().collect()
                },
            },
            fingerprint: new.fingerprint,
            place,
            enqueued_at: now,
            available_at,
            deadline: max_age_ms.map(|ms| available_at.plus(ms)),
            phase: Phase::Waiting,
            attempt: 0,
            budget_from: 0,
            losses: 0,
            snoozes: 0,
            ends: new.cursor.iter().map(|_| elsewhere()).collect(),
            last_error: None,
            final_run: None,
            notes_bytes: 0,
            ran_ms: 0,
            tick: new.tick.clone(),
            due_at: (available_at > now).then_some(available_at),
            told: false,
            moved: None,
        }
    }

    /// Whether one more queue may be created, after `earlier` ones.
    pub(super) fn check_queue_room(&self, ns: NamespaceId, earlier: usize) -> Refusable<()> {
        let all = self.queues.iter().map(|queue| queue.ns);
        let all = all.chain(std::iter::repeat_n(ns, earlier));
        room(self.limits.queues_max, ns, all)
            .map_err(|(scope, limit)| Rejection::TooManyQueues { scope, limit })
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
            empty: None,
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

fn bytes_of(job: &NewJob) -> usize {
    job.args.len() + job.cursor.as_ref().map_or(0, bytes::Bytes::len)
}

fn at_cursor(cursor: bytes::Bytes) -> Checkpoint {
    Checkpoint { cursor: Some(cursor), ..Checkpoint::default() }
}

/// The end of a run that nobody had.
pub(super) fn elsewhere() -> End {
    End { token: Token::default(), kind: EndKind::Interrupted }
}
