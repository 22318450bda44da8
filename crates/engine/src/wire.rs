//! How values become bytes in records and in the state: LEB128 integers, counted strings, fields
//! in order. Decoding bounds every length by the bytes that are there, and never panics.

use std::sync::Arc;

use bytes::Bytes;

/// Bytes that are not a value of the wanted type. `at` is the offset where decoding stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed value: {what} at byte {at}")]
pub struct Malformed {
    /// What was expected there.
    pub what: &'static str,
    /// Offset in the decoded value.
    pub at: usize,
}

/// A cursor over the bytes of one value. Byte strings taken from it share its memory.
#[derive(Debug)]
pub struct Input<'a> {
    source: &'a Bytes,
    at: usize,
}

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(source: &'a Bytes) -> Self {
        Self { source, at: 0 }
    }

    /// Bytes not taken yet.
    pub fn remaining(&self) -> usize {
        self.source.len() - self.at
    }

    /// The error for an unexpected `what` here.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    /// Takes `count` bytes, sharing the source's memory.
    pub fn bytes(&mut self, count: usize) -> Result<Bytes, Malformed> {
        Ok(self.source.slice(self.advance(count)?))
    }

    fn advance(&mut self, count: usize) -> Result<std::ops::Range<usize>, Malformed> {
        if count > self.remaining() {
            return Err(self.malformed("more bytes"));
        }
        let range = self.at..self.at + count;
        self.at += count;
        Ok(range)
    }

    fn slice(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let range = self.advance(count)?;
        self.source.get(range).ok_or_else(|| self.malformed("more bytes"))
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self.slice(1)?.first().copied();
        byte.ok_or_else(|| self.malformed("a byte"))
    }
}

/// A value with one encoding.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes one value.
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed>;

    /// The encoding as a value of the ordered map.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        self.put(&mut out);
        out.into()
    }

    /// Decodes a whole value: nothing may be left over.
    fn from_bytes(source: &Bytes) -> Result<Self, Malformed> {
        let mut input = Input::new(source);
        let value = Self::take(&mut input)?;
        if input.remaining() > 0 {
            return Err(input.malformed("the end of the value"));
        }
        Ok(value)
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = input.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(input.malformed("an integer of at most 64 bits"))
    }
}

macro_rules! narrow_integers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                u64::from(*self).put(out);
            }

            fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
                let value = u64::take(input)?;
                value.try_into().map_err(|_| input.malformed("a smaller integer"))
            }
        }
    )*};
}

narrow_integers!(u8, u16, u32);

/// Folded, so that small numbers of either sign take few bytes: 0, -1, 1, -2 become 0, 1, 2, 3.
impl Wire for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let folded = u64::take(input)?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(input.malformed("a truth value")),
        }
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let slice = input.slice(N)?;
        slice.try_into().map_err(|_| input.malformed("a fixed number of bytes"))
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let count = take_count(input)?;
        input.bytes(count)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let count = take_count(input)?;
        let bytes = input.slice(count)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(input.malformed("UTF-8 text")),
        }
    }
}

/// Text that many values share.
impl Wire for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        String::take(input).map(Self::from)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        match input.byte()? {
            0 => Ok(None),
            1 => T::take(input).map(Some),
            _ => Err(input.malformed("an optional value")),
        }
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        T::take(input).map(Self::new)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for value in self {
            value.put(out);
        }
    }

    /// Every element takes at least one byte, so the bytes left bound the count; memory grows
    /// with what was really decoded.
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let count = take_count(input)?;
        let mut values = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            values.push(T::take(input)?);
        }
        Ok(values)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

fn take_count(input: &mut Input<'_>) -> Result<usize, Malformed> {
    let count = u64::take(input)?;
    match usize::try_from(count) {
        Ok(count) if count <= input.remaining() => Ok(count),
        _ => Err(input.malformed("a count within the bytes that follow")),
    }
}

/// Declares a structure whose encoding is its fields in order.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::put(&self.$field, out);)*
            }

            fn take(input: &mut $crate::wire::Input<'_>) -> Result<Self, $crate::wire::Malformed> {
                Ok(Self { $($field: $crate::wire::Wire::take(input)?,)* })
            }
        }
    };
}

/// Declares an enumeration whose encoding is the variant's permanent number, then its fields.
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $number:literal => $variant:ident
            $({ $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant $({ $($(#[$field_meta])* $field: $type,)* })?,)*
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field,)* })? => {
                        out.push($number);
                        $($($crate::wire::Wire::put($field, out);)*)?
                    })*
                }
            }

            fn take(input: &mut $crate::wire::Input<'_>) -> Result<Self, $crate::wire::Malformed> {
                match input.byte()? {
                    $($number => Ok(Self::$variant $({
                        $($field: $crate::wire::Wire::take(input)?,)*
                    })?),)*
                    _ => Err(input.malformed(concat!("a known number of ", stringify!($name)))),
                }
            }
        }
    };
}

pub(crate) use {wire_enum, wire_struct};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_come_back(value: u64) {
            prop_assert_eq!(u64::from_bytes(&value.to_bytes()), Ok(value));
        }

        #[test]
        fn signed_integers_come_back(value: i64) {
            prop_assert_eq!(i64::from_bytes(&value.to_bytes()), Ok(value));
        }

        #[test]
        fn compounds_come_back(value: Vec<(String, u32)>) {
            let value: Vec<(String, Option<u32>)> =
                value.into_iter().map(|(text, n)| (text, Some(n))).collect();
            prop_assert_eq!(Vec::from_bytes(&value.to_bytes()), Ok(value));
        }

        #[test]
        fn anything_decodes_or_is_refused(bytes: Vec<u8>) {
            let _ = Vec::<(String, Option<u64>)>::from_bytes(&bytes.into());
        }
    }

    #[test]
    fn counts_beyond_the_input_are_refused() {
        let huge = u64::MAX.to_bytes();
        assert!(Bytes::from_bytes(&huge).is_err());
        assert!(Vec::<u64>::from_bytes(&huge).is_err());
        assert!(u64::from_bytes(&Bytes::from_static(&[0xff; 10])).is_err());
    }

    #[test]
    fn small_numbers_of_either_sign_take_one_byte() {
        for (value, encoded) in [(0_i64, 0), (-1, 1), (1, 2), (-2, 3), (63, 126), (-64, 127)] {
            assert_eq!(value.to_bytes()[..], [encoded]);
        }
        assert_eq!(i64::from_bytes(&i64::MIN.to_bytes()), Ok(i64::MIN));
    }
}
