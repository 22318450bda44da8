//! A piece of the journal: entries at consecutive positions, as they stand in groups.
//!
//! | offset | bytes | field, integers little-endian |
//! | --- | --- | --- |
//! | 0 | 8 | `LONGSHJP` |
//! | 8 | 4 | level |
//! | 12 | 4 | CRC32C of all that follows |
//! | 16 | 16 | id of the store |
//! | 32 | 4 | number of the shard |
//! | 36 | 4 | number of entries |
//! | 40 | 8 | position of the first |
//! | 48 | 8 | instant of the first |
//! | 56 | 8 | instant of the last |
//! | 64 | - | the entries, each with its length before it as 4 bytes |

use bytes::Bytes;
use longshore_engine::{Entry, LEVEL, OtherLevel, Position, TimeMs};
use longshore_journal::{Followed, Group};
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"LONGSHJP";
const HEAD_BYTES: usize = 64;
/// Bytes of an entry within which its level and its instant end.
const INSTANT_BYTES_MAX: usize = 16;
/// Bytes of entries after which a piece is sent.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
/// A group above that is a piece by itself: what one append may hold, with room to spare.
pub(crate) const PIECE_BYTES_MAX: u64 = 512 << 20;

/// A piece of the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub(crate) first: Position,
    pub(crate) count: u32,
    pub(crate) first_at: TimeMs,
    pub(crate) last_at: TimeMs,
    pub(crate) entries: Vec<u8>,
}

impl Piece {
    pub(crate) fn last(&self) -> Position {
        Position(self.first.0 + u64::from(self.count) - 1)
    }

    /// A piece of what was committed, which has one entry at least; where an entry has no instant,
    /// its position.
    pub(crate) fn of(groups: &[Followed]) -> Result<Self, Position> {
        let first = groups.first().map_or(Position(1), |group| group.first);
        let mut piece = Self {
            first,
            count: 0,
            first_at: TimeMs(0),
            last_at: TimeMs(0),
            entries: Vec::with_capacity(groups.iter().map(|group| group.bytes.len()).sum()),
        };
        for group in groups {
            piece.count += group.count;
            piece.entries.extend_from_slice(&group.bytes);
        }
        let group = piece.group().ok_or(first)?;
        let mut entries = group.entries();
        let head = entries.next().ok_or(first)?;
        let last = entries.last().unwrap_or_else(|| head.clone());
        (piece.first_at, piece.last_at) = (instant_of(head)?, instant_of(last)?);
        Ok(piece)
    }

    /// Its entries, where that is what its bytes are.
    pub(crate) fn group(&self) -> Option<Group> {
        Group::from_encoded(self.first, self.count.into(), self.entries.clone())
    }

    pub(crate) fn encode(&self, store: Uuid, shard: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.entries.len());
        bytes.extend(MAGIC);
        bytes.extend(u32::from(LEVEL).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(store.into_bytes());
        bytes.extend(shard.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        for field in [self.first.0, self.first_at.0, self.last_at.0] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(&self.entries);
        let crc = crc32c::crc32c(bytes.get(16..).unwrap_or_default());
        if let Some(field) = bytes.get_mut(12..16) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Piece::encode`] wrote of that shard, or says what is wrong.
    pub(crate) fn decode(bytes: &Bytes, store: Uuid, shard: u32) -> Result<Self, String> {
        let head = bytes.get(..HEAD_BYTES).ok_or("it is too short")?;
        let mut rest = head;
        if take::<8>(&mut rest)? != *MAGIC {
            return Err("it begins otherwise than a piece of the journal".into());
        }
        let level = u32::from_le_bytes(take(&mut rest)?);
        let crc = u32::from_le_bytes(take(&mut rest)?);
        if crc32c::crc32c(bytes.get(16..).unwrap_or_default()) != crc {
            return Err("its checksum does not match".into());
        }
        OtherLevel::check(level).map_err(|other| other.to_string())?;
        let (found, number) = (Uuid::from_bytes(take(&mut rest)?), take(&mut rest)?);
        let number = u32::from_le_bytes(number);
        if (found, number) != (store, shard) {
            return Err(format!("it is of shard {number} of store {found}"));
        }
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut field = || take(&mut rest).map(u64::from_le_bytes);
        let (first, first_at, last_at) = (Position(field()?), TimeMs(field()?), TimeMs(field()?));
        if count == 0 || first == Position::START || first.0.checked_add(count.into()).is_none() {
            return Err(format!("it says that it has {count} entries from {first} on"));
        }
        let entries = bytes.get(HEAD_BYTES..).unwrap_or_default().to_vec();
        let piece = Self { first, count, first_at, last_at, entries };
        piece.group().ok_or("its bytes are not the entries that it names")?;
        Ok(piece)
    }
}

/// The instant of an entry, or its position where it has none.
pub(crate) fn instant_of((position, entry): (Position, Bytes)) -> Result<TimeMs, Position> {
    let head = entry.slice(..entry.len().min(INSTANT_BYTES_MAX));
    Entry::instant_of(&head).map_err(|_| position)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, rest) = bytes.split_first_chunk().ok_or("it is too short")?;
    *bytes = rest;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece() -> Piece {
        let mut group = Group::new(Position(7));
        for at in [5_u8, 9] {
            group.push(&[LEVEL, at]);
        }
        let bytes = group.to_bytes();
        Piece::of(&[Followed { first: Position(7), count: 2, bytes }]).unwrap()
    }

    #[test]
    fn a_piece_comes_back_and_every_flipped_bit_is_noticed() {
        let (store, piece) = (Uuid::now_v7(), piece());
        assert_eq!(
            (piece.first_at, piece.last_at, piece.last()),
            (TimeMs(5), TimeMs(9), Position(8))
        );
        let bytes = Bytes::from(piece.encode(store, 3));
        assert_eq!(Piece::decode(&bytes, store, 3), Ok(piece));
        assert!(Piece::decode(&bytes, store, 2).is_err());
        assert!(Piece::decode(&bytes, Uuid::now_v7(), 3).is_err());
        for at in 0..bytes.len() {
            assert!(Piece::decode(&bytes.slice(..at), store, 3).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                assert!(Piece::decode(&damaged.into(), store, 3).is_err(), "bit {bit} of {at}");
            }
        }
    }
}
