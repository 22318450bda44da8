//! A producer: enqueues single jobs and bulks, with ids of its own and without, repeats what got
//! no answer where that is safe, and writes down what it sees.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::history::{Event, Recorder, Wanted, now_us};
use crate::http::{Answer, Client, Trouble};
use crate::random::Random;

/// How long to wait where nobody is there.
const PAUSE: Duration = Duration::from_millis(10);

/// How long to wait between two requests, so that workers can keep up on a small machine.
const PACE: Duration = Duration::from_millis(5);

/// The queues that jobs go to.
pub const QUEUES: &[&str] = &["mail", "images", "reports"];

/// The path of a namespace's API.
pub fn base(namespace: &str) -> String {
    match namespace {
        "default" => "/v1".to_owned(),
        other => format!("/v1/namespaces/{other}"),
    }
}

/// The address that the file of that name holds at the moment.
pub fn address_in(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A producer and what it counts on.
#[derive(Debug)]
pub struct Producer<'p> {
    /// What its labels begin with.
    pub name: String,
    /// The namespace that it enqueues into.
    pub namespace: &'p str,
    /// The file with the server's present address.
    pub address: &'p Path,
    /// Where it decides what to do.
    pub random: Random,
    /// Where it writes what it sees.
    pub recorder: Recorder,
    /// Told to end.
    pub stop: &'p AtomicBool,
}

impl Producer<'_> {
    /// Enqueues until told to stop. Says how many requests it made.
    pub fn run(mut self) -> Result<u64> {
        let mut client = Client::new("");
        let mut calls = 0;
        while !self.stop.load(Ordering::Relaxed) {
            calls += 1;
            self.call(&mut client, calls)?;
            thread::sleep(PACE);
        }
        Ok(calls)
    }

    /// One request, repeated until it is answered where its jobs have ids.
    fn call(&mut self, client: &mut Client, number: u64) -> Result<()> {
        let call = format!("{}-{number}", self.name);
        let count = if self.random.once_in(6) { 2 + self.random.below(20) } else { 1 };
        let named = self.random.once_in(2);
        let bad = self.random.once_in(25);
        let key =
            self.random.once_in(4).then(|| format!("{}-k{}", self.name, self.random.below(12)));
        let jobs: Vec<Wanted> = (0..count)
            .map(|index| Wanted {
                label: format!("{call}-{index}"),
                id: named.then(|| self.random.uuid()),
                key: key.clone(),
                at_most_once: key.is_none() && self.random.once_in(15),
            })
            .collect();
        let mut bodies: Vec<Value> = jobs.iter().map(|job| self.body(job)).collect();
        if bad && let Some(last) = bodies.last_mut() {
            // Out of bounds: the whole request is refused, whatever else is in it.
            last["priority"] = json!(10);
        }
        let body = match bodies.len() {
            1 => bodies.remove(0),
            _ => json!({ "jobs": bodies }),
        };
        self.recorder.write(&Event::EnqueueSent { call: call.clone(), at_us: now_us(), jobs })?;
        let queue = QUEUES[self.random.below(QUEUES.len() as u64) as usize];
        let path = format!("{}/queues/{queue}/jobs", base(self.namespace));
        loop {
            client.turn_to(&address_in(self.address));
            match client.post(&path, &body) {
                Ok(answer) if answer.status < 500 => return self.answered(call, &answer),
                // It may have had its effect; without ids it cannot be sent again.
                Ok(_) | Err(Trouble::Unknown(_)) if !named => return Ok(()),
                Ok(_) | Err(Trouble::Unknown(_) | Trouble::NotSent(_)) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
    }

    fn body(&mut self, job: &Wanted) -> Value {
        let mut body = json!({
            "kind": "crash",
            "args": { "label": job.label },
            // Args are gone once a job has ended, tags are kept.
            "tags": [job.label],
            "priority": self.random.below(3),
            "retry": { "policy": "constant", "delay": "0s" },
        });
        if let Some(id) = &job.id {
            body["id"] = json!(id);
        }
        if let Some(key) = &job.key {
            body["ordering_key"] = json!(key);
        }
        if job.at_most_once {
            body["at_most_once"] = json!(true);
        }
        if self.random.once_in(8) {
            body["delay"] = json!(format!("{}ms", self.random.below(400)));
        }
        body
    }

    fn answered(&mut self, call: String, answer: &Answer) -> Result<()> {
        if !answer.is_success() {
            let code = answer.code().to_owned();
            return self.recorder.write(&Event::EnqueueRefused { call, code });
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ids = match answer.body.get("ids").and_then(Value::as_array) {
            Some(ids) => ids.iter().map(text).collect(),
            None => vec![text(&answer.body["id"])],
        };
        self.recorder.write(&Event::EnqueueAnswered { call, at_us: now_us(), ids })
    }
}
