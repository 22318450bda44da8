//! Schedules: list, describe, set, pause, run, move, remove; the slots that come.

use hyper::StatusCode;
use longshore_engine::ask::{DeleteSchedule, OfSchedule};
use longshore_engine::query;
use longshore_engine::{Reader, Rejection, ScheduleCommand, ScheduleView};
use longshore_node::wall_now;

use super::{ok, removed};
use crate::access::{Need, READ};
use crate::api::{ScheduleList, ScheduleRecord, SlotList};
use crate::http::app::{App, Call};
use crate::http::cursor;
use crate::http::json::check_empty;
use crate::http::look::{self, PAGE_DEFAULT, PAGE_MAX};
use crate::http::parse::{parse_next, parse_schedule};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

/// Slots in one answer, at most.
const SLOTS_MAX: usize = 1000;
const SLOTS_DEFAULT: usize = 10;

/// Schedules in a page: each may carry args of 64 KiB.
const SCHEDULES_MAX: usize = 200;

/// A page of schedules.
pub(crate) async fn schedules(
    app: &App,
    ns: &str,
    from: Option<&str>,
    limit: usize,
) -> Result<ScheduleList<'static>, Refusal> {
    app.who.demand(ns, &Need::all(READ))?;
    let scope = cursor::scope("schedules", ns, &[]);
    let from = from.map(|text| cursor::decode(text, scope)).transpose()?;
    let namespace = ns.to_owned();
    let limit = limit.min(SCHEDULES_MAX);
    let look = move |reader: &dyn Reader, _| {
        query::list_schedules(reader, &namespace, from.as_ref(), limit)
    };
    let Some((schedules, next)) = app.node.read(ns, look).await? else {
        return Err(Rejection::NamespaceUnknown { name: ns.to_owned() }.into());
    };
    let schedules = schedules.iter().map(|of| view::schedule(of, None)).collect();
    Ok(ScheduleList { schedules, next: next.map(|next| cursor::encode(&next, scope)) })
}

/// The slots of a schedule that come.
pub(crate) async fn slots(
    app: &App,
    ns: &str,
    name: &str,
    most: usize,
) -> Result<SlotList, Refusal> {
    let of = one(app, ns, name, ScheduleCommand::Get).await?.0;
    let slots = longshore_engine::next_slots(&of, wall_now(), most).map_err(Rejection::from)?;
    let zone = &of.schedule.settings.zone;
    Ok(SlotList { slots: slots.iter().map(|slot| view::slot(slot, zone)).collect() })
}

/// Asks about one schedule.
async fn one(
    app: &App,
    ns: &str,
    name: &str,
    command: ScheduleCommand,
) -> Result<(Box<ScheduleView>, Option<longshore_engine::JobId>), Refusal> {
    check_path_name("schedule", name)?;
    look::ask(app, ns, OfSchedule { name: name.to_owned(), command }).await
}

/// A schedule after a command.
pub(crate) async fn schedule_after(
    app: &App,
    ns: &str,
    name: &str,
    command: ScheduleCommand,
) -> Result<ScheduleRecord<'static>, Refusal> {
    let (of, job) = one(app, ns, name, command).await?;
    Ok(view::schedule(&of, job))
}

async fn reply(call: &Call<'_>, command: ScheduleCommand) -> Result<Reply, Refusal> {
    let told = schedule_after(call.app, call.namespace, call.name, command).await?;
    Ok(ok(&told).not_cached())
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let page = schedules(call.app, call.namespace, call.query.text("cursor"), limit);
    Ok(ok(&page.await?).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    reply(&call, ScheduleCommand::Get).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    let command = parse_schedule(&call.body, &call.app.bounds)?;
    reply(&call, command).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("schedule", call.name)?;
    removed(&call, DeleteSchedule { name: call.name.to_owned() }).await
}

pub(super) async fn pause(call: Call<'_>, pause: bool) -> Result<Reply, Refusal> {
    check_empty(&call.body)?;
    let command = if pause { ScheduleCommand::Pause } else { ScheduleCommand::Resume };
    reply(&call, command).await
}

pub(super) async fn run(call: Call<'_>) -> Result<Reply, Refusal> {
    check_empty(&call.body)?;
    let run = ScheduleCommand::Run;
    let told = schedule_after(call.app, call.namespace, call.name, run).await?;
    let path = told.job.map(|id| call.path("status", &id.to_string()));
    let reply = Reply::of(StatusCode::ACCEPTED, &told);
    Ok(match path {
        Some(path) => reply.location(&path).not_cached(),
        None => reply.not_cached(),
    })
}

pub(super) async fn set_next(call: Call<'_>) -> Result<Reply, Refusal> {
    let start = parse_next(&call.body, &call.app.bounds)?;
    reply(&call, ScheduleCommand::SetNext(start)).await
}

pub(super) async fn next(call: Call<'_>) -> Result<Reply, Refusal> {
    let most = call.query.count("limit", SLOTS_DEFAULT, SLOTS_MAX)?;
    Ok(ok(&slots(call.app, call.namespace, call.name, most).await?).not_cached())
}
