//! Triggers: list, describe, put, delete; replays, which are triggers that end by themselves.

use std::sync::Arc;

use hyper::StatusCode;
use longshore_engine::ask::{DeleteTrigger, PutTrigger, ReplayStream};
use longshore_engine::{REPLAY_PREFIX, Trigger};
use longshore_streams::StreamEntry;

use super::streams::{begin_at, named};
use super::{ask, ok};
use crate::api::{ReplayBody, ReplayRecord, TriggerBody, TriggerList, TriggerRecord};
use crate::http::app::Call;
use crate::http::code::Code;
use crate::http::json::{read, repeated, text_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_path_name, quoted};

fn record(stream: &StreamEntry, trigger: &Trigger) -> TriggerRecord {
    TriggerRecord {
        name: trigger.name.clone(),
        stream: stream.name.clone(),
        queue: trigger.queue.clone(),
        kind: Some(trigger.kind.clone()).filter(|kind| !kind.is_empty()),
        ordered: trigger.ordered,
        priority: trigger.priority,
        group: trigger.group(),
        until: trigger.until.clone(),
    }
}

fn all(call: &Call<'_>) -> Result<Vec<TriggerRecord>, Refusal> {
    let streams = call.app.node.stream_log(call.namespace)?.streams(call.namespace);
    let of = |stream: &Arc<StreamEntry>| -> Vec<TriggerRecord> {
        stream.settings.triggers.iter().map(|trigger| record(stream, trigger)).collect()
    };
    Ok(streams.iter().flat_map(of).collect())
}

pub(super) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    Ok(ok(&TriggerList { triggers: all(call)? }).not_cached())
}

fn unknown(call: &Call<'_>) -> Refusal {
    Refusal::new(Code::TriggerUnknown, format!("there is no trigger {}", quoted(call.name)))
}

pub(super) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("trigger", call.name)?;
    let found = all(call)?.into_iter().find(|trigger| trigger.name == call.name);
    found.map(|trigger| ok(&trigger).not_cached()).ok_or_else(|| unknown(call))
}

/// A kind that is left out is that of messages, which have none: an empty one is a mistake.
fn kind_of(kind: Option<String>) -> Result<String, Refusal> {
    match kind {
        Some(kind) if kind.is_empty() => {
            Err(Refusal::value("kind", "\"\"", "a kind, or nothing for a queue of messages"))
        }
        kind => Ok(kind.unwrap_or_default()),
    }
}

/// What the trigger of a replay is called.
fn replay_name(queue: &str) -> String {
    format!("{REPLAY_PREFIX}{queue}")
}

/// Has events that are there become jobs or messages once more.
pub(super) async fn replay(call: Call<'_>) -> Result<Reply, Refusal> {
    let stream = named(&call)?;
    let body: ReplayBody = read(text_of(&call.body)?)?;
    if body.offset.is_some() && body.from.is_some() {
        return Err(repeated("from", "where to begin"));
    }
    if body.offset.is_some() && body.partition.is_none() {
        return Err(Refusal::value("partition", "none", "the partition of the offset"));
    }
    let count = stream.partitions.len() as u32;
    if let Some(partition) = body.partition.filter(|partition| *partition >= count) {
        let allowed = format!("0 to {}", count.saturating_sub(1));
        return Err(Refusal::value("partition", partition, allowed));
    }
    let mut from = Vec::with_capacity(stream.partitions.len());
    for (index, partition) in (0..).zip(&stream.partitions) {
        from.push(match body.offset {
            _ if body.partition.is_some_and(|wanted| wanted != index) => u64::MAX,
            Some(offset) => offset,
            None => begin_at(body.from.as_deref(), partition).await?,
        });
    }
    let name = replay_name(&body.queue);
    let trigger = Trigger {
        name: name.clone(),
        queue: body.queue,
        kind: kind_of(body.kind)?,
        ordered: body.ordered.unwrap_or(true),
        priority: body.priority,
        until: Vec::new(),
    };
    let events = ask(&call, ReplayStream { stream: call.name.to_owned(), trigger, from }).await?;
    let trigger = Some(name).filter(|_| events > 0);
    Ok(Reply::of(StatusCode::ACCEPTED, &ReplayRecord { trigger, events }))
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("trigger", call.name)?;
    let body: TriggerBody = read(text_of(&call.body)?)?;
    let from_end = match body.from.as_deref() {
        None | Some("latest") => true,
        Some("earliest") => false,
        Some(other) => return Err(Refusal::value("from", quoted(other), "latest or earliest")),
    };
    let trigger = Trigger {
        name: call.name.to_owned(),
        queue: body.queue,
        kind: kind_of(body.kind)?,
        ordered: body.ordered.unwrap_or(true),
        priority: body.priority,
        until: Vec::new(),
    };
    ask(&call, PutTrigger { stream: body.stream, trigger, from_end }).await?;
    get(&call)
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("trigger", call.name)?;
    let was_there = ask(&call, DeleteTrigger { trigger: call.name.to_owned() }).await?;
    if was_there { Ok(Reply::empty(StatusCode::NO_CONTENT)) } else { Err(unknown(&call)) }
}
