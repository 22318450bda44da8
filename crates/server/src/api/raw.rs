//! JSON that is carried, not read: args, results, metadata. Borrowed from the body that it came in.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaType};

/// Any JSON value as the text that it is written in.
#[derive(Clone, Debug)]
pub struct RawJson<'a>(Cow<'a, RawValue>);

impl<'a> RawJson<'a> {
    /// What was read as it is written.
    pub(super) const fn of_raw(raw: &'a RawValue) -> Self {
        Self(Cow::Borrowed(raw))
    }

    /// The text, for as long as what it is borrowed from; `None` where it is borrowed from nothing.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.0 {
            Cow::Borrowed(raw) => Some(raw.get()),
            Cow::Owned(_) => None,
        }
    }

    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// A value that borrows from nothing.
    pub fn into_owned(self) -> RawJson<'static> {
        RawJson(Cow::Owned(self.0.into_owned()))
    }
}

impl RawJson<'static> {
    /// Takes a text that has to be JSON.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(|raw| Self(Cow::Owned(raw)))
    }

    /// Writes a value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(|raw| Self(Cow::Owned(raw)))
    }
}

impl PartialEq for RawJson<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Serialize for RawJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(|raw| Self(Cow::Borrowed(raw)))
    }
}

/// Reads a field whose `null` is a value, not its absence.
pub(super) fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RawJson<'a>>, D::Error> {
    RawJson::deserialize(deserializer).map(Some)
}

impl utoipa::PartialSchema for RawJson<'_> {
    fn schema() -> RefOr<Schema> {
        let any: Object = ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Any JSON value, carried as it is written."))
            .build();
        any.into()
    }
}

impl utoipa::ToSchema for RawJson<'_> {
    fn name() -> Cow<'static, str> {
        "Json".into()
    }
}
