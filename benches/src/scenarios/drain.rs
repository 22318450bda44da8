//! Jobs enqueued before, drained in batches of 100 by lease with settle; beside Sidekiq draining
//! as many from Redis.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crowd;
use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::jobs::fill;
use crate::longshore::Server;
use crate::peers::{Peer, Redis, Workers};
use crate::report::{Figure, Measure, Target};

const CONNECTIONS: usize = 4;
const BATCH: usize = 100;

const DRAIN: Measure = Measure {
    name: "drain",
    what: "drain, batches of 100",
    unit: "jobs/s",
    target: Target::RatioAtLeast(10),
};

const DRAIN_CPU: Measure = Measure {
    name: "drain-cpu",
    what: "processor time of the server per drained job",
    unit: "us",
    target: Target::RatioAtMost { percent: 100 },
};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let ours = format!(
        "Longshore: {} jobs, {CONNECTIONS} connections, lease of {BATCH} with settle",
        bench.args.jobs
    );
    let theirs = format!("Sidekiq: {}; Redis: {}", Workers::settings(), Redis::SETTINGS);
    begin("drain: no-op jobs with args of 200 bytes, enqueued before", &[&ours, &theirs]);
    let peer = bench.has(Peer::Sidekiq).then_some(("Sidekiq", &sidekiq as _));
    bench.pairs(longshore, peer)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let runtime = crowd::runtime()?;
    runtime.block_on(fill(server.address, bench.args.jobs))?;
    // Sidekiq's processes boot for as long, while Redis rests.
    std::thread::sleep(Duration::from_secs(1));
    let meter = Meter::start(&[server.process.pid()]);
    let start = Instant::now();
    let settled = runtime.block_on(crowd::drain(CONNECTIONS, server.address, "bench", BATCH))?;
    let elapsed_s = start.elapsed().as_secs_f64();
    ensure!(settled == bench.args.jobs, "{settled} of {} jobs were drained", bench.args.jobs);
    Ok(figures(settled as f64 / elapsed_s, meter.stop(settled)))
}

fn sidekiq(bench: &Bench) -> Result<Vec<Figure>> {
    let (rate, details) = sidekiq_rate(bench)?;
    Ok(figures(rate, details))
}

fn figures(rate: f64, details: [(&'static str, f64); 5]) -> Vec<Figure> {
    let per_job_us = details[4].1;
    vec![Figure::new(&DRAIN, rate, details), Figure::new(&DRAIN_CPU, per_job_us, [])]
}

/// How fast Sidekiq drains, and what the processors did meanwhile.
pub(super) fn sidekiq_rate(bench: &Bench) -> Result<(f64, [(&'static str, f64); 5])> {
    let folder = bench.folder()?;
    let mut redis = Redis::start(folder.path())?;
    redis.stage(bench.args.jobs)?;
    let workers = Workers::start(&mut redis)?;
    // They start to fetch right after they said that they started.
    std::thread::sleep(Duration::from_millis(500));
    let mut pids = workers.pids();
    pids.push(redis.process.pid());
    let meter = Meter::start(&pids);
    let start = Instant::now();
    redis.release()?;
    while redis.waiting()? > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let rate = bench.args.jobs as f64 / start.elapsed().as_secs_f64();
    Ok((rate, meter.stop(bench.args.jobs)))
}
