//! `POST .../lease`: one turn of a worker's loop.

use std::fmt;

use bytes::Bytes;
use longshore_engine::{JobId, LeaseJobs, QueuePattern};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::Bounds;
use super::check::check_count;
use super::settle::{EachApart, Settlements, each_apart, settlements};
use crate::api::{DurationText, LeaseRequest, RawJson};
use crate::http::code::Code;
use crate::http::json::{missing, read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name, quoted};
use crate::http::words;

/// The jobs that are settled, with the refusals of those at fault.
pub(crate) type Told = Vec<(JobId, Option<Refusal>)>;

/// The worker's name where it has none.
const NAMELESS: &str = "anonymous";

/// Reads the body of a lease request, and what of its settlements is at fault.
pub(crate) fn parse_lease(body: &Bytes, bounds: &Bounds) -> Result<(LeaseJobs, Told), Refusal> {
    let jobs_max = bounds.lease_jobs_max;
    let text = text_of(body)?;
    let refusal = match read::<LeaseRequest<'_>>(text) {
        Ok(mut request) => {
            let settle = std::mem::take(&mut request.settle);
            return lease_of(request, bounds, || settlements(settle, body, bounds));
        }
        Err(refusal) => refusal.bounding("max", jobs_max),
    };
    // One settlement at fault leaves the others as they are.
    let Ok(Parts { settle: Some(settle), rest }) = serde_json::from_str::<Parts<'_>>(text) else {
        return Err(refusal);
    };
    let settle = format!("{{\"settle\":{}}}", settle.get());
    let Ok(request) = read::<LeaseRequest<'_>>(&rest) else { return Err(refusal) };
    let apart = serde_json::from_str::<EachApart<'_>>(&settle);
    lease_of(request, bounds, || match apart {
        Ok(apart) => each_apart(apart.settle, body, bounds, refusal),
        Err(_) => Err(refusal),
    })
}

/// The members of a request: its settlements, and the text of an object with all others.
struct Parts<'a> {
    settle: Option<RawJson<'a>>,
    rest: String,
}

/// A request has fewer members than this.
const MEMBERS_MAX: usize = 32;

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut settle, mut rest) = (None, String::from("{"));
                for _ in 0..MEMBERS_MAX {
                    let Some(name) = map.next_key::<String>()? else {
                        rest.push('}');
                        return Ok(Parts { settle, rest });
                    };
                    let value: RawJson<'de> = map.next_value()?;
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
                Err(de::Error::custom("too many members"))
            }
        }
        deserializer.deserialize_map(Members)
    }
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
    if request.queues.is_empty() && max > 0 {
        let detail = "queues names no queue; \"*\" means all, and \"max\": 0 only settles";
        let refusal = Refusal::new(Code::FieldMissing, detail);
        return Err(refusal.about("queues", "nothing".into(), words::needed("queues").into()));
    }
    check_count("queues", request.queues.len(), bounds.queues_max, "names")?;
    let queues = request.queues.into_iter().enumerate().map(|(index, name)| pattern(index, name));
    let queues = queues.collect::<Result<_, _>>()?;
    if let Some(kinds) = &request.kinds {
        check_count("kinds", kinds.len(), bounds.kinds_max, "names")?;
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
        kinds: request.kinds,
        max,
        wait_ms,
        lease_ms: bounds.lease("lease", request.lease)?,
        worker: request.worker.unwrap_or_else(|| NAMELESS.to_owned()),
        // Who names none shares none: requests of a session take each other's place.
        session: request.session.unwrap_or_default(),
        turn: request.turn,
        seen: request.seen,
        settle: sound,
        prefetch: false,
    };
    Ok((lease, told))
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
