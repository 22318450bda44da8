//! What is only shown: texts and progress. It never costs the run that it is told of.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::value::RawValue;

/// Reads a text. Half of a surrogate pair, which some languages write for bytes that are no UTF-8,
/// becomes U+FFFD.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(readable(bytes))
        }
    }
    // As bytes the parser takes such a half, encoded as if it were a character.
    deserializer.deserialize_bytes(Visitor)
}

fn readable(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    loop {
        let error = match std::str::from_utf8(bytes) {
            Ok(rest) => return text + rest,
            Err(error) => error,
        };
        let (sound, rest) = bytes.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(sound));
        text.push(char::REPLACEMENT_CHARACTER);
        let is_half = matches!(rest, [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..]);
        bytes = rest.get(if is_half { 3 } else { 1 }..).unwrap_or_default();
    }
}

/// A text, read so.
pub(super) struct ShownText(pub(super) String);

impl<'de> Deserialize<'de> for ShownText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

/// A JSON value as text: of what is none, the text that it is written in.
pub(super) fn in_words(json: &str) -> String {
    let read = text(&mut serde_json::Deserializer::from_str(json));
    read.unwrap_or_else(|_| if json == "null" { String::new() } else { json.to_owned() })
}

/// Reads a text that may be left out, and anything else as the text that it is written in.
pub(super) fn text_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok((raw.get() != "null").then(|| in_words(raw.get())))
}

/// The progress that a body tells, in words.
pub(crate) fn progress_in_words(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default, deserialize_with = "text_if_any")]
        progress: Option<String>,
    }
    serde_json::from_str::<Told>(body).ok()?.progress
}

/// Reads a number that may be left out; what is no number is NaN.
pub(super) fn number_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok((raw.get() != "null").then(|| raw.get().parse().unwrap_or(f64::NAN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_surrogate_pair_is_shown_as_one_unknown_character() {
        for (json, expected) in [
            ("\"r\\udce9sum\\udce9.txt\"", "r\u{fffd}sum\u{fffd}.txt"),
            ("\"\\ud83d\\ude00 \\ud83d\"", "\u{1f600} \u{fffd}"),
            ("\"plain \u{fc}\"", "plain \u{fc}"),
        ] {
            let read = text(&mut serde_json::Deserializer::from_str(json)).unwrap();
            assert_eq!(read, expected, "{json}");
        }
        assert!(text(&mut serde_json::Deserializer::from_str("[1]")).is_err());
    }
}
