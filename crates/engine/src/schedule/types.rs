//! What a schedule is, and what is known of how far it has come.

use bytes::Bytes;

use crate::command::{NewJob, Start};
use crate::ids::{JobId, NamespaceId, ScheduleId, TimeMs};
use crate::job::RetryPolicy;
use crate::limit::JobLimit;
use crate::unique::TemplateUnique;
use crate::wire::{wire_enum, wire_struct};

wire_enum! {
    /// When a schedule fires.
    pub enum Spec {
        /// At the wall times that a cron expression names, in the schedule's time zone.
        1 => Cron {
            /// Five fields, or six with seconds first, or a name such as `@daily`.
            text: String,
        },
        /// Again and again, so long after the slot before: elapsed time, whatever the wall clock
        /// does.
        2 => Every {
            /// Milliseconds.
            period_ms: u64,
        },
    }
}

wire_enum! {
    /// What becomes of slots that passed while nobody could fire them. A slot is missed where a
    /// later one is due as well, or it is more than a minute late.
    #[derive(Copy, Eq)]
    pub enum Missed {
        /// They are passed over.
        1 => Skip,
        /// One job stands for all of them.
        2 => One,
        /// Each is made up for, the oldest first, up to 1000 in a row.
        3 => All,
        /// As `All`, but for slots older than this, which are passed over.
        4 => Within {
            /// Milliseconds.
            ms: u64,
        },
    }
}

wire_enum! {
    /// What a slot does while jobs of earlier ones have not ended.
    #[derive(Copy, Eq)]
    pub enum Overlap {
        /// It enqueues its job all the same.
        1 => Allow,
        /// It passes.
        2 => Skip,
        /// Its job waits for the end of the one before; where one waits so already, it passes.
        3 => QueueOne,
        /// It calls them off, as somebody would who asks, and enqueues its job.
        4 => CancelPrevious,
    }
}

wire_struct! {
    /// The job that each slot enqueues.
    pub struct JobTemplate {
        /// Its queue.
        pub queue: String,
        /// The name of its type.
        pub kind: String,
        /// JSON text.
        pub args: Bytes,
        /// As in [`NewJob`], like all that follows.
        pub priority: Option<u8> = 1,
        /// Its ordering key.
        pub ordering_key: Option<String> = 2,
        /// Whether the first run is the last one.
        pub at_most_once: bool = 3,
        /// It expires unless started within this.
        pub ttl_ms: Option<u64> = 4,
        /// The longest that one run may take.
        pub timeout_ms: Option<u64> = 5,
        /// The lease where the worker names none.
        pub lease_ms: Option<u64> = 6,
        /// The delay before another attempt.
        pub retry: Option<RetryPolicy> = 7,
        /// Attempts in all.
        pub max_attempts: Option<u32> = 8,
        /// A deadline for all attempts.
        pub max_age_ms: Option<u64> = 9,
        /// How long the outcome is kept.
        pub retain_ms: Option<u64> = 10,
        /// Names to find jobs by.
        pub tags: Vec<String> = 11,
        /// The producer's own JSON object.
        pub metadata: Option<Bytes> = 12,
        /// Gates behind which it waits while they are closed.
        pub gates: Vec<String> = 50,
        /// The limit that it names, and its key there.
        pub limit: Option<JobLimit> = 51,
        /// Whose it is: the tenants of a queue take turns.
        pub tenant: Option<String> = 70,
        /// The version of its kind; 0 for none.
        pub version: u32 = 71,
        /// How its jobs are to be unique.
        pub unique: Option<Box<TemplateUnique>> = 72,
        /// Further limits that its jobs name.
        pub limits: Vec<JobLimit> = 150,
    }
}

impl JobTemplate {
    /// The template of a job that a producer described. What only one job can have (an id, a time,
    /// a trace) is left out, and how it is unique, which is said apart.
    pub fn of(queue: String, job: NewJob) -> Self {
        let ttl_ms = match job.expiry {
            Some(Start::After(ttl_ms)) => Some(ttl_ms),
            Some(Start::At(_)) | None => None,
        };
        Self {
            queue,
            kind: job.kind,
            args: job.args,
            priority: job.priority,
            ordering_key: job.ordering_key,
            at_most_once: job.at_most_once,
            ttl_ms,
            timeout_ms: job.timeout_ms,
            lease_ms: job.lease_ms,
            retry: job.retry,
            max_attempts: job.max_attempts,
            max_age_ms: job.max_age_ms,
            retain_ms: job.retain_ms,
            tags: job.tags,
            metadata: job.metadata,
            gates: job.gates,
            limit: job.limit,
            limits: job.limits,
            tenant: job.tenant,
            version: job.version,
            unique: None,
        }
    }

    /// A job of it.
    pub(crate) fn job(&self, id: JobId, tick: Option<Tick>) -> NewJob {
        let mut job = NewJob::new(id, self.kind.clone(), self.args.clone());
        job.priority = self.priority;
        job.ordering_key.clone_from(&self.ordering_key);
        job.at_most_once = self.at_most_once;
        job.expiry = self.ttl_ms.map(Start::After);
        job.timeout_ms = self.timeout_ms;
        job.lease_ms = self.lease_ms;
        job.retry.clone_from(&self.retry);
        job.max_attempts = self.max_attempts;
        job.max_age_ms = self.max_age_ms;
        job.retain_ms = self.retain_ms;
        job.tags.clone_from(&self.tags);
        job.metadata.clone_from(&self.metadata);
        job.gates.clone_from(&self.gates);
        job.limit.clone_from(&self.limit);
        job.limits.clone_from(&self.limits);
        job.tenant.clone_from(&self.tenant);
        job.version = self.version;
        job.unique = self.unique.as_ref().map(|unique| unique.of_job());
        job.tick = tick;
        job
    }
}

wire_struct! {
    /// A schedule as its owner wants it.
    pub struct NewSchedule {
        /// When it fires.
        pub spec: Spec,
        /// The time zone of a cron expression, by its IANA name.
        pub zone: String,
        /// What it enqueues.
        pub job: JobTemplate,
        /// Each slot is put off by up to so much, always the same for the same slot; never as far
        /// as the slot after it.
        pub jitter_ms: u64 = 1,
        /// No slot before this instant.
        pub starts_at: Option<TimeMs> = 2,
        /// No slot after this instant.
        pub ends_at: Option<TimeMs> = 3,
        /// What becomes of slots that passed.
        pub missed: Missed,
        /// What a slot does while earlier jobs have not ended.
        pub overlap: Overlap,
        /// For people.
        pub description: Option<String> = 4,
        /// Where it comes from, such as the file that it was imported from.
        pub source: Option<String> = 5,
    }
}

impl NewSchedule {
    /// A schedule with nothing but the essentials: in UTC, one job for what was missed, jobs may
    /// overlap.
    pub fn new(spec: Spec, job: JobTemplate) -> Self {
        Self {
            spec,
            zone: "UTC".to_owned(),
            job,
            jitter_ms: 0,
            starts_at: None,
            ends_at: None,
            missed: Missed::One,
            overlap: Overlap::Allow,
            description: None,
            source: None,
        }
    }

    /// Whether both have the same slots.
    pub(crate) fn has_slots_of(&self, other: &Self) -> bool {
        (&self.spec, &self.zone, self.jitter_ms, self.starts_at, self.ends_at)
            == (&other.spec, &other.zone, other.jitter_ms, other.starts_at, other.ends_at)
    }
}

wire_struct! {
    /// A schedule as it is kept.
    pub struct Schedule {
        /// Its number in the shard: another one that is given its name later is not it.
        pub id: ScheduleId,
        /// Its namespace.
        pub namespace: NamespaceId,
        /// Its name.
        pub name: String,
        /// What its owner wants.
        pub settings: NewSchedule,
        /// When it was created.
        pub created_at: TimeMs,
        /// When its owner changed it last.
        pub changed_at: TimeMs,
    }
}

wire_struct! {
    /// One time at which a schedule fires.
    #[derive(Copy, Eq)]
    pub struct Slot {
        /// The instant of the wall time that it stands for.
        pub at: TimeMs,
        /// When it is due: later than that by its jitter.
        pub due: TimeMs,
    }
}

wire_enum! {
    /// What a slot brought about.
    #[derive(Eq)]
    pub enum TickOutcome {
        /// Its job.
        1 => Enqueued,
        /// Nothing, since jobs of earlier slots had not ended, or another job has its unique key.
        2 => Skipped,
        /// Nothing, since it was missed.
        3 => Missed,
        /// Nothing: its job was refused, or there are no slots.
        4 => Refused {
            /// The code of the refusal.
            code: String,
        },
    }
}

wire_struct! {
    /// The last tick of a schedule.
    pub struct LastTick {
        /// Its slot.
        pub slot: TimeMs,
        /// When it happened.
        pub at: TimeMs,
        /// What it brought about.
        pub outcome: TickOutcome,
        /// The job that it enqueued.
        pub job: Option<JobId> = 1,
        /// Somebody asked for it.
        pub by_hand: bool = 2,
    }
}

wire_struct! {
    /// How far a schedule has come.
    #[derive(Default)]
    pub struct ScheduleState {
        /// The slot that comes next; `None` where none does, or it is paused.
        pub next: Option<Slot> = 1,
        /// Nothing comes until somebody resumes it.
        pub paused: bool = 2,
        /// The last tick.
        pub last: Option<LastTick> = 3,
        /// Jobs that had not ended at the last tick, the oldest first, where that matters.
        pub live: Vec<JobId> = 4,
        /// Missed slots in a row that were made up for.
        pub made_up: u32 = 5,
        /// Slots that enqueued a job.
        pub enqueued_total: u64 = 6,
        /// Slots that were passed over as missed, as far as they were counted.
        pub missed_total: u64 = 7,
        /// Slots that passed since earlier jobs had not ended.
        pub skipped_total: u64 = 8,
        /// Slots whose job was refused.
        pub refused_total: u64 = 9,
    }
}

wire_struct! {
    /// What all schedules of a shard ever did.
    #[derive(Copy, Default, Eq)]
    pub struct ScheduleTotals {
        /// Slots that enqueued a job.
        pub enqueued: u64 = 1,
        /// Slots that were passed over as missed, as far as they were counted.
        pub missed: u64 = 2,
        /// Slots that passed since earlier jobs had not ended.
        pub skipped: u64 = 3,
        /// Slots whose job was refused.
        pub refused: u64 = 4,
        /// How long after it was due the last slot fired, in milliseconds.
        pub last_lag_ms: u64 = 5,
    }
}

impl ScheduleTotals {
    pub(crate) const NONE: Self =
        Self { enqueued: 0, missed: 0, skipped: 0, refused: 0, last_lag_ms: 0 };
}

wire_struct! {
    /// The slot that a job stands for.
    pub struct Tick {
        /// Its schedule.
        pub schedule: ScheduleId,
        /// The name of the schedule.
        pub name: String,
        /// The slot; where somebody asked for it, when.
        pub slot: TimeMs,
        /// Somebody asked for it.
        pub by_hand: bool = 1,
    }
}

/// A schedule at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleView {
    /// The schedule.
    pub schedule: Schedule,
    /// How far it has come.
    pub state: ScheduleState,
}

/// What people ask of one schedule.
#[derive(Clone, Debug)]
pub enum ScheduleCommand {
    /// Create it, or replace its settings.
    Put {
        /// What is to hold.
        settings: Box<NewSchedule>,
        /// Whether it is paused; `None` leaves that as it is.
        paused: Option<bool>,
    },
    /// Remove it. Its jobs stay.
    Delete,
    /// Let nothing come until it is resumed.
    Pause,
    /// Go on with the first slot from now on.
    Resume,
    /// Enqueue its job now, beside its slots.
    Run,
    /// Let the next slot be then; what follows goes on from there.
    SetNext(Start),
    /// Describe it.
    Get,
}
