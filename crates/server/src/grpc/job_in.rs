//! From the messages of producers and workers to what the engine takes. Values go through the same
//! checks as those of JSON.

use bytes::Bytes;
use longshore_engine::{
    CheckpointJob, Epoch, FollowUp, JobError, JobId, NewJob, Settlement, Token, Verdict,
};
use longshore_proto::v1::{self, retry_policy, settlement};
use serde_json::value::RawValue;

use crate::api::{
    self, DurationText, InstantText, JobIdText, JobLimitText, RawJson, RetryText, TokenText,
    UniqueText,
};
use crate::http::code::Code;
use crate::http::json::check_carried;
use crate::http::parse::{Bounds, check_location, follow_ups, hundredths, job_of, next_start};
use crate::http::refusal::Refusal;
use crate::http::text::quoted;

/// Skipped items in one checkpoint.
const SKIPPED_MAX: usize = 1000;

/// The id of a job.
pub(super) fn job_id(field: &str, text: &str) -> Result<JobId, Refusal> {
    let id = text.parse::<JobIdText>();
    id.map(|id| JobId(id.0)).map_err(|_| Refusal::value(field, quoted(text), JobIdText::EXPECTED))
}

/// A lease.
pub(super) fn token(text: &str) -> Result<Token, Refusal> {
    let token = text.parse::<TokenText>();
    token
        .map(|token| Token { epoch: Epoch(token.epoch), counter: token.counter })
        .map_err(|_| Refusal::value("token", quoted(text), TokenText::EXPECTED))
}

/// A job and its lease.
pub(super) fn lease(id: &str, of: &str) -> Result<(JobId, Token), Refusal> {
    Ok((job_id("id", id)?, token(of)?))
}

fn text<'j>(field: &str, json: &'j [u8]) -> Result<&'j str, Refusal> {
    std::str::from_utf8(json).map_err(|error| {
        let at = error.valid_up_to();
        Refusal::new(Code::BodyNotUtf8, format!("byte {at} of {field} is not UTF-8")).field(field)
    })
}

fn malformed(field: &str, error: &serde_json::Error) -> Refusal {
    Refusal::new(Code::BodyMalformed, format!("{field} is not JSON: {error}")).field(field)
}

fn raw<'j>(field: &str, json: &'j [u8]) -> Result<Option<RawJson<'j>>, Refusal> {
    if json.is_empty() {
        return Ok(None);
    }
    let raw = serde_json::from_str(text(field, json)?);
    raw.map(Some).map_err(|error| malformed(field, &error))
}

/// Values up to this size are copied: they lie in the buffer of the whole message, which would be
/// kept for them.
const COPIED_BYTES_MAX: usize = 8192;

/// JSON that is carried, as it came.
pub(super) fn carried(field: &str, json: &Bytes, bytes_max: u64) -> Result<Bytes, Refusal> {
    let value: &RawValue =
        serde_json::from_str(text(field, json)?).map_err(|error| malformed(field, &error))?;
    let value = value.get();
    check_carried(field, value, bytes_max)?;
    if value.len() > COPIED_BYTES_MAX && value.len() == json.len() {
        return Ok(json.clone());
    }
    Ok(Bytes::copy_from_slice(value.as_bytes()))
}

/// A cursor, where one is given.
pub(super) fn cursor(json: &Bytes, bounds: &Bounds) -> Result<Option<Bytes>, Refusal> {
    if json.is_empty() {
        return Ok(None);
    }
    let cursor = carried("cursor", json, bounds.cursor_bytes_max)?;
    if &*cursor == b"null" {
        return Err(Refusal::value("cursor", "null", "any other JSON value, or none"));
    }
    Ok(Some(cursor))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn api_job(job: &v1::NewJob) -> Result<api::NewJob<'_>, Refusal> {
    let priority = |priority: u32| {
        let level = u8::try_from(priority).ok().filter(|level| *level <= 9);
        level.ok_or_else(|| Refusal::value("priority", priority, "0 to 9"))
    };
    Ok(api::NewJob {
        id: match job.id.as_str() {
            "" => None,
            id => Some(JobIdText(job_id("id", id)?.0)),
        },
        queue: some(job.queue.clone()),
        kind: job.kind.clone(),
        args: raw("args", &job.args)?,
        priority: job.priority.map(priority).transpose()?,
        run_at: job.run_at_unix_ms.map(InstantText),
        delay: job.delay_ms.map(DurationText),
        ordering_key: some(job.ordering_key.clone()),
        at_most_once: job.at_most_once.then_some(true),
        ttl: job.ttl_ms.map(DurationText),
        expires_at: job.expires_at_unix_ms.map(InstantText),
        timeout: job.timeout_ms.map(DurationText),
        lease: job.lease_ms.map(DurationText),
        retry: job.retry.as_ref().and_then(|retry| retry.policy.as_ref()).map(retry_text),
        max_attempts: job.max_attempts,
        max_age: job.max_age_ms.map(DurationText),
        retain: job.retain_ms.map(DurationText),
        tags: (!job.tags.is_empty()).then(|| job.tags.clone()),
        metadata: raw("metadata", &job.metadata)?,
        traceparent: some(job.traceparent.clone()),
        cursor: raw("cursor", &job.cursor)?,
        unique: job.unique.as_ref().map(unique_text).transpose()?,
        limit: job.limit.as_ref().map(job_limit),
        limits: (!job.limits.is_empty()).then(|| job.limits.iter().map(job_limit).collect()),
        gates: (!job.gates.is_empty()).then(|| job.gates.clone()),
        tenant: some(job.tenant.clone()),
        version: (job.version > 0).then_some(job.version),
    })
}

fn job_limit(limit: &v1::JobLimit) -> JobLimitText {
    JobLimitText {
        name: limit.name.clone(),
        key: some(limit.key.clone()),
        by: some(limit.by.clone()),
        tag: some(limit.tag.clone()),
    }
}

/// A word of the API, where one is given.
pub(super) fn word<T: serde::de::DeserializeOwned>(
    field: &str,
    text: &str,
    allowed: &str,
) -> Result<Option<T>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    read.map(Some).map_err(|_| Refusal::value(field, quoted(text), allowed))
}

fn unique_text(unique: &v1::Unique) -> Result<UniqueText, Refusal> {
    let until = "started, ended, forgotten";
    let ways = "reject, existing, replace, debounce, throttle";
    Ok(UniqueText {
        by: (!unique.by.is_empty()).then(|| unique.by.clone()),
        key: some(unique.key.clone()),
        period: unique.period_ms.map(DurationText),
        until: word("unique.until", &unique.until, until)?,
        on_conflict: word("unique.on_conflict", &unique.on_conflict, ways)?,
        replace: (!unique.replace.is_empty()).then(|| unique.replace.clone()),
    })
}

pub(super) fn retry_text(policy: &retry_policy::Policy) -> RetryText {
    match policy {
        retry_policy::Policy::Sidekiq(_) => RetryText::Sidekiq,
        retry_policy::Policy::Constant(constant) => {
            RetryText::Constant { delay: DurationText(constant.delay_ms) }
        }
        retry_policy::Policy::Exponential(growing) => RetryText::Exponential {
            base: DurationText(growing.base_ms),
            factor: growing.factor,
            cap: growing.cap_ms.map(DurationText),
            jitter: growing.jitter,
        },
    }
}

/// Jobs for one queue; all that are at fault are named.
pub(super) fn new_jobs(
    queue: &str,
    jobs: Vec<v1::NewJob>,
    bounds: &Bounds,
) -> Result<Vec<NewJob>, Refusal> {
    let count = jobs.len();
    if count == 0 || count > bounds.bulk_jobs_max {
        let allowed = format!("1 to {} jobs", bounds.bulk_jobs_max);
        return Err(Refusal::value("jobs", format!("{count} jobs"), allowed));
    }
    let (mut taken, mut faults) = (Vec::with_capacity(count), Vec::new());
    for (index, mut job) in jobs.into_iter().enumerate() {
        if job.queue == queue {
            job.queue.clear();
        }
        let body = Bytes::new();
        match api_job(&job).and_then(|job| job_of(queue, job, &body, bounds)) {
            Ok(job) => taken.push(job),
            Err(refusal) if count == 1 => return Err(refusal),
            Err(refusal) => faults.push((index, refusal)),
        }
    }
    if faults.is_empty() { Ok(taken) } else { Err(Refusal::of_jobs("jobs", faults)) }
}

pub(super) fn entering(jobs: &[v1::NewJob], bounds: &Bounds) -> Result<Vec<FollowUp>, Refusal> {
    // Before each of them gets its several forms.
    if jobs.len() > bounds.bulk_jobs_max {
        let allowed = format!("at most {} jobs", bounds.bulk_jobs_max);
        return Err(Refusal::value("enqueue", format!("{} jobs", jobs.len()), allowed));
    }
    let jobs = jobs.iter().map(api_job).collect::<Result<Vec<_>, _>>()?;
    follow_ups(jobs, &Bytes::new(), bounds)
}

fn job_error(error: Option<v1::JobError>) -> JobError {
    let v1::JobError { r#type, message, backtrace } = error.unwrap_or_default();
    JobError { kind: r#type, message, backtrace }
}

/// The end of one run.
pub(super) fn settlement(one: v1::Settlement, bounds: &Bounds) -> Result<Settlement, Refusal> {
    let (id, token) = lease(&one.id, &one.token)?;
    let verdict = match one.verdict {
        None => {
            let detail = "the settlement has no verdict that this server knows";
            return Err(Refusal::new(Code::FieldMissing, detail).field("verdict"));
        }
        Some(settlement::Verdict::Ack(ack)) => {
            let location = some(ack.location);
            if let Some(location) = &location {
                check_location(location)?;
            }
            let max = bounds.result_bytes_max;
            let result = ack.result.map(|result| carried("result", &result, max)).transpose()?;
            let follow_ups = entering(&ack.enqueue, bounds)?;
            let next_in = ack.next_in_ms.map(DurationText);
            let next_at = ack.next_at_unix_ms.map(InstantText);
            let next_tick = next_start((("next_in", next_in), ("next_at", next_at)), bounds)?;
            Verdict::Ack { result, location, follow_ups, next_tick }
        }
        Some(settlement::Verdict::Fail(fail)) => {
            Verdict::Fail { error: job_error(fail.error), retry_in_ms: fail.retry_in_ms }
        }
        Some(settlement::Verdict::Snooze(snooze)) => Verdict::Snooze { delay_ms: snooze.delay_ms },
        Some(settlement::Verdict::Release(_)) => Verdict::Release,
        Some(settlement::Verdict::Discard(discard)) => {
            Verdict::Discard { error: discard.error.map(|error| job_error(Some(error))) }
        }
        Some(settlement::Verdict::Interrupted(interrupted)) => Verdict::Interrupt {
            reason: some(interrupted.reason).unwrap_or_else(|| "interrupt".to_owned()),
            delay_ms: interrupted.delay_ms,
        },
    };
    Ok(Settlement { id, token, verdict })
}

/// How far one run has come.
pub(super) fn checkpoint(one: v1::Checkpoint, bounds: &Bounds) -> Result<CheckpointJob, Refusal> {
    let (id, token) = lease(&one.id, &one.token)?;
    // They only inform: what cannot be kept is counted.
    let max = bounds.cursor_bytes_max;
    let told = one.skipped.len();
    let read = |item: v1::SkippedItem| {
        let cursor = carried("skipped", &item.cursor, max).ok()?;
        Some((cursor, job_error(item.error)))
    };
    let skipped: Vec<_> = one.skipped.into_iter().filter_map(read).take(SKIPPED_MAX).collect();
    let skipped_dropped = (told - skipped.len()) as u64;
    let mut counters: Vec<_> = one.counters.into_iter().collect();
    counters.sort_unstable();
    Ok(CheckpointJob {
        id,
        token,
        seq: (one.seq > 0).then_some(one.seq),
        lease_ms: None,
        cursor: cursor(&one.cursor, bounds)?,
        progress: one.progress.and_then(hundredths),
        progress_text: one.progress_text,
        counters,
        skipped,
        counters_dropped: 0,
        skipped_dropped,
    })
}
