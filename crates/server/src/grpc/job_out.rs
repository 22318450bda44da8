//! From what the engine shows to the messages.

use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::{Delivery, JobError, JobView, Phase};
use longshore_proto::v1;

use crate::api::{BlockedByRecord, JobIdText, JobRecord, TokenText};
use crate::http::app::App;
use crate::http::look::{self, WholeJob};

/// The text of a job's id.
pub(super) fn id_text(id: longshore_engine::JobId) -> String {
    JobIdText(id.0).to_string()
}

/// The text of a lease's token.
pub(super) fn token_text(token: longshore_engine::Token) -> String {
    TokenText { epoch: token.epoch.0, counter: token.counter }.to_string()
}

/// A job and its lease as texts.
pub(super) fn lease_ref(
    (id, token): (longshore_engine::JobId, longshore_engine::Token),
) -> v1::LeaseRef {
    v1::LeaseRef { id: id_text(id), token: token_text(token) }
}

/// All of a job.
pub(super) fn whole_job(app: &App, namespace: &str, whole: &WholeJob) -> v1::Job {
    job(&whole.view, &whole.record(app, namespace), whole.result.as_ref())
}

/// A job of a list, without what is stored apart.
pub(super) fn listed_job(app: &App, namespace: &str, listed: &JobView) -> v1::Job {
    job(listed, &look::record(app, namespace, listed), None)
}

fn job(of: &JobView, record: &JobRecord<'_>, result: Option<&Bytes>) -> v1::Job {
    let (job, checkpoint) = (&of.job, of.checkpoint.as_ref());
    let location = match &job.phase {
        Phase::Succeeded { location, .. } => location.clone(),
        _ => None,
    };
    let waits = job.phase.is_unfinished() && of.lease.is_none();
    let cursor = checkpoint.and_then(|checkpoint| checkpoint.cursor.as_ref());
    let counters = checkpoint.map(|checkpoint| checkpoint.counters.iter().cloned().collect());
    v1::Job {
        id: id_text(job.id),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        state: record.state.as_str().to_owned(),
        reason: record.reason.clone().unwrap_or_default(),
        attempt: record.attempt,
        max_attempts: record.max_attempts,
        progress: record.progress,
        progress_text: record.progress_text.clone().unwrap_or_default(),
        enqueued_at_unix_ms: job.enqueued_at.0,
        run_at_unix_ms: waits.then_some(job.available_at.0),
        ended_at_unix_ms: job.phase.ended_at().map(|at| at.0),
        error: job.last_error.as_ref().map(job_error),
        cursor: cursor.cloned().unwrap_or_default(),
        counters: counters.unwrap_or_default(),
        result: result.cloned(),
        location: location.unwrap_or_default(),
        blocked_by: record.blocked_by.iter().map(blocked_by).collect(),
        record: serde_json::to_vec(record).unwrap_or_default().into(),
        snoozes: job.snoozes,
        version: job.options.version,
    }
}

fn blocked_by(by: &BlockedByRecord) -> v1::BlockedBy {
    v1::BlockedBy {
        ordering_key: by.ordering_key.clone(),
        job: by.job.map(|job| job.to_string()).unwrap_or_default(),
        paused: by.paused.clone().unwrap_or_default(),
        limit: by.limit.clone().unwrap_or_default(),
        key: by.key.clone().unwrap_or_default(),
        gate: by.gate.clone().unwrap_or_default(),
        reason: by.reason.clone().unwrap_or_default(),
        hold: by.hold.clone().unwrap_or_default(),
        no_worker_for: by.no_worker_for.clone().unwrap_or_default(),
        version: by.version.unwrap_or_default(),
    }
}

fn job_error(error: &JobError) -> v1::JobError {
    let JobError { kind, message, backtrace } = error.clone();
    v1::JobError { r#type: kind, message, backtrace }
}

/// A job on its way to a worker.
pub(super) fn delivery(job: Delivery) -> v1::Delivery {
    v1::Delivery {
        id: id_text(job.id),
        token: token_text(job.token),
        queue: job.queue,
        kind: job.kind,
        args: job.args,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        lease_ms: job.lease_ms,
        timeout_ms: job.timeout_ms,
        enqueued_at_unix_ms: job.enqueued_at.0,
        metadata: job.metadata.unwrap_or_default(),
        traceparent: job.traceparent.unwrap_or_default(),
        cursor: job.cursor.unwrap_or_default(),
        counters: job.counters.into_iter().collect(),
        interruptions: job.interruptions,
        tags: job.tags,
        priority: u32::from(job.priority),
        ordering_key: job.ordering_key.unwrap_or_default(),
        at_most_once: job.at_most_once,
        version: job.version,
    }
}

/// A worker, as it is told to whoever asks.
pub(super) fn worker(worker: &Arc<crate::workers::Worker>) -> v1::Worker {
    let told = worker.told();
    let facts = told.facts;
    let (started, waiting): (Vec<_>, Vec<_>) =
        told.runs.into_iter().partition(|(_, run)| run.started_at.is_some());
    v1::Worker {
        name: worker.key.name.clone(),
        session: worker.key.session.clone(),
        host: facts.host.clone(),
        pid: facts.pid,
        software: facts.software.clone(),
        labels: facts.labels.iter().cloned().collect(),
        kinds: facts.kinds.clone(),
        queues: facts
            .queues
            .iter()
            .map(|(queue, weight)| v1::QueueWish { queue: queue.clone(), weight: *weight })
            .collect(),
        concurrency: facts.concurrency,
        connected_at_unix_ms: told.connected_at.0,
        seen_at_unix_ms: told.seen_at.0,
        state: i32::from(state(told.wanted)),
        memory_bytes: told.memory_bytes,
        running: started.into_iter().map(run).collect(),
        waiting: waiting.len() as u32,
        connected: told.connected,
        versions: facts.versions.iter().map(versions).collect(),
    }
}

fn versions(of: &crate::api::KindVersions) -> v1::KindVersions {
    v1::KindVersions { kind: of.kind.clone(), from: of.from, to: of.to }
}

/// What was asked of a worker.
pub(super) fn state(wanted: crate::workers::Wanted) -> v1::WorkerState {
    match wanted {
        crate::workers::Wanted::Working => v1::WorkerState::Working,
        crate::workers::Wanted::Quiet => v1::WorkerState::Quiet,
        crate::workers::Wanted::Terminate => v1::WorkerState::Terminate,
    }
}

fn run((id, run): (longshore_engine::JobId, crate::workers::Run)) -> v1::WorkerRun {
    v1::WorkerRun {
        id: id_text(id),
        queue: run.queue,
        kind: run.kind,
        attempt: run.attempt,
        started_at_unix_ms: run.started_at.unwrap_or_default().0,
        progress: run.progress.map(|progress| f64::from(progress) / 10_000.0),
        progress_text: run.progress_text,
    }
}
