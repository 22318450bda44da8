//! Streams: partitions of events that are kept in order, the producers that append to them, and how
//! far groups of consumers have read. Events come in batches that the engine neither opens nor
//! keeps: it decides where a batch stands, and hands its bytes on as a [`StreamChange`].

mod append;
mod apply;
mod change;
mod command;
mod counted;
pub(crate) mod groups;
mod lifecycle;
mod lives;
mod offset_round;
mod offsets;
mod producers;
mod published;
#[cfg(test)]
mod tests;
pub(crate) mod told;
mod transaction;
mod trigger;

use std::collections::BTreeMap;

pub(crate) use append::AppendDecision;
pub use change::{StreamChange, ToldEvent, appends_of};
pub use command::{
    AppendBatch, AppendRefusal, Appended, GroupOffset, OffsetRefusal, OffsetToCommit,
    ProducerStamp, StreamAnswer, StreamCommand, StreamView,
};
pub(crate) use counted::key_events;
pub use counted::{AppendedKey, COUNTED_KEY_BYTES_MAX, KEYS_OF_BATCH_MAX, KeyEvents, KeyToAppend};
pub use groups::ReadOffset;
pub use lives::{LIVES_STREAM, LivesLot};
pub use offsets::{CommittedOffset, OffsetNote};
pub use published::{EventPlace, partition_of};
pub use told::{ProducerView, TransactionView};
pub use transaction::{
    TransactionAnswer, TransactionAsk, TransactionCommand, TransactionMark, TransactionRefusal,
    TransactionStamp,
};
pub use trigger::{FireTrigger, REPLAY_PREFIX, Trigger, TriggerCommand, TriggerEvent};

use crate::ids::{NamespaceId, PartitionId, StreamId, TimeMs};
use crate::state::{State, Unwritten, keys};
use crate::wire::wire_struct;

/// How long events are kept where nobody says: 7 days, as Kafka does.
pub const RETENTION_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;

/// Bytes of one batch where nobody says: 1 MiB and its header, as Kafka allows.
pub const BATCH_BYTES_MAX_DEFAULT: u32 = 1_048_588;

wire_struct! {
    /// What can be set of a stream.
    #[derive(Eq)]
    pub struct StreamSettings {
        /// How long events are kept; `None` for ever.
        pub retention_ms: Option<u64> = 1,
        /// Bytes kept of each partition; `None` for all. What goes, goes in whole files.
        pub retention_bytes: Option<u64> = 2,
        /// Bytes of one batch.
        pub batch_bytes_max: u32 = 3 default 1_048_588,
        /// Bytes after which a partition begins its next file.
        pub file_bytes: u64 = 4 default 67_108_864,
        /// Whether only the newest event of each key is kept, in time.
        pub compact: bool = 80,
        /// Whether events are kept no longer than the two above say.
        pub delete: bool = 81 default true,
        /// How much of a partition has to be new before older events of its keys go, in millionths.
        pub compaction_dirty_ppm: u32 = 82 default 500_000,
        /// How old an event has to be before it may go for a newer one, in milliseconds.
        pub compaction_lag_ms_min: u64 = 83,
        /// After how long it goes even where little is new, in milliseconds; `None` for never.
        pub compaction_lag_ms_max: Option<u64> = 84,
        /// How long an event without a value, which says that its key is gone, stays after that, in
        /// milliseconds.
        pub tombstone_ms: u64 = 85 default 86_400_000,
        /// How far the times of the events of one file may be apart, in milliseconds.
        pub file_ms: u64 = 86 default 604_800_000,
        /// What becomes of its events by themselves.
        pub triggers: Vec<Trigger> = 87,
        /// Of messages that are events as well: the header whose value is the key. Of one without
        /// it the routing key is.
        pub ordering_header: Option<String> = 240,
        /// Whether the events of each key are counted. It is said when the stream is created.
        pub count_keys: bool = 251,
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            retention_ms: Some(RETENTION_MS_DEFAULT),
            retention_bytes: None,
            batch_bytes_max: BATCH_BYTES_MAX_DEFAULT,
            file_bytes: 64 << 20,
            compact: false,
            delete: true,
            compaction_dirty_ppm: 500_000,
            compaction_lag_ms_min: 0,
            compaction_lag_ms_max: None,
            tombstone_ms: 24 * 3600 * 1000,
            file_ms: 7 * 24 * 3600 * 1000,
            triggers: Vec::new(),
            ordering_header: None,
            count_keys: false,
        }
    }
}

impl StreamSettings {
    /// How far the times of the events of one file may be apart: only files that are written to no
    /// more are compacted.
    pub fn file_ms_max(&self) -> u64 {
        let lag_ms = self.compaction_lag_ms_max.filter(|_| self.compact);
        lag_ms.map_or(self.file_ms, |lag_ms| lag_ms.min(self.file_ms))
    }
}

wire_struct! {
    /// A stream as it is kept.
    pub(crate) struct Stream {
        /// Its number.
        pub(crate) id: StreamId,
        /// Its namespace.
        pub(crate) namespace: NamespaceId,
        /// Its name.
        pub(crate) name: String,
        /// Its partitions, in the order of their indexes.
        pub(crate) partitions: Vec<PartitionId>,
        /// Its settings.
        pub(crate) settings: StreamSettings,
    }
}

wire_struct! {
    /// From where to where the events of a partition go.
    #[derive(Copy, Default, Eq)]
    pub struct PartitionEnds {
        /// The first offset that is kept.
        pub start: u64,
        /// The offset of the next event.
        pub next: u64,
    }
}

/// A partition in memory.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) stream: StreamId,
    pub(crate) ends: PartitionEnds,
}

wire_struct! {
    /// A batch that a producer appended lately.
    #[derive(Copy)]
    pub(crate) struct RecentBatch {
        /// The sequence number of its first event.
        pub(crate) first: u32,
        /// The sequence number of its last event.
        pub(crate) last: u32,
        /// The offset of its first event.
        pub(crate) base_offset: u64,
    }
}

wire_struct! {
    /// What is known of a producer in a partition.
    pub(crate) struct ProducerMark {
        /// The newest epoch that appended.
        pub(crate) epoch: u32,
        /// When.
        pub(crate) at: TimeMs,
        /// Its last batches of this epoch, oldest first.
        pub(crate) recent: Vec<RecentBatch>,
    }
}

/// The streams of a shard in memory: names and ends, no events.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_id: BTreeMap<StreamId, Stream>,
    by_name: BTreeMap<(NamespaceId, String), StreamId>,
    partitions: BTreeMap<PartitionId, Partition>,
    /// Those that tell of the lives of jobs, by their namespaces.
    telling: BTreeMap<NamespaceId, StreamId>,
    /// Partitions whose ends are newer here than in the map.
    changed: Unwritten<PartitionId>,
    /// Whether there may be marks of producers.
    has_producers: bool,
    /// Volatile: where the look through them is.
    round: producers::ProducerRound,
    /// Whether there may be counts of events of keys.
    has_counts: bool,
    /// Volatile: where the look through them is.
    count_round: counted::CountRound,
    /// Whether there may be offsets of groups.
    has_offsets: bool,
    /// Volatile: where the look through them is.
    offset_round: offset_round::OffsetRound,
    /// Volatile: what is left of replays.
    replays: trigger::replay::Replays,
    /// Transactional ids, and what is open.
    transactions: transaction::Transactions,
    /// Volatile: what the entries since the last group changed, for whoever keeps the events.
    changes: Vec<StreamChange>,
}

impl Streams {
    pub(crate) fn named(&self, ns: NamespaceId, name: &str) -> Option<&Stream> {
        self.by_id.get(self.by_name.get(&(ns, name.to_owned()))?)
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.by_id.get(&id)
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(&id)
    }

    /// What the entries since it was last taken changed.
    pub(crate) fn take_changes(&mut self) -> Vec<StreamChange> {
        std::mem::take(&mut self.changes)
    }

    /// All of them.
    fn all(&self) -> impl Iterator<Item = &Stream> {
        self.by_id.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many streams a namespace has.
    pub(crate) fn count_of(&self, ns: NamespaceId) -> usize {
        self.by_id.values().filter(|stream| stream.namespace == ns).count()
    }

    fn ends_mut(&mut self, id: PartitionId) -> &mut PartitionEnds {
        self.changed.note(&id);
        let partition = self.partitions.get_mut(&id);
        &mut partition.expect("records name partitions that exist").ends
    }
}

impl State {
    /// Reads streams and partitions out of the map.
    pub(crate) fn load_streams(&mut self) {
        let mut ends: BTreeMap<PartitionId, PartitionEnds> = BTreeMap::new();
        for (key, value) in self.each(keys::PARTITION) {
            if let Some(id) = keys::u64_at(&key, 1) {
                ends.insert(PartitionId(id), value);
            }
        }
        self.streams.has_producers = self.first(&[keys::PRODUCER], &[keys::PRODUCER + 1]).is_some();
        self.streams.has_counts =
            self.first(&[keys::KEY_EVENTS], &[keys::KEY_EVENTS + 1]).is_some();
        let offsets = self.first(&[keys::GROUP_OFFSET], &[keys::GROUP_OFFSET + 1]);
        self.streams.has_offsets = offsets.is_some();
        for (_, stream) in self.each::<Stream>(keys::STREAM) {
            for id in &stream.partitions {
                let ends = ends.remove(id);
                let ends = ends.unwrap_or_else(|| panic!("partition {id} has lost its ends"));
                self.streams.partitions.insert(*id, Partition { stream: stream.id, ends });
            }
            self.add_stream(stream);
        }
        self.load_transactions();
        self.load_replays();
    }

    fn add_stream(&mut self, stream: Stream) {
        self.streams.by_name.insert((stream.namespace, stream.name.clone()), stream.id);
        if stream.name == LIVES_STREAM {
            self.streams.telling.insert(stream.namespace, stream.id);
        }
        self.streams.by_id.insert(stream.id, stream);
    }

    /// Writes the ends that memory has newer to the map.
    pub(crate) fn put_partitions(&mut self) {
        for id in self.streams.changed.take() {
            self.put_ends(id);
        }
    }

    /// Writes one of them, where there are too many.
    pub(crate) fn put_excess_partition(&mut self) {
        if let Some(id) = self.streams.changed.take_excess() {
            self.put_ends(id);
        }
    }

    fn put_ends(&mut self, id: PartitionId) {
        if let Some(ends) = self.streams.partition(id).map(|partition| partition.ends) {
            self.put(&keys::partition(id), &ends);
        }
    }

    /// All streams, as whoever keeps their events has to know them.
    pub(crate) fn stream_views(&self) -> Vec<StreamView> {
        let mut marks = self.transaction_marks();
        let mut view = |stream: &Stream| {
            let of = stream.partitions.iter().filter_map(|id| marks.remove(id));
            StreamView { transactions: of.flatten().collect(), ..self.stream_view(stream) }
        };
        self.streams.by_id.values().map(&mut view).collect()
    }

    pub(crate) fn stream_view(&self, stream: &Stream) -> StreamView {
        let ends = |id: &PartitionId| {
            let ends = self.streams.partition(*id).map(|partition| partition.ends);
            (*id, ends.unwrap_or_default())
        };
        StreamView {
            id: stream.id,
            namespace: self.namespaces.name(stream.namespace),
            name: stream.name.clone(),
            partitions: stream.partitions.iter().map(ends).collect(),
            settings: stream.settings.clone(),
            transactions: Vec::new(),
        }
    }
}
