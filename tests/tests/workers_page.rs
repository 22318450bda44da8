//! The workers of `docs/workers.md`, as they stand on the page, against a real server: one in
//! Python, one in Node, one in Go. A language whose program is missing is skipped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use longshore_tests::server::Server;
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::{Value, json};

const GREETINGS: usize = 3;

struct Language {
    /// How its block is fenced.
    fence: &'static str,
    file: &'static str,
    /// How many lines it may have, without those that are empty: one that is longer is not read.
    /// The page tells how many they are.
    lines_max: usize,
    /// What runs the file.
    program: &'static [&'static str],
    version: &'static [&'static str],
}

const PYTHON: Language = Language {
    fence: "```python",
    file: "worker.py",
    lines_max: 40,
    program: &["python3"],
    version: &["python3", "--version"],
};
const NODE: Language = Language {
    fence: "```js",
    file: "worker.js",
    lines_max: 40,
    program: &["node"],
    version: &["node", "--version"],
};
const GO: Language = Language {
    fence: "```go",
    file: "worker.go",
    lines_max: 67,
    program: &["go", "run"],
    version: &["go", "version"],
};

impl Language {
    /// Its worker as the page has it.
    fn worker(&self) -> Result<String> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workers.md");
        let page = fs::read_to_string(page)?;
        let mut lines = page.lines().skip_while(|line| *line != self.fence).skip(1);
        let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        ensure!(!code.is_empty(), "no block {}", self.fence);
        ensure!(!lines.any(|line| line == self.fence), "two blocks {}", self.fence);
        let filled = code.iter().filter(|line| !line.trim().is_empty()).count();
        ensure!(filled <= self.lines_max, "{} has {filled} lines", self.file);
        Ok(code.join("\n") + "\n")
    }

    fn is_missing(&self) -> Option<String> {
        let output = Command::new(self.version[0]).args(&self.version[1..]).output();
        match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(format!("{}: {error}", self.version[0])),
        }
    }

    fn start(&self, folder: &Path, server: &Server, jobs: usize) -> Result<Running> {
        let file = folder.join(self.file);
        fs::write(&file, self.worker()?)?;
        let child = Command::new(self.program[0])
            .args(&self.program[1..])
            .arg(&file)
            .arg(format!("http://{}", server.address))
            .args(["work", &jobs.to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Running(child))
    }
}

/// Ends a worker that a failing test leaves behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn enqueue(server: &Server, job: &Value) -> Result<String> {
    let answer = server.client().post("/v1/queues/work/jobs", job)?;
    ensure!(answer.is_success(), "{}", answer.body);
    Ok(answer.body["id"].as_str().context("no id")?.to_owned())
}

fn job(server: &Server, id: &str) -> Result<Value> {
    Ok(server.client().get(&format!("/v1/jobs/{id}"))?.body)
}

fn job_in(server: &Server, id: &str, state: &str) -> Result<Value> {
    wait::until(state, || Ok(Some(job(server, id)?).filter(|job| job["state"] == state)))
}

/// A worker that does its jobs, tells of a failure, hears with a heartbeat that a job is cancelled,
/// and leaves with everything settled.
fn works(language: &Language) -> Result<()> {
    if let Some(why) = language.is_missing() {
        skip(language.version[0], &why);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut server = Server::start_ready(&folder.path().join("data"))?;
    let mut greetings = Vec::new();
    for n in 0..GREETINGS {
        let greet = json!({"kind": "greet", "args": {"name": n.to_string()}});
        greetings.push(enqueue(&server, &greet)?);
    }
    let broken = enqueue(&server, &json!({"kind": "broken", "max_attempts": 1}))?;
    let long = json!({"kind": "wait", "lease": "4s", "max_attempts": 1});
    let long = enqueue(&server, &long)?;
    let mut worker = language.start(folder.path(), &server, GREETINGS + 2)?;
    for (n, id) in greetings.iter().enumerate() {
        job_in(&server, id, "succeeded")?;
        let result = server.client().get(&format!("/v1/jobs/{id}/result"))?;
        ensure!(result.body["greeting"] == format!("hello {n}"), "{}", result.body);
    }
    let dead = job_in(&server, &broken, "dead")?;
    ensure!(dead["error"]["message"].as_str().is_some_and(|why| !why.is_empty()), "{dead}");
    job_in(&server, &long, "running")?;
    server.client().ask("DELETE", &format!("/v1/jobs/{long}"), None)?;
    let cancelled = job_in(&server, &long, "cancelled")?;
    // The worker has said so itself: it heard of it with a heartbeat, and did not lose the run.
    ensure!(cancelled["error"].is_null(), "{cancelled}");
    ensure!(worker.0.wait()?.success(), "the worker failed");
    server.terminate()?;
    Ok(())
}

#[test]
fn the_python_worker_of_the_page_works() -> Result<()> {
    works(&PYTHON)
}

#[test]
fn the_node_worker_of_the_page_works() -> Result<()> {
    works(&NODE)
}

#[test]
fn the_go_worker_of_the_page_works() -> Result<()> {
    works(&GO)
}
