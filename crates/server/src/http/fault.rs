//! What is wrong with a body, and where: a deserializer around the parser's whose error is
//! ours. serde hands an error its parts, so the words of a refusal are those of this API, whatever
//! serde and the parser would say. It is the second pass, for bodies that are at fault.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IgnoredAny, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde_json::value::RawValue;

use super::code::Code;
use super::json::{THE_BODY, missing, repeated};
use super::refusal::Refusal;
use super::text::{closest, quoted, shorten};
use super::words;
use crate::api::OwnFault;

const ONE_MEMBER: &str = "an object of one member";

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
    /// The parser stopped, and nobody else has said why.
    Unsaid,
}

impl Fault {
    fn value(given: String, expected: &dyn Expected) -> Self {
        Self::Value { given, allowed: expected.to_string(), is_final: false }
    }

    /// A visitor of serde says in words of Rust what it expects. It says what it asks for as well,
    /// for which there are words of JSON.
    fn in_words(mut self, words: Option<&'static str>) -> Self {
        if let Self::Value { given, allowed, is_final } = &mut self
            && !std::mem::replace(is_final, true)
            && let Some(words) = words
        {
            // An object for one of several members that has none of them.
            let none = *given == words;
            (if none { ONE_MEMBER } else { words }).clone_into(allowed);
        }
        self
    }

    /// The refusal of a body that has it at that place. `None` where nobody has said anything.
    fn refusal(self, path: &str) -> Option<Refusal> {
        let at = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let field = if path.is_empty() { THE_BODY } else { path };
        Some(match self {
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
            Self::Unsaid => return None,
        })
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

/// Finds out what is wrong with a text that is JSON and not what it has to be. `None` where only
/// the parser refuses it.
pub(super) fn find<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Option<Refusal> {
    let trail = Trail::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = seed.deserialize(Told { inner: &mut deserializer, trail: &trail, words: None });
    found.err()?.refusal(&trail.path.borrow())
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
        self.fault.borrow_mut().take().unwrap_or(Fault::Unsaid)
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

    /// The parser's own says of what is no word that it is no JSON.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let length = self.trail.path.borrow().len();
        let trail = self.trail;
        let read = self.any(None, Choice { visitor, variants });
        read.inspect_err(|_| trail.path.borrow_mut().truncate(length))
    }
}

/// The visitor of one word of several. What has more to say than a word is read as an object.
struct Choice<V> {
    visitor: V,
    variants: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Choice<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variants.join(", "))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<V::Value, E> {
        self.visitor.visit_enum(StrDeserializer::new(word))
    }

    /// serde takes an object of a word and `null` for the word.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let allowed = self.variants.join(", ");
        let read = self.visitor.visit_enum(MapAccessDeserializer::new(map));
        read.map_err(|_| de::Error::invalid_type(Unexpected::Map, &allowed.as_str()))
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
        let mut map = self.of(map);
        let said = self.inner.visit_map(&mut map);
        // What reads one member leaves the others to the parser.
        let whole = said.and_then(|value| {
            if map.next_key::<IgnoredAny>()?.is_none() {
                return Ok(value);
            }
            let given = "an object of several members".to_owned();
            Err(Fault::Value { given, allowed: ONE_MEMBER.to_owned(), is_final: true })
        });
        whole.map_err(|fault| self.trail.give(fault.in_words(self.words)))
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::api;
    use crate::http::json::read;

    /// What a body is refused with: code, field, value and what is allowed.
    fn refused<T: Deserialize<'static>>(body: &str) -> [String; 4] {
        let Err(refusal) = read::<T>(body.to_owned().leak()) else { panic!("{body} is read") };
        let code = refusal.code().as_str().to_owned();
        let problem = refusal.problem();
        let texts = [problem.field, problem.value, problem.allowed].map(Option::unwrap_or_default);
        let [field, value, allowed] = texts;
        let is_told = code != "value_refused" || problem.detail.contains(&allowed);
        assert!(is_told, "{} says not all of it", problem.detail);
        [code, field, value, allowed]
    }

    /// A field that holds one of these words and nothing else.
    fn check_words<T: Deserialize<'static>>(field: &str, words: &str) {
        let first = words.split(", ").next().unwrap();
        let (outer, name) = field.rsplit_once('.').unwrap_or(("", field));
        for (value, shown) in [
            ("5".to_owned(), "5"),
            ("-0.5".to_owned(), "-0.5"),
            ("true".to_owned(), "true"),
            ("[]".to_owned(), "an array"),
            ("\"nope\"".to_owned(), "\"nope\""),
            ("{}".to_owned(), "an object"),
            (format!("{{\"{first}\":5}}"), "an object"),
            ("{\"nope\":null}".to_owned(), "an object"),
        ] {
            let mut body = format!("{{\"{name}\":{value}}}");
            if !outer.is_empty() {
                body = format!("{{\"{outer}\":{body}}}");
            }
            let expected = ["value_refused", field, shown, words];
            assert_eq!(refused::<T>(&body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_word_of_an_enum_is_told_with_the_words() {
        check_words::<api::ScheduleBody<'_>>("overlap", "allow, skip, queue_one, cancel_previous");
        check_words::<api::PolicyBody>("apply_to", "all, queues, exchanges");
        let overflow = "drop-head, reject-publish, reject-publish-dlx";
        check_words::<api::PolicyBody>("overflow", overflow);
        check_words::<api::MessageSettingsBody>("overflow", overflow);
        check_words::<api::ExchangeBody>("type", "direct, fanout, topic, headers, consistent-hash");
        check_words::<api::BindingBody>("match", "all, any");
        check_words::<api::MessageSettlementBody>("verdict", "ack, requeue, reject");
        check_words::<api::LimitSettingsBody>("scope", "namespace, queue, kind, key");
        check_words::<api::GrantBody>("role", "read, enqueue, publish, consume, work, admin");
        check_words::<api::NewJob<'_>>("unique.until", "started, ended, forgotten");
        let conflicts = "reject, existing, replace, debounce, throttle";
        check_words::<api::NewJob<'_>>("unique.on_conflict", conflicts);
        let null = refused::<api::ExchangeBody>("{\"type\":null}");
        assert_eq!(null[1..3], ["type", "null"]);
    }

    #[test]
    fn what_a_level_is_about_is_an_object_of_one_member() {
        let refused = |on: &str| refused::<api::SlaBody<'_>>(&format!("{{\"on\":{on}}}"));
        for (on, expected) in [
            ("5", ["on", "5", "an object"]),
            ("null", ["on", "null", "an object"]),
            ("[]", ["on", "an array", "an object"]),
            ("\"queue\"", ["on", "\"queue\"", "an object"]),
            ("{}", ["on", "an object", "an object of one member"]),
            ("{\"queue\":5}", ["on.queue", "5", "a string"]),
            ("{\"kind\":[]}", ["on.kind", "an array", "a string"]),
            ("{\"queu\":\"a\"}", ["on", "\"queu\"", "queue, kind, schedule"]),
            (
                "{\"queue\":\"a\",\"kind\":\"b\"}",
                ["on", "an object of several members", "an object of one member"],
            ),
        ] {
            assert_eq!(refused(on)[1..], expected, "{on}");
            assert_eq!(refused(on)[0], "value_refused", "{on}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_taken_for_a_wrong_value() {
        for body in [
            "{\"overlap\":}",
            "{\"overlap\":x}",
            "{\"overlap\":\"skip\",}",
            "{\"overlap\":\"skip\"]",
            "{\"cron\":\"\\ud800\"}",
            "{\"cron\":\"a\",\"job\":{\"kind\":\"k\",\"queue\":\"q\"}} {",
        ] {
            let [code, field, ..] = refused::<api::ScheduleBody<'_>>(body);
            assert_eq!((&*code, &*field), ("body_malformed", "the body"), "{body}");
        }
    }

    #[test]
    fn names_of_queues_are_a_list_and_nothing_else() {
        for body in [
            "{\"queues\":null,\"weights\":{\"q\":1}}",
            "{\"queues\":null,\"max\":0}",
            "{\"queues\":null}",
        ] {
            let expected = ["value_refused", "queues", "null", "an array of at most 10000 strings"];
            assert_eq!(refused::<api::LeaseRequest<'_>>(body), expected, "{body}");
        }
        assert!(read::<api::LeaseRequest<'_>>("{\"queues\":[\"q\"],\"kinds\":null}").is_ok());
    }
}
