//! How long a failed job waits: one object whose `policy` says which of its other fields count.

use std::fmt;

use serde::de;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{DurationText, OwnFault};

/// How long a failed job waits for its next attempt.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "policy")]
pub enum RetryText {
    /// Sidekiq's curve: `c^4 + 15 + random(10 * (c + 1))` seconds with c = attempt - 1.
    Sidekiq,
    /// The same delay each time.
    Constant {
        /// The delay.
        delay: DurationText,
    },
    /// Grows by a factor from a base up to a cap.
    Exponential {
        /// The delay after the first attempt.
        base: DurationText,
        /// What each further failure multiplies it by; 2 where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 1000)]
        factor: Option<f64>,
        /// The longest delay; `1d` where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cap: Option<DurationText>,
        /// Up to this share of the delay is taken off at random; 0 where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 0, maximum = 1)]
        jitter: Option<f64>,
    },
}

/// Every field that some policy has. Read by itself, so that whoever reads knows at which field
/// reading stopped: serde's tagged enums forget it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    policy: Policy,
    #[serde(default)]
    delay: Option<DurationText>,
    #[serde(default)]
    base: Option<DurationText>,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    cap: Option<DurationText>,
    #[serde(default)]
    jitter: Option<f64>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Policy {
    Sidekiq,
    Constant,
    Exponential,
}

impl Policy {
    const WORDS: &[&str] = &["sidekiq", "constant", "exponential"];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sidekiq => "sidekiq",
            Self::Constant => "constant",
            Self::Exponential => "exponential",
        }
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Policy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"sidekiq\", \"constant\" or \"exponential\"")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Policy, E> {
                [Policy::Sidekiq, Policy::Constant, Policy::Exponential]
                    .into_iter()
                    .find(|policy| policy.as_str() == word)
                    .ok_or_else(|| E::unknown_variant(word, Policy::WORDS))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Fields {
    /// The field that is given although the policy has no use for it, and whose it is.
    fn misplaced(&self) -> Option<(&'static str, Policy)> {
        let given = [
            ("delay", self.delay.is_some(), Policy::Constant),
            ("base", self.base.is_some(), Policy::Exponential),
            ("factor", self.factor.is_some(), Policy::Exponential),
            ("cap", self.cap.is_some(), Policy::Exponential),
            ("jitter", self.jitter.is_some(), Policy::Exponential),
        ];
        let misplaced = given.into_iter().find(|(_, is_given, of)| *is_given && *of != self.policy);
        misplaced.map(|(field, _, of)| (field, of))
    }
}

impl<'de> Deserialize<'de> for RetryText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        if let Some((field, of)) = fields.misplaced() {
            let (with, of) = (fields.policy.as_str().to_owned(), of.as_str().to_owned());
            return Err(OwnFault::Misplaced { field: field.to_owned(), with, of }.error());
        }
        let missing = |field| de::Error::missing_field(field);
        match fields.policy {
            Policy::Sidekiq => Ok(Self::Sidekiq),
            Policy::Constant => {
                fields.delay.map(|delay| Self::Constant { delay }).ok_or_else(|| missing("delay"))
            }
            Policy::Exponential => Ok(Self::Exponential {
                base: fields.base.ok_or_else(|| missing("base"))?,
                factor: fields.factor,
                cap: fields.cap,
                jitter: fields.jitter,
            }),
        }
    }
}

impl fmt::Display for RetryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sidekiq => f.write_str("sidekiq"),
            Self::Constant { delay } => write!(f, "constant {delay}"),
            Self::Exponential { base, .. } => write!(f, "exponential from {base}"),
        }
    }
}
