//! The codec beside `amq-protocol`, which other people wrote: both read the same bytes to the same
//! things, write the same, and refuse the same. What is refused by one alone is named here.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io::Cursor;

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use bytes::{Bytes, BytesMut};
use longshore_amqp::codec::{
    ContentHeader, Frame, FrameKind, Method, read_frame, write_body, write_header, write_heartbeat,
    write_method,
};
use proptest::prelude::*;

/// Class, method and the types of the fields, from `RabbitMQ`'s own description of the protocol:
/// `1`, `2`, `4` and `8` for integers, `s` for a short and `l` for a long string, `t` for a table,
/// `b` for a bit. The other codec keeps nothing of what stands behind a `-`, which no server heeds.
#[rustfmt::skip]
const METHODS: &[(u16, u16, &str)] = &[
    (10, 10, "11tll"), (10, 11, "tsls"), (10, 20, "l"), (10, 21, "l"), (10, 30, "242"),
    (10, 31, "242"), (10, 40, "s-s-b"), (10, 41, "-s"), (10, 50, "2s22"), (10, 51, ""),
    (10, 60, "s"), (10, 61, ""), (10, 70, "ls"), (10, 71, ""), (20, 10, "-s"), (20, 11, "-l"),
    (20, 20, "b"), (20, 21, "b"), (20, 40, "2s22"), (20, 41, ""), (30, 10, "sbbbbb"),
    (30, 11, "-2"), (40, 10, "-2ssbbbbbt"), (40, 11, ""), (40, 20, "-2sbb"), (40, 21, ""),
    (40, 30, "-2sssbt"), (40, 31, ""), (40, 40, "-2sssbt"), (40, 51, ""), (50, 10, "-2sbbbbbt"),
    (50, 11, "s44"), (50, 20, "-2sssbt"), (50, 21, ""), (50, 30, "-2sb"), (50, 31, "4"),
    (50, 40, "-2sbbb"), (50, 41, "4"), (50, 50, "-2ssst"), (50, 51, ""), (60, 10, "-42b"),
    (60, 11, ""), (60, 20, "-2ssbbbbt"), (60, 21, "s"), (60, 30, "sb"), (60, 31, "s"),
    (60, 40, "-2ssbb"), (60, 50, "2sss"), (60, 60, "s8bss"), (60, 70, "-2sb"), (60, 71, "8bss4"),
    (60, 72, "-s"), (60, 80, "8b"), (60, 90, "8b"), (60, 100, "b"), (60, 110, "b"), (60, 111, ""),
    (60, 120, "8bb"), (85, 10, "b"), (85, 11, ""), (90, 10, ""), (90, 11, ""), (90, 20, ""),
    (90, 21, ""), (90, 30, ""), (90, 31, ""),
];

/// What values are made of; where it ends, everything is 0.
struct Chance(std::vec::IntoIter<u8>);

impl Chance {
    fn byte(&mut self) -> u8 {
        self.0.next().unwrap_or_default()
    }

    fn bytes(&mut self, count: usize, out: &mut Vec<u8>) {
        out.extend((0..count).map(|_| self.byte()));
    }

    /// ASCII, since the other codec takes no other strings.
    fn text(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 12);
        (0..length).map(|_| b'a' + self.byte() % 26).collect()
    }

    fn table(&mut self, depth: usize) -> Vec<u8> {
        let mut names: Vec<_> = (0..self.byte() % 4).map(|_| self.text()).collect();
        // As the other codec writes them.
        names.sort();
        names.dedup();
        let mut out = Vec::new();
        for name in names {
            short(&name, &mut out);
            self.value(depth, &mut out);
        }
        out
    }

    fn value(&mut self, depth: usize, out: &mut Vec<u8>) {
        let letters = if depth == 0 { &b"tbBsuIilfdDSTVx"[..] } else { b"tbBsuIilfdDSTVxAF" };
        let letter = letters[usize::from(self.byte()) % letters.len()];
        out.push(letter);
        match letter {
            b't' => out.push(self.byte() & 1),
            b'b' | b'B' => self.bytes(1, out),
            b's' | b'u' => self.bytes(2, out),
            b'I' | b'i' | b'f' => self.bytes(4, out),
            b'l' | b'd' | b'T' => self.bytes(8, out),
            b'D' => self.bytes(5, out),
            b'S' | b'x' => long(&self.text(), out),
            b'F' => long(&self.table(depth - 1), out),
            b'A' => {
                let mut items = Vec::new();
                for _ in 0..self.byte() % 4 {
                    self.value(depth - 1, &mut items);
                }
                long(&items, out);
            }
            _ => {}
        }
    }

    fn fields(&mut self, types: &str, out: &mut Vec<u8>) {
        let (mut bits, mut types) = (0, types.chars());
        while let Some(kind) = types.next() {
            if kind == '-' {
                let width = match types.next() {
                    Some('l' | '4') => 4,
                    Some('2') => 2,
                    _ => 1,
                };
                out.extend_from_slice(&[0_u8; 4][..width]);
                continue;
            }
            if kind != 'b' {
                bits = 0;
            }
            match kind {
                'b' => {
                    if bits % 8 == 0 {
                        out.push(0);
                    }
                    *out.last_mut().unwrap() |= (self.byte() & 1) << (bits % 8);
                    bits += 1;
                }
                's' => short(&self.text(), out),
                'l' => long(&self.text(), out),
                't' => long(&self.table(3), out),
                digits => self.bytes(digits.to_digit(10).unwrap() as usize, out),
            }
        }
    }
}

fn short(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn long(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&channel.to_be_bytes());
    long(payload, &mut out);
    out.push(206);
    out
}

/// A method's frame.
fn method(chance: &mut Chance) -> Vec<u8> {
    let (class, number, types) = METHODS[usize::from(chance.byte()) % METHODS.len()];
    let mut payload = [class.to_be_bytes(), number.to_be_bytes()].concat();
    chance.fields(types, &mut payload);
    frame(1, u16::from(chance.byte()), &payload)
}

/// A content header's frame, with some of the properties.
fn header(chance: &mut Chance) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0];
    chance.bytes(8, &mut payload);
    let flags = u16::from_be_bytes([chance.byte(), chance.byte()]) & !0b11;
    payload.extend_from_slice(&flags.to_be_bytes());
    let types = "sst11ssss8ssss";
    let there: String = types
        .chars()
        .enumerate()
        .filter(|(index, _)| flags & (1 << (15 - index)) != 0)
        .map(|(_, kind)| kind)
        .collect();
    chance.fields(&there, &mut payload);
    frame(2, 1, &payload)
}

/// What we make of a frame's payload.
#[derive(Debug, PartialEq)]
enum Ours {
    Method(Method),
    Header(Box<ContentHeader>),
    Body(Bytes),
    Heartbeat,
}

fn ours(bytes: &[u8]) -> Option<(u16, Ours)> {
    let mut buffer = BytesMut::from(bytes);
    let Frame { kind, channel, payload } = read_frame(&mut buffer, 1 << 20).ok()??;
    if !buffer.is_empty() {
        return None;
    }
    let read = match kind {
        FrameKind::Method => Ours::Method(Method::read(payload).ok()?),
        FrameKind::Header => Ours::Header(Box::new(ContentHeader::read(payload).ok()?)),
        FrameKind::Body => Ours::Body(payload),
        FrameKind::Heartbeat => Ours::Heartbeat,
    };
    Some((channel, read))
}

fn write(channel: u16, what: &Ours) -> Vec<u8> {
    let mut out = Vec::new();
    match what {
        Ours::Method(method) => write_method(&mut out, channel, method),
        Ours::Header(header) => {
            let properties = header.properties.to_bytes();
            write_header(&mut out, channel, header.body_bytes, &properties);
        }
        Ours::Body(body) => write_body(&mut out, channel, 1 << 20, body),
        Ours::Heartbeat => write_heartbeat(&mut out),
    }
    out
}

fn theirs(bytes: &[u8]) -> Option<AMQPFrame> {
    parse_frame(bytes).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, frame)| frame)
}

fn write_theirs(frame: &AMQPFrame) -> Vec<u8> {
    let mut buffer = vec![0; 64 << 10];
    let end = gen_frame(frame)(WriteContext::from(Cursor::new(&mut *buffer))).unwrap().position;
    buffer.truncate(end as usize);
    buffer
}

fn many() -> ProptestConfig {
    ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn what_one_codec_writes_the_other_reads(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        is_method: bool,
    ) {
        let mut chance = Chance(bytes.into_iter());
        let wire = if is_method { method(&mut chance) } else { header(&mut chance) };
        let (channel, read) = ours(&wire).expect("we read it");
        prop_assert_eq!(write(channel, &read), wire.clone(), "we write it as it was");
        let frame = theirs(&wire).expect("they read it");
        // They write a ticket of 1, whatever it was.
        prop_assume!(wire.get(7..11) != Some(&[0, 30, 0, 11]));
        prop_assert_eq!(write_theirs(&frame), wire, "they write it as it was");
    }

    #[test]
    fn both_refuse_the_same(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        is_method: bool,
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut: Option<usize>,
    ) {
        let mut chance = Chance(bytes.into_iter());
        let mut wire = if is_method { method(&mut chance) } else { header(&mut chance) };
        for (at, to) in changes {
            let at = at % wire.len();
            wire[at] = to;
        }
        if let Some(cut) = cut {
            wire.truncate(cut % wire.len());
        }
        match (ours(&wire), theirs(&wire)) {
            // A frame that begins as the protocol's header does is none of ours. A heartbeat is
            // written for channel 0, whatever it came for.
            (None, None | Some(AMQPFrame::ProtocolHeader(_)))
            | (Some((_, Ours::Heartbeat)), Some(_)) => {}
            // Properties that do not exist are flags that mean nothing; a class without content.
            (None, Some(AMQPFrame::Header(_, header)))
                if header.class_id != 60 || wire.get(20).is_some_and(|low| low & 0b11 != 0) => {}
            // Names that are no text are for the session to refuse, where it needs a text.
            (Some(_), None) => prop_assert!(std::str::from_utf8(&wire).is_err(), "{:?}", wire),
            (None, Some(frame)) => prop_assert!(false, "only they read {:?}", frame),
            (Some((channel, read)), Some(_)) => {
                let again = ours(&write(channel, &read)).expect("we read it again");
                prop_assert_eq!(format!("{:?}", (channel, read)), format!("{again:?}"));
            }
        }
    }
}

/// Every method, cut short at every byte, and with a byte too many.
#[test]
fn a_method_that_is_cut_or_goes_on_is_refused() {
    for (class, number, types) in METHODS {
        let mut chance =
            Chance((0..120_u8).map(|it| it.wrapping_mul(7)).collect::<Vec<_>>().into_iter());
        let mut payload = [class.to_be_bytes(), number.to_be_bytes()].concat();
        chance.fields(types, &mut payload);
        assert!(Method::read(payload.clone().into()).is_ok(), "{class}.{number}");
        for end in 0..payload.len() {
            let cut = Bytes::copy_from_slice(&payload[..end]);
            assert!(Method::read(cut).is_err(), "{class}.{number} cut at {end}");
        }
        payload.push(0);
        assert!(Method::read(payload.into()).is_err(), "{class}.{number} with a byte too many");
    }
}
