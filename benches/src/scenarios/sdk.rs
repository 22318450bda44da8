//! Jobs enqueued before, drained by one worker process of the Rust SDK; beside Sidekiq and apalis,
//! each draining as many from Redis.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{crowd, drain};
use crate::bench::{Bench, Run, begin};
use crate::host::Meter;
use crate::http::{BlockingConnection, get, post};
use crate::jobs::fill;
use crate::longshore::{Server, sdk_worker};
use crate::peers::{Apalis, Peer, Redis, Workers};
use crate::report::{Figure, Measure, Target};

const BESIDE_SIDEKIQ: Measure = Measure {
    name: "sdk-drain",
    what: "drain by one process of the SDK, beside Sidekiq",
    unit: "jobs/s",
    target: Target::RatioAtLeast(10),
};
const SERVER_CPU: Measure = Measure {
    name: "sdk-drain-cpu",
    what: "processor time of the server per job drained by the SDK",
    unit: "us",
    target: Target::RatioAtMost { percent: 100 },
};
const BESIDE_APALIS: Measure = Measure {
    name: "sdk-drain-apalis",
    what: "the same, beside apalis",
    unit: "jobs/s",
    target: Target::RatioAtLeast(3),
};

/// How often the state of a queue is asked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long a worker may do nothing while jobs wait.
const STUCK: Duration = Duration::from_secs(60);
/// How long a worker may rest before the jobs are let go.
const CONNECTED: Duration = Duration::from_secs(1);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let ours = format!(
        "Longshore: {} jobs; 1 process of the SDK, nothing set (concurrency 16)",
        bench.args.jobs
    );
    let sidekiq = format!("Sidekiq: {}; Redis: {}", Workers::settings(), Redis::SETTINGS);
    let apalis = format!("apalis: {}; Redis: {}", Apalis::SETTINGS, Redis::SETTINGS);
    let title = "sdk: no-op jobs with args of 200 bytes, enqueued before";
    begin(title, &[&ours, &sidekiq, &apalis]);
    let mut peers: Vec<(&'static str, &Run)> = Vec::new();
    if bench.has(Peer::Sidekiq) {
        peers.push(("Sidekiq", &sidekiq_drains));
    }
    if bench.has(Peer::Apalis) {
        peers.push(("apalis", &apalis_drains));
    }
    bench.rounds(longshore, &peers)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    crowd::runtime()?.block_on(fill(server.address, bench.args.jobs))?;
    let mut connection = BlockingConnection::open(server.address)?;
    let mut request = Vec::new();
    post(&mut request, "/v1/queues/bench/pause", b"{}");
    connection.exchange(&request)?.success()?;
    let worker = sdk_worker(&server, &folder.path().join("worker.log"), &["drain"])?;
    std::thread::sleep(CONNECTED);
    let meter = Meter::start(&[server.process.pid(), worker.pid()]);
    let server_meter = Meter::start(&[server.process.pid()]);
    let start = Instant::now();
    post(&mut request, "/v1/queues/bench/resume", b"{}");
    connection.exchange(&request)?.success()?;
    let look = get("/v1/queues/bench");
    loop {
        let queue: Value = serde_json::from_slice(connection.exchange(&look)?.success()?)?;
        let done = queue["succeeded_total"].as_u64().context("no count of what succeeded")?;
        ensure!(queue["retrying"] == 0 && queue["dead"] == 0, "jobs failed: {queue}");
        if done >= bench.args.jobs {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let rate = bench.args.jobs as f64 / start.elapsed().as_secs_f64();
    let details = meter.stop(bench.args.jobs);
    let server_us = server_meter.stop(bench.args.jobs)[4].1;
    Ok(vec![
        Figure::new(&BESIDE_SIDEKIQ, rate, details),
        Figure::new(&SERVER_CPU, server_us, []),
        Figure::new(&BESIDE_APALIS, rate, details),
    ])
}

fn sidekiq_drains(bench: &Bench) -> Result<Vec<Figure>> {
    let (rate, details) = drain::sidekiq_rate(bench)?;
    Ok(vec![Figure::new(&BESIDE_SIDEKIQ, rate, details)])
}

fn apalis_drains(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let mut redis = Redis::start(folder.path())?;
    let jobs = Apalis::push(&redis, bench.args.jobs)?;
    let start = Instant::now();
    let worker = Apalis::start(&redis)?;
    // Its start is not counted: that it registers itself, and its first poll.
    while Apalis::done(&mut redis)? == 0 {
        ensure!(start.elapsed() < STUCK, "apalis does nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    let meter = Meter::start(&[redis.process.pid(), worker.process.pid()]);
    let (start, before) = (Instant::now(), Apalis::done(&mut redis)?);
    let (mut last, mut moved) = (before, start);
    while last < jobs {
        std::thread::sleep(LOOK);
        let done = Apalis::done(&mut redis)?;
        if done > last {
            (last, moved) = (done, Instant::now());
        }
        ensure!(moved.elapsed() < STUCK, "apalis stopped after {last} jobs");
    }
    let count = jobs - before;
    let rate = count as f64 / start.elapsed().as_secs_f64();
    Ok(vec![Figure::new(&BESIDE_APALIS, rate, meter.stop(count))])
}
