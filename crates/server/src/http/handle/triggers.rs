//! Triggers: list, describe, put, delete.

use std::sync::Arc;

use hyper::StatusCode;
use longshore_engine::Trigger;
use longshore_engine::ask::{DeleteTrigger, PutTrigger};
use longshore_streams::StreamEntry;

use super::{ask, ok};
use crate::api::{TriggerBody, TriggerList, TriggerRecord};
use crate::http::app::Call;
use crate::http::code::Code;
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_path_name, quoted};

fn record(stream: &StreamEntry, trigger: &Trigger) -> TriggerRecord {
    TriggerRecord {
        name: trigger.name.clone(),
        stream: stream.name.clone(),
        queue: trigger.queue.clone(),
        kind: trigger.kind.clone(),
        ordered: trigger.ordered,
        priority: trigger.priority,
        group: trigger.group(),
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
        kind: body.kind,
        ordered: body.ordered.unwrap_or(true),
        priority: body.priority,
    };
    ask(&call, PutTrigger { stream: body.stream, trigger, from_end }).await?;
    get(&call)
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("trigger", call.name)?;
    let was_there = ask(&call, DeleteTrigger { trigger: call.name.to_owned() }).await?;
    if was_there { Ok(Reply::empty(StatusCode::NO_CONTENT)) } else { Err(unknown(&call)) }
}
