//! Limits at dispatch: list, describe, put, remove.

use longshore_engine::ask::{DeleteLimit, GetLimit, ListLimits, PutLimit};

use super::{ask, ok, removed, shown};
use crate::api::LimitList;
use crate::http::app::Call;
use crate::http::parse::parse_limit;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limits = ask(&call, ListLimits {}).await?.iter().map(view::limit).collect();
    Ok(ok(&LimitList { limits }).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("limit", call.name)?;
    shown(&call, GetLimit { name: call.name.to_owned() }, view::limit).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("limit", call.name)?;
    let settings = parse_limit(&call.body, &call.app.bounds)?;
    shown(&call, PutLimit { name: call.name.to_owned(), settings }, view::limit).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("limit", call.name)?;
    removed(&call, DeleteLimit { name: call.name.to_owned() }).await
}
