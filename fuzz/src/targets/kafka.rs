//! What a Kafka client sends: the frame of a request, or a batch of events. The first byte of an
//! input says which.

use bytes::Bytes;
use longshore_kafka::Request;
use longshore_streams::batch::{BatchHeader, times};
use longshore_streams::event::events_of;

use crate::novelty::{saw, sound};

/// Reads a frame, or a batch with its events.
pub fn target(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    if which % 2 == 0 {
        return request(Bytes::copy_from_slice(bytes));
    }
    match BatchHeader::parse(bytes) {
        Ok(header) => batch(&header, bytes),
        Err(fault) => saw((1, fault.to_string().len())),
    }
}

fn request(frame: Bytes) {
    match Request::parse(frame) {
        Ok(request) => {
            saw((2, request.header.key, request.header.version));
            sound();
        }
        Err(error) => saw((3, error.to_string())),
    }
}

/// What is read of a batch whose checksum is sound need not be so inside: nobody looked.
fn batch(header: &BatchHeader, bytes: &[u8]) {
    assert!(header.end_offset() > header.first_offset(), "a batch has a length");
    let whole = header.check(bytes).is_ok();
    let events = events_of(header, &Bytes::copy_from_slice(bytes));
    assert!(events.len() <= bytes.len(), "an event takes a byte at least");
    assert!(times(header, bytes).len() <= bytes.len());
    saw((4, whole, events.len().min(8), header.is_compressed()));
    if whole {
        sound();
    }
}
