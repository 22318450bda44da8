//! The worker protocol from another language: the Python example, with nothing but generated code,
//! against a real server. Needs Python and packages from `PyPI`; skipped where those are missing.
//! Beside it what others' clients of HTTP are answered with.

#[path = "python_worker/expect.rs"]
mod expect;
#[path = "python_worker/nginx.rs"]
mod nginx;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use longshore_tests::python::{Missing, python, succeeds};
use longshore_tests::server::Server;
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::{Value, json};

/// What the example needs; the newest of each major version that it was written for.
const PACKAGES: [&str; 2] = ["grpcio>=1.60,<2", "grpcio-tools>=1.60,<2"];
const LINES_MAX: usize = 73;
const JOBS: usize = 40;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A Python with the packages.
fn generator() -> Result<PathBuf, Missing> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-worker");
    python(&folder, "grpc, grpc_tools", &PACKAGES)
}

/// Writes what the example imports.
fn generate(python: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new(python);
    command.current_dir(root().join("proto")).args(["-m", "grpc_tools.protoc", "-I."]);
    command.arg(format!("--python_out={}", to.display()));
    command.arg(format!("--grpc_python_out={}", to.display()));
    command.args(["longshore/v1/jobs.proto", "longshore/v1/workers.proto"]);
    succeeds(&mut command).map_err(anyhow::Error::msg)
}

/// Ends a worker that a failing test leaves behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn work(python: &Path, generated: &Path, server: &Server, jobs: usize) -> Result<Running> {
    let example = root().join("examples/python/worker.py");
    let child = Command::new(python)
        .arg(example)
        .args([&server.address, "greetings", &jobs.to_string()])
        .env("PYTHONPATH", generated)
        .spawn()?;
    Ok(Running(child))
}

fn enqueue(server: &Server, jobs: usize) -> Result<Vec<String>> {
    let jobs: Vec<Value> =
        (0..jobs).map(|n| json!({"kind": "greet", "args": {"name": n.to_string()}})).collect();
    let answer = server.client().post("/v1/queues/greetings/jobs", &json!({"jobs": jobs}))?;
    ensure!(answer.is_success(), "{}", answer.body);
    let ids = answer.body["ids"].as_array().context("no ids")?;
    Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// A gate that closes interrupts a run, which uses no attempt; the next one begins at its cursor.
fn goes_on_behind_a_gate(server: &Server) -> Result<()> {
    let args = json!({"to": 40, "seconds": 0.05});
    let job = json!({"kind": "count", "args": args, "gates": ["bank"], "max_attempts": 1});
    let answer = server.client().post("/v1/queues/greetings/jobs", &job)?;
    let path = format!("/v1/jobs/{}", answer.body["id"].as_str().context("no id")?);
    let job_as = |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        wait::until(what, || Ok(Some(server.client().get(&path)?.body).filter(is_so)))
    };
    job_as("a checkpoint", &|job| job["checkpoint"]["cursor"].as_u64() > Some(1))?;
    let close = json!({"reason": "the bank is down"});
    ensure!(server.client().post("/v1/gates/bank/close", &close)?.is_success());
    let interrupted = job_as("an interruption", &|job| job["state"] == "ready")?;
    ensure!(interrupted["checkpoint"]["interrupted_for"] == "gate", "{interrupted}");
    ensure!(interrupted["checkpoint"]["cursor"].as_u64() < Some(40), "{interrupted}");
    ensure!(server.client().post("/v1/gates/bank/open", &json!({}))?.is_success());
    job_as("its end", &|job| job["state"] == "succeeded")?;
    Ok(())
}

#[test]
fn the_python_example_fits_on_a_page() {
    let text = std::fs::read_to_string(root().join("examples/python/worker.py")).unwrap();
    let lines = text.lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines");
}

#[test]
fn a_python_worker_of_generated_code_does_its_jobs() {
    let python = match generator() {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    generate(&python, folder.path()).unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data).unwrap();
    let mut worker = work(&python, folder.path(), &server, JOBS + 2).unwrap();
    goes_on_behind_a_gate(&server).unwrap();
    let ids = enqueue(&server, JOBS).unwrap();
    for (n, id) in ids.iter().enumerate() {
        let status = server.client().get(&format!("/v1/status/{id}?wait=60s")).unwrap();
        assert_eq!(status.status, 303, "{}", status.body);
        let result = server.client().get(&format!("/v1/jobs/{id}/result")).unwrap();
        assert_eq!(result.body["greeting"], format!("hello {n}"));
    }
    // It leaves by itself, with a goodbye.
    assert!(worker.0.wait().unwrap().success());
    let workers = server.client().get("/v1/workers").unwrap();
    assert_eq!(workers.body["workers"], json!([]));
    server.terminate().unwrap();
}
