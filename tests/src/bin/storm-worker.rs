//! A worker of the storm as a process of its own, so that it can be killed: `storm-worker URL
//! POSTGRES-FOLDER NAME`. SIGTERM ends it as a deploy does.

use std::time::Duration;

use anyhow::{Result, bail};
use longshore::{Client, Worker};
use longshore_tests::postgres;
use longshore_tests::storm::{Backfill, CONCURRENCY, Desk};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, folder, name] = &arguments[..] else {
        bail!("three arguments are needed, {} were given", arguments.len());
    };
    let pool = postgres::pool(folder.as_ref(), 8).await;
    let client = Client::new(url)?;
    Worker::new(&client, Desk { pool, worker: name.clone() })
        .register_iteration::<Backfill>()
        .name(name)
        .concurrency(CONCURRENCY)
        .lease(Duration::from_secs(5))
        .run()
        .await?;
    Ok(())
}
