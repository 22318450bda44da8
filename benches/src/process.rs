//! Processes that are measured: started with their output in a file, killed when dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host;

/// How long a process may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command for a peer's program, which ends with this process whatever becomes of it.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts `command` with standard error, and standard output unless it is `heard`, at the
    /// end of `log`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        heard: bool,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let stdout = if heard { Stdio::piped() } else { file.try_clone()?.into() };
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(file).spawn();
        Ok(Self { name, child: child.with_context(|| format!("cannot start {name}"))? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Asks again and again, a millisecond apart, until the answer is there.
    pub(crate) fn until<T>(&mut self, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended while it started: {status}", self.name);
            }
            if start.elapsed() > PATIENCE {
                bail!("{} is not ready after {} s", self.name, PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGKILL, and the wait for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Resident memory.
    pub(crate) fn memory_mib(&self) -> Result<f64> {
        host::memory_mib(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before: nothing is left to do then.
        let _ = self.kill();
    }
}
