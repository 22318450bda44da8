//! Service levels: how soon jobs of a queue or kind shall start or be done, or how often a schedule
//! shall succeed, and for which share. What became of that is counted by minutes, derived from the
//! records of jobs; a breach, and its end, are records of their own. Where a level is set, lanes
//! are merged by deadline.

mod backlog;
mod decide;
mod measure;
mod need;
mod settling;

pub(crate) use decide::{SLA_LOOKS, SLA_TICK_LOOKS};
pub(crate) use measure::{SlaEvent, Slas};
pub use need::{WorkerPatience, workers_needed};

use crate::ids::TimeMs;
use crate::schedule::JobTemplate;
use crate::wire::{wire_enum, wire_struct};

/// Levels that a namespace may have: each is looked at for each of its jobs.
pub(crate) const SLAS_MAX: usize = 100;

/// Minutes that are kept of a level.
pub(crate) const MINUTES_KEPT: u64 = 24 * 60;

/// What jobs without a level count as having, where jobs with one are beside them.
pub(crate) const DEADLINE_MS_OF_NONE: u64 = 3_600_000;

/// Late jobs of a level that are counted at a time.
pub(crate) const LATE_TOLD_MAX: usize = 100;

/// Jobs of a kind that wait which are counted for its need of workers.
pub(crate) const BACKLOG_TOLD_MAX: usize = 1000;

wire_enum! {
    /// What a level is about.
    pub enum SlaTarget {
        /// The jobs of a queue.
        1 => Queue {
            /// Its name.
            name: String,
        },
        /// The jobs of a kind.
        2 => Kind {
            /// Its name.
            name: String,
        },
        /// The jobs of a schedule.
        3 => Schedule {
            /// Its name.
            name: String,
        },
    }
}

wire_enum! {
    /// What is promised.
    pub enum SlaGoal {
        /// A job is handed out so soon after it may start.
        1 => StartedWithin {
            /// How soon.
            within_ms: u64,
        },
        /// A job has succeeded so soon after it may first start.
        2 => DoneWithin {
            /// How soon.
            within_ms: u64,
        },
        /// So much time passes at most between two successes.
        3 => AtLeastEvery {
            /// How much.
            within_ms: u64,
        },
    }
}

impl SlaGoal {
    /// The span that it names.
    pub fn within_ms(&self) -> u64 {
        match self {
            Self::StartedWithin { within_ms }
            | Self::DoneWithin { within_ms }
            | Self::AtLeastEvery { within_ms } => *within_ms,
        }
    }
}

wire_struct! {
    /// A level as its owner sets it.
    pub struct SlaSettings {
        /// What it is about.
        pub target: SlaTarget,
        /// What is promised.
        pub goal: SlaGoal,
        /// For which share, in hundredths of a per cent.
        pub share: u32,
        /// What is enqueued when it is breached.
        pub breach: Option<Box<JobTemplate>> = 1,
    }
}

wire_struct! {
    /// A level as it is kept.
    pub struct Sla {
        /// What its owner set.
        pub settings: SlaSettings,
        /// Since when that is measured.
        pub since: TimeMs,
        /// Since when it is breached.
        pub breached_at: Option<TimeMs> = 1,
        /// How often it was breached.
        pub breaches: u64 = 2,
        /// The last success of its schedule.
        pub last_at: Option<TimeMs> = 3,
    }
}

wire_struct! {
    /// What was measured within a minute, or longer.
    #[derive(Copy, Default)]
    pub struct SlaCount {
        /// Jobs, or gaps between successes, of which it is known.
        pub measured: u64,
        /// Of these, those that missed the goal.
        pub missed: u64,
        /// The longest of them.
        pub worst_ms: u64,
        /// Jobs that came.
        pub arrived: u64,
        /// Jobs that were handed out for the first time.
        pub started: u64,
        /// Runs that ended.
        pub runs: u64,
        /// How long these took together.
        pub run_ms: u64,
    }
}

impl SlaCount {
    pub(crate) fn add(&mut self, other: &Self) {
        self.measured += other.measured;
        self.missed += other.missed;
        self.worst_ms = self.worst_ms.max(other.worst_ms);
        self.arrived += other.arrived;
        self.started += other.started;
        self.runs += other.runs;
        self.run_ms = self.run_ms.saturating_add(other.run_ms);
    }
}

/// What is asked of levels.
#[derive(Clone, Debug, PartialEq)]
pub enum SlaCommand {
    /// Create a level, or change it.
    Put {
        /// Its name.
        name: String,
        /// What holds from now on.
        settings: Box<SlaSettings>,
    },
    /// Remove a level.
    Delete {
        /// Its name.
        name: String,
    },
    /// Describe a level.
    Get {
        /// Its name.
        name: String,
    },
    /// Describe the levels of the namespace.
    List,
}

/// A level at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SlaView {
    /// Its name.
    pub name: String,
    /// What is kept of it.
    pub sla: Sla,
    /// What was measured in the last five minutes, hour and day, to the minute.
    pub windows: [SlaCount; 3],
    /// Jobs that wait and have missed the goal; counted up to 100.
    pub late: u64,
    /// Jobs that wait and have less than half of the time left, late ones among them.
    pub at_risk: u64,
    /// How long the oldest of its jobs waits, or how long ago its schedule succeeded.
    pub oldest_ms: Option<u64>,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that come in a second, over about five minutes.
    pub arrivals_per_second: f64,
    /// How long a run takes, over about five minutes, or over the longest time that is known.
    pub run_ms: Option<f64>,
    /// Workers of one job at a time that the level needs now.
    pub workers_needed: Option<u64>,
}

impl SlaView {
    /// Lengths of the windows, in minutes.
    pub const WINDOWS: [u64; 3] = [5, 60, MINUTES_KEPT];
}

/// What a shard answers to a [`SlaCommand`].
#[derive(Clone, Debug, PartialEq)]
pub enum SlaAnswer {
    /// The level as it is now.
    Sla(Box<SlaView>),
    /// To `Delete`.
    Deleted,
    /// To `List`, in the order of their names.
    Slas(Vec<SlaView>),
}
