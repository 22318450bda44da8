//! Thousands of workers that are connected, each over a connection of its own, and have nothing to
//! do: what one takes of the server's memory, and how soon a job that is enqueued starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_proto::v1;
use longshore_proto::v1::server_message::Message as FromServer;
use longshore_proto::v1::worker_message::Message;
use longshore_proto::v1::workers_client::WorkersClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::http::Connection;
use crate::jobs::enqueue_one;
use crate::longshore::Server;
use crate::report::{Figure, Measure, Target};

const MEMORY: Measure = Measure {
    name: "worker-memory",
    what: "one of 10,000 connected idle workers, memory in the server",
    unit: "KiB",
    target: Target::AtMost(40),
};
const START: Measure = Measure {
    name: "worker-start",
    what: "enqueue to start at one of them, median",
    unit: "us",
    target: Target::AtMost(2_000),
};

/// How long everything rests before memory is read.
const REST: Duration = Duration::from_secs(3);
/// Connections that are made at the same time.
const CONNECTING: usize = 64;
/// Jobs of which the start is measured, and the pause between two.
const JOBS: usize = 400;
const PAUSE: Duration = Duration::from_millis(5);
/// As often as the SDK says that it is alive, with leases of 30 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
const SERVER: &[&str] = &["--set", "http.connections_max=15000"];

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let ours = format!(
        "Longshore: {} streams over as many connections, a heartbeat of each every {} s; {JOBS} \
         jobs, one by one; {}",
        bench.args.workers,
        HEARTBEAT.as_secs(),
        SERVER.join(" ")
    );
    begin("workers: connected, with nothing to do", &[&ours]);
    bench.pairs(longshore, None)
}

/// The descriptors that so many connections need.
pub(super) fn make_room(connections: usize) -> Result<()> {
    let wanted = connections as u64 + 500;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)
            .with_context(|| format!("{wanted} open files are not allowed: see `ulimit -Hn`"))?;
    }
    Ok(())
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    make_room(bench.args.workers)?;
    let folder = bench.folder()?;
    let server = Server::start_with(&bench.program, folder.path(), SERVER)?;
    std::thread::sleep(REST);
    let idle_mib = server.process.memory_mib()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut crowd = connect(server.address, bench.args.workers).await?;
        tokio::time::sleep(REST).await;
        let with_mib = server.process.memory_mib()?;
        let each_kib = (with_mib - idle_mib) * 1024.0 / bench.args.workers as f64;
        let meter = Meter::start(&[server.process.pid()]);
        let mut took_us = starts(server.address, &mut crowd).await?;
        took_us.sort_by(f64::total_cmp);
        let quantile = |percent: usize| took_us[took_us.len() * percent / 100];
        let mut details = vec![("p90_us", quantile(90)), ("p99_us", quantile(99))];
        details.extend(meter.stop(JOBS as u64));
        Ok(vec![
            Figure::new(&MEMORY, each_kib, [("idle_mib", idle_mib), ("with_mib", with_mib)]),
            Figure::new(&START, quantile(50), details),
        ])
    })
}

/// Everybody's deliveries, as they arrive.
type Crowd = mpsc::UnboundedReceiver<Instant>;

async fn connect(address: SocketAddr, workers: usize) -> Result<Crowd> {
    let (started, crowd) = mpsc::unbounded_channel();
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    let (welcomed, mut answers) = mpsc::channel(CONNECTING);
    for index in 0..workers {
        let permit = Arc::clone(&connecting).acquire_owned().await?;
        let (started, welcomed) = (started.clone(), welcomed.clone());
        tokio::spawn(async move {
            let worker = Worker::connect(address, index).await;
            drop(permit);
            match worker {
                Ok(worker) => {
                    let _ = welcomed.send(Ok(())).await;
                    drop(welcomed);
                    // The end of a worker is the end of the channel, at the latest.
                    let _ = worker.serve(&started).await;
                }
                Err(error) => drop(welcomed.send(Err(error)).await),
            }
        });
        while let Ok(welcome) = answers.try_recv() {
            welcome?;
        }
    }
    // Those that were not looked at yet.
    drop(welcomed);
    while let Some(welcome) = answers.recv().await {
        welcome?;
    }
    Ok(crowd)
}

/// From the enqueue's first byte to the delivery at whichever worker gets it.
async fn starts(address: SocketAddr, crowd: &mut Crowd) -> Result<Vec<f64>> {
    let mut connection = Connection::open(address).await?;
    let enqueue = enqueue_one();
    let mut took_us = Vec::with_capacity(JOBS);
    for _ in 0..JOBS {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        connection.exchange(&enqueue).await?.success()?;
        let started = tokio::time::timeout(Duration::from_secs(10), crowd.recv()).await;
        let started = started.context("a job did not start")?.context("no worker is left")?;
        took_us.push(started.duration_since(start).as_secs_f64() * 1e6);
    }
    Ok(took_us)
}

struct Worker {
    outgoing: mpsc::Sender<v1::WorkerMessage>,
    incoming: tonic::Streaming<v1::ServerMessage>,
}

impl Worker {
    async fn connect(address: SocketAddr, index: usize) -> Result<Self> {
        let channel = Endpoint::new(format!("http://{address}"))?.connect().await?;
        let (outgoing, messages) = mpsc::channel(8);
        let hello = v1::Hello {
            name: format!("worker-{index}"),
            session: "1".to_owned(),
            kinds: vec!["noop".to_owned()],
            queues: vec![v1::QueueWish { queue: "bench".to_owned(), weight: 0 }],
            concurrency: 1,
            ..v1::Hello::default()
        };
        outgoing.send(message(Message::Hello(hello))).await?;
        outgoing.send(message(Message::Credit(v1::Credit { jobs: 1, withdraw: false }))).await?;
        let mut client = WorkersClient::new(channel);
        let mut incoming = client.work(ReceiverStream::new(messages)).await?.into_inner();
        let first = incoming.message().await?.and_then(|it| it.message);
        ensure!(matches!(first, Some(FromServer::Welcome(_))), "no welcome: {first:?}");
        Ok(Self { outgoing, incoming })
    }

    /// Acknowledges what it gets, and says that it is alive.
    async fn serve(mut self, started: &mpsc::UnboundedSender<Instant>) -> Result<()> {
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    let beat = v1::Heartbeat::default();
                    self.outgoing.send(message(Message::Heartbeat(beat))).await?;
                }
                heard = self.incoming.message() => {
                    let heard = heard?.context("the stream has ended")?.message;
                    let Some(FromServer::Deliver(deliver)) = heard else { continue };
                    started.send(Instant::now())?;
                    let settlements = deliver.jobs.into_iter().map(acknowledge).collect();
                    let settle = v1::Settle { settlements };
                    self.outgoing.send(message(Message::Settle(settle))).await?;
                    let credit = v1::Credit { jobs: 1, withdraw: false };
                    self.outgoing.send(message(Message::Credit(credit))).await?;
                }
            }
        }
    }
}

fn acknowledge(job: v1::Delivery) -> v1::Settlement {
    let verdict = v1::settlement::Verdict::Ack(v1::Ack::default());
    v1::Settlement { id: job.id, token: job.token, verdict: Some(verdict) }
}

fn message(message: Message) -> v1::WorkerMessage {
    v1::WorkerMessage { message: Some(message) }
}
