//! The ordered map of a shard as its driver sees it: memory that fills up, and is set aside to be
//! written to disk.

use crate::Position;
use crate::map::OrderedMap;

/// An ordered map whose state at one position after the other is kept on disk.
pub trait Tree: OrderedMap {
    /// Estimated bytes in the active memtable.
    fn active_bytes(&self) -> usize;

    /// Whether the active memtable has reached its size.
    fn is_due(&self) -> bool;

    /// Whether another memtable may be sealed.
    fn can_rotate(&self) -> bool;

    /// Seals the active memtable, which is the state at one position, to be flushed once the
    /// journal has that position. `None`, and nothing happens, where the position has not moved
    /// since the last time or no more may be sealed.
    fn rotate(&mut self) -> Option<Position>;
}

/// The map that a shard began with.
pub(super) fn tree<M: Tree>(map: &dyn OrderedMap) -> &M {
    map.downcast_ref().expect("a shard's map stays the same")
}

/// As [`tree`].
pub(super) fn tree_mut<M: Tree>(map: &mut dyn OrderedMap) -> &mut M {
    map.downcast_mut().expect("a shard's map stays the same")
}
