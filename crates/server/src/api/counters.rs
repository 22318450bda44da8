//! Counters of a job: an object of names and whole numbers, bounded while it is read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Object, RefOr};

use super::OwnFault;
use super::shown::ShownText;

/// The most counters that are read. The engine keeps fewer; this one keeps a body full of them
/// from becoming many times its size.
const COUNTERS_MAX: usize = 1000;

/// Names and whole numbers, in the order in which they are written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters(pub Vec<(String, i64)>);

impl Counters {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

/// Counters as a worker tells them. They only inform: what is no whole number is left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CountersTold {
    /// In order; a name that is given twice counts both.
    pub counters: Vec<(String, i64)>,
    /// How many were left out.
    pub dropped: u64,
}

impl CountersTold {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.dropped == 0
    }
}

impl Serialize for CountersTold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.counters.iter().map(|(name, count)| (name, count)))
    }
}

impl<'de> Deserialize<'de> for CountersTold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = CountersTold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and whole numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CountersTold, A::Error> {
                let mut told = CountersTold::default();
                while let Some((ShownText(name), by)) = map.next_entry::<_, &'de RawValue>()? {
                    match whole(by.get()) {
                        Some(by) if told.counters.len() < COUNTERS_MAX => {
                            told.counters.push((name, by));
                        }
                        _ => told.dropped += 1,
                    }
                }
                Ok(told)
            }
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        if raw.get() == "null" {
            return Ok(Self::default());
        }
        let read = serde_json::Deserializer::from_str(raw.get()).deserialize_map(Visitor);
        Ok(read.unwrap_or(Self { counters: Vec::new(), dropped: 1 }))
    }
}

/// A whole number, also one that is written as `5.0`.
fn whole(json: &str) -> Option<i64> {
    // As exact as such a number can be.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if let Ok(number) = json.parse() {
        return Some(number);
    }
    let number: f64 = json.parse().ok()?;
    let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
    is_whole.then_some(number as i64)
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Counters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {COUNTERS_MAX} names and whole numbers")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Counters, E> {
                Ok(Counters::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counters, A::Error> {
                let mut counters: Vec<(String, i64)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if counters.iter().any(|(known, _)| *known == name) {
                        return Err(OwnFault::Repeated { field: name }.error());
                    }
                    if counters.len() == COUNTERS_MAX {
                        return Err(de::Error::invalid_length(COUNTERS_MAX + 1, &self));
                    }
                    counters.push((name, map.next_value()?));
                }
                Ok(Counters(counters))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl utoipa::PartialSchema for Counters {
    fn schema() -> RefOr<Schema> {
        let count: Object = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .build();
        let counters: Object = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Object))
            .description(Some("Names and whole numbers."))
            .additional_properties(Some(AdditionalProperties::RefOr(count.into())))
            .build();
        counters.into()
    }
}

impl utoipa::ToSchema for Counters {
    fn name() -> Cow<'static, str> {
        "Counters".into()
    }
}
