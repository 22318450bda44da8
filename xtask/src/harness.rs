//! Runs the test programs that cargo has built, one more at a time than there are cores. Cargo
//! itself runs them one after the other, and most of ours wait: for servers, clients and clocks.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::cargo;

/// Those that take longest begin first: one that begins last would run alone at the end.
const LONGEST: &[&str] = &[
    "kafka_storm",
    "cli",
    "tls_clients",
    "it",
    "http",
    "python_worker",
    "kafka",
    "faults",
    "seeds",
    "grpc",
    "crash",
    "amqp_suites",
    "longshore_engine",
    "amqp_storm",
    "enumeration",
    "at_most_once",
    "corpus",
    "canaries",
];
/// What is shown at most of what a program said that failed, in bytes. All of it is in its file.
const SHOWN_MAX: usize = 200_000;

/// A built test program.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Program {
    name: String,
    executable: PathBuf,
    /// The folder of its package, in which it runs.
    folder: PathBuf,
}

/// Runs the test programs that `cargo BUILD` has built, with these variables in their environment.
pub(crate) fn run(build: &[&str], set: &[(&str, &OsStr)]) -> Result<()> {
    let programs = built(build)?;
    let count = programs.len();
    let queue = Mutex::new(VecDeque::from(sorted(programs)));
    let failed = Mutex::new(Vec::new());
    let one_after_the_other = || {
        while let Some(program) = queue.lock().ok().and_then(|mut it| it.pop_front()) {
            if let Err(why) = run_one(&program, set) {
                println!("    FAILED   {}: {why:#}", program.name);
                failed.lock().into_iter().for_each(|mut it| it.push(program.name.clone()));
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..=cores {
            scope.spawn(one_after_the_other);
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        bail!("{} of {count} test programs failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

/// Runs one and keeps what it says beside it, so that what two say at once is not mixed.
fn run_one(program: &Program, set: &[(&str, &OsStr)]) -> Result<()> {
    let started = Instant::now();
    let said = program.executable.with_extension("log");
    let file = File::create(&said).with_context(|| said.display().to_string())?;
    // Tests hang up, interrupt and quit servers and workers, which ignore what was ignored where
    // they were started: under `nohup`, or in the background of a script.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT").arg(&program.executable);
    command.current_dir(&program.folder).envs(set.iter().copied());
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = command.status().context("it cannot be started")?;
    let (seconds, text) = (started.elapsed().as_secs_f64(), end_of(&said));
    if !status.success() {
        print!("{text}");
        bail!("it ended with {status} after {seconds:.1} s and said {}", said.display());
    }
    println!("{seconds:>9.1} s  {} ({} tests)", program.name, passed(&text));
    Ok(())
}

/// The test programs that cargo has built by these arguments, or builds now.
fn built(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo(arguments);
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` ended with {}", arguments.join(" "), output.status);
    }
    String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect()
}

/// The test program that a line of cargo tells of, if it tells of one.
fn program(line: &str) -> Option<Result<Program>> {
    let told: Value = serde_json::from_str(line).ok()?;
    if told["reason"] != "compiler-artifact" || told["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(told["executable"].as_str()?);
    let folder = told["manifest_path"].as_str().map(PathBuf::from);
    let name = told["target"]["name"].as_str();
    let (Some(mut folder), Some(name)) = (folder, name) else {
        return Some(Err(anyhow::anyhow!("cargo tells of a test without its name: {line}")));
    };
    folder.pop();
    Some(Ok(Program { name: name.to_owned(), executable, folder }))
}

fn sorted(mut programs: Vec<Program>) -> Vec<Program> {
    let place = |it: &Program| LONGEST.iter().position(|name| *name == it.name);
    programs.sort_by_key(|it| (place(it).unwrap_or(LONGEST.len()), it.name.clone()));
    programs
}

/// How many tests have passed, by the summary of the test harness.
fn passed(said: &str) -> u64 {
    let summaries = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    summaries.filter_map(|it| it.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// The last part of a file, or why it cannot be read.
fn end_of(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let from = bytes.len().saturating_sub(SHOWN_MAX);
            String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
        }
        Err(why) => format!("what it said cannot be read: {why}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_the_rest_that_is_built() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml",
            "target":{"name":"http"},"profile":{"test":true},"executable":"/w/target/http-1"}"#
            .replace('\n', "");
        let found = program(&test).unwrap().unwrap();
        let (name, executable, folder) = ("http".into(), "/w/target/http-1".into(), "/w/a".into());
        assert_eq!(found, Program { name, executable, folder });
        assert!(program(&test.replace("true", "false")).is_none(), "a binary");
        assert!(program(&test.replace("\"/w/target/http-1\"", "null")).is_none(), "a library");
        assert!(program(r#"{"reason":"build-finished","success":true}"#).is_none());
        assert!(program("warning: not JSON").is_none());
    }

    #[test]
    fn the_longest_begin() {
        let of = |name: &str| Program {
            name: name.into(),
            executable: PathBuf::new(),
            folder: PathBuf::new(),
        };
        let names: Vec<_> = sorted(vec![of("b"), of("canaries"), of("a"), of("kafka_storm")])
            .into_iter()
            .map(|it| it.name)
            .collect();
        assert_eq!(names, ["kafka_storm", "canaries", "a", "b"]);
    }

    #[test]
    fn passed_tests_are_counted() {
        assert_eq!(passed("test a ... ok\n\ntest result: ok. 31 passed; 0 failed; 0 ignored"), 31);
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed"), 0);
    }
}
