//! What touches many jobs: changes of all that a filter means, purge, retry-dead, forced removal;
//! counting beforehand; progress.

use std::sync::Arc;

use hyper::StatusCode;
use longshore_engine::ask::{
    CancelOperation, GetOperation, GetQueue, ListOperations, ListQueues, StartOperation,
};
use longshore_engine::query;
use longshore_engine::{
    Command, JobAction, JobState, JobsChange, OperationId, OperationKind, QueueView, Rejection,
};
use longshore_node::wall_now;

use super::{ask, ok, shown};
use crate::access::needs_of;
use crate::api::{OperationList, OperationRecord};
use crate::http::app::{App, Call};
use crate::http::look;
use crate::http::operation_view;
use crate::http::parse::{parse_operation, parse_purge, parse_retry_dead};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_path_name, quoted};

/// Stands for all queues of the namespace in the path of an operation on dead jobs.
const EVERY_QUEUE: &str = "*";
/// Jobs that one read of a count looks at: some tens of milliseconds.
const COUNTED_PER_READ: usize = 50_000;

/// The queue of an operation on dead jobs; `None` for all of them.
fn queue_or_all(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    if call.name == EVERY_QUEUE {
        return Ok(None);
    }
    check_path_name("queue", call.name)?;
    Ok(Some(call.name.to_owned()))
}

pub(super) async fn purge(call: Call<'_>) -> Result<Reply, Refusal> {
    let filter = parse_purge(&call.body, wall_now())?;
    let (kind, before, limit) = (filter.kind, filter.before, filter.limit);
    let operation = if filter.dead {
        OperationKind::PurgeDead { queue: queue_or_all(&call)?, kind, before, limit }
    } else {
        check_path_name("queue", call.name)?;
        check_no_limit(limit)?;
        OperationKind::PurgeQueue { queue: call.name.to_owned(), kind, before }
    };
    start_or_count(&call, operation).await
}

pub(super) async fn retry_dead(call: Call<'_>) -> Result<Reply, Refusal> {
    let filter = parse_retry_dead(&call.body, wall_now())?;
    let (kind, before, limit) = (filter.kind, filter.before, filter.limit);
    let operation = OperationKind::RetryDead { queue: queue_or_all(&call)?, kind, before, limit };
    start_or_count(&call, operation).await
}

/// Jobs that wait have no first ones before they run: an operation on them takes no limit.
pub(crate) fn check_no_limit(limit: Option<u64>) -> Result<(), Refusal> {
    let Some(limit) = limit else { return Ok(()) };
    Err(Refusal::value("limit", limit, "no limit where jobs that wait are purged"))
}

async fn start_or_count(call: &Call<'_>, kind: OperationKind) -> Result<Reply, Refusal> {
    if call.query.flag("dry_run")? {
        Ok(ok(&count(call.app, call.namespace, kind).await?).not_cached())
    } else {
        start(call, kind).await
    }
}

/// Starts an operation: `202`, and where it tells how far it is.
pub(super) async fn start(call: &Call<'_>, kind: OperationKind) -> Result<Reply, Refusal> {
    let operation = ask(call, StartOperation(kind)).await?;
    let path = call.path("operations", &operation.id.to_string());
    let reply = Reply::of(StatusCode::ACCEPTED, &operation_view::operation(&operation));
    Ok(reply.location(&path).not_cached())
}

/// Starts what is to be done with all jobs that a filter means.
pub(super) async fn change_jobs(call: Call<'_>) -> Result<Reply, Refusal> {
    let change = Box::new(parse_operation(&call.body, wall_now())?);
    start_or_count(&call, OperationKind::ChangeJobs { change }).await
}

/// How many jobs an operation would touch. They are looked at in several reads, so that none holds
/// up others for long: each is counted as it was met.
pub(crate) async fn count(
    app: &App,
    ns: &str,
    kind: OperationKind,
) -> Result<OperationRecord, Refusal> {
    let most = match kind.limit() {
        Some(0) => return Err(Refusal::value("limit", 0, "at least 1")),
        limit => limit.unwrap_or(u64::MAX),
    };
    if let OperationKind::ChangeJobs { change } = &kind {
        for need in needs_of(&Command::StartOperation(kind.clone())) {
            app.who.demand(ns, &need)?;
        }
        check_change(app, ns, change).await?;
    }
    let candidates = candidates(app, ns, &kind).await?;
    if !kind.is_filtered() {
        let matched = candidates.min(most);
        return Ok(operation_view::dry_run(&kind, matched, 0, matched));
    }
    for need in needs_of(&Command::StartOperation(kind.clone())) {
        app.who.demand(ns, &need)?;
    }
    let (kind, mut matched, mut examined, mut cursor) = (Arc::new(kind), 0, 0, None);
    loop {
        let (namespace, of) = (ns.to_owned(), Arc::clone(&kind));
        let look = move |reader: &dyn longshore_engine::Reader, now| {
            query::count_jobs(reader, &namespace, &of, cursor.as_ref(), COUNTED_PER_READ, now)
        };
        let Some((more, looked, next)) = app.node.read(ns, look).await? else {
            return Err(Rejection::NamespaceUnknown { name: ns.to_owned() }.into());
        };
        (matched, examined, cursor) = (matched + more, examined + looked, next);
        if cursor.is_none() || matched >= most {
            let (matched, most) = (matched.min(most), candidates.min(most));
            return Ok(operation_view::dry_run(&kind, most, examined, matched));
        }
    }
}

/// Refuses what the operation itself would be refused for.
async fn check_change(app: &App, ns: &str, change: &JobsChange) -> Result<(), Refusal> {
    change.filter.check(&app.limits)?;
    check_can_be(change)?;
    let to = match &change.action {
        JobAction::Move { queue } => Some(queue),
        _ => None,
    };
    if let Some(to) = to.filter(|to| change.filter.queue.as_ref() == Some(to)) {
        return Err(Refusal::value("to_queue", quoted(to), "another queue"));
    }
    // Whoever may start it need not be one who may look at the queues.
    let app = app.for_itself();
    for queue in change.filter.queue.iter().chain(to) {
        let known = look::ask(&app, ns, GetQueue { queue: queue.clone() }).await?;
        if known.settings.messages.is_some() {
            let (queue, holds) = (queue.clone(), "messages");
            return Err(Rejection::QueueTypeRefused { queue, holds }.into());
        }
    }
    Ok(())
}

/// Refuses a state in which no job can be changed so.
fn check_can_be(change: &JobsChange) -> Result<(), Refusal> {
    let able = change.action.states();
    let Some(state) = change.filter.state.filter(|state| !able.contains(state)) else {
        return Ok(());
    };
    let words: Vec<&str> = able.iter().map(|state| state.name()).collect();
    Err(Refusal::value("filter.state", state.name(), words.join(", ")))
}

/// How many jobs the operation could touch at most, from the counters of its queues.
async fn candidates(app: &App, ns: &str, kind: &OperationKind) -> Result<u64, Refusal> {
    let waiting =
        |queue: &QueueView| queue.ready + queue.scheduled + queue.retrying + queue.blocked;
    let of_change = |change: &JobsChange, queue: &QueueView| {
        let dead_only = change.filter.state == Some(JobState::Dead);
        let unfinished = waiting(queue) + queue.held + queue.running;
        if dead_only { queue.dead } else { unfinished + queue.dead }
    };
    let Some(queue) = kind.queue() else {
        return sum_of_all(app, ns, &|queue| match kind {
            OperationKind::ChangeJobs { change } => of_change(change, queue),
            _ => queue.dead,
        })
        .await;
    };
    let queue = look::ask(app, ns, GetQueue { queue: queue.to_owned() }).await?;
    Ok(match kind {
        OperationKind::PurgeQueue { .. } => waiting(&queue),
        OperationKind::RetryDead { .. } | OperationKind::PurgeDead { .. } => queue.dead,
        OperationKind::DeleteQueue { .. } => {
            waiting(&queue) + queue.dead + queue.held + queue.running
        }
        OperationKind::ChangeJobs { change } => of_change(change, &queue),
        // They are counted as messages are.
        OperationKind::MoveMessages { .. } => 0,
    })
}

async fn sum_of_all(
    app: &App,
    ns: &str,
    of: &(dyn Fn(&QueueView) -> u64 + Sync),
) -> Result<u64, Refusal> {
    let (mut sum, mut after) = (0, None);
    loop {
        let (queues, more) = look::ask(app, ns, ListQueues { after, limit: 1000 }).await?;
        sum += queues.iter().map(of).sum::<u64>();
        match queues.last() {
            Some(last) if more => after = Some(last.name.clone()),
            _ => return Ok(sum),
        }
    }
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let all = ask(&call, ListOperations {}).await?;
    let operations = all.iter().map(operation_view::operation).collect();
    Ok(ok(&OperationList { operations }).not_cached())
}

fn operation_id(call: &Call<'_>) -> Result<OperationId, Refusal> {
    let plain = call.name.bytes().all(|byte| byte.is_ascii_digit());
    match call.name.parse() {
        Ok(id) if plain => Ok(OperationId(id)),
        _ => {
            let value = quoted(call.name);
            Err(Refusal::value("id", value, "the id of an operation: a number"))
        }
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = operation_id(&call)?;
    shown(&call, GetOperation { id }, operation_view::operation).await
}

pub(super) async fn cancel(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = operation_id(&call)?;
    shown(&call, CancelOperation { id }, operation_view::operation).await
}
