//! Operations on all jobs that a filter means, as they are asked for.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DurationText, InstantText, StateText};

/// What is done with each job.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum JobActionText {
    /// A dead one starts again, a retrying one waits no longer.
    Retry,
    /// One that has not ended is called off; a running one is asked to stop.
    Cancel,
    /// One that waits goes to another queue.
    Move,
    /// A dead one, or with its state one that waits, is removed without an outcome.
    Remove,
    /// One that waits has another priority.
    SetPriority,
}

impl JobActionText {
    /// Every action.
    pub const ALL: [Self; 5] =
        [Self::Retry, Self::Cancel, Self::Move, Self::Remove, Self::SetPriority];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Move => "move",
            Self::Remove => "remove",
            Self::SetPriority => "set_priority",
        }
    }
}

/// Which jobs are meant: those that are as each of its fields says.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobFilterBody {
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only in this state.
    pub state: Option<StateText>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// Only of this ordering key.
    pub ordering_key: Option<String>,
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only those whose last error is of this type.
    pub error: Option<String>,
    /// Only those whose args contain this text, as their producer wrote them.
    pub text: Option<String>,
    /// Only what was enqueued (what has ended: ended) longer ago than this. Not with `before`.
    pub older_than: Option<DurationText>,
    /// Only what was enqueued (what has ended: ended) no longer ago than this. Not with `since`.
    pub newer_than: Option<DurationText>,
    /// Only what was enqueued (what has ended: ended) before this instant.
    pub before: Option<InstantText>,
    /// Only what was enqueued (what has ended: ended) at this instant or later.
    pub since: Option<InstantText>,
}

/// What is to be done with which jobs.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRequest {
    /// What is done with each.
    pub action: JobActionText,
    /// Which jobs: `{}` for all that the action can change.
    #[serde(deserialize_with = "super::object::required")]
    pub filter: JobFilterBody,
    /// So many of them at most, at least 1.
    #[schema(minimum = 1)]
    pub limit: Option<u64>,
    /// With `move`: the queue that they go to. It has to exist.
    pub to_queue: Option<String>,
    /// With `set_priority`: 0 to 9, 9 first.
    #[serde(default, deserialize_with = "super::number::priority")]
    #[schema(minimum = 0, maximum = 9)]
    pub priority: Option<u8>,
    /// With `cancel`: end runs at once, without asking their workers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}
