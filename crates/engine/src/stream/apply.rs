//! Which record of streams is applied where.

use super::ProducerStamp;
use crate::map::OrderedMap;
use crate::record::Record;
use crate::state::State;

impl<M: OrderedMap> State<M> {
    pub(crate) fn apply_to_streams(&mut self, record: Record) {
        match record {
            Record::StreamCreated { namespace, id, name, first, partitions, settings } => {
                self.apply_stream_created((namespace, id, name), (first, partitions), settings);
            }
            Record::StreamChanged { id, settings } => self.apply_stream_changed(id, settings),
            Record::PartitionsAdded { id, first, added } => {
                self.apply_partitions_added(id, first, added);
            }
            Record::StreamDeleted { id } => self.apply_stream_deleted(id),
            Record::StreamAppended {
                partition,
                base_offset,
                events,
                producer_id,
                producer_epoch: epoch,
                sequence,
                batch,
            } => {
                let producer = producer_id.map(|id| ProducerStamp { id, epoch, sequence });
                self.apply_stream_appended((partition, base_offset, events), producer, batch);
            }
            Record::StreamTrimmed { partition, start } => {
                self.apply_stream_trimmed(partition, start);
            }
            Record::ProducerIdTaken { id } => self.meta_mut().next_producer = id + 1,
            Record::OffsetsCommitted { namespace, group, offsets } => {
                self.apply_offsets_committed(namespace, &group, offsets);
            }
            Record::OffsetsForgotten { namespace, group, offsets } => {
                self.apply_offsets_forgotten(namespace, &group, &offsets);
            }
            Record::ProducersForgotten { producers } => self.apply_producers_forgotten(&producers),
            _ => unreachable!("apply sends the records of jobs and the shard elsewhere"),
        }
    }
}
