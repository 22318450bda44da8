//! What a round of compaction leaves of one batch, by the rules of Kafka's log cleaner.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::NewestOffsets;
use crate::batch::{BatchFault, BatchHeader};
use crate::codec::{self, CodecError};
use crate::records::records;
use crate::transactions::AbortedTransaction;

/// A batch that is written again may have so many bytes, or twice as many as it had.
const GROWN_BYTES: usize = 4 << 10;

/// What is left of a batch.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Left {
    /// All of it, byte for byte.
    Whole,
    /// This.
    Part(Vec<u8>),
    Nothing,
}

/// The aborted transactions of a partition.
#[derive(Debug, Default)]
pub(super) struct Aborted {
    /// Of each producer: first offset and that of the marker.
    of: BTreeMap<u64, Vec<(u64, u64)>>,
    markers: BTreeSet<u64>,
}

impl Aborted {
    pub(super) fn new(all: &[AbortedTransaction]) -> Self {
        let mut aborted = Self::default();
        for one in all {
            aborted.of.entry(one.producer).or_default().push((one.first, one.last));
            aborted.markers.insert(one.last);
        }
        aborted
    }

    /// Whether the events of a batch were taken back.
    pub(super) fn has(&self, header: &BatchHeader) -> bool {
        let of = u64::try_from(header.producer_id).ok().and_then(|id| self.of.get(&id));
        let at = header.first_offset();
        let within = |(first, last): &(u64, u64)| (*first..*last).contains(&at);
        header.is_transactional() && of.is_some_and(|all| all.iter().any(within))
    }
}

/// What is known while a partition is gone through from its beginning.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) newest: NewestOffsets,
    pub(super) aborted: Aborted,
    /// Keys are known of events before this offset.
    pub(super) known_to: u64,
    /// Where the files end that are gone through.
    pub(super) end: u64,
    pub(super) now_ms: i64,
    /// How long what says that a key is gone stays.
    pub(super) tombstone_ms: i64,
    /// Producers of transactions of which something was seen, and no marker since.
    pub(super) within: BTreeSet<i64>,
    /// Something before this was kept as it is, unopened or because it would have grown.
    pub(super) unopened: bool,
}

impl Filter {
    /// Takes the next batch. One that cannot be opened, or would grow, is an error, and nothing is
    /// left out of it.
    pub(super) fn take(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Left, CodecError> {
        let left = self.left_of(header, batch);
        self.unopened |= left.is_err();
        left
    }

    fn left_of(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Left, CodecError> {
        if header.is_control() {
            return self.take_marker(header, batch);
        }
        if header.is_transactional() {
            self.within.insert(header.producer_id);
        }
        if self.aborted.has(header) || header.events == 0 {
            return Ok(self.emptied(header));
        }
        if header.first_offset() >= self.known_to {
            return Ok(Left::Whole);
        }
        let closed = header.payload(batch);
        let opened = codec::open(header.attributes, closed)?;
        let horizon = header.delete_horizon();
        // What was kept unopened may hold an older value of any key.
        let past = !self.unopened && horizon.is_some_and(|horizon| self.now_ms >= horizon);
        // One for each: there may be millions.
        let (mut stays, mut gone_keys) = (Vec::new(), false);
        for record in records(header, &opened) {
            let record = record.map_err(malformed)?;
            let offset = header.first_offset() + record.delta;
            let newest = |key| !self.newest.has_newer(key, offset);
            let stay = offset >= self.known_to
                || (record.key.is_some_and(newest) && (record.has_value || !past));
            stays.push(stay);
            gone_keys |= stay && !record.has_value;
        }
        // Older events of a key go before what says that it is gone: not yet where they are not
        // looked for yet, or where one may be in what was kept unopened.
        let all_known = header.end_offset() <= self.known_to && !self.unopened;
        let new_horizon = horizon.is_none() && gone_keys && all_known;
        if !stays.contains(&true) {
            return Ok(self.emptied(header));
        }
        if !stays.contains(&false) && !new_horizon {
            return Ok(Left::Whole);
        }
        let horizon = if new_horizon { Some(self.horizon()) } else { horizon };
        let part = rewritten(header, &opened, &stays, horizon)?;
        // Its producer may have compressed it far better than is done here.
        if part.len() > header.len_bytes.saturating_mul(2).max(GROWN_BYTES) {
            return Err(CodecError::TooLarge);
        }
        Ok(Left::Part(part))
    }

    /// A marker goes once nothing of its transaction is left, after as long as what says that a
    /// key is gone, and once nobody is told of the transaction: who hears that it was aborted
    /// waits for the marker to know where it ends.
    fn take_marker(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Left, CodecError> {
        let alone = !self.within.remove(&header.producer_id);
        if header.events == 0 {
            return Ok(self.emptied(header));
        }
        let told = self.aborted.markers.contains(&header.first_offset());
        match header.delete_horizon() {
            _ if !alone => Ok(Left::Whole),
            Some(horizon) if horizon <= self.now_ms && !told => Ok(self.emptied(header)),
            Some(_) => Ok(Left::Whole),
            None => {
                // A marker is one event.
                Ok(Left::Part(rewritten(
                    header,
                    header.payload(batch),
                    &[true],
                    Some(self.horizon()),
                )?))
            }
        }
    }

    fn horizon(&self) -> i64 {
        self.now_ms.saturating_add(self.tombstone_ms)
    }

    /// The last batch stays as an empty one: readers learn from it that they have come to the end.
    fn emptied(&self, header: &BatchHeader) -> Left {
        if header.end_offset() != self.end {
            return Left::Nothing;
        }
        if header.events == 0 {
            return Left::Whole;
        }
        // Nothing in it has a time.
        Left::Part(header.with((None, -1, 0), &[]))
    }
}

fn malformed(fault: BatchFault) -> CodecError {
    CodecError::Malformed(fault.to_string())
}

/// A batch with those of its events that stay.
fn rewritten(
    header: &BatchHeader,
    opened: &[u8],
    stays: &[bool],
    horizon: Option<i64>,
) -> Result<Vec<u8>, CodecError> {
    let base_time = horizon.unwrap_or(header.base_time);
    let (mut payload, mut newest_time, mut count) = (Vec::new(), None, 0);
    for (record, stay) in records(header, opened).zip(stays) {
        let record = record.map_err(malformed)?;
        if *stay {
            record.put(base_time, &mut payload);
            newest_time = newest_time.max(Some(record.time));
            count += 1;
        }
    }
    let payload = codec::close(header.attributes, payload)?;
    Ok(header.with((horizon, newest_time.unwrap_or(base_time), count), &payload))
}
