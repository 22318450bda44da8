//! The journal in files: appends go to the newest of a row of segments, in a region that was
//! written with zeros before, so that one write and one `fdatasync` commit a group.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_engine::Position;

use crate::disk::{Disk, DiskLock, Folder};
use crate::frame::{
    FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameHeader, FrameKind, GroupFrames, encode,
    group_frames_bytes,
};
use crate::journal::EntryIterator;
use crate::open::{Opened, begin_after, recover};
use crate::prepare::{Plan, Prepare, PreparedSegment, Preparer, Room, is_no_space};
use crate::read::{EntryReader, ReadableSegment};
use crate::segment::{Identity, SEGMENT_HEADER_BYTES, segment_name};
use crate::{AppendError, Group, Journal, OpenError, ReadError, TruncateError};

/// The file that keeps other processes away.
pub(crate) const LOCK_NAME: &str = "lock";

/// Room at the end of every segment for its seal.
const SEAL_BYTES: u64 = FRAME_HEADER_BYTES as u64;

/// How a file journal is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileConfig {
    /// Whose journal it is; checked against the files.
    pub identity: Identity,
    /// Length of a segment once the journal is in use. A group of unusual size gets a longer one.
    pub segment_bytes: u64,
    /// Room in the segment that every start begins. The next ones grow up to `segment_bytes`, so
    /// that an empty store is ready quickly and a small one stays small.
    pub first_segment_bytes: u64,
    /// Bytes to keep prepared beyond the segment in use, at least; what is left when the disk is
    /// full serves settlements.
    pub reserve_bytes: u64,
    /// The most payload of one frame, up to 1 MiB.
    pub frame_payload_bytes_max: usize,
    /// Who prepares segments.
    pub prepare: Prepare,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            segment_bytes: 64 << 20,
            first_segment_bytes: 1 << 20,
            reserve_bytes: 4 << 20,
            frame_payload_bytes_max: FRAME_PAYLOAD_BYTES_MAX,
            prepare: Prepare::Background,
        }
    }
}

/// A journal in a folder of files.
#[derive(Debug)]
pub struct FileJournal {
    disk: Arc<dyn Disk>,
    frame_payload_bytes_max: usize,
    /// In order, the one that is appended to last. Never empty.
    segments: VecDeque<Segment>,
    /// Where the next frame goes in the last segment.
    offset: u64,
    tail: Position,
    /// The last position that a frame or a header calls durable.
    marked: Position,
    scratch: Vec<u8>,
    /// A write or a sync failed: nothing is known of the disk, nothing is tried again.
    failed: bool,
    /// A removal was not made durable yet.
    folder_dirty: bool,
    room: Room,
    // Ends before the lock does.
    preparer: Preparer,
    _lock: Box<dyn DiskLock>,
}

#[derive(Debug)]
struct Segment {
    sequence: u64,
    len_bytes: u64,
    /// Whether the segment itself says where it begins, so that those before it can go.
    stands_alone: bool,
    readable: ReadableSegment,
}

impl FileJournal {
    /// Opens the journal in `folder`, or makes one where there is none.
    pub fn open(folder: impl AsRef<Path>, config: FileConfig) -> Result<(Self, Opened), OpenError> {
        Self::open_on(Arc::new(Folder::new(folder.as_ref())), config)
    }

    /// Opens the journal on a disk that is given.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        mut config: FileConfig,
    ) -> Result<(Self, Opened), OpenError> {
        config.frame_payload_bytes_max =
            config.frame_payload_bytes_max.clamp(1, FRAME_PAYLOAD_BYTES_MAX);
        let io = |operation, name: &str| {
            let path = disk.path(name);
            move |source| OpenError::Io { operation, path, source }
        };
        disk.create_folder().map_err(io("create", ""))?;
        let lock = disk.lock(LOCK_NAME, true).map_err(io("lock", LOCK_NAME))?;
        let lock = lock.ok_or_else(|| OpenError::Locked { path: disk.path(LOCK_NAME) })?;
        let recovered = recover(&*disk, &config)?;
        let segments: VecDeque<Segment> = recovered
            .segments
            .into_iter()
            .map(|segment| Segment {
                sequence: segment.sequence,
                len_bytes: segment.len_bytes,
                stands_alone: true,
                readable: segment.readable,
            })
            .collect();
        let last = segments.back().expect("every start begins a segment");
        let plan = Plan {
            identity: config.identity,
            mode: config.prepare,
            sequence: last.sequence + 1,
            len_bytes_before: config.first_segment_bytes,
            len_bytes_max: config.segment_bytes.max(2 * SEGMENT_HEADER_BYTES),
            reserve_bytes: config.reserve_bytes,
        };
        let room = Room::default();
        for Segment { sequence, readable, .. } in &segments {
            room.needed().add(*sequence, readable.path.clone(), Arc::clone(&readable.file));
        }
        for (left, segment) in (0..segments.len()).rev().zip(&segments) {
            let end = if left == 0 { recovered.offset } else { segment.len_bytes };
            room.row().push(segment.sequence, segment.readable.clone(), end);
        }
        let preparer = Preparer::start(Arc::clone(&disk), plan, room.clone())
            .map_err(io("start a thread for", ""))?;
        let tail = recovered.opened.tail;
        let journal = Self {
            frame_payload_bytes_max: config.frame_payload_bytes_max,
            segments,
            offset: recovered.offset,
            tail,
            marked: tail,
            scratch: Vec::new(),
            failed: false,
            folder_dirty: false,
            room,
            preparer,
            _lock: lock,
            disk,
        };
        journal.show_room();
        Ok((journal, recovered.opened))
    }

    /// Makes a journal in an empty folder whose first entry will have the position after `base`:
    /// what is before it was kept elsewhere. It is to be opened then.
    pub fn create_after(
        folder: impl AsRef<Path>,
        config: &FileConfig,
        base: Position,
    ) -> Result<(), OpenError> {
        let disk = Folder::new(folder.as_ref());
        let io = |source| OpenError::Io { operation: "create", path: disk.path(""), source };
        disk.create_folder().map_err(io)?;
        if !disk.names().map_err(io)?.is_empty() {
            return Err(io(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        begin_after(&disk, config, base)
    }

    /// The room that it has, to be watched from other threads.
    pub fn room(&self) -> Room {
        self.room.clone()
    }

    /// Bytes that `group` takes in the journal.
    pub fn needed_bytes(&self, group: &Group) -> u64 {
        group_frames_bytes(group.len_bytes(), self.frame_payload_bytes_max) as u64
    }

    /// The first position that is still there; the one after the tail where nothing is.
    pub fn first(&self) -> Position {
        self.segments.front().map_or_else(|| self.tail.next(), |segment| segment.readable.first)
    }

    /// Bytes that its files take.
    pub fn bytes_on_disk(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.len_bytes).sum();
        segments + self.room.prepared_bytes()
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("a journal has a segment to append to")
    }

    fn show_room(&self) {
        self.room.set_active_bytes(self.room_in_active());
    }

    fn room_in_active(&self) -> u64 {
        self.active().len_bytes.saturating_sub(SEAL_BYTES).saturating_sub(self.offset)
    }

    /// Sees to it that the segment in use has room for `bytes`.
    fn make_room(&mut self, bytes: u64) -> Result<(), AppendError> {
        if bytes <= self.room_in_active() {
            return Ok(());
        }
        let len_bytes = SEGMENT_HEADER_BYTES + bytes + SEAL_BYTES;
        if let Err(error) = self.preparer.ensure(len_bytes) {
            if is_no_space(&error) {
                return Err(AppendError::NoSpace { needed_bytes: bytes });
            }
            return Err(self.fail("prepare a segment in", self.disk.path(""), error));
        }
        while bytes > self.room_in_active() {
            let Some(next) = self.preparer.pop() else {
                return Err(AppendError::NoSpace { needed_bytes: bytes });
            };
            self.rotate(next)?;
        }
        self.preparer.top_up();
        Ok(())
    }

    /// Seals the segment in use and goes on in `next`, whose name is durable.
    fn rotate(&mut self, next: PreparedSegment) -> Result<(), AppendError> {
        self.write_notice(FrameKind::Seal)?;
        let sequence = next.header.sequence;
        let readable = ReadableSegment {
            path: self.disk.path(&segment_name(sequence)),
            file: next.file,
            salt: next.header.salt,
            first: self.tail.next(),
            last: self.tail,
        };
        let len_bytes = next.header.len_bytes;
        self.room.row().push(sequence, readable.clone(), SEGMENT_HEADER_BYTES);
        self.segments.push_back(Segment { sequence, len_bytes, stands_alone: false, readable });
        self.offset = SEGMENT_HEADER_BYTES;
        self.show_room();
        Ok(())
    }

    fn write_notice(&mut self, kind: FrameKind) -> Result<(), AppendError> {
        let header = FrameHeader::notice(kind, self.active().readable.salt, self.tail);
        self.scratch.clear();
        encode(header, &[], &mut self.scratch);
        let file = &self.active().readable.file;
        let result = file.write_at(&self.scratch, self.offset).and_then(|()| file.sync_data());
        self.written(result)?;
        self.offset += self.scratch.len() as u64;
        self.marked = self.tail;
        self.show_room();
        Ok(())
    }

    /// Takes the outcome of writing to the segment in use.
    fn written(&mut self, result: io::Result<()>) -> Result<(), AppendError> {
        match result {
            Ok(()) => {
                let active = self.segments.back_mut().expect("a journal has a segment");
                active.stands_alone = true;
                Ok(())
            }
            Err(error) => {
                let path = self.active().readable.path.clone();
                Err(self.fail("write", path, error))
            }
        }
    }

    fn fail(&mut self, operation: &'static str, path: PathBuf, source: io::Error) -> AppendError {
        self.failed = true;
        AppendError::Failed { operation, path, source }
    }

    /// Makes removals durable.
    fn sync_folder(&mut self) -> Result<(), TruncateError> {
        if self.folder_dirty {
            let failed = |source| TruncateError { path: self.disk.path(""), source };
            self.disk.sync().map_err(failed)?;
            self.folder_dirty = false;
        }
        Ok(())
    }

    fn check_not_failed(&self) -> Result<(), AppendError> {
        if self.failed {
            let source = io::Error::other("an earlier write failed");
            let path = self.active().readable.path.clone();
            return Err(AppendError::Failed { operation: "write", path, source });
        }
        Ok(())
    }
}

impl Journal for FileJournal {
    fn append(&mut self, group: &Group) -> Result<Position, AppendError> {
        self.check_not_failed()?;
        let expected = self.tail.next();
        if group.first() != expected {
            return Err(AppendError::Unexpected { expected, found: group.first() });
        }
        if group.is_empty() {
            return Ok(self.tail);
        }
        self.make_room(self.needed_bytes(group))?;
        let frames = GroupFrames {
            first: group.first(),
            count: u32::try_from(group.count()).expect("a group has less than 2^32 entries"),
            pieces: group.pieces(),
            salt: self.active().readable.salt,
            durable: self.tail,
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let file = Arc::clone(&self.active().readable.file);
        let mut offset = self.offset;
        let result = frames.write(self.frame_payload_bytes_max, &mut scratch, |pieces| {
            let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
            file.write_pieces_at(pieces, offset).map(|()| offset += bytes as u64)
        });
        self.scratch = scratch;
        self.written(result.and_then(|()| file.sync_data()))?;
        self.offset = offset;
        self.tail = group.last();
        self.marked = frames.durable;
        let active = self.segments.back_mut().expect("a journal has a segment");
        active.readable.last = group.last();
        self.room.row().appended(group.last(), offset);
        self.show_room();
        Ok(self.tail)
    }

    fn tail(&self) -> Position {
        self.tail
    }

    fn mark(&mut self) -> Result<(), AppendError> {
        self.check_not_failed()?;
        self.preparer.top_up();
        if self.marked == self.tail {
            return Ok(());
        }
        self.make_room(FRAME_HEADER_BYTES as u64)?;
        // The seal of the segment that was full may have said it already.
        if self.marked == self.tail {
            return Ok(());
        }
        self.write_notice(FrameKind::Mark)
    }

    fn read_from(&self, from: Position) -> Result<EntryIterator, ReadError> {
        let from = from.max(Position(1));
        let (first, tail) = (self.first(), self.tail);
        if from < first {
            return Err(ReadError::Truncated { asked: from, first });
        }
        if from > tail.next() {
            return Err(ReadError::BeyondTail { asked: from, tail });
        }
        let segments = self.segments.iter().map(|segment| segment.readable.clone());
        Ok(Box::new(EntryReader::new(from, segments)))
    }

    fn truncate_before(&mut self, position: Position) -> Result<(), TruncateError> {
        self.sync_folder()?;
        while let (Some(oldest), Some(after)) = (self.segments.front(), self.segments.get(1)) {
            if oldest.readable.last >= position || !after.stands_alone {
                break;
            }
            let name = segment_name(oldest.sequence);
            self.room.needed().drop(oldest.sequence);
            self.room.row().drop(oldest.sequence);
            self.disk
                .remove(&name)
                .map_err(|source| TruncateError { path: self.disk.path(&name), source })?;
            self.segments.pop_front();
            self.folder_dirty = true;
            // Oldest first and one by one, so that no crash leaves a gap in the row.
            self.sync_folder()?;
        }
        Ok(())
    }
}
