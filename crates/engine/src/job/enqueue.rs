//! Enqueueing: one job or many, all or none, by themselves or with the end of another job.

use std::collections::BTreeSet;

use crate::answer::{Answer, Enqueued};
use crate::bounds::{check_duration, check_name, check_size, resolve_start};
use crate::command::{EnqueueJobs, FollowUp, NewJob, Start};
use crate::gate::{check_gates, sorted};
use crate::ids::{JobId, NamespaceId, Place, QueueId, TimeMs};
use crate::job::{Body, Job, JobOptions, Phase, RetryPolicy};
use crate::limit::{JobLimit, LIMITS_OF_JOB_MAX};
use crate::limits::Limits;
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::queue::{JobDefaults, QueueSettings};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::sla::SlaEvent;
use crate::state::State;
use crate::timer::Subject;
use crate::unique::check_unique;

/// Bytes that a job of a message takes in its entry beside its args and metadata, at most.
const HEAD_BYTES: usize = 2048;

/// What one command decides: records, and the answer that they justify.
pub(crate) type Decision = Result<(Vec<Record>, Answer), Rejection>;

/// Jobs under decision that enter together.
struct Bulk<'a> {
    overlay: Overlay<'a>,
    /// Where jobs are added.
    queue: &'a str,
    defaults: &'a JobDefaults,
    answers: Vec<Enqueued>,
    /// Jobs that were there before and are noted as told of.
    told: BTreeSet<JobId>,
}

impl State {
    pub(crate) fn decide_enqueue(
        &self,
        ns: NamespaceId,
        command: &EnqueueJobs,
        moment: Moment,
    ) -> Decision {
        check_name(&self.limits, "queue", &command.queue)?;
        let bytes = command.jobs.iter().map(bytes_of).sum();
        self.check_bulk("jobs", command.jobs.len(), bytes)?;
        let mut bulk = Bulk::of(Overlay::new(self, ns, moment));
        bulk.overlay.reserve(command.jobs.len() + 1);
        bulk.answers.reserve(command.jobs.len());
        bulk.turn_to(&command.queue)?;
        let mut faults = Vec::new();
        for (index, job) in command.jobs.iter().enumerate() {
            if let Err(rejection) = bulk.add(job) {
                faults.push((index, rejection));
            }
        }
        if command.jobs.len() == 1
            && let Some((_, rejection)) = faults.pop()
        {
            return Err(rejection);
        }
        if !faults.is_empty() {
            return Err(Rejection::JobsRefused { faults });
        }
        Ok((bulk.overlay.into_records()?, Answer::Enqueued(bulk.answers)))
    }

    /// The records of jobs that enter with something else, such as the end of another one, which
    /// the overlay knows of; and what became of each.
    pub(crate) fn decide_follow_ups<'a>(
        &'a self,
        overlay: Overlay<'a>,
        follow_ups: &'a [FollowUp],
    ) -> Result<(Vec<Record>, Vec<Enqueued>), Rejection> {
        let bytes = follow_ups.iter().map(|one| bytes_of(&one.job)).sum();
        self.check_bulk("enqueue", follow_ups.len(), bytes)?;
        let mut bulk = Bulk::of(overlay);
        let mut faults = Vec::new();
        for (index, FollowUp { queue, job }) in follow_ups.iter().enumerate() {
            let named = check_name(&self.limits, "queue", queue);
            let added = named.and_then(|()| bulk.turn_to(queue)).and_then(|()| bulk.add(job));
            if let Err(rejection) = added {
                faults.push((index, rejection));
            }
        }
        if !faults.is_empty() {
            return Err(Rejection::JobsRefused { faults });
        }
        Ok((bulk.overlay.into_records()?, bulk.answers))
    }

    /// The records of those jobs of a message that nobody waits for that can be, the first ones
    /// first, and how many cannot. `room`: bytes that they may take in their entry; `bounded`: a
    /// queue that is full takes none.
    pub(crate) fn decide_fitting<'a>(
        &'a self,
        overlay: Overlay<'a>,
        jobs: &'a [FollowUp],
        (room, bounded): (usize, bool),
    ) -> (Vec<Record>, u64) {
        let mut room = room.min(usize::try_from(self.limits.bulk_bytes_max).unwrap_or(room));
        let (mut kept, mut dropped) = (0, 0);
        let mut bulk = Bulk::of(overlay.without_bounds());
        for FollowUp { queue, job } in jobs {
            let bytes = bytes_of(job) + HEAD_BYTES;
            let fits = kept < self.limits.bulk_jobs_max
                && bytes <= room
                && (!bounded || bulk.overlay.has_room(queue));
            if fits && bulk.turn_to(queue).and_then(|()| bulk.add(job)).is_ok() {
                kept += 1;
                room -= bytes;
            } else {
                dropped += 1;
            }
        }
        (bulk.overlay.into_records().unwrap_or_default(), dropped)
    }

    fn check_bulk(&self, field: &'static str, count: usize, bytes: usize) -> Result<(), Rejection> {
        let max = self.limits.bulk_jobs_max;
        if !(1..=max).contains(&count) {
            let (value, allowed) = (format!("{count} jobs"), format!("1 to {max} jobs"));
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        check_size(field, bytes, self.limits.bulk_bytes_max)
    }

    pub(crate) fn apply_job_enqueued(&mut self, ns: NamespaceId, mut job: Job) {
        if let Some(Body::Inline { bytes }) = job.args.take() {
            job.args = Some(self.store_body(bytes, 1));
        }
        self.meta_mut().next_place = Place(job.place.0 + 1);
        if job.fingerprint.is_some() {
            self.drop_tombstone(ns, job.id);
        }
        let queue = self.queue_of(ns, &job);
        self.queues.change(queue).counts.enqueued_total += 1;
        if let Some(expires_at) = job.options.expires_at {
            self.set_timer(expires_at, Subject::job(ns, job.id));
        }
        if let Some(deadline) = job.deadline {
            self.set_timer(deadline, Subject::job(ns, job.id));
        }
        self.enter_unique(ns, &job);
        self.file_new(ns, queue, &job);
        self.note_sla(ns, &job, SlaEvent::Arrived);
        self.put_job(ns, job);
    }
}

/// Bytes of a job's args, cursor, tags and metadata.
fn bytes_of(job: &NewJob) -> usize {
    let tags: usize = job.tags.iter().map(String::len).sum();
    let cursor = job.cursor.as_ref().map_or(0, bytes::Bytes::len);
    job.args.len() + cursor + tags + job.metadata.as_ref().map_or(0, bytes::Bytes::len)
}

impl<'a> Bulk<'a> {
    fn of(overlay: Overlay<'a>) -> Self {
        let defaults = &QueueSettings::of_none().defaults;
        Self { overlay, queue: "", defaults, answers: Vec::new(), told: BTreeSet::new() }
    }

    /// What is added next is for this queue.
    fn turn_to(&mut self, queue: &'a str) -> Result<(), Rejection> {
        self.defaults = &self.overlay.queue(queue)?.defaults;
        self.queue = queue;
        Ok(())
    }

    fn add(&mut self, new: &'a NewJob) -> Result<(), Rejection> {
        if new.fingerprint.is_some()
            && let Some(earlier) = self.overlay.earlier(new.id)
        {
            if earlier.fingerprint != new.fingerprint {
                return Err(Rejection::JobIdTaken { id: new.id });
            }
            self.tell_of(new.id);
            self.answers.push(Enqueued { id: new.id, replayed: true, met: None });
            return Ok(());
        }
        let job = self.job(new)?;
        let (namespace, id) = (self.overlay.ns, new.id);
        if let (Some(unique), Some(lock)) = (&new.unique, &job.options.unique)
            && let Some(holder) = self.overlay.unique_holder(&lock.place(namespace))
        {
            let (record, met) = unique.meet(namespace, holder, (&job, &new.args))?;
            if let Some(record) = record {
                self.overlay.record(record);
            }
            self.tell_of(holder.id);
            self.answers.push(Enqueued { id: holder.id, replayed: false, met: Some(met) });
            return Ok(());
        }
        self.overlay.kind(&new.kind, new.version)?;
        self.overlay.gate_set(&job.options.gates)?;
        self.answers.push(Enqueued { id, replayed: false, met: None });
        self.overlay.enter_unique(&job);
        self.overlay.enter(self.queue, id, new.fingerprint);
        self.overlay.record(Record::JobEnqueued { namespace, job: Box::new(job) });
        if new.cursor.is_some() {
            let cursor = new.cursor.clone();
            self.overlay.record(Record::CursorSet { namespace, id, cursor });
        }
        Ok(())
    }

    /// An answer names a job that was there before: from then on it stays, whatever whoever
    /// enqueued it expected of it. One of this command is of whoever sent that.
    fn tell_of(&mut self, id: JobId) {
        let record = self.overlay.state.decide_told(self.overlay.ns, id);
        if let Some(record) = record.filter(|_| self.told.insert(id)) {
            self.overlay.record(record);
        }
    }

    fn job(&self, new: &NewJob) -> Result<Job, Rejection> {
        let state = self.overlay.state;
        check_new_job(state, new)?;
        let limits = &state.limits;
        let now = self.overlay.moment.at;
        let of_kind = state.kind_settings.of(self.overlay.ns, &new.kind);
        let joined = of_kind.map(|of_kind| of_kind.defaults.before(self.defaults));
        let defaults = joined.as_ref().unwrap_or(self.defaults);
        let available_at = match new.start {
            Some(start) => resolve_start(limits, "run_at", start, now)?.max(now),
            None => now,
        };
        let expires_at = expiry_of(limits, new, defaults, available_at, now)?;
        let max_age_ms = new.max_age_ms.or(defaults.max_age_ms);
        let retain_ms = new.retain_ms.or(defaults.retain_ms).unwrap_or(limits.retain_ms_default);
        let retain_ms_min = new.unique.as_ref().map_or(0, |unique| unique.retain_ms_min(now));
        let max_attempts = new.max_attempts.or(defaults.max_attempts);
        let retry = new.retry.clone().or_else(|| defaults.retry.clone());
        let own_limits = kept_limits(new);
        Ok(Job {
            id: new.id,
            queue: self.queue.to_owned(),
            kind: new.kind.clone(),
            args: Some(Body::Inline { bytes: new.args.clone() }),
            options: JobOptions {
                priority: new.priority.or(defaults.priority).unwrap_or(0),
                ordering_key: new.ordering_key.clone(),
                at_most_once: new.at_most_once,
                expires_at,
                timeout_ms: new.timeout_ms.or(defaults.timeout_ms),
                lease_ms: new.lease_ms.or(defaults.lease_ms),
                retry: retry.unwrap_or(RetryPolicy::Sidekiq),
                max_attempts: max_attempts.unwrap_or(limits.max_attempts_default),
                max_age_ms,
                retain_ms: Some(retain_ms.max(retain_ms_min)),
                tags: new.tags.clone(),
                metadata: new.metadata.clone(),
                traceparent: new.traceparent.clone(),
                unique: new.unique.as_ref().map(|unique| unique.lock(now)),
                limit: own_limits.0,
                gates: sorted(&new.gates),
                tenant: new.tenant.clone(),
                hops: new.hops,
                version: new.version,
                limits: own_limits.1,
            },
            fingerprint: new.fingerprint,
            place: self.overlay.next_place(),
            enqueued_at: now,
            available_at,
            deadline: max_age_ms.map(|max_age_ms| available_at.plus(max_age_ms)),
            phase: Phase::Waiting,
            attempt: 0,
            budget_from: 0,
            losses: 0,
            snoozes: 0,
            ends: Vec::new(),
            last_error: None,
            final_run: None,
            notes_bytes: 0,
            ran_ms: 0,
            tick: new.tick.clone(),
            due_at: (available_at > now).then_some(available_at),
            told: false,
            moved: None,
        })
    }
}

/// When a job that has not started expires. A span counts from when it may start: counted from
/// now, a job that is put off for longer would never run.
fn expiry_of(
    limits: &Limits,
    new: &NewJob,
    defaults: &JobDefaults,
    available_at: TimeMs,
    now: TimeMs,
) -> Result<Option<TimeMs>, Rejection> {
    let Some(expiry) = new.expiry else {
        return Ok(defaults.ttl_ms.map(|ttl_ms| available_at.plus(ttl_ms)));
    };
    let at = resolve_start(limits, "expires_at", expiry, now)?;
    match expiry {
        Start::After(ttl_ms) => Ok(Some(available_at.plus(ttl_ms))),
        Start::At(_) if available_at > now && at <= available_at => {
            let (value, allowed) = (format!("{at}"), "after the job may start".to_owned());
            Err(Rejection::ValueRefused { field: "expires_at", value, allowed })
        }
        Start::At(_) => Ok(Some(at)),
    }
}

pub(crate) fn check_new_job(state: &State, new: &NewJob) -> Result<(), Rejection> {
    let limits = &state.limits;
    check_name(limits, "kind", &new.kind)?;
    check_size("args", new.args.len(), limits.args_bytes_max)?;
    let cursor_bytes = new.cursor.as_ref().map_or(0, bytes::Bytes::len);
    check_size("cursor", cursor_bytes, limits.cursor_bytes_max)?;
    if let Some(ordering_key) = &new.ordering_key {
        check_name(limits, "ordering_key", ordering_key)?;
    }
    for tag in &new.tags {
        check_name(limits, "tags", tag)?;
    }
    let tag_bytes = new.tags.iter().map(String::len).sum();
    check_size("tags", tag_bytes, limits.metadata_bytes_max as u64)?;
    let metadata_bytes = new.metadata.as_ref().map_or(0, bytes::Bytes::len);
    check_size("metadata", metadata_bytes, limits.metadata_bytes_max as u64)?;
    if let Some(traceparent) = &new.traceparent {
        check_name(limits, "traceparent", traceparent)?;
    }
    check_duration(limits, "timeout", new.timeout_ms, 1)?;
    check_duration(limits, "max_age", new.max_age_ms, 1)?;
    check_duration(limits, "retain", new.retain_ms, 0)?;
    check_lease(state, new.lease_ms)?;
    check_job_limits(limits, new)?;
    check_gates(limits, &new.gates)?;
    if let Some(tenant) = &new.tenant {
        check_name(limits, "tenant", tenant)?;
    }
    if let Some(unique) = &new.unique {
        check_unique(limits, unique)?;
    }
    if new.max_attempts == Some(0) {
        return Err(Rejection::ValueRefused {
            field: "max_attempts",
            value: "0".to_owned(),
            allowed: "at least 1".to_owned(),
        });
    }
    Ok(())
}

fn check_job_limits(limits: &crate::limits::Limits, new: &NewJob) -> Result<(), Rejection> {
    let named: Vec<&JobLimit> = new.limit.iter().chain(&new.limits).collect();
    for JobLimit { name, key } in &named {
        check_name(limits, "limit.name", name)?;
        check_name(limits, "limit.key", key)?;
    }
    let names: BTreeSet<&str> = named.iter().map(|limit| limit.name.as_str()).collect();
    if named.len() > LIMITS_OF_JOB_MAX || names.len() < named.len() {
        let value = format!("{} limits", named.len());
        let allowed = format!("at most {LIMITS_OF_JOB_MAX}, and each of them once");
        return Err(Rejection::ValueRefused { field: "limits", value, allowed });
    }
    Ok(())
}

/// The limits that a job names, as they are kept: the only one of a job without a tenant apart.
fn kept_limits(new: &NewJob) -> (Option<JobLimit>, Vec<JobLimit>) {
    match (&new.limit, new.limits.as_slice(), &new.tenant) {
        (Some(only), [], None) | (None, [only], None) => (Some(only.clone()), Vec::new()),
        _ => (None, new.limit.iter().chain(&new.limits).cloned().collect()),
    }
}

/// Options that jobs may have.
pub(crate) fn check_defaults(state: &State, defaults: &JobDefaults) -> Result<(), Rejection> {
    let limits = &state.limits;
    check_lease(state, defaults.lease_ms)?;
    check_duration(limits, "timeout", defaults.timeout_ms, 1)?;
    check_duration(limits, "max_age", defaults.max_age_ms, 1)?;
    check_duration(limits, "ttl", defaults.ttl_ms, 1)?;
    check_duration(limits, "retain", defaults.retain_ms, 0)?;
    if defaults.max_attempts == Some(0) {
        let (value, allowed) = ("0".to_owned(), "at least 1".to_owned());
        return Err(Rejection::ValueRefused { field: "max_attempts", value, allowed });
    }
    Ok(())
}

/// A lease within the limits.
pub(crate) fn check_lease(state: &State, lease_ms: Option<u64>) -> Result<(), Rejection> {
    let range = &state.limits.lease_ms;
    match lease_ms {
        Some(lease_ms) if !range.contains(&lease_ms) => Err(Rejection::ValueRefused {
            field: "lease",
            value: format!("{lease_ms}ms"),
            allowed: format!("{}ms to {}ms", range.start(), range.end()),
        }),
        _ => Ok(()),
    }
}

impl State {
    /// The record that creates a queue on its first use, after `earlier` ones of the same command.
    pub(crate) fn decide_queue_created(
        &self,
        namespace: NamespaceId,
        name: &str,
        settings: QueueSettings,
        earlier: usize,
    ) -> Result<Record, Rejection> {
        let of_namespace = self.queues.len_of(namespace) + earlier;
        let room = self.limits.queues_max.check(of_namespace, self.queues.len() + earlier);
        room.map_err(|(scope, limit)| Rejection::TooManyQueues { scope, limit })?;
        let id = QueueId(self.meta.next_queue.0 + earlier as u32);
        Ok(Record::QueueCreated { namespace, id, name: name.to_owned(), settings })
    }
}
