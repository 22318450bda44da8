//! What the command line says, and its defaults.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure Longshore and its peers side by side.
///
/// Peers that are not installed are skipped, and named with what would install them.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    pub(crate) scenario: Scenario,
    /// How many times each side is measured; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    /// Jobs that `drain`, `sdk` and parts of `when` drain
    #[arg(long, default_value_t = 100_000)]
    pub(crate) jobs: u64,
    /// Jobs that wait in `backlog`; keys, and jobs behind a gate, in `when`
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) backlog_jobs: u64,
    /// Tenants of `when`
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tenants: u64,
    /// Schedules of `when` that are due at one instant
    #[arg(long, default_value_t = 100_000)]
    pub(crate) schedules: u64,
    /// Seconds of each phase of `one-by-one`
    #[arg(long, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Seconds of `checkpoint`
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) checkpoint_seconds: u64,
    /// Workers that are connected in `workers`
    #[arg(long, default_value_t = 10_000)]
    pub(crate) workers: usize,
    /// Seconds of `bulk`
    #[arg(long, default_value_t = 10)]
    pub(crate) bulk_seconds: u64,
    /// Messages that wait in `amqp-many`
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) waiting_messages: u64,
    /// Where both sides store: the disk that is measured
    #[arg(long, default_value = "/var/tmp", value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// The server to measure [default: built from this checkout]
    #[arg(long, value_name = "FILE")]
    pub(crate) longshore: Option<PathBuf>,
    /// Another build of Longshore, measured as the peer in place of all others: what a change
    /// brought or cost
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
    /// Which sides to measure
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) sides: Sides,
    /// Install missing peers first, by `apt-get install`
    #[arg(long)]
    pub(crate) install: bool,
    /// Add the figures to the series that is kept in git
    #[arg(long)]
    pub(crate) record: bool,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Sides {
    Both,
    /// Longshore alone
    Ours,
    /// The peers alone
    Peers,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Scenario {
    /// Everything below
    All,
    /// Jobs enqueued before, drained in batches of 100, beside Sidekiq
    Drain,
    /// 64 connections, one job per request, beside beanstalkd
    OneByOne,
    /// Many jobs per request, beside `PostgreSQL`
    Bulk,
    /// One enqueue at a time, beside the disk and an HTTP round trip
    Latency,
    /// A million waiting jobs: memory, and restart after SIGKILL
    Backlog,
    /// An empty server: memory, start, size
    Idle,
    /// Jobs enqueued before, drained by one process of the Rust SDK, beside Sidekiq and apalis
    Sdk,
    /// What an iteration adds to an item
    Iterate,
    /// Iterations that wait for each checkpoint, beside the disk
    Checkpoint,
    /// Connected workers that have nothing to do: memory, and how soon a job starts
    Workers,
    /// Messages over AMQP with confirms, beside `RabbitMQ`
    Amqp,
    /// Many queues, bindings, connections and waiting messages over AMQP
    AmqpMany,
    /// Events over Kafka's protocol, loaded by Kafka's own tools, beside Apache Kafka
    Kafka,
    /// Unique keys, keys of limits, tenants, gates and schedules, many of each
    When,
    /// Many queues and namespaces: memory, restart, leases over patterns, pauses
    Queues,
}
