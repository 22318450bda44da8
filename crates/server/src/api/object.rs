//! Fields that have to be JSON objects: serde's derive alone takes an array of values for a struct
//! as well, which would let a body mean something that nobody documents. And lists of names, which
//! are bounded while they are read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};

/// Reads a `T` from an object and from nothing else.
#[derive(Debug)]
pub(crate) struct Object<T>(PhantomData<T>);

impl<T> Object<T> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Object<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The body of a request that takes none: nothing, or an object without fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// What types of this API find wrong that serde has no error for. An error of serde's is made of a
/// text, so that is what it goes through.
#[derive(Debug, PartialEq)]
pub(crate) enum OwnFault {
    /// The field stands twice.
    Repeated { field: String },
    /// The field goes with another word, `of`, than the one that is given beside it.
    Misplaced { field: String, with: String, of: String },
    /// Anything else, in words.
    Other(String),
}

impl OwnFault {
    /// The error of it.
    pub(super) fn error<E: de::Error>(self) -> E {
        match self {
            Self::Repeated { field } => E::custom(format_args!("{REPEATED}{field}")),
            Self::Misplaced { field, with, of } => {
                E::custom(format_args!("{MISPLACED}{field}{MISPLACED}{with}{MISPLACED}{of}"))
            }
            Self::Other(what) => E::custom(what),
        }
    }

    /// What such an error's text is of.
    pub(crate) fn of(text: &str) -> Self {
        if let Some(field) = text.strip_prefix(REPEATED) {
            return Self::Repeated { field: field.to_owned() };
        }
        let mut parts = text.split(MISPLACED).map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (_, Some(field), Some(with), Some(of)) => Self::Misplaced { field, with, of },
            _ => Self::Other(text.to_owned()),
        }
    }
}

/// How the text begins, and its parts where it has several. Other texts of ours have neither.
const REPEATED: char = '\u{1}';
const MISPLACED: char = '\u{2}';

/// Reads a field that is an object.
pub(super) fn required<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Object::new().deserialize(deserializer)
}

/// Reads a field that is an object or `null`.
pub(super) fn optional<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Visitor<T>(Object<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or null")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            self.0.visit_map(map).map(Some)
        }
    }
    deserializer.deserialize_any(Visitor(Object::new()))
}

/// Reads a field that is a list of objects.
pub(super) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Visitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element_seed(Object::new())? {
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_any(Visitor(PhantomData))
}

/// The most objects that a short list is read with; what it may really have is checked where it is
/// used.
const FEW_MAX: usize = 16;

/// Reads a field that is a short list of objects, or `null`.
pub(super) fn optional_few<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Visitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of at most {FEW_MAX} objects")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element_seed(Object::new())? {
                if items.len() == FEW_MAX {
                    return Err(de::Error::invalid_length(FEW_MAX + 1, &self));
                }
                items.push(item);
            }
            Ok(Some(items))
        }
    }
    deserializer.deserialize_any(Visitor(PhantomData))
}

/// The most names that a list is read with. Each such list has a lower bound of its own, checked
/// where it is used; this one keeps a body full of commas from becoming many times its size.
const NAMES_MAX: usize = 10_000;

struct Names;

impl<'de> de::Visitor<'de> for Names {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {NAMES_MAX} strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element()? {
            if names.len() == NAMES_MAX {
                return Err(de::Error::invalid_length(NAMES_MAX + 1, &self));
            }
            names.push(name);
        }
        Ok(names)
    }
}

/// Reads a field that is a list of names.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(Names)
}

/// Reads a field that is a list of names or `null`.
pub(super) fn optional_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Names.expecting(f)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Names.visit_seq(seq).map(Some)
        }
    }
    deserializer.deserialize_any(Visitor)
}
