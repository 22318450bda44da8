//! Entries that are not expected to live for long: they stay out of the memtables until one is
//! sealed, and what is removed before then never gets there. To readers this is the newest part of
//! the map, like a memtable above the active one.
//!
//! Each key has its versions by position, so that snapshots see theirs. A version is dropped once
//! a newer one is durable and no snapshot is older than that. What is left when a memtable is
//! sealed is written to it, at its own positions. Where there is too much of it, what comes goes to
//! the memtable at once: to write the oldest in its place would cost each entry both ways.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Mutex;

use longshore_engine::Position;
use lsm_tree::{InternalValue, Memtable, Slice, ValueType};

use crate::merge::{Entry, Source, Value};
use crate::shared::lock;

/// What a version takes beside its value.
const VERSION_BYTES: usize = size_of::<(Position, Version)>();

/// So much of the order may be of keys that are gone, beside as much as there are keys.
const SWEPT_MIN: usize = 1024;

/// Entries that the shard's thread fetches at a time when it scans.
const FETCHED: usize = 16;

/// What a key has from a position on.
#[derive(Clone, Debug)]
enum Version {
    Value(Slice),
    /// It was removed; nothing below has it.
    Gone,
}

impl Version {
    /// About what it takes.
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => VERSION_BYTES + value.len(),
            Self::Gone => VERSION_BYTES,
        }
    }
}

/// A key's versions, oldest first, each from a position on. Before the first, what is below holds.
#[derive(Debug)]
struct Versions {
    /// When it came last.
    came: Position,
    list: Vec<(Position, Version)>,
    /// About what they take: each counts, or a key that comes and goes all the time would have any
    /// number of them while a snapshot is held.
    bytes: usize,
}

impl Versions {
    fn at(&self, position: Position) -> Option<&Version> {
        let at = self.list.partition_point(|(since, _)| *since <= position);
        self.list.get(at.checked_sub(1)?).map(|(_, version)| version)
    }

    /// Of what one entry gives a key, the last holds.
    fn push(&mut self, position: Position, version: Version) {
        if let Some((_, last)) = self.list.pop_if(|(since, _)| *since == position) {
            self.bytes -= last.bytes();
        }
        self.bytes += version.bytes();
        self.list.push((position, version));
    }

    /// Drops what nobody reads who reads at `oldest` or later. Whether anything is left.
    fn forget_before(&mut self, oldest: Position) -> bool {
        let mut useless = self.list.partition_point(|(since, _)| *since <= oldest);
        if let Some((_, Version::Value(_))) =
            useless.checked_sub(1).and_then(|at| self.list.get(at))
        {
            useless -= 1;
        }
        self.bytes -= self.list.drain(..useless).map(|(_, it)| it.bytes()).sum::<usize>();
        !self.list.is_empty()
    }
}

/// What stays out of the memtables.
#[derive(Debug, Default)]
pub(crate) struct Brief {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    keys: BTreeMap<Slice, Versions>,
    bytes: usize,
    /// Keys in the order in which they came, with when; of some of them nothing may be left.
    order: VecDeque<(Position, Slice)>,
    /// Keys of which a version was replaced, with when.
    replaced: VecDeque<(Position, Slice)>,
    /// Everything up to here is durable, and older versions may be gone: no snapshot is older.
    durable: Position,
    /// The positions of the snapshots that there are, and how many of each.
    readers: BTreeMap<Position, usize>,
}

/// What a look into this part of the map finds.
pub(crate) enum Found {
    Value(Slice),
    Gone,
    /// Nothing: what is below holds.
    Nothing,
}

impl Brief {
    /// What a key has at a position.
    pub(crate) fn get(&self, key: &[u8], position: Position) -> Found {
        match lock(&self.inner).keys.get(key).and_then(|versions| versions.at(position)) {
            Some(Version::Value(value)) => Found::Value(value.clone()),
            Some(Version::Gone) => Found::Gone,
            None => Found::Nothing,
        }
    }

    /// The entries of a range at a position, fetched all at once: what is written to a memtable
    /// meanwhile would be missed there.
    pub(crate) fn range(&self, from: &Slice, to: &Slice, position: Position) -> Vec<Entry> {
        lock(&self.inner).range(Bound::Included(from), to, position, usize::MAX)
    }

    /// The entries of a range as of now, fetched as they are asked for. For the shard's thread,
    /// which alone changes them.
    pub(crate) fn scan<'a>(&'a self, from: &'a Slice, to: &'a Slice) -> Option<Source<'a>> {
        let fetch = |from: Bound<&Slice>| {
            lock(&self.inner).range(from, to, Position(u64::MAX), FETCHED).into_iter()
        };
        let mut fetched = fetch(Bound::Included(from)).peekable();
        fetched.peek()?;
        let mut last = None;
        Some(Box::new(std::iter::from_fn(move || {
            let entry = fetched.next().or_else(|| {
                let last = last.take()?;
                fetched = fetch(Bound::Excluded(&last)).peekable();
                fetched.next()
            })?;
            last = Some(entry.key.clone());
            Some(Ok(entry))
        })))
    }

    /// Gives a key, which has none, a value. Whether there was room for it among so many keys and
    /// bytes; a key that was removed is here, and stays.
    pub(crate) fn add(
        &self,
        position: Position,
        key: &[u8],
        value: &[u8],
        (keys_max, bytes_max): (usize, usize),
    ) -> bool {
        let mut inner = lock(&self.inner);
        let is_full = inner.keys.len() >= keys_max || inner.bytes >= bytes_max;
        if is_full && !inner.keys.contains_key(key) {
            return false;
        }
        inner.add(position, key.into(), value.into());
        true
    }

    /// Gives a key another value, or removes it, if it is here. Whether it was, so that nothing of
    /// that is to be written below.
    pub(crate) fn change(&self, position: Position, key: &[u8], value: Option<&[u8]>) -> bool {
        let mut inner = lock(&self.inner);
        let Some((key, versions)) = inner.keys.get_key_value(key) else { return false };
        let was_gone = matches!(versions.list.last(), Some((_, Version::Gone)));
        match value {
            Some(value) if was_gone => {
                let key = key.clone();
                inner.add(position, key, value.into());
            }
            Some(value) => {
                let key = key.clone();
                inner.replace(position, key, Version::Value(value.into()));
            }
            None if was_gone => {}
            None => {
                let key = key.clone();
                inner.replace(position, key, Version::Gone);
            }
        }
        true
    }

    /// Everything up to `durable` is durable.
    pub(crate) fn note_durable(&self, durable: Position) {
        let mut inner = lock(&self.inner);
        inner.durable = inner.durable.max(durable);
        let oldest = inner.oldest();
        while inner.replaced.front().is_some_and(|(since, _)| *since <= oldest)
            && let Some((_, key)) = inner.replaced.pop_front()
        {
            inner.forget(&key, oldest);
        }
    }

    /// Writes the oldest entries to a memtable until so many keys and bytes are left at most.
    /// Calls `written` with each that it writes.
    pub(crate) fn write_to(
        &self,
        memtable: &Memtable,
        (keys_max, bytes_max): (usize, usize),
        mut written: impl FnMut(&InternalValue),
    ) {
        let mut inner = lock(&self.inner);
        let oldest = inner.oldest();
        while (inner.keys.len() > keys_max || inner.bytes > bytes_max)
            && let Some((came, key)) = inner.order.pop_front()
        {
            if !inner.is_current(came, &key) {
                continue;
            }
            inner.forget(&key, oldest);
            let Some(versions) = inner.keys.remove(&key) else { continue };
            inner.bytes -= key.len() + versions.bytes;
            for (since, version) in versions.list {
                let (value, kind) = match version {
                    Version::Value(value) => (value, ValueType::Value),
                    Version::Gone => (Slice::default(), ValueType::Tombstone),
                };
                let entry = InternalValue::from_components(key.clone(), value, since.0, kind);
                written(&entry);
                memtable.insert(entry);
            }
        }
        assert!(inner.keys.len() <= keys_max, "what came stands in the order");
    }

    /// Registers a snapshot: `of_view` answers it and its position, which is not below the one
    /// that it is given.
    pub(crate) fn register<T>(
        &self,
        of_view: impl FnOnce(Position) -> (T, Position),
    ) -> (T, Position) {
        let mut inner = lock(&self.inner);
        let (view, position) = of_view(inner.durable);
        *inner.readers.entry(position).or_default() += 1;
        (view, position)
    }

    /// The opposite of [`Brief::register`].
    pub(crate) fn unregister(&self, position: Position) {
        let mut inner = lock(&self.inner);
        if let Some(readers) = inner.readers.get_mut(&position) {
            *readers -= 1;
            if *readers == 0 {
                inner.readers.remove(&position);
            }
        }
    }
}

impl Inner {
    /// No snapshot is older, or ever will be.
    fn oldest(&self) -> Position {
        self.readers.first_key_value().map_or(self.durable, |(first, _)| self.durable.min(*first))
    }

    fn range(
        &self,
        from: Bound<&Slice>,
        to: &Slice,
        position: Position,
        most: usize,
    ) -> Vec<Entry> {
        let keys = self.keys.range::<Slice, _>((from, Bound::Excluded(to)));
        let entries = keys.filter_map(|(key, versions)| {
            let value = match versions.at(position)? {
                Version::Value(value) => Some(Value::Here(value.clone())),
                Version::Gone => None,
            };
            Some(Entry { key: key.clone(), value })
        });
        entries.take(most).collect()
    }

    fn add(&mut self, position: Position, key: Slice, value: Slice) {
        self.order.push_back((position, key.clone()));
        let Self { keys, bytes, .. } = self;
        let key_bytes = key.len();
        let versions = keys.entry(key).or_insert_with(|| {
            *bytes += key_bytes;
            Versions { came: position, list: Vec::with_capacity(2), bytes: 0 }
        });
        *bytes -= versions.bytes;
        versions.came = position;
        versions.push(position, Version::Value(value));
        *bytes += versions.bytes;
        self.sweep_order();
    }

    /// Whether a key that came then is still here.
    fn is_current(&self, came: Position, key: &Slice) -> bool {
        self.keys.get(key).is_some_and(|versions| versions.came == came)
    }

    /// Takes out of the order what is gone.
    fn sweep_order(&mut self) {
        while let Some((came, key)) = self.order.front()
            && !self.is_current(*came, key)
        {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.keys.len() + SWEPT_MIN {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(came, key)| self.is_current(*came, key));
            self.order = order;
        }
    }

    fn replace(&mut self, position: Position, key: Slice, version: Version) {
        if let Some(versions) = self.keys.get_mut(&key) {
            self.bytes -= versions.bytes;
            versions.push(position, version);
            self.bytes += versions.bytes;
            self.replaced.push_back((position, key));
        }
        if self.replaced.len() > self.bytes / VERSION_BYTES + SWEPT_MIN {
            let Self { keys, replaced, .. } = self;
            replaced.retain(|(_, key)| keys.contains_key(key));
        }
    }

    fn forget(&mut self, key: &Slice, oldest: Position) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let before = versions.bytes;
        let left = versions.forget_before(oldest);
        self.bytes -= before - versions.bytes;
        if !left {
            self.bytes -= key.len();
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the versions of all keys take, counted anew.
    fn counted(inner: &Inner) -> usize {
        let of =
            |versions: &Versions| versions.list.iter().map(|(_, it)| it.bytes()).sum::<usize>();
        inner.keys.iter().map(|(key, versions)| key.len() + of(versions)).sum()
    }

    /// Each change of a key went through all of its versions, of which there are any number while a
    /// snapshot is held.
    #[test]
    fn the_bytes_of_versions_are_kept_and_not_counted_anew() {
        let brief = Brief::default();
        let key = |number: u64| -> Slice { number.to_be_bytes()[7..].into() };
        let ((), held) = brief.register(|durable| ((), durable));
        for position in 1..=600_u64 {
            let (number, value) = (position % 3, vec![1; position as usize % 50]);
            let at = Position(position - position % 2);
            let value = (!position.is_multiple_of(5)).then_some(&value[..]);
            if !brief.change(at, &key(number), value) {
                let room = (usize::MAX, usize::MAX);
                assert!(brief.add(at, &key(number), value.unwrap_or_default(), room));
            }
            if position == 400 {
                brief.unregister(held);
            }
            if position.is_multiple_of(100) {
                brief.note_durable(Position(position - 20));
            }
            let inner = lock(&brief.inner);
            assert_eq!(inner.bytes, counted(&inner), "at {position}");
        }
    }
}
