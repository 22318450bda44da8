//! Frames: what a connection's bytes are cut into.
//!
//! ```text
//! kind 1 | channel 2 | payload length 4 | payload | 206
//! ```

use bytes::{Buf, Bytes, BytesMut};

use super::content::write_head;
use super::method::Method;

/// What a client sends first.
pub const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Bytes of a frame that has no payload.
pub const EMPTY_FRAME_BYTES: usize = 8;

const HEAD_BYTES: usize = 7;
const END: u8 = 206;

/// What a frame carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// A method.
    Method = 1,
    /// A content header.
    Header = 2,
    /// A part of a body.
    Body = 3,
    /// A sign of life.
    Heartbeat = 8,
}

impl FrameKind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Method,
            2 => Self::Header,
            3 => Self::Body,
            8 => Self::Heartbeat,
            _ => return None,
        })
    }
}

/// A frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// Its channel.
    pub channel: u16,
    /// What is in it.
    pub payload: Bytes,
}

/// Why bytes are no frame. The connection cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// There is no frame of this kind.
    KindUnknown(u8),
    /// Its payload is longer than what was agreed on.
    TooLarge {
        /// Bytes of its payload.
        payload_bytes: usize,
        /// How many it may have.
        allowed: usize,
    },
    /// It does not end with 206.
    EndMissing(u8),
}

/// Cuts the next frame off `bytes`, if all of it is there. Frames of up to `frame_max` bytes are
/// taken, and 8 more, which some clients do not count. A frame that is too large is refused by
/// its head.
pub fn read_frame(bytes: &mut BytesMut, frame_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [number, channel @ .., l0, l1, l2, l3] = *head;
    let Some(kind) = FrameKind::of(number) else { return Err(FrameError::KindUnknown(number)) };
    let channel = u16::from_be_bytes(channel);
    let payload_bytes = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if payload_bytes > frame_max {
        let allowed = frame_max.saturating_sub(EMPTY_FRAME_BYTES);
        return Err(FrameError::TooLarge { payload_bytes, allowed });
    }
    let Some(end) = bytes.get(HEAD_BYTES + payload_bytes).copied() else { return Ok(None) };
    if end != END {
        return Err(FrameError::EndMissing(end));
    }
    bytes.advance(HEAD_BYTES);
    let payload = bytes.split_to(payload_bytes).freeze();
    bytes.advance(1);
    Ok(Some(Frame { kind, channel, payload }))
}

/// Adds a frame whose payload `write` adds.
fn write_frame(out: &mut Vec<u8>, kind: FrameKind, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind as u8);
    out.extend_from_slice(&channel.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - length_at - 4) as u32;
    if let Some(place) = out.get_mut(length_at..length_at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    out.push(END);
}

/// Adds a method.
pub fn write_method(out: &mut Vec<u8>, channel: u16, method: &Method) {
    write_frame(out, FrameKind::Method, channel, |out| method.write(out));
}

/// Adds a content header with properties that are bytes already, their flags first.
pub fn write_header(out: &mut Vec<u8>, channel: u16, body_bytes: u64, properties: &[u8]) {
    write_frame(out, FrameKind::Header, channel, |out| {
        write_head(out, body_bytes);
        out.extend_from_slice(properties);
    });
}

/// Adds a body, in as many frames of at most `frame_max` bytes as it takes.
pub fn write_body(out: &mut Vec<u8>, channel: u16, frame_max: usize, body: &[u8]) {
    for part in body.chunks(frame_max.saturating_sub(EMPTY_FRAME_BYTES).max(1)) {
        write_frame(out, FrameKind::Body, channel, |out| out.extend_from_slice(part));
    }
}

/// Adds the head of a body's frame; the body and [`write_end`] follow.
pub(crate) fn write_body_head(out: &mut Vec<u8>, channel: u16, payload_bytes: usize) {
    out.push(FrameKind::Body as u8);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(payload_bytes as u32).to_be_bytes());
}

/// Adds the end of a frame.
pub(crate) fn write_end(out: &mut Vec<u8>) {
    out.push(END);
}

/// Adds a sign of life.
pub fn write_heartbeat(out: &mut Vec<u8>) {
    write_frame(out, FrameKind::Heartbeat, 0, |_| {});
}

#[cfg(test)]
mod tests {
    use super::super::methods::ChannelOpen;
    use super::*;

    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        write_method(&mut out, 7, &ChannelOpen::default().into());
        write_header(&mut out, 7, 10, &[0, 0]);
        write_body(&mut out, 7, 12, b"0123456789");
        write_heartbeat(&mut out);
        out
    }

    #[test]
    fn frames_come_back_whatever_pieces_they_arrive_in() {
        let out = written();
        for step in 1..out.len() {
            let (mut bytes, mut kinds) = (BytesMut::new(), Vec::new());
            let mut body = Vec::new();
            for piece in out.chunks(step) {
                bytes.extend_from_slice(piece);
                while let Some(frame) = read_frame(&mut bytes, 4096).unwrap() {
                    if frame.kind == FrameKind::Body {
                        assert!(frame.payload.len() <= 4);
                        body.extend_from_slice(&frame.payload);
                    }
                    kinds.push(frame.kind as u8);
                }
            }
            assert_eq!(kinds, [1, 2, 3, 3, 3, 8]);
            assert_eq!(body, b"0123456789");
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_by_its_head() {
        let read = |bytes: &[u8]| read_frame(&mut BytesMut::from(bytes), 4096);
        assert_eq!(read(&[4, 0, 0, 0, 0, 0, 0]), Err(FrameError::KindUnknown(4)));
        let too_large = FrameError::TooLarge { payload_bytes: 0xffff_ffff, allowed: 4088 };
        assert_eq!(read(&[1, 0, 0, 0xff, 0xff, 0xff, 0xff]), Err(too_large));
        assert_eq!(read(&[8, 0, 0, 0, 0, 0, 0, 205]), Err(FrameError::EndMissing(205)));
        assert_eq!(read(&[8, 0, 0, 0, 0, 0, 0]), Ok(None));
    }
}
