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

/// What engine time was when it was recorded last. It never goes back behind that, and where wall
/// time has done so, it goes on at half speed until wall time has come after it: so a clock that
/// ran ahead by an hour makes schedules late for two, instead of stopping them all for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineTime {
    at: TimeMs,
    mono: MonoMs,
}

impl EngineTime {
    pub(crate) fn new(at: TimeMs, mono: MonoMs) -> Self {
        Self { at, mono }
    }

    /// Engine time now.
    pub(crate) fn now(&self, clock: Clock) -> TimeMs {
        clock.wall.max(self.slowed(clock.mono))
    }

    fn slowed(&self, mono: MonoMs) -> TimeMs {
        self.at.plus(mono.0.saturating_sub(self.mono.0) / 2)
    }

    /// An entry of this moment was recorded.
    pub(crate) fn recorded(&mut self, moment: Moment) {
        // What half a millisecond is left over counts next time, however often time is recorded.
        self.mono = if self.slowed(moment.mono) == moment.at {
            self.mono.plus(2 * moment.at.since(self.at))
        } else {
            moment.mono
        };
        self.at = moment.at;
    }
}

/// The instant of one entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: TimeMs,
    pub(crate) mono: MonoMs,
    random: u64,
}

impl Moment {
    pub(crate) fn new(clock: Clock, engine_time: EngineTime) -> Self {
        Self { at: engine_time.now(clock), mono: clock.mono, random: clock.random }
    }

    /// A random number for one use within the moment (`SplitMix64`, Steele et al. 2014).
    pub(crate) fn random(&self, index: u64) -> u64 {
        let mut z = self.random.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(wall: u64, mono: u64) -> Clock {
        Clock { wall: TimeMs(wall), mono: MonoMs(mono), random: 0 }
    }

    #[test]
    fn time_goes_on_slowly_while_wall_time_lies_behind() {
        let mut time = EngineTime::new(TimeMs(1_000), MonoMs(50));
        assert_eq!(time.now(clock(400, 50)), TimeMs(1_000));
        assert_eq!(time.now(clock(600, 250)), TimeMs(1_100));
        for mono in 51..=250 {
            time.recorded(Moment::new(clock(350 + mono, mono), time));
        }
        assert_eq!(time.now(clock(600, 250)), TimeMs(1_100), "however often it is recorded");
        assert_eq!(time.now(clock(1_600, 1_250)), TimeMs(1_600), "wall time has come after it");
        time.recorded(Moment::new(clock(2_000, 1_650), time));
        assert_eq!(time.now(clock(1_000, 1_750)), TimeMs(2_050));
    }
}
