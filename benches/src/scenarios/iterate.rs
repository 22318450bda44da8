//! What an iteration adds to each item, with the SDK's default policy for checkpoints and a real
//! server that makes them durable.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};

use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::longshore::{Server, sdk_worker};
use crate::report::{Figure, Measure, Target};

const ITERATE: Measure =
    Measure { name: "iterate", what: "iteration, per item", unit: "us", target: Target::AtMost(2) };
const ITEMS: u64 = 2_000_000;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let ours = format!("Longshore: one job over {ITEMS} no-op items of a range, nothing set");
    begin("iterate: what an iteration adds to each item", &[&ours]);
    bench.pairs(longshore, None)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let log = folder.path().join("worker.log");
    let mut worker = sdk_worker(&server, &log, &["iterate", &ITEMS.to_string()])?;
    let meter = Meter::start(&[server.process.pid(), worker.pid()]);
    let mut line = String::new();
    BufReader::new(worker.take_stdout().context("no standard output")?).read_line(&mut line)?;
    let per_item_ns: f64 = line.trim().parse().with_context(|| format!("it said {line:?}"))?;
    Ok(vec![Figure::new(&ITERATE, per_item_ns / 1e3, meter.stop(ITEMS))])
}
