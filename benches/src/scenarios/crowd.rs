//! Many connections on one thread.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::jobs::Worker;

/// A runtime on this thread alone.
pub(super) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_io().build()?)
}

/// Runs `count` tasks at once and adds up what they return.
pub(super) async fn sum<F>(count: usize, task: impl Fn(usize) -> F) -> Result<u64>
where
    F: Future<Output = Result<u64>> + 'static,
{
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..count).map(|index| local.spawn_local(task(index))).collect();
    local
        .run_until(async {
            let mut total = 0;
            for task in tasks {
                total += task.await??;
            }
            Ok(total)
        })
        .await
}

/// Leases and acknowledges batches of what a queue hands out, over so many connections, until there
/// is nothing left; how many jobs.
pub(super) async fn drain(
    connections: usize,
    address: SocketAddr,
    queue: &'static str,
    batch: usize,
) -> Result<u64> {
    sum(connections, |_| async move {
        let mut worker = Worker::of_queue(address, queue, batch).await?;
        let mut settled = 0;
        loop {
            let turn = worker.turn().await?;
            settled += turn.settled;
            if turn.leased == 0 {
                return Ok(settled);
            }
        }
    })
    .await
}
