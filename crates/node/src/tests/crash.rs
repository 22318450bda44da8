//! Ends without a clean stop, and shards whose files are damaged: nothing acknowledged is lost,
//! nothing damaged is served, and the other shards go on.

use std::fs;
use std::path::Path;

use longshore_engine::{Answer, Body, BodyId, Command, query};
use longshore_store::StoreFault;

use super::support::{
    ack, block_on, config, create_namespace, enqueue, job_id, jobs, lease, lease_now, namespace_in,
    open, why_stopped,
};
use crate::{Cause, Node, ShardState};

#[test]
fn nothing_acknowledged_is_lost_without_a_clean_stop() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    block_on(async {
        for life in 0..4 {
            let node = open(&config).await;
            let replayed = node.stats().shards[0].counters.replayed_entries;
            assert!(life == 0 || replayed > 0, "life {life}");
            let before = lease_now(&node, 1000).await;
            assert_eq!(before.len(), if life == 0 { 0 } else { 3 });
            ack(&node, &before).await;
            for number in 0..3 {
                enqueue(&node, life * 3 + number..life * 3 + number + 1).await;
            }
            drop(node);
        }
    });
}

#[test]
fn the_state_is_flushed_and_the_journal_is_cut_while_jobs_come_in() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    block_on(async {
        let node = open(&config).await;
        for bulk in 0..40 {
            enqueue(&node, bulk * 250..(bulk + 1) * 250).await;
        }
        let flushes = || node.stats().shards.iter().map(|s| s.counters.flushes_total).sum::<u64>();
        while flushes() < 4 {
            tokio::task::yield_now().await;
        }
        drop(node);
        let node = open(&config).await;
        let mut ids = Vec::new();
        loop {
            let leased = lease_now(&node, 1000).await;
            if leased.is_empty() {
                break;
            }
            ids.extend(leased.iter().map(|job| job.id));
        }
        assert_eq!(ids, (0..10_000).map(job_id).collect::<Vec<_>>());
        node.stop().await;
    });
}

/// A store with a namespace and a job in each of two shards.
async fn two_shards(dir: &Path) -> [String; 2] {
    let node = open(&config(dir)).await;
    let names = [namespace_in(&node, 0), namespace_in(&node, 1)];
    for name in &names {
        create_namespace(&node, name).await;
        node.call(name, jobs(0..1, 10)).await.unwrap();
    }
    node.stop().await;
    names
}

async fn expect_only_shard_1(dir: &Path, names: &[String; 2], expected: &str) {
    let node = Node::open(&config(dir)).unwrap();
    let readiness = node.started().await;
    assert!(readiness.is_started() && !readiness.is_ready());
    assert_eq!(readiness.shards[1], ShardState::Serving);
    let why = why_stopped(&node, 0);
    assert!(why.contains(expected), "{why}");
    let refused = node.call(&names[0], lease(1, 0)).await.unwrap_err();
    assert_eq!((refused.cause, refused.shard), (Cause::Stopped, 0));
    assert!(refused.to_string().contains(expected), "{refused}");
    let unread = node.read(&names[0], |_, _| ()).await.unwrap_err();
    assert_eq!(unread.cause, Cause::Stopped);
    let answer = node.call(&names[1], lease(1, 0)).await.unwrap();
    assert!(matches!(answer, Answer::Leased { .. }), "{answer:?}");
    let listed = node.call_shards(Command::ListNamespaces { after: None, limit: 9 }).await;
    assert!(listed[0].is_err() && listed[1].is_ok());
    node.stop().await;
    assert_eq!(node.readiness().shards[1], ShardState::Closed);
}

fn first_file(dir: &Path, with: &str) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(with))
        .collect();
    files.sort();
    files.into_iter().next().unwrap_or_else(|| panic!("no file with {with:?} in {dir:?}"))
}

#[test]
fn a_damaged_journal_stops_its_shard_alone() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let names = two_shards(root.path()).await;
        let segment = first_file(&root.path().join("shard-0/journal"), "");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[20] ^= 1;
        fs::write(&segment, bytes).unwrap();
        expect_only_shard_1(root.path(), &names, "journal").await;
    });
}

#[test]
fn a_damaged_state_stops_its_shard_alone() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let names = two_shards(root.path()).await;
        let pointer = root.path().join("shard-0/state/current");
        let mut bytes = fs::read(&pointer).unwrap();
        bytes[3] ^= 1;
        fs::write(&pointer, bytes).unwrap();
        expect_only_shard_1(root.path(), &names, "state").await;
    });
}

#[test]
fn a_lost_journal_or_state_is_not_taken_for_a_new_one() {
    for lost in [&["journal"][..], &["state"], &["journal", "state"]] {
        let root = tempfile::tempdir().unwrap();
        block_on(async {
            let names = two_shards(root.path()).await;
            let shard = root.path().join("shard-0");
            for folder in lost {
                fs::remove_dir_all(shard.join(folder)).unwrap();
            }
            expect_only_shard_1(root.path(), &names, "is gone").await;
            for folder in lost {
                fs::create_dir(shard.join(folder)).unwrap();
            }
            // An empty state is sound where the journal still has everything.
            match lost {
                ["journal"] => expect_only_shard_1(root.path(), &names, "entries are lost").await,
                ["state"] => {}
                _ => expect_only_shard_1(root.path(), &names, "are empty").await,
            }
        });
    }
}

#[test]
fn a_fault_of_the_state_met_by_a_read_stops_its_shard_alone() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let names = two_shards(root.path()).await;
        let node = open(&config(root.path())).await;
        let waiting = {
            let (node, name) = (node.clone(), names[0].clone());
            tokio::spawn(async move { node.call(&name, lease(5, 50_000)).await })
        };
        let read = node.read(&names[0], |_, _| -> () {
            let fault = StoreFault { path: "table".into(), what: "put in by a test".into() };
            std::panic::resume_unwind(Box::new(fault))
        });
        assert_eq!(read.await.unwrap_err().cause, Cause::Stopped);
        // It may have had its job before.
        if let Err(refused) = waiting.await.unwrap() {
            assert_eq!(refused.cause, Cause::Stopped);
        }
        while node.readiness().shards[0] == ShardState::Serving {
            tokio::task::yield_now().await;
        }
        assert!(why_stopped(&node, 0).contains("put in by a test"));
        assert!(node.call(&names[0], lease(1, 0)).await.is_err());
        assert!(node.call(&names[1], lease(1, 0)).await.is_ok());
        node.stop().await;
    });
}

/// A body that is not there was told as a job without args.
#[test]
fn a_body_that_is_missing_stops_its_shard_by_name() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let names = two_shards(root.path()).await;
        let node = open(&config(root.path())).await;
        let body = Body::Stored { id: BodyId(4711), length: 5000 };
        let read = node.read(&names[0], move |reader, _| query::body_of(reader, &body));
        let refused = read.await.unwrap_err();
        assert_eq!(refused.cause, Cause::Stopped);
        assert!(refused.reason.contains("body 4711 is missing"), "{refused}");
        while node.readiness().shards[0] == ShardState::Serving {
            tokio::task::yield_now().await;
        }
        assert!(why_stopped(&node, 0).contains("body 4711 is missing"));
        assert!(node.call(&names[1], lease(1, 0)).await.is_ok());
        node.stop().await;
    });
}
