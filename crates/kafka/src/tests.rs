//! Frames as they come off a socket: read, refused, answered, whatever they hold.

use bytes::Bytes;

use crate::api::{self, APIS};
use crate::input::Input;
use crate::message::metadata::put_versions;
use crate::output::Reply;
use crate::{Body, ParseError, Request, codes, is_unanswered};

/// Numbers without a pattern.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 33
    }

    /// Mostly small numbers, so that lengths and counts are often possible.
    fn byte(&mut self) -> u8 {
        match self.next() % 8 {
            0..4 => 0,
            4 => 1,
            5 => (self.next() % 8) as u8,
            6 => 0xff,
            _ => self.next() as u8,
        }
    }
}

fn header(key: i16, version: i16, flexible: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7_i32.to_be_bytes());
    frame.extend(2_i16.to_be_bytes());
    frame.extend(b"me");
    if flexible {
        frame.push(0);
    }
    frame
}

#[test]
fn any_bytes_are_a_request_or_refused() {
    let mut random = Random(1);
    let mut read = 0;
    for api in APIS {
        for version in api.min - 1..=api.max + 1 {
            for _ in 0..400 {
                let mut frame = header(api.key, version, version >= api.flexible);
                let body = random.next() % 60;
                frame.extend((0..body).map(|_| random.byte()));
                let request = Request::parse(frame.into());
                read += u32::from(request.is_ok());
            }
        }
    }
    assert!(read > 1000, "{read}: hardly a frame came through");
    for len in 0..12 {
        let frame: Vec<u8> = (0..len).map(|_| random.byte()).collect();
        drop(Request::parse(frame.into()));
    }
}

#[test]
fn a_count_is_refused_before_memory_is_reserved_for_it() {
    let mut frame = header(api::METADATA, 1, false);
    frame.extend(i32::MAX.to_be_bytes());
    assert!(matches!(Request::parse(frame.into()), Err(ParseError::Malformed { .. })));
    let mut frame = header(api::METADATA, 9, true);
    frame.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(Request::parse(frame.into()), Err(ParseError::Malformed { .. })));
    let mut many = Input::new(Bytes::from(vec![0; 1 << 20]), false);
    let count = many.nullable_array(Input::i8).unwrap().unwrap().len();
    assert_eq!(count, 0);
    let mut frame = vec![0, 4, 0, 0];
    frame.extend(vec![0; 1 << 19]);
    let refused = Input::new(frame.into(), false).array(Input::i8);
    assert!(refused.is_err(), "more elements than a request may have");
}

#[test]
fn what_is_not_spoken_is_refused_and_versions_are_told_all_the_same() {
    let refused = |key, version| Request::parse(header(key, version, false).into()).unwrap_err();
    assert_eq!(refused(4, 0), ParseError::Unsupported { key: 4, version: 0 });
    assert_eq!(refused(api::PRODUCE, 2), ParseError::Unsupported { key: 0, version: 2 });
    assert_eq!(refused(api::FETCH, 99), ParseError::Unsupported { key: 1, version: 99 });
    let request = Request::parse(header(api::API_VERSIONS, 99, false).into()).unwrap();
    assert!(matches!(request.body, Body::ApiVersions { known: false }));
}

/// librdkafka stops with "`ApiArrayCnt` -1 out of range" where one byte of this is another one.
#[test]
fn the_answer_about_versions_has_a_header_without_tags() {
    let mut reply = Reply::new(7, true, false);
    put_versions(&mut reply, 3, true);
    let frame = reply.finish().concat();
    let (length, rest) = frame.split_at(4);
    assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, rest.len());
    let head = [0, 0, 0, 7, 0, 0, APIS.len() as u8 + 1, 0, 0, 0, 0, 0, 11, 0];
    assert_eq!(rest[..head.len()], head);
    assert_eq!(rest[rest.len() - 5..], [0, 0, 0, 0, 0], "no throttling, no tags");
    let mut reply = Reply::new(7, false, false);
    put_versions(&mut reply, 99, false);
    let frame = reply.finish().concat();
    assert_eq!(frame[8..10], codes::UNSUPPORTED_VERSION.to_be_bytes());
}

#[test]
fn a_produce_request_is_read_as_it_was_written() {
    let mut frame = header(api::PRODUCE, 9, true);
    // No transaction, all acknowledge, 1 s; one topic "t" with partition 5 of three bytes.
    frame.extend([0, 0xff, 0xff, 0, 0, 3, 0xe8, 2, 2, b't', 2, 0, 0, 0, 5, 4, 1, 2, 3, 0, 0, 0]);
    let frame = Bytes::from(frame);
    let request = Request::parse(frame.clone()).unwrap();
    assert_eq!((request.header.client_id.as_str(), request.header.correlation_id), ("me", 7));
    let Body::Produce(produce) = request.body else { panic!("{:?}", request.body) };
    assert_eq!((produce.acks, produce.timeout_ms, produce.transactional_id), (-1, 1000, None));
    let partition = &produce.topics[0].partitions[0];
    assert_eq!((produce.topics[0].name.as_str(), partition.index), ("t", 5));
    let records = partition.records.as_ref().unwrap();
    assert_eq!(records[..], [1, 2, 3]);
    let place = records.as_ptr() as usize - frame.as_ptr() as usize;
    assert!(place < frame.len(), "they are not copied");
}

#[test]
fn large_pieces_of_an_answer_are_not_copied() {
    let piece = Bytes::from(vec![7; 10_000]);
    let mut reply = Reply::new(1, false, false);
    reply.bytes(&piece);
    reply.i8(9);
    let pieces = reply.finish();
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces[1].as_ptr(), piece.as_ptr());
    assert_eq!(pieces.concat()[..4], (4 + 4 + 10_000 + 1_u32).to_be_bytes());
}

#[test]
fn a_text_longer_than_two_bytes_can_say_is_refused_in_compact_lengths_too() {
    let text = |length: usize| {
        // One more than the length, seven bits at a time.
        let told = length + 1;
        let mut bytes =
            vec![(told & 0x7f) as u8 | 0x80, (told >> 7 & 0x7f) as u8 | 0x80, (told >> 14) as u8];
        bytes.extend(vec![b'x'; length]);
        Input::new(bytes.into(), true).nullable_string()
    };
    assert_eq!(text(32_767).unwrap().unwrap().len(), 32_767);
    assert!(text(32_768).is_err());
}

#[test]
fn the_beginning_of_a_request_to_produce_says_whether_it_is_answered() {
    for version in [3, 9] {
        let flexible = version >= api::find(api::PRODUCE).unwrap().flexible;
        let none = if flexible { vec![0] } else { vec![0xff, 0xff] };
        for acks in [-1_i16, 0, 1] {
            let mut frame = header(api::PRODUCE, version, flexible);
            frame.extend(&none);
            frame.extend(acks.to_be_bytes());
            assert_eq!(is_unanswered(frame.clone().into()), acks == 0);
            for length in 0..frame.len() {
                assert!(!is_unanswered(Bytes::copy_from_slice(&frame[..length])));
            }
        }
    }
    let mut other = header(api::FETCH, 4, false);
    other.extend([0xff, 0xff, 0, 0]);
    assert!(!is_unanswered(other.into()));
}
