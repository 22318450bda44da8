//! Clients of the recorded server, one after the other each in a queue of its own, so that what
//! they must find is known: the state after their last answered request, or after the one that has
//! no answer yet. They write down what they send and hear.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http;
use crate::random::Random;

/// Longer than any run: no lease ends, no retry becomes due.
const FOREVER: &str = "10h";

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits.
    Ready,
    /// A worker has it.
    Running,
    /// It failed and waits for another attempt, for longer than the run.
    Retrying,
    /// It was done.
    Succeeded,
    /// It was called off.
    Cancelled,
}

/// A job as its client knows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// How long the text is that it has as its args.
    pub args_bytes: usize,
    /// Where it is in its life.
    pub state: JobState,
}

impl Job {
    /// Its args, which are of this job alone.
    pub fn args(&self) -> String {
        let mut args = self.id.repeat(self.args_bytes / self.id.len() + 1);
        args.truncate(self.args_bytes);
        args
    }
}

/// What a client asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// These jobs, all or none.
    Enqueue(Vec<Job>),
    /// Up to so many jobs to run.
    Lease(usize),
    /// To end the run of a job.
    Settle {
        /// The job.
        id: String,
        /// `ack`, `fail` or `release`.
        verdict: String,
    },
    /// To call off a job.
    Cancel {
        /// The job.
        id: String,
    },
}

/// The jobs of a client, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jobs(pub Vec<Job>);

impl Jobs {
    /// What they become once this is done.
    #[must_use]
    pub fn after(&self, ask: &Ask) -> Self {
        let mut jobs = self.clone();
        let of = |jobs: &mut Self, id: &String, state| {
            jobs.0.iter_mut().filter(|job| job.id == *id).for_each(|job| job.state = state);
        };
        match ask {
            Ask::Enqueue(new) => jobs.0.extend(new.iter().cloned()),
            Ask::Lease(max) => {
                let ready = jobs.0.iter_mut().filter(|job| job.state == JobState::Ready);
                ready.take(*max).for_each(|job| job.state = JobState::Running);
            }
            Ask::Settle { id, verdict } => {
                let state = match verdict.as_str() {
                    "ack" => JobState::Succeeded,
                    "fail" => JobState::Retrying,
                    _ => JobState::Ready,
                };
                of(&mut jobs, id, state);
            }
            Ask::Cancel { id } => of(&mut jobs, id, JobState::Cancelled),
        }
        jobs
    }

    fn any(&self, state: JobState, random: &mut Random) -> Option<&Job> {
        let some: Vec<&Job> = self.0.iter().filter(|job| job.state == state).collect();
        some.get(random.below(some.len() as u64) as usize).copied()
    }

    /// Asks for something that makes sense now.
    fn next(&self, held: &BTreeMap<String, String>, random: &mut Random) -> Ask {
        let ready = self.any(JobState::Ready, random);
        let held = held.keys().nth(random.below(held.len() as u64) as usize);
        match (random.below(100), ready, held) {
            (0..30, _, Some(id)) => {
                let verdict = ["ack", "ack", "ack", "fail", "release"];
                let verdict = verdict[random.below(verdict.len() as u64) as usize].to_owned();
                Ask::Settle { id: id.clone(), verdict }
            }
            (30..50, Some(_), _) => Ask::Lease(1 + random.below(3) as usize),
            (50..56, Some(job), _) => Ask::Cancel { id: job.id.clone() },
            (chance, ..) => {
                let count = match chance {
                    // Longer than a segment, and longer than a frame.
                    98.. => 12,
                    90..98 => 2 + random.below(6),
                    _ => 1,
                };
                let bytes_max = if count == 12 { 4000 } else { 1500 };
                Ask::Enqueue((0..count).map(|_| new_job(bytes_max, random)).collect())
            }
        }
    }
}

fn new_job(args_bytes_max: u64, random: &mut Random) -> Job {
    let args_bytes = 10 + random.below(args_bytes_max) as usize;
    Job { id: random.uuid(), args_bytes, state: JobState::Ready }
}

/// What a client writes down.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A request leaves.
    Asked(Ask),
    /// It was answered. These are the tokens that the answer brought, by job.
    Answered(BTreeMap<String, String>),
    /// The server ended before it answered, and another one does not know of it.
    Void,
}

/// A line of the history: one client's note.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Line {
    /// The client, and its queue.
    pub client: String,
    /// What it wrote down.
    pub note: Note,
}

/// A client: what it knows for sure, and what may be.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its jobs after all that was answered.
    pub sure: Jobs,
    /// Its jobs after the request that has no answer, if there is one.
    pub maybe: Option<Jobs>,
    /// Tokens of jobs that it runs.
    held: BTreeMap<String, String>,
}

impl Client {
    /// Takes in what was written down.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Asked(ask) => self.maybe = Some(self.sure.after(ask)),
            Note::Answered(tokens) => {
                self.sure = self.maybe.take().unwrap_or_else(|| self.sure.clone());
                self.held.extend(tokens.clone());
                let runs = |job: &&Job| job.state == JobState::Running;
                let running: Vec<&String> =
                    self.sure.0.iter().filter(runs).map(|it| &it.id).collect();
                self.held.retain(|id, _| running.contains(&id));
            }
            Note::Void => self.maybe = None,
        }
    }

    /// Finds out what became of the request that has no answer, after a restart.
    pub fn resolve(&self, client: &mut http::Client) -> Result<Option<Note>> {
        let Some(maybe) = &self.maybe else { return Ok(None) };
        if is_seen(maybe, client)? {
            return Ok(Some(Note::Answered(BTreeMap::new())));
        }
        if is_seen(&self.sure, client)? {
            return Ok(Some(Note::Void));
        }
        bail!("after a restart neither {:?} nor {maybe:?} is there", self.sure)
    }

    /// What to ask for next.
    pub fn next(&self, random: &mut Random) -> Ask {
        self.sure.next(&self.held, random)
    }

    /// Asks, and has an answer.
    pub fn ask(&self, name: &str, ask: &Ask, client: &mut http::Client) -> Result<Note> {
        let answer = match ask {
            Ask::Enqueue(jobs) => {
                let jobs: Vec<Value> = jobs.iter().map(body_of).collect();
                client.post(&format!("/v1/queues/{name}/jobs"), &json!({ "jobs": jobs }))?
            }
            Ask::Lease(max) => {
                let body =
                    json!({ "queues": [name], "max": max, "lease": FOREVER, "worker": name });
                client.post("/v1/lease", &body)?
            }
            Ask::Settle { id, verdict } => {
                let mut body = json!({ "token": self.held.get(id) });
                if verdict == "fail" {
                    body["retry_in"] = json!(FOREVER);
                }
                client.post(&format!("/v1/jobs/{id}/{verdict}"), &body)?
            }
            Ask::Cancel { id } => client.ask("DELETE", &format!("/v1/jobs/{id}"), None)?,
        };
        if !answer.is_success() {
            bail!("{ask:?} was answered with {answer:?}");
        }
        let leased = answer.body["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tokens = leased.iter().map(|job| {
            let text = |name: &str| job[name].as_str().map(str::to_owned).context("a leased job");
            Ok((text("id")?, text("token")?))
        });
        Ok(Note::Answered(tokens.collect::<Result<_>>()?))
    }
}

/// All clients by their names.
pub type Clients = BTreeMap<String, Client>;

/// Takes in lines of the history. The last one may have been cut by a SIGKILL.
pub fn take_in(clients: &mut Clients, history: &[u8]) -> Result<()> {
    let lines = history.split_inclusive(|byte| *byte == b'\n');
    for line in lines.filter(|line| line.ends_with(b"\n")) {
        let line: Line = serde_json::from_slice(line).context("a damaged history")?;
        clients.entry(line.client).or_default().note(&line.note);
    }
    Ok(())
}

fn body_of(job: &Job) -> Value {
    json!({ "id": job.id, "kind": "k", "args": job.args() })
}

/// Whether the server shows these jobs so.
fn is_seen(jobs: &Jobs, client: &mut http::Client) -> Result<bool> {
    for job in &jobs.0 {
        let answer = client.get(&format!("/v1/jobs/{}", job.id))?;
        if answer.status != 200 || answer.body["state"] != json!(job.state) {
            return Ok(false);
        }
    }
    Ok(true)
}
