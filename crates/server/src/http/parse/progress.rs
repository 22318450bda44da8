//! How far a job is: what a worker tells with `heartbeat` and `checkpoint`, and where `retry`
//! begins.

use bytes::Bytes;
use longshore_engine::{CheckpointJob, Extension, JobId, RetryFrom, Start};

use super::Bounds;
use super::informing::{Spots, informing, unreadable};
use super::settle::{error_of, token_of};
use crate::api::{
    CheckpointRequest, HeartbeatRequest, RescheduleRequest, RetryRequest, progress_in_words,
};
use crate::http::json::{check_carried, read, read_or_default, slice, text_of};
use crate::http::refusal::Refusal;

/// Reads `heartbeat`.
pub(crate) fn parse_heartbeat(
    id: JobId,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Extension, Refusal> {
    informing(body, |body, _| heartbeat(id, text_of(body)?, bounds))
}

fn heartbeat(id: JobId, text: &str, bounds: &Bounds) -> Result<Extension, Refusal> {
    let request: HeartbeatRequest = read(text)?;
    let (progress, progress_text) = told(request.progress, request.progress_text, text);
    Ok(Extension {
        id,
        token: token_of(request.token),
        lease_ms: bounds.lease("lease", request.lease)?,
        progress,
        progress_text,
    })
}

/// How far a run is. What is no number is told in words: also of a run that says it so something
/// was heard.
fn told(
    progress: Option<f64>,
    progress_text: Option<String>,
    body: &str,
) -> (Option<u16>, Option<String>) {
    let known = progress.and_then(hundredths);
    let is_odd = progress.is_some() && known.is_none();
    let text = progress_text.or_else(|| if is_odd { progress_in_words(body) } else { None });
    (known, text)
}

/// Reads `checkpoint`.
pub(crate) fn parse_checkpoint(
    id: JobId,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<CheckpointJob, Refusal> {
    informing(body, |body, spots| checkpoint(id, (body, spots), bounds))
}

fn checkpoint(
    id: JobId,
    (body, spots): (&Bytes, &Spots),
    bounds: &Bounds,
) -> Result<CheckpointJob, Refusal> {
    let text = text_of(body)?;
    let request: CheckpointRequest<'_> = read(text)?;
    let max = bounds.cursor_bytes_max;
    if let Some(cursor) = &request.cursor {
        if spots.touch(body, cursor) {
            return Err(unreadable("cursor"));
        }
        check_carried("cursor", cursor.get(), max)?;
    }
    // They only inform: what cannot be kept is counted.
    let mut skipped_dropped = request.skipped.dropped;
    let mut skipped = Vec::with_capacity(request.skipped.items.len());
    for item in request.skipped.items {
        let is_sound = check_carried("skipped", item.cursor.get(), max).is_ok();
        if is_sound && skipped.len() < bounds.settlements_max {
            skipped.push((slice(body, &item.cursor), error_of(item.error)));
        } else {
            skipped_dropped += 1;
        }
    }
    let (progress, progress_text) = told(request.progress, request.progress_text, text);
    Ok(CheckpointJob {
        id,
        token: token_of(request.token),
        seq: request.seq,
        lease_ms: bounds.lease("lease", request.lease)?,
        cursor: request.cursor.map(|cursor| slice(body, &cursor)),
        progress,
        progress_text,
        counters: request.counters.counters,
        skipped,
        counters_dropped: request.counters.dropped,
        skipped_dropped,
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
