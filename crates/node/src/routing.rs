//! Which shard a namespace lives in. The function is part of the format: it never changes.

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The shard of a namespace in a store of `shards` shards: FNV-1a (64 bits) of the name's bytes,
/// its upper half folded onto the lower, modulo the number of shards.
pub fn shard_of(namespace: &str, shards: u32) -> u32 {
    assert!(shards > 0, "a store has at least one shard");
    let hash = namespace
        .bytes()
        .fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    (folded % u64::from(shards)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_name_never_changes() {
        let names = ["", "default", "a", "b", "tenant-1", "tenant-2", "tenant-3", "M\u{fc}nchen"];
        let shards: Vec<[u32; 3]> = names
            .iter()
            .map(|name| [shard_of(name, 2), shard_of(name, 4), shard_of(name, 7)])
            .collect();
        let golden = [
            [1, 1, 3],
            [0, 0, 6],
            [0, 0, 5],
            [1, 1, 3],
            [1, 3, 2],
            [0, 2, 4],
            [1, 1, 3],
            [0, 2, 6],
        ];
        assert_eq!(shards, golden);
    }

    #[test]
    fn names_spread_over_the_shards() {
        let mut counts = [0_u32; 4];
        for number in 0..1000 {
            counts[shard_of(&format!("tenant-{number}"), 4) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (200..300).contains(count)), "{counts:?}");
    }

    #[test]
    fn one_shard_has_everything() {
        assert_eq!(shard_of("anything", 1), 0);
    }
}
