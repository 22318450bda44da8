//! What waits to be written to the peer: frames in order, large bodies as they are.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::codec::{self, Method};

/// From here on a body is not copied.
const BORROWED_BYTES_MIN: usize = 16 << 10;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub struct Output {
    ready: VecDeque<Bytes>,
    open: Vec<u8>,
    bytes: usize,
}

impl Output {
    /// How many bytes wait, those that were taken and not given back excluded.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The next bytes to write, in order; what was returned is no longer here.
    pub fn take(&mut self) -> Option<Bytes> {
        let next = self
            .ready
            .pop_front()
            .or_else(|| (!self.open.is_empty()).then(|| std::mem::take(&mut self.open).into()))?;
        self.bytes -= next.len();
        Some(next)
    }

    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.open.len();
        write(&mut self.open);
        self.bytes += self.open.len() - before;
    }

    /// Adds the protocol header.
    pub(crate) fn protocol_header(&mut self) {
        self.add(|out| out.extend_from_slice(codec::PROTOCOL_HEADER));
    }

    /// Adds a method.
    pub(crate) fn method(&mut self, channel: u16, method: &Method) {
        self.add(|out| codec::write_method(out, channel, method));
    }

    /// Adds a sign of life.
    pub(crate) fn heartbeat(&mut self) {
        self.add(codec::write_heartbeat);
    }

    /// Adds a content header and a body.
    pub(crate) fn content(
        &mut self,
        channel: u16,
        frame_max: usize,
        properties: &[u8],
        body: &Bytes,
    ) {
        self.add(|out| codec::write_header(out, channel, body.len() as u64, properties));
        if body.len() < BORROWED_BYTES_MIN {
            return self.add(|out| codec::write_body(out, channel, frame_max, body));
        }
        let (mut rest, part_max) = (body.clone(), frame_max - codec::EMPTY_FRAME_BYTES);
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(part_max));
            self.add(|out| codec::write_body_head(out, channel, part.len()));
            self.ready.push_back(std::mem::take(&mut self.open).into());
            self.bytes += part.len();
            self.ready.push_back(part);
            self.add(codec::write_end);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::codec::{FrameKind, read_frame};

    #[test]
    fn a_large_body_is_cut_into_frames_and_not_copied() {
        let mut output = Output::default();
        let body = Bytes::from(vec![7; 3 * BORROWED_BYTES_MIN]);
        output.content(1, 20_000, &[0, 0], &body);
        output.content(1, 20_000, &[0, 0], &Bytes::from_static(b"small"));
        let (mut bytes, mut length) = (BytesMut::new(), output.len());
        while let Some(chunk) = output.take() {
            length -= chunk.len();
            assert_eq!(output.len(), length);
            bytes.extend_from_slice(&chunk);
        }
        let mut read = Vec::new();
        while let Some(frame) = read_frame(&mut bytes, 20_000).unwrap() {
            if frame.kind == FrameKind::Body {
                read.extend_from_slice(&frame.payload);
            }
        }
        assert_eq!(read, [&body[..], b"small"].concat());
    }
}
