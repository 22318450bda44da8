//! Opening a file journal: judge what is there, cut the torn tail, copy what is not proved durable
//! into a new segment, and only then serve. An old segment is never written to again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_engine::Position;

use crate::disk::{Disk, DiskFile};
use crate::fault::{Corruption, Fault, TornTail};
use crate::file::FileConfig;
use crate::frame::{FRAME_HEADER_BYTES, GroupFrames, group_frames_bytes};
use crate::newest::write_newest;
use crate::prepare::is_no_space;
use crate::read::{Groups, ReadGroup, ReadableSegment};
use crate::segment::{
    Begin, SEGMENT_HEADER_BYTES, SegmentHeader, finish_segment, is_unfinished, make_segment,
    segment_name, unfinished_name,
};
use crate::survey::{Survey, Surveyed, survey};
use crate::{OpenError, ReadError};

/// What opening a journal found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The first position that is still there; the one after the tail where nothing is.
    pub first: Position,
    /// The last position.
    pub tail: Position,
    /// How many of the last entries were not proved durable and were written anew.
    pub copied_entries: u64,
    /// What a crash left half-written and was cut.
    pub torn: Option<TornTail>,
    /// Number of segments before the new one.
    pub segments: usize,
}

/// What [`recover`] hands to the journal.
pub(crate) struct Recovered {
    pub(crate) opened: Opened,
    /// The segments with entries that count, and the new one at the end.
    pub(crate) segments: Vec<RecoveredSegment>,
    /// Offset in the new segment where the next frame goes.
    pub(crate) offset: u64,
}

pub(crate) struct RecoveredSegment {
    pub(crate) sequence: u64,
    pub(crate) len_bytes: u64,
    pub(crate) readable: ReadableSegment,
}

/// Brings the journal into a state in which it can be appended to.
pub(crate) fn recover(disk: &dyn Disk, config: &FileConfig) -> Result<Recovered, OpenError> {
    let names = disk.names().map_err(failed("list", disk.path("")))?;
    for name in names.iter().filter(|name| is_unfinished(name)) {
        disk.remove(name).map_err(failed("remove", disk.path(name)))?;
    }
    let mut survey = survey(disk, Some(config.identity))
        .map_err(|(path, source)| OpenError::Io { operation: "read", path, source })?;
    if let Some(corruption) = survey.corrupt.first() {
        return Err(refusal(corruption.clone(), config));
    }
    make_way(disk, &survey)?;
    let (first, tail, durable) = (survey.first, survey.tail, survey.durable);
    let replaced = survey.segments.get(survey.kept).map(|segment| segment.sequence);
    let used = survey.used;
    let mut segments: Vec<RecoveredSegment> =
        survey.segments.drain(..).take(used).filter_map(|s| readable(disk, &s)).collect();
    let unproved = Groups::new(durable.next(), segments.iter().map(|s| s.readable.clone()))
        .collect::<Result<Vec<ReadGroup>, ReadError>>()
        .map_err(unreadable)?;
    segments.retain(|segment| Some(segment.sequence) != replaced);
    for segment in &mut segments {
        segment.readable.last = segment.readable.last.min(durable);
    }
    let following = segments.last().map_or(1, |segment| segment.sequence + 1);
    let sequence = replaced.unwrap_or(following);
    let begin = Begin { base: durable, durable: tail };
    let (segment, offset) = begin_segment(disk, config, sequence, begin, &unproved)?;
    let opened = Opened {
        first,
        tail,
        copied_entries: tail.0 - durable.0,
        torn: survey.torn,
        segments: segments.len(),
    };
    segments.push(segment);
    Ok(Recovered { opened, segments, offset })
}

/// Gives back what was prepared, before the new segment is made. A seal says that the segment after
/// it is there, so the first is replaced by the new one, and where it is sealed itself, the second
/// keeps its name until the next one that is prepared takes its place.
fn make_way(disk: &dyn Disk, survey: &Survey) -> Result<(), OpenError> {
    let others = survey.segments.get(survey.kept..).unwrap_or_default();
    let named = if others.first().is_some_and(Surveyed::has_frames) { 2 } else { 1 };
    for segment in others.iter().skip(named).rev() {
        let name = segment_name(segment.sequence);
        disk.remove(&name).map_err(failed("remove", disk.path(&name)))?;
        disk.sync().map_err(failed("sync", disk.path("")))?;
    }
    for segment in others.iter().take(named).filter(|segment| !segment.has_frames()) {
        let name = segment_name(segment.sequence);
        let cut = disk.open(&name, true).and_then(|file| file.cut(SEGMENT_HEADER_BYTES));
        cut.map_err(failed("cut", disk.path(&name)))?;
    }
    Ok(())
}

fn readable(disk: &dyn Disk, segment: &Surveyed) -> Option<RecoveredSegment> {
    let (header, scan) = segment.contents.as_ref().ok()?;
    let readable = ReadableSegment {
        path: disk.path(&segment_name(segment.sequence)),
        file: Arc::clone(&segment.file),
        salt: header.salt,
        first: scan.first?,
        last: Position(scan.next?.0 - 1),
    };
    Some(RecoveredSegment { sequence: segment.sequence, len_bytes: segment.len_bytes, readable })
}

/// Makes the first segment of a journal whose entries up to `base` are kept elsewhere.
pub(crate) fn begin_after(
    disk: &dyn Disk,
    config: &FileConfig,
    base: Position,
) -> Result<(), OpenError> {
    begin_segment(disk, config, 1, Begin { base, durable: base }, &[]).map(drop)
}

/// Makes the segment that every start begins, with the groups that were not proved durable.
fn begin_segment(
    disk: &dyn Disk,
    config: &FileConfig,
    sequence: u64,
    begin: Begin,
    groups: &[ReadGroup],
) -> Result<(RecoveredSegment, u64), OpenError> {
    let payload_max = config.frame_payload_bytes_max;
    let copied: usize =
        groups.iter().map(|group| group_frames_bytes(group.bytes.len(), payload_max)).sum();
    let seal = FRAME_HEADER_BYTES as u64;
    let len_bytes = (SEGMENT_HEADER_BYTES + copied as u64 + seal + config.first_segment_bytes)
        .next_multiple_of(SEGMENT_HEADER_BYTES);
    let header = SegmentHeader {
        identity: config.identity,
        sequence,
        salt: disk.new_salt(),
        len_bytes,
        begin: Some(begin),
    };
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut make = || -> io::Result<Arc<dyn DiskFile>> {
        let file = make_segment(disk, &header, &|| true)?;
        for group in groups {
            let frames = GroupFrames {
                first: group.first,
                count: group.count,
                pieces: vec![&group.bytes],
                salt: header.salt,
                durable: begin.durable,
            };
            frames.write(payload_max, &mut Vec::new(), |pieces| {
                let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
                file.write_pieces_at(pieces, offset).map(|()| offset += bytes as u64)
            })?;
        }
        file.sync_data()?;
        finish_segment(disk, sequence)?;
        write_newest(disk, sequence)?;
        Ok(file)
    };
    let file = make().map_err(|source| {
        // Gives the space back. What cannot be removed is removed at the next start.
        let _ = disk.remove(&unfinished_name(sequence));
        if is_no_space(&source) {
            OpenError::NoSpace { path: disk.path(""), needed_bytes: len_bytes }
        } else {
            OpenError::Io { operation: "write", path: disk.path(&segment_name(sequence)), source }
        }
    })?;
    let readable = ReadableSegment {
        path: disk.path(&segment_name(sequence)),
        file,
        salt: header.salt,
        first: begin.base.next(),
        last: begin.durable,
    };
    Ok((RecoveredSegment { sequence, len_bytes, readable }, offset))
}

fn refusal(corruption: Corruption, config: &FileConfig) -> OpenError {
    match corruption.fault {
        Fault::OtherLevel(other) => OpenError::OtherLevel { path: corruption.path, other },
        Fault::Foreign { found } => {
            OpenError::Foreign { path: corruption.path, expected: config.identity, found }
        }
        _ => OpenError::Corrupt(corruption),
    }
}

/// The survey read it a moment ago, so this is a disk that changes its mind.
fn unreadable(error: ReadError) -> OpenError {
    let path = match &error {
        ReadError::Corrupt { path, .. } | ReadError::Io { path, .. } => path.clone(),
        ReadError::Truncated { .. } | ReadError::BeyondTail { .. } => PathBuf::new(),
    };
    OpenError::Io { operation: "read", path, source: io::Error::other(error) }
}

fn failed(operation: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { operation, path, source }
}
