//! The ordered map of one shard, as its thread sees it: writes go to the active memtable, reads
//! through memtables and tables. It syncs nothing and waits for nobody; the flusher does.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::driver::Tree;
use longshore_engine::{OrderedMap, Position, Reader};
use lsm_tree::{InternalValue, Memtable, Slice, ValueType};

use crate::config::LsmConfig;
use crate::error::OpenError;
use crate::flusher::Flusher;
use crate::marker;
use crate::open;
use crate::shared::Shared;
use crate::snapshot::Snapshots;
use crate::view::{Above, Sealed};

/// What an entry costs in a memtable beside its key and value: skip list node, tower, headers.
const ENTRY_OVERHEAD_BYTES: usize = 120;

/// The ordered map of one shard. Rotation happens between groups only, so every sealed memtable,
/// and with it every state on disk, is the state at exactly one position.
pub struct Lsm {
    shared: Arc<Shared>,
    /// The active memtable. Only this thread replaces it.
    active: Arc<Memtable>,
    /// Of the last group that ended.
    position: Position,
    /// Of the last entry written, which may be one of a group that has not ended.
    latest: Position,
    /// Estimated size of the active memtable.
    active_bytes: usize,
    /// First bytes of the keys that were ever kept out of the memtables: others are not looked for
    /// there.
    brief_first: BTreeSet<u8>,
    /// Whether the active memtable has a value that is to be kept apart from the tables.
    has_bodies: bool,
    next_memtable_id: u64,
}

impl std::fmt::Debug for Lsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lsm")
            .field("dir", &self.shared.dir)
            .field("position", &self.position)
            .field("persisted", &self.persisted_position())
            .finish_non_exhaustive()
    }
}

impl Lsm {
    /// Opens the state in `dir`, or makes an empty one at `Position::START` where there is none.
    ///
    /// Whether an empty state is right, only the journal can tell: a caller whose journal does
    /// not begin right after `position()` has lost its state and must not go on.
    pub fn open(dir: &Path, config: LsmConfig) -> Result<Self, OpenError> {
        let shared = open::open(dir, config)?;
        let view = shared.view();
        Ok(Self {
            position: view.persisted,
            latest: view.persisted,
            active: Arc::clone(&view.active),
            shared: Arc::new(shared),
            active_bytes: 0,
            brief_first: BTreeSet::new(),
            has_bodies: false,
            next_memtable_id: 1,
        })
    }

    /// The position of the state: that of the last group written, or of the state on disk.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The position of the state on disk. The journal may be truncated up to and including it.
    pub fn persisted_position(&self) -> Position {
        self.shared.view().persisted
    }

    /// Whether the active memtable has reached its size and there is room to seal it.
    pub fn should_rotate(&self) -> bool {
        self.is_due() && self.can_rotate()
    }

    /// Whether memory is used up: the active memtable has reached its size and no more may be
    /// sealed. The caller has to wait for a flush before it writes on.
    pub fn is_full(&self) -> bool {
        self.is_due() && !self.can_rotate()
    }

    /// Whether another memtable may be sealed.
    pub fn can_rotate(&self) -> bool {
        self.shared.view().sealed.len() < self.shared.config.sealed_max
    }

    /// Seals the active memtable at the current position, to be flushed once that position is
    /// durable in the journal. Cheap. `None`, and nothing happens, where the position has not
    /// moved since the last rotation or no more may be sealed.
    pub fn rotate(&mut self) -> Option<Position> {
        let (view, position) = (self.shared.view(), self.position);
        assert!(self.latest == position, "rotated in the middle of a group");
        let sealed = view.sealed.last().map_or(view.persisted, |last| last.position);
        if position == sealed || view.sealed.len() >= self.shared.config.sealed_max {
            return None;
        }
        self.write_brief((0, 0));
        self.active.insert(InternalValue::from_components(
            marker::KEY,
            marker::encode(&self.shared.config.identity, position),
            position.0,
            ValueType::Value,
        ));
        let active = Arc::new(Memtable::new(self.next_memtable_id));
        let memtable = std::mem::replace(&mut self.active, Arc::clone(&active));
        let has_bodies = std::mem::take(&mut self.has_bodies);
        // What was before holds nothing that is not in the new view as well, so freeing it is
        // quick.
        drop(self.shared.update(|view| {
            view.active = active;
            view.sealed.push(Sealed { memtable, position, has_bodies });
        }));
        self.next_memtable_id += 1;
        self.active_bytes = 0;
        Some(position)
    }

    /// Writes what was kept out of the memtables to the active one, the oldest first, until so many
    /// keys and bytes are left at most.
    fn write_brief(&mut self, left_max: (usize, usize)) {
        let body_bytes_min = self.shared.config.body_bytes_min;
        let (bytes, has_bodies) = (&mut self.active_bytes, &mut self.has_bodies);
        self.shared.brief.write_to(&self.active, left_max, |entry| {
            let value_bytes = entry.value.len();
            *bytes += entry.key.user_key.len() + value_bytes + ENTRY_OVERHEAD_BYTES;
            *has_bodies |= value_bytes >= body_bytes_min;
        });
    }

    fn may_be_brief(&self, key: &[u8]) -> bool {
        key.first().is_some_and(|first| self.brief_first.contains(first))
    }

    /// Checks a write and moves the position on.
    fn begin_write(&mut self, position: Position, key: &[u8]) {
        assert!(position >= self.latest, "entry at {position} written after {}", self.latest);
        assert!(!marker::is_own(key), "key {key:?} is reserved");
        self.latest = position;
    }

    /// Writes an entry to the active memtable.
    fn put_active(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        let value_bytes = value.map_or(0, <[u8]>::len);
        self.active_bytes += key.len() + value_bytes + ENTRY_OVERHEAD_BYTES;
        self.has_bodies |= value_bytes >= self.shared.config.body_bytes_min;
        let (value, kind) = match value {
            Some(value) => (Slice::new(value), ValueType::Value),
            None => (Slice::default(), ValueType::Tombstone),
        };
        self.active.insert(InternalValue::from_components(key, value, position.0, kind));
    }

    /// The part that writes to disk, for another thread.
    pub fn flusher(&self) -> Flusher {
        Flusher { shared: Arc::clone(&self.shared) }
    }

    /// Where other threads get their snapshots.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots { shared: Arc::clone(&self.shared) }
    }
}

impl Reader for Lsm {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let above = self.may_be_brief(key).then_some(Above::Live(&self.shared.brief));
        self.shared.view().get(key, self.latest, above)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        let above = Above::Live(&self.shared.brief);
        self.shared.view().scan(from, to, self.latest, above, visit);
    }
}

impl OrderedMap for Lsm {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        self.begin_write(position, key);
        if self.may_be_brief(key) && self.shared.brief.change(position, key, value) {
            let config = &self.shared.config;
            return self.write_brief((config.brief_keys_max, config.brief_bytes_max));
        }
        self.put_active(position, key, value);
    }

    fn put_brief(&mut self, position: Position, key: &[u8], value: &[u8]) {
        self.begin_write(position, key);
        // Looked for in tests only: it costs more than what this saves.
        assert!(!cfg!(test) || self.get(key).is_none(), "key {key:02x?} holds something");
        if !self.may_be_brief(key) {
            self.brief_first.extend(key.first());
        }
        let config = &self.shared.config;
        let room = (config.brief_keys_max, config.brief_bytes_max);
        if self.shared.brief.add(position, key, value, room) {
            self.write_brief(room);
        } else {
            self.put_active(position, key, Some(value));
        }
    }

    fn note_durable(&mut self, position: Position) {
        assert!(position <= self.position, "{position} is durable, but was not written");
        self.shared.brief.note_durable(position);
    }

    fn seal(&mut self, position: Position) {
        assert!(
            position >= self.latest,
            "group that ends at {position} written after {}",
            self.latest
        );
        (self.position, self.latest) = (position, position);
        self.shared.set_written(position);
    }
}

impl Tree for Lsm {
    fn active_bytes(&self) -> usize {
        self.active_bytes
    }

    fn is_due(&self) -> bool {
        self.active_bytes >= self.shared.config.memtable_bytes
    }

    fn can_rotate(&self) -> bool {
        self.can_rotate()
    }

    fn rotate(&mut self) -> Option<Position> {
        self.rotate()
    }
}
