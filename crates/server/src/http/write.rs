//! The answers of the busiest requests, written by hand into one buffer: what a producer and a
//! worker hear per job. Tests hold them against the types in `api`.

use longshore_engine::{Delivery, EndKind, Enqueued, JobId, Token};

use super::json::{write_number, write_string};
use super::refusal::Refusal;
use super::view;
use crate::api::{DurationText, JobIdText, write_instant};

/// What became of one settlement.
pub(crate) type Outcome = (Option<JobId>, Result<EndKind, Refusal>);

fn write_id(out: &mut Vec<u8>, id: JobId) {
    out.push(b'"');
    JobIdText(id.0).write(out);
    out.push(b'"');
}

fn write_token(out: &mut Vec<u8>, token: Token) {
    out.push(b'"');
    write_number(out, u64::from(token.epoch.0));
    out.push(b'.');
    write_number(out, token.counter);
    out.push(b'"');
}

/// The answer to an enqueue of one job.
pub(crate) fn enqueued(one: Enqueued, status_path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + status_path.len());
    out.extend_from_slice(b"{\"id\":");
    write_id(&mut out, one.id);
    out.extend_from_slice(b",\"status\":");
    write_string(&mut out, status_path);
    out.extend_from_slice(if one.replayed {
        b",\"replayed\":true"
    } else {
        b",\"replayed\":false"
    });
    if let Some(met) = one.met {
        out.extend_from_slice(b",\"unique\":");
        write_string(&mut out, view::unique_outcome(met).as_str());
    }
    out.push(b'}');
    out
}

/// Bytes of the answer to an enqueue of so many jobs, or a few more.
pub(crate) fn enqueued_bulk_bytes(jobs: usize) -> usize {
    // Where all were there before, each has its outcome, too.
    84 * jobs + 64
}

/// The answer to an enqueue of many jobs.
pub(crate) fn enqueued_bulk(jobs: &[Enqueued]) -> Vec<u8> {
    let mut out = Vec::with_capacity(enqueued_bulk_bytes(jobs.len()));
    out.extend_from_slice(b"{\"ids\":[");
    for (index, job) in jobs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_id(&mut out, job.id);
    }
    out.extend_from_slice(b"],\"replayed\":");
    write_number(&mut out, jobs.iter().filter(|job| job.replayed).count() as u64);
    let mut any = false;
    for (index, met) in jobs.iter().enumerate().filter_map(|(at, job)| Some((at, job.met?))) {
        out.extend_from_slice(if any { b",{\"index\":" } else { b",\"unique\":[{\"index\":" });
        any = true;
        write_number(&mut out, index as u64);
        out.extend_from_slice(b",\"outcome\":");
        write_string(&mut out, view::unique_outcome(met).as_str());
        out.push(b'}');
    }
    if any {
        out.push(b']');
    }
    out.push(b'}');
    out
}

/// The answer to a lease request. `settles` are the jobs that it settled, in order.
pub(crate) fn leased(jobs: &[Delivery], settled: Vec<Outcome>) -> Vec<u8> {
    let args: usize = jobs.iter().map(|job| job.args.len() + 320).sum();
    let mut out = Vec::with_capacity(args + 72 * settled.len() + 32);
    out.extend_from_slice(b"{\"jobs\":[");
    for (index, job) in jobs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_delivery(&mut out, job);
    }
    out.push(b']');
    if !settled.is_empty() {
        out.push(b',');
        write_settled(&mut out, settled);
    }
    out.push(b'}');
    out
}

/// The answer to many settlements.
pub(crate) fn settled(settled: Vec<Outcome>) -> Vec<u8> {
    let mut out = Vec::with_capacity(72 * settled.len() + 32);
    out.push(b'{');
    write_settled(&mut out, settled);
    out.push(b'}');
    out
}

/// What became of one settlement that was not refused.
pub(crate) fn settled_one(id: JobId, kind: &EndKind) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    write_one(&mut out, Some(id), Ok(kind.clone()));
    out
}

fn write_settled(out: &mut Vec<u8>, settled: Vec<Outcome>) {
    out.extend_from_slice(b"\"settled\":[");
    for (index, (id, one)) in settled.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_one(out, id, one);
    }
    out.push(b']');
}

fn write_one(out: &mut Vec<u8>, id: Option<JobId>, one: Result<EndKind, Refusal>) {
    out.extend_from_slice(b"{\"id\":");
    match id {
        Some(id) => write_id(out, id),
        None => out.extend_from_slice(b"null"),
    }
    match one {
        Ok(kind) => {
            out.extend_from_slice(b",\"settled\":\"");
            out.extend_from_slice(verdict(&kind).as_bytes());
            out.push(b'"');
        }
        Err(refusal) => {
            out.extend_from_slice(b",\"error\":");
            let problem = refusal.problem();
            // Writing to a vector fails only where a key is no string, which none is here.
            if serde_json::to_writer(&mut *out, &problem).is_err() {
                out.extend_from_slice(b"null");
            }
        }
    }
    out.push(b'}');
}

/// How a run ended, as the wire says it.
fn verdict(kind: &EndKind) -> &'static str {
    match kind {
        EndKind::Acked => "ack",
        EndKind::Failed | EndKind::SnoozedOut => "fail",
        EndKind::Snoozed => "snooze",
        EndKind::Released => "release",
        EndKind::Discarded => "discard",
        EndKind::Interrupted => "interrupt",
    }
}

fn write_delivery(out: &mut Vec<u8>, job: &Delivery) {
    out.extend_from_slice(b"{\"id\":");
    write_id(out, job.id);
    out.extend_from_slice(b",\"queue\":");
    write_string(out, &job.queue);
    out.extend_from_slice(b",\"kind\":");
    write_string(out, &job.kind);
    if job.version > 0 {
        out.extend_from_slice(b",\"version\":");
        write_number(out, u64::from(job.version));
    }
    out.extend_from_slice(b",\"args\":");
    out.extend_from_slice(&job.args);
    out.extend_from_slice(b",\"attempt\":");
    write_number(out, u64::from(job.attempt));
    out.extend_from_slice(b",\"max_attempts\":");
    write_number(out, u64::from(job.max_attempts));
    out.extend_from_slice(b",\"token\":");
    write_token(out, job.token);
    out.extend_from_slice(b",\"lease\":");
    write_duration(out, job.lease_ms);
    out.extend_from_slice(b",\"lease_ms\":");
    write_number(out, job.lease_ms);
    if let Some(timeout_ms) = job.timeout_ms {
        out.extend_from_slice(b",\"timeout\":");
        write_duration(out, timeout_ms);
        out.extend_from_slice(b",\"timeout_ms\":");
        write_number(out, timeout_ms);
    }
    if job.at_most_once {
        out.extend_from_slice(b",\"at_most_once\":true");
    }
    out.extend_from_slice(b",\"enqueued_at\":\"");
    write_instant(out, job.enqueued_at.0);
    out.extend_from_slice(b"\",\"priority\":");
    write_number(out, u64::from(job.priority));
    if let Some(key) = &job.ordering_key {
        out.extend_from_slice(b",\"ordering_key\":");
        write_string(out, key);
    }
    if !job.tags.is_empty() {
        out.extend_from_slice(b",\"tags\":[");
        for (index, tag) in job.tags.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, tag);
        }
        out.push(b']');
    }
    if let Some(metadata) = &job.metadata {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(metadata);
    }
    if let Some(traceparent) = &job.traceparent {
        out.extend_from_slice(b",\"traceparent\":");
        write_string(out, traceparent);
    }
    write_headway(out, job);
    out.push(b'}');
}

/// How far earlier runs came.
fn write_headway(out: &mut Vec<u8>, job: &Delivery) {
    if let Some(cursor) = &job.cursor {
        out.extend_from_slice(b",\"cursor\":");
        out.extend_from_slice(cursor);
    }
    if job.interruptions > 0 {
        out.extend_from_slice(b",\"interruptions\":");
        write_number(out, u64::from(job.interruptions));
    }
    for (index, (name, count)) in job.counters.iter().enumerate() {
        let before: &[u8] = if index == 0 { b",\"counters\":{" } else { b"," };
        out.extend_from_slice(before);
        write_string(out, name);
        out.push(b':');
        if *count < 0 {
            out.push(b'-');
        }
        write_number(out, count.unsigned_abs());
    }
    if !job.counters.is_empty() {
        out.push(b'}');
    }
}

fn write_duration(out: &mut Vec<u8>, ms: u64) {
    write_string(out, &DurationText(ms).to_string());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use longshore_engine::{Epoch, Rejection, TimeMs};

    use super::*;
    use longshore_engine::UniqueMet;

    use crate::api::{
        EnqueueAnswer, EnqueueBulkAnswer, LeaseAnswer, SettleAnswer, UniqueOutcome, VerdictText,
    };

    fn delivery() -> Delivery {
        Delivery {
            id: JobId([7; 16]),
            queue: "a \"queue\"".into(),
            kind: "k\n".into(),
            version: 3,
            args: Bytes::from_static(b"{\"a\": [1, 2.50]}"),
            attempt: 3,
            max_attempts: 26,
            token: Token { epoch: Epoch(2), counter: 9 },
            lease_ms: 30_000,
            timeout_ms: Some(1500),
            at_most_once: true,
            enqueued_at: TimeMs(1_777_863_721_500),
            priority: 9,
            ordering_key: Some("customer".into()),
            tags: vec!["t1".into(), "\u{fc}".into()],
            metadata: Some(Bytes::from_static(b"{\"m\":1}")),
            traceparent: Some("00-x".into()),
            cursor: Some(Bytes::from_static(b"[7]")),
            interruptions: 2,
            counters: vec![("rows".into(), 7), ("a \"b\"".into(), i64::MIN)],
        }
    }

    #[test]
    fn a_lease_answer_is_what_its_type_says() {
        let bare = Delivery {
            timeout_ms: None,
            at_most_once: false,
            ordering_key: None,
            tags: Vec::new(),
            metadata: None,
            traceparent: None,
            cursor: None,
            interruptions: 0,
            counters: Vec::new(),
            ..delivery()
        };
        let refused = Rejection::JobUnknown { id: JobId([1; 16]), gone: true };
        let [done, gone] = [8, 1].map(|n| Some(JobId([n; 16])));
        let ends = vec![(done, Ok(EndKind::Acked)), (gone, Err(refused.into()))];
        let body = leased(&[delivery(), bare], ends);
        let text = String::from_utf8(body).unwrap();
        let answer: LeaseAnswer<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        assert_eq!(answer.jobs[0].args.get(), "{\"a\": [1, 2.50]}");
        assert_eq!(answer.jobs[0].lease, DurationText(30_000));
        // Those who write workers should not have to read durations.
        assert_eq!((answer.jobs[0].lease_ms, answer.jobs[0].timeout_ms), (30_000, Some(1500)));
        assert_eq!(answer.settled[0].settled, Some(VerdictText::Ack));
        assert_eq!(answer.settled[1].error.as_ref().unwrap().code, "job_gone");
    }

    #[test]
    fn an_empty_lease_answer_is_small() {
        assert_eq!(leased(&[], Vec::new()), b"{\"jobs\":[]}");
    }

    #[test]
    fn settlements_and_enqueues_are_what_their_types_say() {
        let unnamed = (None, Err(Refusal::value("settle[0].id", 5, "a UUID")));
        let body = settled(vec![(Some(JobId([8; 16])), Ok(EndKind::Snoozed)), unnamed]);
        let answer: SettleAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&answer).unwrap(), body);

        let one = Enqueued { id: JobId([5; 16]), replayed: true, met: None };
        let body = enqueued(one, "/v1/status/5");
        let answer: EnqueueAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&answer).unwrap(), body);

        let body = enqueued_bulk(&[one, one]);
        let answer: EnqueueBulkAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&answer).unwrap(), body);
        assert_eq!(answer.replayed, 2);

        let met = Enqueued { replayed: false, met: Some(UniqueMet::Throttled), ..one };
        let body = enqueued(met, "/v1/status/5");
        let answer: EnqueueAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&answer).unwrap(), body);
        assert_eq!(answer.unique, Some(UniqueOutcome::Throttled));
        let body = enqueued_bulk(&[one, met, met]);
        let answer: EnqueueBulkAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&answer).unwrap(), body);
        assert_eq!(answer.unique.iter().map(|it| it.index).collect::<Vec<_>>(), [1, 2]);
        assert!(enqueued_bulk(&vec![met; 10_000]).len() <= enqueued_bulk_bytes(10_000));
    }
}
