//! Many connections on one thread.

use std::future::Future;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

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
