//! The header of a batch of events (Kafka's record batch, version 2), which is all that is read of
//! one. Integers are big-endian.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | base offset: written by the broker |
//! | 8 | 4 | length of what follows |
//! | 12 | 4 | epoch of the partition's leader: the broker's; on disk a seal after compaction |
//! | 16 | 1 | magic: 2 |
//! | 17 | 4 | CRC32C of all from byte 21 on |
//! | 21 | 2 | bits: codec (0 to 2), time of append (3), transaction (4), control (5), horizon (6) |
//! | 23 | 4 | offset of the last event, from the base offset |
//! | 27 | 8 | time that those of events count from, milliseconds: the first one's, or the horizon |
//! | 35 | 8 | time of the newest event |
//! | 43 | 8 | producer, -1 for none |
//! | 51 | 2 | its epoch |
//! | 53 | 4 | sequence number of the first event |
//! | 57 | 4 | number of events |

use thiserror::Error;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 61;

/// Bytes before what the length counts.
const PREFIX_BYTES: usize = 12;

/// Bytes before what the checksum covers.
const UNCHECKED_BYTES: usize = 21;

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BatchFault {
    /// It ends too early.
    #[error("the batch is not whole")]
    Short,
    /// It is of another version.
    #[error("the batch has magic {0}, not 2")]
    Magic(i8),
    /// Its checksum is another one.
    #[error("the batch has another checksum than it says")]
    Checksum,
    /// Its numbers contradict each other.
    #[error("the numbers of the batch are impossible")]
    Numbers,
    /// It stands at another offset than the one before it ends at.
    #[error("the batch does not follow the one before it")]
    Order,
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchHeader {
    /// Offset of the first event.
    pub base_offset: i64,
    /// Bytes of the whole batch.
    pub len_bytes: usize,
    /// Epoch of the partition's leader.
    pub leader_epoch: i32,
    /// CRC32C of what follows it.
    pub crc: u32,
    /// Codec and kind.
    pub attributes: i16,
    /// Offset of the last event, from the base offset.
    pub last_offset_delta: i32,
    /// Time of the first event, milliseconds since 1970.
    pub base_time: i64,
    /// Time of the newest event.
    pub newest_time: i64,
    /// The producer, -1 for none.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Its number of the first event.
    pub base_sequence: i32,
    /// How many events there are.
    pub events: i32,
}

impl BatchHeader {
    /// The header at the beginning of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchFault> {
        let length = i32::from_be_bytes(at(bytes, 8)?);
        let [magic] = at(bytes, 16)?.map(u8::cast_signed);
        if magic != 2 {
            return Err(BatchFault::Magic(magic));
        }
        let header = Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)?),
            len_bytes: usize::try_from(length).map_err(|_| BatchFault::Numbers)? + PREFIX_BYTES,
            leader_epoch: i32::from_be_bytes(at(bytes, 12)?),
            crc: u32::from_be_bytes(at(bytes, 17)?),
            attributes: i16::from_be_bytes(at(bytes, 21)?),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)?),
            base_time: i64::from_be_bytes(at(bytes, 27)?),
            newest_time: i64::from_be_bytes(at(bytes, 35)?),
            producer_id: i64::from_be_bytes(at(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)?),
            base_sequence: i32::from_be_bytes(at(bytes, 53)?),
            events: i32::from_be_bytes(at(bytes, 57)?),
        };
        let possible = header.len_bytes >= HEADER_BYTES
            && header.base_offset >= 0
            && header.last_offset_delta >= 0
            && header.events >= 0
            && header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_some();
        if possible { Ok(header) } else { Err(BatchFault::Numbers) }
    }

    /// Checks the batch that begins `bytes` whole against its checksum, and gives it.
    pub fn check<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], BatchFault> {
        let batch = bytes.get(..self.len_bytes).ok_or(BatchFault::Short)?;
        let checked = batch.get(UNCHECKED_BYTES..).ok_or(BatchFault::Short)?;
        if crc32c::crc32c(checked) == self.crc { Ok(batch) } else { Err(BatchFault::Checksum) }
    }

    /// The offset after its last event.
    pub fn end_offset(&self) -> u64 {
        // `parse` has seen that it is no less than 0 and fits.
        self.base_offset.cast_unsigned() + u64::from(self.last_offset_delta.cast_unsigned()) + 1
    }

    /// The events of its batch, compressed or not; those that are there, where it was cut short.
    pub(crate) fn payload<'a>(&self, batch: &'a [u8]) -> &'a [u8] {
        let (from, to) = (HEADER_BYTES.min(batch.len()), self.len_bytes.min(batch.len()));
        batch.get(from..to).unwrap_or_default()
    }

    /// The offset of its first event.
    pub fn first_offset(&self) -> u64 {
        self.base_offset.cast_unsigned()
    }

    /// Whether it stands at the offset at which it was sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        let seal = crc32c::crc32c(&self.base_offset.to_be_bytes());
        self.leader_epoch.cast_unsigned() == seal
    }

    /// Whether its events are compressed.
    pub fn is_compressed(&self) -> bool {
        self.attributes & 0b111 != 0
    }
}

/// Kinds of batches in their attributes.
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
/// Its times count from when what says that something is gone may go itself.
const DELETE_HORIZON: i16 = 1 << 6;

impl BatchHeader {
    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// From when on those of its events that have no value, or the marker that it is, may go,
    /// milliseconds since 1970; `None` where compaction has not said so yet.
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_time)
    }

    /// The batch with this header and what follows it, with a horizon where one is given. Its
    /// offsets, its producer and its sequence stay.
    pub(crate) fn with(
        &self,
        (horizon, newest_time, events): (Option<i64>, i64, i32),
        payload: &[u8],
    ) -> Vec<u8> {
        let bit = if horizon.is_some() { DELETE_HORIZON } else { 0 };
        let kept =
            if events == 0 { self.attributes & (TRANSACTIONAL | CONTROL) } else { self.attributes };
        let mut checked = Vec::with_capacity(HEADER_BYTES + payload.len());
        checked.extend((kept | bit).to_be_bytes());
        checked.extend(self.last_offset_delta.to_be_bytes());
        checked.extend(horizon.unwrap_or(self.base_time).to_be_bytes());
        checked.extend(newest_time.to_be_bytes());
        checked.extend(self.producer_id.to_be_bytes());
        checked.extend(self.producer_epoch.to_be_bytes());
        checked.extend(self.base_sequence.to_be_bytes());
        checked.extend(events.to_be_bytes());
        checked.extend_from_slice(payload);
        let mut batch = Vec::with_capacity(checked.len() + UNCHECKED_BYTES);
        batch.extend(self.base_offset.to_be_bytes());
        batch.extend((checked.len() as u32 + 9).to_be_bytes());
        batch.extend(self.leader_epoch.to_be_bytes());
        batch.push(2);
        batch.extend(crc32c::crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        batch
    }

    /// Whether it is a marker and no event.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// The marker that ends a producer's transaction: a batch of one control record, whose key is its
/// version (0) and whether it was committed (1) or aborted (0), and whose value is a version (0)
/// and the epoch of the coordinator (0).
pub fn marker((producer, epoch): (u64, u32), committed: bool, time: i64) -> Vec<u8> {
    let mut record = vec![0, 0, 0];
    // Lengths as zigzag numbers: a key of 4 bytes, a value of 6, no headers.
    record.push(8);
    record.extend(0_i16.to_be_bytes());
    record.extend(i16::from(committed).to_be_bytes());
    record.push(12);
    record.extend([0; 6]);
    record.push(0);
    let mut checked = Vec::with_capacity(HEADER_BYTES);
    checked.extend((TRANSACTIONAL | CONTROL).to_be_bytes());
    checked.extend(0_i32.to_be_bytes());
    checked.extend(time.to_be_bytes());
    checked.extend(time.to_be_bytes());
    checked.extend(producer.to_be_bytes());
    checked.extend(i16::try_from(epoch).unwrap_or(i16::MAX).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(1_i32.to_be_bytes());
    checked.push(2 * record.len() as u8);
    checked.extend(record);
    let mut batch = Vec::with_capacity(checked.len() + UNCHECKED_BYTES);
    batch.extend(0_i64.to_be_bytes());
    batch.extend((checked.len() as u32 + 9).to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// The offset after the last whole batch of `bytes`.
pub fn end_of(mut bytes: &[u8]) -> Option<u64> {
    let mut end = None;
    while let Ok(header) = BatchHeader::parse(bytes) {
        let Some(rest) = bytes.get(header.len_bytes..) else { break };
        (bytes, end) = (rest, Some(header.end_offset()));
    }
    end
}

/// Writes what the broker writes of a batch; the checksum does not cover it.
pub fn place(batch: &mut [u8], base_offset: u64) {
    if let Some(field) = batch.get_mut(..8) {
        field.copy_from_slice(&base_offset.to_be_bytes());
    }
    if let Some(field) = batch.get_mut(12..16) {
        field.copy_from_slice(&[0; 4]);
    }
}

/// Writes a checksum of the base offset, which that of the batch does not cover, where the epoch of
/// the leader stands: in a file with gaps nothing else says that a batch stands at its own.
pub(crate) fn seal(batch: &mut [u8]) {
    let offset = batch.first_chunk::<8>().map(|offset| crc32c::crc32c(offset));
    if let Some((field, seal)) = batch.get_mut(12..16).zip(offset) {
        field.copy_from_slice(&seal.to_be_bytes());
    }
}

/// Has batches be as they were before they were sealed: the epoch is 0 for whoever reads.
pub(crate) fn unseal(mut batches: &mut [u8]) {
    while let Ok(header) = BatchHeader::parse(batches) {
        if let Some(field) = batches.get_mut(12..16) {
            field.copy_from_slice(&[0; 4]);
        }
        let Some(rest) = batches.get_mut(header.len_bytes..) else { return };
        batches = rest;
    }
}

/// Seconds and milliseconds of the events of a batch that is not compressed: the offset from the
/// base offset and the time of each. Ends where the batch does, or where it is malformed.
pub fn times(header: &BatchHeader, batch: &[u8]) -> Vec<(i64, i64)> {
    let mut rest = batch.get(HEADER_BYTES..).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..header.events {
        let Some(length) = varint(&mut rest).and_then(|it| usize::try_from(it).ok()) else { break };
        let Some((mut event, after)) = rest.split_at_checked(length) else { break };
        rest = after;
        event = event.get(1..).unwrap_or_default();
        let (Some(time), Some(offset)) = (varint(&mut event), varint(&mut event)) else { break };
        found.push((offset, header.base_time.saturating_add(time)));
    }
    found
}

/// A zigzag varint.
pub(crate) fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], BatchFault> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.copied().ok_or(BatchFault::Short)
}

#[cfg(any(test, feature = "test-util"))]
pub mod sample {
    //! Batches for tests.

    /// A batch of as many empty events, the first of them at `time` and each a millisecond later.
    pub fn batch(events: i32, time: i64, filler: usize) -> Vec<u8> {
        batch_of((-1, -1, -1), false, (events, time, filler))
    }

    /// As [`batch`], of a producer with its epoch and the sequence number of the first event, in
    /// its transaction or not.
    pub fn batch_of(
        (producer, epoch, sequence): (i64, i16, i32),
        transactional: bool,
        (events, time, filler): (i32, i64, usize),
    ) -> Vec<u8> {
        let attributes = if transactional { super::TRANSACTIONAL } else { 0 };
        let mut records = Vec::new();
        for index in 0..events {
            let mut event = vec![0];
            zigzag(index.into(), &mut event);
            zigzag(index.into(), &mut event);
            zigzag(-1, &mut event);
            zigzag(length(filler).into(), &mut event);
            event.extend(std::iter::repeat_n(b'x', filler));
            zigzag(0, &mut event);
            zigzag(length(event.len()).into(), &mut records);
            records.extend(event);
        }
        let mut checked = Vec::new();
        checked.extend(attributes.to_be_bytes());
        checked.extend((events - 1).to_be_bytes());
        checked.extend(time.to_be_bytes());
        checked.extend((time + i64::from(events) - 1).to_be_bytes());
        checked.extend(producer.to_be_bytes());
        checked.extend(epoch.to_be_bytes());
        checked.extend(sequence.to_be_bytes());
        checked.extend(events.to_be_bytes());
        checked.extend(records);
        let mut batch = Vec::new();
        batch.extend(0_i64.to_be_bytes());
        batch.extend((length(checked.len()) + 9).to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc32c::crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        batch
    }

    /// Events of a producer, in its transaction or not.
    pub fn keyed(
        (producer, epoch, sequence): (i64, i16, i32),
        transactional: bool,
        events: &[crate::event::Event],
    ) -> Vec<u8> {
        let plain = crate::event::batch_of(events);
        let Ok(header) = super::BatchHeader::parse(&plain) else { return plain };
        let of = super::BatchHeader {
            attributes: if transactional { super::TRANSACTIONAL } else { 0 },
            producer_id: producer,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..header
        };
        let payload = plain.get(super::HEADER_BYTES..).unwrap_or_default();
        of.with((None, header.newest_time, header.events), payload)
    }

    /// Events of no producer, compressed with gzip.
    pub fn gzipped(events: &[crate::event::Event]) -> Vec<u8> {
        let plain = crate::event::batch_of(events);
        let Ok(header) = super::BatchHeader::parse(&plain) else { return plain };
        let payload = plain.get(super::HEADER_BYTES..).unwrap_or_default();
        let Ok(closed) = crate::codec::close(1, payload.to_vec()) else { return plain };
        let of = super::BatchHeader { attributes: 1, ..header };
        of.with((None, header.newest_time, header.events), &closed)
    }

    fn length(len: usize) -> i32 {
        i32::try_from(len).unwrap_or(i32::MAX)
    }

    fn zigzag(value: i64, out: &mut Vec<u8>) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_checked_and_placed_without_touching_what_is_checked() {
        let mut batch = sample::batch(3, 1000, 5);
        place(&mut batch, 77);
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.first_offset(), header.end_offset(), header.events), (77, 80, 3));
        assert_eq!(header.check(&batch).unwrap().len(), batch.len());
        assert_eq!(times(&header, &batch), [(0, 1000), (1, 1001), (2, 1002)]);
        for at in UNCHECKED_BYTES..batch.len() {
            let mut damaged = batch.clone();
            damaged[at] ^= 1;
            let checked = BatchHeader::parse(&damaged).and_then(|it| it.check(&damaged).map(drop));
            assert!(checked.is_err(), "byte {at}");
        }
    }

    #[test]
    fn whatever_is_there_is_parsed_or_refused() {
        let batch = sample::batch(2, 5, 0);
        for len in 0..HEADER_BYTES {
            assert!(BatchHeader::parse(&batch[..len]).is_err());
        }
        let mut odd = batch.clone();
        odd[8..12].copy_from_slice(&(-5_i32).to_be_bytes());
        assert_eq!(BatchHeader::parse(&odd), Err(BatchFault::Numbers));
        odd[16] = 1;
        assert_eq!(BatchHeader::parse(&odd), Err(BatchFault::Magic(1)));
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!(header.check(&batch[..batch.len() - 1]), Err(BatchFault::Short));
        assert_eq!(times(&header, &batch[..=HEADER_BYTES]), []);
    }
}
