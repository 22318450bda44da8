//! Limits at dispatch as they are set and told, and as a job names one.

use std::fmt;

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::DurationText;

/// What a limit counts by itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum LimitScopeText {
    /// All jobs of the namespace together.
    Namespace,
    /// The jobs of each queue, or of the one that `of` names.
    Queue,
    /// The jobs of each kind, or of the one that `of` names.
    Kind,
    /// The jobs of each key: those that name this limit when they are enqueued.
    Key,
}

impl fmt::Display for LimitScopeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Namespace => "namespace",
            Self::Queue => "queue",
            Self::Kind => "kind",
            Self::Key => "key",
        })
    }
}

/// So many in each period; periods follow each other from 1970-01-01T00:00:00Z on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowText {
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max: u64,
    /// How long a period is.
    pub per: DurationText,
}

/// As many as there are tokens, one for each job that starts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketText {
    /// How many tokens there are at most, and at first.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub burst: u64,
    /// So many come in the time that `per` says.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub count: u64,
    /// In which time.
    pub per: DurationText,
}

/// A limit as its owner sets it: one of `concurrency`, `window` and `bucket`.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSettingsBody {
    /// What it counts by itself.
    pub scope: LimitScopeText,
    /// With the scopes `queue` and `kind`: only of this one.
    pub of: Option<String>,
    /// So many run at a time.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub concurrency: Option<u64>,
    /// So many start in each period.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub window: Option<WindowText>,
    /// As many start as there are tokens.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub bucket: Option<BucketText>,
}

/// A limit as it is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LimitRecord {
    /// Its name.
    pub name: String,
    /// What its owner set.
    #[serde(flatten)]
    pub settings: LimitSettingsBody,
    /// With `concurrency`: jobs that run and that it counts.
    pub running: u64,
    /// Keys, queues or kinds that it holds back now; counted up to 1000.
    pub spent: u64,
    /// Jobs that wait behind these; counted up to 1000.
    #[serde(default)]
    pub waiting: u64,
    /// Some of these, up to 20, in the order of their names. Not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<LimitKeyRecord>,
}

/// A key of a limit that holds jobs back.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LimitKeyRecord {
    /// The key; the name of the queue or kind with these scopes.
    pub key: String,
    /// With `concurrency`: jobs that run and that it counts.
    pub running: u64,
    /// Jobs that wait behind it; counted up to 1000.
    pub waiting: u64,
}

/// All limits of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LimitList {
    /// In the order of their names.
    pub limits: Vec<LimitRecord>,
}

/// The limit that a job names, and where its key there comes from: one of `key`, `by` and `tag`.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobLimitText {
    /// The limit, of the scope `key`. One that does not exist holds nothing back.
    pub name: String,
    /// The key itself.
    pub key: Option<String>,
    /// A JSON pointer into the args, such as `/account`: the value there is the key.
    pub by: Option<String>,
    /// The key is what follows this text in the first tag that begins with it, as in `account=`.
    pub tag: Option<String>,
}

/// The limit that a job names, as it is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct JobLimitRecord {
    /// The limit.
    pub name: String,
    /// Its key there.
    pub key: String,
}
