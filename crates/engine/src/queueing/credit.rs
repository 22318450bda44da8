//! How much is handed out: what the credit of a consumer leaves, and what one turn may give to all
//! of them, in entries and in bytes. Whether an entry is a job or a message makes no difference.

use crate::state::count;

/// What is left of a consumer's credit. An entry is handed over while any bytes are left, however
/// large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CreditLeft {
    entries: u64,
    /// Below zero where the last entry was larger than what was left; `i64::MAX` without a bound.
    bytes: i64,
}

impl CreditLeft {
    /// So many entries and so many bytes; what is beyond `i64::MAX` is no bound.
    pub(crate) fn new(entries: u64, bytes: u64) -> Self {
        Self { entries, bytes: i64::try_from(bytes).unwrap_or(i64::MAX) }
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.entries = self.entries.saturating_add(more.entries);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    /// The consumer was handed so much.
    pub(crate) fn pay(&mut self, entries: u64, bytes: u64) {
        count::take(&mut self.entries, entries, "credit of a consumer");
        if self.bytes != i64::MAX {
            self.bytes = self.bytes.saturating_sub_unsigned(bytes);
        }
    }

    /// How many entries the consumer takes now, and how many bytes of them; none of either where
    /// one is used up.
    pub(crate) fn left(&self) -> (u64, u64) {
        match u64::try_from(self.bytes) {
            Ok(bytes) if bytes > 0 && self.entries > 0 => (self.entries, bytes),
            _ => (0, 0),
        }
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.left().0 == 0
    }
}

/// Entries that a turn looks at or hands out, bytes of their args, cursors and bodies, and names
/// of kinds, heads and parts of trees that it looks at.
const TURN_ENTRIES_MAX: usize = 2000;
const TURN_BYTES_MAX: usize = 16 << 20;
const TURN_LOOKS_MAX: usize = 16 << 10;

/// What one command, or one round of dispatch, looks at and hands out before the turn ends; the
/// rest follows with the next tick.
#[derive(Debug)]
pub(crate) struct Budget {
    entries: usize,
    bytes: usize,
    /// Names of kinds, heads and parts of trees that are looked at to find jobs.
    looks: usize,
}

impl Budget {
    /// What a turn begins with.
    pub(crate) fn full() -> Self {
        Self { entries: TURN_ENTRIES_MAX, bytes: TURN_BYTES_MAX, looks: TURN_LOOKS_MAX }
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes of args, cursors and bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.entries == 0 || self.bytes == 0 || self.looks == 0
    }

    /// So many entries were looked at or moved, with so many bytes.
    pub(crate) fn take(&mut self, entries: usize, bytes: usize) {
        self.entries = self.entries.saturating_sub(entries);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn look(&mut self, looks: usize) {
        self.looks = self.looks.saturating_sub(looks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_may_be_larger_than_the_bytes_that_are_left() {
        let mut credit = CreditLeft::new(3, 10);
        credit.pay(1, 1000);
        assert!(credit.is_used_up(), "its bytes are");
        credit.add(CreditLeft::new(0, 990));
        assert!(credit.is_used_up());
        credit.add(CreditLeft::new(0, 1));
        assert_eq!(credit.left(), (2, 1));
    }

    #[test]
    fn bytes_without_a_bound_stay_so() {
        let mut credit = CreditLeft::new(2, u64::MAX);
        credit.pay(1, 1000);
        credit.add(CreditLeft::new(0, 5));
        assert_eq!(credit.left(), (1, i64::MAX as u64));
        credit.pay(1, 0);
        assert_eq!(credit.left(), (0, 0));
    }

    #[test]
    #[should_panic(expected = "the count of credit of a consumer is 1, and 2 are taken off it")]
    fn nobody_is_handed_more_than_its_credit() {
        CreditLeft::new(1, 10).pay(2, 0);
    }
}
