//! What is answered about messages, exchanges and their queues.

use std::sync::Arc;

use bytes::Bytes;

use super::{BindingSpec, Exchange, Message, MessageSettings, MessageTag, Policy};
use crate::answer::Enqueued;
use crate::ids::Token;
use crate::rejection::Rejection;

/// The answer to a [`MessageCommand`](super::MessageCommand).
#[derive(Clone, Debug)]
pub enum MessageAnswer {
    /// To `DeclareQueue`, `GetQueue`.
    Queue(Box<MessageQueueView>, Declared),
    /// To `DeleteQueue`: how many messages it had.
    QueueDeleted {
        /// Those that waited.
        messages: u64,
    },
    /// To `PurgeQueue`: how many messages went.
    Purged {
        /// Those that waited.
        messages: u64,
    },
    /// To `DeclareExchange`, `GetExchange`.
    Exchange(Box<ExchangeView>, Declared),
    /// To `ListExchanges`; whether more follow.
    Exchanges(Vec<ExchangeView>, bool),
    /// To `ListPolicies`, in the order of their names.
    Policies(Vec<(String, Policy)>),
    /// To `DeleteExchange`, `Bind`, `Unbind`, `PutPolicy`, `DeletePolicy`: whether anything
    /// changed.
    Changed(bool),
    /// To `ListBindings`; where to go on if more follow.
    Bindings(Vec<BindingView>, Option<Bytes>),
    /// To `Publish`: what became of each, in order.
    Published(Vec<Result<Published, Rejection>>),
    /// To `Consume`: how many messages wait and how many consumers there are now.
    Consuming,
    /// To `Cancel`: whether there was such a consumer.
    Cancelled(bool),
    /// To `Settle`, `SettleLeased`, `ExtendLeased`, `AddCredit`: what became of each, in order. A
    /// message that is not with whoever settles it is refused as `MessageUnknown`.
    Settled(Vec<Result<(), Rejection>>),
    /// To `Blocked`: whether it is so, of each in order.
    Blocked(Vec<bool>),
    /// To `GetOne`: the message, if there was one, and how many wait then.
    Got(Option<Box<MessageDelivery>>, u64),
    /// To `CloseConnection`.
    ConnectionClosed,
    /// To `Lease`.
    Leased(Vec<MessageDelivery>),
    /// To `Transact`: what became of each message that was published and of each job, in order.
    Transacted(Vec<Published>, Vec<Enqueued>),
}

/// What declaring came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Declared {
    /// It is there from now on.
    Created,
    /// It was there, and is as declared.
    Present,
}

/// What became of a message that was published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Published {
    /// So many queues have it.
    Routed {
        /// How many.
        queues: usize,
    },
    /// No queue wanted it, and it is gone. Where it was mandatory, whoever published it has to be
    /// told.
    Unroutable,
    /// It is kept, and routed when its time comes. Where it reaches no queue then, it is gone.
    Delayed,
}

/// A message on its way to a consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageDelivery {
    /// What it is settled with.
    pub tag: MessageTag,
    /// The name of its queue.
    pub queue: Arc<str>,
    /// Somebody may have got it before.
    pub redelivered: bool,
    /// How often it came back.
    pub returns: u32,
    /// The message.
    pub message: Arc<Message>,
    /// Where it was taken for a time: what it is settled with.
    pub lease: Option<(Token, u64)>,
}

/// A queue of type *messages* at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageQueueView {
    /// Its name.
    pub name: String,
    /// What its owner set.
    pub settings: MessageSettings,
    /// The policy that counts for it.
    pub policy: Option<String>,
    /// Messages that wait.
    pub ready: u64,
    /// Messages with consumers that have not settled them.
    pub unsettled: u64,
    /// Bytes of the bodies of both.
    pub bytes: u64,
    /// Consumers of connections.
    pub consumers: u64,
    /// Ever entered.
    pub published_total: u64,
    /// Ever acked.
    pub acked_total: u64,
    /// Ever gone otherwise.
    pub dropped_total: u64,
}

/// An exchange at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeView {
    /// As it is kept.
    pub exchange: Exchange,
    /// Bindings that lead from it.
    pub bindings: u64,
    /// The policy that counts for it.
    pub policy: Option<String>,
}

/// A binding, by names.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingView {
    /// As it was named.
    pub binding: BindingSpec,
}
