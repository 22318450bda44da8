//! Whole numbers with bounds of the API's own, so that a refusal tells those and not what the
//! machine's integers could hold.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Unexpected};

/// A whole number from `MIN` to `MAX`, or `null`.
struct Whole<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> de::Visitor<'_> for Whole<MIN, MAX> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        if (MIN..=MAX).contains(&number) {
            return Ok(Some(number));
        }
        Err(E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

fn whole<'de, const MIN: u64, const MAX: u64, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let number = deserializer.deserialize_any(Whole::<MIN, MAX>)?;
    let fits = |number| T::try_from(number).map_err(|_| de::Error::custom("a number is too large"));
    number.map(fits).transpose()
}

/// Reads a priority.
pub(super) fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    whole::<0, 9, _, _>(deserializer)
}

/// Reads a number of attempts.
pub(super) fn attempts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    whole::<1, { u32::MAX as u64 }, _, _>(deserializer)
}
