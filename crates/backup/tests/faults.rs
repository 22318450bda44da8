//! A place that fails at any write, before it is there or after, and one that is away for long:
//! what is whole there in the end is what the store had.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use longshore_backup::{Place, Plan, Service, Shipping, Status, find, restore};
use longshore_engine::query::list_jobs;
use longshore_engine::{Answer, Command, EnqueueJobs, JobFilter, JobId, NewJob, TimeMs};
use longshore_node::{Node, NodeConfig, line_of};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{mpsc, oneshot};

/// Objects in memory, and which writes fail.
#[derive(Debug, Default)]
struct Faulty {
    objects: InMemory,
    writes: AtomicU64,
    /// One of so many writes fails; none, if this is 0.
    fails_in: AtomicU64,
    /// Nothing is answered at all.
    away: AtomicBool,
}

impl Faulty {
    fn refusal() -> Error {
        Error::Generic { store: "faulty", source: "it fails on purpose".into() }
    }

    fn check(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) { Err(Self::refusal()) } else { Ok(()) }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.check()?;
        let (number, in_) =
            (self.writes.fetch_add(1, Ordering::SeqCst), self.fails_in.load(Ordering::SeqCst));
        let fails = in_ > 0 && number.is_multiple_of(in_);
        if fails && (number / in_).is_multiple_of(2) {
            return Err(Self::refusal());
        }
        let put = self.objects.put_opts(path, payload, options).await?;
        // It is there, and nobody hears of it.
        if fails { Err(Self::refusal()) } else { Ok(put) }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check() {
            Ok(()) => self.objects.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A node whose copies go to a faulty place.
struct Life {
    node: Node,
    status: Arc<Status>,
    end: oneshot::Sender<()>,
    service: tokio::task::JoinHandle<()>,
    _wanted: mpsc::Sender<longshore_backup::Wanted>,
}

fn config(dir: &FilePath) -> NodeConfig {
    let mut config = NodeConfig { shards: 1, reserve_bytes: 0, ..NodeConfig::new(dir) };
    config.lsm.memtable_bytes = 64 << 10;
    config
}

async fn begin(dir: &FilePath, place: &Place, journal_bytes_max: u64) -> Life {
    let node = Node::open(&config(dir)).unwrap();
    assert!(node.started().await.is_ready());
    let line = line_of(dir).unwrap();
    let status = Arc::new(Status::new(node.sources(), Some("faulty".into())));
    let shipping = Shipping {
        place: place.clone(),
        every: Duration::from_millis(20),
        base_every: Duration::from_millis(300),
        keep: Duration::from_secs(3600),
    };
    let ids = (node.stats().manifest.store_id, line);
    let told = Arc::clone(&status);
    let service = Service::new(ids, node.sources(), Some(shipping), journal_bytes_max, told);
    let (wanted, asked) = mpsc::channel(1);
    let (end, ended) = oneshot::channel();
    let ended = async { drop(ended.await) };
    let service = tokio::spawn(service.run(asked, ended, Duration::from_secs(5)));
    Life { node, status, end, service, _wanted: wanted }
}

impl Life {
    async fn enqueue(&self, from: u128, count: u128, bytes: usize) {
        for number in from..from + count {
            let args = format!("\"{}\"", "x".repeat(bytes));
            let job = NewJob::new(JobId(number.to_be_bytes()), "k", args);
            let command = EnqueueJobs { queue: "q".into(), jobs: vec![job] };
            let answer = self.node.call("default", Command::EnqueueJobs(command)).await.unwrap();
            assert!(matches!(answer, Answer::Enqueued { .. }), "{answer:?}");
        }
    }

    async fn until(&self, what: &str, mut is: impl FnMut(&longshore_backup::Told) -> bool) {
        let mut looks = 0;
        while !is(&self.status.told()) {
            looks += 1;
            assert!(looks < 3000, "{what}: {:?}", self.status.told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_sent(&self) {
        self.until("all is sent", |told| {
            !told.bases.is_empty() && told.shards.iter().all(|it| it.lag == Duration::ZERO)
        })
        .await;
    }

    async fn end(self) {
        self.node.stop().await;
        drop(self.end);
        self.service.await.unwrap();
    }
}

async fn jobs(node: &Node) -> usize {
    let all = |reader: &dyn longshore_engine::Reader, now: TimeMs| {
        let filter = JobFilter::default();
        list_jobs(reader, "default", &filter, None, (10_000, 1_000_000), now).unwrap().jobs.len()
    };
    node.read("default", all).await.unwrap()
}

async fn restored_jobs(place: &Place, dir: &FilePath) -> usize {
    let plan = Plan::default();
    let found = find(place, &plan).await.unwrap();
    restore(place, &found, &plan, dir, &mut |_| {}).await.unwrap();
    let node = Node::open(&config(dir)).unwrap();
    assert!(node.started().await.is_ready(), "{:?}", node.readiness());
    let found = jobs(&node).await;
    node.stop().await;
    found
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn a_place_that_fails_at_any_write_has_everything_in_the_end() {
    block_on(async {
        for fails_in in [2, 3, 7] {
            let root = tempfile::tempdir().unwrap();
            let faulty = Arc::new(Faulty::default());
            faulty.fails_in.store(fails_in, Ordering::SeqCst);
            let place = Place::of(Arc::clone(&faulty) as Arc<dyn ObjectStore>, "faulty");
            let mut total = 0;
            for round in 0..3 {
                let life = begin(&root.path().join("data"), &place, 1 << 30).await;
                life.enqueue(round * 100, 100, 2000).await;
                total += 100;
                life.until_sent().await;
                life.end().await;
            }
            assert!(faulty.writes.load(Ordering::SeqCst) > 10);
            assert_eq!(restored_jobs(&place, &root.path().join("again")).await, total);
        }
    });
}

#[test]
fn a_place_that_is_away_for_long_costs_a_bounded_journal_and_a_new_base() {
    block_on(async {
        let root = tempfile::tempdir().unwrap();
        let faulty = Arc::new(Faulty::default());
        let place = Place::of(Arc::clone(&faulty) as Arc<dyn ObjectStore>, "faulty");
        let life = begin(&root.path().join("data"), &place, 256 << 10).await;
        life.enqueue(0, 20, 2000).await;
        life.until_sent().await;
        faulty.away.store(true, Ordering::SeqCst);
        // Nobody waits for it.
        life.enqueue(100, 400, 2000).await;
        life.until("the journal is let go", |told| told.let_go_total > 0).await;
        assert!(life.status.told().shards[0].sent.is_none());
        assert!(life.status.told().shards[0].lag > Duration::ZERO);
        faulty.away.store(false, Ordering::SeqCst);
        life.until("it is sent again", |told| told.shards[0].sent.is_some()).await;
        let newest = life.status.told().bases.last().copied();
        life.until("a new base", |told| told.bases.last().copied() != newest).await;
        life.until_sent().await;
        life.end().await;
        assert_eq!(restored_jobs(&place, &root.path().join("again")).await, 420);
    });
}
