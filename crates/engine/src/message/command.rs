//! What can be asked of messages, exchanges and their queues.

use bytes::Bytes;

use super::{ExchangeKind, HeaderValue, Matching, MessageSettings, MessageTag, Policy};
use crate::command::{ConsumerId, FollowUp};
use crate::ids::{ConnectionId, Token};

/// What to do with messages in a namespace.
#[derive(Clone, Debug)]
pub enum MessageCommand {
    /// Create a queue of type *messages*, or compare it with the one that is there. Answered by
    /// `MessageAnswer::Queue`.
    DeclareQueue(Box<DeclareQueue>),
    /// Describe a queue of type *messages*; refused where it is exclusive to another connection.
    GetQueue {
        /// Its name.
        queue: String,
        /// Who asks.
        connection: Option<ConnectionId>,
    },
    /// Remove a queue with its messages and bindings. Answered by `MessageAnswer::QueueDeleted`.
    DeleteQueue {
        /// Its name.
        queue: String,
        /// Who asks.
        connection: Option<ConnectionId>,
        /// Only where it has no consumer.
        if_unused: bool,
        /// Only where it holds no message.
        if_empty: bool,
    },
    /// Remove the messages of a queue that wait; those that are with consumers stay theirs.
    /// Answered by `MessageAnswer::Purged`.
    PurgeQueue {
        /// Its name.
        queue: String,
        /// Who asks.
        connection: Option<ConnectionId>,
    },
    /// Create an exchange, or compare it with the one that is there. Answered by
    /// `MessageAnswer::Exchange`.
    DeclareExchange(Box<DeclareExchange>),
    /// Describe an exchange.
    GetExchange {
        /// Its name.
        exchange: String,
    },
    /// Describe exchanges in the order of their names, those that always exist among them.
    ListExchanges {
        /// The last name that was seen.
        after: Option<String>,
        /// How many at most.
        limit: usize,
    },
    /// Remove an exchange with its bindings. One that is not there is as good as removed.
    DeleteExchange {
        /// Its name.
        exchange: String,
        /// Only where nothing is bound to it.
        if_unused: bool,
    },
    /// Bind a queue or an exchange to an exchange. What is there already stays as it is.
    Bind(Box<BindingSpec>),
    /// The opposite. What is not there is as good as removed.
    Unbind(Box<BindingSpec>),
    /// Describe bindings in a stable order.
    ListBindings {
        /// Only from this exchange.
        source: Option<String>,
        /// Where the page before ended.
        after: Option<Bytes>,
        /// How many at most.
        limit: usize,
    },
    /// Publish messages, each on its own, in this order. Answered by `MessageAnswer::Published`
    /// once all that was written is durable.
    Publish(Vec<PublishMessage>),
    /// Take messages of a queue as they come, while there is credit, until the connection ends.
    /// They come as [`Effect::DeliverMessages`](crate::Effect).
    Consume(Box<ConsumeMessages>),
    /// A consumer takes no more. What it has not settled stays with its connection.
    Cancel {
        /// Which.
        consumer: ConsumerId,
    },
    /// These messages of a consumer came to nobody: it has gone, takes no more, and they go back to
    /// their old places, uncounted. Answered by `MessageAnswer::Cancelled`.
    Untaken {
        /// Which.
        consumer: ConsumerId,
        /// Its messages; those that it does not have are passed over.
        messages: Vec<MessageTag>,
    },
    /// Consumers take so much more, each. Those that are no more are passed over.
    AddCredit(Vec<(ConsumerId, MessageCredit)>),
    /// Settle messages that a connection got, each on its own, then give credit as with
    /// [`MessageCommand::AddCredit`]. Answered by `MessageAnswer::Settled`.
    Settle {
        /// Whose they are.
        connection: ConnectionId,
        /// Which, and how.
        settlements: Vec<(MessageTag, MessageVerdict)>,
        /// Credit.
        credit: Vec<(ConsumerId, MessageCredit)>,
    },
    /// Whether messages of a queue wait behind others of their ordering keys. Those that are gone
    /// or with somebody do not. Answered by `MessageAnswer::Blocked`.
    Blocked {
        /// The queue.
        queue: String,
        /// Which: 255 - priority, and the order of entry.
        messages: Vec<(u8, crate::ids::Place)>,
    },
    /// Take the next message of a queue, if there is one. Answered by `MessageAnswer::Got`.
    GetOne {
        /// The queue.
        queue: String,
        /// Whose it is until it is settled.
        connection: ConnectionId,
        /// It is settled before it is delivered.
        auto_ack: bool,
    },
    /// The connection has ended, with its consumers and its exclusive queues. What it did not
    /// settle goes back to its old place. Answered by `MessageAnswer::ConnectionClosed`.
    CloseConnection {
        /// Which.
        connection: ConnectionId,
    },
    /// Take messages for a time: who takes them so is bound to no connection. Answered by
    /// `MessageAnswer::Leased`.
    Lease(Box<LeaseMessages>),
    /// Settle messages that were taken for a time, each on its own. Answered by
    /// `MessageAnswer::Settled`.
    SettleLeased(Vec<MessageSettlement>),
    /// These messages were taken for a time and came to nobody: they go back to their old places,
    /// uncounted. Those that are with somebody else are passed over. Answered by
    /// `MessageAnswer::Settled`.
    ReturnLeased(Vec<(MessageName, Token)>),
    /// Keep messages for longer, each on its own. Answered by `MessageAnswer::Settled`.
    ExtendLeased {
        /// The messages of one queue.
        messages: Vec<(MessageName, Token)>,
        /// For how long from now on; `None` for as long as they were taken for.
        lease_ms: Option<u64>,
    },
    /// Publish and settle, all of it in one commit or nothing. Answered by
    /// `MessageAnswer::Transacted`, or refused for the first part that cannot be.
    Transact(Box<MessageTransaction>),
    /// Create or change a policy. Answered by `MessageAnswer::Changed`.
    PutPolicy {
        /// Its name.
        name: String,
        /// What is to hold.
        policy: Box<Policy>,
    },
    /// Remove a policy. Answered by `MessageAnswer::Changed`.
    DeletePolicy {
        /// Its name.
        name: String,
    },
    /// Describe the policies of the namespace. Answered by `MessageAnswer::Policies`.
    ListPolicies,
    /// Consumers share a credit beside their own: none takes more once it is spent. It is given
    /// more as consumers are, by its number. Answered by `MessageAnswer::Settled`.
    ShareCredit(Box<ShareCredit>),
}

/// A credit of several consumers of a connection, what becomes of it, and who takes from it.
#[derive(Clone, Debug)]
pub struct ShareCredit {
    /// Its number, which no consumer has. It comes into being with its first use.
    pub share: ConsumerId,
    /// Whose it is: it ends with it.
    pub connection: ConnectionId,
    /// Who takes from it from now on as well.
    pub consumers: Vec<ConsumerId>,
    /// Messages more.
    pub more: u64,
    /// Messages less.
    pub less: u64,
    /// It ends; no consumer takes from it any more.
    pub ends: bool,
}

/// What happens to messages at once: nothing of it without the rest, be there a crash or not.
#[derive(Clone, Debug)]
pub struct MessageTransaction {
    /// Whose the messages are that are settled.
    pub connection: Option<ConnectionId>,
    /// What is published, in this order.
    pub publishes: Vec<PublishMessage>,
    /// Which messages of the connection are settled, and how. Those whose queue was deleted since
    /// are passed over.
    pub settlements: Vec<(MessageTag, MessageVerdict)>,
    /// Which messages that were taken for a time are settled, and how.
    pub leased: Vec<MessageSettlement>,
    /// Jobs that enter, behind those that published messages become.
    pub enqueues: Vec<FollowUp>,
}

/// A queue as its owner declares it.
#[derive(Clone, Debug)]
pub struct DeclareQueue {
    /// Its name.
    pub queue: String,
    /// What is to hold.
    pub settings: MessageSettings,
    /// Who declares it: whose it is where it is exclusive.
    pub connection: Option<ConnectionId>,
}

/// An exchange as its owner declares it.
#[derive(Clone, Debug)]
pub struct DeclareExchange {
    /// Its name.
    pub exchange: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// It outlives a restart.
    pub durable: bool,
    /// It ends with its last binding.
    pub auto_delete: bool,
    /// Only other exchanges publish to it.
    pub internal: bool,
    /// Where messages go that none of its bindings take.
    pub alternate: Option<String>,
    /// The face's own: returned as given.
    pub arguments: Bytes,
}

/// A binding as its owner names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindingSpec {
    /// The exchange that it leads from.
    pub source: String,
    /// The queue, exchange or stream that it leads to.
    pub destination: String,
    /// It leads to an exchange.
    pub to_exchange: bool,
    /// It leads to a stream.
    pub to_stream: bool,
    /// The routing key, or the pattern of a topic exchange.
    pub routing_key: String,
    /// How its headers are compared.
    pub matching: Matching,
    /// What headers a message is to have, where the exchange routes by headers. Faces leave out
    /// what does not count.
    pub headers: Vec<(String, HeaderValue)>,
    /// The face's own, part of what tells one binding from another.
    pub arguments: Bytes,
    /// Who binds: an exclusive queue is bound by its own connection only.
    pub connection: Option<ConnectionId>,
    /// It leads to a queue of jobs, and what each message becomes there.
    pub job: Option<JobBinding>,
}

/// What a message becomes at the end of a binding that leads to a queue of jobs. Its args are what
/// the message says, where that is JSON, else `{"body": ...}` or `{"body_base64": ...}`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct JobBinding {
    /// The kind of the job.
    pub kind: String,
    /// Its priority, 0 to 9; `None` for the message's, or the queue's where that has none.
    pub priority: Option<u8>,
    /// How long after the message it may start.
    pub delay_ms: Option<u64>,
    /// Its ordering key is the routing key; else the header `x-job-key`, where there is one.
    pub ordered: bool,
    /// The version of the kind; 0 for none.
    pub version: u32,
}

/// A message as its producer gives it.
#[derive(Clone, Debug, Default)]
pub struct PublishMessage {
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// Further routing keys.
    pub further_keys: Vec<String>,
    /// Headers, as far as routing may compare them.
    pub headers: Vec<(String, HeaderValue)>,
    /// 0 to 255, the highest first, where the queue has priorities.
    pub priority: u8,
    /// It is to outlive a restart.
    pub persistent: bool,
    /// How long it is worth to be delivered.
    pub ttl_ms: Option<u64>,
    /// Where no queue takes it, the answer brings it back.
    pub mandatory: bool,
    /// How long it stays aside before it is routed; it is confirmed before that.
    pub delay_ms: Option<u64>,
    /// The face's own: see [`Message`](super::Message).
    pub properties: Bytes,
    /// What it says.
    pub body: Bytes,
}

/// How much a consumer of messages takes, or takes more. It is handed a message while there is
/// something left of both; the last one may be larger than what is left in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MessageCredit {
    /// So many messages.
    pub messages: u64,
    /// So many bytes of them, as [`Message::credit_bytes`](super::Message::credit_bytes) counts
    /// them. Nothing is counted of a consumer that once had `u64::MAX`. What consumers share has
    /// no bound in bytes.
    pub bytes: u64,
}

impl MessageCredit {
    /// So many messages, whatever their bytes.
    pub fn of(messages: u64) -> Self {
        Self { messages, bytes: u64::MAX }
    }
}

/// One that takes messages as they come.
#[derive(Clone, Debug)]
pub struct ConsumeMessages {
    /// Its number.
    pub consumer: ConsumerId,
    /// What it is bound to.
    pub connection: ConnectionId,
    /// The queue.
    pub queue: String,
    /// Messages are settled before they are delivered.
    pub auto_ack: bool,
    /// Nobody else may take from the queue.
    pub exclusive: bool,
    /// Those with a higher one are served first, as long as they have credit.
    pub priority: i32,
    /// How much it takes to begin with.
    pub credit: MessageCredit,
}

/// How a message is settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageVerdict {
    /// It is done with.
    Ack,
    /// It goes back to its old place.
    Requeue,
    /// It goes for good, as a dead letter where its queue has an exchange for these.
    Reject,
}

/// Messages taken for a time.
#[derive(Clone, Debug)]
pub struct LeaseMessages {
    /// The queue.
    pub queue: String,
    /// How many at most.
    pub max: usize,
    /// How long to wait for the first.
    pub wait_ms: u64,
    /// For how long; `None` for the default. After that they go back to their old place.
    pub lease_ms: Option<u64>,
    /// They are settled before they are delivered.
    pub auto_ack: bool,
}

/// Which message, by the name of its queue: who is bound to no connection names it so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageName {
    /// The name of its queue.
    pub queue: String,
    /// 255 - priority.
    pub urgency: u8,
    /// Its order of entry.
    pub place: crate::ids::Place,
}

/// The end of one message that was taken for a time.
#[derive(Clone, Debug)]
pub struct MessageSettlement {
    /// Which.
    pub message: MessageName,
    /// What it was taken with.
    pub token: Token,
    /// How it ends.
    pub verdict: MessageVerdict,
}
