//! Slots: each runs one job at a time, takes it from the intake and leaves its end in the outbox.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longshore_proto::v1::settlement::Verdict;
use tokio::sync::{Notify, Semaphore};
use tower::Service;
use tracing::Instrument;

use super::intake::Intake;
use crate::mailbox::{Durable, Update};
use crate::outcome::{JobEnd, cut_short, verdict};
use crate::panics::poll_guarded;
use crate::perform::{JobCall, JobService};
use crate::run::Run;
use crate::{JobError, StopReason};

/// What the slots of a worker have in common.
#[derive(Debug)]
pub(super) struct Load {
    /// Runs at the same time, over all lanes.
    permits: Semaphore,
    concurrency: usize,
    /// Runs that have ended.
    ended: AtomicU64,
    /// Runs after which the worker recycles.
    jobs_max: u64,
    /// Rung when they have ended.
    pub(super) enough: Notify,
    lanes: Vec<LaneLoad>,
}

/// The runs of one lane.
#[derive(Debug, Default)]
struct LaneLoad {
    running: AtomicUsize,
    ended: AtomicU64,
    /// How long runs took lately, in nanoseconds; 0 while nothing is known.
    run_ns: AtomicU64,
    /// Other lanes occupy what it could use.
    is_crowded: AtomicBool,
    /// Rung when a run of another lane has ended while that is so.
    freed: Notify,
}

impl Load {
    pub(super) fn new(lanes: usize, concurrency: usize, jobs_max: Option<u64>) -> Self {
        Self {
            permits: Semaphore::new(concurrency),
            concurrency,
            ended: AtomicU64::new(0),
            jobs_max: jobs_max.unwrap_or(u64::MAX),
            enough: Notify::new(),
            lanes: (0..lanes).map(|_| LaneLoad::default()).collect(),
        }
    }

    /// How many runs are left until the worker recycles.
    pub(super) fn jobs_left(&self) -> u64 {
        self.jobs_max.saturating_sub(self.ended())
    }

    /// How many runs of the worker have ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// How many jobs run.
    pub(super) fn running(&self) -> usize {
        self.lanes.iter().map(|lane| lane.running.load(Ordering::Relaxed)).sum()
    }

    /// How many jobs of a lane can run at once beside what runs of the others.
    pub(super) fn room(&self, lane: usize) -> usize {
        let others = self.lanes.iter().enumerate().filter(|(other, _)| *other != lane);
        let taken: usize = others.map(|(_, other)| other.running.load(Ordering::Relaxed)).sum();
        self.concurrency.saturating_sub(taken)
    }

    /// How long a run of a lane takes these days, and how many have been measured.
    pub(super) fn usual_run(&self, lane: usize) -> (Option<Duration>, u64) {
        let Some(lane) = self.lanes.get(lane) else { return (None, 0) };
        let ns = lane.run_ns.load(Ordering::Relaxed);
        let usual = (ns > 0).then(|| Duration::from_nanos(ns));
        (usual, lane.ended.load(Ordering::Relaxed))
    }

    /// Whether a lane is to hear of the ends of other lanes' runs.
    pub(super) fn set_crowded(&self, lane: usize, is_crowded: bool) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.is_crowded.store(is_crowded, Ordering::Relaxed);
        }
    }

    /// Waits until a run of another lane has ended while this one is crowded.
    pub(super) async fn freed(&self, lane: usize) {
        match self.lanes.get(lane) {
            Some(lane) => lane.freed.notified().await,
            None => std::future::pending().await,
        }
    }

    fn begin(&self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.running.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&self, lane: usize, took: Duration) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.note(took);
            lane.running.fetch_sub(1, Ordering::Relaxed);
        }
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended == self.jobs_max {
            self.enough.notify_one();
        }
        for (other, crowded) in self.lanes.iter().enumerate() {
            if other != lane && crowded.is_crowded.load(Ordering::Relaxed) {
                crowded.freed.notify_one();
            }
        }
    }
}

impl LaneLoad {
    fn note(&self, took: Duration) {
        let took = (took.as_nanos() as u64).max(1);
        let before = self.run_ns.load(Ordering::Relaxed);
        // Each run weighs an eighth; one that is lost between load and store does no harm.
        let now = if before == 0 { took } else { before - before / 8 + took / 8 };
        self.run_ns.store(now.max(1), Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs what comes for a lane until nothing comes any more.
pub(super) async fn serve(
    intake: Arc<Intake>,
    mut service: JobService,
    load: Arc<Load>,
    lane: usize,
) {
    while intake.ready().await {
        // First the permit, since what waits in the intake can still be given back. The semaphore
        // is never closed.
        let _permit = load.permits.acquire().await;
        let Some(run) = intake.take() else { continue };
        if run.kill.is_given() {
            run.set_ended();
            run.outbox.ended(Arc::clone(&run), None);
            continue;
        }
        run.set_started();
        run.outbox.started(&run);
        load.begin(lane);
        let begun = Instant::now();
        let verdict = execute(&mut service, &run).await;
        load.end(lane, begun.elapsed());
        run.set_ended();
        Arc::clone(&run.outbox).ended(run, verdict);
    }
}

/// Runs one job. Nothing is to be settled where its lease is lost.
pub(crate) async fn execute(service: &mut JobService, run: &Arc<Run>) -> Option<Verdict> {
    let delivery = &run.delivery;
    let span = tracing::info_span!(
        "job",
        id = %delivery.id,
        kind = %delivery.kind,
        queue = %delivery.queue,
        attempt = delivery.attempt,
    );
    let end = {
        // Layers, and what they and the job drop, may panic as well: that is a failure of the run,
        // not the end of the slot.
        let mut attempt = pin!(attempt(service, run).instrument(span));
        poll_fn(|cx| poll_guarded(attempt.as_mut(), cx)).await
    };
    if run.stop_reason() == Some(StopReason::LeaseLost) {
        return None;
    }
    if let Err(error) = &end
        && !run.is_logged()
    {
        // With all that tells the run: its span may be off where warnings are not.
        tracing::warn!(
            id = %delivery.id,
            kind = %delivery.kind,
            queue = %delivery.queue,
            attempt = delivery.attempt,
            error_kind = error.kind(),
            %error,
            "a run has failed"
        );
    }
    if let Some(error) = run.mailbox.refusal() {
        // Cursors or counters of it are lost: it has not succeeded, whatever it says.
        return Some(verdict(Err(error)));
    }
    // What it counted by the way shall not be lost with its end.
    let counters = run.take_counted();
    if !counters.is_empty() && end.is_ok() {
        let (version, first) = run.mailbox.put(Update { counters, ..Update::default() });
        if first {
            run.outbox.checkpoint(run);
        }
        match run.mailbox.until_durable(version).await {
            Durable::Yes => {}
            Durable::Lost => return None,
            Durable::Refused(error) => return Some(verdict(Err(error))),
        }
    }
    Some(verdict(end))
}

async fn attempt(service: &mut JobService, run: &Arc<Run>) -> Result<JobEnd, JobError> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    let mut work = pin!(until_killed(service.call(JobCall { run: Arc::clone(run) }), run));
    let Some(timeout) = run.delivery.timeout else { return work.await };
    if let Ok(end) = tokio::time::timeout(timeout, work.as_mut()).await {
        return end;
    }
    run.time_out();
    work.await
}

/// A run that is killed ends in the innermost service, so that layers see its end; this is for
/// layers that wait for something else.
async fn until_killed(
    work: impl Future<Output = Result<JobEnd, JobError>>,
    run: &Run,
) -> Result<JobEnd, JobError> {
    tokio::select! {
        biased;
        end = work => end,
        () = run.kill.given() => cut_short(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_what_runs_at_once_and_each_measures_its_own_runs() {
        let load = Load::new(2, 3, None);
        load.begin(0);
        load.begin(0);
        assert_eq!((load.room(0), load.room(1), load.running()), (3, 1, 2));
        load.end(0, Duration::from_micros(50));
        assert_eq!((load.room(1), load.running(), load.ended()), (2, 1, 1));
        assert_eq!(load.usual_run(0), (Some(Duration::from_micros(50)), 1));
        assert_eq!(load.usual_run(1), (None, 0), "quick jobs of one earn nothing for the other");
    }
}
