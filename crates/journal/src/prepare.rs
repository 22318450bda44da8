//! Preparing segments ahead, in the background, so that no commit waits for a file to grow and a
//! full disk shows before an append meets it. It knows nothing of what segments hold.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::disk::{Disk, DiskFile};
use crate::follow::Row;
use crate::needed::NeededFiles;
use crate::segment::{
    Identity, SEGMENT_HEADER_BYTES, SegmentHeader, finish_segment, make_segment, segment_name,
    unfinished_name,
};

/// How long after a full disk the preparer looks again on its own; twice as long each time.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often that is doubled, at most.
const RETRY_DOUBLINGS_MAX: u32 = 2;

/// A segment takes at most this part of the free space, as long as a shorter one will do: the other
/// shards and what flushes the state need some, too.
const FREE_SHARE: u64 = 4;

/// A segment follows one of at most a quarter of its length, so that a small store stays small.
const GROWTH: u64 = 4;

/// Segments get a length that is a multiple of this.
const LENGTH_UNIT_BYTES: u64 = 4096;

/// Whether segments are prepared by a thread of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prepare {
    /// By a thread, always one ahead.
    Background,
    /// By the caller of `append`, for runs that must not depend on threads.
    Inline,
}

/// A view of the room that a journal has, for those who decide what to accept, and of the files
/// that it is in. A clone sees the same journal.
#[derive(Clone, Debug, Default)]
pub struct Room {
    gauges: Arc<Gauges>,
}

#[derive(Debug, Default)]
struct Gauges {
    needed: NeededFiles,
    row: Row,
    active_bytes: AtomicU64,
    prepared_bytes: AtomicU64,
    short: AtomicBool,
}

impl Room {
    /// Bytes that are written with zeros already and can be appended whatever the disk says.
    pub fn bytes(&self) -> u64 {
        self.gauges.active_bytes.load(Ordering::Relaxed) + self.prepared_bytes()
    }

    /// The part of them that lies in segments not begun.
    pub fn prepared_bytes(&self) -> u64 {
        self.gauges.prepared_bytes.load(Ordering::Relaxed)
    }

    /// Whether the disk had no space for the next segment when last asked. From then on
    /// [`Room::bytes`] is a reserve, for settlements and housekeeping alone. Goes back by itself
    /// when there is space again.
    pub fn is_short(&self) -> bool {
        self.gauges.short.load(Ordering::Relaxed)
    }

    /// A file that the next start needs and that is gone or was replaced, if there is one. The
    /// journal itself writes to what was removed without a fault.
    pub fn lost_file(&self) -> Option<PathBuf> {
        self.needed().lost()
    }

    pub(crate) fn needed(&self) -> &NeededFiles {
        &self.gauges.needed
    }

    pub(crate) fn row(&self) -> &Row {
        &self.gauges.row
    }

    pub(crate) fn set_active_bytes(&self, bytes: u64) {
        self.gauges.active_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// A segment that is ready to be written.
#[derive(Debug)]
pub(crate) struct PreparedSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// What to prepare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) identity: Identity,
    pub(crate) mode: Prepare,
    /// Number of the first segment to prepare.
    pub(crate) sequence: u64,
    /// Length of the segment before it.
    pub(crate) len_bytes_before: u64,
    pub(crate) len_bytes_max: u64,
    /// Bytes to keep prepared, at least.
    pub(crate) reserve_bytes: u64,
}

/// Prepares segments.
#[derive(Debug)]
pub(crate) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    plan: Plan,
    room: Room,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<PreparedSegment>,
    sequence_next: u64,
    len_bytes_next: u64,
    /// Length that some ready segment must have, because an append waits for it.
    len_bytes_wanted: u64,
    /// An append asks for another attempt although the last one failed.
    retry: bool,
    working: bool,
    failure: Option<io::Error>,
    /// Attempts since the last one that succeeded.
    failures: u32,
    stop: bool,
}

impl State {
    fn has(&self, len_bytes: u64) -> bool {
        self.ready.iter().any(|segment| segment.header.len_bytes >= len_bytes)
    }

    fn ready_bytes(&self) -> u64 {
        self.ready.iter().map(|segment| segment.header.len_bytes).sum()
    }

    fn needs_more(&self, plan: &Plan) -> bool {
        let is_short =
            self.ready.back().is_some_and(|it| it.header.len_bytes < self.len_bytes_next);
        self.ready.is_empty()
            || (self.ready_bytes() < plan.reserve_bytes && !is_short)
            || !self.has(self.len_bytes_wanted)
    }
}

impl Preparer {
    pub(crate) fn start(disk: Arc<dyn Disk>, plan: Plan, room: Room) -> io::Result<Self> {
        let grown = plan.len_bytes_before.saturating_mul(GROWTH).min(plan.len_bytes_max);
        let state = State {
            ready: VecDeque::new(),
            sequence_next: plan.sequence,
            len_bytes_next: grown.max(2 * SEGMENT_HEADER_BYTES),
            len_bytes_wanted: 0,
            retry: false,
            working: false,
            failure: None,
            failures: 0,
            stop: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { disk, plan, room, state, changed });
        let thread = match plan.mode {
            Prepare::Inline => None,
            Prepare::Background => {
                let shared = Arc::clone(&shared);
                let name = format!("journal-{}", plan.identity.shard);
                Some(thread::Builder::new().name(name).spawn(move || shared.run())?)
            }
        };
        let preparer = Self { shared, thread };
        preparer.top_up();
        Ok(preparer)
    }

    /// Where no thread does it, prepares what should be ready. That it fails shows in the room.
    pub(crate) fn top_up(&self) {
        if self.thread.is_none() {
            let mut state = self.shared.lock();
            while state.needs_more(&self.shared.plan) {
                state = self.shared.prepare_one(state);
                if state.failure.is_some() {
                    break;
                }
            }
        }
    }

    /// Waits until a segment of at least `len_bytes` is ready.
    pub(crate) fn ensure(&self, len_bytes: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.has(len_bytes) {
            return Ok(());
        }
        state.len_bytes_wanted = len_bytes;
        state.retry = true;
        self.shared.changed.notify_all();
        while !state.has(len_bytes) {
            if self.thread.is_none() {
                state = self.shared.prepare_one(state);
            } else {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let tried = !state.retry && !state.working;
            if let Some(failure) = state.failure.as_ref().filter(|_| tried) {
                let failure = copy_of(failure);
                state.len_bytes_wanted = 0;
                return Err(failure);
            }
        }
        state.len_bytes_wanted = 0;
        Ok(())
    }

    /// The next segment, if one is ready.
    pub(crate) fn pop(&self) -> Option<PreparedSegment> {
        let mut state = self.shared.lock();
        let segment = state.ready.pop_front();
        self.shared.show(&state);
        self.shared.changed.notify_all();
        segment
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that a panic could have spoilt: its files have no names yet.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code between lock and unlock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.stop {
            let waits = !state.retry && state.failure.is_some();
            if !state.needs_more(&self.plan) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if waits {
                let doublings = state.failures.saturating_sub(1).min(RETRY_DOUBLINGS_MAX);
                let waited = self.changed.wait_timeout(state, RETRY_AFTER * (1 << doublings));
                let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = guard;
                state.retry |= timeout.timed_out();
            } else {
                state = self.prepare_one(state);
            }
        }
    }

    /// Prepares one segment, without the lock while it writes.
    fn prepare_one<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.retry = false;
        state.working = true;
        let wanted = state.len_bytes_wanted.next_multiple_of(LENGTH_UNIT_BYTES);
        let whole = state.len_bytes_next.max(wanted);
        let len_bytes = self.fitting(whole, wanted);
        let header = SegmentHeader {
            identity: self.plan.identity,
            sequence: state.sequence_next,
            salt: self.disk.new_salt(),
            len_bytes,
            begin: None,
        };
        drop(state);
        let made = self.make(&header);
        let mut state = self.lock();
        state.working = false;
        match made {
            Ok(file) => {
                state.ready.push_back(PreparedSegment { header, file });
                state.sequence_next += 1;
                if len_bytes == whole {
                    let grown = state.len_bytes_next.saturating_mul(GROWTH);
                    state.len_bytes_next = grown.min(self.plan.len_bytes_max);
                }
                state.failure = None;
                state.failures = 0;
            }
            Err(error) => {
                state.failure = Some(error);
                state.failures = state.failures.saturating_add(1);
            }
        }
        self.show(&state);
        self.changed.notify_all();
        state
    }

    /// A length up to `whole` that leaves others some of the free space, if a shorter segment than
    /// that will do. An attempt with all of it would take it away from them, even where it fails.
    fn fitting(&self, whole: u64, wanted: u64) -> u64 {
        let Ok(free) = self.disk.free_bytes() else { return whole };
        let least = self.plan.len_bytes_before.max(2 * SEGMENT_HEADER_BYTES).max(wanted);
        let least = least.next_multiple_of(LENGTH_UNIT_BYTES).min(whole);
        let mut len_bytes = whole;
        while len_bytes > least && len_bytes > free / FREE_SHARE {
            len_bytes = (len_bytes / GROWTH).next_multiple_of(LENGTH_UNIT_BYTES).max(least);
        }
        len_bytes
    }

    fn make(&self, header: &SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
        let made = make_segment(&*self.disk, header, &|| !self.lock().stop).and_then(|file| {
            file.sync_data()?;
            finish_segment(&*self.disk, header.sequence)?;
            let path = self.disk.path(&segment_name(header.sequence));
            self.room.needed().add(header.sequence, path, Arc::clone(&file));
            Ok(file)
        });
        if made.is_err() {
            // Gives the space back. What cannot be removed is removed at the next start.
            let _ = self.disk.remove(&unfinished_name(header.sequence));
        }
        made
    }

    fn show(&self, state: &State) {
        let gauges = &self.room.gauges;
        gauges.prepared_bytes.store(state.ready_bytes(), Ordering::Relaxed);
        gauges.short.store(state.failure.is_some(), Ordering::Relaxed);
    }
}

/// Whether the error says that there is no space, now.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
