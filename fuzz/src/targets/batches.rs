//! What a producer compressed, as it is opened to look at its keys. The first byte of an input says
//! with which codec, and how many events there are said to be; the rest is what follows the header
//! of a batch.

use bytes::Bytes;
use longshore_streams::batch::{BatchHeader, HEADER_BYTES};
use longshore_streams::event::{Event, batch_of, open_events};
use longshore_streams::{all_have_keys, codec};

use crate::novelty::{saw, sound};

/// What a batch may have opened here.
const OPENED_BYTES_MAX: usize = 1 << 20;

/// Opens it within bounds, and reads its events where it is no bomb.
pub fn target(input: &[u8]) {
    let Some((which, closed)) = input.split_first() else { return };
    let attributes = i16::from(which % 6);
    match codec::open_within(attributes, closed, OPENED_BYTES_MAX) {
        Ok(opened) => {
            assert!(attributes == 0 || opened.len() <= OPENED_BYTES_MAX, "it has an end");
            saw((1, attributes, opened.len().min(64)));
            sound();
        }
        Err(error) => return saw((2, attributes, error.to_string())),
    }
    let plain = batch_of(&[Event::default()]);
    let batch = Bytes::from([plain.get(..HEADER_BYTES).unwrap_or_default(), closed].concat());
    let Ok(header) = BatchHeader::parse(&batch) else { return };
    let events = i32::from(which / 6);
    let last_offset_delta = (events - 1).max(0);
    let header =
        BatchHeader { attributes, events, last_offset_delta, len_bytes: batch.len(), ..header };
    let keys = all_have_keys(&header, &batch, OPENED_BYTES_MAX);
    let read = open_events(&header, &batch).map(|all| all.flatten().count());
    assert!(read.as_ref().is_ok_and(|read| *read <= usize::from(which / 6)), "{read:?}");
    saw((3, keys.map(|seen| seen.all).map_err(|error| error.to_string()), read.ok()));
}
