//! How far a job is: what a worker tells with `heartbeat` and `checkpoint`, and where `retry`
//! begins.

use bytes::Bytes;
use longshore_engine::{CheckpointJob, Extension, JobId, RetryFrom};

use super::Bounds;
use super::settle::{error_of, token_of};
use crate::api::{CheckpointRequest, HeartbeatRequest, RetryRequest};
use crate::http::json::{check_carried, read, slice, text_of};
use crate::http::refusal::Refusal;

/// Reads `heartbeat`.
pub(crate) fn parse_heartbeat(id: JobId, body: &Bytes) -> Result<Extension, Refusal> {
    let request: HeartbeatRequest = read(text_of(body)?)?;
    Ok(Extension {
        id,
        token: token_of(request.token),
        lease_ms: request.lease.map(|lease| lease.0),
        progress: request.progress.map(hundredths).transpose()?,
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
    if request.skipped.len() > bounds.settlements_max {
        let value = format!("{} items", request.skipped.len());
        return Err(Refusal::value(
            "skipped",
            value,
            format!("at most {}", bounds.settlements_max),
        ));
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
        lease_ms: request.lease.map(|lease| lease.0),
        cursor: request.cursor.map(|cursor| slice(body, &cursor)),
        progress: request.progress.map(hundredths).transpose()?,
        progress_text: request.progress_text,
        counters: request.counters.0,
        skipped,
    })
}

/// Reads `retry`, which may have no body.
pub(crate) fn parse_retry(body: &Bytes, bounds: &Bounds) -> Result<RetryFrom, Refusal> {
    if body.is_empty() {
        return Ok(RetryFrom::Kept);
    }
    let request: RetryRequest<'_> = read(text_of(body)?)?;
    let Some(cursor) = request.cursor else { return Ok(RetryFrom::Kept) };
    if cursor.get() == "null" {
        return Ok(RetryFrom::Beginning);
    }
    check_carried("cursor", cursor.get(), bounds.cursor_bytes_max)?;
    Ok(RetryFrom::Cursor(slice(body, &cursor)))
}

/// Progress in hundredths of a per cent.
pub(crate) fn hundredths(progress: f64) -> Result<u16, Refusal> {
    if !(0.0..=1.0).contains(&progress) {
        return Err(Refusal::value("progress", progress, "0 to 1"));
    }
    #[expect(clippy::cast_sign_loss, reason = "it is not negative, by the check above")]
    Ok((progress * 10_000.0).round() as u16)
}
