//! What a decision may know of the world: the time, and chance.

use crate::ids::{MonoMs, TimeMs};

/// The clocks and a random number, as the caller read them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Wall time.
    pub wall: TimeMs,
    /// The clock that never steps: the whole milliseconds that have passed on it.
    pub mono: MonoMs,
    /// Fresh for every call.
    pub random: u64,
}

/// The instant of one entry. Its time never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: TimeMs,
    pub(crate) mono: MonoMs,
    random: u64,
}

impl Moment {
    pub(crate) fn new(clock: Clock, engine_time: TimeMs) -> Self {
        Self { at: clock.wall.max(engine_time), mono: clock.mono, random: clock.random }
    }

    /// A random number for one use within the moment (`SplitMix64`, Steele et al. 2014).
    pub(crate) fn random(&self, index: u64) -> u64 {
        let mut z = self.random.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
