//! Answers that nobody reads: with a window of 0 they wait in the server. They count, and not for
//! long.

use std::time::{Duration, Instant};

use longshore_proto::v1;
use longshore_proto::v1::jobs_client::JobsClient;
use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message as Tells;
use longshore_proto::v1::workers_client::WorkersClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::harness::{Server, Worker, credit, hello, job, settlement, soon};

const BODY: usize = 7 << 20;
const BUDGET: u64 = 20 << 20;

async fn server(budget: u64, write_timeout: Duration) -> Server {
    Server::start_with(|config| {
        config.http.answer_bytes_max = budget;
        config.http.write_timeout = write_timeout;
    })
    .await
}

fn large() -> v1::NewJob {
    v1::NewJob { args: format!("\"{}\"", "x".repeat(BODY)).into_bytes().into(), ..job() }
}

/// A connection on which no answer has a window.
async fn deaf(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    soon(endpoint.initial_stream_window_size(0).connect()).await.unwrap()
}

pub(crate) async fn unread_bytes(server: &Server) -> u64 {
    let (_, metrics) = server.http("GET", "/metrics").await;
    let name = "longshore_http_answer_bytes ";
    let line = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse().unwrap()
}

async fn until(server: &Server, is_so: impl Fn(u64) -> bool) {
    soon(async { while !is_so(unread_bytes(server).await) {} }).await;
}

fn is_memory_low(status: &Status) -> bool {
    status.metadata().get("longshore-code").is_some_and(|code| code == "memory_low")
}

fn get(id: &str) -> v1::GetJobRequest {
    v1::GetJobRequest { id: id.to_owned(), ..Default::default() }
}

/// 200 of them held 3.2 GB.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_window_holds_no_more_than_its_part_and_not_for_long() {
    const LIMIT: Duration = Duration::from_secs(6);
    let server = server(BUDGET, LIMIT).await;
    let id = server.enqueue_all(vec![large()]).await.remove(0);
    let jobs = JobsClient::new(deaf(&server).await);
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for watches in [false, true].repeat(10) {
        let (mut jobs, request) = (jobs.clone(), get(&id));
        calls.spawn(async move {
            if watches {
                let mut watched = jobs.watch_job(request).await?.into_inner();
                watched.message().await.map(drop)
            } else {
                jobs.get_job(request).await.map(drop)
            }
        });
    }
    for _ in 0..19 {
        let refused = soon(calls.join_next()).await.unwrap().unwrap().unwrap_err();
        assert!(is_memory_low(&refused), "{refused:?}");
    }
    let held = unread_bytes(&server).await;
    assert!(held > BODY as u64 && held <= BUDGET, "{held}");
    // Others have room.
    let mut other = server.jobs().await.max_decoding_message_size(2 * BODY);
    soon(other.get_job(get(&id))).await.unwrap();
    // Then the call ends, and with it what waits there.
    until(&server, |bytes| bytes == 0).await;
    let took = start.elapsed();
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(4), "{took:?}");
    let cut = soon(calls.join_next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(cut.code(), Code::Cancelled, "{cut:?}");
    server.stop().await;
}

/// It cost all other calls of its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_is_not_taken_ends_alone() {
    let server = server(BUDGET, Duration::from_secs(2)).await;
    let id = server.enqueue_all(vec![large()]).await.remove(0);
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let windows = endpoint.initial_stream_window_size(100_000);
    let channel = windows.initial_connection_window_size(10 << 20).connect().await.unwrap();
    // A worker, and another call of the same connection that goes on.
    let mut worker = Worker::connect(WorkersClient::new(channel.clone())).await;
    worker.tell(Tells::Hello(v1::Hello { queues: vec![wish("w")], ..hello() })).await;
    worker.hear().await;
    let mut jobs = JobsClient::new(channel.clone()).max_decoding_message_size(2 * BODY);
    let one = v1::EnqueueRequest { queue: "w".into(), jobs: vec![job()], ..Default::default() };
    let other = jobs.enqueue(one).await.unwrap().into_inner().ids.remove(0);
    let mut watched = jobs.watch_job(get(&other)).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    // It takes less at once than it was promised, and the window never opens again.
    let mut unread = jobs.watch_job(get(&id)).await.unwrap().into_inner();
    until(&server, |bytes| bytes > BODY as u64).await;
    until(&server, |bytes| bytes == 0).await;
    let cut = soon(unread.message()).await.unwrap_err();
    assert_eq!(cut.code(), Code::Cancelled, "{cut:?}");
    let mine = worker.take(1).await.remove(0);
    assert_eq!(worker.ack(&mine).await, None);
    loop {
        let job = soon(watched.message()).await.unwrap().unwrap();
        if job.state == "succeeded" {
            break;
        }
    }
    server.stop().await;
}

fn wish(queue: &str) -> v1::QueueWish {
    v1::QueueWish { queue: queue.into(), weight: 0 }
}

/// Their outcomes were told in any case, so any number of them waited to be read.
#[tokio::test(flavor = "multi_thread")]
async fn batches_whose_outcomes_nobody_reads_are_refused_before_anything_is_enqueued() {
    let server = server(100_000, Duration::from_secs(600)).await;
    let batch =
        v1::EnqueueRequest { queue: "r".into(), jobs: vec![job(); 1000], ..Default::default() };
    let mut jobs = JobsClient::new(deaf(&server).await);
    let (batches, sent) = mpsc::channel(16);
    for _ in 0..16 {
        batches.send(batch.clone()).await.unwrap();
    }
    let unread = jobs.enqueue_stream(ReceiverStream::new(sent)).await.unwrap();
    until(&server, |bytes| bytes > 36_000).await;
    let refused = jobs.enqueue(batch.clone()).await.unwrap_err();
    assert!(is_memory_low(&refused), "{refused:?}");
    // The batches that are read on are refused before the first outcome is taken: it fills the
    // part of its connection.
    let ready = async |server: &Server| {
        let (_, queue) = server.http("GET", "/v1/queues/r").await;
        queue["ready"].as_u64().unwrap()
    };
    assert_eq!(ready(&server).await, 1000);
    // Other connections have room.
    server.jobs().await.enqueue(batch.clone()).await.unwrap();
    drop((unread, jobs, batches));
    until(&server, |bytes| bytes == 0).await;
    assert_eq!(ready(&server).await, 2000);
    server.stop().await;
}

/// The first bytes that it took bought it as much time again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_the_beginning_only_is_ended_in_time() {
    const LIMIT: Duration = Duration::from_secs(6);
    let server = server(BUDGET, LIMIT).await;
    let id = server.enqueue_all(vec![large()]).await.remove(0);
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    // An endpoint that takes less at once than it was promised never opens the window again.
    let channel = endpoint.initial_stream_window_size(100_000).connect().await.unwrap();
    let mut watched = JobsClient::new(channel).watch_job(get(&id)).await.unwrap().into_inner();
    until(&server, |bytes| bytes > 0).await;
    let start = Instant::now();
    until(&server, |bytes| bytes == 0).await;
    let took = start.elapsed();
    assert!(took < LIMIT + Duration::from_secs(4), "{took:?}");
    assert!(soon(watched.message()).await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_answers_to_batches_count_until_they_are_read() {
    // One answer passes in any case, and is more than may be there.
    let server = server(8 << 10, Duration::from_secs(600)).await;
    let (mut worker, _) = server.worker(v1::Hello { name: "v".into(), ..hello() }).await;
    server.enqueue(1).await;
    let mine = worker.take(1).await.remove(0);

    let mut jobs = JobsClient::new(deaf(&server).await);
    let batch =
        v1::EnqueueRequest { queue: "r".into(), jobs: vec![job(); 1000], ..Default::default() };
    let (batches, sent) = mpsc::channel(1);
    batches.send(batch).await.unwrap();
    let answers = jobs.enqueue_stream(ReceiverStream::new(sent)).await.unwrap();
    until(&server, |bytes| bytes > 36_000).await;
    drop((answers, jobs, batches));
    until(&server, |bytes| bytes == 0).await;

    let id = server.enqueue_all(vec![large()]).await.remove(0);
    let mut unheard = Worker::connect(WorkersClient::new(deaf(&server).await)).await;
    unheard.tell(Tells::Hello(hello())).await;
    unheard.tell(Tells::Credit(credit(1))).await;
    until(&server, |bytes| bytes > BODY as u64).await;
    let refused = server.jobs().await.get_job(get(&id)).await.unwrap_err();
    assert!(is_memory_low(&refused), "{refused:?}");
    // A worker is answered nevertheless.
    assert!(worker.beat().await.is_empty());
    let lost = v1::Settlement {
        token: "9.9".into(),
        ..settlement(&mine, Verdict::Ack(v1::Ack::default()))
    };
    assert_eq!(worker.settle(vec![lost; 100]).await.len(), 100);
    assert_eq!(worker.ack(&mine).await, None);
    drop(unheard);
    until(&server, |bytes| bytes == 0).await;
    server.stop().await;
}

/// Where what the server says passes, so many bytes in a second.
async fn slowly(server: std::net::SocketAddr, bytes_per_second: usize) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = tokio::net::TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let mut chunk = vec![0; bytes_per_second / 50];
        while let Ok(count @ 1..) = from_server.read(&mut chunk).await {
            if to_client.write_all(&chunk[..count]).await.is_err() {
                break;
            }
            pace.tick().await;
        }
    });
    address
}

/// It lost its stream where one delivery took longer than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_reads_slowly_and_fast_enough_keeps_its_stream() {
    const DELIVERY: usize = 600 << 10;
    let server = server(64 << 20, Duration::from_millis(1500)).await;
    let args: bytes::Bytes = format!("\"{}\"", "x".repeat(DELIVERY)).into_bytes().into();
    server.enqueue_all(vec![v1::NewJob { args, ..job() }; 8]).await;
    let address = slowly(server.address, 200 << 10).await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.initial_stream_window_size(64 << 10).connect().await.unwrap();
    let mut worker = Worker::connect(WorkersClient::new(channel)).await;
    worker.tell(Tells::Hello(hello())).await;
    worker.hear().await;
    worker.tell(Tells::Credit(credit(8))).await;
    worker.take(1).await;
    let (_, queue) = server.http("GET", "/v1/queues/q").await;
    assert_eq!(queue["ready"], 0, "the other seven are on their way: {queue}");
    drop(worker);
    server.stop().await;
}

/// Its heartbeats were not read while a delivery waited for a place in its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_reads_slowly_and_is_alive_keeps_its_runs() {
    const DELIVERY: usize = 600 << 10;
    let server = server(64 << 20, Duration::from_secs(20)).await;
    let address = slowly(server.address, 400 << 10).await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.initial_stream_window_size(64 << 10).connect().await.unwrap();
    let mut worker = Worker::connect(WorkersClient::new(channel)).await;
    worker.tell(Tells::Hello(v1::Hello { lease_ms: Some(1_000), ..hello() })).await;
    worker.hear().await;
    let id = server.enqueue_all(vec![job()]).await.remove(0);
    let mine = worker.take(1).await.remove(0);
    worker.start(&mine).await;
    let args: bytes::Bytes = format!("\"{}\"", "x".repeat(DELIVERY)).into_bytes().into();
    server.enqueue_all(vec![v1::NewJob { args, ..job() }; 8]).await;
    worker.tell(Tells::Credit(credit(8))).await;
    let mut taken = 0;
    while taken < 5 {
        worker.tell(Tells::Heartbeat(v1::Heartbeat::default())).await;
        let beats_again = Duration::from_millis(200);
        let heard = tokio::time::timeout(beats_again, worker.hears.message()).await;
        match heard.map(|heard| heard.unwrap().unwrap().message.unwrap()) {
            Ok(Told::Deliver(deliver)) => taken += deliver.jobs.len(),
            Ok(Told::Beat(_)) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
    let mut jobs = server.jobs().await;
    let job = soon(jobs.get_job(get(&id))).await.unwrap().into_inner();
    assert_eq!((job.state.as_str(), job.attempt), ("running", 1), "{job:?}");
    drop(worker);
    server.stop().await;
}
