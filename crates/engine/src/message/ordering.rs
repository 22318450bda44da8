//! Ordering keys of the messages of one queue: of each key one message at a time is with somebody,
//! in the order of the queue. A message that is met while its key is busy stands aside, until the
//! one before it comes back or ends. Of a key with very many only the first stand aside; those
//! behind them are passed, and looked for in the tree once it is their turn. All of it is memory:
//! what is with nobody after a start is met again. Keys are hashes, so two of them may share a
//! turn, which costs time and no order.

use std::collections::{BTreeMap, BTreeSet};

use super::Slot;
use super::properties::{headers_of, text_of};
use super::{Message, MessageTag, Stored};
use crate::ids::{NamespaceId, Place, QueueId};
use crate::state::{State, count, keys};

/// Messages of a queue that stand aside, at most, and those of all queues of a shard. Beyond that
/// nothing more of a queue is looked at until one of them has had its turn.
const ASIDE_MAX: usize = if cfg!(test) { 8 } else { 20_000 };
pub(super) const ASIDE_OF_SHARD_MAX: usize = if cfg!(test) { 12 } else { 200_000 };

/// Messages of one key that stand aside, at most.
pub(super) const ASIDE_OF_KEY_MAX: usize = if cfg!(test) { 3 } else { 1000 };

/// The keys of a queue.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Keys of messages that are with somebody, and whose these are.
    busy: BTreeSet<u64>,
    busy_of: BTreeMap<Slot, u64>,
    /// Messages that were met while their key was busy, and whether somebody may have got them
    /// before. Their key is busy, or one of its messages is in `freed`, or it is in `sought`.
    aside: BTreeMap<(u64, Slot), bool>,
    aside_of: BTreeMap<Slot, u64>,
    /// How many stand aside of each key.
    of_key: BTreeMap<u64, usize>,
    /// By key and lane: from there on messages of the key were passed, as far as the lane was read.
    passed: BTreeMap<(u64, u8), Place>,
    /// Every passed message before that urgency and place is with somebody, or is known to memory.
    sifted: (u16, u64),
    /// Keys of which a message that was passed is next.
    sought: BTreeSet<u64>,
    /// Messages whose turn has come, likewise.
    freed: BTreeMap<Slot, (u64, bool)>,
    /// In all queues together nothing more may stand aside.
    pub(super) no_room: bool,
}

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.busy.is_empty()
            && self.aside.is_empty()
            && self.freed.is_empty()
            && self.passed.is_empty()
            && self.sought.is_empty()
    }

    /// Nothing more may stand aside.
    pub(crate) fn is_full(&self) -> bool {
        self.no_room || self.aside.len() >= ASIDE_MAX
    }

    /// How many stand aside.
    pub(super) fn aside_len(&self) -> usize {
        self.aside.len()
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

    /// Whether a message may be handed out, now or once it is found.
    pub(super) fn has_next(&self) -> bool {
        !self.freed.is_empty() || !self.sought.is_empty()
    }

    /// The first place, from a slot on, from which messages were passed. There, or behind it in
    /// its lane, messages may stand that memory does not know.
    pub(super) fn first_passed(&self, from: Slot) -> Option<Slot> {
        let lanes = self.passed.iter().filter(|((_, urgency), _)| *urgency >= from.0);
        let slots = lanes.map(|((_, urgency), place)| (*urgency, *place).max(from));
        slots.min()
    }

    /// Where the first message that was passed and that nobody has is to be looked for.
    pub(super) fn first_to_sift(&self) -> Option<Slot> {
        let (urgency, place) = self.sifted;
        self.first_passed((u8::try_from(urgency).ok()?, Place(place)))
    }

    /// There is none before that slot; of a whole lane where no place is given.
    pub(super) fn note_sifted(&mut self, urgency: u8, place: Option<Place>) {
        self.sifted = match place {
            Some(place) => (urgency.into(), place.0),
            None => (u16::from(urgency) + 1, 0),
        };
    }

    /// A message was passed that was known of until now.
    fn pass(&mut self, (urgency, place): Slot) {
        self.sifted = self.sifted.min((urgency.into(), place.0));
    }

    /// A key of which a message that was passed is next, in which lane, and from where on that is
    /// to be looked for.
    pub(super) fn first_sought(&mut self) -> Option<(u64, Slot)> {
        loop {
            let key = *self.sought.first()?;
            if let Some(from) = self.passed_of(key) {
                return Some((key, from));
            }
            // What was passed is met again with its lane.
            self.sought.remove(&key);
            self.let_go(key);
        }
    }

    fn passed_of(&self, key: u64) -> Option<Slot> {
        let mut lanes = self.passed.range((key, 0)..=(key, u8::MAX));
        lanes.next().map(|((_, urgency), place)| (*urgency, *place))
    }

    /// Messages of a sought key were found in a lane, each with whether somebody may have got it
    /// before; and where others may follow.
    pub(super) fn found(
        &mut self,
        (key, urgency): (u64, u8),
        found: Vec<(Place, bool)>,
        next: Option<Place>,
    ) {
        match next {
            Some(next) => self.passed.insert((key, urgency), next),
            None => self.passed.remove(&(key, urgency)),
        };
        let is_whole = next.is_none() || !found.is_empty();
        for (place, again) in found {
            let slot = (urgency, place);
            if !self.freed.contains_key(&slot) && !self.busy_of.contains_key(&slot) {
                self.put_aside(slot, key, again);
            }
        }
        if is_whole {
            self.sought.remove(&key);
            self.let_go(key);
        }
    }

    /// Looks at such a message again: whether somebody may have got it before.
    pub(crate) fn take_freed(&mut self, slot: Slot) -> bool {
        self.freed.remove(&slot).is_some_and(|(_, again)| again)
    }

    /// Whether a message may be handed out now. Where its key is busy it may not: it stands aside,
    /// or is passed.
    pub(crate) fn enter(&mut self, slot: Slot, key: u64, again: bool) -> bool {
        if self.busy_of.get(&slot) == Some(&key) {
            return true;
        }
        let mut lanes = self.passed.range((key, 0)..=(key, slot.0));
        let is_behind = lanes.any(|((_, urgency), place)| (*urgency, *place) <= slot);
        if !is_behind && !self.busy.contains(&key) {
            self.busy.insert(key);
            self.busy_of.insert(slot, key);
            return true;
        }
        let in_lane = self.passed.get(&(key, slot.0));
        if in_lane.is_some_and(|from| *from <= slot.1) {
            self.pass(slot);
            return false;
        }
        let of_lane = (key, (slot.0, Place(0)))..=(key, (slot.0, Place(u64::MAX)));
        let is_last = self.aside.range(of_lane).next_back().is_none_or(|((_, it), _)| *it < slot);
        let many = self.of_key.get(&key).is_some_and(|count| *count >= ASIDE_OF_KEY_MAX);
        if many && is_last && in_lane.is_none() {
            self.passed.insert((key, slot.0), slot.1);
            self.pass(slot);
        } else {
            self.put_aside(slot, key, again);
        }
        false
    }

    /// Whether a message that nobody has waits for another one of its key.
    pub(super) fn is_behind(&self, slot: Slot, key: u64) -> bool {
        self.busy.contains(&key)
            || self.aside_of.contains_key(&slot)
            || self.passed_of(key).is_some_and(|passed| passed < slot)
    }

    fn put_aside(&mut self, slot: Slot, key: u64, again: bool) {
        if self.aside.insert((key, slot), again).is_none() {
            *self.of_key.entry(key).or_default() += 1;
        }
        self.aside_of.insert(slot, key);
    }

    fn take_aside(&mut self, slot: Slot) -> Option<(u64, bool)> {
        let key = self.aside_of.remove(&slot)?;
        let again = self.aside.remove(&(key, slot));
        if let Some(of_key) = self.of_key.get_mut(&key) {
            count::take(of_key, 1, "messages of a key that stand aside");
            if *of_key == 0 {
                self.of_key.remove(&key);
            }
        }
        Some((key, again.unwrap_or_default()))
    }

    /// A message is with nobody any more, or gone.
    pub(crate) fn leave(&mut self, slot: Slot) {
        if let Some(key) = self.busy_of.remove(&slot) {
            self.busy.remove(&key);
            self.free(key);
        } else if self.take_aside(slot).is_none()
            && let Some((key, _)) = self.freed.remove(&slot)
        {
            self.free(key);
        }
    }

    fn let_go(&mut self, key: u64) {
        if !self.busy.contains(&key) {
            self.free(key);
        }
    }

    /// The turn of the first message of a key that stands aside, or was passed, has come.
    fn free(&mut self, key: u64) {
        let of_key = (key, (0, Place(0)))..=(key, (u8::MAX, Place(u64::MAX)));
        let first = self.aside.range(of_key).next().map(|((_, slot), _)| *slot);
        let passed = self.passed_of(key);
        if let Some(passed) = passed
            && first.is_none_or(|first| passed <= first)
        {
            self.sought.insert(key);
        } else if let Some(slot) = first
            && let Some(freed) = self.take_aside(slot)
        {
            self.freed.insert(slot, freed);
        }
    }

    /// What stands behind there in its lane is read again with that.
    pub(crate) fn forget_behind(&mut self, read: Slot) {
        let behind = read..=(read.0, Place(u64::MAX));
        let is_behind = |slot: &Slot| *slot > read;
        let aside = self.aside_of.range(behind.clone()).map(|(slot, _)| *slot);
        for slot in aside.filter(is_behind).collect::<Vec<_>>() {
            self.take_aside(slot);
        }
        self.passed.retain(|(_, urgency), place| *urgency != read.0 || *place <= read.1);
        let gone = self.freed.range(behind).map(|(slot, (key, _))| (*slot, *key));
        for (slot, key) in gone.filter(|(slot, _)| is_behind(slot)).collect::<Vec<_>>() {
            self.freed.remove(&slot);
            self.free(key);
        }
    }
}

/// The value of the header that is a queue's ordering key.
pub(super) fn key_of(message: &Message, header: &str) -> Option<String> {
    let mut headers = headers_of(&message.properties).into_iter();
    let (_, value) = headers.find(|(name, _)| name == header)?;
    text_of(&value)
}

impl State {
    /// The ordering key of a message in a queue, where the queue has a header for these and the
    /// message has that.
    pub(super) fn ordering_key(&self, queue: QueueId, message: &Message) -> Option<u64> {
        let settings = self.queues.get(queue)?.settings.messages.as_deref()?;
        let wanted = settings.ordering_header.as_ref()?;
        Some(hash(key_of(message, wanted)?.as_bytes()))
    }

    /// Whether a message that waits, or stands aside, does so behind another one of its key.
    pub(crate) fn is_behind_key(&self, ns: NamespaceId, tag: MessageTag) -> bool {
        let shelf = self.messages.shelves.get(&tag.queue);
        let Some(shelf) = shelf.filter(|it| !it.unsettled.contains_key(&tag.slot())) else {
            return false;
        };
        let stored = self.value::<Stored>(&keys::message(ns, tag));
        let key = stored.and_then(|stored| self.ordering_key(tag.queue, &stored.message));
        key.is_some_and(|key| shelf.keys.is_behind(tag.slot(), key))
    }

    /// Whether a message that was met may be handed out; else it stands aside from now on.
    pub(super) fn may_be_taken(
        &mut self,
        queue: QueueId,
        slot: Slot,
        (stored, again): (&Stored, bool),
    ) -> bool {
        let Some(key) = self.ordering_key(queue, &stored.message) else { return true };
        self.messages.with_shelf(queue, |shelf| shelf.keys.enter(slot, key, again))
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
