//! When it is a publisher's turn, where its account may publish so much in a second.

use std::time::Duration;

use super::Principal;
use super::rates::PlaceInLine;

/// Whoever waits for its turn looks again after so long: the bound may be another one by then.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How far ahead of its rate an account may be by what was published for those who have gone: so
/// many seconds' worth. What is beyond that is not published.
const AHEAD_MAX: Duration = Duration::from_secs(30);

/// One publisher. What it has not published by its end counts for nothing.
#[derive(Debug)]
pub(crate) struct Pace {
    who: Principal,
    /// The turn that it has.
    turn: Option<PlaceInLine>,
    hurries: bool,
}

impl Pace {
    pub(crate) fn of(who: Principal) -> Self {
        Self { who, turn: None, hurries: false }
    }

    /// How much its account may publish in a second; `None` without a bound.
    pub(crate) fn per_second(&self) -> Option<u32> {
        self.who.publishes_per_second()
    }

    /// How long so much has to wait, as things are now: it gets a turn, which stands until it is
    /// published.
    pub(crate) fn wait(&mut self, count: u32) -> Duration {
        if self.turn.is_none() {
            self.turn = self.who.reserve(count);
        }
        self.left()
    }

    /// How long it is until the turn comes that it has; nothing where it has none, or there is no
    /// bound any more.
    pub(crate) fn left(&self) -> Duration {
        let left = self.turn.map_or(Duration::ZERO, |turn| self.who.turn_left(turn));
        if self.hurries && left <= AHEAD_MAX { Duration::ZERO } else { left }
    }

    /// The publisher has gone, and nobody is to wait for its turns: those that come within
    /// [`AHEAD_MAX`] have come. They count as they do for any other.
    pub(crate) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// What had the turn is published.
    pub(crate) fn spend(&mut self) {
        self.turn = None;
    }

    /// What had the turn is not published.
    pub(crate) fn give_back(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.who.give_back(turn);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.give_back();
    }
}
