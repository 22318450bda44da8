//! The bindings of an exchange that spreads messages over what is bound to it. Each unit of a
//! binding's weight has some points on a ring, and a routing key goes to the first point behind its
//! own: what comes or goes moves its own share only.

use std::collections::BTreeMap;

use super::Destination;

/// The heaviest that a binding may be.
pub(crate) const WEIGHT_MAX: u32 = 100;

/// Points of each unit of weight.
const POINTS: u32 = 16;

/// The points, each with how many bindings have it.
#[derive(Debug, Default)]
pub(crate) struct Ring(BTreeMap<(u64, Destination), u32>);

/// The weight that a binding's routing key says.
pub(crate) fn weight_of(routing_key: &str) -> Option<u32> {
    let digits = routing_key.bytes().all(|byte| byte.is_ascii_digit());
    routing_key.parse().ok().filter(|weight| digits && (1..=WEIGHT_MAX).contains(weight))
}

/// FNV-1a, then mixed (`SplitMix64`): on any machine the same. What was routed is in the journal,
/// so another version may spread otherwise.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn points(routing_key: &str, to: Destination) -> impl Iterator<Item = (u64, Destination)> {
    let (kind, id) = match to {
        Destination::Queue { id } => (1_u8, id.0),
        Destination::Exchange { id } => (2, id.0),
        Destination::Stream { id } => (4, id.0),
        Destination::Jobs { id, kind, .. } => (3, id.0 ^ kind.0.rotate_left(16)),
    };
    let count = POINTS * weight_of(routing_key).unwrap_or(0);
    (0..count).map(move |at| (hash(&[&[kind], &id.to_be_bytes(), &at.to_be_bytes()]), to))
}

impl Ring {
    pub(crate) fn add(&mut self, routing_key: &str, to: Destination) {
        for point in points(routing_key, to) {
            *self.0.entry(point).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, routing_key: &str, to: Destination) {
        for point in points(routing_key, to) {
            if let Some(count) = self.0.get_mut(&point) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&point);
                }
            }
        }
    }

    /// Where a routing key goes.
    pub(crate) fn route(&self, key: &str) -> Option<Destination> {
        let first = Destination::Queue { id: crate::ids::QueueId(0) };
        let behind = self.0.range((hash(&[key.as_bytes()]), first)..).next();
        behind.or_else(|| self.0.first_key_value()).map(|((_, to), _)| *to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueId;

    fn to(id: u32) -> Destination {
        Destination::Queue { id: QueueId(id) }
    }

    fn spread(ring: &Ring) -> BTreeMap<u32, Destination> {
        let all = (0..20_000_u32).map(|key| (key, ring.route(&format!("key-{key}"))));
        all.filter_map(|(key, to)| Some((key, to?))).collect()
    }

    #[test]
    fn keys_are_spread_by_weight_and_move_only_with_what_comes_or_goes() {
        let mut ring = Ring::default();
        assert_eq!(ring.route("a"), None);
        for (id, weight) in [(1, "10"), (2, "10"), (3, "20")] {
            ring.add(weight, to(id));
        }
        let before = spread(&ring);
        let share = |id| before.values().filter(|it| **it == to(id)).count();
        for (id, wanted) in [(1, 5_000), (2, 5_000), (3, 10_000_usize)] {
            let off = share(id).abs_diff(wanted);
            assert!(off < wanted / 4, "{} of 20,000 for {id}", share(id));
        }
        ring.add("10", to(4));
        let with = spread(&ring);
        let moved = |(key, to): (&u32, &Destination)| before[key] != *to;
        assert!(with.iter().filter(|it| moved(*it)).all(|(_, it)| *it == to(4)));
        ring.remove("10", to(4));
        assert_eq!(spread(&ring), before);
        for (id, weight) in [(1, "10"), (2, "10"), (3, "20")] {
            ring.remove(weight, to(id));
        }
        assert!(ring.0.is_empty());
    }

    #[test]
    fn a_weight_is_a_whole_number_within_its_bounds() {
        let all = ["1", "100", "0", "101", "", "-1", "+1", "1.5", "x", "99999999999"];
        let weights = all.map(weight_of);
        let none = [None; 8];
        assert_eq!(weights[..2], [Some(1), Some(100)]);
        assert_eq!(weights[2..], none);
    }
}
