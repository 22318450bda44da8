//! What the tests of the node share: a store in a temporary folder, and commands in few words.

use std::future::Future;
use std::path::Path;

use longshore_engine::{
    Answer, Command, Delivery, EnqueueJobs, JobId, LeaseJobs, NewJob, QueuePattern, Settlement,
    Token, Verdict,
};
use longshore_store::LsmConfig;

use crate::shared::ShardState;
use crate::{DiskMarks, Node, NodeConfig};

/// Runs a test on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A small store in `dir` that does not look at the disk it lies on.
pub(crate) fn config(dir: &Path) -> NodeConfig {
    let marks =
        DiskMarks { warn_bytes: Some(0), refuse_bytes: Some(0), settle_only_bytes: Some(0) };
    NodeConfig {
        disk: marks,
        reserve_bytes: 0,
        lsm: LsmConfig { memtable_bytes: 256 << 10, ..LsmConfig::default() },
        ..NodeConfig::new(dir)
    }
}

/// Opens a node and waits until every shard serves.
pub(crate) async fn open(config: &NodeConfig) -> Node {
    let node = Node::open(config).unwrap();
    let readiness = node.started().await;
    assert!(readiness.is_ready(), "{readiness:?}");
    node
}

/// Why a shard does not serve.
pub(crate) fn why_stopped(node: &Node, shard: u32) -> String {
    match &node.readiness().shards[shard as usize] {
        ShardState::Stopped { why } => why.clone(),
        state => panic!("shard {shard} is {state:?}"),
    }
}

pub(crate) fn job_id(number: u64) -> JobId {
    let mut bytes = [0x40; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    JobId(bytes)
}

pub(crate) fn jobs(numbers: std::ops::Range<u64>, bytes: usize) -> Command {
    let args = format!("\"{}\"", "x".repeat(bytes));
    let jobs = numbers.map(|number| NewJob::new(job_id(number), "k", args.clone())).collect();
    Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs })
}

pub(crate) fn lease(max: usize, wait_ms: u64) -> Command {
    Command::LeaseJobs(Box::new(LeaseJobs {
        queues: vec![QueuePattern::Exactly("q".into())],
        kinds: None,
        max,
        wait_ms,
        lease_ms: None,
        worker: "w".into(),
        session: "s".into(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }))
}

pub(crate) fn settlement(id: JobId, token: Token) -> Settlement {
    Settlement {
        id,
        token,
        verdict: Verdict::Ack {
            result: None,
            location: None,
            follow_ups: Vec::new(),
            next_tick: None,
        },
    }
}

/// A namespace that lives in the shard.
pub(crate) fn namespace_in(node: &Node, shard: u32) -> String {
    (0..100)
        .map(|number| format!("n{number}"))
        .find(|name| node.shard_index(name) == shard)
        .unwrap()
}

pub(crate) async fn create_namespace(node: &Node, name: &str) {
    let answer = node.call(name, Command::CreateNamespace).await.unwrap();
    assert!(matches!(answer, Answer::Namespace(_)), "{answer:?}");
}

pub(crate) async fn enqueue(node: &Node, numbers: std::ops::Range<u64>) {
    let answer = node.call("default", jobs(numbers, 200)).await.unwrap();
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
}

pub(crate) async fn lease_now(node: &Node, max: usize) -> Vec<Delivery> {
    match node.call("default", lease(max, 0)).await.unwrap() {
        Answer::Leased { jobs, .. } => jobs,
        answer => panic!("{answer:?}"),
    }
}

pub(crate) async fn ack(node: &Node, jobs: &[Delivery]) {
    let settlements = jobs.iter().map(|job| settlement(job.id, job.token)).collect();
    match node.call("default", Command::SettleJobs(settlements)).await.unwrap() {
        Answer::Settled(settled) => assert!(settled.iter().all(Result::is_ok), "{settled:?}"),
        answer => panic!("{answer:?}"),
    }
}
