//! Settlements: `ack`, `fail`, `snooze`, `release`, `discard`, `interrupt`, and many at once.

use bytes::Bytes;
use longshore_engine::{Epoch, JobError, JobId, Settlement, Token, Verdict};

use super::enqueue::follow_ups;
use super::{Bounds, check_location};
use crate::api::{
    AckRequest, DiscardRequest, DurationText, ErrorText, FailRequest, InterruptRequest, NewJob,
    RawJson, ReleaseRequest, SettleRequest, SettlementText, SnoozeRequest, TokenText, VerdictText,
};
use crate::http::code::Code;
use crate::http::json::{check_carried, read, slice, text_of};
use crate::http::refusal::Refusal;

/// Why a run was interrupted, where its worker does not say.
const INTERRUPTED: &str = "interrupt";

pub(super) fn token_of(token: TokenText) -> Token {
    Token { epoch: Epoch(token.epoch), counter: token.counter }
}

fn ack(
    body: &Bytes,
    bounds: &Bounds,
    result: Option<&RawJson<'_>>,
    location: Option<String>,
    enqueue: Vec<NewJob<'_>>,
) -> Result<Verdict, Refusal> {
    if let Some(result) = result {
        check_carried("result", result.get(), bounds.result_bytes_max)?;
    }
    if let Some(location) = &location {
        check_location(location)?;
    }
    let follow_ups = follow_ups(enqueue, body, bounds)?;
    Ok(Verdict::Ack { result: result.map(|result| slice(body, result)), location, follow_ups })
}

pub(super) fn error_of(error: Option<ErrorText>) -> JobError {
    let ErrorText { kind, message, backtrace } = error.unwrap_or_default();
    JobError { kind, message, backtrace }
}

fn fail(error: Option<ErrorText>, retry_in: Option<DurationText>) -> Verdict {
    Verdict::Fail { error: error_of(error), retry_in_ms: retry_in.map(|delay| delay.0) }
}

fn discard(error: Option<ErrorText>) -> Verdict {
    Verdict::Discard { error: error.map(|error| error_of(Some(error))) }
}

fn interrupt(reason: Option<String>, delay: Option<DurationText>) -> Verdict {
    let reason = reason.unwrap_or_else(|| INTERRUPTED.to_owned());
    Verdict::Interrupt { reason, delay_ms: delay.map(|delay| delay.0) }
}

/// Reads `ack`.
pub(crate) fn parse_ack(id: JobId, body: &Bytes, bounds: &Bounds) -> Result<Settlement, Refusal> {
    let request: AckRequest<'_> = read(text_of(body)?)?;
    let verdict = ack(body, bounds, request.result.as_ref(), request.location, request.enqueue)?;
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
    Ok(Settlement { id, token: token_of(request.token), verdict: discard(request.error) })
}

/// Reads `interrupt`.
pub(crate) fn parse_interrupt(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: InterruptRequest = read(text_of(body)?)?;
    let verdict = interrupt(request.reason, request.delay);
    Ok(Settlement { id, token: token_of(request.token), verdict })
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
    let given: [(&str, bool, &[VerdictText]); 7] = [
        ("result", one.result.is_some(), &[VerdictText::Ack]),
        ("location", one.location.is_some(), &[VerdictText::Ack]),
        ("enqueue", !one.enqueue.is_empty(), &[VerdictText::Ack]),
        ("error", one.error.is_some(), &[VerdictText::Fail, VerdictText::Discard]),
        ("retry_in", one.retry_in.is_some(), &[VerdictText::Fail]),
        ("delay", one.delay.is_some(), &[VerdictText::Snooze, VerdictText::Interrupt]),
        ("reason", one.reason.is_some(), &[VerdictText::Interrupt]),
    ];
    for (field, is_given, of) in given {
        if is_given && !of.contains(&verdict) {
            let words: Vec<_> = of.iter().map(|of| format!("\"{}\"", of.as_str())).collect();
            let allowed = format!("{field} goes with {} only", words.join(" and "));
            let field = format!("settle[{index}].{field}");
            return Err(Refusal::value(
                &field,
                format!("given with {}", verdict.as_str()),
                allowed,
            ));
        }
    }
    let verdict = match verdict {
        VerdictText::Ack => ack(body, bounds, one.result.as_ref(), one.location, one.enqueue)?,
        VerdictText::Fail => fail(one.error, one.retry_in),
        VerdictText::Snooze => {
            let delay = one.delay.ok_or_else(|| {
                let field = format!("settle[{index}].delay");
                Refusal::new(Code::FieldMissing, format!("{field} is missing")).field(field)
            })?;
            Verdict::Snooze { delay_ms: delay.0 }
        }
        VerdictText::Release => Verdict::Release,
        VerdictText::Discard => discard(one.error),
        VerdictText::Interrupt => interrupt(one.reason, one.delay),
    };
    Ok(Settlement { id: JobId(one.id.0), token: token_of(one.token), verdict })
}
