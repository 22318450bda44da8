//! Holds of tags: list, describe, put, remove; waiting until nothing runs with a tag.

use longshore_engine::ask::{DeleteHold, GetHold, ListHolds, PutHold};

use super::{ask, ok, removed, shown};
use crate::api::{HoldList, HoldRequest};
use crate::http::app::Call;
use crate::http::json::{read, text_of};
use crate::http::keyed;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

fn wait_ms(call: &Call<'_>) -> Result<u64, Refusal> {
    Ok(call.query.duration_ms("wait", call.app.limits.wait_ms_max)?.unwrap_or(0))
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let holds = ask(&call, ListHolds {}).await?.iter().map(view::hold).collect();
    Ok(ok(&HoldList { holds }).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("tag", call.name)?;
    let (tag, wait_ms) = (call.name.to_owned(), wait_ms(&call)?);
    shown(&call, GetHold { tag, wait_ms }, view::hold).await
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
    shown(&call, PutHold { tag, reason, wait_ms }, view::hold).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("tag", call.name)?;
    removed(&call, DeleteHold { tag: call.name.to_owned() }).await
}
