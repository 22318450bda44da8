//! Who works: lists, and what is asked of workers.

use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::worker_message::Message as Tells;
use longshore_proto::v1::{self, WorkerState};
use tonic::Code;

use crate::harness::{Server, credit, hello};

fn named(worker: &str) -> v1::WorkerRequest {
    v1::WorkerRequest { worker: worker.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_told_with_what_they_run() {
    let server = Server::start().await;
    let ids = server.enqueue(2).await;
    let told = v1::Hello {
        host: "host-1".into(),
        pid: 7,
        software: "test/1".into(),
        labels: [("zone".to_owned(), "b".to_owned())].into(),
        kinds: vec!["k".into()],
        ..hello()
    };
    let (mut worker, _) = server.worker(told).await;
    let jobs = worker.take(2).await;
    worker.start(&jobs[0]).await;
    worker.beat().await;
    let mut client = server.workers().await;
    let found = client.get_worker(named("w")).await.unwrap().into_inner();
    assert_eq!((found.host.as_str(), found.pid, found.concurrency), ("host-1", 7, 10));
    assert_eq!(
        (found.labels["zone"].as_str(), found.kinds.as_slice()),
        ("b", &["k".to_owned()][..])
    );
    assert_eq!((found.memory_bytes, found.waiting, found.connected), (Some(1 << 20), 1, true));
    assert_eq!(found.running.iter().map(|run| &run.id).collect::<Vec<_>>(), [&ids[0]]);
    let all = client.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.workers.len(), 1);
    let nobody = client.get_worker(named("nobody")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    assert_eq!(nobody.metadata().get("longshore-code").unwrap(), "worker_unknown");

    worker.tell(Tells::Goodbye(v1::Goodbye {})).await;
    assert!(worker.end().await.is_none());
    let all = client.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.workers.len(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_worker_takes_nothing_and_one_that_shall_leave_is_interrupted() {
    let server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    server.enqueue(1).await;
    let jobs = worker.take(1).await;
    worker.start(&jobs[0]).await;
    worker.tell(Tells::Credit(credit(5))).await;
    worker.beat().await;
    let mut client = server.workers().await;
    let quiet = client.quiet_worker(named("w")).await.unwrap().into_inner();
    assert_eq!(quiet.state(), WorkerState::Quiet);
    match worker.hear().await {
        Told::Control(control) => {
            assert_eq!((control.worker(), control.runs.len()), (WorkerState::Quiet, 0));
        }
        other => panic!("{other:?}"),
    }
    let ids = server.enqueue(1).await;
    worker.beat().await;
    assert_eq!(server.job(&ids[0]).await.state, "ready");
    let one = v1::Checkpoint {
        id: jobs[0].id.clone(),
        token: jobs[0].token.clone(),
        seq: 1,
        progress: Some(0.1),
        ..Default::default()
    };
    let told = worker.checkpoint(one.clone()).await.instruction.unwrap().what.unwrap();
    assert_eq!(told, v1::instruction::What::Continue(v1::instruction::Continue {}));
    let one = v1::Checkpoint { seq: 2, cursor: b"1".to_vec().into(), ..one };
    let told = worker.checkpoint(one.clone()).await.instruction.unwrap().what.unwrap();
    let quiet = v1::instruction::Interrupt { reason: "quiet".into() };
    assert_eq!(told, v1::instruction::What::Interrupt(quiet));

    client.terminate_worker(named("s")).await.unwrap();
    match worker.hear().await {
        Told::Control(control) => {
            assert_eq!((control.worker(), control.runs.len()), (WorkerState::Terminate, 1));
            assert_eq!(control.runs[0].id, jobs[0].id);
        }
        other => panic!("{other:?}"),
    }
    let told = worker
        .checkpoint(v1::Checkpoint { seq: 3, ..one })
        .await
        .instruction
        .unwrap()
        .what
        .unwrap();
    let leave = v1::instruction::Interrupt { reason: "terminate".into() };
    assert_eq!(told, v1::instruction::What::Interrupt(leave));
    // It is asked again when it comes back instead of leaving.
    drop(worker);
    let (mut worker, _) = server.worker(hello()).await;
    match worker.hear().await {
        Told::Control(control) => assert_eq!(control.worker(), WorkerState::Terminate),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_told_and_asked_over_http_too() {
    let server = Server::start().await;
    let ids = server.enqueue(1).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(1).await;
    worker.start(&jobs[0]).await;
    worker.beat().await;
    let (status, list) = server.http("GET", "/v1/workers").await;
    assert_eq!((status, &list["workers"][0]["name"]), (200, &"w".into()), "{list}");
    assert_eq!(list["workers"][0]["running"][0]["id"], ids[0]);
    let (status, one) = server.http("POST", "/v1/workers/w/quiet").await;
    assert_eq!((status, &one["state"], &one["connected"]), (200, &"quiet".into(), &true.into()));
    assert!(matches!(worker.hear().await, Told::Control(_)));
    assert_eq!(server.http("POST", "/v1/workers/w/terminate").await.1["state"], "terminating");
    assert_eq!(server.http("GET", "/v1/workers/s").await.1["state"], "terminating");
    let (status, problem) = server.http("GET", "/v1/workers/nobody").await;
    assert_eq!((status, &problem["code"]), (404, &"worker_unknown".into()));
    let (_, metrics) = server.http("GET", "/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in ["longshore_workers 1", "longshore_worker_running 1", "longshore_worker_slots 10"] {
        assert!(metrics.contains(line), "{line}");
    }
    server.stop().await;
}

/// Two thirds of the deliveries come from the queue with two thirds of the weight, while both have
/// enough. Of 600 draws the standard deviation is 12, and equal weights come to 300.
#[tokio::test(flavor = "multi_thread")]
async fn queues_share_deliveries_by_their_weights() {
    let server = Server::start().await;
    for queue in ["critical", "default"] {
        let jobs = vec![v1::NewJob { kind: "k".into(), ..Default::default() }; 500];
        let request = v1::EnqueueRequest { queue: queue.into(), jobs, ..Default::default() };
        server.jobs().await.enqueue(request).await.unwrap();
    }
    let wish = |queue: &str, weight| v1::QueueWish { queue: queue.into(), weight };
    let queues = vec![wish("critical", 6), wish("default", 3)];
    let (mut worker, _) = server.worker(v1::Hello { queues, ..hello() }).await;
    let mut critical = 0;
    for _ in 0..600 {
        critical += worker.take(1).await.iter().filter(|job| job.queue == "critical").count();
    }
    assert!((350..=450).contains(&critical), "{critical} of 600");
    server.stop().await;
}
