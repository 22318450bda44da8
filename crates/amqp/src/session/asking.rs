//! What is asked of the engine, and what its answer is awaited for.

use longshore_engine::{ConsumerId, MessageCommand};

use super::transacting::Committing;
use super::{Ask, Session};
use crate::codec::Short;

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Pending {
    /// Messages that were published.
    Publish,
    /// Nobody waits for it.
    Nothing,
    /// The end of a consumer that its channel has forgotten: what still comes for it goes back.
    Forgotten { consumer: ConsumerId },
    /// A method of a channel.
    Method { channel: u16, instance: u64, method: (u16, u16), then: Then },
    /// The end of the connection.
    Close,
}

/// How a method is answered.
#[derive(Debug)]
pub(super) enum Then {
    /// It was not to be answered.
    Silence,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeBound,
    ExchangeUnbound,
    QueueDeclared {
        queue: String,
        is_silent: bool,
    },
    QueueDeleted,
    QueueBound,
    QueueUnbound,
    QueuePurged,
    Consuming {
        tag: Short,
        consumer: ConsumerId,
        is_silent: bool,
    },
    /// The queue for answers is there and is to be consumed from.
    Replies {
        queue: String,
        tag: Short,
        is_silent: bool,
    },
    Cancelled {
        tag: Short,
        is_silent: bool,
    },
    Got {
        auto_ack: bool,
    },
    Committed(Box<Committing>),
    /// Consumers share a credit; it was asked for by the client, or with a consumer.
    Shared {
        is_qos: bool,
    },
}

impl Session {
    /// Has the engine do something.
    pub(super) fn call(&mut self, command: MessageCommand, pending: Pending) {
        self.number += 1;
        self.pending.insert(self.number, pending);
        self.asks.push_back(Ask::Call { number: self.number, command });
    }

    /// Has the engine do something that a channel waits for.
    pub(super) fn call_for(
        &mut self,
        channel: u16,
        method: (u16, u16),
        command: MessageCommand,
        then: Then,
    ) {
        if let Err(failure) = self.check(&command) {
            return self.fail(channel, &failure.of(method));
        }
        let Some(open) = self.channels.get_mut(&channel) else { return };
        open.is_busy = true;
        let instance = open.instance;
        // What was settled before is settled first.
        self.flush();
        self.call(command, Pending::Method { channel, instance, method, then });
    }

    /// Hands over what was gathered.
    pub(super) fn flush(&mut self) {
        self.flush_settlements();
        self.flush_publishes();
    }
}
