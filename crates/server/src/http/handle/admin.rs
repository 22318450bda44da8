//! Queues and namespaces: describe, set, pause, remove.

use hyper::StatusCode;
use longshore_engine::ask::{
    Ask, CreateNamespace, DeleteMessages, DeleteNamespace, DeleteQueue, GetNamespace, GetQueue,
    ListNamespaces, ListQueues, PauseQueue, PutQueue,
};
use longshore_engine::{OperationKind, QueueView};

use super::{ask, messages, ok, operations, removed, shown};
use crate::access::{Need, READ};
use crate::api::{NamespaceList, QueueList, QueueRecord, UnreachableShard};
use crate::http::app::{App, Call};
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::keyed;
use crate::http::look::{self, PAGE_DEFAULT, PAGE_MAX};
use crate::http::parse::parse_settings;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

/// Pages of queues that one answer looks through for those that nobody consumes.
const SEARCHED_PAGES_MAX: usize = 20;

/// A queue as it is told.
pub(crate) fn queue_record(app: &App, ns: &str, queue: &QueueView) -> QueueRecord {
    app.rates.of(ns, view::queue(queue))
}

pub(super) async fn list_queues(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let unconsumed = call.query.flag("unconsumed")?;
    let page = queues(call.app, call.namespace, unconsumed, call.query.text("cursor"), limit);
    Ok(ok(&page.await?).not_cached())
}

/// A page of queues.
pub(crate) async fn queues(
    app: &App,
    ns: &str,
    unconsumed: bool,
    from: Option<&str>,
    limit: usize,
) -> Result<QueueList, Refusal> {
    let of = [unconsumed.then_some("unconsumed")];
    let scope = cursor::scope("queues", ns, &of);
    let mut after = name_before(from, scope)?;
    let mut queues = Vec::new();
    for _ in 0..SEARCHED_PAGES_MAX {
        let room = limit - queues.len();
        let page = ListQueues { after: after.clone(), limit: room };
        let (page, more) = look::ask(app, ns, page).await?;
        after = if more { page.last().map(|queue| queue.name.clone()) } else { None };
        let wanted = page.iter().filter(|queue| !unconsumed || nobody_consumes(queue));
        queues.extend(wanted.map(|queue| queue_record(app, ns, queue)));
        if after.is_none() || queues.len() >= limit {
            break;
        }
    }
    let next = after.map(|name| cursor::encode(name.as_bytes(), scope));
    Ok(QueueList { queues, next })
}

/// The name that the page before this one ended with.
fn name_before(from: Option<&str>, scope: cursor::Scope) -> Result<Option<String>, Refusal> {
    let Some(text) = from else { return Ok(None) };
    let key = cursor::decode(text, scope)?;
    Ok(Some(String::from_utf8_lossy(&key).into_owned()))
}

fn nobody_consumes(queue: &QueueView) -> bool {
    // What is blocked has no kinds that are told: only a queue without any consumer is sure.
    !queue.unconsumed_kinds.is_empty() || (queue.consumers == 0 && queue.blocked > 0)
}

async fn queue_reply(
    call: &Call<'_>,
    command: impl Ask<Answer = Box<QueueView>>,
) -> Result<Reply, Refusal> {
    let queue = ask(call, command).await?;
    Ok(ok(&queue_record(call.app, call.namespace, &queue)).not_cached())
}

pub(super) async fn get_queue(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    queue_reply(&call, GetQueue { queue: call.name.to_owned() }).await
}

pub(super) async fn put_queue(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    if let Some(declared) = messages::declared(&call)? {
        keyed::check_takes_none(call.app, "a queue of messages that is there is left as it is")?;
        ask(&call, declared).await?;
        return queue_reply(&call, GetQueue { queue: call.name.to_owned() }).await;
    }
    let settings = parse_settings(&call.body, &call.app.bounds)?;
    queue_reply(&call, PutQueue { queue: call.name.to_owned(), settings }).await
}

pub(super) async fn pause(call: Call<'_>, paused: bool) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    queue_reply(&call, PauseQueue { queue: call.name.to_owned(), paused }).await
}

pub(super) async fn delete_queue(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let queue = call.name.to_owned();
    if call.query.flag("force")? {
        let started =
            operations::start(&call, OperationKind::DeleteQueue { queue: queue.clone() }).await;
        return match started {
            Err(refusal) if refusal.code() == Code::QueueTypeRefused => {
                ask(
                    &call,
                    DeleteMessages { queue, connection: None, if_unused: false, if_empty: false },
                )
                .await?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            started => started,
        };
    }
    removed(&call, DeleteQueue { queue }).await
}

pub(super) async fn list_namespaces(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let page = namespaces(call.app, call.query.text("cursor"), limit);
    Ok(ok(&page.await?).not_cached())
}

/// A page of the namespaces of the node.
pub(crate) async fn namespaces(
    app: &App,
    from: Option<&str>,
    limit: usize,
) -> Result<NamespaceList, Refusal> {
    app.who.demand("", &Need::everywhere(READ))?;
    let scope = cursor::scope("namespaces", "", &[]);
    let after = name_before(from, scope)?;
    let mut list = NamespaceList { namespaces: Vec::new(), next: None, unavailable: Vec::new() };
    let mut follow = false;
    for answer in app.node.call_shards(ListNamespaces { after, limit }.into()).await {
        match answer {
            Ok(answer) => {
                let (namespaces, more) = look::told::<ListNamespaces>(answer)?;
                list.namespaces.extend(namespaces.iter().map(view::namespace));
                follow |= more;
            }
            Err(unavailable) => list.unavailable.push(UnreachableShard {
                shard: u64::from(unavailable.shard),
                reason: unavailable.reason,
            }),
        }
    }
    list.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    if follow || list.namespaces.len() > limit {
        list.namespaces.truncate(limit);
        let end = list.namespaces.last();
        list.next = end.map(|end| cursor::encode(end.name.as_bytes(), scope));
    }
    Ok(list)
}

/// The namespace that the path names at its end.
fn named(call: Call<'_>) -> Result<Call<'_>, Refusal> {
    check_path_name("namespace", call.name)?;
    Ok(Call { namespace: call.name, ..call })
}

pub(super) async fn get_namespace(call: Call<'_>) -> Result<Reply, Refusal> {
    shown(&named(call)?, GetNamespace {}, view::namespace).await
}

pub(super) async fn put_namespace(call: Call<'_>) -> Result<Reply, Refusal> {
    shown(&named(call)?, CreateNamespace {}, view::namespace).await
}

pub(super) async fn delete_namespace(call: Call<'_>) -> Result<Reply, Refusal> {
    removed(&named(call)?, DeleteNamespace {}).await
}
