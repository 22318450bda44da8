//! Unique jobs as producers ask for them, and what they hear where another job was there first.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::DurationText;

/// How a job is to be unique: of the jobs that agree in what `by` names, at most one at a time.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UniqueText {
    /// In what such jobs agree: `kind`, `queue`, `args` (all of them), and JSON pointers into the
    /// args, such as `/order/id`. `kind`, `queue` and `args` where left out.
    #[serde(default, deserialize_with = "super::object::optional_names")]
    #[schema(max_items = 16)]
    pub by: Option<Vec<String>>,
    /// And in this text, where it is given.
    pub key: Option<String>,
    /// And in the period in which they are enqueued: periods of this length follow each other from
    /// 1970-01-01T00:00:00Z on. Without it they are unique at any time.
    pub period: Option<DurationText>,
    /// How long a job counts. `ended` where left out; with `replace` and `debounce` `started`, with
    /// `throttle` `forgotten`.
    pub until: Option<UniqueUntilText>,
    /// What happens where another job is there; `reject` where left out.
    pub on_conflict: Option<OnConflictText>,
    /// With `replace`: what the other job gets of this one: `args`, `run_at`. Both where left out.
    #[serde(default, deserialize_with = "super::object::optional_names")]
    #[schema(max_items = 2)]
    pub replace: Option<Vec<String>>,
}

/// How long a job counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum UniqueUntilText {
    /// Until a worker gets it for the first time, or it ends before that.
    Started,
    /// Until it has ended, whichever way.
    Ended,
    /// Until its outcome is forgotten, or it is removed; with a `period` its outcome is kept to the
    /// end of that at least.
    Forgotten,
}

/// What happens where another job is there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum OnConflictText {
    /// The new job is refused (`unique_taken`).
    Reject,
    /// The answer is the job that is there.
    Existing,
    /// The job that waits gets the new one's args, or its time, or both. One that waits no more
    /// refuses the new one.
    Replace,
    /// The job that waits gets the new one's time. One that waits no more refuses the new one.
    Debounce,
    /// The new job is dropped, and the answer says so. Needs a `period`.
    Throttle,
}

/// What became of a job whose like was there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UniqueOutcome {
    /// The job that was there stands for it.
    Existing,
    /// The job that was there got its args, or its time, or both.
    Replaced,
    /// The job that was there got its time.
    Debounced,
    /// It was dropped.
    Throttled,
}

impl UniqueOutcome {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Existing => "existing",
            Self::Replaced => "replaced",
            Self::Debounced => "debounced",
            Self::Throttled => "throttled",
        }
    }
}

/// One job of a bulk whose like was there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct UniqueMetText {
    /// Which one, from 0.
    pub index: u64,
    /// What became of it. Its id in `ids` is that of the job that was there.
    pub outcome: UniqueOutcome,
}

/// The lock of a unique job, as it is told.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct UniqueRecord {
    /// How long the job counts.
    pub until: UniqueUntilText,
    /// The beginning of its period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_from: Option<super::InstantText>,
}
