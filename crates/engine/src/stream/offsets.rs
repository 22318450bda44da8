//! How far groups of consumers have read, and numbers for producers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{GroupOffset, OffsetRefusal, OffsetToCommit};
use crate::bounds::check_name;
use crate::ids::{NamespaceId, StreamId, TimeMs};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::{Wire, wire_struct};

wire_struct! {
    /// What a group committed of a partition.
    #[derive(Eq)]
    pub struct CommittedOffset {
        /// The offset of the first event that it has not read.
        pub offset: u64,
        /// The epoch of the leader that the client had seen; `None` where it did not say.
        pub leader_epoch: Option<u32> = 1,
        /// Whatever the client wishes to find again.
        pub metadata: String = 2,
    }
}

wire_struct! {
    /// A committed offset in a record.
    pub struct OffsetNote {
        /// The stream.
        pub stream: StreamId,
        /// The index of the partition.
        pub partition: u32,
        /// What was committed.
        pub committed: CommittedOffset,
    }
}

wire_struct! {
    /// A committed offset as it is kept.
    pub(crate) struct KeptOffset {
        /// When it was committed.
        pub(crate) at: TimeMs,
        /// What was committed.
        pub(crate) committed: CommittedOffset,
    }
}

/// So many offsets are looked at for each that is told, at most: the others are of streams that
/// were removed.
pub(super) const LOOKS: usize = 4;
/// Slices of offsets of removed streams that are forgotten with one of those that are told.
const FORGETS: usize = 16;

/// What became of each offset, and the records of those that are remembered.
type CommitDecision = (Vec<Result<(), OffsetRefusal>>, Vec<Record>);

impl State {
    pub(crate) fn decide_offsets_committed(
        &self,
        ns: NamespaceId,
        group: &str,
        offsets: &[OffsetToCommit],
    ) -> Result<CommitDecision, Rejection> {
        check_name(&self.limits, "group", group)?;
        let limit = self.limits.offsets_bulk_max;
        if offsets.len() > limit {
            let (value, allowed) = (offsets.len().to_string(), format!("at most {limit}"));
            return Err(Rejection::ValueRefused { field: "offsets", value, allowed });
        }
        let (results, notes) = self.offset_notes(ns, offsets);
        if notes.is_empty() {
            return Ok((results, Vec::new()));
        }
        let committed =
            notes.iter().map(|it| (group, it.stream, it.partition, it.committed.offset));
        let ended = self.decide_replays_passed(ns, committed);
        let (namespace, group) = (ns, group.to_owned());
        let mut records = vec![Record::OffsetsCommitted { namespace, group, offsets: notes }];
        records.extend(ended);
        Ok((results, records))
    }

    /// What becomes of each offset, and those that can be remembered.
    pub(super) fn offset_notes(
        &self,
        ns: NamespaceId,
        offsets: &[OffsetToCommit],
    ) -> (Vec<Result<(), OffsetRefusal>>, Vec<OffsetNote>) {
        let mut notes = Vec::with_capacity(offsets.len());
        let results = offsets.iter().map(|offset| {
            let stream = self.streams.named(ns, &offset.stream);
            let stream = stream.filter(|it| (offset.partition as usize) < it.partitions.len());
            let stream = stream.ok_or(OffsetRefusal::PartitionUnknown)?;
            if offset.committed.metadata.len() > self.limits.offset_metadata_bytes_max {
                return Err(OffsetRefusal::MetadataTooLarge);
            }
            let (partition, committed) = (offset.partition, offset.committed.clone());
            notes.push(OffsetNote { stream: stream.id, partition, committed });
            Ok(())
        });
        (results.collect(), notes)
    }

    fn is_pending(&self, ns: NamespaceId, group: &str, stream: StreamId, index: u32) -> bool {
        let transactions = &self.streams.transactions;
        !transactions.none_pending()
            && transactions.is_pending(ns, (group.to_owned(), stream, index))
    }

    pub(crate) fn apply_offsets_committed(
        &mut self,
        ns: NamespaceId,
        group: &str,
        offsets: Vec<OffsetNote>,
    ) {
        let at = self.now();
        let noted = offsets.iter().map(|it| (it.stream, it.partition, Some(it.committed.offset)));
        self.note_replay_offsets(ns, group, noted);
        for note in offsets {
            let key = keys::group_offset(ns, group, note.stream, note.partition);
            self.put(&key, &KeptOffset { at, committed: note.committed });
        }
        self.streams.has_offsets = true;
    }

    /// What a group has committed: of what is asked, or of everything up to a bound.
    pub(crate) fn group_offsets(
        &self,
        ns: NamespaceId,
        group: &str,
        of: Option<Vec<(String, Vec<u32>)>>,
    ) -> Result<Vec<GroupOffset>, Rejection> {
        check_name(&self.limits, "group", group)?;
        let Some(of) = of else { return Ok(self.all_group_offsets(ns, group)) };
        let mut found = Vec::new();
        for (stream, partitions) in of {
            let id = self.streams.named(ns, &stream).map(|stream| stream.id);
            let stream: Arc<str> = stream.into();
            for partition in partitions {
                let key = id.map(|id| keys::group_offset(ns, group, id, partition));
                let kept = key.and_then(|key| self.value::<KeptOffset>(&key));
                let committed = kept.map(|kept| kept.committed);
                let pending = id.is_some_and(|id| self.is_pending(ns, group, id, partition));
                let stream = Arc::clone(&stream);
                found.push(GroupOffset { stream, partition, committed, pending });
            }
        }
        Ok(found)
    }

    fn all_group_offsets(&self, ns: NamespaceId, group: &str) -> Vec<GroupOffset> {
        let prefix = keys::group_prefix(ns, group);
        let limit = self.limits.offsets_bulk_max;
        let (mut names, mut found, mut looked) = (BTreeMap::new(), Vec::new(), 0);
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
            let at = |at: usize| keys::u32_at(key, prefix.len() + at);
            let (Some(id), Some(partition)) = (at(0), at(4)) else {
                return ControlFlow::Break(());
            };
            // What was committed of a stream that was removed is not told; a round removes it.
            let name = names.entry(id).or_insert_with(|| {
                self.streams.get(StreamId(id)).map(|stream| Arc::from(stream.name.as_str()))
            });
            let kept = KeptOffset::from_bytes(value);
            if let (Some(stream), Ok(kept)) = (name, kept) {
                let (stream, committed) = (Arc::clone(stream), Some(kept.committed));
                let pending = self.is_pending(ns, group, StreamId(id), partition);
                found.push(GroupOffset { stream, partition, committed, pending });
            }
            looked += 1;
            let goes_on = found.len() < limit && looked < LOOKS * limit;
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    /// The record that forgets some of a group's offsets, and whether more are left. Those of a
    /// trigger stay while it is there: without them all its events would become jobs again.
    pub(crate) fn decide_group_forgotten(
        &self,
        ns: NamespaceId,
        group: &str,
    ) -> Result<(Option<Record>, usize, bool), Rejection> {
        check_name(&self.limits, "group", group)?;
        if self.is_group_of_trigger(ns, group) {
            return Err(Rejection::GroupInUse { group: group.to_owned() });
        }
        let prefix = keys::group_prefix(ns, group);
        let limit = self.limits.slice_items_max;
        let (mut offsets, mut count, mut more) = (Vec::new(), 0, false);
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
            let at = |at: usize| keys::u32_at(key, prefix.len() + at);
            let (Some(id), Some(partition)) = (at(0), at(4)) else { return ControlFlow::Break(()) };
            // Those of removed streams go along, uncounted: a round may have removed them before.
            let counts = self.streams.get(StreamId(id)).is_some();
            more = offsets.len() >= FORGETS * limit || (counts && count == limit);
            if more {
                return ControlFlow::Break(());
            }
            count += usize::from(counts);
            offsets.push((StreamId(id), partition));
            ControlFlow::Continue(())
        });
        let (namespace, group) = (ns, group.to_owned());
        let record =
            (!offsets.is_empty()).then_some(Record::OffsetsForgotten { namespace, group, offsets });
        Ok((record, count, more))
    }

    pub(crate) fn apply_offsets_forgotten(
        &mut self,
        ns: NamespaceId,
        group: &str,
        offsets: &[(StreamId, u32)],
    ) {
        let noted = offsets.iter().map(|(stream, partition)| (*stream, *partition, None));
        self.note_replay_offsets(ns, group, noted);
        for (stream, partition) in offsets {
            self.remove(&keys::group_offset(ns, group, *stream, *partition));
        }
    }
}
