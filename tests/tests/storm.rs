//! A backfill over a real table of `PostgreSQL`, while workers are restarted every few hundred
//! milliseconds, by SIGTERM and SIGKILL in turn, and the server is killed: it finishes, every row
//! is done, no more rows are done again than were not yet durable, and no run that came farther
//! uses an attempt up.

use std::time::Duration;

use longshore::JobState;
use longshore_tests::postgres::Postgres;
use longshore_tests::random::Random;
use longshore_tests::skip::skip;
use longshore_tests::storm::{
    Backfill, Blows, CONCURRENCY, DURABLE_EVERY, Storm, Weather, judge, table,
};
use longshore_tests::tier;

const JOBS: i64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_through_a_storm() {
    let Some(database) = Postgres::start() else {
        return skip("postgresql", "Debian's package postgresql is not installed");
    };
    let rows: i64 = tier::pick(40_000, 500_000);
    let pool = database.pool(4).await;
    table(&pool, rows).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let mut storm = Storm::start((&data, &log, database.folder()), 2).unwrap();
    let client = storm.client().unwrap();
    let mut jobs = Vec::new();
    for part in 0..JOBS {
        jobs.push(client.enqueue(Backfill { part, parts: JOBS }).await.unwrap());
    }
    let weather = Weather {
        workers: 2,
        between: Duration::from_millis(300),
        // Rarer than leases are long: a restart lets every lease stand for one more of its lengths.
        server_every: 40,
        patience: Duration::from_secs(tier::pick(300, 3600)),
    };
    let mut random = Random::new(u64::from(std::process::id()));
    let finished = async || {
        for job in &jobs {
            let state = job.record().await?.state;
            anyhow::ensure!(state != JobState::Dead, "job {} is dead", job.id());
        }
        let left = "SELECT count(*) FROM items WHERE done = 0";
        let (left,): (i64,) = sqlx::query_as(left).fetch_one(&pool).await?;
        Ok(left == 0)
    };
    let blows = storm.rage(weather, &mut random, finished).await.unwrap();
    for job in &jobs {
        job.result(Duration::from_secs(120)).await.unwrap();
    }

    let sums = "SELECT count(*), sum(done)::bigint FROM items WHERE done > 0";
    let (done, times): (i64, i64) = sqlx::query_as(sums).fetch_one(&pool).await.unwrap();
    assert_eq!(done, rows, "every row is done");
    let again = u64::try_from(times - rows).unwrap();
    let Blows { worker_kills, server_kills, .. } = blows;
    let struck = worker_kills * u64::from(CONCURRENCY) + server_kills * JOBS as u64;
    assert!(again <= struck * DURABLE_EVERY, "{again} rows were done again: {blows:?}");
    let (mut runs, mut moved, mut attempts) = (0, 0, 0);
    for (part, job) in (0..).zip(&jobs) {
        let record = job.record().await.unwrap().document();
        let toll = judge(&pool, part, &record).await.unwrap();
        (runs, moved, attempts) = (runs + toll.runs, moved + toll.moved, attempts + toll.attempts);
    }
    assert!(moved > jobs.len(), "the storm was mild: {moved} of {runs} runs came farther");
    eprintln!("{runs} runs, {moved} of them came farther; attempts used up: {attempts}");
    eprintln!("{rows} rows, {again} of them done again; {blows:?}");
}
