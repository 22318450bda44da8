//! A backfill over a table, while deploys go on: each deploy interrupts it, and the next worker
//! continues where it was.
//!
//! `cargo run -p longshore --features embedded,sqlite --example backfill`

use std::time::Duration;

use longshore::sql::Keyset;
use longshore::{
    Client, Context, Enumerator, Iteration, IterationSettings, Job, JobError, JobResult, Outcome,
    Worker,
};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;

/// Fills in the column `handle` of every user that has none.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "backfills", output = i64)]
pub(crate) struct FillInHandles;

impl Iteration<SqlitePool> for FillInHandles {
    type Item = (i64, String);
    type Cursor = i64;

    fn settings(&self) -> IterationSettings {
        // Makes room for others now and then, and does not stop at a bad row.
        IterationSettings::new()
            .max_runtime(Duration::from_secs(300))
            .skip_after(2, Duration::from_millis(100))
    }

    async fn enumerate(
        &self,
        cursor: Option<i64>,
        ctx: &Context<SqlitePool>,
    ) -> Result<Enumerator<(i64, String), i64>, JobError> {
        Keyset::new("users", ["id"]).columns("id, email").page(100).rows(ctx.state(), cursor)
    }

    async fn each(
        &self,
        (id, email): &(i64, String),
        ctx: &Context<SqlitePool>,
    ) -> Result<(), JobError> {
        let (handle, _) = email
            .split_once('@')
            .ok_or_else(|| JobError::new("no_address", format!("user {id} has \"{email}\"")))?;
        // The same row twice gives the same result.
        let changed = sqlx::query("UPDATE users SET handle = $1 WHERE id = $2 AND handle IS NULL")
            .bind(handle)
            .bind(id)
            .execute(ctx.state())
            .await?;
        ctx.count("filled_in", i64::try_from(changed.rows_affected())?);
        Ok(())
    }

    async fn on_complete(&self, ctx: &Context<SqlitePool>) -> JobResult<i64> {
        let left = sqlx::query_as::<_, (i64,)>("SELECT count(*) FROM users WHERE handle IS NULL");
        Ok(Outcome::done(left.fetch_one(ctx.state()).await?.0))
    }
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) deploys: u32,
    /// Users that have no handle at the end.
    pub(crate) left: i64,
    pub(crate) filled_in: i64,
    pub(crate) skipped: i64,
}

/// A table with users, one of which has a bad address.
pub(crate) async fn table(pool: &SqlitePool, users: i64) -> Result<(), JobError> {
    // One write to the disk per row instead of several.
    sqlx::query("PRAGMA journal_mode = WAL").execute(pool).await?;
    let create = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, handle TEXT)";
    sqlx::query(create).execute(pool).await?;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                INSERT INTO users (id, email) \
                SELECT i, CASE i WHEN 7 THEN 'nobody' ELSE 'user' || i || '@x.example' END FROM n";
    sqlx::query(fill).bind(users).execute(pool).await?;
    Ok(())
}

/// Runs the backfill with a deploy every `between`.
pub(crate) async fn run(
    client: &Client,
    pool: &SqlitePool,
    between: Duration,
) -> Result<Report, JobError> {
    let job = client.enqueue(FillInHandles).await?;
    let mut deploys = 0;
    let left = loop {
        // A process of the application: it works until the next deploy ends it.
        let mut ended = None;
        Worker::new(client, pool.clone())
            .register_iteration::<FillInHandles>()
            .concurrency(1)
            .run_until(async { ended = job.result(between).await.ok() })
            .await?;
        if let Some(left) = ended {
            break left;
        }
        deploys += 1;
        if deploys > 1_000 {
            return Err(JobError::msg("the backfill does not get on"));
        }
    };
    let record = job.record().await?;
    let counter = |name: &str| record.counters.get(name).copied().unwrap_or(0);
    let (filled_in, skipped) = (counter("filled_in"), counter("skipped"));
    Ok(Report { deploys, left, filled_in, skipped })
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
#[allow(dead_code, reason = "tests call `run`")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = longshore::testing::EmbeddedServer::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("app.db");
    let pool = SqlitePool::connect(&format!("sqlite:{}?mode=rwc", file.display())).await?;
    let report = async {
        table(&pool, 2_000).await?;
        run(&server.client(), &pool, Duration::from_millis(300)).await
    };
    let Report { deploys, left, filled_in, skipped } =
        report.await.map_err(|error| error.to_string())?;
    println!("{filled_in} filled in over {deploys} deploys, {skipped} skipped, {left} left");
    Ok(server.stop().await?)
}
