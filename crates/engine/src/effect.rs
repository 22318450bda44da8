//! What the server shall do, once a condition holds.

use crate::answer::{Answer, Delivery};
use crate::command::{ConsumerId, ReplyTo};
use crate::message::MessageDelivery;

/// Something to do after the position that it waits for is durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Give the caller its answer.
    Reply {
        /// Who asked.
        reply_to: ReplyTo,
        /// What to say.
        answer: Answer,
    },
    /// Hand jobs to a consumer. Those that cannot be are to be given back: nobody else knows that
    /// they were not.
    Deliver {
        /// Who takes them.
        consumer: ConsumerId,
        /// The jobs, in the order in which they are to start.
        jobs: Vec<Delivery>,
    },
    /// Hand messages to a consumer of a connection. They are the connection's until it settles them
    /// or ends.
    DeliverMessages {
        /// Who takes them.
        consumer: ConsumerId,
        /// The messages, in order.
        messages: Vec<MessageDelivery>,
    },
    /// Tell a consumer that it gets nothing more.
    Close {
        /// Who.
        consumer: ConsumerId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a consumer gets nothing more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// Its session has another one, or came back over another stream.
    Superseded,
    /// Its session has ended.
    SessionEnded,
    /// Its namespace was deleted.
    NamespaceDeleted,
    /// The shard is about to stop.
    Stopping,
    /// Its queue was deleted.
    QueueDeleted,
}
