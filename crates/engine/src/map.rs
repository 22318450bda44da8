//! The small ordered map through which the engine sees its state. Tests and the simulator give it
//! a `BTreeMap`, the server an LSM tree. It knows nothing of what the keys mean.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
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

/// The durable state of a shard as the engine changes it. The engine knows it as a trait object: a
/// call through a table costs nothing beside what a map does, and the engine is compiled once
/// instead of once for each kind of map.
pub trait OrderedMap: Reader + Any + Debug + Send {
    /// Gives `key` a value, or removes it, as a part of the entry at `position`. Positions never
    /// fall; of what one entry gives a key, the last holds. This map's own reads see it at once.
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>);

    /// As [`OrderedMap::put`], for a key that holds nothing and that is not expected to hold this
    /// for long: a map on disk may write it late, and not at all where it is removed before.
    fn put_brief(&mut self, position: Position, key: &[u8], value: &[u8]) {
        assert!(self.get(key).is_none(), "key {key:02x?} holds something");
        self.put(position, key, Some(value));
    }

    /// Everything up to `position` is durable in the journal: nobody reads at an earlier position
    /// any more but who does so already.
    fn note_durable(&mut self, _position: Position) {}

    /// A group of entries ends: the map holds all of the entries up to `position`, which never
    /// falls, and nothing of later ones.
    fn seal(&mut self, position: Position);
}

impl dyn OrderedMap {
    /// The map as what it is, where it is an `M`.
    #[must_use]
    pub fn downcast_ref<M: OrderedMap>(&self) -> Option<&M> {
        (self as &dyn Any).downcast_ref()
    }

    /// The map as the one that tests use.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> &BTreeMap<Vec<u8>, Bytes> {
        self.downcast_ref().expect("a test's map")
    }

    /// The same, to be changed.
    pub fn downcast_mut<M: OrderedMap>(&mut self) -> Option<&mut M> {
        (self as &mut dyn Any).downcast_mut()
    }
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
    fn put(&mut self, _position: Position, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => self.insert(key.to_vec(), Bytes::copy_from_slice(value)),
            None => self.remove(key),
        };
    }

    fn seal(&mut self, _position: Position) {}
}
