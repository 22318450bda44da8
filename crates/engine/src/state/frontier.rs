//! Where an index begins whose entries are removed from the front. Removed entries linger in an LSM
//! tree until compaction; a read from the frontier does not pass them again.

use std::cell::Cell;

use super::{State, keys};

/// The instant of the first entry, as far as it is known.
#[derive(Clone, Copy, Debug)]
enum First {
    Unknown,
    Known(Option<u64>),
}

/// The beginning of an index.
#[derive(Debug)]
pub(crate) struct Frontier {
    prefix: Vec<u8>,
    from: Vec<u8>,
    first: Cell<First>,
    /// Where the instant stands in the key.
    instant_at: usize,
}

impl Frontier {
    /// An index whose keys begin with `prefix`, followed by an instant.
    pub(crate) fn new(prefix: Vec<u8>) -> Self {
        let instant_at = prefix.len();
        Self { from: prefix.clone(), prefix, first: Cell::new(First::Unknown), instant_at }
    }

    /// A key was put into the index.
    pub(crate) fn put(&mut self, key: &[u8]) {
        if key < &self.from[..] {
            self.from = key.to_vec();
        }
        if let First::Known(first) = self.first.get() {
            let instant = keys::u64_at(key, self.instant_at).unwrap_or(0);
            self.first.set(First::Known(Some(first.map_or(instant, |first| first.min(instant)))));
        }
    }

    /// The first entry may not be what it was.
    pub(crate) fn forget_first(&self) {
        self.first.set(First::Unknown);
    }

    /// Entries up to and including `key` were removed.
    pub(crate) fn eaten(&mut self, key: &[u8]) {
        if key >= &self.from[..] {
            self.from = keys::after(key);
        }
        self.first.set(First::Unknown);
    }

    /// The range in which the index's entries are.
    pub(crate) fn range(&self) -> (Vec<u8>, Vec<u8>) {
        (self.from.clone(), keys::after_prefix(&self.prefix))
    }

    /// The instant of the first entry.
    pub(crate) fn first(&self, state: &State) -> Option<u64> {
        if let First::Known(first) = self.first.get() {
            return first;
        }
        let (from, to) = self.range();
        let entry = state.first(&from, &to);
        let first = entry.and_then(|(key, _)| keys::u64_at(&key, self.instant_at));
        self.first.set(First::Known(first));
        first
    }
}
