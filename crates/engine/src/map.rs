//! The small ordered map through which the engine sees its state. Tests and the simulator give it
//! a `BTreeMap`, the server an LSM tree. It knows nothing of what the keys mean.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::Position;

/// Reads at one position. Implementations never return a value that they could not verify: a
/// storage fault unwinds out of the call and stops the shard, so no `Result` leaks upward.
pub trait Reader {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Option<Bytes>;

    /// Visits the entries from `from` (inclusive) to `to` (exclusive) in key order until `visit`
    /// breaks.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>);
}

/// One change of a map: the value that the key has from now on, or `None` where it is removed.
pub type Change = (Vec<u8>, Option<Bytes>);

/// The durable state of a shard as the engine changes it.
pub trait OrderedMap: Reader {
    /// Applies the changes of one group of entries whose last one has `position`. Every key
    /// occurs at most once, in ascending order. The position only grows.
    fn write(&mut self, position: Position, changes: Vec<Change>);
}

impl Reader for BTreeMap<Vec<u8>, Bytes> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        BTreeMap::get(self, key).cloned()
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        if from >= to {
            return;
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        for (key, value) in self.range::<[u8], _>(range) {
            if visit(key, value).is_break() {
                return;
            }
        }
    }
}

impl OrderedMap for BTreeMap<Vec<u8>, Bytes> {
    fn write(&mut self, _position: Position, changes: Vec<Change>) {
        for (key, value) in changes {
            match value {
                Some(value) => self.insert(key, value),
                None => self.remove(&key),
            };
        }
    }
}
