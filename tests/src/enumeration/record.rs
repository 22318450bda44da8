//! Records lives of a server: `strace` around each, and what the folder holds after it.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::files::Files;
use super::image::{Choice, Fate, Image};
use super::operation::{CALLS, Operation, Step, Watched};
use super::walk::walk;
use crate::server::describe;

/// The longest write that is recorded whole.
const WRITE_BYTES_MAX: usize = 16 << 20;

/// After so many recordings that are not what happened, the last one is an error.
const ATTEMPTS_MAX: u32 = 5;

/// One life.
#[derive(Debug)]
pub struct Life {
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// What the folder held afterwards, as processes see it.
    pub after: Image,
}

/// How a life goes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides what clients ask for.
    pub seed: u64,
    /// Requests of each client.
    pub requests: u64,
    /// Whether it ends with SIGKILL.
    pub kill: bool,
}

/// Lives of a server, one after the other on the same data.
#[derive(Debug)]
pub struct Recording {
    /// Where they began.
    pub start: Start,
    /// What they did.
    pub lives: Vec<Life>,
}

impl Recording {
    /// How often something was done.
    pub fn count(&self, what: impl Fn(&Operation) -> bool) -> usize {
        let steps = self.lives.iter().flat_map(|life| &life.steps);
        steps.filter(|step| what(&step.operation)).count()
    }
}

/// What to begin with. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// What the processes find, and what of it is durable.
    pub files: Files,
    /// What clients wrote down.
    pub history: Vec<u8>,
}

/// Records lives with the binary `recorded-life`.
pub fn record(binary: &Path, start: &Start, plans: &[Plan]) -> Result<Recording> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        // Of the calls that a SIGKILL interrupts, strace misses one now and then, or makes one up.
        let recorded = record_once(binary, start.clone(), plans).and_then(|recording| {
            walk(&recording, &|_| false, &mut |_| Ok(ControlFlow::Continue(())))?;
            Ok(recording)
        });
        if recorded.is_ok() || attempts == ATTEMPTS_MAX {
            return recorded;
        }
    }
}

fn record_once(binary: &Path, start: Start, plans: &[Plan]) -> Result<Recording> {
    let folder = tempfile::tempdir()?;
    // The paths in a trace have no links in them.
    let place = folder.path().canonicalize()?;
    let (data, history) = (place.join("data"), place.join("history"));
    fs::create_dir(&data)?;
    Image::of(&start.files, &Choice::all(Fate::Kept)).write(&data)?;
    fs::write(&history, &start.history)?;
    let mut lives = Vec::new();
    // What was done before the first of them was over before it.
    let mut calls = 1;
    for plan in plans {
        let trace = place.join("trace");
        run(binary, &trace, [&data, &history], plan).with_context(|| format!("{plan:?}"))?;
        let watched = Watched { data: &data, history: &history };
        let steps = watched.steps(&fs::read_to_string(&trace)?, calls)?;
        calls = steps.last().map_or(calls, |last| last.at + 1);
        lives.push(Life { steps, after: Image::read(&data)? });
    }
    Ok(Recording { start, lives })
}

fn run(binary: &Path, trace: &Path, paths: [&PathBuf; 2], plan: &Plan) -> Result<()> {
    let end = if plan.kill { "kill" } else { "stop" };
    let output = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-y", "-xx", "-qq", "-s", &WRITE_BYTES_MAX.to_string()])
        .args(["-e", &format!("trace={CALLS}"), "-o"])
        .arg(trace)
        .arg(binary)
        .args(paths)
        .args([&plan.seed.to_string(), &plan.requests.to_string(), end])
        .stdin(Stdio::null())
        .output()
        .context("strace does not start")?;
    // strace ends as its child does, by a signal too.
    let signal = plan.kill.then_some(Signal::KILL.as_raw());
    if (output.status.signal(), output.status.success()) != (signal, !plan.kill) {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("it ended with {}\n{said}", describe(output.status));
    }
    Ok(())
}
