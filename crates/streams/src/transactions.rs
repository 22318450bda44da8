//! What readers of committed events see of a partition: they stop before the first event of a
//! transaction that is open, and pass over the events of those that were aborted.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::TransactionMark;

use crate::batch::BatchHeader;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer: u64,
    /// The offset of its first event in the partition.
    pub first: u64,
    /// The offset of the marker that aborted it.
    pub last: u64,
}

/// The transactions of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transactions {
    /// Producers with an open one, each with the offset of its first event.
    open: BTreeMap<u64, u64>,
    /// In the order of their markers.
    aborted: Vec<AbortedTransaction>,
    /// The longest way from the first event of one of these to its marker.
    span: u64,
}

impl Transactions {
    /// An event of a transaction was appended.
    pub(crate) fn appended(&mut self, producer: u64, offset: u64) {
        self.open.entry(producer).or_insert(offset);
    }

    /// A marker was appended.
    pub(crate) fn marked(&mut self, producer: u64, offset: u64, committed: bool) {
        if let (Some(first), false) = (self.open.remove(&producer), committed) {
            self.aborted_one(AbortedTransaction { producer, first, last: offset });
        }
    }

    fn aborted_one(&mut self, aborted: AbortedTransaction) {
        self.span = self.span.max(aborted.last.saturating_sub(aborted.first));
        self.aborted.push(aborted);
    }

    /// The state knows them all.
    pub(crate) fn set(marks: impl Iterator<Item = TransactionMark>) -> Self {
        let mut all = Self::default();
        for TransactionMark { producer, first, last, .. } in marks {
            match last {
                Some(last) => all.aborted_one(AbortedTransaction { producer, first, last }),
                None => all.appended(producer, first),
            }
        }
        all.aborted.sort_unstable_by_key(|it| it.last);
        all
    }

    /// The first offset that is not settled yet, if one is not.
    pub(crate) fn first_open(&self) -> Option<u64> {
        self.open.values().copied().min()
    }

    /// Forgets those whose events are all before `start`.
    pub(crate) fn trim(&mut self, start: u64) {
        let gone = self.aborted.partition_point(|it| it.last < start);
        self.aborted.drain(..gone);
    }

    /// Forgets those with these markers: nothing of them is left.
    pub(crate) fn forget(&mut self, markers: &[u64]) {
        let markers: BTreeSet<u64> = markers.iter().copied().collect();
        self.aborted.retain(|it| !markers.contains(&it.last));
    }

    /// The markers of those that have ended before an offset, so many at most.
    pub(crate) fn aborted_before(&self, end: u64, most: usize) -> Vec<u64> {
        let before = self.aborted.iter().take_while(|it| it.last < end);
        before.map(|it| it.last).take(most).collect()
    }

    /// Aborted ones that have something between two offsets.
    pub(crate) fn aborted_between(&self, from: u64, to: u64) -> Vec<AbortedTransaction> {
        let begin = self.aborted.partition_point(|it| it.last < from);
        let rest = self.aborted.get(begin..).unwrap_or_default();
        // One whose marker is a span behind the end begins there at the earliest.
        let bound = to.saturating_add(self.span);
        let near = rest.iter().take_while(|it| it.last < bound);
        near.filter(|it| it.first < to).copied().collect()
    }
}

/// Which of the batches that follow one another are to be passed over.
#[derive(Debug)]
pub struct Hidden {
    aborted: Vec<AbortedTransaction>,
    /// Producers whose transaction was aborted and has begun.
    within: BTreeSet<u64>,
}

impl Hidden {
    /// Those that these were told with.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|it| std::cmp::Reverse(it.first));
        Self { aborted, within: BTreeSet::new() }
    }

    /// Whether nobody is to see the events of the next batch.
    pub fn hides(&mut self, header: &BatchHeader) -> bool {
        while let Some(next) = self.aborted.pop_if(|it| it.first <= header.first_offset()) {
            // Its marker may be before this batch, where reading began in between.
            if next.last >= header.first_offset() {
                self.within.insert(next.producer);
            }
        }
        let Ok(producer) = u64::try_from(header.producer_id) else { return header.is_control() };
        if header.is_control() {
            self.within.remove(&producer);
            return true;
        }
        header.is_transactional() && self.within.contains(&producer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aborted_ones_are_found_wherever_their_markers_are() {
        let mut all = Transactions::default();
        for (producer, offset) in [(1, 0), (2, 2), (3, 5), (4, 20)] {
            all.appended(producer, offset);
        }
        for (producer, offset) in [(2, 8), (3, 9), (1, 12), (4, 22)] {
            all.marked(producer, offset, false);
        }
        let between = |from, to| -> Vec<u64> {
            all.aborted_between(from, to).iter().map(|it| it.producer).collect()
        };
        assert_eq!(between(0, 1), [1]);
        assert_eq!(between(0, 3), [2, 1]);
        assert_eq!(between(3, 21), [2, 3, 1, 4]);
        assert_eq!(between(9, 10), [3, 1]);
        assert_eq!(between(13, 20), []);
        assert_eq!(between(13, u64::MAX), [4]);
    }
}
