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
use crate::api::{
    AccountBody, AccountList, AccountRecord, AuditList, AuditRecord, TokenAnswer, TokenRequest,
};
use crate::http::account_view;
use crate::http::app::{App, Call};
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::json::{read, text_of};
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX, told as told_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_name, check_path_name, quoted};
use crate::http::view;

async fn ask<C: Ask>(app: &App, command: C) -> Result<C::Answer, Refusal> {
    app.access.carry_out((&app.node, &app.who), command).await
}

/// The name of an account. Some names are the system's.
fn named(name: &str) -> Result<String, Refusal> {
    check_path_name("account", name)?;
    if is_reserved(name) {
        let detail = format!("the name {} is reserved", quoted(name));
        return Err(Refusal::new(Code::NameReserved, detail).field("account"));
    }
    Ok(name.to_owned())
}

async fn change(
    app: &App,
    name: String,
    create: bool,
    change: AccountChange,
) -> Result<Box<Account>, Refusal> {
    let (change, by) = (Box::new(change), app.who.name().to_owned());
    ask(app, ChangeAccount { name, create, change, by }).await
}

/// A page of accounts.
pub(crate) async fn accounts(
    app: &App,
    cursor: Option<&str>,
    limit: usize,
) -> Result<AccountList, Refusal> {
    let scope = cursor::scope("accounts", "", &[]);
    let after = match cursor {
        Some(text) => {
            let key = cursor::decode(text, scope)?;
            Some(String::from_utf8_lossy(&key).into_owned())
        }
        None => None,
    };
    let (accounts, more) = ask(app, ListAccounts { after, limit }).await?;
    let last = accounts.last().filter(|_| more);
    let next = last.map(|last| cursor::encode(last.name.as_bytes(), scope));
    let accounts = accounts.iter().map(account_view::account).collect();
    Ok(AccountList { accounts, next })
}

/// One account.
pub(crate) async fn account(app: &App, name: &str) -> Result<AccountRecord, Refusal> {
    let name = named(name)?;
    Ok(account_view::account(&*ask(app, GetAccount { name }).await?))
}

/// Creates an account or changes it.
pub(crate) async fn put_account(
    app: &App,
    name: &str,
    body: AccountBody,
) -> Result<AccountRecord, Refusal> {
    let name = named(name)?;
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
    Ok(account_view::account(&*change(app, name, true, wanted).await?))
}

/// Removes an account.
pub(crate) async fn delete_account(app: &App, name: &str) -> Result<(), Refusal> {
    let (name, by) = (named(name)?, app.who.name().to_owned());
    ask(app, DeleteAccount { name, by }).await
}

/// Makes a token of an account.
pub(crate) async fn make_token(
    app: &App,
    name: &str,
    request: TokenRequest,
) -> Result<TokenAnswer, Refusal> {
    let name = named(name)?;
    let TokenRequest { id, expires_in } = request;
    check_name("id", &id)?;
    let expires_in = app.bounds.duration("expires_in", expires_in, 1)?;
    let expires_at = expires_in.map(|ms| wall_now().plus(ms));
    let token = new_token().map_err(|error| {
        tracing::error!(%error, "no token can be made");
        Refusal::new(Code::Internal, "no token can be made")
    })?;
    let hash = Bytes::copy_from_slice(&token_hash_of(&token));
    let add_token = Some(NewToken { id: id.clone(), hash, expires_at });
    let wanted = AccountChange { add_token, ..AccountChange::default() };
    change(app, name, false, wanted).await?;
    Ok(TokenAnswer { id, token, expires_at: expires_at.map(view::instant) })
}

/// Revokes a token of an account.
pub(crate) async fn drop_token(app: &App, name: &str, id: &str) -> Result<AccountRecord, Refusal> {
    let name = named(name)?;
    let wanted = AccountChange { revoke_token: Some(id.to_owned()), ..AccountChange::default() };
    Ok(account_view::account(&*change(app, name, false, wanted).await?))
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    Ok(ok(&accounts(call.app, call.query.text("cursor"), limit).await?).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    Ok(ok(&account(call.app, call.name).await?).not_cached())
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    let body: AccountBody = read(text_of(&call.body)?)?;
    Ok(ok(&put_account(call.app, call.name, body).await?).not_cached())
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    delete_account(call.app, call.name).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn create_token(call: Call<'_>) -> Result<Reply, Refusal> {
    let request = read(text_of(&call.body)?)?;
    let answer = make_token(call.app, call.name, request).await?;
    Ok(Reply::of(StatusCode::CREATED, &answer).not_cached())
}

pub(super) async fn revoke_token(call: Call<'_>) -> Result<Reply, Refusal> {
    let Some(id) = call.query.text("id") else {
        return Err(Refusal::value("id", "missing", "the id of a token"));
    };
    Ok(ok(&drop_token(call.app, call.name, id).await?).not_cached())
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
    Ok(ok(&trail(call.app, call.query.text("after"), limit).await?).not_cached())
}

/// What administrators changed.
pub(crate) async fn trail(
    app: &App,
    after: Option<&str>,
    limit: usize,
) -> Result<AuditList, Refusal> {
    let shards = app.node.shards() as usize;
    let after = after.map(|text| positions(text, shards)).transpose()?;
    let from = |shard: usize| after.as_ref().and_then(|after| after.get(shard).copied());
    let answers = app.node.call_each(|shard| ListAudit { after: from(shard), limit }.into());
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
    Ok(AuditList { entries, next: next.join(".") })
}

fn record(entry: AuditEntry) -> AuditRecord {
    let AuditEntry { at, by, action, object, namespace, before, after, .. } = entry;
    AuditRecord { at: view::instant(at), by, action, object, namespace, before, after }
}
