//! Iterations of which each waits until every item is durable, beside the disk: one write with
//! fdatasync after the other.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::{Bench, begin};
use crate::floor::Disk;
use crate::host::Meter;
use crate::longshore::{Server, sdk_worker};
use crate::report::{Figure, Measure, Target, median};

const CHECKPOINT: Measure = Measure {
    name: "checkpoint",
    what: "durable checkpoints, 64 jobs that wait for each",
    unit: "per s",
    target: Target::RatioAtLeast(5),
};
/// Seconds that are not counted, while the jobs begin.
const WARM_UP: usize = 1;
/// How long the disk is measured.
const DISK: Duration = Duration::from_secs(2);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let ours = format!(
        "Longshore: one worker process, 64 iterations, {} s, median second",
        bench.args.checkpoint_seconds
    );
    let floor = "disk: 4 KiB written over in an already written file + fdatasync, again and again";
    begin("checkpoint: each item waits until it is durable", &[&ours, floor]);
    bench.pairs(longshore, Some(("fdatasync", &disk as _)))
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let log = folder.path().join("worker.log");
    let mut worker = sdk_worker(&server, &log, &["checkpoint"])?;
    let meter = Meter::start(&[server.process.pid(), worker.pid()]);
    let stdout = BufReader::new(worker.take_stdout().context("no standard output")?);
    let seconds = bench.args.checkpoint_seconds as usize;
    let mut counts = Vec::with_capacity(seconds);
    for line in stdout.lines().skip(WARM_UP).take(seconds) {
        let line = line?;
        counts.push(line.parse::<u32>().with_context(|| format!("it said {line:?}"))?);
    }
    let total = counts.iter().map(|it| u64::from(*it)).sum();
    let rate = median(counts.into_iter().map(f64::from).collect()).context("the worker ended")?;
    Ok(vec![Figure::new(&CHECKPOINT, rate, meter.stop(total))])
}

fn disk(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let mut disk = Disk::prepare(folder.path())?;
    let (start, mut writes) = (Instant::now(), 0_u32);
    while start.elapsed() < DISK {
        disk.write()?;
        writes += 1;
    }
    let rate = f64::from(writes) / start.elapsed().as_secs_f64();
    Ok(vec![Figure::new(&CHECKPOINT, rate, [])])
}
