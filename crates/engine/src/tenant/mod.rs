//! Tenants: inside one queue and urgency they take turns, so that one tenant's million jobs delay
//! another's first by one job's time. The jobs of a tenant stand in lines, one per lane; of each
//! line the first alone stands in its lane, at the place that its tenant has among the others. With
//! each turn that a tenant had it goes behind all that waits: a deficit round robin in which every
//! job costs one (Shreedhar and Varghese 1995), whose list of tenants is the lane itself.

mod line;

use crate::bounds::check_name;
use crate::ids::{Place, TimeMs};
use crate::limits::Limits;
use crate::queueing::Slot;
use crate::rejection::Rejection;
use crate::wire::wire_struct;

/// Tenants that a queue may give weights to.
pub(crate) const WEIGHTS_MAX: usize = 1000;

/// Jobs that one turn of a tenant has at most.
pub(crate) const WEIGHT_MAX: u32 = 1000;

/// The first of all places that turns have: those of jobs are below.
const TURNS: u64 = 1 << 63;

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

impl TenantTurn {
    /// Where the first job of one of the tenant's lines stands: in its own place at first, and
    /// behind all that waited when the tenant's last turn ended from then on. No two jobs have the
    /// same: two lines of one tenant differ in the places of their first jobs.
    fn stands(&self, own: Slot) -> Slot {
        let Some(turn) = self.turn else { return own };
        let place = TURNS | (turn << 16) & (TURNS - 1) | own.1.0 & 0xffff;
        own.max((self.ended_at, Place(place)))
    }
}

/// Weights in the order of their tenants, which is how they are kept.
pub(crate) fn check_weights(limits: &Limits, weights: &[TenantWeight]) -> Result<(), Rejection> {
    let refused = |value: String, allowed: String| {
        Err(Rejection::ValueRefused { field: "tenants", value, allowed })
    };
    if weights.len() > WEIGHTS_MAX {
        let value = format!("{} tenants", weights.len());
        return refused(value, format!("at most {WEIGHTS_MAX} tenants with a weight"));
    }
    for TenantWeight { tenant, weight } in weights {
        check_name(limits, "tenants", tenant)?;
        if !(1..=WEIGHT_MAX).contains(weight) {
            return refused(weight.to_string(), format!("weights of 1 to {WEIGHT_MAX}"));
        }
    }
    if weights.windows(2).any(|pair| matches!(pair, [a, b] if a.tenant >= b.tenant)) {
        let allowed = "each tenant once, in their order".to_owned();
        return refused("tenants out of order".to_owned(), allowed);
    }
    Ok(())
}

/// The weight of a tenant.
pub(crate) fn weight_of(weights: &[TenantWeight], tenant: &str) -> u32 {
    let found = weights.binary_search_by(|it| it.tenant.as_str().cmp(tenant));
    found.ok().and_then(|at| weights.get(at)).map_or(1, |it| it.weight)
}
