//! A partition: its row of files, from where to where they go, and who waits for more. Files are
//! read without a lock; what stands behind `len_bytes` of one is nobody's business yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use longshore_engine::{PartitionId, StreamSettings};

use crate::batch::{BatchFault, BatchHeader, HEADER_BYTES, end_of, unseal};
use crate::error::ReadError;
use crate::file_id::FileId;
use crate::open_files::OpenFiles;
use crate::transactions::{AbortedTransaction, Transactions};
use crate::walk::{INDEX_EVERY_BYTES, Mark, Walk, follows, stands};

/// A partition of a stream.
#[derive(Debug)]
pub struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) open: Arc<OpenFiles>,
    /// Bytes after which the next file begins.
    pub(crate) file_bytes: AtomicU64,
    /// How far the times of a file's events may be apart, in milliseconds.
    file_ms: AtomicU64,
    /// The first offset of what the last sync calls its last file: a start wants that one as it is.
    pub(crate) synced_base: AtomicU64,
    /// Something in its files cannot be read; whoever reads it is told what.
    pub(crate) unreadable: AtomicBool,
    /// Until when compaction leaves it alone, milliseconds since 1970.
    pub(crate) aside_until_ms: AtomicU64,
    files: RwLock<Files>,
    waiters: Mutex<Waiters>,
}

/// The files of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// The first offset that is kept.
    pub(crate) start: u64,
    /// The offset of the next event. Everything before it is durable in the journal or here.
    pub(crate) end: u64,
    /// In order, the one that is written to last.
    #[expect(clippy::struct_field_names, reason = "they are the files of these")]
    pub(crate) files: VecDeque<EventFile>,
    /// The stream was removed.
    pub(crate) gone: bool,
    /// Those that have something in it.
    pub(crate) transactions: Transactions,
    /// How often some of those were forgotten of which compaction left nothing.
    pub(crate) forgotten: u64,
}

/// One file of events: batches from `base` on, to the next file's base or the partition's end.
#[derive(Clone, Debug)]
pub(crate) struct EventFile {
    pub(crate) id: FileId,
    pub(crate) len_bytes: u64,
    /// What is known of its batches, up to a place in it.
    pub(crate) walk: Walk,
}

#[derive(Debug, Default)]
struct Waiters {
    next: u64,
    wakers: BTreeMap<u64, Option<Waker>>,
}

/// Whole batches as they lie in the file.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The batches; empty where there is nothing yet at the offset.
    pub batches: Bytes,
    /// The first offset that is kept.
    pub start: u64,
    /// The offset of the next event.
    pub end: u64,
    /// The offset up to which no transaction is open.
    pub stable: u64,
    /// Aborted transactions that have something in the batches; where only committed events are
    /// asked for.
    pub aborted: Vec<AbortedTransaction>,
}

/// What is to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Read {
    /// From the batch with this offset on.
    pub offset: u64,
    /// As many batches as fit into this.
    pub bytes_max: usize,
    /// Not even one where the first does not fit: it is not read either. Else one at least.
    pub within: bool,
    /// Nothing from the first event on whose transaction is open.
    pub committed: bool,
}

/// Somebody who waits for events of a partition. He does no more once this is dropped.
#[derive(Debug)]
pub struct Waiting {
    partition: Arc<Partition>,
    number: u64,
}

impl Waiting {
    /// Has this waker woken when there are more events, or the partition is gone.
    pub fn set(&self, waker: &Waker) {
        let mut waiters = self.partition.waiters();
        waiters.wakers.insert(self.number, Some(waker.clone()));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.partition.waiters().wakers.remove(&self.number);
    }
}

impl Chunk {
    fn new(batches: Bytes, (start, end): (u64, u64)) -> Self {
        Self { batches, start, end, stable: end, aborted: Vec::new() }
    }

    /// With its batches as producers made them.
    fn unsealed(self) -> Self {
        let mut batches =
            self.batches.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        unseal(&mut batches);
        Self { batches: batches.freeze(), ..self }
    }
}

/// Where reading begins.
#[derive(Clone, Copy)]
struct Place {
    file: FileId,
    /// A place in the file at or before the batch that is looked for.
    at: u64,
    len_bytes: u64,
    /// Where the next file begins, if there is one.
    next: Option<u64>,
    start: u64,
    end: u64,
}

impl Partition {
    pub(crate) fn new(id: PartitionId, open: Arc<OpenFiles>, files: Files) -> Self {
        let (file_bytes, file_ms) = (AtomicU64::new(64 << 20), AtomicU64::new(u64::MAX));
        Self {
            id,
            open,
            file_bytes,
            file_ms,
            synced_base: AtomicU64::new(0),
            unreadable: AtomicBool::new(false),
            aside_until_ms: AtomicU64::new(0),
            files: RwLock::new(files),
            waiters: Mutex::default(),
        }
    }

    /// Takes over what its stream's settings say.
    pub(crate) fn set(&self, settings: &StreamSettings) {
        self.file_bytes.store(settings.file_bytes, Ordering::Relaxed);
        self.file_ms.store(settings.file_ms_max(), Ordering::Relaxed);
    }

    /// Whether a batch belongs into the next file: this one has all that it may, or began long ago
    /// by the times of its events.
    pub(crate) fn is_full(&self, file: &EventFile, batch: &[u8]) -> bool {
        if file.len_bytes == 0 {
            return false;
        }
        let begun = file.walk.begun();
        let time = BatchHeader::parse(batch).map(|header| header.newest_time);
        let old = begun.zip(time.ok()).is_some_and(|(begun, time)| {
            let file_ms = self.file_ms.load(Ordering::Relaxed);
            begun >= 0 && u64::try_from(time.saturating_sub(begun)).is_ok_and(|ms| ms > file_ms)
        });
        old || file.len_bytes + batch.len() as u64 > self.file_bytes()
    }

    /// Its number.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The first offset that is kept, and that of the next event: what stands before it is durable.
    pub fn ends(&self) -> (u64, u64) {
        let files = self.files();
        (files.start, files.end)
    }

    /// The offset up to which no transaction is open: readers of committed events stop there.
    pub fn stable_end(&self) -> u64 {
        let files = self.files();
        let first = files.transactions.first_open();
        first.map_or(files.end, |first| first.max(files.start).min(files.end))
    }

    /// Whether its stream was removed.
    pub fn is_gone(&self) -> bool {
        self.files().gone
    }

    /// Bytes of its files.
    pub fn len_bytes(&self) -> u64 {
        self.files().files.iter().map(|file| file.len_bytes).sum()
    }

    /// A place to wait for more events at.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        let mut waiters = self.waiters();
        waiters.next += 1;
        let number = waiters.next;
        waiters.wakers.insert(number, None);
        drop(waiters);
        Waiting { partition: Arc::clone(self), number }
    }

    pub(crate) fn wake(&self) {
        let woken: Vec<Waker> = {
            let mut waiters = self.waiters();
            waiters.wakers.values_mut().filter_map(Option::take).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Batches from the one with `offset` on, as many as fit into `bytes_max`, but one at least.
    /// Each is checked. May wait for the disk.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Chunk, ReadError> {
        self.read_as(Read { offset, bytes_max, within: false, committed: false })
    }

    /// As [`Partition::read`], in other ways.
    pub fn read_as(&self, read: Read) -> Result<Chunk, ReadError> {
        loop {
            // Before anything is read: what is settled meanwhile may lie behind it.
            let (stable, forgotten) = (self.stable_end(), self.files().forgotten);
            let limit = if read.committed { stable } else { u64::MAX };
            let chunk = self.read_batches(read, limit);
            let mut chunk = chunk.map_err(|error| self.or_trimmed(read.offset, error))?;
            chunk.stable = stable;
            if read.committed
                && let Some(end) = end_of(&chunk.batches)
            {
                chunk.aborted = self.aborted_between(read.offset, end)?;
                if self.files().forgotten != forgotten {
                    // What was read may hold some of what is not told any more.
                    continue;
                }
            }
            return Ok(chunk);
        }
    }

    /// The aborted transactions that have something in what was read.
    pub(crate) fn aborted_between(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        let files = self.files();
        if from < files.start {
            // It was trimmed since: what was aborted before that is forgotten, and the batches may
            // hold some of it.
            let (asked, start, end) = (from, files.start, files.end);
            return Err(ReadError::OutOfRange { asked, start, end });
        }
        Ok(files.transactions.aborted_between(from, to))
    }

    /// A file that is not there any more may have gone while it was to be read.
    pub(crate) fn or_trimmed(&self, offset: u64, error: ReadError) -> ReadError {
        let missing = |source: &std::io::Error| source.kind() == std::io::ErrorKind::NotFound;
        let (start, end) = self.ends();
        match error {
            ReadError::Io { source, .. } if missing(&source) && offset < start => {
                ReadError::OutOfRange { asked: offset, start, end }
            }
            error => error,
        }
    }

    fn read_batches(&self, read: Read, limit: u64) -> Result<Chunk, ReadError> {
        let mut offset = read.offset;
        loop {
            let Some(place) = self.find(offset)? else {
                let (start, end) = self.ends();
                return Ok(Chunk::new(Bytes::new(), (start, end)));
            };
            match self.read_file(place, Read { offset, ..read }, limit) {
                Err(error) if self.was_replaced(place.file, &error) => {}
                Ok(None) => match place.next {
                    // Compaction has left nothing from here to the next file.
                    Some(next) if place.file.compacted.is_some_and(|it| it.end == next) => {
                        offset = next;
                    }
                    // Its end is missing, or a file behind it.
                    Some(_) => {
                        return Err(self.damaged(place.file, place.len_bytes, BatchFault::Short));
                    }
                    None => return Ok(Chunk::new(Bytes::new(), (place.start, place.end))),
                },
                Ok(Some(chunk)) if place.file.compacted.is_some() => return Ok(chunk.unsealed()),
                Ok(Some(chunk)) => return Ok(chunk),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a file is not there because another one stands in its place now.
    fn was_replaced(&self, file: FileId, error: &ReadError) -> bool {
        let files = self.files();
        let within = files.files.front().is_some_and(|first| first.id.base <= file.base);
        error.is_missing() && within && files.files.iter().all(|it| it.id != file)
    }

    /// What a file has from an offset on; `None` where it has no batch that reaches so far.
    fn read_file(&self, place: Place, read: Read, limit: u64) -> Result<Option<Chunk>, ReadError> {
        let Read { offset, bytes_max, within, .. } = read;
        let Place { file, at, len_bytes, start, end, .. } = place;
        let wanted = bytes_max.saturating_add(2 * INDEX_EVERY_BYTES).max(HEADER_BYTES);
        let mut buffer = self.read_at(file, at, wanted.min((len_bytes - at) as usize))?;
        let damaged = |at, fault| self.damaged(file, at, fault);
        let (mut from, mut to) = (None, 0_usize);
        let mut next = None;
        loop {
            let place = at + to as u64;
            if place >= len_bytes {
                if from.is_none() {
                    return Ok(None);
                }
                break;
            }
            if buffer.len() < to + HEADER_BYTES && from.is_some() {
                break;
            }
            let header = BatchHeader::parse(buffer.get(to..).unwrap_or_default());
            let header = header.map_err(|fault| damaged(place, fault))?;
            let follows = |next| follows(&header, next, file);
            if !next.map_or_else(|| stands(&header, file), follows) {
                return Err(damaged(place, BatchFault::Order));
            }
            next = Some(header.end_offset());
            if header.first_offset() >= limit {
                break;
            }
            if header.end_offset() <= offset {
                to += header.len_bytes;
                if at + (to as u64) < len_bytes && buffer.len() < to + HEADER_BYTES {
                    // A batch larger than what is read at once stands before the one wanted.
                    let at = at + to as u64;
                    return self.read_from(file, (at, len_bytes), (start, end), (read, limit));
                }
                continue;
            }
            let begin = *from.get_or_insert(to);
            if within && to == begin && header.len_bytes > bytes_max {
                return Ok(Some(Chunk::new(Bytes::new(), (start, end))));
            }
            if to > begin && to + header.len_bytes - begin > bytes_max {
                break;
            }
            if buffer.len() < to + header.len_bytes {
                if to > begin {
                    break;
                }
                let whole = header.len_bytes.min((len_bytes - place) as usize);
                buffer = self.read_at(file, place, whole)?;
                header.check(&buffer).map_err(|fault| damaged(place, fault))?;
                return Ok(Some(Chunk::new(buffer.into(), (start, end))));
            }
            let batch = buffer.get(to..).unwrap_or_default();
            header.check(batch).map_err(|fault| damaged(place, fault))?;
            to += header.len_bytes;
        }
        let batches = Bytes::from(buffer).slice(from.unwrap_or(to)..to);
        Ok(Some(Chunk::new(batches, (start, end))))
    }

    /// As [`Partition::read`], from a place in the file at which a batch begins that is wanted.
    fn read_from(
        &self,
        file: FileId,
        (mut at, len_bytes): (u64, u64),
        (start, end): (u64, u64),
        (read, limit): (Read, u64),
    ) -> Result<Option<Chunk>, ReadError> {
        let Read { offset, bytes_max, within, .. } = read;
        let damaged = |at, fault| self.damaged(file, at, fault);
        let header = loop {
            if at >= len_bytes {
                return Ok(None);
            }
            let head = self.read_at(file, at, HEADER_BYTES)?;
            let header = BatchHeader::parse(&head).map_err(|fault| damaged(at, fault))?;
            if header.end_offset() > offset {
                break header;
            }
            at += header.len_bytes as u64;
        };
        if header.first_offset() >= limit || (within && header.len_bytes > bytes_max) {
            return Ok(Some(Chunk::new(Bytes::new(), (start, end))));
        }
        let wanted = header.len_bytes.max(bytes_max).min((len_bytes - at) as usize);
        let buffer = self.read_at(file, at, wanted)?;
        let mut to = 0;
        while let Some(rest) = buffer.get(to..).filter(|rest| rest.len() >= HEADER_BYTES) {
            let place = at + to as u64;
            let header = BatchHeader::parse(rest).map_err(|fault| damaged(place, fault))?;
            if !stands(&header, file) {
                return Err(damaged(place, BatchFault::Order));
            }
            if to > 0 && (header.len_bytes > rest.len() || header.first_offset() >= limit) {
                break;
            }
            header.check(rest).map_err(|fault| damaged(place, fault))?;
            to += header.len_bytes;
        }
        Ok(Some(Chunk::new(Bytes::from(buffer).slice(..to), (start, end))))
    }

    /// A place at or before the batch with that offset; `None` where it is that of the next event.
    fn find(&self, offset: u64) -> Result<Option<Place>, ReadError> {
        loop {
            let (file, walk, len_bytes) = {
                let files = self.files();
                let (start, end) = (files.start, files.end);
                if offset == end && offset >= start {
                    return Ok(None);
                }
                if offset < start || offset > end {
                    return Err(ReadError::OutOfRange { asked: offset, start, end });
                }
                let after = files.files.partition_point(|file| file.id.base <= offset);
                let found = after.checked_sub(1).and_then(|index| files.files.get(index));
                let Some(found) = found else {
                    return Err(ReadError::OutOfRange { asked: offset, start, end });
                };
                let (file, len_bytes) = (found.id, found.len_bytes);
                if found.walk.reaches(offset, len_bytes) {
                    let Mark { at, .. } = found.walk.mark_before(offset);
                    let next = files.files.get(after).map(|next| next.id.base);
                    return Ok(Some(Place { file, at, len_bytes, next, start, end }));
                }
                (file, found.walk.clone(), len_bytes)
            };
            self.walk_on(file, walk, len_bytes)?;
        }
    }

    /// Looks at the batches of a file that were not looked at, up to `to`, and remembers them.
    pub(crate) fn walk_on(&self, id: FileId, mut walk: Walk, to: u64) -> Result<(), ReadError> {
        let from = walk.at();
        let name = id.name(self.id);
        let io = |source| self.io(id, source);
        let file = match self.open.get(&name) {
            // It was trimmed or compacted meanwhile: whoever looks again does not find it.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && self.files().files.iter().all(|file| file.id != id) =>
            {
                return Ok(());
            }
            file => file.map_err(io)?,
        };
        walk.go(&*file, to).map_err(|error| match error {
            crate::walk::Stumble::Io(source) => self.io(id, source),
            crate::walk::Stumble::Damaged { at, fault } => self.damaged(id, at, fault),
        })?;
        let mut files = self.files_mut();
        let file = files.files.iter_mut().find(|file| file.id == id);
        if let Some(file) = file
            && file.walk.at() == from
        {
            file.walk = walk;
        }
        Ok(())
    }

    pub(crate) fn read_at(&self, id: FileId, at: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let file = self.open.get(&id.name(self.id));
        let file = file.map_err(|source| self.io(id, source))?;
        let mut buffer = vec![0; len];
        let read = file.read_at(&mut buffer, at).map_err(|source| self.io(id, source))?;
        buffer.truncate(read);
        Ok(buffer)
    }

    pub(crate) fn damaged(&self, id: FileId, at: u64, fault: BatchFault) -> ReadError {
        ReadError::Damaged { path: self.open.path(&id.name(self.id)), at, fault }
    }

    fn io(&self, id: FileId, source: std::io::Error) -> ReadError {
        ReadError::Io { path: self.open.path(&id.name(self.id)), source }
    }

    /// No code between lock and unlock panics half-way through a change.
    pub(crate) fn files(&self) -> RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn files_mut(&self) -> RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
