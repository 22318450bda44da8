//! Runs steps one after the other, each with a header and its time. It knows nothing of what the
//! steps do.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How a step ended that did not fail.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// Not run, and why.
    Skipped(String),
}

/// What ran so far, for the closing table.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    ended: Vec<(String, Duration, Outcome)>,
}

impl Steps {
    /// Runs one step. An error ends the whole run.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        println!("\n==> {name}");
        let started = Instant::now();
        let result = run();
        let took = started.elapsed();
        let seconds = took.as_secs_f64();
        let outcome =
            result.with_context(|| format!("step '{name}' failed after {seconds:.1} s"))?;
        match &outcome {
            Outcome::Passed => println!("<== {name}: passed in {seconds:.1} s"),
            Outcome::Skipped(reason) => println!("<== {name}: SKIPPED: {reason}"),
        }
        self.ended.push((name.to_owned(), took, outcome));
        Ok(())
    }

    /// Runs one step that is a single command.
    pub(crate) fn command(&mut self, name: &str, command: Command) -> Result<()> {
        self.step(name, || {
            run(command)?;
            Ok(Outcome::Passed)
        })
    }

    /// Notes a part of a step that was not run.
    pub(crate) fn skipped(&mut self, name: &str, reason: &str) {
        self.ended.push((name.to_owned(), Duration::ZERO, Outcome::Skipped(reason.to_owned())));
    }

    /// Prints the closing table: what passed, how long it took, what was skipped.
    pub(crate) fn finish(self) {
        println!();
        for (name, took, outcome) in self.ended {
            match outcome {
                Outcome::Passed => println!("{:>8.1} s  {name}", took.as_secs_f64()),
                Outcome::Skipped(reason) => println!(" skipped    {name}: {reason}"),
            }
        }
        println!("all steps passed");
    }
}

/// The cargo that runs this program, in the folder of the workspace, with nothing to read.
pub(crate) fn cargo(args: &[&str]) -> Command {
    // Tests hang up servers and workers, which ignore that where they were started under `nohup`.
    let mut command = program("env");
    command.arg("--default-signal=HUP,INT,QUIT");
    command.arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args);
    // What the cargo that runs this program says of it: ring's build script looks at that, so ring
    // and all that needs it would be built anew whenever one goes from `cargo` to `cargo xtask`.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// A program, in the folder of the workspace, with nothing to read.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(crate::root()).stdin(Stdio::null());
    command
}

/// Runs a command with its output shown; anything but success is an error that names it.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = line_of(&command);
    println!("    {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Whether a command succeeds within `limit`. Its output is not shown; it is killed at the limit.
pub(crate) fn succeeds_within(mut command: Command, limit: Duration) -> bool {
    let started = Instant::now();
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < limit => thread::sleep(Duration::from_millis(20)),
            _ => {
                // Either may fail only because the child is gone, which is what is wanted.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

fn line_of(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let changed = command.get_envs().filter_map(|(key, value)| {
        Some(format!("{}='{}'", key.to_string_lossy(), value?.to_string_lossy()))
    });
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    changed.chain([name]).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_names_itself_and_stops() {
        let mut steps = Steps::default();
        let error = steps.step("doomed", || bail!("no luck")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("step 'doomed' failed") && text.contains("no luck"), "{text}");
        assert!(steps.ended.is_empty());
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(line_of(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_missing_program_does_not_succeed() {
        let command = program("no-such-program-anywhere");
        assert!(!succeeds_within(command, Duration::from_secs(1)));
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let mut command = program("sleep");
        command.arg("600");
        assert!(!succeeds_within(command, Duration::from_millis(1)));
    }
}
