//! A worker that has said hello: what it tells is carried out, and it gets jobs for its credit.
//!
//! One request for jobs waits in the shard while there is credit. What the worker tells goes on
//! beside it, as much at a time as [`UNDER_WAY_MAX`] says; while that is reached, or the worker
//! does not take what it is told, its stream is not read, and flow control slows it down.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use longshore_engine::{Answer, Command, Delivery, Instruction, LeaseJobs, QueuePattern};
use longshore_proto::v1::{self, server_message::Message, worker_message};
use tokio::time::sleep_until;
use tonic::Streaming;

use super::hello::{HELD_MAX, Wish};
use super::tell::{Answers, Telling, run_control};
use super::{End, Outgoing, protocol, unread};
use crate::clock::Clocks;
use crate::grpc::Face;
use crate::grpc::job_out::{delivery, lease_ref};
use crate::http::look::{ask, unexpected};
use crate::http::refusal::Refusal;
use crate::workers::{Run, Wanted, Worker};

/// Messages of one worker that are carried out at the same time.
const UNDER_WAY_MAX: usize = 16;
/// Jobs that one request asks for.
const LEASE_JOBS_MAX: usize = 1000;
/// Bytes of one message with jobs, about. A job larger than this goes alone.
const DELIVER_BYTES_MAX: usize = 1 << 20;
/// Heartbeats within the length of a lease.
const BEATS_PER_LEASE: u64 = 3;
/// When jobs are asked for again, where the shard did not answer or could not have it wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after the end of a run's timeout the shard, which counts in whole milliseconds, is
/// asked whether it has ended the run.
const TIMED_OUT_AFTER: Duration = Duration::from_millis(5);
/// How often it is looked which leases a worker has lost whose heartbeats do not come.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Jobs, and whether there are none although the request has not waited.
type Leased = Result<(Vec<Delivery>, bool), Refusal>;
type Leasing = Pin<Box<dyn Future<Output = Leased> + Send>>;
type Working = Pin<Box<dyn Future<Output = Answers> + Send>>;
type UnderWay = FuturesUnordered<Working>;

/// See the file's head.
pub(super) struct Session {
    face: Arc<Face>,
    outgoing: Outgoing,
    telling: Telling,
    /// The stream's number.
    number: u64,
    wish: Wish,
    clocks: Clocks,
    /// Jobs that the worker can take.
    credit: usize,
    /// The request for jobs that waits.
    leasing: Option<Leasing>,
    /// The shard did not answer the last one, or too many waited for it to wait as well.
    pauses: bool,
    under_way: UnderWay,
    /// The look at which leases are lost, one at a time: it must not keep messages from being read.
    looking: Option<Working>,
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
        wish: Wish,
    ) -> Self {
        let telling = Telling { app: Arc::clone(&face.app), worker: Arc::clone(worker) };
        Self {
            face,
            outgoing,
            telling,
            number,
            wish,
            clocks: Clocks::new(Instant::now()),
            credit: 0,
            leasing: None,
            pauses: false,
            under_way: FuturesUnordered::new(),
            looking: None,
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
        loop {
            if let Err(end) = self.step(incoming).await {
                return end;
            }
        }
    }

    async fn welcome(&mut self) -> Result<(), End> {
        let (holder, held) = (self.wish.holder.clone(), std::mem::take(&mut self.wish.held));
        let view = self.telling.session(Command::ResumeSession { holder, held }).await?;
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
        self.send(Message::Welcome(v1::Welcome {
            software: concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned(),
            lease_ms,
            heartbeat_ms: (lease_ms / BEATS_PER_LEASE).max(1),
            reconnect_ms: app.config.worker_reconnect.as_millis() as u64,
            lost: view.lost.into_iter().map(lease_ref).collect(),
        }))
        .await?;
        let runs: Vec<_> = view
            .told
            .into_iter()
            .map(|(id, token, what)| run_control(id, token, Some(what)))
            .collect();
        if !runs.is_empty() {
            let control = self.telling.control(runs);
            self.send(Message::Control(control)).await?;
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
        if self.leaves && self.under_way.is_empty() {
            return Err(End::Goodbye);
        }
        self.ask_for_jobs();
        let reads = self.under_way.len() < UNDER_WAY_MAX && !self.leaves;
        let silent = sleep_until(self.silent_at().into());
        let asks = self.leasing.is_some();
        let timeout = self.worker().next_timeout();
        let timed_out = at(timeout.map(|at| at + TIMED_OUT_AFTER));
        let looks_at = self.looks_at().filter(|_| self.looking.is_none());
        let looks = at(looks_at);
        let looking = of(self.looking.as_mut());
        let leasing = of(self.leasing.as_mut());
        tokio::select! {
            biased;
            () = self.face.stopped() => Err(End::Stopping),
            () = self.telling.worker.superseded(self.number) => Err(End::Superseded),
            () = self.telling.worker.bell.notified() => self.obey().await,
            Some(answers) = self.under_way.next(), if !self.under_way.is_empty() => {
                for answer in answers? {
                    self.send(answer).await?;
                }
                Ok(())
            }
            leased = leasing => self.leased(leased).await,
            () = silent, if asks => Ok(()),
            () = timed_out => {
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
                for answer in answers? {
                    self.send(answer).await?;
                }
                Ok(())
            }
            () = self.outgoing.closed() => Err(End::Broken),
            message = incoming.message(), if reads => match message {
                Ok(Some(message)) => self.take(message),
                Ok(None) => Err(End::Broken),
                Err(status) => Err(unread(status)),
            },
        }
    }

    /// Tells the worker something, as soon as it takes it. One that takes nothing for long shall
    /// not have what it is owed kept for it.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        let message = v1::ServerMessage { message: Some(message) };
        let patience = self.face.app.config.write_timeout;
        tokio::select! {
            biased;
            sent = self.outgoing.tell(message) => sent.map_err(|_| End::Broken),
            () = self.face.stopped() => Err(End::Stopping),
            () = self.telling.worker.superseded(self.number) => Err(End::Superseded),
            () = tokio::time::sleep(patience) => {
                let what = format!("nothing of what the worker is told was read for {patience:?}");
                Err(protocol(&what).into())
            }
        }
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
                self.under_way.push(Box::pin(telling.settle(told)));
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
                self.leasing = None;
            }
        }
        Ok(())
    }

    fn add_credit(&mut self, v1::Credit { jobs, withdraw }: v1::Credit) -> Result<(), End> {
        if withdraw {
            // What the request under way was granted meanwhile goes back.
            (self.credit, self.leasing) = (0, None);
        }
        self.credit = self.credit.saturating_add(jobs as usize);
        let has = self.worker().run_count();
        if self.credit.saturating_add(has) <= HELD_MAX {
            return Ok(());
        }
        let what = format!(
            "credit for {} jobs beside {has} that are not settled; allowed: {HELD_MAX} together",
            self.credit
        );
        Err(protocol(&what).into())
    }

    /// Has a request wait for jobs, where the worker can take any.
    fn ask_for_jobs(&mut self) {
        let takes = self.credit > 0
            && !self.leaves
            && self.worker().wanted() == Wanted::Working
            && Instant::now() < self.silent_at();
        if !takes {
            // A request under way is withdrawn; what it was granted meanwhile goes back.
            self.leasing = None;
            return;
        }
        if self.leasing.is_some() {
            return;
        }
        let queues = self.queues();
        let limits = &self.face.app.limits;
        let request = LeaseJobs {
            queues,
            kinds: self.wish.kinds.clone(),
            max: self.credit.min(LEASE_JOBS_MAX).min(limits.lease_jobs_max),
            wait_ms: limits.wait_ms_max,
            lease_ms: self.wish.lease_ms,
            worker: self.wish.holder.worker.clone(),
            session: self.wish.holder.session.clone(),
            turn: None,
            seen: None,
            settle: Vec::new(),
            prefetch: true,
        };
        let (app, namespace) = (Arc::clone(&self.face.app), self.wish.namespace.clone());
        let (pause, wait_ms) = (self.pauses.then_some(PAUSE), request.wait_ms);
        self.leasing = Some(Box::pin(async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            // What is granted is told in any case, so nothing is asked for where much is unread.
            app.check_answers()?;
            let asked = Instant::now();
            match ask(&app, &namespace, Command::LeaseJobs(Box::new(request))).await? {
                Answer::Leased { jobs, .. } => {
                    let at_once = asked.elapsed() < Duration::from_millis(wait_ms / 2);
                    let in_vain = jobs.is_empty() && at_once;
                    Ok((jobs, in_vain))
                }
                other => Err(unexpected(&other)),
            }
        }));
    }

    /// The queues in the order in which they are served this time: as given, or drawn by weight.
    fn queues(&mut self) -> Vec<QueuePattern> {
        let mut drawn: Vec<(f64, &QueuePattern)> = Vec::with_capacity(self.wish.queues.len());
        for (queue, weight) in &self.wish.queues {
            // The smallest of these is that of a queue with a probability as its weight.
            let key = if *weight == 0 {
                0.0
            } else {
                waiting_time(&mut self.clocks) / f64::from(*weight)
            };
            drawn.push((key, queue));
        }
        drawn.sort_by(|one, other| one.0.total_cmp(&other.0));
        drawn.into_iter().map(|(_, queue)| queue.clone()).collect()
    }

    /// Sends the jobs that were leased on to the worker.
    async fn leased(&mut self, leased: Leased) -> Result<(), End> {
        self.leasing = None;
        let (jobs, in_vain) = match leased {
            Ok(leased) => leased,
            Err(refusal) if refusal.retry_after().is_some() || is_superseded(&refusal) => {
                // It passes; the worker is there meanwhile.
                self.pauses = true;
                return Ok(());
            }
            Err(refusal) => return Err(refusal.into()),
        };
        self.pauses = in_vain;
        self.credit = self.credit.saturating_sub(jobs.len());
        self.worker().add_runs(jobs.iter().map(|job| {
            let run = Run {
                token: job.token,
                queue: job.queue.clone(),
                kind: job.kind.clone(),
                attempt: job.attempt,
                started_at: None,
                timeout: job.timeout_ms.map(Duration::from_millis),
                times_out: None,
                progress: None,
                progress_text: String::new(),
            };
            (job.id, run)
        }));
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for job in jobs {
            let size = job.args.len() + job.cursor.as_ref().map_or(0, bytes::Bytes::len) + 256;
            if bytes + size > DELIVER_BYTES_MAX && !batch.is_empty() {
                let jobs = std::mem::take(&mut batch);
                self.send(Message::Deliver(v1::Deliver { jobs })).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push(delivery(job));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.send(Message::Deliver(v1::Deliver { jobs: batch })).await
    }

    /// Tells the worker what was asked of it and of its runs since it was told last.
    async fn obey(&mut self) -> Result<(), End> {
        let orders = self.worker().take_orders();
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
        let control = self.telling.control(runs.collect());
        self.send(Message::Control(control)).await
    }
}

/// A draw from the exponential distribution.
fn waiting_time(clocks: &mut Clocks) -> f64 {
    let random = clocks.now().1.random >> 11;
    -((random + 1) as f64 / (1_u64 << 53) as f64).ln()
}

fn is_superseded(refusal: &Refusal) -> bool {
    refusal.code() == crate::http::code::Code::RequestSuperseded
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
