//! Settlements and heartbeats: `ack`, `fail`, `snooze`, `release`, `discard`, `heartbeat`, and
//! many at once.

use bytes::Bytes;
use longshore_engine::{Epoch, Extension, JobError, JobId, Settlement, Token, Verdict};

use super::{Bounds, check_location};
use crate::api::{
    AckRequest, DiscardRequest, DurationText, ErrorText, FailRequest, HeartbeatRequest, RawJson,
    ReleaseRequest, SettleRequest, SettlementText, SnoozeRequest, TokenText, VerdictText,
};
use crate::http::code::Code;
use crate::http::json::{check_carried, read, slice, text_of};
use crate::http::refusal::Refusal;

fn token_of(token: TokenText) -> Token {
    Token { epoch: Epoch(token.epoch), counter: token.counter }
}

fn ack(
    body: &Bytes,
    bounds: &Bounds,
    result: Option<&RawJson<'_>>,
    location: Option<String>,
) -> Result<Verdict, Refusal> {
    if let Some(result) = result {
        check_carried("result", result.get(), bounds.result_bytes_max)?;
    }
    if let Some(location) = &location {
        check_location(location)?;
    }
    Ok(Verdict::Ack { result: result.map(|result| slice(body, result)), location })
}

fn fail(error: Option<ErrorText>, retry_in: Option<DurationText>) -> Verdict {
    let ErrorText { kind, message, backtrace } = error.unwrap_or_default();
    let error = JobError { kind, message, backtrace };
    Verdict::Fail { error, retry_in_ms: retry_in.map(|delay| delay.0) }
}

/// Reads `ack`.
pub(crate) fn parse_ack(id: JobId, body: &Bytes, bounds: &Bounds) -> Result<Settlement, Refusal> {
    let request: AckRequest<'_> = read(text_of(body)?)?;
    let verdict = ack(body, bounds, request.result.as_ref(), request.location)?;
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Reads `fail`.
pub(crate) fn parse_fail(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: FailRequest = read(text_of(body)?)?;
    let verdict = fail(request.error, request.retry_in);
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Reads `snooze`.
pub(crate) fn parse_snooze(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: SnoozeRequest = read(text_of(body)?)?;
    let verdict = Verdict::Snooze { delay_ms: request.delay.0 };
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Reads `release`.
pub(crate) fn parse_release(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: ReleaseRequest = read(text_of(body)?)?;
    Ok(Settlement { id, token: token_of(request.token), verdict: Verdict::Release })
}

/// Reads `discard`.
pub(crate) fn parse_discard(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: DiscardRequest = read(text_of(body)?)?;
    Ok(Settlement { id, token: token_of(request.token), verdict: Verdict::Discard })
}

/// Reads `heartbeat`.
pub(crate) fn parse_heartbeat(id: JobId, body: &Bytes) -> Result<Extension, Refusal> {
    let request: HeartbeatRequest = read(text_of(body)?)?;
    let progress = match request.progress {
        None => None,
        Some(progress) if (0.0..=1.0).contains(&progress) =>
        {
            #[expect(clippy::cast_sign_loss, reason = "it is not negative, by the guard")]
            Some((progress * 10_000.0).round() as u16)
        }
        Some(progress) => return Err(Refusal::value("progress", progress, "0 to 1")),
    };
    Ok(Extension {
        id,
        token: token_of(request.token),
        lease_ms: request.lease.map(|lease| lease.0),
        progress,
        progress_text: request.progress_text,
    })
}

/// Reads many settlements.
pub(crate) fn parse_settle(body: &Bytes, bounds: &Bounds) -> Result<Vec<Settlement>, Refusal> {
    let request: SettleRequest<'_> = read(text_of(body)?)?;
    settlements(request.settle, body, bounds)
}

/// The engine's form of settlements, each checked.
pub(super) fn settlements(
    settle: Vec<SettlementText<'_>>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Vec<Settlement>, Refusal> {
    if settle.len() > bounds.settlements_max {
        let allowed = format!("at most {}", bounds.settlements_max);
        return Err(Refusal::value("settle", format!("{} runs", settle.len()), allowed));
    }
    let numbered = settle.into_iter().enumerate();
    numbered.map(|(index, one)| settlement(index, one, body, bounds)).collect()
}

fn settlement(
    index: usize,
    one: SettlementText<'_>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Settlement, Refusal> {
    let verdict = one.verdict;
    let given = [
        ("result", one.result.is_some(), VerdictText::Ack),
        ("location", one.location.is_some(), VerdictText::Ack),
        ("error", one.error.is_some(), VerdictText::Fail),
        ("retry_in", one.retry_in.is_some(), VerdictText::Fail),
        ("delay", one.delay.is_some(), VerdictText::Snooze),
    ];
    for (field, is_given, of) in given {
        if is_given && of != verdict {
            let allowed = format!("{field} goes with \"{}\" only", of.as_str());
            let field = format!("settle[{index}].{field}");
            return Err(Refusal::value(
                &field,
                format!("given with {}", verdict.as_str()),
                allowed,
            ));
        }
    }
    let verdict = match verdict {
        VerdictText::Ack => ack(body, bounds, one.result.as_ref(), one.location)?,
        VerdictText::Fail => fail(one.error, one.retry_in),
        VerdictText::Snooze => {
            let delay = one.delay.ok_or_else(|| {
                let field = format!("settle[{index}].delay");
                Refusal::new(Code::FieldMissing, format!("{field} is missing")).field(field)
            })?;
            Verdict::Snooze { delay_ms: delay.0 }
        }
        VerdictText::Release => Verdict::Release,
        VerdictText::Discard => Verdict::Discard,
    };
    Ok(Settlement { id: JobId(one.id.0), token: token_of(one.token), verdict })
}
