//! Leasing, and the requests that wait for a job or for the end of one.

use longshore_engine::{
    Answer, Delivery, Epoch, JobId, KindRange, Lease, LeaseJobs, NamespaceId, QueuePattern,
    RESERVED_KIND_PREFIX, Rejection, ReplyTo, Settlement, Token, Verdict,
};

use super::{
    Held, RefConsumer, RefJob, RefSession, Reference, Refusable, Run, SessionKey, Target, Waiter,
    refused, room,
};

impl Reference {
    pub(super) fn lease(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        request: Box<LeaseJobs>,
    ) -> Refusable<Option<Answer>> {
        let key: SessionKey = (ns, request.worker.clone(), request.session.clone());
        self.check_lease(&key, &request)?;
        if let Some(ask) = request.ask {
            self.note_asked(&key, ask);
        }
        if !request.session.is_empty() {
            self.supersede(&key);
        }
        let settled = self.settle_all(ns, &request.settle);
        if request.max > 0 {
            self.saw(&key, &request);
        }
        let mut jobs = self.granted_before(&key, &request);
        if jobs.is_empty() {
            self.take_back(&key, &request);
            jobs = self.grant(ns, &request, (request.max, u64::MAX)).0;
        }
        let may_wait = !self.stopping && self.check_waiting(ns).is_ok();
        if jobs.is_empty() && request.wait_ms > 0 && request.max > 0 && may_wait {
            let deadline = self.mono + request.wait_ms;
            let target = Target::Work { request, settled };
            self.waiters.push(Waiter { reply_to, ns, deadline, target });
            return Ok(None);
        }
        Ok(Some(Answer::Leased { jobs, settled }))
    }

    pub(super) fn check_lease(&self, key: &SessionKey, request: &LeaseJobs) -> Refusable<()> {
        let limits = &self.limits;
        let bad = request.max > limits.lease_jobs_max
            || request.settle.len() > limits.bulk_jobs_max
            || (request.max > 0 && request.queues.is_empty())
            || request.wait_ms > limits.wait_ms_max;
        if bad {
            return Err(refused("max"));
        }
        let ranges = request.kinds.as_deref().unwrap_or_default();
        if ranges.iter().any(|range| range.from > range.to) {
            return Err(refused("versions"));
        }
        self.check_lease_ms(request.lease_ms)?;
        let Some(ask) = request.ask else { return Ok(()) };
        if request.worker.is_empty() || request.session.is_empty() {
            return Err(refused("turn"));
        }
        let granted = self.sessions.iter().find(|session| session.key == *key);
        let asked = self.asked.iter().find(|(of, ..)| of == key);
        let last = granted.map(|it| it.last_ask).max(asked.map(|(_, ask, _)| *ask));
        match last {
            Some(last_ask) if ask < last_ask => {
                Err(Rejection::AskPassed { worker: request.worker.clone(), ask, last_ask })
            }
            _ if granted.is_none() => {
                let granted = self.sessions.iter().map(|session| session.key.0);
                let room = room(limits.sessions_max, key.0, granted);
                room.map_err(|(scope, limit)| Rejection::TooManySessions { scope, limit })
            }
            _ => Ok(()),
        }
    }

    /// There are fewer of them than the engine forgets any for.
    fn note_asked(&mut self, key: &SessionKey, ask: u64) {
        self.asked.retain(|(of, ..)| of != key);
        self.asked.push((key.clone(), ask, self.mono));
        assert!(self.asked.len() <= 2 * self.limits.sessions_max.shard, "more than were expected");
    }

    fn supersede(&mut self, key: &SessionKey) {
        let same = |w: &Waiter| match &w.target {
            Target::Work { request, .. } => {
                (w.ns, &request.worker, &request.session) == (key.0, &key.1, &key.2)
            }
            Target::Stream { .. } | Target::End(_) | Target::Quiet(_) => false,
        };
        if let Some(index) = self.waiters.iter().position(same) {
            let waiter = self.waiters.remove(index);
            let rejection = Rejection::RequestSuperseded { worker: key.1.clone() };
            self.answers.push((waiter.reply_to, Answer::Rejected(rejection)));
        }
    }

    fn saw(&mut self, key: &SessionKey, request: &LeaseJobs) {
        let until = self.mono + request.wait_ms + self.limits.consumer_ms;
        self.saw_until(key, request, until);
    }

    pub(super) fn saw_until(&mut self, key: &SessionKey, request: &LeaseJobs, until: u64) {
        let known = self.consumers.iter_mut().find(|consumer| consumer.key == *key);
        if let Some(known) =
            known.filter(|it| it.queues == request.queues && it.kinds == request.kinds)
        {
            known.until = known.until.max(until);
            return;
        }
        self.consumers.retain(|consumer| consumer.key != *key);
        let (queues, kinds) = (request.queues.clone(), request.kinds.clone());
        self.consumers.push(RefConsumer { key: key.clone(), queues, kinds, until });
    }

    fn granted_before(&self, key: &SessionKey, request: &LeaseJobs) -> Vec<Delivery> {
        let session = self.sessions.iter().find(|session| session.key == *key);
        let asks = session.iter().flat_map(|session| &session.unseen);
        let same = asks.filter(|(ask, _)| Some(*ask) == request.ask);
        let mut jobs = Vec::new();
        for (id, token) in same.flat_map(|(_, grants)| grants) {
            let Some(job) = self.job(key.0, *id) else { continue };
            if let Some(run) = job.run.as_ref().filter(|run| run.lease.token == *token) {
                jobs.push(self.delivery(job, &run.lease));
            }
        }
        jobs
    }

    fn take_back(&mut self, key: &SessionKey, request: &LeaseJobs) {
        let (Some(ask), Some(seen)) = (request.ask, request.seen) else { return };
        let session = self.sessions.iter().find(|session| session.key == *key);
        let asks = session.iter().flat_map(|session| &session.unseen);
        let unseen = asks.filter(|(of, _)| *of > seen && *of < ask);
        let grants: Vec<_> = unseen.flat_map(|(_, grants)| grants.clone()).collect();
        for (id, token) in grants {
            let run = self.job(key.0, id).and_then(|job| job.run.as_ref());
            if run.is_some_and(|run| run.lease.token == token) {
                let release = Settlement { id, token, verdict: Verdict::Release };
                self.settle_all(key.0, &[release]).remove(0).expect("its lease is live");
            }
        }
    }

    /// Grants up to so many jobs and about so many bytes, and answers how many bytes it were.
    pub(super) fn grant(
        &mut self,
        ns: NamespaceId,
        request: &LeaseJobs,
        (jobs_max, bytes_max): (usize, u64),
    ) -> (Vec<Delivery>, u64) {
        let (mut jobs, mut bytes, mut is_full) = (Vec::new(), 0, false);
        while !self.stopping && jobs.len() < jobs_max && bytes < bytes_max && !is_full {
            let want = jobs_max - jobs.len();
            let offers = request.queues.iter().map(|queues| self.offer(ns, request, queues, want));
            let Some(offer) = offers.into_iter().find(|offer| !offer.is_empty()) else { break };
            let (mut granted, mut granted_bytes) = (Vec::new(), 0);
            for id in offer {
                let found = self.job(ns, id).expect("it waits");
                if let Some(late) = self.out_of_time(&found.job) {
                    self.end_late(ns, id, late);
                    continue;
                }
                if let Some(tag) = self.held_tag(found) {
                    self.job_mut(ns, id).held_back = Some(tag);
                    continue;
                }
                if !self.limits_let(found) {
                    continue;
                }
                let cursor = found.checkpoint.as_ref().and_then(|it| it.cursor.as_ref());
                let args = found.job.args.as_ref().map_or(0, |args| self.body(args).len());
                let size = (args + cursor.map_or(0, bytes::Bytes::len)) as u64;
                if bytes + granted_bytes + size > bytes_max && !granted.is_empty() {
                    is_full = true;
                    break;
                }
                granted_bytes += size;
                granted.push(self.hand_over(ns, id, request));
            }
            if let Some(ask) = request.ask.filter(|_| !granted.is_empty()) {
                self.remember_ask(ns, request, ask, &granted);
            }
            bytes += granted_bytes;
            jobs.extend(granted);
        }
        (jobs, bytes)
    }

    /// The first `want` jobs of these queues that are due and of a kind that is wanted.
    fn offer(
        &self,
        ns: NamespaceId,
        request: &LeaseJobs,
        pattern: &QueuePattern,
        want: usize,
    ) -> Vec<JobId> {
        let mut found: Vec<&RefJob> = self
            .jobs
            .iter()
            .filter(|job| job.ns == ns && job.job.available_at <= self.now)
            .filter(|job| self.is_filed(job) && self.suits(request, pattern, job))
            .filter(|job| self.held_by_limits(job).is_empty())
            .filter(|job| self.held_by_gates(job).is_empty())
            .filter(|job| self.is_first_of_tenant(job))
            .collect();
        found.sort_by_key(|job| (u8::MAX - job.job.options.priority, self.by_deadline(job)));
        // What names a key or a tenant is the last of a step: what comes next may be behind it in a
        // line.
        let lined = |job: &&RefJob| {
            let options = &job.job.options;
            options.own_limits().next().is_some() || options.tenant.is_some()
        };
        let keyed = found.iter().position(lined);
        found.truncate(keyed.map_or(want, |at| want.min(at + 1)));
        found.iter().map(|job| job.job.id).collect()
    }

    fn suits(&self, request: &LeaseJobs, pattern: &QueuePattern, job: &RefJob) -> bool {
        let (kind, queue) = (&job.job.kind, &job.job.queue);
        let wanted = match &request.kinds {
            Some(kinds) => runs(kinds, kind, job.job.options.version),
            None => !kind.starts_with(RESERVED_KIND_PREFIX),
        };
        let matching = match pattern {
            QueuePattern::Exactly(name) => queue == name,
            QueuePattern::Prefix(prefix) => queue.starts_with(prefix.as_str()),
        };
        let queue = self.queue_named(job.ns, queue);
        wanted && matching && queue.is_some_and(|queue| !queue.settings.paused)
    }

    /// Whether somebody waits who would take the job.
    pub(super) fn is_awaited(&self, job: &RefJob) -> bool {
        if !self.held_by_limits(job).is_empty() || !self.held_by_gates(job).is_empty() {
            return false;
        }
        self.waiters.iter().filter(|waiter| waiter.ns == job.ns).any(|w| match &w.target {
            Target::Stream { jobs, bytes, .. } if *jobs == 0 || *bytes <= 0 => false,
            Target::Work { request, .. } | Target::Stream { request, .. } => {
                request.queues.iter().any(|pattern| self.suits(request, pattern, job))
            }
            Target::End(_) | Target::Quiet(_) => false,
        })
    }

    fn hand_over(&mut self, ns: NamespaceId, id: JobId, request: &LeaseJobs) -> Delivery {
        let token = Token { epoch: Epoch(self.epoch), counter: self.next_token };
        self.next_token += 1;
        self.forget_kept();
        let next = self.job_mut(ns, id).clone();
        self.take_turn(&next, token);
        let (now, mono, default_ms) = (self.now, self.mono, self.limits.lease_ms_default);
        let job = self.job_mut(ns, id);
        let own_ms = job.job.options.lease_ms;
        let lease_ms = if request.prefetch {
            request.lease_ms.unwrap_or(default_ms).max(own_ms.unwrap_or(0))
        } else {
            request.lease_ms.or(own_ms).unwrap_or(default_ms)
        };
        // That of a job which waits at its worker begins when the worker runs it.
        let timeout_ms = job.job.options.timeout_ms.filter(|_| !request.prefetch);
        let timeout = timeout_ms.map(|ms| mono.saturating_add(ms));
        let held = match (request.prefetch, job.job.options.at_most_once) {
            (false, _) => Held::Apart,
            (true, false) => Held::Delivered,
            (true, true) => Held::Started,
        };
        let expires = mono.saturating_add(lease_ms);
        let lease = Lease {
            token,
            attempt: job.job.attempt + 1,
            started_at: now,
            worker: request.worker.as_str().into(),
            session: request.session.as_str().into(),
            lease_ms,
            cancel_requested: false,
            progress: None,
            progress_text: None,
        };
        let expires = timeout.map_or(expires, |timeout| expires.min(timeout));
        let begun = false;
        job.started = true;
        job.run = Some(Run { lease: lease.clone(), expires, timeout, held, begun });
        let job = job.clone();
        self.spend(&job);
        self.delivery(&job, &lease)
    }

    fn delivery(&self, of: &RefJob, lease: &Lease) -> Delivery {
        let job = &of.job;
        let kept = of.checkpoint.as_ref();
        Delivery {
            id: job.id,
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            version: job.options.version,
            args: job.args.as_ref().map(|args| self.body(args)).expect("a job that runs has args"),
            attempt: lease.attempt,
            max_attempts: job.budget_from + job.options.max_attempts,
            token: lease.token,
            lease_ms: lease.lease_ms,
            timeout_ms: job.options.timeout_ms,
            at_most_once: job.options.at_most_once,
            enqueued_at: job.enqueued_at,
            priority: job.options.priority,
            ordering_key: job.options.ordering_key.clone(),
            tags: job.options.tags.clone(),
            metadata: job.options.metadata.clone(),
            traceparent: job.options.traceparent.clone(),
            cursor: kept.and_then(|kept| kept.cursor.clone()),
            interruptions: kept.map_or(0, |kept| kept.interruptions),
            counters: kept.map(|kept| kept.counters.clone()).unwrap_or_default(),
        }
    }

    fn remember_ask(
        &mut self,
        ns: NamespaceId,
        request: &LeaseJobs,
        ask: u64,
        granted: &[Delivery],
    ) {
        let key = (ns, request.worker.clone(), request.session.clone());
        let grants: Vec<_> = granted.iter().map(|job| (job.id, job.token)).collect();
        let touched = self.mono;
        if !self.sessions.iter().any(|session| session.key == key) {
            let new = RefSession { key: key.clone(), last_ask: ask, unseen: Vec::new(), touched };
            self.sessions.push(new);
        }
        let session = self.sessions.iter_mut().find(|session| session.key == key);
        let session = session.expect("it was added where it was missing");
        (session.last_ask, session.touched) = (ask, touched);
        match request.seen {
            Some(seen) => session.unseen.retain(|(of, _)| *of > seen),
            None => session.unseen.retain(|(of, _)| *of == ask),
        }
        match session.unseen.iter_mut().find(|(of, _)| *of == ask) {
            Some((_, known)) => known.extend(grants),
            None => session.unseen.push((ask, grants)),
        }
        if session.unseen.len() > 32 {
            session.unseen.remove(0);
        }
    }

    /// Nobody waits while there is a job for them; who came first is served first.
    pub(super) fn dispatch(&mut self) {
        let mut index = 0;
        while let Some(waiter) = self.waiters.get(index).cloned() {
            let ended = self.ended.len();
            match waiter.target {
                Target::End(_) | Target::Quiet(_) => index += 1,
                Target::Stream { id, .. } => index += usize::from(!self.serve_stream(id)),
                Target::Work { request, settled } => {
                    let (jobs, _) = self.grant(waiter.ns, &request, (request.max, u64::MAX));
                    if jobs.is_empty() {
                        index += 1;
                    } else {
                        self.waiters.remove(index);
                        self.answers.push((waiter.reply_to, Answer::Leased { jobs, settled }));
                    }
                }
            }
            if self.ended.len() > ended {
                // A job that ended may have let another come forward.
                index = 0;
            }
        }
    }

    pub(super) fn check_waiting(&self, ns: NamespaceId) -> Refusable<()> {
        let all = self.waiters.iter().map(|waiter| waiter.ns);
        room(self.limits.waiters_max, ns, all)
            .map_err(|(scope, limit)| Rejection::TooManyWaiting { scope, limit })
    }

    pub(super) fn await_job(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        id: JobId,
        wait_ms: u64,
    ) -> Option<Refusable<Answer>> {
        let unfinished = self.job(ns, id).is_some_and(|job| job.job.phase.is_unfinished());
        if !unfinished || wait_ms == 0 || self.stopping {
            return Some(Ok(self.job_answer(ns, id)));
        }
        if let Err(rejection) = self.check_waiting(ns) {
            return Some(Err(rejection));
        }
        let deadline = self.mono + wait_ms.min(self.limits.wait_ms_max);
        self.waiters.push(Waiter { reply_to, ns, deadline, target: Target::End(id) });
        None
    }
}

/// Whether what a worker runs has a version of a kind.
pub(super) fn runs(kinds: &[KindRange], kind: &str, version: u32) -> bool {
    kinds.iter().any(|range| range.kind == kind && range.from <= version && version <= range.to)
}
