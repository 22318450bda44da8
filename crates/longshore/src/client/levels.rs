//! Service levels.

use std::time::Duration;

use longshore_proto::v1;
use longshore_proto::v1::sla_settings::{Goal, On};
use serde_json::Value;

use super::schedules::template;
use super::{Client, ClientError};
use crate::options::span_ms;
use crate::{Job, JobError, JobOptions};

/// A service level as it is to be: see [`Client::put_sla`]. Unless another share is named, it is
/// promised of 99 % of the jobs.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is nothing before it is put"]
pub struct SlaSettings(v1::SlaSettings);

impl SlaSettings {
    fn new(on: On, goal: Goal) -> Self {
        let (on, goal) = (Some(on), Some(goal));
        Self(v1::SlaSettings { on, goal, share: None, breach: None })
    }

    /// A job of the queue is handed out so soon after it may start.
    pub fn queue_started_within(queue: impl Into<String>, span: Duration) -> Self {
        Self::new(On::Queue(queue.into()), Goal::StartedWithinMs(span_ms(span)))
    }

    /// A job of the queue has succeeded so soon after it may first start.
    pub fn queue_done_within(queue: impl Into<String>, span: Duration) -> Self {
        Self::new(On::Queue(queue.into()), Goal::DoneWithinMs(span_ms(span)))
    }

    /// A job of that type, in whatever version, is handed out so soon after it may start.
    pub fn started_within<J: Job>(span: Duration) -> Self {
        Self::new(On::Kind(J::KIND.to_owned()), Goal::StartedWithinMs(span_ms(span)))
    }

    /// A job of that type, in whatever version, has succeeded so soon after it may first start.
    pub fn done_within<J: Job>(span: Duration) -> Self {
        Self::new(On::Kind(J::KIND.to_owned()), Goal::DoneWithinMs(span_ms(span)))
    }

    /// So much time passes at most between two successes of a schedule.
    pub fn at_least_every(schedule: impl Into<String>, span: Duration) -> Self {
        Self::new(On::Schedule(schedule.into()), Goal::AtLeastEveryMs(span_ms(span)))
    }

    /// For which share of the jobs: more than 0 and less than 1.
    pub fn share(mut self, share: f64) -> Self {
        self.0.share = Some(share);
        self
    }

    /// The job that is enqueued when the level is breached.
    pub fn on_breach<J: Job>(mut self, job: &J, options: JobOptions) -> Result<Self, JobError> {
        self.0.breach = Some(template(job, options)?);
        Ok(self)
    }
}

/// A service level as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sla {
    /// Its name.
    pub name: String,
    /// Whether it is breached.
    pub breached: bool,
    /// The share that was kept in the last hour; none where nothing was measured.
    pub attained: Option<f64>,
    /// Jobs that wait and have missed the goal; counted up to 100.
    pub late: u64,
    /// Jobs that wait and have less than half of the time left; counted up to 100.
    pub at_risk: u64,
    /// Workers of one job at a time that it needs now; none where that is not known yet.
    pub workers_needed: Option<u64>,
    /// All that is known of it, as the HTTP API tells it.
    pub record: Value,
}

impl Sla {
    fn from_wire(of: v1::Sla) -> Self {
        Self {
            name: of.name,
            breached: of.breached_since_unix_ms.is_some(),
            attained: of.attained,
            late: of.late,
            at_risk: of.at_risk,
            workers_needed: of.workers_needed,
            record: serde_json::from_slice(&of.record).unwrap_or_default(),
        }
    }
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $method:ident, $message:expr) => {{
        let client = $self.levels()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await.answer?
    }};
}

impl Client {
    /// Creates a service level or changes it. It can be repeated.
    pub async fn put_sla(&self, name: &str, settings: SlaSettings) -> Result<Sla, ClientError> {
        let (namespace, name) = (self.namespace().into(), name.into());
        let message = v1::PutSlaRequest { namespace, name, settings: Some(settings.0) };
        Ok(Sla::from_wire(ask!(self, put_sla, message)))
    }

    /// Removes a service level.
    pub async fn delete_sla(&self, name: &str) -> Result<(), ClientError> {
        let message = v1::SlaRequest { namespace: self.namespace().into(), name: name.into() };
        ask!(self, delete_sla, message);
        Ok(())
    }

    /// The service levels of the namespace, in the order of their names.
    pub async fn slas(&self) -> Result<Vec<Sla>, ClientError> {
        let message = v1::ListSlasRequest { namespace: self.namespace().into() };
        let list = ask!(self, list_slas, message);
        Ok(list.slas.into_iter().map(Sla::from_wire).collect())
    }

    /// One service level.
    pub async fn sla(&self, name: &str) -> Result<Sla, ClientError> {
        let message = v1::SlaRequest { namespace: self.namespace().into(), name: name.into() };
        Ok(Sla::from_wire(ask!(self, get_sla, message)))
    }
}
