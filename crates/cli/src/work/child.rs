//! One child process in a process group of its own: its input, the bounded part of its output
//! that is kept, and its end. It knows no job and no server.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::stderr;

/// How long output is waited for once the child has ended: what outlives it may hold its pipes.
const DRAIN: Duration = Duration::from_secs(1);

/// Where to go on, in the environment; of this run alone, and so is the next one.
pub(super) const CURSOR: &str = "LONGSHORE_CURSOR";
/// The path of the file that says that a run is to be interrupted.
pub(super) const FLAG: &str = "LONGSHORE_INTERRUPT";
/// The path of the file in which a run says when its schedule fires next.
pub(super) const NEXT: &str = "LONGSHORE_NEXT";

/// What a child shall do about being stopped.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stop {
    /// Nobody asked.
    No,
    /// Where another run can go on, if it can: the file that it looks for is made.
    Interrupt,
    /// SIGTERM to the group, then SIGKILL once so much time has passed.
    Gently(Duration),
    /// SIGKILL to the group.
    AtOnce,
}

/// What to run, and how much of it to keep.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// Run by `sh -c`.
    pub(crate) command: String,
    /// Added to the environment.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Made when it is to be interrupted, and removed at its end.
    pub(crate) flag: Option<PathBuf>,
    /// Given on standard input.
    pub(crate) input: Vec<u8>,
    /// How much of the beginning of standard output is kept.
    pub(crate) stdout_bytes_max: usize,
    /// How much of the end of standard error is kept.
    pub(crate) stderr_bytes_max: usize,
    /// Whether standard error is passed on to ours.
    pub(crate) pass_stderr: bool,
}

/// How a child ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal that nobody here sent.
    Signalled(i32),
    /// Because it was to stop; with this exit code, where it had one.
    Stopped(Option<i32>),
}

/// A child that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    /// The beginning of standard output.
    pub(crate) stdout: Vec<u8>,
    /// How much of standard output was not kept.
    pub(crate) stdout_bytes_lost: u64,
    /// The end of standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Runs the command to its end; `stop` may change at any time. Nothing of its process group is
/// left afterwards.
pub(crate) async fn run(
    invocation: Invocation,
    mut stop: watch::Receiver<Stop>,
) -> io::Result<Finished> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(&invocation.command)
        .env_remove(CURSOR)
        .env_remove(FLAG)
        .env_remove(NEXT)
        .envs(invocation.environment.iter().map(|(name, value)| (*name, value.as_os_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut group = Group::of(&child);
    let stdin = child.stdin.take();
    let input = invocation.input;
    let feed = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            // A child that does not read its input is within its rights.
            let _ = stdin.write_all(&input).await;
        }
    });
    let stdout = tokio::spawn(read_beginning(child.stdout.take(), invocation.stdout_bytes_max));
    let said = Arc::new(Mutex::new(Vec::new()));
    let stderr = tokio::spawn(read_end(
        child.stderr.take(),
        invocation.stderr_bytes_max,
        invocation.pass_stderr,
        Arc::clone(&said),
    ));
    let flag = Flag(invocation.flag.as_deref());
    let (status, stopped) = wait(&mut child, (&group, &flag), &mut stop).await?;
    drop(flag);
    // What the command left behind in its group would outlive the job.
    group.end();
    feed.abort();
    let (stdout, stdout_bytes_lost) = join(stdout).await.unwrap_or_default();
    // What was read is known, even where the rest is not waited for.
    let _ = join(stderr).await;
    let stderr = std::mem::take(&mut *lock(&said));
    Ok(Finished { ending: ending_of(status, stopped), stdout, stdout_bytes_lost, stderr })
}

/// A process group, until its end: a later group may have the same number.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn end(&mut self) {
        self.signal(Signal::KILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// The file that says that a run is to be interrupted; it goes with the run.
struct Flag<'a>(Option<&'a Path>);

impl Flag<'_> {
    /// Whether it stands there. Where it could not be made, the next heartbeat asks again.
    fn raise(&self) -> bool {
        let Some(path) = self.0 else { return true };
        // Folders of temporary files are cleaned of what was not used for days.
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            let _ = DirBuilder::new().mode(0o700).create(folder);
        }
        fs::write(path, b"").is_ok()
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // Mostly it was never made.
            let _ = fs::remove_file(path);
        }
    }
}

async fn wait(
    child: &mut Child,
    (group, flag): (&Group, &Flag<'_>),
    stop: &mut watch::Receiver<Stop>,
) -> io::Result<(ExitStatus, bool)> {
    let mut kill_after: Option<Duration> = None;
    let mut done = Stop::No;
    loop {
        let wanted = *stop.borrow_and_update();
        if wanted > done {
            match wanted {
                Stop::No => {}
                Stop::Interrupt => done = if flag.raise() { wanted } else { done },
                Stop::Gently(patience) => {
                    done = wanted;
                    group.signal(Signal::TERM);
                    kill_after = Some(patience);
                }
                Stop::AtOnce => {
                    done = wanted;
                    group.signal(Signal::KILL);
                    kill_after = None;
                }
            }
        }
        tokio::select! {
            status = child.wait() => return Ok((status?, done > Stop::Interrupt)),
            Ok(()) = stop.changed() => {}
            () = sleep(kill_after.unwrap_or(Duration::MAX)), if kill_after.is_some() => {
                group.signal(Signal::KILL);
                kill_after = None;
            }
        }
    }
}

fn ending_of(status: ExitStatus, stopped: bool) -> Ending {
    match (status.code(), status.signal()) {
        // It may still have finished what it was doing.
        (Some(0), _) => Ending::Exited(0),
        (code, _) if stopped => Ending::Stopped(code),
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

async fn join<T>(mut task: tokio::task::JoinHandle<T>) -> Option<T> {
    if let Ok(joined) = timeout(DRAIN, &mut task).await {
        joined.ok()
    } else {
        task.abort();
        None
    }
}

async fn read_beginning<R: AsyncRead + Unpin>(pipe: Option<R>, max: usize) -> (Vec<u8>, u64) {
    let (mut kept, mut lost) = (Vec::new(), 0);
    let Some(mut pipe) = pipe else { return (kept, lost) };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let room = length.min(max - kept.len());
        kept.extend_from_slice(&buffer[..room]);
        lost += (length - room) as u64;
    }
    (kept, lost)
}

async fn read_end<R: AsyncRead + Unpin>(
    pipe: Option<R>,
    max: usize,
    pass: bool,
    kept: Arc<Mutex<Vec<u8>>>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        keep_end(&mut lock(&kept), &buffer[..length], max);
        if pass {
            stderr::pass_on(buffer[..length].to_vec()).await;
        }
    }
}

fn keep_end(kept: &mut Vec<u8>, bytes: &[u8], max: usize) {
    kept.extend_from_slice(bytes);
    if kept.len() > max {
        kept.drain(..kept.len() - max);
    }
}

fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(command: &str) -> Invocation {
        Invocation {
            command: command.to_owned(),
            environment: vec![("LONGSHORE_KIND", "greet".into())],
            flag: None,
            input: b"{\"to\":\"you\"}".to_vec(),
            stdout_bytes_max: 64,
            stderr_bytes_max: 8,
            pass_stderr: false,
        }
    }

    async fn run_alone(command: &str) -> Finished {
        let (_keep, stop) = watch::channel(Stop::No);
        run(invocation(command), stop).await.unwrap()
    }

    #[tokio::test]
    async fn input_environment_output_and_code() {
        let finished = run_alone("cat; echo \" $LONGSHORE_KIND\"; echo oh no >&2; exit 75").await;
        assert_eq!(finished.ending, Ending::Exited(75));
        assert_eq!(finished.stdout, b"{\"to\":\"you\"} greet\n");
        assert_eq!(finished.stderr, b"oh no\n");
    }

    #[tokio::test]
    async fn output_is_bounded() {
        let command = "i=0; while [ $i -lt 40 ]; do echo 123456789; i=$((i+1)); done; \
            echo the long tail >&2";
        let finished = run_alone(command).await;
        assert_eq!((finished.stdout.len(), finished.stdout_bytes_lost), (64, 336));
        assert_eq!(finished.stderr, b"ng tail\n");
    }

    #[tokio::test]
    async fn a_child_that_ignores_its_input_is_no_error() {
        let mut invocation = invocation("exec 0<&-; true");
        invocation.input = vec![b'x'; 1 << 20];
        let (_keep, stop) = watch::channel(Stop::No);
        assert_eq!(run(invocation, stop).await.unwrap().ending, Ending::Exited(0));
    }

    #[tokio::test]
    async fn a_signal_is_told_from_an_exit_code() {
        assert_eq!(run_alone("kill -9 $$").await.ending, Ending::Signalled(9));
        assert_eq!(run_alone("command-that-is-not-there").await.ending, Ending::Exited(127));
    }

    /// Waits until the pid that the command printed is gone, or waits to be reaped by its new
    /// parent: SIGKILL was sent, but a busy system takes its time.
    async fn until_gone(pid: &str) {
        let path = format!("/proc/{}/status", pid.trim());
        let is_alive = || {
            let status = std::fs::read_to_string(&path).unwrap_or_default();
            status.contains("State:") && !status.contains("State:\tZ")
        };
        while is_alive() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn stopping_reaches_grandchildren() {
        for how in [Stop::Gently(Duration::from_secs(60)), Stop::AtOnce] {
            let folder = tempfile::tempdir().unwrap();
            let started = folder.path().join("started");
            let mut invocation = invocation(&format!(
                "sleep 600 & echo $! > '{0}.tmp'; mv '{0}.tmp' '{0}'; wait",
                started.display()
            ));
            invocation.input.clear();
            let (stop, stopped) = watch::channel(Stop::No);
            let run = tokio::spawn(run(invocation, stopped));
            while !started.exists() {
                tokio::task::yield_now().await;
            }
            stop.send(how).unwrap();
            assert_eq!(run.await.unwrap().unwrap().ending, Ending::Stopped(None));
            let pid = std::fs::read_to_string(&started).unwrap();
            until_gone(&pid).await;
        }
    }

    #[tokio::test]
    async fn who_ignores_sigterm_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let started = folder.path().join("started");
        let command =
            format!("trap '' TERM; : > '{}'; while :; do sleep 1; done", started.display());
        let (stop, stopped) = watch::channel(Stop::No);
        let run = tokio::spawn(run(invocation(&command), stopped));
        while !started.exists() {
            tokio::task::yield_now().await;
        }
        stop.send(Stop::Gently(Duration::from_millis(10))).unwrap();
        assert_eq!(run.await.unwrap().unwrap().ending, Ending::Stopped(None));
    }

    #[tokio::test]
    async fn who_is_to_be_interrupted_finds_a_file_and_ends_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (started, flag) = (folder.path().join("started"), folder.path().join("flag"));
        let mut invocation = invocation(&format!(
            ": > '{}'; until [ -e '{}' ]; do sleep 0.01; done; echo 7; exit 79",
            started.display(),
            flag.display()
        ));
        invocation.flag = Some(flag.clone());
        let (stop, stopped) = watch::channel(Stop::No);
        let run = tokio::spawn(run(invocation, stopped));
        while !started.exists() {
            tokio::task::yield_now().await;
        }
        stop.send(Stop::Interrupt).unwrap();
        let finished = run.await.unwrap().unwrap();
        assert_eq!((finished.ending, finished.stdout), (Ending::Exited(79), b"7\n".to_vec()));
        assert!(!flag.exists(), "the file outlives the run");
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_command_that_has_ended() {
        let finished = run_alone("sleep 600 & echo $!").await;
        let pid = String::from_utf8(finished.stdout).unwrap();
        assert_eq!(finished.ending, Ending::Exited(0));
        until_gone(&pid).await;
    }
}
