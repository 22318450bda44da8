//! Requests of Kafka's clients, one of each kind, and batches of events.

use bytes::Bytes;
use longshore_streams::batch::HEADER_BYTES;
use longshore_streams::codec;
use longshore_streams::event::{Event, batch_of};

use crate::corpus::Named;

/// Numbers of requests and a version of each that has no tagged fields, then one that has.
const KINDS: [(i16, i16, i16); 14] = [
    (0, 3, 9),
    (1, 4, 12),
    (2, 1, 6),
    (3, 1, 9),
    (8, 2, 8),
    (9, 1, 8),
    (10, 0, 4),
    (11, 0, 6),
    (13, 0, 4),
    (14, 0, 4),
    (19, 2, 5),
    (22, 0, 2),
    (32, 1, 4),
    (60, 0, 0),
];

/// The inputs.
pub(super) fn inputs() -> Vec<Named> {
    let mut inputs: Vec<Named> = Vec::new();
    for (key, plain, flexible) in KINDS {
        inputs.push((format!("request-{key}-v{plain}"), request(key, plain, &[0; 40])));
        inputs.push((format!("request-{key}-v{flexible}"), request(key, flexible, &[1; 40])));
    }
    inputs.push(("api-versions".to_owned(), request(18, 3, b"\0\x02a\x02b\0")));
    inputs.push(("metadata".to_owned(), request(3, 1, b"\0\0\0\x01\0\x06orders")));
    inputs.push(("produce".to_owned(), request(0, 3, &produce())));
    inputs.push(("batch".to_owned(), [vec![1], batch()].concat()));
    let mut huge = batch();
    if let Some(count) = huge.get_mut(57..61) {
        count.copy_from_slice(&i32::MAX.to_be_bytes());
    }
    inputs.push(("nasty-events".to_owned(), [vec![1], huge].concat()));
    inputs.push(("nasty-count".to_owned(), request(3, 1, &[0x7f, 0xff, 0xff, 0xff])));
    inputs.push(("nasty-compact".to_owned(), request(3, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f])));
    inputs
}

/// What follows the header of a batch of two events, by each codec.
pub(super) fn batches() -> Vec<Named> {
    let event = || Event { key: Some(Bytes::from_static(b"key")), ..Event::default() };
    let batch = batch_of(&[event(), Event { value: Some(vec![7; 900].into()), ..event() }]);
    let payload = batch.get(HEADER_BYTES..).unwrap_or_default();
    let names = ["plain", "gzip", "snappy", "lz4", "zstd"];
    let closed = (0_u8..).zip(names).filter_map(|(codec, name)| {
        let closed = codec::close(codec.into(), payload.to_vec()).ok()?;
        Some((name.to_owned(), [vec![codec + 2 * 6], closed].concat()))
    });
    closed.collect()
}

fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(key.to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(7_i32.to_be_bytes());
    out.extend(b"\0\x04seed");
    out.extend_from_slice(body);
    out
}

fn produce() -> Vec<u8> {
    let batch = batch();
    let mut out = Vec::new();
    // No transaction, all acks, a second; one topic with one partition.
    out.extend((-1_i16).to_be_bytes());
    out.extend((-1_i16).to_be_bytes());
    out.extend(1000_i32.to_be_bytes());
    out.extend(1_i32.to_be_bytes());
    out.extend(b"\0\x06orders");
    out.extend(1_i32.to_be_bytes());
    out.extend(0_i32.to_be_bytes());
    out.extend(i32::try_from(batch.len()).unwrap_or_default().to_be_bytes());
    out.extend(batch);
    out
}

fn batch() -> Vec<u8> {
    let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let headers = vec![("trace".to_owned(), bytes("1")), ("none".to_owned(), None)];
    batch_of(&[
        Event { time: 1000, key: bytes("k"), value: bytes("v"), headers, ..Event::default() },
        Event { time: 900, ..Event::default() },
    ])
}
