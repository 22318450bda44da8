//! Processes of the binary under test: commands that end, and servers and workers that are ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use longshore_tests::http::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, without anything from the environment that it would listen to.
pub(crate) fn longshore(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGSHORE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output, where the command succeeded.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard error, where the command ended with `code`.
    #[track_caller]
    pub(crate) fn bad(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let out = self.good();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Runs a command in `folder` to its end.
pub(crate) fn run_in(folder: &Path, args: &[&str]) -> Ended {
    Ended::of(&longshore(folder).args(args).output().unwrap())
}

/// A process that goes on until it is ended; it ends with this value at the latest.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Process {
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        Self::of(longshore(folder).args(args))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Reads standard output up to a line that holds `text`, and returns it.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        line_with(&mut self.stdout, text)
    }

    /// Reads standard error up to a line that holds `text`, and returns it.
    #[track_caller]
    pub(crate) fn note_with(&mut self, text: &str) -> String {
        line_with(&mut self.stderr, text)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The exit code, and what was still to be read of both outputs.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[track_caller]
fn line_with(output: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        let length = output.read_line(&mut line).unwrap();
        assert!(length > 0, "no line with {text:?} in: {seen}");
        if line.contains(text) {
            return line;
        }
        seen.push_str(&line);
    }
}

/// A server on a store of its own.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) folder: TempDir,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, address) = serve(folder.path(), "127.0.0.1:0");
        Self { process, folder, address }
    }

    /// `kill -9`, and a new one at the same place.
    pub(crate) fn crash_and_restart(&mut self) {
        self.crash();
        self.restart();
    }

    pub(crate) fn crash(&mut self) {
        self.process.kill();
    }

    pub(crate) fn restart(&mut self) {
        (self.process, self.address) = serve(self.folder.path(), &self.address);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a command against it.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let mut command = longshore(self.folder.path());
        Ended::of(&command.env("LONGSHORE_SERVER", self.url()).args(args).output().unwrap())
    }

    /// Runs a command against it with something on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ended {
        let mut command = longshore(self.folder.path());
        let command = command.env("LONGSHORE_SERVER", self.url()).args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ended::of(&child.wait_with_output().unwrap())
    }

    /// Enqueues and returns the id.
    #[track_caller]
    pub(crate) fn enqueue(&self, args: &[&str]) -> String {
        let all: Vec<_> = ["enqueue"].iter().chain(args).copied().collect();
        self.run(&all).good().trim().to_owned()
    }

    /// The whole record of a job.
    #[track_caller]
    pub(crate) fn job(&self, id: &str) -> serde_json::Value {
        self.run(&["jobs", "show", id, "-o", "json"]).json()
    }

    /// Asks over HTTP, as programs do; the status and the document.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let answer = Client::new(&self.address).ask_with(method, path, &[], Some(body)).unwrap();
        (answer.status, answer.body)
    }

    /// Leases the next job of the usual queue over HTTP, and returns its token.
    #[track_caller]
    pub(crate) fn lease(&self) -> String {
        let wants = r#"{"queues":["default"],"lease":"12h","wait":"30s","worker":"w"}"#;
        let (status, leased) = self.ask("POST", "/v1/lease", wants);
        let token = leased["jobs"][0]["token"].as_str();
        token.unwrap_or_else(|| panic!("{status}: {leased}")).to_owned()
    }

    /// Waits for a job to end, and returns its record.
    #[track_caller]
    pub(crate) fn wait(&self, id: &str) -> serde_json::Value {
        let ended = self.run(&["jobs", "wait", id, "--timeout", "60s", "-o", "json"]);
        assert!(ended.code < 2, "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// A worker with these arguments.
    pub(crate) fn worker(&self, args: &[&str]) -> Process {
        let url = self.url();
        let all: Vec<_> = ["work", "--server", &url].iter().chain(args).copied().collect();
        Process::start(self.folder.path(), &all)
    }

    /// A worker that may have no more than so many files open.
    pub(crate) fn worker_with_descriptors(&self, most: u32, args: &[&str]) -> Process {
        let binary = longshore(self.folder.path());
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(limited).arg(binary.get_program());
        for (name, _) in binary.get_envs() {
            command.env_remove(name);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        Process::of(command.args(["work", "--server", &self.url()]).args(args))
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(self) -> (i32, String, TempDir) {
        self.process.signal(Signal::TERM);
        let (code, rest) = self.process.wait();
        (code, rest, self.folder)
    }
}

fn serve(folder: &Path, listen: &str) -> (Process, String) {
    let mut process = Process::start(folder, &["serve", "--listen", listen, "--data", "store"]);
    let line = process.line_with("listening on http://");
    let address = line.trim().trim_start_matches("listening on http://").to_owned();
    // Commands meet a server that is still on its way: they get 503 until it is ready.
    let mut client = Client::new(&address);
    until(|| client.get("/readyz").unwrap().is_success());
    (process, address)
}

/// Asks until it is so.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Whether a process is gone, or waits to be reaped.
pub(crate) fn is_gone(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    let status = status.unwrap_or_default();
    !status.contains("State:") || status.contains("State:\tZ")
}
