//! The loads: many connections, each one request after the other, until a time has passed or
//! nothing is left.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use longshore_server::api::{JobIdText, TokenText};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::sample::Sample;
use crate::client::Client;
use crate::http::{Connection, Reply, Target as Server};

/// Where the load goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The server.
    pub(super) at: Server,
    /// The value of `Authorization`.
    pub(super) authorization: Option<String>,
    /// `/v1` or that of a namespace.
    pub(super) prefix: String,
    pub(super) queue: String,
    /// A JSON string as args, of so many bytes.
    pub(super) args_bytes: usize,
}

/// What a load came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) jobs: u64,
    pub(super) took: Duration,
    /// How long each request took.
    pub(super) requests: Sample,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        self.jobs as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

#[derive(Deserialize)]
struct Granted {
    id: JobIdText,
    token: TokenText,
}

#[derive(Deserialize)]
struct Grants {
    jobs: Vec<Granted>,
}

impl Target {
    pub(super) fn client(&self) -> Client {
        Client::of(self.at.clone()).authorized(self.authorization.clone())
    }

    async fn open(&self) -> std::io::Result<Connection> {
        let connection = Connection::open(&self.at).await?;
        Ok(connection.authorized(self.authorization.as_deref()))
    }

    fn job(&self) -> String {
        // The quotes count.
        let text = "x".repeat(self.args_bytes.saturating_sub(2));
        format!(r#"{{"kind":"bench","args":"{text}"}}"#)
    }

    fn jobs_path(&self) -> String {
        format!("{}/queues/{}/jobs", self.prefix, self.queue)
    }

    /// One enqueue after the other on one connection.
    pub(super) async fn enqueue_times(&self, times: usize, sample: &mut Sample) -> Result<()> {
        let mut connection = self.open().await?;
        let (path, body) = (self.jobs_path(), self.job());
        for _ in 0..times {
            let start = Instant::now();
            let reply = connection.request("POST", &path, &[], Some(body.as_bytes())).await?;
            sample.add(start.elapsed());
            expect(&reply, 202)?;
        }
        Ok(())
    }

    /// One request that does nothing after the other.
    pub(super) async fn round_trips(&self, times: usize, sample: &mut Sample) -> Result<()> {
        let mut connection = self.open().await?;
        for _ in 0..times {
            let start = Instant::now();
            let reply = connection.request("GET", "/livez", &[], None).await?;
            sample.add(start.elapsed());
            expect(&reply, 200)?;
        }
        Ok(())
    }

    /// Enqueues on many connections, `bulk` jobs per request, for a time.
    pub(super) async fn enqueue_for(
        &self,
        connections: usize,
        bulk: usize,
        time: Duration,
    ) -> Result<Outcome> {
        let body = match bulk {
            1 => self.job(),
            _ => format!(r#"{{"jobs":[{}]}}"#, vec![self.job(); bulk].join(",")),
        };
        let (path, until) = (self.jobs_path(), Instant::now() + time);
        self.on_each(connections, |mut connection, _| {
            let (path, body) = (path.clone(), body.clone());
            async move {
                let mut outcome = Outcome::default();
                while Instant::now() < until {
                    let start = Instant::now();
                    let reply =
                        connection.request("POST", &path, &[], Some(body.as_bytes())).await?;
                    outcome.requests.add(start.elapsed());
                    expect(&reply, 202)?;
                    outcome.jobs += bulk as u64;
                }
                Ok(outcome)
            }
        })
        .await
    }

    /// Leases and settles on many connections, `batch` jobs per turn, until nothing is left or
    /// the time is over.
    pub(super) async fn drain(
        &self,
        connections: usize,
        batch: usize,
        time: Duration,
    ) -> Result<Outcome> {
        let until = Instant::now() + time;
        self.on_each(connections, |connection, number| {
            Turns::new(self, number, batch).run(connection, until)
        })
        .await
    }

    async fn on_each<F>(
        &self,
        connections: usize,
        work: impl Fn(Connection, usize) -> F,
    ) -> Result<Outcome>
    where
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(self.open().await?);
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, connection) in open.into_iter().enumerate() {
            tasks.spawn(work(connection, number));
        }
        let mut sum = Outcome::default();
        while let Some(done) = tasks.join_next().await {
            let outcome = done??;
            sum.jobs += outcome.jobs;
            sum.requests.extend(&outcome.requests);
        }
        sum.took = start.elapsed();
        Ok(sum)
    }
}

/// The turns of one worker.
struct Turns {
    path: String,
    /// What is the same in each request.
    head: String,
    batch: usize,
    turn: u64,
    settle: String,
}

impl Turns {
    fn new(target: &Target, number: usize, batch: usize) -> Self {
        let session = uuid::Uuid::now_v7();
        let head = format!(
            r#"{{"queues":["{}"],"worker":"bench-{number}","session":"{session}""#,
            target.queue
        );
        let path = format!("{}/lease", target.prefix);
        Self { path, head, batch, turn: 0, settle: String::new() }
    }

    async fn run(mut self, mut connection: Connection, until: Instant) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut last = 0;
        loop {
            let over = Instant::now() >= until;
            let reply = self.turn(&mut connection, over, &mut outcome.requests).await?;
            // What was leased last is settled by now.
            outcome.jobs += last;
            let grants: Grants = serde_json::from_slice(&reply.body)?;
            last = grants.jobs.len() as u64;
            if last == 0 {
                return Ok(outcome);
            }
            self.settle.clear();
            for job in grants.jobs {
                let comma = if self.settle.is_empty() { "" } else { "," };
                let Granted { id, token } = job;
                let _ = write!(
                    self.settle,
                    r#"{comma}{{"id":"{id}","token":"{token}","verdict":"ack"}}"#
                );
            }
        }
    }

    async fn turn(
        &mut self,
        connection: &mut Connection,
        only_settle: bool,
        sample: &mut Sample,
    ) -> Result<Reply> {
        self.turn += 1;
        let Self { head, settle, turn, .. } = self;
        let max = if only_settle { 0 } else { self.batch };
        let seen = if *turn > 1 { format!(r#","seen":{}"#, *turn - 1) } else { String::new() };
        let body = format!(r#"{head},"max":{max},"turn":{turn}{seen},"settle":[{settle}]}}"#);
        let start = Instant::now();
        let reply = connection.request("POST", &self.path, &[], Some(body.as_bytes())).await?;
        sample.add(start.elapsed());
        expect(&reply, 200)?;
        Ok(reply)
    }
}

fn expect(reply: &Reply, status: u16) -> Result<()> {
    if reply.status != status {
        bail!(
            "the server answered {} instead of {status}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
    }
    Ok(())
}
