//! Messages: what a producer says to an exchange, which routes it to the queues that are bound
//! there. Each queue of type *messages* keeps its own copy of it until one consumer has settled it.
//! Here stand the types; one file per thing that happens to them. No protocol's words: faces
//! translate.

mod answer;
mod apply;
mod as_event;
mod command;
mod cost;
mod dead;
mod declare;
mod delayed;
mod emptying;
mod exchange;
mod exchanges;
mod filter;
mod into_jobs;
mod json;
mod moving;
mod ordering;
mod passed;
mod pattern;
pub(crate) mod peek;
mod policy;
mod properties;
mod publish;
mod ring;
mod router;
mod settings;
mod settle;
mod shelf;
mod state;
mod topics;
mod transaction;
mod walk;

use std::sync::Arc;

use bytes::Bytes;

pub use answer::{
    BindingView, Declared, ExchangeView, MessageAnswer, MessageDelivery, MessageQueueView,
    Published,
};
pub use as_event::EventHeaders;
pub use command::{
    BindingSpec, ConsumeMessages, DeclareExchange, DeclareQueue, JobBinding, LeaseMessages,
    MessageCommand, MessageCredit, MessageName, MessageSettlement, MessageTransaction,
    MessageVerdict, PublishMessage, ShareCredit,
};
pub use exchange::{Binding, Destination, Exchange, ExchangeKind, HeaderValue, Matching};
pub use filter::MessageFilter;
pub use moving::{MessageMove, MoveTo};
pub use peek::{MessagePage, PeekedMessage};
pub use policy::{Policy, PolicyTarget};
pub use settings::{MessageSettings, Overflow};

pub(crate) use as_event::{EventOrigin, hops_of, hops_of_life, of_event};
pub(crate) use dead::Entering;
pub(crate) use declare::check_routing_key;
pub(crate) use emptying::EmptyingSlice;
pub(crate) use exchanges::FIRST_EXCHANGE;
pub(crate) use into_jobs::{Publication, args_of};
pub(crate) use json::quoted;
pub(crate) use policy::Found;
pub(crate) use publish::{PROPERTY_BYTES_MAX, Routed};
pub(crate) use settle::Ends;
pub(crate) use shelf::{BodyRef, Stored, TakenBy, Unsettled};
pub(crate) use state::Messages;
pub(crate) use transaction::{Refused, Settling};

use crate::ids::{Place, QueueId, TimeMs};
use crate::rope::Rope;
use crate::wire::{Input, Malformed, Wire, wire_enum, wire_struct};

/// Deliveries of a message after which it is not returned to its queue any more, unless the queue
/// says otherwise.
pub const DELIVERY_LIMIT_DEFAULT: u32 = 20;

wire_struct! {
    /// A message, as the producer gave it and as it stands in each queue.
    pub struct Message {
        /// The exchange that it was published to; empty for the default one, which routes to the
        /// queue whose name is the routing key.
        pub exchange: String,
        /// The routing key.
        pub routing_key: String,
        /// Further routing keys.
        pub further_keys: Vec<String> = 1,
        /// 0 to 255, the highest first, where the queue has priorities.
        pub priority: u8 = 2,
        /// It is to outlive a restart. What is not may be confirmed before it is durable.
        pub persistent: bool = 3,
        /// How long it is worth to be delivered, in milliseconds from its publication on.
        pub ttl_ms: Option<u64> = 4,
        /// When it was published.
        pub published_at: TimeMs,
        /// The face's own: the engine keeps and returns it and reads none of it. By convention of
        /// the faces, the flags and values of an AMQP 0-9-1 basic content header.
        pub properties: Bytes,
        /// What it says.
        pub body: Bytes,
        /// Why and where it became a dead letter, the newest first.
        pub deaths: Vec<Death> = 5,
        /// How many ends of jobs it follows from, each of which was told and became a job.
        pub hops: u8 = 60,
    }
}

/// Beside its body and properties, what a message takes of a credit in bytes: about what a face
/// writes with it.
const CREDIT_BYTES: u64 = 256;

impl Message {
    /// What it takes of a consumer's credit in bytes.
    pub fn credit_bytes(&self) -> u64 {
        CREDIT_BYTES + (self.body.len() + self.properties.len()) as u64
    }
}

wire_struct! {
    /// That a message ended in a queue and was published to that queue's dead letter exchange.
    pub struct Death {
        /// The name of the queue.
        pub queue: String,
        /// Why.
        pub reason: MessageEnd,
        /// How often for that reason in that queue.
        pub count: u64,
        /// When for the first time.
        pub at: TimeMs,
        /// What it had been published to.
        pub exchange: String,
        /// Its routing keys.
        pub routing_keys: Vec<String>,
        /// The time to live that it had of its own, and has no longer.
        pub ttl_ms: Option<u64> = 1,
    }
}

wire_struct! {
    /// Where a message entered that was published.
    pub struct NewEntry {
        /// The queue.
        pub queue: QueueId,
        /// 255 - priority there.
        pub urgency: u8,
        /// From when on it is not delivered any more.
        pub expires_at: Option<TimeMs> = 1,
    }
}

impl Wire for Arc<Message> {
    fn put(&self, out: &mut Rope) {
        Message::put(self, out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Message::take(input).map(Self::new)
    }
}

wire_enum! {
    /// How a message left its queue.
    #[derive(Copy, Eq)]
    pub enum MessageEnd {
        /// Its consumer has done with it.
        1 => Acked,
        /// Its consumer did not want it.
        2 => Rejected,
        /// Its time ran out.
        3 => Expired,
        /// The queue was too long.
        4 => Overflown,
        /// It came back too often.
        5 => DeliveryLimit,
        /// Somebody emptied the queue.
        6 => Purged,
        /// The queue was deleted.
        7 => QueueDeleted,
        /// Somebody moved it to where it stands now.
        180 => Moved,
    }
}

impl MessageEnd {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Overflown => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
            Self::Purged => "purged",
            Self::QueueDeleted => "queue_deleted",
            Self::Moved => "moved",
        }
    }
}

/// A message in a queue: unique in its shard, and never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageTag {
    /// The queue.
    pub queue: QueueId,
    /// 255 - priority.
    pub urgency: u8,
    /// Its order of entry.
    pub place: Place,
}

impl MessageTag {
    /// Where it stands in its queue.
    pub(crate) fn slot(self) -> Slot {
        (self.urgency, self.place)
    }

    pub(crate) fn of(queue: QueueId, (urgency, place): Slot) -> Self {
        Self { queue, urgency, place }
    }
}

/// The order within a queue: 255 - priority, then the order of entry.
pub(crate) type Slot = (u8, Place);
