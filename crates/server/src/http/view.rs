//! From what the engine shows to the types of the API. Bodies are looked up before.

use bytes::Bytes;
use longshore_engine::{
    AttemptNote, BlockedBy, CancelReason, Cause, Checkpoint, DeadReason, End, EndKind, GateView,
    HoldView, Job, JobDefaults, JobError, JobState, JobView, LimitKeyView, LimitRule, LimitScope,
    LimitView, NamespaceView, Phase, QueueSettings, QueueView, RetryPolicy, SkippedItem, TimeMs,
    UniqueLock, UniqueMet, UniqueUntil,
};
use longshore_engine::{
    JobId, JobLimit, JobTemplate, LastTick, Missed, Overlap, ScheduleView, Slot, Spec, TickOutcome,
    Token,
};

use super::content;
use crate::api::{
    AttemptOutcomeText, AttemptRecord, BlockedByRecord, BucketText, CheckpointRecord, Counters,
    DurationText, ErrorText, GateRecord, HeldRunRecord, HoldRecord, InstantText, JobDefaultsBody,
    JobIdText, JobLimitRecord, JobRecord, LeaseRecord, LimitKeyRecord, LimitRecord, LimitScopeText,
    LimitSettingsBody, NamespaceRecord, QueueRecord, QueueSettingsBody, RawJson, RetryText,
    SkippedRecord, StateText, StatusRecord, UniqueOutcome, UniqueRecord, UniqueUntilText,
    WindowText,
};
use crate::api::{
    JobLimitText, JobTickRecord, MissedText, NewJob, OverlapText, ScheduleBody, ScheduleRecord,
    SlotRecord, TickRecord, TokenText, UnaccountedRunRecord,
};

pub(crate) fn instant(at: TimeMs) -> InstantText {
    InstantText(at.0)
}

fn duration(ms: Option<u64>) -> Option<DurationText> {
    ms.map(DurationText)
}

fn share(progress: u16) -> f64 {
    f64::from(progress) / 10_000.0
}

/// JSON that was stored. It was checked when it came in.
fn stored(bytes: &Bytes) -> Option<RawJson<'static>> {
    RawJson::from_text(String::from_utf8(bytes.to_vec()).ok()?).ok()
}

/// The word for a state.
pub(crate) fn state(state: JobState) -> StateText {
    match state {
        JobState::Scheduled => StateText::Scheduled,
        JobState::Ready => StateText::Ready,
        JobState::Running => StateText::Running,
        JobState::Retrying => StateText::Retrying,
        JobState::Succeeded => StateText::Succeeded,
        JobState::Dead => StateText::Dead,
        JobState::Cancelled => StateText::Cancelled,
        JobState::Expired => StateText::Expired,
    }
}

/// The state as the engine knows it.
pub(crate) fn state_of(state: StateText) -> JobState {
    match state {
        StateText::Scheduled => JobState::Scheduled,
        StateText::Ready => JobState::Ready,
        StateText::Running => JobState::Running,
        StateText::Retrying => JobState::Retrying,
        StateText::Succeeded => JobState::Succeeded,
        StateText::Dead => JobState::Dead,
        StateText::Cancelled => JobState::Cancelled,
        StateText::Expired => JobState::Expired,
    }
}

fn reason(view: &JobView) -> Option<String> {
    let word = match &view.job.phase {
        Phase::Dead { reason: DeadReason::Exhausted, .. } => "exhausted",
        Phase::Dead { reason: DeadReason::MaxAge, .. } => "max_age",
        Phase::Dead { reason: DeadReason::Lost, .. } => "lost",
        Phase::Dead { reason: DeadReason::AtMostOnce, .. } => "at_most_once",
        Phase::Dead { reason: DeadReason::TooManySnoozes, .. } => "too_many_snoozes",
        Phase::Cancelled { reason: CancelReason::Asked, .. } => "asked",
        Phase::Cancelled { reason: CancelReason::Forced, .. } => "forced",
        Phase::Cancelled { reason: CancelReason::Discarded, .. } => "discarded",
        // Only a worker makes a job wait that has run: a throttle, say, puts it off.
        Phase::Waiting if view.state() == JobState::Scheduled => match view.job.ends.last() {
            Some(End { kind: EndKind::Snoozed, .. }) => "snoozed",
            Some(End { kind: EndKind::Interrupted, token }) if token.counter > 0 => "interrupted",
            _ => return None,
        },
        Phase::Waiting | Phase::Retrying | Phase::Succeeded { .. } | Phase::Expired { .. } => {
            return None;
        }
    };
    Some(word.to_owned())
}

fn error(error: &JobError) -> ErrorText {
    ErrorText {
        kind: error.kind.clone(),
        message: error.message.clone(),
        backtrace: error.backtrace.clone(),
    }
}

/// The location and whether there is a result, of a job that has succeeded.
fn success(phase: &Phase) -> (Option<String>, bool) {
    match phase {
        Phase::Succeeded { location, result, .. } => (location.clone(), result.is_some()),
        _ => (None, false),
    }
}

/// Attempts in all: a job that somebody retried has those before it and as many again.
fn attempts_in_all(job: &Job) -> u32 {
    job.budget_from.saturating_add(job.options.max_attempts)
}

/// How a job is doing. `result_url` is where its result would be.
pub(crate) fn status(view: &JobView, result_url: &str) -> StatusRecord<'static> {
    let job = &view.job;
    let (location, has_result) = success(&job.phase);
    let waits = job.phase.is_unfinished() && view.lease.is_none();
    let lease = view.lease.as_ref();
    StatusRecord {
        id: JobIdText(job.id.0),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        state: state(view.state()),
        reason: reason(view),
        paused: view.paused,
        attempt: lease.map_or(job.attempt, |lease| lease.attempt),
        max_attempts: attempts_in_all(job),
        progress: view.progress().map(share),
        progress_text: view.progress_text().map(str::to_owned),
        enqueued_at: instant(job.enqueued_at),
        run_at: waits.then_some(instant(job.available_at)),
        ended_at: job.phase.ended_at().map(instant),
        error: last_error(job),
        result_url: has_result.then(|| result_url.to_owned()),
        result: None,
        location,
    }
}

/// The whole record of a job, without what is stored apart and what only its worker's stream tells.
pub(crate) fn job(view: &JobView) -> JobRecord<'static> {
    let (job, lease) = (&view.job, view.lease.as_ref());
    let options = &job.options;
    let own = options
        .own_limits()
        .map(|JobLimit { name, key }| JobLimitRecord { name: name.clone(), key: key.clone() });
    let mut own_limits: Vec<_> = own.collect();
    let only_limit = if own_limits.len() == 1 { own_limits.pop() } else { None };
    JobRecord {
        id: JobIdText(job.id.0),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        state: state(view.state()),
        reason: reason(view),
        paused: view.paused,
        blocked_by: view.blocked_by.iter().map(blocked_by).collect(),
        args: None,
        priority: options.priority,
        attempt: lease.map_or(job.attempt, |lease| lease.attempt),
        max_attempts: attempts_in_all(job),
        losses: job.losses,
        snoozes: job.snoozes,
        enqueued_at: instant(job.enqueued_at),
        run_at: instant(job.available_at),
        ended_at: job.phase.ended_at().map(instant),
        expires_at: options.expires_at.map(instant),
        deadline: job.deadline.map(instant),
        ordering_key: options.ordering_key.clone(),
        at_most_once: options.at_most_once,
        timeout: duration(options.timeout_ms),
        lease: duration(options.lease_ms),
        retry: retry(&options.retry),
        max_age: duration(options.max_age_ms),
        retain: duration(options.retain_ms),
        tags: options.tags.clone(),
        gates: options.gates.clone(),
        tenant: options.tenant.clone(),
        version: version_told(options.version),
        metadata: options.metadata.as_ref().and_then(stored),
        traceparent: options.traceparent.clone(),
        unique: options.unique.as_ref().map(unique),
        limit: only_limit,
        limits: own_limits,
        progress: view.progress().map(share),
        progress_text: view.progress_text().map(str::to_owned),
        checkpoint: view.checkpoint.as_ref().map(|it| checkpoint(it, view.ran_ms())),
        running: lease.map(|lease| LeaseRecord {
            worker: lease.worker.to_string(),
            attempt: lease.attempt,
            started_at: instant(lease.started_at),
            lease: DurationText(lease.lease_ms),
            held: false,
            cancel_requested: lease.cancel_requested,
        }),
        error: last_error(job),
        result: None,
        location: success(&job.phase).0,
        attempts: None,
        schedule: job.tick.as_ref().map(|tick| JobTickRecord {
            name: tick.name.clone(),
            slot: instant(tick.slot),
            by_hand: tick.by_hand,
        }),
    }
}

/// What became of a job whose like was there.
pub(crate) fn unique_outcome(met: UniqueMet) -> UniqueOutcome {
    match met {
        UniqueMet::Existing => UniqueOutcome::Existing,
        UniqueMet::Replaced => UniqueOutcome::Replaced,
        UniqueMet::Debounced => UniqueOutcome::Debounced,
        UniqueMet::Throttled => UniqueOutcome::Throttled,
    }
}

fn unique(lock: &UniqueLock) -> UniqueRecord {
    let until = match lock.until {
        UniqueUntil::Started => UniqueUntilText::Started,
        UniqueUntil::Ended => UniqueUntilText::Ended,
        UniqueUntil::Forgotten => UniqueUntilText::Forgotten,
    };
    UniqueRecord { until, period_from: lock.since.map(instant) }
}

/// A limit as it is told.
pub(crate) fn limit(limit: &LimitView) -> LimitRecord {
    let LimitView { name, settings, running, spent, waiting, keys } = limit;
    let (scope, of) = match &settings.scope {
        LimitScope::Namespace => (LimitScopeText::Namespace, None),
        LimitScope::Queue { name } => (LimitScopeText::Queue, name.clone()),
        LimitScope::Kind { name } => (LimitScopeText::Kind, name.clone()),
        LimitScope::Key => (LimitScopeText::Key, None),
    };
    let (mut concurrency, mut window, mut bucket) = (None, None, None);
    match settings.rule {
        LimitRule::Concurrency { max } => concurrency = Some(max),
        LimitRule::Window { max, period_ms } => {
            window = Some(WindowText { max, per: DurationText(period_ms) });
        }
        LimitRule::Bucket { burst, count, period_ms } => {
            bucket = Some(BucketText { burst, count, per: DurationText(period_ms) });
        }
    }
    let settings = LimitSettingsBody { scope, of, concurrency, window, bucket };
    let key = |of: &LimitKeyView| LimitKeyRecord {
        key: of.key.clone(),
        running: of.running,
        waiting: of.waiting,
    };
    LimitRecord {
        name: name.clone(),
        settings,
        running: *running,
        spent: *spent,
        waiting: *waiting,
        keys: keys.iter().map(key).collect(),
    }
}

/// A gate as it is told.
pub(crate) fn gate(of: &GateView) -> GateRecord {
    let GateView { name, gate, running } = of;
    GateRecord {
        name: name.clone(),
        closed: gate.closed,
        since: InstantText(gate.since.0),
        reason: gate.reason.clone(),
        expires_at: gate.expires_at.map(|at| InstantText(at.0)),
        queues: gate.queues.clone(),
        kinds: gate.kinds.clone(),
        running: *running,
    }
}

/// A hold as it is told.
pub(crate) fn hold(of: &HoldView) -> HoldRecord {
    let token = |token: Token| TokenText { epoch: token.epoch.0, counter: token.counter };
    let runs = of.runs.iter().map(|(id, lease, worker)| HeldRunRecord {
        job: JobIdText(id.0),
        token: token(*lease),
        worker: worker.clone(),
    });
    let unaccounted = of.lost.iter().map(|(id, lost)| UnaccountedRunRecord {
        job: JobIdText(id.0),
        token: token(lost.token),
        worker: lost.worker.clone(),
        started_at: InstantText(lost.started_at.0),
        ended_at: InstantText(lost.ended_at.0),
    });
    HoldRecord {
        tag: of.tag.clone(),
        epoch: of.hold.epoch,
        since: InstantText(of.hold.since.0),
        reason: of.hold.reason.clone(),
        quiet: of.running == 0,
        running: of.running,
        unaccounted_total: of.unaccounted,
        runs: runs.collect(),
        unaccounted: unaccounted.collect(),
    }
}

/// A version of a kind, where there is one.
pub(crate) fn version_told(version: u32) -> Option<u32> {
    (version > 0).then_some(version)
}

/// What keeps a job from being handed out.
fn blocked_by(by: &BlockedBy) -> BlockedByRecord {
    let paused = |what: &str| Some(what.to_owned());
    match by {
        BlockedBy::OrderingKey { ordering_key, job } => BlockedByRecord {
            ordering_key: Some(ordering_key.clone()),
            job: Some(JobIdText(job.0)),
            ..BlockedByRecord::default()
        },
        BlockedBy::Limit { name, key } => BlockedByRecord {
            limit: Some(name.clone()),
            key: (!key.is_empty()).then(|| key.clone()),
            ..BlockedByRecord::default()
        },
        BlockedBy::Gate { name, reason, expires_at } => BlockedByRecord {
            gate: Some(name.clone()),
            reason: reason.clone(),
            expires_at: expires_at.map(|at| InstantText(at.0)),
            ..BlockedByRecord::default()
        },
        BlockedBy::Hold { tag, reason, epoch } => BlockedByRecord {
            hold: Some(tag.clone()),
            epoch: Some(*epoch),
            reason: reason.clone(),
            ..BlockedByRecord::default()
        },
        BlockedBy::TenantTurn { tenant } => {
            BlockedByRecord { tenant: Some(tenant.clone()), ..BlockedByRecord::default() }
        }
        BlockedBy::NoWorker { kind, version } => BlockedByRecord {
            no_worker_for: Some(kind.clone()),
            version: version_told(*version),
            ..BlockedByRecord::default()
        },
        BlockedBy::JobPause => {
            BlockedByRecord { paused: paused("job"), ..BlockedByRecord::default() }
        }
        BlockedBy::QueuePause => {
            BlockedByRecord { paused: paused("queue"), ..BlockedByRecord::default() }
        }
    }
}

fn checkpoint(checkpoint: &Checkpoint, ran_ms: u64) -> CheckpointRecord<'static> {
    CheckpointRecord {
        cursor: checkpoint.cursor.as_ref().and_then(stored),
        counters: Counters(checkpoint.counters.clone()),
        interruptions: checkpoint.interruptions,
        interrupted_for: checkpoint.interrupted_for.clone(),
        ran: DurationText(ran_ms),
        skipped_total: u64::from(checkpoint.skipped).saturating_add(checkpoint.skipped_dropped),
        counters_dropped: Some(checkpoint.counters_dropped).filter(|dropped| *dropped > 0),
        skipped: None,
    }
}

/// The whole record of a job, with what is stored apart.
pub(crate) fn with_bodies(
    view: &JobView,
    args: Option<&Bytes>,
    result: Option<&Bytes>,
    attempts: &[AttemptNote],
    skipped: &[SkippedItem],
) -> JobRecord<'static> {
    let mut record = job(view);
    record.args = args.and_then(stored);
    record.result = result.and_then(stored);
    let attempts = attempts.iter().map(attempt);
    record.attempts = Some(attempts.chain(final_attempt(&view.job)).collect());
    if let Some(checkpoint) = &mut record.checkpoint {
        checkpoint.skipped = Some(skipped.iter().filter_map(skipped_item).collect());
    }
    record
}

fn skipped_item(item: &SkippedItem) -> Option<SkippedRecord<'static>> {
    let cursor = stored(&item.cursor)?;
    Some(SkippedRecord { cursor, error: error(&item.error), at: instant(item.at) })
}

/// Adds the result that was waited for.
pub(crate) fn with_result(
    mut record: StatusRecord<'static>,
    result: Option<&Bytes>,
) -> StatusRecord<'static> {
    record.result = result.and_then(stored);
    record
}

fn attempt(note: &AttemptNote) -> AttemptRecord {
    AttemptRecord {
        attempt: note.attempt,
        outcome: match note.cause {
            Cause::Failed => AttemptOutcomeText::Failed,
            Cause::Timeout => AttemptOutcomeText::Timeout,
            Cause::Lost => AttemptOutcomeText::Lost,
        },
        worker: note.worker.clone(),
        started_at: instant(note.started_at),
        ended_at: instant(note.ended_at),
        error: note.error.as_ref().map(error),
    }
}

/// The run that ended the job well, or called it off.
fn final_attempt(job: &Job) -> Option<AttemptRecord> {
    let run = job.final_run.as_ref()?;
    Some(AttemptRecord {
        attempt: job.attempt,
        outcome: match job.phase {
            Phase::Cancelled { reason: CancelReason::Discarded, .. } => {
                AttemptOutcomeText::Discarded
            }
            Phase::Cancelled { .. } => AttemptOutcomeText::Cancelled,
            _ => AttemptOutcomeText::Succeeded,
        },
        worker: run.worker.to_string(),
        started_at: instant(run.started_at),
        ended_at: instant(job.phase.ended_at()?),
        error: run.error.as_ref().map(error),
    })
}

/// The last error: what the run that ended the job says goes before what an earlier one said.
fn last_error(job: &Job) -> Option<ErrorText> {
    let discarded = job.final_run.as_ref().and_then(|run| run.error.as_ref());
    discarded.or(job.last_error.as_ref()).map(error)
}

fn retry(policy: &RetryPolicy) -> RetryText {
    match *policy {
        RetryPolicy::Sidekiq => RetryText::Sidekiq,
        RetryPolicy::Constant { delay_ms } => RetryText::Constant { delay: DurationText(delay_ms) },
        RetryPolicy::Exponential { base_ms, factor_percent, cap_ms, jitter_percent } => {
            RetryText::Exponential {
                base: DurationText(base_ms),
                factor: Some(f64::from(factor_percent) / 100.0),
                cap: Some(DurationText(cap_ms)),
                jitter: Some(f64::from(jitter_percent) / 100.0),
            }
        }
    }
}

/// Options for jobs that do not say otherwise.
pub(crate) fn defaults(of: &JobDefaults) -> JobDefaultsBody {
    let JobDefaults {
        priority,
        lease_ms,
        timeout_ms,
        retry: policy,
        max_attempts,
        max_age_ms,
        ttl_ms,
        retain_ms,
    } = of;
    JobDefaultsBody {
        priority: *priority,
        lease: duration(*lease_ms),
        timeout: duration(*timeout_ms),
        retry: policy.as_ref().map(retry),
        max_attempts: *max_attempts,
        max_age: duration(*max_age_ms),
        ttl: duration(*ttl_ms),
        retain: duration(*retain_ms),
    }
}

fn settings(settings: &QueueSettings) -> QueueSettingsBody {
    QueueSettingsBody {
        paused: settings.paused,
        max_length: settings.max_length,
        defaults: defaults(&settings.defaults),
        messages: settings.messages.as_deref().map(content::settings_body),
        tenants: settings.tenants.iter().map(|it| (it.tenant.clone(), it.weight)).collect(),
        outcomes: settings.outcomes.clone(),
    }
}

/// A queue, without rates.
pub(crate) fn queue(view: &QueueView) -> QueueRecord {
    QueueRecord {
        name: view.name.clone(),
        holds: view.settings.holds().to_owned(),
        settings: settings(&view.settings),
        messages: view.messages.as_deref().map(content::queue_record),
        ready: view.ready,
        scheduled: view.scheduled,
        retrying: view.retrying,
        blocked: view.blocked,
        held: view.held,
        running: view.running,
        dead: view.dead,
        oldest_age: duration(view.oldest_age_ms),
        consumers: view.consumers,
        unconsumed_kinds: view.unconsumed_kinds.clone(),
        enqueued_total: view.enqueued_total,
        succeeded_total: view.succeeded_total,
        failed_total: view.failed_total,
        dead_total: view.dead_total,
        cancelled_total: view.cancelled_total,
        enqueued_per_second: None,
        succeeded_per_second: None,
    }
}

/// A namespace.
pub(crate) fn namespace(view: &NamespaceView) -> NamespaceRecord {
    NamespaceRecord {
        name: view.name.clone(),
        created_at: instant(view.created_at),
        queues: view.queues,
        outcome_bytes: view.outcome_bytes,
        dead_bytes: view.dead_bytes,
        tombstones: view.tombstones,
        tombstones_dropped_total: view.tombstones_dropped_total,
        schedules: view.schedules,
    }
}

/// One time at which a schedule fires.
pub(crate) fn slot(slot: &Slot, zone: &str) -> SlotRecord {
    SlotRecord {
        at: instant(slot.at),
        local: longshore_engine::local_time(slot.at, zone),
        due: instant(slot.due),
    }
}

/// A schedule, and the job that was enqueued where somebody asked for one.
pub(crate) fn schedule(view: &ScheduleView, job: Option<JobId>) -> ScheduleRecord<'static> {
    let (schedule, state) = (&view.schedule, &view.state);
    ScheduleRecord {
        name: schedule.name.clone(),
        settings: schedule_settings(view),
        paused: state.paused,
        next: state.next.as_ref().map(|next| slot(next, &schedule.settings.zone)),
        last: state.last.as_ref().map(tick),
        enqueued_total: state.enqueued_total,
        missed_total: state.missed_total,
        skipped_total: state.skipped_total,
        refused_total: state.refused_total,
        created_at: instant(schedule.created_at),
        changed_at: instant(schedule.changed_at),
        job: job.map(|id| JobIdText(id.0)),
    }
}

fn tick(last: &LastTick) -> TickRecord {
    let (outcome, code) = match &last.outcome {
        TickOutcome::Enqueued => ("enqueued", None),
        TickOutcome::Skipped => ("skipped", None),
        TickOutcome::Missed => ("missed", None),
        TickOutcome::Refused { code } => ("refused", Some(code.clone())),
    };
    TickRecord {
        slot: instant(last.slot),
        at: instant(last.at),
        outcome: outcome.to_owned(),
        code,
        job: last.job.map(|id| JobIdText(id.0)),
        by_hand: last.by_hand,
    }
}

fn schedule_settings(view: &ScheduleView) -> ScheduleBody<'static> {
    let settings = &view.schedule.settings;
    let (cron, every) = match &settings.spec {
        Spec::Cron { text } => (Some(text.clone()), None),
        Spec::Every { period_ms } => (None, Some(DurationText(*period_ms))),
    };
    ScheduleBody {
        time_zone: cron.is_some().then(|| settings.zone.clone()),
        cron,
        every,
        job: template(&settings.job),
        jitter: Some(DurationText(settings.jitter_ms)).filter(|jitter| jitter.0 > 0),
        starts_at: settings.starts_at.map(instant),
        ends_at: settings.ends_at.map(instant),
        missed: Some(match settings.missed {
            Missed::Skip => MissedText::Skip,
            Missed::One => MissedText::One,
            Missed::All => MissedText::All,
            Missed::Within { ms } => MissedText::Within(DurationText(ms)),
        }),
        overlap: Some(match settings.overlap {
            Overlap::Allow => OverlapText::Allow,
            Overlap::Skip => OverlapText::Skip,
            Overlap::QueueOne => OverlapText::QueueOne,
            Overlap::CancelPrevious => OverlapText::CancelPrevious,
        }),
        description: settings.description.clone(),
        source: settings.source.clone(),
        paused: None,
    }
}

fn job_limit(of: &JobLimit) -> JobLimitText {
    JobLimitText { name: of.name.clone(), key: Some(of.key.clone()), by: None, tag: None }
}

/// A template as it is told.
pub(crate) fn template(of: &JobTemplate) -> NewJob<'static> {
    NewJob {
        queue: Some(of.queue.clone()),
        args: stored(&of.args),
        priority: of.priority,
        ordering_key: of.ordering_key.clone(),
        at_most_once: of.at_most_once.then_some(true),
        ttl: duration(of.ttl_ms),
        timeout: duration(of.timeout_ms),
        lease: duration(of.lease_ms),
        retry: of.retry.as_ref().map(retry),
        max_attempts: of.max_attempts,
        max_age: duration(of.max_age_ms),
        retain: duration(of.retain_ms),
        tags: (!of.tags.is_empty()).then(|| of.tags.clone()),
        gates: (!of.gates.is_empty()).then(|| of.gates.clone()),
        tenant: of.tenant.clone(),
        version: version_told(of.version),
        unique: of.unique.as_ref().and_then(|unique| serde_json::from_str(&unique.text).ok()),
        limit: of.limit.as_ref().map(job_limit),
        limits: (!of.limits.is_empty()).then(|| of.limits.iter().map(job_limit).collect()),
        metadata: of.metadata.as_ref().and_then(stored),
        ..NewJob::of(of.kind.clone())
    }
}
