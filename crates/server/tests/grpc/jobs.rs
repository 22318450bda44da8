//! The service of producers and operators: the same effects and refusals as over HTTP.

use longshore_proto::v1::enqueue_stream_response::Outcome;
use longshore_proto::v1::reschedule_job_request::Start;
use longshore_proto::v1::{self, retry_policy};
use serde_json::Value;
use tonic::Code;

use crate::harness::{Server, hello, job, settlement, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_comes_in_whole_and_is_told_whole() {
    let server = Server::start().await;
    let policy = retry_policy::Policy::Constant(retry_policy::Constant { delay_ms: 5_000 });
    let new = v1::NewJob {
        id: "0192f0c1-2345-7000-8000-000000000001".into(),
        kind: "welcome".into(),
        args: br#"{"to": "a@b"}"#.to_vec().into(),
        priority: Some(7),
        delay_ms: Some(60_000),
        timeout_ms: Some(90_000),
        retry: Some(v1::RetryPolicy { policy: Some(policy) }),
        tags: vec!["mail".into()],
        metadata: br#"{"tenant":7}"#.to_vec().into(),
        cursor: b"[1,2]".to_vec().into(),
        ..Default::default()
    };
    let request =
        v1::EnqueueRequest { queue: "mail".into(), jobs: vec![new.clone()], ..Default::default() };
    let mut jobs = server.jobs().await;
    let first = jobs.enqueue(request.clone()).await.unwrap().into_inner();
    assert_eq!((first.ids.as_slice(), first.replayed), (&[new.id.clone()][..], 0));
    assert_eq!(jobs.enqueue(request).await.unwrap().into_inner().replayed, 1);

    let told = server.job(&new.id).await;
    assert_eq!((told.state.as_str(), told.queue.as_str()), ("scheduled", "mail"));
    assert_eq!(told.cursor, new.cursor);
    let record: Value = serde_json::from_slice(&told.record).unwrap();
    assert_eq!(record["args"]["to"], "a@b");
    assert_eq!((&record["priority"], &record["timeout"]), (&7.into(), &"90s".into()));
    assert_eq!(record["metadata"]["tenant"], 7);

    let other = v1::NewJob { kind: "other".into(), ..new };
    let request =
        v1::EnqueueRequest { queue: "mail".into(), jobs: vec![other], ..Default::default() };
    let refused = jobs.enqueue(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.metadata().get("longshore-code").unwrap(), "job_id_taken");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_at_fault_are_named_as_the_messages_name_them() {
    let server = Server::start().await;
    let far = Some(u64::MAX);
    let nowhere = v1::NewJob { kind: String::new(), ..job() };
    for (new, code, field) in [
        (nowhere, "value_refused", "kind"),
        (v1::NewJob { id: "x".into(), ..job() }, "value_refused", "id"),
        (v1::NewJob { args: b"{".to_vec().into(), ..job() }, "body_malformed", "args"),
        (v1::NewJob { args: b"\xff".to_vec().into(), ..job() }, "body_not_utf8", "args"),
        (v1::NewJob { metadata: b"7".to_vec().into(), ..job() }, "value_refused", "metadata"),
        (v1::NewJob { priority: Some(300), ..job() }, "value_refused", "priority"),
        (v1::NewJob { priority: Some(10), ..job() }, "value_refused", "priority"),
        (v1::NewJob { delay_ms: far, ..job() }, "value_refused", "delay_ms"),
        (
            v1::NewJob { delay_ms: Some(1), run_at_unix_ms: Some(1), ..job() },
            "value_refused",
            "run_at_unix_ms",
        ),
        (v1::NewJob { timeout_ms: Some(0), ..job() }, "value_refused", "timeout_ms"),
        (v1::NewJob { queue: "other".into(), ..job() }, "value_refused", "queue"),
    ] {
        let request =
            v1::EnqueueRequest { queue: "q".into(), jobs: vec![new.clone()], ..Default::default() };
        let refused = server.jobs().await.enqueue(request).await.unwrap_err();
        let problem = refused.metadata().get_bin("longshore-problem-bin").unwrap();
        let problem: Value = serde_json::from_slice(&problem.to_bytes().unwrap()).unwrap();
        let at_fault = problem["faults"].get(0).unwrap_or(&problem);
        assert_eq!(
            (&at_fault["code"], &at_fault["field"]),
            (&code.into(), &field.into()),
            "{new:?} {problem}"
        );
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let none = v1::EnqueueRequest { queue: "q".into(), ..Default::default() };
    assert_eq!(server.jobs().await.enqueue(none).await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_a_stream_are_answered_one_by_one() {
    let server = Server::start().await;
    let batch = |queue: &str, count| v1::EnqueueRequest {
        queue: queue.into(),
        jobs: vec![job(); count],
        ..Default::default()
    };
    let batches = vec![batch("q", 3), batch("*", 1), batch("r", 2)];
    let mut answers =
        server.jobs().await.enqueue_stream(tokio_stream::iter(batches)).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(answer) = soon(answers.message()).await.unwrap() {
        told.push(match answer.outcome.unwrap() {
            Outcome::Accepted(accepted) => accepted.ids.len().to_string(),
            Outcome::Refused(problem) => problem.code,
        });
    }
    assert_eq!(told, ["3", "value_refused", "2"]);
    server.stop().await;
}

/// The batch behind one that was refused for now was accepted, and so were ahead of it once that
/// one was sent again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_overtakes_a_batch_that_is_refused_for_now() {
    let server = Server::start().await;
    let settings = v1::QueueSettings { max_length: Some(1), ..Default::default() };
    let put = v1::PutQueueRequest {
        queue: "full".into(),
        settings: Some(settings),
        ..Default::default()
    };
    server.admin().await.put_queue(put).await.unwrap();
    let keyed = || v1::NewJob { ordering_key: "customer".into(), ..job() };
    let batch = |queue: &str, count| v1::EnqueueRequest {
        queue: queue.into(),
        jobs: vec![keyed(); count],
        ..Default::default()
    };
    let batches = vec![batch("q", 1), batch("full", 2), batch("q", 1), batch("*", 1)];
    let mut jobs = server.jobs().await;
    let mut answers = jobs.enqueue_stream(tokio_stream::iter(batches)).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(answer) = soon(answers.message()).await.unwrap() {
        told.push(match answer.outcome.unwrap() {
            Outcome::Accepted(accepted) => accepted.ids.len().to_string(),
            Outcome::Refused(problem) => {
                assert!(problem.retry_after_ms.is_some());
                problem.code
            }
        });
    }
    assert_eq!(told, ["1", "queue_full", "queue_full", "queue_full"]);
    let again = vec![batch("full", 1), batch("q", 1)];
    let mut answers = jobs.enqueue_stream(tokio_stream::iter(again)).await.unwrap().into_inner();
    while let Some(answer) = soon(answers.message()).await.unwrap() {
        assert!(matches!(answer.outcome, Some(Outcome::Accepted(_))), "a new call begins anew");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_cancelled_paused_and_retried() {
    let server = Server::start().await;
    let ids = server.enqueue(3).await;
    let mut jobs = server.jobs().await;
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let request =
            v1::ListJobsRequest { queue: "q".into(), limit: 2, cursor, ..Default::default() };
        let page = jobs.list_jobs(request).await.unwrap().into_inner();
        seen.extend(page.jobs.into_iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
    let request = |n: usize| v1::JobRequest { id: ids[n].clone(), ..Default::default() };
    let cancel = v1::CancelJobRequest { id: ids[0].clone(), ..Default::default() };
    let cancelled = jobs.cancel_job(cancel).await.unwrap().into_inner();
    assert_eq!((cancelled.state.as_str(), cancelled.effect.as_str()), ("cancelled", "cancelled"));
    for (force, code) in [(false, "job_state_refused"), (true, "value_refused")] {
        let remove =
            v1::CancelJobRequest { id: ids[1].clone(), remove: true, force, ..Default::default() };
        let refused = jobs.cancel_job(remove).await.unwrap_err();
        assert_eq!(refused.metadata().get("longshore-code").unwrap(), code, "only a dead one");
    }
    assert_eq!(jobs.pause_job(request(1)).await.unwrap().into_inner().effect, "paused");
    let get = v1::GetJobRequest { id: ids[1].clone(), ..Default::default() };
    let blocked_by = jobs.get_job(get).await.unwrap().into_inner().blocked_by;
    assert_eq!(blocked_by, [v1::BlockedBy { paused: "job".into(), ..Default::default() }]);
    assert_eq!(jobs.resume_job(request(1)).await.unwrap().into_inner().effect, "resumed");
    let waiting = v1::RetryJobRequest { id: ids[1].clone(), ..Default::default() };
    let refused = jobs.retry_job(waiting).await.unwrap_err();
    assert_eq!(refused.metadata().get("longshore-code").unwrap(), "job_state_refused");
    let strange = v1::GetJobRequest { id: "x".into(), ..Default::default() };
    assert_eq!(jobs.get_job(strange).await.unwrap_err().code(), Code::InvalidArgument);
    let nobody = v1::GetJobRequest { namespace: "nowhere".into(), id: ids[1].clone() };
    assert_eq!(jobs.get_job(nobody).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

/// Lists found no job by tag or ordering key over gRPC, and no job could be moved in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_found_by_its_tag_or_key_and_moved_in_time() {
    let server = Server::start().await;
    server.enqueue(1).await;
    let mut jobs = server.jobs().await;
    let new = v1::NewJob { tags: vec!["vip".into()], ordering_key: "o".into(), ..job() };
    let request = v1::EnqueueRequest { queue: "q".into(), jobs: vec![new], ..Default::default() };
    let id = jobs.enqueue(request).await.unwrap().into_inner().ids.remove(0);
    let all = v1::ListJobsRequest::default;
    for (filter, found) in [
        (v1::ListJobsRequest { tag: "vip".into(), ..all() }, 1),
        (v1::ListJobsRequest { ordering_key: "o".into(), ..all() }, 1),
        (v1::ListJobsRequest { tag: "no".into(), ..all() }, 0),
        (v1::ListJobsRequest { tag: "vip".into(), ordering_key: "no".into(), ..all() }, 0),
        (all(), 2),
    ] {
        let page = jobs.list_jobs(filter.clone()).await.unwrap().into_inner();
        assert_eq!(page.jobs.len(), found, "{filter:?}");
        assert!(found != 1 || page.jobs[0].id == id);
    }

    let move_to = |start| v1::RescheduleJobRequest { id: id.clone(), start, ..Default::default() };
    let moved = jobs.reschedule_job(move_to(Some(Start::DelayMs(3_600_000)))).await.unwrap();
    let moved = moved.into_inner();
    assert_eq!((moved.state.as_str(), moved.effect.as_str()), ("scheduled", "rescheduled"));
    let at = move_to(Some(Start::RunAtUnixMs(1)));
    assert_eq!(jobs.reschedule_job(at).await.unwrap().into_inner().state, "ready");
    assert_eq!(jobs.reschedule_job(move_to(None)).await.unwrap().into_inner().state, "ready");
    let refused = jobs.reschedule_job(move_to(Some(Start::DelayMs(u64::MAX)))).await.unwrap_err();
    assert!(refused.message().contains("delay_ms"), "{}", refused.message());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_can_be_awaited_and_watched() {
    let server = Server::start().await;
    let id = server.enqueue(1).await.remove(0);
    let mut jobs = server.jobs().await;
    let request = v1::AwaitJobRequest { id: id.clone(), wait_ms: 1, ..Default::default() };
    assert_eq!(jobs.await_job(request).await.unwrap().into_inner().state, "ready");
    let watched = v1::GetJobRequest { id: id.clone(), ..Default::default() };
    let mut watched = jobs.watch_job(watched).await.unwrap().into_inner();
    assert_eq!(soon(watched.message()).await.unwrap().unwrap().state, "ready");

    let (mut worker, _) = server.worker(hello()).await;
    let mine = worker.take(1).await.remove(0);
    assert_eq!(soon(watched.message()).await.unwrap().unwrap().state, "running");
    let ack = v1::Ack { result: Some(b"{\"n\":7}".to_vec().into()), ..Default::default() };
    let ack = settlement(&mine, v1::settlement::Verdict::Ack(ack));
    assert_eq!(worker.settle(vec![ack]).await[0].refused, None);
    let last = soon(watched.message()).await.unwrap().unwrap();
    assert_eq!(
        (last.state.as_str(), last.result.as_deref()),
        ("succeeded", Some(&b"{\"n\":7}"[..]))
    );
    assert!(soon(watched.message()).await.unwrap().is_none());
    let request = v1::AwaitJobRequest { id, wait_ms: 60_000, ..Default::default() };
    assert_eq!(jobs.await_job(request).await.unwrap().into_inner(), last);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_names_the_services() {
    use tonic_reflection::pb::{v1 as new, v1alpha as old};
    let server = Server::start().await;
    let asked = new::ServerReflectionRequest {
        message_request: Some(new::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
        ..Default::default()
    };
    let mut client =
        new::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut told =
        client.server_reflection_info(tokio_stream::iter([asked])).await.unwrap().into_inner();
    let told = format!("{:?}", soon(told.message()).await.unwrap().unwrap());
    assert!(told.contains("longshore.v1.Jobs") && told.contains("longshore.v1.Workers"), "{told}");

    let symbol = "longshore.v1.Workers".to_owned();
    let asked = old::ServerReflectionRequest {
        message_request: Some(
            old::server_reflection_request::MessageRequest::FileContainingSymbol(symbol),
        ),
        ..Default::default()
    };
    let mut client =
        old::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut told =
        client.server_reflection_info(tokio_stream::iter([asked])).await.unwrap().into_inner();
    let told = soon(told.message()).await.unwrap().unwrap().message_response.unwrap();
    assert!(format!("{told:?}").contains("FileDescriptorResponse"), "{told:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_job_stands_for_the_next_one() {
    let server = Server::start().await;
    let unique = v1::Unique {
        by: vec!["kind".into(), "/a".into()],
        on_conflict: "existing".into(),
        ..Default::default()
    };
    let of = |args: &str| v1::NewJob {
        args: args.as_bytes().to_vec().into(),
        unique: Some(unique.clone()),
        ..job()
    };
    let ask = |jobs| v1::EnqueueRequest { queue: "q".into(), jobs, ..Default::default() };
    let mut jobs = server.jobs().await;
    let first = jobs.enqueue(ask(vec![of("{\"a\":1}")])).await.unwrap().into_inner();
    let all = vec![of("{\"a\":2}"), of("{\"a\":1,\"b\":2}")];
    let answer = jobs.enqueue(ask(all)).await.unwrap().into_inner();
    assert_eq!(answer.ids[1], first.ids[0]);
    let met = v1::UniqueMet { index: 1, outcome: "existing".into() };
    assert_eq!(answer.unique, [met]);
    let odd = v1::Unique { on_conflict: "wait".into(), ..Default::default() };
    let job = v1::NewJob { unique: Some(odd), ..job() };
    let refused = jobs.enqueue(ask(vec![job])).await.unwrap_err();
    assert_eq!(refused.metadata().get("longshore-code").unwrap(), "value_refused");
    server.stop().await;
}
