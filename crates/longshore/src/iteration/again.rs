//! Items that were skipped, run again alone: a job of the same type that goes through nothing but
//! a list of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use futures_util::StreamExt;

use super::Iteration;
use super::pass::{End, finish};
use crate::{Context, JobError, JobResult};

/// The key in a job's metadata.
pub(crate) const ITEMS_KEY: &str = "longshore.items";

/// How many items may have come in front of one since it was skipped.
const LOOK_MAX: usize = 1_000;

/// Where one item stands: behind a cursor, and in front of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemToRun {
    /// The cursor in front of it; none where it is the first.
    pub after: Option<Value>,
    /// Its own cursor.
    pub at: Value,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "longshore.items")]
    items: Option<Vec<ItemToRun>>,
}

/// How many of the items are done: the cursor of such a job.
#[derive(Serialize, Deserialize)]
struct Done {
    done: usize,
}

/// The items that this job is only about, if it is such a one.
pub(super) fn items_of<S>(ctx: &Context<S>) -> Result<Option<Vec<ItemToRun>>, JobError> {
    let metadata = &ctx.delivery().metadata;
    let names_items = metadata.windows(ITEMS_KEY.len()).any(|it| it == ITEMS_KEY.as_bytes());
    if !names_items {
        return Ok(None);
    }
    Ok(ctx.metadata::<Metadata>()?.and_then(|it| it.items))
}

pub(super) async fn run<J, S>(
    job: &J,
    ctx: &Context<S>,
    items: Vec<ItemToRun>,
) -> JobResult<J::Output>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    let done = ctx.saved_cursor::<Done>()?.map_or(0, |it| it.done);
    let total = items.len();
    for (index, place) in items.into_iter().enumerate().skip(done) {
        if let Some(reason) = ctx.run.interrupt_reason() {
            return finish(job, ctx, End::Interrupted { reason, delay: None }).await;
        }
        if ctx.is_stopped() {
            return finish(job, ctx, End::Cancelled).await;
        }
        match find(job, ctx, &place).await? {
            Some(item) => {
                job.around_each(&item, ctx).await?;
                ctx.count("items", 1);
            }
            None => ctx.count("missing", 1),
        }
        ctx.save_cursor(&Done { done: index + 1 }).await?;
        ctx.progress((index + 1) as f64 / total as f64, "");
    }
    finish(job, ctx, End::Completed).await
}

async fn find<J, S>(
    job: &J,
    ctx: &Context<S>,
    place: &ItemToRun,
) -> Result<Option<J::Item>, JobError>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    let after = place.after.clone().map(serde_json::from_value).transpose()?;
    let mut items = job.enumerate(after, ctx).await?.items.take(LOOK_MAX);
    while let Some(next) = items.next().await {
        let (item, cursor) = next?;
        if serde_json::to_value(&cursor)? == place.at {
            return Ok(Some(item));
        }
    }
    Ok(None)
}
