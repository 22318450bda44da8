//! Items that were skipped, run again alone: a job of the same type that goes through nothing but
//! a list of them.

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Iteration;
use super::enumerator::Throttle;
use super::pass::{End, Pass, finish};
use crate::context::write_cursor;
use crate::{Context, JobError, JobResult};

/// The key in a job's metadata.
const ITEMS_KEY: &str = "longshore.items";
/// What a server takes as metadata, unless it is told otherwise.
const METADATA_BYTES_MAX: usize = 16 << 10;
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

/// The metadata of jobs that are about nothing but these items: of as few as are large enough.
pub(crate) fn metadata_of(places: Vec<Value>) -> Vec<Value> {
    let empty = json!({ ITEMS_KEY: [] }).to_string().len();
    let (mut jobs, mut open, mut bytes) = (Vec::new(), Vec::new(), empty);
    for place in places {
        let size = place.to_string().len() + 1;
        if bytes + size > METADATA_BYTES_MAX && !open.is_empty() {
            jobs.push(json!({ ITEMS_KEY: std::mem::take(&mut open) }));
            bytes = empty;
        }
        bytes += size;
        open.push(place);
    }
    if !open.is_empty() {
        jobs.push(json!({ ITEMS_KEY: open }));
    }
    jobs
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
    let mut pass = Pass::new(job, ctx, None);
    for (index, place) in items.into_iter().enumerate().skip(done) {
        if let Some(end) = pass.between_items().await {
            return finish(job, ctx, end).await;
        }
        if let Some(end) = one(&mut pass, job, ctx, &place).await? {
            return finish(job, ctx, end).await;
        }
        let cursor = write_cursor(&Done { done: index + 1 })?;
        pass.save_at(cursor, (index + 1) as f64 / total as f64).await?;
    }
    finish(job, ctx, End::Completed).await
}

/// Runs the item at a place as a pass through the collection would, or tells why not now.
async fn one<J, S>(
    pass: &mut Pass<'_, J, S>,
    job: &J,
    ctx: &Context<S>,
    place: &ItemToRun,
) -> Result<Option<End>, JobError>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    let cursor: J::Cursor = serde_json::from_value(place.at.clone())?;
    pass.position = place.after.clone().map(serde_json::from_value).transpose()?;
    let Some((item, throttles)) = find(job, ctx, pass.position.clone(), place).await? else {
        ctx.count("missing", 1);
        let error = JobError::new("item_missing", "no item of the collection ends there any more");
        pass.skip(&cursor, error)?;
        return Ok(None);
    };
    match item {
        Ok(item) => {
            if let Some(end) = pass.throttled(&item, &throttles).await {
                return Ok(Some(end));
            }
            pass.one(&item, &cursor).await?;
        }
        Err(error) => pass.broken(&cursor, error)?,
    }
    Ok(None)
}

type Item<T> = (Result<T, JobError>, Vec<Throttle<T>>);

async fn find<J, S>(
    job: &J,
    ctx: &Context<S>,
    after: Option<J::Cursor>,
    place: &ItemToRun,
) -> Result<Option<Item<J::Item>>, JobError>
where
    S: Send + Sync + 'static,
    J: Iteration<S>,
{
    let collection = job.enumerate(after, ctx).await?;
    let mut items = collection.items.take(LOOK_MAX);
    while let Some(next) = items.next().await {
        let (item, cursor) = next?;
        if serde_json::to_value(&cursor)? == place.at {
            return Ok(Some((item, collection.throttles)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_too_large_for_one_job_are_spread_over_several() {
        let place = |at: usize| json!({"after": "a".repeat(1_000), "at": at});
        let jobs = metadata_of((0..40).map(place).collect());
        assert_eq!(jobs.len(), 3);
        assert!(jobs.iter().all(|job| job.to_string().len() <= METADATA_BYTES_MAX));
        let places = jobs.iter().flat_map(|job| job[ITEMS_KEY].as_array().unwrap());
        let ats: Vec<_> = places.map(|it| it["at"].as_u64().unwrap()).collect();
        assert_eq!(ats, (0..40).collect::<Vec<_>>());
        assert!(metadata_of(Vec::new()).is_empty());
    }
}
