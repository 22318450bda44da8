//! Which offset of each key is the newest, within so many bytes of memory. Keys are told apart by
//! 128 bits of their SHA-256: whoever chooses them cannot have one taken for another.

use sha2::{Digest, Sha256};

/// What one key takes, in bytes.
const SLOT_BYTES: usize = 24;
const SLOTS_MIN: usize = 1024;

/// The newest offset of each key.
#[derive(Debug)]
pub(super) struct NewestOffsets {
    /// Half of them are free at least. The offset is one more than the key's, and 0 for none.
    slots: Vec<(u64, u64, u64)>,
    len: usize,
    slots_max: usize,
}

impl NewestOffsets {
    /// For as many keys as fit into so many bytes, and a few at least.
    pub(super) fn new(bytes_max: usize) -> Self {
        // While it grows, the one before is there as well.
        let slots_max = (bytes_max / SLOT_BYTES * 2 / 3).max(2);
        let slots_max =
            if slots_max.is_power_of_two() { slots_max } else { slots_max.next_power_of_two() / 2 };
        let slots = vec![(0, 0, 0); slots_max.min(SLOTS_MIN)];
        Self { slots, len: 0, slots_max }
    }

    /// Notes an offset, the newest one counts; `false` where there is no room for its key.
    pub(super) fn put(&mut self, key: &[u8], offset: u64) -> bool {
        let hash = hash(key);
        if let Some((.., newest)) = self.slot(hash).filter(|slot| slot.2 > 0) {
            *newest = (*newest).max(offset + 1);
            return true;
        }
        if self.len >= self.slots.len() / 2 {
            if self.slots.len() >= self.slots_max {
                return false;
            }
            self.grow();
        }
        let Some(slot) = self.slot(hash) else { return false };
        *slot = (hash.0, hash.1, offset + 1);
        self.len += 1;
        true
    }

    /// Whether a newer offset of the key is known.
    pub(super) fn has_newer(&mut self, key: &[u8], offset: u64) -> bool {
        self.slot(hash(key)).is_some_and(|(.., newest)| *newest > offset + 1)
    }

    fn grow(&mut self) {
        let larger = vec![(0, 0, 0); self.slots.len() * 2];
        for taken in std::mem::replace(&mut self.slots, larger) {
            if taken.2 > 0
                && let Some(slot) = self.slot((taken.0, taken.1))
            {
                *slot = taken;
            }
        }
    }

    /// The slot of a key, or the free one where it belongs.
    fn slot(&mut self, (high, low): (u64, u64)) -> Option<&mut (u64, u64, u64)> {
        let mask = self.slots.len() - 1;
        let begin = high as usize & mask;
        let fits = |slot: &(u64, u64, u64)| slot.2 == 0 || (slot.0, slot.1) == (high, low);
        let mut places = (0..=mask).map(|step| (begin + step) & mask);
        let place = places.find(|place| self.slots.get(*place).is_some_and(fits))?;
        self.slots.get_mut(place)
    }
}

fn hash(key: &[u8]) -> (u64, u64) {
    let digest = Sha256::digest(key);
    let half = |from: usize| {
        let bytes = digest.get(from..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    (half(0), half(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_counts_and_what_finds_no_room_is_said() {
        let mut newest = NewestOffsets::new(SLOT_BYTES * 3 * 4096);
        let mut fitted = 0;
        for key in 0..10_000_u32 {
            fitted += u32::from(newest.put(&key.to_le_bytes(), key.into()));
        }
        assert_eq!(fitted, 4096, "half of the 8192 that fit");
        for key in 0..4096_u32 {
            assert!(!newest.has_newer(&key.to_le_bytes(), key.into()));
            assert!(newest.put(&key.to_le_bytes(), 20_000));
            assert!(newest.has_newer(&key.to_le_bytes(), key.into()));
        }
        assert!(!newest.has_newer(b"another", 0));
    }
}
