//! What tests of failing disks share: jobs enqueued until the server goes or refuses, and the check
//! that what it accepted is there afterwards.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;

use crate::server::Server;

/// What a process ends with whose journal failed (`EX_IOERR`).
pub const EXIT_JOURNAL_FAILED: i32 = 74;

/// The most requests that are made of a server whose disk is about to fail.
const REQUESTS_MAX: u64 = 3000;

/// After so many refusals nobody waits for more.
const REFUSED_MAX: u64 = 20;

/// What was answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Ids of the jobs that were accepted.
    pub accepted: Vec<String>,
    /// How many were refused.
    pub refused: u64,
    /// Whether the connection broke in the end.
    pub broke: bool,
}

/// Enqueues one by one until the server goes or refuses, each with args of `args_bytes`.
pub fn enqueue_until_trouble(server: &Server, args_bytes: usize) -> Answers {
    let mut client = server.client();
    let mut answers = Answers::default();
    let args = "x".repeat(args_bytes);
    for _ in 0..REQUESTS_MAX {
        match client.post("/v1/queues/q/jobs", &json!({ "kind": "k", "args": args })) {
            Ok(answer) if answer.is_success() => {
                let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
                answers.accepted.push(id);
            }
            Ok(_) => answers.refused += 1,
            Err(_) => answers.broke = true,
        }
        if answers.broke || answers.refused >= REFUSED_MAX {
            break;
        }
    }
    answers
}

/// Sees that every job is there, on a disk without faults.
pub fn check_nothing_is_lost(data: &Path, accepted: &[String]) -> Result<()> {
    let server = Server::start_ready(data)?;
    let mut client = server.client();
    for (index, id) in accepted.iter().enumerate() {
        let answer = client.get(&format!("/v1/jobs/{id}"))?;
        if answer.status != 200 || answer.body["state"] != "ready" {
            bail!("job {index} of {} is lost: {answer:?}", accepted.len());
        }
    }
    Ok(())
}
