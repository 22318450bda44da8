//! A server that does nothing: how soon it is ready, what memory it takes, how large it is;
//! beside Redis, where that means something.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::{Bench, begin};
use crate::longshore::Server;
use crate::peers::{Peer, Redis};
use crate::report::{Figure, Measure, Target};

const MEMORY: Measure = Measure {
    name: "idle-memory",
    what: "idle server, memory",
    unit: "MiB",
    target: Target::AtMost(15),
};
const START: Measure = Measure {
    name: "idle-start",
    what: "start to ready, empty store",
    unit: "ms",
    target: Target::AtMost(60),
};
const FIRST_START: Measure = Measure {
    name: "idle-first-start",
    what: "start to ready, no store yet",
    unit: "ms",
    target: Target::AtMost(60),
};
const SIZE: Measure = Measure {
    name: "binary-size",
    what: "stripped release binary",
    unit: "MiB",
    target: Target::AtMost(30),
};

/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(2);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let theirs = format!("Redis: {}", Redis::SETTINGS);
    begin("idle: an empty server", &[&theirs]);
    let peer = bench.has(Peer::Sidekiq).then_some(("Redis", &redis as _));
    bench.pairs(longshore, peer)?;
    let size_mib = std::fs::metadata(&bench.program)?.len() as f64 / f64::from(1 << 20);
    bench.add(None, 1, vec![Figure::new(&SIZE, size_mib, [])])
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let first = Server::start(&bench.program, folder.path())?;
    let first_ms = first.ready_after.as_secs_f64() * 1e3;
    // What it prepares ahead is prepared by then: the next start finds an empty store, complete.
    std::thread::sleep(REST);
    drop(first);
    let server = Server::start(&bench.program, folder.path())?;
    let start_ms = server.ready_after.as_secs_f64() * 1e3;
    std::thread::sleep(REST);
    let memory_mib = server.process.memory_mib()?;
    Ok(vec![
        Figure::new(&MEMORY, memory_mib, []),
        Figure::new(&START, start_ms, []),
        Figure::new(&FIRST_START, first_ms, []),
    ])
}

fn redis(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let start = Instant::now();
    let redis = Redis::start(folder.path())?;
    let start_ms = start.elapsed().as_secs_f64() * 1e3;
    std::thread::sleep(REST);
    let memory_mib = redis.process.memory_mib()?;
    Ok(vec![Figure::new(&MEMORY, memory_mib, []), Figure::new(&START, start_ms, [])])
}
