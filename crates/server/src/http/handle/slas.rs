//! Service levels: list, describe, put, remove.

use hyper::StatusCode;
use longshore_engine::{Answer, Command, SlaAnswer, SlaCommand};

use super::{ask, ok, unexpected};
use crate::api::SlaList;
use crate::http::app::Call;
use crate::http::parse::parse_sla;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::sla_view::sla;
use crate::http::text::check_path_name;

async fn sla_reply(call: &Call<'_>, command: SlaCommand) -> Result<Reply, Refusal> {
    match ask(call, Command::Sla(command)).await? {
        Answer::Sla(SlaAnswer::Sla(view)) => Ok(ok(&sla(&view)).not_cached()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    match ask(&call, Command::Sla(SlaCommand::List)).await? {
        Answer::Sla(SlaAnswer::Slas(slas)) => {
            Ok(ok(&SlaList { slas: slas.iter().map(sla).collect() }).not_cached())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("sla", call.name)?;
    sla_reply(&call, SlaCommand::Get { name: call.name.to_owned() }).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("sla", call.name)?;
    let settings = Box::new(parse_sla(&call.body, &call.app.bounds)?);
    sla_reply(&call, SlaCommand::Put { name: call.name.to_owned(), settings }).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("sla", call.name)?;
    match ask(&call, Command::Sla(SlaCommand::Delete { name: call.name.to_owned() })).await? {
        Answer::Sla(SlaAnswer::Deleted) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(&other)),
    }
}
