//! 64 connections, one job per request, the next request when the answer is there; beside
//! beanstalkd with its binlog synced at every write.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::crowd;
use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::http::Connection;
use crate::jobs::{Worker, enqueue_one};
use crate::longshore::Server;
use crate::peers::{Beanstalkd, Binlog, Peer, Producer, Taker};
use crate::report::{Figure, Measure, Target};

const CONNECTIONS: usize = 64;

const ENQUEUE: Measure = Measure {
    name: "one-by-one-enqueue",
    what: "enqueue one by one, 64 connections",
    unit: "jobs/s",
    target: Target::RatioAtLeast(3),
};
const TAKE: Measure = Measure {
    name: "one-by-one-take",
    what: "lease with settle one by one, 64 connections",
    unit: "jobs/s",
    target: Target::RatioAtLeast(3),
};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let title = format!(
        "one by one: {CONNECTIONS} connections, {} s of enqueue, then as long of taking",
        bench.args.seconds
    );
    let ours = "Longshore: POST of one job; lease of 1 with settle of the one before";
    let theirs = "beanstalkd: -b FOLDER -f 0; put; reserve and delete; window 1";
    begin(&title, &[ours, theirs]);
    let peer = bench.has(Peer::Beanstalkd).then_some(("beanstalkd", &beanstalkd as _));
    bench.pairs(longshore, peer)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let address = server.address;
    let pids = [server.process.pid()];
    let enqueued = phase(bench, &ENQUEUE, &pids, |until| async move {
        let request = enqueue_one();
        let mut connection = Connection::open(address).await?;
        let mut count = 0;
        while Instant::now() < until {
            connection.exchange(&request).await?.success()?;
            count += 1;
        }
        Ok(count)
    })?;
    let taken = phase(bench, &TAKE, &pids, |until| async move {
        let mut worker = Worker::open(address, 1).await?;
        let mut count = 0;
        while Instant::now() < until {
            let turn = worker.turn().await?;
            count += turn.settled;
            if turn.leased == 0 {
                break;
            }
        }
        Ok(count)
    })?;
    Ok(vec![enqueued, taken])
}

fn beanstalkd(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Beanstalkd::start(folder.path(), Binlog::EveryWrite)?;
    let address = server.address;
    let pids = [server.process.pid()];
    let enqueued = phase(bench, &ENQUEUE, &pids, |until| async move {
        let mut producer = Producer::open(address, 1).await?;
        let mut count = 0;
        while Instant::now() < until {
            producer.put().await?;
            count += 1;
        }
        Ok(count)
    })?;
    let taken = phase(bench, &TAKE, &pids, |until| async move {
        let mut taker = Taker::open(address).await?;
        let mut count = 0;
        while Instant::now() < until && taker.take().await? {
            count += 1;
        }
        Ok(count)
    })?;
    Ok(vec![enqueued, taken])
}

/// Runs a task per connection until its time is over; jobs per second.
fn phase<F>(
    bench: &Bench,
    measure: &'static Measure,
    pids: &[u32],
    task: impl Fn(Instant) -> F,
) -> Result<Figure>
where
    F: Future<Output = Result<u64>> + 'static,
{
    let runtime = crowd::runtime()?;
    let meter = Meter::start(pids);
    let start = Instant::now();
    let until = start + Duration::from_secs(bench.args.seconds);
    let count = runtime.block_on(crowd::sum(CONNECTIONS, |_| task(until)))?;
    Ok(Figure::new(measure, count as f64 / start.elapsed().as_secs_f64(), meter.stop(count)))
}
