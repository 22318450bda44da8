//! Gates: list, describe, put, close, open, remove.

use hyper::StatusCode;
use longshore_engine::{Answer, Command, GateAnswer, GateCommand};

use super::{ask, ok, unexpected};
use crate::api::GateList;
use crate::http::app::Call;
use crate::http::json::check_empty;
use crate::http::parse::{open_of, parse_close, parse_gate};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

async fn gate_reply(call: &Call<'_>, command: GateCommand) -> Result<Reply, Refusal> {
    match ask(call, Command::Gates(command)).await? {
        Answer::Gates(GateAnswer::Gate(gate)) => Ok(ok(&view::gate(&gate)).not_cached()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    match ask(&call, Command::Gates(GateCommand::List)).await? {
        Answer::Gates(GateAnswer::Gates(gates)) => {
            let gates = gates.iter().map(view::gate).collect();
            Ok(ok(&GateList { gates }).not_cached())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    gate_reply(&call, GateCommand::Get { name: call.name.to_owned() }).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    let command = parse_gate(call.name, &call.body, &call.app.bounds)?;
    gate_reply(&call, command).await
}

pub(super) async fn close(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    let command = parse_close(call.name, &call.body, &call.app.bounds)?;
    gate_reply(&call, command).await
}

pub(super) async fn open(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    check_empty(&call.body)?;
    gate_reply(&call, open_of(call.name)).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("gate", call.name)?;
    let command = GateCommand::Delete { name: call.name.to_owned() };
    match ask(&call, Command::Gates(command)).await? {
        Answer::Gates(GateAnswer::Deleted) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(&other)),
    }
}
