//! The elementary types: integers, strings and packed bits, read with their bounds checked.

use std::fmt;

use bytes::{Buf, Bytes};

/// Why bytes are no method, header or table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Malformed {
    /// They end in the middle of something.
    CutShort,
    /// Something follows that does not belong there.
    Trailing,
    /// No method has this class and this number.
    MethodUnknown {
        /// The class.
        class: u16,
        /// The method.
        method: u16,
    },
    /// Content of a class that has none.
    ClassUnknown(u16),
    /// No type of a table's field has this letter.
    FieldTypeUnknown(u8),
    /// Tables and lists in tables in tables, deeper than may be.
    TooDeep,
    /// A table with more fields than may be.
    TooManyFields,
    /// Property flags that mean nothing.
    FlagsUnknown(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("it ends too early"),
            Self::Trailing => f.write_str("something follows its end"),
            Self::MethodUnknown { class, method } => write!(f, "unknown method {class}.{method}"),
            Self::ClassUnknown(class) => write!(f, "class {class} has no content"),
            Self::FieldTypeUnknown(kind) => write!(f, "unknown field type {kind}"),
            Self::TooDeep => f.write_str("its tables are nested too deep"),
            Self::TooManyFields => f.write_str("it has too many fields"),
            Self::FlagsUnknown(flags) => write!(f, "unknown property flags {flags:#06x}"),
        }
    }
}

/// A string of at most 255 bytes. Mostly UTF-8, but nothing relies on it.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Short(Bytes);

impl Short {
    /// The longest, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// The string, unless it is too long.
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= Self::BYTES_MAX).then_some(Self(bytes))
    }

    /// As much of a text as fits.
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(Self::BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(Bytes::copy_from_slice(text.as_bytes().get(..end).unwrap_or_default()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// Reads elementary types one after the other, without copying.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    /// The byte whose bits are being read, and the next of them; 0 for none.
    bits: u8,
    bit: u8,
}

impl Reader {
    /// A reader of all of these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, bits: 0, bit: 0 }
    }

    fn need(&mut self, count: usize) -> Result<(), Malformed> {
        self.bit = 0;
        if self.bytes.remaining() < count { Err(Malformed::CutShort) } else { Ok(()) }
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.bytes.get_u8())
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.need(2)?;
        Ok(self.bytes.get_u16())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.need(4)?;
        Ok(self.bytes.get_u32())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.need(8)?;
        Ok(self.bytes.get_u64())
    }

    /// The next bit of those that are packed into bytes, the lowest first.
    pub fn bit(&mut self) -> Result<bool, Malformed> {
        if self.bit == 0 {
            self.bits = self.u8()?;
            self.bit = 1;
        }
        let value = self.bits & self.bit != 0;
        self.bit <<= 1;
        Ok(value)
    }

    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Result<Bytes, Malformed> {
        self.need(count)?;
        Ok(self.bytes.split_to(count))
    }

    /// A string with a length of one byte.
    pub fn short(&mut self) -> Result<Short, Malformed> {
        let length = self.u8()?;
        self.take(usize::from(length)).map(Short)
    }

    /// A string with a length of four bytes.
    pub fn long(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Refuses what is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Writes elementary types one after the other.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The next bit of the last byte; 0 for none.
    bit: u8,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, bit: 0 }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bit = 0;
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn bit(&mut self, value: bool) {
        if self.bit == 0 {
            self.out.push(0);
            self.bit = 1;
        }
        if value && let Some(last) = self.out.last_mut() {
            *last |= self.bit;
        }
        self.bit <<= 1;
    }

    pub(super) fn short(&mut self, value: &Short) {
        self.bytes(&[value.0.len() as u8]);
        self.bytes(&value.0);
    }

    pub(super) fn long(&mut self, value: &[u8]) {
        self.bytes(&(value.len() as u32).to_be_bytes());
        self.bytes(value);
    }
}

/// A type that methods have as a field.
pub(super) trait Field: Sized {
    fn read(reader: &mut Reader) -> Result<Self, Malformed>;
    fn write(&self, writer: &mut Writer<'_>);
}

macro_rules! integer_field {
    ($($type:ident),*) => { $(
        impl Field for $type {
            fn read(reader: &mut Reader) -> Result<Self, Malformed> {
                reader.$type()
            }
            fn write(&self, writer: &mut Writer<'_>) {
                writer.bytes(&self.to_be_bytes());
            }
        }
    )* };
}

integer_field!(u8, u16, u32, u64);

impl Field for bool {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        reader.bit()
    }
    fn write(&self, writer: &mut Writer<'_>) {
        writer.bit(*self);
    }
}

impl Field for Short {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        reader.short()
    }
    fn write(&self, writer: &mut Writer<'_>) {
        writer.short(self);
    }
}

impl Field for Bytes {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        reader.long()
    }
    fn write(&self, writer: &mut Writer<'_>) {
        writer.long(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_share_a_byte_and_nothing_else_does() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for bit in [true, false, true] {
            writer.bit(bit);
        }
        writer.bytes(&[9]);
        for _ in 0..9 {
            writer.bit(true);
        }
        assert_eq!(out, [0b101, 9, 0xff, 1]);
        let mut reader = Reader::new(out.into());
        let bits: Vec<_> = (0..3).map(|_| reader.bit().unwrap()).collect();
        assert_eq!(bits, [true, false, true]);
        assert_eq!(reader.u8(), Ok(9));
        assert!((0..9).all(|_| reader.bit() == Ok(true)));
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(reader.u8(), Err(Malformed::CutShort));
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        let text = "\u{fc}".repeat(200);
        assert_eq!(Short::cut(&text).as_bytes().len(), 254);
        assert_eq!(Short::cut("short").as_text(), Some("short"));
        assert!(Short::new(vec![0; 256]).is_none());
    }
}
