//! Holds of tags: list, describe, put, remove; waiting until nothing runs with a tag.

use hyper::StatusCode;
use longshore_engine::{Answer, Command, HoldAnswer, HoldCommand};

use super::{ask, ok, unexpected};
use crate::api::{HoldList, HoldRequest};
use crate::http::app::Call;
use crate::http::json::{read, text_of};
use crate::http::keyed;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

async fn hold_reply(call: &Call<'_>, command: HoldCommand) -> Result<Reply, Refusal> {
    match ask(call, Command::Holds(command)).await? {
        Answer::Holds(HoldAnswer::Hold(hold)) => Ok(ok(&view::hold(&hold)).not_cached()),
        other => Err(unexpected(&other)),
    }
}

fn wait_ms(call: &Call<'_>) -> Result<u64, Refusal> {
    Ok(call.query.duration_ms("wait", call.app.limits.wait_ms_max)?.unwrap_or(0))
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    match ask(&call, Command::Holds(HoldCommand::List)).await? {
        Answer::Holds(HoldAnswer::Holds(holds)) => {
            let holds = holds.iter().map(view::hold).collect();
            Ok(ok(&HoldList { holds }).not_cached())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("tag", call.name)?;
    let (tag, wait_ms) = (call.name.to_owned(), wait_ms(&call)?);
    hold_reply(&call, HoldCommand::Get { tag, wait_ms }).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("tag", call.name)?;
    let body = &call.body;
    let HoldRequest { reason } =
        if body.is_empty() { HoldRequest::default() } else { read(text_of(body)?)? };
    let (tag, wait_ms) = (call.name.to_owned(), wait_ms(&call)?);
    if wait_ms > 0 {
        keyed::check_takes_none(call.app, "a hold that waits is answered later; leave out wait")?;
    }
    hold_reply(&call, HoldCommand::Put { tag, reason, wait_ms }).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("tag", call.name)?;
    let command = HoldCommand::Delete { tag: call.name.to_owned() };
    match ask(&call, Command::Holds(command)).await? {
        Answer::Holds(HoldAnswer::Deleted) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(&other)),
    }
}
