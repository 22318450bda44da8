//! Appending a batch: where it stands, and whether its producer has appended it before.

use bytes::Bytes;

use super::{
    AppendBatch, AppendRefusal, Appended, AppendedKey, ProducerMark, ProducerStamp, RecentBatch,
    StreamChange,
};
use crate::ids::{NamespaceId, PartitionId, TimeMs};
use crate::record::Record;
use crate::state::{State, keys};

/// Batches of a producer that are remembered in a partition: as many as a client has under way.
const RECENT_BATCHES: usize = 5;

/// The last sequence number; 0 follows it.
const SEQUENCE_LAST: u32 = i32::MAX as u32;

/// What is to be done with a batch.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for the length of one decision")]
pub(crate) enum AppendDecision {
    /// It is appended.
    Append(Record, Appended),
    /// It stands there already.
    Replayed(Appended),
}

/// The sequence number `count` after `sequence`.
fn sequence_after(sequence: u32, count: u32) -> u32 {
    let period = u64::from(SEQUENCE_LAST) + 1;
    ((u64::from(sequence) + u64::from(count)) % period) as u32
}

impl State {
    pub(crate) fn decide_append(
        &self,
        ns: NamespaceId,
        append: &AppendBatch,
        now: TimeMs,
    ) -> Result<AppendDecision, AppendRefusal> {
        let partition = self.streams.partition(append.partition);
        let partition = partition.ok_or(AppendRefusal::PartitionUnknown)?;
        let stream = self.streams.get(partition.stream).filter(|stream| stream.namespace == ns);
        let stream = stream.ok_or(AppendRefusal::PartitionUnknown)?;
        if append.batch.len() as u64 > u64::from(stream.settings.batch_bytes_max) {
            return Err(AppendRefusal::TooLarge);
        }
        let transactional = append.transactional;
        self.check_transaction(ns, append.partition, append.producer, transactional)?;
        let ends = partition.ends;
        let answer = |base_offset, replayed| Appended { base_offset, start: ends.start, replayed };
        if let Some(stamp) = append.producer
            && let Some(base_offset) = self.check_sequence(append, stamp, now)?
        {
            return Ok(AppendDecision::Replayed(answer(base_offset, true)));
        }
        let counts = stream.settings.count_keys;
        if counts {
            self.check_keys(append, ends)?;
        }
        let keys = append.keys.iter().filter(|_| counts).map(|it| it.appended.clone()).collect();
        let record = Record::StreamAppended {
            partition: append.partition,
            base_offset: ends.next,
            events: append.events,
            producer_id: append.producer.map(|stamp| stamp.id),
            producer_epoch: append.producer.map_or(0, |stamp| stamp.epoch),
            sequence: append.producer.map_or(0, |stamp| stamp.sequence),
            transactional: append.transactional,
            batch: append.batch.clone(),
            keys,
        };
        Ok(AppendDecision::Append(record, answer(ends.next, false)))
    }

    /// Where the batch stands already, if it does.
    fn check_sequence(
        &self,
        append: &AppendBatch,
        stamp: ProducerStamp,
        now: TimeMs,
    ) -> Result<Option<u64>, AppendRefusal> {
        let known = self.value::<ProducerMark>(&keys::producer(append.partition, stamp.id));
        let known = known.filter(|known| now.since(known.at) < self.limits.producer_ms);
        // Of a producer that is not known here any sequence is taken, as Kafka does.
        let Some(known) = known else { return Ok(None) };
        let out_of_order = AppendRefusal::SequenceOutOfOrder { found: stamp.sequence };
        if stamp.epoch < known.epoch {
            let (found, current) = (stamp.epoch, known.epoch);
            return Err(AppendRefusal::EpochPassed { found, current });
        }
        if stamp.epoch > known.epoch {
            return if stamp.sequence == 0 { Ok(None) } else { Err(out_of_order) };
        }
        let last = sequence_after(stamp.sequence, append.events.saturating_sub(1));
        let same = |batch: &&RecentBatch| batch.first == stamp.sequence && batch.last == last;
        if let Some(batch) = known.recent.iter().rev().find(same) {
            return Ok(Some(batch.base_offset));
        }
        let next = known.recent.last().map_or(0, |batch| sequence_after(batch.last, 1));
        if stamp.sequence == next { Ok(None) } else { Err(out_of_order) }
    }

    pub(crate) fn apply_stream_appended(
        &mut self,
        (partition, base_offset, events): (PartitionId, u64, u32),
        producer: Option<ProducerStamp>,
        transactional: bool,
        (batch, keys): (Bytes, &[AppendedKey]),
    ) {
        let ends = self.streams.ends_mut(partition);
        assert!(
            ends.next == base_offset,
            "a batch of partition {partition} stands at {base_offset}, not at {}",
            ends.next
        );
        ends.next += u64::from(events);
        let start = ends.start;
        self.apply_keys_appended((partition, base_offset, start), keys);
        if let Some(stamp) = producer {
            let key = keys::producer(partition, stamp.id);
            let known = self.value::<ProducerMark>(&key);
            let known = known.filter(|known| known.epoch == stamp.epoch);
            let mut recent = known.map(|known| known.recent).unwrap_or_default();
            if recent.len() >= RECENT_BATCHES {
                recent.remove(0);
            }
            let last = sequence_after(stamp.sequence, events.saturating_sub(1));
            recent.push(RecentBatch { first: stamp.sequence, last, base_offset });
            let mark = ProducerMark { epoch: stamp.epoch, at: self.now(), recent };
            self.put(&key, &mark);
            self.streams.has_producers = true;
        }
        let transaction = producer.filter(|_| transactional).map(|stamp| stamp.id);
        if let Some(producer) = transaction {
            self.apply_transaction_appended(producer, partition, base_offset);
        }
        let change = StreamChange::Appended { partition, base_offset, events, transaction, batch };
        self.streams.changes.push(change);
    }
}
