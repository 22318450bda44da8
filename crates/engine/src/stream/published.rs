//! Messages that are events as well, where a binding leads to a stream. The record of the message
//! says where each event stands; what it is follows from the message, so its body is in the journal
//! once, however many queues and streams it reaches.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{StreamChange, StreamSettings};
use crate::bounds::check_size;
use crate::ids::{PartitionId, Place, StreamId};
use crate::message::Message;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;
use crate::wire::wire_struct;

/// What an event has beside its key, its value and its headers, in bytes, at most: lengths, the
/// header of its batch.
const OVERHEAD_BYTES: usize = 128;
/// What a header has beside its name and its value, in bytes, at most.
const HEADER_BYTES: usize = 8;

wire_struct! {
    /// Where an event stands.
    #[derive(Eq)]
    pub struct EventPlace {
        /// In which partition.
        pub partition: PartitionId,
        /// At which offset.
        pub offset: u64,
        /// Its key, where that is not the routing key of the message.
        pub key: Option<Bytes> = 240,
    }
}

impl Record {
    /// Whether it has events whose places are given with it.
    pub(crate) fn has_events(&self) -> bool {
        match self {
            Self::MessagePublished { events, .. } => !events.is_empty(),
            record => record.tells_lives(),
        }
    }
}

/// The partition of a key among so many, as Kafka's Java client chooses it.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// `MurmurHash2` with the seed of Kafka.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    for (at, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The key of an event where that is the value of a header of its message.
fn key_of(settings: &StreamSettings, message: &Message) -> Option<Bytes> {
    let header = settings.ordering_header.as_ref()?;
    message.header_text(header).filter(|key| !key.is_empty()).map(Bytes::from)
}

/// What whoever keeps the events is told of one.
pub(super) fn published(place: &EventPlace, message: &Message) -> StreamChange {
    StreamChange::Published {
        partition: place.partition,
        base_offset: place.offset,
        at: message.published_at,
        headers: message.event_headers(place.key.as_ref()),
        key: place
            .key
            .clone()
            .unwrap_or_else(|| Bytes::copy_from_slice(message.routing_key.as_bytes())),
        value: message.body.clone(),
    }
}

impl State {
    /// Refuses a message that is more than one of its streams takes as a batch, or has no routing
    /// key where only the newest event of each key is kept.
    pub(crate) fn check_events(
        &self,
        streams: &BTreeSet<StreamId>,
        message: &Message,
    ) -> Result<(), Rejection> {
        streams.iter().try_for_each(|id| self.check_event(*id, message))
    }

    /// As [`Self::check_events`], for one of them.
    pub(crate) fn check_event(&self, stream: StreamId, message: &Message) -> Result<(), Rejection> {
        let Some(settings) = self.streams.get(stream).map(|it| &it.settings) else { return Ok(()) };
        if settings.count_keys {
            let (field, value) = ("count_keys", "true".to_owned());
            let allowed = "false for a stream to which messages go";
            return Err(Rejection::ValueRefused { field, value, allowed: allowed.to_owned() });
        }
        let key = key_of(settings, message);
        if settings.compact && key.is_none() && message.routing_key.is_empty() {
            let allowed = "one that is not empty, as a stream keeps the newest event of each key";
            let (field, value) = ("routing_key", String::new());
            return Err(Rejection::ValueRefused { field, value, allowed: allowed.to_owned() });
        }
        let headers = message.event_headers(key.as_ref());
        let header = |(name, value): &(String, Option<Bytes>)| {
            HEADER_BYTES + name.len() + value.as_ref().map_or(0, Bytes::len)
        };
        let bytes = message.body.len()
            + key.map_or(message.routing_key.len(), |key| key.len())
            + headers.iter().map(header).sum::<usize>()
            + OVERHEAD_BYTES;
        check_size("body", bytes, settings.batch_bytes_max.into())
    }

    /// Where a message stands in a stream: in the partition of its key, or, where it has none, in
    /// any. The offset is given with the record.
    pub(crate) fn event_place(
        &self,
        stream: StreamId,
        message: &Message,
        place: Place,
    ) -> Option<EventPlace> {
        let stream = self.streams.get(stream)?;
        let count = stream.partitions.len() as u32;
        let key = key_of(&stream.settings, message);
        let index = match key.as_deref().unwrap_or(message.routing_key.as_bytes()) {
            [] => (place.0 % u64::from(count.max(1))) as u32,
            key => partition_of(key, count),
        };
        Some(EventPlace { partition: *stream.partitions.get(index as usize)?, offset: 0, key })
    }

    /// Gives the events of records that are about to be recorded together their offsets.
    pub(crate) fn place_events(&self, records: &mut [Record]) {
        let mut ends: BTreeMap<PartitionId, u64> = BTreeMap::new();
        let mut place = |partition: PartitionId, count: usize| {
            let next = || self.streams.partition(partition).map_or(0, |it| it.ends.next);
            let end = ends.entry(partition).or_insert_with(next);
            *end += count as u64;
            *end - count as u64
        };
        for record in records {
            for lot in record.lots_mut() {
                lot.base_offset = place(lot.partition, lot.lives.len());
            }
            let Record::MessagePublished { events, .. } = record else { continue };
            for event in events {
                event.offset = place(event.partition, 1);
            }
        }
    }

    pub(crate) fn apply_events_published(&mut self, message: &Message, events: &[EventPlace]) {
        for place in events {
            let ends = self.streams.ends_mut(place.partition);
            let (partition, next) = (place.partition, ends.next);
            assert!(
                next == place.offset,
                "an event of partition {partition} stands at {}, not at {next}",
                place.offset
            );
            ends.next += 1;
            self.streams.changes.push(published(place, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_with_kafka() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
