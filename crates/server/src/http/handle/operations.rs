//! What touches many jobs: purge, retry-dead, forced removal; counting beforehand; progress.

use hyper::StatusCode;
use longshore_engine::ask::{
    CancelOperation, GetOperation, GetQueue, ListOperations, ListQueues, StartOperation,
};
use longshore_engine::query::{self, ListFilter};
use longshore_engine::{JobState, JobView, OperationId, OperationKind, QueueView, Rejection};
use longshore_node::wall_now;

use super::jobs::waits;
use super::{ask, ok, shown};
use crate::access::of_operation;
use crate::api::{OperationList, OperationRecord};
use crate::http::app::{App, Call};
use crate::http::look;
use crate::http::parse::{parse_purge, parse_retry_dead};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

/// Stands for all queues of the namespace in the path of an operation on dead jobs.
const EVERY_QUEUE: &str = "*";
/// Jobs that one count looks at, at most, and per page.
const COUNTED_MAX: usize = 200_000;
const COUNTED_PAGE: usize = 2_000;

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
    let reply = Reply::of(StatusCode::ACCEPTED, &view::operation(&operation));
    Ok(reply.location(&path).not_cached())
}

/// How many jobs an operation would touch. Exact up to a bound; `examined` tells whether it was
/// reached.
pub(crate) async fn count(
    app: &App,
    ns: &str,
    kind: OperationKind,
) -> Result<OperationRecord, Refusal> {
    let most = match kind.limit() {
        Some(0) => return Err(Refusal::value("limit", 0, "at least 1")),
        limit => limit.unwrap_or(u64::MAX),
    };
    let candidates = candidates(app, ns, &kind).await?.min(most);
    let (dead, wanted, before) = match &kind {
        OperationKind::PurgeQueue { kind, before, .. } => (false, kind.clone(), *before),
        OperationKind::RetryDead { kind, before, .. }
        | OperationKind::PurgeDead { kind, before, .. } => (true, kind.clone(), *before),
        OperationKind::DeleteQueue { .. } | OperationKind::MoveMessages { .. } => {
            (false, None, None)
        }
    };
    if wanted.is_none() && before.is_none() {
        return Ok(view::dry_run(&kind, candidates, 0, candidates));
    }
    let queue = kind.queue().map(str::to_owned);
    let state = dead.then_some(JobState::Dead);
    let filter = ListFilter { queue, state, kind: wanted, ..ListFilter::default() };
    let is_meant = move |view: &JobView| {
        let since = if dead { view.job.phase.ended_at() } else { Some(view.job.enqueued_at) };
        let in_time = before.is_none_or(|before| since.is_some_and(|since| since < before));
        in_time && (dead || waits(view.state()))
    };
    app.who.demand(ns, &of_operation(&kind))?;
    let namespace = ns.to_owned();
    let look = move |reader: &dyn longshore_engine::Reader, now| {
        let (mut matched, mut examined, mut cursor) = (0_u64, 0_usize, None);
        while examined < COUNTED_MAX && matched < most {
            let bounds = (COUNTED_PAGE, COUNTED_PAGE);
            let page = query::list_jobs(reader, &namespace, &filter, cursor.as_ref(), bounds, now)?;
            matched += page.jobs.iter().filter(|view| is_meant(view)).count() as u64;
            examined += page.examined;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Some((matched.min(most), examined as u64))
    };
    let Some((matched, examined)) = app.node.read(ns, look).await? else {
        return Err(Rejection::NamespaceUnknown { name: ns.to_owned() }.into());
    };
    Ok(view::dry_run(&kind, candidates, examined, matched))
}

/// How many jobs the operation could touch at most, from the counters of its queues.
async fn candidates(app: &App, ns: &str, kind: &OperationKind) -> Result<u64, Refusal> {
    let waiting =
        |queue: &QueueView| queue.ready + queue.scheduled + queue.retrying + queue.blocked;
    let Some(queue) = kind.queue() else { return dead_of_all(app, ns).await };
    let queue = look::ask(app, ns, GetQueue { queue: queue.to_owned() }).await?;
    Ok(match kind {
        OperationKind::PurgeQueue { .. } => waiting(&queue),
        OperationKind::RetryDead { .. } | OperationKind::PurgeDead { .. } => queue.dead,
        OperationKind::DeleteQueue { .. } => {
            waiting(&queue) + queue.dead + queue.held + queue.running
        }
        // They are counted as messages are.
        OperationKind::MoveMessages { .. } => 0,
    })
}

async fn dead_of_all(app: &App, ns: &str) -> Result<u64, Refusal> {
    let (mut dead, mut after) = (0, None);
    loop {
        let (queues, more) = look::ask(app, ns, ListQueues { after, limit: 1000 }).await?;
        dead += queues.iter().map(|queue| queue.dead).sum::<u64>();
        match queues.last() {
            Some(last) if more => after = Some(last.name.clone()),
            _ => return Ok(dead),
        }
    }
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let operations = ask(&call, ListOperations {}).await?.iter().map(view::operation).collect();
    Ok(ok(&OperationList { operations }).not_cached())
}

fn operation_id(call: &Call<'_>) -> Result<OperationId, Refusal> {
    let plain = call.name.bytes().all(|byte| byte.is_ascii_digit());
    match call.name.parse() {
        Ok(id) if plain => Ok(OperationId(id)),
        _ => {
            let value = super::super::text::quoted(call.name);
            Err(Refusal::value("id", value, "the id of an operation: a number"))
        }
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = operation_id(&call)?;
    shown(&call, GetOperation { id }, view::operation).await
}

pub(super) async fn cancel(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = operation_id(&call)?;
    shown(&call, CancelOperation { id }, view::operation).await
}
