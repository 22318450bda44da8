//! What memory holds of exchanges and messages, how it is read when a shard starts, and reading on
//! in the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::emptying::Leftovers;
use super::exchanges::Exchanges;
use super::policy::Policies;
use super::shelf::{
    BodyRef, MessageLease, Next, Shelf, Stored, TakenBy, Unsettled, YOUNG_BYTES_TOTAL, weight,
};
use super::{Binding, Destination, Exchange, MessageTag, Policy, Slot};
use crate::ids::{ExchangeId, MonoMs, NamespaceId, Place, QueueId, StreamId, TimeMs};
use crate::state::{Frontier, State, count, keys};
use crate::wire::Wire;

/// Messages that are read of a lane at a time, and bytes of them after which no more are.
const READ_MAX: usize = 64;
const READ_BYTES_MAX: usize = 256 << 10;

/// The part of a shard's memory that is about messages.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(super) exchanges: Exchanges,
    /// Of queues that hold messages or are consumed.
    pub(super) shelves: BTreeMap<QueueId, Shelf>,
    /// What was deleted and is not empty yet.
    pub(super) emptying: BTreeSet<(NamespaceId, Destination)>,
    /// Volatile: what is left of queues that are being emptied.
    pub(super) leftovers: Leftovers,
    /// Volatile: queues that may have something to hand out.
    pub(super) fresh: BTreeSet<QueueId>,
    /// Volatile: queues of which this turn has looked at enough. The next one goes on with them.
    unfinished: BTreeSet<QueueId>,
    /// Volatile: messages that this turn has met and handed to nobody.
    passed: usize,
    /// Messages that stand aside behind their ordering keys, of all queues.
    pub(super) aside: usize,
    /// Volatile: queues of which nothing more is looked at while these are too many.
    pub(super) without_room: BTreeSet<QueueId>,
    /// When messages go back that were taken for a time.
    pub(super) lease_ends: BTreeSet<(MonoMs, MessageTag)>,
    /// Bytes of messages in memory.
    pub(super) young_bytes: usize,
    /// Messages that entered before may have been delivered in an earlier life of the shard.
    pub(super) floor: Place,
    /// When messages expire.
    pub(super) expiries: Frontier,
    /// Volatile: messages that are with somebody while their time ran out, and when that was. What
    /// says so in the tree stays until they have come back or ended.
    pub(super) overdue: BTreeMap<MessageTag, (NamespaceId, TimeMs)>,
    /// Volatile: those of them that are with nobody any more, to be looked at.
    pub(super) overdue_back: BTreeSet<(TimeMs, NamespaceId, MessageTag)>,
    /// When messages are published that wait for that.
    pub(super) delays: Frontier,
    /// Queues whose jobs are told of when they end.
    pub(super) telling: BTreeSet<QueueId>,
    pub(super) policies: Policies,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            exchanges: Exchanges::default(),
            shelves: BTreeMap::new(),
            emptying: BTreeSet::new(),
            leftovers: Leftovers::default(),
            fresh: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            passed: 0,
            aside: 0,
            without_room: BTreeSet::new(),
            lease_ends: BTreeSet::new(),
            young_bytes: 0,
            floor: Place(0),
            expiries: Frontier::new(vec![keys::EXPIRY]),
            overdue: BTreeMap::new(),
            overdue_back: BTreeSet::new(),
            delays: Frontier::new(vec![keys::DELAYED]),
            telling: BTreeSet::new(),
            policies: Policies::default(),
        }
    }
}

impl Messages {
    pub(super) fn shelf(&mut self, queue: QueueId) -> &mut Shelf {
        self.shelves.entry(queue).or_default()
    }

    /// Forgets a queue that memory need not know of.
    pub(crate) fn tidy(&mut self, queue: QueueId) {
        if self.shelves.get(&queue).is_some_and(Shelf::is_idle) {
            self.shelves.remove(&queue);
        }
    }

    /// Who has a message, where somebody has it.
    pub(crate) fn find_unsettled(&self, tag: MessageTag) -> Option<&Unsettled> {
        self.shelves.get(&tag.queue)?.unsettled.get(&tag.slot())
    }

    /// A message that was taken is with somebody.
    pub(crate) fn hand_out(&mut self, tag: MessageTag, unsettled: Unsettled) {
        self.shelf(tag.queue).hand_out(tag.slot(), unsettled);
    }

    /// These queues may have something to hand out.
    pub(crate) fn note_fresh(&mut self, queues: impl IntoIterator<Item = QueueId>) {
        self.fresh.extend(queues);
    }

    /// The next queue that may have something to hand out.
    pub(crate) fn take_fresh(&mut self) -> Option<QueueId> {
        self.fresh.pop_first()
    }

    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self) {
        self.passed = 0;
    }

    /// Nothing more is handed out in this turn: the next one goes on with what is unfinished.
    pub(crate) fn leave_unfinished(&mut self) {
        self.fresh.append(&mut self.unfinished);
    }

    /// Whether this turn has looked at enough of a queue and found nothing yet.
    pub(crate) fn is_unfinished(&self, queue: QueueId) -> bool {
        self.unfinished.contains(&queue)
    }

    /// Whether messages whose time ran out while somebody had them are to be looked at.
    pub(crate) fn has_overdue(&self) -> bool {
        !self.overdue_back.is_empty()
    }

    /// Whether something that was deleted is not empty yet.
    pub(crate) fn is_emptying(&self) -> bool {
        !self.emptying.is_empty()
    }

    /// Whether any queue's jobs are told of when they end.
    pub(crate) fn is_telling(&self) -> bool {
        !self.telling.is_empty()
    }

    /// The exchanges that do not outlive a restart.
    pub(crate) fn exchanges_to_end(&self) -> Vec<(NamespaceId, ExchangeId)> {
        let ends = self.exchanges.declared().filter(|it| !it.durable);
        ends.map(|it| (it.namespace, it.id)).collect()
    }

    /// How many policies the namespace with the most has.
    pub(crate) fn policies_most(&self) -> usize {
        self.policies.most()
    }

    /// Nothing is left of a queue that is being emptied before a slot.
    pub(crate) fn note_looked_through(&mut self, queue: QueueId, slot: Slot) {
        self.leftovers.looked_through(queue, slot);
    }

    pub(crate) fn forget_fresh(&mut self) {
        self.fresh.clear();
        self.unfinished.clear();
    }

    /// Messages that entered before this place may have been delivered in an earlier life.
    pub(crate) fn set_floor(&mut self, floor: Place) {
        self.floor = floor;
    }

    /// What was taken for a time and goes back first, and after which instant.
    pub(crate) fn first_lease_end(&self) -> Option<(MonoMs, MessageTag)> {
        self.lease_ends.first().copied()
    }

    /// A message that was taken for a time stays with its taker for `lease_ms` from `now` on;
    /// `None` for as long as at first.
    pub(crate) fn extend_lease(&mut self, tag: MessageTag, lease_ms: Option<u64>, now: MonoMs) {
        let shelf = self.shelves.get_mut(&tag.queue);
        let unsettled = shelf.and_then(|shelf| shelf.unsettled.get_mut(&tag.slot()));
        if let Some(Unsettled { by: TakenBy::Lease { lease_ms: own_ms, expires, .. }, .. }) =
            unsettled
        {
            self.lease_ends.remove(&(*expires, tag));
            *expires = now.plus(lease_ms.unwrap_or(*own_ms));
            self.lease_ends.insert((*expires, tag));
        }
    }

    /// The time of a message has run out. Whether somebody has it: then it expires only once it is
    /// back, also after a restart.
    pub(crate) fn run_out(&mut self, (at, ns, tag): (TimeMs, NamespaceId, MessageTag)) -> bool {
        self.overdue_back.remove(&(at, ns, tag));
        let unsettled = self.find_unsettled(tag).is_some();
        if unsettled {
            self.overdue.insert(tag, (ns, at));
            self.expiries.eaten(&keys::expiry(at, ns, tag));
        }
        unsettled
    }

    /// When messages expire that nobody has.
    pub(crate) fn next_expiry(&self, state: &State) -> Option<TimeMs> {
        self.expiries.first(state).map(TimeMs)
    }

    /// When a message is published that waits for that.
    pub(crate) fn next_delayed(&self, state: &State) -> Option<TimeMs> {
        self.delays.first(state).map(TimeMs)
    }

    #[cfg(test)]
    pub(crate) fn young_bytes(&self) -> usize {
        self.young_bytes
    }

    /// Whether memory knows of no queue.
    #[cfg(test)]
    pub(crate) fn has_no_shelf(&self) -> bool {
        self.shelves.is_empty()
    }

    /// Messages of a queue that are with consumers.
    pub(crate) fn unsettled(&self, queue: QueueId) -> u64 {
        self.shelves.get(&queue).map_or(0, |shelf| shelf.unsettled.len() as u64)
    }

    /// Forgets a queue. What is left to be emptied is kept: where its messages begin, and how many
    /// there are.
    pub(crate) fn drop_shelf(&mut self, queue: QueueId, messages: u64) {
        let Some(shelf) = self.shelves.remove(&queue) else { return };
        self.leftovers.begin(queue, messages, shelf.first_of_lanes());
        self.count_aside(shelf.keys.aside_len(), 0);
        self.without_room.remove(&queue);
        count::take(&mut self.young_bytes, shelf.young_bytes(), "bytes of new messages");
        for (slot, unsettled) in &shelf.unsettled {
            self.forget_end(MessageTag::of(queue, *slot), unsettled);
        }
        self.fresh.remove(&queue);
        self.unfinished.remove(&queue);
    }

    /// A message is with nobody any more.
    pub(crate) fn forget_end(&mut self, tag: MessageTag, unsettled: &Unsettled) {
        if let TakenBy::Lease { expires, .. } = unsettled.by {
            self.lease_ends.remove(&(expires, tag));
        }
        if let Some((ns, at)) = self.overdue.remove(&tag) {
            self.overdue_back.insert((at, ns, tag));
        }
    }

    /// A message is with nobody any more and stands where it stood. Who had it.
    pub(crate) fn give_back(&mut self, tag: MessageTag) -> Option<Unsettled> {
        let unsettled = self.with_shelf(tag.queue, |shelf| shelf.give_back(tag.slot()));
        if let Some(unsettled) = &unsettled {
            self.forget_end(tag, unsettled);
        }
        unsettled
    }
}

impl State {
    /// Messages of a queue that wait.
    pub(crate) fn ready_messages(&self, queue: QueueId) -> u64 {
        let unsettled = self.messages.unsettled(queue);
        self.queues.get(queue).map_or(0, |queue| queue.counts.messages.saturating_sub(unsettled))
    }

    /// How many messages this turn may still meet and hand to nobody: one at least.
    pub(super) fn looks_left(&self) -> usize {
        self.limits.slice_items_max.saturating_sub(self.messages.passed).max(1)
    }

    /// A message of a queue was met and is handed to nobody. Whether this turn looks at more.
    pub(crate) fn pass(&mut self, queue: QueueId) -> bool {
        self.pass_many(queue, 1)
    }

    /// The same of several.
    pub(super) fn pass_many(&mut self, queue: QueueId, messages: usize) -> bool {
        self.messages.passed += messages;
        let goes_on = self.messages.passed < self.limits.slice_items_max;
        if !goes_on {
            self.messages.unfinished.insert(queue);
        }
        goes_on
    }

    /// Takes the next message of a queue off its shelf. Whoever calls it says who has it then, or
    /// that it is gone. Where this turn has looked at enough there is none, and the queue is
    /// unfinished.
    pub(crate) fn take_message(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
    ) -> Option<(MessageTag, Arc<Stored>, bool)> {
        loop {
            if !self.look_for_passed(ns, queue) {
                return None;
            }
            self.messages.look_for_room(queue);
            let shelf = self.messages.shelves.get_mut(&queue)?;
            let (slot, stored, again) = match shelf.next()? {
                Next::Returned(slot) => {
                    let again = shelf.take_returned(slot);
                    let stored = self.value(&keys::message(ns, MessageTag::of(queue, slot)));
                    let stored: Stored = stored.expect("what came back stands in the tree");
                    (slot, Arc::new(stored), again)
                }
                Next::Young(urgency) => {
                    let (slot, stored, bytes) = shelf.take_young(urgency)?;
                    count::take(&mut self.messages.young_bytes, bytes, "bytes of new messages");
                    (slot, stored, false)
                }
                Next::Unread(urgency) => {
                    if !self.read_lane(ns, queue, urgency) {
                        return None;
                    }
                    continue;
                }
            };
            let again = again || slot.1 < self.messages.floor;
            if self.may_be_taken(queue, slot, (&stored, again)) {
                let whole = if stored.lacks_body() {
                    Arc::new(Arc::unwrap_or_clone(stored).with_body(self))
                } else {
                    stored
                };
                return Some((MessageTag::of(queue, slot), whole, again));
            }
            if !self.pass(queue) {
                return None;
            }
        }
    }

    /// The first message of a queue that nobody has. It stays where it is. Where this turn has
    /// looked at enough there is none, and the queue is unfinished.
    pub(crate) fn first_waiting(
        &mut self,
        ns: NamespaceId,
        queue: QueueId,
    ) -> Option<(MessageTag, BodyRef)> {
        loop {
            let passed = self.first_passed(ns, queue).ok()?;
            let slot = match self.messages.shelves.get(&queue)?.first_waiting() {
                Some(Next::Unread(urgency)) if passed.is_none_or(|slot| slot.0 > urgency) => {
                    if !self.read_lane(ns, queue, urgency) {
                        return None;
                    }
                    continue;
                }
                Some(Next::Returned(slot)) => Some(slot),
                Some(Next::Young(urgency)) => {
                    self.messages.shelves.get(&queue)?.first_young(urgency)
                }
                Some(Next::Unread(_)) | None => None,
            };
            let slot = slot.into_iter().chain(passed).min()?;
            let tag = MessageTag::of(queue, slot);
            let stored: Stored = self.value(&keys::message(ns, tag))?;
            return Some((tag, stored.body_ref()));
        }
    }

    /// The message of that tag, as it stands in the tree.
    pub(crate) fn stored(&self, ns: NamespaceId, tag: MessageTag) -> Option<Stored> {
        self.value::<Stored>(&keys::message(ns, tag)).map(|stored| stored.with_body(self))
    }

    /// How often a message came back.
    pub(crate) fn returns(&self, ns: NamespaceId, tag: MessageTag) -> u32 {
        let known = self.messages.shelves.get(&tag.queue).is_some_and(|shelf| shelf.has_returns);
        known.then(|| self.value(&keys::returns(ns, tag))).flatten().unwrap_or(0)
    }

    /// Reads on in a lane. Messages that somebody has are passed, as many as a turn looks at:
    /// whether it looks at more.
    fn read_lane(&mut self, ns: NamespaceId, queue: QueueId, urgency: u8) -> bool {
        let Some(shelf) = self.messages.shelves.get(&queue) else { return false };
        let Some(lane) = shelf.lane(urgency) else { return false };
        let left = self.looks_left();
        let mut passed = 0;
        let from = keys::after(&keys::message(ns, MessageTag { queue, urgency, place: lane.read }));
        let to = keys::after_prefix(&keys::message_lane(ns, queue, urgency));
        let (mut entries, mut bytes, mut more, mut read) = (Vec::new(), 0, false, lane.read);
        // What nobody will take soon is not kept.
        let most = if shelf.consumed && self.young_room() > 0 { READ_MAX } else { 1 };
        self.scan(&from, &to, &mut |key, value| {
            if entries.len() >= most || bytes >= READ_BYTES_MAX || passed >= left {
                more = true;
                return ControlFlow::Break(());
            }
            let place = place_at(key);
            read = place;
            if shelf.unsettled.contains_key(&(urgency, place)) {
                passed += 1;
            } else {
                let stored = stored_of(key, value);
                bytes += weight(&stored);
                entries.push((place, stored));
            }
            ControlFlow::Continue(())
        });
        let found = !entries.is_empty();
        // Their bodies are read once they are handed out.
        let entries = entries.into_iter().map(|(place, stored)| (place, Arc::new(stored)));
        let entries = entries.collect();
        if let Some(shelf) = self.messages.shelves.get_mut(&queue) {
            self.messages.young_bytes += shelf.refill(urgency, (entries, read), more);
        }
        self.pass_many(queue, passed) || found
    }

    /// Bytes that messages of a queue may still take in memory.
    pub(super) fn young_room(&self) -> usize {
        YOUNG_BYTES_TOTAL.saturating_sub(self.messages.young_bytes)
    }

    /// Somebody takes from a queue, or nobody does any more.
    pub(crate) fn set_consumed(&mut self, queue: QueueId, consumed: bool) {
        if consumed {
            self.messages.shelf(queue).consumed = true;
        } else {
            let bytes = self.messages.with_shelf(queue, Shelf::forget_young);
            count::take(&mut self.messages.young_bytes, bytes, "bytes of new messages");
            self.messages.tidy(queue);
        }
    }

    /// Reads what memory holds of exchanges and messages, when a shard starts.
    pub(crate) fn load_messages(&mut self) {
        let tells = |queue: &&crate::queue::Queue| queue.settings.outcomes.is_some();
        let telling = self.queues.all_after(None).filter(tells).map(|queue| queue.id);
        self.messages.telling = telling.collect();
        let of = |key: &[u8]| Some((NamespaceId(keys::u32_at(key, 1)?), keys::text_at(key, 5)?.0));
        for (key, policy) in self.each::<Policy>(keys::POLICY) {
            let found = of(&key);
            let (ns, name) = found.unwrap_or_else(|| panic!("key {key:02x?} is no policy's"));
            self.messages.policies.insert(ns, name, policy);
        }
        for (_, exchange) in self.each::<Exchange>(keys::EXCHANGE) {
            self.messages.exchanges.insert(exchange);
        }
        let mut bindings = Vec::new();
        self.scan(&[keys::BINDING], &[keys::BINDING + 1], &mut |key, _| {
            bindings.push(binding_of(key));
            ControlFlow::Continue(())
        });
        let mut emptying = BTreeSet::new();
        self.scan(&[keys::EMPTYING], &[keys::EMPTYING + 1], &mut |key, _| {
            emptying.insert(emptying_of(key));
            ControlFlow::Continue(())
        });
        for (ns, binding) in bindings {
            // What is bound to an exchange that was deleted leads nowhere.
            if !emptying.contains(&(ns, Destination::Exchange { id: binding.source })) {
                self.messages.exchanges.bind(ns, &binding);
            }
        }
        self.messages.emptying = emptying;
        let mut from = vec![keys::MESSAGE];
        while let Some((key, _)) = self.first(&from, &[keys::MESSAGE + 1]) {
            let (queue, urgency) = lane_at(&key);
            if self.queues.get(queue).is_some() {
                self.messages.shelf(queue).load_lane(urgency, place_at(&key));
            } else {
                let messages = self.count_leftovers(&key);
                self.messages.leftovers.found_messages(queue, slot_at(&key), messages);
            }
            from = keys::after_prefix(key.get(..10).unwrap_or(&key));
        }
        let mut from = vec![keys::RETURNS];
        while let Some((key, _)) = self.first(&from, &[keys::RETURNS + 1]) {
            let (queue, _) = lane_at(&key);
            if self.queues.get(queue).is_some() {
                self.messages.shelf(queue).has_returns = true;
                from = keys::after_prefix(key.get(..9).unwrap_or(&key));
            } else {
                self.messages.leftovers.found(queue, slot_at(&key));
                from = keys::after_prefix(key.get(..10).unwrap_or(&key));
            }
        }
        for (key, lease) in self.each::<MessageLease>(keys::MESSAGE_LEASE) {
            let (queue, urgency) = lane_at(&key);
            let tag = MessageTag { queue, urgency, place: place_at(&key) };
            if let Some(ns) = self.queues.get(queue).map(|queue| queue.namespace) {
                let stored = self.value::<Stored>(&keys::message(ns, tag));
                let stored = stored.expect("a lease is of a message that exists");
                self.may_be_taken(queue, tag.slot(), (&stored, true));
                self.lease_message(tag, lease.token, lease.lease_ms, stored.body_ref());
            } else {
                self.messages.leftovers.found(queue, tag.slot());
            }
        }
    }

    /// Holds a message for whoever shows the token, from this instant of the clock that never
    /// steps.
    pub(crate) fn lease_message(
        &mut self,
        tag: MessageTag,
        token: crate::ids::Token,
        lease_ms: u64,
        body: BodyRef,
    ) {
        let expires = self.mono().plus(lease_ms);
        let by = TakenBy::Lease { token, lease_ms, expires };
        self.messages.lease_ends.insert((expires, tag));
        self.messages.hand_out(tag, Unsettled { by, body });
    }

    /// What was taken for a time stands for as long once more.
    pub(crate) fn renew_message_leases(&mut self) {
        let mono = self.mono();
        for (_, tag) in self.messages.lease_ends.clone() {
            self.messages.extend_lease(tag, None, mono);
        }
    }
}

/// The message that stands under a key.
pub(crate) fn stored_of(key: &[u8], value: &Bytes) -> Stored {
    Stored::from_bytes(value).unwrap_or_else(|error| panic!("key {key:02x?} in the state: {error}"))
}

/// The order of entry of the message under a key.
pub(crate) fn place_at(key: &[u8]) -> Place {
    let place = keys::u64_at(key, 10).map(Place);
    place.unwrap_or_else(|| panic!("key {key:02x?} in the state is no message's"))
}

/// The message that expires, and when.
pub(crate) fn tag_of_expiry(key: &[u8]) -> (TimeMs, NamespaceId, MessageTag) {
    let found = || {
        let at = TimeMs(keys::u64_at(key, 1)?);
        let (ns, queue) = (NamespaceId(keys::u32_at(key, 9)?), QueueId(keys::u32_at(key, 13)?));
        let (urgency, place) = (*key.get(17)?, Place(keys::u64_at(key, 18)?));
        Some((at, ns, MessageTag { queue, urgency, place }))
    };
    found().unwrap_or_else(|| panic!("key {key:02x?} in the state is no expiry's"))
}

/// The queue and the lane of the message under a key.
pub(crate) fn lane_at(key: &[u8]) -> (QueueId, u8) {
    let lane = || Some((QueueId(keys::u32_at(key, 5)?), *key.get(9)?));
    lane().unwrap_or_else(|| panic!("key {key:02x?} in the state is no message's"))
}

/// Where the message under a key stands in its queue.
pub(crate) fn slot_at(key: &[u8]) -> Slot {
    (lane_at(key).1, place_at(key))
}

/// The binding that a key of either index names.
pub(crate) fn binding_of(key: &[u8]) -> (NamespaceId, Binding) {
    let binding = || {
        let ns = NamespaceId(keys::u32_at(key, 1)?);
        Some((ns, Binding::from_bytes(&Bytes::copy_from_slice(key.get(14..)?)).ok()?))
    };
    binding().unwrap_or_else(|| panic!("key {key:02x?} in the state is no binding's"))
}

fn emptying_of(key: &[u8]) -> (NamespaceId, Destination) {
    let found = || {
        let (ns, id) = (NamespaceId(keys::u32_at(key, 1)?), keys::u32_at(key, 6)?);
        let what = match key.get(5)? {
            1 => Destination::Queue { id: QueueId(id) },
            2 => Destination::Exchange { id: ExchangeId(id) },
            3 => Destination::Stream { id: StreamId(id) },
            _ => return None,
        };
        Some((ns, what))
    };
    found().unwrap_or_else(|| panic!("key {key:02x?} in the state is of nothing that empties"))
}
