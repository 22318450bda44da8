//! Accounts and the trail of changes: list, describe, put, remove; make and revoke tokens.

use bytes::Bytes;
use hyper::StatusCode;
use longshore_engine::ask::{
    Ask, ChangeAccount, DeleteAccount, GetAccount, ListAccounts, ListAudit,
};
use longshore_engine::{Account, AccountChange, AuditEntry, NewToken};
use longshore_node::wall_now;

use super::ok;
use crate::access::{PASSWORD_BYTES, is_reserved, new_password, new_token, token_hash_of};
use crate::api::{AccountBody, AccountList, AuditList, AuditRecord, TokenAnswer, TokenRequest};
use crate::http::account_view;
use crate::http::app::Call;
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::json::{read, text_of};
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX, told as told_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_name, check_path_name, quoted};
use crate::http::view;

async fn ask<C: Ask>(call: &Call<'_>, command: C) -> Result<C::Answer, Refusal> {
    call.app.access.carry_out(&call.app.node, command).await
}

/// The account that the path names. Some names are the system's.
fn named(call: &Call<'_>) -> Result<String, Refusal> {
    check_path_name("account", call.name)?;
    if is_reserved(call.name) {
        let detail = format!("the name {} is reserved", quoted(call.name));
        return Err(Refusal::new(Code::NameReserved, detail).field("account"));
    }
    Ok(call.name.to_owned())
}

async fn change(
    call: &Call<'_>,
    name: String,
    create: bool,
    change: AccountChange,
) -> Result<Box<Account>, Refusal> {
    let (change, by) = (Box::new(change), call.app.who.name().to_owned());
    ask(call, ChangeAccount { name, create, change, by }).await
}

fn told(account: &Account) -> Reply {
    ok(&account_view::account(account)).not_cached()
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let scope = cursor::scope("accounts", "", &[]);
    let after = match call.query.text("cursor") {
        Some(text) => {
            let key = cursor::decode(text, scope)?;
            Some(String::from_utf8_lossy(&key).into_owned())
        }
        None => None,
    };
    let (accounts, more) = ask(&call, ListAccounts { after, limit }).await?;
    let last = accounts.last().filter(|_| more);
    let next = last.map(|last| cursor::encode(last.name.as_bytes(), scope));
    let accounts = accounts.iter().map(account_view::account).collect();
    Ok(ok(&AccountList { accounts, next }).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    let name = named(&call)?;
    let account = ask(&call, GetAccount { name }).await?;
    Ok(told(&account))
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    let name = named(&call)?;
    let body: AccountBody = read(text_of(&call.body)?)?;
    let password = match body.password {
        None => None,
        Some(password) if password.is_empty() => Some(None),
        Some(password) if PASSWORD_BYTES.contains(&password.len()) => {
            Some(Some(new_password(password).await?))
        }
        Some(password) => {
            let value = format!("{} bytes", password.len());
            return Err(Refusal::value("password", value, "8 to 1024 bytes, or none"));
        }
    };
    let wanted = AccountChange {
        password,
        certificates: body.certificates,
        grants: body.grants.map(|grants| grants.iter().map(account_view::grant_of).collect()),
        requests_per_second: body.requests_per_second.map(|most| (most > 0).then_some(most)),
        namespace: body.namespace.map(|name| (!name.is_empty()).then_some(name)),
        ..AccountChange::default()
    };
    let account = change(&call, name, true, wanted).await?;
    Ok(told(&account))
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    let (name, by) = (named(&call)?, call.app.who.name().to_owned());
    ask(&call, DeleteAccount { name, by }).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn create_token(call: Call<'_>) -> Result<Reply, Refusal> {
    let name = named(&call)?;
    let TokenRequest { id, expires_in } = read(text_of(&call.body)?)?;
    check_name("id", &id)?;
    let expires_in = call.app.bounds.duration("expires_in", expires_in, 1)?;
    let expires_at = expires_in.map(|ms| wall_now().plus(ms));
    let token = new_token().map_err(|error| {
        tracing::error!(%error, "no token can be made");
        Refusal::new(Code::Internal, "no token can be made")
    })?;
    let hash = Bytes::copy_from_slice(&token_hash_of(&token));
    let add_token = Some(NewToken { id: id.clone(), hash, expires_at });
    let wanted = AccountChange { add_token, ..AccountChange::default() };
    change(&call, name, false, wanted).await?;
    let answer = TokenAnswer { id, token, expires_at: expires_at.map(view::instant) };
    Ok(Reply::of(StatusCode::CREATED, &answer).not_cached())
}

pub(super) async fn revoke_token(call: Call<'_>) -> Result<Reply, Refusal> {
    let name = named(&call)?;
    let Some(id) = call.query.text("id") else {
        return Err(Refusal::value("id", "missing", "the id of a token"));
    };
    let wanted = AccountChange { revoke_token: Some(id.to_owned()), ..AccountChange::default() };
    let account = change(&call, name, false, wanted).await?;
    Ok(told(&account))
}

/// Where somebody is in the trails of all shards: a number for each.
fn positions(text: &str, shards: usize) -> Result<Vec<u64>, Refusal> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() == shards).ok_or_else(|| {
        Refusal::value("after", quoted(text), "\"next\" of an answer of this server")
    })
}

pub(super) async fn audit(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let shards = call.app.node.shards() as usize;
    let after = call.query.text("after").map(|text| positions(text, shards)).transpose()?;
    let from = |shard: usize| after.as_ref().and_then(|after| after.get(shard).copied());
    let answers = call.app.node.call_each(|shard| ListAudit { after: from(shard), limit }.into());
    let (mut entries, mut ends): (Vec<(usize, AuditEntry)>, Vec<u64>) = (Vec::new(), Vec::new());
    for (shard, answer) in answers.await.into_iter().enumerate() {
        let found = told_of::<ListAudit>(answer?)?;
        let first = found.first().map(|first| first.number - 1);
        ends.push(from(shard).or(first).unwrap_or(0));
        entries.extend(found.into_iter().map(|entry| (shard, entry)));
    }
    entries.sort_by_key(|(shard, entry)| (entry.at, *shard, entry.number));
    if after.is_some() {
        entries.truncate(limit);
    } else {
        // The newest of all shards.
        let older = entries.len().saturating_sub(limit);
        for (shard, entry) in entries.drain(..older) {
            if let Some(end) = ends.get_mut(shard) {
                *end = entry.number;
            }
        }
    }
    for (shard, entry) in &entries {
        if let Some(end) = ends.get_mut(*shard) {
            *end = entry.number;
        }
    }
    let next: Vec<String> = ends.iter().map(u64::to_string).collect();
    let entries = entries.into_iter().map(|(_, entry)| record(entry)).collect();
    Ok(ok(&AuditList { entries, next: next.join(".") }).not_cached())
}

fn record(entry: AuditEntry) -> AuditRecord {
    let AuditEntry { at, by, action, object, namespace, before, after, .. } = entry;
    AuditRecord { at: view::instant(at), by, action, object, namespace, before, after }
}
