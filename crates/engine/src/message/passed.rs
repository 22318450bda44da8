//! Messages that were passed because too many of their key stood aside already. Once it is the turn
//! of one, it is looked for in the tree: so many places in a turn of the shard.

use std::ops::ControlFlow;

use super::MessageTag;
use super::Slot;
use super::ordering::{ASIDE_OF_KEY_MAX, ASIDE_OF_SHARD_MAX};
use super::shelf::Shelf;
use super::state::{Messages, place_at, stored_of};
use super::walk::{SPAN, SPANS_MAX};
use crate::ids::{NamespaceId, Place, QueueId};
use crate::state::{State, keys};

impl Messages {
    /// Changes what is known of a queue, and counts what stands aside then.
    pub(super) fn with_shelf<T>(
        &mut self,
        queue: QueueId,
        change: impl FnOnce(&mut Shelf) -> T,
    ) -> T {
        let shelf = self.shelf(queue);
        let before = shelf.keys.aside_len();
        let changed = change(shelf);
        let after = shelf.keys.aside_len();
        self.count_aside(before, after);
        changed
    }

    /// So many stand aside of a queue, and so many did.
    pub(super) fn count_aside(&mut self, before: usize, after: usize) {
        let aside = (self.aside + after).checked_sub(before);
        self.aside = aside.expect("what stands aside of a queue was counted");
        if self.aside < ASIDE_OF_SHARD_MAX {
            let waiting = std::mem::take(&mut self.without_room);
            self.note_fresh(waiting);
        }
    }

    #[cfg(test)]
    pub(crate) fn aside(&self) -> usize {
        self.aside
    }

    /// A queue is about to be looked at: whether there is room for what stands aside of it.
    pub(super) fn look_for_room(&mut self, queue: QueueId) {
        let no_room = self.aside >= ASIDE_OF_SHARD_MAX;
        if let Some(shelf) = self.shelves.get_mut(&queue) {
            shelf.keys.no_room = no_room;
            if no_room {
                self.without_room.insert(queue);
            }
        }
    }
}

impl State {
    /// Looks for messages that were passed and whose turn has come. Whether all were found, or are
    /// known to be gone, before this turn has looked at enough.
    pub(super) fn look_for_passed(&mut self, ns: NamespaceId, queue: QueueId) -> bool {
        loop {
            let Some(shelf) = self.messages.shelves.get_mut(&queue) else { return true };
            let Some((key, from)) = shelf.keys.first_sought() else { return true };
            let most = self.looks_left();
            let (found, next, looked) = self.passed_from(ns, queue, (key, from), most);
            self.messages.with_shelf(queue, |shelf| shelf.keys.found((key, from.0), found, next));
            if !self.pass_many(queue, looked) {
                return false;
            }
        }
    }

    /// Messages of a key from a slot on, as far as its lane was read; where others may follow, and
    /// how many were looked at.
    fn passed_from(
        &self,
        ns: NamespaceId,
        queue: QueueId,
        (key, (urgency, place)): (u64, Slot),
        most: usize,
    ) -> (Vec<(Place, bool)>, Option<Place>, usize) {
        let (mut found, mut next, mut looked) = (Vec::new(), None, 0);
        let Some(shelf) = self.messages.shelves.get(&queue) else { return (found, next, looked) };
        let from = keys::message(ns, MessageTag { queue, urgency, place });
        let to = match shelf.read_up_to(urgency) {
            Some(place) => keys::after(&keys::message(ns, MessageTag { queue, urgency, place })),
            None => keys::after_prefix(&keys::message_lane(ns, queue, urgency)),
        };
        self.scan(&from, &to, &mut |at, value| {
            let place = place_at(at);
            if looked >= most || found.len() >= ASIDE_OF_KEY_MAX {
                next = Some(place);
                return ControlFlow::Break(());
            }
            looked += 1;
            let stored = stored_of(at, value);
            if !shelf.knows((urgency, place))
                && self.ordering_key(queue, &stored.message) == Some(key)
            {
                found.push((place, place < self.messages.floor));
            }
            ControlFlow::Continue(())
        });
        (found, next, looked)
    }

    /// The first message that was passed, still stands and is with nobody. Where this turn has
    /// looked at enough, the queue is unfinished, and the next one goes on from there.
    pub(super) fn first_passed(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
    ) -> Result<Option<Slot>, Unfinished> {
        for _ in 0..SPANS_MAX {
            let Some(shelf) = self.messages.shelves.get(&queue) else { return Ok(None) };
            let Some(from) = shelf.keys.first_to_sift() else { return Ok(None) };
            let (found, next, looked) = self.sift((ns, queue), from, shelf);
            self.messages.with_shelf(queue, |shelf| shelf.keys.note_sifted(from.0, next));
            let goes_on = self.pass_many(queue, looked);
            if found.is_some() {
                return Ok(found);
            }
            if !goes_on {
                return Err(Unfinished);
            }
        }
        self.pass_many(queue, self.looks_left());
        Err(Unfinished)
    }

    /// Looks for a message that nobody has over some places of a lane: the first one, where to go
    /// on, unless the lane has been looked through as far as it was read, and how many were looked
    /// at.
    fn sift(
        &self,
        (ns, queue): (NamespaceId, QueueId),
        (urgency, from): Slot,
        shelf: &Shelf,
    ) -> (Option<Slot>, Option<Place>, usize) {
        let read = shelf.read_up_to(urgency).map_or(u64::MAX, |read| read.0.saturating_add(1));
        let last = Place(self.meta.next_place.0.min(read));
        let end = Place(from.0.saturating_add(SPAN)).min(last);
        let most = self.looks_left();
        let (mut found, mut next, mut looked) = (None, (end < last).then_some(end), 0);
        let key = |place| keys::message(ns, MessageTag { queue, urgency, place });
        self.scan(&key(from), &key(end), &mut |at, _| {
            let slot = (urgency, place_at(at));
            let is_unsettled = shelf.unsettled.contains_key(&slot);
            if is_unsettled && looked < most {
                looked += 1;
                return ControlFlow::Continue(());
            }
            next = Some(slot.1);
            found = (!is_unsettled).then_some(slot);
            ControlFlow::Break(())
        });
        (found, next, looked)
    }
}

/// A turn has looked at enough, and found nothing yet.
#[derive(Debug)]
pub(super) struct Unfinished;
