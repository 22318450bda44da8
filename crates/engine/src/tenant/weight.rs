//! Where the jobs of a tenant stand among those of others, and how many jobs one of its turns has.

use super::{TURNS, TenantTurn, TenantWeight, WEIGHT_MAX, WEIGHTS_MAX};
use crate::bounds::check_name;
use crate::ids::Place;
use crate::limits::Limits;
use crate::queueing::Slot;
use crate::rejection::Rejection;

/// Bits of a job's own place in that of its turn: a shard has taken fewer jobs than that.
const OWN_BITS: u32 = 40;

impl TenantTurn {
    /// Where the first job of one of the tenant's lines stands: in its own place at first, and
    /// behind all that waited when the tenant's last turn ended from then on; among its lines, the
    /// one whose first job came first is first. No two jobs have the same, as their own places
    /// differ. Of the turn as much is left as tells those of one millisecond apart.
    pub(crate) fn stands(&self, own: Slot) -> Slot {
        let Some(turn) = self.turn else { return own };
        let of_turn = (turn << OWN_BITS) & (TURNS - 1);
        let place = TURNS | of_turn | own.1.0 & ((1 << OWN_BITS) - 1);
        own.max((self.ended_at, Place(place)))
    }
}

/// Weights are kept in the order of their tenants.
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
pub(super) fn weight_of(weights: &[TenantWeight], tenant: &str) -> u32 {
    let found = weights.binary_search_by(|it| it.tenant.as_str().cmp(tenant));
    found.ok().and_then(|at| weights.get(at)).map_or(1, |it| it.weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TimeMs;

    #[test]
    fn the_lines_of_one_turn_stand_by_the_age_of_their_first_jobs() {
        let turn =
            |turn| TenantTurn { ended_at: TimeMs(10), turn: Some(turn), ..Default::default() };
        let own = |place| (TimeMs(5), Place(place));
        assert!(turn(3).stands(own(0xffff)) < turn(3).stands(own(0x1_0000)));
        assert!(turn(3).stands(own(1 << 39)) < turn(4).stands(own(1)), "the turn goes before");
        let later = (TimeMs(11), Place(7));
        assert_eq!(turn(3).stands(later), later);
    }
}
