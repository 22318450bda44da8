//! Exchanges and bindings as they are kept.

use bytes::Bytes;

use crate::ids::{ExchangeId, KindId, NamespaceId, QueueId, StreamId};
use crate::wire::{wire_enum, wire_struct};

wire_enum! {
    /// How an exchange routes.
    #[derive(Copy, Eq)]
    pub enum ExchangeKind {
        /// To bindings whose routing key is the message's.
        1 => Direct,
        /// To all bindings.
        2 => Fanout,
        /// To bindings whose pattern the routing key matches: words between dots, `*` for one
        /// word, `#` for any number of them.
        3 => Topic,
        /// To bindings whose headers the message has.
        4 => Headers,
        /// To one binding for each routing key, by the weights that their routing keys say.
        5 => ConsistentHash,
    }
}

impl ExchangeKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "consistent-hash",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Direct, Self::Fanout, Self::Topic, Self::Headers, Self::ConsistentHash]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

wire_struct! {
    /// An exchange as it is kept.
    pub struct Exchange {
        /// Its number.
        pub id: ExchangeId,
        /// The namespace that it belongs to.
        pub namespace: NamespaceId,
        /// Its name.
        pub name: String,
        /// How it routes.
        pub kind: ExchangeKind,
        /// It outlives a restart.
        pub durable: bool = 1,
        /// It ends with its last binding.
        pub auto_delete: bool = 2,
        /// Only other exchanges publish to it.
        pub internal: bool = 3,
        /// Where messages go that none of its bindings take.
        pub alternate: Option<String> = 4,
        /// The face's own: returned as given.
        pub arguments: Bytes = 5,
    }
}

wire_enum! {
    /// Where a binding leads.
    #[derive(Copy, Eq, Ord, PartialOrd)]
    pub enum Destination {
        /// To a queue.
        1 => Queue {
            /// Which.
            id: QueueId,
        },
        /// To another exchange.
        2 => Exchange {
            /// Which.
            id: ExchangeId,
        },
        /// To a queue of jobs: each message becomes one.
        3 => Jobs {
            /// Which.
            id: QueueId,
            /// Of what kind.
            kind: KindId,
            /// Its priority; `None` for the message's.
            priority: Option<u8> = 1,
            /// How long after the message it may start.
            delay_ms: Option<u64> = 2,
            /// Jobs of the same routing key run one after the other.
            ordered: bool = 3,
        },
        /// To a stream: each message becomes an event, too.
        4 => Stream {
            /// Which.
            id: StreamId,
        },
    }
}

wire_enum! {
    /// How the headers of a binding are compared.
    #[derive(Copy, Default, Eq)]
    pub enum Matching {
        /// A message has all of them.
        #[default]
        1 => All,
        /// A message has one of them at least.
        2 => Any,
    }
}

wire_enum! {
    /// The value of a header, as far as routing compares it.
    pub enum HeaderValue {
        /// None: in a binding, any value of the message will do.
        1 => Void,
        /// A truth value.
        2 => Bool {
            /// Which.
            value: bool,
        },
        /// A whole number of any width.
        3 => Int {
            /// Which.
            value: i64,
        },
        /// A fraction: its bits.
        4 => Float {
            /// Which.
            bits: u64,
        },
        /// Text or bytes.
        5 => Text {
            /// Which.
            bytes: Bytes,
        },
        /// Anything else, in the encoding of the face.
        6 => Other {
            /// Its encoding.
            bytes: Bytes,
        },
    }
}

wire_struct! {
    /// A binding as it is kept. All of it tells one from another.
    pub struct Binding {
        /// From where.
        pub source: ExchangeId,
        /// To where.
        pub destination: Destination,
        /// The routing key, or the pattern of a topic exchange.
        pub routing_key: String,
        /// How its headers are compared, where the exchange routes by headers.
        pub matching: Matching = 1,
        /// What headers a message is to have.
        pub headers: Vec<(String, HeaderValue)> = 2,
        /// The face's own: returned as given.
        pub arguments: Bytes = 3,
    }
}
