//! One session with the server: the stream that carries everything, its reconnects, and what has
//! to survive them. What runs do is not its concern; it hears of it through the outbox.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_proto::v1;
use longshore_proto::v1::server_message::Message as FromServer;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message;
use longshore_proto::v1::workers_client::WorkersClient;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::intake::Intake;
use super::memory::resident_bytes;
use super::settling::{self, Settling};
use super::slot::Load;
use super::{Event, Phase, Prefetch};
use crate::backoff::Backoff;
use crate::client::Way;
use crate::client::reason;
use crate::delivery::Delivery;
use crate::mailbox::{Durable, skipped_bytes};
use crate::outbox::Outbox;
use crate::run::Run;
use crate::{JobError, StopReason};

/// Messages that may wait for the transport: so few that what accumulates meanwhile goes together.
const SENDING_MAX: usize = 2;
/// Entries of one message, by the protocol.
const BATCH_MAX: usize = 1_000;
/// Jobs that are not settled and credit, together, by the protocol.
const HELD_MAX: u32 = 10_000;
/// Bytes of one message, about: far below what a server takes unless it is told otherwise.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// So few that each entry goes alone.
const BATCH_BYTES_MIN: usize = 256;
/// How often what has no other clock is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long all slots may be in their runs before what was taken ahead goes to somebody else.
const STALL: Duration = Duration::from_millis(100);
/// How long a job may wait here for a slot before somebody else may have it.
const STALE: Duration = Duration::from_secs(2);
/// How long the server may take to answer Hello.
const WELCOME_MAX: Duration = Duration::from_secs(10);
/// How long a run that was called off may go on before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How a session is set up.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) channel: Way,
    pub(super) url: String,
    /// Which of the worker's lanes it is.
    pub(super) lane: usize,
    /// What it says of itself; the leases that it holds are filled in.
    pub(super) hello: v1::Hello,
    pub(super) prefetch: Prefetch,
    pub(super) load: Arc<Load>,
    pub(super) intake: Arc<Intake>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

#[derive(Debug)]
pub(super) struct Session {
    setup: Setup,
    /// Runs whose end is not known yet.
    held: HashMap<v1::LeaseRef, Arc<Run>>,
    settling: Settling,
    /// Runs with a checkpoint that was refused for now: when to send it again.
    checkpoints_later: Vec<(Instant, Arc<Run>)>,
    to_send: VecDeque<v1::WorkerMessage>,
    /// Bytes of one message: fewer once the server found one too large.
    batch_bytes_max: usize,
    /// Credit that was given and not used.
    credit: u32,
    /// Jobs waited too long for a slot: none is taken ahead until one starts. How many had started.
    stalled_at: Option<u64>,
    /// Jobs were given back that the runs of other lanes left no room for: none is asked for until
    /// there is room or a run ends. How many had ended.
    crowded_at: Option<u64>,
    /// It was said that there is no stream.
    is_away: bool,
    /// Runs that were called off, and since when.
    called_off: Vec<(Instant, Arc<Run>)>,
    welcomed: bool,
    heartbeat: Duration,
    next_heartbeat: Instant,
    /// How long nothing may be heard of the server.
    silence_max: Duration,
    heard: Instant,
}

/// How a stream ended.
enum Ended {
    /// Everything is settled and said.
    Finished,
    Broken(Status),
}

impl Session {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            held: HashMap::new(),
            settling: Settling::default(),
            checkpoints_later: Vec::new(),
            to_send: VecDeque::new(),
            batch_bytes_max: BATCH_BYTES_MAX,
            credit: 0,
            stalled_at: None,
            crowded_at: None,
            is_away: false,
            called_off: Vec::new(),
            welcomed: false,
            heartbeat: Duration::from_secs(10),
            next_heartbeat: Instant::now(),
            silence_max: Duration::from_secs(30),
            heard: Instant::now(),
        }
    }

    /// Works until everything is settled after the phase says that the worker stops. A refusal
    /// that no later attempt would change, before the first Welcome, is returned.
    pub(super) async fn run(mut self) -> Result<(), Status> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut ever_welcomed = false;
        loop {
            self.welcomed = false;
            let Ended::Broken(status) = self.stream().await else { return Ok(()) };
            if self.welcomed {
                ever_welcomed = true;
                backoff.reset();
            }
            if !ever_welcomed && is_final(&status) {
                return Err(status);
            }
            if is_too_large(&status) {
                self.send_less(status.message());
            }
            let wait = backoff.next();
            self.is_away = true;
            tracing::warn!(
                error = reason(&status),
                "no stream to the server at {}; connecting again in {wait:?}",
                self.setup.url
            );
            self.pause(wait).await;
            if self.is_finished() {
                return Ok(());
            }
        }
    }

    /// The server takes no message that large. What was batched goes in smaller parts; what went
    /// alone already will never go.
    fn send_less(&mut self, why: &str) {
        let gives_up = self.settling.give_up_largest(self.batch_bytes_max, why);
        if !gives_up && self.batch_bytes_max > BATCH_BYTES_MIN {
            self.batch_bytes_max /= 2;
            tracing::warn!(bytes = self.batch_bytes_max, "smaller messages from now on: {why}");
        }
    }

    /// Waits, but sees meanwhile that the worker stops.
    async fn pause(&mut self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                changed = self.setup.phase.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.obey_phase();
                    self.gather();
                }
            }
        }
    }

    /// Connects, and works until the stream ends.
    async fn stream(&mut self) -> Ended {
        let (mut sender, messages) = mpsc::channel(SENDING_MAX);
        let hello = self.hello();
        if sender.try_send(hello).is_err() {
            return Ended::Broken(Status::internal("a new stream takes no message"));
        }
        let mut inbound = match self.open(messages).await {
            Ok(inbound) => inbound,
            Err(status) => return Ended::Broken(status),
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.obey_phase();
        loop {
            self.gather();
            if self.is_finished() {
                self.goodbye(&mut sender, &mut inbound).await;
                return Ended::Finished;
            }
            tokio::select! {
                biased;
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) => return Ended::Broken(Status::unavailable("the server ended it")),
                    Err(status) => return Ended::Broken(status),
                },
                permit = sender.reserve(), if !self.to_send.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(message) = self.to_send.pop_front() {
                            permit.send(message);
                        }
                    }
                    Err(_) => return Ended::Broken(Status::unavailable("the stream has broken")),
                },
                () = self.setup.outbox.left(), if self.to_send.is_empty() => {
                    // Whoever else is about to leave something does so first: it goes together.
                    tokio::task::yield_now().await;
                }
                _ = tick.tick() => if let Err(status) = self.tick() {
                    return Ended::Broken(status);
                },
                changed = self.setup.phase.changed() => {
                    if changed.is_err() {
                        return Ended::Finished;
                    }
                    self.obey_phase();
                }
                // Last, since runs of other lanes may end without a pause.
                () = self.setup.load.freed(self.setup.lane) => {}
            }
        }
    }

    /// Opens the stream and reads the Welcome.
    async fn open(
        &mut self,
        mut messages: mpsc::Receiver<v1::WorkerMessage>,
    ) -> Result<Streaming<v1::ServerMessage>, Status> {
        let outgoing = futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx));
        let mut client =
            WorkersClient::new(self.setup.channel.clone()).max_decoding_message_size(usize::MAX);
        let opening = async {
            let mut inbound = client.work(outgoing).await?.into_inner();
            match inbound.message().await?.and_then(|it| it.message) {
                Some(FromServer::Welcome(welcome)) => Ok((inbound, welcome)),
                _ => Err(Status::unavailable("the server did not begin with a Welcome")),
            }
        };
        let opened = timeout(WELCOME_MAX, opening).await;
        let (inbound, welcome) = opened
            .map_err(|_| Status::unavailable(format!("no Welcome within {WELCOME_MAX:?}")))??;
        self.welcome(welcome);
        Ok(inbound)
    }

    fn hello(&self) -> v1::WorkerMessage {
        let mut hello = self.setup.hello.clone();
        hello.held = self
            .held
            .iter()
            .map(|(lease, run)| (lease, run.has_started()))
            .chain(self.settling.leases())
            .map(|(lease, started)| v1::HeldLease {
                id: lease.id.clone(),
                token: lease.token.clone(),
                started,
            })
            .collect();
        message(Message::Hello(hello))
    }

    /// What held over the old stream is said again over the new one.
    fn welcome(&mut self, welcome: v1::Welcome) {
        self.welcomed = true;
        if std::mem::take(&mut self.is_away) {
            tracing::info!("connected again to the server at {}", self.setup.url);
        }
        self.heard = Instant::now();
        self.heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(100));
        self.next_heartbeat = Instant::now() + self.heartbeat;
        self.silence_max = (self.heartbeat * 3).max(Duration::from_secs(3));
        self.credit = 0;
        for lease in welcome.lost {
            self.lose(&lease);
        }
        self.to_send.clear();
        let started: Vec<_> = self
            .held
            .iter()
            .filter(|(_, run)| run.has_started())
            .map(|(it, _)| it.clone())
            .collect();
        self.send_started(started);
        let unanswered: Vec<_> =
            self.held.values().filter_map(|run| run.mailbox.unanswered()).collect();
        self.send_checkpoints(unanswered);
        self.checkpoints_later.clear();
        let settlements = self.settling.all();
        self.send_settlements(settlements);
        // Nobody waits for an event that has no reader any more.
        let _ = self.setup.events.send(Event::Welcomed);
    }

    /// What runs have left since the last time, as messages; only once all before it are sent.
    fn gather(&mut self) {
        if !self.to_send.is_empty() {
            return;
        }
        let left = self.setup.outbox.take();
        let mut settlements = self.settling.due();
        if !left.is_empty() {
            for (run, verdict) in left.ended {
                let lease = run.lease();
                // A run whose lease was lost is not held any more, and its end is nobody's.
                if self.held.remove(&lease).is_some()
                    && let Some(verdict) = verdict
                {
                    settlements.push(self.settling.begin(lease, verdict));
                }
            }
            let mut started = left.started;
            started.retain(|run| !run.has_ended());
            let started = started.iter().map(|run| run.lease()).collect();
            self.send_started(started);
            let checkpoints =
                left.checkpoints.iter().filter_map(|run| run.mailbox.take(run.lease())).collect();
            self.send_checkpoints(checkpoints);
        }
        self.send_settlements(settlements);
        self.give_credit();
    }

    /// Sends many entries in messages that are neither too long nor too large.
    fn send_in_parts<T>(
        &mut self,
        all: Vec<T>,
        size: impl Fn(&T) -> usize,
        wrap: impl Fn(Vec<T>) -> Message,
    ) {
        let (mut part, mut bytes) = (Vec::new(), 0);
        for entry in all {
            let more = size(&entry);
            let is_full = bytes + more > self.batch_bytes_max && !part.is_empty();
            if part.len() == BATCH_MAX || is_full {
                self.to_send.push_back(message(wrap(std::mem::take(&mut part))));
                bytes = 0;
            }
            bytes += more;
            part.push(entry);
        }
        if !part.is_empty() {
            self.to_send.push_back(message(wrap(part)));
        }
    }

    fn send_started(&mut self, jobs: Vec<v1::LeaseRef>) {
        let size = |it: &v1::LeaseRef| 16 + it.id.len() + it.token.len();
        self.send_in_parts(jobs, size, |jobs| Message::Started(v1::Started { jobs }));
    }

    fn send_checkpoints(&mut self, checkpoints: Vec<v1::Checkpoint>) {
        self.send_in_parts(checkpoints, checkpoint_size, |checkpoints| {
            Message::Checkpoints(v1::Checkpoints { checkpoints })
        });
    }

    fn send_settlements(&mut self, settlements: Vec<v1::Settlement>) {
        self.send_in_parts(settlements, settling::size, |settlements| {
            Message::Settle(v1::Settle { settlements })
        });
    }

    /// Tops the credit up once a good part of it is used.
    fn give_credit(&mut self) {
        if !matches!(*self.setup.phase.borrow(), Phase::Working) {
            return;
        }
        let prefetch = self.ahead();
        let room = self.room();
        self.setup.load.set_crowded(self.setup.lane, room < self.setup.hello.concurrency);
        let window = self.slots(room).saturating_add(prefetch).min(HELD_MAX);
        let taken = u32::try_from(self.held.len()).unwrap_or(u32::MAX).saturating_add(self.credit);
        // What is settled and not answered counts for the server, not for the window.
        let unanswered = u32::try_from(self.settling.len()).unwrap_or(u32::MAX);
        let room = HELD_MAX.saturating_sub(taken.saturating_add(unanswered));
        // Of those that have ended some may still be held: the next look counts them once.
        let jobs_left = u32::try_from(self.setup.load.jobs_left()).unwrap_or(u32::MAX);
        let window = window.min(jobs_left);
        let want = window.saturating_sub(taken).min(room);
        if want > 0 && (want >= window / 8 || prefetch == 0) {
            self.credit += want;
            self.to_send
                .push_back(message(Message::Credit(v1::Credit { jobs: want, withdraw: false })));
        }
    }

    /// How many of its jobs can run at once beside what runs of other lanes.
    fn room(&self) -> u32 {
        let Setup { load, lane, hello, .. } = &self.setup;
        u32::try_from(load.room(*lane)).unwrap_or(u32::MAX).min(hello.concurrency)
    }

    /// How many jobs to run at once it asks for. Where there is no room it is one, that stands in
    /// line for a slot: lanes that always have a next job leave room only to what waits.
    fn slots(&self, room: u32) -> u32 {
        let stands_in_line = self.crowded_at != Some(self.setup.load.ended());
        room.max(u32::from(stands_in_line))
    }

    /// Waiting jobs were given back.
    fn note_given_back(&mut self) {
        self.stalled_at = Some(self.setup.intake.taken());
        if self.room() == 0 {
            self.crowded_at = Some(self.setup.load.ended());
        }
    }

    /// How many jobs it takes beyond those that can run at once.
    fn ahead(&self) -> u32 {
        let Setup { hello, load, lane, prefetch, intake, .. } = &self.setup;
        if self.stalled_at == Some(intake.taken()) {
            return 0;
        }
        let (usual_run, ended) = load.usual_run(*lane);
        prefetch.jobs(hello.concurrency, usual_run, ended)
    }

    /// Runs turned out longer than those before, or other lanes run what this one could: what was
    /// taken ahead or cannot begin is withdrawn, and given back where it has come already, so that
    /// workers that are idle get it.
    fn take_less(&mut self) {
        if !matches!(*self.setup.phase.borrow(), Phase::Working) {
            return;
        }
        let room = self.room();
        let has = self.held.values().filter(|run| !run.has_ended()).count();
        let adapts = self.setup.prefetch == Prefetch::Adaptive;
        if adapts && has >= room as usize && self.setup.intake.quiet_for() >= STALL {
            self.stalled_at = Some(self.setup.intake.taken());
        }
        // Twice as many as it would take now, where it adapts: run times vary.
        let ahead = self.ahead() as usize * if adapts { 2 } else { 1 };
        // Where lanes take a fixed number ahead, the others always have a next job: one that stands
        // in line keeps its place until it is stale, or would not come to run beside short runs.
        let in_line = if adapts { room } else { room.max(1) };
        let excess = has.saturating_sub(in_line as usize + ahead);
        let given_back = self.setup.intake.take_last(excess, STALL);
        if !given_back.is_empty() {
            self.note_given_back();
        }
        for run in &given_back {
            self.release(run);
        }
        let most = self.slots(room) as usize + ahead;
        if self.credit > 0 && has + self.credit as usize > most {
            // All of it: what is under way would be taken off a remainder on this side only. What
            // is wanted is given anew.
            self.credit = 0;
            let credit = v1::Credit { jobs: 0, withdraw: true };
            self.to_send.push_back(message(Message::Credit(credit)));
        }
    }

    fn hear(&mut self, message: v1::ServerMessage) {
        self.heard = Instant::now();
        match message.message {
            Some(FromServer::Deliver(deliver)) => self.take(deliver.jobs),
            Some(FromServer::Settled(settled)) => self.settling.answered(settled.results),
            Some(FromServer::Checkpointed(it)) => self.checkpointed(it.results),
            Some(FromServer::Control(control)) => self.control(control),
            Some(FromServer::NotStarted(it)) => it.jobs.iter().for_each(|lease| self.lose(lease)),
            Some(FromServer::Welcome(_) | FromServer::Beat(_)) | None => {}
        }
    }

    fn take(&mut self, jobs: Vec<v1::Delivery>) {
        self.credit = self.credit.saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        let works = matches!(*self.setup.phase.borrow(), Phase::Working);
        let mut runs = Vec::with_capacity(jobs.len());
        for job in jobs {
            let run = Run::new(Delivery::from_wire(job), Arc::clone(&self.setup.outbox));
            self.held.insert(run.lease(), Arc::clone(&run));
            if works {
                runs.push(run);
            } else {
                self.release(&run);
            }
        }
        self.setup.intake.put(runs);
    }

    /// Gives a job back that has not begun.
    fn release(&self, run: &Arc<Run>) {
        run.set_ended();
        self.setup.outbox.ended(Arc::clone(run), Some(Verdict::Release(v1::Release {})));
    }

    fn checkpointed(&mut self, results: Vec<v1::CheckpointResult>) {
        for result in results {
            let lease = v1::LeaseRef { id: result.id, token: result.token };
            let Some(run) = self.held.get(&lease).map(Arc::clone) else { continue };
            if let Some(problem) = &result.refused {
                self.checkpoint_refused(&run, problem);
                continue;
            }
            if result.instruction.is_some() {
                self.instruct(&run, result.instruction);
            }
            if run.mailbox.answer(result.seq) {
                self.setup.outbox.checkpoint(&run);
            }
        }
    }

    fn checkpoint_refused(&mut self, run: &Arc<Run>, problem: &v1::Problem) {
        let (job, v1::Problem { code, detail, .. }) = (&run.delivery.id, problem);
        if settling::is_gone(problem) {
            self.lose(&run.lease());
        } else if let Some(wait) = settling::passes_in(problem) {
            tracing::warn!(%job, %code, "no checkpoint yet, again in {wait:?}: {detail}");
            self.checkpoints_later.push((Instant::now() + wait, Arc::clone(run)));
        } else {
            // It keeps its lease, so it has to end: as a failure that says why.
            tracing::error!(%job, %code, "a checkpoint was refused: {detail}");
            let error = JobError::new(code, format!("a checkpoint was refused: {detail}"));
            run.mailbox.close(Durable::Refused(error));
            run.stop(StopReason::CheckpointRefused);
        }
    }

    fn control(&mut self, control: v1::Control) {
        let asked = control.worker();
        for told in control.runs {
            let lease = v1::LeaseRef { id: told.id, token: told.token };
            let Some(run) = self.held.get(&lease).map(Arc::clone) else { continue };
            match told.instruction {
                None => self.lose(&lease),
                instruction => self.instruct(&run, instruction),
            }
        }
        match asked {
            v1::WorkerState::Working => {}
            // A worker is asked as a whole, whichever of its sessions was named.
            v1::WorkerState::Quiet => {
                let _ = self.setup.events.send(Event::QuietAsked);
            }
            v1::WorkerState::Terminate => {
                let _ = self.setup.events.send(Event::TerminateAsked);
            }
        }
    }

    fn instruct(&mut self, run: &Arc<Run>, instruction: Option<v1::Instruction>) {
        let before = run.is_stopped();
        run.instruct(instruction);
        if run.is_stopped() && !before {
            self.called_off.push((Instant::now(), Arc::clone(run)));
        }
    }

    /// The lease is somebody else's, or nobody's: the run must stop.
    fn lose(&mut self, lease: &v1::LeaseRef) {
        if let Some(run) = self.held.remove(lease) {
            tracing::warn!(job = %lease.id, "the lease is lost; its run is stopped");
            run.kill(StopReason::LeaseLost);
            run.mailbox.close(Durable::Lost);
        }
    }

    fn give_back_waiting(&mut self) {
        for run in self.setup.intake.take_older(Duration::ZERO) {
            self.release(&run);
        }
    }

    fn obey_phase(&mut self) {
        let phase = self.setup.phase.borrow_and_update().clone();
        let reason = match &phase {
            Phase::Working => return,
            Phase::Quiet => "quiet",
            Phase::Stopping(reason) => *reason,
            Phase::Killing => "shutdown",
        };
        if self.credit > 0 {
            // What would still come for it would only be given back, perhaps to come again.
            self.credit = 0;
            let credit = v1::Credit { jobs: 0, withdraw: true };
            self.to_send.push_back(message(Message::Credit(credit)));
        }
        self.give_back_waiting();
        for run in self.held.values() {
            if phase == Phase::Killing {
                run.kill(StopReason::Shutdown);
            } else {
                run.interrupt(reason);
            }
        }
    }

    /// What has no other clock.
    fn tick(&mut self) -> Result<(), Status> {
        let now = Instant::now();
        if now.duration_since(self.heard) > self.silence_max {
            return Err(Status::unavailable("the server has been silent for too long"));
        }
        if self.settling.take_stuck() {
            return Err(Status::aborted("a lease whose end is refused is let go"));
        }
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.heartbeat;
            let memory_bytes = resident_bytes();
            self.to_send.push_back(message(Message::Heartbeat(v1::Heartbeat { memory_bytes })));
        }
        let stale = self.setup.intake.take_older(STALE);
        if !stale.is_empty() {
            self.note_given_back();
            for run in stale {
                self.release(&run);
            }
        }
        self.take_less();
        let due: Vec<_> = self
            .checkpoints_later
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, run)| run)
            .collect();
        let due = due.iter().filter_map(|run| run.mailbox.unanswered()).collect();
        self.send_checkpoints(due);
        self.called_off.retain(|(since, run)| {
            if run.has_ended() {
                return false;
            }
            let patient = since.elapsed() < CANCEL_GRACE;
            if !patient {
                run.kill(StopReason::Cancelled);
            }
            patient
        });
        Ok(())
    }

    fn is_finished(&self) -> bool {
        !matches!(*self.setup.phase.borrow(), Phase::Working | Phase::Quiet)
            && self.held.is_empty()
            && self.settling.is_empty()
            && self.to_send.is_empty()
    }

    /// Says goodbye and waits a moment until the server has heard it.
    async fn goodbye(
        &mut self,
        sender: &mut mpsc::Sender<v1::WorkerMessage>,
        inbound: &mut Streaming<v1::ServerMessage>,
    ) {
        let leave = async {
            let _ = sender.send(message(Message::Goodbye(v1::Goodbye {}))).await;
            while let Ok(Some(_)) = inbound.message().await {}
        };
        let _ = timeout(Duration::from_secs(1), leave).await;
    }
}

fn message(message: Message) -> v1::WorkerMessage {
    v1::WorkerMessage { message: Some(message) }
}

/// About how many bytes it has.
fn checkpoint_size(checkpoint: &v1::Checkpoint) -> usize {
    let text = checkpoint.progress_text.as_ref().map_or(0, String::len);
    let counters = checkpoint.counters.keys().map(|name| 24 + name.len()).sum::<usize>();
    let skipped = checkpoint.skipped.iter().map(skipped_bytes).sum::<usize>();
    256 + checkpoint.cursor.len() + text + counters + skipped
}

/// Whether the server ended the stream since a message had more bytes than it takes.
fn is_too_large(status: &Status) -> bool {
    let code = status.code();
    matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
        && status.message().contains("too large")
}

/// Whether trying again would change nothing.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::FailedPrecondition
    )
}
