//! The clocks and the random numbers that the engine gets as arguments. Nothing else in the server
//! hands out time to it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use longshore_engine::{Clock, MonoMs, TimeMs};

/// The clocks of one thread. Monotonic instants of all threads of a process count from the same
/// point, so they can be compared.
#[derive(Debug)]
pub(crate) struct Clocks {
    start: Instant,
    random: u64,
}

impl Clocks {
    /// Clocks that count from `start`, with randomness from the operating system.
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, random: RandomState::new().build_hasher().finish() }
    }

    /// The present instant and a fresh random number.
    pub(crate) fn now(&mut self) -> (Instant, Clock) {
        let instant = Instant::now();
        let mono = instant.saturating_duration_since(self.start).as_millis() as u64;
        let clock = Clock { wall: wall_now(), mono: MonoMs(mono), random: self.next_random() };
        (instant, clock)
    }

    /// `SplitMix64`: jitter needs numbers that spread well, not secrets.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Wall time; 1970 where the system's clock says something earlier.
pub fn wall_now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs(since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards_and_randomness_differs() {
        let mut clocks = Clocks::new(Instant::now());
        let (_, first) = clocks.now();
        let (_, second) = clocks.now();
        assert!(second.mono >= first.mono);
        assert_ne!(first.random, second.random);
        assert!(first.wall > TimeMs(1_600_000_000_000));
    }
}
