//! apalis on Redis: a program of its own, outside the workspace, so that only who measures beside
//! it builds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::sidekiq::Redis;
use crate::process::{Process, command};

/// What cargo is told, at the root of the checkout.
pub(super) const BUILD: [&str; 7] = [
    "build",
    "--release",
    "--locked",
    "--manifest-path",
    "benches/peers/apalis/Cargo.toml",
    "--target-dir",
    "target/peers",
];

/// Jobs that one call of its client pushes: with more, Redis is silent for longer than it waits.
const PUSH_JOBS: u64 = 1_000;

/// What it drains. Its worker looks for each job in the list of those that wait, and takes what is
/// due with an `unpack` of Lua that ends at some 8,000 (apalis-redis 1.0.0, `acquire_leases.lua`
/// and `fetch_next.lua`): with a longer backlog it is slower for each job, or does nothing.
const JOBS_MAX: u64 = 5_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) fn program() -> PathBuf {
    root().join("target/peers/release/apalis-peer")
}

pub(super) fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(BUILD).current_dir(root()).status();
    ensure!(built.context("cannot start cargo")?.success(), "apalis could not be built");
    Ok(())
}

/// The version in its lock file.
pub(super) fn version() -> String {
    let lock = root().join("benches/peers/apalis/Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let of = |name: &str| {
        let after = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some(format!("{name} {}", after.split_once('"')?.0))
    };
    [of("apalis"), of("apalis-redis")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A worker of it.
#[derive(Debug)]
pub(crate) struct Apalis {
    pub(crate) process: Process,
}

impl Apalis {
    /// What it is told, for people.
    pub(crate) const SETTINGS: &str =
        "5,000 jobs, 1 process, concurrency 16, batch_size 100, the rest as it comes";

    /// Enqueues as many jobs of `wanted` as it can deal with, with its own client.
    pub(crate) fn push(redis: &Redis, wanted: u64) -> Result<u64> {
        let count = wanted.min(JOBS_MAX);
        let pushed = Command::new(program())
            .args([redis.url(), "push".to_owned(), count.to_string(), PUSH_JOBS.to_string()])
            .status()
            .context("cannot start apalis-peer")?;
        ensure!(pushed.success(), "apalis' client failed");
        Ok(count)
    }

    pub(crate) fn start(redis: &Redis) -> Result<Self> {
        let mut worker = command(program());
        worker.args([redis.url(), "work".to_owned()]);
        let log = redis.folder.join("apalis.log");
        let process = Process::start("apalis-peer", &mut worker, &log, false)?;
        Ok(Self { process })
    }

    /// How many jobs it has completed.
    pub(crate) fn done(redis: &mut Redis) -> Result<u64> {
        redis.number("SCARD bench:done")
    }
}
