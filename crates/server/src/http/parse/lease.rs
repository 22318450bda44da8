//! `POST .../lease`: one turn of a worker's loop.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::{JobId, LeaseJobs, QueuePattern};

use super::Bounds;
use super::check::check_count;
use super::id_source::draw;
use super::informing::{Spots, informing, unreadable};
use super::kinds::kind_ranges;
use super::settle::{Settlements, apart_of, each_apart, settlements};
use crate::api::{DurationText, LeaseRequest, RawJson};
use crate::http::code::Code;
use crate::http::json::{THE_BODY, members, missing, read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name, quoted};
use crate::http::words;

/// The jobs that are settled, as far as they can be read, with the refusals of those at fault.
pub(crate) type Told = Vec<(Option<JobId>, Option<Refusal>)>;

/// The worker's name where it has none.
const NAMELESS: &str = "anonymous";

/// Reads the body of a lease request, and what of its settlements is at fault.
pub(crate) fn parse_lease(body: &Bytes, bounds: &Bounds) -> Result<(LeaseJobs, Told), Refusal> {
    informing(body, |body, spots| lease(body, spots, bounds))
}

fn lease(body: &Bytes, spots: &Spots, bounds: &Bounds) -> Result<(LeaseJobs, Told), Refusal> {
    let text = text_of(body)?;
    let refusal = match read::<LeaseRequest<'_>>(text) {
        Ok(mut request) if spots.is_empty() => {
            let settle = std::mem::take(&mut request.settle);
            return lease_of(request, bounds, || settlements(settle, body, bounds));
        }
        Ok(_) => unreadable(THE_BODY),
        Err(refusal) => refusal.bounding("max", bounds.lease_jobs_max),
    };
    // One settlement at fault leaves the others as they are.
    let Some((settle, rest)) = members(text).and_then(parts) else { return Err(refusal) };
    let Ok(request) = read::<LeaseRequest<'_>>(&rest) else { return Err(refusal) };
    if spots.reach_beyond(body, &settle) || !request.settle.is_empty() {
        return Err(refusal);
    }
    lease_of(request, bounds, || match apart_of(&settle) {
        Some(settle) => each_apart(settle, (body, spots), bounds),
        None => Err(refusal),
    })
}

/// The settlements of a request, and the text of an object with all its other members.
fn parts(members: Vec<(String, RawJson<'_>)>) -> Option<(RawJson<'_>, String)> {
    let (mut settle, mut rest) = (None, String::from("{"));
    for (name, value) in members {
        if name == "settle" && settle.is_none() {
            settle = Some(value);
            continue;
        }
        if rest.len() > 1 {
            rest.push(',');
        }
        rest.push_str(&serde_json::Value::from(name).to_string());
        rest.push(':');
        rest.push_str(value.get());
    }
    rest.push('}');
    Some((settle?, rest))
}

fn lease_of(
    request: LeaseRequest<'_>,
    bounds: &Bounds,
    settle: impl FnOnce() -> Result<Settlements, Refusal>,
) -> Result<(LeaseJobs, Told), Refusal> {
    let jobs_max = bounds.lease_jobs_max;
    let max = request.max.unwrap_or(1);
    if max > jobs_max {
        return Err(Refusal::value("max", max, "").bounding("max", jobs_max));
    }
    let names = queue_names(request.queues, request.weights)?;
    if names.is_empty() && max > 0 {
        let detail = "queues names no queue; \"*\" means all, and \"max\": 0 only settles";
        let refusal = Refusal::new(Code::FieldMissing, detail);
        return Err(refusal.about("queues", "nothing".into(), words::needed("queues").into()));
    }
    check_count("queues", names.len(), bounds.queues_max, "names")?;
    let queues = names.into_iter().enumerate().map(|(index, name)| pattern(index, name));
    let queues = queues.collect::<Result<_, _>>()?;
    if request.kinds.as_ref().is_some_and(Vec::is_empty) && request.versions.is_empty() {
        let allowed = "at least one kind, or no such field for all";
        return Err(Refusal::value("kinds", "[]", allowed));
    }
    let named = request.kinds.as_deref().unwrap_or_default();
    let kinds = kind_ranges(named, &request.versions, bounds)?;
    if request.turn.is_some() {
        for (field, value) in [("worker", &request.worker), ("session", &request.session)] {
            if value.is_none() {
                let needed = "a name, a string: a turn belongs to a worker's session";
                return Err(missing(field, needed));
            }
        }
    } else if let Some(seen) = request.seen {
        return Err(Refusal::value("seen", seen, "only together with turn"));
    }
    for (field, name) in [("worker", &request.worker), ("session", &request.session)] {
        if let Some(name) = name.as_ref().filter(|name| request.turn.is_some() || !name.is_empty())
        {
            check_name(field, name)?;
        }
    }
    let wait_ms = request.wait.map_or(0, |wait| wait.0);
    if wait_ms > bounds.wait_ms_max {
        let allowed = format!("at most {}", DurationText(bounds.wait_ms_max));
        return Err(Refusal::value("wait", DurationText(wait_ms), allowed));
    }
    let Settlements { told, sound } = settle()?;
    let lease = LeaseJobs {
        queues,
        kinds,
        max,
        wait_ms,
        lease_ms: bounds.lease("lease", request.lease)?,
        worker: request.worker.unwrap_or_else(|| NAMELESS.to_owned()),
        // Who names none shares none: requests of a session take each other's place.
        session: request.session.unwrap_or_default(),
        ask: request.turn,
        seen: request.seen,
        settle: sound,
        prefetch: false,
    };
    Ok((lease, told))
}

/// The weight of a queue, at most.
const WEIGHT_MAX: u32 = 1000;

/// The queues in the order in which they are to be served.
fn queue_names(
    queues: Vec<String>,
    weights: BTreeMap<String, u32>,
) -> Result<Vec<String>, Refusal> {
    if weights.is_empty() {
        return Ok(queues);
    }
    if !queues.is_empty() {
        let value = "given, beside queues";
        return Err(Refusal::value("weights", value, "queues or weights, not both"));
    }
    if let Some((name, weight)) = weights.iter().find(|(_, of)| !(1..=WEIGHT_MAX).contains(*of)) {
        let field = format!("weights.{name}");
        return Err(Refusal::value(&field, weight, format!("1 to {WEIGHT_MAX}")));
    }
    Ok(drawn(weights.into_iter().collect(), draw))
}

/// Draws one name after the other, each with the chance that its weight has among those left.
fn drawn(mut left: Vec<(String, u32)>, mut draw: impl FnMut() -> u64) -> Vec<String> {
    let mut names = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let total: u64 = left.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = draw() % total.max(1);
        let found = left.iter().position(|(_, weight)| {
            let is_it = at < u64::from(*weight);
            at = at.saturating_sub(u64::from(*weight));
            is_it
        });
        names.push(left.remove(found.unwrap_or(0)).0);
    }
    names
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_drawn_first_as_often_as_its_weight_says() {
        let left = || vec![("critical".to_owned(), 6), ("default".to_owned(), 3)];
        let mut at = 0;
        let first: Vec<String> = (0..9)
            .map(|_| {
                let mut next = || {
                    at += 1;
                    at / 2
                };
                let names = drawn(left(), &mut next);
                assert_eq!(names.len(), 2, "each is served, sooner or later");
                names[0].clone()
            })
            .collect();
        let critical = first.iter().filter(|name| *name == "critical").count();
        assert_eq!((critical, first.len()), (6, 9), "{first:?}");
    }
}
