//! Ranges and lists.

use std::ops::Range;

use crate::Enumerator;

impl Enumerator<u64, u64> {
    /// The numbers of a range. The cursor is the last number that is done.
    pub fn range(range: Range<u64>, cursor: Option<u64>) -> Self {
        let start = cursor.map_or(range.start, |last| range.start.max(last.saturating_add(1)));
        let total = range.end.saturating_sub(range.start);
        let numbers = (start..range.end).map(|number| (number, number));
        let first = range.start;
        Self::from_pairs(numbers).total(total).position(move |last| {
            last.saturating_add(1).saturating_sub(first) as f64 / total.max(1) as f64
        })
    }
}

impl<T: Send + 'static> Enumerator<T, u64> {
    /// The items of a list. The cursor is how many are done, so the list has to be the same in
    /// each run.
    pub fn list<I>(items: I, cursor: Option<u64>) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: ExactSizeIterator + Send + 'static,
    {
        let items = items.into_iter();
        let total = items.len() as u64;
        let done = cursor.unwrap_or(0);
        let skip = usize::try_from(done).unwrap_or(usize::MAX);
        let rest = items.skip(skip).zip(done.saturating_add(1)..);
        Self::from_pairs(rest).total(total).position(move |done| *done as f64 / total.max(1) as f64)
    }
}
