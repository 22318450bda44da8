//! The state of a shard at one position: the durable part in an ordered map, and in memory what
//! can be derived from it. Only `apply` changes it.

mod bodies;
pub(crate) mod count;
mod frontier;
mod jobs;
pub(crate) mod keys;
mod kinds;
mod load;
mod meta;
mod names;
mod namespaces;
mod sessions;
mod tally;
mod unwritten;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

pub(crate) use frontier::Frontier;
pub(crate) use jobs::{Jobs, Tombstone};
pub(crate) use kinds::{Kind, Kinds};
pub(crate) use meta::Numbers;
pub(crate) use names::{Empty, Queues};
pub(crate) use namespaces::{Namespace, NamespaceSlot, Namespaces};
pub(crate) use sessions::{Session, SessionKey, Sessions};
pub(crate) use tally::Tally;
pub(crate) use unwritten::Unwritten;

use crate::Position;
use crate::gate::Gating;
use crate::hold::Holds;
use crate::ids::{KindId, MonoMs, NamespaceId, QueueId, TimeMs};
use crate::kind::KindsSet;
use crate::limit::Limiting;
use crate::limits::Limits;
use crate::map::{OrderedMap, Reader};
use crate::message::Messages;
use crate::operation::Operations;
use crate::queueing::{Lanes, Leases};
use crate::rope::Rope;
use crate::stream::Streams;
use crate::wire::Wire;

/// The state of a shard.
#[derive(Debug)]
pub(crate) struct State {
    map: Box<dyn OrderedMap>,
    /// The entry that is being applied.
    position: Position,
    /// Where values are encoded.
    scratch: Rope,
    pub(crate) limits: Limits,
    pub(crate) meta: Numbers,
    pub(crate) namespaces: Namespaces,
    pub(crate) queues: Queues,
    pub(crate) kinds: Kinds,
    pub(crate) kind_settings: KindsSet,
    pub(crate) lanes: Lanes,
    pub(crate) leases: Leases,
    pub(crate) sessions: Sessions,
    pub(crate) operations: Operations,
    pub(crate) timers: Frontier,
    /// Exchanges, bindings and messages.
    pub(crate) messages: Messages,
    pub(crate) streams: Streams,
    pub(crate) jobs: Jobs,
    /// Of the sorts of keys that most shards have none of, those that this one ever had some of:
    /// nobody looks for one of the others.
    rare: Vec<u8>,
    /// What limits have counted.
    pub(crate) limiting: Limiting,
    /// Gates.
    pub(crate) gating: Gating,
    pub(crate) slas: crate::sla::Slas,
    pub(crate) holds: Holds,
    /// Accounts and the trail of changes.
    pub(crate) accounts: crate::account::Accounts,
    /// Answers that are kept for their keys.
    pub(crate) answers: crate::keyed::KeptAnswers,
    /// Volatile: queues in which something became available since the last dispatch.
    fresh_queues: BTreeSet<QueueId>,
    /// Volatile: this instant on the clock that never steps.
    mono: MonoMs,
}

impl State {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.map.get(key)
    }

    /// Decodes what stands under `key`. The map verified it, so a value that does not decode was
    /// written by other code than this: nothing good can follow.
    pub(crate) fn value<T: Wire>(&self, key: &[u8]) -> Option<T> {
        let bytes = self.get(key)?;
        match T::from_bytes(&bytes) {
            Ok(value) => Some(value),
            Err(error) => panic!("key {key:02x?} in the state: {error}"),
        }
    }

    /// Puts the encoding of a value under `key`. Answers its length.
    pub(crate) fn put<T: Wire>(&mut self, key: &[u8], value: &T) -> u64 {
        self.scratch.clear();
        value.put(&mut self.scratch);
        self.map.put(self.position, key, Some(self.scratch.as_flat()));
        self.scratch.len() as u64
    }

    /// As [`State::put`], for a key that holds nothing and that is not expected to hold this for
    /// long: what is removed before the map is next kept as it is costs hardly anything.
    pub(crate) fn put_brief<T: Wire>(&mut self, key: &[u8], value: &T) {
        self.scratch.clear();
        value.put(&mut self.scratch);
        self.map.put_brief(self.position, key, self.scratch.as_flat());
    }

    /// Everything up to here is durable.
    pub(crate) fn note_durable(&mut self, position: Position) {
        self.map.note_durable(position);
    }

    pub(crate) fn put_bytes(&mut self, key: &[u8], value: &[u8]) {
        self.map.put(self.position, key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.map.put(self.position, key, None);
    }

    /// Visits the entries from `from` to `to` (exclusive) as of now.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.map.scan(from, to, visit);
    }

    /// The first entry from `from` to `to` (exclusive).
    pub(crate) fn first(&self, from: &[u8], to: &[u8]) -> Option<(Vec<u8>, Bytes)> {
        let mut found = None;
        self.scan(from, to, &mut |key, value| {
            found = Some((key.to_vec(), value.clone()));
            ControlFlow::Break(())
        });
        found
    }

    pub(crate) fn meta_mut(&mut self) -> &mut meta::Meta {
        self.meta.change()
    }

    /// Engine time: it never goes back.
    pub(crate) fn now(&self) -> TimeMs {
        self.meta.at
    }

    /// This instant on the clock that never steps, as it was heard last.
    pub(crate) fn mono(&self) -> MonoMs {
        self.mono
    }

    /// Hears the clock that never steps.
    pub(crate) fn hear(&mut self, mono: MonoMs) {
        self.mono = self.mono.max(mono);
    }

    /// Something became available in these queues: they are offered with the next dispatch.
    pub(crate) fn note_fresh(&mut self, queues: impl IntoIterator<Item = QueueId>) {
        self.fresh_queues.extend(queues);
    }

    /// Queues in which something became available since they were last taken.
    pub(crate) fn take_fresh(&mut self) -> BTreeSet<QueueId> {
        std::mem::take(&mut self.fresh_queues)
    }

    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh_queues.is_empty()
    }

    /// Whether there ever was a key of a sort that most shards have none of.
    pub(crate) fn has_had(&self, first: u8) -> bool {
        self.rare.contains(&first)
    }

    /// There is a key of such a sort.
    pub(crate) fn note_rare(&mut self, first: u8) {
        if !self.has_had(first) {
            self.rare.push(first);
        }
    }

    /// Begins the entry at `position`: engine time moves on.
    pub(crate) fn begin_entry(&mut self, position: Position, at: TimeMs) {
        self.position = position;
        assert!(at >= self.meta.at, "engine time went back from {} to {at}", self.meta.at);
        if at > self.meta.at {
            self.meta_mut().at = at;
        }
    }

    /// Ends the entry: what its records left to be done once is done.
    pub(crate) fn end_entry(&mut self) {
        self.file_outcomes();
        self.put_excess();
    }

    /// Ends the group whose last entry was applied last.
    pub(crate) fn seal_group(&mut self) {
        self.map.seal(self.position);
    }

    /// The map, to be kept as the state at the last group's end: what memory holds because nearly
    /// every entry changes it (counters, sessions) is written to it only here.
    pub(crate) fn complete_map(&mut self) -> &mut dyn OrderedMap {
        self.put_counters();
        self.put_sessions();
        self.map.seal(self.position);
        &mut *self.map
    }

    fn put_counters(&mut self) {
        if let Some(meta) = self.meta.take_changed().map(Wire::to_bytes) {
            self.put_bytes(&keys::meta(), &meta);
        }
        for id in self.namespaces.changed().take() {
            self.put_kept(id);
        }
        for id in self.queues.changed().take() {
            self.put_counts(id);
        }
        for id in self.kinds.changed().take() {
            self.put_kind(id);
        }
        self.put_partitions();
    }

    /// Writes some of what memory holds so, where it is more than may be left to be written when
    /// the map is kept: with tens of thousands of busy queues that would take a tenth of a second.
    fn put_excess(&mut self) {
        while let Some(id) = self.namespaces.changed().take_excess() {
            self.put_kept(id);
        }
        while let Some(id) = self.queues.changed().take_excess() {
            self.put_counts(id);
        }
        while let Some(id) = self.kinds.changed().take_excess() {
            self.put_kind(id);
        }
        self.put_excess_sessions();
        self.put_excess_partition();
    }

    fn put_kept(&mut self, id: NamespaceId) {
        if let Some(kept) = self.namespaces.get(id).map(|slot| slot.kept().clone()) {
            self.put(&keys::namespace_kept(id), &kept);
        }
    }

    fn put_counts(&mut self, id: QueueId) {
        if let Some(counts) = self.queues.get(id).map(|queue| queue.counts.clone()) {
            self.put(&keys::queue_counts(id), &counts);
        }
    }

    fn put_kind(&mut self, id: KindId) {
        if let Some(value) = self.kinds.get(id).map(Wire::to_bytes) {
            self.put_bytes(&keys::kind(id), &value);
        }
    }

    pub(crate) fn put_queue(&mut self, id: QueueId) {
        if let Some(value) = self.queues.get(id).map(Wire::to_bytes) {
            self.put_bytes(&keys::queue(id), &value);
        }
    }

    pub(crate) fn map(&self) -> &dyn OrderedMap {
        &*self.map
    }
}

/// The state as of now, for queries inside a turn.
impl Reader for State {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        Self::get(self, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        Self::scan(self, from, to, visit);
    }
}
