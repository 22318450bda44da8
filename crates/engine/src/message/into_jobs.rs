//! Messages that become jobs, where a binding ends in a queue of jobs, and ends of jobs that become
//! messages, where their queue has an exchange for these.

use bytes::Bytes;

use super::declare::KEY_BYTES_MAX;
use super::json::{base64, is_json, quoted};
use super::{Destination, HeaderValue, JobBinding, Message, PublishMessage, Published};
use crate::bounds::{check_duration, check_name, cut};
use crate::command::{FollowUp, NewJob, Start};
use crate::ids::{JobId, KindId, NamespaceId, Place, QueueId, ScheduleId};
use crate::job::{Job, JobError};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::record::{Next, Record};
use crate::rejection::Rejection;
use crate::schedule::slot_job_id;
use crate::state::State;

/// The highest priority of a job that a message brings about.
const PRIORITY_MAX: u8 = 9;

/// The header that names the ordering key of the job, where the binding does not say.
const KEY_HEADER: &str = "x-job-key";

/// Ends of jobs that are told in a row, each of a job that the one before brought about: what goes
/// round by itself ends here.
pub(super) const HOPS_MAX: u8 = 8;

/// What publishing one message comes to.
#[derive(Debug)]
pub(crate) struct Publication {
    /// Where it enters queues, or is kept for later.
    pub(crate) record: Option<Record>,
    /// The jobs that it becomes.
    pub(crate) jobs: Vec<FollowUp>,
    pub(crate) came: Published,
}

impl State {
    /// Where a binding leads that ends in a queue of jobs.
    pub(super) fn resolve_job_binding(
        &self,
        ns: NamespaceId,
        queue: &str,
        job: &JobBinding,
    ) -> Result<Destination, Rejection> {
        let Some(known) = self.queues.named(ns, queue) else {
            return Err(Rejection::QueueUnknown { queue: queue.to_owned() });
        };
        self.check_holds_jobs(ns, queue)?;
        check_name(&self.limits, "job.kind", &job.kind)?;
        check_duration(&self.limits, "job.delay", job.delay_ms, 0)?;
        if let Some(priority) = job.priority.filter(|priority| *priority > PRIORITY_MAX) {
            let (value, allowed) = (priority.to_string(), format!("0 to {PRIORITY_MAX}"));
            return Err(Rejection::ValueRefused { field: "job.priority", value, allowed });
        }
        // One that has no number yet gets the next one with the binding.
        let kind = self.kinds.named(ns, &job.kind, job.version).unwrap_or(self.meta.next_kind);
        let JobBinding { priority, delay_ms, ordered, .. } = *job;
        Ok(Destination::Jobs { id: known.id, kind, priority, delay_ms, ordered })
    }

    /// The record that names the kind of a binding, where nothing did before.
    pub(super) fn decide_kind_of_binding(
        &self,
        namespace: NamespaceId,
        (id, (name, version)): (KindId, (&str, u32)),
    ) -> Result<Option<Record>, Rejection> {
        if self.kinds.named(namespace, name, version).is_some() {
            return Ok(None);
        }
        self.kinds.check_versions(namespace, name, 0)?;
        let room = self.limits.kinds_max.check(self.kinds.len_of(namespace), self.kinds.len());
        room.map_err(|(scope, limit)| Rejection::TooManyKinds { scope, limit })?;
        Ok(Some(Record::KindNamed { namespace, id, name: name.to_owned(), version }))
    }

    /// The job that a message becomes where a binding leads. `index` tells the jobs of one
    /// decision apart.
    pub(super) fn job_of(
        &self,
        ns: NamespaceId,
        to: Destination,
        (message, headers, args): (&Message, &[(String, HeaderValue)], &Bytes),
        (moment, index): (Moment, u64),
    ) -> Option<FollowUp> {
        let Destination::Jobs { id, kind, priority, delay_ms, ordered } = to else { return None };
        let (queue, kind) = (self.queues.get(id)?, self.kinds.get(kind)?);
        let text = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| match value {
                HeaderValue::Text { bytes } => std::str::from_utf8(bytes).ok(),
                _ => None,
            })
        };
        let key = if ordered { Some(message.routing_key.as_str()) } else { text(KEY_HEADER) };
        let fits = |name: &&str| check_name(&self.limits, "ordering_key", name).is_ok();
        let metadata = format!(
            "{{\"exchange\":{},\"routing_key\":{}}}",
            quoted(&message.exchange),
            quoted(&message.routing_key)
        );
        let place = Place(self.meta.next_place.0 + index);
        let job = NewJob {
            // Of a message without a priority the queue's default counts.
            priority: priority
                .or_else(|| (message.priority > 0).then(|| message.priority.min(PRIORITY_MAX))),
            start: delay_ms.filter(|delay_ms| *delay_ms > 0).map(Start::After),
            ordering_key: key.filter(fits).map(str::to_owned),
            expiry: message.ttl_ms.filter(|ttl_ms| *ttl_ms > 0).map(Start::After),
            metadata: Some(metadata.into()),
            traceparent: text("traceparent").filter(fits).map(str::to_owned),
            hops: message.hops,
            version: kind.version,
            ..NewJob::new(self.message_job_id(ns, place, moment, 0), &*kind.name, args.clone())
        };
        Some(FollowUp { queue: queue.name.clone(), job })
    }

    /// An id for the job of a message. `use_of` tells places that were guessed from those that
    /// were taken.
    pub(crate) fn message_job_id(
        &self,
        ns: NamespaceId,
        place: Place,
        moment: Moment,
        use_of: u64,
    ) -> JobId {
        let random = moment.random(place.0 ^ (use_of << 63));
        let ids = (0..).map(|salt| {
            slot_job_id(ns, ScheduleId(place.0), moment.at, random.wrapping_add(salt) ^ use_of)
        });
        // A client may have chosen that id.
        { ids }.find(|id| self.job(ns, *id).is_none()).expect("there are more ids")
    }

    /// The records of one message that is published alone, with the jobs that it becomes.
    pub(crate) fn decide_publication(
        &self,
        ns: NamespaceId,
        command: &PublishMessage,
        moment: Moment,
    ) -> Result<(Vec<Record>, Published), Rejection> {
        let Publication { record, jobs, came } = self.decide_publish(ns, command, moment)?;
        if jobs.is_empty() {
            return Ok((Vec::from_iter(record), came));
        }
        let overlay = Overlay::new(self, ns, moment);
        Ok((self.decide_with_jobs(overlay, record, &jobs)?, came))
    }

    /// The record of a message and those of the jobs that it becomes.
    pub(super) fn decide_with_jobs<'a>(
        &'a self,
        mut overlay: Overlay<'a>,
        record: Option<Record>,
        jobs: &'a [FollowUp],
    ) -> Result<Vec<Record>, Rejection> {
        if let Some(record) = record {
            overlay.record_message(record);
        }
        let decided = self.decide_follow_ups(overlay, jobs);
        decided.map(|(records, _)| records).map_err(|rejection| match rejection {
            Rejection::JobsRefused { faults } => match faults.into_iter().next() {
                Some((_, first)) => first,
                None => Rejection::JobsRefused { faults: Vec::new() },
            },
            other => other,
        })
    }

    /// A queue publishes the ends of its jobs from now on, or no more.
    pub(crate) fn note_outcomes(&mut self, queue: QueueId, exchange: Option<&String>) {
        if exchange.is_some() {
            self.messages.telling.insert(queue);
        } else {
            self.messages.telling.remove(&queue);
        }
    }

    /// What is published of the jobs that end with records, as messages whose time comes at once:
    /// records that follow these in their entry, and how many ends reach nobody.
    pub(crate) fn decide_outcomes(&self, records: &[Record], moment: Moment) -> (Vec<Record>, u64) {
        let (mut told, mut lost) = (Vec::new(), 0);
        let mut taken: u64 = records.iter().map(Record::takes_place).sum();
        for record in records {
            let Some((ns, id, state)) = end_of(record) else { continue };
            let live = self.leases.get(ns, id).map(|live| live.job().clone());
            let Some(job) = live.or_else(|| self.job(ns, id)) else { continue };
            let Some(queue) = self.queues.named(ns, &job.queue) else { continue };
            let Some(exchange) = queue.settings.outcomes.clone() else { continue };
            let goes_on = job.options.hops + 1 < HOPS_MAX;
            if !goes_on || self.messages.exchanges.named(ns, &exchange).is_none() {
                lost += 1;
                continue;
            }
            let headers = [("state", state), ("queue", &job.queue), ("kind", &job.kind)];
            let message = outcome(&job, (record, state), (exchange, properties(&headers)), moment);
            let headers = headers.map(|(name, value)| {
                let bytes = Bytes::copy_from_slice(value.as_bytes());
                (name.to_owned(), HeaderValue::Text { bytes })
            });
            told.push(Record::MessageDelayed {
                namespace: ns,
                place: Place(self.meta.next_place.0 + taken),
                at: moment.at,
                message: Box::new(message),
                headers: headers.into(),
            });
            taken += 1;
        }
        (told, lost)
    }
}

impl Record {
    /// How many places it takes.
    pub(crate) fn takes_place(&self) -> u64 {
        u64::from(matches!(
            self,
            Self::JobEnqueued { .. }
                | Self::MessagePublished { .. }
                | Self::MessageDelayed { .. }
                | Self::JobRetried { place: Some(_), .. }
        ))
    }
}

/// The args of a job: what its message says where that is JSON, else an object with it.
pub(crate) fn args_of(body: &Bytes) -> Bytes {
    if is_json(body) {
        return body.clone();
    }
    match std::str::from_utf8(body) {
        Ok(text) => format!("{{\"body\":{}}}", quoted(text)).into(),
        Err(_) => format!("{{\"body_base64\":\"{}\"}}", base64(body)).into(),
    }
}

/// The job that ends with a record, and how.
fn end_of(record: &Record) -> Option<(NamespaceId, JobId, &'static str)> {
    Some(match record {
        Record::JobSucceeded { namespace, id, .. } => (*namespace, *id, "succeeded"),
        Record::AttemptFailed { namespace, id, next: Next::Dead { .. }, .. }
        | Record::JobDied { namespace, id, .. } => (*namespace, *id, "dead"),
        Record::AttemptFailed { namespace, id, next: Next::Cancelled, .. }
        | Record::JobCancelled { namespace, id, .. } => (*namespace, *id, "cancelled"),
        Record::JobExpired { namespace, id } => (*namespace, *id, "expired"),
        _ => return None,
    })
}

/// The properties of a message that tells of a job, as faces keep them: JSON, with headers, and
/// persistent (the content header of AMQP 0-9-1, section 4.2.6.1).
fn properties(headers: &[(&str, &str)]) -> Bytes {
    let mut table = Vec::new();
    for (name, value) in headers {
        table.push(name.len() as u8);
        table.extend_from_slice(name.as_bytes());
        table.push(b'S');
        table.extend_from_slice(&(value.len() as u32).to_be_bytes());
        table.extend_from_slice(value.as_bytes());
    }
    let mut properties = b"\xb0\x00\x10application/json".to_vec();
    properties.extend_from_slice(&(table.len() as u32).to_be_bytes());
    properties.append(&mut table);
    properties.push(2);
    properties.into()
}

/// The message that tells how a job ended.
fn outcome(
    job: &Job,
    (record, state): (&Record, &'static str),
    (exchange, properties): (String, Bytes),
    moment: Moment,
) -> Message {
    let (mut result, mut error): (Option<&Bytes>, Option<&JobError>) =
        (None, job.last_error.as_ref());
    match record {
        Record::JobSucceeded { result: of, .. } => (result, error) = (of.as_ref(), None),
        Record::AttemptFailed { error: Some(of), .. }
        | Record::JobCancelled { error: Some(of), .. } => error = Some(of),
        _ => {}
    }
    let mut body = format!(
        "{{\"id\":\"{}\",\"queue\":{},\"kind\":{},\"state\":\"{state}\"",
        job.id,
        quoted(&job.queue),
        quoted(&job.kind)
    )
    .into_bytes();
    if let Some(result) = result {
        body.extend_from_slice(b",\"result\":");
        body.extend_from_slice(result);
    }
    if let Some(error) = error {
        let (kind, message) = (quoted(&error.kind), quoted(&error.message));
        let text = format!(",\"error\":{{\"kind\":{kind},\"message\":{message}}}");
        body.extend_from_slice(text.as_bytes());
    }
    body.push(b'}');
    let routing_key = cut(&format!("{state}.{}.{}", job.queue, job.kind), KEY_BYTES_MAX);
    Message {
        exchange,
        routing_key,
        further_keys: Vec::new(),
        priority: 0,
        persistent: true,
        ttl_ms: None,
        published_at: moment.at,
        properties,
        body: body.into(),
        deaths: Vec::new(),
        hops: job.options.hops + 1,
    }
}
