//! Steps of the lives of jobs, as they are told in a stream: which record is which step, and how
//! one reads as a `CloudEvent` in JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Cause, DeadReason, Job, JobError};
use crate::bounds::cut;
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::CancelReason;
use crate::message::quoted;
use crate::queueing::LiveLease;
use crate::record::{Next, Record, Upkeep};
use crate::state::State;
use crate::wire::{wire_enum, wire_struct};

/// Bytes of what a worker says of an error, at most.
const ERROR_BYTES_MAX: usize = 512;

wire_enum! {
    /// A step of a job's life.
    #[derive(Copy, Eq)]
    pub enum LifeStep {
        /// It entered its queue.
        1 => Enqueued,
        /// A worker got it.
        2 => Started,
        /// A run ended well, and the job with it.
        3 => Succeeded,
        /// An attempt did not succeed; another one follows.
        4 => Failed,
        /// It failed for good.
        5 => Dead,
        /// It was called off.
        6 => Cancelled,
        /// It was not started in time.
        7 => Expired,
        /// Its worker put it off.
        8 => Snoozed,
        /// Its worker gave it back, or it came to nobody.
        9 => Released,
        /// Its run was interrupted; another one goes on.
        10 => Interrupted,
        /// Somebody asked to cancel it while it runs.
        11 => CancelRequested,
        /// It is held back until it is resumed.
        12 => Paused,
        /// It is held back no longer.
        13 => Resumed,
        /// Dead or between two attempts, it may start again now.
        14 => Retried,
        /// It was moved to another time.
        15 => Rescheduled,
        /// What it had was replaced, as another one came with its unique key.
        16 => Replaced,
        /// It was removed, or withdrawn before any worker had it.
        17 => Removed,
        /// It went to another queue, or has another priority.
        242 => Moved,
    }
}

impl LifeStep {
    /// Its name, as it stands in the type of an event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Snoozed => "snoozed",
            Self::Released => "released",
            Self::Interrupted => "interrupted",
            Self::CancelRequested => "cancel_requested",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Retried => "retried",
            Self::Rescheduled => "rescheduled",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Moved => "moved",
        }
    }
}

wire_struct! {
    /// One step of one job.
    #[derive(Eq)]
    pub struct JobLife {
        /// The job.
        pub job: JobId,
        /// What happened.
        pub step: LifeStep,
        /// Its queue.
        pub queue: String,
        /// Its kind.
        pub kind: String,
        /// The attempt that it is about; 0 where it is about none.
        pub attempt: u32 = 1,
        /// Who ran it.
        pub worker: Option<String> = 2,
        /// Why, in a word.
        pub reason: Option<String> = 3,
        /// The class of the error.
        pub error: Option<String> = 4,
        /// What the error said.
        pub message: Option<String> = 5,
        /// When it may start, or start again.
        pub available_at: Option<TimeMs> = 6,
        /// Its priority from now on, where somebody changed that.
        pub priority: Option<u8> = 243,
        /// How many steps it follows from that were taken by themselves.
        pub hops: u8 = 254,
    }
}

impl JobLife {
    fn of(job: &Job, step: LifeStep) -> Self {
        let (queue, kind) = (job.queue.clone(), job.kind.clone());
        Self {
            job: job.id,
            step,
            queue,
            kind,
            attempt: job.attempt,
            worker: None,
            reason: None,
            error: None,
            message: None,
            available_at: None,
            priority: None,
            hops: job.options.hops,
        }
    }

    fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }

    fn with_error(self, error: Option<&JobError>) -> Self {
        let said = |text: &str| Some(cut(text, ERROR_BYTES_MAX)).filter(|text| !text.is_empty());
        let kind = error.and_then(|error| said(&error.kind));
        let message = error.and_then(|error| said(&error.message));
        Self { error: kind, message, ..self }
    }

    fn from(self, available_at: TimeMs) -> Self {
        Self { available_at: Some(available_at), ..self }
    }

    /// It as a `CloudEvent` 1.0 in JSON. `id` is the event's own.
    pub fn to_cloud_event(&self, namespace: &str, id: &str, at: TimeMs) -> String {
        let mut text = format!(
            "{{\"specversion\":\"1.0\",\"id\":{},\"source\":{},\"type\":\"longshore.job.{}\",\
             \"subject\":\"{}\",\"time\":\"{}\",\"datacontenttype\":\"application/json\",\
             \"data\":{{\"job\":\"{}\",\"queue\":{},\"kind\":{}",
            quoted(id),
            quoted(&source(namespace)),
            self.step.name(),
            self.job,
            instant(at),
            self.job,
            quoted(&self.queue),
            quoted(&self.kind),
        );
        if self.attempt > 0 {
            let _ = write!(text, ",\"attempt\":{}", self.attempt);
        }
        let texts = [
            ("worker", &self.worker),
            ("reason", &self.reason),
            ("error", &self.error),
            ("message", &self.message),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                let _ = write!(text, ",\"{name}\":{}", quoted(value));
            }
        }
        if let Some(at) = self.available_at {
            let _ = write!(text, ",\"available_at\":\"{}\"", instant(at));
        }
        if let Some(priority) = self.priority {
            let _ = write!(text, ",\"priority\":{priority}");
        }
        text.push_str("}}");
        text
    }
}

/// Where the jobs of a namespace are, as a reference of a URI (RFC 3986).
fn source(namespace: &str) -> String {
    let mut text = "/v1/namespaces/".to_owned();
    for byte in namespace.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into());
            }
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text.push_str("/jobs");
    text
}

/// An instant as RFC 3339 writes it, in milliseconds.
fn instant(at: TimeMs) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::MAX))
}

fn word_of_dead(reason: &DeadReason) -> &'static str {
    match reason {
        DeadReason::Exhausted => "exhausted",
        DeadReason::MaxAge => "max_age",
        DeadReason::Lost => "lost",
        DeadReason::AtMostOnce => "at_most_once",
        DeadReason::TooManySnoozes => "too_many_snoozes",
    }
}

fn word_of_cancelled(reason: &CancelReason) -> &'static str {
    match reason {
        CancelReason::Asked => "asked",
        CancelReason::Discarded => "discarded",
        CancelReason::Forced => "forced",
    }
}

fn word_of_cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::Failed => "failed",
        Cause::Timeout => "timeout",
        Cause::Lost => "lost",
    }
}

/// Steps that records are, of the namespaces that want to know.
pub(crate) struct Lives<'a> {
    state: &'a State,
    /// Jobs that enter with the same records: the state has them afterwards.
    entering: BTreeMap<(NamespaceId, JobId), &'a Job>,
    /// Each with the namespace of its job.
    pub(crate) told: Vec<(NamespaceId, JobLife)>,
    /// Steps of jobs that are not there.
    pub(crate) untold: u64,
}

impl State {
    /// The steps that records are which are about to be recorded together.
    pub(crate) fn lives_of<'a>(&'a self, records: &'a [Record]) -> Lives<'a> {
        let (entering, told) = (BTreeMap::new(), Vec::new());
        let mut lives = Lives { state: self, entering, told, untold: 0 };
        for record in records {
            lives.add(record);
        }
        lives
    }
}

impl<'a> Lives<'a> {
    /// Tells a step of a job, if anybody wants to know.
    fn tell(
        &mut self,
        (namespace, id): (&NamespaceId, &JobId),
        step: LifeStep,
        change: impl FnOnce(JobLife) -> JobLife,
    ) {
        if !self.state.tells_lives_of(*namespace) {
            return;
        }
        let life = match self.entering.get(&(*namespace, *id)) {
            Some(job) => Some(JobLife::of(job, step)),
            None => self.state.job(*namespace, *id).map(|job| JobLife::of(&job, step)),
        };
        let Some(life) = life else {
            self.untold += 1;
            return;
        };
        let lease = self.state.leases.get(*namespace, *id).map(LiveLease::lease);
        let worker = lease.map(|lease| lease.worker.to_string());
        let attempt = lease.map_or(life.attempt, |lease| lease.attempt);
        self.told.push((*namespace, change(JobLife { attempt, worker, ..life })));
    }

    fn add(&mut self, record: &'a Record) {
        match record {
            Record::JobEnqueued { namespace, job } => {
                if self.state.tells_lives_of(*namespace) {
                    self.entering.insert((*namespace, job.id), job);
                    let life = JobLife::of(job, LifeStep::Enqueued).from(job.available_at);
                    self.told.push((*namespace, life));
                }
            }
            Record::LeasesGranted { namespace, worker, grants, .. } => {
                for grant in grants {
                    self.tell((namespace, &grant.id), LifeStep::Started, |life| JobLife {
                        attempt: life.attempt + 1,
                        worker: Some(worker.clone()),
                        ..life
                    });
                }
            }
            Record::Upkeep { fact } => self.add_upkeep(fact),
            _ => self.add_step(record),
        }
    }

    fn add_upkeep(&mut self, fact: &Upkeep) {
        match fact {
            Upkeep::JobMoved { namespace, id, queue, priority, .. } => {
                self.tell((namespace, id), LifeStep::Moved, |life| JobLife {
                    queue: queue.clone().unwrap_or(life.queue),
                    priority: *priority,
                    ..life
                });
            }
            Upkeep::JobWithdrawn { namespace, id } => {
                self.tell((namespace, id), LifeStep::Removed, |life| life.because("withdrawn"));
            }
            Upkeep::LimitChanged { .. }
            | Upkeep::LimitKeysSettled { .. }
            | Upkeep::LimitKeySettled { .. }
            | Upkeep::SlaMinutesRemoved { .. }
            | Upkeep::LineMoved { .. }
            | Upkeep::JobTold { .. }
            | Upkeep::LivesTold { .. }
            | Upkeep::KeysForgotten { .. } => {}
        }
    }

    /// The step of the one job that a record is about, if it is about one.
    fn add_step(&mut self, record: &Record) {
        use LifeStep as Step;
        let (of, step) = match record {
            Record::AttemptFailed { .. } => return self.add_failure(record),
            Record::JobDied { namespace, id, reason, .. } => {
                let why = word_of_dead(reason);
                return self.tell((namespace, id), Step::Dead, |life| life.because(why));
            }
            Record::JobCancelled { namespace, id, reason, error, .. } => {
                let why = word_of_cancelled(reason);
                return self.tell((namespace, id), Step::Cancelled, |life| {
                    life.because(why).with_error(error.as_ref())
                });
            }
            Record::JobSnoozed { namespace, id, available_at, .. } => {
                return self.tell((namespace, id), Step::Snoozed, |life| life.from(*available_at));
            }
            Record::JobInterrupted { namespace, id, reason, available_at, .. } => {
                return self.tell((namespace, id), Step::Interrupted, |life| {
                    let life = life.because(&cut(reason, ERROR_BYTES_MAX));
                    JobLife { available_at: *available_at, ..life }
                });
            }
            Record::JobRescheduled { namespace, id, available_at } => {
                let at = *available_at;
                return self.tell((namespace, id), Step::Rescheduled, |life| life.from(at));
            }
            Record::JobReplaced { namespace, id, available_at, .. } => {
                let available_at = *available_at;
                return self.tell((namespace, id), Step::Replaced, |life| JobLife {
                    available_at,
                    ..life
                });
            }
            Record::JobSucceeded { namespace, id, .. } => ((namespace, id), Step::Succeeded),
            Record::JobReleased { namespace, id, .. } => ((namespace, id), Step::Released),
            Record::JobExpired { namespace, id } => ((namespace, id), Step::Expired),
            Record::CancelRequested { namespace, id } => ((namespace, id), Step::CancelRequested),
            Record::JobPaused { namespace, id } => ((namespace, id), Step::Paused),
            Record::JobResumed { namespace, id } => ((namespace, id), Step::Resumed),
            Record::JobRetried { namespace, id, .. } => ((namespace, id), Step::Retried),
            Record::JobRemoved { namespace, id } => ((namespace, id), Step::Removed),
            _ => return,
        };
        self.tell(of, step, |life| life);
    }

    fn add_failure(&mut self, record: &Record) {
        let Record::AttemptFailed { namespace, id, cause, error, next, .. } = record else {
            return;
        };
        let (step, why, at) = match next {
            Next::Dead { reason, .. } => (LifeStep::Dead, word_of_dead(reason), None),
            // It was asked to be cancelled while it ran.
            Next::Cancelled => (LifeStep::Cancelled, word_of_cancelled(&CancelReason::Asked), None),
            Next::RetryAt { available_at } => {
                (LifeStep::Failed, word_of_cause(cause), Some(*available_at))
            }
            Next::Requeue | Next::Resume => (LifeStep::Failed, word_of_cause(cause), None),
        };
        self.tell((namespace, id), step, |life| JobLife {
            available_at: at,
            ..life.with_error(error.as_ref()).because(why)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_as_a_cloud_event() {
        let life = JobLife {
            job: JobId([0x44; 16]),
            step: LifeStep::Failed,
            queue: "mail \"out\"".to_owned(),
            kind: "Send".to_owned(),
            attempt: 2,
            worker: Some("w".to_owned()),
            reason: Some("timeout".to_owned()),
            error: None,
            message: None,
            available_at: Some(TimeMs(1_700_000_000_000)),
            priority: Some(7),
            hops: 0,
        };
        let text = life.to_cloud_event("shop/eu", "9-17", TimeMs(1_700_000_000_500));
        let job = "44444444-4444-4444-4444-444444444444";
        let expected = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"9-17\",\
             \"source\":\"/v1/namespaces/shop%2Feu/jobs\",\
             \"type\":\"longshore.job.failed\",\"subject\":\"{job}\",\
             \"time\":\"2023-11-14T22:13:20.500Z\",\"datacontenttype\":\"application/json\",\
             \"data\":{{\"job\":\"{job}\",\"queue\":\"mail \\\"out\\\"\",\"kind\":\"Send\",\
             \"attempt\":2,\"worker\":\"w\",\"reason\":\"timeout\",\
             \"available_at\":\"2023-11-14T22:13:20.000Z\",\"priority\":7}}}}"
        );
        assert_eq!(text, expected);
    }
}
