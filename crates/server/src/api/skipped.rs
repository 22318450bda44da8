//! Items that a run gave up on. They only inform: an odd one costs no checkpoint.

use serde::de::{self, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use utoipa::ToSchema;

use super::{ErrorText, RawJson};

/// The most items that are read.
const ITEMS_MAX: usize = 1000;

/// An item that a run gave up on.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SkipText<'a> {
    /// Where it stands in the collection: any JSON value.
    pub cursor: RawJson<'a>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorText>,
}

impl<'de: 'a, 'a> Deserialize<'de> for SkipText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Members<'a> {
            #[serde(borrow)]
            cursor: RawJson<'a>,
            #[serde(default)]
            error: Option<ErrorText>,
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        let members = raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()));
        match members {
            Some(Ok(Members { cursor, error })) => Ok(Self { cursor, error }),
            // What has no cursor is taken for the cursor itself: it tells the most.
            _ => Ok(Self { cursor: RawJson::of_raw(raw), error: None }),
        }
    }
}

/// Such items, and how many more there were than are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Skips<'a> {
    /// In order.
    pub items: Vec<SkipText<'a>>,
    /// How many were left out.
    pub dropped: u64,
}

impl Skips<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.dropped == 0
    }
}

impl Serialize for Skips<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Skips<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        if raw.get() == "null" {
            return Ok(Self::default());
        }
        let read = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Items);
        Ok(read.unwrap_or(Self { items: Vec::new(), dropped: 1 }))
    }
}

struct Items;

impl<'de> de::Visitor<'de> for Items {
    type Value = Skips<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut skips = Skips::default();
        while skips.items.len() < ITEMS_MAX {
            let Some(item) = seq.next_element()? else { return Ok(skips) };
            skips.items.push(item);
        }
        while seq.next_element::<de::IgnoredAny>()?.is_some() {
            skips.dropped += 1;
        }
        Ok(skips)
    }
}
