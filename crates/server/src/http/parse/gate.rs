//! Gates as they are put and closed.

use bytes::Bytes;
use longshore_engine::ask::ChangeGate;
use longshore_engine::{GateChange, GateClosed};

use super::Bounds;
use super::check::check_names;
use super::schedule::next_start;
use crate::api::{CloseGateRequest, GateBody};
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;

/// Reads what a gate is to be.
pub(crate) fn parse_gate(name: &str, body: &Bytes, bounds: &Bounds) -> Result<ChangeGate, Refusal> {
    gate_of(name, read(text_of(body)?)?, bounds)
}

/// A gate as it is to be.
pub(crate) fn gate_of(name: &str, body: GateBody, bounds: &Bounds) -> Result<ChangeGate, Refusal> {
    let GateBody { closed, reason, expires_in, expires_at, queues, kinds } = body;
    check_names("queues", &queues)?;
    check_names("kinds", &kinds)?;
    let said = reason.is_some() || expires_in.is_some() || expires_at.is_some();
    if said && closed != Some(true) {
        let allowed = "true, beside a reason or an end: an open gate has neither";
        let value = closed.map_or_else(|| "left out".to_owned(), |closed| closed.to_string());
        return Err(Refusal::value("closed", value, allowed));
    }
    let expiry = next_start((("expires_in", expires_in), ("expires_at", expires_at)), bounds)?;
    let closed = closed.map(|closed| GateClosed { closed, reason, expiry });
    let change = GateChange { closed, queues: Some(queues), kinds: Some(kinds) };
    Ok(ChangeGate { name: name.to_owned(), change })
}

/// Reads why and for how long a gate is to be closed.
pub(crate) fn parse_close(
    name: &str,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<ChangeGate, Refusal> {
    let body = if body.is_empty() { CloseGateRequest::default() } else { read(text_of(body)?)? };
    close_of(name, body, bounds)
}

/// A gate that is to be closed.
pub(crate) fn close_of(
    name: &str,
    body: CloseGateRequest,
    bounds: &Bounds,
) -> Result<ChangeGate, Refusal> {
    let CloseGateRequest { reason, expires_in, expires_at } = body;
    let expiry = next_start((("expires_in", expires_in), ("expires_at", expires_at)), bounds)?;
    let closed = Some(GateClosed { closed: true, reason, expiry });
    let change = GateChange { closed, ..GateChange::default() };
    Ok(ChangeGate { name: name.to_owned(), change })
}

/// A gate that is to be opened.
pub(crate) fn open_of(name: &str) -> ChangeGate {
    let change = GateChange { closed: Some(GateClosed::default()), ..GateChange::default() };
    ChangeGate { name: name.to_owned(), change }
}
