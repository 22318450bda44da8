//! A journal whose appends fail when told to, and what the node does then.

use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use longshore_journal::{
    AppendError, EntryIterator, Group, Journal, Position, ReadError, TruncateError,
};

use super::support::{ack, block_on, config, enqueue, jobs, lease_now};
use crate::disk::FileSystem;
use crate::node::Surroundings;
use crate::recover::OpenedJournal;
use crate::{Cause, EXIT_JOURNAL_FAILED, Node, NodeConfig, Publishing};

const SOUND: u8 = 0;
const NO_SPACE: u8 = 1;
const FAILED: u8 = 2;

struct FaultyJournal {
    inner: Box<dyn Journal>,
    mode: Arc<AtomicU8>,
}

impl FaultyJournal {
    fn check(&self) -> Result<(), AppendError> {
        match self.mode.load(Ordering::SeqCst) {
            SOUND => Ok(()),
            NO_SPACE => Err(AppendError::NoSpace { needed_bytes: 1 }),
            _ => Err(AppendError::Failed {
                operation: "sync",
                path: "segment".into(),
                source: std::io::Error::other("put in by a test"),
            }),
        }
    }
}

impl Journal for FaultyJournal {
    fn append(&mut self, group: &Group) -> Result<Position, AppendError> {
        self.check()?;
        self.inner.append(group)
    }

    fn tail(&self) -> Position {
        self.inner.tail()
    }

    fn mark(&mut self) -> Result<(), AppendError> {
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

async fn open_faulty(config: &NodeConfig) -> (Node, Arc<AtomicU8>) {
    let mode = Arc::new(AtomicU8::new(SOUND));
    let seen = Arc::clone(&mode);
    let open = crate::journal_files::opener(config.journal);
    let open_journal = Arc::new(move |dir: &crate::ShardDir, store_id, shard| {
        let OpenedJournal { journal, room } = open(dir, store_id, shard)?;
        let journal = Box::new(FaultyJournal { inner: journal, mode: Arc::clone(&seen) });
        Ok(OpenedJournal { journal, room })
    });
    let probe = Box::new(FileSystem::of(&config.dir));
    let node = Node::open_in(config, Surroundings { open_journal, probe }).unwrap();
    assert!(node.started().await.is_ready());
    (node, mode)
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

#[test]
fn a_failed_sync_ends_the_process_and_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        fail_in_child(dir.as_ref());
    }
    let root = tempfile::tempdir().unwrap();
    let name = "tests::faulty::a_failed_sync_ends_the_process_and_loses_nothing_acknowledged";
    let status = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD_DIR, root.path())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(EXIT_JOURNAL_FAILED));
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
