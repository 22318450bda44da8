//! How a job is to run: what a producer may say, and how that travels.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use longshore_proto::v1;
use serde_json::Value;
use uuid::Uuid;

use crate::Job;
use crate::unique::Unique;

/// How long a failed job waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RetryPolicy {
    /// Sidekiq's curve: 15 s, 31 s, 2 minutes, ... over three weeks.
    Sidekiq,
    /// The same delay each time.
    Constant(Duration),
    /// A delay that grows.
    Exponential {
        /// The first one.
        base: Duration,
        /// What each further failure multiplies it by.
        factor: f64,
        /// The longest.
        cap: Duration,
        /// Up to this share of it is taken off at random.
        jitter: f64,
    },
}

/// How a job is to run. What is absent comes from its type, then from its queue.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "options do nothing until a job is handed over with them"]
#[non_exhaustive]
pub struct JobOptions {
    /// Its identity; chosen by the client where absent.
    pub id: Option<Uuid>,
    /// Its queue.
    pub queue: Option<String>,
    /// 0 to 9, 9 first.
    pub priority: Option<u8>,
    /// When it may start.
    pub run_at: Option<SystemTime>,
    /// How long after it was enqueued it may start.
    pub delay: Option<Duration>,
    /// Jobs with the same key run one at a time, in the order in which they were enqueued.
    pub ordering_key: Option<String>,
    /// The first run is the last one, whatever becomes of it.
    pub at_most_once: Option<bool>,
    /// Not started so long after it may first start, it expires.
    pub ttl: Option<Duration>,
    /// Not started by then, it expires.
    pub expires_at: Option<SystemTime>,
    /// The longest that one run may take.
    pub timeout: Option<Duration>,
    /// How long its worker may be silent.
    pub lease: Option<Duration>,
    /// The delay before another attempt.
    pub retry: Option<RetryPolicy>,
    /// Attempts in all, the first included.
    pub max_attempts: Option<u32>,
    /// No attempt starts later than this after it may first start.
    pub max_age: Option<Duration>,
    /// How long the outcome is kept.
    pub retain: Option<Duration>,
    /// Names to find it by.
    pub tags: Vec<String>,
    /// An object of the producer's own, carried through.
    pub metadata: Option<Value>,
    /// W3C Trace Context, carried through.
    pub traceparent: Option<String>,
    /// Where its first run begins, for jobs that iterate.
    pub cursor: Option<Value>,
    /// At most one such job at a time.
    pub unique: Option<Unique>,
    /// The limit that counts it, and its key there.
    pub limit: Option<(String, String)>,
    /// Further limits that count it, and its keys there.
    pub limits: Vec<(String, String)>,
    /// Gates behind which it waits while they are closed.
    pub gates: Vec<String>,
    /// Whose it is.
    pub tenant: Option<String>,
    /// The version of its kind; that of its type where absent.
    pub version: Option<u32>,
}

/// Writes the same setters for everything that holds options.
macro_rules! option_setters {
    ($this:ident => $options:expr) => {
        /// Chooses its id. An enqueue that is repeated with it has one effect.
        pub fn id(mut self, id: uuid::Uuid) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.id = Some(id);
            self
        }
        /// Sends it to another queue than its type's.
        pub fn queue(mut self, queue: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.queue = Some(queue.into());
            self
        }
        /// 0 to 9, 9 first.
        pub fn priority(mut self, priority: u8) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.priority = Some(priority);
            self
        }
        /// It may start then. Not together with `delay`.
        pub fn run_at(mut self, at: std::time::SystemTime) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.run_at = Some(at);
            self
        }
        /// It may start so long after now. Not together with `run_at`.
        pub fn delay(mut self, delay: std::time::Duration) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.delay = Some(delay);
            self
        }
        /// Jobs with the same key run one at a time, in the order in which they were enqueued.
        pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.ordering_key = Some(key.into());
            self
        }
        /// The first run is the last one, whatever becomes of it.
        pub fn at_most_once(mut self) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.at_most_once = Some(true);
            self
        }
        /// Not started so long after it may first start, it expires. Not beside `expires_at`.
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.ttl = Some(ttl);
            self
        }
        /// Not started by then, it expires. Not together with `ttl`.
        pub fn expires_at(mut self, at: std::time::SystemTime) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.expires_at = Some(at);
            self
        }
        /// The longest that one run may take.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.timeout = Some(timeout);
            self
        }
        /// How long its worker may be silent.
        pub fn lease(mut self, lease: std::time::Duration) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.lease = Some(lease);
            self
        }
        /// The delay before another attempt.
        pub fn retry(mut self, retry: $crate::RetryPolicy) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.retry = Some(retry);
            self
        }
        /// Attempts in all, the first included.
        pub fn max_attempts(mut self, attempts: u32) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.max_attempts = Some(attempts);
            self
        }
        /// No attempt starts later than this after it may first start.
        pub fn max_age(mut self, age: std::time::Duration) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.max_age = Some(age);
            self
        }
        /// How long the outcome is kept.
        pub fn retain(mut self, span: std::time::Duration) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.retain = Some(span);
            self
        }
        /// Adds a name to find it by.
        pub fn tag(mut self, tag: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.tags.push(tag.into());
            self
        }
        /// An object of your own, carried through to [`Context::metadata`](crate::Context).
        pub fn metadata(mut self, metadata: serde_json::Value) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.metadata = Some(metadata);
            self
        }
        /// W3C Trace Context, carried through.
        pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.traceparent = Some(traceparent.into());
            self
        }
        /// Where its first run begins, for jobs that iterate: a cursor of that job as JSON.
        pub fn cursor(mut self, cursor: serde_json::Value) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.cursor = Some(cursor);
            self
        }
        /// At most one such job at a time; what happens to another is said there.
        pub fn unique(mut self, unique: $crate::Unique) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.unique = Some(unique);
            self
        }
        /// The limit that counts it, and its key there: `longshore limits put NAME --scope key`.
        pub fn limit(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.limit = Some((name.into(), key.into()));
            self
        }
        /// Adds a further limit that counts it, and its key there: each is another one, and the
        /// job starts once there is room under all of them.
        pub fn further_limit(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.limits.push((name.into(), key.into()));
            self
        }
        /// Adds a gate behind which it waits while that is closed: `longshore gates close NAME`.
        pub fn gate(mut self, gate: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.gates.push(gate.into());
            self
        }
        /// The version of its kind, in place of its type's: only workers that run it get it.
        pub fn version(mut self, version: u32) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.version = Some(version);
            self
        }
        /// Whose it is: inside a queue and priority, tenants take turns.
        pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
            let $this = &mut self;
            let options: &mut $crate::JobOptions = $options;
            options.tenant = Some(tenant.into());
            self
        }
    };
}
pub(crate) use option_setters;

impl JobOptions {
    option_setters!(this => this);

    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// These, and where they are silent, `defaults`.
    pub fn over(self, defaults: Self) -> Self {
        // A moment and a span for the same thing exclude each other.
        let starts = self.run_at.is_some() || self.delay.is_some();
        let ends = self.expires_at.is_some() || self.ttl.is_some();
        let mut tags = defaults.tags;
        for tag in self.tags {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        let mut gates = defaults.gates;
        for gate in self.gates {
            if !gates.contains(&gate) {
                gates.push(gate);
            }
        }
        // One name counts a job once: what is said of it, as the limit or as a further one, stands.
        let said: Vec<_> = self.limit.iter().chain(&self.limits).map(|(name, _)| name).collect();
        let is_new = |(name, _): &(String, String)| !said.contains(&name);
        let default_limit = defaults.limit.filter(is_new);
        let limits = if self.limits.is_empty() {
            defaults.limits.into_iter().filter(is_new).collect()
        } else {
            self.limits.clone()
        };
        Self {
            id: self.id.or(defaults.id),
            queue: self.queue.or(defaults.queue),
            priority: self.priority.or(defaults.priority),
            run_at: if starts { self.run_at } else { defaults.run_at },
            delay: if starts { self.delay } else { defaults.delay },
            ordering_key: self.ordering_key.or(defaults.ordering_key),
            at_most_once: self.at_most_once.or(defaults.at_most_once),
            ttl: if ends { self.ttl } else { defaults.ttl },
            expires_at: if ends { self.expires_at } else { defaults.expires_at },
            timeout: self.timeout.or(defaults.timeout),
            lease: self.lease.or(defaults.lease),
            retry: self.retry.or(defaults.retry),
            max_attempts: self.max_attempts.or(defaults.max_attempts),
            max_age: self.max_age.or(defaults.max_age),
            retain: self.retain.or(defaults.retain),
            tags,
            metadata: self.metadata.or(defaults.metadata),
            traceparent: self.traceparent.or(defaults.traceparent),
            cursor: self.cursor.or(defaults.cursor),
            unique: self.unique.or(defaults.unique),
            limit: self.limit.or(default_limit),
            limits,
            gates,
            tenant: self.tenant.or(defaults.tenant),
            version: self.version.or(defaults.version),
        }
    }

    /// Two that say the same thing differently: the server refuses such a job, and so does whoever
    /// stands for it.
    pub(crate) fn conflict(&self) -> Option<(&'static str, &'static str)> {
        if self.run_at.is_some() && self.delay.is_some() {
            Some(("run_at", "delay"))
        } else if self.expires_at.is_some() && self.ttl.is_some() {
            Some(("expires_at", "ttl"))
        } else {
            None
        }
    }

    /// The job as it travels.
    pub(crate) fn into_wire<J: Job>(self, args: Bytes) -> v1::NewJob {
        let json = |value: Option<Value>| value.map_or_else(Bytes::new, |it| it.to_string().into());
        v1::NewJob {
            id: self.id.unwrap_or_else(Uuid::now_v7).to_string(),
            queue: self.queue.unwrap_or_default(),
            kind: J::KIND.to_owned(),
            args,
            priority: self.priority.map(u32::from),
            run_at_unix_ms: self.run_at.map(unix_ms),
            delay_ms: self.delay.map(span_ms),
            ordering_key: self.ordering_key.unwrap_or_default(),
            at_most_once: self.at_most_once.unwrap_or_default(),
            ttl_ms: self.ttl.map(span_ms),
            expires_at_unix_ms: self.expires_at.map(unix_ms),
            timeout_ms: self.timeout.map(span_ms),
            lease_ms: self.lease.map(span_ms),
            retry: self.retry.map(policy),
            max_attempts: self.max_attempts,
            max_age_ms: self.max_age.map(span_ms),
            retain_ms: self.retain.map(span_ms),
            tags: self.tags,
            metadata: json(self.metadata),
            traceparent: self.traceparent.unwrap_or_default(),
            cursor: json(self.cursor),
            unique: self.unique.map(Unique::into_wire),
            limit: self.limit.map(job_limit),
            limits: self.limits.into_iter().map(job_limit).collect(),
            gates: self.gates,
            tenant: self.tenant.unwrap_or_default(),
            version: self.version.unwrap_or(J::VERSION),
        }
    }
}

fn job_limit((name, key): (String, String)) -> v1::JobLimit {
    v1::JobLimit { name, key, ..Default::default() }
}

fn policy(policy: RetryPolicy) -> v1::RetryPolicy {
    use v1::retry_policy::{Constant, Exponential, Policy, Sidekiq};
    let policy = match policy {
        RetryPolicy::Sidekiq => Policy::Sidekiq(Sidekiq {}),
        RetryPolicy::Constant(delay) => Policy::Constant(Constant { delay_ms: span_ms(delay) }),
        RetryPolicy::Exponential { base, factor, cap, jitter } => {
            Policy::Exponential(Exponential {
                base_ms: span_ms(base),
                factor: Some(factor),
                cap_ms: Some(span_ms(cap)),
                jitter: Some(jitter),
            })
        }
    };
    v1::RetryPolicy { policy: Some(policy) }
}

/// A span in whole milliseconds, rounded up so that a short one is not none.
pub(crate) fn span_ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis() as u64)
}

pub(crate) fn from_unix_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stands_over_the_defaults() {
        let defaults = JobOptions {
            queue: Some("mails".into()),
            delay: Some(Duration::from_secs(5)),
            tags: vec!["a".into()],
            max_attempts: Some(3),
            ..JobOptions::default()
        };
        let at = from_unix_ms(9_000);
        let said = JobOptions {
            run_at: Some(at),
            max_attempts: Some(4),
            tags: vec!["b".into(), "a".into()],
            ..JobOptions::default()
        };
        let both = said.over(defaults);
        assert_eq!(both.queue.as_deref(), Some("mails"));
        assert_eq!((both.run_at, both.delay), (Some(at), None));
        assert_eq!(both.max_attempts, Some(4));
        assert_eq!(both.tags, ["a", "b"]);
    }

    #[test]
    fn a_limit_that_is_said_stands_over_a_default_of_its_name() {
        let of = |name: &str, key: &str| (name.to_owned(), key.to_owned());
        let defaults = JobOptions {
            limit: Some(of("api", "default")),
            limits: vec![of("db", "default"), of("mail", "default")],
            ..JobOptions::default()
        };
        let said = JobOptions { limits: vec![of("api", "own")], ..JobOptions::default() };
        let both = said.over(defaults.clone());
        assert_eq!((both.limit, both.limits), (None, vec![of("api", "own")]));
        let said = JobOptions { limit: Some(of("db", "own")), ..JobOptions::default() };
        let both = said.over(defaults);
        assert_eq!((both.limit, both.limits), (Some(of("db", "own")), vec![of("mail", "default")]));
    }

    #[test]
    fn a_moment_beside_a_span_is_a_conflict() {
        let (at, span) = (from_unix_ms(9_000), Duration::from_secs(5));
        let starts = JobOptions::new().delay(span).run_at(at);
        assert_eq!(starts.conflict(), Some(("run_at", "delay")));
        let ends = JobOptions::new().expires_at(at).ttl(span);
        assert_eq!(ends.conflict(), Some(("expires_at", "ttl")));
        let over = JobOptions::new().run_at(at).over(JobOptions::new().delay(span));
        assert_eq!((over.conflict(), over.run_at), (None, Some(at)));
    }

    #[test]
    fn a_short_span_is_not_none() {
        assert_eq!(span_ms(Duration::from_micros(1)), 1);
        assert_eq!(span_ms(Duration::ZERO), 0);
        assert_eq!(span_ms(Duration::from_secs(2)), 2_000);
    }

    #[test]
    fn every_job_gets_an_id_of_version_7() {
        #[derive(serde::Deserialize, serde::Serialize)]
        struct Sent;
        impl Job for Sent {
            type Output = ();
            const KIND: &'static str = "sent";
            const VERSION: u32 = 3;
        }
        let job = JobOptions::new().into_wire::<Sent>(Bytes::from_static(b"{}"));
        assert_eq!((job.kind.as_str(), job.version), ("sent", 3));
        let id: Uuid = job.id.parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }
}
