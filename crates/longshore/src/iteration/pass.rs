//! One run of an iteration: from where the last one stopped, item by item, to the end or to where
//! it is told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use longshore_proto::v1;

use super::again::{self, ItemToRun};
use super::enumerator::{Position, Throttle};
use super::{Checkpoints, Enumerator, Iteration, IterationSettings, OnItemError};
use crate::context::write_cursor;
use crate::mailbox::Update;
use crate::panics::Guarded;
use crate::{Context, JobError, JobResult, Outcome, StopReason};

/// The counter of items that are done.
const ITEMS: &str = "items";
/// The counter of items that were given up on.
const SKIPPED: &str = "skipped";
/// Up to this, a back-off is waited for in place.
const WAIT_IN_PLACE_MAX: Duration = Duration::from_secs(1);

/// How a pass ended.
pub(super) enum End {
    /// There are no more items.
    Completed,
    Interrupted {
        reason: String,
        delay: Option<Duration>,
    },
    /// Somebody called the job off.
    Cancelled,
}

/// Runs an iteration.
pub(crate) async fn run<J, S>(job: &J, ctx: &Context<S>) -> JobResult<J::Output>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    // Until it completes: see `finish`.
    ctx.run.set_follows_nothing(true);
    if let Some(items) = again::items_of(ctx)? {
        return again::run(job, ctx, items).await;
    }
    let cursor = ctx.saved_cursor::<J::Cursor>()?;
    match &cursor {
        Some(_) => job.on_resume(ctx).await?,
        None => job.on_start(ctx).await?,
    }
    let mut items = job.enumerate(cursor.clone(), ctx).await?;
    let mut pass = Pass::new(job, ctx, cursor);
    let end = pass.through(&mut items).await;
    // What is done shall not be done again, however this run ended.
    let saved = pass.save().await;
    let end = end?;
    saved?;
    finish(job, ctx, end).await
}

/// What a pass leads to.
pub(super) async fn finish<J, S>(job: &J, ctx: &Context<S>, end: End) -> JobResult<J::Output>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    match end {
        End::Completed => {
            ctx.run.set_follows_nothing(false);
            job.on_complete(ctx).await
        }
        End::Interrupted { reason, delay } => {
            // The cursor is safe: a hook that fails shall not turn a deploy into a failure.
            if let Err(error) = Guarded::new(job.on_interrupt(&reason, ctx)).await {
                tracing::error!(%error, "on_interrupt has failed; the run is interrupted all the same");
            }
            Ok(Outcome::Interrupted { reason, delay })
        }
        End::Cancelled => Ok(Outcome::Discard(JobError::new("cancelled", "it was called off"))),
    }
}

pub(super) struct Pass<'a, J: Iteration<S>, S: Send + Sync + 'static> {
    job: &'a J,
    ctx: &'a Context<S>,
    settings: IterationSettings,
    began: Instant,
    /// Behind the last item that is done.
    pub(super) position: Option<J::Cursor>,
    /// Whether that has not been handed over.
    unsent: bool,
    /// Items done in this run, and in earlier ones.
    done: u64,
    done_before: u64,
    /// What was not handed over: items, counters, items given up on.
    unsent_items: i64,
    counters: HashMap<String, i64>,
    skipped: Vec<v1::SkippedItem>,
    /// Of the update that was handed over last.
    version: u64,
    total: Option<u64>,
    /// How far a cursor is, where the collection tells.
    far: Option<Arc<Position<J::Cursor>>>,
}

impl<'a, J, S> Pass<'a, J, S>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    pub(super) fn new(job: &'a J, ctx: &'a Context<S>, position: Option<J::Cursor>) -> Self {
        let counters = ctx.counters();
        let counted = counters.get(ITEMS).unwrap_or(&0) + counters.get(SKIPPED).unwrap_or(&0);
        // A run that begins at the beginning does again what earlier ones did.
        let before = if position.is_some() { counted } else { 0 };
        Self {
            job,
            ctx,
            settings: job.settings(),
            began: Instant::now(),
            position,
            unsent: false,
            done: 0,
            done_before: u64::try_from(before).unwrap_or(0),
            unsent_items: 0,
            counters: HashMap::new(),
            skipped: Vec::new(),
            version: 0,
            total: None,
            far: None,
        }
    }

    async fn through(
        &mut self,
        items: &mut Enumerator<J::Item, J::Cursor>,
    ) -> Result<End, JobError> {
        (self.total, self.far) = (items.total, items.position.clone());
        // Apart, since a stream may not be shared between threads and these are.
        let Enumerator { items, throttles, .. } = items;
        loop {
            let ctx = self.ctx;
            let next = tokio::select! {
                biased;
                next = self.meanwhile(items.next()) => next?,
                () = ctx.run.interrupt.given() => return Ok(self.told().unwrap_or(End::Cancelled)),
            };
            let Some(next) = next else { return Ok(End::Completed) };
            let (item, cursor) = next?;
            if let Some(end) = self.between_items().await {
                return Ok(end);
            }
            match item {
                Ok(item) => {
                    if let Some(end) = self.throttled(&item, throttles).await {
                        return Ok(end);
                    }
                    self.one(&item, &cursor).await?;
                }
                Err(error) => self.broken(&cursor, error)?,
            }
            self.position = Some(cursor);
            self.note().await?;
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Awaits something, and hands over what is unsent as soon as its turn comes.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Result<F::Output, JobError> {
        let mut future = std::pin::pin!(future);
        let ctx = self.ctx;
        while self.unsent {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = ctx.run.mailbox.until_idle() => self.hand_over()?,
            }
        }
        Ok(future.await)
    }

    /// Why no further item is to begin, if so.
    pub(super) async fn between_items(&mut self) -> Option<End> {
        if self.ctx.run.is_told() {
            self.slow_down().await;
            if let Some(end) = self.told() {
                return Some(end);
            }
        }
        self.time_is_up()
    }

    /// What the run was told to do other than go on.
    fn told(&self) -> Option<End> {
        let run = &self.ctx.run;
        if run.is_stopped() {
            // A lost lease and the end of the grace drop the run anyway.
            return Some(match run.stop_reason() {
                Some(StopReason::Cancelled) => End::Cancelled,
                _ => End::Interrupted { reason: "shutdown".to_owned(), delay: None },
            });
        }
        let reason = run.interrupt_reason()?;
        Some(End::Interrupted { reason, delay: None })
    }

    async fn slow_down(&self) {
        let run = &self.ctx.run;
        if let Some(wait) = run.take_slow_down() {
            self.wait(wait).await;
        }
    }

    /// Waits, unless there is something more urgent.
    async fn wait(&self, span: Duration) {
        let run = &self.ctx.run;
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            () = run.stop.given() => {}
            () = run.interrupt.given() => {}
        }
    }

    fn time_is_up(&self) -> Option<End> {
        // A run that does nothing would be continued for ever.
        let max = self.settings.max_runtime.filter(|_| self.done > 0)?;
        (self.began.elapsed() >= max)
            .then(|| End::Interrupted { reason: "max_runtime".to_owned(), delay: None })
    }

    /// Holds the run up before an item as long as that is worth it.
    pub(super) async fn throttled(
        &mut self,
        item: &J::Item,
        throttles: &[Throttle<J::Item>],
    ) -> Option<End> {
        let (mut waited, mut tries) = (Duration::ZERO, 0);
        loop {
            let held = throttles.iter().find(|(condition, _)| condition(item));
            let backoff = match held {
                Some((_, backoff)) => Some(*backoff),
                None => self.job.throttle(item, self.ctx).await,
            }?;
            let wait = backoff.max(Duration::from_millis(1)).saturating_mul(1 << tries.min(16));
            if waited + wait > WAIT_IN_PLACE_MAX {
                return Some(End::Interrupted { reason: "throttle".to_owned(), delay: Some(wait) });
            }
            if self.save().await.is_err() {
                return Some(End::Cancelled);
            }
            self.wait(wait).await;
            waited += wait;
            tries += 1;
            if let Some(end) = self.told() {
                return Some(end);
            }
        }
    }

    /// Does one item, as often as the policy says.
    pub(super) async fn one(&mut self, item: &J::Item, cursor: &J::Cursor) -> Result<(), JobError> {
        let (job, ctx) = (self.job, self.ctx);
        let OnItemError::Skip { retries, delay } = self.settings.on_item_error else {
            // A panic is caught here already, so that what was done before it is saved.
            self.meanwhile(Guarded::new(job.around_each(item, ctx))).await??;
            self.unsent_items += 1;
            return Ok(());
        };
        let mut tries = 0;
        loop {
            let each = Guarded::new(job.around_each(item, ctx));
            let Err(error) = self.meanwhile(each).await? else {
                self.unsent_items += 1;
                return Ok(());
            };
            // What a failed try counted is not counted.
            ctx.run.take_counted();
            if ctx.is_stopped() {
                return Err(error);
            }
            if tries >= retries {
                return self.skip(cursor, error);
            }
            tries += 1;
            self.wait(delay).await;
        }
    }

    /// An item that could not even be read: another try would read the same.
    pub(super) fn broken(&mut self, cursor: &J::Cursor, error: JobError) -> Result<(), JobError> {
        match self.settings.on_item_error {
            OnItemError::Fail => Err(error),
            OnItemError::Skip { .. } => self.skip(cursor, error),
        }
    }

    pub(super) fn skip(&mut self, cursor: &J::Cursor, error: JobError) -> Result<(), JobError> {
        tracing::warn!(%error, "an item is skipped");
        let item = ItemToRun {
            after: self.position.as_ref().map(serde_json::to_value).transpose()?,
            at: serde_json::to_value(cursor)?,
        };
        let cursor = write_cursor(&item)?;
        self.skipped.push(v1::SkippedItem { cursor, error: Some(error.into_wire()) });
        *self.counters.entry(SKIPPED.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Takes note that an item is done, and hands that over as the policy says.
    async fn note(&mut self) -> Result<(), JobError> {
        self.unsent = true;
        self.one_more();
        let run = &self.ctx.run;
        match self.settings.checkpoints {
            Checkpoints::WaitEvery(items) if self.done.is_multiple_of(items.max(1)) => {
                self.hand_over()?;
                self.until_durable().await?;
            }
            _ if !run.mailbox.is_busy() => self.hand_over()?,
            _ => {}
        }
        Ok(())
    }

    fn one_more(&mut self) {
        let run = &self.ctx.run;
        self.done += 1;
        for (name, by) in run.take_counted() {
            *self.counters.entry(name).or_default() += by;
        }
        if run.items_left.load(Ordering::Relaxed) > 0
            && run.items_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            run.interrupt("test");
        }
    }

    fn hand_over(&mut self) -> Result<(), JobError> {
        let cursor = self.position.as_ref();
        let progress = match (&self.far, cursor, self.total) {
            (Some(of), Some(cursor), _) => Some(of(cursor).clamp(0.0, 1.0)),
            (_, _, Some(total)) if total > 0 => {
                Some(((self.done_before + self.done) as f64 / total as f64).min(1.0))
            }
            _ => None,
        };
        let cursor = cursor.map(write_cursor).transpose()?;
        self.put(cursor, progress);
        Ok(())
    }

    fn put(&mut self, cursor: Option<Bytes>, progress: Option<f64>) {
        let mut counters = std::mem::take(&mut self.counters);
        if self.unsent_items > 0 {
            *counters.entry(ITEMS.to_owned()).or_default() += self.unsent_items;
            self.unsent_items = 0;
        }
        let skipped = std::mem::take(&mut self.skipped);
        self.unsent = false;
        let update = Update { cursor, progress, progress_text: None, counters, skipped };
        self.version = self.ctx.put(update);
    }

    /// Takes note that an item is done where the cursor is none of the collection's, and waits
    /// until that is safe.
    pub(super) async fn save_at(&mut self, cursor: Bytes, progress: f64) -> Result<(), JobError> {
        self.one_more();
        self.put(Some(cursor), Some(progress));
        self.until_durable().await
    }

    async fn until_durable(&self) -> Result<(), JobError> {
        self.ctx.run.mailbox.until_durable(self.version).await.into_result()
    }

    /// Waits until everything that is done is safe.
    async fn save(&mut self) -> Result<(), JobError> {
        if self.unsent {
            self.hand_over()?;
        }
        self.until_durable().await
    }
}
