//! How far a job is: what a worker tells with `heartbeat` and `checkpoint`, and where `retry`
//! begins.

use bytes::Bytes;
use longshore_engine::{CheckpointJob, Extension, JobId, RetryFrom, Start};

use super::Bounds;
use super::check::check_count;
use super::settle::{error_of, token_of};
use crate::api::{CheckpointRequest, HeartbeatRequest, RescheduleRequest, RetryRequest};
use crate::http::json::{check_carried, read, read_or_default, slice, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::check_name;

/// Reads `heartbeat`.
pub(crate) fn parse_heartbeat(
    id: JobId,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Extension, Refusal> {
    let request: HeartbeatRequest = read(text_of(body)?)?;
    Ok(Extension {
        id,
        token: token_of(request.token),
        lease_ms: bounds.lease("lease", request.lease)?,
        progress: request.progress.and_then(hundredths),
        progress_text: request.progress_text,
    })
}

/// Reads `checkpoint`.
pub(crate) fn parse_checkpoint(
    id: JobId,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<CheckpointJob, Refusal> {
    let request: CheckpointRequest<'_> = read(text_of(body)?)?;
    let max = bounds.cursor_bytes_max;
    if let Some(cursor) = &request.cursor {
        check_carried("cursor", cursor.get(), max)?;
    }
    check_count("skipped", request.skipped.len(), bounds.settlements_max, "items")?;
    for (name, _) in &request.counters.0 {
        check_name("counters", name)?;
    }
    let mut skipped = Vec::with_capacity(request.skipped.len());
    for (index, item) in request.skipped.into_iter().enumerate() {
        check_carried(&format!("skipped[{index}].cursor"), item.cursor.get(), max)?;
        skipped.push((slice(body, &item.cursor), error_of(item.error)));
    }
    Ok(CheckpointJob {
        id,
        token: token_of(request.token),
        seq: request.seq,
        lease_ms: bounds.lease("lease", request.lease)?,
        cursor: request.cursor.map(|cursor| slice(body, &cursor)),
        progress: request.progress.and_then(hundredths),
        progress_text: request.progress_text,
        counters: request.counters.0,
        skipped,
    })
}

/// Reads `retry`, which may have no body.
pub(crate) fn parse_retry(body: &Bytes, bounds: &Bounds) -> Result<RetryFrom, Refusal> {
    let request: RetryRequest<'_> = match &**body {
        b"" => RetryRequest::default(),
        _ => read(text_of(body)?)?,
    };
    let Some(cursor) = request.cursor else { return Ok(RetryFrom::Kept) };
    if cursor.get() == "null" {
        return Ok(RetryFrom::Beginning);
    }
    check_carried("cursor", cursor.get(), bounds.cursor_bytes_max)?;
    Ok(RetryFrom::Cursor(slice(body, &cursor)))
}

/// Reads `reschedule`; without a time it means now.
pub(crate) fn parse_reschedule(body: &Bytes, bounds: &Bounds) -> Result<Start, Refusal> {
    new_start(&read_or_default(body)?, bounds)
}

/// Checks when a job that is moved may start.
pub(crate) fn new_start(request: &RescheduleRequest, bounds: &Bounds) -> Result<Start, Refusal> {
    let RescheduleRequest { run_at, delay } = *request;
    if let (Some(at), Some(_)) = (run_at, delay) {
        let value = format!("{at}, beside delay");
        return Err(Refusal::value("run_at", value, "run_at or delay, not both"));
    }
    let run_at = bounds.instant("run_at", run_at)?.map(Start::At);
    let delay = bounds.duration("delay", delay, 0)?.map(Start::After);
    Ok(run_at.or(delay).unwrap_or(Start::After(0)))
}

/// Progress in hundredths of a per cent, the nearest that there is: it only informs, so it costs no
/// run. What is no number says nothing.
pub(crate) fn hundredths(progress: f64) -> Option<u16> {
    if progress.is_nan() {
        return None;
    }
    #[expect(clippy::cast_sign_loss, reason = "it is not negative, by the bounds")]
    Some((progress.clamp(0.0, 1.0) * 10_000.0).round() as u16)
}
