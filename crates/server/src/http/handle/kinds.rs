//! Kinds and their versions: list, describe, set.

use longshore_engine::KindDetail;
use longshore_engine::ask::{Ask, GetKind, ListKinds, PutKind};

use super::{ask, ok};
use crate::api::{KindList, KindRecord};
use crate::http::app::{App, Call};
use crate::http::cursor;
use crate::http::kind_view::{kind, kind_version};
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX, ask as ask_app};
use crate::http::parse::parse_kind_settings;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;

/// Name and version of the last one of a page, as its cursor has them.
fn key_of(record: &KindRecord) -> Vec<u8> {
    let version = record.version.unwrap_or(0).to_be_bytes();
    [&version[..], record.kind.as_bytes()].concat()
}

fn last_of(key: &[u8]) -> Option<(String, u32)> {
    let (version, name) = key.split_first_chunk()?;
    Some((String::from_utf8_lossy(name).into_owned(), u32::from_be_bytes(*version)))
}

/// One page: versions of kinds, and where to go on.
pub(crate) async fn kinds(
    app: &App,
    namespace: &str,
    from: Option<&str>,
    limit: usize,
) -> Result<KindList, Refusal> {
    let scope = cursor::scope("kinds", namespace, &[]);
    let from = from.map(|text| cursor::decode(text, scope)).transpose()?;
    let after = from.and_then(|key| last_of(&key));
    let (views, more) = ask_app(app, namespace, ListKinds { after, limit }).await?;
    let kinds: Vec<_> = views.into_iter().map(kind_version).collect();
    let last = kinds.last().filter(|_| more);
    let next = last.map(|last| cursor::encode(&key_of(last), scope));
    Ok(KindList { kinds, next })
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let from = call.query.text("cursor");
    Ok(ok(&kinds(call.app, call.namespace, from, limit).await?).not_cached())
}

async fn kind_reply(
    call: &Call<'_>,
    command: impl Ask<Answer = Box<KindDetail>>,
) -> Result<Reply, Refusal> {
    Ok(ok(&kind(*ask(call, command).await?)).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("kind", call.name)?;
    kind_reply(&call, GetKind { name: call.name.to_owned() }).await
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("kind", call.name)?;
    let settings = Box::new(parse_kind_settings(&call.body, &call.app.bounds)?);
    kind_reply(&call, PutKind { name: call.name.to_owned(), settings }).await
}
