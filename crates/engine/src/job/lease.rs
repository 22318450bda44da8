//! Leasing: picking what a worker may run, and handing it over.

use std::sync::Arc;

use crate::answer::Delivery;
use crate::command::LeaseJobs;
use crate::ids::{JobId, KindId, NamespaceId, TimeMs, Token};
use crate::job::{Body, Checkpoint, DeadReason, Job, Lease};
use crate::limit::{Room, Taken, line_moved};
use crate::moment::Moment;
use crate::queueing::Offer;
use crate::record::{Grant, Record};
use crate::sla::SlaEvent;
use crate::state::State;

/// Grants of one step of jobs with a key and a tenant: each may move the lines of its tenant, and
/// what that cost is known after the step.
const MOVING_MAX: usize = 16;

/// What one request asks for, step by step.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    request: &'a LeaseJobs,
    /// The kinds that it names, as far as anything was due of them.
    kinds: Option<Vec<KindId>>,
    /// Queues of the request before this one had nothing.
    from: usize,
    /// What was looked at for that, as far as no step has counted it yet.
    looked: usize,
    /// Something ended or moved: queues that had nothing may have something.
    stirred: bool,
}

impl Asked<'_> {
    /// A step was decided. Whether another one may find more.
    pub(crate) fn goes_on(&mut self, state: &State, ns: NamespaceId, step: &LeaseStep) -> bool {
        self.looked = 0;
        self.from = step.from;
        self.stirred |= step.records.len() > usize::from(!step.deliveries.is_empty());
        if step.exhausted && step.deliveries.is_empty() && self.stirred {
            *self = state.asked(ns, self.request);
            return true;
        }
        !step.exhausted
    }
}

/// What one step of a lease decides.
#[derive(Debug, Default)]
pub(crate) struct LeaseStep {
    pub(crate) records: Vec<Record>,
    pub(crate) deliveries: Vec<Delivery>,
    /// Jobs that it looked at.
    pub(crate) examined: usize,
    /// Queues of the request before this one had nothing.
    from: usize,
    /// What it looked at to find them: names of kinds, heads and parts of trees.
    pub(crate) looked: usize,
    /// Bytes of the args that it hands over.
    pub(crate) bytes: usize,
    /// How many of the jobs have a tenant.
    pub(crate) tenanted: u64,
    /// Nothing more is to be had, or the bytes are used up.
    pub(crate) exhausted: bool,
}

impl State {
    /// What a request asks for, from its first queue on.
    pub(crate) fn asked<'a>(&self, ns: NamespaceId, request: &'a LeaseJobs) -> Asked<'a> {
        let kinds = request.kinds.as_ref().map(|names| self.kinds_due(ns, names));
        let looked = request.kinds.as_ref().map_or(0, Vec::len);
        Asked { request, kinds, from: 0, looked, stirred: false }
    }

    /// Picks up to `want` jobs from the first queue of the request that has any that are due, and
    /// about `bytes_max` of args, but one job at least.
    /// Jobs whose time has run out are ended instead of granted. The caller applies the step and
    /// comes again until it has enough or no more is to be found.
    pub(crate) fn decide_lease_step(
        &self,
        ns: NamespaceId,
        asked: &Asked<'_>,
        want: usize,
        bytes_max: usize,
        moment: Moment,
    ) -> LeaseStep {
        let (Asked { request, kinds, .. }, mut looked) = (asked, asked.looked);
        for (from, pattern) in request.queues.iter().enumerate().skip(asked.from) {
            let offer = self.offer(ns, pattern, kinds.as_deref(), (moment.at, want));
            let Offer { jobs, looked: more, cut } = offer;
            looked += 1 + more;
            if !jobs.is_empty() {
                let step = self.grant(ns, request, jobs, bytes_max, moment);
                return LeaseStep { from, looked, ..step };
            }
            if cut {
                return LeaseStep { from, looked, ..LeaseStep::default() };
            }
        }
        LeaseStep { looked, exhausted: true, ..LeaseStep::default() }
    }

    fn grant(
        &self,
        namespace: NamespaceId,
        request: &LeaseJobs,
        candidates: Vec<JobId>,
        bytes_max: usize,
        moment: Moment,
    ) -> LeaseStep {
        let mut step = LeaseStep::default();
        let mut grants = Vec::with_capacity(candidates.len());
        let mut taken = Taken::new();
        let mut moving = 0;
        for id in candidates {
            step.examined += 1;
            let job = self.job(namespace, id).expect("a lane names jobs that exist");
            if let Some(end) = out_of_time(namespace, &job, &self.limits, moment) {
                step.records.push(end);
                continue;
            }
            if let Some(held_back) = self.decide_held_back(namespace, id, &job.options.tags) {
                step.records.push(held_back);
                continue;
            }
            match self.take_limits(namespace, &job, &mut taken, moment) {
                Room::Taken => {}
                // What was granted before it in this step used that up.
                Room::None => continue,
                Room::Behind(of) => {
                    step.records.extend(line_moved(&job, &of));
                    continue;
                }
                Room::Unknown(of) => {
                    step.records.push(of.settled());
                    continue;
                }
            }
            let checkpoint = if job.has_run() { self.checkpoint(namespace, id) } else { None };
            let cursor = checkpoint.as_ref().and_then(|checkpoint| checkpoint.cursor.as_ref());
            let bytes = step.bytes
                + job.args.as_ref().map_or(0, Body::length) as usize
                + cursor.map_or(0, bytes::Bytes::len);
            if bytes > bytes_max && !grants.is_empty() {
                step.exhausted = true;
                break;
            }
            // It goes alone: if it ends its worker, it takes no other job with it, and no other is
            // suspected.
            let alone = request.prefetch && self.leases.is_suspect(namespace, id);
            if alone && !grants.is_empty() {
                step.exhausted = true;
                break;
            }
            step.bytes = bytes;
            let counter = self.meta.next_token + grants.len() as u64;
            let lease_ms = self.granted_ms(request, &job);
            let epoch = self.meta.epoch;
            let fence = Token { epoch, counter };
            grants.push(Grant { id, token: fence, lease_ms });
            let delivery = self.delivery(&job, checkpoint, fence, job.attempt + 1, lease_ms);
            step.deliveries.push(delivery);
            step.tenanted += u64::from(job.options.tenant.is_some());
            if alone {
                step.exhausted = true;
                break;
            }
            moving += usize::from(job.turns_of().is_some() && !job.options.limits.is_empty());
            if moving >= MOVING_MAX {
                break;
            }
        }
        if !grants.is_empty() {
            step.records.push(Record::LeasesGranted {
                namespace,
                worker: request.worker.clone(),
                session: request.session.clone(),
                ask: request.ask,
                seen: request.seen,
                grants,
            });
        }
        step
    }

    /// How long a grant holds. A streaming worker has one heartbeat for all its leases, as often
    /// as the lease of its session asks for. So none of its leases is shorter than that.
    fn granted_ms(&self, request: &LeaseJobs, job: &Job) -> u64 {
        let (asked, own) = (request.lease_ms, job.options.lease_ms);
        let default_ms = self.limits.lease_ms_default;
        if request.prefetch {
            return asked.unwrap_or(default_ms).max(own.unwrap_or(0));
        }
        asked.or(own).unwrap_or(default_ms)
    }

    pub(crate) fn delivery(
        &self,
        job: &Job,
        checkpoint: Option<Checkpoint>,
        token: Token,
        attempt: u32,
        lease_ms: u64,
    ) -> Delivery {
        let Checkpoint { cursor, interruptions, counters, .. } = checkpoint.unwrap_or_default();
        Delivery {
            id: job.id,
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            version: job.options.version,
            args: job.args.as_ref().map(|args| self.body(args)).unwrap_or_default(),
            attempt,
            max_attempts: job.budget_from.saturating_add(job.options.max_attempts),
            token,
            lease_ms,
            timeout_ms: job.options.timeout_ms,
            at_most_once: job.options.at_most_once,
            enqueued_at: job.enqueued_at,
            priority: job.options.priority,
            ordering_key: job.options.ordering_key.clone(),
            tags: job.options.tags.clone(),
            metadata: job.options.metadata.clone(),
            traceparent: job.options.traceparent.clone(),
            cursor,
            interruptions,
            counters,
        }
    }

    pub(crate) fn apply_leases_granted(
        &mut self,
        ns: NamespaceId,
        session: (String, String),
        ask: Option<(u64, Option<u64>)>,
        grants: &[Grant],
    ) {
        let (worker, session) = session;
        let [by, life] = [&worker, &session].map(|name| Arc::<str>::from(name.as_str()));
        for grant in grants {
            let job = self.job(ns, grant.id).expect("a grant names a job that exists");
            let queue = self.queue_of(ns, &job);
            self.take_from_lane(ns, queue, &job);
            if !job.has_run() && job.losses == 0 {
                self.note_sla(ns, &job, SlaEvent::Started);
            }
            self.take_turn(ns, queue, &job, grant.token);
            self.leave_unique_started(ns, &job);
            self.queues.change(queue).counts.running += 1;
            let lease = Lease {
                token: grant.token,
                attempt: job.attempt + 1,
                started_at: self.now(),
                worker: Arc::clone(&by),
                session: Arc::clone(&life),
                lease_ms: grant.lease_ms,
                cancel_requested: false,
                progress: None,
                progress_text: None,
            };
            self.grant_lease(ns, grant.id, lease, Arc::clone(&job));
            self.spend_limits(ns, &job);
            self.meta_mut().next_token = grant.token.counter + 1;
        }
        if let Some(ask) = ask {
            let key = (ns, worker, session);
            let granted = grants.iter().map(|grant| (grant.id, grant.token));
            self.sessions.remember_ask(&key, ask, granted, self.mono());
        }
    }

    /// The job runs from now on: whatever counts runs counts it.
    pub(crate) fn run_begins(&mut self, ns: NamespaceId, job: &Job) {
        self.let_job_go(ns, job.id);
        self.count_lease(ns, job);
        if let Some(kind) = self.kind_of(ns, job) {
            self.kinds.count_running(kind, true);
        }
        self.holds.count_lease(ns, (job.id, &job.options.tags), true);
    }

    /// Its run, which began then, has ended, however it did.
    pub(crate) fn run_ends(&mut self, ns: NamespaceId, job: &Job, started_at: TimeMs) {
        self.give_back_slots(ns, job);
        self.note_sla(ns, job, SlaEvent::Ran(self.now().since(started_at)));
        self.holds.count_lease(ns, (job.id, &job.options.tags), false);
        if let Some(kind) = self.kind_of(ns, job) {
            self.kinds.count_running(kind, false);
        }
    }
}

/// The end of a waiting job that may not start any more at this moment.
pub(crate) fn out_of_time(
    namespace: NamespaceId,
    job: &Job,
    limits: &crate::limits::Limits,
    moment: Moment,
) -> Option<Record> {
    if job.attempt == 0 && job.options.expires_at.is_some_and(|at| at <= moment.at) {
        return Some(Record::JobExpired { namespace, id: job.id });
    }
    if job.deadline.is_some_and(|deadline| deadline <= moment.at) {
        let reason = DeadReason::MaxAge;
        let forget_at = moment.at.plus(limits.dead_retain_ms);
        return Some(Record::JobDied { namespace, id: job.id, reason, forget_at });
    }
    None
}
