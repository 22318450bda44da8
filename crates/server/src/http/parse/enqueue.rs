//! `POST .../queues/{queue}/jobs`: one job or many, read in one pass over the body.

use std::fmt;

use bytes::Bytes;
use longshore_engine::{FollowUp, JobId, NewJob, RetryPolicy, Start};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Bounds;
use super::check::{check_bytes, check_count, check_names};
use super::fingerprint::fingerprint;
use super::id_source::fresh_id;
use super::limit::job_limits;
use super::unique::new_unique;
use crate::api::{self, Object, RetryText};
use crate::http::code::Code;
use crate::http::json::{THE_BODY, check_carried, missing, read, slice, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name, quoted};
use crate::http::words;

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
    check_count("enqueue", jobs.len(), bounds.bulk_jobs_max, "jobs")?;
    let (mut follow_ups, mut faults) = (Vec::with_capacity(jobs.len()), Vec::new());
    for (index, mut job) in jobs.into_iter().enumerate() {
        match job.queue.take() {
            None => {
                faults.push((index, missing("queue", words::needed("queue"))));
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
    if !faults.is_empty() {
        return Err(Refusal::of_jobs("enqueue", faults));
    }
    check_bulk_bytes("enqueue", follow_ups.iter().map(|one| &one.job), bounds)?;
    Ok(follow_ups)
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
            Ok(()) if sink.count == 0 => Err(Refusal::value("jobs", "0 jobs", self.allowed())),
            Ok(()) if !sink.faults.is_empty() => Err(Refusal::of_jobs("jobs", sink.faults)),
            Ok(()) => {
                check_bulk_bytes("jobs", sink.jobs.iter(), self.bounds)?;
                Ok(sink.jobs)
            }
        }
    }

    fn too_many(&self) -> Refusal {
        let value = format!("more than {} jobs", self.bounds.bulk_jobs_max);
        Refusal::value("jobs", value, self.allowed())
    }

    fn allowed(&self) -> String {
        format!("1 to {} jobs", self.bounds.bulk_jobs_max)
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
            return Refusal::new(Code::BodyMalformed, "the body cannot be read").field(THE_BODY);
        }
        Refusal::of_jobs("jobs", faults)
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
        for (field, name) in [("ordering_key", &job.ordering_key), ("tenant", &job.tenant)] {
            name.as_ref().map(|name| check_name(field, name)).transpose()?;
        }
        self.bounds.tags(job.tags.as_deref().unwrap_or_default())?;
        check_names("gates", job.gates.as_deref().unwrap_or_default())?;
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
        let bounds = self.bounds;
        let run_at = bounds.instant("run_at", job.run_at)?.map(Start::At);
        let delay = bounds.duration("delay", job.delay, 0)?.map(Start::After);
        let expires_at = bounds.instant("expires_at", job.expires_at)?.map(Start::At);
        let ttl = bounds.duration("ttl", job.ttl, 1)?.map(Start::After);
        let unique = job.unique.as_ref().map(|of| new_unique(self.queue, &job, of, bounds));
        let unique = unique.transpose()?;
        let (limit, limits) = job_limits(&job)?;
        let named = job.id.map(|id| (JobId(id.0), fingerprint(self.queue, &job)));
        Ok(NewJob {
            id: named.map_or_else(fresh_id, |(id, _)| id),
            fingerprint: named.map(|(_, fingerprint)| fingerprint),
            args,
            priority: job.priority,
            start: run_at.or(delay),
            at_most_once: job.at_most_once.unwrap_or(false),
            expiry: expires_at.or(ttl),
            timeout_ms: bounds.duration("timeout", job.timeout, 1)?,
            lease_ms: bounds.lease("lease", job.lease)?,
            retry: retry_policy("retry", job.retry.as_ref(), bounds)?,
            max_attempts: job.max_attempts,
            max_age_ms: bounds.duration("max_age", job.max_age, 1)?,
            retain_ms: bounds.duration("retain", job.retain, 0)?,
            metadata,
            kind: job.kind,
            ordering_key: job.ordering_key,
            tags: job.tags.unwrap_or_default(),
            traceparent: job.traceparent,
            cursor,
            unique,
            tick: None,
            limit,
            limits,
            gates: job.gates.unwrap_or_default(),
            tenant: job.tenant,
            hops: 0,
            version: job.version.unwrap_or(0),
        })
    }
}

fn check_alternatives(job: &api::NewJob<'_>) -> Result<(), Refusal> {
    if job.version == Some(0) {
        return Err(Refusal::value("version", 0, "1 or more, or no such field"));
    }
    let both = |field: &str, given: String, other: &str| {
        let allowed = format!("{field} or {other}, not both");
        Err(Refusal::value(field, format!("{given}, beside {other}"), allowed))
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

/// Bytes of the texts of variable length in jobs that enter together, as the engine counts them.
fn check_bulk_bytes<'j>(
    field: &str,
    jobs: impl Iterator<Item = &'j NewJob>,
    bounds: &Bounds,
) -> Result<(), Refusal> {
    let bytes = |job: &NewJob| {
        let tags: usize = job.tags.iter().map(String::len).sum();
        let others = [&job.metadata, &job.cursor];
        let others: usize = others.into_iter().flatten().map(Bytes::len).sum();
        job.args.len() + tags + others
    };
    check_bytes(field, jobs.map(bytes).sum::<usize>() as u64, bounds.bulk_bytes_max)
}

/// The engine's form of a retry policy that stands in `place`.
pub(super) fn retry_policy(
    place: &str,
    retry: Option<&RetryText>,
    bounds: &Bounds,
) -> Result<Option<RetryPolicy>, Refusal> {
    const CAP_MS: u64 = 86_400_000;
    let Some(retry) = retry else { return Ok(None) };
    let within = |name: &str, value: f64, min: f64, max: f64| {
        if (min..=max).contains(&value) {
            // 0 to 100,000, by the bounds above.
            #[expect(clippy::cast_sign_loss, reason = "it is not negative, by the bounds above")]
            return Ok((value * 100.0).round() as u32);
        }
        let allowed = format!("a number from {min} to {max}");
        Err(Refusal::value(&format!("{place}.{name}"), value, allowed))
    };
    let ms = |name: &str, duration: api::DurationText| {
        let bounded = bounds.duration(&format!("{place}.{name}"), Some(duration), 0);
        bounded.map(|_| duration.0)
    };
    Ok(Some(match retry {
        RetryText::Sidekiq => RetryPolicy::Sidekiq,
        RetryText::Constant { delay } => RetryPolicy::Constant { delay_ms: ms("delay", *delay)? },
        RetryText::Exponential { base, factor, cap, jitter } => RetryPolicy::Exponential {
            base_ms: ms("base", *base)?,
            factor_percent: within("factor", factor.unwrap_or(2.0), 1.0, 1000.0)?,
            cap_ms: ms("cap", cap.unwrap_or(api::DurationText(CAP_MS)))?,
            jitter_percent: within("jitter", jitter.unwrap_or(0.0), 0.0, 1.0)? as u8,
        },
    }))
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
            f.write_str("an array of jobs")
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
    deserializer.deserialize_any(Visitor)
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
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for JobsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of jobs")
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
