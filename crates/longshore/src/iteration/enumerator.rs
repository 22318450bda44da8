//! A collection that an iteration goes through: items, each with the cursor behind it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};

use crate::JobError;

/// How far a cursor is.
pub(super) type Position<C> = dyn Fn(&C) -> f64 + Send + Sync;
/// Whether an item is to wait, and how long.
pub(super) type Throttle<T> = (Box<dyn Fn(&T) -> bool + Send + Sync>, Duration);

/// What comes next: an item, or why it is none, with the cursor behind it; or why nothing more can
/// come.
pub(crate) type Found<T, C> = Result<(Result<T, JobError>, C), JobError>;

/// A collection, from where the cursor said: items, each with the cursor behind it. An
/// enumerator that is started from a cursor begins with the item that follows.
///
/// The functions here build the usual ones; [`Enumerator::new`] takes any stream.
pub struct Enumerator<T, C> {
    pub(crate) items: BoxStream<'static, Found<T, C>>,
    pub(crate) total: Option<u64>,
    pub(crate) position: Option<Arc<Position<C>>>,
    pub(crate) throttles: Vec<Throttle<T>>,
}

impl<T, C> fmt::Debug for Enumerator<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enumerator").field("total", &self.total).finish_non_exhaustive()
    }
}

impl<T: Send + 'static, C: Send + 'static> Enumerator<T, C> {
    /// Any stream of items, each with the cursor behind it. An error ends the run, whatever is to
    /// become of items that fail: nothing tells what is behind it.
    pub fn new(items: impl Stream<Item = Result<(T, C), JobError>> + Send + 'static) -> Self {
        Self::fallible(items.map(|pair| pair.map(|(item, at)| (Ok(item), at))))
    }

    /// The same, where one item can be broken and the next one sound: an error that comes with a
    /// cursor is an item that fails, and is skipped where those are.
    pub fn fallible(
        items: impl Stream<Item = Result<(Result<T, JobError>, C), JobError>> + Send + 'static,
    ) -> Self {
        Self { items: items.boxed(), total: None, position: None, throttles: Vec::new() }
    }

    /// Any iterator of items, each with the cursor behind it.
    pub fn from_pairs<I>(items: I) -> Self
    where
        I: IntoIterator<Item = (T, C)>,
        I::IntoIter: Send + 'static,
    {
        Self::new(stream::iter(items.into_iter().map(Ok)))
    }

    /// How many items the whole collection has: then the job's progress is known.
    #[must_use]
    pub fn total(mut self, items: u64) -> Self {
        self.total = Some(items);
        self
    }

    /// How far a cursor is, from 0 to 1, where that is not a matter of counting items.
    #[must_use]
    pub fn position(mut self, of: impl Fn(&C) -> f64 + Send + Sync + 'static) -> Self {
        self.position = Some(Arc::new(of));
        self
    }

    /// Holds the run up while the condition holds, looked at before each item: a replica that
    /// lags, a budget of errors that is used up. A `backoff` of at most a second is waited for in
    /// place, twice as long each time; after that, or with a longer one, the run makes room for
    /// others and is continued after the back-off. No attempt is used.
    #[must_use]
    pub fn throttled(
        mut self,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
        backoff: Duration,
    ) -> Self {
        self.throttles.push((Box::new(condition), backoff));
        self
    }

    /// The same collection with other items.
    #[must_use]
    pub fn map<U, F>(self, f: F) -> Enumerator<U, C>
    where
        U: Send + 'static,
        F: Fn(T) -> U + Send + 'static,
    {
        assert!(self.throttles.is_empty(), "map an enumerator before it is throttled");
        let items = self.items.map(move |pair| pair.map(|(item, at)| (item.map(&f), at)));
        Enumerator {
            items: items.boxed(),
            total: self.total,
            position: self.position,
            throttles: Vec::new(),
        }
    }

    /// Several items at a time, with the cursor behind the last of them. A batch ends before an
    /// item that is broken.
    #[must_use]
    pub fn batches(self, size: usize) -> Enumerator<Vec<T>, C> {
        batches_of(self.items.chunks(size.max(1)), self.position)
    }
}

/// Chunks of pairs as batches; what failed comes after what came before it.
fn batches_of<T: Send + 'static, C: Send + 'static>(
    chunks: impl Stream<Item = Vec<Found<T, C>>> + Send + 'static,
    position: Option<Arc<Position<C>>>,
) -> Enumerator<Vec<T>, C> {
    let batches = chunks.flat_map(|chunk| {
        let (mut batches, mut items, mut last) = (Vec::new(), Vec::new(), None);
        for pair in chunk {
            let broken = match pair {
                Ok((Ok(item), at)) => {
                    items.push(item);
                    last = Some(at);
                    continue;
                }
                Ok((Err(error), at)) => Ok((Err(error), at)),
                Err(error) => Err(error),
            };
            batches.extend(last.take().map(|at| Ok((Ok(std::mem::take(&mut items)), at))));
            let ends = broken.is_err();
            batches.push(broken);
            if ends {
                break;
            }
        }
        batches.extend(last.map(|at| Ok((Ok(items), at))));
        stream::iter(batches)
    });
    Enumerator { items: batches.boxed(), total: None, position, throttles: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all<T: Send + 'static, C: Send + 'static>(items: Enumerator<T, C>) -> Vec<(T, C)> {
        let pairs = items.items.map(|pair| pair.unwrap());
        pairs.map(|(item, at)| (item.unwrap(), at)).collect().await
    }

    #[tokio::test]
    async fn a_list_goes_on_behind_what_is_done() {
        let letters = || vec!["a", "b", "c"];
        assert_eq!(all(Enumerator::list(letters(), None)).await.len(), 3);
        assert_eq!(all(Enumerator::list(letters(), Some(1))).await, [("b", 2), ("c", 3)]);
        assert!(all(Enumerator::list(letters(), Some(9))).await.is_empty());
        assert!(all(Enumerator::range(5..9, Some(u64::MAX))).await.is_empty());
    }

    #[tokio::test]
    async fn batches_have_the_cursor_of_their_last_item() {
        let squares = Enumerator::range(1..6, None).map(|number| number * number).batches(2);
        let batches = [(vec![1, 4], 2), (vec![9, 16], 4), (vec![25], 5)];
        assert_eq!(all(squares).await, batches);
        let pairs = [Ok((1, 1)), Err(JobError::msg("no")), Ok((3, 3))];
        let mut failing = Enumerator::<i32, i32>::new(stream::iter(pairs)).batches(3).items;
        assert_eq!(failing.next().await.unwrap().unwrap(), (Ok(vec![1]), 1));
        assert_eq!(failing.next().await.unwrap().unwrap_err().message(), "no");
    }

    #[tokio::test]
    async fn a_batch_ends_before_what_is_broken() {
        let broken = || JobError::msg("no");
        let pairs = [Ok((Ok(1), 1)), Ok((Err(broken()), 2)), Ok((Ok(3), 3)), Ok((Ok(4), 4))];
        let batches = Enumerator::<i32, i32>::fallible(stream::iter(pairs)).batches(3).items;
        let batches: Vec<_> = batches.map(|pair| pair.unwrap()).collect().await;
        let told = [(Ok(vec![1]), 1), (Err(broken()), 2), (Ok(vec![3]), 3), (Ok(vec![4]), 4)];
        assert_eq!(batches, told);
    }

    #[tokio::test]
    async fn json_lines_tell_which_line_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.jsonl");
        std::fs::write(&path, "1\n\nx\n3").unwrap();
        let values = all(Enumerator::<u64, u64>::json_lines(&path, None).await.unwrap()).await;
        let told: Vec<_> = values.iter().map(|(value, at)| (value.as_ref().ok(), *at)).collect();
        assert_eq!(told, [(Some(&1), 2), (None, 5), (Some(&3), 6)]);
        let error = values[1].0.as_ref().unwrap_err();
        assert!(error.message().starts_with("the line at 3:"), "{error}");
        let missing = Enumerator::lines(folder.path().join("none"), None).await.unwrap_err();
        assert!(missing.message().contains("none"), "{missing}");
    }
}
