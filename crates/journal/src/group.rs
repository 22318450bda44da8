//! A group: the entries that are committed together by one append. It owns the encoding of entries
//! inside a group and knows nothing of frames or files.

use bytes::{Buf, Bytes};
use longshore_engine::{Position, Rope};

/// The most bytes that one entry may have.
pub const MAX_ENTRY_BYTES: usize = longshore_engine::ENTRY_BYTES_MAX;

/// Bytes that an entry takes beside its own: its length as a `u32`, little-endian.
const ENTRY_OVERHEAD_BYTES: usize = 4;

/// Entries at consecutive positions that become durable together or not at all. What is large in
/// them is referred to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    first: Position,
    count: u64,
    bytes: Rope,
}

impl Group {
    /// An empty group whose first entry will have the position `first`.
    pub fn new(first: Position) -> Self {
        assert!(first > Position::START, "positions start at 1");
        Self { first, count: 0, bytes: Rope::referring() }
    }

    /// A group of entries that somebody else encoded, each with its length before it. `None` where
    /// `bytes` are not exactly `count` entries.
    pub fn from_encoded(first: Position, count: u64, bytes: impl Into<Rope>) -> Option<Self> {
        let (bytes, mut found) = (bytes.into(), EntryCounter::default());
        let are_whole = bytes.pieces().all(|piece| found.add(piece));
        let is_group = first > Position::START && are_whole && found.count() == Some(count);
        is_group.then_some(Self { first, count, bytes })
    }

    /// Adds an entry and returns its position.
    pub fn push(&mut self, entry: &[u8]) -> Position {
        self.push_with(|bytes| bytes.extend_from_slice(entry))
    }

    /// Adds the entry that `write` appends and returns its position.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Rope)) -> Position {
        let (start, at) = (self.bytes.len(), self.bytes.copied_bytes());
        self.bytes.extend_from_slice(&[0; ENTRY_OVERHEAD_BYTES]);
        write(&mut self.bytes);
        let len = self.bytes.len() - start - ENTRY_OVERHEAD_BYTES;
        assert!(len <= MAX_ENTRY_BYTES, "entry of {len} bytes, {MAX_ENTRY_BYTES} allowed");
        self.bytes.write_over(at, (len as u32).to_le_bytes());
        let position = self.first.advanced_by(self.count);
        self.count += 1;
        position
    }

    /// The entries with their positions: a copy.
    pub fn entries(&self) -> impl Iterator<Item = (Position, Bytes)> + use<> {
        let mut rest = self.to_bytes();
        let positions = (self.first.0..).map(Position);
        positions.map_while(move |position| Some((position, take_entry(&mut rest)?)))
    }

    /// Position of the first entry, or of the next one where the group is empty.
    pub fn first(&self) -> Position {
        self.first
    }

    /// Position of the last entry; the one before [`Group::first`] where the group is empty.
    pub fn last(&self) -> Position {
        Position(self.first.0 + self.count - 1)
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the entries with their lengths.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded entries, as they stand in frames, in pieces.
    pub fn pieces(&self) -> Vec<&[u8]> {
        self.bytes.pieces().collect()
    }

    /// The same in one piece, which is a copy.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.to_bytes()
    }
}

/// Splits the first entry off `bytes`, or `None` where they do not begin with a whole one.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<ENTRY_OVERHEAD_BYTES>()?;
    let len = u32::from_le_bytes(*len) as usize;
    (len <= MAX_ENTRY_BYTES).then(|| rest.split_at_checked(len))?
}

/// Takes the first entry off `bytes` without copying, or `None` where they do not begin with one.
pub(crate) fn take_entry(bytes: &mut Bytes) -> Option<Bytes> {
    let len = split_entry(bytes)?.0.len();
    bytes.advance(ENTRY_OVERHEAD_BYTES);
    Some(bytes.split_to(len))
}

/// Counts the entries in a group's bytes, which come in pieces that are cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct EntryCounter {
    whole: u64,
    /// Bytes of the last entry that are still to come.
    left_bytes: usize,
    /// The next entry's length, as far as it is there.
    len: u32,
    len_bytes: u32,
}

impl EntryCounter {
    /// Takes the next piece. False where an entry says that it is longer than any may be.
    pub(crate) fn add(&mut self, mut piece: &[u8]) -> bool {
        while let Some((byte, rest)) = piece.split_first() {
            if self.left_bytes > 0 {
                let skipped = self.left_bytes.min(piece.len());
                self.left_bytes -= skipped;
                piece = piece.split_at(skipped).1;
                continue;
            }
            piece = rest;
            self.len |= u32::from(*byte) << (8 * self.len_bytes);
            self.len_bytes += 1;
            if self.len_bytes as usize == ENTRY_OVERHEAD_BYTES {
                self.left_bytes = self.len as usize;
                if self.left_bytes > MAX_ENTRY_BYTES {
                    return false;
                }
                (self.len, self.len_bytes) = (0, 0);
                self.whole += 1;
            }
        }
        true
    }

    /// How many there were, or `None` where the last one is not whole.
    pub(crate) fn count(&self) -> Option<u64> {
        (self.left_bytes == 0 && self.len_bytes == 0).then_some(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_with_their_positions() {
        let mut group = Group::new(Position(7));
        assert_eq!(group.last(), Position(6));
        assert_eq!(group.push(b"one"), Position(7));
        assert_eq!(group.push(b""), Position(8));
        assert_eq!(group.push_with(|bytes| bytes.push(b'x')), Position(9));
        let entries: Vec<_> = group.entries().collect();
        let expected = [(7, &b"one"[..]), (8, b""), (9, b"x")];
        assert_eq!(entries, expected.map(|(at, entry)| (Position(at), Bytes::from_static(entry))));
        assert_eq!((group.last(), group.count(), group.len_bytes()), (Position(9), 3, 16));
    }

    #[test]
    fn an_entry_is_taken_off_only_whole() {
        let mut group = Group::new(Position(1));
        group.push(b"abc");
        let encoded = group.to_bytes();
        let mut bytes = encoded.clone();
        assert_eq!(take_entry(&mut bytes).as_deref(), Some(&b"abc"[..]));
        assert!(bytes.is_empty() && take_entry(&mut bytes).is_none());
        assert_eq!(take_entry(&mut encoded.slice(..6)), None);
        assert_eq!(take_entry(&mut Bytes::from_static(&[0xff; 9])), None);
    }

    #[test]
    fn encoded_entries_that_are_not_whole_are_refused() {
        let mut group = Group::new(Position(1));
        group.push(b"abc");
        let bytes = group.to_bytes().to_vec();
        assert_eq!(Group::from_encoded(Position(1), 1, bytes.clone()), Some(group));
        assert_eq!(Group::from_encoded(Position(1), 2, bytes.clone()), None);
        assert_eq!(Group::from_encoded(Position(1), 0, bytes.clone()), None);
        assert_eq!(Group::from_encoded(Position(1), 1, bytes[..6].to_vec()), None);
        assert_eq!(Group::from_encoded(Position(1), 1, vec![0xff; 9]), None);
        assert_eq!(Group::from_encoded(Position::START, 1, bytes), None);
    }

    #[test]
    fn entries_are_counted_wherever_their_bytes_are_cut() {
        let mut group = Group::new(Position(1));
        group.push(b"abc");
        group.push(b"");
        group.push(&[7; 300]);
        for piece_bytes in 1..group.len_bytes() {
            let mut counter = EntryCounter::default();
            assert!(group.to_bytes().chunks(piece_bytes).all(|piece| counter.add(piece)));
            assert_eq!(counter.count(), Some(3), "{piece_bytes}");
            assert!(counter.add(&[1, 0]) && counter.count().is_none());
            assert!(counter.add(&[0, 0]) && counter.count().is_none());
            assert!(counter.add(b"x") && counter.count() == Some(4));
            assert!(!counter.add(&[0xff; 4]));
        }
    }
}
