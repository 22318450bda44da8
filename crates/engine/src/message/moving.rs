//! Moving messages of a queue: back to the queues where they ended, or elsewhere. It is an
//! operation; here stands what one slice of it comes to. What leaves a queue and where it enters
//! are in one entry with how far the operation is, so nothing is lost, doubled or counted twice by
//! a crash. What cannot be taken stays where it is.

use std::ops::ControlFlow;

use super::properties::headers_of;
use super::publish::Routed;
use super::state::{lane_at, slot_at};
use super::{
    Ends, Message, MessageEnd, MessageFilter, MessageTag, Overflow, Publication, Published, Slot,
    Stored,
};
use crate::bounds::{check_size, cut};
use crate::ids::{NamespaceId, Place, QueueId};
use crate::moment::Moment;
use crate::operation::{Operation, OperationState};
use crate::overlay::Overlay;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::rope::Rope;
use crate::state::{State, keys};
use crate::wire::{Wire, wire_enum, wire_struct};

/// Bytes of bodies that a slice reads or moves, about.
const SLICE_BYTES: u64 = 512 << 10;

/// Bytes of an entry that are left for what stands beside the messages of a slice.
const BESIDE_BYTES: usize = 64 << 10;

/// Bytes of the text that says why a message stays.
const WHY_BYTES: usize = 200;

/// Queues without room that an operation remembers. With one more it ends.
const FULL_MAX: usize = 64;

/// Bytes of the key of a message.
const CURSOR_BYTES: usize = 18;

/// Bindings that are compared at the cost of a message.
const BINDINGS_PER_ITEM: usize = 64;

wire_enum! {
    /// Where messages are moved.
    pub enum MoveTo {
        /// To the queue in which each of them ended last before it came here, with the exchange
        /// and the routing keys that it had there.
        1 => Origin,
        /// To a queue, as they are.
        2 => Queue {
            /// Its name.
            queue: String,
        },
        /// To an exchange, which routes them.
        3 => Exchange {
            /// Its name.
            exchange: String,
            /// By this key instead of theirs.
            routing_key: Option<String> = 1,
        },
    }
}

wire_struct! {
    /// Messages of a queue, and where they are moved.
    pub struct MessageMove {
        /// The queue that they leave.
        pub queue: String,
        /// Where.
        pub to: MoveTo,
        /// Which of them.
        pub filter: MessageFilter,
        /// So many of them at most, in the order in which they are handed out.
        pub limit: Option<u64> = 1,
    }
}

/// What becomes of one message.
enum Step {
    /// It is not meant.
    Passed,
    Moved,
    /// It cannot be taken there.
    Kept {
        why: String,
        full: Option<QueueId>,
    },
    /// It begins the next slice.
    Later,
}

/// Where the next slice begins.
fn begins_at(operation: &Operation, queue: QueueId) -> Slot {
    let Some(cursor) = operation.cursor.as_deref() else { return (0, Place(0)) };
    // Another queue of that name has another number; what it has entered later.
    if lane_at(cursor).0 != queue {
        return (0, Place(0));
    }
    // Earlier versions kept the key of the last message that was looked at, and one byte more.
    let (urgency, place) = slot_at(cursor);
    let looked_at = u64::from(cursor.len() > CURSOR_BYTES);
    (urgency, Place(place.0.saturating_add(looked_at)))
}

/// Bytes that records take.
fn bytes_of(records: &[Record]) -> usize {
    let mut bytes = Rope::referring();
    for record in records {
        record.put(&mut bytes);
    }
    bytes.len()
}

/// A slice that is being put together.
struct Slice<'a> {
    overlay: Overlay<'a>,
    ends: Ends,
    /// What is recorded beside what the overlay has, where a message becomes jobs.
    with_jobs: Option<Vec<Record>>,
    queue: QueueId,
    moved: u64,
    /// What it has cost, in messages.
    steps: usize,
    /// Bytes of bodies that were read or moved.
    bytes: u64,
    /// Bytes of the records of what enters.
    recorded: usize,
}

impl MessageMove {
    /// Refuses what no move can be, whatever there is.
    pub fn check(&self) -> Result<(), Rejection> {
        self.filter.check()?;
        match &self.to {
            MoveTo::Queue { queue } if *queue == self.queue => {
                let (value, allowed) = (queue.clone(), "another queue".to_owned());
                Err(Rejection::ValueRefused { field: "to_queue", value, allowed })
            }
            MoveTo::Exchange { routing_key: Some(key), .. } => {
                super::declare::check_routing_key(key)
            }
            MoveTo::Origin | MoveTo::Queue { .. } | MoveTo::Exchange { .. } => Ok(()),
        }
    }
}

impl State {
    /// Refuses a move that cannot be.
    pub(crate) fn check_move(
        &self,
        ns: NamespaceId,
        moving: &MessageMove,
    ) -> Result<(), Rejection> {
        let (_, settings) = self.message_queue(ns, &moving.queue)?;
        if settings.exclusive {
            return Err(Rejection::QueueExclusive { queue: moving.queue.clone() });
        }
        moving.check()?;
        match &moving.to {
            MoveTo::Origin => {}
            MoveTo::Queue { queue } => {
                self.message_queue(ns, queue)?;
            }
            MoveTo::Exchange { exchange, .. } => {
                let exchange = self.exchange(ns, exchange)?;
                if exchange.internal {
                    let exchange = exchange.name.clone();
                    return Err(Rejection::ExchangeInternal { exchange });
                }
            }
        }
        Ok(())
    }

    /// The records of the next slice of a move.
    pub(crate) fn decide_moved(
        &self,
        operation: &Operation,
        moving: &MessageMove,
        moment: Moment,
    ) -> Vec<Record> {
        let mut next = operation.clone();
        let mut ended = false;
        let known = self.queues.named(operation.namespace, &moving.queue);
        let mut slice = known.map(|queue| Slice::new(self, operation, queue.id, moment));
        if let Some(slice) = &mut slice {
            let of = (operation.namespace, slice.queue);
            let from = begins_at(operation, slice.queue);
            let rest = self.walk_messages(of, from, &mut |slot, stored| {
                ended = slice.is_enough(operation, moving) || next.full.len() > FULL_MAX;
                if ended || slice.is_full() {
                    return ControlFlow::Break(());
                }
                match slice.step(slot, stored, (moving, &next)) {
                    Step::Later => return ControlFlow::Break(()),
                    Step::Passed => {}
                    Step::Moved => next.changed += 1,
                    Step::Kept { why, full } => {
                        next.kept += 1;
                        next.kept_why.get_or_insert_with(|| cut(&why, WHY_BYTES));
                        next.full.extend(full);
                    }
                }
                next.examined += 1;
                ControlFlow::Continue(())
            });
            ended |= rest.is_none();
            let cursor = rest.map(|slot| keys::message(of.0, MessageTag::of(of.1, slot)));
            next.cursor = cursor.map(Into::into);
        }
        if ended || slice.is_none() {
            next.state = OperationState::Finished;
            next.ended_at = Some(moment.at);
            next.cursor = None;
        }
        let mut records = slice.map(Slice::into_records).unwrap_or_default();
        records.push(Record::OperationChanged { operation: Box::new(next) });
        records
    }

    /// Where a message enters that is moved, and as what, or why it cannot. Its body is not read
    /// for that.
    fn route_moved(
        &self,
        (ns, moving): (NamespaceId, &MessageMove),
        message: Message,
        bytes: u64,
    ) -> Result<(Message, Routed), String> {
        let said = |rejection: Rejection| rejection.to_string();
        let (message, routed) = match &moving.to {
            MoveTo::Origin => {
                let mut deaths = message.deaths.iter();
                let Some(death) = deaths.find(|death| death.queue != moving.queue) else {
                    return Err("it did not come from another queue".to_owned());
                };
                let queue = self.message_queue(ns, &death.queue).map_err(said)?.0.id;
                let mut keys = death.routing_keys.iter().cloned();
                let message = Message {
                    exchange: death.exchange.clone(),
                    routing_key: keys.next().unwrap_or_default(),
                    further_keys: keys.collect(),
                    ..message
                };
                (message, Routed::to_queue(queue))
            }
            MoveTo::Queue { queue } => {
                let queue = self.message_queue(ns, queue).map_err(said)?.0.id;
                (message, Routed::to_queue(queue))
            }
            MoveTo::Exchange { exchange, routing_key } => {
                let exchange = self.exchange(ns, exchange).map_err(said)?;
                let message = match routing_key {
                    Some(key) => {
                        Message { routing_key: key.clone(), further_keys: Vec::new(), ..message }
                    }
                    None => message,
                };
                let message = Message { exchange: exchange.name.clone(), ..message };
                let headers = headers_of(&message.properties);
                let routed = self.route(ns, exchange, &message.keys(), &headers).map_err(said)?;
                (message, routed)
            }
        };
        if routed.len() == 0 {
            return Err("no queue takes it".to_owned());
        }
        // As where it is published: args of jobs are more than a turn makes of it.
        let bytes = routed.jobs.len().saturating_mul(bytes as usize);
        check_size("body", bytes, self.limits.bulk_bytes_max).map_err(said)?;
        Ok((message, routed))
    }

    /// What its entry comes to.
    fn decide_moved_in(
        &self,
        ns: NamespaceId,
        (message, routed): (Message, Routed),
        moment: Moment,
    ) -> Result<Publication, String> {
        self.check_events(&routed.streams, &message).map_err(|rejection| rejection.to_string())?;
        let came = Published::Routed { queues: routed.len() };
        let headers = headers_of(&message.properties);
        let (record, jobs) = self.enter(ns, routed, (message, &headers), moment);
        Ok(Publication { record, jobs, came })
    }
}

impl<'a> Slice<'a> {
    fn new(state: &'a State, operation: &Operation, queue: QueueId, moment: Moment) -> Self {
        Self {
            overlay: Overlay::new(state, operation.namespace, moment),
            ends: Ends::default(),
            with_jobs: None,
            queue,
            moved: 0,
            steps: 0,
            bytes: 0,
            recorded: 0,
        }
    }

    fn is_enough(&self, operation: &Operation, moving: &MessageMove) -> bool {
        moving.limit.is_some_and(|limit| operation.changed + self.moved >= limit)
    }

    fn is_full(&self) -> bool {
        self.steps >= self.overlay.state.limits.slice_items_max
            || self.bytes >= SLICE_BYTES
            || self.with_jobs.is_some()
    }

    /// Bytes that an entry has for what enters.
    fn room(&self) -> usize {
        self.overlay.state.limits.entry_bytes_max.saturating_sub(BESIDE_BYTES)
    }

    /// What becomes of a message; of one that somebody has, nothing.
    fn step(
        &mut self,
        slot: Slot,
        stored: Option<Stored>,
        (moving, operation): (&MessageMove, &Operation),
    ) -> Step {
        let state = self.overlay.state;
        let (ns, moment) = (self.overlay.ns, self.overlay.moment);
        self.steps += 1;
        let tag = MessageTag::of(self.queue, slot);
        let Some(stored) = stored else { return Step::Passed };
        // What is over goes another way.
        let over = stored.expires_at.is_some_and(|at| at <= moment.at);
        if slot.1 >= operation.upper || over {
            return Step::Passed;
        }
        if moving.filter.text.is_some() {
            self.bytes += stored.body_ref().bytes;
        }
        if !moving.filter.takes(&stored, state) {
            return Step::Passed;
        }
        if let MoveTo::Exchange { exchange, .. } = &moving.to {
            self.steps += state.bindings_compared(ns, exchange) / BINDINGS_PER_ITEM;
        }
        let body = stored.body_ref();
        let message = Message::clone(&stored.message);
        let (message, routed) = match state.route_moved((ns, moving), message, body.bytes) {
            Ok(found) => found,
            Err(why) => return Step::Kept { why, full: None },
        };
        self.steps += routed.len();
        if let Some(kept) = self.lacks_room(&routed, body.bytes, operation) {
            return kept;
        }
        // Read it is, whether it stays or not, and each job has it as its args.
        self.bytes += body.bytes.saturating_mul(1 + routed.jobs.len() as u64);
        let whole = Stored::with_body(stored, state);
        let message = Message { body: whole.message.body.clone(), ..message };
        match state.decide_moved_in(ns, (message, routed), moment) {
            Err(why) => Step::Kept { why, full: None },
            Ok(publication) => {
                let taken = self.take(publication);
                if matches!(taken, Step::Moved) {
                    self.ends.end(tag, body, MessageEnd::Moved);
                    self.moved += 1;
                }
                taken
            }
        }
    }

    /// That a message stays, where a queue that it is to enter has no room for it.
    fn lacks_room(&self, routed: &Routed, bytes: u64, operation: &Operation) -> Option<Step> {
        let lacks = |queue: &QueueId| {
            if operation.full.contains(queue) {
                let why = "it would pass those that its queue had no room for".to_owned();
                return Some(Step::Kept { why, full: None });
            }
            let earlier = self.overlay.messages_entered(*queue);
            let (why, full) = self.overlay.state.lacks_room(*queue, earlier, bytes)?;
            Some(Step::Kept { why, full: full.then_some(*queue) })
        };
        routed.queues.iter().find_map(lacks)
    }

    /// A message enters, where an entry has room for it.
    fn take(&mut self, publication: Publication) -> Step {
        let state = self.overlay.state;
        let Publication { record, jobs, .. } = publication;
        let bytes = bytes_of(record.as_slice());
        let alone = self.moved == 0;
        if !alone && (self.recorded + bytes > self.room() || !jobs.is_empty()) {
            return Step::Later;
        }
        if jobs.is_empty() {
            if bytes > self.room() {
                return Step::Kept { why: "it is more than an entry takes".to_owned(), full: None };
            }
            self.recorded += bytes;
            if let Some(record) = record {
                self.overlay.record_message(record);
            }
            return Step::Moved;
        }
        // What becomes jobs is decided alone, since they are refused together.
        let overlay = Overlay::new(state, self.overlay.ns, self.overlay.moment);
        match state.decide_with_jobs(overlay, record, &jobs) {
            Ok(records) => {
                if bytes_of(&records) > self.room() {
                    let why = "it is more than an entry takes".to_owned();
                    return Step::Kept { why, full: None };
                }
                self.with_jobs = Some(records);
                Step::Moved
            }
            Err(rejection) => Step::Kept { why: rejection.to_string(), full: None },
        }
    }

    fn into_records(self) -> Vec<Record> {
        let ns = self.overlay.ns;
        let entering = self.with_jobs.map_or_else(|| self.overlay.into_records(), Ok);
        let mut records = entering.expect("no queue of jobs is entered by it");
        records.extend(self.ends.into_records(ns));
        records
    }
}

impl State {
    /// Why a queue does not take a message of so many bytes, and whether that is because it is
    /// full. What is moved into a queue pushes nothing out, whatever the queue is set to drop. A
    /// message that would never fit holds up no other.
    fn lacks_room(
        &self,
        queue: QueueId,
        earlier: (u64, u64),
        bytes: u64,
    ) -> Option<(String, bool)> {
        let settings = self.message_settings(queue)?;
        let name = &self.queues.get(queue)?.name;
        let (length, full) = self.fullness(queue, &settings, earlier);
        if let Some(max_length) = full {
            let full = Rejection::QueueFull { queue: name.clone(), length, max_length };
            return Some((full.to_string(), true));
        }
        // Where that drops nothing, the last one may be more than is left, as in a publish.
        let max = settings.max_bytes.filter(|_| settings.overflow == Overflow::DropHead)?;
        let held = self.ready_bytes(queue).saturating_add(earlier.1);
        let why = || format!("queue {name:?} has no room for {bytes} bytes of {max}: {held} wait");
        (held.saturating_add(bytes) > max).then(|| (why(), bytes <= max))
    }
}
