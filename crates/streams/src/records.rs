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

/// The events of a batch, of which `opened` follows the header.
pub(crate) fn records<'a>(
    header: &BatchHeader,
    opened: &'a [u8],
) -> Result<Vec<Record<'a>>, BatchFault> {
    let mut rest = opened;
    // Each takes seven bytes at least.
    let count = header.events.cast_unsigned() as usize;
    let mut found = Vec::with_capacity(count.min(opened.len() / 7 + 1));
    for _ in 0..count {
        found.push(record(header, &mut rest).ok_or(BatchFault::Numbers)?);
    }
    if rest.is_empty() { Ok(found) } else { Err(BatchFault::Numbers) }
}

fn record<'a>(header: &BatchHeader, rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let (mut event, after) = rest.split_at_checked(length)?;
    *rest = after;
    let (attributes, after) = event.split_first()?;
    event = after;
    let time = header.base_time.wrapping_add(varint(&mut event)?);
    let delta = u64::try_from(varint(&mut event)?).ok()?;
    if delta > u64::from(header.last_offset_delta.cast_unsigned()) {
        return None;
    }
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
/// Opens the batch; to be asked of one that was checked.
pub fn all_have_keys(header: &BatchHeader, batch: &[u8]) -> Result<bool, CodecError> {
    let closed = batch.get(HEADER_BYTES..header.len_bytes).unwrap_or_default();
    let opened = codec::open(header.attributes, closed)?;
    let records = records(header, &opened);
    let records = records.map_err(|fault| CodecError::Malformed(fault.to_string()))?;
    Ok(records.iter().all(|record| record.key.is_some()))
}
