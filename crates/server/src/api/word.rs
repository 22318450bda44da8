//! Words of several are texts and nothing else: serde takes `{"word": null}` for one as well.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{
    ExchangeTypeText, JobActionText, LimitScopeText, MatchText, MessageVerdictText, OnConflictText,
    OverflowText, OverlapText, PolicyTargetText, RoleText, StateText, UniqueUntilText,
};

/// Has enumerations of words read by [`Word`]. They say `#[serde(remote = "Self")]`, so what serde
/// derives is theirs and not yet that of the trait.
macro_rules! words {
    ($($name:ty),* $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::deserialize(Word(from))
            }
        }
    )*};
}

words! {
    ExchangeTypeText,
    JobActionText,
    LimitScopeText,
    MatchText,
    MessageVerdictText,
    OnConflictText,
    OverflowText,
    OverlapText,
    PolicyTargetText,
    RoleText,
    StateText,
    UniqueUntilText,
}

/// A deserializer of which an enumeration gets a text.
struct Word<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Word<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Text { visitor, words })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Text<V> {
    visitor: V,
    words: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Text<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(", "))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<V::Value, E> {
        self.visitor.visit_enum(StrDeserializer::new(word))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    fn check<T: for<'de> Deserialize<'de> + Serialize + PartialEq + fmt::Debug>(word: &str) {
        let text = format!("\"{word}\"");
        let value: T = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        for other in [format!("{{{text}:null}}"), format!("{{{text}:[]}}"), "null".to_owned()] {
            assert!(serde_json::from_str::<T>(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_word_is_a_text_and_nothing_else() {
        check::<ExchangeTypeText>("fanout");
        check::<JobActionText>("set_priority");
        check::<LimitScopeText>("key");
        check::<MatchText>("any");
        check::<MessageVerdictText>("requeue");
        check::<OverflowText>("drop-head");
        check::<PolicyTargetText>("queues");
        check::<StateText>("ready");
    }
}
