//! Jobs: what one is, and one file per thing that happens to it.

mod cancel;
mod checkpoint;
mod enqueue;
mod expire;
mod filter;
mod heartbeat;
mod interrupt;
mod lease;
mod life;
mod moved;
mod once;
mod outcome;
mod pause;
mod reschedule;
mod retry;
mod retry_policy;
mod settle;
mod snooze;
mod withdraw;

use std::sync::Arc;

use bytes::Bytes;

pub use checkpoint::{Checkpoint, Saved, SkippedItem};
pub(crate) use enqueue::{Decision, check_defaults, check_lease, check_new_job};
pub use filter::JobFilter;
pub(crate) use life::Lives;
pub use life::{JobLife, LifeStep};
pub use retry_policy::RetryPolicy;

use crate::ids::{BodyId, Epoch, JobId, Place, TimeMs, Token};
use crate::limit::JobLimit;
use crate::schedule::Tick;
use crate::unique::UniqueLock;
use crate::wire::{wire_enum, wire_struct};

/// Kinds that begin so belong to Longshore: a worker gets them only where it asks for them by
/// name.
pub const RESERVED_KIND_PREFIX: &str = "longshore.";

/// Bodies up to this size stand inside the value that holds them; larger ones are stored apart.
pub(crate) const INLINE_BODY_BYTES_MAX: usize = 4096;

/// How long the id of a removed job is remembered, where its client chose it.
pub(crate) const TOMBSTONE_MS_OF_REMOVED: u64 = 24 * 3600 * 1000;

/// Losses in a row, without a settled run between them, after which a job is dead.
pub(crate) const LOSSES_MAX: u32 = 5;

/// Failed attempts whose errors a job keeps, the newest ones.
pub(crate) const ATTEMPT_NOTES_MAX: u32 = 100;

/// Ends of runs that a job remembers, so that a repeated settlement gets the first answer.
pub(crate) const ENDS_MAX: usize = 4;

wire_enum! {
    /// Opaque bytes, such as a job's args.
    pub enum Body {
        /// Within the value.
        1 => Inline {
            /// The bytes.
            bytes: Bytes,
        },
        /// Under a key of its own.
        2 => Stored {
            /// Where.
            id: BodyId,
            /// How many bytes.
            length: u64,
        },
    }
}

impl Body {
    /// Its size.
    pub fn length(&self) -> u64 {
        match self {
            Self::Inline { bytes } => bytes.len() as u64,
            Self::Stored { length, .. } => *length,
        }
    }
}

wire_struct! {
    /// What the producer asked for, with the queue's defaults filled in.
    pub struct JobOptions {
        /// 0 to 255, the highest first.
        pub priority: u8,
        /// At most one job of a key runs at a time, in the order of entry.
        pub ordering_key: Option<String> = 1,
        /// The first run is the last one, whatever becomes of it. What its worker gives back did
        /// not run.
        pub at_most_once: bool = 2,
        /// A job not started by then expires.
        pub expires_at: Option<TimeMs> = 3,
        /// The longest that one run may take.
        pub timeout_ms: Option<u64> = 4,
        /// The lease where the worker names none.
        pub lease_ms: Option<u64> = 5,
        /// The delay before another attempt.
        pub retry: RetryPolicy,
        /// Attempts in all, the first included.
        pub max_attempts: u32,
        /// No attempt starts later than this after the job may first start.
        pub max_age_ms: Option<u64> = 6,
        /// How long the outcome is kept.
        pub retain_ms: Option<u64> = 7,
        /// Names to find jobs by.
        pub tags: Vec<String> = 8,
        /// The producer's own JSON object, carried through.
        pub metadata: Option<Bytes> = 9,
        /// W3C Trace Context, carried through.
        pub traceparent: Option<String> = 10,
        /// The lock of its unique key, which it has or had.
        pub unique: Option<UniqueLock> = 50,
        /// The limit that it names, and its key there.
        pub limit: Option<JobLimit> = 51,
        /// Gates behind which it waits while they are closed, in the order of their names.
        pub gates: Vec<String> = 52,
        /// How many ends of jobs, told as messages, it follows from.
        pub hops: u8 = 60,
        /// Whose it is: the tenants of a queue take turns.
        pub tenant: Option<String> = 70,
        /// The version of its kind; 0 for none.
        pub version: u32 = 71,
        /// The limits that it names, with its keys there, where they are several, or where it has
        /// a tenant, too; else `limit` has the only one.
        pub limits: Vec<JobLimit> = 150,
    }
}

impl JobOptions {
    /// The limits that it names.
    pub fn own_limits(&self) -> impl Iterator<Item = &JobLimit> {
        self.limit.iter().chain(&self.limits)
    }
}

wire_enum! {
    /// Why a job is dead.
    pub enum DeadReason {
        /// Every attempt failed.
        1 => Exhausted,
        /// No further attempt could start within `max_age`.
        2 => MaxAge,
        /// Its workers were lost too often in a row.
        3 => Lost,
        /// An at-most-once run did not succeed.
        4 => AtMostOnce,
        /// It was snoozed as often as it may be, and its worker wanted to once more.
        5 => TooManySnoozes,
    }
}

wire_enum! {
    /// Why a job was cancelled.
    pub enum CancelReason {
        /// Somebody asked.
        1 => Asked,
        /// Its worker discarded it.
        2 => Discarded,
        /// Somebody ended its run without asking its worker.
        3 => Forced,
    }
}

wire_enum! {
    /// Where a job is in its life. A running one is `Waiting` or `Retrying` with a lease beside
    /// it; whether a waiting one is scheduled or ready is a question of the time.
    pub enum Phase {
        /// Not yet run, released, snoozed or lost.
        1 => Waiting,
        /// Waits after a failed attempt.
        2 => Retrying,
        /// Ended well.
        3 => Succeeded {
            /// When.
            ended_at: TimeMs,
            /// What it returned.
            result: Option<Body> = 1,
            /// The resource that it made.
            location: Option<String> = 2,
        },
        /// Failed for good; kept with its args until retried, purged or past the cap.
        4 => Dead {
            /// When.
            ended_at: TimeMs,
            /// Why.
            reason: DeadReason,
            /// Until when it is kept.
            forget_at: TimeMs,
        },
        /// Called off.
        5 => Cancelled {
            /// When.
            ended_at: TimeMs,
            /// By whom.
            reason: CancelReason,
        },
        /// Not started in time.
        6 => Expired {
            /// When.
            ended_at: TimeMs,
        },
    }
}

impl Phase {
    /// When the job ended, if it has.
    pub fn ended_at(&self) -> Option<TimeMs> {
        match self {
            Self::Waiting | Self::Retrying => None,
            Self::Succeeded { ended_at, .. }
            | Self::Dead { ended_at, .. }
            | Self::Cancelled { ended_at, .. }
            | Self::Expired { ended_at } => Some(*ended_at),
        }
    }

    /// Whether the job waits or runs.
    pub fn is_unfinished(&self) -> bool {
        self.ended_at().is_none()
    }
}

wire_enum! {
    /// How a run ended.
    pub enum EndKind {
        /// Acknowledged.
        1 => Acked,
        /// Failed.
        2 => Failed,
        /// Put off without using an attempt.
        3 => Snoozed,
        /// Given back without using an attempt.
        4 => Released,
        /// Discarded.
        5 => Discarded,
        /// Interrupted without using an attempt; another run goes on.
        6 => Interrupted,
        /// Failed, as its worker wanted to snooze it more often than a job may be.
        7 => SnoozedOut,
    }
}

wire_struct! {
    /// The end of one run, remembered for the settlement that repeats it.
    pub struct End {
        /// The lease that ended.
        pub token: Token,
        /// How.
        pub kind: EndKind,
    }
}

wire_struct! {
    /// What went wrong in one attempt, bounded by the limits.
    pub struct JobError {
        /// The class of error, such as an exception's name.
        pub kind: String,
        /// What it said.
        pub message: String,
        /// Where it was, as the worker tells it.
        pub backtrace: String,
    }
}

wire_enum! {
    /// Why an attempt did not succeed.
    pub enum Cause {
        /// The worker said so.
        1 => Failed,
        /// The run took longer than the job's `timeout`.
        2 => Timeout,
        /// The lease ran out.
        3 => Lost,
    }
}

wire_struct! {
    /// One attempt that did not succeed.
    pub struct AttemptNote {
        /// 1-based.
        pub attempt: u32,
        /// Its lease.
        pub token: Token,
        /// When it was granted.
        pub started_at: TimeMs,
        /// When it ended.
        pub ended_at: TimeMs,
        /// Who ran it.
        pub worker: String,
        /// Why it did not succeed.
        pub cause: Cause,
        /// What the worker said.
        pub error: Option<JobError> = 1,
    }
}

wire_struct! {
    /// The run that ended a job well, or called it off; runs that did not succeed are
    /// [`AttemptNote`]s.
    pub struct FinalRun {
        /// When it was granted.
        pub started_at: TimeMs,
        /// Who ran it.
        pub worker: Arc<str>,
        /// Why its worker discarded it.
        pub error: Option<JobError> = 1,
    }
}

wire_struct! {
    /// A job as it is kept.
    pub struct Job {
        /// Its identity.
        pub id: JobId,
        /// The name of its queue.
        pub queue: String,
        /// The name of its type.
        pub kind: String,
        /// Its JSON arguments; `None` once it has ended other than dead.
        pub args: Option<Body> = 1,
        /// What the producer asked for.
        pub options: JobOptions,
        /// Fingerprint of the request where the client chose the id.
        pub fingerprint: Option<[u8; 16]> = 2,
        /// Its order of entry.
        pub place: Place,
        /// When it was enqueued.
        pub enqueued_at: TimeMs,
        /// When it may start.
        pub available_at: TimeMs,
        /// No attempt starts later.
        pub deadline: Option<TimeMs> = 3,
        /// Where it is in its life.
        pub phase: Phase,
        /// Attempts that counted so far.
        pub attempt: u32 = 4,
        /// Attempts that counted when the budget last began.
        pub budget_from: u32 = 5,
        /// Losses in a row.
        pub losses: u32 = 6,
        /// The last ends of runs, the newest last.
        pub ends: Vec<End> = 7,
        /// The last error, without its backtrace.
        pub last_error: Option<JobError> = 8,
        /// The run that ended it well, or called it off.
        pub final_run: Option<FinalRun> = 9,
        /// Bytes of the notes that are kept of its attempts.
        pub notes_bytes: u64 = 10,
        /// How often it was snoozed since it was enqueued, or since it was retried when dead.
        pub snoozes: u32 = 11,
        /// How long its runs that have ended took together, however they ended.
        pub ran_ms: u64 = 12,
        /// The slot of a schedule that it stands for.
        pub tick: Option<Tick> = 40,
        /// When it could first start, where that was not when it was enqueued.
        pub due_at: Option<TimeMs> = 70,
        /// Others than who enqueued it were told that it is there: it is not withdrawn any more.
        pub told: bool = 232,
        /// Its order of entry into its queue, where it was moved there later.
        pub moved: Option<Place> = 233,
    }
}

impl Job {
    /// Its order of entry into the queue in which it is: what is about a queue is about the jobs
    /// that were in it when that began.
    pub(crate) fn entered_queue(&self) -> Place {
        self.moved.map_or(self.place, |moved| moved.max(self.place))
    }

    /// When it could first start.
    pub(crate) fn due(&self) -> TimeMs {
        self.due_at.unwrap_or(self.enqueued_at)
    }

    /// The tenant whose turns the job waits for. One that an earlier version enqueued with a key of
    /// a limit waits for that key alone.
    pub(crate) fn turns_of(&self) -> Option<&str> {
        self.options.tenant.as_deref().filter(|_| self.options.limit.is_none())
    }

    /// 255 - priority, so that the most urgent sorts first.
    pub(crate) fn urgency(&self) -> u8 {
        u8::MAX - self.options.priority
    }

    /// Whether another attempt after `attempt` is left in the budget.
    pub fn has_attempts_after(&self, attempt: u32) -> bool {
        attempt.saturating_sub(self.budget_from) < self.options.max_attempts
    }

    /// The end of a run that nobody had: a job that starts at a cursor counts as interrupted there.
    pub(crate) const STARTED_ELSEWHERE: End =
        End { token: Token { epoch: Epoch(0), counter: 0 }, kind: EndKind::Interrupted };

    /// What stands behind the ends of its runs once somebody moved it to another time: what its
    /// worker wanted holds no longer.
    pub(crate) const MOVED: End =
        End { token: Token { epoch: Epoch(0), counter: 0 }, kind: EndKind::Released };

    /// Whether a run of it has ended: only then a checkpoint may be kept beside a job that waits.
    pub(crate) fn has_run(&self) -> bool {
        self.attempt > 0 || !self.ends.is_empty() || self.last_error.is_some()
    }

    /// From which instant on it can start no more, while it waits.
    pub(crate) fn cannot_start_from(&self) -> Option<TimeMs> {
        let expires_at = self.options.expires_at.filter(|_| self.attempt == 0);
        expires_at.into_iter().chain(self.deadline).min()
    }

    /// How the run under `token` ended, where the job still remembers it.
    pub fn end_of(&self, token: Token) -> Option<&EndKind> {
        self.ends.iter().find(|end| end.token == token).map(|end| &end.kind)
    }

    /// Somebody moved it to another time. No end of a run is forgotten for that.
    pub(crate) fn note_moved(&mut self) {
        if self.ends.last().is_some_and(|end| *end != Self::MOVED) {
            self.ends.push(Self::MOVED);
        }
    }

    pub(crate) fn remember_end(&mut self, token: Token, kind: EndKind) {
        self.ends.retain(|end| *end != Self::MOVED);
        if self.ends.len() >= ENDS_MAX {
            self.ends.remove(0);
        }
        self.ends.push(End { token, kind });
    }
}

wire_struct! {
    /// A worker's exclusive right to a job, kept while it runs.
    pub struct Lease {
        /// What the worker shows to settle.
        pub token: Token,
        /// Which attempt this is, 1-based.
        pub attempt: u32,
        /// When it was granted.
        pub started_at: TimeMs,
        /// Who runs it.
        pub worker: Arc<str>,
        /// The worker's session.
        pub session: Arc<str>,
        /// How long it holds without a heartbeat.
        pub lease_ms: u64,
        /// Somebody asked to cancel the job.
        pub cancel_requested: bool = 1,
        /// 0 to 10,000: hundredths of a per cent.
        pub progress: Option<u16> = 2,
        /// What the worker says of its progress.
        pub progress_text: Option<String> = 3,
    }
}
