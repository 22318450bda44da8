//! One consistent picture of the map: the memtables and the tables below them. Immutable except
//! for the active memtable, to which the shard's thread adds entries with ever higher positions.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::Position;
use lsm_tree::{InternalValue, Memtable, SeqNo, Slice, ValueType};

use crate::brief::{Brief, Found};
use crate::merge::{Entry, Merge, Source, Value};
use crate::tables::Tables;
use crate::{body, marker};

/// Values up to this size are copied out of the memtable or block that holds them; larger ones
/// are shared with it.
const COPIED_VALUE_BYTES_MAX: usize = 1024;

/// A memtable that takes no more entries and waits for its flush.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) memtable: Arc<Memtable>,
    /// The state in and below this memtable is the state at this position.
    pub(crate) position: Position,
    /// Whether any of its values may be large enough to be kept apart.
    pub(crate) has_bodies: bool,
}

/// What is above the memtables, and whether it may change during a scan.
#[derive(Clone, Copy)]
pub(crate) enum Above<'a> {
    /// It does not: its thread itself scans.
    Live(&'a Brief),
    /// It may.
    Snapshot(&'a Brief),
}

impl Above<'_> {
    fn get(self, key: &[u8], position: Position) -> Found {
        let (Self::Live(brief) | Self::Snapshot(brief)) = self;
        brief.get(key, position)
    }
}

/// The state of the map at one moment, which reads go through from the newest part to the oldest.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Oldest first.
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) tables: Arc<Tables>,
    /// The position of the tables: nothing in them is younger.
    pub(crate) persisted: Position,
}

impl View {
    /// The memtables, newest first.
    fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(self.sealed.iter().rev().map(|sealed| &sealed.memtable))
    }

    /// The value under `key` at `position`, which is at or above that of the tables.
    pub(crate) fn get(
        &self,
        key: &[u8],
        position: Position,
        above: Option<Above<'_>>,
    ) -> Option<Bytes> {
        if marker::is_own(key) {
            return None;
        }
        match above.map_or(Found::Nothing, |above| above.get(key, position)) {
            Found::Value(value) => return Some(self.bytes_of(&Value::Here(value))),
            Found::Gone => return None,
            Found::Nothing => {}
        }
        // The tree's bound is exclusive.
        let bound = position.0 + 1;
        for memtable in self.memtables() {
            if let Some(entry) = memtable.get(key, bound) {
                return Value::of(entry).map(|value| self.bytes_of(&value));
            }
        }
        match self.tables.get(key) {
            Ok(entry) => entry.and_then(Value::of).map(|value| self.bytes_of(&value)),
            Err(fault) => fault.unwind(),
        }
    }

    /// Visits the entries from `from` to `to` at `position`, like `Reader::scan`.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        position: Position,
        above: Above<'_>,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        let from = Slice::from(from.max(&marker::END));
        let to = Slice::from(to);
        if from >= to {
            return;
        }
        let bound = position.0 + 1;
        let mut sources: Vec<Source<'_>> = Vec::with_capacity(8);
        match above {
            Above::Live(brief) => sources.extend(brief.scan(&from, &to)),
            Above::Snapshot(brief) => {
                let entries = brief.range(&from, &to, position);
                sources.push(Box::new(entries.into_iter().map(Ok)));
            }
        }
        for memtable in self.memtables().filter(|memtable| !memtable.is_empty()) {
            sources.push(memtable_range(memtable, &from, &to, bound));
        }
        sources.extend(self.tables.ranges(&from, &to));
        for entry in Merge::new(sources) {
            match entry {
                Ok(Entry { key, value: Some(value) }) => {
                    if visit(&key, &self.bytes_of(&value)).is_break() {
                        return;
                    }
                }
                Ok(Entry { value: None, .. }) => {}
                Err(fault) => fault.unwind(),
            }
        }
    }

    fn bytes_of(&self, value: &Value) -> Bytes {
        match value {
            Value::Here(value) if value.len() <= COPIED_VALUE_BYTES_MAX => {
                Bytes::copy_from_slice(value)
            }
            Value::Here(value) => Bytes::from_owner(value.clone()),
            Value::Apart(pointer) => {
                body::read(self.tables.dir(), pointer).unwrap_or_else(|fault| fault.unwind())
            }
        }
    }
}

/// The entries of a memtable below the sequence number `bound`, the newest of each key first.
fn memtable_range<'a>(
    memtable: &'a Memtable,
    from: &Slice,
    to: &Slice,
    bound: SeqNo,
) -> Source<'a> {
    let edge = |key: &Slice| {
        InternalValue::from_components(key.clone(), Slice::default(), SeqNo::MAX, ValueType::Value)
            .key
    };
    let range = (Bound::Included(edge(from)), Bound::Excluded(edge(to)));
    Box::new(memtable.items.range(range).filter(move |item| item.key().seqno < bound).map(|item| {
        let value = (!item.key().is_tombstone()).then(|| Value::Here(item.value().clone()));
        Ok(Entry { key: item.key().user_key.clone(), value })
    }))
}
