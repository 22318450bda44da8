//! A whole journal: segments with headers and frames, as files. An input is a byte of flags and a
//! folder. With flag 1 the checksums of headers and frames are made right first.

use std::sync::Arc;

use longshore_engine::Position;
use longshore_journal::disk::Disk;
use longshore_journal::frame::FRAME_HEADER_BYTES;
use longshore_journal::{FileConfig, FileJournal, Journal, Prepare, SimDisk, inspect_on};

use super::frames;
use crate::folder;
use crate::novelty::{saw, sound};

const FLAG_SEAL: u8 = 1;
/// What stands before the frames of a segment.
const SEGMENT_HEADER_BYTES: usize = 4096;
/// Where the length of the payload stands in a frame.
const LENGTH_AT: std::ops::Range<usize> = 16..20;

/// What inspection calls sound opens, and its entries can be read up to the tail; what it calls
/// corrupt does not open.
pub fn target(input: &[u8]) {
    let Some((flags, files)) = input.split_first() else { return };
    let disk = SimDisk::new(1);
    for (name, mut contents) in folder::decode(files) {
        if flags & FLAG_SEAL > 0 {
            seal(&mut contents);
        }
        disk.put(&name, contents);
    }
    let report = match inspect_on(&disk, None) {
        Ok(report) => report,
        Err(error) => return saw(error.to_string()),
    };
    let verdicts: Vec<_> = report.segments.iter().map(|it| it.verdict as u8).collect();
    saw((verdicts, report.torn.is_some(), report.corrupt.len().min(3)));
    let identity = report.segments.iter().find_map(|segment| segment.identity);
    let config = FileConfig {
        identity: identity.unwrap_or_default(),
        segment_bytes: 16 << 10,
        first_segment_bytes: 8 << 10,
        reserve_bytes: 0,
        frame_payload_bytes_max: 1 << 10,
        prepare: Prepare::Inline,
    };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let opened = FileJournal::open_on(Arc::clone(&disk), config);
    assert_eq!(opened.is_ok(), report.is_sound(), "{report:?}\n{:?}", opened.err());
    let Ok((journal, _)) = opened else { return };
    assert_eq!(journal.tail(), report.tail, "{report:?}");
    let Ok(entries) = journal.read_from(journal.first()) else { panic!("{report:?}") };
    let mut last = Position(journal.first().0 - 1);
    for entry in entries {
        let Ok((position, _)) = entry else { panic!("{report:?}\n{entry:?}") };
        assert_eq!(position, last.next());
        last = position;
    }
    assert_eq!(last, journal.tail(), "{report:?}");
    sound();
}

/// Makes the checksums right of a segment's header and of the frames that follow each other in it.
fn seal(segment: &mut [u8]) {
    let Some(header) = segment.first_chunk_mut::<96>() else { return };
    let salt = u64::from_le_bytes(*header[48..].first_chunk().expect("96 bytes"));
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    let mut offset = SEGMENT_HEADER_BYTES;
    while let Some(frame) = segment.get(offset..).filter(|rest| rest.starts_with(b"LSF1")) {
        let length = frame.get(LENGTH_AT).and_then(|bytes| bytes.first_chunk::<4>());
        let Some(length) = length else { return };
        let length = u32::from_le_bytes(*length) as usize;
        frames::seal(segment, offset, salt);
        offset += FRAME_HEADER_BYTES + length.next_multiple_of(8);
    }
}
