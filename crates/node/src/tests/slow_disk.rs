//! A journal that takes its time, and what does not wait for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::faulty::{HOLDS_AT_END, IS_HELD, SOUND, open_faulty};
use super::support::{block_on, config, enqueue};

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn until_held(mode: &AtomicU8) {
    until(|| mode.load(Ordering::SeqCst) == IS_HELD).await;
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
