//! Many queues and namespaces: the memory that they take, a restart, leases over patterns, what
//! they cost a neighbour, and how long a pause takes. Ours alone, or two builds.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::crowd;
use crate::bench::{Bench, begin};
use crate::http::{BlockingConnection, post, put};
use crate::jobs::{args, enqueue_one, fill};
use crate::longshore::Server;
use crate::report::{Figure, Measure, Target};

const FEW_MEMORY: Measure = memory("queues-10k-memory", "10,000 queues of 100 jobs", 80);
const MANY_MEMORY: Measure = memory("queues-100k-memory", "100,000 queues of 10 jobs", 128);
const FEW_LEASE: Measure = lease("queues-10k-lease", "`*` and `q*` beside 10,000 queues, p99");
const MANY_LEASE: Measure = lease("queues-100k-lease", "`*` and `q*` beside 100,000 queues, p99");
const FEW_BESIDE: Measure = beside("queues-10k-enqueue", "p99 of one enqueue beside 10,000 queues");
const MANY_BESIDE: Measure =
    beside("queues-100k-enqueue", "p99 of one enqueue beside 100,000 queues");
const RESTART: Measure = Measure {
    name: "queues-restart",
    what: "restart after SIGKILL with 100,000 queues to the first lease",
    unit: "ms",
    target: Target::AtMost(2000),
};
const NAMESPACES: Measure = Measure {
    name: "namespaces-drain",
    what: "drain beside 10,000 namespaces with a job each, of that beside one",
    unit: "%",
    target: Target::AtLeast(70),
};
const PAUSE: Measure = Measure {
    name: "queues-pause",
    what: "pause and resume of a queue of 1,000,000 jobs, the slowest",
    unit: "ms",
    target: Target::AtMost(5),
};

const fn memory(name: &'static str, what: &'static str, mib_max: u32) -> Measure {
    Measure { name, what, unit: "MiB", target: Target::AtMost(mib_max) }
}

const fn lease(name: &'static str, what: &'static str) -> Measure {
    Measure { name, what, unit: "ms", target: Target::AtMost(2) }
}

const fn beside(name: &'static str, what: &'static str) -> Measure {
    Measure { name, what, unit: "% of an empty server", target: Target::AtMost(200) }
}

/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(10);
const LEASES: usize = 2_000;
const ENQUEUES: usize = 4_000;
/// The default namespace is one of them.
const NAMESPACES_COUNT: u64 = 9_999;
const BATCH: usize = 100;
const CONNECTIONS: usize = 4;
const TURNS: usize = 20;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let jobs = format!("{} leases of one job, {ENQUEUES} enqueues, one at a time", LEASES * 2);
    begin("queues: many of them, with jobs of 200 bytes, and a full one", &[&jobs]);
    bench.pairs(longshore, None)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = many(bench, 10_000, 100, [&FEW_MEMORY, &FEW_LEASE, &FEW_BESIDE], None)?;
    let measures = [&MANY_MEMORY, &MANY_LEASE, &MANY_BESIDE];
    // The queue of the enqueues beside them is the last that a namespace may have.
    figures.extend(many(bench, 99_999, 10, measures, Some(&RESTART))?);
    figures.push(namespaces(bench)?);
    figures.push(pause(bench)?);
    Ok(figures)
}

fn many(
    bench: &Bench,
    queues: u64,
    jobs: usize,
    [memory, lease, beside]: [&'static Measure; 3],
    restart: Option<&'static Measure>,
) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let mut server = Server::start(&bench.program, folder.path())?;
    let mut connection = BlockingConnection::open(server.address)?;
    let empty_us = enqueue_p99(&mut connection)?;
    thread::sleep(REST);
    let idle_mib = server.process.memory_mib()?;
    let job = format!("{{\"kind\":\"noop\",\"args\":{}}}", args());
    let body = format!("{{\"jobs\":[{}]}}", vec![job; jobs].join(","));
    let mut request = Vec::new();
    for number in 0..queues {
        post(&mut request, &format!("/v1/queues/q{number}/jobs"), body.as_bytes());
        connection.exchange(&request)?.success()?;
    }
    thread::sleep(REST);
    let full_mib = server.process.memory_mib()?;
    let beside_us = enqueue_p99(&mut connection)?;
    let (all, some) = (lease_p99(&mut connection, "*")?, lease_p99(&mut connection, "q*")?);
    let memory_details = [("idle_mib", idle_mib)];
    let lease_details = [("all_ms", all), ("prefix_ms", some)];
    let beside_details = [("empty_us", empty_us), ("beside_us", beside_us)];
    let mut figures = vec![
        Figure::new(memory, full_mib - idle_mib, memory_details),
        Figure::new(lease, all.max(some), lease_details),
        Figure::new(beside, 100.0 * beside_us / empty_us, beside_details),
    ];
    if let Some(restart) = restart {
        server.process.kill()?;
        let start = Instant::now();
        let server = Server::start(&bench.program, folder.path())?;
        let mut connection = BlockingConnection::open(server.address)?;
        lease_one(&mut connection, "*")?;
        let took_ms = start.elapsed().as_secs_f64() * 1e3;
        thread::sleep(REST);
        let again_mib = server.process.memory_mib()?;
        figures.push(Figure::new(restart, took_ms, [("memory_mib", again_mib)]));
    }
    Ok(figures)
}

/// The 99th percentile of enqueues one after the other, in microseconds.
fn enqueue_p99(connection: &mut BlockingConnection) -> Result<f64> {
    let request = enqueue_one();
    let took = (0..ENQUEUES).map(|_| exchange_ms(connection, &request));
    Ok(1e3 * at_percent(took.collect::<Result<_>>()?, 99)?)
}

fn lease_p99(connection: &mut BlockingConnection, pattern: &str) -> Result<f64> {
    at_percent((0..LEASES).map(|_| lease_one(connection, pattern)).collect::<Result<_>>()?, 99)
}

/// Leases one job of these queues; how long it took, in milliseconds.
fn lease_one(connection: &mut BlockingConnection, pattern: &str) -> Result<f64> {
    let mut request = Vec::new();
    let body = format!("{{\"queues\":[\"{pattern}\"],\"max\":1,\"lease\":\"1h\"}}");
    post(&mut request, "/v1/lease", body.as_bytes());
    exchange_ms(connection, &request)
}

fn exchange_ms(connection: &mut BlockingConnection, request: &[u8]) -> Result<f64> {
    let start = Instant::now();
    connection.exchange(request)?.success()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn at_percent(mut took: Vec<f64>, percent: usize) -> Result<f64> {
    took.sort_by(f64::total_cmp);
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)))
        .copied()
        .context("none")
}

fn namespaces(bench: &Bench) -> Result<Figure> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let drain = || {
        let runtime = crowd::runtime()?;
        runtime.block_on(fill(server.address, bench.args.jobs))?;
        let start = Instant::now();
        let drained = crowd::drain(CONNECTIONS, server.address, "bench", BATCH);
        anyhow::Ok(runtime.block_on(drained)? as f64 / start.elapsed().as_secs_f64())
    };
    let one = drain()?;
    let mut connection = BlockingConnection::open(server.address)?;
    let mut request = Vec::new();
    for number in 0..NAMESPACES_COUNT {
        put(&mut request, &format!("/v1/namespaces/n{number}"), b"{}");
        connection.exchange(&request)?.success()?;
        let path = format!("/v1/namespaces/n{number}/queues/bench/jobs");
        post(&mut request, &path, b"{\"kind\":\"noop\",\"retain\":\"1h\"}");
        connection.exchange(&request)?.success()?;
    }
    let many = drain()?;
    Ok(Figure::new(&NAMESPACES, 100.0 * many / one, [("one_per_s", one), ("many_per_s", many)]))
}

fn pause(bench: &Bench) -> Result<Figure> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    crowd::runtime()?.block_on(fill(server.address, bench.args.backlog_jobs))?;
    thread::sleep(REST);
    let mut connection = BlockingConnection::open(server.address)?;
    let mut request = Vec::new();
    let turn = |turn: usize| {
        let word = if turn.is_multiple_of(2) { "pause" } else { "resume" };
        post(&mut request, &format!("/v1/queues/bench/{word}"), b"{}");
        exchange_ms(&mut connection, &request)
    };
    let took = (0..TURNS).map(turn).collect::<Result<Vec<_>>>()?;
    let median = at_percent(took.clone(), 50)?;
    Ok(Figure::new(&PAUSE, at_percent(took, 100)?, [("median_ms", median)]))
}
