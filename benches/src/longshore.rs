//! The server under test, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::http::{BlockingConnection, get};
use crate::process::{Process, command};

/// What `serve` says first on standard output, before its address.
const LISTENING: &str = "listening on http://";

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// From the start of the process to the first answer that says ready.
    pub(crate) ready_after: Duration,
    /// Read on or not, a closed pipe would be an error to write to.
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it on the folder `data` below `folder` and waits until it is ready.
    pub(crate) fn start(program: &Path, folder: &Path) -> Result<Self> {
        Self::start_with(program, folder, &[])
    }

    /// The same, with more on its command line.
    pub(crate) fn start_with(program: &Path, folder: &Path, more: &[&str]) -> Result<Self> {
        let log = folder.join("longshore.log");
        let start = Instant::now();
        let mut command = Command::new(program);
        // It ends with this process, whatever becomes of it.
        command.env("LONGSHORE_PARENT", std::process::id().to_string());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data"));
        command.args(more);
        let mut process = Process::start("longshore", &mut command, &log, true)?;
        let seen = || fs::read_to_string(&log).unwrap_or_default();
        let mut stdout = BufReader::new(process.take_stdout().context("no standard output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().strip_prefix(LISTENING).and_then(|it| it.parse().ok());
        let Some(address) = address else { bail!("the server said {line:?}: {}", seen()) };
        let ready = get("/readyz");
        process
            .until(|| {
                let mut connection = BlockingConnection::open(address).ok()?;
                (connection.exchange(&ready).ok()?.status == 200).then_some(())
            })
            .with_context(seen)?;
        Ok(Self { process, address, ready_after: start.elapsed(), stdout })
    }

    /// What it says next on standard output.
    pub(crate) fn next_line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line)
    }
}

/// A worker process of the SDK on a server, with what it prints.
pub(crate) fn sdk_worker(server: &Server, log: &Path, words: &[&str]) -> Result<Process> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("bench-worker");
    ensure!(program.exists(), "no worker at {}: build this package whole", program.display());
    let mut command = command(program);
    command.arg(format!("http://{}", server.address)).args(words);
    Process::start("bench-worker", &mut command, log, true)
}

/// The release binary of this checkout, built first.
pub(crate) fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = Command::new(cargo)
        .args(["build", "--release", "--package", "longshore-cli", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .status()
        .context("cannot start cargo: name a binary with --longshore")?;
    ensure!(built.success(), "the server could not be built");
    // This program lies in the same folder, unless it was copied elsewhere.
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("longshore");
    ensure!(beside.exists(), "no binary at {}: name one with --longshore", beside.display());
    Ok(beside)
}

/// What the binary says of itself.
pub(crate) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
