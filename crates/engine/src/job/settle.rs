//! Settling: the end of a run, as its worker tells it or as the clock does.

use std::sync::Arc;

use crate::bounds::{check_duration, check_size, cut};
use crate::command::{Settlement, Verdict};
use crate::ids::{JobId, NamespaceId, QueueId, TimeMs, Token};
use crate::job::{
    AttemptNote, CancelReason, Cause, DeadReason, EndKind, FinalRun, Job, JobError, LOSSES_MAX,
    Lease, Phase,
};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::queueing::{AtWorker, LiveLease};
use crate::record::{Next, Record};
use crate::rejection::Rejection;
use crate::sla::SlaEvent;
use crate::state::{State, count, keys};

/// What a settlement decides.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The end of the run, where that is all.
    pub(crate) end: Option<Record>,
    /// Where `end` is not set: the end and the jobs that enter with it, or nothing where the
    /// settlement repeats the one that ended the run.
    pub(crate) together: Vec<Record>,
    /// What the worker is told.
    pub(crate) kind: EndKind,
}

impl State {
    /// The records that a settlement justifies, and what the worker is told.
    pub(crate) fn decide_settlement(
        &self,
        ns: NamespaceId,
        settlement: &Settlement,
        moment: Moment,
        index: u64,
    ) -> Result<Settled, Rejection> {
        let Settlement { id, token, verdict } = settlement;
        let live = self.leases.get(ns, *id).filter(|live| live.lease().token == *token);
        let Some(live) = live else {
            let kind = self.repeated_end(ns, *id, *token, verdict)?;
            return Ok(Settled { end: None, together: Vec::new(), kind });
        };
        let mut together = match verdict {
            Verdict::Ack { follow_ups, .. } if !follow_ups.is_empty() => {
                let mut overlay = Overlay::new(self, ns, moment);
                overlay.leave(live.job());
                self.decide_follow_ups(overlay, follow_ups)?.0
            }
            _ => Vec::new(),
        };
        let (end, kind) = self.decide_end((ns, *id), live, verdict, (moment, index))?;
        if let Verdict::Ack { next_tick: Some(start), .. } = verdict {
            together.extend(self.decide_moved_by_run(ns, live.job(), *start, moment)?);
        }
        if together.is_empty() {
            return Ok(Settled { end: Some(end), together, kind });
        }
        together.insert(0, end);
        Ok(Settled { end: None, together, kind })
    }

    fn decide_end(
        &self,
        (namespace, id): (NamespaceId, JobId),
        live: &LiveLease,
        verdict: &Verdict,
        (moment, index): (Moment, u64),
    ) -> Result<(Record, EndKind), Rejection> {
        let (job, token) = (live.job(), live.lease().token);
        let called_off = |reason, error| Record::JobCancelled {
            namespace,
            id,
            token: Some(token),
            reason,
            error,
        };
        let wanted_gone = live.lease().cancel_requested;
        Ok(match verdict {
            Verdict::Ack { result, location, .. } => {
                let result_bytes = result.as_ref().map_or(0, bytes::Bytes::len);
                check_size("result", result_bytes, self.limits.result_bytes_max)?;
                check_size("location", location.as_ref().map_or(0, String::len), 2048)?;
                let (result, location) = (result.clone(), location.clone());
                let record = Record::JobSucceeded { namespace, id, token, result, location };
                (record, EndKind::Acked)
            }
            Verdict::Fail { error, retry_in_ms } => {
                check_duration(&self.limits, "retry_in", *retry_in_ms, 0)?;
                let delay_ms = retry_in_ms.unwrap_or_else(|| {
                    job.options
                        .retry
                        .delay_ms(live.lease().attempt - job.budget_from, moment.random(index))
                });
                let next = self.after_failure(job, live.lease(), delay_ms, moment);
                let error = Some(self.bounded_error(error));
                let cause = Cause::Failed;
                let record = Record::AttemptFailed { namespace, id, token, cause, error, next };
                (record, EndKind::Failed)
            }
            Verdict::Snooze { .. } | Verdict::Release | Verdict::Interrupt { .. }
                if wanted_gone =>
            {
                (called_off(CancelReason::Asked, None), EndKind::Discarded)
            }
            again if self.is_spent(namespace, live, again) => {
                (self.decide_spent((namespace, id), live, moment), EndKind::Failed)
            }
            Verdict::Snooze { delay_ms } => {
                self.decide_snooze((namespace, id), live, *delay_ms, moment)?
            }
            Verdict::Release => {
                let ran = live.at_worker() == AtWorker::Apart || self.has_begun(namespace, live);
                (Record::JobReleased { namespace, id, token, ran }, EndKind::Released)
            }
            Verdict::Interrupt { reason, delay_ms } => {
                let run = (namespace, id, token);
                let record = self.decide_interrupt(run, reason, *delay_ms, moment)?;
                (record, EndKind::Interrupted)
            }
            Verdict::Discard { error } => {
                let error = error.as_ref().map(|error| self.bounded_error(error));
                let reason =
                    if wanted_gone { CancelReason::Asked } else { CancelReason::Discarded };
                (called_off(reason, error), EndKind::Discarded)
            }
        })
    }

    /// The first answer to the settlement that ended the lease, or why this one is stale. An ack of
    /// what was given back is no repetition: its result is not kept, and the job runs again.
    fn repeated_end(
        &self,
        ns: NamespaceId,
        id: JobId,
        token: Token,
        verdict: &Verdict,
    ) -> Result<EndKind, Rejection> {
        let Some(job) = self.job(ns, id) else { return Err(self.job_unknown(ns, id)) };
        let end = job.end_of(token);
        if let Some(kind) = end.filter(|kind| verdict.ends_as(kind, job.options.at_most_once)) {
            return Ok(kind.clone());
        }
        let why = if end.is_some() {
            "it was settled otherwise before, or its delivery was taken back as not seen"
        } else if self.leases.contains(ns, id) {
            "the job was given to another worker after it"
        } else if job.phase.is_unfinished() {
            "it ran out or was given back; the job waits to run again"
        } else {
            "the job has ended otherwise"
        };
        Err(Rejection::LeaseLost { id, token, why })
    }

    /// Refusal that names an unknown job; gone where a tombstone or the id's age shows it.
    pub(crate) fn job_unknown(&self, ns: NamespaceId, id: JobId) -> Rejection {
        let gone = self.get(&keys::tombstone(ns, id)).is_some();
        Rejection::JobUnknown { id, gone }
    }

    fn bounded_error(&self, error: &JobError) -> JobError {
        JobError {
            kind: cut(&error.kind, self.limits.name_bytes_max),
            message: cut(&error.message, self.limits.error_message_bytes_max),
            backtrace: cut(&error.backtrace, self.limits.error_backtrace_bytes_max),
        }
    }

    pub(crate) fn after_failure(
        &self,
        job: &Job,
        lease: &Lease,
        delay_ms: u64,
        moment: Moment,
    ) -> Next {
        if let Some(end) = self.no_further_attempt(job, lease, moment) {
            return end;
        }
        let available_at = moment.at.plus(delay_ms.min(self.limits.horizon_ms_max));
        match job.deadline {
            Some(deadline) if deadline <= available_at => self.dead(DeadReason::MaxAge, moment),
            _ => Next::RetryAt { available_at },
        }
    }

    pub(crate) fn dead(&self, reason: DeadReason, moment: Moment) -> Next {
        Next::Dead { reason, forget_at: moment.at.plus(self.limits.dead_retain_ms) }
    }

    fn no_further_attempt(&self, job: &Job, lease: &Lease, moment: Moment) -> Option<Next> {
        if lease.cancel_requested {
            Some(Next::Cancelled)
        } else if job.options.at_most_once {
            Some(self.dead(DeadReason::AtMostOnce, moment))
        } else if !job.has_attempts_after(lease.attempt) {
            Some(self.dead(DeadReason::Exhausted, moment))
        } else {
            None
        }
    }

    /// What the end of a lease's time makes of its run: lost, or failed as timed out.
    pub(crate) fn decide_lease_end(
        &self,
        namespace: NamespaceId,
        id: JobId,
        moment: Moment,
        index: u64,
    ) -> Option<Record> {
        let live = self.leases.get(namespace, id)?;
        let job = self.job(namespace, id).expect("a lease is of a job that exists");
        let token = live.lease().token;
        let timed_out = live.timeout().is_some_and(|timeout| timeout < moment.mono);
        let (cause, next) = if timed_out {
            let tries = live.lease().attempt - job.budget_from;
            let delay_ms = job.options.retry.delay_ms(tries, moment.random(index));
            (Cause::Timeout, self.after_failure(&job, live.lease(), delay_ms, moment))
        } else {
            (Cause::Lost, self.after_loss(namespace, &job, live.lease(), moment))
        };
        Some(Record::AttemptFailed { namespace, id, token, cause, error: None, next })
    }

    /// The lease of a job that its worker had and did not start.
    pub(crate) fn never_started(&self, namespace: NamespaceId, id: JobId) -> Option<Token> {
        let live = self.leases.get(namespace, id)?;
        (live.at_worker() == AtWorker::Delivered).then_some(live.lease().token)
    }

    /// The record that ends a run whose worker has gone.
    pub(crate) fn decide_loss(
        &self,
        namespace: NamespaceId,
        id: JobId,
        why: &str,
        moment: Moment,
    ) -> Option<Record> {
        let live = self.leases.get(namespace, id)?;
        let next = self.after_loss(namespace, live.job(), live.lease(), moment);
        let (token, cause) = (live.lease().token, Cause::Lost);
        let message = format!("the run of worker \"{}\" is lost: {why}", live.lease().worker);
        let error = JobError { kind: "lost".into(), message, backtrace: String::new() };
        let error = Some(self.bounded_error(&error));
        Some(Record::AttemptFailed { namespace, id, token, cause, error, next })
    }

    fn after_loss(&self, ns: NamespaceId, job: &Job, lease: &Lease, moment: Moment) -> Next {
        let may_go_on = !lease.cancel_requested && !job.options.at_most_once;
        let moved = may_go_on && self.moved_cursor(ns, job.id, lease.token);
        // That it was lost so often in a row tells more than that its attempts are used up.
        if may_go_on && !moved && job.losses + 1 >= LOSSES_MAX {
            return self.dead(DeadReason::Lost, moment);
        }
        if !moved && let Some(end) = self.no_further_attempt(job, lease, moment) {
            return end;
        }
        match job.deadline {
            Some(deadline) if deadline <= moment.at => self.dead(DeadReason::MaxAge, moment),
            _ if moved => Next::Resume,
            _ => Next::Requeue,
        }
    }

    /// Whether the run under this lease came farther than where it began.
    fn moved_cursor(&self, ns: NamespaceId, id: JobId, token: Token) -> bool {
        let checkpoint = self.checkpoint(ns, id);
        checkpoint.is_some_and(|checkpoint| checkpoint.moved && checkpoint.token == Some(token))
    }

    pub(crate) fn apply_job_succeeded(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        result: Option<bytes::Bytes>,
        location: Option<String>,
    ) {
        let (mut job, lease) = self.end_run(ns, id);
        job.attempt = lease.attempt;
        job.losses = 0;
        job.remember_end(lease.token, EndKind::Acked);
        let (started_at, worker) = (lease.started_at, lease.worker);
        job.final_run = Some(FinalRun { started_at, worker, error: None });
        let result = result.map(|result| self.store_body(result, 1));
        let queue = self.queue_of(ns, &job);
        self.queues.change(queue).counts.succeeded_total += 1;
        self.leave_keys(ns, &job);
        self.note_sla(ns, &job, SlaEvent::Succeeded);
        job.phase = Phase::Succeeded { ended_at: self.now(), result, location };
        self.keep_outcome(ns, job);
    }

    pub(crate) fn apply_attempt_failed(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        cause: &Cause,
        error: Option<JobError>,
        next: Next,
    ) {
        let (mut job, lease) = self.end_run(ns, id);
        let queue = self.queue_of(ns, &job);
        self.queues.change(queue).counts.failed_total += 1;
        if !matches!(cause, Cause::Failed) {
            self.lose_track(ns, &job, &lease);
        }
        let resumes = matches!(next, Next::Resume);
        if !resumes {
            job.attempt = lease.attempt;
        }
        job.losses = if matches!(cause, Cause::Lost) && !resumes { job.losses + 1 } else { 0 };
        if matches!(cause, Cause::Failed) {
            let snoozed_out = matches!(next, Next::Dead { reason: DeadReason::TooManySnoozes, .. });
            let kind = if snoozed_out { EndKind::SnoozedOut } else { EndKind::Failed };
            job.remember_end(lease.token, kind);
        }
        job.last_error = Some(last_error(cause, error.as_ref(), &lease));
        self.note_attempt(ns, &mut job, &lease, cause, error);
        match next {
            Next::RetryAt { available_at } => {
                job.phase = Phase::Retrying;
                job.available_at = available_at.max(self.now());
                self.file(ns, queue, &job);
                self.put_job(ns, job);
            }
            Next::Requeue => {
                self.file(ns, queue, &job);
                self.put_job(ns, job);
            }
            Next::Resume => {
                self.drop_expiry(ns, &mut job);
                self.file(ns, queue, &job);
                self.put_job(ns, job);
            }
            Next::Dead { reason, forget_at } => {
                self.bury(ns, job, reason, forget_at);
            }
            Next::Cancelled => self.call_off(ns, job, CancelReason::Asked),
        }
    }

    fn note_attempt(
        &mut self,
        ns: NamespaceId,
        job: &mut Job,
        lease: &Lease,
        cause: &Cause,
        error: Option<JobError>,
    ) {
        let note = AttemptNote {
            attempt: lease.attempt,
            token: lease.token,
            started_at: lease.started_at,
            ended_at: self.now(),
            worker: lease.worker.to_string(),
            cause: cause.clone(),
            error,
        };
        // A run that used no attempt left its note under the number of the next one.
        let mut gone = vec![keys::attempt(ns, job.id, lease.attempt)];
        let oldest = lease.attempt.checked_sub(crate::job::ATTEMPT_NOTES_MAX);
        gone.extend(oldest.map(|oldest| keys::attempt(ns, job.id, oldest)));
        for key in &gone {
            if let Some(known) = self.get(key) {
                count::take(&mut job.notes_bytes, known.len() as u64, "bytes of notes");
                self.remove(key);
            }
        }
        job.notes_bytes += self.put(&keys::attempt(ns, job.id, lease.attempt), &note);
    }

    pub(crate) fn apply_job_snoozed(&mut self, ns: NamespaceId, id: JobId, available_at: TimeMs) {
        let (mut job, lease) = self.end_run(ns, id);
        let queue = self.queue_of(ns, &job);
        (job.losses, job.snoozes) = (0, job.snoozes.saturating_add(1));
        job.remember_end(lease.token, EndKind::Snoozed);
        job.phase = Phase::Waiting;
        job.available_at = available_at.max(self.now());
        // It was started in time, and is to run later, however late that is.
        self.drop_expiry(ns, &mut job);
        self.wait_again(ns, queue, job);
    }

    pub(crate) fn apply_job_released(&mut self, ns: NamespaceId, id: JobId, ran: bool) {
        let (mut job, lease) = if ran {
            self.end_run(ns, id)
        } else {
            let (job, lease) = self.end_lease(ns, id).expect("the record ends a live lease");
            (Arc::unwrap_or_clone(job), lease)
        };
        let queue = self.queue_of(ns, &job);
        job.remember_end(lease.token, EndKind::Released);
        self.wait_again(ns, queue, job);
    }

    /// Files a job that ran. Timers that passed meanwhile found it running: they are set again.
    pub(crate) fn wait_again(&mut self, ns: NamespaceId, queue: QueueId, job: Job) {
        self.file(ns, queue, &job);
        self.set_passed_timers(ns, &job);
        self.put_job(ns, job);
    }

    /// Ends the lease of a running job, and counts how long it ran.
    pub(crate) fn end_run(&mut self, ns: NamespaceId, id: JobId) -> (Job, Lease) {
        let (job, lease) = self.end_lease(ns, id).expect("the record ends a live lease");
        let mut job = Arc::unwrap_or_clone(job);
        job.ran_ms = job.ran_ms.saturating_add(self.now().since(lease.started_at));
        (job, lease)
    }
}

impl Verdict {
    /// Whether a run that is settled so can end as `kind`: what would run again is called off where
    /// somebody had asked to cancel it, and fails where it is to run at most `once` or was snoozed
    /// too often.
    fn ends_as(&self, kind: &EndKind, once: bool) -> bool {
        let (own, again) = match self {
            Self::Ack { .. } => (EndKind::Acked, false),
            Self::Fail { .. } => (EndKind::Failed, false),
            Self::Discard { .. } => (EndKind::Discarded, false),
            Self::Snooze { .. } => (EndKind::Snoozed, true),
            Self::Release => (EndKind::Released, true),
            Self::Interrupt { .. } => (EndKind::Interrupted, true),
        };
        let called_off = *kind == EndKind::Discarded;
        let spent = once && *kind == EndKind::Failed;
        let snoozed_out = own == EndKind::Snoozed && *kind == EndKind::SnoozedOut;
        *kind == own || snoozed_out || (again && (called_off || spent))
    }
}

fn last_error(cause: &Cause, error: Option<&JobError>, lease: &Lease) -> JobError {
    let worker = &lease.worker;
    let (kind, message) = match (cause, error) {
        (_, Some(error)) => (error.kind.clone(), error.message.clone()),
        (Cause::Lost, None) => {
            ("lost", format!("the lease of worker \"{worker}\" ran out")).into_texts()
        }
        (Cause::Timeout, None) => {
            ("timeout", "the run took longer than its timeout".to_owned()).into_texts()
        }
        (Cause::Failed, None) => ("failed", String::new()).into_texts(),
    };
    JobError { kind, message, backtrace: String::new() }
}

trait IntoTexts {
    fn into_texts(self) -> (String, String);
}

impl IntoTexts for (&str, String) {
    fn into_texts(self) -> (String, String) {
        (self.0.to_owned(), self.1)
    }
}
