//! Transactions of producers: events of several partitions and offsets of groups that are seen all
//! together or not at all.
//!
//! Events of a transaction that is open stand in their partitions like others; who reads committed
//! events only stops before the first of them. All that ends one is one record: the markers behind
//! the events of every partition, and the offsets that hold from then on. All streams of a
//! namespace are in one shard, so nothing has to be agreed on with others, and a crash leaves no
//! transaction half ended.

mod apply;
mod command;
mod decide;
mod round;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use command::{
    TransactionAnswer, TransactionAsk, TransactionCommand, TransactionMark, TransactionRefusal,
    TransactionStamp,
};

use super::CommittedOffset;
use crate::ids::{MonoMs, NamespaceId, PartitionId, StreamId, TimeMs};
use crate::state::{State, count, keys};
use crate::wire::wire_struct;

/// The last epoch that a producer gets; one more is for whoever ends its transaction in its place.
const EPOCH_LAST: u32 = i16::MAX as u32 - 1;

wire_struct! {
    /// A transactional id as it is kept.
    pub(crate) struct Transactional {
        /// The number of its producer.
        pub(crate) producer: u64,
        /// The epoch of whoever may use it now.
        pub(crate) epoch: u32,
        /// How long a transaction may be open.
        pub(crate) timeout_ms: u64,
        /// When it was last used.
        pub(crate) at: TimeMs,
        /// The epoch in place of which the producer itself asked for this one.
        pub(crate) previous: Option<u32> = 1,
        /// Whether a transaction is open.
        pub(crate) open: bool = 2,
        /// Whether the last one was committed; `None` where there was none in this epoch.
        pub(crate) committed: Option<bool> = 3,
    }
}

wire_struct! {
    /// A partition that an open transaction may append to.
    pub(crate) struct OpenPartition {
        /// The offset of its first event there; `None` where there is none yet.
        pub(crate) first: Option<u64> = 1,
    }
}

wire_struct! {
    /// A transaction that was aborted, in one partition.
    #[derive(Copy)]
    pub(crate) struct Aborted {
        /// Its producer.
        pub(crate) producer: u64,
        /// The offset of its first event there.
        pub(crate) first: u64,
    }
}

/// An offset that a transaction has: group, stream and index of the partition.
type OffsetKey = (String, StreamId, u32);

/// What an offset of a transaction takes beside its texts: entries of two maps.
const OFFSET_ENTRY_BYTES: usize = 128;

/// What an offset of a transaction takes in memory, in bytes: the group is in two keys.
fn offset_bytes(group: &str, committed: &CommittedOffset) -> usize {
    OFFSET_ENTRY_BYTES + 2 * group.len() + committed.metadata.len()
}

/// A transactional id in memory.
#[derive(Debug)]
pub(crate) struct Known {
    namespace: NamespaceId,
    id: String,
    kept: Transactional,
    /// Where it may append, each with the offset of its first event.
    partitions: BTreeMap<PartitionId, Option<u64>>,
    offsets: BTreeMap<OffsetKey, CommittedOffset>,
    /// When it is aborted, where it is open. Volatile: a new life lets it go on as long again.
    deadline: Option<MonoMs>,
}

/// The transactional ids of a shard, by their producers.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    all: BTreeMap<u64, Known>,
    by_id: BTreeMap<(NamespaceId, String), u64>,
    deadlines: BTreeSet<(MonoMs, u64)>,
    /// Offsets that open transactions have, each with how many of these.
    pending: BTreeMap<(NamespaceId, OffsetKey), u32>,
    /// What the offsets of open transactions take in memory, in bytes.
    offset_bytes: usize,
    /// Whether there may be aborted ones that are remembered.
    has_aborted: bool,
    round: round::TransactionRound,
}

impl Transactions {
    /// Whether a producer has a transactional id.
    pub(super) fn get(&self, producer: u64) -> Option<&Known> {
        self.all.get(&producer)
    }

    /// Whether an open transaction has an offset that is not the group's yet.
    pub(super) fn is_pending(&self, ns: NamespaceId, key: OffsetKey) -> bool {
        self.pending.contains_key(&(ns, key))
    }

    pub(super) fn none_pending(&self) -> bool {
        self.pending.is_empty()
    }

    fn set_deadline(&mut self, producer: u64, deadline: Option<MonoMs>) {
        let Some(known) = self.all.get_mut(&producer) else { return };
        if let Some(before) = std::mem::replace(&mut known.deadline, deadline) {
            self.deadlines.remove(&(before, producer));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, producer));
        }
    }

    fn count_pending(&mut self, ns: NamespaceId, key: OffsetKey) {
        *self.pending.entry((ns, key)).or_default() += 1;
    }

    fn uncount_pending(&mut self, ns: NamespaceId, key: OffsetKey) {
        if let std::collections::btree_map::Entry::Occupied(mut entry) =
            self.pending.entry((ns, key))
        {
            count::take(entry.get_mut(), 1, "pending offsets of a partition");
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// What the key of a pending offset says: the group, the stream and the partition's index.
fn pending_at(key: &[u8]) -> Option<(String, StreamId, u32)> {
    let (group, end) = keys::text_at(key, 9)?;
    Some((group, StreamId(keys::u32_at(key, end)?), keys::u32_at(key, end + 4)?))
}

impl State {
    /// Reads transactions out of the map.
    pub(super) fn load_transactions(&mut self) {
        let mut transactions = Transactions::default();
        for (key, kept) in self.each::<Transactional>(keys::TRANSACTIONAL) {
            let (Some(ns), Some((id, _))) = (keys::u32_at(&key, 1), keys::text_at(&key, 5)) else {
                panic!("key {key:02x?} of a transactional id is malformed");
            };
            let (namespace, producer) = (NamespaceId(ns), kept.producer);
            transactions.by_id.insert((namespace, id.clone()), producer);
            let (partitions, offsets) = (BTreeMap::new(), BTreeMap::new());
            let known = Known { namespace, id, kept, partitions, offsets, deadline: None };
            transactions.all.insert(producer, known);
        }
        for (key, open) in self.each::<OpenPartition>(keys::OPEN_PARTITION) {
            let producer = keys::u64_at(&key, 1).and_then(|it| transactions.all.get_mut(&it));
            let (Some(known), Some(partition)) = (producer, keys::u64_at(&key, 9)) else {
                panic!("key {key:02x?} of an open partition is malformed or of no producer");
            };
            known.partitions.insert(PartitionId(partition), open.first);
        }
        for (key, committed) in self.each::<CommittedOffset>(keys::PENDING_OFFSET) {
            let producer = keys::u64_at(&key, 1).and_then(|it| transactions.all.get_mut(&it));
            let (Some(known), Some(offset)) = (producer, pending_at(&key)) else {
                panic!("key {key:02x?} of a pending offset is malformed or of no producer");
            };
            let ns = known.namespace;
            transactions.offset_bytes += offset_bytes(&offset.0, &committed);
            known.offsets.insert(offset.clone(), committed);
            transactions.count_pending(ns, offset);
        }
        transactions.has_aborted = self.first(&[keys::ABORTED], &[keys::ABORTED + 1]).is_some();
        self.streams.transactions = transactions;
    }

    /// A new life begins: what is open may stay so for as long again.
    pub(crate) fn renew_transactions(&mut self) {
        let mono = self.mono();
        let transactions = &mut self.streams.transactions;
        let open = transactions.all.iter().filter(|(_, known)| known.kept.open);
        let open: Vec<_> = open.map(|(id, known)| (*id, known.kept.timeout_ms)).collect();
        transactions.deadlines.clear();
        for (producer, timeout_ms) in open {
            transactions.set_deadline(producer, Some(mono.plus(timeout_ms)));
        }
    }

    /// For so long no producer could be heard: see `Turn::end_shortage`.
    pub(crate) fn spare_transactions(&mut self, shortage_ms: u64) {
        let transactions = &mut self.streams.transactions;
        let deadlines: Vec<(MonoMs, u64)> = transactions.deadlines.iter().copied().collect();
        for (deadline, producer) in deadlines {
            transactions.set_deadline(producer, Some(deadline.plus(shortage_ms)));
        }
    }

    /// What readers of committed events have to know, as of a start: what is open in each
    /// partition, and what was aborted.
    pub(super) fn transaction_marks(&self) -> BTreeMap<PartitionId, Vec<TransactionMark>> {
        let mut marks: BTreeMap<PartitionId, Vec<TransactionMark>> = BTreeMap::new();
        let mut mark = |partition, producer, first, last| {
            let mark = TransactionMark { partition, producer, first, last };
            marks.entry(partition).or_default().push(mark);
        };
        for (producer, known) in &self.streams.transactions.all {
            for (partition, first) in &known.partitions {
                if let Some(first) = first {
                    mark(*partition, *producer, *first, None);
                }
            }
        }
        for (key, Aborted { producer, first }) in self.each::<Aborted>(keys::ABORTED) {
            let (Some(partition), Some(last)) = (keys::u64_at(&key, 1), keys::u64_at(&key, 9))
            else {
                panic!("key {key:02x?} of an aborted transaction is malformed");
            };
            mark(PartitionId(partition), producer, first, Some(last));
        }
        marks
    }
}
