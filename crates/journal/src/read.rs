//! Reading entries back from segments, every frame checked again. It reads up to a position that
//! was durable when it began and knows nothing of appending.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use longshore_engine::Position;

use crate::ReadError;
use crate::disk::DiskFile;
use crate::fault::Fault;
use crate::group::take_entry;
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::walk::{Order, Step, Window};

/// A segment as a reader sees it.
#[derive(Clone, Debug)]
pub(crate) struct ReadableSegment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) salt: u64,
    /// Position of its first entry.
    pub(crate) first: Position,
    /// Position of its last entry that counts; the one before `first` where there is none.
    pub(crate) last: Position,
}

/// A group as it was read. A slice of its bytes keeps all of them in memory.
#[derive(Clone, Debug)]
pub(crate) struct ReadGroup {
    pub(crate) first: Position,
    pub(crate) count: u32,
    pub(crate) bytes: Bytes,
}

/// The groups that end at or after a position. After an error it ends.
pub(crate) struct Groups {
    from: Position,
    segments: VecDeque<ReadableSegment>,
    current: Option<Cursor>,
}

impl Groups {
    pub(crate) fn new(from: Position, segments: impl Iterator<Item = ReadableSegment>) -> Self {
        let segments = segments.filter(|s| s.last >= s.first && s.last >= from).collect();
        Self { from, segments, current: None }
    }
}

impl Iterator for Groups {
    type Item = Result<ReadGroup, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.current.as_ref().is_none_or(Cursor::is_at_end) {
                self.current = Some(Cursor::new(self.segments.pop_front()?));
            }
            let cursor = self.current.as_mut()?;
            match cursor.read_group(self.from) {
                Ok(Some(group)) => return Some(Ok(group)),
                Ok(None) => {}
                Err(error) => {
                    self.segments.clear();
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("from", &self.from).finish_non_exhaustive()
    }
}

/// A place in a segment.
pub(crate) struct Cursor {
    segment: ReadableSegment,
    window: Window,
    order: Order,
    offset: u64,
}

impl Cursor {
    pub(crate) fn new(segment: ReadableSegment) -> Self {
        let window = Window::new(Arc::clone(&segment.file));
        let order = Order::new(Some(segment.first));
        Self { segment, window, order, offset: SEGMENT_HEADER_BYTES }
    }

    fn position(&self) -> Position {
        self.order.next().unwrap_or(self.segment.first)
    }

    /// Where the next frame is read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The segment has grown. What was read of it ahead may be older than that.
    pub(crate) fn set_last(&mut self, last: Position) {
        if last > self.segment.last {
            self.segment.last = last;
            self.window = Window::new(Arc::clone(&self.segment.file));
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position() > self.segment.last
    }

    /// Reads the next group, `None` where it ends before `from`.
    pub(crate) fn read_group(&mut self, from: Position) -> Result<Option<ReadGroup>, ReadError> {
        let mut bytes = BytesMut::new();
        while !self.is_at_end() {
            let frame = self.window.frame_at(self.offset, self.segment.salt);
            let frame = frame
                .map_err(|source| ReadError::Io { path: self.segment.path.clone(), source })?;
            let (frame, payload) = match frame {
                Ok(frame) => frame,
                Err(error) => return Err(self.corrupt(Fault::Frame(error))),
            };
            let wanted = frame.first.advanced_by(u64::from(frame.count)) > from;
            if wanted {
                bytes.extend_from_slice(payload);
            }
            let step = match self.order.accept(&frame, payload) {
                Ok(step) => step,
                Err(fault) => return Err(self.corrupt(fault)),
            };
            if step == Step::Seal {
                return Err(self.corrupt(Fault::Lost));
            }
            self.offset += frame.frame_bytes() as u64;
            if let Step::Group { first, count } = step {
                let bytes = bytes.freeze();
                return Ok(wanted.then_some(ReadGroup { first, count, bytes }));
            }
        }
        Ok(None)
    }

    fn corrupt(&self, fault: Fault) -> ReadError {
        let path = self.segment.path.clone();
        ReadError::Corrupt { path, offset: self.offset, position: self.position(), fault }
    }
}

/// The entries from a position on. After an error it ends.
#[derive(Debug)]
pub(crate) struct EntryReader {
    from: Position,
    groups: Groups,
    /// Position of the next entry in `rest`.
    next: Position,
    left: u32,
    rest: Bytes,
}

impl EntryReader {
    pub(crate) fn new(from: Position, segments: impl Iterator<Item = ReadableSegment>) -> Self {
        let groups = Groups::new(from, segments);
        Self { from, groups, next: from, left: 0, rest: Bytes::new() }
    }
}

impl Iterator for EntryReader {
    type Item = Result<(Position, Bytes), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.left == 0 {
                let group = match self.groups.next()? {
                    Ok(group) => group,
                    Err(error) => return Some(Err(error)),
                };
                (self.next, self.left, self.rest) = (group.first, group.count, group.bytes);
            }
            let entry = take_entry(&mut self.rest).expect("a group has the entries that it names");
            self.left -= 1;
            let position = self.next;
            self.next = position.next();
            if position >= self.from {
                return Some(Ok((position, entry)));
            }
        }
    }
}
