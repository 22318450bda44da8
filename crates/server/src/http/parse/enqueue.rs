//! `POST .../queues/{queue}/jobs`: one job or many, read in one pass over the body.

use std::fmt;

use bytes::Bytes;
use longshore_engine::{FollowUp, JobId, NewJob, RetryPolicy, Start, TimeMs};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Bounds;
use super::fingerprint::fingerprint;
use super::id_source::fresh_id;
use crate::api::{self, Object, RetryText};
use crate::http::code::Code;
use crate::http::json::{check_carried, read, slice, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name, quoted};

/// Args where the producer names none.
const NO_ARGS: &[u8] = b"{}";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct ParsedEnqueue {
    /// The jobs in order.
    pub(crate) jobs: Vec<NewJob>,
    /// Whether it was `{"jobs": [...]}`.
    pub(crate) is_bulk: bool,
}

/// Reads the body of an enqueue.
pub(crate) fn parse_enqueue(
    queue: &str,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<ParsedEnqueue, Refusal> {
    let text = text_of(body)?;
    let reading = Reading { queue, body, bounds };
    if begins_with_jobs(text) {
        return Ok(ParsedEnqueue { jobs: reading.bulk(text)?, is_bulk: true });
    }
    let job: api::NewJob<'_> = read(text)?;
    Ok(ParsedEnqueue { jobs: vec![reading.job_of_path(job)?], is_bulk: false })
}

/// The engine's form of a job whose parts were read already; JSON that does not lie in `body` is
/// copied.
pub(crate) fn job_of(
    queue: &str,
    job: api::NewJob<'_>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<NewJob, Refusal> {
    Reading { queue, body, bounds }.job_of_path(job)
}

/// Reads the jobs that are to enter with the end of another one.
pub(crate) fn follow_ups(
    jobs: Vec<api::NewJob<'_>>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<Vec<FollowUp>, Refusal> {
    if jobs.len() > bounds.bulk_jobs_max {
        let allowed = format!("at most {} jobs", bounds.bulk_jobs_max);
        return Err(Refusal::value("enqueue", format!("{} jobs", jobs.len()), allowed));
    }
    let (mut follow_ups, mut faults) = (Vec::with_capacity(jobs.len()), Vec::new());
    for (index, mut job) in jobs.into_iter().enumerate() {
        match job.queue.take() {
            None => {
                let detail = "queue is missing; a follow-up names its own";
                faults.push((index, Refusal::new(Code::FieldMissing, detail).field("queue")));
            }
            Some(queue) => {
                let reading = Reading { queue: &queue, body, bounds };
                match check_path_name("queue", &queue).and_then(|()| reading.job(job)) {
                    Ok(job) => follow_ups.push(FollowUp { queue, job }),
                    Err(refusal) => faults.push((index, refusal)),
                }
            }
        }
    }
    if faults.is_empty() { Ok(follow_ups) } else { Err(Refusal::of_jobs(faults)) }
}

/// Whether the body is the object of a bulk: `jobs` is the only key that one may have.
fn begins_with_jobs(text: &str) -> bool {
    let inside = text.trim_ascii_start().strip_prefix('{').map(str::trim_ascii_start);
    let key = inside.and_then(|inside| inside.strip_prefix("\"jobs\""));
    key.is_some_and(|rest| rest.trim_ascii_start().starts_with(':'))
}

#[derive(Clone, Copy)]
struct Reading<'r> {
    queue: &'r str,
    body: &'r Bytes,
    bounds: &'r Bounds,
}

impl Reading<'_> {
    fn bulk(&self, text: &str) -> Result<Vec<NewJob>, Refusal> {
        let mut sink = Sink { reading: *self, jobs: Vec::new(), faults: Vec::new(), count: 0 };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = BulkSeed(&mut sink).deserialize(&mut deserializer);
        let read = read.and_then(|()| deserializer.end());
        if sink.count > self.bounds.bulk_jobs_max {
            return Err(self.too_many());
        }
        match read {
            Err(_) => Err(self.bulk_fault(text)),
            Ok(()) if sink.faults.is_empty() => Ok(sink.jobs),
            Ok(()) => Err(Refusal::of_jobs(sink.faults)),
        }
    }

    fn too_many(&self) -> Refusal {
        let allowed = format!("1 to {} jobs", self.bounds.bulk_jobs_max);
        Refusal::value("jobs", "more", allowed)
    }

    /// Finds out which jobs of a bad bulk are at fault. A second pass, for bad ones only.
    fn bulk_fault(&self, text: &str) -> Refusal {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct RawBulk<'a> {
            #[serde(borrow, deserialize_with = "first_values")]
            jobs: Vec<&'a RawValue>,
        }
        let raw: RawBulk<'_> = match read(text) {
            Ok(raw) => raw,
            Err(refusal) => return refusal,
        };
        let job = |raw: &RawValue| read(raw.get()).and_then(|job| self.job_of_path(job)).err();
        if raw.jobs.len() > self.bounds.bulk_jobs_max {
            return self.too_many();
        }
        let jobs = raw.jobs.into_iter().enumerate();
        let faults: Vec<_> = jobs.filter_map(|(index, raw)| Some((index, job(raw)?))).collect();
        if faults.is_empty() {
            // The first pass refused what the second one takes: that would be a bug here.
            return Refusal::new(Code::BodyMalformed, "the body cannot be read");
        }
        Refusal::of_jobs(faults)
    }

    /// A job whose queue the path names.
    fn job_of_path(&self, job: api::NewJob<'_>) -> Result<NewJob, Refusal> {
        match &job.queue {
            Some(queue) => {
                let allowed = "no such field: the path names the queue";
                Err(Refusal::value("queue", quoted(queue), allowed))
            }
            None => self.job(job),
        }
    }

    fn job(&self, job: api::NewJob<'_>) -> Result<NewJob, Refusal> {
        check_name("kind", &job.kind)?;
        check_alternatives(&job)?;
        if let Some(priority) = job.priority
            && priority > 9
        {
            return Err(Refusal::value("priority", priority, "0 to 9"));
        }
        if let Some(traceparent) = &job.traceparent {
            check_traceparent(traceparent)?;
        }
        let args = match &job.args {
            Some(args) => {
                check_carried("args", args.get(), self.bounds.args_bytes_max)?;
                slice(self.body, args)
            }
            None => Bytes::from_static(NO_ARGS),
        };
        let metadata = match &job.metadata {
            Some(metadata) => {
                check_carried("metadata", metadata.get(), self.bounds.metadata_bytes_max)?;
                check_object("metadata", metadata.get())?;
                Some(slice(self.body, metadata))
            }
            None => None,
        };
        let cursor = match &job.cursor {
            Some(cursor) => {
                check_carried("cursor", cursor.get(), self.bounds.cursor_bytes_max)?;
                Some(slice(self.body, cursor))
            }
            None => None,
        };
        let at = |at: api::InstantText| Start::At(TimeMs(at.0));
        let after = |delay: api::DurationText| Start::After(delay.0);
        let named = job.id.map(|id| (JobId(id.0), fingerprint(self.queue, &job)));
        Ok(NewJob {
            id: named.map_or_else(fresh_id, |(id, _)| id),
            fingerprint: named.map(|(_, fingerprint)| fingerprint),
            args,
            priority: job.priority,
            start: job.run_at.map(at).or_else(|| job.delay.map(after)),
            at_most_once: job.at_most_once.unwrap_or(false),
            expiry: job.expires_at.map(at).or_else(|| job.ttl.map(after)),
            timeout_ms: job.timeout.map(|timeout| timeout.0),
            lease_ms: job.lease.map(|lease| lease.0),
            retry: job.retry.as_ref().map(retry_policy).transpose()?,
            max_attempts: job.max_attempts,
            max_age_ms: job.max_age.map(|age| age.0),
            retain_ms: job.retain.map(|retain| retain.0),
            metadata,
            kind: job.kind,
            ordering_key: job.ordering_key,
            tags: job.tags.unwrap_or_default(),
            traceparent: job.traceparent,
            cursor,
        })
    }
}

fn check_alternatives(job: &api::NewJob<'_>) -> Result<(), Refusal> {
    let both = |field: &str, given: String, other: &str| {
        Err(Refusal::value(field, given, format!("{field} or {other}, not both")))
    };
    if let (Some(at), Some(_)) = (job.run_at, job.delay) {
        return both("run_at", at.to_string(), "delay");
    }
    if let (Some(at), Some(_)) = (job.expires_at, job.ttl) {
        return both("expires_at", at.to_string(), "ttl");
    }
    Ok(())
}

/// W3C Trace Context: version, trace id, parent id, flags, all in lower-case hexadecimal digits.
fn check_traceparent(text: &str) -> Result<(), Refusal> {
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| {
            part.len() == length && part.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let mut parts = text.split('-');
    let sound = [2, 32, 16, 2].into_iter().all(|length| hex(parts.next(), length));
    let tail_is_sound = text.len() <= 255 && (parts.next().is_none() || !text.starts_with("00"));
    if sound && tail_is_sound && text.is_ascii() {
        return Ok(());
    }
    let allowed = "a W3C traceparent: 00-<32 hex digits>-<16 hex digits>-<2 hex digits>";
    Err(Refusal::value("traceparent", quoted(text), allowed))
}

fn check_object(field: &str, json: &str) -> Result<(), Refusal> {
    if json.starts_with('{') { Ok(()) } else { Err(Refusal::value(field, json, "an object")) }
}

/// The engine's form of a retry policy.
pub(super) fn retry_policy(retry: &RetryText) -> Result<RetryPolicy, Refusal> {
    const CAP_MS: u64 = 86_400_000;
    let within = |field: &str, value: f64, min: f64, max: f64| {
        if (min..=max).contains(&value) {
            // 0 to 100,000, by the bounds above.
            #[expect(clippy::cast_sign_loss, reason = "it is not negative, by the bounds above")]
            return Ok((value * 100.0).round() as u32);
        }
        Err(Refusal::value(field, value, format!("{min} to {max}")))
    };
    Ok(match retry {
        RetryText::Sidekiq => RetryPolicy::Sidekiq,
        RetryText::Constant { delay } => RetryPolicy::Constant { delay_ms: delay.0 },
        RetryText::Exponential { base, factor, cap, jitter } => RetryPolicy::Exponential {
            base_ms: base.0,
            factor_percent: within("retry.factor", factor.unwrap_or(2.0), 1.0, 1000.0)?,
            cap_ms: cap.map_or(CAP_MS, |cap| cap.0),
            jitter_percent: within("retry.jitter", jitter.unwrap_or(0.0), 0.0, 1.0)? as u8,
        },
    })
}

/// The most values that the second pass keeps: more than any bulk may have.
const VALUES_MAX: usize = 100_000;

/// Reads a list and keeps its first values, so that a list of nothing but commas and digits does
/// not take many times its size.
fn first_values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'de RawValue>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of jobs")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while values.len() < VALUES_MAX {
                let Some(value) = seq.next_element()? else { return Ok(values) };
                values.push(value);
            }
            while seq.next_element::<de::IgnoredAny>()?.is_some() {}
            Ok(values)
        }
    }
    deserializer.deserialize_seq(Visitor)
}

/// Where the jobs of a bulk go as they are read.
struct Sink<'r> {
    reading: Reading<'r>,
    jobs: Vec<NewJob>,
    faults: Vec<(usize, Refusal)>,
    count: usize,
}

struct BulkSeed<'s, 'r>(&'s mut Sink<'r>);
struct JobsSeed<'s, 'r>(&'s mut Sink<'r>);

impl<'de> DeserializeSeed<'de> for BulkSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> de::Visitor<'de> for BulkSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<&str>()? {
            if key != "jobs" {
                return Err(de::Error::unknown_field(key, &["jobs"]));
            }
            if std::mem::replace(&mut found, true) {
                return Err(de::Error::duplicate_field("jobs"));
            }
            map.next_value_seed(JobsSeed(&mut *self.0))?;
        }
        if found { Ok(()) } else { Err(de::Error::missing_field("jobs")) }
    }
}

impl<'de> DeserializeSeed<'de> for JobsSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for JobsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of jobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let sink = self.0;
        while let Some(job) = seq.next_element_seed(Object::<api::NewJob<'de>>::new())? {
            let index = sink.count;
            sink.count += 1;
            if sink.count > sink.reading.bounds.bulk_jobs_max {
                return Err(de::Error::custom("too many jobs"));
            }
            match sink.reading.job_of_path(job) {
                Ok(job) => sink.jobs.push(job),
                Err(refusal) => sink.faults.push((index, refusal)),
            }
        }
        Ok(())
    }
}
