//! A journal that takes its time, and what does not wait for it.

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use longshore_engine::Answer;
use tokio::time::{sleep, timeout};

use super::faulty::{HOLDS, HOLDS_AT_END, IS_HELD, SOUND, on_one_thread, open_faulty};
use super::support::{block_on, config, enqueue, jobs, lease};

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn until_held(mode: &AtomicU8) {
    until(|| mode.load(Ordering::SeqCst) == IS_HELD).await;
}

/// What comes before the disk is let go; then it is.
async fn before_release<T>(mode: &AtomicU8, waited: impl Future<Output = T>) -> Option<T> {
    let came = timeout(Duration::from_secs(10), waited).await.ok();
    mode.store(SOUND, Ordering::SeqCst);
    came
}

/// It lay ready while its shard waited for the disk with what came after it in the turn, and so did
/// what other shards had added to the same parcel.
#[test]
fn an_answer_that_is_ready_does_not_wait_for_the_disk() {
    on_one_thread(|node, mode, _| async move {
        mode.store(HOLDS, Ordering::SeqCst);
        let mut asks = Box::pin(node.call("default", lease(1, 0)));
        let mut writes = Box::pin(node.call("default", jobs(0..1, 1)));
        // Both are left at the shard before it is told: one turn has both.
        assert!((&mut asks).now_or_never().is_none());
        assert!((&mut writes).now_or_never().is_none());
        until_held(&mode).await;
        let told = before_release(&mode, asks).await;
        assert!(matches!(told, Some(Ok(Answer::Leased { jobs, .. })) if jobs.is_empty()));
        writes.await.unwrap();
    });
}

/// The shard was past its last look at what it is told: nobody answered, and whoever had asked
/// waited for ever.
#[test]
fn who_asks_a_shard_that_ends_for_figures_hears_that_nobody_answers() {
    block_on(async {
        let root = tempfile::tempdir().unwrap();
        let (node, mode) = open_faulty(&config(root.path())).await;
        enqueue(&node, 0..1).await;
        mode.store(HOLDS_AT_END, Ordering::SeqCst);
        let mut stops = Box::pin(node.stop());
        let held = Box::pin(until_held(&mode));
        let futures_util::future::Either::Right(_) =
            futures_util::future::select(&mut stops, held).await
        else {
            panic!("the end does not wait for the mark");
        };
        let asks = tokio::spawn({
            let node = node.clone();
            async move { node.shard_stats().await }
        });
        until(|| !node.has_taken_signals()).await;
        mode.store(SOUND, Ordering::SeqCst);
        stops.await;
        let told = timeout(Duration::from_secs(10), asks).await.expect("it is told");
        let told = told.unwrap();
        assert!(told.iter().all(Result::is_err), "{told:?}");
    });
}
