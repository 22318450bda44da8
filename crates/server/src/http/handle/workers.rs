//! Who works, and what is asked of workers.

use super::ok;
use crate::api::{
    InstantText, JobIdText, WorkerList, WorkerQueue, WorkerRecord, WorkerRunRecord, WorkerStateText,
};
use crate::http::app::Call;
use crate::http::look::worker_named;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::workers::{Run, Told, Wanted, Worker};

pub(super) fn list(call: &Call<'_>) -> Reply {
    let workers = call.app.workers.list(call.namespace);
    ok(&WorkerList { workers: workers.iter().map(|worker| record(worker)).collect() }).not_cached()
}

/// Describes a worker, after asking it for something where `wanted` says so.
pub(super) fn asked(call: &Call<'_>, wanted: Wanted) -> Result<Reply, Refusal> {
    let worker = worker_named(call.app, call.namespace, call.name)?;
    call.app.workers.want(&worker, wanted);
    Ok(ok(&record(&worker)).not_cached())
}

fn record(worker: &Worker) -> WorkerRecord {
    let Told { facts, connected, connected_at, seen_at, wanted, memory_bytes, runs } =
        worker.told();
    let held = runs.len();
    let running: Vec<_> =
        runs.into_iter().filter_map(|(id, run)| run_record(JobIdText(id.0), run)).collect();
    let queue =
        |(queue, weight): &(String, u32)| WorkerQueue { queue: queue.clone(), weight: *weight };
    WorkerRecord {
        name: worker.key.name.clone(),
        session: worker.key.session.clone(),
        connected,
        state: match wanted {
            Wanted::Working => WorkerStateText::Working,
            Wanted::Quiet => WorkerStateText::Quiet,
            Wanted::Terminate => WorkerStateText::Terminating,
        },
        host: facts.host.clone(),
        pid: facts.pid,
        software: facts.software.clone(),
        labels: facts.labels.iter().cloned().collect(),
        kinds: facts.kinds.clone(),
        versions: facts.versions.clone(),
        queues: facts.queues.iter().map(queue).collect(),
        concurrency: facts.concurrency,
        connected_at: InstantText(connected_at.0),
        seen_at: InstantText(seen_at.0),
        memory_bytes,
        waiting: (held - running.len()) as u64,
        running,
    }
}

fn run_record(id: JobIdText, run: Run) -> Option<WorkerRunRecord> {
    Some(WorkerRunRecord {
        id,
        queue: run.queue,
        kind: run.kind,
        attempt: run.attempt,
        started_at: InstantText(run.started_at?.0),
        progress: run.progress.map(|progress| f64::from(progress) / 10_000.0),
        progress_text: run.progress_text,
    })
}
