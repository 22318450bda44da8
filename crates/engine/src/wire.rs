//! How values become bytes in records and in the state: LEB128 integers, counted strings, fields
//! in order, then those that may be absent, each behind its tag. Decoding bounds every length by
//! the bytes that are there, and never panics.

use std::sync::Arc;

use bytes::Bytes;

use crate::rope::Rope;

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
    fn put(&self, out: &mut Rope);
    /// Takes one value.
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed>;

    /// Appends what follows a tag: the tag already says that the value is there.
    fn put_tagged(&self, out: &mut Rope) {
        self.put(out);
    }

    /// Takes what follows a tag.
    fn take_tagged(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Self::take(input)
    }

    /// The encoding as a value of the ordered map.
    fn to_bytes(&self) -> Bytes {
        let mut out = Rope::from(Vec::with_capacity(128));
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
    fn put(&self, out: &mut Rope) {
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
            if byte == 0 && shift > 0 {
                return Err(input.malformed("an integer in as few bytes as it needs"));
            }
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
            fn put(&self, out: &mut Rope) {
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
    fn put(&self, out: &mut Rope) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let folded = u64::take(input)?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Rope) {
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
    fn put(&self, out: &mut Rope) {
        out.extend_from_slice(self);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let slice = input.slice(N)?;
        slice.try_into().map_err(|_| input.malformed("a fixed number of bytes"))
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Rope) {
        (self.len() as u64).put(out);
        out.extend_from_bytes(self);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let count = take_count(input)?;
        input.bytes(count)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Rope) {
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
    fn put(&self, out: &mut Rope) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        String::take(input).map(Self::from)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Rope) {
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

    fn put_tagged(&self, out: &mut Rope) {
        match self {
            Some(value) => value.put_tagged(out),
            None => unreachable!("a tagged field that is none is left out"),
        }
    }

    fn take_tagged(input: &mut Input<'_>) -> Result<Self, Malformed> {
        T::take_tagged(input).map(Some)
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Rope) {
        (**self).put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        T::take(input).map(Self::new)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Rope) {
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
    fn put(&self, out: &mut Rope) {
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

/// What stands behind the last field, where a tag would.
const NO_MORE_FIELDS: u8 = 0;

/// Appends the end of the fields.
pub(crate) fn put_end(out: &mut Rope) {
    out.push(NO_MORE_FIELDS);
}

/// Appends a field behind its tag, unless it is as where it is absent.
pub(crate) fn put_field<T: Wire + PartialEq>(tag: u8, value: &T, absent: &T, out: &mut Rope) {
    if value != absent {
        out.push(tag);
        value.put_tagged(out);
    }
}

/// The tag of the field that follows, if one does. Tags ascend, so no field stands there twice.
pub(crate) fn take_tag(input: &mut Input<'_>, last: &mut u8) -> Result<Option<u8>, Malformed> {
    let tag = input.byte()?;
    if tag == NO_MORE_FIELDS {
        return Ok(None);
    }
    if tag <= *last {
        return Err(input.malformed("fields in the order of their tags"));
    }
    *last = tag;
    Ok(Some(tag))
}

/// Takes the field behind a tag. `field` is as where it is absent; then it would not stand there.
pub(crate) fn take_field<T: Wire + PartialEq>(
    input: &mut Input<'_>,
    field: &mut T,
) -> Result<(), Malformed> {
    let value = T::take_tagged(input)?;
    if value == *field {
        return Err(input.malformed("a field that is not as where it is absent"));
    }
    *field = value;
    Ok(())
}

/// Whether the tags of a structure, in the order of its fields, are written as they are read. What
/// has none counts as 0.
pub(crate) const fn tags_ascend(mut tags: &[u8]) -> bool {
    let mut last = 0;
    while let [tag, rest @ ..] = tags {
        if *tag != 0 {
            if *tag <= last {
                return false;
            }
            last = *tag;
        }
        tags = rest;
    }
    true
}

/// One field, by what follows its type: nothing where it always stands at its place in the order,
/// `= TAG` where it may be absent, `= _` where it is never written. See [`wire_struct`].
macro_rules! wire_field {
    (tag) => { 0 };
    (tag = _) => { 0 };
    (tag = $tag:literal $($default:tt)*) => { $tag };

    (put $value:expr, $type:ty, $out:ident) => {
        $crate::wire::Wire::put($value, $out);
    };
    (put $value:expr, $type:ty, $out:ident = $($tag:tt)*) => {};

    (put_tagged $value:expr, $type:ty, $out:ident) => {};
    (put_tagged $value:expr, $type:ty, $out:ident = _) => { let _ = $value; };
    (put_tagged $value:expr, $type:ty, $out:ident = $tag:literal $($default:tt)*) => {
        let absent = $crate::wire::wire_field!(absent $type $(, $default)*);
        $crate::wire::put_field($tag, $value, &absent, $out);
    };

    (take $field:ident, $type:ty, $input:ident) => {
        let $field: $type = $crate::wire::Wire::take($input)?;
    };
    (take $field:ident, $type:ty, $input:ident = _) => {
        let $field: $type = Default::default();
    };
    (take $field:ident, $type:ty, $input:ident = $tag:literal $($default:tt)*) => {
        let mut $field: $type = $crate::wire::wire_field!(absent $type $(, $default)*);
    };

    (take_tagged $field:ident, $found:ident, $input:ident) => { false };
    (take_tagged $field:ident, $found:ident, $input:ident = _) => { false };
    (take_tagged $field:ident, $found:ident, $input:ident = $tag:literal $($default:tt)*) => {
        $found == $tag && {
            $crate::wire::take_field($input, &mut $field)?;
            true
        }
    };

    (absent $type:ty) => { <$type>::default() };
    (absent $type:ty, default, $absent:tt) => { $absent };
}

/// Takes fields into variables of their names.
macro_rules! wire_take {
    ($name:ident, $input:ident,
        $($field:ident: $type:ty $(= $tag:tt $(default $default:tt)?)?,)*) => {
        $($crate::wire::wire_field!(
            take $field, $type, $input $(= $tag $(default $default)?)?);)*
        let mut last = 0;
        while let Some(found) = $crate::wire::take_tag($input, &mut last)? {
            let _ = found;
            let is_known = false $(|| $crate::wire::wire_field!(
                take_tagged $field, found, $input $(= $tag $(default $default)?)?))*;
            if !is_known {
                return Err($input.malformed(concat!("a known field of ", stringify!($name))));
            }
        }
    };
}

/// Declares a structure. Its encoding is the fields that always stand there, in order, then those
/// that may be absent, each behind its tag (one byte, permanent, ascending in the order of
/// declaration), then a 0. A field is of the second kind where `= TAG` follows its type:
///
/// ```text
/// pub snoozes: u32 = 11,                  absent while it is the default of its type
/// pub factor: u32 = 8 default 100,        absent while it is 100 (a literal or in parentheses)
/// pub touched: MonoMs = _,                never written; the default of its type once read
/// ```
///
/// So a new field is one line, and what was written before it reads as before. Whoever meets a tag
/// that it does not know refuses the value: it was written by a later program.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty
            $(= $tag:tt $(default $default:tt)?)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut $crate::Rope) {
                const { assert!($crate::wire::tags_ascend(
                    &[$($crate::wire::wire_field!(tag $(= $tag)?)),*]), "tags ascend"); }
                $($crate::wire::wire_field!(put &self.$field, $type, out $(= $tag)?);)*
                $($crate::wire::wire_field!(
                    put_tagged &self.$field, $type, out $(= $tag $(default $default)?)?);)*
                $crate::wire::put_end(out);
            }

            fn take(input: &mut $crate::wire::Input<'_>) -> Result<Self, $crate::wire::Malformed> {
                $crate::wire::wire_take!(
                    $name, input, $($field: $type $(= $tag $(default $default)?)?,)*);
                Ok(Self { $($field,)* })
            }
        }
    };
}

/// Declares an enumeration whose encoding is the variant's permanent number, then its fields as
/// those of a structure. A variant without fields is its number alone: what such a one comes to
/// need is a variant with a new number.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $number:literal => $variant:ident
            $({ $($(#[$field_meta:meta])* $field:ident: $type:ty
                $(= $tag:tt $(default $default:tt)?)?,)* })?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant $({ $($(#[$field_meta])* $field: $type,)* })?,)*
        }

        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut $crate::Rope) {
                match self {
                    $(Self::$variant $({ $($field,)* })? => {
                        out.push($number);
                        $(
                            const { assert!($crate::wire::tags_ascend(&[
                                $($crate::wire::wire_field!(tag $(= $tag)?)),*
                            ]), "tags ascend"); }
                            $($crate::wire::wire_field!(put $field, $type, out $(= $tag)?);)*
                            $($crate::wire::wire_field!(
                                put_tagged $field, $type, out
                                $(= $tag $(default $default)?)?);)*
                            $crate::wire::put_end(out);
                        )?
                    })*
                }
            }

            fn take(input: &mut $crate::wire::Input<'_>) -> Result<Self, $crate::wire::Malformed> {
                match input.byte()? {
                    $($number => {
                        $($crate::wire::wire_take!(
                            $variant, input, $($field: $type $(= $tag $(default $default)?)?,)*);)?
                        Ok(Self::$variant $({ $($field,)* })?)
                    })*
                    _ => Err(input.malformed(concat!("a known number of ", stringify!($name)))),
                }
            }
        }
    };
}

pub(crate) use {wire_enum, wire_field, wire_struct, wire_take};

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
            let _ = Vec::<(String, Option<u64>)>::from_bytes(&bytes.clone().into());
            let bytes = Bytes::from(bytes);
            if let Ok(value) = After::from_bytes(&bytes) {
                assert_eq!(value.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn counts_beyond_the_input_are_refused() {
        let huge = u64::MAX.to_bytes();
        assert!(Bytes::from_bytes(&huge).is_err());
        assert!(Vec::<u64>::from_bytes(&huge).is_err());
        assert!(u64::from_bytes(&Bytes::from_static(&[0xff; 10])).is_err());
    }

    wire_struct! {
        /// As an earlier program knows it.
        struct Before {
            id: u32,
            name: Option<String> = 1,
            kind: KindBefore,
        }
    }

    wire_enum! {
        enum KindBefore {
            1 => Plain,
            2 => Sized { size: u64, },
        }
    }

    wire_struct! {
        /// As a later program knows it.
        struct After {
            id: u32,
            name: Option<String> = 1,
            kind: KindAfter,
            percent: u32 = 2 default 100,
            labels: Vec<String> = 7,
            looked_at: u64 = _,
        }
    }

    wire_enum! {
        enum KindAfter {
            1 => Plain,
            2 => Sized { size: u64, limit: Option<u64> = 1, },
        }
    }

    fn after() -> After {
        let kind = KindAfter::Sized { size: 300, limit: None };
        After { id: 5, name: None, kind, percent: 100, labels: Vec::new(), looked_at: 0 }
    }

    fn before() -> Before {
        Before { id: 5, name: None, kind: KindBefore::Sized { size: 300 } }
    }

    #[test]
    fn a_structure_stands_as_the_documentation_says() {
        assert_eq!(before().to_bytes()[..], [5, 2, 0xac, 2, 0, 0]);
        let after = After { name: Some("ab".into()), percent: 7, looked_at: 9, ..after() };
        assert_eq!(after.to_bytes()[..], [5, 2, 0xac, 2, 0, 1, 2, b'a', b'b', 2, 7, 0]);
    }

    #[test]
    fn what_was_written_before_a_field_was_added_reads_as_before() {
        let old = Before { name: Some("ab".into()), ..before() };
        let new = After { name: Some("ab".into()), ..after() };
        assert_eq!(After::from_bytes(&old.to_bytes()).as_ref(), Ok(&new));
        assert_eq!(new.to_bytes(), old.to_bytes(), "and while it is not used, writes as before");
        let seen = After { looked_at: 9, ..new.clone() };
        assert_eq!(After::from_bytes(&seen.to_bytes()), Ok(new), "what is never written is new");
    }

    #[test]
    fn a_field_of_a_later_program_is_refused_by_name() {
        let used = After { percent: 0, ..after() };
        assert_eq!(After::from_bytes(&used.to_bytes()).as_ref(), Ok(&used));
        let error = Before::from_bytes(&used.to_bytes()).unwrap_err();
        assert_eq!(error.what, "a known field of Before");
        let kind = KindAfter::Sized { size: 300, limit: Some(0) };
        let error = Before::from_bytes(&After { kind, ..after() }.to_bytes()).unwrap_err();
        assert_eq!(error.what, "a known field of Sized");
    }

    #[test]
    fn a_value_has_one_encoding() {
        let refused = |tail: &[u8]| {
            let bytes = [&[5, 1][..], tail].concat();
            After::from_bytes(&bytes.into()).unwrap_err().what
        };
        let order = "fields in the order of their tags";
        assert_eq!(refused(&[7, 1, 0, 2, 7, 0]), order);
        assert_eq!(refused(&[2, 7, 2, 8, 0]), order, "a field that stands there twice");
        let absent = "a field that is not as where it is absent";
        assert_eq!(refused(&[2, 100, 0]), absent);
        assert_eq!(refused(&[7, 0, 0]), absent);
        assert_eq!(refused(&[2, 7]), "more bytes", "the end is missing");
        let long = "an integer in as few bytes as it needs";
        assert_eq!(refused(&[2, 0x87, 0, 0]), long);
        assert!(!tags_ascend(&[1, 0, 3, 3]) && tags_ascend(&[0, 1, 0, 3, 9]));
    }

    #[test]
    fn small_numbers_of_either_sign_take_one_byte() {
        for (value, encoded) in [(0_i64, 0), (-1, 1), (1, 2), (-2, 3), (63, 126), (-64, 127)] {
            assert_eq!(value.to_bytes()[..], [encoded]);
        }
        assert_eq!(i64::from_bytes(&i64::MIN.to_bytes()), Ok(i64::MIN));
    }
}
