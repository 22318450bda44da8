//! What memory knows of the messages of one queue: how far each lane was read, who has what, and
//! what came back. Waiting messages stand in the tree. Some of them are kept here while somebody
//! consumes, so that a message that is consumed at once is not read again. All of it is volatile,
//! but for messages that were taken for a time: those are recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::ordering::Keys;
use super::walk::Standing;
use super::{Death, Message, Slot};
use crate::command::ConsumerId;
use crate::ids::{BodyId, ConnectionId, MonoMs, Place, TimeMs, Token};
use crate::job::Body;
use crate::map::Reader;
use crate::query::body_of;
use crate::state::count;
use crate::wire::wire_struct;

wire_struct! {
    /// A message as it stands under its key.
    pub(crate) struct Stored {
        /// From when on it is not delivered any more.
        pub(crate) expires_at: Option<TimeMs> = 1,
        /// The message; under its key without its body, where that stands apart.
        pub(crate) message: Arc<Message>,
        /// Where its body stands, where that is not here, and its bytes.
        pub(crate) apart: Option<(BodyId, u64)> = 2,
    }
}

/// The body of a message: what counts of it, and what is let go with its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BodyRef {
    pub(crate) bytes: u64,
    /// Where it stands, where that is not in the message.
    pub(crate) apart: Option<BodyId>,
}

impl Stored {
    /// Its body, whether that was read or not.
    pub(crate) fn body_ref(&self) -> BodyRef {
        match self.apart {
            Some((id, bytes)) => BodyRef { bytes, apart: Some(id) },
            None => BodyRef { bytes: self.message.body.len() as u64, apart: None },
        }
    }

    /// Its body was not read yet.
    pub(crate) fn lacks_body(&self) -> bool {
        self.apart.is_some() && self.message.body.is_empty()
    }

    /// With its body, wherever that stands.
    pub(crate) fn with_body(mut self, reader: &dyn Reader) -> Self {
        if let Some((id, length)) = self.apart.filter(|_| self.lacks_body()) {
            let body = body_of(reader, &Body::Stored { id, length });
            Arc::make_mut(&mut self.message).body = body;
        }
        self
    }
}

wire_struct! {
    /// That a message was taken for a time.
    pub(crate) struct MessageLease {
        /// What it is settled with.
        pub(crate) token: Token,
        /// For how long.
        pub(crate) lease_ms: u64,
    }
}

/// Who has a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TakenBy {
    /// A connection, over one of its consumers or asking for one message.
    Connection(ConnectionId, Option<ConsumerId>),
    /// Whoever shows the token, until then.
    Lease { token: Token, lease_ms: u64, expires: MonoMs },
}

/// A message that is with a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) by: TakenBy,
    pub(crate) body: BodyRef,
}

impl Unsettled {
    /// Whether it was taken for a time.
    pub(crate) fn is_leased(&self) -> bool {
        matches!(self.by, TakenBy::Lease { .. })
    }
}

/// Messages that one lane keeps in memory, and bytes of their bodies, at most.
const YOUNG_MAX: usize = 512;
const YOUNG_BYTES_MAX: usize = 256 << 10;

/// Bytes that all lanes of a shard keep in memory, at most.
pub(crate) const YOUNG_BYTES_TOTAL: usize = 16 << 20;

/// Beside its body, what a message in memory takes, about.
const MESSAGE_BYTES: usize = 256;

/// Beside its texts, what a further key or a death takes of it, about.
const TEXT_BYTES: usize = 32;
const DEATH_BYTES: usize = 160;

/// What a message takes of the memory for young ones.
pub(crate) fn weight(stored: &Stored) -> usize {
    let message = &stored.message;
    let keys = |keys: &[String]| keys.iter().map(|key| TEXT_BYTES + key.len()).sum::<usize>();
    let of_death = |death: &Death| {
        DEATH_BYTES + death.queue.len() + death.exchange.len() + keys(&death.routing_keys)
    };
    MESSAGE_BYTES
        + stored.body_ref().bytes as usize
        + message.properties.len()
        + message.exchange.len()
        + message.routing_key.len()
        + keys(&message.further_keys)
        + message.deaths.iter().map(of_death).sum::<usize>()
}

/// The messages of one priority that were not taken yet.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Those up to here were read: they were taken, stand in `young`, or somebody had them.
    pub(super) read: Place,
    /// What follows.
    young: VecDeque<(Place, Arc<Stored>)>,
    /// Bytes that these take.
    bytes: usize,
    /// More follow in the tree.
    more: bool,
}

impl Lane {
    /// The next message from a place on: where it stands, and whether memory has it. If not, the
    /// lane is to be read from there on.
    fn standing_from(&self, from: Place) -> Option<(Place, bool)> {
        let at = self.young.partition_point(|(place, _)| *place < from);
        if let Some((place, _)) = self.young.get(at) {
            return Some((*place, true));
        }
        let known = self.young.back().map_or(self.read, |(last, _)| self.read.max(*last));
        self.more.then(|| (from.max(Place(known.0 + 1)), false))
    }
}

/// Where the next message of a queue is found.
#[derive(Debug)]
pub(crate) enum Next {
    /// It came back, and stands in the tree.
    Returned(Slot),
    /// It is the first of that lane, and in memory.
    Young(u8),
    /// It is to be read of that lane, if there is any.
    Unread(u8),
}

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    lanes: BTreeMap<u8, Lane>,
    /// Taken and given back.
    returned: BTreeSet<Slot>,
    pub(super) unsettled: BTreeMap<Slot, Unsettled>,
    /// Bytes of the bodies of these.
    pub(super) unsettled_bytes: u64,
    /// New messages are kept in memory: somebody takes them.
    pub(super) consumed: bool,
    /// Of some messages it is known how often they came back.
    pub(super) has_returns: bool,
    /// Ordering keys of messages that somebody has, and messages that wait for these.
    pub(super) keys: Keys,
}

impl Shelf {
    /// Finds a lane when a shard starts: all of it is yet to be read.
    pub(crate) fn load_lane(&mut self, urgency: u8, first: Place) {
        let read = Place(first.0.saturating_sub(1));
        self.lanes.insert(urgency, Lane { read, young: VecDeque::new(), bytes: 0, more: true });
    }

    /// A message enters at the end of its lane. Answers how many bytes more are in memory.
    pub(crate) fn push(&mut self, slot: Slot, stored: &Arc<Stored>, room: usize) -> usize {
        let (urgency, place) = slot;
        let read = Place(place.0.saturating_sub(1));
        let new = || Lane { read, young: VecDeque::new(), bytes: 0, more: false };
        let lane = self.lanes.entry(urgency).or_insert_with(new);
        let weight = weight(stored);
        let fits = lane.young.len() < YOUNG_MAX && lane.bytes + weight <= YOUNG_BYTES_MAX;
        if lane.more || !self.consumed || !fits || weight > room {
            lane.more = true;
            return 0;
        }
        lane.young.push_back((place, Arc::clone(stored)));
        lane.bytes += weight;
        weight
    }

    /// What stands next, from a slot on.
    pub(super) fn standing_from(&self, from: Slot) -> Option<Standing> {
        let unsettled =
            self.unsettled.range(from..).next().map(|(slot, _)| Standing::Unsettled(*slot));
        let back = self.returned.range(from..).next().copied();
        let known = back.into_iter().chain(self.keys.standing_from(from)).map(Standing::Known);
        let lanes = self.lanes.range(from.0..);
        let in_lanes = lanes.filter_map(|(urgency, lane)| {
            let least = if *urgency == from.0 { from.1 } else { Place(0) };
            Some(match lane.standing_from(least)? {
                (place, true) => Standing::Known((*urgency, place)),
                (place, false) => Standing::Unread((*urgency, place)),
            })
        });
        let passed = self.keys.first_passed(from).map(Standing::Unread);
        let unsettled = unsettled.into_iter().chain(passed);
        Standing::first(unsettled.chain(known).chain(in_lanes.take(1)))
    }

    /// Before which place of each lane nothing stands.
    pub(super) fn first_of_lanes(&self) -> BTreeMap<u8, Place> {
        let mut firsts = BTreeMap::new();
        let mut from = Some((0, Place(0)));
        while let Some((urgency, place)) =
            from.and_then(|at| self.standing_from(at)).map(Standing::slot)
        {
            firsts.insert(urgency, place);
            from = urgency.checked_add(1).map(|next| (next, Place(0)));
        }
        firsts
    }

    /// Up to where a lane was read and handed out, or set aside; `None` for all of it.
    pub(super) fn read_up_to(&self, urgency: u8) -> Option<Place> {
        let lane = self.lanes.get(&urgency)?;
        let before = |(first, _): &(Place, Arc<Stored>)| Place(first.0.saturating_sub(1));
        Some(lane.young.front().map_or(lane.read, before))
    }

    /// Whether a message is with somebody, or came back.
    pub(super) fn knows(&self, slot: Slot) -> bool {
        self.unsettled.contains_key(&slot) || self.returned.contains(&slot)
    }

    /// Where the next message is.
    pub(crate) fn next(&self) -> Option<Next> {
        let back = self.returned.first().copied();
        let back = back.into_iter().chain(self.keys.first_freed()).min();
        Self::first_of(back, self.first_lane().filter(|_| !self.keys.is_full()))
    }

    /// Where the first message is that nobody has, be its key busy or not.
    pub(crate) fn first_waiting(&self) -> Option<Next> {
        let back = self.returned.first().copied().into_iter();
        let back = back.chain(self.keys.first_freed()).chain(self.keys.first_aside()).min();
        Self::first_of(back, self.first_lane())
    }

    fn first_lane(&self) -> Option<(&u8, &Lane)> {
        self.lanes.iter().find(|(_, lane)| !lane.young.is_empty() || lane.more)
    }

    fn first_of(back: Option<Slot>, lane: Option<(&u8, &Lane)>) -> Option<Next> {
        match (back.as_ref(), lane) {
            // Somebody may have had it when what stands around it was read.
            (Some(slot), Some((urgency, lane)))
                if slot.0 < *urgency
                    || slot.0 == *urgency
                        && lane.young.front().is_none_or(|(place, _)| slot.1 < *place) =>
            {
                Some(Next::Returned(*slot))
            }
            (Some(slot), None) => Some(Next::Returned(*slot)),
            (_, Some((urgency, lane))) if lane.young.is_empty() => Some(Next::Unread(*urgency)),
            (_, Some((urgency, _))) => Some(Next::Young(*urgency)),
            (None, None) => None,
        }
    }

    /// The first message that memory holds of a lane.
    pub(crate) fn first_young(&self, urgency: u8) -> Option<Slot> {
        let (place, _) = self.lanes.get(&urgency)?.young.front()?;
        Some((urgency, *place))
    }

    /// Takes the first message that memory holds of a lane. Answers what it weighed, too.
    pub(crate) fn take_young(&mut self, urgency: u8) -> Option<(Slot, Arc<Stored>, usize)> {
        let lane = self.lanes.get_mut(&urgency)?;
        let (place, stored) = lane.young.pop_front()?;
        let weight = weight(&stored);
        count::take(&mut lane.bytes, weight, "bytes of new messages of a lane");
        lane.read = lane.read.max(place);
        if lane.young.is_empty() && !lane.more {
            self.lanes.remove(&urgency);
        }
        Some(((urgency, place), stored, weight))
    }

    /// Takes a message that came back, or whose turn has come. Whether somebody may have got it
    /// before.
    pub(crate) fn take_returned(&mut self, slot: Slot) -> bool {
        self.returned.remove(&slot) || self.keys.take_freed(slot)
    }

    pub(crate) fn lane(&self, urgency: u8) -> Option<&Lane> {
        self.lanes.get(&urgency)
    }

    /// Gives a lane of which nothing is in memory what follows in the tree; `more` where others
    /// follow that. Answers how many bytes more are in memory.
    pub(crate) fn refill(
        &mut self,
        urgency: u8,
        (entries, read): (Vec<(Place, Arc<Stored>)>, Place),
        more: bool,
    ) -> usize {
        let Some(lane) = self.lanes.get_mut(&urgency) else { return 0 };
        // The reading passed what somebody has. Once that comes back, it is found among
        // `returned`.
        lane.read = lane.read.max(read);
        lane.more = more;
        lane.bytes = entries.iter().map(|(_, stored)| weight(stored)).sum();
        lane.young = entries.into();
        let bytes = lane.bytes;
        if lane.young.is_empty() && !more {
            self.lanes.remove(&urgency);
        }
        bytes
    }

    /// Nobody takes from the queue any more: nothing of it stays in memory. Answers how many bytes
    /// less there are.
    pub(crate) fn forget_young(&mut self) -> usize {
        self.consumed = false;
        let mut bytes = 0;
        for (urgency, lane) in &mut self.lanes {
            let Some((first, _)) = lane.young.front() else { continue };
            lane.read = Place(first.0.saturating_sub(1));
            bytes += std::mem::take(&mut lane.bytes);
            lane.young = VecDeque::new();
            lane.more = true;
            // What came back behind there is read again with the lane.
            let read = (*urgency, lane.read);
            self.returned.retain(|slot| slot.0 != *urgency || *slot <= read);
            self.keys.forget_behind(read);
        }
        bytes
    }

    /// Bytes of it in memory.
    pub(crate) fn young_bytes(&self) -> usize {
        self.lanes.values().map(|lane| lane.bytes).sum()
    }

    /// A message is with somebody.
    pub(crate) fn hand_out(&mut self, slot: Slot, unsettled: Unsettled) {
        self.unsettled_bytes += unsettled.body.bytes;
        self.unsettled.insert(slot, unsettled);
    }

    fn let_go(&mut self, slot: Slot) -> Option<Unsettled> {
        let unsettled = self.unsettled.remove(&slot)?;
        count::take(&mut self.unsettled_bytes, unsettled.body.bytes, "bytes that consumers have");
        Some(unsettled)
    }

    /// A message is with somebody no longer and stands where it stood. Where its lane was not read
    /// that far, as after a start, the reading will find it.
    pub(crate) fn give_back(&mut self, slot: Slot) -> Option<Unsettled> {
        let unsettled = self.let_go(slot);
        self.keys.leave(slot);
        let unread = self.lanes.get(&slot.0).is_some_and(|lane| lane.read < slot.1);
        if !unread {
            self.returned.insert(slot);
        }
        unsettled
    }

    /// A message is gone. Who had it, and how many bytes less are in memory.
    pub(crate) fn remove(&mut self, slot: Slot) -> (Option<Unsettled>, usize) {
        self.keys.leave(slot);
        if let Some(unsettled) = self.let_go(slot) {
            return (Some(unsettled), 0);
        }
        if self.returned.remove(&slot) {
            return (None, 0);
        }
        let Some(lane) = self.lanes.get_mut(&slot.0) else { return (None, 0) };
        let mut bytes = 0;
        if let Ok(at) = lane.young.binary_search_by_key(&slot.1, |(place, _)| *place)
            && let Some((_, stored)) = lane.young.remove(at)
        {
            bytes = weight(&stored);
            count::take(&mut lane.bytes, bytes, "bytes of new messages of a lane");
        }
        if lane.young.is_empty() && !lane.more {
            self.lanes.remove(&slot.0);
        }
        (None, bytes)
    }

    /// Whether memory has to know of the queue.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.is_empty()
            && self.returned.is_empty()
            && self.unsettled.is_empty()
            && !self.consumed
            && !self.has_returns
            && self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::MessageEnd;

    #[test]
    fn a_message_weighs_what_its_keys_and_deaths_take() {
        let message = |further_keys: Vec<String>, deaths: Vec<Death>| Message {
            exchange: String::new(),
            routing_key: "k".into(),
            further_keys,
            priority: 0,
            persistent: true,
            ttl_ms: None,
            published_at: TimeMs(0),
            properties: Bytes::new(),
            body: Bytes::new(),
            deaths,
            hops: 0,
        };
        let stored =
            |message: Message| Stored { expires_at: None, message: message.into(), apart: None };
        let plain = weight(&stored(message(Vec::new(), Vec::new())));
        let keys = vec!["k".repeat(200); 100];
        let death = Death {
            queue: "q".into(),
            reason: MessageEnd::Rejected,
            count: 1,
            at: TimeMs(0),
            exchange: String::new(),
            routing_keys: keys.clone(),
            ttl_ms: None,
        };
        assert!(weight(&stored(message(keys, Vec::new()))) > plain + 20_000);
        assert!(weight(&stored(message(Vec::new(), vec![death; 3]))) > plain + 60_000);
    }
}
