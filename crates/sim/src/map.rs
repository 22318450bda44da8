//! The tree under the engine: memtables in memory, set aside at one position each, so that a flush
//! can leave an image of the state there.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use longshore_engine::driver::Tree;
use longshore_engine::{OrderedMap, Position, Reader};

pub(crate) type Entries = BTreeMap<Vec<u8>, Bytes>;

/// Bytes at which a memtable is due, and how many may wait for a flush.
pub(crate) const MEMTABLE_BYTES: usize = 4 << 10;
const SEALED_MAX: usize = 1;
/// What an entry costs beside its key and value.
const ENTRY_OVERHEAD_BYTES: usize = 20;

/// The state at one position. It outlives the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) position: Position,
    pub(crate) entries: Entries,
}

/// States that were set aside and wait for their flush, the oldest first. The lock is there because
/// a map can be sent to another thread; here there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sealed(Arc<Mutex<VecDeque<Image>>>);

impl Sealed {
    pub(crate) fn lock(&self) -> MutexGuard<'_, VecDeque<Image>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state as the shard has it.
#[derive(Debug)]
pub(crate) struct SimTree {
    /// Of the last group that ended.
    position: Position,
    /// Of the last entry written, which may be one of a group that has not ended.
    latest: Position,
    pub(crate) entries: Entries,
    active_bytes: usize,
    pub(crate) sealed: Sealed,
    /// The position that was set aside last.
    sealed_at: Position,
}

impl SimTree {
    pub(crate) fn of(image: Image) -> Self {
        let Image { position, entries } = image;
        let (latest, sealed_at, sealed) = (position, position, Sealed::default());
        Self { position, latest, entries, active_bytes: 0, sealed, sealed_at }
    }

    /// The position that was set aside last.
    pub(crate) fn sealed_at(&self) -> Position {
        self.sealed_at
    }
}

impl Reader for SimTree {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        Reader::get(&self.entries, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.entries.scan(from, to, visit);
    }
}

impl OrderedMap for SimTree {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        assert!(position >= self.latest, "put at {position} after {}", self.latest);
        self.latest = position;
        self.active_bytes += key.len() + value.map_or(0, <[u8]>::len) + ENTRY_OVERHEAD_BYTES;
        self.entries.put(position, key, value);
    }

    fn seal(&mut self, position: Position) {
        assert!(position >= self.latest, "sealed at {position} after {}", self.latest);
        (self.position, self.latest) = (position, position);
    }
}

impl Tree for SimTree {
    fn active_bytes(&self) -> usize {
        self.active_bytes
    }

    fn is_due(&self) -> bool {
        self.active_bytes >= MEMTABLE_BYTES
    }

    fn can_rotate(&self) -> bool {
        self.sealed.lock().len() < SEALED_MAX
    }

    fn rotate(&mut self) -> Option<Position> {
        assert!(self.latest == self.position, "rotated in the middle of a group");
        if self.position == self.sealed_at || !self.can_rotate() {
            return None;
        }
        let image = Image { position: self.position, entries: self.entries.clone() };
        self.sealed.lock().push_back(image);
        (self.sealed_at, self.active_bytes) = (self.position, 0);
        Some(self.position)
    }
}
