//! Tenants: inside one queue and urgency they take turns, so that one tenant's million jobs delay
//! another's first by one job's time. The jobs of a tenant stand in lines, one per lane; of each
//! line the first alone stands in its lane, at the place that its tenant has among the others. With
//! each turn that a tenant had it goes behind all that waits: a deficit round robin in which every
//! job costs one (Shreedhar and Varghese 1995), whose list of tenants is the lane itself.

mod line;
mod weight;

pub(crate) use line::turn_told;
pub(crate) use weight::check_weights;

use crate::ids::TimeMs;
use crate::wire::wire_struct;

/// Tenants that a queue may give weights to.
pub(crate) const WEIGHTS_MAX: usize = 1000;

/// Jobs that one turn of a tenant has at most.
pub(crate) const WEIGHT_MAX: u32 = 1000;

/// The first of all places that turns have: those of jobs are below.
const TURNS: u64 = 1 << 63;

wire_struct! {
    /// The tenants of a shard.
    #[derive(Copy, Default)]
    pub struct TenantTotals {
        /// Tenants with jobs that have not ended, each once per queue and urgency.
        pub tenants: u64,
        /// Their jobs.
        pub jobs: u64,
    }
}

impl TenantTotals {
    pub(crate) const NONE: Self = Self { tenants: 0, jobs: 0 };
}

wire_struct! {
    /// How many jobs of a tenant start in one of its turns.
    pub struct TenantWeight {
        /// The tenant.
        pub tenant: String,
        /// Its jobs in a turn; who has no weight has one.
        pub weight: u32,
    }
}

wire_struct! {
    /// Where a tenant stands in a queue and urgency, as long as it has jobs there that have not
    /// ended.
    #[derive(Default)]
    pub(crate) struct TenantTurn {
        /// Its jobs that have not ended.
        pub(crate) jobs: u64,
        /// Its jobs that started in the present turn.
        pub(crate) used: u32,
        /// When its last turn ended.
        pub(crate) ended_at: TimeMs,
        /// The counter of the token of the grant that ended it; none before the first end.
        pub(crate) turn: Option<u64> = 1,
    }
}
