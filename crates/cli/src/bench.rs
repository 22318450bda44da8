//! `longshore bench`: what a server does on this machine, beside what disk and loopback do by
//! themselves. The load shares the machine with the server that it measures.

mod floor;
mod load;
mod sample;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::floor::Disk;
use self::load::{Outcome, Target};
use self::sample::{Sample, show};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::launch::ServerProcess;
use crate::operations;
use crate::output::{self, Format, Table, grouped, note};

#[derive(Args, Debug)]
#[command(after_help = "Without --server it starts a server of its own on an empty store below \
    --data, and removes it afterwards.\nDifferences below 30 % are noise on most machines. Build \
    with --release.")]
pub(crate) struct BenchArgs {
    /// Where the store and the file to measure the disk with go
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    data: PathBuf,
    /// Only these parts; may be repeated [default: all]
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Connections that enqueue, lease and settle one by one
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
    /// Connections that enqueue in bulk, and that drain in batches
    #[arg(long, value_name = "N", default_value_t = 4)]
    bulk_connections: usize,
    /// How long each part runs
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Bytes of each job's args
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    args_bytes: usize,
    /// Jobs per request of a bulk
    #[arg(long, value_name = "N", default_value_t = 1000)]
    bulk: usize,
    /// Jobs per turn of a worker that drains
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    /// Requests of each kind that the latency is measured with
    #[arg(long, value_name = "N", default_value_t = 2000)]
    requests: usize,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// One enqueue after the other, beside a bare write and a bare round trip
    Latency,
    /// Enqueue one by one over many connections
    Enqueue,
    /// Lease with settle, one by one over many connections
    Lease,
    /// Enqueue in bulk
    Bulk,
    /// Lease with settle in batches, of jobs enqueued before
    Drain,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs_per_second: Option<f64>,
    requests: usize,
    median_us: f64,
    p99_us: f64,
}

impl Row {
    fn new(what: impl Into<String>, jobs_per_second: Option<f64>, sample: &Sample) -> Self {
        let micros = |per_mille| sample.quantile(per_mille).as_secs_f64() * 1e6;
        let (median_us, p99_us) = (micros(500), micros(990));
        Self { what: what.into(), jobs_per_second, requests: sample.len(), median_us, p99_us }
    }

    fn of(what: impl Into<String>, outcome: &Outcome) -> Self {
        Self::new(what, Some(outcome.per_second()), &outcome.requests)
    }
}

/// What is printed at the end.
#[derive(Debug, Serialize)]
struct Results {
    settings: Vec<(&'static str, String)>,
    rows: Vec<Row>,
    /// The median enqueue over the sum of a bare write and a bare round trip.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ratio: Option<f64>,
}

pub(crate) async fn execute(args: BenchArgs, context: &Context) -> Result<ExitCode> {
    let bounds = [args.connections, args.bulk_connections, args.bulk, args.batch, args.requests];
    if bounds.contains(&0) || args.seconds == 0 {
        return Err(Failure::usage("a number of 0: there would be nothing to measure").into());
    }
    if cfg!(debug_assertions) {
        note("this is no release build: the figures mean nothing (cargo build --release)");
    }
    let own = if context.server_named { None } else { Some(OwnServer::start(&args.data).await?) };
    let client = match &own {
        Some(own) => context.client_of(&own.server.address)?,
        None => context.client()?,
    };
    let target = Target {
        at: client.target().clone(),
        authorization: client.authorization().map(str::to_owned),
        prefix: client.path(""),
        queue: format!("bench-{}", uuid::Uuid::now_v7()),
        args_bytes: args.args_bytes,
    };
    let results = measure(&args, &target, own.is_some()).await;
    match own {
        Some(own) => own.end().await,
        None => remove(&client, &target.queue).await,
    }
    print(&results?, context.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &BenchArgs, target: &Target, own: bool) -> Result<Results> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let time = Duration::from_secs(args.seconds);
    let mut results =
        Results { settings: settings(args, target, own), rows: Vec::new(), latency_ratio: None };
    if wanted(Part::Latency) {
        measure_latency(args, target, &mut results).await?;
    }
    let rows = &mut results.rows;
    let connections = args.connections;
    if wanted(Part::Enqueue) {
        note("enqueueing one by one ...");
        let outcome = target.enqueue_for(connections, 1, time).await?;
        rows.push(Row::of(format!("enqueue, {connections} connections"), &outcome));
    }
    if wanted(Part::Lease) {
        note("leasing and settling one by one ...");
        fill(args, target, 100_000 * args.seconds).await?;
        let outcome = target.drain(connections, 1, time).await?;
        rows.push(Row::of(format!("lease with settle, {connections} connections"), &outcome));
    }
    if wanted(Part::Bulk) {
        note("enqueueing in bulk ...");
        let outcome = target.enqueue_for(args.bulk_connections, args.bulk, time).await?;
        rows.push(Row::of(
            format!("enqueue in bulks of {}, {} connections", args.bulk, args.bulk_connections),
            &outcome,
        ));
    }
    if wanted(Part::Drain) {
        note("draining in batches ...");
        fill(args, target, 100_000 * args.seconds).await?;
        let outcome = target.drain(args.bulk_connections, args.batch, time).await?;
        rows.push(Row::of(
            format!("drain in batches of {}, {} connections", args.batch, args.bulk_connections),
            &outcome,
        ));
    }
    Ok(results)
}

/// The three alternate, so that what disturbs the machine disturbs all of them.
async fn measure_latency(args: &BenchArgs, target: &Target, results: &mut Results) -> Result<()> {
    note("measuring single requests ...");
    let named = || format!("cannot write below {}", args.data.display());
    let mut disk = Disk::prepare(&args.data).with_context(named)?;
    let (mut write, mut trip, mut enqueue) = <(Sample, Sample, Sample)>::default();
    // What happens first on a connection and in a queue is not what is asked for.
    target.enqueue_times(100, &mut Sample::default()).await?;
    let rounds = 10;
    for _ in 0..rounds {
        let times = args.requests.div_ceil(rounds);
        for _ in 0..times {
            let start = std::time::Instant::now();
            disk.write()?;
            write.add(start.elapsed());
        }
        target.round_trips(times, &mut trip).await?;
        target.enqueue_times(times, &mut enqueue).await?;
    }
    let [floor, loopback, ours] =
        [&write, &trip, &enqueue].map(|it| it.quantile(500).as_secs_f64());
    results.latency_ratio = Some(ours / (floor + loopback).max(1e-9));
    results.rows.push(Row::new("write of 4 KiB and fdatasync, no server", None, &write));
    results.rows.push(Row::new("HTTP round trip, nothing done", None, &trip));
    let rate = 1.0 / ours.max(1e-9);
    results.rows.push(Row::new("enqueue, 1 connection", Some(rate), &enqueue));
    Ok(())
}

/// Enqueues until about so many jobs wait.
async fn fill(args: &BenchArgs, target: &Target, jobs: u64) -> Result<()> {
    let client = target.client();
    let path = format!("{}/queues/{}", target.prefix, target.queue);
    let start = std::time::Instant::now();
    loop {
        let waiting = match client.get(&path).await {
            Ok(body) => crate::client::read::<longshore_server::api::QueueRecord>(&body)?.ready,
            // It comes into being with its first job.
            Err(_) => 0,
        };
        if waiting >= jobs || start.elapsed() > Duration::from_secs(60) {
            return Ok(());
        }
        let time = Duration::from_millis(500);
        target.enqueue_for(args.bulk_connections, args.bulk, time).await?;
    }
}

async fn remove(client: &Client, queue: &str) {
    let path = client.path(&format!("/queues/{queue}?force=true"));
    let removed = async {
        let body = client.delete(&path).await?;
        operations::finish(client, &body, true).await
    };
    if let Err(failure) = removed.await {
        note(&format!("queue {queue} is left behind: {failure}"));
    }
}

/// A server on an empty store, for as long as this lasts.
#[derive(Debug)]
struct OwnServer {
    server: ServerProcess,
    folder: PathBuf,
}

impl OwnServer {
    async fn start(below: &Path) -> Result<Self> {
        let folder = below.join(format!("longshore-bench-{}.tmp", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let (store, log) = (folder.join("store"), folder.join("server.log"));
        let server = ServerProcess::start(&store, "127.0.0.1:0", &log).await?;
        Ok(Self { server, folder })
    }

    async fn end(mut self) {
        self.server.process.terminate();
        let _ = self.server.process.wait(Duration::from_secs(10)).await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn settings(args: &BenchArgs, target: &Target, own: bool) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let server = if own { "a process of its own, empty store" } else { "running already" };
    vec![
        ("longshore", format!("{} ({build})", env!("CARGO_PKG_VERSION"))),
        ("server", format!("{}{}, {server}", target.at.url(), target.prefix)),
        ("machine", format!("{cores} cores, shared by server and load")),
        ("args", format!("{} bytes per job", args.args_bytes)),
        ("acknowledged", "when on disk (fdatasync)".to_owned()),
        ("each part", format!("{} s", args.seconds)),
    ]
}

fn print(results: &Results, format: Format) -> Result<()> {
    if format == Format::Json {
        return Ok(output::json(results)?);
    }
    let settings: Vec<_> =
        results.settings.iter().map(|(name, value)| (*name, Some(value.clone()))).collect();
    output::line(&output::facts(&settings))?;
    output::line("")?;
    let mut table = Table::new(&["what", ">jobs/s", ">requests", ">median", ">p99"]);
    for row in &results.rows {
        let time = |micros: f64| show(Duration::from_secs_f64(micros / 1e6));
        table.row(&[
            row.what.clone(),
            row.jobs_per_second.map_or(String::new(), |rate| format!("{rate:.0}")),
            grouped(row.requests as u64),
            time(row.median_us),
            time(row.p99_us),
        ]);
    }
    table.print()?;
    if let Some(ratio) = results.latency_ratio {
        output::line(&format!(
            "\nOne enqueue takes {ratio:.2} times what the bare write and the bare round trip take \
             together (medians)."
        ))?;
    }
    Ok(())
}
