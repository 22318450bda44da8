//! Streams: events in the order in which they happened. A [`Producer`] appends them, each once; a
//! [`Consumer`] is a member of a group and hands them to a handler. See
//! [`Client::producer`](crate::Client::producer) and [`Client::consumer`](crate::Client::consumer).

pub use crate::client::events::{
    Begin, Consumer, ConsumerError, Event, NewEvent, Place, Producer, StreamSettings,
};
