//! Who works here: the workers that have a stream, or had one a moment ago, with what they run and
//! what was asked of them. Volatile: what must survive is a lease and stands in the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_engine::{Cap, Instruction, JobId, JobView, Lease, TimeMs, Token};
use tokio::sync::{Notify, watch};

use longshore_node::wall_now;

/// Workers that are remembered at the same time.
const WORKERS_MAX: Cap = Cap { shard: 20_000, namespace: 10_000 };

/// One life of a worker.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct WorkerKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) session: String,
}

/// What a worker says of itself.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) software: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) kinds: Vec<String>,
    pub(crate) versions: Vec<crate::api::KindVersions>,
    /// Each with its weight.
    pub(crate) queues: Vec<(String, u32)>,
    pub(crate) concurrency: u32,
    /// The account that it came in as, where one has to; nobody else takes its session over.
    pub(crate) account: Option<String>,
}

/// What was asked of a worker.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wanted {
    /// Nothing: it works.
    #[default]
    Working,
    /// It shall take nothing more.
    Quiet,
    /// It shall interrupt what it runs as well, and leave.
    Terminate,
}

/// A job that a worker has.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) token: Token,
    pub(crate) queue: String,
    pub(crate) kind: String,
    pub(crate) attempt: u32,
    /// When its worker said that it runs.
    pub(crate) started_at: Option<TimeMs>,
    /// The longest that it may run, and until when that is.
    pub(crate) timeout: Option<Duration>,
    pub(crate) times_out: Option<Instant>,
    /// 0 to 10,000: hundredths of a per cent.
    pub(crate) progress: Option<u16>,
    pub(crate) progress_text: String,
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) key: WorkerKey,
    live: Mutex<Live>,
    /// The number of the stream that has the session. Each takes over from the one before.
    stream: watch::Sender<u64>,
    /// Held by the stream that has the session, and by whoever ends the session.
    pub(crate) taken: tokio::sync::Mutex<()>,
    /// Something is to be told.
    pub(crate) bell: Notify,
}

#[derive(Debug)]
struct Live {
    facts: Arc<Facts>,
    connected: bool,
    connected_at: TimeMs,
    seen_at: TimeMs,
    wanted: Wanted,
    memory_bytes: Option<u64>,
    runs: BTreeMap<JobId, Run>,
    /// Those that run and have a timeout, by when it ends.
    timeouts: BTreeSet<(Instant, JobId)>,
    /// What the stream has not told its worker yet.
    orders: Orders,
}

/// What is to be told to a worker.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) wanted: Option<Wanted>,
    /// `None`: the run has ended without its worker.
    pub(crate) runs: BTreeMap<JobId, (Token, Option<Instruction>)>,
}

/// A worker at one moment.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) facts: Arc<Facts>,
    pub(crate) connected: bool,
    pub(crate) connected_at: TimeMs,
    pub(crate) seen_at: TimeMs,
    pub(crate) wanted: Wanted,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) runs: Vec<(JobId, Run)>,
}

/// Why a session is not opened.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// Too many workers are there.
    TooMany {
        /// Of the namespace alone, or of all.
        of_namespace: bool,
        max: usize,
    },
    /// It is that of a worker of another account.
    OfAnother,
}

/// Why no one worker is meant.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// There is none of that name or session.
    Unknown,
    /// These sessions share the name.
    Several(Vec<String>),
}

/// Room for one more of a namespace. Its own are counted only where there are that many in all.
fn check_room<T>(
    workers: &BTreeMap<WorkerKey, T>,
    namespace: &str,
    max: Cap,
) -> Result<(), Unopened> {
    let first = |name: &str| WorkerKey {
        namespace: name.to_owned(),
        name: String::new(),
        session: String::new(),
    };
    let own =
        || workers.range(first(namespace)..).take_while(|(key, _)| key.namespace == namespace);
    if workers.len() >= max.namespace && own().count() >= max.namespace {
        return Err(Unopened::TooMany { of_namespace: true, max: max.namespace });
    }
    if workers.len() >= max.shard {
        return Err(Unopened::TooMany { of_namespace: false, max: max.shard });
    }
    Ok(())
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct WorkerNumbers {
    pub(crate) connected: u64,
    pub(crate) concurrency: u64,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
}

/// The workers that have a stream or are waited for, by namespace, name and session.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    workers: Mutex<BTreeMap<WorkerKey, Arc<Worker>>>,
    /// Streams that were ever opened.
    pub(crate) streams_total: AtomicU64,
    /// Sessions whose worker did not come back.
    pub(crate) lost_total: AtomicU64,
}

impl Registry {
    /// A stream opens the session and takes it over from the one before. Answers the worker and
    /// the stream's number.
    pub(crate) fn open(
        &self,
        key: WorkerKey,
        facts: Facts,
    ) -> Result<(Arc<Worker>, u64), Unopened> {
        let mut workers = self.lock();
        match workers.get(&key) {
            Some(worker) if worker.live().facts.account != facts.account => {
                return Err(Unopened::OfAnother);
            }
            Some(_) => {}
            None => check_room(&workers, &key.namespace, WORKERS_MAX)?,
        }
        self.streams_total.fetch_add(1, Ordering::Relaxed);
        let worker = workers.entry(key.clone()).or_insert_with(|| Arc::new(Worker::new(key)));
        let number = worker.take_over(facts);
        Ok((Arc::clone(worker), number))
    }

    /// The worker has gone, unless another stream than this one has it by now.
    pub(crate) fn forget(&self, worker: &Worker, number: u64) {
        let mut workers = self.lock();
        if *worker.stream.borrow() == number {
            workers.remove(&worker.key);
        }
    }

    /// A run was cancelled or paused: its worker hears it at once, if it has a stream.
    pub(crate) fn tell_run(&self, namespace: &str, view: &JobView) {
        let Some(lease) = view.lease.as_ref() else { return };
        let instruction = if lease.cancel_requested {
            Instruction::Cancel
        } else if view.paused && !view.job.options.at_most_once {
            Instruction::Interrupt { reason: "pause" }
        } else {
            return;
        };
        self.order(namespace, view.job.id, lease, Some(instruction));
    }

    /// A run was ended by force: its worker hears at once that it has lost it, if it has a stream.
    pub(crate) fn tell_ended(&self, namespace: &str, id: JobId, lease: &Lease) {
        self.order(namespace, id, lease, None);
    }

    fn order(&self, namespace: &str, id: JobId, lease: &Lease, what: Option<Instruction>) {
        if lease.session.is_empty() {
            return;
        }
        let key = WorkerKey {
            namespace: namespace.to_owned(),
            name: lease.worker.to_string(),
            session: lease.session.to_string(),
        };
        let Some(worker) = self.lock().get(&key).cloned() else { return };
        worker.live().orders.runs.insert(id, (lease.token, what));
        worker.bell.notify_one();
    }

    /// Whether the job is with a worker's stream and has not started, as far as is known.
    pub(crate) fn holds(&self, namespace: &str, view: &JobView) -> bool {
        let Some(lease) = view.lease.as_ref().filter(|lease| !lease.session.is_empty()) else {
            return false;
        };
        let key = WorkerKey {
            namespace: namespace.to_owned(),
            name: lease.worker.to_string(),
            session: lease.session.to_string(),
        };
        let Some(worker) = self.lock().get(&key).cloned() else { return false };
        let live = worker.live();
        let run = live.runs.get(&view.job.id).filter(|run| run.token == lease.token);
        run.is_some_and(|run| run.started_at.is_none())
    }

    /// The workers of a namespace, in the order of their names.
    pub(crate) fn list(&self, namespace: &str) -> Vec<Arc<Worker>> {
        let workers = self.lock();
        let workers = workers.values().filter(|worker| worker.key.namespace == namespace);
        workers.cloned().collect()
    }

    /// The one worker of that name or session.
    pub(crate) fn find(&self, namespace: &str, named: &str) -> Result<Arc<Worker>, NotFound> {
        let all = self.list(namespace);
        if let Some(worker) = all.iter().find(|worker| worker.key.session == named) {
            return Ok(Arc::clone(worker));
        }
        let mut named = all.into_iter().filter(|worker| worker.key.name == named);
        let Some(first) = named.next() else { return Err(NotFound::Unknown) };
        let others: Vec<_> = named.map(|worker| worker.key.session.clone()).collect();
        if others.is_empty() {
            return Ok(first);
        }
        Err(NotFound::Several([vec![first.key.session.clone()], others].concat()))
    }

    /// Asks a worker for something, and with it the others of its process that are the same worker:
    /// one that has a session of its own for a queue (`NAME/QUEUE`) is asked as a whole.
    pub(crate) fn want(&self, of: &Arc<Worker>, wanted: Wanted) {
        of.want(wanted);
        if wanted == Wanted::Working {
            return;
        }
        for other in self.list(&of.key.namespace) {
            if !Arc::ptr_eq(&other, of) && of.is_part_of_same(&other) {
                other.want(wanted);
            }
        }
    }

    /// Numbers of all that are connected.
    pub(crate) fn numbers(&self) -> WorkerNumbers {
        let mut numbers = WorkerNumbers::default();
        for worker in self.lock().values() {
            let live = worker.live();
            if live.connected {
                let running = live.runs.values().filter(|run| run.started_at.is_some()).count();
                numbers.connected += 1;
                numbers.concurrency += u64::from(live.facts.concurrency);
                numbers.running += running as u64;
                numbers.waiting += (live.runs.len() - running) as u64;
            }
        }
        numbers
    }

    /// No code between lock and unlock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerKey, Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn new(key: WorkerKey) -> Self {
        let now = wall_now();
        let live = Live {
            facts: Arc::default(),
            connected: false,
            connected_at: now,
            seen_at: now,
            wanted: Wanted::Working,
            memory_bytes: None,
            runs: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            orders: Orders::default(),
        };
        let (live, stream) = (Mutex::new(live), watch::Sender::new(0));
        Self { key, live, stream, taken: tokio::sync::Mutex::default(), bell: Notify::new() }
    }

    fn take_over(&self, facts: Facts) -> u64 {
        let mut live = self.live();
        live.facts = Arc::new(facts);
        live.connected = true;
        live.connected_at = wall_now();
        live.seen_at = live.connected_at;
        // What was asked of it is told again.
        live.orders.wanted = Some(live.wanted).filter(|wanted| *wanted != Wanted::Working);
        // Before anybody can take the orders: they are for the new stream.
        self.stream.send_modify(|number| *number += 1);
        let number = *self.stream.borrow();
        drop(live);
        self.bell.notify_one();
        number
    }

    /// Whether this stream has the session.
    pub(crate) fn is_of(&self, number: u64) -> bool {
        *self.stream.borrow() == number
    }

    /// Is ready once another stream than this one has the session.
    pub(crate) async fn superseded(&self, number: u64) {
        let mut stream = self.stream.subscribe();
        // The sender lives as long as this.
        let _ = stream.wait_for(|newest| *newest != number).await;
    }

    /// Its stream broke.
    pub(crate) fn disconnected(&self, number: u64) {
        let mut live = self.live();
        if self.is_of(number) {
            live.connected = false;
        }
    }

    /// Something was heard of it.
    pub(crate) fn seen(&self) {
        self.live().seen_at = wall_now();
    }

    /// What it occupies, as it says.
    pub(crate) fn set_memory(&self, bytes: Option<u64>) {
        let mut live = self.live();
        live.memory_bytes = bytes.or(live.memory_bytes);
    }

    /// Asks it for something; what is asked for stays the most that ever was.
    pub(crate) fn want(&self, wanted: Wanted) {
        let mut live = self.live();
        if wanted > live.wanted {
            live.wanted = wanted;
            live.orders.wanted = Some(wanted);
        }
        drop(live);
        self.bell.notify_one();
    }

    /// Whether both are sessions of one worker, which has one more for each queue with a limit of
    /// its own.
    fn is_part_of_same(&self, other: &Self) -> bool {
        // One after the other: both locks at a time might wait for each other.
        let one = Arc::clone(&self.live().facts);
        let two = Arc::clone(&other.live().facts);
        let is_process = one.pid != 0 && (one.pid, &one.host) == (two.pid, &two.host);
        is_process
            && self.key.name != other.key.name
            && base(&self.key.name, &one) == base(&other.key.name, &two)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.live().wanted
    }

    /// What it has not been told; none for a stream that another one has taken the place of.
    pub(crate) fn take_orders(&self, number: u64) -> Option<Orders> {
        let mut live = self.live();
        if self.is_of(number) {
            return Some(std::mem::take(&mut live.orders));
        }
        // The bell rang for the other one.
        self.bell.notify_one();
        None
    }

    /// It has exactly these.
    pub(crate) fn set_runs(&self, runs: BTreeMap<JobId, Run>) {
        let mut live = self.live();
        let timeouts = runs.iter().filter_map(|(id, run)| Some((run.times_out?, *id)));
        live.timeouts = timeouts.collect();
        live.runs = runs;
    }

    /// It has these as well.
    pub(crate) fn add_runs(&self, runs: impl Iterator<Item = (JobId, Run)>) {
        let mut live = self.live();
        for (id, run) in runs {
            // Another run of the same job: the timeout of the one before it is none of this one.
            if let Some(at) = live.runs.insert(id, run).and_then(|before| before.times_out) {
                live.timeouts.remove(&(at, id));
            }
        }
    }

    /// How many it has.
    pub(crate) fn run_count(&self) -> usize {
        self.live().runs.len()
    }

    /// What it has.
    pub(crate) fn leases(&self) -> Vec<(JobId, Token)> {
        self.live().runs.iter().map(|(id, run)| (*id, run.token)).collect()
    }

    /// It has this one no longer. Whether it had.
    pub(crate) fn remove_run(&self, id: JobId, token: Token) -> bool {
        let mut live = self.live();
        let had = live.runs.get(&id).is_some_and(|run| run.token == token);
        if had
            && let Some(run) = live.runs.remove(&id)
            && let Some(at) = run.times_out
        {
            live.timeouts.remove(&(at, id));
        }
        had
    }

    /// When the timeout of a run of it ends next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.live().timeouts.first().map(|(at, _)| *at)
    }

    /// Takes the runs whose timeouts have ended.
    pub(crate) fn timed_out(&self, now: Instant) -> Vec<(JobId, Token)> {
        let mut live = self.live();
        let due: Vec<_> = live.timeouts.range(..=(now, JobId([0xff; 16]))).copied().collect();
        let mut runs = Vec::with_capacity(due.len());
        for (at, id) in due {
            live.timeouts.remove(&(at, id));
            if let Some(run) = live.runs.get(&id).filter(|run| run.times_out == Some(at)) {
                runs.push((id, run.token));
            }
        }
        runs
    }

    /// The timeout of this run ends later than it seemed to.
    pub(crate) fn times_out_at(&self, (id, token): (JobId, Token), at: Instant) {
        let mut live = self.live();
        let Some(run) = live.runs.get_mut(&id).filter(|run| run.token == token) else { return };
        let before = run.times_out.replace(at);
        if let Some(before) = before {
            live.timeouts.remove(&(before, id));
        }
        live.timeouts.insert((at, id));
    }

    /// It runs this one, and is so far with it.
    pub(crate) fn run_started(&self, id: JobId, progress: Option<u16>, text: Option<String>) {
        let mut live = self.live();
        let mut times_out = None;
        if let Some(run) = live.runs.get_mut(&id) {
            run.started_at.get_or_insert_with(wall_now);
            if let (None, Some(timeout)) = (run.times_out, run.timeout) {
                run.times_out = Instant::now().checked_add(timeout);
                times_out = run.times_out;
            }
            run.progress = progress.or(run.progress);
            if let Some(text) = text {
                run.progress_text = text;
            }
        }
        live.timeouts.extend(times_out.map(|at| (at, id)));
    }

    /// As it is now.
    pub(crate) fn told(&self) -> Told {
        let live = self.live();
        Told {
            facts: Arc::clone(&live.facts),
            connected: live.connected,
            connected_at: live.connected_at,
            seen_at: live.seen_at,
            wanted: live.wanted,
            memory_bytes: live.memory_bytes,
            runs: live.runs.iter().map(|(id, run)| (*id, run.clone())).collect(),
        }
    }

    /// No code between lock and unlock panics half-way through a change.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the whole worker: that of a session for one queue ends with the queue.
fn base<'a>(name: &'a str, facts: &Facts) -> &'a str {
    let [(queue, _)] = facts.queues.as_slice() else { return name };
    name.strip_suffix(queue.as_str()).and_then(|it| it.strip_suffix('/')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, session: &str) -> WorkerKey {
        let namespace = "default".to_owned();
        WorkerKey { namespace, name: name.to_owned(), session: session.to_owned() }
    }

    #[test]
    fn a_stream_takes_over_from_the_one_before() {
        let registry = Registry::default();
        let (worker, first) = registry.open(key("w", "s"), Facts::default()).unwrap();
        worker.want(Wanted::Quiet);
        let wanted = |number| worker.take_orders(number).map(|orders| orders.wanted);
        assert_eq!(wanted(first), Some(Some(Wanted::Quiet)));
        let (again, second) = registry.open(key("w", "s"), Facts::default()).unwrap();
        assert!(Arc::ptr_eq(&worker, &again) && !worker.is_of(first) && worker.is_of(second));
        assert_eq!(wanted(first), None, "the old stream takes nothing that is for the new one");
        assert_eq!(wanted(second), Some(Some(Wanted::Quiet)), "it is told again");
        registry.forget(&worker, first);
        assert_eq!(registry.list("default").len(), 1);
        registry.forget(&worker, second);
        assert_eq!(registry.list("default").len(), 0);
    }

    #[test]
    fn a_session_is_that_of_one_account() {
        let registry = Registry::default();
        let of = |account: &str| Facts { account: Some(account.to_owned()), ..Facts::default() };
        let (worker, first) = registry.open(key("w", "s"), of("ann")).unwrap();
        assert!(matches!(registry.open(key("w", "s"), of("bob")), Err(Unopened::OfAnother)));
        assert!(worker.is_of(first), "its stream goes on");
        registry.open(key("w", "s"), of("ann")).unwrap();
        registry.open(key("w", "t"), of("bob")).unwrap();
    }

    #[test]
    fn a_namespace_with_many_workers_leaves_room_for_others() {
        let max = Cap { shard: 3, namespace: 2 };
        let mut workers = BTreeMap::new();
        let mut open = |namespace: &str, name: &str| -> Result<(), bool> {
            check_room(&workers, namespace, max)
                .map_err(|why| matches!(why, Unopened::TooMany { of_namespace: true, .. }))?;
            let key = WorkerKey { namespace: namespace.to_owned(), ..key(name, "s") };
            workers.insert(key, 0);
            Ok(())
        };
        assert_eq!((open("b", "1"), open("b", "2"), open("b", "3")), (Ok(()), Ok(()), Err(true)));
        assert_eq!(
            (open("a", "1"), open("a", "2"), open("c", "1")),
            (Ok(()), Err(false), Err(false))
        );
    }

    #[test]
    fn a_worker_is_found_by_its_name_or_its_session() {
        let registry = Registry::default();
        for (name, session) in [("a", "1"), ("b", "2"), ("b", "3")] {
            registry.open(key(name, session), Facts::default()).unwrap();
        }
        let found = |named| registry.find("default", named).map(|it| it.key.session.clone());
        assert_eq!(found("a").unwrap(), "1");
        assert_eq!(found("3").unwrap(), "3");
        assert!(matches!(found("c"), Err(NotFound::Unknown)));
        assert!(matches!(found("b"), Err(NotFound::Several(all)) if all == ["2", "3"]));
        assert!(matches!(registry.find("other", "a"), Err(NotFound::Unknown)));
    }

    /// After `workers quiet vm` the list went on saying that `vm/reports` works.
    #[test]
    fn sessions_of_one_worker_are_asked_together() {
        let registry = Registry::default();
        let open = |name: &str, pid: u32, queues: &[&str]| {
            let queues = queues.iter().map(|queue| ((*queue).to_owned(), 0)).collect();
            let facts = Facts { host: "vm".into(), pid, queues, ..Facts::default() };
            registry.open(key(name, &format!("{name}{pid}")), facts).unwrap().0
        };
        let vm = open("vm", 7, &["mails", "web"]);
        let (reports, thumbs) =
            (open("vm/reports", 7, &["reports"]), open("vm/thumbs", 7, &["thumbs"]));
        let strangers = [
            open("vm/reports", 8, &["reports"]),
            open("vm/other", 7, &["mails"]),
            open("vm2", 7, &["mails"]),
        ];
        registry.want(&vm, Wanted::Quiet);
        assert!([&vm, &reports, &thumbs].iter().all(|it| it.wanted() == Wanted::Quiet));
        registry.want(&reports, Wanted::Terminate);
        assert!([&vm, &reports, &thumbs].iter().all(|it| it.wanted() == Wanted::Terminate));
        assert!(strangers.iter().all(|it| it.wanted() == Wanted::Working));
    }

    #[test]
    fn what_was_asked_for_is_not_taken_back() {
        let registry = Registry::default();
        let (worker, _) = registry.open(key("w", "s"), Facts::default()).unwrap();
        worker.want(Wanted::Terminate);
        worker.want(Wanted::Quiet);
        assert_eq!(worker.wanted(), Wanted::Terminate);
    }
}
