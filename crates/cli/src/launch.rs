//! Processes of this same binary, started by `demo` and `bench`: they end with the process that
//! started them, whatever becomes of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::client::Client;

/// What `serve` says first on standard output, before the address.
pub(crate) const LISTENING: &str = "listening on ";

/// How long a process may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of this binary.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) pid: u32,
}

impl Process {
    /// Starts `longshore ARGS`, with standard error going to `log`. Signals of the terminal do
    /// not reach it: its parent passes on what it has to hear.
    pub(crate) fn start(args: &[&OsStr], log: File) -> Result<(Self, Option<ChildStdout>)> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let mut child = Command::new(program)
            .args(args)
            .env("LONGSHORE_PARENT", std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let shown: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
                format!("cannot start longshore {}", shown.join(" "))
            })?;
        let pid = child.id().unwrap_or_default();
        let stdout = child.stdout.take();
        Ok((Self { child, pid }, stdout))
    }

    /// SIGKILL, and the wait for its end.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for its end after SIGTERM; SIGKILL where that takes too long.
    pub(crate) async fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        if let Ok(status) = timeout(patience, self.child.wait()).await {
            return status;
        }
        self.child.kill().await?;
        self.child.wait().await
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// A server that runs as a process of its own.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pub(crate) process: Process,
    /// `host:port`.
    pub(crate) address: String,
}

impl ServerProcess {
    /// Starts a server on `data` and waits until it is ready. Its log goes to the end of `log`.
    pub(crate) async fn start(data: &Path, listen: &str, log: &Path) -> Result<Self> {
        let log_file = File::options().create(true).append(true).open(log)?;
        let [serve, at, to] = ["serve", "--listen", "--data"].map(OsStr::new);
        let args = [serve, at, OsStr::new(listen), to, data.as_os_str()];
        let (process, stdout) = Process::start(&args, log_file)?;
        let seen = || format!("see {}", log.display());
        let mut lines = BufReader::new(stdout.context("no standard output")?).lines();
        let first = timeout(PATIENCE, lines.next_line());
        let first = first.await.context("the server does not start").with_context(seen)??;
        let address = first.as_deref().and_then(|line| line.strip_prefix(LISTENING));
        let Some(address) = address.map(|url| url.trim_start_matches("http://").to_owned()) else {
            bail!("the server did not start; {}", seen());
        };
        // Nobody reads on, but the pipe stays open: a closed one would be an error to write to.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut server = Self { process, address };
        server.until_ready().await.with_context(seen)?;
        Ok(server)
    }

    async fn until_ready(&mut self) -> Result<()> {
        let client = Client::new(&self.address, None)?;
        let until = Instant::now() + PATIENCE;
        loop {
            if client.ask("GET", "/readyz", None).await.is_ok() {
                return Ok(());
            }
            if self.process.has_ended() {
                bail!("the server ended while it started");
            }
            if Instant::now() > until {
                bail!("the server is not ready after {} s", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// In a process that was started here: end with the parent. Called before anything else is done.
pub(crate) fn end_with_parent() {
    let Ok(parent) = std::env::var("LONGSHORE_PARENT") else { return };
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before the line above.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_deref() != Some(parent.as_str()) {
        std::process::exit(1);
    }
}
