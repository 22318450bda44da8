//! Counters of the runtime. Threads add to them without waiting; whoever shows them takes a copy.
//! They know nothing of how they are shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longshore_engine::driver::Class;

/// Upper bounds of the commit latency's buckets, in microseconds; the last bucket has none.
pub(crate) const COMMIT_BUCKETS_US: [u64; 14] =
    [50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400];
/// Upper bounds of the group size's buckets, in entries; the last bucket has none.
pub(crate) const GROUP_BUCKETS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 512, 2048];

/// A histogram with fixed buckets.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(bucket).unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn view(&self) -> HistogramView {
        let mut total = 0;
        let buckets = self
            .bounds
            .iter()
            .zip(&self.counts)
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (*bound, total)
            })
            .collect();
        let count = total + self.above.load(Ordering::Relaxed);
        HistogramView { buckets, count, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HistogramView {
    /// Upper bound of each bucket and how many values were at or below it.
    pub buckets: Vec<(u64, u64)>,
    /// How many values there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// What happened in one shard.
#[derive(Debug)]
pub(crate) struct ShardMetrics {
    pub(crate) groups: Counter,
    pub(crate) groups_inline: Counter,
    pub(crate) group_entries: Histogram<{ GROUP_BUCKETS.len() }>,
    pub(crate) commit_us: Histogram<{ COMMIT_BUCKETS_US.len() }>,
    pub(crate) journal_bytes: Counter,
    pub(crate) fsyncs: Counter,
    pub(crate) marks: Counter,
    pub(crate) commands: [Counter; Class::COUNT],
    pub(crate) refused_full: [Counter; Class::COUNT],
    pub(crate) disconnects: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_ms: Counter,
    pub(crate) compactions: Counter,
    pub(crate) no_space: Counter,
    pub(crate) reads: Counter,
    pub(crate) replayed_entries: Counter,
    pub(crate) replay_ms: Counter,
    pub(crate) pending_calls: Counter,
    rejections: Mutex<BTreeMap<&'static str, u64>>,
}

/// A number that other threads may read at any time.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened in one shard, at one moment. Counts begin with the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ShardCounters {
    /// Groups that became durable.
    pub groups_total: u64,
    /// Of these, those that the shard's own thread wrote, since it had nothing else to do.
    pub groups_inline_total: u64,
    /// Entries of each group.
    pub group_entries: HistogramView,
    /// Microseconds from a group's hand-over to its durability.
    pub commit_us: HistogramView,
    /// Bytes of entries that became durable.
    pub journal_bytes_total: u64,
    /// Syncs of the journal, groups and marks.
    pub fsyncs_total: u64,
    /// Marks after quiet.
    pub marks_total: u64,
    /// Commands taken up, by class.
    pub commands_total: [(&'static str, u64); 3],
    /// Calls refused because too many of their class waited.
    pub refused_full_total: [(&'static str, u64); 3],
    /// Callers that went away before their answer.
    pub disconnects_total: u64,
    /// Flushes of the state.
    pub flushes_total: u64,
    /// Milliseconds spent in them.
    pub flush_ms_total: u64,
    /// Steps of compaction that changed something.
    pub compactions_total: u64,
    /// How often the journal or the state met a full disk.
    pub no_space_total: u64,
    /// Reads on snapshots.
    pub reads_total: u64,
    /// Entries replayed at the start.
    pub replayed_entries: u64,
    /// Milliseconds that the replay took.
    pub replay_ms: u64,
    /// Calls that were taken up and have no answer yet, those that wait for jobs included.
    pub pending_calls: u64,
    /// Rejections by code.
    pub rejections_total: BTreeMap<&'static str, u64>,
}

impl ShardMetrics {
    pub(crate) fn new() -> Self {
        Self {
            groups: Counter::default(),
            groups_inline: Counter::default(),
            group_entries: Histogram::new(&GROUP_BUCKETS),
            commit_us: Histogram::new(&COMMIT_BUCKETS_US),
            journal_bytes: Counter::default(),
            fsyncs: Counter::default(),
            marks: Counter::default(),
            commands: Default::default(),
            refused_full: Default::default(),
            disconnects: Counter::default(),
            flushes: Counter::default(),
            flush_ms: Counter::default(),
            compactions: Counter::default(),
            no_space: Counter::default(),
            reads: Counter::default(),
            replayed_entries: Counter::default(),
            replay_ms: Counter::default(),
            pending_calls: Counter::default(),
            rejections: Mutex::default(),
        }
    }

    /// A group is durable.
    pub(crate) fn group_committed(&self, entries: u64, bytes: u64, took: Duration) {
        self.groups.add(1);
        self.fsyncs.add(1);
        self.group_entries.record(entries);
        self.journal_bytes.add(bytes);
        self.commit_us.record(took.as_micros() as u64);
    }

    /// Something was refused by the engine.
    pub(crate) fn rejected(&self, code: &'static str) {
        let mut rejections = self.rejections.lock().unwrap_or_else(PoisonError::into_inner);
        *rejections.entry(code).or_default() += 1;
    }

    pub(crate) fn view(&self) -> ShardCounters {
        let rejections = self.rejections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ShardCounters {
            groups_total: self.groups.get(),
            groups_inline_total: self.groups_inline.get(),
            group_entries: self.group_entries.view(),
            commit_us: self.commit_us.view(),
            journal_bytes_total: self.journal_bytes.get(),
            fsyncs_total: self.fsyncs.get(),
            marks_total: self.marks.get(),
            commands_total: by_class(&self.commands),
            refused_full_total: by_class(&self.refused_full),
            disconnects_total: self.disconnects.get(),
            flushes_total: self.flushes.get(),
            flush_ms_total: self.flush_ms.get(),
            compactions_total: self.compactions.get(),
            no_space_total: self.no_space.get(),
            reads_total: self.reads.get(),
            replayed_entries: self.replayed_entries.get(),
            replay_ms: self.replay_ms.get(),
            pending_calls: self.pending_calls.get(),
            rejections_total: rejections,
        }
    }
}

fn by_class(counters: &[Counter; Class::COUNT]) -> [(&'static str, u64); Class::COUNT] {
    std::array::from_fn(|class| (Class::ALL[class].name(), counters[class].get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_upwards() {
        let metrics = ShardMetrics::new();
        for us in [10, 50, 51, 5_000_000] {
            metrics.group_committed(3, 100, Duration::from_micros(us));
        }
        let view = metrics.view();
        assert_eq!(view.commit_us.buckets[..3], [(50, 2), (100, 3), (200, 3)]);
        assert_eq!((view.commit_us.count, view.commit_us.sum), (4, 5_000_111));
        assert_eq!(view.group_entries.buckets[2], (4, 4));
        assert_eq!((view.groups_total, view.journal_bytes_total), (4, 400));
    }

    #[test]
    fn rejections_are_counted_by_code() {
        let metrics = ShardMetrics::new();
        metrics.rejected("queue_full");
        metrics.rejected("queue_full");
        assert_eq!(metrics.view().rejections_total["queue_full"], 2);
    }
}
