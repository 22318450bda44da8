//! What a restart keeps: running jobs run on after SIGTERM and after SIGKILL; and what a store
//! refuses: a second process.

use anyhow::{Context, Result};
use longshore_tests::http::Client;
use longshore_tests::server::{Server, describe, serve};
use serde_json::{Value, json};

fn enqueue(client: &mut Client, count: u64) -> Result<()> {
    let jobs: Vec<Value> = (0..count).map(|n| json!({ "kind": "k", "args": n })).collect();
    let answer = client.post("/v1/queues/q/jobs", &json!({ "jobs": jobs }))?;
    assert!(answer.is_success(), "{answer:?}");
    Ok(())
}

fn lease(client: &mut Client, max: u64) -> Result<Vec<Value>> {
    let body = json!({ "queues": ["q"], "max": max, "lease": "10m" });
    let answer = client.post("/v1/lease", &body)?;
    assert!(answer.is_success(), "{answer:?}");
    Ok(answer.body["jobs"].as_array().context("jobs")?.clone())
}

fn path(job: &Value, what: &str) -> String {
    format!("/v1/jobs/{}/{what}", job["id"].as_str().unwrap_or_default())
}

/// Leases some of the jobs, lets `stop` end the server, and sees that the runs go on.
fn runs_go_on(stop: impl FnOnce(&mut Server) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data)?;
    let mut client = server.client();
    enqueue(&mut client, 10)?;
    let running = lease(&mut client, 6)?;
    assert_eq!(running.len(), 6);
    let beat =
        client.post(&path(&running[0], "heartbeat"), &json!({ "token": running[0]["token"] }))?;
    assert_eq!(beat.body["instruction"], "continue");
    stop(&mut server)?;

    let server = Server::start_ready(&data)?;
    let mut client = server.client();
    for job in &running {
        let record = client.get(&path(job, "")[..path(job, "").len() - 1])?;
        assert_eq!(record.body["state"], "running", "{record:?}");
        let beat = client.post(&path(job, "heartbeat"), &json!({ "token": job["token"] }))?;
        assert_eq!(beat.body["instruction"], "continue", "{beat:?}");
    }
    let others = lease(&mut client, 100)?;
    let ids = |jobs: &[Value]| -> Vec<Value> { jobs.iter().map(|job| job["id"].clone()).collect() };
    assert_eq!(others.len(), 4, "only those that did not run");
    assert!(ids(&others).iter().all(|id| !ids(&running).contains(id)));
    for job in running.iter().chain(&others) {
        let ack = client.post(&path(job, "ack"), &json!({ "token": job["token"] }))?;
        assert!(ack.is_success(), "{ack:?}");
        assert_eq!(job["attempt"], 1);
    }
    assert!(lease(&mut client, 100)?.is_empty());
    Ok(())
}

#[test]
fn running_jobs_run_on_through_a_graceful_restart() {
    runs_go_on(|server| {
        let status = server.terminate()?;
        assert_eq!(status.code(), Some(0), "{}\n{}", describe(status), server.log_text());
        Ok(())
    })
    .unwrap();
}

#[test]
fn running_jobs_run_on_through_a_kill() {
    runs_go_on(Server::kill).unwrap();
}

#[test]
fn a_waiting_lease_is_answered_when_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_ready(&folder.path().join("data")).unwrap();
    let mut client = server.client();
    enqueue(&mut client, 1).unwrap();
    assert_eq!(lease(&mut client, 1).unwrap().len(), 1);
    let waiting = std::thread::spawn(move || {
        client.post("/v1/lease", &json!({ "queues": ["q"], "wait": "50s" }))
    });
    // Whether the request is there before the signal or after it, it gets an answer or no
    // connection; what it may not do is keep the server from ending.
    let status = server.terminate().unwrap();
    assert_eq!(status.code(), Some(0), "{}", server.log_text());
    if let Ok(answer) = waiting.join().unwrap() {
        let empty = answer.body["jobs"].as_array().is_some_and(Vec::is_empty);
        assert!(answer.status == 503 || empty, "{answer:?}");
    }
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start_ready(&data).unwrap();
    let mut client = server.client();
    enqueue(&mut client, 1).unwrap();
    let second = serve(&data).unwrap().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(4), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(second.stdout.is_empty(), "it never said that it listens");
    assert_eq!(lease(&mut client, 1).unwrap().len(), 1, "the first one serves on");
}
