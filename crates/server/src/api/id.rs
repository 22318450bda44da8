//! Ids of jobs (UUIDs) and tokens of leases as text. To clients both are opaque.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

const JOB_ID_EXPECTED: &str = "a UUID, as in \"018bcfe5-6800-7a00-8000-000000000000\"";
const TOKEN_EXPECTED: &str = "the token of a leased job, as its delivery gave it";

/// The id of a job: a UUID.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobIdText(
    /// Its bytes.
    pub [u8; 16],
);

/// The token of a lease.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TokenText {
    /// The life of the shard that granted the lease.
    pub epoch: u32,
    /// Which grant it was.
    pub counter: u64,
}

/// The text is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct TextMalformed {
    /// What was given.
    pub text: String,
    /// What may be given.
    pub expected: &'static str,
}

impl JobIdText {
    /// What may be given.
    pub const EXPECTED: &str = JOB_ID_EXPECTED;

    fn read(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut digits = [0_u8; 32];
        let mut count = 0;
        for (index, byte) in text.iter().enumerate() {
            if matches!(index, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            *digits.get_mut(count)? = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return None,
            };
            count += 1;
        }
        let mut id = [0_u8; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |high, low| (high << 4) | low);
        }
        Some(Self(id))
    }

    /// Appends the id: 36 bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'0');
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                out.push(b'-');
            }
            out.extend_from_slice(&[digit(byte >> 4), digit(*byte)]);
        }
    }
}

impl TokenText {
    /// What may be given.
    pub const EXPECTED: &str = TOKEN_EXPECTED;

    fn read(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit());
            let canonical = part.len() == 1 || !part.starts_with('0');
            (plain && canonical).then_some(())
        };
        let (epoch, counter) = text.split_once('.')?;
        number(epoch)?;
        number(counter)?;
        Some(Self { epoch: epoch.parse().ok()?, counter: counter.parse().ok()? })
    }
}

impl fmt::Display for JobIdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(36);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

macro_rules! text {
    ($name:ident, $expected:expr) => {
        impl FromStr for $name {
            type Err = TextMalformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let malformed = || TextMalformed { text: text.to_owned(), expected: $expected };
                Self::read(text).ok_or_else(malformed)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                        let known = $name::read(text);
                        known.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}

text!(JobIdText, JOB_ID_EXPECTED);
text!(TokenText, TOKEN_EXPECTED);

/// The schema of a string with a pattern.
pub(super) fn string_schema(about: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .pattern(Some(pattern))
        .examples([example])
        .into()
}

impl utoipa::PartialSchema for JobIdText {
    fn schema() -> RefOr<Schema> {
        string_schema(
            "The id of a job: a UUID, version 7 where the server made it.",
            "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
            "018bcfe5-6800-7a00-8000-000000000000",
        )
    }
}

impl utoipa::ToSchema for JobIdText {
    fn name() -> Cow<'static, str> {
        "JobId".into()
    }
}

impl utoipa::PartialSchema for TokenText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The right to settle one run of one job. Opaque: hand it back."))
            .into()
    }
}

impl utoipa::ToSchema for TokenText {
    fn name() -> Cow<'static, str> {
        "Token".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written() {
        let text = "018bcfe5-6800-7a00-8abc-def012345678";
        let id: JobIdText = text.parse().unwrap();
        let mut written = Vec::new();
        id.write(&mut written);
        assert_eq!(written, text.as_bytes());
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for malformed in [
            "",
            "018bcfe568007a008abcdef012345678",
            "018bcfe5-6800-7a00-8abc-def01234567",
            "018bcfe5-6800-7a00-8abc-def0123456789",
            "018bcfe5-6800-7a00-8abc-def01234567g",
            "018bcfe506800-7a00-8abc-def012345678",
            "{18bcfe5-6800-7a00-8abc-def01234567}",
        ] {
            assert!(malformed.parse::<JobIdText>().is_err(), "{malformed}");
        }
    }

    #[test]
    fn a_token_has_one_spelling() {
        let token: TokenText = "3.18446744073709551615".parse().unwrap();
        assert_eq!(token, TokenText { epoch: 3, counter: u64::MAX });
        assert_eq!(token.to_string(), "3.18446744073709551615");
        for malformed in ["", ".", "3", "3.", ".3", "03.1", "3.+1", "3.1.1", "4294967296.1", "a.b"]
        {
            assert!(malformed.parse::<TokenText>().is_err(), "{malformed}");
        }
    }
}
