//! Ids for jobs whose producer chose none: UUIDs of version 7 (RFC 9562) that grow within a
//! thread. They need to be unique, not secret. Their last 16 bits are a check of the others: nobody
//! learns such an id before its job is durable, so a job that has one and is not there was there.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use longshore_engine::JobId;

use longshore_node::wall_now;

/// Bits of the counter that follows the milliseconds, RFC 9562 6.2 method 1.
const COUNTER_BITS: u32 = 42;

struct IdSource {
    random: u64,
    ms: u64,
    counter: u64,
}

thread_local! {
    static SOURCE: RefCell<IdSource> = RefCell::new(IdSource {
        random: RandomState::new().build_hasher().finish(),
        ms: 0,
        counter: 0,
    });
}

/// Bits of the check.
const CHECK_BITS: u32 = 16;

/// Whether a server made this id. One in 65,536 of those that others make passes for such.
pub(crate) fn is_made_here(id: JobId) -> bool {
    let whole = u128::from_be_bytes(id.0);
    id.made_at().is_some() && whole == checked(whole)
}

/// The id with the check of its other bits at its end: FNV-1a, folded.
fn checked(id: u128) -> u128 {
    let others = id >> CHECK_BITS;
    let mut hash: u32 = 0x811c_9dc5;
    for byte in others.to_be_bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    (others << CHECK_BITS) | u128::from((hash >> CHECK_BITS) ^ (hash & 0xffff))
}

/// An id that no other call gets.
pub(crate) fn fresh_id() -> JobId {
    SOURCE.with_borrow_mut(|source| source.next(wall_now().0))
}

/// A number that nobody needs to know beforehand.
pub(super) fn draw() -> u64 {
    SOURCE.with_borrow_mut(IdSource::next_random)
}

impl IdSource {
    fn next(&mut self, now_ms: u64) -> JobId {
        if now_ms > self.ms {
            self.ms = now_ms;
            // The upper bit stays free, so that many can follow within the millisecond.
            self.counter = self.next_random() >> (64 - COUNTER_BITS + 1);
        } else {
            self.counter += 1;
            if self.counter >> COUNTER_BITS > 0 {
                self.ms += 1;
                self.counter = 0;
            }
        }
        let random = self.next_random();
        let high = (self.ms << 16) | (7 << 12) | (self.counter >> 30);
        let low = (0b10 << 62) | ((self.counter & ((1 << 30) - 1)) << 32) | (random >> 32);
        JobId(checked((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// `SplitMix64`.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_and_tell_their_time() {
        let mut source = IdSource { random: 7, ms: 0, counter: 0 };
        let (mut last, mut passed) = (JobId([0; 16]), 0);
        let steady = std::iter::repeat_n(1_700_000_000_000, 20_000);
        for now_ms in steady.chain([1_699_999_999_999; 10]) {
            let id = source.next(now_ms);
            assert!(id > last);
            assert_eq!(id.made_at().map(|at| at.0), Some(1_700_000_000_000));
            assert_eq!(id.0[8] >> 6, 0b10, "the variant of RFC 9562");
            assert!(is_made_here(id));
            for bit in [0, 40, 60, 90, 112, 127] {
                let mut other = id;
                other.0[bit / 8] ^= 1 << (bit % 8);
                passed += u32::from(is_made_here(other));
            }
            last = id;
        }
        assert!(passed < 10, "{passed} of 120,060 foreign ids passed for own");
        source.counter = (1 << COUNTER_BITS) - 1;
        assert!(source.next(1_700_000_000_000) > last);
    }
}
