//! A worker over plain HTTP. It tells its progress before it begins a run, which is how the server
//! hears of that here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Errand, LEASE_MS, Starts};
use crate::http::{Answer, Client};
use crate::random::Random;

/// How long to wait where nobody is there.
const PAUSE: Duration = Duration::from_millis(10);

/// A worker and what it counts on.
#[derive(Debug)]
pub struct Worker<'w> {
    /// A client of the server.
    pub client: Client,
    /// Its name, which is that of its session too.
    pub name: &'w str,
    /// Where it writes.
    pub starts: Starts,
    /// Where it decides what to do.
    pub random: Random,
    /// Whether it is told to end.
    pub stop: &'w AtomicBool,
}

impl Worker<'_> {
    /// Works until it is told to end and has settled everything.
    pub fn work(mut self) -> Result<()> {
        let mut settle = Vec::new();
        for turn in 1_u64.. {
            let stops = self.stops();
            if stops && settle.is_empty() {
                break;
            }
            let body = json!({
                "queues": ["http"],
                "max": if stops { 0 } else { 3 },
                "wait": "200ms",
                "lease": format!("{LEASE_MS}ms"),
                "worker": self.name,
                "session": self.name,
                "turn": turn,
                "seen": turn - 1,
                "settle": settle,
            });
            let answer = self.insist("/v1/lease", &body);
            settle = Vec::new();
            for job in answer.body["jobs"].as_array().into_iter().flatten() {
                let verdict = self.run(job).with_context(|| job.to_string())?;
                settle.extend(verdict.map(|mut verdict| {
                    verdict["id"] = job["id"].clone();
                    verdict["token"] = job["token"].clone();
                    verdict
                }));
            }
        }
        Ok(())
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks until there is an answer.
    fn insist(&mut self, path: &str, body: &Value) -> Answer {
        loop {
            match self.client.post(path, body) {
                Ok(answer) if answer.status != 429 && answer.status < 500 => return answer,
                Ok(_) | Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// How the run ended; nothing where it is not this worker's any more.
    fn run(&mut self, job: &Value) -> Result<Option<Value>> {
        if self.stops() {
            return Ok(Some(json!({"verdict": "release"})));
        }
        let id = job["id"].as_str().context("a job has an id")?;
        let errand: Errand = serde_json::from_value(job["args"].clone())?;
        let begins = json!({"token": job["token"], "progress": 0.0});
        let heard = self.insist(&format!("/v1/jobs/{id}/heartbeat"), &begins);
        if !heard.is_success() {
            return Ok(None);
        }
        if heard.body["instruction"] == "cancel" {
            return Ok(Some(json!({"verdict": "discard"})));
        }
        self.starts.note(id)?;
        let end = Instant::now() + Duration::from_millis(errand.ms);
        while Instant::now() < end && !self.stops() {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(if self.stops() {
            match self.random.below(3) {
                0 => json!({"verdict": "release"}),
                1 => json!({"verdict": "snooze", "delay": "0s"}),
                _ => json!({"verdict": "interrupt", "reason": "deploy"}),
            }
        } else if errand.fails {
            json!({"verdict": "fail", "error": {"type": "Oops", "message": "told to fail"}})
        } else {
            json!({"verdict": "ack"})
        }))
    }
}
