//! The ends of runs.

use longshore_engine::wire::Wire;
use longshore_engine::{
    AttemptNote, CancelReason, Cause, DeadReason, End, EndKind, Extension, FinalRun, Instruction,
    Job, JobError, JobId, NamespaceId, Phase, Rejection, Settlement, TimeMs, Token, Verdict,
};

use super::checkpoint::moved;
use super::{Held, RefJob, Reference, Refusable, Run, refused};

impl Reference {
    pub(super) fn settle_all(
        &mut self,
        ns: NamespaceId,
        settlements: &[Settlement],
    ) -> Vec<Refusable<EndKind>> {
        let each = settlements.iter().enumerate();
        each.map(|(index, settlement)| self.settle(ns, settlement, index as u64)).collect()
    }

    fn check_result(&self, result: Option<&bytes::Bytes>) -> Refusable<()> {
        let result_bytes = result.map_or(0, bytes::Bytes::len) as u64;
        let too_long = result_bytes > self.limits.result_bytes_max;
        if too_long { Err(refused("result")) } else { Ok(()) }
    }

    fn settle(&mut self, ns: NamespaceId, s: &Settlement, index: u64) -> Refusable<EndKind> {
        let Some(found) = self.job(ns, s.id) else { return Err(self.unknown(ns, s.id)) };
        let run = found.run.clone().filter(|run| run.lease.token == s.token);
        let Some(run) = run else {
            let end = found.job.ends.iter().find(|end| end.token == s.token);
            let once = found.job.options.at_most_once;
            let end = end.filter(|end| repeats(&s.verdict, &end.kind, once));
            let lost = Rejection::LeaseLost { id: s.id, token: s.token, why: "" };
            return end.map(|end| end.kind.clone()).ok_or(lost);
        };
        let wanted_gone = run.lease.cancel_requested;
        let kind = match &s.verdict {
            Verdict::Ack { result, location, follow_ups, next_tick } => {
                let entering = self.follow_ups(ns, follow_ups, (s.id, &found.job.queue.clone()))?;
                self.check_result(result.as_ref())?;
                let moved = self.moved_by_run(found.job.tick.as_ref(), *next_tick)?;
                self.succeed(ns, s.id, &run, (result.clone(), location.clone()));
                self.let_in(ns, entering);
                self.move_by_run(moved);
                EndKind::Acked
            }
            Verdict::Fail { error, retry_in_ms } => {
                if retry_in_ms.is_some_and(|ms| ms > self.limits.horizon_ms_max) {
                    return Err(refused("retry_in"));
                }
                self.fail(ns, s.id, &Cause::Failed, Some(error.clone()), (*retry_in_ms, index));
                EndKind::Failed
            }
            Verdict::Snooze { .. } | Verdict::Release | Verdict::Interrupt { .. }
                if wanted_gone =>
            {
                self.discard(ns, s.id, &run, (CancelReason::Asked, None));
                EndKind::Discarded
            }
            again if is_spent(found, &run, again) => {
                self.fail(ns, s.id, &Cause::Failed, Some(taken_back()), (None, index));
                EndKind::Failed
            }
            Verdict::Snooze { delay_ms } => {
                if *delay_ms > self.limits.horizon_ms_max {
                    return Err(refused("delay"));
                }
                if found.job.snoozes >= self.limits.snoozes_max {
                    self.snooze_out(ns, s.id);
                    return Ok(EndKind::SnoozedOut);
                }
                self.snooze(ns, s.id, &run, *delay_ms);
                EndKind::Snoozed
            }
            Verdict::Release => {
                self.release(ns, s.id);
                EndKind::Released
            }
            Verdict::Interrupt { reason, delay_ms } => {
                if delay_ms.is_some_and(|ms| ms > self.limits.horizon_ms_max) {
                    return Err(refused("delay"));
                }
                let reason = if reason.is_empty() { "interrupt" } else { reason };
                self.interrupt(ns, s.id, reason, *delay_ms);
                EndKind::Interrupted
            }
            Verdict::Discard { error } => {
                let reason =
                    if wanted_gone { CancelReason::Asked } else { CancelReason::Discarded };
                self.discard(ns, s.id, &run, (reason, error.clone()));
                EndKind::Discarded
            }
        };
        Ok(kind)
    }

    /// It was snoozed as often as it may be.
    fn snooze_out(&mut self, ns: NamespaceId, id: JobId) {
        let found = self.job_mut(ns, id);
        let message = format!("snoozed {} times, as often as a job may be", found.job.snoozes);
        let kind = "too_many_snoozes".to_owned();
        let error = JobError { kind, message, backtrace: String::new() };
        found.snoozed_out = true;
        self.fail(ns, id, &Cause::Failed, Some(error), (None, 0));
    }

    fn snooze(&mut self, ns: NamespaceId, id: JobId, run: &Run, delay_ms: u64) {
        let mut job = self.stop_run(ns, id);
        job.job.losses = 0;
        job.job.snoozes += 1;
        job.job.phase = Phase::Waiting;
        job.job.available_at = self.now.plus(delay_ms);
        job.job.options.expires_at = None;
        remember(&mut job.job, run, EndKind::Snoozed);
        self.jobs.push(job);
    }

    fn succeed(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        run: &Run,
        (result, location): (Option<bytes::Bytes>, Option<String>),
    ) {
        let mut job = self.stop_run(ns, id);
        let result = result.map(|result| self.store_body(result));
        self.queue_mut(ns, &job.job.queue).succeeded += 1;
        job.job.attempt = run.lease.attempt;
        job.job.losses = 0;
        remember(&mut job.job, run, EndKind::Acked);
        job.job.final_run = Some(final_run(run, None));
        job.job.phase = Phase::Succeeded { ended_at: self.now, result, location };
        self.keep_outcome(job);
    }

    pub(super) fn discard(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        run: &Run,
        (reason, error): (CancelReason, Option<JobError>),
    ) {
        let mut job = self.stop_run(ns, id);
        job.job.attempt = run.lease.attempt;
        if reason != CancelReason::Forced {
            remember(&mut job.job, run, EndKind::Discarded);
        }
        job.job.final_run = Some(final_run(run, error));
        self.call_off(job, reason);
    }

    pub(super) fn release(&mut self, ns: NamespaceId, id: JobId) {
        let before = self.job(ns, id).map_or(0, |job| job.job.ran_ms);
        let mut job = self.stop_run_keeping(ns, id);
        let run = job.run.take().expect("it runs");
        if run.held != Held::Apart && !has_begun(&job, &run) {
            job.job.ran_ms = before;
        }
        remember(&mut job.job, &run, EndKind::Released);
        self.jobs.push(job);
    }

    /// Takes a job out that ran; its run has ended.
    fn stop_run(&mut self, ns: NamespaceId, id: JobId) -> RefJob {
        let mut job = self.stop_run_keeping(ns, id);
        job.run = None;
        job
    }

    pub(super) fn stop_run_keeping(&mut self, ns: NamespaceId, id: JobId) -> RefJob {
        let index = self.jobs.iter().position(|job| job.ns == ns && job.job.id == id);
        let mut job = self.jobs.remove(index.expect("the job exists"));
        let ran_ms = job.run.as_ref().map_or(0, |run| self.now.since(run.lease.started_at));
        job.job.ran_ms += ran_ms;
        job
    }

    /// A run did not succeed. `retry` is the delay that its worker wished, and which random number
    /// decides the delay otherwise.
    pub(super) fn fail(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        cause: &Cause,
        error: Option<JobError>,
        (retry_in_ms, index): (Option<u64>, u64),
    ) {
        if *cause != Cause::Failed {
            self.lose_track(ns, id);
        }
        let mut job = self.stop_run_keeping(ns, id);
        let run = job.run.take().expect("it runs");
        let lost = *cause == Cause::Lost;
        self.queue_mut(ns, &job.job.queue).failed += 1;
        let goes_on = lost && self.goes_on(&job, &run);
        if !goes_on {
            job.job.attempt = run.lease.attempt;
        }
        job.job.losses = if lost && !goes_on { job.job.losses + 1 } else { 0 };
        if *cause == Cause::Failed {
            let kind = if job.snoozed_out { EndKind::SnoozedOut } else { EndKind::Failed };
            remember(&mut job.job, &run, kind);
        }
        job.job.last_error = Some(last_error(cause, error.as_ref(), &run));
        job.notes.retain(|note| note.attempt != run.lease.attempt);
        job.notes.push(AttemptNote {
            attempt: run.lease.attempt,
            token: run.lease.token,
            started_at: run.lease.started_at,
            ended_at: self.now,
            worker: run.lease.worker.to_string(),
            cause: cause.clone(),
            error,
        });
        let bytes = |note: &AttemptNote| note.to_bytes().len() as u64;
        job.job.notes_bytes = job.notes.iter().map(bytes).sum();
        if goes_on {
            job.job.options.expires_at = None;
            self.jobs.push(job);
            return;
        }
        let tries = run.lease.attempt - job.job.budget_from;
        let delay_ms = || job.job.options.retry.delay_ms(tries, self.random(index));
        let delay_ms = retry_in_ms.unwrap_or_else(delay_ms).min(self.limits.horizon_ms_max);
        let next_at = if lost { self.now } else { self.now.plus(delay_ms) };
        let out_of_time = job.job.deadline.is_some_and(|deadline| deadline <= next_at);
        let reason = if std::mem::take(&mut job.snoozed_out) {
            Some(DeadReason::TooManySnoozes)
        } else if run.lease.cancel_requested {
            return self.call_off(job, CancelReason::Asked);
        } else if job.job.options.at_most_once {
            Some(DeadReason::AtMostOnce)
        } else if lost && moved(&job, &run) {
            out_of_time.then_some(DeadReason::MaxAge)
        } else if lost && job.job.losses >= 5 {
            Some(DeadReason::Lost)
        } else if tries >= job.job.options.max_attempts {
            Some(DeadReason::Exhausted)
        } else {
            out_of_time.then_some(DeadReason::MaxAge)
        };
        if let Some(reason) = reason {
            return self.bury(job, reason);
        }
        if !lost {
            job.job.phase = Phase::Retrying;
            job.job.available_at = next_at;
        }
        self.jobs.push(job);
    }

    pub(super) fn extend(&mut self, ns: NamespaceId, e: &Extension) -> Refusable<Instruction> {
        let Some(found) = self.job(ns, e.id) else { return Err(self.unknown(ns, e.id)) };
        if found.run.as_ref().is_none_or(|run| run.lease.token != e.token) {
            return Err(Rejection::LeaseLost { id: e.id, token: e.token, why: "" });
        }
        self.check_lease_ms(e.lease_ms)?;
        let mono = self.mono;
        let timeout_ms = found.job.options.timeout_ms;
        let run = self.job_mut(ns, e.id).run.as_mut().expect("it runs");
        if run.held != super::Held::Apart {
            run.begin(timeout_ms, mono);
        }
        run.lease.progress = e.progress.map(|p| p.min(10_000)).or(run.lease.progress);
        if e.progress_text.is_some() {
            run.lease.progress_text.clone_from(&e.progress_text);
        }
        let expires = mono.saturating_add(e.lease_ms.unwrap_or(run.lease.lease_ms));
        run.expires = run.timeout.map_or(expires, |timeout| expires.min(timeout));
        Ok(self.instruct(ns, e.id))
    }

    /// Why a waiting job may not start any more.
    pub(super) fn out_of_time(&self, job: &Job) -> Option<Late> {
        let passed = |at: Option<TimeMs>| at.is_some_and(|at| at <= self.now);
        if job.attempt == 0 && passed(job.options.expires_at) {
            Some(Late::Expired)
        } else {
            passed(job.deadline).then_some(Late::Died)
        }
    }

    pub(super) fn end_late(&mut self, ns: NamespaceId, id: JobId, late: Late) {
        let mut job = self.stop_run(ns, id);
        match late {
            Late::Expired => {
                self.queue_mut(ns, &job.job.queue).cancelled += 1;
                job.job.phase = Phase::Expired { ended_at: self.now };
                self.keep_outcome(job);
            }
            Late::Died => self.bury(job, DeadReason::MaxAge),
        }
    }
}

/// Whether that end can be what this verdict brought about.
fn repeats(verdict: &Verdict, kind: &EndKind, once: bool) -> bool {
    let own = match verdict {
        Verdict::Ack { .. } => EndKind::Acked,
        Verdict::Fail { .. } => EndKind::Failed,
        Verdict::Discard { .. } => EndKind::Discarded,
        Verdict::Snooze { .. } => EndKind::Snoozed,
        Verdict::Release => EndKind::Released,
        Verdict::Interrupt { .. } => EndKind::Interrupted,
    };
    let runs_again = matches!(own, EndKind::Snoozed | EndKind::Released | EndKind::Interrupted);
    let spent = once && *kind == EndKind::Failed;
    let snoozed_out = own == EndKind::Snoozed && *kind == EndKind::SnoozedOut;
    *kind == own || snoozed_out || (runs_again && (*kind == EndKind::Discarded || spent))
}

/// Whether a verdict would take back a run that is the only one of its job and has begun.
fn is_spent(found: &RefJob, run: &Run, verdict: &Verdict) -> bool {
    found.job.options.at_most_once
        && match verdict {
            Verdict::Snooze { .. } | Verdict::Release => has_begun(found, run),
            Verdict::Interrupt { .. } => true,
            _ => false,
        }
}

/// Whether anything was heard of a run that only its worker can have begun.
fn has_begun(found: &RefJob, run: &Run) -> bool {
    let told = run.lease.progress.is_some() || run.lease.progress_text.is_some();
    let saved = found.checkpoint.as_ref().and_then(|it| it.token) == Some(run.lease.token);
    told || saved || run.begun
}

/// How a job ends that ran out of time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Expired,
    Died,
}

/// What a job that ran remembers of being moved to another time.
pub(super) fn moved_by_hand() -> End {
    End { token: Token::default(), kind: EndKind::Released }
}

pub(super) fn remember(job: &mut Job, run: &Run, kind: EndKind) {
    job.ends.retain(|end| *end != moved_by_hand());
    job.ends.push(End { token: run.lease.token, kind });
    if job.ends.len() > 4 {
        job.ends.remove(0);
    }
}

fn taken_back() -> JobError {
    let message = "the run had begun and was to be given back: a job that runs at most once does \
                   not run again";
    JobError {
        kind: "at_most_once".to_owned(),
        message: message.to_owned(),
        backtrace: String::new(),
    }
}

fn final_run(run: &Run, error: Option<JobError>) -> FinalRun {
    FinalRun { started_at: run.lease.started_at, worker: run.lease.worker.clone(), error }
}

fn last_error(cause: &Cause, error: Option<&JobError>, run: &Run) -> JobError {
    let (kind, message) = match (cause, error) {
        (_, Some(error)) => (error.kind.clone(), error.message.clone()),
        (Cause::Lost, None) => {
            ("lost".to_owned(), format!("the lease of worker \"{}\" ran out", run.lease.worker))
        }
        (_, None) => ("timeout".to_owned(), "the run took longer than its timeout".to_owned()),
    };
    JobError { kind, message, backtrace: String::new() }
}
