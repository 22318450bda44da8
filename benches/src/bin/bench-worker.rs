//! A worker process of the SDK as the benchmarks drive it: it works on the queue `bench` of the
//! server at URL until it is killed, with everything as the SDK does it by default.
//!
//!   bench-worker URL drain          no-op jobs
//!   bench-worker URL iterate ITEMS  one iteration over no-op items; prints nanoseconds per item
//!   bench-worker URL checkpoint     64 iterations of which each item waits to be durable; prints
//!                                 how many were in each second

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use longshore::{
    Checkpoints, Client, Context, Enumerator, Iteration, IterationSettings, Job, JobError,
    JobResult, Outcome, Perform, Worker,
};
use serde::{Deserialize, Serialize};

/// Iterations at a time that wait for each of their checkpoints.
const WAITING: u32 = 64;

/// What the jobs of a process share.
#[derive(Debug, Default)]
struct Shared {
    items: AtomicU64,
    began: std::sync::Mutex<Option<Instant>>,
}

/// The args of 200 bytes that all sides get.
#[derive(Debug, Deserialize, Job, Serialize)]
#[job(kind = "noop", queue = "bench")]
struct NoOp(u64, String);

impl Perform<Arc<Shared>> for NoOp {
    async fn perform(self, _: Context<Arc<Shared>>) -> JobResult {
        Ok(Outcome::DONE)
    }
}

#[derive(Debug, Deserialize, Job, Serialize)]
#[job(queue = "bench", output = u64)]
struct Iterate {
    items: u64,
}

impl Iteration<Arc<Shared>> for Iterate {
    type Item = u64;
    type Cursor = u64;

    async fn on_start(&self, ctx: &Context<Arc<Shared>>) -> Result<(), JobError> {
        *ctx.state().began.lock().expect("no holder panics") = Some(Instant::now());
        Ok(())
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<Arc<Shared>>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..self.items, cursor))
    }

    async fn each(&self, _: &u64, _: &Context<Arc<Shared>>) -> Result<(), JobError> {
        Ok(())
    }

    async fn on_complete(&self, ctx: &Context<Arc<Shared>>) -> JobResult<u64> {
        let began = *ctx.state().began.lock().expect("no holder panics");
        let took = began.map_or(Duration::ZERO, |it| it.elapsed());
        Ok(Outcome::done(took.as_nanos() as u64))
    }
}

#[derive(Debug, Deserialize, Job, Serialize)]
#[job(queue = "bench")]
struct Wait {
    number: u32,
}

impl Iteration<Arc<Shared>> for Wait {
    type Item = u64;
    type Cursor = u64;

    fn settings(&self) -> IterationSettings {
        IterationSettings::new().checkpoints(Checkpoints::EACH)
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<Arc<Shared>>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..u64::MAX, cursor))
    }

    async fn each(&self, _: &u64, ctx: &Context<Arc<Shared>>) -> Result<(), JobError> {
        ctx.state().items.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [url, what, ..] = words[..] else { bail!("a URL and what to do are needed") };
    let client = Client::new(url)?;
    let shared = Arc::new(Shared::default());
    let worker = Worker::new(&client, Arc::clone(&shared)).register::<NoOp>();
    let worker = worker.register_iteration::<Iterate>().register_iteration::<Wait>();
    match (what, words.get(2)) {
        ("drain", None) => drop(worker.run().await?),
        ("iterate", Some(items)) => {
            let items = items.parse().context("no number of items")?;
            let running = tokio::spawn(worker.run());
            let job = client.enqueue(Iterate { items }).await?;
            let took_ns = job.result(Duration::from_secs(600)).await?;
            say(took_ns as f64 / items as f64);
            running.abort();
        }
        ("checkpoint", None) => {
            let running = tokio::spawn(worker.concurrency(WAITING).run());
            for number in 0..WAITING {
                client.enqueue(Wait { number }).await?;
            }
            while !running.is_finished() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                say(shared.items.swap(0, Ordering::Relaxed));
            }
        }
        _ => bail!("no such thing to do: {what}"),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "standard output is where the benchmark reads it")]
fn say(figure: impl Display) {
    println!("{figure}");
}
