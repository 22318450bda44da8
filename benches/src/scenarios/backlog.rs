//! A million waiting jobs: the memory that they take, and the time from a start after SIGKILL to
//! the first job handed out; beside beanstalkd.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crowd;
use crate::bench::{Bench, begin};
use crate::jobs::{Worker, fill};
use crate::longshore::Server;
use crate::peers::{Beanstalkd, Binlog, Peer, Producer, Taker};
use crate::report::{Figure, Measure, Target};

const MEMORY: Measure = Measure {
    name: "backlog-memory",
    what: "a million waiting jobs, memory above idle",
    unit: "MiB",
    target: Target::AtMost(64),
};
const RESTART: Measure = Measure {
    name: "backlog-restart",
    what: "restart after SIGKILL to the first lease",
    unit: "ms",
    target: Target::AtMost(2000),
};

/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// Puts that share a round trip: only what is there in the end is measured.
const WINDOW: usize = 100;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let title = format!("backlog: {} waiting jobs with args of 200 bytes", bench.args.backlog_jobs);
    let theirs = "beanstalkd: -b FOLDER -F (never synced: only memory and restart are measured)";
    begin(&title, &[theirs]);
    let peer = bench.has(Peer::Beanstalkd).then_some(("beanstalkd", &beanstalkd as _));
    bench.pairs(longshore, peer)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let mut server = Server::start(&bench.program, folder.path())?;
    let runtime = crowd::runtime()?;
    std::thread::sleep(REST);
    let idle_mib = server.process.memory_mib()?;
    runtime.block_on(fill(server.address, bench.args.backlog_jobs))?;
    let filled_mib = server.process.memory_mib()?;
    std::thread::sleep(REST);
    let rested_mib = server.process.memory_mib()?;
    server.process.kill()?;
    let start = Instant::now();
    let server = Server::start(&bench.program, folder.path())?;
    let leased = runtime.block_on(async {
        let mut worker = Worker::open(server.address, 1).await?;
        worker.turn().await
    })?;
    let restart_ms = start.elapsed().as_secs_f64() * 1e3;
    ensure!(leased.leased == 1, "no job was there after the restart");
    std::thread::sleep(REST);
    let again_mib = server.process.memory_mib()?;
    let memory =
        [("idle_mib", idle_mib), ("just_filled_mib", filled_mib), ("after_restart_mib", again_mib)];
    let ready_ms = server.ready_after.as_secs_f64() * 1e3;
    Ok(vec![
        Figure::new(&MEMORY, rested_mib - idle_mib, memory),
        Figure::new(&RESTART, restart_ms, [("ready_ms", ready_ms)]),
    ])
}

fn beanstalkd(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let mut server = Beanstalkd::start(folder.path(), Binlog::Never)?;
    let runtime = crowd::runtime()?;
    std::thread::sleep(REST);
    let idle_mib = server.process.memory_mib()?;
    runtime.block_on(async {
        let mut producer = Producer::open(server.address, WINDOW).await?;
        for _ in 0..bench.args.backlog_jobs / WINDOW as u64 {
            producer.put().await?;
        }
        anyhow::Ok(())
    })?;
    std::thread::sleep(REST);
    let memory_mib = server.process.memory_mib()? - idle_mib;
    server.process.kill()?;
    let start = Instant::now();
    let server = Beanstalkd::start(folder.path(), Binlog::Never)?;
    let taken = runtime.block_on(async { Taker::open(server.address).await?.take().await })?;
    let restart_ms = start.elapsed().as_secs_f64() * 1e3;
    ensure!(taken, "beanstalkd had no job after the restart");
    Ok(vec![
        Figure::new(&MEMORY, memory_mib, [("idle_mib", idle_mib)]),
        Figure::new(&RESTART, restart_ms, []),
    ])
}
