//! What a record of a transaction changes.

use std::collections::BTreeMap;

use super::{Aborted, Known, OpenPartition, Transactional, offset_bytes};
use crate::ids::{NamespaceId, PartitionId};
use crate::state::{State, count, keys};
use crate::stream::offsets::KeptOffset;
use crate::stream::{OffsetNote, StreamChange};

/// What is counted of offsets that transactions have not ended yet.
const PENDING: &str = "bytes of pending offsets";

impl State {
    pub(crate) fn apply_transactional_id_taken(
        &mut self,
        (namespace, id): (NamespaceId, String),
        (producer, epoch): (u64, u32),
        timeout_ms: u64,
        previous: Option<u32>,
    ) {
        let kept = Transactional {
            producer,
            epoch,
            timeout_ms,
            at: self.now(),
            previous,
            open: false,
            committed: None,
        };
        if producer >= self.meta.next_producer {
            self.meta_mut().next_producer = producer + 1;
        }
        let transactions = &mut self.streams.transactions;
        let before = transactions.by_id.insert((namespace, id.clone()), producer);
        if let Some(before) = before {
            transactions.all.remove(&before);
        }
        let (partitions, offsets) = (BTreeMap::new(), BTreeMap::new());
        let known = Known { namespace, id, kept, partitions, offsets, deadline: None };
        transactions.all.insert(producer, known);
        self.put_transactional(producer);
    }

    fn put_transactional(&mut self, producer: u64) {
        let Some(known) = self.streams.transactions.all.get(&producer) else { return };
        let (key, kept) = (keys::transactional(known.namespace, &known.id), known.kept.clone());
        self.put(&key, &kept);
    }

    fn transaction_mut(&mut self, producer: u64) -> &mut Known {
        let known = self.streams.transactions.all.get_mut(&producer);
        known.expect("records name producers that have a transactional id")
    }

    pub(crate) fn apply_transaction_extended(
        &mut self,
        producer: u64,
        partitions: Vec<PartitionId>,
    ) {
        let (at, mono) = (self.now(), self.mono());
        let known = self.transaction_mut(producer);
        let begins = !known.kept.open;
        if begins {
            (known.kept.open, known.kept.at) = (true, at);
        }
        let deadline = mono.plus(known.kept.timeout_ms);
        for partition in &partitions {
            known.partitions.insert(*partition, None);
        }
        for partition in partitions {
            self.put(&keys::open_partition(producer, partition), &OpenPartition { first: None });
        }
        if begins {
            self.streams.transactions.set_deadline(producer, Some(deadline));
            self.put_transactional(producer);
        }
    }

    /// A batch of the transaction was appended.
    pub(crate) fn apply_transaction_appended(
        &mut self,
        producer: u64,
        partition: PartitionId,
        base_offset: u64,
    ) {
        let known = self.transaction_mut(producer);
        let first = known.partitions.entry(partition).or_default();
        if first.is_none() {
            *first = Some(base_offset);
            let open = OpenPartition { first: Some(base_offset) };
            self.put(&keys::open_partition(producer, partition), &open);
        }
    }

    pub(crate) fn apply_transaction_offsets(
        &mut self,
        producer: u64,
        group: &str,
        offsets: Vec<OffsetNote>,
    ) {
        for OffsetNote { stream, partition, committed } in offsets {
            let key = keys::pending_offset(producer, group, stream, partition);
            self.put(&key, &committed);
            let offset = (group.to_owned(), stream, partition);
            let known = self.transaction_mut(producer);
            let ns = known.namespace;
            let added = offset_bytes(group, &committed);
            let before = known.offsets.insert(offset.clone(), committed);
            let transactions = &mut self.streams.transactions;
            transactions.offset_bytes += added;
            match before {
                Some(before) => {
                    let (sum, bytes) =
                        (&mut transactions.offset_bytes, offset_bytes(group, &before));
                    count::take(sum, bytes, PENDING);
                }
                None => transactions.count_pending(ns, offset),
            }
        }
    }

    pub(crate) fn apply_transaction_ended(
        &mut self,
        producer: u64,
        epoch: u32,
        committed: bool,
        markers: Vec<(PartitionId, u64)>,
    ) {
        let at = self.now();
        self.streams.transactions.set_deadline(producer, None);
        let known = self.transaction_mut(producer);
        let ns = known.namespace;
        known.kept.open = false;
        known.kept.at = at;
        // Where another one ended it, the epoch is one that nobody has.
        known.kept.committed = (known.kept.epoch == epoch).then_some(committed);
        if known.kept.epoch != epoch {
            known.kept.previous = None;
        }
        known.kept.epoch = epoch;
        let partitions = std::mem::take(&mut known.partitions);
        let offsets = std::mem::take(&mut known.offsets);
        for (partition, base_offset) in markers {
            self.place_marker(partition, base_offset);
            let first = partitions.get(&partition).copied().flatten();
            if let (Some(first), false) = (first, committed) {
                self.put(&keys::aborted(partition, base_offset), &Aborted { producer, first });
                self.streams.transactions.has_aborted = true;
            }
            self.streams.changes.push(StreamChange::Marked {
                partition,
                base_offset,
                producer,
                epoch,
                committed,
                at,
            });
        }
        for partition in partitions.into_keys() {
            self.remove(&keys::open_partition(producer, partition));
        }
        for ((group, stream, index), offset) in offsets {
            let sum = &mut self.streams.transactions.offset_bytes;
            count::take(sum, offset_bytes(&group, &offset), PENDING);
            self.remove(&keys::pending_offset(producer, &group, stream, index));
            if committed && self.streams.get(stream).is_some() {
                let noted = std::iter::once((stream, index, Some(offset.offset)));
                self.note_replay_offsets(ns, &group, noted);
                let key = keys::group_offset(ns, &group, stream, index);
                self.put(&key, &KeptOffset { at, committed: offset });
                self.streams.has_offsets = true;
            }
            self.streams.transactions.uncount_pending(ns, (group, stream, index));
        }
        self.put_transactional(producer);
    }

    fn place_marker(&mut self, partition: PartitionId, base_offset: u64) {
        let ends = self.streams.ends_mut(partition);
        assert!(
            ends.next == base_offset,
            "a marker of partition {partition} stands at {base_offset}, not at {}",
            ends.next
        );
        ends.next += 1;
    }

    pub(crate) fn apply_transactional_ids_forgotten(&mut self, producers: &[u64]) {
        for producer in producers {
            let Some(known) = self.streams.transactions.all.remove(producer) else { continue };
            self.remove(&keys::transactional(known.namespace, &known.id));
            self.streams.transactions.by_id.remove(&(known.namespace, known.id));
        }
    }

    pub(crate) fn apply_aborted_forgotten(&mut self, aborted: &[(PartitionId, u64)]) {
        let mut of: BTreeMap<PartitionId, Vec<u64>> = BTreeMap::new();
        for (partition, last) in aborted {
            self.remove(&keys::aborted(*partition, *last));
            of.entry(*partition).or_default().push(*last);
        }
        let changes = of.into_iter();
        let changes =
            changes.map(|(partition, markers)| StreamChange::Forgotten { partition, markers });
        self.streams.changes.extend(changes);
    }
}
