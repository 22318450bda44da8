//! Ordering keys of the messages of one queue: of each key one message at a time is with somebody,
//! in the order of the queue. A message that is met while its key is busy stands aside, until the
//! one before it comes back or ends. All of it is memory: what is with nobody after a start is met
//! again. Keys are hashes, so two of them may share a turn, which costs time and no order.

use std::collections::{BTreeMap, BTreeSet};

use super::Slot;
use super::properties::{headers_of, text_of};
use super::{Message, Stored};
use crate::ids::{Place, QueueId};
use crate::state::State;

/// Messages of a queue that stand aside, at most. Beyond that nothing more of it is looked at until
/// one of them has had its turn.
const ASIDE_MAX: usize = if cfg!(test) { 8 } else { 20_000 };

/// The keys of a queue.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Keys of messages that are with somebody, and whose these are.
    busy: BTreeSet<u64>,
    busy_of: BTreeMap<Slot, u64>,
    /// Messages that were met while their key was busy, and whether somebody may have got them
    /// before. Their key is busy, or one of its messages is in `freed`.
    aside: BTreeMap<(u64, Slot), bool>,
    aside_of: BTreeMap<Slot, u64>,
    /// Messages whose turn has come, likewise.
    freed: BTreeMap<Slot, (u64, bool)>,
}

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.busy.is_empty() && self.aside.is_empty() && self.freed.is_empty()
    }

    /// Nothing more may stand aside.
    pub(crate) fn is_full(&self) -> bool {
        self.aside.len() >= ASIDE_MAX
    }

    /// The first message whose turn has come.
    pub(crate) fn first_freed(&self) -> Option<Slot> {
        self.freed.keys().next().copied()
    }

    /// The first message that stands aside.
    pub(crate) fn first_aside(&self) -> Option<Slot> {
        self.aside_of.keys().next().copied()
    }

    /// The first message from a slot on that stands aside or whose turn has come.
    pub(super) fn standing_from(&self, from: Slot) -> Option<Slot> {
        let aside = self.aside_of.range(from..).next().map(|(slot, _)| *slot);
        let freed = self.freed.range(from..).next().map(|(slot, _)| *slot);
        aside.into_iter().chain(freed).min()
    }

    /// Looks at such a message again: whether somebody may have got it before.
    pub(crate) fn take_freed(&mut self, slot: Slot) -> bool {
        self.freed.remove(&slot).is_some_and(|(_, again)| again)
    }

    /// A message is about to be with somebody. Where its key is busy it stands aside instead, and
    /// the answer is no.
    pub(crate) fn enter(&mut self, slot: Slot, key: u64, again: bool) -> bool {
        if self.busy.contains(&key) && self.busy_of.get(&slot) != Some(&key) {
            self.aside.insert((key, slot), again);
            self.aside_of.insert(slot, key);
            return false;
        }
        self.busy.insert(key);
        self.busy_of.insert(slot, key);
        true
    }

    /// A message is with nobody any more, or gone.
    pub(crate) fn leave(&mut self, slot: Slot) {
        if let Some(key) = self.busy_of.remove(&slot) {
            self.busy.remove(&key);
            self.free(key);
        } else if let Some(key) = self.aside_of.remove(&slot) {
            self.aside.remove(&(key, slot));
        } else if let Some((key, _)) = self.freed.remove(&slot) {
            self.free(key);
        }
    }

    /// The turn of the first message of a key that stands aside has come.
    fn free(&mut self, key: u64) {
        let of_key = (key, (0, Place(0)))..=(key, (u8::MAX, Place(u64::MAX)));
        let first = self.aside.range(of_key).next().map(|((_, slot), again)| (*slot, *again));
        if let Some((slot, again)) = first {
            self.aside.remove(&(key, slot));
            self.aside_of.remove(&slot);
            self.freed.insert(slot, (key, again));
        }
    }

    /// What stands behind there in its lane is read again with that.
    pub(crate) fn forget_behind(&mut self, read: Slot) {
        let is_behind = |slot: &Slot| slot.0 == read.0 && *slot > read;
        self.aside.retain(|(_, slot), _| !is_behind(slot));
        self.aside_of.retain(|slot, _| !is_behind(slot));
        let gone: Vec<_> = self.freed.iter().filter(|(slot, _)| is_behind(slot)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(slot, (key, _))| (*slot, *key)).collect();
        for (slot, key) in gone {
            self.freed.remove(&slot);
            self.free(key);
        }
    }
}

impl State {
    /// The ordering key of a message in a queue, where the queue has a header for these and the
    /// message has that.
    pub(super) fn ordering_key(&self, queue: QueueId, message: &Message) -> Option<u64> {
        let settings = self.queues.get(queue)?.settings.messages.as_deref()?;
        let wanted = settings.ordering_header.as_ref()?;
        let mut headers = headers_of(&message.properties).into_iter();
        let (_, value) = headers.find(|(name, _)| name == wanted)?;
        Some(hash(text_of(&value)?.as_bytes()))
    }

    /// Whether a message that was met may be handed out; else it stands aside from now on.
    pub(super) fn may_be_taken(
        &mut self,
        queue: QueueId,
        slot: Slot,
        (stored, again): (&Stored, bool),
    ) -> bool {
        let Some(key) = self.ordering_key(queue, &stored.message) else { return true };
        self.messages.shelf(queue).keys.enter(slot, key, again)
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
