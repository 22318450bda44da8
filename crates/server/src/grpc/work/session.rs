//! A worker that has said hello: what it tells is carried out, and it gets jobs for its credit.
//!
//! The stream is a consumer of its shard while there is credit ([`Intake`]). What the worker tells
//! goes on beside it, as much at a time as [`UNDER_WAY_MAX`] says; while that is reached its stream
//! is not read, and flow control slows it down. What it is told may wait for a place in its
//! connection. Its stream is read meanwhile, or the heartbeats of a worker that reads slowly would
//! not be heard; only where very much waits ([`OWED_MAX`]) it is not.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use longshore_engine::ask::ResumeSession;
use longshore_engine::{Delivery, HeldLease, Instruction};
use longshore_node::{HandedJobs, bytes_of};
use longshore_proto::v1::{self, server_message::Message, worker_message};
use tokio::time::sleep_until;
use tonic::Streaming;

use super::hello::{HELD_MAX, Wish};
use super::intake::{Came, Intake};
use super::tell::{Answers, Telling, run_control};
use super::{End, Outgoing, protocol, unread};
use crate::access::Ended;
use crate::grpc::Face;
use crate::grpc::job_out::{delivery, lease_ref};
use crate::grpc::outgoing::Owed;
use crate::running::timeout;
use crate::workers::{Run, Wanted, Worker};

/// Messages of one worker that are carried out at the same time.
const UNDER_WAY_MAX: usize = 16;
/// Bytes of one message with jobs, about. A job larger than this goes alone.
const DELIVER_BYTES_MAX: usize = 1 << 20;
/// Answers and orders that may wait for a place before the worker's stream is not read any more,
/// and their bytes.
const OWED_MAX: usize = 1000;
const OWED_BYTES_MAX: usize = 1 << 20;
/// Heartbeats within the length of a lease.
const BEATS_PER_LEASE: u64 = 3;
/// How long after the end of a run's timeout the shard, which counts in whole milliseconds, is
/// asked whether it has ended the run.
const TIMED_OUT_AFTER: Duration = Duration::from_millis(5);
/// How long what was told before a stream broke may take.
const FINISH_MAX: Duration = Duration::from_secs(2);
/// How often it is looked which leases a worker has lost whose heartbeats do not come.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

type Working = Pin<Box<dyn Future<Output = Answers> + Send>>;
type UnderWay = FuturesUnordered<Working>;

/// The stream of a worker that has said hello.
pub(super) struct Session {
    face: Arc<Face>,
    outgoing: Outgoing,
    telling: Telling,
    /// The stream's number.
    number: u64,
    wish: Arc<Wish>,
    /// Leases that the worker holds from the stream before, until they are compared.
    held: Vec<HeldLease>,
    intake: Intake,
    /// What waits for a place in the worker's connection, and its bytes.
    owed: VecDeque<Owed<v1::ServerMessage>>,
    owed_bytes: usize,
    /// Jobs that wait for a place behind that.
    waiting: Option<HandedJobs>,
    /// What the worker settled last, until it is known whether it gives credit right behind it:
    /// both are one command.
    settles: Option<v1::Settle>,
    under_way: UnderWay,
    /// The look at which leases are lost, one at a time: it must not keep messages from being read.
    looking: Option<Working>,
    /// Ready once the worker's account may no longer do what it did.
    ended: Ended,
    /// The worker has said that it leaves.
    leaves: bool,
    /// When anything was heard of it.
    heard: Instant,
    /// When it last extended its leases, all at once.
    beaten: Instant,
    /// When it was last looked which of its leases it has lost since.
    looked: Instant,
}

impl Session {
    pub(super) fn new(
        face: Arc<Face>,
        outgoing: Outgoing,
        worker: &Arc<Worker>,
        number: u64,
        mut wish: Wish,
    ) -> Self {
        let held = std::mem::take(&mut wish.held);
        let telling = Telling { app: Arc::clone(&face.app), worker: Arc::clone(worker) };
        let wish = Arc::new(wish);
        let ended = face.app.who.when_ended();
        let intake = Intake::new(Arc::clone(&face.app), Arc::clone(&wish));
        Self {
            face,
            outgoing,
            telling,
            number,
            wish,
            held,
            intake,
            owed: VecDeque::new(),
            owed_bytes: 0,
            waiting: None,
            settles: None,
            under_way: FuturesUnordered::new(),
            looking: None,
            ended,
            leaves: false,
            heard: Instant::now(),
            beaten: Instant::now(),
            looked: Instant::now(),
        }
    }

    fn worker(&self) -> &Arc<Worker> {
        &self.telling.worker
    }

    /// Serves the worker until its stream ends.
    pub(super) async fn run(mut self, incoming: &mut Streaming<v1::WorkerMessage>) -> End {
        if let Err(end) = self.welcome().await {
            return end;
        }
        let end = loop {
            if let Err(end) = self.step(incoming).await {
                break end;
            }
        };
        if !matches!(end, End::Stopping) {
            // Before the session ends or is compared by its next stream: what did not reach the
            // worker is free by then, also what runs at most once and would count as started.
            self.waiting = None;
            self.intake.leave().await;
        }
        if matches!(end, End::Broken) {
            self.finish().await;
        }
        end
    }

    /// Carries out what the worker told before its stream broke; nobody hears the answers.
    async fn finish(&mut self) {
        self.tell_settlements();
        let all = async { while self.under_way.next().await.is_some() {} };
        // What takes longer is withdrawn where it was not taken up.
        let _ = timeout(FINISH_MAX, all).await;
    }

    async fn welcome(&mut self) -> Result<(), End> {
        let (holder, held) = (self.wish.holder.clone(), std::mem::take(&mut self.held));
        let view = self.telling.ask(ResumeSession { holder, held }).await?;
        let runs = view.held.into_iter().map(|job| {
            let run = Run {
                token: job.token,
                queue: job.queue,
                kind: job.kind,
                attempt: job.attempt,
                started_at: job.started.then_some(job.granted_at),
                timeout: job.timeout_ms.map(Duration::from_millis),
                times_out: job
                    .timeout_left_ms
                    .filter(|_| job.started)
                    .and_then(|left_ms| Instant::now().checked_add(Duration::from_millis(left_ms))),
                progress: None,
                progress_text: String::new(),
            };
            (job.id, run)
        });
        self.worker().set_runs(runs.collect());
        let (app, lease_ms) = (&self.face.app, self.lease_ms());
        self.owe(Message::Welcome(v1::Welcome {
            software: concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned(),
            lease_ms,
            heartbeat_ms: (lease_ms / BEATS_PER_LEASE).max(1),
            reconnect_ms: app.config.worker_reconnect.as_millis() as u64,
            lost: view.lost.into_iter().map(lease_ref).collect(),
        }));
        let runs: Vec<_> = view
            .told
            .into_iter()
            .map(|(id, token, what)| run_control(id, token, Some(what)))
            .collect();
        if !runs.is_empty() {
            self.owe(Message::Control(self.telling.control(runs)));
        }
        Ok(())
    }

    /// How long the session's leases hold without a word of the worker, at least.
    fn lease_ms(&self) -> u64 {
        self.wish.lease_ms.unwrap_or(self.face.app.limits.lease_ms_default)
    }

    /// From then on the worker gets nothing more unless something is heard of it: what it has was
    /// taken from it, and would be again.
    fn silent_at(&self) -> Instant {
        self.heard + Duration::from_millis(self.lease_ms())
    }

    /// When to look whether leases that nothing extends any more are lost.
    fn looks_at(&self) -> Option<Instant> {
        let silent_at = self.beaten + Duration::from_millis(self.lease_ms());
        (self.worker().run_count() > 0).then(|| silent_at.max(self.looked + LOOK_AGAIN))
    }

    /// Waits for the next thing to happen, and does what it asks for.
    async fn step(&mut self, incoming: &mut Streaming<v1::WorkerMessage>) -> Result<(), End> {
        let may_take = self.takes_jobs();
        if !self.leaves {
            self.intake.look(may_take);
        }
        let is_open = self.intake.is_open() && !self.leaves;
        if !is_open {
            // They go back, like what is on its way here.
            self.waiting = None;
        }
        self.pass_on()?;
        let owes = !self.owed.is_empty() || self.waiting.is_some();
        if self.leaves && self.under_way.is_empty() && self.settles.is_none() && !owes {
            return Err(End::Goodbye);
        }
        let reads = self.reads();
        let silent = sleep_until(self.silent_at().into());
        let takes = is_open && self.waiting.is_none();
        let looks_for_jobs = at(self.intake.looks_at().filter(|_| may_take));
        let tells = self.settles.is_some() || self.intake.has_to_tell(false);
        let times_out = self.worker().next_timeout();
        let overdue = at(times_out.map(|at| at + TIMED_OUT_AFTER));
        let looks = at(self.looks_at().filter(|_| self.looking.is_none()));
        let looking = of(self.looking.as_mut());
        tokio::select! {
            biased;
            () = self.face.stopped() => Err(End::Stopping),
            () = self.ended.as_mut() => Err(End::Refused(crate::access::unauthenticated())),
            () = self.telling.worker.superseded(self.number) => Err(End::Superseded),
            () = self.telling.worker.bell.notified() => self.obey(),
            Some(answers) = self.under_way.next(), if !self.under_way.is_empty() => {
                answers?.into_iter().for_each(|answer| self.owe(answer));
                Ok(())
            }
            place = self.outgoing.has_place(), if owes => place.map_err(|_| End::Broken),
            came = self.intake.next(), if takes => {
                if let Came::Jobs(jobs) = came? {
                    self.waiting = Some(jobs);
                }
                Ok(())
            }
            () = silent, if is_open => Ok(()),
            () = looks_for_jobs => Ok(()),
            () = overdue => {
                let due = self.worker().timed_out(Instant::now());
                self.under_way.push(Box::pin(self.telling.clone().timed_out(due)));
                Ok(())
            }
            () = looks => {
                let runs = self.worker().leases();
                self.looking = Some(Box::pin(self.telling.clone().let_go(runs)));
                Ok(())
            }
            answers = looking => {
                self.looking = None;
                self.looked = Instant::now();
                answers?.into_iter().for_each(|answer| self.owe(answer));
                Ok(())
            }
            () = self.outgoing.closed() => Err(End::Broken),
            message = incoming.message(), if reads => match message {
                Ok(Some(message)) => self.take(message),
                Ok(None) => Err(End::Broken),
                Err(status) => Err(unread(status)),
            },
            // Nothing more can be read at once.
            () = std::future::ready(()), if tells => {
                self.tell_shard();
                Ok(())
            }
        }
    }

    /// Whether the worker's stream is read.
    fn reads(&self) -> bool {
        let owes_much = self.owed.len() >= OWED_MAX || self.owed_bytes >= OWED_BYTES_MAX;
        self.under_way.len() < UNDER_WAY_MAX && !owes_much && !self.leaves
    }

    /// Tells the worker something, as soon as there is a place for it. One that is behind for too
    /// long with what it is owed is ended with its call: see
    /// [`Owing`](crate::http::answers::Owing). How long it takes until there is a place says
    /// nothing: a large delivery may be on its way, and be taken fast enough.
    fn owe(&mut self, message: Message) {
        let owed = self.outgoing.owe(v1::ServerMessage { message: Some(message) });
        self.owed_bytes += owed.bytes;
        self.owed.push_back(owed);
    }

    /// Takes one message of the worker.
    fn take(&mut self, message: v1::WorkerMessage) -> Result<(), End> {
        self.worker().seen();
        self.heard = Instant::now();
        let telling = self.telling.clone();
        match message.message {
            // Of a kind that is newer than this server.
            None => {}
            Some(worker_message::Message::Hello(_)) => {
                let what = "hello is the first message of a stream, and only that";
                return Err(protocol(what).into());
            }
            Some(worker_message::Message::Credit(credit)) => self.add_credit(credit)?,
            Some(worker_message::Message::Started(told)) => {
                self.under_way.push(Box::pin(telling.start(told)));
            }
            Some(worker_message::Message::Settle(told)) => {
                self.tell_settlements();
                self.settles = Some(told);
            }
            Some(worker_message::Message::Checkpoints(told)) => {
                self.under_way.push(Box::pin(telling.checkpoint(told)));
            }
            Some(worker_message::Message::Heartbeat(told)) => {
                self.beaten = self.heard;
                let holder = self.wish.holder.clone();
                self.under_way.push(Box::pin(telling.beat(told, holder)));
            }
            Some(worker_message::Message::Goodbye(_)) => {
                self.leaves = true;
            }
        }
        Ok(())
    }

    fn add_credit(&mut self, v1::Credit { jobs, withdraw }: v1::Credit) -> Result<(), End> {
        if withdraw {
            self.waiting = None;
            self.intake.withdraw();
        }
        self.intake.add_credit(jobs as usize);
        let (credit, has) = (self.intake.credit(), self.worker().run_count());
        if credit.saturating_add(has) <= HELD_MAX {
            return Ok(());
        }
        let what = format!(
            "credit for {credit} jobs beside {has} that are not settled; \
             allowed: {HELD_MAX} together",
        );
        Err(protocol(&what).into())
    }

    /// Whether the worker is to get jobs, if it gives credit.
    fn takes_jobs(&self) -> bool {
        !self.leaves
            && self.worker().wanted() == Wanted::Working
            && Instant::now() < self.silent_at()
    }

    /// Has what was settled, and credit with it, told to the shard.
    fn tell_shard(&mut self) {
        self.tell_settlements();
        if let Some(credit) = self.intake.take_untold(false) {
            self.under_way.push(Box::pin(self.telling.clone().settle(None, Some(credit))));
        }
    }

    fn tell_settlements(&mut self) {
        let Some(told) = self.settles.take() else { return };
        let credit = self.intake.take_untold(true);
        self.under_way.push(Box::pin(self.telling.clone().settle(Some(told), credit)));
    }

    /// Sends on to the worker what there is a place for now. Each job is taken only once there is
    /// one for it: what comes to none is given back.
    fn pass_on(&mut self) -> Result<(), End> {
        while !self.owed.is_empty() || self.waiting.is_some() {
            let Some(place) = self.outgoing.place().map_err(|_| End::Broken)? else { break };
            if let Some(owed) = self.owed.pop_front() {
                self.owed_bytes -= owed.bytes;
                place.tell_owed(owed);
                continue;
            }
            let Some(mut jobs) = self.waiting.take().filter(|jobs| !jobs.is_empty()) else { break };
            let (mut batch, mut runs, mut bytes) = (Vec::new(), Vec::new(), 0);
            for _ in 0..jobs.len() {
                let size = jobs.iter().next().map_or(0, bytes_of);
                if bytes + size > DELIVER_BYTES_MAX && !batch.is_empty() {
                    break;
                }
                bytes += size;
                let Some(job) = jobs.take() else { break };
                self.intake.sent(&job);
                runs.push((job.id, run_of(&job)));
                batch.push(delivery(job));
            }
            // Before the worker can say anything of them.
            self.telling.worker.add_runs(runs.into_iter());
            let message = Message::Deliver(v1::Deliver { jobs: batch });
            place.tell(v1::ServerMessage { message: Some(message) });
            self.waiting = Some(jobs).filter(|jobs| !jobs.is_empty());
        }
        Ok(())
    }

    /// Tells the worker what was asked of it and of its runs since it was told last.
    fn obey(&mut self) -> Result<(), End> {
        let Some(orders) = self.worker().take_orders(self.number) else {
            return Err(End::Superseded);
        };
        let mut runs = orders.runs;
        // What it settled or heard of meanwhile is not lost.
        let worker = self.worker();
        runs.retain(|id, (token, what)| what.is_some() || worker.remove_run(*id, *token));
        if orders.wanted == Some(Wanted::Terminate) {
            for (id, token) in self.worker().leases() {
                let leave = (token, Some(Instruction::Interrupt { reason: "terminate" }));
                runs.entry(id).or_insert(leave);
            }
        }
        if runs.is_empty() && orders.wanted.is_none() {
            return Ok(());
        }
        let runs = runs.into_iter().map(|(id, (token, what))| run_control(id, token, what));
        self.owe(Message::Control(self.telling.control(runs.collect())));
        Ok(())
    }
}

/// What is told of a job that was delivered.
fn run_of(job: &Delivery) -> Run {
    Run {
        token: job.token,
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        attempt: job.attempt,
        started_at: None,
        timeout: job.timeout_ms.map(Duration::from_millis),
        times_out: None,
        progress: None,
        progress_text: String::new(),
    }
}

/// Is ready at that instant; without one, never.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// What comes of it; without it, nothing ever.
async fn of<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
