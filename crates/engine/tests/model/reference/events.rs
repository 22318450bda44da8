//! Streams of events, as lists: every batch that was ever appended, every offset committed.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::{
    Answer, AppendBatch, AppendRefusal, Appended, AppendedKey, CommittedOffset, GroupOffset,
    KeyToAppend, NamespaceId, OffsetRefusal, OffsetToCommit, PartitionEnds, PartitionId,
    ProducerStamp, Rejection, StreamAnswer, StreamCommand, StreamId, StreamSettings, StreamView,
    TimeMs,
};

use super::{Reference, Refusable, refused};

/// Everything that is known of streams.
#[derive(Debug, Default)]
pub(crate) struct RefEvents {
    pub(crate) streams: Vec<RefStream>,
    made: u32,
    made_partitions: u64,
    producers: u64,
    offsets: Vec<(NamespaceId, String, StreamId, u32, CommittedOffset)>,
}

#[derive(Debug)]
pub(crate) struct RefStream {
    id: StreamId,
    ns: NamespaceId,
    name: String,
    pub(crate) partitions: Vec<RefPartition>,
    settings: StreamSettings,
}

#[derive(Debug)]
pub(crate) struct RefPartition {
    pub(crate) id: PartitionId,
    start: u64,
    batches: Vec<RefBatch>,
    /// Of each key how many events are counted, and the offset of the newest.
    keys: BTreeMap<Bytes, (u64, u64)>,
}

/// Offset, number of events, producer, and when it was appended.
type RefBatch = (u64, u32, Option<ProducerStamp>, TimeMs);

impl RefPartition {
    fn next(&self) -> u64 {
        self.batches.last().map_or(0, |(base, events, ..)| base + u64::from(*events))
    }

    /// How many events a key has had, where one of them is kept.
    fn count(&self, key: &Bytes) -> u64 {
        self.keys.get(key).filter(|(_, last)| *last >= self.start).map_or(0, |(count, _)| *count)
    }

    fn check_keys(&self, append: &AppendBatch) -> Result<(), AppendRefusal> {
        let told: u32 = append.keys.iter().map(|it| it.appended.events).sum();
        if told != append.events {
            return Err(AppendRefusal::KeysUntold);
        }
        for (index, KeyToAppend { appended, expected }) in append.keys.iter().enumerate() {
            let actual = self.count(&appended.key);
            if let Some(expected) = *expected
                && expected != actual
            {
                return Err(AppendRefusal::EventsUnexpected { index, expected, actual });
            }
        }
        Ok(())
    }

    /// Where the batch is already; or that it may be appended; or why not.
    fn look(
        &self,
        stamp: ProducerStamp,
        events: u32,
        now: TimeMs,
        within: impl Fn(TimeMs, TimeMs) -> bool,
    ) -> Result<Option<u64>, AppendRefusal> {
        let own = |batch: &&RefBatch| batch.2.is_some_and(|other| other.id == stamp.id);
        let all: Vec<_> = self.batches.iter().filter(own).collect();
        let Some((.., Some(newest), at)) = all.last() else { return Ok(None) };
        if !within(*at, now) {
            return Ok(None);
        }
        let found = stamp.sequence;
        if stamp.epoch < newest.epoch {
            return Err(AppendRefusal::EpochPassed { found: stamp.epoch, current: newest.epoch });
        }
        if stamp.epoch > newest.epoch {
            let begins = stamp.sequence == 0;
            return begins.then_some(None).ok_or(AppendRefusal::SequenceOutOfOrder { found });
        }
        // What came before a long pause is forgotten: a look at producers came in it.
        let mut later = *at;
        let epoch: Vec<_> = all
            .iter()
            .rev()
            .take_while(|it| {
                let goes_on = within(it.3, later);
                later = it.3;
                goes_on && it.2.is_some_and(|other| other.epoch == stamp.epoch)
            })
            .collect();
        let same = |it: &&&&RefBatch| {
            it.1 == events && it.2.is_some_and(|other| other.sequence == stamp.sequence)
        };
        if let Some(batch) = epoch.iter().take(5).find(same) {
            return Ok(Some(batch.0));
        }
        let after = epoch.first().map(|it| it.2.map_or(0, |stamp| stamp.sequence) + it.1);
        let follows = after == Some(stamp.sequence);
        follows.then_some(None).ok_or(AppendRefusal::SequenceOutOfOrder { found })
    }
}

impl Reference {
    /// The partitions that there are, to be drawn from.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        let of = |stream: &RefStream| stream.partitions.iter().map(|it| it.id).collect::<Vec<_>>();
        self.events.streams.iter().flat_map(of).collect()
    }

    /// All that is kept of streams, in the order of their numbers.
    pub(crate) fn stream_views(&self) -> Vec<StreamView> {
        self.events.streams.iter().map(|stream| self.stream_view(stream)).collect()
    }

    pub(super) fn streams_of(&self, ns: NamespaceId) -> u64 {
        self.events.streams.iter().filter(|stream| stream.ns == ns).count() as u64
    }

    fn stream_view(&self, stream: &RefStream) -> StreamView {
        let namespace = self.namespaces.iter().find(|namespace| namespace.id == stream.ns);
        let partition =
            |it: &RefPartition| (it.id, PartitionEnds { start: it.start, next: it.next() });
        StreamView {
            id: stream.id,
            namespace: namespace.map(|it| it.name.clone()).unwrap_or_default(),
            name: stream.name.clone(),
            partitions: stream.partitions.iter().map(partition).collect(),
            settings: stream.settings.clone(),
            transactions: Vec::new(),
        }
    }

    pub(super) fn decide_stream(
        &mut self,
        ns: NamespaceId,
        command: StreamCommand,
    ) -> Refusable<Answer> {
        let answer = match command {
            StreamCommand::Create { stream, partitions, settings } => {
                self.check_name("stream", &stream)?;
                if self.event_stream_at(ns, &stream).is_some() {
                    return Err(Rejection::StreamExists { stream });
                }
                self.check_partitions(partitions, partitions)?;
                self.events.made += 1;
                let id = StreamId(self.events.made);
                let (name, of) = (stream.clone(), Vec::new());
                self.events.streams.push(RefStream { id, ns, name, partitions: of, settings });
                self.add_partitions(ns, &stream, partitions);
                self.stream_told(ns, &stream)?
            }
            StreamCommand::Change { stream, settings } => {
                let index = self.known_stream(ns, &stream)?;
                if settings.count_keys != self.events.streams[index].settings.count_keys {
                    return Err(refused("count_keys"));
                }
                self.events.streams[index].settings = settings;
                self.stream_told(ns, &stream)?
            }
            StreamCommand::AddPartitions { stream, partitions } => {
                let index = self.known_stream(ns, &stream)?;
                let has = self.events.streams[index].partitions.len() as u32;
                if partitions <= has || self.events.streams[index].settings.count_keys {
                    return Err(refused("partitions"));
                }
                self.check_partitions(partitions, partitions - has)?;
                self.add_partitions(ns, &stream, partitions - has);
                self.stream_told(ns, &stream)?
            }
            StreamCommand::Delete { stream } => {
                let index = self.known_stream(ns, &stream)?;
                let gone = self.events.streams.remove(index).id;
                // Nobody is told of them any more; when they are forgotten does not matter.
                self.events.offsets.retain(|it| it.2 != gone);
                StreamAnswer::Deleted
            }
            StreamCommand::Append(batches) => {
                let results = batches.iter().map(|append| self.append(ns, append));
                StreamAnswer::Appended(results.collect())
            }
            StreamCommand::Trim { partition, start } => {
                StreamAnswer::Trimmed(self.trim(ns, partition, start))
            }
            StreamCommand::TakeProducerId => {
                self.events.producers += 1;
                StreamAnswer::ProducerId(self.events.producers)
            }
            StreamCommand::CommitOffsets { group, offsets } => {
                self.check_name("group", &group)?;
                if offsets.len() > self.limits.offsets_bulk_max {
                    return Err(refused("offsets"));
                }
                let results = offsets.into_iter().map(|it| self.commit_offset(ns, &group, it));
                StreamAnswer::Committed(results.collect())
            }
            StreamCommand::GetOffsets { group, of } => {
                StreamAnswer::Offsets(self.offsets_told(ns, &group, of))
            }
            StreamCommand::GroupsUsed { .. } => StreamAnswer::GroupsNoted,
            StreamCommand::ForgetAborted { .. } => StreamAnswer::AbortedForgotten,
            StreamCommand::Trigger(_) | StreamCommand::Transact(_) => {
                unreachable!("none is drawn")
            }
            StreamCommand::ForgetGroup { group } => self.forget_group(ns, &group),
        };
        Ok(Answer::Stream(answer))
    }

    fn event_stream_at(&self, ns: NamespaceId, name: &str) -> Option<usize> {
        self.events.streams.iter().position(|stream| stream.ns == ns && stream.name == name)
    }

    fn known_stream(&self, ns: NamespaceId, name: &str) -> Refusable<usize> {
        let found = self.event_stream_at(ns, name);
        found.ok_or_else(|| Rejection::StreamUnknown { stream: name.to_owned() })
    }

    fn stream_told(&self, ns: NamespaceId, name: &str) -> Refusable<StreamAnswer> {
        let stream = &self.events.streams[self.known_stream(ns, name)?];
        Ok(StreamAnswer::Stream(Box::new(self.stream_view(stream))))
    }

    fn check_partitions(&self, partitions: u32, new: u32) -> Refusable<()> {
        if partitions == 0 || partitions > self.limits.stream_partitions_max {
            return Err(refused("partitions"));
        }
        let limit = self.limits.partitions_max;
        if self.partitions().len() + new as usize > limit {
            return Err(Rejection::TooManyPartitions { limit });
        }
        Ok(())
    }

    fn add_partitions(&mut self, ns: NamespaceId, name: &str, count: u32) {
        let index = self.event_stream_at(ns, name).expect("it was just looked for");
        for _ in 0..count {
            self.events.made_partitions += 1;
            let id = PartitionId(self.events.made_partitions);
            let (batches, keys) = (Vec::new(), BTreeMap::new());
            let partition = RefPartition { id, start: 0, batches, keys };
            self.events.streams[index].partitions.push(partition);
        }
    }

    fn partition_mut(&mut self, ns: NamespaceId, id: PartitionId) -> Option<&mut RefPartition> {
        let own = self.events.streams.iter_mut().filter(|stream| stream.ns == ns);
        own.flat_map(|stream| &mut stream.partitions).find(|partition| partition.id == id)
    }

    fn append(&mut self, ns: NamespaceId, append: &AppendBatch) -> Result<Appended, AppendRefusal> {
        let most = |stream: &RefStream| stream.settings.batch_bytes_max as usize;
        let of = |stream: &&RefStream| {
            stream.ns == ns && stream.partitions.iter().any(|it| it.id == append.partition)
        };
        let stream = self.events.streams.iter().find(of);
        let (most, counts) = (stream.map(most), stream.is_some_and(|it| it.settings.count_keys));
        let (now, producer_ms) = (self.now, self.limits.producer_ms);
        let within = |from: TimeMs, to: TimeMs| to.since(from) < producer_ms;
        let partition = self.partition_mut(ns, append.partition);
        let partition = partition.ok_or(AppendRefusal::PartitionUnknown)?;
        if most.is_some_and(|most| append.batch.len() > most) {
            return Err(AppendRefusal::TooLarge);
        }
        let start = partition.start;
        if let Some(stamp) = append.producer
            && let Some(base_offset) = partition.look(stamp, append.events, now, within)?
        {
            return Ok(Appended { base_offset, start, replayed: true });
        }
        let base_offset = partition.next();
        if counts {
            partition.check_keys(append)?;
            for AppendedKey { key, events, last, .. } in append.keys.iter().map(|it| &it.appended) {
                let count = partition.count(key) + u64::from(*events);
                partition.keys.insert(key.clone(), (count, base_offset + u64::from(*last)));
            }
        }
        let batch = (base_offset, append.events, append.producer, now);
        partition.batches.push(batch);
        Ok(Appended { base_offset, start, replayed: false })
    }

    fn trim(&mut self, ns: NamespaceId, id: PartitionId, start: Option<u64>) -> Option<u64> {
        let partition = self.partition_mut(ns, id)?;
        let start = start.unwrap_or_else(|| partition.next());
        if start > partition.next() {
            return None;
        }
        partition.start = partition.start.max(start);
        Some(partition.start)
    }

    fn commit_offset(
        &mut self,
        ns: NamespaceId,
        group: &str,
        offset: OffsetToCommit,
    ) -> Result<(), OffsetRefusal> {
        let index =
            self.event_stream_at(ns, &offset.stream).ok_or(OffsetRefusal::PartitionUnknown)?;
        let stream = &self.events.streams[index];
        if offset.partition as usize >= stream.partitions.len() {
            return Err(OffsetRefusal::PartitionUnknown);
        }
        if offset.committed.metadata.len() > self.limits.offset_metadata_bytes_max {
            return Err(OffsetRefusal::MetadataTooLarge);
        }
        let (id, partition) = (stream.id, offset.partition);
        self.events
            .offsets
            .retain(|it| (it.0, it.1.as_str(), it.2, it.3) != (ns, group, id, partition));
        self.events.offsets.push((ns, group.to_owned(), id, partition, offset.committed));
        self.events.offsets.sort_by_key(|it| (it.0, it.1.clone(), it.2, it.3));
        Ok(())
    }

    fn offsets_told(
        &self,
        ns: NamespaceId,
        group: &str,
        of: Option<Vec<(String, Vec<u32>)>>,
    ) -> Vec<GroupOffset> {
        let own = || self.events.offsets.iter().filter(|it| it.0 == ns && it.1 == group);
        let Some(of) = of else {
            let told = own().filter_map(|(_, _, id, partition, committed)| {
                let stream = self.events.streams.iter().find(|stream| stream.id == *id)?;
                let (stream, committed) = (stream.name.as_str().into(), Some(committed.clone()));
                Some(GroupOffset { stream, partition: *partition, committed, pending: false })
            });
            return told.take(self.limits.offsets_bulk_max).collect();
        };
        let mut told = Vec::new();
        for (stream, partitions) in of {
            let id = self.event_stream_at(ns, &stream).map(|index| self.events.streams[index].id);
            for partition in partitions {
                let found = own().find(|it| Some(it.2) == id && it.3 == partition);
                let committed = found.map(|it| it.4.clone());
                told.push(GroupOffset {
                    stream: stream.as_str().into(),
                    partition,
                    committed,
                    pending: false,
                });
            }
        }
        told
    }

    fn forget_group(&mut self, ns: NamespaceId, group: &str) -> StreamAnswer {
        let own: Vec<(StreamId, u32)> = self
            .events
            .offsets
            .iter()
            .filter(|it| it.0 == ns && it.1 == group)
            .map(|it| (it.2, it.3))
            .collect();
        let slice = &own[..own.len().min(self.limits.slice_items_max)];
        let gone = |it: &(NamespaceId, String, StreamId, u32, CommittedOffset)| {
            it.0 == ns && it.1 == group && slice.contains(&(it.2, it.3))
        };
        self.events.offsets.retain(|it| !gone(it));
        StreamAnswer::GroupForgotten { offsets: slice.len(), more: slice.len() < own.len() }
    }
}
