//! The position of an entry in a shard's journal.

use std::fmt;

/// Number of an entry in a shard's journal. The first entry has position 1; 0 stands for "before
/// anything was written". One entry holds the records of one command.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position(pub u64);

impl Position {
    /// Before the first entry: the position of an empty state.
    pub const START: Self = Self(0);

    /// The position that follows this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position `count` entries later.
    #[must_use]
    pub const fn advanced_by(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
