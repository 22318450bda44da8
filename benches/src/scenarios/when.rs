//! When and how many: what unique keys, keys of a limit, tenants, a gate and schedules cost where
//! there are many of them. Ours alone: each figure is against the same server without them.

mod schedules;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::crowd;
use crate::bench::{Bench, begin};
use crate::http::{BlockingConnection, post, put};
use crate::jobs::{BULK_JOBS, fill};
use crate::longshore::Server;
use crate::report::{Figure, Measure, Target};

const UNIQUE: Measure = Measure {
    name: "when-unique",
    what: "enqueue jobs with a unique key each, time of that without",
    unit: "%",
    target: Target::AtMost(150),
};
const PARKED: Measure = Measure {
    name: "when-parked",
    what: "drain beside as many keys of a limit that wait, of the rate without",
    unit: "%",
    target: Target::AtLeast(90),
};
const TENANTS: Measure = Measure {
    name: "when-tenants",
    what: "drain of many tenants, of the rate with one",
    unit: "%",
    target: Target::AtLeast(70),
};
const GATE: Measure = Measure {
    name: "when-gate",
    what: "a gate over all waiting jobs, the slowest of its turns",
    unit: "ms",
    target: Target::AtMost(5),
};

const BATCH: usize = 100;
const CONNECTIONS: usize = 4;
const TURNS: usize = 20;
/// What came before shall not weigh on what is measured.
const REST: Duration = Duration::from_secs(2);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let args = &bench.args;
    let (waiting, jobs) = (args.backlog_jobs, args.jobs);
    let settings = [
        format!(
            "unique: {waiting} jobs in bulks of {BULK_JOBS}, one connection; without, with a key each"
        ),
        format!(
            "parked: {jobs} jobs, {CONNECTIONS} connections, leases of {BATCH} with settle; before, \
             and beside {waiting} spent keys with a job each"
        ),
        format!("tenants: {jobs} jobs, drained likewise; of one tenant, of {}", args.tenants),
        format!("gate: named by {waiting} waiting jobs; closed and opened, {TURNS} turns"),
        format!("schedules: {}, all due in one second; one enqueue at a time", args.schedules),
        "Longshore: durable, a new folder for each server".to_owned(),
    ];
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    begin("when and how many: unique keys, limits, tenants, gates, schedules", &settings);
    bench.pairs(longshore, None)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = vec![unique(bench)?, parked(bench)?, tenants(bench)?, gate(bench)?];
    figures.extend(schedules::measure(bench)?);
    Ok(figures)
}

/// Enqueues these jobs in the largest bulks. For how long.
fn bulks(
    server: &Server,
    queue: &str,
    count: u64,
    job: impl Fn(u64) -> String,
) -> Result<Duration> {
    let mut connection = BlockingConnection::open(server.address)?;
    let (mut request, mut took) = (Vec::new(), Duration::ZERO);
    let path = format!("/v1/queues/{queue}/jobs");
    for first in (0..count).step_by(BULK_JOBS as usize) {
        let jobs: Vec<_> = (first..count.min(first + BULK_JOBS)).map(&job).collect();
        request.clear();
        post(&mut request, &path, format!("{{\"jobs\":[{}]}}", jobs.join(",")).as_bytes());
        let start = Instant::now();
        connection.exchange(&request)?.success()?;
        took += start.elapsed();
    }
    Ok(took)
}

/// Leases and acknowledges all that a queue hands out; jobs per second, and how many.
fn drain(server: &Server, queue: &'static str) -> Result<(f64, u64)> {
    let (runtime, start) = (crowd::runtime()?, Instant::now());
    let settled = runtime.block_on(crowd::drain(CONNECTIONS, server.address, queue, BATCH))?;
    Ok((settled as f64 / start.elapsed().as_secs_f64(), settled))
}

fn put_one(server: &Server, path: &str, body: &str) -> Result<()> {
    let mut request = Vec::new();
    put(&mut request, path, body.as_bytes());
    BlockingConnection::open(server.address)?.exchange(&request)?.success().map(drop)
}

fn unique(bench: &Bench) -> Result<Figure> {
    let count = bench.args.backlog_jobs;
    let took = |more: &str| {
        let folder = bench.folder()?;
        let server = Server::start(&bench.program, folder.path())?;
        let job = |number| format!("{{\"kind\":\"noop\",\"args\":{{\"n\":{number}}}{more}}}");
        anyhow::Ok(bulks(&server, "bench", count, job)?.as_secs_f64())
    };
    let (without_s, with_s) = (took("")?, took(",\"unique\":{}")?);
    let details = [("without_s", without_s), ("with_s", with_s)];
    Ok(Figure::new(&UNIQUE, 100.0 * with_s / without_s, details))
}

fn parked(bench: &Bench) -> Result<Figure> {
    let count = bench.args.backlog_jobs;
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let runtime = crowd::runtime()?;
    runtime.block_on(fill(server.address, bench.args.jobs))?;
    thread::sleep(REST);
    let (without, _) = drain(&server, "bench")?;
    let limit = "{\"scope\":\"key\",\"window\":{\"max\":1,\"per\":\"24h\"}}";
    put_one(&server, "/v1/limits/api", limit)?;
    let job = |number: u64| {
        format!(
            "{{\"kind\":\"call\",\"args\":{{\"n\":{number}}},\
             \"limit\":{{\"name\":\"api\",\"by\":\"/n\"}}}}"
        )
    };
    bulks(&server, "calls", count, job)?;
    let (spent_per_s, spent) = drain(&server, "calls")?;
    ensure!(spent == count, "{spent} of {count} keys were spent");
    bulks(&server, "calls", count, job)?;
    ensure!(drain(&server, "calls")?.1 == 0, "a key of which nothing was left was handed out");
    runtime.block_on(fill(server.address, bench.args.jobs))?;
    thread::sleep(REST);
    let (with, _) = drain(&server, "bench")?;
    let memory_mib = server.process.memory_mib()?;
    let details = [
        ("without_per_s", without),
        ("with_per_s", with),
        ("limited_per_s", spent_per_s),
        ("memory_mib", memory_mib),
    ];
    Ok(Figure::new(&PARKED, 100.0 * with / without, details))
}

fn tenants(bench: &Bench) -> Result<Figure> {
    let rate = |tenants: u64| {
        let folder = bench.folder()?;
        let server = Server::start(&bench.program, folder.path())?;
        let job = |number: u64| {
            let tenant = number % tenants;
            format!("{{\"kind\":\"noop\",\"args\":{{\"n\":{number}}},\"tenant\":\"t{tenant}\"}}")
        };
        bulks(&server, "bench", bench.args.jobs, job)?;
        let (rate, drained) = drain(&server, "bench")?;
        ensure!(drained == bench.args.jobs, "{drained} jobs were drained");
        Ok(rate)
    };
    let (one, many) = (rate(1)?, rate(bench.args.tenants)?);
    Ok(Figure::new(&TENANTS, 100.0 * many / one, [("one_per_s", one), ("many_per_s", many)]))
}

fn gate(bench: &Bench) -> Result<Figure> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    put_one(&server, "/v1/gates/bank", "{}")?;
    let job =
        |number| format!("{{\"kind\":\"noop\",\"args\":{{\"n\":{number}}},\"gates\":[\"bank\"]}}");
    bulks(&server, "bench", bench.args.backlog_jobs, job)?;
    thread::sleep(REST);
    let mut connection = BlockingConnection::open(server.address)?;
    let mut took_ms = Vec::new();
    for turn in 0..TURNS {
        let (word, body) =
            if turn % 2 == 0 { ("close", "{\"reason\":\"x\"}") } else { ("open", "{}") };
        let mut request = Vec::new();
        post(&mut request, &format!("/v1/gates/bank/{word}"), body.as_bytes());
        let start = Instant::now();
        connection.exchange(&request)?.success()?;
        took_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took_ms.sort_by(f64::total_cmp);
    let slowest = took_ms.last().copied().context("no turns")?;
    Ok(Figure::new(&GATE, slowest, [("median_ms", took_ms[TURNS / 2])]))
}
