//! Holds: while a tag is held, no job with it starts, and whoever holds it learns when every lease
//! with it was given back. What waits is set aside as dispatch meets it, and what comes at once;
//! it is let go in slices. A hold has an epoch, which rises with every hold, to fence data with.

mod apply;
mod decide;
mod lost;

pub(crate) use apply::{Holds, holds_told};

use crate::ids::{JobId, TimeMs, Token};
use crate::wire::wire_struct;

/// Holds that a namespace may have.
pub(crate) const HOLDS_MAX: usize = 1000;

/// Runs that are told of one hold, of each sort, and lost ones that are kept of it.
pub(crate) const RUNS_TOLD_MAX: usize = 1000;

wire_struct! {
    /// A hold as it is kept.
    pub struct Hold {
        /// Higher than that of every hold before it.
        pub epoch: u64,
        /// Since when it stands.
        pub since: TimeMs,
        /// Why, in words.
        pub reason: Option<String> = 1,
    }
}

wire_struct! {
    /// A run that ended without its worker while its tag was held: what it does to the data,
    /// nobody knows.
    pub struct LostRun {
        /// Its lease.
        pub token: Token,
        /// Who had it.
        pub worker: String,
        /// When it was granted.
        pub started_at: TimeMs,
        /// When the server gave it up.
        pub ended_at: TimeMs,
    }
}

/// What is asked of holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HoldCommand {
    /// Hold a tag. Where it is held already, the hold stays as it is.
    Put {
        /// The tag.
        tag: String,
        /// Why.
        reason: Option<String>,
        /// How long to wait until every lease with the tag was given back.
        wait_ms: u64,
    },
    /// Let a tag go.
    Delete {
        /// The tag.
        tag: String,
    },
    /// Describe a hold.
    Get {
        /// The tag.
        tag: String,
        /// How long to wait until every lease with the tag was given back.
        wait_ms: u64,
    },
    /// Describe the holds of the namespace, without their runs.
    List,
}

/// A hold as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldView {
    /// The tag.
    pub tag: String,
    /// What is kept of it.
    pub hold: Hold,
    /// Leases of jobs with the tag that were not given back yet.
    pub running: u64,
    /// Runs with the tag that ended without their workers since the tag is held.
    pub unaccounted: u64,
    /// Some of those that run: the job, its lease and its worker.
    pub runs: Vec<(JobId, Token, String)>,
    /// Some of those that are unaccounted: the first that were lost, in the order of their ids.
    pub lost: Vec<(JobId, LostRun)>,
}

/// What a shard answers to a [`HoldCommand`].
#[derive(Clone, Debug, PartialEq)]
pub enum HoldAnswer {
    /// The hold as it is now.
    Hold(Box<HoldView>),
    /// To `Delete`.
    Deleted,
    /// To `List`, in the order of their tags.
    Holds(Vec<HoldView>),
}
