//! Walking the messages of a queue in their order, a bounded part at a time. Memory is asked first.
//! The tree is read only where memory has not read it yet, and only over so many places at a time:
//! an LSM tree may still have the traces of many messages that were removed.

use std::ops::ControlFlow;

use super::state::{place_at, stored_of};
use super::{MessageTag, Slot, Stored};
use crate::ids::{NamespaceId, Place, QueueId};
use crate::state::{State, keys};

/// Over how many places the tree is looked through at a time, and how often in one walk. Places
/// are numbered over the whole shard, so most spans of a queue that is seldom written are empty
/// and cost one look each. Few messages that were not read yet were removed: by expiry, or by
/// walks that a restart has cut short.
pub(super) const SPAN: u64 = if cfg!(test) { 16 } else { 65_536 };
pub(super) const SPANS_MAX: usize = 4;

/// What stands next in a queue, as far as memory knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// A message that somebody has.
    Unsettled(Slot),
    /// A message that stands in the tree.
    Known(Slot),
    /// What follows from there on in its lane was not read, or was passed behind its key.
    Unread(Slot),
}

impl Standing {
    pub(super) fn slot(self) -> Slot {
        let (Self::Unsettled(slot) | Self::Known(slot) | Self::Unread(slot)) = self;
        slot
    }

    /// The one that comes first; what is known of before what is to be read.
    pub(super) fn first(standings: impl IntoIterator<Item = Self>) -> Option<Self> {
        let order = |it: &Self| (it.slot(), matches!(it, Self::Unread(_)));
        standings.into_iter().min_by_key(order)
    }
}

/// The place after one, in its lane or at the beginning of the next.
fn after((urgency, place): Slot) -> Option<Slot> {
    match place.0.checked_add(1) {
        Some(next) => Some((urgency, Place(next))),
        None => Some((urgency.checked_add(1)?, Place(0))),
    }
}

impl State {
    /// Calls `visit` with the messages of a queue from a slot on; without the message where
    /// somebody has it. Answers where the next walk begins: at the message with which `visit`
    /// broke, or where this one has looked at enough. None at the end of the queue.
    pub(super) fn walk_messages(
        &self,
        (ns, queue): (NamespaceId, QueueId),
        from: Slot,
        visit: &mut dyn FnMut(Slot, Option<Stored>) -> ControlFlow<()>,
    ) -> Option<Slot> {
        let shelf = self.messages.shelves.get(&queue)?;
        let (mut at, mut spans) = (from, 0);
        loop {
            match shelf.standing_from(at)? {
                Standing::Unsettled(slot) => {
                    if visit(slot, None).is_break() {
                        return Some(slot);
                    }
                    at = after(slot)?;
                }
                Standing::Known(slot) => {
                    let stored = self.value(&keys::message(ns, MessageTag::of(queue, slot)));
                    let stored: Stored = stored.expect("what memory knows of stands in the tree");
                    if visit(slot, Some(stored)).is_break() {
                        return Some(slot);
                    }
                    at = after(slot)?;
                }
                Standing::Unread(slot) if spans == SPANS_MAX => return Some(slot),
                Standing::Unread(slot) => {
                    spans += 1;
                    match self.walk_span((ns, queue), slot, visit) {
                        Ok(next) => at = next?,
                        Err(broke) => return Some(broke),
                    }
                }
            }
        }
    }

    /// Visits some places of a lane of which nothing is in memory. Answers where to go on, or with
    /// which message `visit` broke.
    fn walk_span(
        &self,
        (ns, queue): (NamespaceId, QueueId),
        from: Slot,
        visit: &mut dyn FnMut(Slot, Option<Stored>) -> ControlFlow<()>,
    ) -> Result<Option<Slot>, Slot> {
        let shelf = self.messages.shelves.get(&queue);
        let (urgency, first) = from;
        let end = Place(first.0.saturating_add(SPAN));
        let ends_here = end >= self.meta.next_place;
        let key = |place| keys::message(ns, MessageTag { queue, urgency, place });
        let mut broke = None;
        self.scan(&key(first), &key(end), &mut |key, value| {
            let slot = (urgency, place_at(key));
            let unsettled = shelf.is_some_and(|shelf| shelf.unsettled.contains_key(&slot));
            let flow = visit(slot, (!unsettled).then(|| stored_of(key, value)));
            broke = flow.is_break().then_some(slot);
            flow
        });
        match broke {
            Some(slot) => Err(slot),
            None if ends_here => Ok(urgency.checked_add(1).map(|next| (next, Place(0)))),
            None => Ok(Some((urgency, end))),
        }
    }
}
