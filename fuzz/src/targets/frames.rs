//! Frames of the journal and the groups in them. An input is a byte of flags, the salt, and what
//! stands in a segment after its header. With flag 1 the checksums of each frame are made right
//! first: otherwise hardly an input would come past them.

use longshore_engine::Position;
use longshore_journal::Group;
use longshore_journal::frame::{self, FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameKind};

use crate::novelty::{saw, sound};

const FLAG_SEAL: u8 = 1;

/// Reads frames until one is not sound, and the groups that they make up.
pub fn target(input: &[u8]) {
    let Some((flags, rest)) = input.split_first() else { return };
    let Some((salt, frames)) = rest.split_first_chunk::<8>() else { return };
    let salt = u64::from_le_bytes(*salt);
    let mut bytes = frames.to_vec();
    let mut offset = 0;
    let mut group = Vec::new();
    for count in 0.. {
        if flags & FLAG_SEAL > 0 {
            seal(&mut bytes, offset, salt);
        }
        let here = bytes.get(offset..).unwrap_or_default();
        let (header, payload) = match frame::decode(here, salt) {
            Ok(decoded) => decoded,
            Err(error) => return saw((count, error.to_string())),
        };
        assert!(payload.len() <= FRAME_PAYLOAD_BYTES_MAX);
        assert_eq!(payload.len(), header.payload_bytes as usize);
        assert!(header.frame_bytes() <= here.len() && header.frame_bytes() >= FRAME_HEADER_BYTES);
        let mut again = Vec::new();
        frame::encode(header, payload, &mut again);
        assert_eq!(again, here.get(..header.frame_bytes()).unwrap_or_default(), "one encoding");
        saw((count, header.kind as u8, header.commit));
        if header.kind == FrameKind::Data {
            group.extend_from_slice(payload);
            if header.commit {
                read_group(header.first, header.count, std::mem::take(&mut group));
            }
        }
        offset += header.frame_bytes();
    }
}

fn read_group(first: Position, count: u32, bytes: Vec<u8>) {
    let Some(group) = Group::from_encoded(first, u64::from(count), bytes) else {
        return saw("no group");
    };
    assert_eq!(group.entries().count() as u64, u64::from(count), "all entries are there");
    let last = group.entries().last().map(|(position, _)| position);
    assert_eq!(last, Some(group.last()));
    saw(("group", count.min(8)));
    sound();
}

/// Makes the salt and the checksums of what may be a frame at `offset` right.
pub(super) fn seal(bytes: &mut [u8], offset: usize, salt: u64) {
    let Some((header, after)) = bytes
        .get_mut(offset..)
        .and_then(|bytes| bytes.split_first_chunk_mut::<FRAME_HEADER_BYTES>())
    else {
        return;
    };
    if !header.starts_with(b"LSF1") {
        return;
    }
    let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
    let padded = (length as usize).next_multiple_of(8);
    if let Some(padded) = after.get(..padded) {
        header[20..24].copy_from_slice(&crc32c::crc32c(padded).to_le_bytes());
    }
    header[8..16].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}
