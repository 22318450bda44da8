//! The node: all shards of one store in this process, and the way to them. It knows nothing of
//! HTTP; faces call it with commands and read on snapshots.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use longshore_engine::driver::{Class, Ending, Policy, Refused, bytes_of, enqueues};
use longshore_engine::query::BodyMissing;
use longshore_engine::{
    Answer, Command, ConsumerId, MessageCommand, Reader, ReplyTo, Request, ShardStats, StatsCursor,
    Subscribe, TimeMs,
};
use longshore_store::StoreFault;
use longshore_streams::StreamLog;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::admission::{Admission, InFlight, Publishing};
use crate::courier::{Courier, Handover, Line, News, Place, Reply, Subscriber};
use crate::disk::{DiskProbe, FileSystem, Reserve};
use crate::disk_watch::{DiskWatch, StoreGuard};
use crate::flush::Compactor;
use crate::inbox::Call;
use crate::manifest::Manifest;
use crate::node_config::{NodeConfig, StoreLost};
use crate::node_stats::{NodeStats, Readiness, ShardNumbers};
use crate::recover::{OpenJournal, Origin};
use crate::routing::shard_of;
use crate::shard_thread::{ShardSetup, panic_reason};
use crate::shared::{ShardShared, ShardState};
use crate::store_dir::{StoreDir, StoreDirError};
use crate::store_watch::{Lost, StoreWatch};
use crate::unavailable::{Cause, Unavailable};

/// The status with which the process ends when its store, or a file of it, is gone or replaced
/// (`EX_OSFILE`).
pub const EXIT_STORE_LOST: i32 = 72;

/// Why a node was not opened. What is wrong with one shard is told by its state instead.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreDirError),
    /// The system has no more threads.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A store that is open in this process. Clones are handles to the same one; where the last is
/// dropped without [`Node::stop`], the store is left as by a crash.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
    /// Who goes between the thread that this handle is for and the shards.
    courier: Option<Arc<Courier>>,
}

#[derive(Debug)]
struct Inner {
    manifest: Manifest,
    shards: Vec<Arc<ShardShared>>,
    admission: Arc<Admission>,
    reads: Arc<Semaphore>,
    running: Mutex<Option<Running>>,
}

/// What ends with the node.
#[derive(Debug)]
struct Running {
    threads: Vec<JoinHandle<()>>,
    compactor: Compactor,
    watch: DiskWatch,
    /// The last to go: it holds the lock on the folder.
    store: StoreDir,
}

/// What tests put something else in place of.
pub(crate) struct Surroundings {
    pub(crate) open_journal: Arc<OpenJournal>,
    pub(crate) probe: Box<dyn DiskProbe>,
}

impl Node {
    /// Opens or creates the store and starts its shards, which check and replay on their own
    /// threads meanwhile: see [`Node::readiness`] and [`Node::started`].
    pub fn open(config: &NodeConfig) -> Result<Self, OpenError> {
        let open_journal = Arc::new(crate::journal_files::opener(config.journal));
        let probe = Box::new(FileSystem::of(&config.dir));
        Self::open_in(config, Surroundings { open_journal, probe })
    }

    pub(crate) fn open_in(config: &NodeConfig, around: Surroundings) -> Result<Self, OpenError> {
        let store = StoreDir::open_or_create(&config.dir, config.shards)?;
        let manifest = *store.manifest();
        let admission = Arc::new(Admission::new(config.in_flight_bytes_max));
        let reserve = Reserve::new(store.path().join("reserve"), config.reserve_bytes);
        let shards: Vec<Arc<ShardShared>> = (0..manifest.shards)
            .map(|index| ShardShared::new(index, config.inbox.clone(), Arc::clone(&admission)))
            .map(Arc::new)
            .collect();
        let guard = StoreGuard {
            watch: StoreWatch::of(&store, shards.clone())?,
            lost: Box::new(when_lost(config.store_lost, shards.clone())),
        };
        let watch =
            DiskWatch::start(Arc::clone(&admission), around.probe, config.disk, reserve, guard)?;
        let compactor = Compactor::start()?;
        let start = Instant::now();
        let policy = Policy {
            journal_bytes_max: config.flush_journal_bytes_max,
            age_ms_max: config.flush_age_max.as_millis() as u64,
            ..Policy::of(config.lsm.memtable_bytes)
        };
        let running = Running { threads: Vec::new(), compactor, watch, store };
        let node = Self {
            inner: Arc::new(Inner {
                manifest,
                shards,
                admission,
                reads: Arc::new(Semaphore::new(config.reads_max.max(1))),
                running: Mutex::new(Some(running)),
            }),
            courier: None,
        };
        let mut running = node.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = running.as_mut().expect("it was put there above");
        for shared in &node.inner.shards {
            let origin = Origin {
                dir: parts.store.shard(shared.index),
                store_id: manifest.store_id,
                open_journal: Arc::clone(&around.open_journal),
                lsm: config.lsm.clone(),
                limits: config.limits.clone(),
                policy: policy.clone(),
                namespaces: namespaces_of(&config.namespaces, shared.index, manifest.shards),
            };
            let setup = ShardSetup {
                shared: Arc::clone(shared),
                origin,
                compactor: parts.compactor.handle(),
                start,
            };
            parts.threads.push(setup.spawn()?);
        }
        drop(running);
        Ok(node)
    }

    /// A handle for one thread, and what has to run on that thread as long as it is used: calls of
    /// the same moment then reach the shards together, and so do their answers.
    pub fn for_thread(&self) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let courier = Arc::new(Courier::default());
        let inner = Arc::clone(&self.inner);
        let node = Self { inner: Arc::clone(&inner), courier: Some(Arc::clone(&courier)) };
        (node, async move { courier.run(&inner.shards).await })
    }

    /// Has the namespace's shard carry out a command and returns its answer once what it says is
    /// durable. Dropping the future withdraws a command that waits; one that was taken up takes
    /// effect.
    pub async fn call(&self, namespace: &str, command: Command) -> Result<Answer, Unavailable> {
        self.call_shard(self.shard(namespace), namespace.to_owned(), command).await
    }

    /// Has every shard carry out a command, in the order of the shards.
    pub async fn call_shards(&self, command: Command) -> Vec<Result<Answer, Unavailable>> {
        let mut answers = Vec::with_capacity(self.inner.shards.len());
        for shard in &self.inner.shards {
            answers.push(self.call_shard(shard, String::new(), command.clone()).await);
        }
        answers
    }

    /// Has every shard carry out a command of its own, in the order of the shards.
    pub async fn call_each(
        &self,
        command: impl Fn(usize) -> Command,
    ) -> Vec<Result<Answer, Unavailable>> {
        let mut answers = Vec::with_capacity(self.inner.shards.len());
        for (index, shard) in self.inner.shards.iter().enumerate() {
            answers.push(self.call_shard(shard, String::new(), command(index)).await);
        }
        answers
    }

    /// A consumer of that namespace, which gets nothing before [`Node::subscribe`].
    pub fn consumer(&self, namespace: &str) -> Subscription {
        let shard = Arc::clone(self.shard(namespace));
        let id = ConsumerId(shard.next_reply().0);
        let (sender, news) = mpsc::unbounded_channel();
        let (courier, namespace) = (self.courier.clone(), namespace.to_owned());
        let gauges = Vec::new();
        let subscriber = Some(Subscriber { news: sender, courier, namespace, gauges });
        Subscription { shard, id, news, subscriber }
    }

    /// Has a namespace's shard carry out what makes the subscriber a consumer.
    pub async fn subscribe(
        &self,
        subscriber: Subscriber,
        command: Box<Subscribe>,
    ) -> Result<Answer, Unavailable> {
        let namespace = subscriber.namespace.clone();
        let (shard, command) = (self.shard(&namespace), Command::Subscribe(command));
        self.call_with(shard, namespace, command, Some(subscriber)).await
    }

    /// What a connection in that namespace asks and hears through.
    pub fn wire(&self, namespace: &str, news: mpsc::UnboundedSender<News>) -> Wire {
        let (node, shard) = (self.clone(), Arc::clone(self.shard(namespace)));
        Wire { node, shard, namespace: namespace.to_owned(), news }
    }

    async fn call_shard(
        &self,
        shard: &Arc<ShardShared>,
        namespace: String,
        command: Command,
    ) -> Result<Answer, Unavailable> {
        self.call_with(shard, namespace, command, None).await
    }

    async fn call_with(
        &self,
        shard: &Arc<ShardShared>,
        namespace: String,
        command: Command,
        subscriber: Option<Subscriber>,
    ) -> Result<Answer, Unavailable> {
        let class = Class::of(&command);
        let bytes = bytes_of(&command);
        self.admit(shard, bytes, &command)?;
        let in_flight = self.inner.admission.count(bytes);
        let (reply, answer) = oneshot::channel();
        let (courier, subscriber) = (self.courier.clone(), subscriber.map(Box::new));
        let reply = Reply::Once(reply);
        let caller = Place { reply, courier, in_flight, subscriber };
        let reply_to = shard.next_reply();
        let request = Request { namespace, reply_to, command };
        let call = Call { request, caller, class, bytes };
        match shard.inbox.push(call) {
            Ok(()) => {}
            Err(Refused::Closed) => return Err(shard.unavailable()),
            Err(Refused::Full) => {
                shard.metrics.refused_full[class as usize].add(1);
                let reason = format!("too many calls of class \"{}\" wait", class.name());
                return Err(Unavailable::new(shard.index, Cause::Overloaded, reason));
            }
        }
        if let Some(courier) = &self.courier {
            courier.ring();
        }
        let mut waiting = Waiting { shard, reply_to, answered: false };
        let answer = answer.await;
        waiting.answered = true;
        answer.map(Handover::take).map_err(|_| shard.unavailable())
    }

    /// Refuses what the disk or memory has no room for.
    fn admit(&self, shard: &ShardShared, bytes: u64, command: &Command) -> Result<(), Unavailable> {
        let admission = &self.inner.admission;
        let shard_index = shard.index;
        if enqueues(command) {
            if let Some((cause, reason)) = admission.refusal(bytes) {
                return Err(Unavailable::new(shard_index, cause, reason));
            }
            // A journal that was closed has no room either; that its shard stopped says more.
            if shard.is_short() && shard.state() == ShardState::Serving {
                let reason = "the disk has no space for more journal";
                return Err(Unavailable::new(shard_index, Cause::DiskLow, reason));
            }
        }
        if !admission.disk().admits(command) {
            return Err(Unavailable::new(shard_index, Cause::DiskLow, admission.disk_reason()));
        }
        Ok(())
    }

    /// Reads from the state of the namespace's shard at its durable position, on another thread.
    pub async fn read<T: Send + 'static>(
        &self,
        namespace: &str,
        f: impl FnOnce(&dyn Reader, TimeMs) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let shard = Arc::clone(self.shard(namespace));
        let permit = Arc::clone(&self.inner.reads).acquire_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let result = read_snapshot(&shard, f);
            drop(permit);
            result
        });
        reading.await.unwrap_or_else(|error| {
            let shard = shard_of(namespace, self.inner.manifest.shards);
            Err(Unavailable::new(shard, Cause::Bug, format!("the read was not done: {error}")))
        })
    }

    /// The events of the namespace's shard.
    pub fn stream_log(&self, namespace: &str) -> Result<Arc<StreamLog>, Unavailable> {
        let shard = self.shard(namespace);
        let log = shard.streams.log().filter(|_| shard.is_running());
        log.cloned().ok_or_else(|| shard.unavailable())
    }

    /// The events of all shards that serve.
    pub fn stream_logs(&self) -> Vec<Arc<StreamLog>> {
        let running = self.inner.shards.iter().filter(|shard| shard.is_running());
        running.filter_map(|shard| shard.streams.log().cloned()).collect()
    }

    /// How the node is.
    pub fn readiness(&self) -> Readiness {
        let shards = self.inner.shards.iter().map(|shard| shard.state()).collect();
        Readiness { shards, draining: self.inner.admission.is_stopping() }
    }

    /// Waits until every shard has come through its start.
    pub async fn started(&self) -> Readiness {
        for shard in &self.inner.shards {
            let mut changes = shard.subscribe();
            while matches!(shard.state(), ShardState::Opening | ShardState::Replaying { .. }) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        }
        self.readiness()
    }

    /// Whether jobs are taken in.
    pub fn publishing(&self) -> Publishing {
        self.inner.admission.publishing()
    }

    /// Counts `bytes` as bodies in flight until the value is dropped: for what a face holds before
    /// it can call.
    pub fn hold_bytes(&self, bytes: u64) -> InFlight {
        self.inner.admission.count(bytes)
    }

    /// The shard that a namespace lives in.
    pub fn shard_index(&self, namespace: &str) -> u32 {
        shard_of(namespace, self.inner.manifest.shards)
    }

    /// Numbers of the runtime. Cheap.
    pub fn stats(&self) -> NodeStats {
        let admission = &self.inner.admission;
        let shards = self.inner.shards.iter().map(|shard| ShardNumbers::of(shard)).collect();
        NodeStats {
            manifest: self.inner.manifest,
            shards,
            in_flight_bytes: admission.in_flight_bytes(),
            disk_free_bytes: admission.disk_free_bytes(),
            disk: admission.disk(),
        }
    }

    /// Numbers of the engine, shard by shard; asks the shards' threads.
    pub async fn shard_stats(&self) -> Vec<Result<ShardStats, Unavailable>> {
        futures_util::future::join_all(self.inner.shards.iter().map(|it| whole_stats(it))).await
    }

    /// Whether it is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.inner.admission.is_stopping()
    }

    /// How many shards it has.
    pub fn shards(&self) -> u32 {
        self.inner.manifest.shards
    }

    /// Begins to stop: publishing closes, requests that wait are answered, later leases get
    /// nothing. Everything else goes on.
    pub fn begin_stop(&self) {
        self.inner.admission.set_stopping();
        for shard in &self.inner.shards {
            shard.inbox.signal(|signals| signals.end(Ending::Begin));
        }
    }

    /// Stops: what was taken in is answered, the state is flushed and the journals are marked, so
    /// that the next start replays nothing. Waits for all of it; later calls are refused.
    pub async fn stop(&self) {
        self.begin_stop();
        for shard in &self.inner.shards {
            shard.inbox.signal(|signals| signals.end(Ending::Finish));
        }
        let inner = Arc::clone(&self.inner);
        let ended = tokio::task::spawn_blocking(move || inner.join()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the end of the shards was not seen");
        }
    }

    #[cfg(test)]
    pub(crate) fn look_at_disk(&self) {
        let running = self.inner.running.lock().unwrap();
        running.as_ref().unwrap().watch.look();
    }

    /// The folder of the store, while it is open.
    pub fn dir(&self) -> Option<std::path::PathBuf> {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.store.path().to_owned())
    }

    /// Its shards.
    pub(crate) fn shards_shared(&self) -> &[Arc<ShardShared>] {
        &self.inner.shards
    }

    /// Whether the shards have heard all that they were told.
    #[cfg(test)]
    pub(crate) fn has_taken_signals(&self) -> bool {
        self.inner.shards.iter().all(|shard| !shard.inbox.is_signalled())
    }

    fn shard(&self, namespace: &str) -> &Arc<ShardShared> {
        let index = shard_of(namespace, self.inner.manifest.shards);
        &self.inner.shards[index as usize]
    }
}

impl Inner {
    /// Waits for the threads, which were told to end.
    fn join(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut running) = running else { return };
        for thread in running.threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a shard panicked");
            }
        }
        running.compactor.end();
        running.watch.end();
        // What was removed since the last look would make the last words untrue.
        running.watch.finds_loss();
        drop(running.store);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.inbox.signal(|signals| signals.end(Ending::Abandon));
        }
        self.join();
    }
}

/// A call that has no answer yet; dropping it tells the shard that nobody waits any more.
struct Waiting<'a> {
    shard: &'a ShardShared,
    reply_to: ReplyTo,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.shard.inbox.signal(|signals| signals.disconnected.push(self.reply_to));
        }
    }
}

/// What a connection asks its namespace's shard through. Answers and deliveries come in one line,
/// in their order.
#[derive(Clone, Debug)]
pub struct Wire {
    node: Node,
    shard: Arc<ShardShared>,
    namespace: String,
    news: mpsc::UnboundedSender<News>,
}

impl Wire {
    /// Has a command carried out; its answer comes as [`News::Answer`] with that number. One that
    /// is refused comes back.
    pub fn post(&self, number: u64, command: Command) -> Result<(), (Unavailable, Box<Command>)> {
        let (class, bytes) = (Class::of(&command), bytes_of(&command));
        let shard = &self.shard;
        if let Err(refused) = self.node.admit(shard, bytes, &command) {
            return Err((refused, Box::new(command)));
        }
        let in_flight = self.node.inner.admission.count(bytes);
        let courier = self.node.courier.clone();
        let subscriber = match &command {
            Command::Messages(MessageCommand::Consume(_)) => Some(Subscriber {
                news: self.news.clone(),
                courier: courier.clone(),
                namespace: self.namespace.clone(),
                gauges: Vec::new(),
            }),
            _ => None,
        };
        let reply = Reply::Line(Line::new(self.news.clone(), number));
        let caller = Place { reply, courier, in_flight, subscriber: subscriber.map(Box::new) };
        let reply_to = shard.next_reply();
        let request = Request { namespace: self.namespace.clone(), reply_to, command };
        let call = Call { request, caller, class, bytes };
        if let Err((refused, call)) = shard.inbox.try_push(call) {
            let Call { request, caller, .. } = *call;
            if let Reply::Line(line) = caller.reply {
                line.withdraw();
            }
            let why = match refused {
                Refused::Closed => shard.unavailable(),
                Refused::Full => {
                    shard.metrics.refused_full[class as usize].add(1);
                    let reason = format!("too many calls of class \"{}\" wait", class.name());
                    Unavailable::new(shard.index, Cause::Overloaded, reason)
                }
            };
            return Err((why, Box::new(request.command)));
        }
        if let Some(courier) = &self.node.courier {
            courier.ring();
        }
        Ok(())
    }

    /// A consumer of this connection gets nothing more.
    pub fn forget(&self, consumer: ConsumerId) {
        self.shard.inbox.signal(|signals| signals.unsubscribed.push(consumer));
    }

    /// Why the shard does not answer.
    pub fn unavailable(&self) -> Unavailable {
        self.shard.unavailable()
    }
}

/// A consumer's place to get jobs at. It is one no longer once this is dropped: what is on its way
/// to it then is given back.
#[derive(Debug)]
pub struct Subscription {
    shard: Arc<ShardShared>,
    /// Its number, for credit.
    pub id: ConsumerId,
    news: mpsc::UnboundedReceiver<News>,
    subscriber: Option<Subscriber>,
}

impl Subscription {
    /// What [`Node::subscribe`] needs, once.
    pub fn subscriber(&mut self) -> Option<Subscriber> {
        self.subscriber.take()
    }

    /// What comes next; `None` where nothing will any more.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

impl Subscription {
    /// Whether nothing is there at the moment.
    pub fn is_empty(&self) -> bool {
        self.news.is_empty()
    }

    /// Ends it, and waits until the shard was told of everything that goes back: whatever it is
    /// told after that finds those jobs free.
    pub async fn leave(mut self) {
        self.tell_gone();
        while let Some(News::Jobs(_) | News::Messages(_) | News::Closed(..)) = self.next().await {}
    }

    fn tell_gone(&self) {
        self.shard.inbox.signal(|signals| signals.unsubscribed.push(self.id));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Before the shard hears of it: from here on it cannot be subscribed.
        self.news.close();
        self.tell_gone();
    }
}

/// What is done when a part of the store is lost. Answers whether anything was: a shard that has
/// stopped loses nothing more, and perhaps somebody is putting its folder right.
fn when_lost(
    then: StoreLost,
    shards: Vec<Arc<ShardShared>>,
) -> impl Fn(&Lost) -> bool + Send + Sync + 'static {
    move |lost| {
        let shard = lost.shard.and_then(|index| shards.get(index as usize));
        if shard.is_some_and(|shard| matches!(shard.state(), ShardState::Stopped { .. })) {
            return false;
        }
        let why = &lost.why;
        match then {
            StoreLost::EndProcess => {
                tracing::error!(why, "the store is lost, the process ends");
                std::process::exit(EXIT_STORE_LOST)
            }
            StoreLost::StopShards => {
                tracing::error!(why, "the store is lost");
                for shard in &shards {
                    shard.fail(why);
                }
            }
        }
        true
    }
}

fn namespaces_of(names: &[String], shard: u32, shards: u32) -> Vec<String> {
    names.iter().filter(|name| shard_of(name, shards) == shard).cloned().collect()
}

fn read_snapshot<T>(
    shard: &ShardShared,
    f: impl FnOnce(&dyn Reader, TimeMs) -> T,
) -> Result<T, Unavailable> {
    let snapshots = shard.snapshots.get().filter(|_| shard.is_running());
    let Some(snapshots) = snapshots else { return Err(shard.unavailable()) };
    shard.metrics.reads.add(1);
    let snapshot = snapshots.at(shard.durable());
    let read = std::panic::AssertUnwindSafe(|| f(&snapshot, shard.now()));
    std::panic::catch_unwind(read).map_err(|panic| {
        let reason = panic_reason(&*panic);
        if panic.is::<StoreFault>() || panic.is::<BodyMissing>() {
            shard.fail(&reason);
            return Unavailable::new(shard.index, Cause::Stopped, reason);
        }
        tracing::error!(shard = shard.index, reason, "a read failed");
        Unavailable::new(shard.index, Cause::Bug, reason)
    })
}

/// The figures of one shard. Its thread tells some of them at a time, so that nobody waits long.
async fn whole_stats(shard: &ShardShared) -> Result<ShardStats, Unavailable> {
    let page = async |after: Option<StatsCursor>| {
        if !shard.is_running() {
            return Err(shard.unavailable());
        }
        let (reply, stats) = oneshot::channel();
        shard.inbox.signal(|signals| signals.stats.push((after, reply)));
        // It may have ended in between and hear nothing any more.
        if !shard.is_running() {
            drop(shard.inbox.take_signals());
        }
        stats.await.map_err(|_| shard.unavailable())
    };
    let mut whole = page(None).await?;
    while let Some(after) = whole.more_after {
        let mut more = page(Some(after)).await?;
        whole.namespaces.append(&mut more.namespaces);
        whole.queues.append(&mut more.queues);
        whole.more_after = more.more_after;
    }
    Ok(whole)
}
