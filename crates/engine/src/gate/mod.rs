//! Gates: named switches that somebody closes and opens. Jobs, queues and kinds depend on them.
//! Behind a closed gate nothing starts, and what runs is interrupted where another run can go on.
//! Jobs that name gates stand in parts of lanes of their own, one part for each set of names, so
//! closing a gate moves no job.

mod apply;
mod decide;
mod sets;

pub(crate) use apply::{Gating, gates_told};
pub(crate) use decide::{check_gates, sorted};

use crate::command::Start;
use crate::ids::{GateId, TimeMs};
use crate::wire::wire_struct;

/// Gates that a namespace may have.
pub(crate) const GATES_MAX: usize = 1000;

/// Sets of gates that the jobs of a namespace may name at a time: each that waits has a tree of
/// heads of its own, which dispatch looks at.
pub(crate) const GATE_SETS_MAX: usize = 2000;

/// Gates that one job may name.
pub(crate) const GATES_OF_JOB_MAX: usize = 8;

/// Queues, and kinds, that depend on one gate.
pub(crate) const TARGETS_MAX: usize = 100;

wire_struct! {
    /// A gate as it is kept.
    pub struct Gate {
        /// Its number, which its timer names.
        pub id: GateId,
        /// Since when it is closed, or open.
        pub since: TimeMs,
        /// Nothing starts behind it.
        pub closed: bool = 1,
        /// Why, in words.
        pub reason: Option<String> = 2,
        /// When it opens by itself.
        pub expires_at: Option<TimeMs> = 3,
        /// Queues whose jobs depend on it, beside jobs that name it.
        pub queues: Vec<String> = 4,
        /// Kinds whose jobs depend on it.
        pub kinds: Vec<String> = 5,
    }
}

/// What is asked of gates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GateCommand {
    /// Change a gate, which is created where it is not there.
    Change {
        /// Its name.
        name: String,
        /// What changes.
        change: GateChange,
    },
    /// Remove a gate: it holds nothing back any more.
    Delete {
        /// Its name.
        name: String,
    },
    /// Describe a gate.
    Get {
        /// Its name.
        name: String,
    },
    /// Describe the gates of the namespace.
    List,
}

/// A change of a gate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GateChange {
    /// Whether it is closed from now on, why, and until when; `None` leaves all three. An open
    /// gate has no reason and no end.
    pub closed: Option<GateClosed>,
    /// The queues that depend on it; `None` leaves them.
    pub queues: Option<Vec<String>>,
    /// The kinds that depend on it; `None` leaves them.
    pub kinds: Option<Vec<String>>,
}

/// Whether a gate is closed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GateClosed {
    /// Nothing starts behind it.
    pub closed: bool,
    /// Why.
    pub reason: Option<String>,
    /// When it opens by itself.
    pub expiry: Option<Start>,
}

/// A gate as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct GateView {
    /// Its name.
    pub name: String,
    /// What is kept of it.
    pub gate: Gate,
    /// Jobs that run and depend on it.
    pub running: u64,
}

/// What a shard answers to a [`GateCommand`].
#[derive(Clone, Debug, PartialEq)]
pub enum GateAnswer {
    /// The gate as it is now.
    Gate(Box<GateView>),
    /// To `Delete`.
    Deleted,
    /// To `List`, in the order of their names.
    Gates(Vec<GateView>),
}
