//! 10,000 jobs per request, sustained; beside rows that `PostgreSQL` takes 1000 per statement.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::crowd;
use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::http::Connection;
use crate::jobs::{BULK_JOBS, enqueue_many};
use crate::longshore::Server;
use crate::peers::{Peer, Postgres};
use crate::report::{Figure, Measure, Target};

const CONNECTIONS: usize = 2;

const BULK: Measure = Measure {
    name: "bulk",
    what: "bulk enqueue, sustained",
    unit: "jobs/s",
    target: Target::AtLeast(150_000),
};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let seconds = bench.args.bulk_seconds;
    let title =
        format!("bulk: jobs with args of 200 bytes, {seconds} s, {CONNECTIONS} connections");
    let ours = format!("Longshore: {BULK_JOBS} per request");
    let theirs = format!("PostgreSQL: {}", Postgres::settings());
    begin(&title, &[&ours, &theirs]);
    if !bench.has(Peer::Postgres) {
        return bench.pairs(longshore, None);
    }
    let folder = bench.folder()?;
    let postgres = Postgres::start(folder.path())?;
    let insert = |bench: &Bench| {
        // Its processes come and go per connection: processor time is not told apart.
        let meter = Meter::start(&[]);
        let rate = postgres.insert(CONNECTIONS as u32, bench.args.bulk_seconds)?;
        let [_, _, (_, all), stolen, _] = meter.stop(0);
        Ok(vec![Figure::new(&BULK, rate, [("machine_cpu_percent", all), stolen])])
    };
    bench.pairs(longshore, Some(("PostgreSQL", &insert as _)))
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let address = server.address;
    let runtime = crowd::runtime()?;
    let request: Rc<[u8]> = enqueue_many(BULK_JOBS).into();
    let answers = Rc::new(RefCell::new(Vec::new()));
    let meter = Meter::start(&[server.process.pid()]);
    let start = Instant::now();
    let until = start + Duration::from_secs(bench.args.bulk_seconds);
    let count = runtime.block_on(crowd::sum(CONNECTIONS, |_| {
        let (request, answers) = (Rc::clone(&request), Rc::clone(&answers));
        async move {
            let mut connection = Connection::open(address).await?;
            let mut count = 0;
            while Instant::now() < until {
                connection.exchange(&request).await?.success()?;
                count += BULK_JOBS;
                answers.borrow_mut().push(start.elapsed().as_secs());
            }
            Ok(count)
        }
    }))?;
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let mut details = meter.stop(count).to_vec();
    let answers = answers.borrow();
    let in_second = |second| answers.iter().filter(|it| **it == second).count() as u64 * BULK_JOBS;
    let slowest = (0..bench.args.bulk_seconds).map(in_second).min().unwrap_or_default();
    details.push(("slowest_second", slowest as f64));
    details.push(("memory_mib", server.process.memory_mib()?));
    Ok(vec![Figure::new(&BULK, rate, details)])
}
