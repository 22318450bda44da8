//! A backfill over a table of `PostgreSQL` while workers and the server are restarted again and
//! again: what it does and notes, the processes that take part in it, and what was made of its
//! attempts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use longshore::sql::Keyset;
use longshore::{
    Checkpoints, Client, Context, Enumerator, Iteration, IterationSettings, Job, JobError,
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;

use crate::random::Random;
use crate::server::{Server, binary, serve_at, signal};

/// Items that a job may do again for each time that it is killed.
pub const DURABLE_EVERY: u64 = 100;

/// Jobs that a worker process runs at a time.
pub const CONCURRENCY: u32 = 4;

/// Counts how often each row of one part of the table was done.
#[derive(Debug, Deserialize, Job, Serialize)]
#[job(queue = "storm")]
pub struct Backfill {
    /// Which part.
    pub part: i64,
    /// How many there are.
    pub parts: i64,
}

/// What the runs of one worker process share.
#[derive(Debug)]
pub struct Desk {
    /// The database.
    pub pool: PgPool,
    /// The worker's name.
    pub worker: String,
}

impl Iteration<Desk> for Backfill {
    type Item = (i64,);
    type Cursor = i64;

    fn settings(&self) -> IterationSettings {
        IterationSettings::new().checkpoints(Checkpoints::WaitEvery(DURABLE_EVERY))
    }

    async fn enumerate(
        &self,
        cursor: Option<i64>,
        ctx: &Context<Desk>,
    ) -> Result<Enumerator<(i64,), i64>, JobError> {
        let Desk { pool, worker } = ctx.state();
        note_run(pool, self.part, worker, ctx, cursor).await?;
        Keyset::new("items", ["id"])
            .columns("id")
            .filter("id % $1 = $2")
            .bind(self.parts)
            .bind(self.part)
            .rows(pool, cursor)
    }

    async fn each(&self, (id,): &(i64,), ctx: &Context<Desk>) -> Result<(), JobError> {
        let done = "UPDATE items SET done = done + 1 WHERE id = $1";
        sqlx::query(done).bind(id).execute(&ctx.state().pool).await?;
        Ok(())
    }
}

/// Notes where a run begins, before it does anything.
async fn note_run(
    pool: &PgPool,
    part: i64,
    worker: &str,
    ctx: &Context<Desk>,
    cursor: Option<i64>,
) -> Result<(), JobError> {
    let note = "INSERT INTO runs VALUES ($1, string_to_array($2, '.')::bigint[], $3, $4, $5)";
    sqlx::query(note)
        .bind(part)
        .bind(&ctx.delivery().token)
        .bind(i64::from(ctx.attempt()))
        .bind(worker)
        .bind(cursor)
        .execute(pool)
        .await?;
    Ok(())
}

/// A table with so many rows, none of which is done, and one for the runs.
pub async fn table(pool: &PgPool, rows: i64) -> Result<()> {
    let runs = "CREATE TABLE runs (part bigint, token bigint[], attempt bigint, worker text, \
                cursor bigint)";
    sqlx::query(runs).execute(pool).await?;
    let create = "CREATE TABLE items (id bigint PRIMARY KEY, done bigint NOT NULL DEFAULT 0) \
                  WITH (fillfactor = 50)";
    sqlx::query(create).execute(pool).await?;
    let fill = "INSERT INTO items (id) SELECT generate_series(1, $1)";
    sqlx::query(fill).bind(rows).execute(pool).await?;
    Ok(())
}

/// A run as it was noted at its beginning.
#[derive(Clone, Debug)]
struct Run {
    attempt: i64,
    worker: String,
    cursor: Option<i64>,
}

/// What became of the runs of one job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    /// Runs that began.
    pub runs: usize,
    /// Of those, the ones after which the next one began farther on.
    pub moved: usize,
    /// Attempts that were used up, the one that succeeded aside.
    pub attempts: usize,
}

/// Judges the runs of the job for `part` by its record: no cursor went back, and each attempt that
/// is used up was a run after which the next one began where it had begun itself.
pub async fn judge(pool: &PgPool, part: i64, record: &Value) -> Result<Toll> {
    let runs = "SELECT attempt, worker, cursor FROM runs WHERE part = $1 ORDER BY token";
    let runs: Vec<(i64, String, Option<i64>)> =
        sqlx::query_as(runs).bind(part).fetch_all(pool).await?;
    let runs = runs.into_iter().map(|(attempt, worker, cursor)| Run { attempt, worker, cursor });
    let runs: Vec<Run> = runs.collect();
    for (before, after) in runs.iter().zip(runs.iter().skip(1)) {
        ensure!(before.cursor <= after.cursor, "a cursor went back: {before:?}, {after:?}");
        ensure!(before.attempt <= after.attempt, "an attempt came back: {before:?}, {after:?}");
    }
    let notes = record["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let used = record["attempt"].as_i64().context("no attempt")? - 1;
    for attempt in 1..=used {
        let note = notes.iter().find(|note| note["attempt"] == attempt);
        let note = note.with_context(|| format!("no note of attempt {attempt}: {record}"))?;
        ensure!(note["outcome"] == "lost", "{note}");
        let of_note = |run: &Run| run.attempt == attempt && note["worker"] == *run.worker;
        // One that was lost before it had noted its beginning had done nothing.
        let Some(index) = runs.iter().rposition(of_note) else { continue };
        let (run, next) = (&runs[index], runs.get(index + 1).context("no run succeeded")?);
        ensure!(run.cursor == next.cursor, "a run with progress used an attempt: {run:?}, {note}");
    }
    let moved = runs.windows(2).filter(|pair| pair[0].cursor < pair[1].cursor).count();
    Ok(Toll { runs: runs.len(), moved, attempts: usize::try_from(used)? })
}

/// How rough it is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Worker processes.
    pub workers: usize,
    /// How long until another worker is ended.
    pub between: Duration,
    /// After how many ends of workers the server is killed.
    pub server_every: u32,
    /// The storm is given up after this.
    pub patience: Duration,
}

/// What was done to the processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blows {
    /// Workers that were ended by SIGTERM.
    pub deploys: u64,
    /// Workers that were killed.
    pub worker_kills: u64,
    /// How often the server was killed.
    pub server_kills: u64,
}

/// The processes of a storm.
#[derive(Debug)]
pub struct Storm<'a> {
    data: &'a Path,
    log: &'a Path,
    database: &'a Path,
    server: Server,
    workers: Vec<Child>,
    started: u64,
}

impl<'a> Storm<'a> {
    /// Starts a server at a free port, and workers.
    pub fn start(folders: (&'a Path, &'a Path, &'a Path), workers: usize) -> Result<Self> {
        let (data, log, database) = folders;
        let server = start_server(data, log, "127.0.0.1:0")?;
        let mut storm = Self { data, log, database, server, workers: Vec::new(), started: 0 };
        for _ in 0..workers {
            let worker = storm.start_worker()?;
            storm.workers.push(worker);
        }
        Ok(storm)
    }

    /// A client of the server.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::builder(self.url()).deadline(Duration::from_secs(60)).build()?)
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    fn start_worker(&mut self) -> Result<Child> {
        self.started += 1;
        let program = binary()?.with_file_name("storm-worker");
        Command::new(&program)
            .arg(self.url())
            .arg(self.database)
            .arg(format!("storm-{}", self.started))
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))
    }

    /// Goes on until `finished` says so.
    pub async fn rage(
        &mut self,
        weather: Weather,
        random: &mut Random,
        finished: impl AsyncFn() -> Result<bool>,
    ) -> Result<Blows> {
        let (start, mut blows) = (Instant::now(), Blows::default());
        let mut ended = 0_u32;
        while !finished().await? {
            if start.elapsed() > weather.patience {
                bail!("not finished after {:?}: {blows:?}", weather.patience);
            }
            tokio::time::sleep(weather.between).await;
            let index = random.below(self.workers.len() as u64) as usize;
            let pid = self.workers[index].id();
            if ended.is_multiple_of(2) {
                blows.deploys += 1;
                signal(pid, Signal::TERM)?;
            } else {
                blows.worker_kills += 1;
                signal(pid, Signal::KILL)?;
            }
            // The next process begins while this one may still be on its way out, as in a deploy.
            let next = self.start_worker()?;
            let mut last = std::mem::replace(&mut self.workers[index], next);
            tokio::task::spawn_blocking(move || last.wait()).await??;
            ended += 1;
            if ended.is_multiple_of(weather.server_every) {
                blows.server_kills += 1;
                self.server.kill()?;
                self.server = start_server(self.data, self.log, &self.server.address)?;
            }
        }
        Ok(blows)
    }
}

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

fn start_server(data: &Path, log: &Path, address: &str) -> Result<Server> {
    let mut command = serve_at(data, address)?;
    // A killed worker's jobs wait so long for it to come back.
    command.args(["--set", "workers.reconnect=1s"]);
    let mut server = Server::start_as(command, log)?;
    server.wait_ready()?;
    Ok(server)
}
