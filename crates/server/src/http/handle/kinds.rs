//! Kinds and their versions: list, describe.

use longshore_engine::{Answer, Command, KindAnswer, KindCommand, KindView};

use super::{ask, ok, unexpected};
use crate::api::{KindList, KindRecord};
use crate::http::app::Call;
use crate::http::cursor;
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_name;
use crate::http::view::version_told;

fn record(view: KindView) -> KindRecord {
    KindRecord {
        kind: view.name,
        version: version_told(view.version),
        waiting: view.waiting,
        running: view.running,
        consumers: view.consumers,
        workers: view.workers,
    }
}

/// Name and version of the last one of a page, as its cursor has them.
fn key_of(record: &KindRecord) -> Vec<u8> {
    let version = record.version.unwrap_or(0).to_be_bytes();
    [&version[..], record.kind.as_bytes()].concat()
}

fn last_of(key: &[u8]) -> Option<(String, u32)> {
    let (version, name) = key.split_first_chunk()?;
    Some((String::from_utf8_lossy(name).into_owned(), u32::from_be_bytes(*version)))
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let scope = cursor::scope("kinds", call.namespace, &[]);
    let from = call.query.text("cursor").map(|text| cursor::decode(text, scope)).transpose()?;
    let after = from.and_then(|key| last_of(&key));
    match ask(&call, Command::Kinds(KindCommand::List { after, limit })).await? {
        Answer::Kinds(KindAnswer::Kinds(views, more)) => {
            let kinds: Vec<_> = views.into_iter().map(record).collect();
            let last = kinds.last().filter(|_| more);
            let next = last.map(|last| cursor::encode(&key_of(last), scope));
            Ok(ok(&KindList { kinds, next }).not_cached())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_name("kind", call.name)?;
    match ask(&call, Command::Kinds(KindCommand::Get { name: call.name.to_owned() })).await? {
        Answer::Kinds(KindAnswer::Kinds(views, _)) => {
            let kinds = views.into_iter().map(record).collect();
            Ok(ok(&KindList { kinds, next: None }).not_cached())
        }
        other => Err(unexpected(&other)),
    }
}
