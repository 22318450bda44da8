//! The life of a worker: it starts slots and sessions, watches over them, and ends them in the
//! order that loses and repeats the least.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_proto::v1;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;

use super::intake::Intake;
use super::lanes::{Lane, Wish, lanes};
use super::memory::resident_bytes;
use super::notify::Notifier;
use super::served::{Listed, Served};
use super::session::{Session, Setup};
use super::slot::{Load, serve};
use super::{Event, Phase, Prefetch};
use crate::options::span_ms;
use crate::outbox::Outbox;
use crate::perform::JobService;
use crate::{Client, ClientError};

/// How long settlements may take to be answered after the last run has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often a worker looks whether it occupies too much.
const LOOK: Duration = Duration::from_millis(200);

/// How a worker is set up.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) kinds: Vec<String>,
    pub(super) versions: Vec<v1::KindVersions>,
    /// Each kind with the queue of its type.
    pub(super) served: Vec<(String, String)>,
    pub(super) wishes: Vec<Wish>,
    pub(super) concurrency: u32,
    pub(super) prefetch: Prefetch,
    pub(super) lease: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) jobs_max: Option<u64>,
    pub(super) bytes_max: Option<u64>,
}

/// Why a worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// It was asked to, from here.
    Shutdown,
    /// The server asked it to.
    Terminated,
    /// It has run as many jobs as it should.
    RecycledJobs,
    /// Its process occupied more than it should.
    RecycledMemory,
}

/// Why a worker cannot work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// No type was registered.
    #[error("the worker knows no type of job: call `register::<YourJob>()` before it is run")]
    NoTypes,
    /// Two types have the same name.
    #[error(
        "the kind '{kind}' is registered twice, by {first} and by {second}: register a type once, \
         and give types that are not the same different names with `#[job(kind = \"...\")]`"
    )]
    KindTwice {
        /// The name.
        kind: String,
        /// The type that has it.
        first: &'static str,
        /// The other one.
        second: &'static str,
    },
    /// The client talks to no server.
    #[error("this client records what is enqueued and has no server: use testing::Inline to run")]
    NoServer,
    /// The server refuses it.
    #[error("the server refuses this worker: {0}")]
    Refused(#[source] ClientError),
    /// A session came to an unexpected end.
    #[error("a session of the worker ended unexpectedly: {0}")]
    Session(String),
    /// The process cannot hear signals.
    #[error("signals cannot be heard: {0}; use `run_until` with a future of your own")]
    Signal(#[from] std::io::Error),
}

/// The name of this machine.
pub(super) fn host() -> String {
    let kept = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if kept.is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { kept };
    let name = name.trim();
    if name.is_empty() { "worker".to_owned() } else { name.to_owned() }
}

struct Running {
    sessions: JoinSet<Result<(), Status>>,
    slots: JoinSet<()>,
    intakes: Vec<Arc<Intake>>,
    load: Arc<Load>,
    phase: watch::Sender<Phase>,
    events: mpsc::UnboundedReceiver<Event>,
}

pub(super) async fn supervise(
    client: &Client,
    plan: Plan,
    service: JobService,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Stopped, WorkerError> {
    let notifier = Notifier::from_environment();
    let mut running = start(client, &plan, &service)?;
    let listed = Listed::new(Served {
        place: (client.url().to_owned(), client.namespace().to_owned()),
        kinds: plan.served.clone(),
        queues: plan.wishes.iter().map(|wish| wish.queue.clone()).collect(),
    });
    let working = watch_over(&mut running, (&plan, &listed), &notifier, shutdown);
    let stopped = notifier.alive_during(working).await;
    notifier.say("STOPPING=1");
    let reason = match stopped {
        Ok(Stopped::Terminated) => "terminate",
        Ok(Stopped::RecycledJobs | Stopped::RecycledMemory) => "recycle",
        _ => "deploy",
    };
    notifier.alive_during(end(&mut running, plan.grace, reason)).await;
    stopped
}

/// Starts a session and slots for each lane.
fn start(client: &Client, plan: &Plan, service: &JobService) -> Result<Running, WorkerError> {
    let channel = client.way().ok_or(WorkerError::NoServer)?;
    let (phase, phases) = watch::channel(Phase::Working);
    let (event_sender, events) = mpsc::unbounded_channel();
    let lanes = lanes(&plan.wishes, plan.concurrency);
    let load = Arc::new(Load::new(lanes.len(), plan.concurrency as usize, plan.jobs_max));
    let mut running = Running {
        sessions: JoinSet::new(),
        slots: JoinSet::new(),
        intakes: Vec::new(),
        load: Arc::clone(&load),
        phase,
        events,
    };
    for (number, lane) in lanes.into_iter().enumerate() {
        let intake = Arc::new(Intake::default());
        for _ in 0..lane.concurrency {
            let (intake, service) = (Arc::clone(&intake), service.clone());
            let slot = serve(intake, service, Arc::clone(&load), number);
            running.slots.spawn(slot);
        }
        let setup = Setup {
            channel: channel.clone(),
            url: client.url().to_owned(),
            lane: number,
            hello: hello(client, plan, lane),
            prefetch: plan.prefetch,
            load: Arc::clone(&load),
            intake: Arc::clone(&intake),
            outbox: Arc::new(Outbox::default()),
            phase: phases.clone(),
            events: event_sender.clone(),
        };
        running.sessions.spawn(Session::new(setup).run());
        running.intakes.push(intake);
    }
    Ok(running)
}

fn hello(client: &Client, plan: &Plan, lane: Lane) -> v1::Hello {
    v1::Hello {
        namespace: client.namespace().to_owned(),
        name: format!("{}{}", plan.name, lane.suffix),
        session: uuid::Uuid::now_v7().to_string(),
        host: host(),
        pid: std::process::id(),
        software: concat!("longshore-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
        labels: plan.labels.clone(),
        kinds: plan.kinds.clone(),
        versions: plan.versions.clone(),
        queues: lane.queues,
        concurrency: lane.concurrency,
        lease_ms: plan.lease.map(span_ms),
        held: Vec::new(),
    }
}

/// Waits for a reason to end.
async fn watch_over(
    running: &mut Running,
    (plan, listed): (&Plan, &Listed),
    notifier: &Notifier,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Stopped, WorkerError> {
    tokio::pin!(shutdown);
    let mut look = tokio::time::interval(LOOK);
    let mut is_ready = false;
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(Stopped::Shutdown),
            event = running.events.recv() => match event {
                Some(Event::Welcomed) if !is_ready => {
                    is_ready = true;
                    tracing::info!("connected; this worker takes jobs");
                    warn_of_unserved(listed);
                    notifier.say("READY=1");
                }
                Some(Event::QuietAsked) => quieten(&running.phase),
                Some(Event::TerminateAsked) => return Ok(Stopped::Terminated),
                Some(Event::Welcomed) | None => {}
            },
            Some(ended) = running.sessions.join_next() => match ended {
                Ok(Err(status)) => {
                    return Err(WorkerError::Refused(ClientError::from_status(&status)));
                }
                Ok(Ok(())) => return Err(WorkerError::Session("it stopped by itself".to_owned())),
                Err(error) => return Err(WorkerError::Session(error.to_string())),
            },
            () = running.load.enough.notified() => return Ok(Stopped::RecycledJobs),
            _ = look.tick() => {
                if plan.bytes_max.is_some_and(|max| resident_bytes().is_some_and(|it| it > max)) {
                    return Ok(Stopped::RecycledMemory);
                }
            }
        }
    }
}

/// Other workers of this process that start at the same time are listed by now.
fn warn_of_unserved(listed: &Listed) {
    for (kind, queue) in listed.unserved() {
        tracing::warn!(
            kind,
            queue,
            "no worker of this process asks for the queue of a registered kind: jobs that wait \
             there are not run by it"
        );
    }
}

/// Takes nothing more and interrupts iterations; the rest goes on to its end.
fn quieten(phase: &watch::Sender<Phase>) {
    let is_news = phase.send_if_modified(|phase| {
        let works = *phase == Phase::Working;
        if works {
            *phase = Phase::Quiet;
        }
        works
    });
    if is_news {
        tracing::info!("asked to be quiet: this worker takes nothing more");
    }
}

/// Takes nothing more, lets runs end or interrupt themselves, drops the rest, says goodbye.
async fn end(running: &mut Running, grace: Duration, reason: &'static str) {
    tracing::info!(reason, "the worker ends: it takes nothing more");
    running.phase.send_replace(Phase::Stopping(reason));
    let until = Instant::now() + grace;
    if timeout_at(until, all(&mut running.sessions)).await.is_err() {
        let left = running.load.running();
        if left > 0 {
            tracing::warn!(runs = left, "the grace of {grace:?} is over: these runs are dropped");
        }
        running.phase.send_replace(Phase::Killing);
        let _ = timeout_at(Instant::now() + LAST_WORDS, all(&mut running.sessions)).await;
    }
    for intake in &running.intakes {
        intake.close();
    }
    // Slots that are inside a call that blocks end with the process.
    let slots = all(&mut running.slots);
    tokio::select! {
        () = slots => {}
        () = sleep_until(Instant::now() + Duration::from_millis(100)) => {}
    }
    running.sessions.abort_all();
    running.slots.abort_all();
}

async fn all<T: 'static>(tasks: &mut JoinSet<T>) {
    while tasks.join_next().await.is_some() {}
}
