//! A journal whose appends fail when told to, and what the node does then.

use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use longshore_engine::{Answer, Command, EnqueueJobs, NewJob};
use longshore_journal::{
    AppendError, EntryIterator, Group, Journal, OpenError, Position, ReadError, TruncateError,
};
use tokio::time::timeout;

use super::life::{consumer, taken_by_another};
use super::support::{
    ack, block_on, config, create_namespace, enqueue, job_id, jobs, lease_now, namespace_in, open,
};
use crate::disk::FileSystem;
use crate::node::Surroundings;
use crate::recover::OpenedJournal;
use crate::{Cause, EXIT_JOURNAL_FAILED, Node, NodeConfig, Publishing, ShardState};

pub(super) const SOUND: u8 = 0;
const NO_SPACE: u8 = 1;
const FAILED: u8 = 2;
/// A bug that only callers meet that commit by themselves.
const PANICS_AT_CALLERS: u8 = 3;
/// The next append takes until the mode is another one again, and says so.
pub(super) const HOLDS: u8 = 4;
pub(super) const IS_HELD: u8 = 5;
/// The same of the last mark of a shard that ends.
pub(super) const HOLDS_AT_END: u8 = 6;
/// The same of the next append that is large. What a shard appends by itself is small.
const HOLDS_LARGE: u8 = 7;
const LARGE_BYTES: usize = 64 << 10;

struct FaultyJournal {
    inner: Box<dyn Journal>,
    mode: Arc<AtomicU8>,
    /// Groups that were appended by neither a shard's nor a commit thread.
    by_callers: Arc<AtomicUsize>,
}

impl FaultyJournal {
    fn hold(&self, mode: u8) {
        if self.mode.compare_exchange(mode, IS_HELD, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            while self.mode.load(Ordering::SeqCst) == IS_HELD {
                std::thread::yield_now();
            }
        }
    }

    fn check(&self) -> Result<(), AppendError> {
        match self.mode.load(Ordering::SeqCst) {
            NO_SPACE => Err(AppendError::NoSpace { needed_bytes: 1 }),
            FAILED => Err(AppendError::Failed {
                operation: "sync",
                path: "segment".into(),
                source: std::io::Error::other("put in by a test"),
            }),
            _ => Ok(()),
        }
    }
}

impl Journal for FaultyJournal {
    fn append(&mut self, group: &Group) -> Result<Position, AppendError> {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        if !name.starts_with("shard-") && !name.starts_with("commit-") {
            assert!(self.mode.load(Ordering::SeqCst) != PANICS_AT_CALLERS, "put in by a test");
            self.by_callers.fetch_add(1, Ordering::SeqCst);
        }
        self.hold(HOLDS);
        if group.len_bytes() >= LARGE_BYTES {
            self.hold(HOLDS_LARGE);
        }
        self.check()?;
        self.inner.append(group)
    }

    fn tail(&self) -> Position {
        self.inner.tail()
    }

    fn mark(&mut self) -> Result<(), AppendError> {
        let thread = std::thread::current();
        if thread.name().unwrap_or_default().starts_with("shard-") {
            self.hold(HOLDS_AT_END);
        }
        self.check()?;
        self.inner.mark()
    }

    fn read_from(&self, from: Position) -> Result<EntryIterator, ReadError> {
        self.inner.read_from(from)
    }

    fn truncate_before(&mut self, position: Position) -> Result<(), TruncateError> {
        self.inner.truncate_before(position)
    }
}

pub(super) async fn open_faulty(config: &NodeConfig) -> (Node, Arc<AtomicU8>) {
    let (node, mode, _) = open_counting(config).await;
    (node, mode)
}

async fn open_counting(config: &NodeConfig) -> (Node, Arc<AtomicU8>, Arc<AtomicUsize>) {
    let mode = Arc::new(AtomicU8::new(SOUND));
    let by_callers = Arc::new(AtomicUsize::new(0));
    let node = start_faulty(config, &mode, &by_callers);
    assert!(node.started().await.is_ready());
    (node, mode, by_callers)
}

fn start_faulty(config: &NodeConfig, mode: &Arc<AtomicU8>, by_callers: &Arc<AtomicUsize>) -> Node {
    let (seen, counted) = (Arc::clone(mode), Arc::clone(by_callers));
    let open = crate::journal_files::opener(config.journal);
    let open_journal = Arc::new(move |dir: &crate::ShardDir, store_id, shard| {
        let OpenedJournal { journal, room } = open(dir, store_id, shard)?;
        let (mode, by_callers) = (Arc::clone(&seen), Arc::clone(&counted));
        let journal = Box::new(FaultyJournal { inner: journal, mode, by_callers });
        Ok(OpenedJournal { journal, room })
    });
    let probe = Box::new(FileSystem::of(&config.dir));
    Node::open_in(config, Surroundings { open_journal, probe }).unwrap()
}

/// A start on a full disk stopped the shard for good.
#[test]
fn a_start_on_a_full_disk_waits_for_space() {
    block_on(async {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        let full = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&full);
        let open = crate::journal_files::opener(config.journal);
        let open_journal = Arc::new(move |dir: &crate::ShardDir, store_id, shard| {
            if seen.load(Ordering::SeqCst) {
                let path = "journal".into();
                return Err(OpenError::NoSpace { path, needed_bytes: 1 }.into());
            }
            open(dir, store_id, shard)
        });
        let probe = Box::new(FileSystem::of(&config.dir));
        let node = Node::open_in(&config, Surroundings { open_journal, probe }).unwrap();
        let readiness = node.started().await;
        let waits = |state: &ShardState| matches!(state, ShardState::WaitingForSpace { .. });
        assert!(readiness.shards.iter().all(waits), "{readiness:?}");
        let refused = node.call("default", jobs(0..1, 1)).await.unwrap_err();
        assert_eq!(refused.cause, Cause::DiskLow);
        full.store(false, Ordering::SeqCst);
        while !node.readiness().is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        node.stop().await;
    });
}

/// Runs a test on one thread, with a handle of the node for it.
pub(super) fn on_one_thread<F: Future<Output = ()>>(
    test: impl FnOnce(Node, Arc<AtomicU8>, Arc<AtomicUsize>) -> F,
) {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (node, mode, by_callers) = open_counting(&config(root.path())).await;
        let (here, courier) = node.for_thread();
        tokio::spawn(courier);
        let tested = timeout(Duration::from_secs(60), test(here, mode, by_callers)).await;
        tested.expect("the test is done within a minute");
        node.stop().await;
    });
}

#[test]
fn a_lone_caller_commits_by_itself_and_a_crowd_is_committed_together() {
    on_one_thread(|node, _, by_callers| async move {
        let mut number = 0;
        // A disk that is busy elsewhere may be too slow for a while.
        while by_callers.load(Ordering::SeqCst) == 0 {
            enqueue(&node, number..number + 1).await;
            number += 1;
        }
        let before = by_callers.load(Ordering::SeqCst);
        let groups = |node: &Node| -> u64 {
            node.stats().shards.iter().map(|shard| shard.counters.groups_total).sum()
        };
        let groups_before = groups(&node);
        let mut crowd = tokio::task::JoinSet::new();
        for index in 0..64 {
            let (node, number) = (node.clone(), number + index);
            crowd.spawn(async move { node.call("default", jobs(number..number + 1, 1)).await });
        }
        while let Some(answer) = crowd.join_next().await {
            answer.unwrap().unwrap();
        }
        assert_eq!(by_callers.load(Ordering::SeqCst), before);
        assert!(groups(&node) - groups_before <= 3, "the crowd was handed over one by one");
        let leased = lease_now(&node, 1000).await;
        assert_eq!(leased.len() as u64, number + 64);
    });
}

#[test]
fn a_bug_that_a_caller_meets_stops_the_shard_and_not_the_caller() {
    on_one_thread(|node, mode, _| async move {
        mode.store(PANICS_AT_CALLERS, Ordering::SeqCst);
        let mut number = 0;
        let refused = loop {
            match node.call("default", jobs(number..number + 1, 1)).await {
                Ok(_) => number += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.cause, Cause::Stopped);
        assert!(refused.reason.contains("put in by a test"), "{}", refused.reason);
        let other = namespace_in(&node, 1 - node.shard_index("default"));
        mode.store(SOUND, Ordering::SeqCst);
        create_namespace(&node, &other).await;
    });
}

#[test]
fn a_full_disk_closes_publishing_until_there_is_space() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let (node, mode) = open_faulty(&config(root.path())).await;
        enqueue(&node, 0..10).await;
        mode.store(NO_SPACE, Ordering::SeqCst);
        let waiting = {
            let node = node.clone();
            tokio::spawn(async move { node.call("default", jobs(10..11, 1)).await })
        };
        while node.publishing() == Publishing::Open {
            tokio::task::yield_now().await;
        }
        let refused = node.call("default", jobs(11..12, 1)).await.unwrap_err();
        assert_eq!(refused.cause, Cause::DiskLow);
        assert!(!waiting.is_finished());
        mode.store(SOUND, Ordering::SeqCst);
        waiting.await.unwrap().unwrap();
        while node.publishing() != Publishing::Open {
            tokio::task::yield_now().await;
        }
        let leased = lease_now(&node, 100).await;
        assert_eq!(leased.len(), 11);
        ack(&node, &leased).await;
        node.stop().await;
    });
}

/// The folder that the child process is to use; where it is set, this is the child.
const CHILD_DIR: &str = "LONGSHORE_TEST_FAILING_JOURNAL";

/// Runs the test of that name in a process of its own, which sees the folder.
fn in_child(name: &str, dir: &std::path::Path) -> Option<i32> {
    let child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::faulty::{name}"), "--nocapture"])
        .env(CHILD_DIR, dir)
        .status();
    child.unwrap().code()
}

/// The shard stopped alone, and the process went on with a journal of which nobody knew what it
/// held.
#[test]
fn a_first_write_that_fails_ends_the_process_as_any_other() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        block_on(async {
            let mode = Arc::new(AtomicU8::new(FAILED));
            let node = start_faulty(&config(dir.as_ref()), &mode, &Arc::default());
            panic!("started after a failed write: {:?}", node.started().await);
        });
    }
    let root = tempfile::tempdir().unwrap();
    let name = "a_first_write_that_fails_ends_the_process_as_any_other";
    assert_eq!(in_child(name, root.path()), Some(EXIT_JOURNAL_FAILED));
}

#[test]
fn a_failed_sync_ends_the_process_and_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        fail_in_child(dir.as_ref());
    }
    let root = tempfile::tempdir().unwrap();
    let name = "a_failed_sync_ends_the_process_and_loses_nothing_acknowledged";
    assert_eq!(in_child(name, root.path()), Some(EXIT_JOURNAL_FAILED));
    block_on(async {
        let node = super::support::open(&config(root.path())).await;
        assert_eq!(lease_now(&node, 100).await.len(), 5);
        node.stop().await;
    });
}

fn fail_in_child(dir: &std::path::Path) -> ! {
    block_on(async {
        let (node, mode) = open_faulty(&config(dir)).await;
        enqueue(&node, 0..5).await;
        mode.store(FAILED, Ordering::SeqCst);
        let answer = node.call("default", jobs(5..6, 1)).await;
        panic!("answered after a failed sync: {answer:?}");
    })
}

/// It went to a stream that had ended by then, and counted as begun: what runs at most once never
/// ran.
#[test]
fn what_would_be_delivered_while_a_shard_stops_goes_back() {
    block_on(async {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        let (node, mode) = open_faulty(&config).await;
        let consumer = consumer(&node, 1).await;
        mode.store(HOLDS_LARGE, Ordering::SeqCst);
        // Large enough for a thread of its own to commit it.
        let args = format!("\"{}\"", "x".repeat(100 << 10));
        let once = NewJob { at_most_once: true, ..NewJob::new(job_id(1), "k", args) };
        let enqueue = Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs: vec![once] });
        let enqueued = tokio::spawn({
            let node = node.clone();
            async move { node.call("default", enqueue).await }
        });
        while mode.load(Ordering::SeqCst) != IS_HELD {
            tokio::task::yield_now().await;
        }
        let mut stop = Box::pin(node.stop());
        assert!((&mut stop).now_or_never().is_none(), "the group is under way");
        while !node.has_taken_signals() {
            tokio::task::yield_now().await;
        }
        mode.store(SOUND, Ordering::SeqCst);
        stop.await;
        let answer = enqueued.await.unwrap();
        assert!(matches!(answer, Ok(Answer::Enqueued(_))), "{answer:?}");
        drop(consumer);
        drop(node);
        let node = open(&config).await;
        assert_eq!(taken_by_another(&node).await, [(job_id(1), 1)]);
        node.stop().await;
    });
}
