//! Segments: the files of a journal, their names and headers, and how one is made. A segment is
//! written in full with zeros and synced before it gets its name, so whatever bears the name of a
//! segment was whole once.
//!
//! The header takes the first 4096 bytes, frames follow. Of it 96 bytes are used:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | `LONGSHRJ` |
//! | 8 | 4 | the level of all that is on disk |
//! | 12 | 4 | CRC32C of bytes 0 to 12 and 16 to 96 |
//! | 16 | 16 | id of the store |
//! | 32 | 4 | number of the shard |
//! | 36 | 4 | how it came about: 1 = prepared ahead, 2 = made at a start |
//! | 40 | 8 | sequence number, as in the name |
//! | 48 | 8 | salt |
//! | 56 | 8 | length of the file |
//! | 64 | 8 | base: the last position before its first entry (0 where prepared ahead) |
//! | 72 | 8 | the position that was durable once it had its name (0 where prepared ahead) |
//! | 80 | 16 | zero |

use std::fmt;
use std::io;
use std::sync::Arc;

use longshore_engine::{LEVEL, OtherLevel, Position};

use crate::disk::{Disk, DiskFile};

/// Bytes before the first frame of a segment.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4096;

/// Length of the part of the header that is used.
pub(crate) const HEADER_USED_BYTES: usize = 96;

/// How many zeros are written and synced at a time: a longer write would make the commits beside it
/// wait.
const ZERO_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"LONGSHRJ";
const SUFFIX: &str = ".segment";
const ORIGIN_PREPARED: u32 = 1;
const ORIGIN_START: u32 = 2;

/// Whose journal a segment belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// Id of the store.
    pub store: [u8; 16],
    /// Number of the shard in it.
    pub shard: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of store ", self.shard)?;
        self.store.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    pub(crate) len_bytes: u64,
    /// Where it begins, if it was made at a start; else its first frame and its predecessor say so.
    pub(crate) begin: Option<Begin>,
}

/// What is known of the journal before a segment that was made at a start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Begin {
    /// The last position before its first entry. Entries after it in earlier segments are void.
    pub(crate) base: Position,
    /// Last durable position once the segment has its name: its base and the entries copied to it.
    pub(crate) durable: Position,
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HeaderError {
    Damaged,
    Level(OtherLevel),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_USED_BYTES] {
        let mut bytes = [0; HEADER_USED_BYTES];
        let origin = if self.begin.is_some() { ORIGIN_START } else { ORIGIN_PREPARED };
        let begin = self.begin.unwrap_or(Begin { base: Position::START, durable: Position::START });
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&u32::from(LEVEL).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.identity.store);
        bytes[32..36].copy_from_slice(&self.identity.shard.to_le_bytes());
        bytes[36..40].copy_from_slice(&origin.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.salt.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.len_bytes.to_le_bytes());
        bytes[64..72].copy_from_slice(&begin.base.0.to_le_bytes());
        bytes[72..80].copy_from_slice(&begin.durable.0.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_USED_BYTES] = bytes.first_chunk().ok_or(HeaderError::Damaged)?;
        if &bytes[..8] != MAGIC || u32_at(bytes, 12) != checksum(bytes) {
            return Err(HeaderError::Damaged);
        }
        OtherLevel::check(u32_at(bytes, 8)).map_err(HeaderError::Level)?;
        let (base, durable) = (Position(u64_at(bytes, 64)), Position(u64_at(bytes, 72)));
        // Leaves room for arithmetic on positions, which then cannot overflow.
        if base > durable || durable.0 >= u64::MAX / 2 {
            return Err(HeaderError::Damaged);
        }
        let begin = match u32_at(bytes, 36) {
            ORIGIN_PREPARED => None,
            ORIGIN_START => Some(Begin { base, durable }),
            _ => return Err(HeaderError::Damaged),
        };
        let store = *bytes[16..].first_chunk().expect("a field lies in the header");
        let identity = Identity { store, shard: u32_at(bytes, 32) };
        let (sequence, salt) = (u64_at(bytes, 40), u64_at(bytes, 48));
        Ok(Self { identity, sequence, salt, len_bytes: u64_at(bytes, 56), begin })
    }
}

fn checksum(bytes: &[u8; HEADER_USED_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

fn u32_at(bytes: &[u8; HEADER_USED_BYTES], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().expect("a field lies in the header"))
}

fn u64_at(bytes: &[u8; HEADER_USED_BYTES], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().expect("a field lies in the header"))
}

/// The name of the segment with this number.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}")
}

/// The number of the segment with this name, or `None` where it is the name of something else.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let sequence = digits.parse().ok()?;
    // Leaves room for the numbers after it.
    (segment_name(sequence) == name && (1..u64::MAX / 2).contains(&sequence)).then_some(sequence)
}

/// The name that a segment has until it is whole.
pub(crate) fn unfinished_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}.unfinished")
}

/// Whether it is the name of a segment that never became whole.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".unfinished").and_then(sequence_of).is_some()
}

/// Makes a segment of zeros with its header under its unfinished name. The caller may write frames
/// to it, syncs it and calls [`finish_segment`]. `go_on` is asked between pieces; once it says no,
/// the file is given up with an error of the kind `Interrupted`.
pub(crate) fn make_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&unfinished_name(header.sequence))?;
    file.allocate(header.len_bytes)?;
    let zeros = vec![0; ZERO_BYTES.min(header.len_bytes as usize)];
    let mut offset = 0;
    while offset < header.len_bytes {
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let piece = zeros.len().min((header.len_bytes - offset) as usize);
        file.write_at(&zeros[..piece], offset)?;
        offset += piece as u64;
        if offset < header.len_bytes {
            file.sync_data()?;
        }
    }
    file.write_at(&header.encode(), 0)?;
    Ok(file)
}

/// Gives a segment that was made, written and synced its name, durably.
pub(crate) fn finish_segment(disk: &dyn Disk, sequence: u64) -> io::Result<()> {
    disk.rename(&unfinished_name(sequence), &segment_name(sequence))?;
    disk.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            identity: Identity { store: [7; 16], shard: 3 },
            sequence: 12,
            salt: 99,
            len_bytes: 1 << 20,
            begin: Some(Begin { base: Position(5), durable: Position(6) }),
        }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
        let sound = header().encode();
        assert_eq!(SegmentHeader::decode(&sound), Ok(header()));
        let prepared = SegmentHeader { begin: None, ..header() };
        assert_eq!(SegmentHeader::decode(&prepared.encode()), Ok(prepared));
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged), "bit {bit}");
        }
        for len in 0..sound.len() {
            assert_eq!(SegmentHeader::decode(&sound[..len]), Err(HeaderError::Damaged));
        }
    }

    #[test]
    fn another_level_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = LEVEL + 1;
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let later = OtherLevel { found: u32::from(LEVEL) + 1 };
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Level(later)));
    }

    #[test]
    fn names_are_read_back_exactly() {
        assert_eq!(sequence_of(&segment_name(17)), Some(17));
        for other in ["17.segment", "00000000000000000017.segmen", "", "lock", ".segment"] {
            assert_eq!(sequence_of(other), None, "{other}");
        }
        assert!(is_unfinished(&unfinished_name(17)));
        assert_eq!(sequence_of(&unfinished_name(17)), None);
    }
}
