//! Which record of streams is applied where.

use super::ProducerStamp;
use crate::record::Record;
use crate::state::State;

impl State {
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
                transactional,
                batch,
                keys,
            } => {
                let producer = producer_id.map(|id| ProducerStamp { id, epoch, sequence });
                let place = (partition, base_offset, events);
                self.apply_stream_appended(place, producer, transactional, (batch, &keys));
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
            record => self.apply_to_transactions(record),
        }
    }

    fn apply_to_transactions(&mut self, record: Record) {
        match record {
            Record::TransactionalIdTaken {
                namespace,
                id,
                producer,
                epoch,
                timeout_ms,
                previous,
            } => {
                let of = (namespace, id);
                self.apply_transactional_id_taken(of, (producer, epoch), timeout_ms, previous);
            }
            Record::TransactionExtended { producer, partitions } => {
                self.apply_transaction_extended(producer, partitions);
            }
            Record::TransactionOffsets { producer, group, offsets } => {
                self.apply_transaction_offsets(producer, &group, offsets);
            }
            Record::TransactionEnded { producer, epoch, committed, markers } => {
                self.apply_transaction_ended(producer, epoch, committed, markers);
            }
            Record::TransactionalIdsForgotten { producers } => {
                self.apply_transactional_ids_forgotten(&producers);
            }
            Record::AbortedForgotten { aborted } => self.apply_aborted_forgotten(&aborted),
            _ => unreachable!("apply sends the records of jobs and the shard elsewhere"),
        }
    }
}
