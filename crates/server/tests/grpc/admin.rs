//! The service of operators: queues, operations and namespaces as over HTTP.

use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::start_operation_request::Action;
use serde_json::Value;
use tonic::Code;

use crate::harness::{Server, hello, job, settlement};

fn named(queue: &str) -> v1::QueueRequest {
    v1::QueueRequest { queue: queue.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_set_paused_told_and_removed() {
    let server = Server::start().await;
    let mut admin = server.admin().await;
    let defaults =
        v1::JobDefaults { priority: Some(7), lease_ms: Some(90_000), ..Default::default() };
    let settings =
        v1::QueueSettings { max_length: Some(5), defaults: Some(defaults), ..Default::default() };
    let put = v1::PutQueueRequest {
        queue: "mail".into(),
        settings: Some(settings.clone()),
        ..Default::default()
    };
    let told = admin.put_queue(put.clone()).await.unwrap().into_inner();
    let record: Value = serde_json::from_slice(&told.record).unwrap();
    assert_eq!(record["settings"]["defaults"]["lease"], "90s");
    assert_eq!(record["settings"]["max_length"], 5);

    let paused = admin.pause_queue(named("mail")).await.unwrap().into_inner();
    assert!(paused.paused);
    assert!(!admin.resume_queue(named("mail")).await.unwrap().into_inner().paused);

    let wrong = v1::JobDefaults { priority: Some(10), ..Default::default() };
    let settings = v1::QueueSettings { defaults: Some(wrong), ..settings };
    let refused = admin.put_queue(v1::PutQueueRequest { settings: Some(settings), ..put }).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.metadata().get("longshore-code").unwrap(), "value_refused");

    let put = |queue: &str| v1::PutQueueRequest { queue: queue.into(), ..Default::default() };
    admin.put_queue(put("other")).await.unwrap();
    let page = v1::ListQueuesRequest { limit: 1, ..Default::default() };
    let first = admin.list_queues(page.clone()).await.unwrap().into_inner();
    assert_eq!(first.queues[0].name, "mail");
    let second = v1::ListQueuesRequest { cursor: first.next, ..page };
    let second = admin.list_queues(second).await.unwrap().into_inner();
    assert_eq!(second.queues[0].name, "other");

    admin.delete_queue(named("other")).await.unwrap();
    assert_eq!(admin.get_queue(named("other")).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_counted_started_and_told() {
    let server = Server::start().await;
    let mut admin = server.admin().await;
    let jobs = vec![job(), job(), job()];
    let request = v1::EnqueueRequest { queue: "q".into(), jobs, ..Default::default() };
    server.jobs().await.enqueue(request).await.unwrap();

    let purge = v1::StartOperationRequest {
        queue: "q".into(),
        action: Action::PurgeQueue.into(),
        dry_run: true,
        ..Default::default()
    };
    let counted = admin.start_operation(purge.clone()).await.unwrap().into_inner();
    assert_eq!((counted.state.as_str(), counted.changed, counted.id), ("dry_run", 3, None));
    let none = v1::StartOperationRequest { limit: Some(2), dry_run: false, ..purge.clone() };
    let refused = admin.start_operation(none).await.unwrap_err();
    assert!(refused.message().contains("limit"), "{}", refused.message());
    let started = v1::StartOperationRequest { dry_run: false, ..purge.clone() };
    let started = admin.start_operation(started).await.unwrap().into_inner();
    let id = started.id.expect("an operation that has begun has an id");
    let asked = v1::OperationRequest { id, ..Default::default() };
    let told = loop {
        let told = admin.get_operation(asked.clone()).await.unwrap().into_inner();
        if told.state != "running" {
            break told;
        }
    };
    assert_eq!((told.state.as_str(), told.changed), ("finished", 3));
    let all = admin.list_operations(v1::ListOperationsRequest::default()).await.unwrap();
    assert_eq!(all.into_inner().operations[0].id, Some(id));

    let jobs = vec![v1::NewJob { tags: vec!["vip".into()], ..job() }, job()];
    let request = v1::EnqueueRequest { queue: "q".into(), jobs, ..Default::default() };
    server.jobs().await.enqueue(request).await.unwrap();
    let cancel = v1::StartOperationRequest {
        queue: "*".into(),
        action: Action::CancelJobs.into(),
        tag: "vip".into(),
        dry_run: true,
        ..Default::default()
    };
    let counted = admin.start_operation(cancel.clone()).await.unwrap().into_inner();
    assert_eq!((counted.operation.as_str(), counted.changed), ("cancel_jobs", 1));
    let odd = v1::StartOperationRequest { priority: Some(3), ..cancel.clone() };
    assert_eq!(admin.start_operation(odd).await.unwrap_err().code(), Code::InvalidArgument);
    let odd = v1::StartOperationRequest { tag: "vip".into(), ..purge.clone() };
    assert_eq!(admin.start_operation(odd).await.unwrap_err().code(), Code::InvalidArgument);

    let nothing = v1::StartOperationRequest { action: 0, ..purge.clone() };
    let refused = admin.start_operation(nothing).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let filtered =
        v1::StartOperationRequest { action: Action::DeleteQueue.into(), kind: "k".into(), ..purge };
    assert_eq!(admin.start_operation(filtered).await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_dead_jobs_are_retried_as_the_limit_says() {
    let server = Server::start().await;
    let mut admin = server.admin().await;
    let fails = v1::NewJob { max_attempts: Some(1), ..job() };
    let ids = server.enqueue_all(vec![fails; 3]).await;
    let (mut worker, _) = server.worker(hello()).await;
    for run in worker.take(3).await {
        let fail = settlement(&run, Verdict::Fail(v1::Fail::default()));
        assert_eq!(worker.settle(vec![fail]).await[0].refused, None);
    }
    let retry = v1::StartOperationRequest {
        queue: "q".into(),
        action: Action::RetryDead.into(),
        limit: Some(2),
        ..Default::default()
    };
    let id = admin.start_operation(retry).await.unwrap().into_inner().id.unwrap();
    let asked = v1::OperationRequest { id, ..Default::default() };
    let told = loop {
        let told = admin.get_operation(asked.clone()).await.unwrap().into_inner();
        if told.state != "running" {
            break told;
        }
    };
    assert_eq!((told.state.as_str(), told.changed), ("finished", 2));
    for (id, state) in ids.iter().zip(["ready", "ready", "dead"]) {
        assert_eq!(server.job(id).await.state, state, "those that died first");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_come_and_go() {
    let server = Server::start().await;
    let mut admin = server.admin().await;
    let shop = v1::NamespaceRequest { namespace: "shop".into() };
    assert_eq!(admin.create_namespace(shop.clone()).await.unwrap().into_inner().name, "shop");
    assert_eq!(admin.get_namespace(shop.clone()).await.unwrap().into_inner().queues, 0);
    let all = admin.list_namespaces(v1::ListNamespacesRequest::default()).await.unwrap();
    assert!(all.into_inner().namespaces.iter().any(|one| one.name == "shop"));
    admin.delete_namespace(shop.clone()).await.unwrap();
    assert_eq!(admin.get_namespace(shop).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_set_listed_and_told() {
    let server = Server::start().await;
    let mut admin = server.admin().await;
    let defaults = v1::JobDefaults { max_attempts: Some(3), ..Default::default() };
    let settings = Some(v1::KindSettings { defaults: Some(defaults) });
    let put = v1::PutKindRequest { kind: "k".into(), settings, ..Default::default() };
    let told = admin.put_kind(put.clone()).await.unwrap().into_inner();
    let record: Value = serde_json::from_slice(&told.record).unwrap();
    assert_eq!(record["settings"]["defaults"]["max_attempts"], 3);
    assert!(told.versions.is_empty(), "no job of it came yet");
    let jobs = vec![
        v1::NewJob { kind: "k".into(), version: 2, ..job() },
        v1::NewJob { kind: "k".into(), ..job() },
    ];
    let queue = "q".to_owned();
    let enqueue = v1::EnqueueRequest { queue, jobs, ..Default::default() };
    server.jobs().await.enqueue(enqueue).await.unwrap();
    let named = v1::KindRequest { kind: "k".into(), ..Default::default() };
    let told = admin.get_kind(named).await.unwrap().into_inner();
    let versions: Vec<_> = told.versions.iter().map(|it| (it.version, it.waiting)).collect();
    assert_eq!(versions, [(0, 1), (2, 1)]);
    let page = v1::ListKindsRequest { limit: 1, ..Default::default() };
    let first = admin.list_kinds(page.clone()).await.unwrap().into_inner();
    assert_eq!((first.kinds[0].version, first.kinds.len()), (0, 1));
    let second = v1::ListKindsRequest { cursor: first.next, ..page };
    let second = admin.list_kinds(second).await.unwrap().into_inner();
    assert_eq!((second.kinds[0].version, second.next.as_str()), (2, ""));
    let settings = Some(v1::KindSettings {
        defaults: Some(v1::JobDefaults { priority: Some(10), ..Default::default() }),
    });
    let refused = admin.put_kind(v1::PutKindRequest { settings, ..put }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    server.stop().await;
}
