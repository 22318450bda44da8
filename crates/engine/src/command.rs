//! What a shard can be asked to do. Commands carry what faces parsed; they are not stored.

use bytes::Bytes;

use crate::account::{AccountCommand, AuditedCommand};
use crate::gate::GateCommand;
use crate::hold::HoldCommand;
use crate::ids::{JobId, OperationId, TimeMs, Token};
use crate::job::{JobError, RetryPolicy};
use crate::keyed::KeyedCommand;
use crate::kind::{KindCommand, KindRange};
use crate::limit::{JobLimit, LimitSettings};
use crate::message::MessageCommand;
use crate::operation::OperationKind;
use crate::queue::QueueSettings;
use crate::schedule::{ScheduleCommand, Tick};
use crate::sla::SlaCommand;
use crate::stream::StreamCommand;
use crate::unique::NewUnique;

/// Where the answer goes: a number that the caller chose and that effects bring back.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplyTo(pub u64);

/// A consumer: a number that the caller chose and that effects bring back. Never used again.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsumerId(pub u64);

/// A command for one namespace.
#[derive(Clone, Debug)]
pub struct Request {
    /// The namespace's name.
    pub namespace: String,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// What to do.
    pub command: Command,
}

/// What to do in a namespace.
#[derive(Clone, Debug)]
pub enum Command {
    /// Enqueue one job or many, all or none.
    EnqueueJobs(EnqueueJobs),
    /// Settle what is done, then lease.
    LeaseJobs(Box<LeaseJobs>),
    /// Take jobs as they come, while there is credit: see [`Turn::unsubscribe`](crate::Turn).
    Subscribe(Box<Subscribe>),
    /// Settle what is done, then take more.
    AddCredit {
        /// Who takes more. One that there is no more settles all the same.
        consumer: ConsumerId,
        /// How much more.
        credit: Credit,
        /// Runs that the worker finished.
        settle: Vec<Settlement>,
    },
    /// Settle runs, each on its own.
    SettleJobs(Vec<Settlement>),
    /// Extend leases, each on its own.
    ExtendLeases(Vec<Extension>),
    /// Save how far runs have come, each on its own.
    CheckpointJobs(Vec<CheckpointJob>),
    /// A stream of a worker's session begins: what it holds is compared.
    ResumeSession {
        /// Whose.
        holder: Holder,
        /// Leases that the worker says it has. Others of the session that had not started go back,
        /// others that had are no longer extended with the session.
        held: Vec<HeldLease>,
    },
    /// Extend every lease of a session: one heartbeat for all.
    ExtendSession {
        /// Whose.
        holder: Holder,
        /// Leases that the face thinks the session has: those that it has not are told.
        known: Vec<(JobId, Token)>,
    },
    /// Jobs are about to run.
    StartJobs(Vec<(JobId, Token)>),
    /// The worker has gone: what had not started goes back, what had is lost.
    EndSession {
        /// Whose.
        holder: Holder,
        /// What is said of the runs that are lost so: how the worker went.
        why: String,
        /// The worker said that it leaves: then none of its jobs can have ended it.
        goodbye: bool,
    },
    /// Wait until a job has ended.
    AwaitJob {
        /// Which.
        id: JobId,
        /// How long.
        wait_ms: u64,
    },
    /// Call off a waiting or running job.
    CancelJob {
        /// Which.
        id: JobId,
        /// End a run at once, without asking its worker.
        force: bool,
    },
    /// Remove a dead job, with its args and errors.
    RemoveJob {
        /// Which.
        id: JobId,
    },
    /// Remove a job that no worker ever had, as if it had not been enqueued; any other stays.
    WithdrawJob {
        /// Which.
        id: JobId,
    },
    /// Let a waiting or retrying job start at another time.
    RescheduleJob {
        /// Which.
        id: JobId,
        /// When.
        start: Start,
    },
    /// Let a dead or retrying job start again now.
    RetryJob {
        /// Which.
        id: JobId,
        /// Where it begins.
        from: RetryFrom,
    },
    /// Hold a job back; one that runs is to be interrupted.
    PauseJob {
        /// Which.
        id: JobId,
    },
    /// Hold a job back no longer.
    ResumeJob {
        /// Which.
        id: JobId,
    },
    /// Create or change a queue.
    PutQueue {
        /// Its name.
        queue: String,
        /// What is to hold from now on.
        settings: QueueSettings,
    },
    /// Pause or resume a queue, leaving its other settings.
    PauseQueue {
        /// Its name.
        queue: String,
        /// Whether it is to hand out nothing.
        paused: bool,
    },
    /// Remove a queue; refused while it has a backlog or dead jobs.
    DeleteQueue {
        /// Its name.
        queue: String,
    },
    /// Describe one queue.
    GetQueue {
        /// Its name.
        queue: String,
    },
    /// Describe queues in the order of their names.
    ListQueues {
        /// The last name that was seen.
        after: Option<String>,
        /// How many at most.
        limit: usize,
    },
    /// Create a limit, or change its numbers.
    PutLimit {
        /// Its name.
        name: String,
        /// What is to hold from now on.
        settings: LimitSettings,
    },
    /// Remove a limit.
    DeleteLimit {
        /// Its name.
        name: String,
    },
    /// Describe one limit.
    GetLimit {
        /// Its name.
        name: String,
    },
    /// Describe the limits of the namespace.
    ListLimits,
    /// Start what touches many jobs.
    StartOperation(OperationKind),
    /// Stop an operation after its present slice.
    CancelOperation {
        /// Which.
        id: OperationId,
    },
    /// Describe one operation.
    GetOperation {
        /// Which.
        id: OperationId,
    },
    /// Describe the operations of the namespace, the newest first.
    ListOperations,
    /// Do something with a schedule.
    OfSchedule {
        /// Its name.
        name: String,
        /// What.
        command: ScheduleCommand,
    },
    /// Create the namespace.
    CreateNamespace,
    /// Remove the namespace; refused while it has queues.
    DeleteNamespace,
    /// Describe the namespace.
    GetNamespace,
    /// Describe namespaces of the shard in the order of their names; the request's own name does
    /// not matter.
    ListNamespaces {
        /// The last name that was seen.
        after: Option<String>,
        /// How many at most.
        limit: usize,
    },
    /// What is about messages, exchanges and their queues.
    Messages(MessageCommand),
    /// Look at service levels, or change them.
    Sla(SlaCommand),
    /// What is about gates.
    Gates(GateCommand),
    /// What is about holds.
    Holds(HoldCommand),
    /// Something about streams.
    Stream(StreamCommand),
    /// What is about accounts and the trail of changes.
    Accounts(AccountCommand),
    /// A command whose change goes into the trail.
    Audited(Box<AuditedCommand>),
    /// Look at kinds.
    Kinds(KindCommand),
    /// A command that is carried out once for its key.
    Keyed(Box<KeyedCommand>),
}

/// Where a job begins that is retried.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RetryFrom {
    /// At the cursor that its runs saved last.
    #[default]
    Kept,
    /// At the beginning.
    Beginning,
    /// At this cursor: JSON text.
    Cursor(Bytes),
}

/// Jobs to enqueue together.
#[derive(Clone, Debug)]
pub struct EnqueueJobs {
    /// The queue.
    pub queue: String,
    /// The jobs, in order.
    pub jobs: Vec<NewJob>,
}

/// A job that enters when another one ends.
#[derive(Clone, Debug)]
pub struct FollowUp {
    /// Its queue.
    pub queue: String,
    /// The job.
    pub job: NewJob,
}

/// A job as the producer describes it. `None` means the queue's default.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its identity, made by the face where the client named none.
    pub id: JobId,
    /// Fingerprint of the client's request, where the client chose the id.
    pub fingerprint: Option<[u8; 16]>,
    /// The name of its type.
    pub kind: String,
    /// JSON text.
    pub args: Bytes,
    /// 0 to 255, the highest first.
    pub priority: Option<u8>,
    /// When it may start; `None` for now.
    pub start: Option<Start>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// Whether the first run is the last one: a grant that its worker does not give back.
    pub at_most_once: bool,
    /// When it expires unless started.
    pub expiry: Option<Start>,
    /// The longest that one run may take.
    pub timeout_ms: Option<u64>,
    /// The lease where the worker names none.
    pub lease_ms: Option<u64>,
    /// The delay before another attempt.
    pub retry: Option<RetryPolicy>,
    /// Attempts in all, the first included.
    pub max_attempts: Option<u32>,
    /// A deadline for all attempts.
    pub max_age_ms: Option<u64>,
    /// How long the outcome is kept.
    pub retain_ms: Option<u64>,
    /// Names to find jobs by.
    pub tags: Vec<String>,
    /// The producer's own JSON object.
    pub metadata: Option<Bytes>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// Where its first run begins: JSON text; `None` for at the beginning.
    pub cursor: Option<Bytes>,
    /// Whether and how it is unique.
    pub unique: Option<NewUnique>,
    /// The slot of a schedule that it stands for; only schedules say so.
    pub tick: Option<Tick>,
    /// The limit that it names, and its key there.
    pub limit: Option<JobLimit>,
    /// Further ones, each another limit.
    pub limits: Vec<JobLimit>,
    /// Gates behind which it waits while they are closed. One that does not exist is open.
    pub gates: Vec<String>,
    /// Whose it is: the tenants of a queue take turns.
    pub tenant: Option<String>,
    /// How many ends of jobs it follows from; only messages say so.
    pub hops: u8,
    /// The version of its kind; 0 for none.
    pub version: u32,
}

impl NewJob {
    /// A job with nothing but the essentials.
    pub fn new(id: JobId, kind: impl Into<String>, args: impl Into<Bytes>) -> Self {
        Self {
            id,
            fingerprint: None,
            kind: kind.into(),
            args: args.into(),
            priority: None,
            start: None,
            ordering_key: None,
            at_most_once: false,
            expiry: None,
            timeout_ms: None,
            lease_ms: None,
            retry: None,
            max_attempts: None,
            max_age_ms: None,
            retain_ms: None,
            tags: Vec::new(),
            metadata: None,
            traceparent: None,
            cursor: None,
            unique: None,
            tick: None,
            limit: None,
            limits: Vec::new(),
            gates: Vec::new(),
            tenant: None,
            hops: 0,
            version: 0,
        }
    }
}

/// An instant, or a span from when the engine decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// At this instant.
    At(TimeMs),
    /// After so many milliseconds.
    After(u64),
}

/// Which queues a worker wants.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum QueuePattern {
    /// The queue of this name.
    Exactly(String),
    /// Every queue whose name begins so; the empty prefix is `*`.
    Prefix(String),
}

impl QueuePattern {
    /// Whether the queue is meant.
    pub fn matches(&self, queue: &str) -> bool {
        match self {
            Self::Exactly(name) => name == queue,
            Self::Prefix(prefix) => queue.starts_with(prefix.as_str()),
        }
    }
}

/// Who holds leases: one life of a worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The worker.
    pub worker: String,
    /// Which life of that worker.
    pub session: String,
}

/// A lease that a worker says it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeldLease {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: Token,
    /// Its job has been started.
    pub started: bool,
}

/// One request of a worker: it settles what is done, then leases.
#[derive(Clone, Debug)]
pub struct LeaseJobs {
    /// In strict order: a later one is served only where the earlier ones have nothing ready.
    pub queues: Vec<QueuePattern>,
    /// Only these kinds in these versions; `None` for all but reserved ones.
    pub kinds: Option<Vec<KindRange>>,
    /// How many at most. 0 only settles.
    pub max: usize,
    /// How long to wait for the first.
    pub wait_ms: u64,
    /// The lease; `None` for the job's or the queue's. With `prefetch` the longer of the two, where
    /// `None` is the default: one heartbeat is for all leases of a session.
    pub lease_ms: Option<u64>,
    /// Who asks.
    pub worker: String,
    /// Which life of that worker.
    pub session: String,
    /// The number of this ask, which grows with each request of a session: who asks again with the
    /// same number gets the same answer. HTTP calls it a turn.
    pub ask: Option<u64>,
    /// The last ask whose answer arrived.
    pub seen: Option<u64>,
    /// Runs that the worker finished.
    pub settle: Vec<Settlement>,
    /// The jobs go to the worker's stream and have not started when they arrive: see
    /// [`Command::StartJobs`] and [`Command::EndSession`].
    pub prefetch: bool,
}

/// What a consumer can take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Credit {
    /// Jobs.
    pub jobs: usize,
    /// Bytes of args and cursors. A job is handed over while any are left, however large it is.
    pub bytes: u64,
}

/// The stream of a worker's session, as one that takes jobs. It gets them as
/// [`Effect::Deliver`](crate::Effect), and they have not started when they arrive, as with
/// [`LeaseJobs::prefetch`]. A session has one at most: a later one takes its place.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Its number.
    pub consumer: ConsumerId,
    /// Its session.
    pub holder: Holder,
    /// The queues, each with its weight: all 0 for strict order, where a later one is served only
    /// if the earlier ones have nothing ready; else a queue with none is not served.
    pub queues: Vec<(QueuePattern, u32)>,
    /// Only these kinds in these versions; `None` for all but reserved ones.
    pub kinds: Option<Vec<KindRange>>,
    /// The lease, or longer where a job asks for it; `None` for the default.
    pub lease_ms: Option<u64>,
    /// What it can take to begin with.
    pub credit: Credit,
}

/// The end of one run, as the worker tells it.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: Token,
    /// How the run ended.
    pub verdict: Verdict,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It succeeded.
    Ack {
        /// JSON text.
        result: Option<Bytes>,
        /// The resource that it made.
        location: Option<String>,
        /// Jobs that enter together with this end, all or none: where one is refused, so is the
        /// settlement.
        follow_ups: Vec<FollowUp>,
        /// When the schedule that enqueued it is to fire next; after that it goes on from there.
        next_tick: Option<Start>,
    },
    /// It failed: another attempt follows, if one is left.
    Fail {
        /// What went wrong.
        error: JobError,
        /// Overrides the job's retry delay.
        retry_in_ms: Option<u64>,
    },
    /// It is to run later; no attempt is used.
    Snooze {
        /// How much later.
        delay_ms: u64,
    },
    /// It goes back to its place; no attempt is used.
    Release,
    /// It is called off.
    Discard {
        /// Why.
        error: Option<JobError>,
    },
    /// It is to go on from its cursor; no attempt is used.
    Interrupt {
        /// Why: a word such as `deploy`.
        reason: String,
        /// How much later; `None` for at its old place.
        delay_ms: Option<u64>,
    },
}

/// A heartbeat.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: Token,
    /// How long it is to hold from now; `None` for what it was granted with.
    pub lease_ms: Option<u64>,
    /// 0 to 10,000: hundredths of a per cent.
    pub progress: Option<u16>,
    /// What the worker says of its progress.
    pub progress_text: Option<String>,
}

/// How far a run has come. It extends the lease as a heartbeat does.
#[derive(Clone, Debug)]
pub struct CheckpointJob {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: Token,
    /// Grows per checkpoint of a run, so that one that is repeated or late changes nothing: its
    /// counters would count twice, its cursor go back.
    pub seq: Option<u64>,
    /// How long the lease is to hold from now; `None` for what it was granted with.
    pub lease_ms: Option<u64>,
    /// Where another run is to begin: JSON text; `None` for where it was.
    pub cursor: Option<Bytes>,
    /// 0 to 10,000: hundredths of a per cent.
    pub progress: Option<u16>,
    /// What the worker says of its progress.
    pub progress_text: Option<String>,
    /// What is added to each counter.
    pub counters: Vec<(String, i64)>,
    /// Items that the run gave up on: the cursor of each, and what went wrong.
    pub skipped: Vec<(Bytes, JobError)>,
    /// Counters that its reader left out, as they were none.
    pub counters_dropped: u64,
    /// Skipped items that its reader left out.
    pub skipped_dropped: u64,
}

impl CheckpointJob {
    /// Whether it is no more than a heartbeat.
    pub(crate) fn saves_nothing(&self) -> bool {
        let told = self.progress.is_some() || self.progress_text.is_some();
        let dropped = self.counters_dropped > 0 || self.skipped_dropped > 0;
        !told
            && !dropped
            && self.cursor.is_none()
            && self.counters.is_empty()
            && self.skipped.is_empty()
    }
}
