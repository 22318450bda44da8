//! Service levels: list, describe, put, remove.

use longshore_engine::ask::{DeleteSla, GetSla, ListSlas, PutSla};

use super::{ask, ok, removed, shown};
use crate::api::SlaList;
use crate::http::app::Call;
use crate::http::parse::parse_sla;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::sla_view::sla;
use crate::http::text::check_path_name;

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let slas = ask(&call, ListSlas {}).await?.iter().map(sla).collect();
    Ok(ok(&SlaList { slas }).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("sla", call.name)?;
    shown(&call, GetSla { name: call.name.to_owned() }, sla).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("sla", call.name)?;
    let settings = Box::new(parse_sla(&call.body, &call.app.bounds)?);
    shown(&call, PutSla { name: call.name.to_owned(), settings }, sla).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("sla", call.name)?;
    removed(&call, DeleteSla { name: call.name.to_owned() }).await
}
