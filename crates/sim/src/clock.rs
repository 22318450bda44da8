//! The simulated clocks: time passes only when the simulation says so, wall time also steps, and
//! the clock that never steps begins anew with every process.

use longshore_engine::{Clock, MonoMs, TimeMs};

use crate::random::Random;

#[derive(Debug)]
pub(crate) struct SimClock {
    wall: TimeMs,
    mono: MonoMs,
    /// A fault: a clock that follows wall time where that is put forward.
    stepping: MonoMs,
}

impl SimClock {
    pub(crate) fn new() -> Self {
        Self { wall: TimeMs(1_700_000_000_000), mono: MonoMs(0), stepping: MonoMs(0) }
    }

    /// What it says, or what it would say if it followed wall time.
    pub(crate) fn read(&self, random: &mut Random, steps: bool) -> Clock {
        let mono = if steps { self.stepping } else { self.mono };
        Clock { wall: self.wall, mono, random: random.next() }
    }

    pub(crate) fn wall(&self) -> TimeMs {
        self.wall
    }

    pub(crate) fn mono(&self) -> MonoMs {
        self.mono
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        (self.wall, self.mono) = (self.wall.plus(ms), self.mono.plus(ms));
        self.stepping = self.stepping.plus(ms);
    }

    /// Wall time is set, back or forward, by at most a minute.
    pub(crate) fn step_wall(&mut self, random: &mut Random) {
        let before = self.wall;
        self.wall = TimeMs(self.wall.0 + random.below(120_000) - 60_000);
        self.stepping = self.stepping.plus(self.wall.0.saturating_sub(before.0));
    }

    /// A process begins: its clock counts from elsewhere.
    pub(crate) fn boot(&mut self, random: &mut Random) {
        self.mono = MonoMs(random.below(3) * 100_000_000);
        self.stepping = self.mono;
    }
}
