//! Queues and namespaces: describe, set, pause, remove.

use hyper::StatusCode;
use longshore_engine::{Answer, Command, OperationKind, QueueView};

use super::{ask, ok, operations, unexpected};
use crate::api::{NamespaceList, QueueList, QueueRecord, UnreachableShard};
use crate::http::app::Call;
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX};
use crate::http::parse::parse_settings;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_name, check_path_name};
use crate::http::view;

/// Pages of queues that one answer looks through for those that nobody consumes.
const SEARCHED_PAGES_MAX: usize = 20;

fn queue_record(call: &Call<'_>, queue: &QueueView) -> QueueRecord {
    call.app.rates.of(call.namespace, view::queue(queue))
}

pub(super) async fn list_queues(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let unconsumed = call.query.flag("unconsumed")?;
    let mut after = call.query.text("cursor").map(str::to_owned);
    if let Some(cursor) = &after {
        check_name("cursor", cursor)?;
    }
    let mut queues = Vec::new();
    for _ in 0..SEARCHED_PAGES_MAX {
        let room = limit - queues.len();
        let page = Command::ListQueues { after: after.clone(), limit: room };
        let (page, more) = match ask(&call, page).await? {
            Answer::Queues(page, more) => (page, more),
            other => return Err(unexpected(&other)),
        };
        after = if more { page.last().map(|queue| queue.name.clone()) } else { None };
        let wanted = page.iter().filter(|queue| !unconsumed || nobody_consumes(queue));
        queues.extend(wanted.map(|queue| queue_record(&call, queue)));
        if after.is_none() || queues.len() >= limit {
            break;
        }
    }
    Ok(ok(&QueueList { queues, next: after }).not_cached())
}

fn nobody_consumes(queue: &QueueView) -> bool {
    queue.consumers == 0 && queue.ready + queue.scheduled + queue.retrying + queue.blocked > 0
}

async fn queue_reply(call: &Call<'_>, command: Command) -> Result<Reply, Refusal> {
    match ask(call, command).await? {
        Answer::Queue(queue) => Ok(ok(&queue_record(call, &queue)).not_cached()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get_queue(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    queue_reply(&call, Command::GetQueue { queue: call.name.to_owned() }).await
}

pub(super) async fn put_queue(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let settings = parse_settings(&call.body)?;
    queue_reply(&call, Command::PutQueue { queue: call.name.to_owned(), settings }).await
}

pub(super) async fn pause(call: Call<'_>, paused: bool) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    queue_reply(&call, Command::PauseQueue { queue: call.name.to_owned(), paused }).await
}

pub(super) async fn delete_queue(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let queue = call.name.to_owned();
    if call.query.flag("force")? {
        return operations::start(&call, OperationKind::DeleteQueue { queue }).await;
    }
    match ask(&call, Command::DeleteQueue { queue }).await? {
        Answer::QueueDeleted => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn list_namespaces(call: Call<'_>) -> Result<Reply, Refusal> {
    let mut list = NamespaceList { namespaces: Vec::new(), unavailable: Vec::new() };
    for answer in call.app.node.call_shards(Command::ListNamespaces).await {
        match answer {
            Ok(Answer::Namespaces(namespaces)) => {
                list.namespaces.extend(namespaces.iter().map(view::namespace));
            }
            Ok(Answer::Rejected(rejection)) => return Err(rejection.into()),
            Ok(other) => return Err(unexpected(&other)),
            Err(unavailable) => list.unavailable.push(UnreachableShard {
                shard: u64::from(unavailable.shard),
                reason: unavailable.reason,
            }),
        }
    }
    list.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(ok(&list).not_cached())
}

/// The namespace that the path names at its end.
fn named(call: Call<'_>) -> Result<Call<'_>, Refusal> {
    check_path_name("namespace", call.name)?;
    Ok(Call { namespace: call.name, ..call })
}

async fn namespace_reply(call: &Call<'_>, command: Command) -> Result<Reply, Refusal> {
    match ask(call, command).await? {
        Answer::Namespace(namespace) => Ok(ok(&view::namespace(&namespace)).not_cached()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn get_namespace(call: Call<'_>) -> Result<Reply, Refusal> {
    namespace_reply(&named(call)?, Command::GetNamespace).await
}

pub(super) async fn put_namespace(call: Call<'_>) -> Result<Reply, Refusal> {
    namespace_reply(&named(call)?, Command::CreateNamespace).await
}

pub(super) async fn delete_namespace(call: Call<'_>) -> Result<Reply, Refusal> {
    match ask(&named(call)?, Command::DeleteNamespace).await? {
        Answer::NamespaceDeleted => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(&other)),
    }
}
