//! What is refused when the disk or memory is low, and what gets through all the same.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use longshore_engine::{Answer, Command, Settlement, Verdict};

use super::support::{ack, block_on, config, enqueue, jobs, lease, lease_now, settlement};
use crate::disk::DiskProbe;
use crate::node::Surroundings;
use crate::{Cause, Node, NodeConfig, Publishing};
use crate::{DiskLevel, DiskMarks, Space};

struct Given(Arc<AtomicU64>);

impl DiskProbe for Given {
    fn space(&self) -> io::Result<Space> {
        let free_bytes = self.0.load(Ordering::SeqCst);
        Ok(Space { free_bytes, total_bytes: 1 << 40 })
    }
}

/// A node on a disk with so many bytes free.
async fn with_marks(dir: &Path, free: &Arc<AtomicU64>) -> Node {
    let disk =
        DiskMarks { warn_bytes: Some(90), refuse_bytes: Some(50), settle_only_bytes: Some(10) };
    let config = NodeConfig { disk, ..config(dir) };
    let open_journal = Arc::new(crate::journal_files::opener(config.journal));
    let probe = Box::new(Given(Arc::clone(free)));
    let node = Node::open_in(&config, Surroundings { open_journal, probe }).unwrap();
    assert!(node.started().await.is_ready());
    node
}

#[test]
fn marks_of_the_disk_refuse_publishing_first_and_leases_last() {
    let root = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(100));
    block_on(async {
        let node = with_marks(root.path(), &free).await;
        let set = |bytes| {
            free.store(bytes, Ordering::SeqCst);
            node.look_at_disk();
            node.stats().disk
        };
        enqueue(&node, 0..4).await;
        assert_eq!(set(80), DiskLevel::Warn);
        enqueue(&node, 4..5).await;

        assert_eq!(set(40), DiskLevel::Refuse);
        let refused = node.call("default", jobs(5..6, 1)).await.unwrap_err();
        assert_eq!((refused.cause, refused.retry_after_s), (Cause::DiskLow, Some(15)));
        let leased = lease_now(&node, 2).await;
        assert_eq!(leased.len(), 2);

        assert_eq!(set(5), DiskLevel::SettleOnly);
        let refused = node.call("default", lease(1, 0)).await.unwrap_err();
        assert_eq!(refused.cause, Cause::DiskLow);
        ack(&node, &leased[..1]).await;
        let Command::LeaseJobs(mut both) = lease(5, 60_000) else { unreachable!() };
        both.settle = vec![settlement(leased[1].id, leased[1].token)];
        match node.call("default", Command::LeaseJobs(both)).await.unwrap() {
            Answer::Leased { jobs, settled } => {
                assert!(jobs.is_empty());
                assert!(settled.iter().all(Result::is_ok), "{settled:?}");
            }
            answer => panic!("{answer:?}"),
        }
        node.read("default", |_, _| ()).await.unwrap();

        assert_eq!(set(100), DiskLevel::Ample);
        enqueue(&node, 5..6).await;
        assert_eq!(lease_now(&node, 10).await.len(), 4);
        node.stop().await;
    });
}

/// Nobody tells a shard that its disk has room again, and whoever waits says nothing: it was
/// granted a job when something else happened, or its wait had run out.
#[test]
fn who_waits_is_granted_jobs_soon_after_the_disk_has_room_again() {
    let root = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(100));
    block_on(async {
        let node = with_marks(root.path(), &free).await;
        enqueue(&node, 0..1).await;
        let leased = lease_now(&node, 1).await;
        let Command::LeaseJobs(mut another) = lease(1, 60_000) else { unreachable!() };
        another.worker = "w2".into();
        let waits = node.call("default", Command::LeaseJobs(another));
        let mut waits = std::pin::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        let waiting = async || {
            let stats = node.shard_stats().await;
            stats.iter().flatten().map(|stats| stats.waiting_requests).sum::<u64>()
        };
        while waiting().await == 0 {}
        free.store(5, Ordering::SeqCst);
        node.look_at_disk();
        let Settlement { id, token, .. } = settlement(leased[0].id, leased[0].token);
        let release = vec![Settlement { id, token, verdict: Verdict::Release }];
        let marks =
            || -> u64 { node.stats().shards.iter().map(|shard| shard.counters.marks_total).sum() };
        let before = marks();
        node.call("default", Command::SettleJobs(release)).await.unwrap();
        // From then on the shard has nothing else to wake up for.
        while marks() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(waits.as_mut().now_or_never().is_none(), "nothing is granted");
        free.store(100, Ordering::SeqCst);
        node.look_at_disk();
        let begun = Instant::now();
        match waits.await.unwrap() {
            Answer::Leased { jobs, .. } => assert_eq!(jobs.len(), 1),
            answer => panic!("{answer:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        node.stop().await;
    });
}

#[test]
fn bodies_in_flight_are_bounded() {
    let root = tempfile::tempdir().unwrap();
    let config = NodeConfig { in_flight_bytes_max: 100_000, ..config(root.path()) };
    block_on(async {
        let node = super::support::open(&config).await;
        // Waiting requests hold no bodies, but they are counted with what they are.
        let held = node.hold_bytes(90_000);
        let refused = node.call("default", jobs(0..1, 20_000)).await.unwrap_err();
        assert_eq!(refused.cause, Cause::MemoryLow);
        enqueue(&node, 0..1).await;
        drop(held);
        node.call("default", jobs(1..2, 200_000)).await.unwrap();
        assert_eq!(node.publishing(), Publishing::Open);
        assert_eq!(lease_now(&node, 10).await.len(), 2);
        node.stop().await;
        assert_eq!(node.stats().in_flight_bytes, 0);
    });
}
