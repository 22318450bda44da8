//! `POST .../lease`: one turn of a worker's loop.

use bytes::Bytes;
use longshore_engine::{LeaseJobs, QueuePattern};

use super::Bounds;
use super::settle::settlements;
use crate::api::LeaseRequest;
use crate::http::code::Code;
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name, quoted};

/// The worker's name where it has none.
const NAMELESS: &str = "anonymous";

/// Reads the body of a lease request.
pub(crate) fn parse_lease(body: &Bytes, bounds: &Bounds) -> Result<LeaseJobs, Refusal> {
    let request: LeaseRequest<'_> = read(text_of(body)?)?;
    let max = request.max.unwrap_or(1);
    if request.queues.is_empty() && max > 0 {
        let detail = "queues names no queue; \"*\" means all, and \"max\": 0 only settles";
        return Err(Refusal::new(Code::FieldMissing, detail).field("queues"));
    }
    check_count("queues", request.queues.len(), bounds.queues_max)?;
    let queues = request.queues.into_iter().enumerate().map(|(index, name)| pattern(index, name));
    let queues = queues.collect::<Result<_, _>>()?;
    if let Some(kinds) = &request.kinds {
        check_count("kinds", kinds.len(), bounds.kinds_max)?;
        for (index, kind) in kinds.iter().enumerate() {
            check_name(&format!("kinds[{index}]"), kind)?;
        }
        if kinds.is_empty() {
            let allowed = "at least one kind, or no such field for all";
            return Err(Refusal::value("kinds", "[]", allowed));
        }
    }
    if request.turn.is_some() {
        for (field, value) in [("worker", &request.worker), ("session", &request.session)] {
            if value.is_none() {
                let detail = format!("{field} is missing; a turn belongs to a worker's session");
                return Err(Refusal::new(Code::FieldMissing, detail).field(field));
            }
        }
    } else if let Some(seen) = request.seen {
        return Err(Refusal::value("seen", seen, "only together with turn"));
    }
    Ok(LeaseJobs {
        queues,
        kinds: request.kinds,
        max,
        wait_ms: request.wait.map_or(0, |wait| wait.0),
        lease_ms: request.lease.map(|lease| lease.0),
        worker: request.worker.unwrap_or_else(|| NAMELESS.to_owned()),
        // Who names none shares none: requests of a session take each other's place.
        session: request.session.unwrap_or_default(),
        turn: request.turn,
        seen: request.seen,
        settle: settlements(request.settle, body, bounds)?,
        prefetch: false,
    })
}

fn check_count(field: &str, count: usize, max: usize) -> Result<(), Refusal> {
    if count > max {
        return Err(Refusal::value(field, format!("{count} names"), format!("at most {max}")));
    }
    Ok(())
}

pub(crate) fn pattern(index: usize, name: String) -> Result<QueuePattern, Refusal> {
    let field = || format!("queues[{index}]");
    match name.strip_suffix('*') {
        None if name.contains('*') => {
            let allowed = "a queue's name, \"*\" or \"prefix*\"";
            Err(Refusal::value(&field(), quoted(&name), allowed))
        }
        None => check_path_name(&field(), &name).map(|()| QueuePattern::Exactly(name)),
        Some("") => Ok(QueuePattern::Prefix(String::new())),
        Some(prefix) => {
            check_path_name(&field(), prefix).map(|()| QueuePattern::Prefix(prefix.to_owned()))
        }
    }
}
