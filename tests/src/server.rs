//! `longshore serve` as a process: started, watched, killed. What it prints on standard error goes
//! to a file beside its data.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::{env, thread};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::http::Client;
use crate::wait;

/// How the first line of standard output begins; the address follows.
const LISTENING: &str = "listening on ";

/// The binary under test: `LONGSHORE_BIN`, or the one built beside this test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LONGSHORE_BIN") {
        return Ok(path.into());
    }
    let test = env::current_exe()?;
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join("longshore"));
    found.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("no longshore beside {}: run `cargo build -p longshore-cli` first", test.display())
    })
}

/// The command `longshore serve` on a folder, at a port that is free.
pub fn serve(data: &Path) -> Result<Command> {
    serve_at(data, "127.0.0.1:0")
}

/// The same at a given address, as where a server is started again for those who know it.
pub fn serve_at(data: &Path, address: &str) -> Result<Command> {
    let mut command = Command::new(binary()?);
    add_arguments_at(&mut command, data, address);
    Ok(command)
}

/// Adds what `longshore serve` needs to run on a folder, at a port that is free.
pub fn add_arguments(command: &mut Command, data: &Path) {
    add_arguments_at(command, data, "127.0.0.1:0");
}

fn add_arguments_at(command: &mut Command, data: &Path, address: &str) {
    command.args(["serve", "--listen", address, "--data"]).arg(data);
    // Nothing of the surroundings may reach the server but what a test sets.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("LONGSHORE_") {
            command.env_remove(name);
        }
    }
    if let Some(parent) = data.parent() {
        command.current_dir(parent);
    }
}

/// A running server. Killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `host:port`, once it was told.
    pub address: String,
    log: PathBuf,
    /// What it says on standard output after that.
    lines: mpsc::Receiver<std::io::Result<String>>,
}

impl Server {
    /// Starts a server on `data` and waits for its address, not for its readiness.
    pub fn start(data: &Path) -> Result<Self> {
        Self::start_as(serve(data)?, &data.with_extension("log"))
    }

    /// Starts a server with a command of the caller's.
    pub fn start_as(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        let mut server = Self { child, address: String::new(), log: log.to_owned(), lines };
        // It reads on, so that the server can go on writing.
        thread::spawn(move || {
            BufReader::new(stdout).lines().for_each(|line| drop(sender.send(line)));
        });
        let line = match server.lines.recv_timeout(wait::PATIENCE) {
            Ok(line) => line?,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the server says nothing\n{}", server.log_text())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = describe(server.child.wait()?);
                bail!("the server ended before it listened: {status}\n{}", server.log_text());
            }
        };
        let url = line.strip_prefix(LISTENING).with_context(|| format!("it said {line:?}"))?;
        url.trim_start_matches("http://").clone_into(&mut server.address);
        Ok(server)
    }

    /// Starts a server and waits until it is ready.
    pub fn start_ready(data: &Path) -> Result<Self> {
        let mut server = Self::start(data)?;
        server.wait_ready()?;
        Ok(server)
    }

    /// The same with more arguments.
    pub fn start_with(data: &Path, more: &[&str]) -> Result<Self> {
        let mut command = serve(data)?;
        command.args(more);
        let mut server = Self::start_as(command, &data.with_extension("log"))?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Waits until every shard serves.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mut client = self.client();
        wait::until("the server becomes ready", || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}\n{}", self.log_text());
            }
            let Ok(answer) = client.get("/readyz") else { return Ok(None) };
            let shards = answer.body["shards"].as_array();
            if let Some(shard) = shards.into_iter().flatten().find(|it| it["state"] == "stopped") {
                bail!("a shard has stopped: {shard}");
            }
            Ok((answer.status == 200).then_some(()))
        })
    }

    /// Waits until it has logged something with that in it: a line is written after what it tells
    /// of is answered.
    pub fn wait_logged(&self, part: &str) -> Result<()> {
        let logged = || Ok(self.log_text().contains(part).then_some(()));
        wait::until("a line of the log", logged)
            .with_context(|| format!("nothing says {part:?}\n{}", self.log_text()))
    }

    /// The next line that it says on standard output.
    pub fn next_line(&self) -> Result<String> {
        let line = self.lines.recv_timeout(wait::PATIENCE);
        Ok(line.with_context(|| format!("it says nothing more\n{}", self.log_text()))??)
    }

    /// `host:port` of a further face, told on the next line of standard output.
    pub fn next_address(&self, scheme: &str) -> Result<String> {
        let line = self.next_line()?;
        let address = line.strip_prefix(&format!("{LISTENING}{scheme}://"));
        address.map(str::to_owned).with_context(|| format!("it said {line:?}"))
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        signal(self.child.id(), Signal::TERM)?;
        self.wait_end()
    }

    /// Waits for its end.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        let ended = wait::until("the server ends", || Ok(self.child.try_wait()?));
        ended.with_context(|| self.log_text())
    }

    /// What it printed on standard error, and those before it on the same data.
    pub fn log_text(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = text.len().saturating_sub(8000);
        text.get(start..).unwrap_or(&text).to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid.cast_signed()).context("no such process")?;
    Ok(kill_process(pid, signal)?)
}

/// The exit code, or the signal that ended the process, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}
