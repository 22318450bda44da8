//! Sessions: what becomes of leases when streams break, servers restart, and workers come back.

use std::time::Duration;

use longshore_proto::v1;
use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message as Tells;
use serde_json::Value;
use tonic::Code;

use crate::harness::{Server, Worker, credit, held, hello, job, lease_ref, settlement};

fn checkpoint(job: &v1::Delivery, seq: u64, cursor: &str) -> v1::Checkpoint {
    v1::Checkpoint {
        id: job.id.clone(),
        token: job.token.clone(),
        seq,
        cursor: cursor.as_bytes().to_vec().into(),
        progress: Some(0.5),
        ..Default::default()
    }
}

/// A server that waits for workers to come back, for ever or not at all.
async fn server(waits: bool) -> Server {
    let reconnect = if waits { Duration::from_secs(3600) } else { Duration::from_millis(1) };
    Server::start_with(|config| config.http.worker_reconnect = reconnect).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_runs_and_settles_jobs() {
    let server = Server::start().await;
    let (mut worker, welcome) = server.worker(v1::Hello { lease_ms: Some(9_000), ..hello() }).await;
    assert_eq!((welcome.lease_ms, welcome.heartbeat_ms), (9_000, 3_000));
    assert_eq!(welcome.reconnect_ms, 10_000);
    // The credit waits for the jobs, the newest ones too.
    worker.tell(Tells::Credit(credit(3))).await;
    let ids =
        server.enqueue_all(vec![v1::NewJob { args: b"[1]".to_vec().into(), ..job() }; 3]).await;
    let mut jobs = worker.take(0).await;
    while jobs.len() < 3 {
        match worker.hear().await {
            Told::Deliver(deliver) => jobs.extend(deliver.jobs),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(jobs.iter().map(|job| &job.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert_eq!((&jobs[0].args[..], jobs[0].attempt, jobs[0].lease_ms), (&b"[1]"[..], 1, 9_000));
    worker.start(&jobs[0]).await;
    let next = v1::NewJob { queue: "later".into(), ..job() };
    let error = v1::JobError { r#type: "E".into(), message: "bad".into(), ..Default::default() };
    let results = worker
        .settle(vec![
            settlement(
                &jobs[0],
                Verdict::Ack(v1::Ack { enqueue: vec![next], ..Default::default() }),
            ),
            settlement(
                &jobs[1],
                Verdict::Fail(v1::Fail { error: Some(error), retry_in_ms: Some(60_000) }),
            ),
            settlement(&jobs[2], Verdict::Snooze(v1::Snooze { delay_ms: 60_000 })),
        ])
        .await;
    assert!(results.iter().all(|result| result.refused.is_none()), "{results:?}");
    // What is settled again, as after an answer that was lost, gets the same answer.
    assert_eq!(worker.ack(&jobs[0]).await, None);
    assert_eq!(server.job(&ids[0]).await.state, "succeeded");
    let failed = server.job(&ids[1]).await;
    assert_eq!(
        (failed.state.as_str(), failed.error.unwrap().message.as_str()),
        ("retrying", "bad")
    );
    assert_eq!(server.job(&ids[2]).await.state, "scheduled");
    let later = v1::ListJobsRequest { queue: "later".into(), ..Default::default() };
    assert_eq!(server.jobs().await.list_jobs(later).await.unwrap().into_inner().jobs.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_keeps_its_leases() {
    let server = server(true).await;
    let ids = server.enqueue(4).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(4).await;
    worker.start(&jobs[0]).await;
    worker.beat().await;
    drop(worker);
    // The third one did not arrive; the fourth is none of the worker's.
    let strange = v1::HeldLease { token: jobs[0].token.clone(), ..held(&jobs[3], true) };
    let names = vec![held(&jobs[0], true), held(&jobs[1], false), strange];
    let (mut worker, welcome) = server.worker(v1::Hello { held: names, ..hello() }).await;
    assert_eq!(welcome.lost.len(), 1);
    assert_eq!(welcome.lost[0].id, jobs[3].id);
    for id in [&ids[2], &ids[3]] {
        server.until(id, "ready").await;
    }
    assert_eq!(worker.ack(&jobs[0]).await, None);
    assert_eq!(worker.ack(&jobs[1]).await, None);
    assert_eq!(worker.ack(&jobs[2]).await.unwrap().code, "lease_lost");
    assert_eq!(worker.take(2).await.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1, 1]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_come_back_loses_what_it_had_started() {
    let server = server(false).await;
    let ids = server.enqueue(3).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(3).await;
    worker.start(&jobs[0]).await;
    let told = worker.checkpoint(checkpoint(&jobs[1], 1, "7")).await;
    assert_eq!(told.refused, None);
    drop(worker);
    for id in &ids {
        server.until(id, "ready").await;
    }
    let (mut other, _) = server.worker(v1::Hello { session: "t".into(), ..hello() }).await;
    let again = other.take(3).await;
    let told = again.iter().map(|job| (job.attempt, &job.cursor[..])).collect::<Vec<_>>();
    // Started; started and farther than before; not started.
    assert_eq!(told, [(2, &b""[..]), (1, &b"7"[..]), (1, &b""[..])]);
    // The first worker was not dead after all.
    let (mut zombie, _) = server.worker(v1::Hello { name: "z".into(), ..hello() }).await;
    let refused = zombie.ack(&jobs[0]).await.unwrap();
    assert_eq!((refused.code.as_str(), refused.http_status), ("lease_lost", 409));
    assert!(refused.detail.contains("another worker"), "{}", refused.detail);
    let told = zombie.checkpoint(checkpoint(&jobs[1], 2, "8")).await;
    assert_eq!(told.refused.unwrap().code, "lease_lost");
    zombie.start(&jobs[2]).await;
    match zombie.hear().await {
        Told::NotStarted(not) => assert_eq!(not.jobs, [lease_ref(&jobs[2])]),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let ids = server.enqueue(2).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(2).await;
    worker.start(&jobs[0]).await;
    worker.beat().await;
    server.begin_stop();
    assert_eq!(worker.end().await.unwrap().code(), Code::Unavailable);
    let server = server.restart().await;
    let names = vec![held(&jobs[0], true), held(&jobs[1], false)];
    let (mut worker, welcome) = server.worker(v1::Hello { held: names, ..hello() }).await;
    assert_eq!(welcome.lost, []);
    assert_eq!(server.job(&ids[0]).await.state, "running");
    assert_eq!(worker.ack(&jobs[0]).await, None);
    // What it had not started goes back when it leaves.
    worker.tell(Tells::Goodbye(v1::Goodbye {})).await;
    assert!(worker.end().await.is_none());
    assert_eq!(server.until(&ids[1], "ready").await.attempt, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_that_is_withdrawn_brings_nothing() {
    let server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    worker.tell(Tells::Credit(credit(5))).await;
    worker.beat().await;
    worker.tell(Tells::Credit(v1::Credit { jobs: 0, withdraw: true })).await;
    worker.beat().await;
    let ids = server.enqueue(3).await;
    // Nothing comes before the answer.
    worker.beat().await;
    assert_eq!(server.running("q").await, 0);
    worker.tell(Tells::Credit(v1::Credit { jobs: 1, withdraw: true })).await;
    let Told::Deliver(deliver) = worker.hear().await else { panic!("a job is to come") };
    assert_eq!(deliver.jobs.iter().map(|job| &job.id).collect::<Vec<_>>(), [&ids[0]]);
    assert_eq!(worker.ack(&deliver.jobs[0]).await, None);
    assert_eq!(worker.take(2).await.len(), 2, "credit that is given later is credit");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_takes_the_session_over() {
    let server = server(true).await;
    server.enqueue(1).await;
    let (mut first, _) = server.worker(hello()).await;
    let jobs = first.take(1).await;
    first.tell(Tells::Credit(credit(5))).await;
    let (mut second, _) =
        server.worker(v1::Hello { held: vec![held(&jobs[0], true)], ..hello() }).await;
    let end = first.end().await.unwrap();
    assert_eq!(end.code(), Code::Aborted);
    assert_eq!(end.metadata().get("longshore-code").unwrap(), "request_superseded");
    server.enqueue(1).await;
    assert_eq!(second.take(1).await.len(), 1, "the credit of the first stream is gone");
    assert_eq!(second.ack(&jobs[0]).await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_or_paused_hears_it_at_once() {
    let server = Server::start().await;
    let ids = server.enqueue(2).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(2).await;
    let request = |n: usize| v1::JobRequest { id: ids[n].clone(), ..Default::default() };
    let cancel = v1::CancelJobRequest { id: ids[0].clone(), ..Default::default() };
    let mut client = server.jobs().await;
    assert_eq!(client.cancel_job(cancel).await.unwrap().into_inner().effect, "requested");
    assert_eq!(control(&mut worker).await, [(jobs[0].id.clone(), "cancel".to_owned())]);
    assert_eq!(client.pause_job(request(1)).await.unwrap().into_inner().effect, "requested");
    assert_eq!(control(&mut worker).await, [(jobs[1].id.clone(), "pause".to_owned())]);
    // A heartbeat says it again, and a checkpoint does.
    assert_eq!(words(&worker.beat().await).len(), 2);
    let told = worker.checkpoint(checkpoint(&jobs[0], 1, "1")).await;
    assert_eq!(word(told.instruction.as_ref()), "cancel");
    let interrupted = v1::Interrupted { reason: "pause".into(), delay_ms: None };
    let results = worker
        .settle(vec![
            settlement(&jobs[0], Verdict::Discard(v1::Discard::default())),
            settlement(&jobs[1], Verdict::Interrupted(interrupted)),
        ])
        .await;
    assert!(results.iter().all(|result| result.refused.is_none()));
    assert_eq!(server.job(&ids[0]).await.state, "cancelled");
    server.stop().await;
}

/// The worker of a run that an operator ended by force heard it with its next heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_ended_by_force_hears_it_at_once() {
    let server = Server::start().await;
    let ids = server.enqueue(2).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(2).await;
    worker.start(&jobs[0]).await;
    let force = v1::CancelJobRequest { id: ids[0].clone(), force: true, ..Default::default() };
    let ended = server.jobs().await.cancel_job(force).await.unwrap().into_inner();
    assert_eq!((ended.state.as_str(), ended.effect.as_str()), ("cancelled", "cancelled"));
    assert_eq!(control(&mut worker).await, [(jobs[0].id.clone(), "lost".to_owned())]);
    let path = format!("/v1/jobs/{}?force=true", ids[1]);
    assert_eq!(server.http("DELETE", &path).await.0, 200);
    assert_eq!(control(&mut worker).await, [(jobs[1].id.clone(), "lost".to_owned())]);
    assert_eq!(words(&worker.beat().await), [], "it is told once");
    assert_eq!(worker.ack(&jobs[0]).await.unwrap().code, "lease_lost");
    server.stop().await;
}

fn word(instruction: Option<&v1::Instruction>) -> String {
    use v1::instruction::What;
    match instruction.map(|instruction| instruction.what.as_ref().unwrap()) {
        None => "lost".into(),
        Some(What::Continue(_)) => "continue".into(),
        Some(What::Cancel(_)) => "cancel".into(),
        Some(What::Interrupt(interrupt)) => interrupt.reason.clone(),
        Some(What::SlowDown(_)) => "slow_down".into(),
    }
}

fn words(runs: &[v1::RunControl]) -> Vec<(String, String)> {
    runs.iter().map(|run| (run.id.clone(), word(run.instruction.as_ref()))).collect()
}

async fn control(worker: &mut Worker) -> Vec<(String, String)> {
    match worker.hear().await {
        Told::Control(control) => words(&control.runs),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_loses_its_leases_and_hears_it() {
    let server = Server::start().await;
    let ids = server.enqueue(1).await;
    let (mut worker, _) = server.worker(v1::Hello { lease_ms: Some(1_000), ..hello() }).await;
    let jobs = worker.take(1).await;
    worker.start(&jobs[0]).await;
    // It runs the job and says nothing more. Its stream stands; the lease does not.
    let lost = server.until(&ids[0], "ready").await;
    assert_eq!(lost.attempt, 1, "it had started");
    // Whoever asks is not told any more that it has the job, though it has not heard so itself.
    let has = v1::WorkerRequest { worker: "w".into(), ..Default::default() };
    let mut operator = server.workers().await;
    let told = async {
        loop {
            let told = operator.get_worker(has.clone()).await.unwrap().into_inner();
            if told.running.is_empty() && told.waiting == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is told");
    assert_eq!(words(&worker.beat().await), [(jobs[0].id.clone(), "lost".to_owned())]);
    assert_eq!(words(&worker.beat().await), []);
    assert_eq!(worker.ack(&jobs[0]).await.unwrap().code, "lease_lost");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_served_in_order_or_by_weight() {
    let server = Server::start().await;
    let mut client = server.jobs().await;
    for queue in ["low", "high"] {
        let request =
            v1::EnqueueRequest { queue: queue.into(), jobs: vec![job(); 40], ..Default::default() };
        client.enqueue(request).await.unwrap();
    }
    let wish = |queue: &str, weight| v1::QueueWish { queue: queue.into(), weight };
    let strict = vec![wish("high", 0), wish("low", 0)];
    let (mut worker, _) = server.worker(v1::Hello { queues: strict, ..hello() }).await;
    assert!(worker.take(5).await.iter().all(|job| job.queue == "high"));
    let weighted = vec![wish("high", 1), wish("low", 1_000_000)];
    let fair = v1::Hello { queues: weighted, session: "t".into(), ..hello() };
    let (mut worker, _) = server.worker(fair).await;
    let mut low = 0;
    for _ in 0..10 {
        low += worker.take(1).await.iter().filter(|job| job.queue == "low").count();
    }
    assert!(low >= 9, "{low} of 10");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_gets_nothing_more_until_it_is_heard_again() {
    let server = Server::start().await;
    let ids = server.enqueue(1).await;
    let (mut worker, _) = server.worker(v1::Hello { lease_ms: Some(1_000), ..hello() }).await;
    worker.tell(Tells::Credit(credit(5))).await;
    let Told::Deliver(first) = worker.hear().await else { panic!("a job is to come") };
    // It has credit for the job, and would lose it again.
    server.until(&ids[0], "ready").await;
    worker.tell(Tells::Heartbeat(v1::Heartbeat::default())).await;
    let again = loop {
        match worker.hear().await {
            Told::Deliver(deliver) => break deliver.jobs,
            Told::Control(_) | Told::Beat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&again[0].id, again[0].attempt), (&ids[0], 1));
    assert_ne!(again[0].token, first.jobs[0].token);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_lease_requests_ends_no_stream() {
    let server = Server::start_with(|config| config.node.limits.lease_jobs_max = 1).await;
    server.enqueue(3).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(3).await;
    let item = v1::SkippedItem { cursor: b"1".to_vec().into(), error: None };
    let skipped = vec![item; 2];
    let told = worker.checkpoint(v1::Checkpoint { skipped, ..checkpoint(&jobs[0], 1, "2") }).await;
    assert_eq!(told.refused, None);
    let ack = |job| settlement(job, Verdict::Ack(v1::Ack::default()));
    let results = worker.settle(jobs.iter().map(ack).collect()).await;
    assert!(results.iter().all(|result| result.refused.is_none()), "{results:?}");
    server.stop().await;
}

/// Commands of that class since the server began.
async fn commands(server: &Server, class: &str) -> u64 {
    let (_, metrics) = server.http("GET", "/metrics").await;
    let class = format!("class=\"{class}\"");
    let metrics = metrics.as_str().unwrap();
    let of_class = metrics
        .lines()
        .filter(|line| line.starts_with("longshore_commands_total") && line.contains(&class));
    let counts = of_class.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// The stream asked for jobs again after every delivery.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_credit_asks_for_nothing_more() {
    let server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    worker.tell(Tells::Credit(credit(100))).await;
    for _ in 0..30 {
        server.enqueue(1).await;
        assert!(matches!(worker.hear().await, Told::Deliver(_)));
    }
    assert_eq!(commands(&server, "lease").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_wait_does_not_ask_in_a_loop() {
    let server = Server::start_with(|config| config.node.limits.waiters_max.shard = 0).await;
    let (mut worker, _) = server.worker(hello()).await;
    worker.tell(Tells::Credit(credit(1))).await;
    for _ in 0..50 {
        worker.beat().await;
    }
    let asked = commands(&server, "lease").await;
    assert!(asked <= 5, "{asked} requests for jobs within 50 heartbeats");
    server.enqueue(1).await;
    assert_eq!(worker.take(1).await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_at_most_once_run_that_is_interrupted_is_dead() {
    let server = Server::start().await;
    let once = v1::NewJob { at_most_once: true, ..job() };
    let ids = server.enqueue_all(vec![once.clone(), once.clone(), once]).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(3).await;
    assert!(jobs.iter().all(|job| job.at_most_once));
    for job in &jobs[..2] {
        worker.start(job).await;
    }
    let interrupted = v1::Interrupted { reason: "deploy".into(), delay_ms: None };
    let results = worker
        .settle(vec![
            settlement(&jobs[0], Verdict::Interrupted(interrupted)),
            settlement(&jobs[1], Verdict::Release(v1::Release {})),
            settlement(&jobs[2], Verdict::Release(v1::Release {})),
        ])
        .await;
    assert!(results.iter().all(|result| result.refused.is_none()), "{results:?}");
    for id in &ids[..2] {
        let job = server.job(id).await;
        assert_eq!((job.state.as_str(), job.reason.as_str()), ("dead", "at_most_once"));
    }
    // The third one did not begin.
    let again = worker.take(1).await;
    assert_eq!((&again[0].id, again[0].attempt), (&ids[2], 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_timeout_is_over_hears_it_without_a_heartbeat() {
    let server = server(true).await;
    let short = v1::NewJob { timeout_ms: Some(200), ..job() };
    let ids = server.enqueue_all(vec![short; 2]).await;
    let hour = v1::Hello { lease_ms: Some(3_600_000), ..hello() };
    let (mut worker, _) = server.worker(hour.clone()).await;
    let jobs = worker.take(2).await;
    worker.start(&jobs[0]).await;
    assert_eq!(control(&mut worker).await, [(jobs[0].id.clone(), "lost".to_owned())]);
    // The other one starts while the stream is broken.
    drop(worker);
    let back = v1::Hello { held: vec![held(&jobs[1], true)], ..hour };
    let (mut worker, welcome) = server.worker(back).await;
    assert_eq!(welcome.lost, []);
    assert_eq!(control(&mut worker).await, [(jobs[1].id.clone(), "lost".to_owned())]);
    for id in &ids {
        assert_eq!(server.job(id).await.error.unwrap().r#type, "timeout");
    }
    server.stop().await;
}

/// A list of what runs told of what only waits at its worker, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_and_what_waits_at_its_worker_are_listed_apart() {
    let server = Server::start().await;
    server.enqueue(4).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(3).await;
    worker.start(&jobs[0]).await;
    worker.beat().await;
    let mut client = server.jobs().await;
    for (state, held, found) in [
        ("running", None, 3),
        ("running", Some(true), 2),
        ("running", Some(false), 1),
        ("", None, 4),
        ("", Some(true), 2),
        ("", Some(false), 2),
        ("ready", Some(true), 0),
        ("ready", Some(false), 1),
    ] {
        let filter = v1::ListJobsRequest { state: state.into(), held, ..Default::default() };
        let listed = client.list_jobs(filter).await.unwrap().into_inner().jobs;
        let of_state = if state.is_empty() { String::new() } else { format!("&state={state}") };
        let of_held = held.map_or("", |held| if held { "&held" } else { "&held=false" });
        let path = format!("/v1/jobs?limit=10{of_state}{of_held}");
        let (_, list) = server.http("GET", &path).await;
        let told = list["jobs"].as_array().unwrap();
        assert_eq!((listed.len(), told.len()), (found, found), "{path}: {list}");
        let fits = |job: &Value| held.is_none_or(|held| (job["running"]["held"] == true) == held);
        assert!(told.iter().all(fits), "{path}: {list}");
    }
    // A cursor is for the list that it came from.
    let (_, list) = server.http("GET", "/v1/jobs?held=false&limit=1").await;
    let next = list["next"].as_str().unwrap();
    let path = |held| format!("/v1/jobs?held={held}&limit=1&cursor={next}");
    assert_eq!(server.http("GET", &path("false")).await.0, 200);
    assert_eq!(server.http("GET", &path("true")).await.0, 400);
    assert_eq!(server.http("GET", "/v1/jobs?held=perhaps").await.0, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_a_worker_has_not_started_are_held_and_do_not_run() {
    let server = server(true).await;
    let once = v1::NewJob { at_most_once: true, ..job() };
    let ids = server.enqueue_all(vec![job(), job(), once]).await;
    let (mut worker, _) = server.worker(hello()).await;
    let jobs = worker.take(3).await;
    worker.start(&jobs[0]).await;
    worker.beat().await;
    let counted = async || {
        let (_, queue) = server.http("GET", "/v1/queues/q").await;
        [&queue["held"], &queue["running"]].map(|count| count.as_u64().unwrap())
    };
    let shown = async || {
        let (_, list) = server.http("GET", "/v1/jobs?state=running").await;
        let of = list["jobs"].as_array().unwrap().iter();
        of.filter(|job| job["running"]["held"] == true).count()
    };
    assert_eq!((counted().await, shown().await), ([2, 1], 2));
    let (_, whole) = server.http("GET", &format!("/v1/jobs/{}", ids[1])).await;
    assert_eq!((&whole["state"], &whole["running"]["held"]), (&"running".into(), &true.into()));
    let (_, metrics) = server.http("GET", "/metrics").await;
    let line = "longshore_queue_held{namespace=\"default\",queue=\"q\"} 2";
    assert!(metrics.as_str().unwrap().lines().any(|it| it == line), "{metrics}");
    // It comes back with one of them.
    drop(worker);
    let names = vec![held(&jobs[0], true), held(&jobs[2], false)];
    let (mut worker, _) = server.worker(v1::Hello { held: names, ..hello() }).await;
    assert_eq!((counted().await, shown().await), ([1, 1], 1));
    worker.start(&jobs[2]).await;
    worker.beat().await;
    assert_eq!((counted().await, shown().await), ([0, 2], 0));
    assert_eq!(worker.ack(&jobs[2]).await, None);
    assert_eq!(counted().await, [0, 1]);
    server.stop().await;
}
