//! Reading the fields of a message. Every length is bounded by the bytes that are there and every
//! count by a budget, before memory is reserved; nothing here panics.

use bytes::{Buf, Bytes};
use thiserror::Error;

/// Elements of all arrays of one request, at most.
const ELEMENTS_MAX: usize = 200_000;

/// Bytes of a text: what a length of two bytes can say, in compact lengths, too.
const STRING_BYTES_MAX: usize = 32_767;

/// Bytes that are not the message that they should be.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("malformed: {0} expected")]
pub struct Malformed(pub &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// What is left of a message.
#[derive(Clone, Debug)]
pub struct Input {
    bytes: Bytes,
    flexible: bool,
    elements_left: usize,
}

impl Input {
    /// Begins to read. A flexible message has compact lengths and tagged fields.
    pub fn new(bytes: Bytes, flexible: bool) -> Self {
        Self { bytes, flexible, elements_left: ELEMENTS_MAX }
    }

    /// From here on it is flexible or not.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let field = self.bytes.first_chunk::<N>().copied().ok_or(Malformed("more bytes"))?;
        self.bytes.advance(N);
        Ok(field)
    }

    fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.bytes.len() {
            return Err(Malformed("more bytes"));
        }
        Ok(self.bytes.split_to(len))
    }

    /// A byte.
    pub fn i8(&mut self) -> Result<i8> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// Two bytes.
    pub fn i16(&mut self) -> Result<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// Four bytes.
    pub fn i32(&mut self) -> Result<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// A truth value.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Result<[u8; 16]> {
        self.fixed()
    }

    /// An unsigned variable-length number.
    fn varint(&mut self) -> Result<usize> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value as usize);
            }
        }
        Err(Malformed("a variable-length number"))
    }

    /// A length: -1 is none, and in a flexible message one more than the length is written.
    fn length(&mut self, wide: bool) -> Result<Option<usize>> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1));
        }
        let length = if wide { self.i32()? } else { i32::from(self.i16()?) };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).map_err(|_| Malformed("a length"))
    }

    /// Text, if it is there.
    pub fn nullable_string(&mut self) -> Result<Option<String>> {
        let Some(length) = self.length(false)? else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(Malformed("a shorter text"));
        }
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Malformed("UTF-8 text"))?;
        Ok(Some(text.to_owned()))
    }

    /// Text.
    pub fn string(&mut self) -> Result<String> {
        self.nullable_string()?.ok_or(Malformed("a text"))
    }

    /// Bytes, if they are there; they share the memory of the message.
    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>> {
        let Some(length) = self.length(true)? else { return Ok(None) };
        self.take(length).map(Some)
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<Bytes> {
        self.nullable_bytes()?.ok_or(Malformed("bytes"))
    }

    /// An array, if it is there.
    pub fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.length(true)? else { return Ok(None) };
        // Every element takes a byte at least.
        if count > self.bytes.len() {
            return Err(Malformed("an array within the bytes that follow"));
        }
        let left = self.elements_left.checked_sub(count);
        self.elements_left = left.ok_or(Malformed("fewer elements"))?;
        let mut elements = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array.
    pub fn array<T>(&mut self, element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.nullable_array(element)?.ok_or(Malformed("an array"))
    }

    /// The end of a structure: tagged fields, all of which are passed over.
    pub fn tags(&mut self) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Ok(())
    }
}
