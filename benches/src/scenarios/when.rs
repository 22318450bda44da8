//! When and how many: what unique keys, keys of a limit, tenants, a gate and schedules cost where
//! there are many of them. Ours alone: each figure is against the same server without them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::crowd;
use crate::bench::{Bench, begin};
use crate::http::{BlockingConnection, get, post, put};
use crate::jobs::{BULK_JOBS, enqueue_one, fill};
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
    what: "drain of 10,000 tenants, of the rate with one",
    unit: "%",
    target: Target::AtLeast(70),
};
const GATE: Measure = Measure {
    name: "when-gate",
    what: "a gate over all waiting jobs, the slowest of its turns",
    unit: "ms",
    target: Target::AtMost(5),
};
const SLOT: Measure = Measure {
    name: "when-schedules",
    what: "100,000 schedules due at one instant, the last job after it",
    unit: "s",
    target: Target::AtMost(2),
};
const NEIGHBOUR: Measure = Measure {
    name: "when-schedules-neighbour",
    what: "p99 of one enqueue meanwhile, of that before",
    unit: "%",
    target: Target::AtMost(200),
};

const TENANTS_COUNT: u64 = 10_000;
const SCHEDULES: u64 = 100_000;
const BATCH: usize = 100;
const CONNECTIONS: usize = 4;
const TURNS: usize = 20;
const REST: Duration = Duration::from_secs(2);
/// For how long the latency of one enqueue is measured.
const CALM: Duration = Duration::from_secs(5);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let count = bench.args.backlog_jobs;
    let ours = format!("Longshore: {count} jobs, keys and parked jobs; durable");
    begin("when and how many: unique keys, limits, tenants, gates, schedules", &[&ours]);
    bench.pairs(longshore, None)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = vec![unique(bench)?, parked(bench)?, tenants(bench)?, gate(bench)?];
    figures.extend(schedules(bench)?);
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
    let (one, many) = (rate(1)?, rate(TENANTS_COUNT)?);
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

fn schedules(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let mut connection = BlockingConnection::open(server.address)?;
    // None is due while they are created.
    let slot_s = seconds()?.div_euclid(60) * 60 + 180;
    let (hour, minute) = (slot_s / 3600 % 24, slot_s / 60 % 60);
    let settings = format!(
        "{{\"cron\":\"{minute} {hour} * * *\",\"job\":{{\"queue\":\"ticks\",\"kind\":\"tick\"}}}}"
    );
    let mut request = Vec::new();
    for number in 0..SCHEDULES {
        request.clear();
        put(&mut request, &format!("/v1/schedules/s{number}"), settings.as_bytes());
        connection.exchange(&request)?.success()?;
    }
    ensure!(seconds()? + CALM.as_secs() < slot_s, "creating the schedules took too long");
    let stop = AtomicBool::new(false);
    let calm = p99_until(&server, |since| since >= CALM)?;
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            while seconds()? < slot_s {
                thread::sleep(Duration::from_millis(5));
            }
            p99_until(&server, |_| stop.load(Ordering::Relaxed))
        });
        let late_s = last_tick(&mut connection, slot_s);
        stop.store(true, Ordering::Relaxed);
        let busy = beside.join().map_err(|_| anyhow::anyhow!("the neighbour panicked"))??;
        let details = [("calm_p99_us", calm), ("busy_p99_us", busy)];
        Ok(vec![
            Figure::new(&SLOT, late_s?, []),
            Figure::new(&NEIGHBOUR, 100.0 * busy / calm, details),
        ])
    })
}

/// How long after the slot the last job of it is there, in seconds.
fn last_tick(connection: &mut BlockingConnection, slot_s: u64) -> Result<f64> {
    let queue = get("/v1/queues/ticks");
    loop {
        let late_s = seconds_exactly()? - slot_s as f64;
        if late_s > 0.0 {
            let answer = connection.exchange(&queue)?;
            let ready = if answer.status == 404 {
                0
            } else {
                let view: Value = serde_json::from_slice(answer.success()?)?;
                view["ready"].as_u64().context("a queue without a count")?
            };
            if ready == SCHEDULES {
                return Ok(late_s);
            }
            ensure!(late_s < 120.0, "{ready} of {SCHEDULES} schedules fired in two minutes");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The 99th percentile of enqueues one after the other, in microseconds.
fn p99_until(server: &Server, is_enough: impl Fn(Duration) -> bool) -> Result<f64> {
    let mut connection = BlockingConnection::open(server.address)?;
    let request = enqueue_one();
    let (start, mut took_us) = (Instant::now(), Vec::new());
    while !is_enough(start.elapsed()) || took_us.len() < 100 {
        let begun = Instant::now();
        connection.exchange(&request)?.success()?;
        took_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    took_us.sort_by(f64::total_cmp);
    Ok(took_us[took_us.len() * 99 / 100])
}

fn seconds() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn seconds_exactly() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
