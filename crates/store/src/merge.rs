//! Merges sorted sources into one, the newest entry of each key winning.

use lsm_tree::{InternalValue, Slice, ValueType};

use crate::error::StoreFault;

/// A value as it stands in a memtable or table.
pub(crate) enum Value {
    Here(Slice),
    /// In a body file: an encoded pointer.
    Apart(Slice),
}

impl Value {
    /// The value of an entry, or `None` where it says that its key was removed.
    pub(crate) fn of(entry: InternalValue) -> Option<Self> {
        Entry::from(entry).value
    }
}

/// A key and its value, or `None` where it was removed.
pub(crate) struct Entry {
    pub(crate) key: Slice,
    pub(crate) value: Option<Value>,
}

impl From<InternalValue> for Entry {
    fn from(entry: InternalValue) -> Self {
        let value = match entry.key.value_type {
            ValueType::Value => Some(Value::Here(entry.value)),
            ValueType::Indirection => Some(Value::Apart(entry.value)),
            ValueType::Tombstone | ValueType::WeakTombstone => None,
        };
        Self { key: entry.key.user_key, value }
    }
}

/// Entries in key order; where a key occurs more than once, the newest comes first.
pub(crate) type Source<'a> = Box<dyn Iterator<Item = Result<Entry, StoreFault>> + 'a>;

/// Sources are given newest first. Every key comes out once, removed ones included. What comes
/// after an error means nothing.
pub(crate) struct Merge<'a> {
    sources: Vec<(Option<Entry>, Source<'a>)>,
    started: bool,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(sources: Vec<Source<'a>>) -> Self {
        let sources = sources.into_iter().map(|source| (None, source)).collect();
        Self { sources, started: false }
    }

    /// Moves the source at `index` past `key`.
    fn advance(&mut self, index: usize, key: Option<&Slice>) -> Result<(), StoreFault> {
        let Some((head, source)) = self.sources.get_mut(index) else { return Ok(()) };
        loop {
            *head = source.next().transpose()?;
            match head {
                Some(entry) if key == Some(&entry.key) => {}
                _ => return Ok(()),
            }
        }
    }

    fn step(&mut self) -> Result<Option<Entry>, StoreFault> {
        if !self.started {
            self.started = true;
            for index in 0..self.sources.len() {
                self.advance(index, None)?;
            }
        }
        self.sources.retain(|(head, _)| head.is_some());
        // Sources are few, and mostly one of them is drained for long: a heap would cost more.
        let mut least: Option<(usize, &Slice)> = None;
        for (index, (head, _)) in self.sources.iter().enumerate() {
            let Some(head) = head else { continue };
            if least.is_none_or(|(_, key)| head.key < *key) {
                least = Some((index, &head.key));
            }
        }
        let Some((index, _)) = least else { return Ok(None) };
        let Some(entry) = self.sources.get_mut(index).and_then(|(head, _)| head.take()) else {
            return Ok(None);
        };
        self.advance(index, Some(&entry.key))?;
        for other in index + 1..self.sources.len() {
            let same = |(head, _): &(Option<Entry>, _)| {
                head.as_ref().is_some_and(|head| head.key == entry.key)
            };
            if self.sources.get(other).is_some_and(same) {
                self.advance(other, Some(&entry.key))?;
            }
        }
        Ok(Some(entry))
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Entry, StoreFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(entries: &[(&str, Option<&str>)]) -> Source<'static> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| {
                let value = value.map(|value| Value::Here(value.into()));
                Ok(Entry { key: (*key).into(), value })
            })
            .collect();
        Box::new(entries.into_iter())
    }

    fn merged(sources: Vec<Source<'_>>) -> Vec<String> {
        Merge::new(sources)
            .map(|entry| {
                let entry = entry.unwrap();
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                match entry.value {
                    Some(Value::Here(value) | Value::Apart(value)) => {
                        format!("{key}={}", String::from_utf8_lossy(&value))
                    }
                    None => format!("{key}-"),
                }
            })
            .collect()
    }

    #[test]
    fn newest_wins_across_and_within_sources() {
        let newest = source(&[("b", Some("2")), ("b", Some("1")), ("d", None)]);
        let middle = source(&[("a", Some("a")), ("b", Some("0"))]);
        let oldest = source(&[("b", None), ("c", Some("c")), ("d", Some("d")), ("e", Some("e"))]);
        assert_eq!(merged(vec![newest, middle, oldest]), ["a=a", "b=2", "c=c", "d-", "e=e"]);
        assert!(merged(vec![]).is_empty());
        assert!(merged(vec![source(&[])]).is_empty());
    }

    #[test]
    fn an_error_comes_first() {
        let bad: Source<'_> = Box::new(std::iter::once(Err(StoreFault::new("7", "rotten"))));
        let mut merge = Merge::new(vec![source(&[("a", None)]), bad]);
        assert!(merge.next().is_some_and(|entry| entry.is_err()));
    }
}
