//! The naive reference: all there is in plain lists, searched from end to end. It shares types with
//! the engine and no code; where the two differ, one of them is wrong.

mod account;
mod admin;
mod changes;
mod checkpoint;
mod enqueue;
mod events;
mod gate;
mod hold;
mod kept;
mod kind;
mod lease;
mod limit;
mod operations;
mod schedule;
mod settle;
mod sla;
mod stream;
mod tenant;
mod time;
mod unique;
mod view;

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::{
    Answer, AttemptNote, Body, BodyId, Cap, Checkpoint, Clock, Command, ConsumerId, Delivery,
    EndKind, GateCommand, HoldCommand, Job, JobDefaults, JobId, KindId, KindRange, Lease,
    LeaseJobs, Limits, NamespaceId, Operation, Phase, Place, QueueId, QueuePattern, QueueSettings,
    Rejection, ReplyTo, Request, ScheduleCommand, ScheduleTotals, ScheduleView, Scope, SkippedItem,
    StreamCommand, TimeMs, Token,
};
pub(crate) use schedule::KNOWN;

/// A job, and its lease while it runs.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
pub(crate) struct RefJob {
    pub(crate) ns: NamespaceId,
    pub(crate) job: Job,
    pub(crate) run: Option<Run>,
    pub(crate) notes: Vec<AttemptNote>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) skipped: Vec<SkippedItem>,
    pub(crate) paused: bool,
    /// Its worker wants to snooze it once more than it may.
    pub(crate) snoozed_out: bool,
    /// Bytes that it takes since it has ended.
    pub(crate) size: u64,
    /// The step in which it ended.
    pub(crate) lot: u64,
    /// It was handed to a worker since it entered, or was retried when dead.
    pub(crate) started: bool,
    /// It stands aside for this tag.
    pub(crate) held_back: Option<String>,
    /// It waited at the end of the step before.
    pub(crate) waited: bool,
}

impl RefJob {
    /// Its order of entry: into its queue, or at all.
    pub(crate) fn entered(&self, into_queue: bool) -> Place {
        let moved = self.job.moved.filter(|_| into_queue);
        moved.into_iter().chain([self.job.place]).max().unwrap_or(self.job.place)
    }

    /// No worker ever had it, and nobody else was told of it.
    pub(crate) fn may_be_withdrawn(&self) -> bool {
        let of = &self.job;
        let ran = of.attempt > 0 || !of.ends.is_empty() || of.last_error.is_some();
        let started = self.run.is_some() || ran || of.losses > 0;
        !started && !of.told && of.phase.is_unfinished()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) lease: Lease,
    pub(crate) expires: u64,
    pub(crate) timeout: Option<u64>,
    pub(crate) held: Held,
    /// Its worker was heard to run it.
    pub(crate) begun: bool,
}

/// Where a run stands in its worker's session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Held {
    /// In none.
    Apart,
    /// It was sent and has not started.
    Delivered,
    /// It has started, or is to run at most once.
    Started,
    /// It stood when the shard started.
    Unknown,
}

impl Run {
    /// Whether its worker has the job and does not run it.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.held, Held::Delivered | Held::Started) && !self.begun
    }

    /// Its worker was heard to run it.
    pub(crate) fn begin(&mut self, timeout_ms: Option<u64>, mono: u64) {
        self.begun = true;
        if self.held != Held::Apart {
            self.held = Held::Started;
            let timeout = timeout_ms.map(|ms| mono.saturating_add(ms));
            self.timeout = self.timeout.or(timeout);
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct RefNamespace {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    pub(crate) created_at: TimeMs,
    pub(crate) dropped: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct RefQueue {
    pub(crate) id: QueueId,
    pub(crate) ns: NamespaceId,
    pub(crate) name: String,
    pub(crate) settings: QueueSettings,
    pub(crate) enqueued: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) died: u64,
    pub(crate) cancelled: u64,
    /// Since when it was seen empty, and how many jobs it had ever had then.
    pub(crate) empty: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct RefTombstone {
    pub(crate) ns: NamespaceId,
    pub(crate) id: JobId,
    pub(crate) fingerprint: [u8; 16],
    pub(crate) forget_at: TimeMs,
}

/// A worker's session: what each of its turns was granted, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct RefSession {
    pub(crate) key: SessionKey,
    pub(crate) last_ask: u64,
    pub(crate) unseen: Vec<(u64, Vec<(JobId, Token)>)>,
    pub(crate) touched: u64,
}

pub(crate) type SessionKey = (NamespaceId, String, String);

#[derive(Clone, Debug)]
pub(crate) struct RefConsumer {
    pub(crate) key: SessionKey,
    pub(crate) queues: Vec<QueuePattern>,
    pub(crate) kinds: Option<Vec<KindRange>>,
    pub(crate) until: u64,
}

/// A request that waits. The list keeps the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) reply_to: ReplyTo,
    pub(crate) ns: NamespaceId,
    pub(crate) deadline: u64,
    pub(crate) target: Target,
}

#[derive(Clone, Debug)]
pub(crate) enum Target {
    Work {
        request: Box<LeaseJobs>,
        settled: Vec<Result<EndKind, Rejection>>,
    },
    /// A stream, which stands here in any case and takes jobs while it has both.
    Stream {
        id: ConsumerId,
        request: Box<LeaseJobs>,
        jobs: usize,
        bytes: i64,
    },
    End(JobId),
    /// That nothing runs with a tag that is held.
    Quiet(String),
}

/// An operation and the last thing that it looked at.
#[derive(Clone, Debug)]
pub(crate) struct RefOperation {
    pub(crate) operation: Operation,
    pub(crate) reached: Option<operations::Spot>,
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) limits: Limits,
    /// Engine time that was recorded last, and where it stood on the clock that never steps.
    pub(crate) recorded: (TimeMs, u64),
    pub(crate) now: TimeMs,
    pub(crate) mono: u64,
    random: u64,
    steps: u64,
    pub(crate) epoch: u32,
    next_namespace: u32,
    next_queue: u32,
    next_place: u64,
    next_token: u64,
    next_body: u64,
    next_operation: u64,
    next_kind: u32,
    pub(crate) namespaces: Vec<RefNamespace>,
    pub(crate) queues: Vec<RefQueue>,
    /// With the number of each.
    pub(crate) kinds: Vec<(NamespaceId, (String, u32), KindId)>,
    pub(crate) jobs: Vec<RefJob>,
    pub(crate) bodies: Vec<(BodyId, Bytes)>,
    pub(crate) tombstones: Vec<RefTombstone>,
    pub(crate) sessions: Vec<RefSession>,
    /// The last ask of each session that asked in this life, and when.
    pub(crate) asked: Vec<(SessionKey, u64, u64)>,
    pub(crate) consumers: Vec<RefConsumer>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) operations: Vec<RefOperation>,
    pub(crate) schedules: Vec<ScheduleView>,
    pub(crate) schedule_totals: ScheduleTotals,
    last_schedule: u64,
    pub(crate) dispatch_limits: Vec<limit::RefLimit>,
    pub(crate) budgets: Vec<limit::RefBudget>,
    /// Where tenants stand.
    turns: Vec<tenant::RefTurn>,
    slas: Vec<sla::RefSla>,
    /// What is set of kinds, by their names.
    kinds_set: BTreeMap<(NamespaceId, String), JobDefaults>,
    pub(crate) gates: Vec<gate::RefGate>,
    last_gate: u32,
    pub(crate) accounts: account::RefAccounts,
    pub(crate) holds: Vec<hold::RefHold>,
    last_hold: u64,
    pub(crate) events: events::RefEvents,
    next_sweep: u64,
    /// When queues are looked at next, and the last one that the present round looked at.
    next_look: u64,
    last_look: Option<QueueId>,
    stopping: bool,
    /// Jobs that ended in the present step.
    ended: Vec<(NamespaceId, JobId)>,
    /// What the present step answers.
    pub(crate) answers: Vec<(ReplyTo, Answer)>,
    /// What it delivers.
    pub(crate) deliveries: Vec<(ConsumerId, Vec<Delivery>)>,
}

pub(crate) type Refusable<T> = Result<T, Rejection>;

impl Reference {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            recorded: (TimeMs(0), 0),
            now: TimeMs(0),
            mono: 0,
            random: 0,
            steps: 0,
            epoch: 0,
            next_namespace: 1,
            next_queue: 1,
            next_place: 1,
            next_token: 1,
            next_body: 1,
            next_operation: 1,
            next_kind: 1,
            namespaces: Vec::new(),
            queues: Vec::new(),
            kinds: Vec::new(),
            jobs: Vec::new(),
            bodies: Vec::new(),
            tombstones: Vec::new(),
            sessions: Vec::new(),
            asked: Vec::new(),
            consumers: Vec::new(),
            waiters: Vec::new(),
            operations: Vec::new(),
            schedules: Vec::new(),
            schedule_totals: ScheduleTotals::default(),
            last_schedule: 0,
            dispatch_limits: Vec::new(),
            budgets: Vec::new(),
            turns: Vec::new(),
            slas: Vec::new(),
            kinds_set: BTreeMap::new(),
            gates: Vec::new(),
            last_gate: 0,
            accounts: account::RefAccounts::default(),
            holds: Vec::new(),
            last_hold: 0,
            next_sweep: 0,
            events: events::RefEvents::default(),
            next_look: 0,
            last_look: None,
            stopping: false,
            ended: Vec::new(),
            answers: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// A new life: who waited has gone, every lease stands for one more of its lengths.
    pub(crate) fn start(&mut self, clock: Clock) {
        self.waiters.clear();
        self.consumers.clear();
        self.asked.clear();
        self.next_sweep = 0;
        (self.next_look, self.last_look) = (0, None);
        for queue in &mut self.queues {
            queue.empty = None;
        }
        self.stopping = false;
        let before = self.now;
        self.mono = clock.mono.0;
        self.begin(clock);
        self.epoch += 1;
        for session in &mut self.sessions {
            session.touched = self.mono;
        }
        let sessions = &self.sessions;
        for job in &mut self.jobs {
            let Some(run) = &mut job.run else { continue };
            let (worker, session) = (&*run.lease.worker, &*run.lease.session);
            let has = |it: &RefSession| {
                (it.key.0, it.key.1.as_str(), it.key.2.as_str()) == (job.ns, worker, session)
            };
            run.begun = !session.is_empty() && !sessions.iter().any(has);
            run.held = if run.begun { Held::Unknown } else { Held::Apart };
            // Nobody knows since when what a stream had was running.
            let ran_ms = if run.begun { 0 } else { before.since(run.lease.started_at) };
            let timeout_ms = job.job.options.timeout_ms;
            run.timeout = timeout_ms.map(|ms| self.mono.saturating_add(ms.saturating_sub(ran_ms)));
            let expires = self.mono.saturating_add(run.lease.lease_ms);
            run.expires = run.timeout.map_or(expires, |timeout| expires.min(timeout));
        }
        if self.namespace_named("default").is_none() {
            self.create_namespace("default");
        }
    }

    /// Whoever waits is answered, and nobody gets a lease any more.
    pub(crate) fn begin_stop(&mut self, clock: Clock) {
        self.begin(clock);
        self.stopping = true;
        self.answer_overdue(u64::MAX);
        self.finish();
    }

    /// Engine time at a wall time now: where that has stepped back, at half speed.
    pub(crate) fn time_at(&self, wall: TimeMs) -> TimeMs {
        wall.max(self.slowed())
    }

    fn slowed(&self) -> TimeMs {
        self.recorded.0.plus((self.mono - self.recorded.1) / 2)
    }

    /// Learns what engine time was recorded last.
    pub(crate) fn learn_recorded(&mut self, at: TimeMs) {
        let before = self.recorded.0;
        if at > before {
            let left_over = self.recorded.1 + 2 * at.since(before);
            let slowed = self.slowed() == at;
            self.recorded = (at, if slowed { left_over } else { self.mono });
        }
    }

    fn begin(&mut self, clock: Clock) {
        self.mono = self.mono.max(clock.mono.0);
        self.now = self.time_at(clock.wall);
        self.random = clock.random;
        self.steps += 1;
        self.forget_kept();
    }

    pub(crate) fn submit(&mut self, request: Request, clock: Clock) {
        self.begin(clock);
        let reply_to = request.reply_to;
        if let Some(answer) = self.decide(request) {
            self.answers.push((reply_to, answer.unwrap_or_else(Answer::Rejected)));
        }
        self.hold_back();
        self.dispatch();
        self.finish();
    }

    pub(crate) fn disconnect(&mut self, reply_to: ReplyTo) {
        self.waiters.retain(|waiter| waiter.reply_to != reply_to);
    }

    /// Tells those who wait for jobs that ended in this step.
    fn finish(&mut self) {
        self.hold_back();
        self.forget_kept();
        self.tell_quiet();
        for (ns, id) in std::mem::take(&mut self.ended) {
            let told: Vec<ReplyTo> = self
                .waiters
                .iter()
                .filter(|w| w.ns == ns && matches!(&w.target, Target::End(of) if *of == id))
                .map(|waiter| waiter.reply_to)
                .collect();
            for reply_to in told {
                self.disconnect(reply_to);
                let answer = self.job_answer(ns, id);
                self.answers.push((reply_to, answer));
            }
        }
    }

    /// `None` where the answer comes later.
    fn decide(&mut self, request: Request) -> Option<Refusable<Answer>> {
        let Request { namespace: name, reply_to, command } = request;
        match &command {
            Command::CreateNamespace => return Some(self.decide_create_namespace(&name)),
            Command::ListNamespaces { after, limit } => {
                return Some(Ok(self.list_namespaces(after.as_deref(), *limit)));
            }
            Command::Accounts(command) => return Some(self.of_accounts(command.clone())),
            _ => {}
        }
        let uses = matches!(
            command,
            Command::EnqueueJobs(_)
                | Command::LeaseJobs(_)
                | Command::Subscribe(_)
                | Command::PutQueue { .. }
                | Command::PauseQueue { paused: true, .. }
                | Command::OfSchedule { command: ScheduleCommand::Put { .. }, .. }
                | Command::PutLimit { .. }
                | Command::Gates(GateCommand::Change { .. })
                | Command::Sla(longshore_engine::SlaCommand::Put { .. })
                | Command::Kinds(longshore_engine::KindCommand::Put { .. })
                | Command::Holds(HoldCommand::Put { .. })
                | Command::Stream(StreamCommand::Create { .. })
        );
        let known = self.namespace_named(&name).map(|namespace| namespace.id);
        let ns = match known {
            Some(ns) => ns,
            None if uses => match self.may_create_namespace(&name) {
                Ok(()) => self.create_namespace(&name),
                Err(rejection) => return Some(Err(rejection)),
            },
            None => return Some(Err(Rejection::NamespaceUnknown { name })),
        };
        let answer = match command {
            Command::EnqueueJobs(command) => Some(self.enqueue(ns, &command)),
            Command::LeaseJobs(request) => self.lease(ns, reply_to, request).transpose(),
            Command::Subscribe(command) => Some(self.subscribe(ns, *command)),
            Command::AddCredit { consumer, credit, settle } => {
                let settled = self.settle_all(ns, &settle);
                self.add_credit(consumer, credit);
                Some(Ok(Answer::Settled(settled)))
            }
            Command::OfSchedule { name, command } => Some(self.of_schedule(ns, &name, command)),
            Command::Holds(command) => self.of_holds(ns, reply_to, command),
            Command::AwaitJob { id, wait_ms } => self.await_job(ns, reply_to, id, wait_ms),
            Command::Stream(command) => Some(self.decide_stream(ns, command)),
            command => Some(self.decide_admin(ns, command)),
        };
        // Refused means that nothing changed: a namespace made for it is not made either.
        if known.is_none() && matches!(answer, Some(Err(_))) {
            self.namespaces.retain(|namespace| namespace.id != ns);
            self.next_namespace -= 1;
        }
        answer
    }

    pub(crate) fn namespace_named(&self, name: &str) -> Option<&RefNamespace> {
        self.namespaces.iter().find(|namespace| namespace.name == name)
    }

    pub(crate) fn queue_named(&self, ns: NamespaceId, name: &str) -> Option<&RefQueue> {
        self.queues.iter().find(|queue| queue.ns == ns && queue.name == name)
    }

    fn queue_mut(&mut self, ns: NamespaceId, name: &str) -> &mut RefQueue {
        let queue = self.queues.iter_mut().find(|queue| queue.ns == ns && queue.name == name);
        queue.expect("a queue outlives its jobs")
    }

    fn kind(&self, ns: NamespaceId, name: &str, version: u32) -> Option<KindId> {
        let is_it = |kind: &(String, u32)| kind.0 == name && kind.1 == version;
        let found = self.kinds.iter().find(|(of, kind, _)| *of == ns && is_it(kind));
        found.map(|(.., id)| *id)
    }

    pub(crate) fn job(&self, ns: NamespaceId, id: JobId) -> Option<&RefJob> {
        self.jobs.iter().find(|job| job.ns == ns && job.job.id == id)
    }

    fn job_mut(&mut self, ns: NamespaceId, id: JobId) -> &mut RefJob {
        let job = self.jobs.iter_mut().find(|job| job.ns == ns && job.job.id == id);
        job.expect("the job exists")
    }

    /// Keys' numbers of namespaces that were removed; what is kept of their jobs stays behind.
    pub(crate) fn removed_namespaces(&self) -> Vec<[u8; 4]> {
        let gone = |id: &u32| !self.namespaces.iter().any(|namespace| namespace.id.0 == *id);
        (1..self.next_namespace).filter(gone).map(u32::to_be_bytes).collect()
    }

    /// Whether an earlier unfinished job of its ordering key holds it back.
    pub(crate) fn is_blocked(&self, of: &RefJob) -> bool {
        let Some(key) = &of.job.options.ordering_key else { return false };
        self.jobs.iter().any(|other| {
            other.ns == of.ns
                && other.job.options.ordering_key.as_ref() == Some(key)
                && other.job.phase.is_unfinished()
                && other.job.place < of.job.place
        })
    }

    /// Waits, and something else than its time holds it back.
    pub(crate) fn is_held(&self, job: &RefJob) -> bool {
        let waits = job.run.is_none() && job.job.phase.is_unfinished();
        waits && (job.paused || job.held_back.is_some() || self.is_blocked(job))
    }

    /// Waits, and nothing but its time holds it back.
    pub(crate) fn is_filed(&self, job: &RefJob) -> bool {
        job.run.is_none() && job.job.phase.is_unfinished() && !self.is_held(job)
    }

    fn take_place(&mut self) -> Place {
        self.next_place += 1;
        Place(self.next_place - 1)
    }

    fn store_body(&mut self, bytes: Bytes) -> Body {
        if bytes.len() <= 4096 {
            return Body::Inline { bytes };
        }
        let id = BodyId(self.next_body);
        self.next_body += 1;
        let length = bytes.len() as u64;
        self.bodies.push((id, bytes));
        Body::Stored { id, length }
    }

    fn body(&self, body: &Body) -> Bytes {
        match body {
            Body::Inline { bytes } => bytes.clone(),
            Body::Stored { id, .. } => {
                let found = self.bodies.iter().find(|(of, _)| of == id);
                found.expect("a body is kept as long as its holder").1.clone()
            }
        }
    }

    fn drop_body(&mut self, body: &Body) {
        if let Body::Stored { id, .. } = body {
            self.bodies.retain(|(of, _)| of != id);
        }
    }

    /// The same number as the engine draws for the `index`th use within a step.
    fn random(&self, index: u64) -> u64 {
        crate::random::mix(self.random.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn unknown(&self, ns: NamespaceId, id: JobId) -> Rejection {
        let gone = self.tombstones.iter().any(|t| t.ns == ns && t.id == id);
        Rejection::JobUnknown { id, gone }
    }

    pub(crate) fn is_dead(job: &Job) -> bool {
        matches!(job.phase, Phase::Dead { .. })
    }
}

/// Whether there is room for one more where `all` is a list of what there is, by namespace.
fn room(
    cap: Cap,
    ns: NamespaceId,
    all: impl Iterator<Item = NamespaceId>,
) -> Result<(), (Scope, usize)> {
    let all: Vec<NamespaceId> = all.collect();
    if all.iter().filter(|of| **of == ns).count() >= cap.namespace {
        return Err((Scope::Namespace, cap.namespace));
    }
    if all.len() >= cap.shard { Err((Scope::Shard, cap.shard)) } else { Ok(()) }
}

fn refused(field: &'static str) -> Rejection {
    Rejection::ValueRefused { field, value: String::new(), allowed: String::new() }
}
