//! The events in a batch one by one, as far as keeping the newest of each key needs them: where
//! each stands, its key, whether it has a value. What else is in one is passed on as it is.

use crate::batch::{BatchFault, BatchHeader, HEADER_BYTES, varint};
use crate::codec::{self, CodecError};
use crate::event::put_varint;

/// An event within an opened batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Record<'a> {
    /// Its offset from that of the batch.
    pub(crate) delta: u64,
    /// Its time, milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) key: Option<&'a [u8]>,
    /// Without one it says that its key is gone.
    pub(crate) has_value: bool,
    attributes: u8,
    /// Its key and what follows that.
    rest: &'a [u8],
}

/// The events of a batch one after the other, up to one that is malformed or not in order.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    base_time: i64,
    last_delta: u64,
    /// The lowest offset that the next one may have.
    next_delta: u64,
    left: i32,
    rest: &'a [u8],
}

/// The events of a batch, of which `opened` follows the header.
pub(crate) fn records<'a>(header: &BatchHeader, opened: &'a [u8]) -> Records<'a> {
    let last_delta = header.last_offset_delta.cast_unsigned().into();
    let (base_time, left) = (header.base_time, header.events);
    Records { base_time, last_delta, next_delta: 0, left, rest: opened }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let odd = !std::mem::take(&mut self.rest).is_empty();
            return odd.then_some(Err(BatchFault::Numbers));
        }
        self.left -= 1;
        let record = self.record();
        if record.is_none() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(record.ok_or(BatchFault::Numbers))
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Option<Record<'a>> {
        let length = usize::try_from(varint(&mut self.rest)?).ok()?;
        let (mut event, after) = self.rest.split_at_checked(length)?;
        self.rest = after;
        let (attributes, after) = event.split_first()?;
        event = after;
        let time = self.base_time.wrapping_add(varint(&mut event)?);
        let delta = u64::try_from(varint(&mut event)?).ok()?;
        if !(self.next_delta..=self.last_delta).contains(&delta) {
            return None;
        }
        self.next_delta = delta + 1;
        let rest = event;
        let key = match varint(&mut event)? {
            -1 => None,
            length => {
                let (key, after) = event.split_at_checked(usize::try_from(length).ok()?)?;
                event = after;
                Some(key)
            }
        };
        let has_value = varint(&mut event)? >= 0;
        Some(Record { delta, time, key, has_value, attributes: *attributes, rest })
    }
}

impl Record<'_> {
    /// Writes it into a batch whose times count from `base_time`.
    pub(crate) fn put(&self, base_time: i64, out: &mut Vec<u8>) {
        let mut event = Vec::with_capacity(self.rest.len() + 21);
        event.push(self.attributes);
        put_varint(self.time.wrapping_sub(base_time), &mut event);
        put_varint(self.delta.cast_signed(), &mut event);
        event.extend_from_slice(self.rest);
        put_varint((event.len() as u64).cast_signed(), out);
        out.extend(event);
    }
}

/// Whether every event of a batch has a key, as it must have where only the newest of each is kept.
/// Opens the batch, which may have `bytes_max` opened and whose offsets have to go up by one, as
/// producers count them; to be asked of one that was checked.
pub fn all_have_keys(
    header: &BatchHeader,
    batch: &[u8],
    bytes_max: usize,
) -> Result<KeysSeen, CodecError> {
    let closed = batch.get(HEADER_BYTES..header.len_bytes).unwrap_or_default();
    let opened = codec::open_within(header.attributes, closed, bytes_max)?;
    let malformed = |fault: BatchFault| CodecError::Malformed(fault.to_string());
    for (delta, record) in (0..).zip(records(header, &opened)) {
        let record = record.map_err(malformed)?;
        if record.delta != delta {
            return Err(malformed(BatchFault::Numbers));
        }
        if record.key.is_none() {
            return Ok(KeysSeen { all: false, opened_bytes: opened.len() });
        }
    }
    Ok(KeysSeen { all: true, opened_bytes: opened.len() })
}

/// What was seen of the keys of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeysSeen {
    /// Every event has one.
    pub all: bool,
    /// Bytes that it has opened.
    pub opened_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, batch_of};

    #[test]
    fn events_whose_offsets_do_not_go_up_are_malformed() {
        let event = Event { key: Some(bytes::Bytes::from_static(b"k")), ..Event::default() };
        let batch = batch_of(&[event.clone(), event.clone(), event]);
        let header = BatchHeader::parse(&batch).unwrap();
        let all = KeysSeen { all: true, opened_bytes: batch.len() - HEADER_BYTES };
        assert_eq!(all_have_keys(&header, &batch, 1 << 20).unwrap(), all);
        // Each takes as many bytes: the offset is the fourth of one, as a zigzag number.
        let each = (batch.len() - HEADER_BYTES) / 3;
        for (second, third) in [(0, 4), (2, 2), (4, 2), (6, 8)] {
            let mut odd = batch.clone();
            odd[HEADER_BYTES + each + 3] = second;
            odd[HEADER_BYTES + 2 * each + 3] = third;
            assert!(all_have_keys(&header, &odd, 1 << 20).is_err(), "{second} {third}");
        }
    }
}
