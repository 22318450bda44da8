//! Limits at dispatch: list, describe, put, remove.

use hyper::StatusCode;
use longshore_engine::{Answer, Command};

use super::{ask, ok, unexpected};
use crate::api::LimitList;
use crate::http::app::Call;
use crate::http::parse::parse_limit;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

async fn limit_reply(call: &Call<'_>, command: Command) -> Result<Reply, Refusal> {
    match ask(call, command).await? {
        Answer::Limit(limit) => Ok(ok(&view::limit(&limit)).not_cached()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    match ask(&call, Command::ListLimits).await? {
        Answer::Limits(limits) => {
            let limits = limits.iter().map(view::limit).collect();
            Ok(ok(&LimitList { limits }).not_cached())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("limit", call.name)?;
    limit_reply(&call, Command::GetLimit { name: call.name.to_owned() }).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("limit", call.name)?;
    let settings = parse_limit(&call.body, &call.app.bounds)?;
    limit_reply(&call, Command::PutLimit { name: call.name.to_owned(), settings }).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("limit", call.name)?;
    match ask(&call, Command::DeleteLimit { name: call.name.to_owned() }).await? {
        Answer::LimitDeleted => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(&other)),
    }
}
