//! The survey of a journal's files: what is sound, what is a torn tail and what is corrupt. It is
//! the one judgement that opening and inspecting share, and it changes nothing.
//!
//! Damage at or below the highest position that any sound frame or header calls durable is
//! corruption; above it, at the end, it is a torn tail if a crash can leave it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_engine::Position;

use crate::disk::{Disk, DiskFile};
use crate::fault::{Corruption, Fault, TornTail};
use crate::newest::read_newest;
use crate::scan::Scan;
use crate::segment::{
    HEADER_USED_BYTES, HeaderError, Identity, SegmentHeader, segment_name, sequence_of,
};
use crate::walk::Window;

/// What was found in a journal's folder.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The segments in order of their numbers.
    pub(crate) segments: Vec<Surveyed>,
    /// How many of them hold or held something. Those after them were prepared and never used.
    pub(crate) used: usize,
    /// How many of them stay. The next one, if there is one, makes way for the segment that a
    /// start begins, and those after it go.
    pub(crate) kept: usize,
    /// The first position that is still there.
    pub(crate) first: Position,
    /// The last position.
    pub(crate) tail: Position,
    /// The last position that is proved durable.
    pub(crate) durable: Position,
    pub(crate) torn: Option<TornTail>,
    /// Places where it is corrupt, in order.
    pub(crate) corrupt: Vec<Corruption>,
}

/// A segment and what was found in it.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) sequence: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len_bytes: u64,
    pub(crate) contents: Result<(SegmentHeader, Scan), Fault>,
}

impl Surveyed {
    fn header(&self) -> Option<&SegmentHeader> {
        self.contents.as_ref().ok().map(|(header, _)| header)
    }

    fn scan(&self) -> Option<&Scan> {
        self.contents.as_ref().ok().map(|(_, scan)| scan)
    }

    /// Position of its first entry, also of one still to come, as far as it says so itself.
    fn first(&self) -> Option<Position> {
        self.scan().and_then(|scan| scan.first)
    }

    fn is_used(&self) -> bool {
        match &self.contents {
            Ok((header, scan)) => {
                // Frames are written to a prepared segment only after its predecessor was sealed;
                // without a seal or a frame, bytes in it are rot where nothing was.
                let expected = scan.first.is_some() || scan.durable > Position::START;
                header.begin.is_some() || (scan.damage.is_some() || scan.frames > 0) && expected
            }
            Err(_) => true,
        }
    }

    /// Whether the file is shorter than it was made.
    fn is_cut(&self) -> bool {
        self.header().is_some_and(|header| self.len_bytes < header.len_bytes)
    }

    /// Whether it was prepared ahead and holds nothing at or below `durable`.
    fn has_nothing_proved(&self, durable: Position) -> bool {
        let contents = self.contents.as_ref();
        contents.is_ok_and(|(header, scan)| {
            header.begin.is_none() && scan.first.is_none_or(|first| first > durable)
        })
    }

    /// Whether it has sound frames.
    pub(crate) fn has_frames(&self) -> bool {
        self.scan().is_some_and(|scan| scan.frames > 0)
    }

    fn durable(&self) -> Position {
        let begin = self.header().and_then(|header| header.begin);
        let scanned = self.scan().map_or(Position::START, |scan| scan.durable);
        begin.map_or(scanned, |begin| scanned.max(begin.durable))
    }
}

/// A file or folder that could not be read.
pub(crate) type Unreadable = (PathBuf, io::Error);

/// Looks at all segments. Where `identity` is not given, the first segment's is expected of all.
pub(crate) fn survey(disk: &dyn Disk, identity: Option<Identity>) -> Result<Survey, Unreadable> {
    let names = disk.names().map_err(|error| (disk.path(""), error))?;
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| sequence_of(name)).collect();
    sequences.sort_unstable();
    let mut found = Vec::with_capacity(sequences.len());
    let mut identity = identity;
    for sequence in sequences {
        let name = segment_name(sequence);
        let read = || -> io::Result<Found> {
            let file = disk.open(&name, false)?;
            let mut bytes = [0; HEADER_USED_BYTES];
            let read = file.read_at(&mut bytes, 0)?;
            let header = check_header(bytes.get(..read).unwrap_or_default(), sequence, identity);
            Ok(Found { sequence, len_bytes: file.len_bytes()?, file, header })
        };
        let segment = read().map_err(|error| (disk.path(&name), error))?;
        identity = identity.or_else(|| segment.header.ok().map(|header| header.identity));
        found.push(segment);
    }
    let segments = scan_all(disk, found)?;
    Ok(judge(disk, segments, read_newest(disk)))
}

/// A segment before it is scanned.
struct Found {
    sequence: u64,
    len_bytes: u64,
    file: Arc<dyn DiskFile>,
    header: Result<SegmentHeader, Fault>,
}

fn check_header(
    bytes: &[u8],
    sequence: u64,
    identity: Option<Identity>,
) -> Result<SegmentHeader, Fault> {
    let header = SegmentHeader::decode(bytes).map_err(|error| match error {
        HeaderError::Damaged => Fault::Header,
        HeaderError::Level(other) => Fault::OtherLevel(other),
    })?;
    if header.sequence != sequence {
        return Err(Fault::Sequence { found: header.sequence });
    }
    match identity {
        Some(identity) if header.identity != identity => {
            Err(Fault::Foreign { found: header.identity })
        }
        _ => Ok(header),
    }
}

fn scan_all(disk: &dyn Disk, found: Vec<Found>) -> Result<Vec<Surveyed>, Unreadable> {
    let stops: Vec<Option<Position>> = found
        .iter()
        .skip(1)
        .map(|successor| successor.header.ok()?.begin.map(|begin| begin.base))
        .chain([None])
        .collect();
    let mut segments: Vec<Surveyed> = Vec::with_capacity(found.len());
    for (Found { sequence, len_bytes, file, header }, stop) in found.into_iter().zip(stops) {
        let contents = match header {
            Err(fault) => Err(fault),
            Ok(header) => {
                let sealed_before = segments
                    .last()
                    .filter(|before| before.sequence + 1 == sequence)
                    .and_then(Surveyed::scan)
                    .filter(|scan| scan.sealed)
                    .and_then(|scan| scan.next);
                let first = header.begin.map(|begin| begin.base.next()).or(sealed_before);
                let mut window = Window::new(Arc::clone(&file));
                let scan = Scan::run(&mut window, header.salt, first, stop)
                    .map_err(|error| (disk.path(&segment_name(sequence)), error))?;
                Ok((header, scan))
            }
        };
        segments.push(Surveyed { sequence, file, len_bytes, contents });
    }
    Ok(segments)
}

fn judge(disk: &dyn Disk, segments: Vec<Surveyed>, newest: Option<u64>) -> Survey {
    let used = segments.iter().rposition(Surveyed::is_used).map_or(0, |last| last + 1);
    let durable = segments.iter().map(Surveyed::durable).max().unwrap_or(Position::START);
    let first = segments.first().and_then(Surveyed::first).unwrap_or(Position(1));
    let mut survey = Survey {
        segments: Vec::new(),
        used,
        kept: used,
        first,
        tail: Position(first.0 - 1),
        durable,
        torn: None,
        corrupt: Vec::new(),
    };
    for (index, segment) in segments.iter().enumerate().take(used) {
        let before = index.checked_sub(1).and_then(|index| segments.get(index));
        let after = segments.get(index + 1);
        let last = index + 1 == used;
        survey.judge_segment(disk, segment, before, after, last);
    }
    if used == 0 && !segments.is_empty() {
        // Where a segment was prepared ahead there was one before it, and the last one never goes.
        let place = Corruption {
            path: disk.path(&segment_name(segments.first().map_or(0, |s| s.sequence - 1))),
            offset: 0,
            first,
            last: survey.tail,
            fault: Fault::Missing,
        };
        survey.corrupt.push(place);
    }
    let last = used.checked_sub(1).and_then(|last| segments.get(last));
    if survey.corrupt.is_empty() && last.is_some_and(|last| last.has_nothing_proved(durable)) {
        // Power may still be cut and take all its frames with it. If the segment before it were
        // given back by then, nothing would say where it begins.
        survey.kept -= 1;
    }
    let is_missing = |newest: &u64| {
        // Segments before the first one were truncated away.
        segments.first().is_none_or(|first| first.sequence < *newest)
            && segments.iter().all(|segment| segment.sequence != *newest)
    };
    if let Some(newest) = newest.filter(is_missing) {
        survey.corrupt(disk.path(&segment_name(newest)), 0, durable, Fault::Missing);
    }
    survey.segments = segments;
    survey
}

impl Survey {
    fn judge_segment(
        &mut self,
        disk: &dyn Disk,
        segment: &Surveyed,
        before: Option<&Surveyed>,
        after: Option<&Surveyed>,
        last: bool,
    ) {
        let path = disk.path(&segment_name(segment.sequence));
        if let Some(before) = before.filter(|before| before.sequence + 1 != segment.sequence) {
            let path = disk.path(&segment_name(before.sequence + 1));
            let last = segment.first().map_or(self.durable, |first| Position(first.0 - 1));
            self.corrupt(path, 0, last, Fault::Missing);
        }
        let scan = match &segment.contents {
            Ok((_, scan)) => scan,
            Err(fault) => return self.corrupt(path, 0, self.durable, *fault),
        };
        let Some(next) = scan.next else {
            let fault = scan.damage.map_or(Fault::Lost, |damage| damage.fault);
            return self.corrupt(path, scan.end, self.durable, fault);
        };
        self.tail = Position(next.0 - 1).max(self.tail);
        let place = scan.damage.map_or(scan.end, |damage| damage.offset);
        let fault = scan.damage.map_or(Fault::Lost, |damage| damage.fault);
        if segment.is_cut() && !scan.sealed && !scan.stopped {
            // It had its whole length, synced, before it had its name: no crash can do this.
            self.corrupt(path, segment.len_bytes, self.durable, Fault::Cut);
        } else if !last {
            let goes_on = after.is_some_and(|after| {
                after.contents.is_err() || (scan.sealed && after.first() == Some(next))
            });
            // Where the next segment is missing, that is said instead.
            let is_next = after.is_some_and(|after| after.sequence == segment.sequence + 1);
            if !scan.stopped && !goes_on && (is_next || scan.damage.is_some()) {
                let first = after.and_then(Surveyed::first);
                let last = first.map_or(self.durable, |first| Position(first.0 - 1));
                self.corrupt(path, place, last, fault);
            }
        } else if self.tail < self.durable {
            self.corrupt(path, place, self.durable, fault);
        } else if fault == Fault::Entries {
            // Its checksums are right and it is whole, so it was written like that.
            self.corrupt(path, place, self.tail, fault);
        } else if let Some(damage) = scan.damage {
            let (offset, position) = (scan.end, next);
            let bytes = damage.end.saturating_sub(offset);
            self.torn = Some(TornTail { path, offset, bytes, position, fault: damage.fault });
        } else if scan.sealed && after.is_none_or(|after| after.sequence != segment.sequence + 1) {
            let path = disk.path(&segment_name(segment.sequence + 1));
            self.corrupt(path, 0, self.tail, Fault::Missing);
        }
    }

    /// Notes a place where what follows the tail so far is corrupt up to `last`, at least.
    fn corrupt(&mut self, path: PathBuf, offset: u64, last: Position, fault: Fault) {
        let first = self.tail.next();
        let last = last.max(self.tail);
        self.corrupt.push(Corruption { path, offset, first, last, fault });
    }
}
