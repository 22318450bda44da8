//! Workers that do what they may not, or nothing.

use std::time::{Duration, Instant};

use longshore_proto::v1;
use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message as Tells;
use longshore_proto::v1::workers_client::WorkersClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::harness::{Server, Worker, credit, hello, job, settlement, soon};
use crate::unread::unread_bytes;

/// What the stream ends with where it begins so.
async fn refused(server: &Server, first: Tells) -> String {
    let mut worker = Worker::connect(server.workers().await).await;
    worker.tell(first).await;
    let end = worker.end().await.unwrap();
    assert_eq!(end.code(), Code::InvalidArgument, "{end:?}");
    assert!(!end.message().is_empty());
    end.message().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_hello_is_bounded() {
    let server = Server::start().await;
    let queue = |queue: &str, weight| v1::QueueWish { queue: queue.into(), weight };
    let held = v1::HeldLease { id: "x".into(), token: "y".into(), started: true };
    let long = "x".repeat(300);
    let labels = (0..33).map(|n| (n.to_string(), String::new())).collect();
    for (hello, field) in [
        (v1::Hello { name: String::new(), ..hello() }, "name"),
        (v1::Hello { session: "a\nb".into(), ..hello() }, "session"),
        (v1::Hello { host: long.clone(), ..hello() }, "host"),
        (v1::Hello { software: long.clone(), ..hello() }, "software"),
        (v1::Hello { namespace: "*".into(), ..hello() }, "namespace"),
        (v1::Hello { labels, ..hello() }, "labels"),
        (v1::Hello { kinds: vec![String::new()], ..hello() }, "kinds[0]"),
        (v1::Hello { kinds: vec!["k".into(); 5_000], ..hello() }, "kinds"),
        (v1::Hello { queues: vec![], ..hello() }, "queues"),
        (v1::Hello { queues: vec![queue("q", 0); 257], ..hello() }, "queues"),
        (v1::Hello { queues: vec![queue("a*b", 0)], ..hello() }, "queues[0]"),
        (v1::Hello { queues: vec![queue("a", 0), queue("b", 1)], ..hello() }, "some queues"),
        (v1::Hello { queues: vec![queue("a", u32::MAX)], ..hello() }, "queues[0].weight"),
        (v1::Hello { concurrency: 0, ..hello() }, "concurrency"),
        (v1::Hello { concurrency: u32::MAX, ..hello() }, "concurrency"),
        (v1::Hello { lease_ms: Some(0), ..hello() }, "lease_ms"),
        (v1::Hello { lease_ms: Some(u64::MAX), ..hello() }, "lease_ms"),
        (v1::Hello { held: vec![held.clone()], ..hello() }, "held[0]"),
        (v1::Hello { held: vec![held; 10_001], ..hello() }, "held"),
    ] {
        let message = refused(&server, Tells::Hello(hello)).await;
        assert!(message.starts_with(field), "{field}: {message}");
    }
    let mut worker = Worker::connect(server.workers().await).await;
    worker.tell(Tells::Hello(v1::Hello { namespace: "nowhere".into(), ..hello() })).await;
    assert_eq!(worker.end().await.unwrap().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_protocol_ends_the_stream_with_advice() {
    let server = Server::start().await;
    assert!(refused(&server, Tells::Credit(credit(1))).await.contains("hello"));
    let settlements = vec![v1::Settlement::default(); 1_001];
    let checkpoints = vec![v1::Checkpoint::default(); 1_001];
    let jobs = vec![v1::LeaseRef::default(); 1_001];
    for (message, what) in [
        (Tells::Hello(hello()), "hello is the first message"),
        (Tells::Credit(credit(u32::MAX)), "allowed: 10000"),
        (Tells::Settle(v1::Settle { settlements }), "at most 1000"),
        (Tells::Checkpoints(v1::Checkpoints { checkpoints }), "at most 1000"),
        (Tells::Started(v1::Started { jobs }), "at most 1000"),
    ] {
        let (mut worker, _) = server.worker(hello()).await;
        worker.tell(message).await;
        let end = worker.end().await.unwrap();
        assert_eq!(end.code(), Code::InvalidArgument, "{what}");
        assert!(end.message().contains(what) && end.message().contains("docs/grpc.md"), "{end:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_without_settlements_is_bounded() {
    let server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    server.enqueue_all(vec![job(); 3]).await;
    worker.take(3).await;
    worker.tell(Tells::Credit(credit(9_997))).await;
    worker.beat().await;
    worker.tell(Tells::Credit(credit(1))).await;
    let end = worker.end().await.unwrap();
    assert!(end.message().contains("beside 3 that are not settled"), "{end:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_takes_and_never_settles_goes_to_another_one() {
    let server = Server::start().await;
    let ids = server.enqueue(3).await;
    let (mut taker, _) = server.worker(v1::Hello { lease_ms: Some(1_000), ..hello() }).await;
    let jobs = taker.take(3).await;
    taker.start(&jobs[0]).await;
    // Neither a settlement nor a heartbeat follows; the stream stands.
    for id in &ids {
        server.until(id, "ready").await;
    }
    let (mut other, _) = server.worker(v1::Hello { session: "t".into(), ..hello() }).await;
    let again = other.take(3).await;
    let attempts: Vec<_> = again.iter().map(|job| (job.id.clone(), job.attempt)).collect();
    let started = |n: usize| (ids[n].clone(), if n == 0 { 2 } else { 1 });
    assert_eq!(attempts, [started(0), started(1), started(2)]);
    // It hears that it has lost them.
    let mut lost = 0;
    while lost < 3 {
        match taker.hear().await {
            Told::Control(control) => lost += control.runs.len(),
            other => panic!("{other:?}"),
        }
    }
    // What it sends late is refused and says why, and harms nobody.
    for (late, why) in jobs.iter().zip(["another worker", "taken back", "taken back"]) {
        let refused = taker.ack(late).await.unwrap();
        assert_eq!((refused.code.as_str(), refused.http_status), ("lease_lost", 409));
        assert!(refused.detail.contains(why), "{}", refused.detail);
    }
    for job in &again {
        assert_eq!(other.ack(job).await, None);
    }
    // It may go on with others.
    server.enqueue(1).await;
    let next = taker.take(1).await.remove(0);
    assert_eq!(taker.ack(&next).await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_read_is_owed_little_and_not_for_long() {
    const ARGS_BYTES: usize = 64 << 10;
    const OWED_MAX: usize = (16 << 20) / ARGS_BYTES + 1;
    const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
    let server = Server::start_with(|config| {
        config.http.write_timeout = WRITE_TIMEOUT;
        config.http.worker_reconnect = Duration::from_millis(1);
    })
    .await;
    let args = format!("\"{}\"", "x".repeat(ARGS_BYTES - 2));
    let large = v1::NewJob { args: args.into_bytes().into(), ..job() };
    for _ in 0..3 {
        server.enqueue_all(vec![large.clone(); 200]).await;
    }
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 << 10);
    let channel = endpoint.connect().await.unwrap();
    let mut deaf = Worker::connect(WorkersClient::new(channel)).await;
    deaf.tell(Tells::Hello(hello())).await;
    deaf.tell(Tells::Credit(credit(600))).await;
    // Others get on meanwhile.
    let queues = vec![v1::QueueWish { queue: "other".into(), weight: 0 }];
    let (mut worker, _) = server.worker(v1::Hello { queues, name: "v".into(), ..hello() }).await;
    let mut owed = 0;
    while owed == 0 {
        owed = server.running("q").await;
    }
    let kept = async {
        loop {
            let bytes = unread_bytes(&server).await;
            if bytes > ARGS_BYTES as u64 {
                break bytes;
            }
        }
    };
    let kept = soon(kept).await;
    let start = Instant::now();
    for _ in 0..20 {
        let jobs = vec![job()];
        let request = v1::EnqueueRequest { queue: "other".into(), jobs, ..Default::default() };
        server.jobs().await.enqueue(request).await.unwrap();
        let one = worker.take(1).await.remove(0);
        assert_eq!(worker.ack(&one).await, None);
    }
    owed = owed.max(server.running("q").await);
    assert!(owed <= OWED_MAX, "{owed} jobs are owed");
    let kept = kept.max(unread_bytes(&server).await);
    assert!(kept < 2 * (OWED_MAX * ARGS_BYTES) as u64, "{kept} bytes are kept for it");
    // Then its stream ends, and what it did not read is there for others. What was kept for it goes
    // with it: its call was cut after five times as long.
    while server.running("q").await > 0 {}
    soon(async { while unread_bytes(&server).await > 0 {} }).await;
    let took = start.elapsed();
    assert!(took < WRITE_TIMEOUT + Duration::from_secs(4), "{took:?}");
    let (mut reader, _) = server.worker(v1::Hello { session: "t".into(), ..hello() }).await;
    let jobs = reader.take(600).await;
    assert!(jobs.iter().all(|job| job.attempt == 1));
    let end = deaf.end().await.unwrap();
    assert_eq!(end.code(), Code::Cancelled, "{end:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_run_is_told_of_that_run() {
    let server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    server.enqueue(1).await;
    let mine = worker.take(1).await.remove(0);
    let unknown = v1::Settlement {
        id: mine.id.clone(),
        token: "9.9".into(),
        ..settlement(&mine, Verdict::Release(v1::Release {}))
    };
    let no_json = v1::Ack { result: Some(b"{".to_vec().into()), ..Default::default() };
    let no_place = v1::Ack { location: "\\".into(), ..Default::default() };
    let results = worker
        .settle(vec![
            v1::Settlement::default(),
            v1::Settlement { verdict: None, ..settlement(&mine, Verdict::Release(v1::Release {})) },
            settlement(&mine, Verdict::Ack(no_json)),
            settlement(&mine, Verdict::Ack(no_place)),
            unknown,
        ])
        .await;
    let mut codes: Vec<_> =
        results.into_iter().map(|result| result.refused.unwrap().code).collect();
    codes.sort_unstable();
    let expected =
        ["body_malformed", "field_missing", "lease_lost", "value_refused", "value_refused"];
    assert_eq!(codes, expected);
    for one in [
        v1::Checkpoint::default(),
        v1::Checkpoint { cursor: b"null".to_vec().into(), ..checkpoint(&mine) },
    ] {
        assert_eq!(worker.checkpoint(one).await.refused.unwrap().code, "value_refused");
    }
    // What only informs costs no checkpoint.
    let nonsense = v1::Checkpoint { progress: Some(f64::NAN), ..checkpoint(&mine) };
    assert_eq!(worker.checkpoint(nonsense).await.refused, None);
    let counters = (0..40).map(|n| (format!("c{n}"), 1)).collect();
    let skipped = vec![v1::SkippedItem { cursor: b"{".to_vec().into(), error: None }; 1_001];
    let odd = v1::Checkpoint { seq: 2, counters, skipped, ..checkpoint(&mine) };
    assert_eq!(worker.checkpoint(odd).await.refused, None);
    worker.tell(Tells::Started(v1::Started { jobs: vec![v1::LeaseRef::default()] })).await;
    assert!(matches!(worker.hear().await, Told::NotStarted(not) if not.jobs.len() == 1));
    // Messages of kinds that a later protocol may have, and empty ones, do no harm.
    worker.tell_nothing().await;
    for empty in [Tells::Started(v1::Started::default()), Tells::Credit(credit(0))] {
        worker.tell(empty).await;
    }
    assert!(worker.settle(Vec::new()).await.is_empty());
    assert_eq!(worker.ack(&mine).await, None);
    server.stop().await;
}

fn checkpoint(job: &v1::Delivery) -> v1::Checkpoint {
    v1::Checkpoint { id: job.id.clone(), token: job.token.clone(), seq: 1, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_frames_end_their_connection_only() {
    let server = Server::start().await;
    for garbage in [&[0xff; 64][..], &[0, 0, 0, 9, 9, 0, 0, 0, 1], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        let _ = soon(stream.read_to_end(&mut heard)).await;
    }
    server.enqueue(1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_out_of_range_costs_no_run() {
    let server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    let id = server.enqueue(1).await.remove(0);
    let mine = worker.take(1).await.remove(0);
    worker.start(&mine).await;
    let odd = [1.01, -0.5, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for (seq, progress) in (1..).zip(odd) {
        let progress_text = Some("far ".repeat(10_000));
        let one =
            v1::Checkpoint { seq, progress: Some(progress), progress_text, ..checkpoint(&mine) };
        assert_eq!(worker.checkpoint(one).await.refused, None, "{progress}");
    }
    assert!(worker.beat().await.is_empty(), "nothing is lost");
    let running = server.job(&id).await;
    assert_eq!((running.state.as_str(), running.attempt), ("running", 1));
    assert!(running.progress.is_none_or(|progress| (0.0..=1.0).contains(&progress)));
    assert_eq!(worker.ack(&mine).await, None);
    assert_eq!(server.job(&id).await.state, "succeeded");
    server.stop().await;
}
