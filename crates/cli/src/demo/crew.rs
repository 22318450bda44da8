//! The demo's processes: a server and workers, which can be killed and started again.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use longshore_server::api::DurationText;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::line::Line;
use crate::launch::{Process, ServerProcess};

/// How long a process may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where everything lies.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The files to archive.
    pub(super) folder: PathBuf,
    pub(super) archive: PathBuf,
    pub(super) store: PathBuf,
    pub(super) logs: PathBuf,
}

/// How the workers are to work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) concurrency: usize,
    /// The least time for each file.
    pub(super) pace: DurationText,
}

/// The processes.
#[derive(Debug)]
pub(super) struct Crew {
    places: Places,
    work: Work,
    pub(super) server: ServerProcess,
    workers: Vec<Process>,
    /// What reads the lines of each worker.
    readers: Vec<JoinHandle<()>>,
    sender: UnboundedSender<(usize, Line)>,
    lines: UnboundedReceiver<(usize, Line)>,
}

impl Crew {
    /// Starts the server.
    pub(super) async fn start(places: Places, work: Work) -> Result<Self> {
        let log = places.logs.join("server.log");
        let server = ServerProcess::start(&places.store, "127.0.0.1:0", &log).await?;
        let (sender, lines) = unbounded_channel();
        let (workers, readers) = (Vec::new(), Vec::new());
        Ok(Self { places, work, server, workers, readers, sender, lines })
    }

    pub(super) fn set_work(&mut self, work: Work) {
        self.work = work;
    }

    /// Starts one more worker.
    pub(super) fn add_worker(&mut self) -> Result<()> {
        let number = self.workers.len();
        let (process, reader) = self.start_worker(number)?;
        self.workers.push(process);
        self.readers.push(reader);
        Ok(())
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The next thing that a worker tells.
    pub(super) async fn next_line(&mut self) -> (usize, Line) {
        match self.lines.recv().await {
            Some(told) => told,
            // Not while this value holds a sender.
            None => std::future::pending().await,
        }
    }

    /// What was told already and not yet heard.
    pub(super) fn line_at_hand(&mut self) -> Option<(usize, Line)> {
        self.lines.try_recv().ok()
    }

    fn start_worker(&self, number: usize) -> Result<(Process, JoinHandle<()>)> {
        let log = self.places.logs.join(format!("worker-{}.log", number + 1));
        let log = File::options().create(true).append(true).open(log)?;
        let (concurrency, pace) = (self.work.concurrency.to_string(), self.work.pace.to_string());
        let name = format!("demo-{}", number + 1);
        let args = [
            OsStr::new("demo-worker"),
            OsStr::new("--at"),
            OsStr::new(&self.server.address),
            OsStr::new("--folder"),
            self.places.folder.as_os_str(),
            OsStr::new("--archive"),
            self.places.archive.as_os_str(),
            OsStr::new("--concurrency"),
            OsStr::new(&concurrency),
            OsStr::new("--pace"),
            OsStr::new(&pace),
            OsStr::new("--name"),
            OsStr::new(&name),
        ];
        let (process, stdout) = Process::start(&args, log)?;
        let reader = tokio::spawn(pass_on(number, stdout, self.sender.clone()));
        Ok((process, reader))
    }

    /// SIGKILL for a worker. Answers its process id; all that it told is at hand then.
    pub(super) async fn kill_worker(&mut self, number: usize) -> Result<u32> {
        let process = self.workers.get_mut(number).context("no such worker")?;
        process.kill().await?;
        let pid = process.pid;
        if let Some(reader) = self.readers.get_mut(number) {
            reader.await?;
        }
        Ok(pid)
    }

    /// Starts a killed worker again.
    pub(super) fn restart_worker(&mut self, number: usize) -> Result<()> {
        let (process, reader) = self.start_worker(number)?;
        if let Some(worker) = self.workers.get_mut(number) {
            *worker = process;
        }
        if let Some(known) = self.readers.get_mut(number) {
            *known = reader;
        }
        Ok(())
    }

    pub(super) fn server_log(&self) -> PathBuf {
        self.places.logs.join("server.log")
    }

    /// SIGKILL for the server. Answers its process id.
    pub(super) async fn kill_server(&mut self) -> Result<u32> {
        self.server.process.kill().await?;
        Ok(self.server.process.pid)
    }

    /// Starts the server again where it was.
    pub(super) async fn restart_server(&mut self) -> Result<()> {
        let log = self.server_log();
        let address = self.server.address.clone();
        self.server = ServerProcess::start(&self.places.store, &address, &log).await?;
        Ok(())
    }

    /// Stops the workers, then the server, all of them gracefully where they can.
    pub(super) async fn stop(mut self, patience: Duration) {
        for worker in &self.workers {
            worker.terminate();
        }
        for worker in &mut self.workers {
            let _ = worker.wait(patience).await;
        }
        self.server.process.terminate();
        let _ = self.server.process.wait(patience.min(PATIENCE)).await;
    }
}

async fn pass_on(
    worker: usize,
    stdout: Option<ChildStdout>,
    sender: UnboundedSender<(usize, Line)>,
) {
    let Some(stdout) = stdout else { return };
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(line) = serde_json::from_str(&line) {
            let _ = sender.send((worker, line));
        }
    }
}
