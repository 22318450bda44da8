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
/// How many lines a worker may have: one that is longer is not read.
const LINES_MAX: usize = 40;
/// One that fails, one beyond its lease, two behind a gate, one that is cancelled.
const OTHER_RUNS: usize = 5;

struct Language {
    /// How its blocks are fenced.
    fence: &'static str,
    /// One for each of its blocks. The first is the worker, the others are kinds
    /// that it need not have.
    files: &'static [&'static str],
    /// Where its code begins: from the line after this one.
    head_ends: Option<&'static str>,
    /// What runs the file.
    program: &'static [&'static str],
    version: &'static [&'static str],
}

const PYTHON: Language = Language {
    fence: "```python",
    files: &["worker.py"],
    head_ends: None,
    program: &["python3"],
    version: &["python3", "--version"],
};
const NODE: Language = Language {
    fence: "```js",
    files: &["worker.js"],
    head_ends: None,
    program: &["node"],
    version: &["node", "--version"],
};
const GO: Language = Language {
    fence: "```go",
    files: &["worker.go", "count.go"],
    head_ends: Some(")"),
    program: &["go", "run"],
    version: &["go", "version"],
};

impl Language {
    /// Its files as the page has them.
    fn blocks(&self) -> Result<Vec<String>> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workers.md");
        let page = fs::read_to_string(page)?;
        let mut lines = page.lines();
        let mut blocks = Vec::new();
        while lines.by_ref().any(|line| line == self.fence) {
            let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(code.join("\n") + "\n");
        }
        ensure!(blocks.len() == self.files.len(), "{} blocks {}", blocks.len(), self.fence);
        let lines = self.lines_of(&blocks[0]);
        ensure!(lines <= LINES_MAX, "{} has {lines} lines", self.files[0]);
        Ok(blocks)
    }

    /// How many lines it has, counted as the page says.
    fn lines_of(&self, code: &str) -> usize {
        let mut lines = code.lines();
        if let Some(end) = self.head_ends {
            lines.by_ref().find(|line| *line == end);
            lines.filter(|line| line.contains(|c: char| !" \t(){}[]".contains(c))).count()
        } else {
            lines.filter(|line| !line.trim().is_empty()).count()
        }
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
        for (file, code) in self.files.iter().zip(self.blocks()?) {
            fs::write(folder.join(file), code)?;
        }
        let child = Command::new(self.program[0])
            .args(&self.program[1..])
            .args(self.files)
            .current_dir(folder)
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

/// Counts so far, an item in so many seconds.
fn count(server: &Server, (to, seconds): (u64, f64), lease: &str, more: &Value) -> Result<String> {
    let mut job = json!({"kind": "count", "args": {"to": to, "seconds": seconds}});
    job["lease"] = lease.into();
    job["max_attempts"] = 1.into();
    for (name, value) in more.as_object().into_iter().flatten() {
        job[name] = value.clone();
    }
    enqueue(server, &job)
}

/// The first item takes longer than the lease: without heartbeats the only attempt were lost.
fn outlasts_its_lease(server: &Server) -> Result<()> {
    let slow = count(server, (1, 2.5), "1s", &json!({}))?;
    job_in(server, &slow, "succeeded")?;
    Ok(())
}

/// A gate that closes interrupts a run, which uses no attempt; the next one begins at its cursor.
fn goes_on_behind_a_gate(server: &Server) -> Result<()> {
    let id = count(server, (40, 0.05), "30s", &json!({"gates": ["bank"]}))?;
    wait::until("a checkpoint", || {
        let job = job(server, &id)?;
        Ok((job["checkpoint"]["cursor"].as_u64() > Some(1)).then_some(()))
    })?;
    let close = json!({"reason": "the bank is down"});
    ensure!(server.client().post("/v1/gates/bank/close", &close)?.is_success());
    let interrupted = job_in(server, &id, "ready")?;
    let cursor = interrupted["checkpoint"]["cursor"].as_u64().context("no cursor")?;
    ensure!((2..40).contains(&cursor), "{interrupted}");
    ensure!(interrupted["checkpoint"]["interrupted_for"] == "gate", "{interrupted}");
    ensure!(interrupted["attempt"] == 0, "{interrupted}");
    ensure!(server.client().post("/v1/gates/bank/open", &json!({}))?.is_success());
    let ended = job_in(server, &id, "succeeded")?;
    ensure!(ended["attempt"] == 1, "{ended}");
    Ok(())
}

/// It says so itself: it heard of the cancel, and did not lose the run.
fn hears_of_a_cancel(server: &Server) -> Result<()> {
    let long = count(server, (1_000_000, 0.05), "4s", &json!({}))?;
    job_in(server, &long, "running")?;
    server.client().ask("DELETE", &format!("/v1/jobs/{long}"), None)?;
    let cancelled = job_in(server, &long, "cancelled")?;
    ensure!(cancelled["error"].is_null(), "{cancelled}");
    Ok(())
}

/// A worker that does its jobs, tells of a failure, keeps its lease, is interrupted and goes on,
/// hears that a job is cancelled, and leaves with everything settled.
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
    let mut worker = language.start(folder.path(), &server, GREETINGS + OTHER_RUNS)?;
    for (n, id) in greetings.iter().enumerate() {
        job_in(&server, id, "succeeded")?;
        let result = server.client().get(&format!("/v1/jobs/{id}/result"))?;
        ensure!(result.body["greeting"] == format!("hello {n}"), "{}", result.body);
    }
    let dead = job_in(&server, &broken, "dead")?;
    ensure!(dead["error"]["message"].as_str().is_some_and(|why| !why.is_empty()), "{dead}");
    outlasts_its_lease(&server)?;
    goes_on_behind_a_gate(&server)?;
    hears_of_a_cancel(&server)?;
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
