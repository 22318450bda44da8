//! What a shard answers.

use bytes::Bytes;

use crate::account::AccountAnswer;
use crate::gate::GateAnswer;
use crate::hold::HoldAnswer;
use crate::ids::{JobId, TimeMs, Token};
use crate::job::{Checkpoint, EndKind, Job, Lease};
use crate::kind::KindAnswer;
use crate::limit::LimitView;
use crate::message::{MessageAnswer, MessageQueueView};
use crate::operation::Operation;
use crate::queue::QueueSettings;
use crate::rejection::Rejection;
use crate::schedule::ScheduleView;
use crate::sla::SlaAnswer;
use crate::stream::StreamAnswer;
use crate::unique::UniqueMet;
use crate::wire::wire_enum;

/// The answer to one command.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `EnqueueJobs`: the ids in order, each with whether it was there already.
    Enqueued(Vec<Enqueued>),
    /// To `LeaseJobs`.
    Leased {
        /// The jobs, in the order in which they are to start.
        jobs: Vec<Delivery>,
        /// What became of each settlement, in order.
        settled: Vec<Result<EndKind, Rejection>>,
    },
    /// To `Subscribe`, beside what is delivered.
    Subscribed {
        /// Whether it goes on; if not, too many wait: it was handed what there was, and no more.
        stands: bool,
    },
    /// To `SettleJobs`, `AddCredit`: what became of each settlement, in order.
    Settled(Vec<Result<EndKind, Rejection>>),
    /// To `ExtendLeases`, `CheckpointJobs`, `StartJobs`: what the worker shall do with each, in
    /// order.
    Extended(Vec<Result<Instruction, Rejection>>),
    /// To `ResumeSession`, `ExtendSession`, `EndSession`.
    Session(Box<SessionView>),
    /// To `AwaitJob`, `CancelJob`, `RescheduleJob`, `RetryJob`, `PauseJob`, `ResumeJob`: the job as
    /// it is now.
    Job(Box<JobView>),
    /// To `CancelJob` by force of a job that ran: the job as it is now, and the lease that it had.
    RunEnded {
        /// The job.
        view: Box<JobView>,
        /// What its worker has no longer.
        lease: Box<Lease>,
    },
    /// To `RemoveJob`.
    JobRemoved,
    /// To `WithdrawJob`, where it is withdrawn; else the job as it is.
    JobWithdrawn,
    /// To `GetQueue`, `PutQueue`, `PauseQueue`.
    Queue(Box<QueueView>),
    /// To `DeleteQueue`.
    QueueDeleted,
    /// To `ListQueues`; whether more follow.
    Queues(Vec<QueueView>, bool),
    /// To `StartOperation`, `CancelOperation`, `GetOperation`.
    Operation(Box<Operation>),
    /// To `ListOperations`.
    Operations(Vec<Operation>),
    /// To `OfSchedule`, but for a removal: the schedule as it is now, and the job that a run
    /// enqueued.
    Schedule(Box<ScheduleView>, Option<JobId>),
    /// To `OfSchedule` that removes it.
    ScheduleDeleted,
    /// To `CreateNamespace`, `GetNamespace`.
    Namespace(NamespaceView),
    /// To `DeleteNamespace`.
    NamespaceDeleted,
    /// To `ListNamespaces`; whether more follow.
    Namespaces(Vec<NamespaceView>, bool),
    /// To `PutLimit`, `GetLimit`.
    Limit(Box<LimitView>),
    /// To `DeleteLimit`.
    LimitDeleted,
    /// To `ListLimits`, in the order of their names.
    Limits(Vec<LimitView>),
    /// To `Messages`.
    Messages(MessageAnswer),
    /// To `Sla`.
    Sla(SlaAnswer),
    /// To `Gates`.
    Gates(GateAnswer),
    /// To `Holds`.
    Holds(HoldAnswer),
    /// To any: refused, and nothing changed.
    Rejected(Rejection),
    /// To `Stream`.
    Stream(StreamAnswer),
    /// To `Accounts`.
    Accounts(AccountAnswer),
    /// To `Kinds`.
    Kinds(KindAnswer),
    /// To `Keyed` that came before: the answer of the first as its face wrote it, empty where it
    /// was too large.
    Kept(Bytes),
}

/// One job of an `EnqueueJobs`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Enqueued {
    /// Its identity.
    pub id: JobId,
    /// The same request came before and had this effect already.
    pub replayed: bool,
    /// Another job has its unique key: then the id is that one's, and this is what became of the
    /// new one.
    pub met: Option<UniqueMet>,
}

/// A job handed to a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// The version of its kind; 0 for none.
    pub version: u32,
    /// JSON text.
    pub args: Bytes,
    /// 1-based.
    pub attempt: u32,
    /// Attempts in all.
    pub max_attempts: u32,
    /// What the worker shows to settle.
    pub token: Token,
    /// How long the lease holds without a heartbeat.
    pub lease_ms: u64,
    /// The longest that the run may take.
    pub timeout_ms: Option<u64>,
    /// Once it has begun there is no other run: it is never given back then.
    pub at_most_once: bool,
    /// When it was enqueued.
    pub enqueued_at: TimeMs,
    /// 0 to 255.
    pub priority: u8,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The producer's own JSON object.
    pub metadata: Option<Bytes>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// Where to go on: JSON text; `None` to begin at the beginning.
    pub cursor: Option<Bytes>,
    /// How often its runs were interrupted.
    pub interruptions: u32,
    /// What its runs counted.
    pub counters: Vec<(String, i64)>,
}

/// The answer to a heartbeat or a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instruction {
    /// Go on; the lease is extended.
    Continue,
    /// Stop: the job was cancelled.
    Cancel,
    /// Stop where another run can go on, and settle as interrupted.
    Interrupt {
        /// Why: a word.
        reason: &'static str,
    },
}

/// What a worker's session has, or had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionView {
    /// To `ResumeSession`: the leases that stand of those that the worker named.
    pub held: Vec<HeldJob>,
    /// Leases that it has lost: to `ResumeSession` and `ExtendSession` those that were named in
    /// vain, to `EndSession` those that had started.
    pub lost: Vec<(JobId, Token)>,
    /// To `ResumeSession`, `EndSession`: leases that were given back, as their jobs had not
    /// started.
    pub given_back: Vec<(JobId, Token)>,
    /// To `ResumeSession`, `ExtendSession`: what runs shall do other than go on.
    pub told: Vec<(JobId, Token, Instruction)>,
    /// Leases of the session after that.
    pub leases: usize,
}

/// A lease that stands, with what there is to tell of its run.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldJob {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: Token,
    /// The job's queue.
    pub queue: String,
    /// The name of its type.
    pub kind: String,
    /// 1-based.
    pub attempt: u32,
    /// Whether its worker was heard to have started the job, or may have been.
    pub started: bool,
    /// When it was granted.
    pub granted_at: TimeMs,
    /// How long its run may take, from when it is started.
    pub timeout_ms: Option<u64>,
    /// What is left of that, if it runs.
    pub timeout_left_ms: Option<u64>,
}

/// What keeps a job that waits from being handed out, its time apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BlockedBy {
    /// Another job of its ordering key comes first.
    OrderingKey {
        /// The key.
        ordering_key: String,
        /// The job that it waits for.
        job: JobId,
    },
    /// Somebody paused the job.
    JobPause,
    /// Somebody paused its queue.
    QueuePause,
    /// Nothing is left of a limit that counts it.
    Limit {
        /// The limit.
        name: String,
        /// Under which of its keys it counts the job: empty for the namespace, or the name of the
        /// queue or kind.
        key: String,
    },
    /// A gate on which it depends is closed.
    Gate {
        /// The gate.
        name: String,
        /// Why it is closed.
        reason: Option<String>,
        /// When it opens by itself.
        expires_at: Option<TimeMs>,
    },
    /// One of its tags is held.
    Hold {
        /// The tag.
        tag: String,
        /// Why.
        reason: Option<String>,
        /// The hold's epoch.
        epoch: u64,
    },
    /// Its tenant has had its turn in the queue: what other tenants have there comes first.
    TenantTurn {
        /// The tenant.
        tenant: String,
    },
    /// No worker asks for this version of its kind in its queue, or did lately.
    NoWorker {
        /// The kind.
        kind: String,
        /// The version; 0 for none.
        version: u32,
    },
}

/// A job at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Its lease, while it runs.
    pub lease: Option<Lease>,
    /// How far it has come, where a run said so or was interrupted.
    pub checkpoint: Option<Checkpoint>,
    /// Whether it stands aside until it is resumed.
    pub paused: bool,
    /// What keeps it from being handed out, while it waits.
    pub blocked_by: Vec<BlockedBy>,
    /// The moment.
    pub now: TimeMs,
}

wire_enum! {
    /// The state of a job as people see it.
    #[derive(Copy, Eq)]
    pub enum JobState {
        /// Waits for its time.
        1 => Scheduled,
        /// Could run.
        2 => Ready,
        /// Has a live lease.
        3 => Running,
        /// Waits for its next attempt after a failure.
        4 => Retrying,
        /// Ended well.
        5 => Succeeded,
        /// Failed for good.
        6 => Dead,
        /// Called off.
        7 => Cancelled,
        /// Not started in time.
        8 => Expired,
    }
}

impl JobView {
    /// The state at that moment.
    pub fn state(&self) -> JobState {
        JobState::of(&self.job, self.lease.is_some(), self.now)
    }

    /// How long its runs took together, the present one included.
    pub fn ran_ms(&self) -> u64 {
        let present = self.lease.as_ref().map_or(0, |lease| self.now.since(lease.started_at));
        self.job.ran_ms.saturating_add(present)
    }

    /// How far it is, in hundredths of a per cent: as a heartbeat of this run said last, or else
    /// a checkpoint of any.
    pub fn progress(&self) -> Option<u16> {
        let heard = self.lease.as_ref().and_then(|lease| lease.progress);
        heard.or_else(|| self.checkpoint.as_ref()?.progress)
    }

    /// How far it is, in words.
    pub fn progress_text(&self) -> Option<&str> {
        let heard = self.lease.as_ref().and_then(|lease| lease.progress_text.as_deref());
        heard.or_else(|| self.checkpoint.as_ref()?.progress_text.as_deref())
    }
}

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// What its owner set.
    pub settings: QueueSettings,
    /// Could run now.
    pub ready: u64,
    /// Wait for their time.
    pub scheduled: u64,
    /// Wait for their next attempt.
    pub retrying: u64,
    /// Wait behind another job of their ordering key, are paused, or have a tag that is held.
    pub blocked: u64,
    /// Wait at a streaming worker, which has not started them.
    pub held: u64,
    /// Have any other live lease.
    pub running: u64,
    /// Are dead.
    pub dead: u64,
    /// How long the oldest ready job has been ready.
    pub oldest_age_ms: Option<u64>,
    /// Workers that asked for it lately, whatever kinds they asked for.
    pub consumers: u64,
    /// Kinds of waiting jobs that no worker asked for lately, in the order of their names; of a
    /// queue with very many, only some.
    pub unconsumed_kinds: Vec<String>,
    /// Ever enqueued.
    pub enqueued_total: u64,
    /// Ever succeeded.
    pub succeeded_total: u64,
    /// Attempts that ever failed, timed out or were lost.
    pub failed_total: u64,
    /// Ever gone to the dead set.
    pub dead_total: u64,
    /// Ever cancelled, discarded or expired.
    pub cancelled_total: u64,
    /// What there is to tell of a queue of type *messages*.
    pub messages: Option<Box<MessageQueueView>>,
}

/// A namespace at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamespaceView {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: TimeMs,
    /// How many queues it has.
    pub queues: u64,
    /// Bytes of outcomes kept.
    pub outcome_bytes: u64,
    /// Bytes of dead jobs kept.
    pub dead_bytes: u64,
    /// Tombstones kept.
    pub tombstones: u64,
    /// Tombstones dropped before their time because there were too many.
    pub tombstones_dropped_total: u64,
    /// How many schedules it has.
    pub schedules: u64,
}
