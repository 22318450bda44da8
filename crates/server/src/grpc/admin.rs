//! The service of operators: queues, operations and namespaces. Each call does what its sibling
//! over HTTP does.

use std::sync::Arc;

use longshore_engine::ask::{
    Ask, CancelOperation, CreateNamespace, DeleteNamespace, DeleteQueue, GetKind, GetNamespace,
    GetOperation, GetQueue, ListOperations, PauseQueue, PutKind, PutQueue, StartOperation,
};
use longshore_engine::driver::Class;
use longshore_engine::{
    KindDetail, NamespaceView, Operation, OperationId, OperationKind, QueueSettings, QueueView,
    TimeMs,
};
use longshore_node::wall_now;
use longshore_proto::v1;
use longshore_proto::v1::admin_server::Admin;
use longshore_proto::v1::start_operation_request::Action;
use serde::Serialize;
use tonic::{Request, Response, Status};

use super::job_in::retry_text;
use super::{Face, namespace_of};
use crate::api::{
    DurationText, InstantText, JobActionText, JobDefaultsBody, JobFilterBody, KindRecord,
    KindSettingsBody, NamespaceRecord, OperationRecord, OperationRequest, OperationStateText,
    QueueRecord, QueueSettingsBody,
};
use crate::http::handle::{check_no_limit, count, kinds, namespaces, queue_record, queues};
use crate::http::kind_view::kind;
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX, ask};
use crate::http::operation_view;
use crate::http::parse::{Bounds, jobs_change, kind_settings_of, settings_of, state_word};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name};
use crate::http::view;

/// The service on one connection.
pub(super) struct AdminFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

/// The record of the HTTP API.
pub(super) fn record(of: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec(of).expect("a record of the API has nothing that JSON cannot say").into()
}

fn queue_told(of: &QueueRecord) -> v1::Queue {
    v1::Queue {
        name: of.name.clone(),
        ready: of.ready,
        scheduled: of.scheduled,
        retrying: of.retrying,
        blocked: of.blocked,
        held: of.held,
        running: of.running,
        dead: of.dead,
        oldest_age_ms: of.oldest_age.map(|age| age.0),
        consumers: of.consumers,
        paused: of.settings.paused,
        record: record(of),
    }
}

pub(super) fn operation_told(id: Option<OperationId>, of: &OperationRecord) -> v1::Operation {
    let state = match of.state {
        OperationStateText::DryRun => "dry_run",
        OperationStateText::Running => "running",
        OperationStateText::Finished => "finished",
        OperationStateText::Cancelled => "cancelled",
    };
    v1::Operation {
        id: id.map(|id| id.0),
        operation: of.operation.clone(),
        state: state.to_owned(),
        candidates: of.candidates,
        examined: of.examined,
        changed: of.changed,
        progress: of.progress,
        record: record(of),
    }
}

fn namespace_told(of: &NamespaceRecord) -> v1::Namespace {
    v1::Namespace {
        name: of.name.clone(),
        created_at_unix_ms: of.created_at.0,
        queues: of.queues,
        record: record(of),
    }
}

pub(super) fn page_size(limit: u32) -> Result<usize, Refusal> {
    match limit as usize {
        0 => Ok(PAGE_DEFAULT),
        limit if limit <= PAGE_MAX => Ok(limit),
        limit => Err(Refusal::value("limit", limit, format!("0 to {PAGE_MAX}"))),
    }
}

pub(super) fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn defaults(of: Option<v1::JobDefaults>) -> Result<JobDefaultsBody, Refusal> {
    let defaults = of.unwrap_or_default();
    let priority = |priority: u32| {
        let level = u8::try_from(priority).ok().filter(|level| *level <= 9);
        level.ok_or_else(|| Refusal::value("defaults.priority", priority, "0 to 9"))
    };
    if defaults.max_attempts == Some(0) {
        return Err(Refusal::value("defaults.max_attempts", 0, "1 or more"));
    }
    let retry = defaults.retry.as_ref().and_then(|retry| retry.policy.as_ref());
    Ok(JobDefaultsBody {
        priority: defaults.priority.map(priority).transpose()?,
        lease: defaults.lease_ms.map(DurationText),
        timeout: defaults.timeout_ms.map(DurationText),
        retry: retry.map(retry_text),
        max_attempts: defaults.max_attempts,
        max_age: defaults.max_age_ms.map(DurationText),
        ttl: defaults.ttl_ms.map(DurationText),
        retain: defaults.retain_ms.map(DurationText),
    })
}

fn settings(of: Option<v1::QueueSettings>, bounds: &Bounds) -> Result<QueueSettings, Refusal> {
    let of = of.unwrap_or_default();
    let body = QueueSettingsBody {
        paused: of.paused,
        max_length: of.max_length,
        defaults: defaults(of.defaults)?,
        messages: None,
        tenants: of.tenants.into_iter().collect(),
        outcomes: of.outcomes.clone(),
    };
    settings_of(body, bounds)
}

fn version_told(of: &KindRecord) -> v1::KindVersion {
    v1::KindVersion {
        kind: of.kind.clone(),
        version: of.version.unwrap_or(0),
        waiting: of.waiting,
        running: of.running,
        consumers: of.consumers,
        workers: of.workers.clone(),
    }
}

fn kind_told(of: KindDetail) -> v1::Kind {
    let whole = kind(of);
    v1::Kind {
        name: whole.kind.clone(),
        versions: whole.kinds.iter().map(version_told).collect(),
        gates: whole.gates.clone(),
        limits: whole.limits.clone(),
        slas: whole.sla.clone(),
        record: record(&whole),
    }
}

/// What a request asks for that is about all jobs that a filter means.
fn jobs_changed(
    of: &v1::StartOperationRequest,
    action: JobActionText,
) -> Result<OperationKind, Refusal> {
    let some = |text: &str| some(text).map(str::to_owned);
    let level = |priority: u32| {
        let level = u8::try_from(priority).ok().filter(|level| *level <= 9);
        level.ok_or_else(|| Refusal::value("priority", priority, "0 to 9"))
    };
    let filter = JobFilterBody {
        queue: some(&of.queue).filter(|queue| queue != "*"),
        state: self::some(&of.state).map(state_word).transpose()?,
        kind: some(&of.kind),
        tag: some(&of.tag),
        ordering_key: some(&of.ordering_key),
        tenant: some(&of.tenant),
        error: some(&of.error),
        text: some(&of.text),
        older_than: None,
        newer_than: None,
        before: of.before_unix_ms.map(InstantText),
        since: of.since_unix_ms.map(InstantText),
    };
    let request = OperationRequest {
        action,
        filter,
        limit: of.limit,
        to_queue: some(&of.to_queue),
        priority: of.priority.map(level).transpose()?,
        force: of.force,
    };
    let change = Box::new(jobs_change(request, wall_now())?);
    Ok(OperationKind::ChangeJobs { change })
}

/// Refuses parts of a filter that the action does not look at.
fn check_unfiltered(of: &v1::StartOperationRequest) -> Result<(), Refusal> {
    let texts = [
        ("state", &of.state),
        ("tag", &of.tag),
        ("ordering_key", &of.ordering_key),
        ("tenant", &of.tenant),
        ("error", &of.error),
        ("text", &of.text),
        ("to_queue", &of.to_queue),
    ];
    let named = texts.into_iter().find(|(_, text)| !text.is_empty()).map(|(name, _)| name);
    let others = [
        ("since_unix_ms", of.since_unix_ms.is_some()),
        ("priority", of.priority.is_some()),
        ("force", of.force),
    ];
    let other = others.into_iter().find(|(_, given)| *given).map(|(name, _)| name);
    match named.or(other) {
        Some(field) => {
            let allowed = "only with RETRY_JOBS, CANCEL_JOBS, MOVE_JOBS, REMOVE_JOBS, SET_PRIORITY";
            Err(Refusal::value(field, format!("given with action {}", of.action), allowed))
        }
        None => Ok(()),
    }
}

/// What a request for an operation asks for.
fn operation_kind(of: &v1::StartOperationRequest) -> Result<OperationKind, Refusal> {
    let action = match of.action() {
        Action::RetryJobs => Some(JobActionText::Retry),
        Action::CancelJobs => Some(JobActionText::Cancel),
        Action::MoveJobs => Some(JobActionText::Move),
        Action::RemoveJobs => Some(JobActionText::Remove),
        Action::SetPriority => Some(JobActionText::SetPriority),
        _ => None,
    };
    if let Some(action) = action {
        return jobs_changed(of, action);
    }
    check_unfiltered(of)?;
    if let Some(kind) = some(&of.kind) {
        check_name("kind", kind)?;
    }
    let (kind, before) = (some(&of.kind).map(str::to_owned), of.before_unix_ms.map(TimeMs));
    let limit = of.limit;
    let named = || check_path_name("queue", &of.queue).map(|()| of.queue.clone());
    let named_or_all = || if of.queue == "*" { Ok(None) } else { named().map(Some) };
    Ok(match of.action() {
        Action::PurgeQueue => {
            check_no_limit(limit)?;
            OperationKind::PurgeQueue { queue: named()?, kind, before }
        }
        Action::RetryDead => {
            OperationKind::RetryDead { queue: named_or_all()?, kind, before, limit }
        }
        Action::PurgeDead => {
            OperationKind::PurgeDead { queue: named_or_all()?, kind, before, limit }
        }
        Action::DeleteQueue if kind.is_none() && before.is_none() && limit.is_none() => {
            OperationKind::DeleteQueue { queue: named()? }
        }
        Action::DeleteQueue => {
            let value = "DELETE_QUEUE with a filter";
            let allowed = "DELETE_QUEUE without kind, before and limit";
            return Err(Refusal::value("action", value, allowed));
        }
        _ => {
            let allowed = "PURGE_QUEUE, RETRY_DEAD, PURGE_DEAD, DELETE_QUEUE, RETRY_JOBS, \
                           CANCEL_JOBS, MOVE_JOBS, REMOVE_JOBS or SET_PRIORITY";
            return Err(Refusal::value("action", of.action, allowed));
        }
    })
}

impl AdminFace {
    async fn ask<C: Ask>(&self, namespace: &str, command: C) -> Result<C::Answer, Refusal> {
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace, command).await
    }

    async fn queue<C: Ask<Answer = Box<QueueView>>>(
        &self,
        of: &v1::QueueRequest,
        command: impl FnOnce(String) -> C,
    ) -> Answered<v1::Queue> {
        let namespace = namespace_of(&of.namespace)?;
        check_path_name("queue", &of.queue)?;
        let queue = self.ask(namespace, command(of.queue.clone())).await?;
        Ok(Response::new(queue_told(&queue_record(&self.0.app, namespace, &queue))))
    }

    async fn operation(
        &self,
        namespace: &str,
        command: impl Ask<Answer = Box<Operation>>,
    ) -> Answered<v1::Operation> {
        let of = self.ask(namespace_of(namespace)?, command).await?;
        Ok(Response::new(operation_told(Some(of.id), &operation_view::operation(&of))))
    }

    async fn kind(
        &self,
        namespace: &str,
        name: &str,
        command: impl Ask<Answer = Box<KindDetail>>,
    ) -> Answered<v1::Kind> {
        check_path_name("kind", name)?;
        self.0.read(kind_told(*self.ask(namespace_of(namespace)?, command).await?))
    }

    async fn namespace(
        &self,
        named: &str,
        command: impl Ask<Answer = NamespaceView>,
    ) -> Answered<v1::Namespace> {
        check_path_name("namespace", named)?;
        Ok(Response::new(namespace_told(&view::namespace(&self.ask(named, command).await?))))
    }
}

#[tonic::async_trait]
impl Admin for AdminFace {
    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Answered<v1::ListQueuesResponse> {
        let of = request.into_inner();
        let namespace = namespace_of(&of.namespace)?;
        let limit = page_size(of.limit)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let page = queues(&self.0.app, namespace, of.unconsumed, some(&of.cursor), limit).await?;
        self.0.read(v1::ListQueuesResponse {
            queues: page.queues.iter().map(queue_told).collect(),
            next: page.next.unwrap_or_default(),
        })
    }

    async fn get_queue(&self, request: Request<v1::QueueRequest>) -> Answered<v1::Queue> {
        self.queue(request.get_ref(), |queue| GetQueue { queue }).await
    }

    async fn put_queue(&self, request: Request<v1::PutQueueRequest>) -> Answered<v1::Queue> {
        let v1::PutQueueRequest { namespace, queue, settings: of } = request.into_inner();
        let settings = settings(of, &self.0.app.bounds)?;
        let named = v1::QueueRequest { namespace, queue };
        self.queue(&named, |queue| PutQueue { queue, settings }).await
    }

    async fn pause_queue(&self, request: Request<v1::QueueRequest>) -> Answered<v1::Queue> {
        let pause = |queue| PauseQueue { queue, paused: true };
        self.queue(request.get_ref(), pause).await
    }

    async fn resume_queue(&self, request: Request<v1::QueueRequest>) -> Answered<v1::Queue> {
        let resume = |queue| PauseQueue { queue, paused: false };
        self.queue(request.get_ref(), resume).await
    }

    async fn delete_queue(
        &self,
        request: Request<v1::QueueRequest>,
    ) -> Answered<v1::DeleteQueueResponse> {
        let v1::QueueRequest { namespace, queue } = request.into_inner();
        check_path_name("queue", &queue)?;
        self.ask(namespace_of(&namespace)?, DeleteQueue { queue }).await?;
        Ok(Response::new(v1::DeleteQueueResponse {}))
    }

    async fn start_operation(
        &self,
        request: Request<v1::StartOperationRequest>,
    ) -> Answered<v1::Operation> {
        let of = request.into_inner();
        let kind = operation_kind(&of)?;
        if !of.dry_run {
            return self.operation(&of.namespace, StartOperation(kind)).await;
        }
        let namespace = namespace_of(&of.namespace)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let counted = count(&self.0.app, namespace, kind).await?;
        Ok(Response::new(operation_told(None, &counted)))
    }

    async fn list_operations(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Answered<v1::ListOperationsResponse> {
        let namespace = namespace_of(&request.get_ref().namespace)?;
        let all = self.ask(namespace, ListOperations {}).await?;
        let told = all.iter().map(|of| operation_told(Some(of.id), &operation_view::operation(of)));
        self.0.read(v1::ListOperationsResponse { operations: told.collect() })
    }

    async fn get_operation(
        &self,
        request: Request<v1::OperationRequest>,
    ) -> Answered<v1::Operation> {
        let of = request.into_inner();
        self.operation(&of.namespace, GetOperation { id: OperationId(of.id) }).await
    }

    async fn cancel_operation(
        &self,
        request: Request<v1::OperationRequest>,
    ) -> Answered<v1::Operation> {
        let of = request.into_inner();
        self.operation(&of.namespace, CancelOperation { id: OperationId(of.id) }).await
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Answered<v1::ListNamespacesResponse> {
        let of = request.into_inner();
        let limit = page_size(of.limit)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let page = namespaces(&self.0.app, some(&of.cursor), limit).await?;
        let reasons =
            page.unavailable.iter().map(|it| format!("shard {}: {}", it.shard, it.reason));
        self.0.read(v1::ListNamespacesResponse {
            namespaces: page.namespaces.iter().map(namespace_told).collect(),
            next: page.next.unwrap_or_default(),
            unavailable: reasons.collect(),
        })
    }

    async fn get_namespace(
        &self,
        request: Request<v1::NamespaceRequest>,
    ) -> Answered<v1::Namespace> {
        self.namespace(&request.get_ref().namespace, GetNamespace {}).await
    }

    async fn create_namespace(
        &self,
        request: Request<v1::NamespaceRequest>,
    ) -> Answered<v1::Namespace> {
        self.namespace(&request.get_ref().namespace, CreateNamespace {}).await
    }

    async fn delete_namespace(
        &self,
        request: Request<v1::NamespaceRequest>,
    ) -> Answered<v1::DeleteNamespaceResponse> {
        let named = &request.get_ref().namespace;
        check_path_name("namespace", named)?;
        self.ask(named, DeleteNamespace {}).await?;
        Ok(Response::new(v1::DeleteNamespaceResponse {}))
    }

    async fn list_kinds(
        &self,
        request: Request<v1::ListKindsRequest>,
    ) -> Answered<v1::ListKindsResponse> {
        let of = request.into_inner();
        let limit = page_size(of.limit)?;
        let namespace = namespace_of(&of.namespace)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let page = kinds(&self.0.app, namespace, some(&of.cursor), limit).await?;
        self.0.read(v1::ListKindsResponse {
            kinds: page.kinds.iter().map(version_told).collect(),
            next: page.next.unwrap_or_default(),
        })
    }

    async fn get_kind(&self, request: Request<v1::KindRequest>) -> Answered<v1::Kind> {
        let v1::KindRequest { namespace, kind } = request.into_inner();
        self.kind(&namespace, &kind, GetKind { name: kind.clone() }).await
    }

    async fn put_kind(&self, request: Request<v1::PutKindRequest>) -> Answered<v1::Kind> {
        let v1::PutKindRequest { namespace, kind, settings } = request.into_inner();
        let body = KindSettingsBody { defaults: defaults(settings.and_then(|of| of.defaults))? };
        let settings = Box::new(kind_settings_of(body, &self.0.app.bounds)?);
        self.kind(&namespace, &kind, PutKind { name: kind.clone(), settings }).await
    }
}
