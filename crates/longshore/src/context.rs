//! What a running job knows and can say.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::delivery::Delivery;
use crate::mailbox::Update;
use crate::outcome::FollowUp;
use crate::run::Run;
use crate::{Job, JobError, JobOptions, Start, StopReason};

/// What a running job knows and can say. Clones are handles to the same run.
pub struct Context<S> {
    state: Arc<S>,
    pub(crate) run: Arc<Run>,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), run: Arc::clone(&self.run) }
    }
}

impl<S> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("delivery", &self.run.delivery).finish_non_exhaustive()
    }
}

impl<S> Context<S> {
    pub(crate) fn new(state: Arc<S>, run: Arc<Run>) -> Self {
        Self { state, run }
    }

    /// What the application shares with its jobs.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The job as it was delivered.
    pub fn delivery(&self) -> &Delivery {
        &self.run.delivery
    }

    /// The job's id: the same in each of its runs, and so the natural key of what it does.
    pub fn id(&self) -> &str {
        &self.run.delivery.id
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.run.delivery.attempt
    }

    /// Whether the job is dead if this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.run.delivery.attempt >= self.run.delivery.max_attempts
    }

    /// Whether this run is the job's last one, whatever becomes of it.
    pub fn is_at_most_once(&self) -> bool {
        self.run.delivery.at_most_once
    }

    /// The producer's own object, where it gave one.
    pub fn metadata<T: DeserializeOwned>(&self) -> Result<Option<T>, JobError> {
        read(&self.run.delivery.metadata, "metadata")
    }

    /// Is cancelled when this run shall stop: the job was called off, its lease is lost, its time
    /// is over or the worker ends. A run that goes on regardless is dropped a little later.
    pub fn cancellation(&self) -> &CancellationToken {
        self.run.stop.token()
    }

    /// Whether this run shall stop.
    pub fn is_stopped(&self) -> bool {
        self.run.is_stopped()
    }

    /// Why it shall.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.run.stop_reason()
    }

    /// Is cancelled when this run shall end where another one can go on: a deploy, a pause.
    /// Iterations obey by themselves; any other job may save its cursor and return
    /// [`Outcome::interrupted`](crate::Outcome::interrupted), or ignore it.
    pub fn interruption(&self) -> &CancellationToken {
        self.run.interrupt.token()
    }

    /// Whether this run shall end where another one can go on.
    pub fn is_interrupted(&self) -> bool {
        self.run.is_interrupted()
    }

    /// Tells how far it is, from 0 to 1, and a word about it. Needs no waiting; where much is
    /// told, only the latest travels.
    pub fn progress(&self, progress: f64, text: impl Into<String>) {
        let text = text.into();
        self.put(Update {
            progress: Some(progress.clamp(0.0, 1.0)),
            progress_text: Some(text),
            ..Update::default()
        });
    }

    /// Adds to one of the job's counters. It is sent with the next checkpoint: in an iteration
    /// together with the cursor of the item that counted, so that an item that runs again is
    /// counted once.
    pub fn count(&self, counter: &str, by: i64) {
        self.run.count(counter, by);
    }

    /// What the job's earlier runs have counted.
    pub fn counters(&self) -> &HashMap<String, i64> {
        &self.run.delivery.counters
    }

    /// Where this run begins, if an earlier one saved that.
    pub fn saved_cursor<C: DeserializeOwned>(&self) -> Result<Option<C>, JobError> {
        read(&self.run.delivery.cursor, "cursor")
    }

    /// Saves where another run is to begin, and what was counted, and waits until it is durable.
    /// An iteration does so by itself; this is for jobs that go through something by hand.
    pub async fn save_cursor<C: Serialize + ?Sized>(&self, cursor: &C) -> Result<(), JobError> {
        let update = Update {
            cursor: Some(write_cursor(cursor)?),
            counters: self.run.take_counted(),
            ..Update::default()
        };
        let version = self.put(update);
        self.run.mailbox.until_durable(version).await.into_result()
    }

    /// Lets another job follow: it is enqueued in the same commit that ends this one, if this run
    /// succeeds, and not at all if it does not. Returns its id.
    ///
    /// An iteration takes it in [`on_complete`](crate::Iteration::on_complete) alone. Elsewhere it
    /// is an error: a run that is interrupted succeeds only later, as another run that knows
    /// nothing of what this one let follow, and an item that is tried again would have it twice.
    /// What belongs to an item is enqueued in [`each`](crate::Iteration::each) with the client,
    /// under an id that is made from the item, so that twice is once.
    pub fn follow_up<J: Job>(&self, job: J) -> Result<Uuid, JobError> {
        self.follow_up_with(job, JobOptions::new())
    }

    /// The same with options.
    #[expect(clippy::needless_pass_by_value, reason = "a job that was handed over is gone")]
    pub fn follow_up_with<J: Job>(&self, job: J, options: JobOptions) -> Result<Uuid, JobError> {
        if self.run.follows_nothing() {
            return Err(JobError::new("follow_up_refused", NO_FOLLOW_UP));
        }
        let mut options = options.over(job.options());
        if let Some((one, other)) = options.conflict() {
            let why = format!("a job may have {one} or {other}, not both");
            return Err(JobError::new("follow_up_refused", why));
        }
        options.queue.get_or_insert_with(|| J::QUEUE.to_owned());
        let id = *options.id.get_or_insert_with(Uuid::now_v7);
        options.traceparent = options.traceparent.or_else(|| self.run.traceparent());
        let args = serde_json::to_vec(&job).map_err(|error| {
            JobError::new("args_not_json", format!("a {} is no JSON: {error}", J::KIND))
        })?;
        self.run.follow_up(FollowUp(options.into_wire::<J>(args.into())));
        Ok(id)
    }

    /// Says when the schedule that enqueued this job is to fire next, if this run succeeds: sooner
    /// while there is much to do, later while there is nothing. After that it goes on from there.
    /// The server refuses it for a job that no schedule enqueued.
    pub fn next_slot(&self, start: Start) {
        self.run.set_next_slot(start);
    }

    pub(crate) fn put(&self, update: Update) -> u64 {
        let (version, first) = self.run.mailbox.put(update);
        if first {
            self.run.outbox.checkpoint(&self.run);
        }
        version
    }
}

/// What an iteration is told that lets something follow too early.
const NO_FOLLOW_UP: &str = "an iteration follows up in `on_complete` alone: before, it would be \
    lost with an interruption and doubled with an item that is tried again; enqueue from `each` \
    with the client and an id of your own that is made from the item, or follow up in `on_complete`";

/// The largest cursor that is sent at all; servers take 64 KiB unless they are told otherwise.
const CURSOR_BYTES_MAX: usize = 1 << 20;

/// `null` would mean that there is none.
pub(crate) fn write_cursor<C: Serialize + ?Sized>(cursor: &C) -> Result<Bytes, JobError> {
    let json = serde_json::to_vec(cursor)
        .map_err(|error| JobError::new("cursor_not_json", format!("a cursor: {error}")))?;
    if json == b"null" {
        return Err(JobError::new("cursor_null", "a cursor is null, which means no cursor"));
    }
    if json.len() > CURSOR_BYTES_MAX {
        let message = format!(
            "a cursor has {} bytes, at most {CURSOR_BYTES_MAX} travel: it says where to go on, \
             keep results elsewhere",
            json.len()
        );
        return Err(JobError::new("cursor_too_large", message));
    }
    Ok(json.into())
}

fn read<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<Option<T>, JobError> {
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(json).map(Some).map_err(|error| {
        JobError::new(
            format!("{what}_unreadable"),
            format!("the {what} that was saved is not what this version of the job reads: {error}"),
        )
    })
}
