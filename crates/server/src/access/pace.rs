//! When it is a publisher's turn, where its account may publish so much in a second.

use std::time::{Duration, Instant};

use super::Principal;

/// One publisher. What it has not published by its end counts for nothing.
#[derive(Debug)]
pub(crate) struct Pace {
    who: Principal,
    /// The turn that it has: when, and for how much.
    turn: Option<(Instant, u32)>,
}

impl Pace {
    pub(crate) fn of(who: Principal) -> Self {
        Self { who, turn: None }
    }

    /// How much its account may publish in a second; `None` without a bound.
    pub(crate) fn per_second(&self) -> Option<u32> {
        self.who.publishes_per_second()
    }

    /// How long so much has to wait: it gets a turn, which stands until it is published.
    pub(crate) fn wait(&mut self, count: u32) -> Duration {
        if self.turn.is_none() {
            self.turn = Some((Instant::now() + self.who.reserve(count), count));
        }
        let at = self.turn_at().unwrap_or_else(Instant::now);
        at.saturating_duration_since(Instant::now())
    }

    /// When the turn comes, or has come, that it has.
    pub(crate) fn turn_at(&self) -> Option<Instant> {
        self.turn.map(|(at, _)| at)
    }

    /// What had the turn is published.
    pub(crate) fn spend(&mut self) {
        self.turn = None;
    }

    /// What had the turn is not published.
    pub(crate) fn give_back(&mut self) {
        if let Some((_, count)) = self.turn.take() {
            self.who.give_back(count);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.give_back();
    }
}
