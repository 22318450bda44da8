//! The tree under the engine: memtables in memory, set aside at one position each, so that a flush
//! can leave an image of the state there. Where the tree that ships is below it as well, the engine
//! reads from that one, and every answer has to be what this one would have said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use longshore_engine::driver::Tree;
use longshore_engine::{OrderedMap, Position, Reader};
use longshore_store::{Flusher, Lsm, SnapshotReader};

pub(crate) type Entries = BTreeMap<Vec<u8>, Bytes>;

/// Bytes at which a memtable is due, and how many may wait for a flush.
pub(crate) const MEMTABLE_BYTES: usize = 4 << 10;
pub(crate) const SEALED_MAX: usize = 1;
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
    shipped: Option<Shipped>,
}

/// The tree that ships.
#[derive(Debug)]
struct Shipped {
    lsm: Lsm,
    snapshot: Option<Snapshot>,
    /// A fault: removals at positions that this divides do not reach it.
    deaf_at: Option<u64>,
}

/// What another thread reads that asked when everything was durable, however much later.
#[derive(Debug)]
struct Snapshot {
    reader: SnapshotReader,
    /// What there was.
    then: Entries,
    /// What was written later and belongs there all the same: what is kept in memory until the map
    /// is complete, which no snapshot reads.
    late: BTreeSet<Vec<u8>>,
}

impl Snapshot {
    /// Checks that it still sees what there was, whatever was written, flushed and compacted since.
    fn check(&self) {
        let mut now = Entries::new();
        self.reader.scan(EVERYTHING.0, EVERYTHING.1, &mut |key, value| {
            now.insert(key.to_vec(), value.clone());
            ControlFlow::Continue(())
        });
        let differs =
            |key: &&Vec<u8>| !self.late.contains(*key) && now.get(*key) != self.then.get(*key);
        let other = now.keys().chain(self.then.keys()).find(differs);
        let position = self.reader.position();
        assert!(other.is_none(), "a snapshot at {position} has other than there was: {other:02x?}");
    }
}

impl SimTree {
    /// The state of an image, which the tree that ships has on disk, if there is one.
    pub(crate) fn of(image: Image, lsm: Option<Lsm>) -> Self {
        let Image { position, entries } = image;
        let (latest, sealed_at, sealed) = (position, position, Sealed::default());
        let shipped = lsm.map(|lsm| Shipped { lsm, snapshot: None, deaf_at: None });
        let tree = Self { position, latest, entries, active_bytes: 0, sealed, sealed_at, shipped };
        tree.check_shipped();
        tree
    }

    /// Has some of what is removed stay in the tree that ships.
    pub(crate) fn keep_some_removed(&mut self) {
        if let Some(shipped) = &mut self.shipped {
            shipped.deaf_at = Some(5);
        }
    }

    /// What writes the tree that ships to disk.
    pub(crate) fn flusher(&self) -> Option<Flusher> {
        self.shipped.as_ref().map(|shipped| shipped.lsm.flusher())
    }

    /// Checks that the tree that ships holds the very state.
    pub(crate) fn check_shipped(&self) {
        if let Some(shipped) = &self.shipped {
            assert_same(&shipped.lsm, &self.entries, EVERYTHING, &mut |_, _| {
                ControlFlow::Continue(())
            });
        }
    }

    /// The position that was set aside last.
    pub(crate) fn sealed_at(&self) -> Position {
        self.sealed_at
    }
}

/// Below and above all keys of the engine.
const EVERYTHING: (&[u8], &[u8]) = (&[1], &[u8::MAX; 32]);

/// Visits a range of the tree that ships, and checks that it is what the other map has there.
fn assert_same(
    shipped: &dyn Reader,
    entries: &Entries,
    (from, to): (&[u8], &[u8]),
    visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
) {
    let range = (Bound::Included(from), Bound::Excluded(to.max(from)));
    let mut expected = entries.range::<[u8], _>(range);
    let mut broke = false;
    shipped.scan(from, to, &mut |key, value| {
        let expected = expected.next().map(|(key, value)| (&key[..], value));
        assert!(expected == Some((key, value)), "{key:02x?} on disk, {expected:02x?} written");
        let flow = visit(key, value);
        broke = flow.is_break();
        flow
    });
    let left = if broke { None } else { expected.next() };
    assert!(left.is_none(), "{left:02x?} was written and is not on disk");
}

impl Reader for SimTree {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let expected = Reader::get(&self.entries, key);
        let Some(shipped) = &self.shipped else { return expected };
        let found = shipped.lsm.get(key);
        assert!(found == expected, "key {key:02x?}: {found:02x?} on disk, {expected:02x?} written");
        found
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        match &self.shipped {
            Some(shipped) => assert_same(&shipped.lsm, &self.entries, (from, to), visit),
            None => self.entries.scan(from, to, visit),
        }
    }
}

impl SimTree {
    /// What both maps do with an entry.
    fn write(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        assert!(position >= self.latest, "put at {position} after {}", self.latest);
        self.latest = position;
        self.active_bytes += key.len() + value.map_or(0, <[u8]>::len) + ENTRY_OVERHEAD_BYTES;
        self.entries.put(position, key, value);
        let snapshot = self.shipped.as_mut().and_then(|shipped| shipped.snapshot.as_mut());
        if let Some(snapshot) = snapshot.filter(|it| position <= it.reader.position()) {
            snapshot.late.insert(key.to_vec());
        }
    }
}

impl OrderedMap for SimTree {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        self.write(position, key, value);
        if let Some(shipped) = &mut self.shipped {
            let is_deaf = shipped.deaf_at.is_some_and(|at| position.0.is_multiple_of(at));
            if value.is_some() || !is_deaf {
                shipped.lsm.put(position, key, value);
            }
        }
    }

    fn put_brief(&mut self, position: Position, key: &[u8], value: &[u8]) {
        assert!(self.get(key).is_none(), "key {key:02x?} holds something");
        self.write(position, key, Some(value));
        if let Some(shipped) = &mut self.shipped {
            shipped.lsm.put_brief(position, key, value);
        }
    }

    fn note_durable(&mut self, position: Position) {
        let Some(shipped) = &mut self.shipped else { return };
        shipped.lsm.note_durable(position);
        if position < self.latest {
            return;
        }
        if let Some(snapshot) = shipped.snapshot.take() {
            snapshot.check();
        }
        let reader = shipped.lsm.snapshots().at(position);
        assert!(reader.position() == position, "a snapshot at {}", reader.position());
        let (then, late) = (self.entries.clone(), BTreeSet::new());
        shipped.snapshot = Some(Snapshot { reader, then, late });
    }

    fn seal(&mut self, position: Position) {
        assert!(position >= self.latest, "sealed at {position} after {}", self.latest);
        (self.position, self.latest) = (position, position);
        if let Some(shipped) = &mut self.shipped {
            shipped.lsm.seal(position);
        }
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
        if let Some(shipped) = &mut self.shipped {
            let sealed = shipped.lsm.rotate();
            assert!(sealed == Some(self.position), "set aside at {sealed:?}");
        }
        (self.sealed_at, self.active_bytes) = (self.position, 0);
        Some(self.position)
    }
}
