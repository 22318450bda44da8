//! Gates: list, describe, put, close, open, remove.

use longshore_engine::ask::{DeleteGate, GetGate, ListGates};

use super::{removed, shown};
use crate::api::GateList;
use crate::http::app::Call;
use crate::http::json::check_empty;
use crate::http::parse::{open_of, parse_close, parse_gate};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let list = |gates: &[_]| GateList { gates: gates.iter().map(view::gate).collect() };
    shown(&call, ListGates {}, list).await
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    shown(&call, GetGate { name: call.name.to_owned() }, view::gate).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    let command = parse_gate(call.name, &call.body, &call.app.bounds)?;
    shown(&call, command, view::gate).await
}

pub(super) async fn close(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    let command = parse_close(call.name, &call.body, &call.app.bounds)?;
    shown(&call, command, view::gate).await
}

pub(super) async fn open(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    check_empty(&call.body)?;
    shown(&call, open_of(call.name), view::gate).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    removed(&call, DeleteGate { name: call.name.to_owned() }).await
}
