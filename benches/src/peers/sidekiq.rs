//! Redis with its append-only file synced at every write, and Sidekiq processes that drain it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::port;
use crate::process::{Process, command};

/// Processes and threads of each.
const PROCESSES: u32 = 2;
const THREADS: u32 = 10;

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/sidekiq.rb")
}

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) process: Process,
    pub(super) folder: PathBuf,
    address: SocketAddr,
    connection: TcpStream,
}

impl Redis {
    /// What it is told, for people.
    pub(crate) const SETTINGS: &str = "appendonly yes, appendfsync always, save \"\"";

    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let address = port::free()?;
        let mut server = command("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--dir"]);
        server.arg(folder);
        server.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        let log = folder.join("redis.log");
        let mut process = Process::start("redis-server", &mut server, &log, false)?;
        process.until(|| port::is_open(address))?;
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        Ok(Self { process, folder: folder.to_path_buf(), address, connection })
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Enqueues jobs with Sidekiq's own client, out of the reach of workers.
    pub(crate) fn stage(&self, count: u64) -> Result<()> {
        let pushed = Command::new("ruby")
            .arg(program())
            .arg(count.to_string())
            .env("REDIS_URL", self.url())
            .status()
            .context("cannot start ruby")?;
        ensure!(pushed.success(), "Sidekiq's client failed");
        Ok(())
    }

    /// Gives the staged jobs to the workers, all at once.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.ask("RENAME queue:staged queue:bench").map(drop)
    }

    /// How many jobs no worker has fetched yet.
    pub(crate) fn waiting(&mut self) -> Result<u64> {
        self.number("LLEN queue:bench")
    }

    pub(super) fn number(&mut self, command: &str) -> Result<u64> {
        let answer = self.ask(command)?;
        let number = answer.trim_start_matches([':', '$']).lines().next_back();
        number.and_then(|it| it.parse().ok()).with_context(|| format!("{command}: {answer:?}"))
    }

    /// Sends a command whose answer is short.
    fn ask(&mut self, command: &str) -> Result<String> {
        self.connection.write_all(format!("{command}\r\n").as_bytes())?;
        let mut room = [0; 512];
        let count = self.connection.read(&mut room)?;
        let answer = String::from_utf8_lossy(&room[..count]).trim().to_owned();
        ensure!(!answer.starts_with('-'), "{command}: {answer}");
        Ok(answer)
    }
}

/// Sidekiq processes.
#[derive(Debug)]
pub(crate) struct Workers {
    processes: Vec<Process>,
}

impl Workers {
    /// What they are told, for people.
    pub(crate) fn settings() -> String {
        format!("{PROCESSES} processes x {THREADS} threads, log level ERROR")
    }

    /// Starts them and waits until all have booted.
    pub(crate) fn start(redis: &mut Redis) -> Result<Self> {
        let log = redis.folder.join("sidekiq.log");
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            let mut server = command("sidekiq");
            server.args(["-q", "bench", "-c", &THREADS.to_string(), "-r"]).arg(program());
            server.env("REDIS_URL", redis.url()).current_dir(&redis.folder);
            processes.push(Process::start("sidekiq", &mut server, &log, false)?);
        }
        for process in &mut processes {
            process.until(|| {
                let started = redis.number("INCRBY bench:started 0").ok()?;
                (started >= u64::from(PROCESSES)).then_some(())
            })?;
        }
        Ok(Self { processes })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}
