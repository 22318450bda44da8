//! One enqueue at a time from one client, beside its floor: a durable write of 4 KiB by itself
//! and an HTTP round trip to the same server, measured in turns with it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, begin};
use crate::floor::Disk;
use crate::http::{BlockingConnection, get};
use crate::jobs::enqueue_one;
use crate::longshore::Server;
use crate::report::{Figure, Measure, Target, median};

/// Rounds, and how often each of the three is done in one.
const ROUNDS: usize = 40;
const TIMES: usize = 100;

const ENQUEUE: Measure = Measure {
    name: "latency",
    what: "one enqueue, median",
    unit: "us",
    target: Target::RatioAtMost { percent: 150 },
};
const FLOOR: &str = "disk + HTTP";

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let title = format!("latency: one client, one enqueue at a time, {} times", ROUNDS * TIMES);
    let floor = "floor: 4 KiB written over + fdatasync on the same disk, plus GET /livez";
    begin(&title, &[floor]);
    if bench.args.against.is_some() {
        return bench.pairs(|bench| measure(bench).map(|(ours, _)| vec![ours]), None);
    }
    for pair in 1..=bench.args.pairs {
        let (ours, floor) = measure(bench)?;
        bench.add(None, pair, vec![ours])?;
        bench.add(Some(FLOOR), pair, vec![floor])?;
    }
    Ok(())
}

fn measure(bench: &Bench) -> Result<(Figure, Figure)> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let mut connection = BlockingConnection::open(server.address)?;
    let mut disk = Disk::prepare(folder.path())?;
    let (live, enqueue) = (get("/livez"), enqueue_one());
    let [mut disk_us, mut http_us, mut enqueue_us] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        times(&mut disk_us, || Ok(disk.write()?))?;
        times(&mut http_us, || connection.exchange(&live)?.success().map(drop))?;
        times(&mut enqueue_us, || connection.exchange(&enqueue)?.success().map(drop))?;
    }
    let disk_us = median(disk_us).context("no writes")?;
    let http_us = median(http_us).context("no round trips")?;
    enqueue_us.sort_by(f64::total_cmp);
    ensure!(enqueue_us.len() == ROUNDS * TIMES, "{} enqueues", enqueue_us.len());
    let quantile = |permille: usize| enqueue_us[enqueue_us.len() * permille / 1000];
    let details = [("p99_us", quantile(990)), ("p999_us", quantile(999))];
    let ours = Figure::new(&ENQUEUE, quantile(500), details);
    let parts = [("disk_us", disk_us), ("http_us", http_us)];
    Ok((ours, Figure::new(&ENQUEUE, disk_us + http_us, parts)))
}

fn times(sample_us: &mut Vec<f64>, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..TIMES {
        let start = Instant::now();
        act()?;
        sample_us.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(())
}
