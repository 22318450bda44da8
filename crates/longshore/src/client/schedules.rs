//! Schedules: jobs at times.

use std::time::{Duration, SystemTime};

use longshore_proto::v1;
use longshore_proto::v1::schedule_settings::When;
use longshore_proto::v1::set_next_slot_request::Next;

use super::operate::Start;
use super::{Client, ClientError};
use crate::options::{span_ms, unix_ms};
use crate::{Job, JobError, JobOptions};

/// A schedule as it is to be: see [`Client::put_schedule`]. What is not said is as the server has
/// it by itself: one job for all slots that were missed, and jobs may overlap.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is nothing before it is put"]
pub struct Schedule(v1::ScheduleSettings);

/// A job that the server is to enqueue by itself, each time with an id that it makes.
pub(super) fn template<J: Job>(job: &J, options: JobOptions) -> Result<v1::NewJob, JobError> {
    let mut options = options.over(job.options());
    options.queue.get_or_insert_with(|| J::QUEUE.to_owned());
    let args = serde_json::to_vec(job).map_err(|error| {
        JobError::new("args_not_json", format!("a {} is no JSON: {error}", J::KIND))
    })?;
    let job = options.into_wire::<J>(args.into());
    Ok(v1::NewJob { id: String::new(), ..job })
}

impl Schedule {
    fn new<J: Job>(when: When, job: &J, options: JobOptions) -> Result<Self, JobError> {
        let job = Some(template(job, options)?);
        Ok(Self(v1::ScheduleSettings { when: Some(when), job, ..v1::ScheduleSettings::default() }))
    }

    /// At the wall times of a cron expression: five fields, six with seconds first, or `@daily`. In
    /// UTC unless a time zone is named.
    pub fn cron<J: Job>(
        text: impl Into<String>,
        job: &J,
        options: JobOptions,
    ) -> Result<Self, JobError> {
        Self::new(When::Cron(text.into()), job, options)
    }

    /// Again and again, so long after the slot before.
    pub fn every<J: Job>(period: Duration, job: &J, options: JobOptions) -> Result<Self, JobError> {
        Self::new(When::EveryMs(span_ms(period)), job, options)
    }

    /// The time zone of a cron expression, by its IANA name.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.0.time_zone = name.into();
        self
    }

    /// Each slot is put off by up to so much, always the same for the same slot.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.0.jitter_ms = span_ms(most);
        self
    }

    /// No slot before this instant.
    pub fn starts_at(mut self, at: SystemTime) -> Self {
        self.0.starts_at_unix_ms = Some(unix_ms(at));
        self
    }

    /// No slot after this instant.
    pub fn ends_at(mut self, at: SystemTime) -> Self {
        self.0.ends_at_unix_ms = Some(unix_ms(at));
        self
    }

    /// What becomes of slots that passed while nobody could fire them.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.0.missed = match missed {
            Missed::Skip => "skip".to_owned(),
            Missed::One => "one".to_owned(),
            Missed::All => "all".to_owned(),
            Missed::Within(span) => format!("within {}ms", span_ms(span)),
        };
        self
    }

    /// What a slot does while jobs of earlier ones have not ended.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        let word = match overlap {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
            Overlap::QueueOne => "queue_one",
            Overlap::CancelPrevious => "cancel_previous",
        };
        word.clone_into(&mut self.0.overlap);
        self
    }

    /// For people.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.0.description = text.into();
        self
    }
}

/// What becomes of slots that passed while nobody could fire them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// They are passed over.
    Skip,
    /// One job stands for all of them.
    One,
    /// Each is made up for, up to 1000.
    All,
    /// Each that is not older.
    Within(Duration),
}

/// What a slot does while jobs of earlier ones have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It enqueues its job all the same.
    Allow,
    /// It passes.
    Skip,
    /// Its job waits for the end of the one before; where one waits so already, it passes.
    QueueOne,
    /// It cancels them and enqueues its job.
    CancelPrevious,
}

/// A schedule as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScheduleRecord {
    /// Its name.
    pub name: String,
    /// Nothing comes until it is resumed.
    pub paused: bool,
    /// The slot that comes next.
    pub next: Option<SystemTime>,
    /// The last slot that was.
    pub last: Option<SystemTime>,
    /// What came of it: `enqueued`, `skipped`, `missed` or `refused`; empty before the first.
    pub last_outcome: String,
    /// Its job.
    pub last_job: String,
    /// Slots that enqueued a job.
    pub enqueued_total: u64,
    /// The whole record as the HTTP API tells it: JSON.
    pub record: Vec<u8>,
}

fn instant(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

impl ScheduleRecord {
    fn from_wire(of: v1::Schedule) -> Self {
        Self {
            name: of.name,
            paused: of.paused,
            next: of.next_at_unix_ms.map(instant),
            last: of.last_slot_unix_ms.map(instant),
            last_outcome: of.last_outcome,
            last_job: of.last_job,
            enqueued_total: of.enqueued_total,
            record: of.record.to_vec(),
        }
    }
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $method:ident, $message:expr) => {{
        let client = $self.schedules()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await.answer?
    }};
}

impl Client {
    /// Creates a schedule or replaces its settings. It can be repeated: what is the same already
    /// changes nothing.
    pub async fn put_schedule(
        &self,
        name: &str,
        schedule: Schedule,
    ) -> Result<ScheduleRecord, ClientError> {
        let namespace = self.namespace().into();
        let settings = Some(schedule.0);
        let message = v1::PutScheduleRequest { namespace, name: name.into(), settings };
        Ok(ScheduleRecord::from_wire(ask!(self, put_schedule, message)))
    }

    /// A schedule as it is.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleRecord, ClientError> {
        let message = self.of_schedule(name);
        Ok(ScheduleRecord::from_wire(ask!(self, get_schedule, message)))
    }

    /// One page of schedules; an empty `cursor` begins. Returns where to go on, empty at the end.
    pub async fn list_schedules(
        &self,
        cursor: &str,
    ) -> Result<(Vec<ScheduleRecord>, String), ClientError> {
        let (namespace, cursor) = (self.namespace().into(), cursor.into());
        let message = v1::ListSchedulesRequest { namespace, cursor, limit: 0 };
        let page = ask!(self, list_schedules, message);
        Ok((page.schedules.into_iter().map(ScheduleRecord::from_wire).collect(), page.next))
    }

    /// Removes a schedule. Its jobs stay.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), ClientError> {
        let message = self.of_schedule(name);
        ask!(self, delete_schedule, message);
        Ok(())
    }

    /// Lets no slot come until it is resumed.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleRecord, ClientError> {
        let message = self.of_schedule(name);
        Ok(ScheduleRecord::from_wire(ask!(self, pause_schedule, message)))
    }

    /// Lets slots come from now on.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleRecord, ClientError> {
        let message = self.of_schedule(name);
        Ok(ScheduleRecord::from_wire(ask!(self, resume_schedule, message)))
    }

    /// Enqueues its job now; returns the job's id. Where an answer is lost, the call is repeated,
    /// and there may be two jobs.
    pub async fn run_schedule(&self, name: &str) -> Result<String, ClientError> {
        let message = self.of_schedule(name);
        Ok(ask!(self, run_schedule, message).job)
    }

    /// Says when the next slot comes; what follows goes on from there.
    pub async fn set_next_slot(
        &self,
        name: &str,
        start: Start,
    ) -> Result<ScheduleRecord, ClientError> {
        let next = Some(match start {
            Start::Now => Next::InMs(0),
            Start::In(delay) => Next::InMs(span_ms(delay)),
            Start::At(at) => Next::AtUnixMs(unix_ms(at)),
        });
        let namespace = self.namespace().into();
        let message = v1::SetNextSlotRequest { namespace, name: name.into(), next };
        Ok(ScheduleRecord::from_wire(ask!(self, set_next_slot, message)))
    }

    /// The slots that come, up to so many.
    pub async fn next_slots(&self, name: &str, most: u32) -> Result<Vec<SystemTime>, ClientError> {
        let (namespace, name) = (self.namespace().into(), name.into());
        let message = v1::ListSlotsRequest { namespace, name, limit: most };
        let slots = ask!(self, list_slots, message).slots;
        Ok(slots.into_iter().map(|slot| instant(slot.at_unix_ms)).collect())
    }

    fn of_schedule(&self, name: &str) -> v1::ScheduleRequest {
        v1::ScheduleRequest { namespace: self.namespace().into(), name: name.into() }
    }
}
