//! Settlements: `ack`, `fail`, `snooze`, `release`, `discard`, `interrupt`, and many at once.

use std::fmt;

use bytes::Bytes;
use longshore_engine::{Epoch, JobError, JobId, Settlement, Token, Verdict};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::check::check_count;
use super::enqueue::follow_ups;
use super::informing::{Spots, informing, unreadable};
use super::schedule::next_start;
use super::{Bounds, check_location};
use crate::api::{
    AckRequest, DiscardRequest, DurationText, ErrorText, FailRequest, InstantText,
    InterruptRequest, JobIdText, NewJob, RawJson, ReleaseRequest, SettleRequest, SettlementText,
    SnoozeRequest, TokenText, VerdictText,
};
use crate::http::json::{THE_BODY, check_carried, missing, read, slice, text_of};
use crate::http::refusal::Refusal;
use crate::http::words;

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
    (enqueue, next_in, next_at): (Vec<NewJob<'_>>, Option<DurationText>, Option<InstantText>),
) -> Result<Verdict, Refusal> {
    if let Some(result) = result {
        check_carried("result", result.get(), bounds.result_bytes_max)?;
    }
    if let Some(location) = &location {
        check_location(location)?;
    }
    let follow_ups = follow_ups(enqueue, body, bounds)?;
    let result = result.map(|result| slice(body, result));
    let next_tick = next_start((("next_in", next_in), ("next_at", next_at)), bounds)?;
    Ok(Verdict::Ack { result, location, follow_ups, next_tick })
}

pub(super) fn error_of(error: Option<ErrorText>) -> JobError {
    let ErrorText { kind, message, backtrace } = error.unwrap_or_default();
    JobError { kind, message, backtrace }
}

fn fail(
    error: Option<ErrorText>,
    retry_in: Option<DurationText>,
    bounds: &Bounds,
) -> Result<Verdict, Refusal> {
    let retry_in_ms = bounds.duration("retry_in", retry_in, 0)?;
    Ok(Verdict::Fail { error: error_of(error), retry_in_ms })
}

fn discard(error: Option<ErrorText>) -> Verdict {
    Verdict::Discard { error: error.map(|error| error_of(Some(error))) }
}

fn snooze(delay: Option<DurationText>, bounds: &Bounds) -> Result<Verdict, Refusal> {
    let delay_ms = bounds.duration("delay", delay, 0)?;
    let delay_ms = delay_ms.ok_or_else(|| missing("delay", words::needed("delay")))?;
    Ok(Verdict::Snooze { delay_ms })
}

fn interrupt(
    reason: Option<String>,
    delay: Option<DurationText>,
    bounds: &Bounds,
) -> Result<Verdict, Refusal> {
    let reason = reason.unwrap_or_else(|| INTERRUPTED.to_owned());
    Ok(Verdict::Interrupt { reason, delay_ms: bounds.duration("delay", delay, 0)? })
}

/// Reads `ack`.
pub(crate) fn parse_ack(id: JobId, body: &Bytes, bounds: &Bounds) -> Result<Settlement, Refusal> {
    let request: AckRequest<'_> = read(text_of(body)?)?;
    let beside = (request.enqueue, request.next_in, request.next_at);
    let verdict = ack(body, bounds, request.result.as_ref(), request.location, beside)?;
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Reads `fail`.
pub(crate) fn parse_fail(id: JobId, body: &Bytes, bounds: &Bounds) -> Result<Settlement, Refusal> {
    let request: FailRequest = informing(body, |body, _| read(text_of(body)?))?;
    let verdict = fail(request.error, request.retry_in, bounds)?;
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Reads `snooze`.
pub(crate) fn parse_snooze(
    id: JobId,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Settlement, Refusal> {
    let request: SnoozeRequest = read(text_of(body)?)?;
    let verdict = snooze(Some(request.delay), bounds)?;
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Reads `release`.
pub(crate) fn parse_release(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: ReleaseRequest = read(text_of(body)?)?;
    Ok(Settlement { id, token: token_of(request.token), verdict: Verdict::Release })
}

/// Reads `discard`.
pub(crate) fn parse_discard(id: JobId, body: &Bytes) -> Result<Settlement, Refusal> {
    let request: DiscardRequest = informing(body, |body, _| read(text_of(body)?))?;
    Ok(Settlement { id, token: token_of(request.token), verdict: discard(request.error) })
}

/// Reads `interrupt`.
pub(crate) fn parse_interrupt(
    id: JobId,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Settlement, Refusal> {
    let request: InterruptRequest = informing(body, |body, _| read(text_of(body)?))?;
    let verdict = interrupt(request.reason, request.delay, bounds)?;
    Ok(Settlement { id, token: token_of(request.token), verdict })
}

/// Many settlements in order, each on its own: what is at fault leaves the others as they are.
#[derive(Debug, Default)]
pub(crate) struct Settlements {
    /// All jobs, as far as they can be read, with the refusals of those at fault.
    pub(crate) told: Vec<(Option<JobId>, Option<Refusal>)>,
    /// Those that are not.
    pub(crate) sound: Vec<Settlement>,
}

impl Settlements {
    fn push(&mut self, id: Option<JobId>, one: Result<Settlement, Refusal>) {
        let place = format!("settle[{}]", self.told.len());
        match one {
            Ok(settlement) => {
                self.told.push((id, None));
                self.sound.push(settlement);
            }
            Err(fault) => self.told.push((id, Some(fault.within(&place)))),
        }
    }
}

/// Reads many settlements. What is at fault is refused alone; only what is no JSON at all, or no
/// list, is refused as a whole.
pub(crate) fn parse_settle(body: &Bytes, bounds: &Bounds) -> Result<Settlements, Refusal> {
    informing(body, |body, spots| settle(body, spots, bounds))
}

fn settle(body: &Bytes, spots: &Spots, bounds: &Bounds) -> Result<Settlements, Refusal> {
    let text = text_of(body)?;
    let refusal = match read::<SettleRequest<'_>>(text) {
        Ok(request) if spots.is_empty() => return settlements(request.settle, body, bounds),
        Ok(_) => unreadable(THE_BODY),
        Err(refusal) => refusal,
    };
    let Ok(request) = serde_json::from_str::<EachApart<'_>>(text) else { return Err(refusal) };
    each_apart(request.settle, (body, spots), bounds)
}

/// Reads settlements one by one, as one of them is at fault.
pub(super) fn each_apart(
    settle: Vec<RawJson<'_>>,
    (body, spots): (&Bytes, &Spots),
    bounds: &Bounds,
) -> Result<Settlements, Refusal> {
    check_count("settle", settle.len(), bounds.settlements_max, "runs")?;
    let mut settlements = Settlements::default();
    for text in settle {
        let named = serde_json::from_str::<Named>(text.get());
        let one = read(text.get()).and_then(|one| settlement(one, body, bounds));
        let one = match one {
            // Only an ack carries what others read.
            Ok(Settlement { verdict: Verdict::Ack { .. }, .. }) if spots.touch(body, &text) => {
                Err(unreadable(THE_BODY))
            }
            one => one,
        };
        settlements.push(named.ok().map(|named| JobId(named.id.0)), one);
    }
    Ok(settlements)
}

/// The elements of a list of settlements.
pub(super) fn apart_of<'a>(settle: &RawJson<'a>) -> Option<Vec<RawJson<'a>>> {
    apart(&mut serde_json::Deserializer::from_str(settle.text()?)).ok()
}

/// A request whose settlements are read one by one, as one of them is at fault.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EachApart<'a> {
    #[serde(borrow, deserialize_with = "apart")]
    settle: Vec<RawJson<'a>>,
}

/// The most settlements that are read one by one: a body full of commas must not become many times
/// its size.
const APART_MAX: usize = 10_000;

fn apart<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawJson<'de>>, D::Error> {
    struct Apart;
    impl<'de> Visitor<'de> for Apart {
        type Value = Vec<RawJson<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == APART_MAX {
                    return Err(de::Error::custom("too many settlements"));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_seq(Apart)
}

#[derive(Deserialize)]
struct Named {
    id: JobIdText,
}

/// The engine's form of settlements, each checked.
pub(super) fn settlements(
    settle: Vec<SettlementText<'_>>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Settlements, Refusal> {
    check_count("settle", settle.len(), bounds.settlements_max, "runs")?;
    let mut settlements = Settlements::default();
    for one in settle {
        let id = JobId(one.id.0);
        settlements.push(Some(id), settlement(one, body, bounds));
    }
    Ok(settlements)
}

fn settlement(
    one: SettlementText<'_>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Settlement, Refusal> {
    let verdict = one.verdict;
    let given: [(&str, bool, &[VerdictText]); 9] = [
        ("result", one.result.is_some(), &[VerdictText::Ack]),
        ("location", one.location.is_some(), &[VerdictText::Ack]),
        ("enqueue", !one.enqueue.is_empty(), &[VerdictText::Ack]),
        ("next_in", one.next_in.is_some(), &[VerdictText::Ack]),
        ("next_at", one.next_at.is_some(), &[VerdictText::Ack]),
        ("error", one.error.is_some(), &[VerdictText::Fail, VerdictText::Discard]),
        ("retry_in", one.retry_in.is_some(), &[VerdictText::Fail]),
        ("delay", one.delay.is_some(), &[VerdictText::Snooze, VerdictText::Interrupt]),
        ("reason", one.reason.is_some(), &[VerdictText::Interrupt]),
    ];
    for (field, is_given, of) in given {
        if is_given && !of.contains(&verdict) {
            let words: Vec<_> = of.iter().map(|of| format!("\"{}\"", of.as_str())).collect();
            let allowed = format!("{field} goes with {} only", words.join(" and "));
            let value = format!("given with \"{}\"", verdict.as_str());
            return Err(Refusal::value(field, value, allowed));
        }
    }
    let verdict = match verdict {
        VerdictText::Ack => {
            let beside = (one.enqueue, one.next_in, one.next_at);
            ack(body, bounds, one.result.as_ref(), one.location, beside)?
        }
        // The engine refuses what is out of bounds here, this run alone: each stands on its own.
        VerdictText::Fail => Verdict::Fail {
            error: error_of(one.error),
            retry_in_ms: one.retry_in.map(|delay| delay.0),
        },
        VerdictText::Snooze => {
            let delay = one.delay.ok_or_else(|| missing("delay", words::needed("delay")))?;
            Verdict::Snooze { delay_ms: delay.0 }
        }
        VerdictText::Release => Verdict::Release,
        VerdictText::Discard => discard(one.error),
        VerdictText::Interrupt => Verdict::Interrupt {
            reason: one.reason.unwrap_or_else(|| INTERRUPTED.to_owned()),
            delay_ms: one.delay.map(|delay| delay.0),
        },
    };
    Ok(Settlement { id: JobId(one.id.0), token: token_of(one.token), verdict })
}
