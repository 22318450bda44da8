//! The loop of a worker: one request per turn settles what is done and leases what comes next;
//! heartbeats keep what runs; a server that is away is waited for, and nothing is lost meanwhile.
//! It knows no child processes: a `Runner` does the work.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use longshore_server::api::{
    CheckpointRequest, DurationText, HeartbeatAnswer, HeartbeatRequest, InstructionText, JobIdText,
    KindVersions, LeaseAnswer, LeaseRequest, RawJson, SettleAnswer, SettleRequest, SettledText,
    SettlementText, TokenText, VerdictText,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::autoscale::Scale;
use super::backoff::Backoff;
use super::child::Stop;
use super::job::{Assignment, News, Runner, Verdict, said_instead};
use super::shortage::Shortage;
use crate::client::{Client, Fault, Refusal, read, to_json};
use crate::failure::Failure;

/// How long a turn waits for a job.
const WAIT: DurationText = DurationText::seconds(20);
/// How long an answer may take: a host that vanished says nothing at all.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a child may take to end after SIGTERM.
pub(crate) const KILL_AFTER: Duration = Duration::from_secs(5);
/// The longest time between two heartbeats, whatever the lease: they tell of a cancel, too.
const BEAT_EVERY: Duration = Duration::from_secs(3);
/// How long the last words to the server may take.
const FAREWELL: Duration = Duration::from_secs(10);
/// What one request settles at most.
const SETTLEMENTS_MAX: usize = 1000;
const SETTLE_BYTES_MAX: usize = 4 << 20;

/// What a worker asks for.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// In strict order, with patterns.
    pub(crate) queues: Vec<String>,
    /// In place of these: drawn anew for each request.
    pub(crate) weights: BTreeMap<String, u32>,
    /// Only these kinds, and of these only jobs without a version.
    pub(crate) kinds: Option<Vec<String>>,
    /// Kinds in the versions that are run, besides these.
    pub(crate) versions: Vec<KindVersions>,
    /// How many jobs at a time.
    pub(crate) concurrency: usize,
    /// The same, where that changes.
    pub(crate) scale: Option<Scale>,
    /// The lease to ask for.
    pub(crate) lease: Option<DurationText>,
    /// How long running jobs may go on once the worker is to stop.
    pub(crate) grace: Duration,
    /// Who the worker is, for people.
    pub(crate) name: String,
}

impl Settings {
    /// A worker of one kind, with the lease that its jobs or the server name.
    pub(crate) fn of(name: &str, queue: &str, kind: &str, concurrency: usize) -> Self {
        Self {
            queues: vec![queue.to_owned()],
            weights: BTreeMap::new(),
            kinds: Some(vec![kind.to_owned()]),
            versions: Vec::new(),
            concurrency,
            scale: None,
            lease: None,
            grace: Duration::from_secs(5),
            name: name.to_owned(),
        }
    }
}

/// The type of error of a run that took longer than its job's `timeout`.
const TIMEOUT: &str = "timeout";
const LEASE_LOST: &str = "lease_lost";
/// Why runs are interrupted when the worker is to stop: the word of the SDK.
const STOPPING: &str = "deploy";
/// A server that ends a run for its timeout is at most so much ahead of its worker.
const AHEAD: Duration = Duration::from_secs(2);

type Key = (JobIdText, TokenText);

/// A job that runs here.
struct InHand {
    stop: watch::Sender<Stop>,
    lease: Duration,
    /// When the job's `timeout` ends the run, here and on the server.
    ends_at: Option<Instant>,
    next_beat: Instant,
    /// A heartbeat is under way.
    beating: bool,
    /// The lease is not ours any more: the end of the run does not count.
    lost: bool,
    /// Where it went on from.
    cursor: Option<String>,
    /// Why it is to be interrupted.
    interrupt: Option<String>,
    /// It has ended, and where another one goes on is being saved.
    saving: bool,
}

impl InHand {
    /// Whether it would begin again at once, at the same place, for ever.
    fn stands_still(&self, verdict: &Verdict) -> bool {
        let Verdict::Interrupt(cursor) = verdict else { return false };
        let moved = cursor.as_ref().is_some_and(|it| Some(it.get()) != self.cursor.as_deref());
        self.interrupt.is_none() && !self.saving && !moved
    }
}

enum Event {
    /// To the request of that turn.
    Leased(u64, Result<Vec<u8>, Refusal>),
    Settled(Result<Vec<u8>, Refusal>),
    Beat(Key, Result<Vec<u8>, Fault>),
    Ran(Key, Verdict),
    /// Where another run goes on is saved.
    Saved(Key, Result<Vec<u8>, Refusal>),
    Away(String),
    Back,
}

/// A request under way and what it settles.
struct Request {
    task: JoinHandle<()>,
    settle: Vec<SettlementText<'static>>,
}

struct Worker<R> {
    settings: Settings,
    runner: Arc<R>,
    /// One connection each, so that none waits for another.
    lease_client: Arc<Client>,
    settle_client: Arc<Client>,
    beat_client: Arc<Client>,
    session: String,
    turn: u64,
    seen: u64,
    in_hand: HashMap<Key, InHand>,
    /// Ends of runs that the server is not known to know.
    done: Vec<SettlementText<'static>>,
    /// The server refused many at once: one by one shows which.
    one_by_one: bool,
    leasing: Option<Request>,
    /// How many jobs it asks for.
    asked: usize,
    settling: Option<Request>,
    /// When running jobs are to be stopped; the worker takes no more.
    drain_until: Option<Instant>,
    away: bool,
    /// The time to drain has passed once.
    overdue: bool,
    /// Runs could not be begun lately.
    short: Option<Shortage>,
    events: UnboundedSender<Event>,
}

/// Works until `stop` turns true and everything in hand has ended or was given back. Whoever sets
/// it again (from true to true) ends the patience with running jobs.
pub(crate) async fn run<R: Runner>(
    client: &Client,
    settings: Settings,
    runner: Arc<R>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let (sender, mut events) = unbounded_channel();
    let mut worker = Worker {
        settings,
        runner,
        lease_client: Arc::new(client.another()),
        settle_client: Arc::new(client.another()),
        beat_client: Arc::new(client.another()),
        session: uuid::Uuid::now_v7().to_string(),
        turn: 0,
        seen: 0,
        in_hand: HashMap::new(),
        done: Vec::new(),
        one_by_one: false,
        leasing: None,
        asked: 0,
        settling: None,
        drain_until: None,
        away: false,
        overdue: false,
        short: None,
        events: sender,
    };
    worker.work(&mut events, &mut stop).await?;
    worker.say_farewell().await;
    Ok(())
}

impl<R: Runner> Worker<R> {
    async fn work(
        &mut self,
        events: &mut UnboundedReceiver<Event>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let mut nobody_stops = false;
        let mut scale = self.settings.scale.clone();
        loop {
            if self.drain_until.is_none() && *stop.borrow() {
                self.begin_stop();
            }
            if self.drain_until.is_some() && self.in_hand.is_empty() {
                return Ok(());
            }
            self.ask();
            tokio::select! {
                Some(event) = events.recv() => self.on_event(event)?,
                changed = stop.changed(), if !nobody_stops => match changed {
                    Ok(()) if self.drain_until.is_some() => self.drain_until = Some(Instant::now()),
                    Ok(()) => {}
                    Err(_) => nobody_stops = true,
                },
                true = scaled(&mut scale) => {}
                () = sleep_until(self.wake_at()) => self.on_time(),
            }
        }
    }

    /// Starts the requests that are due.
    fn ask(&mut self) {
        let short = self.short.map_or(usize::MAX, |short| short.most(Instant::now()));
        let scale = self.settings.scale.as_ref().map(|scale| *scale.borrow());
        let most = scale.unwrap_or(self.settings.concurrency).min(short);
        let free = most.saturating_sub(self.in_hand.len());
        if self.leasing.is_some() && self.asked > free && self.drain_until.is_none() {
            self.withdraw(free);
        }
        if self.leasing.is_none() && free > 0 && self.drain_until.is_none() && !self.one_by_one {
            self.lease(free);
        }
        if self.settling.is_none() && !self.done.is_empty() {
            let settle = self.take_done();
            let body = to_json(&SettleRequest { settle: settle.clone() });
            let task = self.request(&self.settle_client, "/settle", body, Event::Settled);
            self.settling = Some(Request { task, settle });
        }
    }

    /// Takes back the request that waits, in favour of one for fewer jobs or for none. Nobody hears
    /// of jobs that it is granted meanwhile: the server gives them back with the next request,
    /// whose `seen` does not name it.
    fn withdraw(&mut self, free: usize) {
        let Some(request) = self.leasing.take() else { return };
        request.task.abort();
        self.put_back(request.settle);
        self.lease(free);
    }

    fn lease(&mut self, free: usize) {
        self.turn += 1;
        self.asked = free.min(1000);
        let settle = if self.settling.is_none() { self.take_done() } else { Vec::new() };
        let request = LeaseRequest {
            queues: if self.settings.weights.is_empty() {
                self.settings.queues.clone()
            } else {
                Vec::new()
            },
            weights: self.settings.weights.clone(),
            kinds: self.settings.kinds.clone(),
            versions: self.settings.versions.clone(),
            max: Some(self.asked),
            wait: Some(WAIT),
            lease: self.settings.lease,
            worker: Some(self.settings.name.clone()),
            session: Some(self.session.clone()),
            turn: Some(self.turn),
            seen: Some(self.seen),
            settle: settle.clone(),
        };
        let body = to_json(&request);
        let turn = self.turn;
        let answered = move |answer| Event::Leased(turn, answer);
        let task = self.request(&self.lease_client, "/lease", body, answered);
        self.leasing = Some(Request { task, settle });
    }

    /// As much of what is done as fits one request.
    fn take_done(&mut self) -> Vec<SettlementText<'static>> {
        let most = if self.one_by_one { 1 } else { SETTLEMENTS_MAX };
        let size = |settlement: &SettlementText<'_>| {
            settlement.result.as_ref().map_or(0, |result| result.get().len())
                + settlement.error.as_ref().map_or(0, |error| error.message.len())
        };
        let mut bytes = 0;
        let fits = self.done.iter().take(most).take_while(|settlement| {
            bytes += size(settlement);
            bytes <= SETTLE_BYTES_MAX
        });
        let count = fits.count().max(1).min(self.done.len());
        self.done.drain(..count).collect()
    }

    /// Sends a request until it is answered, and tells the loop. Repeating it is harmless: a turn
    /// and a settlement have their effect once.
    fn request(
        &self,
        client: &Arc<Client>,
        path: &str,
        body: Vec<u8>,
        event: impl Fn(Result<Vec<u8>, Refusal>) -> Event + Send + 'static,
    ) -> JoinHandle<()> {
        let (client, events, path) = (client.clone(), self.events.clone(), client.path(path));
        tokio::spawn(async move {
            let mut backoff = Backoff::new();
            for failures in 0.. {
                let answer = timeout(ANSWER, client.ask("POST", &path, Some(&body))).await;
                let (why, after) = match answer.unwrap_or_else(|_| Err(no_answer())) {
                    Ok(reply) => {
                        let _ = events.send(Event::Back);
                        let _ = events.send(event(Ok(reply.body)));
                        return;
                    }
                    Err(Fault::Refused(refusal)) if !refusal.is_temporary() => {
                        let _ = events.send(event(Err(refusal)));
                        return;
                    }
                    Err(Fault::Refused(refusal)) => (refusal.message, refusal.retry_after_s),
                    Err(Fault::Away(error)) => (error.to_string(), None),
                };
                // The first failure may be that of a connection that was idle for too long.
                if failures > 0 {
                    let _ = events.send(Event::Away(why));
                }
                sleep(backoff.delay(after)).await;
            }
        })
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            // That of a request that was withdrawn counts as lost.
            Event::Leased(turn, answer) if turn == self.turn => self.on_leased(answer)?,
            Event::Leased(..) => {}
            Event::Settled(answer) => self.on_settled(answer)?,
            Event::Beat(key, answer) => self.on_beat(key, answer),
            Event::Ran(key, verdict) => self.on_ran(key, verdict),
            Event::Saved(key, answer) => self.on_saved(key, answer),
            Event::Away(why) => {
                if !std::mem::replace(&mut self.away, true) {
                    self.runner.hear(&News::Away(&why));
                }
            }
            Event::Back => {
                if std::mem::replace(&mut self.away, false) {
                    self.runner.hear(&News::Back);
                }
            }
        }
        Ok(())
    }

    fn on_leased(&mut self, answer: Result<Vec<u8>, Refusal>) -> Result<(), Failure> {
        let Some(request) = self.leasing.take() else { return Ok(()) };
        let body = match answer {
            Ok(body) => body,
            Err(refusal) if is_about_turns(&refusal) => {
                self.put_back(request.settle);
                return Ok(());
            }
            Err(refusal) if !request.settle.is_empty() => {
                self.on_refused(request.settle, &refusal);
                return Ok(());
            }
            // It takes none any more.
            Err(_) if self.drain_until.is_some() => return Ok(()),
            // The server knows the worker, and wants none of it.
            Err(refusal) => return Err(refusal.failure()),
        };
        self.seen = self.turn;
        let answer: LeaseAnswer<'_> = read(&body)?;
        self.on_answers(request.settle, answer.settled);
        for job in answer.jobs {
            self.start(Assignment::from(job));
        }
        Ok(())
    }

    fn on_settled(&mut self, answer: Result<Vec<u8>, Refusal>) -> Result<(), Failure> {
        let Some(request) = self.settling.take() else { return Ok(()) };
        match answer {
            Ok(body) => {
                let answer: SettleAnswer = read(&body)?;
                self.on_answers(request.settle, answer.settled);
            }
            Err(refusal) => self.on_refused(request.settle, &refusal),
        }
        Ok(())
    }

    /// What became of each settlement of an answered request.
    fn on_answers(&mut self, sent: Vec<SettlementText<'static>>, answers: Vec<SettledText>) {
        for (settlement, answer) in sent.into_iter().zip(answers) {
            if let Some(problem) = answer.error {
                let field = problem.field.as_deref().unwrap_or_default();
                self.on_settlement_refused(&settlement, (&problem.code, field), &problem.detail);
            }
        }
        self.one_by_one &= !self.done.is_empty();
    }

    /// A whole request was refused.
    fn on_refused(&mut self, mut sent: Vec<SettlementText<'static>>, refusal: &Refusal) {
        if sent.len() > 1 {
            self.one_by_one = true;
            self.put_back(sent);
        } else if let Some(settlement) = sent.pop() {
            let by = (&*refusal.code, &*refusal.field);
            self.on_settlement_refused(&settlement, by, &refusal.message);
            self.one_by_one &= !self.done.is_empty();
        }
    }

    /// A settlement was refused, by this code and for this field.
    fn on_settlement_refused(
        &mut self,
        settlement: &SettlementText<'static>,
        (code, field): (&str, &str),
        message: &str,
    ) {
        let timed_out = settlement.error.as_ref().is_some_and(|error| error.kind == TIMEOUT);
        let ended = is_about_the_run(code);
        let instead = if ended { None } else { said_instead(settlement, field, message) };
        if let Some(instead) = instead {
            if instead.verdict == VerdictText::Ack {
                self.runner.hear(&News::NotMoved(settlement.id, message));
            }
            self.done.push(instead);
        } else if code != LEASE_LOST || !timed_out {
            // Else the server ended the run by the same clock: both say the same.
            self.runner.hear(&News::Lost(settlement.id, message));
        }
    }

    fn put_back(&mut self, mut settlements: Vec<SettlementText<'static>>) {
        settlements.append(&mut self.done);
        self.done = settlements;
    }

    fn start(&mut self, job: Assignment) {
        let key = (job.id, job.token);
        let (stop, stopped) = watch::channel(Stop::No);
        let in_hand = InHand {
            stop,
            lease: job.lease,
            ends_at: job.timeout.map(|limit| Instant::now() + limit),
            next_beat: Instant::now() + beat_after(job.lease),
            beating: false,
            lost: false,
            cursor: job.cursor.clone(),
            interrupt: None,
            saving: false,
        };
        self.in_hand.insert(key, in_hand);
        let (runner, events) = (self.runner.clone(), self.events.clone());
        tokio::spawn(async move {
            let run = tokio::spawn(run_one(runner, job, stopped));
            let verdict = run.await.unwrap_or_else(|error| {
                Verdict::failed("worker", format!("the worker is at fault: {error}"))
            });
            let _ = events.send(Event::Ran(key, verdict));
        });
    }

    fn on_ran(&mut self, key: Key, mut verdict: Verdict) {
        if self.in_hand.get(&key).is_some_and(|in_hand| in_hand.stands_still(&verdict)) {
            let why = "it ended as interrupted, but nobody asked, and it came no further";
            verdict = Verdict::failed("interrupted", why);
        }
        if let Verdict::Interrupt(Some(cursor)) = &verdict
            && let Some(in_hand) = self.in_hand.get_mut(&key).filter(|in_hand| !in_hand.lost)
        {
            // The lease is kept until it is saved.
            in_hand.saving = true;
            self.save(key, cursor.clone());
            return;
        }
        let Some(in_hand) = self.in_hand.remove(&key) else { return };
        if let Verdict::NotBegun(why) = &verdict {
            self.on_not_begun(why);
        }
        if !in_hand.lost {
            let mut settlement = verdict.settlement(key.0, key.1);
            if settlement.verdict == VerdictText::Interrupt {
                settlement.reason = in_hand.interrupt;
            }
            self.done.push(settlement);
        }
    }

    /// Saves where another run is to go on. It is the only checkpoint of the run, so it needs no
    /// number to be repeated.
    fn save(&self, key: Key, cursor: RawJson<'static>) {
        let (id, token) = key;
        let (seq, lease, progress, progress_text) = (None, None, None, None);
        let (counters, skipped) = Default::default();
        let cursor = Some(cursor);
        let checkpoint = CheckpointRequest {
            token,
            seq,
            lease,
            cursor,
            progress,
            progress_text,
            counters,
            skipped,
        };
        let path = format!("/jobs/{id}/checkpoint");
        let body = to_json(&checkpoint);
        self.request(&self.beat_client, &path, body, move |answer| Event::Saved(key, answer));
    }

    fn on_saved(&mut self, key: Key, answer: Result<Vec<u8>, Refusal>) {
        let verdict = match answer {
            Ok(_) => Verdict::Interrupt(None),
            Err(refusal) if is_about_the_run(&refusal.code) => {
                let known = self.in_hand.remove(&key).filter(|in_hand| !in_hand.lost);
                if known.is_some() {
                    self.runner.hear(&News::Lost(key.0, &refusal.message));
                }
                return;
            }
            // Another run would begin where this one did, and so on.
            Err(refusal) => Verdict::failed("cursor_refused", refusal.message),
        };
        self.on_ran(key, verdict);
    }

    /// Jobs that come together fail to begin together: the last of them tells how many did begin.
    fn on_not_begun(&mut self, why: &str) {
        let now = Instant::now();
        let short = Shortage::met(self.short, self.in_hand.len(), now);
        if short.is_news(now) {
            self.runner.hear(&News::Short(why));
        }
        self.short = Some(short);
    }

    fn wake_at(&self) -> Instant {
        let beats = self.in_hand.values().filter(|it| !it.beating && !it.lost);
        let now = Instant::now();
        let far = now + Duration::from_secs(3600);
        let drained = self.drain_until.unwrap_or(far);
        let bound = self.short.filter(|short| short.most(now) < self.settings.concurrency);
        let rested = bound.and_then(|short| short.next_step(now));
        beats.map(|it| it.next_beat).min().unwrap_or(far).min(drained).min(rested.unwrap_or(far))
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.drain_until.is_some_and(|until| until <= now) {
            self.drain_until = Some(now + 2 * KILL_AFTER);
            for in_hand in self.in_hand.values() {
                in_hand.stop.send_replace(Stop::Gently(KILL_AFTER));
            }
            // Where the server is away, or stays silent: these go on from where they were saved
            // last.
            let over = self.away || std::mem::replace(&mut self.overdue, true);
            let saving = self.in_hand.iter().filter(|(_, in_hand)| over && in_hand.saving);
            for key in saving.map(|(key, _)| *key).collect::<Vec<_>>() {
                self.on_ran(key, Verdict::Interrupt(None));
            }
        }
        for (key, in_hand) in &mut self.in_hand {
            if in_hand.next_beat > now || in_hand.beating || in_hand.lost {
                continue;
            }
            in_hand.beating = true;
            let (client, events, key) = (self.beat_client.clone(), self.events.clone(), *key);
            tokio::spawn(async move {
                let path = client.path(&format!("/jobs/{}/heartbeat", key.0));
                let (lease, progress, progress_text) = (None, None, None);
                let beat = HeartbeatRequest { token: key.1, lease, progress, progress_text };
                let body = to_json(&beat);
                let answer = timeout(ANSWER, client.ask("POST", &path, Some(&body))).await;
                let answer = answer.unwrap_or_else(|_| Err(no_answer()));
                let _ = events.send(Event::Beat(key, answer.map(|reply| reply.body)));
            });
        }
    }

    fn on_beat(&mut self, key: Key, answer: Result<Vec<u8>, Fault>) {
        let Some(in_hand) = self.in_hand.get_mut(&key) else { return };
        in_hand.beating = false;
        let now = Instant::now();
        match answer {
            Ok(body) => {
                in_hand.next_beat = now + beat_after(in_hand.lease);
                let Ok(answer) = read::<HeartbeatAnswer>(&body) else { return };
                let stop = *in_hand.stop.borrow();
                match answer.instruction {
                    InstructionText::Cancel if stop <= Stop::Interrupt => {
                        in_hand.stop.send_replace(Stop::Gently(KILL_AFTER));
                        self.runner.hear(&News::Cancelled(key.0));
                    }
                    InstructionText::Interrupt if stop <= Stop::Interrupt => {
                        let why = answer.reason.unwrap_or_default();
                        if stop == Stop::No {
                            self.runner.hear(&News::Interrupted(key.0, &why));
                        }
                        in_hand.interrupt = Some(why);
                        in_hand.stop.send_replace(Stop::Interrupt);
                    }
                    _ => {}
                }
            }
            // It tells so itself in a moment, in its own words.
            Err(Fault::Refused(refusal))
                if refusal.code == LEASE_LOST
                    && in_hand.ends_at.is_some_and(|at| at < now + AHEAD) =>
            {
                in_hand.next_beat = now + AHEAD;
            }
            Err(Fault::Refused(refusal)) if !refusal.is_temporary() => {
                // Somebody else may run it already.
                in_hand.lost = true;
                in_hand.stop.send_replace(Stop::AtOnce);
                self.runner.hear(&News::Lost(key.0, &refusal.message));
            }
            Err(_) => {
                let soon = (in_hand.lease / 10).min(Duration::from_secs(2));
                in_hand.next_beat = now + soon.max(Duration::from_millis(50));
            }
        }
    }

    fn begin_stop(&mut self) {
        self.drain_until = Some(Instant::now() + self.settings.grace);
        self.runner.hear(&News::Stopping(self.in_hand.len()));
        for in_hand in self.in_hand.values_mut().filter(|it| *it.stop.borrow() == Stop::No) {
            in_hand.interrupt = Some(STOPPING.to_owned());
            in_hand.stop.send_replace(Stop::Interrupt);
        }
        // What runs may go on for long: nothing is to wait for it that others could run.
        self.withdraw(0);
    }

    /// Settles what is left and gives back what was granted and not seen.
    async fn say_farewell(&mut self) {
        for request in [self.leasing.take(), self.settling.take()].into_iter().flatten() {
            request.task.abort();
            self.put_back(request.settle);
        }
        let _ = timeout(FAREWELL, async {
            loop {
                self.turn += 1;
                let settle = self.take_done_or_none();
                let request = LeaseRequest {
                    queues: self.settings.queues.clone(),
                    kinds: self.settings.kinds.clone(),
                    versions: self.settings.versions.clone(),
                    max: Some(0),
                    worker: Some(self.settings.name.clone()),
                    session: Some(self.session.clone()),
                    turn: Some(self.turn),
                    seen: Some(self.seen),
                    settle: settle.clone(),
                    ..LeaseRequest::default()
                };
                let path = self.lease_client.path("/lease");
                let mut backoff = Backoff::new();
                let answer = loop {
                    match self.lease_client.ask("POST", &path, Some(&to_json(&request))).await {
                        Ok(reply) => break Ok(reply.body),
                        Err(Fault::Refused(refusal)) if !refusal.is_temporary() => {
                            break Err(refusal);
                        }
                        Err(_) => sleep(backoff.delay(None)).await,
                    }
                };
                match answer {
                    Err(refusal) => self.on_refused(settle, &refusal),
                    Ok(body) => {
                        self.seen = self.turn;
                        let answered = read::<LeaseAnswer<'_>>(&body);
                        self.on_answers(settle, answered.map(|it| it.settled).unwrap_or_default());
                    }
                }
                if self.done.is_empty() {
                    return;
                }
            }
        })
        .await;
        for settlement in std::mem::take(&mut self.done) {
            self.runner.hear(&News::Lost(settlement.id, "the server did not hear how it ended"));
        }
    }

    fn take_done_or_none(&mut self) -> Vec<SettlementText<'static>> {
        if self.done.is_empty() { Vec::new() } else { self.take_done() }
    }
}

/// Whether it is to run another number of jobs at a time: true once it is.
async fn scaled(scale: &mut Option<Scale>) -> bool {
    if let Some(of) = scale
        && of.changed().await.is_ok()
    {
        return true;
    }
    // Nobody scales it, or does so any more.
    std::future::pending().await
}

fn no_answer() -> Fault {
    Fault::Away(std::io::Error::new(std::io::ErrorKind::TimedOut, "it says nothing"))
}

fn beat_after(lease: Duration) -> Duration {
    (lease / 3).min(BEAT_EVERY)
}

/// Its run is not ours any more.
fn is_about_the_run(code: &str) -> bool {
    [LEASE_LOST, "job_unknown", "job_gone"].contains(&code)
}

/// Another request of this session came first.
fn is_about_turns(refusal: &Refusal) -> bool {
    ["turn_passed", "request_superseded"].contains(&refusal.code.as_str())
}

async fn run_one<R: Runner>(
    runner: Arc<R>,
    job: Assignment,
    stop: watch::Receiver<Stop>,
) -> Verdict {
    let start = Instant::now();
    let run = runner.run(job.clone(), stop);
    let mut verdict = match job.timeout {
        // The server ends the lease then; dropping the run kills what it started.
        Some(limit) => timeout(limit, run).await.unwrap_or_else(|_| {
            let limit = DurationText(limit.as_millis() as u64);
            Verdict::failed(TIMEOUT, format!("the run took longer than {limit}"))
        }),
        None => run.await,
    };
    if job.at_most_once && verdict == Verdict::Release {
        // Given back it would run again, and it had begun.
        verdict =
            Verdict::failed("stopped", "the worker was stopped in the middle of the only run");
    }
    if !matches!(verdict, Verdict::NotBegun(_)) {
        runner.hear(&News::Ended(&job, &verdict, start.elapsed()));
    }
    verdict
}
