//! What a developer writes for a long job.

use std::future::{Future, ready};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Enumerator, IterationSettings};
use crate::{Context, Job, JobError, JobResult, Outcome};

/// A job that goes through a collection. It can be stopped after any item and continued by
/// another worker: a deploy, a crash or a pause costs a few items at most, and no attempt.
///
/// Each item runs at least once, so write `each` such that twice does no harm.
///
/// ```
/// use longshore::{Context, Enumerator, Iteration, Job, JobError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Job, Serialize, Deserialize)]
/// struct SquareAll {
///     up_to: u64,
/// }
///
/// impl Iteration<()> for SquareAll {
///     type Item = u64;
///     type Cursor = u64;
///
///     async fn enumerate(
///         &self,
///         cursor: Option<u64>,
///         _: &Context<()>,
///     ) -> Result<Enumerator<u64, u64>, JobError> {
///         Ok(Enumerator::range(0..self.up_to, cursor))
///     }
///
///     async fn each(&self, item: &u64, ctx: &Context<()>) -> Result<(), JobError> {
///         ctx.count("sum", (item * item) as i64);
///         Ok(())
///     }
/// }
/// ```
pub trait Iteration<S: Send + Sync + 'static>: Job<Output: Default> {
    /// One item.
    type Item: Send + Sync + 'static;

    /// Where a run can go on: small, and readable by later versions of the job.
    type Cursor: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// How it behaves.
    fn settings(&self) -> IterationSettings {
        IterationSettings::new()
    }

    /// The collection, from behind the cursor, or from the beginning where there is none.
    fn enumerate(
        &self,
        cursor: Option<Self::Cursor>,
        ctx: &Context<S>,
    ) -> impl Future<Output = Result<Enumerator<Self::Item, Self::Cursor>, JobError>> + Send;

    /// The work for one item. What follows from an item is enqueued here with the client, under
    /// an id of your own that is made from the item (a version 5 UUID of its key, say), so that an
    /// item that runs twice enqueues it once; [`Context::follow_up`] is for
    /// [`Iteration::on_complete`].
    fn each(
        &self,
        item: &Self::Item,
        ctx: &Context<S>,
    ) -> impl Future<Output = Result<(), JobError>> + Send;

    /// Goes around [`Iteration::each`]: call it in here. Nothing follows up here either.
    fn around_each(
        &self,
        item: &Self::Item,
        ctx: &Context<S>,
    ) -> impl Future<Output = Result<(), JobError>> + Send {
        self.each(item, ctx)
    }

    /// Asked before each item, which has not been touched then: how long to hold the run up,
    /// because a replica lags or a neighbour is in trouble. A second or less is waited for in
    /// place, twice as long each time; beyond that the run makes room for others and is continued
    /// after that time. No attempt is used.
    fn throttle(
        &self,
        item: &Self::Item,
        ctx: &Context<S>,
    ) -> impl Future<Output = Option<Duration>> + Send {
        let _ = (item, ctx);
        ready(None)
    }

    /// A run that begins at the beginning.
    fn on_start(&self, ctx: &Context<S>) -> impl Future<Output = Result<(), JobError>> + Send {
        let _ = ctx;
        ready(Ok(()))
    }

    /// A run that goes on where another one was.
    fn on_resume(&self, ctx: &Context<S>) -> impl Future<Output = Result<(), JobError>> + Send {
        let _ = ctx;
        ready(Ok(()))
    }

    /// A run that is interrupted: its cursor is safe by now. Where this fails or panics, that is
    /// logged, and the run is interrupted all the same.
    fn on_interrupt(
        &self,
        reason: &str,
        ctx: &Context<S>,
    ) -> impl Future<Output = Result<(), JobError>> + Send {
        let _ = (reason, ctx);
        ready(Ok(()))
    }

    /// Everything is done; it says what the job returns. Follow-ups that are enqueued here enter
    /// with the job's end.
    fn on_complete(
        &self,
        ctx: &Context<S>,
    ) -> impl Future<Output = JobResult<Self::Output>> + Send {
        let _ = ctx;
        ready(Ok(Outcome::done(Self::Output::default())))
    }
}
