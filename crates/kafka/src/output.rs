//! Writing the frame of an answer. Large pieces are kept as they are, not copied.

use bytes::Bytes;

/// Pieces from this size on are not copied.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// The frame of an answer.
#[derive(Debug)]
pub struct Reply {
    buffer: Vec<u8>,
    pieces: Vec<Bytes>,
    flexible: bool,
}

impl Reply {
    /// Begins an answer. `flexible` says whether its body is; the header of an answer about
    /// versions never is.
    pub fn new(correlation_id: i32, flexible: bool, flexible_header: bool) -> Self {
        let mut reply = Self { buffer: Vec::with_capacity(256), pieces: Vec::new(), flexible };
        reply.i32(0);
        reply.i32(correlation_id);
        if flexible_header {
            reply.buffer.push(0);
        }
        reply
    }

    /// The frame with its length before it, in pieces.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.cut();
        let len: usize = self.pieces.iter().map(Bytes::len).sum();
        // No answer is as long as what is in memory can be.
        let length = i32::try_from(len - 4).unwrap_or(i32::MAX);
        if let Some(first) = self.pieces.first_mut() {
            let mut head = first.to_vec();
            if let Some(field) = head.first_chunk_mut::<4>() {
                *field = length.to_be_bytes();
            }
            *first = head.into();
        }
        self.pieces
    }

    fn cut(&mut self) {
        if !self.buffer.is_empty() {
            self.pieces.push(std::mem::take(&mut self.buffer).into());
        }
    }

    /// A byte.
    pub fn i8(&mut self, value: i8) {
        self.buffer.extend(value.to_be_bytes());
    }

    /// Two bytes.
    pub fn i16(&mut self, value: i16) {
        self.buffer.extend(value.to_be_bytes());
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) {
        self.buffer.extend(value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.buffer.extend(value.to_be_bytes());
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.buffer.push(value.into());
    }

    /// A UUID.
    pub fn uuid(&mut self, value: [u8; 16]) {
        self.buffer.extend(value);
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    fn length(&mut self, length: Option<usize>, wide: bool) {
        if self.flexible {
            self.varint(length.map_or(0, |length| length + 1));
        } else if wide {
            self.i32(length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX)));
        } else {
            self.i16(length.map_or(-1, |length| i16::try_from(length).unwrap_or(i16::MAX)));
        }
    }

    /// Text; what is longer than a length can say is cut.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        let text = text.map(|text| {
            let mut end = text.len().min(i16::MAX as usize);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.get(..end).unwrap_or_default()
        });
        self.length(text.map(str::len), false);
        self.buffer.extend(text.unwrap_or_default().as_bytes());
    }

    /// Text.
    pub fn string(&mut self, text: &str) {
        self.nullable_string(Some(text));
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &Bytes) {
        self.length(Some(bytes.len()), true);
        if bytes.len() < PIECE_BYTES_MIN {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.cut();
            self.pieces.push(bytes.clone());
        }
    }

    /// An array.
    pub fn array<T>(
        &mut self,
        elements: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        let elements = elements.into_iter();
        self.length(Some(elements.len()), true);
        for value in elements {
            element(self, value);
        }
    }

    /// No array.
    pub fn no_array(&mut self) {
        self.length(None, true);
    }

    /// The end of a structure.
    pub fn tags(&mut self) {
        if self.flexible {
            self.buffer.push(0);
        }
    }
}
