//! The no-op job that apalis drains, and what enqueues it:
//!   apalis-peer URL push COUNT EACH   enqueues, so many in each call
//!   apalis-peer URL work              works until it is killed

use std::time::Duration;

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use futures::stream;
use redis::Client;
use redis::aio::ConnectionManagerConfig;
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Deserialize, Serialize)]
struct NoOp(u64, String);

async fn perform(_: NoOp) -> Result<(), BoxDynError> {
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Its own `connect` gives up after half a second, which syncing at every write can take.
    let patience = ConnectionManagerConfig::new().set_response_timeout(Some(PATIENCE));
    let client = Client::open(words[0])?;
    let connection = client.get_connection_manager_with_config(patience).await?;
    let config = Config::default().queue("bench").batch_size(100);
    let mut storage = RedisStorage::<NoOp>::new(connection).with_config(config);
    match &words[1..] {
        ["push", count, each] => {
            let (mut left, each): (u64, u64) = (count.parse()?, each.parse()?);
            while left > 0 {
                let part = left.min(each);
                // 200 bytes of JSON in all, as the others get.
                let jobs = (0..part).map(|_| NoOp(1, "x".repeat(194)));
                storage.push_stream(&mut stream::iter(jobs)).await?;
                left -= part;
            }
        }
        ["work"] => {
            let worker = WorkerBuilder::new("bench")
                .backend(storage)
                .concurrency(16)
                .parallelize(tokio::spawn)
                .build(perform);
            worker.run().await?;
        }
        _ => return Err("push COUNT EACH or work".into()),
    }
    Ok(())
}
