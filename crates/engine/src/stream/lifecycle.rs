//! Streams come, change, get more partitions, are trimmed, and go.

use super::{LIVES_STREAM, Partition, PartitionEnds, Stream, StreamChange, StreamSettings};
use crate::bounds::check_name;
use crate::ids::{NamespaceId, PartitionId, StreamId};
use crate::message::Destination;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};

/// The smallest file of a partition, and the smallest bound of a batch.
const FILE_BYTES_MIN: u64 = 14;

fn count_keys_refused(value: bool, allowed: &str) -> Rejection {
    let (value, allowed) = (value.to_string(), allowed.to_owned());
    Rejection::ValueRefused { field: "count_keys", value, allowed }
}

impl State {
    pub(crate) fn decide_stream_created(
        &self,
        ns: NamespaceId,
        name: &str,
        partitions: u32,
        settings: StreamSettings,
    ) -> Result<Record, Rejection> {
        check_name(&self.limits, "stream", name)?;
        if self.streams.named(ns, name).is_some() {
            return Err(Rejection::StreamExists { stream: name.to_owned() });
        }
        self.check_settings(&settings)?;
        if settings.count_keys && name == LIVES_STREAM {
            return Err(count_keys_refused(true, "false for the stream of the lives of jobs"));
        }
        self.check_partitions(partitions, partitions as usize)?;
        let (id, first) = (self.meta.next_stream, self.meta.next_partition);
        let name = name.to_owned();
        Ok(Record::StreamCreated { namespace: ns, id, name, first, partitions, settings })
    }

    fn check_settings(&self, settings: &StreamSettings) -> Result<(), Rejection> {
        let refused = |field, value: u64, allowed: String| {
            Err(Rejection::ValueRefused { field, value: value.to_string(), allowed })
        };
        let most = self.limits.stream_batch_bytes_max;
        if settings.batch_bytes_max > most {
            let value = settings.batch_bytes_max.into();
            return refused("batch_bytes_max", value, format!("at most {most}"));
        }
        if settings.file_bytes < FILE_BYTES_MIN {
            let allowed = format!("at least {FILE_BYTES_MIN}");
            return refused("file_bytes", settings.file_bytes, allowed);
        }
        if settings.compaction_dirty_ppm > 1_000_000 {
            let value = settings.compaction_dirty_ppm.into();
            return refused("compaction_dirty_ppm", value, "at most 1000000".to_owned());
        }
        if let Some(header) = &settings.ordering_header {
            check_name(&self.limits, "ordering_header", header)?;
        }
        if settings.file_ms == 0 {
            return refused("file_ms", 0, "at least 1".to_owned());
        }
        if let Some(lag_ms) = settings.compaction_lag_ms_max.filter(|_| settings.compact)
            && lag_ms < settings.compaction_lag_ms_min.max(1)
        {
            let allowed = "at least 1, and no less than the shortest".to_owned();
            return refused("compaction_lag_ms_max", lag_ms, allowed);
        }
        Ok(())
    }

    /// Whether a stream may have so many, of which so many are new.
    fn check_partitions(&self, partitions: u32, new: usize) -> Result<(), Rejection> {
        let most = self.limits.stream_partitions_max;
        if partitions == 0 || partitions > most {
            let (value, allowed) = (partitions.to_string(), format!("1 to {most}"));
            return Err(Rejection::ValueRefused { field: "partitions", value, allowed });
        }
        let limit = self.limits.partitions_max;
        if self.streams.partitions.len() + new > limit {
            return Err(Rejection::TooManyPartitions { limit });
        }
        Ok(())
    }

    pub(crate) fn stream_named(&self, ns: NamespaceId, name: &str) -> Result<&Stream, Rejection> {
        let stream = self.streams.named(ns, name);
        stream.ok_or_else(|| Rejection::StreamUnknown { stream: name.to_owned() })
    }

    pub(crate) fn decide_stream_changed(
        &self,
        ns: NamespaceId,
        name: &str,
        mut settings: StreamSettings,
    ) -> Result<Option<Record>, Rejection> {
        let stream = self.stream_named(ns, name)?;
        self.check_settings(&settings)?;
        // They are put and deleted by themselves.
        settings.triggers.clone_from(&stream.settings.triggers);
        if settings.count_keys != stream.settings.count_keys {
            let allowed = "what was said when the stream was created";
            return Err(count_keys_refused(settings.count_keys, allowed));
        }
        let changes = stream.settings != settings;
        Ok(changes.then_some(Record::StreamChanged { id: stream.id, settings }))
    }

    pub(crate) fn decide_partitions_added(
        &self,
        ns: NamespaceId,
        name: &str,
        partitions: u32,
    ) -> Result<Record, Rejection> {
        let stream = self.stream_named(ns, name)?;
        let has = stream.partitions.len() as u32;
        if stream.settings.count_keys {
            // Keys would be in other partitions than those that have counted them.
            let allowed =
                format!("none: it counts the events of its keys, and stays with the {has} it has");
            let value = partitions.to_string();
            return Err(Rejection::ValueRefused { field: "partitions", value, allowed });
        }
        let Some(added) = partitions.checked_sub(has).filter(|added| *added > 0) else {
            let (value, allowed) = (partitions.to_string(), format!("more than the {has} it has"));
            return Err(Rejection::ValueRefused { field: "partitions", value, allowed });
        };
        self.check_partitions(partitions, added as usize)?;
        Ok(Record::PartitionsAdded { id: stream.id, first: self.meta.next_partition, added })
    }

    pub(crate) fn decide_stream_deleted(
        &self,
        ns: NamespaceId,
        name: &str,
    ) -> Result<Record, Rejection> {
        Ok(Record::StreamDeleted { id: self.stream_named(ns, name)?.id })
    }

    /// The record that trims a partition where that changes anything, and where it begins then.
    pub(crate) fn decide_trim(
        &self,
        ns: NamespaceId,
        id: PartitionId,
        start: Option<u64>,
    ) -> Option<(Option<Record>, u64)> {
        let partition = self.streams.partition(id)?;
        self.streams.get(partition.stream).filter(|stream| stream.namespace == ns)?;
        let ends = partition.ends;
        let start = start.unwrap_or(ends.next);
        if start > ends.next {
            return None;
        }
        if start <= ends.start {
            return Some((None, ends.start));
        }
        Some((Some(Record::StreamTrimmed { partition: id, start }), start))
    }

    pub(crate) fn apply_stream_created(
        &mut self,
        (namespace, id, name): (NamespaceId, StreamId, String),
        (first, partitions): (PartitionId, u32),
        settings: StreamSettings,
    ) {
        self.meta_mut().next_stream = StreamId(id.0 + 1);
        self.add_stream(Stream { id, namespace, name, partitions: Vec::new(), settings });
        self.apply_partitions_added(id, first, partitions);
    }

    pub(crate) fn apply_partitions_added(&mut self, id: StreamId, first: PartitionId, added: u32) {
        self.meta_mut().next_partition = PartitionId(first.0 + u64::from(added));
        for number in (first.0..).take(added as usize) {
            let (partition, ends) = (PartitionId(number), PartitionEnds::default());
            self.put(&keys::partition(partition), &ends);
            self.streams.partitions.insert(partition, Partition { stream: id, ends });
            if let Some(stream) = self.streams.by_id.get_mut(&id) {
                stream.partitions.push(partition);
            }
        }
        self.put_stream(id);
        if let Some(stream) = self.streams.get(id) {
            let view = Box::new(self.stream_view(stream));
            self.streams.changes.push(StreamChange::Created(view));
        }
    }

    fn put_stream(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get(id).cloned() {
            self.put(&keys::stream(id), &stream);
        }
    }

    pub(crate) fn apply_stream_changed(&mut self, id: StreamId, settings: StreamSettings) {
        if let Some(stream) = self.streams.by_id.get_mut(&id) {
            stream.settings = settings.clone();
        }
        self.note_replays(id);
        self.put_stream(id);
        self.streams.changes.push(StreamChange::Changed { stream: id, settings });
    }

    pub(crate) fn apply_stream_deleted(&mut self, id: StreamId) {
        let Some(stream) = self.streams.by_id.remove(&id) else { return };
        let (ns, what) = (stream.namespace, Destination::Stream { id });
        if self.is_bound(ns, what) {
            self.begin_emptying(ns, what);
        }
        self.streams.telling.retain(|_, telling| *telling != stream.id);
        self.streams.by_name.remove(&(stream.namespace, stream.name));
        if stream.settings.count_keys {
            self.streams.count_round.unsettle();
        }
        for partition in stream.partitions {
            self.streams.partitions.remove(&partition);
            self.streams.changed.forget(&partition);
            self.remove(&keys::partition(partition));
        }
        self.remove(&keys::stream(id));
        self.note_replays(id);
        self.streams.offset_round.hasten();
        self.streams.changes.push(StreamChange::Deleted { stream: id });
    }

    pub(crate) fn apply_stream_trimmed(&mut self, partition: PartitionId, start: u64) {
        self.streams.ends_mut(partition).start = start;
        let of = self.streams.partition(partition).and_then(|it| self.streams.get(it.stream));
        if of.is_some_and(|stream| stream.settings.count_keys) {
            self.streams.count_round.unsettle();
        }
        self.streams.changes.push(StreamChange::Trimmed { partition, start });
    }
}
