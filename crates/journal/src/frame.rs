//! Frames, the units in which a journal file is written and checked: pure functions over bytes, for
//! they parse what a disk made of them. They know nothing of files, groups of frames or recovery.
//!
//! A frame is a header of 64 bytes and a payload padded with zeros to a multiple of 8:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | `LSF1` |
//! | 4 | 4 | CRC32C of the header from offset 8 to 64 |
//! | 8 | 8 | salt of the segment |
//! | 16 | 4 | length of the payload without padding |
//! | 20 | 4 | CRC32C of the payload with padding |
//! | 24 | 8 | position of the group's first entry; in a mark or seal, the position after the tail |
//! | 32 | 8 | position that was durable when the frame was written |
//! | 40 | 4 | number of entries in the group |
//! | 44 | 4 | index of the frame in the group |
//! | 48 | 8 | bytes of the group's entries, all frames together |
//! | 56 | 1 | kind: 1 data, 2 mark, 3 seal |
//! | 57 | 1 | flags: 1 = commit, the group's last frame |
//! | 58 | 6 | zero |

use longshore_engine::Position;
use thiserror::Error;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;

/// Frames begin at multiples of this.
pub const FRAME_ALIGN_BYTES: usize = 8;

/// The most payload that a frame may have.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"LSF1";
const FLAG_COMMIT: u8 = 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// It holds entries, or a part of them.
    Data,
    /// Everything before its position is durable.
    Mark,
    /// As a mark; and the journal goes on in the next segment, which exists.
    Seal,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// What the frame says.
    pub kind: FrameKind,
    /// The random number of the segment that it belongs to.
    pub salt: u64,
    /// Position of the group's first entry; in a mark or seal, the position after the tail.
    pub first: Position,
    /// The position that was durable when the frame was written.
    pub durable: Position,
    /// Number of entries in the group.
    pub count: u32,
    /// Index of the frame in its group.
    pub index: u32,
    /// Whether it is the last frame of its group.
    pub commit: bool,
    /// Bytes of the group's entries, all frames together.
    pub group_bytes: u64,
    /// Length of the payload without padding.
    pub payload_bytes: u32,
    payload_crc: u32,
}

/// Why bytes are not a frame of the segment.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// Nothing was written here.
    #[error("blank")]
    Blank,
    /// The bytes end before the frame does.
    #[error("cut short")]
    Short,
    /// No frame begins here.
    #[error("no frame begins here")]
    Magic,
    /// The header is damaged.
    #[error("header checksum does not match")]
    HeaderChecksum,
    /// A whole frame, but not one of this segment.
    #[error("frame of another segment")]
    Foreign,
    /// The header is sound and says what this version cannot mean.
    #[error("header with impossible values")]
    Impossible,
    /// The header is sound, the payload is damaged.
    #[error("payload checksum does not match")]
    PayloadChecksum,
}

impl FrameHeader {
    /// A mark or a seal that says that everything up to `durable` is durable.
    pub fn notice(kind: FrameKind, salt: u64, durable: Position) -> Self {
        Self {
            kind,
            salt,
            first: durable.next(),
            durable,
            count: 0,
            index: 0,
            commit: true,
            group_bytes: 0,
            payload_bytes: 0,
            payload_crc: crc32c::crc32c(&[]),
        }
    }

    /// Bytes of the whole frame, padding included.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes as usize)
    }

    /// Reads a header from the beginning of `bytes`.
    pub fn decode(bytes: &[u8], salt: u64) -> Result<Self, FrameError> {
        let header: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk().ok_or(FrameError::Short)?;
        if u32_at(header, 0) != u32::from_le_bytes(MAGIC) {
            let blank = header.iter().all(|byte| *byte == 0);
            return Err(if blank { FrameError::Blank } else { FrameError::Magic });
        }
        if u32_at(header, 4) != crc32c::crc32c(header.split_at(8).1) {
            return Err(FrameError::HeaderChecksum);
        }
        if u64_at(header, 8) != salt {
            return Err(FrameError::Foreign);
        }
        let kind = match header[56] {
            1 => FrameKind::Data,
            2 => FrameKind::Mark,
            3 => FrameKind::Seal,
            _ => return Err(FrameError::Impossible),
        };
        let decoded = Self {
            kind,
            salt,
            first: Position(u64_at(header, 24)),
            durable: Position(u64_at(header, 32)),
            count: u32_at(header, 40),
            index: u32_at(header, 44),
            commit: header[57] & FLAG_COMMIT != 0,
            group_bytes: u64_at(header, 48),
            payload_bytes: u32_at(header, 16),
            payload_crc: u32_at(header, 20),
        };
        let known = header[57] & !FLAG_COMMIT == 0 && header[58..].iter().all(|byte| *byte == 0);
        if known && decoded.is_possible() { Ok(decoded) } else { Err(FrameError::Impossible) }
    }

    /// Whether the values may stand together.
    fn is_possible(&self) -> bool {
        let payload_fits = self.payload_bytes as usize <= FRAME_PAYLOAD_BYTES_MAX
            && u64::from(self.payload_bytes) <= self.group_bytes;
        // Leaves room for arithmetic on positions, which then cannot overflow.
        let positions_fit = self.first > Position::START
            && self.first.0 < u64::MAX / 2
            && self.durable < Position(u64::MAX / 2);
        let shape_fits = match self.kind {
            FrameKind::Data => self.count > 0 && self.payload_bytes > 0,
            FrameKind::Mark | FrameKind::Seal => {
                self.count == 0
                    && self.index == 0
                    && self.commit
                    && self.group_bytes == 0
                    && self.durable.next() == self.first
            }
        };
        payload_fits && positions_fit && shape_fits
    }

    /// Checks the payload, which follows the header, and returns it without its padding.
    pub fn check<'a>(&self, after_header: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let padded = self.frame_bytes() - FRAME_HEADER_BYTES;
        let padded = after_header.get(..padded).ok_or(FrameError::Short)?;
        if crc32c::crc32c(padded) != self.payload_crc {
            return Err(FrameError::PayloadChecksum);
        }
        let (payload, padding) = padded.split_at(self.payload_bytes as usize);
        let sound = padding.iter().all(|byte| *byte == 0);
        if sound { Ok(payload) } else { Err(FrameError::Impossible) }
    }

    fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&self.salt.to_le_bytes());
        header[16..20].copy_from_slice(&self.payload_bytes.to_le_bytes());
        header[20..24].copy_from_slice(&self.payload_crc.to_le_bytes());
        header[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        header[32..40].copy_from_slice(&self.durable.0.to_le_bytes());
        header[40..44].copy_from_slice(&self.count.to_le_bytes());
        header[44..48].copy_from_slice(&self.index.to_le_bytes());
        header[48..56].copy_from_slice(&self.group_bytes.to_le_bytes());
        header[56] = match self.kind {
            FrameKind::Data => 1,
            FrameKind::Mark => 2,
            FrameKind::Seal => 3,
        };
        header[57] = if self.commit { FLAG_COMMIT } else { 0 };
        let crc = crc32c::crc32c(&header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Appends the frame with this header and payload to `out`. The header's length and checksum of the
/// payload are filled in here.
pub fn encode(mut header: FrameHeader, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.extend_from_slice(payload);
    out.resize(start + frame_bytes(payload.len()), 0);
    header.payload_bytes = payload.len() as u32;
    header.payload_crc = crc32c::crc32c(&out[start + FRAME_HEADER_BYTES..]);
    debug_assert!(header.is_possible(), "{header:?}");
    out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
}

/// A group that is no longer than this is copied into one piece to be written.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// A group to be written as frames.
#[derive(Clone, Debug)]
pub struct GroupFrames<'a> {
    /// Position of its first entry.
    pub first: Position,
    /// Number of entries.
    pub count: u32,
    /// The encoded entries, in pieces none of which is empty.
    pub pieces: Vec<&'a [u8]>,
    /// The random number of the segment.
    pub salt: u64,
    /// The position that is durable.
    pub durable: Position,
}

impl GroupFrames<'_> {
    /// Writes the frames, each with at most `payload_bytes_max`. A small group is one write of one
    /// piece, made in `scratch`; of any other each frame is one, of pieces that nobody copies.
    pub fn write<E>(
        &self,
        payload_bytes_max: usize,
        scratch: &mut Vec<u8>,
        mut write: impl FnMut(&[&[u8]]) -> Result<(), E>,
    ) -> Result<(), E> {
        scratch.clear();
        let group_bytes: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        let is_small = group_bytes <= COPIED_BYTES_MAX;
        let (mut left, mut pieces) = (group_bytes, self.pieces.iter().copied());
        let mut rest: &[u8] = &[];
        for index in 0.. {
            if left == 0 {
                break;
            }
            let mut parts: Vec<&[u8]> = vec![&[]];
            let mut room = payload_bytes_max.min(left);
            left -= room;
            while room > 0 {
                if rest.is_empty() {
                    rest = pieces.next().expect("there is as much as was counted");
                }
                let (part, after) = rest.split_at(room.min(rest.len()));
                (room, rest) = (room - part.len(), after);
                parts.push(part);
            }
            let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
            let padding = frame_bytes(payload_bytes) - FRAME_HEADER_BYTES - payload_bytes;
            parts.push(&[0; FRAME_ALIGN_BYTES][..padding]);
            let header = FrameHeader {
                kind: FrameKind::Data,
                salt: self.salt,
                first: self.first,
                durable: self.durable,
                count: self.count,
                index,
                commit: left == 0,
                group_bytes: group_bytes as u64,
                payload_bytes: payload_bytes as u32,
                payload_crc: parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part)),
            };
            let header = header.encode();
            parts[0] = &header;
            if is_small {
                for part in &parts {
                    scratch.extend_from_slice(part);
                }
            } else {
                write(&parts)?;
            }
        }
        if is_small && !scratch.is_empty() { write(&[scratch]) } else { Ok(()) }
    }
}

/// Reads the frame at the beginning of `bytes`.
pub fn decode(bytes: &[u8], salt: u64) -> Result<(FrameHeader, &[u8]), FrameError> {
    let header = FrameHeader::decode(bytes, salt)?;
    let payload = header.check(bytes.get(FRAME_HEADER_BYTES..).ok_or(FrameError::Short)?)?;
    Ok((header, payload))
}

/// Bytes of a frame with a payload of `payload_bytes`.
pub fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes.next_multiple_of(FRAME_ALIGN_BYTES)
}

/// Bytes of all frames of a group of `group_bytes` in frames of at most `payload_bytes_max`.
pub fn group_frames_bytes(group_bytes: usize, payload_bytes_max: usize) -> usize {
    let whole = group_bytes / payload_bytes_max;
    let rest = group_bytes % payload_bytes_max;
    whole * frame_bytes(payload_bytes_max) + if rest == 0 { 0 } else { frame_bytes(rest) }
}

fn u32_at(header: &[u8; FRAME_HEADER_BYTES], offset: usize) -> u32 {
    u32::from_le_bytes(*header[offset..].first_chunk().expect("a field lies in the header"))
}

fn u64_at(header: &[u8; FRAME_HEADER_BYTES], offset: usize) -> u64 {
    u64::from_le_bytes(*header[offset..].first_chunk().expect("a field lies in the header"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(salt: u64, first: u64, payload: &[u8]) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            salt,
            first: Position(first),
            durable: Position(first - 1),
            count: 1,
            index: 0,
            commit: true,
            group_bytes: payload.len() as u64,
            payload_bytes: payload.len() as u32,
            payload_crc: 0,
        }
    }

    fn encoded(salt: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(data(salt, 5, payload), payload, &mut bytes);
        bytes
    }

    #[test]
    fn a_mark_is_a_bare_header() {
        for kind in [FrameKind::Mark, FrameKind::Seal] {
            let mut bytes = Vec::new();
            encode(FrameHeader::notice(kind, 9, Position(4)), &[], &mut bytes);
            assert_eq!(bytes.len(), FRAME_HEADER_BYTES);
            let (header, payload) = decode(&bytes, 9).unwrap();
            assert_eq!((header.kind, header.first, payload), (kind, Position(5), &[][..]));
        }
    }

    #[test]
    fn what_is_not_a_frame_is_named() {
        let bytes = encoded(1, b"payload");
        assert_eq!(decode(&[], 1), Err(FrameError::Short));
        assert_eq!(decode(&[0; 64], 1), Err(FrameError::Blank));
        assert_eq!(decode(&[7; 64], 1), Err(FrameError::Magic));
        assert_eq!(decode(&bytes, 2), Err(FrameError::Foreign));
        assert_eq!(decode(&bytes[..bytes.len() - 1], 1), Err(FrameError::Short));
    }

    #[test]
    fn sizes_of_groups_count_every_frame() {
        assert_eq!(group_frames_bytes(0, 16), 0);
        assert_eq!(group_frames_bytes(16, 16), 80);
        assert_eq!(group_frames_bytes(17, 16), 80 + 72);
        assert_eq!(group_frames_bytes(40, 16), 80 + 80 + 72);
    }

    /// Writes frames of these pieces. Answers what was written, and how much of it is no piece.
    fn written(pieces: &[&[u8]], payload_bytes_max: usize) -> (Vec<u8>, usize) {
        let (first, durable) = (Position(3), Position(2));
        let frames = GroupFrames { first, count: 2, pieces: pieces.to_vec(), salt: 9, durable };
        let (mut all, mut scratch, mut copied) = (Vec::new(), Vec::new(), 0);
        let result = frames.write(payload_bytes_max, &mut scratch, |parts| {
            for part in parts {
                let is_there = pieces.iter().any(|it| it.as_ptr_range().contains(&part.as_ptr()));
                copied += if is_there { 0 } else { part.len() };
            }
            all.extend(parts.concat());
            Ok::<(), ()>(())
        });
        assert_eq!(result, Ok(()));
        (all, copied + scratch.len())
    }

    #[test]
    fn pieces_of_a_large_group_are_written_as_they_stand() {
        let large = [7; 2 * COPIED_BYTES_MAX];
        let (head, tail) = large.split_at(4099);
        for payload_bytes_max in [1 << 20, 5000] {
            let overhead = group_frames_bytes(large.len(), payload_bytes_max) - large.len();
            let (whole, copied) = written(&[&large], payload_bytes_max);
            assert_eq!((whole.len(), copied), (large.len() + overhead, overhead));
            let (parted, copied) = written(&[head, tail], payload_bytes_max);
            assert!(parted == whole && copied == overhead, "{copied} bytes");
            let (header, payload) = decode(&parted, 9).unwrap();
            assert_eq!(header.group_bytes, large.len() as u64);
            assert_eq!(payload.len(), payload_bytes_max.min(large.len()));
        }
        let (small, copied) = written(&[b"a", b"small", b"one"], 1 << 20);
        assert_eq!((small.len(), copied), (64 + 16, 2 * (64 + 16)), "in one piece of scratch");
    }

    proptest! {
        #[test]
        fn a_frame_comes_back(
            salt: u64,
            payload in prop::collection::vec(any::<u8>(), 1..300),
            tail: [u8; 9],
        ) {
            let mut bytes = encoded(salt, &payload);
            bytes.extend_from_slice(&tail);
            let (header, read) = decode(&bytes, salt).unwrap();
            prop_assert_eq!(read, &payload[..]);
            prop_assert_eq!(header.frame_bytes(), bytes.len() - tail.len());
        }

        #[test]
        fn one_flipped_bit_is_noticed(payload in prop::collection::vec(any::<u8>(), 1..40)) {
            let sound = encoded(3, &payload);
            for bit in 0..sound.len() * 8 {
                let mut bytes = sound.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(decode(&bytes, 3).is_err(), "bit {}", bit);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), salt: u64) {
            let _ = decode(&bytes, salt);
        }

        #[test]
        fn a_header_with_any_values_and_a_right_checksum_does_not_panic(
            values: [u8; 32], more: [u8; 24], payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&values);
            bytes.extend_from_slice(&more);
            let crc = crc32c::crc32c(&bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            bytes.extend_from_slice(&payload);
            let salt = u64::from_le_bytes(*bytes[8..].first_chunk().unwrap());
            let _ = decode(&bytes, salt);
        }
    }
}
