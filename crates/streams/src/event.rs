//! Single events of a batch, for faces that show them one by one: read out of batches that are not
//! compressed, and put together to one. Kafka's clients read and write batches themselves.

use bytes::Bytes;

use crate::batch::BatchHeader;
use crate::codec::{self, CodecError};

pub use longshore_engine::partition_of;

/// What one event takes beside its key, value and headers, at most.
const EVENT_OVERHEAD_BYTES: usize = 64;

/// A header of an event: its name, and its value unless it has none.
pub type EventHeader = (String, Option<Bytes>);

/// An event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Event {
    /// Its offset; of one that is to be appended, no matter.
    pub offset: u64,
    /// Its time, milliseconds since 1970.
    pub time: i64,
    /// What events that belong together share.
    pub key: Option<Bytes>,
    /// What it says; `None` for what Kafka calls a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<EventHeader>,
}

impl Event {
    /// Bytes of a batch that it takes, at most.
    pub fn len_bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let header = |(name, value): &EventHeader| name.len() + len(value) + 20;
        let headers: usize = self.headers.iter().map(header).sum();
        EVENT_OVERHEAD_BYTES + len(&self.key) + len(&self.value) + headers
    }
}

/// A batch of these events, in order, without a producer and not compressed.
pub fn batch_of(events: &[Event]) -> Vec<u8> {
    let base_time = events.first().map_or(0, |event| event.time);
    let newest_time = events.iter().map(|event| event.time).max().unwrap_or(base_time);
    let count = length(events.len());
    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes());
    checked.extend((count - 1).to_be_bytes());
    checked.extend(base_time.to_be_bytes());
    checked.extend(newest_time.to_be_bytes());
    checked.extend((-1_i64).to_be_bytes());
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(count.to_be_bytes());
    let mut record = Vec::new();
    for (index, event) in (0..).zip(events) {
        record.clear();
        record.push(0);
        put_varint(event.time.wrapping_sub(base_time), &mut record);
        put_varint(index, &mut record);
        put_bytes(event.key.as_deref(), &mut record);
        put_bytes(event.value.as_deref(), &mut record);
        put_varint(length(event.headers.len()).into(), &mut record);
        for (name, value) in &event.headers {
            put_bytes(Some(name.as_bytes()), &mut record);
            put_bytes(value.as_deref(), &mut record);
        }
        put_varint(length(record.len()).into(), &mut checked);
        checked.extend_from_slice(&record);
    }
    let mut batch = Vec::with_capacity(checked.len() + 21);
    batch.extend(0_i64.to_be_bytes());
    batch.extend((length(checked.len()) + 9).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// The events of a batch one after the other, up to one that is malformed.
#[derive(Clone, Debug)]
pub struct Events {
    header: BatchHeader,
    left: i32,
    rest: Bytes,
}

impl Iterator for Events {
    type Item = Result<Event, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let event = take_bytes(&mut self.rest).ok().flatten();
        let event = event.and_then(|event| event_of(&self.header, event));
        if event.is_none() {
            self.left = 0;
        }
        Some(event.ok_or_else(|| CodecError::Malformed("an event is malformed".to_owned())))
    }
}

/// The events of a batch, compressed or not. It is opened, so it may take a while.
pub fn open_events(header: &BatchHeader, batch: &Bytes) -> Result<Events, CodecError> {
    let payload = batch.slice_ref(header.payload(batch));
    let rest = if header.is_compressed() {
        codec::open(header.attributes, &payload)?.into_owned().into()
    } else {
        payload
    };
    Ok(Events { header: *header, left: header.events, rest })
}

/// The events of a batch that is not compressed; as many as are well formed.
pub fn events_of(header: &BatchHeader, batch: &Bytes) -> Vec<Event> {
    let (left, rest) = (header.events, batch.slice_ref(header.payload(batch)));
    Events { header: *header, left, rest }.map_while(Result::ok).collect()
}

fn event_of(header: &BatchHeader, mut rest: Bytes) -> Option<Event> {
    take(&mut rest, 1)?;
    let time = header.base_time.wrapping_add(varint(&mut rest)?);
    let delta = u64::try_from(varint(&mut rest)?).ok()?;
    let offset = header.first_offset().checked_add(delta)?;
    let (key, value) = (take_bytes(&mut rest).ok()?, take_bytes(&mut rest).ok()?);
    let count = varint(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = take_bytes(&mut rest).ok()??;
        let name = String::from_utf8_lossy(&name).into_owned();
        headers.push((name, take_bytes(&mut rest).ok()?));
    }
    Some(Event { offset, time, key, value, headers })
}

/// A length as it is written; what is longer is refused before, as no batch may be so long.
fn length(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

fn take(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    (rest.len() >= len).then(|| rest.split_to(len))
}

/// Bytes that do not go on as they should.
struct Malformed;

/// Bytes behind their length; `None` where that is -1.
fn take_bytes(rest: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    match varint(rest).ok_or(Malformed)? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| Malformed)?;
            take(rest, len).map(Some).ok_or(Malformed)
        }
    }
}

/// A zigzag varint.
fn varint(rest: &mut Bytes) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => put_varint(-1, out),
        Some(bytes) => {
            put_varint(length(bytes.len()).into(), out);
            out.extend_from_slice(bytes);
        }
    }
}

pub(crate) fn put_varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{HEADER_BYTES, place};

    fn events() -> Vec<Event> {
        let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let headers = vec![("a".to_owned(), bytes("1")), ("b".to_owned(), None)];
        vec![
            Event { offset: 70, time: 1000, key: bytes("k"), value: bytes("v"), headers },
            Event { offset: 71, time: 900, key: None, value: None, headers: Vec::new() },
            Event { offset: 72, time: 5000, value: bytes(""), ..Event::default() },
        ]
    }

    #[test]
    fn events_come_back_out_of_their_batch() {
        let mut batch = batch_of(&events());
        place(&mut batch, 70);
        let header = BatchHeader::parse(&batch).unwrap();
        header.check(&batch).unwrap();
        assert_eq!((header.end_offset(), header.newest_time, header.events), (73, 5000, 3));
        assert!(batch.len() <= HEADER_BYTES + events().iter().map(Event::len_bytes).sum::<usize>());
        assert_eq!(events_of(&header, &Bytes::from(batch)), events());
    }

    #[test]
    fn a_batch_that_is_cut_or_damaged_gives_what_is_whole() {
        let batch = batch_of(&events());
        let header = BatchHeader::parse(&batch).unwrap();
        for len in 0..batch.len() {
            let cut = Bytes::copy_from_slice(&batch[..len]);
            assert!(events_of(&header, &cut).len() < 3, "{len}");
        }
        for at in HEADER_BYTES..batch.len() {
            let mut damaged = batch.clone();
            damaged[at] ^= 0xff;
            events_of(&header, &damaged.into());
        }
    }
}
