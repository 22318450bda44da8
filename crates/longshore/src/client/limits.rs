//! Limits at dispatch: how many jobs run, or start in a time.

use std::time::Duration;

use longshore_proto::v1;
use longshore_proto::v1::limit_settings::Rule;

use super::{Client, ClientError};
use crate::Job;
use crate::options::span_ms;

/// A limit as it is to be: see [`Client::put_limit`]. What it counts by itself and in which way
/// stays as long as it exists; its numbers may be put anew.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is nothing before it is put"]
pub struct LimitSettings(v1::LimitSettings);

impl LimitSettings {
    fn new(rule: Rule) -> Self {
        let (scope, of) = ("namespace".to_owned(), String::new());
        Self(v1::LimitSettings { scope, of, rule: Some(rule) })
    }

    /// So many jobs run at a time.
    pub fn concurrency(most: u64) -> Self {
        Self::new(Rule::Concurrency(most))
    }

    /// So many jobs start in each period.
    pub fn window(max: u64, per: Duration) -> Self {
        Self::new(Rule::Window(v1::LimitWindow { max, per_ms: span_ms(per) }))
    }

    /// As many jobs start as there are tokens: `burst` at most and at first, `count` more in each
    /// period.
    pub fn bucket(burst: u64, count: u64, per: Duration) -> Self {
        Self::new(Rule::Bucket(v1::LimitBucket { burst, count, per_ms: span_ms(per) }))
    }

    fn scope(mut self, scope: &str, of: String) -> Self {
        (self.0.scope, self.0.of) = (scope.to_owned(), of);
        self
    }

    /// The jobs of each queue by themselves, instead of all of the namespace together.
    pub fn of_each_queue(self) -> Self {
        self.scope("queue", String::new())
    }

    /// Only the jobs of this queue.
    pub fn of_queue(self, queue: impl Into<String>) -> Self {
        self.scope("queue", queue.into())
    }

    /// The jobs of each kind by themselves.
    pub fn of_each_kind(self) -> Self {
        self.scope("kind", String::new())
    }

    /// Only the jobs of this type, in whatever version.
    pub fn of_kind<J: Job>(self) -> Self {
        self.scope("kind", J::KIND.to_owned())
    }

    /// The jobs of each key that jobs name themselves.
    pub fn of_each_key(self) -> Self {
        self.scope("key", String::new())
    }
}

/// A limit as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// Where it is about how many run: jobs that run and that it counts.
    pub running: u64,
    /// Keys, queues or kinds that it holds back now; counted up to 1000.
    pub spent: u64,
    /// Jobs that wait behind these; counted up to 1000.
    pub waiting: u64,
}

impl Limit {
    fn from_wire(of: v1::Limit) -> Self {
        Self { name: of.name, running: of.running, spent: of.spent, waiting: of.waiting }
    }
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $method:ident, $message:expr) => {{
        let client = $self.control()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await.answer?
    }};
}

impl Client {
    /// Creates a limit or changes its numbers, which hold at once. It can be repeated.
    pub async fn put_limit(
        &self,
        name: &str,
        settings: LimitSettings,
    ) -> Result<Limit, ClientError> {
        let (namespace, name) = (self.namespace().into(), name.into());
        let message = v1::PutLimitRequest { namespace, name, settings: Some(settings.0) };
        Ok(Limit::from_wire(ask!(self, put_limit, message)))
    }

    /// One limit.
    pub async fn limit(&self, name: &str) -> Result<Limit, ClientError> {
        let message = v1::ControlRequest { namespace: self.namespace().into(), name: name.into() };
        Ok(Limit::from_wire(ask!(self, get_limit, message)))
    }

    /// The limits of the namespace, in the order of their names.
    pub async fn limits(&self) -> Result<Vec<Limit>, ClientError> {
        let message = v1::ListControlRequest { namespace: self.namespace().into() };
        let list = ask!(self, list_limits, message);
        Ok(list.limits.into_iter().map(Limit::from_wire).collect())
    }

    /// Removes a limit.
    pub async fn delete_limit(&self, name: &str) -> Result<(), ClientError> {
        let message = v1::ControlRequest { namespace: self.namespace().into(), name: name.into() };
        ask!(self, delete_limit, message);
        Ok(())
    }
}
