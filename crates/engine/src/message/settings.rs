//! What the owner of a queue of type *messages* may set.

use bytes::Bytes;

use crate::wire::{wire_enum, wire_struct};

wire_enum! {
    /// What happens to one message too many.
    #[derive(Copy, Default, Eq)]
    pub enum Overflow {
        /// The first of the queue goes.
        #[default]
        1 => DropHead,
        /// The new one is refused.
        2 => RejectPublish,
        /// The new one is refused, and becomes a dead letter.
        3 => RejectPublishDeadLetter,
    }
}

impl Overflow {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDeadLetter => "reject-publish-dlx",
        }
    }
}

wire_struct! {
    /// The settings of a queue of type *messages*.
    #[derive(Default)]
    pub struct MessageSettings {
        /// It outlives a restart.
        pub durable: bool = 1,
        /// Only the connection that declared it may use it, and it ends with that connection.
        pub exclusive: bool = 2,
        /// It ends when its last consumer leaves.
        pub auto_delete: bool = 3,
        /// How long a message is worth to be delivered, from its entry on.
        pub ttl_ms: Option<u64> = 4,
        /// How long the queue stays while nobody uses it.
        pub expires_ms: Option<u64> = 5,
        /// Messages that wait, at most.
        pub max_length: Option<u64> = 6,
        /// Bytes of bodies that wait, at most.
        pub max_bytes: Option<u64> = 7,
        /// What happens to one more.
        pub overflow: Overflow = 8,
        /// Where messages go that end without an ack.
        pub dead_letter_exchange: Option<String> = 9,
        /// Their routing key then; `None` for those that they have.
        pub dead_letter_routing_key: Option<String> = 10,
        /// The highest priority that counts here; `None` for one lane without priorities.
        pub max_priority: Option<u8> = 11,
        /// Deliveries after which a message does not come back any more; `None` for no limit.
        pub delivery_limit: Option<u32> = 12,
        /// One consumer gets all, and the next one once it leaves.
        pub single_active_consumer: bool = 13,
        /// The face's own: returned as given.
        pub arguments: Bytes = 14,
        /// The header whose value is a message's ordering key: of each key one message at a time is
        /// with a consumer.
        pub ordering_header: Option<String> = 180,
        /// The stream in which each message that is published to the queue is an event as well.
        pub stream: Option<String> = 240,
    }
}

impl MessageSettings {
    /// The first setting in which two differ, with both values: `arguments` count for nothing, as
    /// the engine does not read them.
    pub(crate) fn differs(&self, given: &Self) -> Option<(&'static str, String, String)> {
        macro_rules! compare {
            ($($field:ident),*) => {
                $(if self.$field != given.$field {
                    let shown = (format!("{:?}", given.$field), format!("{:?}", self.$field));
                    return Some((stringify!($field), shown.0, shown.1));
                })*
            };
        }
        compare!(
            durable,
            exclusive,
            auto_delete,
            ttl_ms,
            expires_ms,
            max_length,
            max_bytes,
            overflow,
            dead_letter_exchange,
            dead_letter_routing_key,
            max_priority,
            delivery_limit,
            single_active_consumer,
            ordering_header,
            stream
        );
        None
    }
}
