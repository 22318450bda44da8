//! What is wrong with a body, and where: a deserializer around the parser's whose error is
//! ours. serde hands an error its parts, so the words of a refusal are those of this API, whatever
//! serde and the parser would say. It is the second pass, for bodies that are at fault.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde_json::value::RawValue;

use super::code::Code;
use super::json::{THE_BODY, missing, repeated};
use super::refusal::Refusal;
use super::text::{closest, quoted, shorten};
use super::words;
use crate::api::OwnFault;

/// What is wrong with a value.
#[derive(Debug)]
pub(super) enum Fault {
    /// A field or a word that is not known.
    Unknown { code: Code, word: String, known: &'static [&'static str] },
    /// A field is missing.
    Missing(&'static str),
    /// What a type of this API says.
    Own(OwnFault),
    /// What was given, and what may be.
    Value { given: String, allowed: String, is_final: bool },
}

impl Fault {
    fn value(given: String, expected: &dyn Expected) -> Self {
        Self::Value { given, allowed: expected.to_string(), is_final: false }
    }

    /// A visitor of serde says in words of Rust what it expects. It says what it asks for as well,
    /// for which there are words of JSON.
    fn in_words(mut self, words: Option<&'static str>) -> Self {
        if let Self::Value { allowed, is_final, .. } = &mut self
            && !std::mem::replace(is_final, true)
            && let Some(words) = words
        {
            words.clone_into(allowed);
        }
        self
    }

    /// The refusal of a body that has it at that place.
    fn refusal(self, path: &str) -> Refusal {
        let at = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let field = if path.is_empty() { THE_BODY } else { path };
        match self {
            Self::Unknown { code: Code::FieldUnknown, word, known } => {
                unknown(Code::FieldUnknown, &at(&shorten(&word)), &word, known)
            }
            Self::Unknown { code, word, known } => unknown(code, field, &word, known),
            Self::Missing(name) => missing(&at(name), words::needed(name)),
            Self::Own(OwnFault::Repeated { field }) => {
                let field = at(&shorten(&field));
                repeated(&field, &field)
            }
            Self::Own(OwnFault::Misplaced { field, with, of }) => {
                let allowed = format!("{field} goes with \"{of}\" only");
                Refusal::value(&at(&field), format!("given with \"{with}\""), allowed)
            }
            Self::Own(OwnFault::Other(what)) => Refusal::value(field, what, ""),
            Self::Value { given, allowed, .. } => Refusal::value(field, given, allowed),
        }
    }
}

/// A word that is not known, with the one that is probably meant.
fn unknown(code: Code, field: &str, word: &str, known: &[&str]) -> Refusal {
    let allowed = known.join(", ");
    let meant = closest(word, known.iter().copied());
    let hint = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
    let detail = match code {
        Code::FieldUnknown => format!("{field} is not known{hint}"),
        _ => format!("{field} is {}; allowed: {allowed}{hint}", quoted(word)),
    };
    let allowed = if allowed.is_empty() { "no fields".to_owned() } else { allowed };
    Refusal::new(code, detail).about(field, quoted(word), allowed)
}

/// What was given, as JSON has it.
fn given(value: Unexpected<'_>) -> String {
    match value {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => {
            serde_json::Number::from_f64(value).map_or_else(String::new, |it| it.to_string())
        }
        Unexpected::Char(value) => value.to_string(),
        Unexpected::Str(value) => quoted(value),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq | Unexpected::TupleVariant => "an array".to_owned(),
        Unexpected::Map
        | Unexpected::NewtypeStruct
        | Unexpected::NewtypeVariant
        | Unexpected::StructVariant => "an object".to_owned(),
        Unexpected::Bytes(_) | Unexpected::UnitVariant | Unexpected::Enum => "a string".to_owned(),
        Unexpected::Other(value) => value.to_owned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::Own(OwnFault::of(&what.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(given(found), expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(given(found), expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::value(format!("{length} elements"), expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown { code: Code::ValueRefused, word: word.to_owned(), known }
    }

    fn unknown_field(word: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown { code: Code::FieldUnknown, word: word.to_owned(), known }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Own(OwnFault::Repeated { field: field.to_owned() })
    }
}

/// Finds out what is wrong with a text that is JSON and not what it has to be.
pub(super) fn find<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Refusal {
    let trail = Trail::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = seed.deserialize(Told { inner: &mut deserializer, trail: &trail, words: None });
    // The first pass has found something.
    let fault = found.err().unwrap_or_else(|| trail.take());
    fault.refusal(&trail.path.borrow())
}

/// Where the second pass is, and what it has met.
#[derive(Default)]
struct Trail {
    /// The value that is being read. Names are the client's: each is cut.
    path: RefCell<String>,
    /// The text that was read last, cut.
    text: RefCell<String>,
    /// What goes on its way through an error of the parser's, which has no place for it.
    fault: RefCell<Option<Fault>>,
}

impl Trail {
    fn give<E: de::Error>(&self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        E::custom("")
    }

    fn take(&self) -> Fault {
        let unsaid = || Fault::Own(OwnFault::Other("of another type".to_owned()));
        self.fault.borrow_mut().take().unwrap_or_else(unsaid)
    }

    /// Reads something at a place below; the path stays where it fails.
    fn below<T, E>(
        &self,
        name: fmt::Arguments<'_>,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let length = self.path.borrow().len();
        // Writing to a string does not fail.
        let _ = fmt::Write::write_fmt(&mut *self.path.borrow_mut(), name);
        let value = read()?;
        self.path.borrow_mut().truncate(length);
        Ok(value)
    }
}

/// A deserializer, a visitor, or what one hands the other, told of on the trail.
struct Told<'t, T> {
    inner: T,
    trail: &'t Trail,
    /// What a visitor is told to allow that has no words of this API.
    words: Option<&'static str>,
}

impl<'t, T> Told<'t, T> {
    fn of<U>(&self, inner: U) -> Told<'t, U> {
        Told { inner, trail: self.trail, words: None }
    }
}

impl<'de, D: Deserializer<'de>> Told<'_, D> {
    fn any<V: Visitor<'de>>(
        self,
        words: Option<&'static str>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let trail = self.trail;
        let visitor = Told { inner: visitor, trail, words };
        self.inner.deserialize_any(visitor).map_err(|_| trail.take())
    }
}

/// What asks for one thing is given what there is: the visitor says that it is something else.
macro_rules! in_words {
    ($($method:ident($($of:ident: $type:ty),*) $words:literal,)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($of: $type,)* visitor: V) -> Result<V::Value, Fault> {
            self.any(Some($words), visitor)
        }
    )*};
}

/// Types of this API that have words of their own ask for anything.
impl<'de, D: Deserializer<'de>> Deserializer<'de> for Told<'_, D> {
    type Error = Fault;

    in_words! {
        deserialize_bool() "true or false",
        deserialize_i8() "a whole number from -128 to 127",
        deserialize_i16() "a whole number from -32768 to 32767",
        deserialize_i32() "a whole number from -2147483648 to 2147483647",
        deserialize_i64() "a whole number from -9223372036854775808 to 9223372036854775807",
        deserialize_u8() "a whole number from 0 to 255",
        deserialize_u16() "a whole number from 0 to 65535",
        deserialize_u32() "a whole number from 0 to 4294967295",
        deserialize_u64() "a whole number from 0 to 18446744073709551615",
        deserialize_f32() "a number",
        deserialize_f64() "a number",
        deserialize_char() "a string",
        deserialize_str() "a string",
        deserialize_string() "a string",
        deserialize_identifier() "a string",
        deserialize_unit() "null",
        deserialize_unit_struct(_name: &'static str) "null",
        deserialize_seq() "an array",
        deserialize_tuple(_length: usize) "an array",
        deserialize_tuple_struct(_name: &'static str, _length: usize) "an array",
        deserialize_map() "an object",
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str]) "an object",
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.any(None, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        self.inner.deserialize_ignored_any(visitor).map_err(|_| self.trail.take())
    }

    /// Texts that need not be UTF-8, which no other method of the parser takes.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        let read = || {
            let raw = <&RawValue>::deserialize(self.inner).ok()?.get();
            let mut deserializer = serde_json::Deserializer::from_str(raw);
            if raw.starts_with('"') {
                deserializer.deserialize_bytes(visitor).ok()
            } else {
                deserializer.deserialize_any(visitor).ok()
            }
        };
        read().ok_or_else(|| self.trail.take())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        self.inner.deserialize_option(visitor).map_err(|_| self.trail.take())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        self.inner.deserialize_newtype_struct(name, visitor).map_err(|_| self.trail.take())
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        self.inner.deserialize_enum(name, variants, visitor).map_err(|_| self.trail.take())
    }
}

macro_rules! visits {
    ($($method:ident($type:ty),)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            let said = self.inner.$method(value);
            said.map_err(|fault: Fault| self.trail.give(fault.in_words(self.words)))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Told<'_, V> {
    type Value = V::Value;

    visits! {
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_f64(f64),
        visit_bytes(&[u8]),
        visit_borrowed_bytes(&'de [u8]),
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<V::Value, E> {
        *self.trail.text.borrow_mut() = shorten(value);
        let said = self.inner.visit_str(value);
        said.map_err(|fault: Fault| self.trail.give(fault.in_words(self.words)))
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<V::Value, E> {
        *self.trail.text.borrow_mut() = shorten(value);
        let said = self.inner.visit_borrowed_str(value);
        said.map_err(|fault: Fault| self.trail.give(fault.in_words(self.words)))
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        let said = self.inner.visit_none();
        said.map_err(|fault: Fault| self.trail.give(fault.in_words(self.words)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        let said = self.inner.visit_unit();
        said.map_err(|fault: Fault| self.trail.give(fault.in_words(self.words)))
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.of(value);
        self.inner.visit_some(value).map_err(|fault| self.trail.give(fault))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.of(value);
        self.inner.visit_newtype_struct(value).map_err(|fault| self.trail.give(fault))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let items = Items { told: self.of(items), index: 0 };
        let said = self.inner.visit_seq(items);
        said.map_err(|fault| self.trail.give(fault.in_words(self.words)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let map = self.of(map);
        let said = self.inner.visit_map(map);
        said.map_err(|fault| self.trail.give(fault.in_words(self.words)))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<V::Value, A::Error> {
        let value = self.of(value);
        self.inner.visit_enum(value).map_err(|fault| self.trail.give(fault))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Told<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.of(deserializer);
        self.inner.deserialize(deserializer).map_err(|fault| self.trail.give(fault))
    }
}

struct Items<'t, A> {
    told: Told<'t, A>,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let (trail, seed, index) = (self.told.trail, self.told.of(seed), self.index);
        self.index += 1;
        trail
            .below(format_args!("[{index}]"), || self.told.inner.next_element_seed(seed))
            .map_err(|_| trail.take())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Told<'_, A> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let seed = self.of(seed);
        self.inner.next_key_seed(seed).map_err(|_| self.trail.take())
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (trail, seed) = (self.trail, self.of(seed));
        // The text that was read last is the key.
        let key = self.trail.text.take();
        let dot = if trail.path.borrow().is_empty() { "" } else { "." };
        trail
            .below(format_args!("{dot}{key}"), || self.inner.next_value_seed(seed))
            .map_err(|_| trail.take())
    }
}

impl<'de, 't, A: EnumAccess<'de>> EnumAccess<'de> for Told<'t, A> {
    type Error = Fault;
    type Variant = Told<'t, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Fault> {
        let (trail, seed) = (self.trail, self.of(seed));
        let (value, variant) = self.inner.variant_seed(seed).map_err(|_| trail.take())?;
        Ok((value, Told { inner: variant, trail, words: None }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Told<'_, A> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.inner.unit_variant().map_err(|_| self.trail.take())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let seed = self.of(seed);
        self.inner.newtype_variant_seed(seed).map_err(|_| self.trail.take())
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        self.inner.tuple_variant(length, visitor).map_err(|_| self.trail.take())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let visitor = self.of(visitor);
        self.inner.struct_variant(fields, visitor).map_err(|_| self.trail.take())
    }
}
